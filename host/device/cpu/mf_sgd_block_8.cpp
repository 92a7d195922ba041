#define CURATE_WIDTH 8
#include "device/cpu/mf_sgd_kernel.h"

namespace curate::cpu {

void mf_sgd_block_8(const MfSgdBlock& block, MfSgdErrors& errors) {
  run(block, errors);
}

std::size_t mf_sgd_lanes_8(std::size_t dim, bool common) {
  return lanes(dim, common);
}

}  // namespace curate::cpu
