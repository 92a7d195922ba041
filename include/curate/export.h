#pragma once

/// Marks what the shared library exports: all that the public headers declare, and nothing else. Types are marked as
/// well: an exported class must not have members of hidden types, and an exception has to be the same type on both
/// sides of the library.
#if defined(__GNUC__)
#define CURATE_API __attribute__((visibility("default")))
#else
#define CURATE_API
#endif
