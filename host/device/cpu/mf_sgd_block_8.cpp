#define CURATE_WIDTH 8
#include "device/cpu/mf_sgd_kernel.h"

namespace curate::cpu {

void mf_sgd_block_8(const MfSgdBlock& block, MfSgdErrors& errors) {
  run(block, errors);
}

}  // namespace curate::cpu
