# gpu_probe, for nvcc (bench) and for the emulator (tests/gpu_probe). Paths are relative to this folder.
set(CURATE_PROBE_KERNELS probe_kernels.cu)
set(CURATE_PROBE gpu.cpp probe_epochs.cpp probe_memory.cpp probe_products.cpp probe_train.cpp report.cpp)
