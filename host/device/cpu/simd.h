#pragma once

// Functions marked CURATE_SIMD_CLONES are compiled for several instruction sets; the machine's best is chosen when the
// program starts. Sanitizers' run-time is not up yet when that choice is made, so they get the baseline alone.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define CURATE_SIMD_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CURATE_SIMD_CLONES
#endif
