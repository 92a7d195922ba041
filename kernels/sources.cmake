# What the CUDA engine is made of, for nvcc and for the tests' emulator. Paths are relative to this folder.
file(GLOB CURATE_KERNELS RELATIVE ${CMAKE_CURRENT_LIST_DIR} CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.cu)
set(CURATE_CUDA_HOST
    cublas.cpp
    cublaslt.cpp
    cuda_device.cpp
    cuda_error.cpp
    cuda_status.cpp
    dense_products.cpp
    dense_stack_layout.cpp
    device_memory.cpp
    library_products.cpp
    product.cpp
    wide_stack.cpp)
