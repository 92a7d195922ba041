#include "device/step_state.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "device/device.h"
#include "tests/reference/step_state.h"
#include "tests/support/compare.h"
#include "tests/support/devices.h"

namespace curate::test {
namespace {

using StepStateTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(StepStateTest);

TEST(StepStateReference, hand_computed) {
  const reference::BatchRange full = reference::batch_range(10, 4, 1);
  EXPECT_EQ(full.begin, 4);
  EXPECT_EQ(full.count, 4);
  const reference::BatchRange last = reference::batch_range(10, 4, 2);
  EXPECT_EQ(last.begin, 8);
  EXPECT_EQ(last.count, 2);
  EXPECT_EQ(reference::batch_range(10, 4, 3).count, 0);

  LearningRateSchedule schedule{ScheduleKind::linear, 0.5F, 4, 2};
  EXPECT_DOUBLE_EQ(reference::learning_rate(schedule, 0), 0.25);
  EXPECT_DOUBLE_EQ(reference::learning_rate(schedule, 1), 0.375);
  EXPECT_DOUBLE_EQ(reference::learning_rate(schedule, 3), 0.125);
  EXPECT_DOUBLE_EQ(reference::learning_rate(schedule, 4), 0.0);
  EXPECT_DOUBLE_EQ(reference::learning_rate(schedule, 100), 0.0);
  schedule.kind = ScheduleKind::constant;
  EXPECT_DOUBLE_EQ(reference::learning_rate(schedule, 0), 0.25);
  EXPECT_DOUBLE_EQ(reference::learning_rate(schedule, 100), 0.5);
}

void expect_state(const StepState& got, const EpochStart& start, std::int64_t batch, std::int64_t step) {
  const reference::BatchRange range = reference::batch_range(start.num_ratings, start.batch_size, batch);
  EXPECT_EQ(got.seed, start.seed);
  EXPECT_EQ(got.epoch, start.epoch);
  EXPECT_EQ(got.num_ratings, start.num_ratings);
  EXPECT_EQ(got.batch_size, start.batch_size);
  EXPECT_EQ(got.batch, batch);
  EXPECT_EQ(got.batch_begin, range.begin);
  EXPECT_EQ(got.batch_count, range.count);
  EXPECT_EQ(got.step, step);
  EXPECT_TRUE(all_close(std::vector<float>{got.learning_rate},
                        std::vector<double>{reference::learning_rate(start.schedule, step)}, {1e-9, 1e-6},
                        "learning rate of step " + std::to_string(step)));
}

// Catches: 32-bit offsets (the last shape begins batches past 2^31), a last batch that is not cut short or cut one off,
// a batch of stale size past the end, a step that restarts with each epoch (Adam's bias correction would jump), an
// epoch or seed that stays behind.
TEST_P(StepStateTest, walks_epochs_of_every_shape) {
  struct Shape {
    std::int64_t num_ratings;
    std::int64_t batch_size;
  };
  for (const Shape shape : {Shape{10, 4}, Shape{8, 4}, Shape{3, 4}, Shape{4, 4}, Shape{1, 1}, Shape{5, 1},
                            Shape{1, 100}, Shape{0, 4}, Shape{2'147'483'647, 1'500'000'000}}) {
    SCOPED_TRACE(testing::Message() << shape.num_ratings << " ratings, batch_size " << shape.batch_size);
    const DeviceMatrix<StepState> state = on_device(device(), StepState{});
    std::int64_t step = 0;
    for (std::int64_t epoch = 0; epoch < 2; ++epoch) {
      const EpochStart start{0x123456789abcdef0ULL + static_cast<std::uint64_t>(epoch), epoch, shape.num_ratings,
                             shape.batch_size, LearningRateSchedule{}};
      device().enqueue(ops::BeginEpoch{state.view(), start});
      expect_state(device().read<StepState>(state.view()), start, 0, step);
      for (std::int64_t batch = 1; batch <= 5; ++batch) {
        device().enqueue(ops::AdvanceStep{state.view()});
        ++step;
        expect_state(device().read<StepState>(state.view()), start, batch, step);
      }
    }
  }
}

// Catches: stale fields of a state that was in the middle of an epoch.
TEST_P(StepStateTest, begin_epoch_replaces_all_but_the_step) {
  StepState old = batch_state(100, 7, 9, 123.0F);
  old.seed = 99;
  old.epoch = 55;
  old.step = 17;
  old.schedule = {ScheduleKind::linear, 9.0F, 20, 19};
  const DeviceMatrix<StepState> state = on_device(device(), old);
  const EpochStart start{7, 56, 20, 8, {ScheduleKind::linear, 0.5F, 34, 0}};
  device().enqueue(ops::BeginEpoch{state.view(), start});
  const StepState got = device().read<StepState>(state.view());
  expect_state(got, start, 0, 17);
  EXPECT_FLOAT_EQ(got.learning_rate, 0.25F);
}

// Catches: a schedule counted from 1 or restarted per epoch, a rate that turns negative past the planned steps, warm-up
// that never ends or starts at zero (a first step without effect), a division by warmup_steps of 0.
TEST_P(StepStateTest, learning_rate_follows_the_schedule_across_epochs) {
  for (const LearningRateSchedule& schedule :
       {LearningRateSchedule{ScheduleKind::constant, 0.4F, 1, 0},
        LearningRateSchedule{ScheduleKind::constant, 0.4F, 1, 3},
        LearningRateSchedule{ScheduleKind::linear, 0.4F, 5, 0}, LearningRateSchedule{ScheduleKind::linear, 0.4F, 5, 4},
        LearningRateSchedule{ScheduleKind::linear, 0.4F, 1, 0}}) {
    SCOPED_TRACE(testing::Message() << "kind " << static_cast<int>(schedule.kind) << ", total " << schedule.total_steps
                                    << ", warm-up " << schedule.warmup_steps);
    const DeviceMatrix<StepState> state = on_device(device(), StepState{});
    std::int64_t step = 0;
    for (std::int64_t epoch = 0; epoch < 3; ++epoch) {
      const EpochStart start{1, epoch, 6, 3, schedule};
      device().enqueue(ops::BeginEpoch{state.view(), start});
      expect_state(device().read<StepState>(state.view()), start, 0, step);
      for (std::int64_t batch = 1; batch <= 2; ++batch) {
        device().enqueue(ops::AdvanceStep{state.view()});
        ++step;
        expect_state(device().read<StepState>(state.view()), start, batch, step);
      }
    }
  }
}

}  // namespace
}  // namespace curate::test
