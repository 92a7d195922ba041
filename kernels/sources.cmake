# What the CUDA engine is made of, for nvcc and for the tests' emulator. Paths are relative to this folder.
set(CURATE_KERNELS
    add_l2_rows.cu
    build_segments.cu
    dot_rows.cu
    gather_rows.cu
    permute.cu
    rating_loss.cu
    scatter_add_rows.cu
    sort.cu
    step_state.cu
    sum_squared_error.cu
    update_rows.cu)
set(CURATE_CUDA_HOST
    cuda_device.cpp
    cuda_error.cpp)
