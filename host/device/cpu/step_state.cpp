#include "device/step_state.h"

#include "device/cpu/cpu_ops.h"

namespace curate::cpu {

void run(const ops::BeginEpoch& operation, Context& /*context*/) {
  start_epoch(*static_cast<StepState*>(operation.state.data), operation.start);
}

void run(const ops::AdvanceStep& operation, Context& /*context*/) {
  advance(*static_cast<StepState*>(operation.state.data));
}

}  // namespace curate::cpu
