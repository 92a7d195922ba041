#define CURATE_WIDTH 4
#include "device/cpu/mf_sgd_kernel.h"

namespace curate::cpu {

void mf_sgd_block_4(const MfSgdBlock& block, MfSgdErrors& errors) {
  run(block, errors);
}

}  // namespace curate::cpu
