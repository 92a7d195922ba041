#define CURATE_WIDTH 16
#include "device/cpu/mf_sgd_kernel.h"

namespace curate::cpu {

void mf_sgd_block_16(const MfSgdBlock& block, MfSgdErrors& errors) {
  run(block, errors);
}

std::size_t mf_sgd_lanes_16(std::size_t dim, bool common) {
  return lanes(dim, common);
}

}  // namespace curate::cpu
