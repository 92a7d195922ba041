#pragma once

/// Marks what the shared library exports: all that the public headers declare, and nothing else. Types are marked as
/// well as functions: type information has to be one and the same on both sides, or exceptions may not be caught.
#if defined(__GNUC__)
#define CURATE_API __attribute__((visibility("default")))
#else
#define CURATE_API
#endif
