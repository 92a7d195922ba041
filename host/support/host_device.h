#pragma once

// Marks functions that host code and kernels share. Expands to nothing unless nvcc compiles the file, so the headers
// that use it include no CUDA header.
#if defined(__CUDACC__)
#define CURATE_HOST_DEVICE __host__ __device__
#else
#define CURATE_HOST_DEVICE
#endif
