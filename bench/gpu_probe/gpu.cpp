#include "bench/gpu_probe/gpu.h"

namespace curate::probe {

Gpu::Gpu(const std::string& device) : device_(make_device(device)) {
  CURATE_CUDA_CHECK(cudaGetDeviceProperties(&properties_, 0));
  CURATE_CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
}

Gpu::~Gpu() {
  cudaStreamDestroy(stream_);
}

bool Gpu::works() const {
  cudaGetLastError();
  return cudaStreamSynchronize(stream_) == cudaSuccess;
}

std::vector<double> Gpu::times_of(const std::function<void()>& enqueue, int warmup, int repeats) const {
  const cuda::StreamTimer timer(stream_);
  std::vector<double> seconds;
  for (int run = 0; run < warmup + repeats; ++run) {
    timer.start();
    enqueue();
    timer.stop();
    const double took = timer.seconds();
    if (run >= warmup) {
      seconds.push_back(took);
    }
  }
  return seconds;
}

void Gpu::copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) const {
  CURATE_CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, kind, stream_));
  synchronize();
}

}  // namespace curate::probe
