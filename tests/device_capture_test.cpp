// Recording operations, and replaying them.

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "curate/error.h"
#include "device/device.h"
#include "tests/reference/build_segments.h"
#include "tests/support/compare.h"
#include "tests/support/devices.h"
#include "tests/support/random_inputs.h"

namespace curate::test {
namespace {

using CaptureTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(CaptureTest);

using Floats = std::vector<float>;
using Ids = std::vector<std::int32_t>;

TEST_P(CaptureTest, capture_does_not_run) {
  const DeviceMatrix<float> a(device(), {1.0F}, 1);
  const std::unique_ptr<Graph> graph = device().capture([&] { device().zero(a.view()); });
  ASSERT_NE(graph, nullptr);
  EXPECT_EQ(device().read<float>(a.view()), 1.0F);
  device().replay(*graph, 0);
  EXPECT_EQ(device().read<float>(a.view()), 1.0F) << "replayed 0 times";
  device().replay(*graph, 1);
  EXPECT_EQ(device().read<float>(a.view()), 0.0F);
}

// Catches: what was enqueued before a capture taken into it, or lost; what comes after it recorded too.
TEST_P(CaptureTest, capture_records_what_its_function_enqueues_only) {
  const DeviceMatrix<float> one(device(), {1.0F}, 1);
  const DeviceMatrix<float> before(device(), {5.0F}, 1);
  const DeviceMatrix<float> inside(device(), {5.0F}, 1);
  const DeviceMatrix<float> after(device(), {5.0F}, 1);
  device().copy(before.view(), one.view());
  const std::unique_ptr<Graph> graph = device().capture([&] { device().copy(inside.view(), one.view()); });
  device().copy(after.view(), one.view());
  EXPECT_EQ(device().read<float>(before.view()), 1.0F);
  EXPECT_EQ(device().read<float>(inside.view()), 5.0F);
  EXPECT_EQ(device().read<float>(after.view()), 1.0F);
  device().zero(before.view());
  device().zero(after.view());
  device().replay(*graph, 1);
  EXPECT_EQ(device().read<float>(before.view()), 0.0F);
  EXPECT_EQ(device().read<float>(inside.view()), 1.0F);
  EXPECT_EQ(device().read<float>(after.view()), 0.0F);
}

TEST_P(CaptureTest, replay_runs_as_often_as_asked_in_stream_order) {
  const DeviceMatrix<StepState> state = on_device(device(), batch_state(1000, 10));
  const DeviceMatrix<StepState> seen = on_device(device(), StepState{});
  const std::unique_ptr<Graph> graph = device().capture([&] { device().enqueue(ops::AdvanceStep{state.view()}); });
  device().replay(*graph, 7);
  device().copy(seen.view(), state.view());
  device().replay(*graph, 4);
  device().replay(*graph, 1);
  EXPECT_EQ(device().read<StepState>(seen.view()).step, 7);
  EXPECT_EQ(device().read<StepState>(state.view()).step, 12);
}

// An epoch as the driver runs it: one captured step, replayed for all batches, the short last one too. Catches a count,
// an offset or a step that is frozen at capture, and arguments that are not frozen.
TEST_P(CaptureTest, a_captured_step_walks_the_epoch_with_frozen_arguments) {
  constexpr std::int64_t kRatings = 23;
  constexpr std::int64_t kBatch = 5;
  constexpr std::int64_t kRows = 6;
  RandomInputs inputs(102);
  const Ids index = inputs.skewed_indices(kRatings, kRows);
  const DeviceMatrix<std::int32_t> device_index(device(), index, kRatings);
  const DeviceMatrix<float> table(device(), {1, 2, 4, 8, 16, 32}, kRows);
  const DeviceMatrix<float> rows(device(), Floats(kBatch, kUntouched), kBatch);
  const DeviceMatrix<float> sum(device(), Floats(kRows, 0.0F), kRows);
  const DeviceMatrix<float> counts(device(), Floats(kRows, 0.0F), kRows);
  const DeviceMatrix<float> ones(device(), Floats(kBatch, 1.0F), kBatch);
  const DeviceSegments segments(device(), reference::build_segments(index, kBatch, kUntouchedIndex));
  const DeviceMatrix<StepState> state = on_device(device(), StepState{});

  auto views = std::make_unique<std::vector<MatrixView>>(
      std::vector<MatrixView>{rows.view(), table.view(), device_index.view(), state.view(), sum.view()});
  const std::unique_ptr<Graph> graph = device().capture([&] {
    device().enqueue(ops::GatherRows{(*views)[0], (*views)[1], (*views)[2], (*views)[3]});
    device().enqueue(ops::ScatterAddRows{(*views)[4], (*views)[0], (*views)[2], segments.view(), ScatterKind::segments,
                                         (*views)[3]});
    device().enqueue(ops::ScatterAddRows{counts.view(), ones.view(), (*views)[2], segments.view(), ScatterKind::atomic,
                                         (*views)[3]});
    device().enqueue(ops::AdvanceStep{(*views)[3]});
  });
  views->assign(5, MatrixView{});
  views.reset();

  constexpr std::int64_t kEpochs = 3;
  for (std::int64_t epoch = 0; epoch < kEpochs; ++epoch) {
    device().enqueue(ops::BeginEpoch{state.view(), {1, epoch, kRatings, kBatch, {}}});
    // Once more than there are batches: past the end nothing may happen.
    device().replay(*graph, 6);
  }
  Floats expected_counts(kRows, 0.0F);
  Floats expected_sum(kRows, 0.0F);
  for (const std::int32_t row : index) {
    expected_counts[static_cast<std::size_t>(row)] += static_cast<float>(kEpochs);
    expected_sum[static_cast<std::size_t>(row)] += static_cast<float>(kEpochs << row);
  }
  EXPECT_TRUE(bits_equal(counts.values(), expected_counts, "ratings of each row, seed 102"));
  EXPECT_TRUE(bits_equal(sum.values(), expected_sum, "sum of the rows gathered, seed 102"));
  EXPECT_EQ(device().read<StepState>(state.view()).step, kEpochs * 6);
}

// Catches: parameters other than views taken by reference.
TEST_P(CaptureTest, captured_parameters_are_frozen) {
  const DeviceMatrix<StepState> state = on_device(device(), StepState{});
  EpochStart start{5, 6, 70, 8, {}};
  const std::unique_ptr<Graph> graph = device().capture([&] {
    device().enqueue(ops::BeginEpoch{state.view(), start});
  });
  start = EpochStart{};
  device().replay(*graph, 1);
  EXPECT_EQ(device().read<StepState>(state.view()).num_ratings, 70);

  const DeviceMatrix<float> weights(device(), {1.0F}, 1);
  const DeviceMatrix<float> gradient(device(), {4.0F}, 1);
  const DeviceSegments segments(device(), reference::build_segments({0}, 1, kUntouchedIndex));
  const DeviceMatrix<StepState> at = on_device(device(), batch_state(1, 1, 0, 0.5F));
  OptimizerParams params;
  params.non_negative = true;
  const std::unique_ptr<Graph> update = device().capture([&] {
    device().enqueue(ops::UpdateRows{{weights.view(), gradient.view(), {}, {}}, segments.view(), params, at.view()});
  });
  params.non_negative = false;
  device().replay(*update, 1);
  EXPECT_EQ(device().read<float>(weights.view()), 0.0F);
}

// The same for the operations of dense layers, whose views come in structs too.
TEST_P(CaptureTest, captured_parameters_of_dense_layers_are_frozen) {
  const DeviceMatrix<float> in(device(), {3.0F}, 1);
  const DeviceMatrix<float> out(device(), {0.0F}, 1);
  const DeviceMatrix<float> grad_out(device(), {5.0F}, 1);
  const DeviceMatrix<float> grad_in(device(), {0.0F}, 1);
  const DeviceMatrix<float> weight(device(), {-2.0F}, 1);
  const DeviceMatrix<float> bias(device(), {1.0F}, 1);
  const DeviceMatrix<float> grad_weight(device(), {kUntouched}, 1);
  const DeviceMatrix<float> grad_bias(device(), {kUntouched}, 1);
  const DeviceMatrix<float> kept(device(), {7.0F}, 1);
  const DeviceMatrix<StepState> at = on_device(device(), batch_state(1, 1, 0, 0.5F));
  auto batch = std::make_unique<DenseBatch>(DenseBatch{out.view(), in.view()});
  auto grad = std::make_unique<DenseBatch>(DenseBatch{grad_out.view(), grad_in.view()});
  auto layer = std::make_unique<DenseParams>(DenseParams{weight.view(), bias.view()});
  auto grad_layer = std::make_unique<DenseParams>(DenseParams{grad_weight.view(), grad_bias.view()});
  auto activation = std::make_unique<Activation>();
  auto dropout = std::make_unique<DropoutParams>(DropoutParams{0.0F, RandomPurpose::dropout_user});
  auto optimizer = std::make_unique<OptimizerParams>();
  const std::unique_ptr<Graph> graph = device().capture([&] {
    device().enqueue(ops::DenseForward{*batch, *layer, *activation, at.view()});
    device().enqueue(ops::DenseBackward{*grad, *grad_layer, *batch, *layer, *activation, at.view()});
    device().enqueue(ops::UpdateDense{{weight.view(), grad_weight.view(), {}, {}}, *optimizer, at.view()});
    device().enqueue(ops::Dropout{kept.view(), *dropout, at.view()});
  });
  *batch = *grad = DenseBatch{};
  *layer = *grad_layer = DenseParams{};
  *activation = {ActivationKind::relu};
  *dropout = {0x1.fffffep-1F, RandomPurpose::dropout_item};
  *optimizer = {OptimizerKind::sgd, true};
  device().replay(*graph, 1);
  EXPECT_EQ(device().read<float>(out.view()), -5.0F);
  EXPECT_EQ(device().read<float>(grad_in.view()), -10.0F);
  EXPECT_EQ(device().read<float>(grad_bias.view()), 5.0F);
  EXPECT_EQ(device().read<float>(weight.view()), -2.0F - 0.5F * 15.0F);
  EXPECT_EQ(device().read<float>(grad_weight.view()), 0.0F);
  EXPECT_EQ(device().read<float>(kept.view()), 7.0F);
}

TEST_P(CaptureTest, blocking_calls_and_allocation_inside_a_capture_throw) {
  const DeviceMatrix<float> a(device(), {1.0F}, 1);
  Floats one(1);
  const std::vector<std::pair<std::string, std::function<void()>>> forbidden = {
      {"synchronize", [&] { device().synchronize(); }},
      {"upload", [&] { device().upload(a.view(), std::span<const float>(one)); }},
      {"download", [&] { device().download(std::span<float>(one), a.view()); }},
      {"read", [&] { device().read<float>(a.view()); }},
      {"allocate", [&] { const Buffer buffer = device().allocate(64); }},
      {"seconds_of", [&] { device().seconds_of([] {}); }},
  };
  for (const auto& [name, call] : forbidden) {
    EXPECT_THROW(device().capture(call), std::logic_error) << name;
    // The throw comes from the call itself, so that its stack says where.
    bool thrown_inside = false;
    try {
      device().capture([&thrown_inside, &blocking = call] {
        try {
          blocking();
        } catch (const std::logic_error&) {
          thrown_inside = true;
          throw;
        }
      });
    } catch (const std::logic_error&) {
      EXPECT_TRUE(thrown_inside) << name;
    }
    EXPECT_TRUE(thrown_inside) << name;
    // A capture that failed is over: the device records no longer.
    EXPECT_NO_THROW(call()) << name << " after the failed capture";
  }
  device().zero(a.view());
  EXPECT_EQ(device().read<float>(a.view()), 0.0F);
}

TEST_P(CaptureTest, an_exception_inside_a_capture_ends_it) {
  const DeviceMatrix<float> a(device(), {1.0F}, 1);
  EXPECT_THROW(device().capture([&] {
    device().zero(a.view());
    throw InputError("from inside");
  }),
               InputError);
  EXPECT_EQ(device().read<float>(a.view()), 1.0F) << "what the failed capture recorded must not run";
  const std::unique_ptr<Graph> graph = device().capture([&] { device().zero(a.view()); });
  device().replay(*graph, 1);
  EXPECT_EQ(device().read<float>(a.view()), 0.0F);
}

}  // namespace
}  // namespace curate::test
