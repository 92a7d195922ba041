// What operations say of wrong arguments.

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "device/device.h"
#include "tests/support/devices.h"

namespace curate::test {
namespace {

using ArgumentsTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(ArgumentsTest);

/// Which extents of an argument follow from the others, so that changing them alone must be noticed.
enum class Fixed : std::uint8_t { none, rows, cols, both };

/// Vectors are contiguous, and so are a dense layer's parameters; other matrices, and columns of matrices, may have any
/// distance between their rows.
enum class Layout : std::uint8_t { vector, contiguous, strided };

struct Argument {
  std::string name;
  MatrixView* view;
  Fixed fixed;
  Layout layout = Layout::strided;
};

/// One valid call of an operation, whose arguments can be spoiled one at a time.
struct Call {
  std::string name;
  std::vector<Argument> arguments;
  std::function<void()> invoke;
};

/// Views for calls of every operation. All memory is larger than its view, so that a spoiled call that slips through
/// fails the test and nothing else.
class Arguments {
 public:
  explicit Arguments(Device& device) : device_(device) {}

  MatrixView make(DType dtype, std::int64_t rows, std::int64_t cols = 1) {
    constexpr std::int64_t kRoom = 4;
    buffers_.push_back(device_.allocate(static_cast<std::size_t>(kRoom * (rows + 1) * (cols + 1)) * size_of(dtype)));
    const Buffer& buffer = buffers_.back();
    device_.zero(buffer.view(dtype, kRoom * (rows + 1) * (cols + 1)));
    return buffer.view(dtype, rows, cols);
  }
  MatrixView floats(std::int64_t rows, std::int64_t cols = 1) { return make(DType::f32, rows, cols); }
  MatrixView ids(std::int64_t rows) { return make(DType::i32, rows); }
  MatrixView state() {
    const MatrixView view = make(DType::step_state, 1);
    device_.upload(view, std::span<const StepState>(std::vector<StepState>{batch_state(10, 4)}));
    return view;
  }
  MatrixView sums() { return make(DType::error_sums, 1); }

 private:
  Device& device_;
  std::vector<Buffer> buffers_;
};

/// Spoils every argument of the call in every way that must be noticed.
void expect_checks(Device& device, const Call& call) {
  ASSERT_NO_THROW(call.invoke()) << call.name << ": the call must be valid, or the throws below prove nothing";
  const std::unique_ptr<Device> other = make_device("cpu");
  const auto expect_throw = [&](const Argument& argument, const std::string& spoiled,
                                const std::function<void(MatrixView&)>& spoil) {
    const MatrixView valid = *argument.view;
    spoil(*argument.view);
    EXPECT_THROW(call.invoke(), std::invalid_argument) << call.name << ": " << argument.name << " with " << spoiled;
    *argument.view = valid;
  };
  for (const Argument& argument : call.arguments) {
    expect_throw(argument, "another type",
                 [](MatrixView& view) { view.dtype = view.dtype == DType::f32 ? DType::i32 : DType::f32; });
    expect_throw(argument, "another device", [&](MatrixView& view) { view.device = other.get(); });
    expect_throw(argument, "no device", [](MatrixView& view) { view.device = nullptr; });
    expect_throw(argument, "rows that overlap", [](MatrixView& view) { view.ld = view.cols - 1; });
    if (argument.layout == Layout::vector) {
      expect_throw(argument, "gaps between its elements", [](MatrixView& view) { view.ld = 2; });
    } else if (argument.layout == Layout::contiguous) {
      expect_throw(argument, "gaps between its rows", [](MatrixView& view) { view.ld += 1; });
    } else {
      argument.view->ld += 1;
      EXPECT_NO_THROW(call.invoke()) << call.name << ": " << argument.name << " may be strided";
      argument.view->ld -= 1;
    }
    if (argument.fixed == Fixed::rows || argument.fixed == Fixed::both) {
      expect_throw(argument, "a row too many", [](MatrixView& view) { view.rows += 1; });
      expect_throw(argument, "a row too few", [](MatrixView& view) { view.rows -= 1; });
    }
    if (argument.fixed == Fixed::cols || argument.fixed == Fixed::both) {
      expect_throw(argument, "a column too many", [](MatrixView& view) {
        view.cols += 1;
        view.ld += 1;
      });
      if (argument.view->cols > 1) {
        expect_throw(argument, "a column too few", [](MatrixView& view) { view.cols -= 1; });
      }
    }
  }
  ASSERT_NO_THROW(call.invoke()) << call.name << ": restored";
  device.synchronize();
}

TEST_P(ArgumentsTest, state_operations_check_their_arguments) {
  Arguments make(device());
  MatrixView state = make.state();
  expect_checks(device(), {"begin_epoch", {{"state", &state, Fixed::both}}, [&] {
                             device().enqueue(ops::BeginEpoch{state, {1, 0, 10, 4, {}}});
                           }});
  expect_checks(device(),
                {"advance_step", {{"state", &state, Fixed::both}}, [&] { device().enqueue(ops::AdvanceStep{state}); }});
}

// Catches: a batch size of 0, with which no epoch would end, and a schedule that divides by 0 steps.
TEST_P(ArgumentsTest, begin_epoch_rejects_impossible_epochs) {
  const DeviceMatrix<StepState> state = on_device(device(), StepState{});
  const auto begin = [&](std::int64_t num_ratings, std::int64_t batch_size, std::int64_t total_steps) {
    device().enqueue(
        ops::BeginEpoch{state.view(), {1, 0, num_ratings, batch_size, {ScheduleKind::linear, 0.1F, total_steps, 0}}});
  };
  EXPECT_NO_THROW(begin(10, 4, 1));
  EXPECT_THROW(begin(10, 0, 1), std::invalid_argument);
  EXPECT_THROW(begin(10, -4, 1), std::invalid_argument);
  EXPECT_THROW(begin(-1, 4, 1), std::invalid_argument);
  EXPECT_THROW(begin(std::int64_t{1} << 31U, 4, 1), std::invalid_argument) << "the order of an epoch is i32";
  EXPECT_THROW(begin(10, 4, 0), std::invalid_argument);
}

TEST_P(ArgumentsTest, copy_checks_its_arguments) {
  Arguments make(device());
  MatrixView destination = make.floats(4, 3);
  MatrixView source = make.floats(4, 3);
  expect_checks(device(), {"copy", {{"destination", &destination, Fixed::both}, {"source", &source, Fixed::both}}, [&] {
                             device().copy(destination, source);
                           }});
  const std::unique_ptr<Device> other = make_device(GetParam());
  EXPECT_THROW(other->zero(destination), std::invalid_argument);
}

TEST_P(ArgumentsTest, permute_checks_its_arguments) {
  Arguments make(device());
  RatingsView out{make.ids(10), make.ids(10), make.floats(10)};
  RatingsView in{make.ids(10), make.ids(10), make.floats(10)};
  MatrixView order = make.ids(10);
  MatrixView state = make.state();
  expect_checks(device(), {"permute",
                           {{"out.users", &out.users, Fixed::both, Layout::vector},
                            {"out.items", &out.items, Fixed::both, Layout::vector},
                            {"out.ratings", &out.ratings, Fixed::both, Layout::vector},
                            {"order", &order, Fixed::both, Layout::vector},
                            {"in.users", &in.users, Fixed::both, Layout::vector},
                            {"in.items", &in.items, Fixed::both, Layout::vector},
                            {"in.ratings", &in.ratings, Fixed::both, Layout::vector},
                            {"state", &state, Fixed::both}},
                           [&] {
                             device().enqueue(ops::Permute{out, order, in, state});
                           }});
}

TEST_P(ArgumentsTest, build_segments_checks_its_arguments) {
  Arguments make(device());
  SegmentsView out{make.ids(10), make.ids(10), make.ids(10), make.ids(3)};
  MatrixView index = make.ids(10);
  MatrixView state = make.state();
  expect_checks(
      device(),
      {"build_segments",
       {{"out.rows", &out.rows, Fixed::both, Layout::vector},
        {"out.starts", &out.starts, Fixed::both, Layout::vector},
        {"out.positions", &out.positions, Fixed::both, Layout::vector},
        {"out.counts", &out.counts, Fixed::cols, Layout::vector},  // the number of batches is known on the device
        {"index", &index, Fixed::both, Layout::vector},
        {"state", &state, Fixed::both}},
       [&] {
         device().enqueue(ops::BuildSegments{out, index, 6, state});
       }});
  EXPECT_THROW(device().enqueue(ops::BuildSegments{out, index, -1, state}), std::invalid_argument);
}

TEST_P(ArgumentsTest, gather_rows_checks_its_arguments) {
  Arguments make(device());
  MatrixView out = make.floats(4, 3);
  MatrixView table = make.floats(6, 3);
  MatrixView index = make.ids(10);
  MatrixView state = make.state();
  expect_checks(device(), {"gather_rows",
                           {{"out", &out, Fixed::cols},
                            {"table", &table, Fixed::cols},
                            {"index", &index, Fixed::cols, Layout::vector},
                            {"state", &state, Fixed::both}},
                           [&] {
                             device().enqueue(ops::GatherRows{out, table, index, state});
                           }});
}

TEST_P(ArgumentsTest, bag_rows_checks_its_arguments) {
  Arguments make(device());
  MatrixView rows = make.floats(4, 3);
  MatrixView table = make.floats(6, 3);
  BagsView bags{make.ids(8), make.ids(9)};
  MatrixView index = make.ids(10);
  MatrixView state = make.state();
  expect_checks(device(), {"bag_rows",
                           {{"out", &rows, Fixed::cols},
                            {"table", &table, Fixed::cols},
                            {"bags.starts", &bags.starts, Fixed::cols, Layout::vector},
                            {"bags.rows", &bags.rows, Fixed::cols, Layout::vector},
                            {"index", &index, Fixed::cols, Layout::vector},
                            {"state", &state, Fixed::both}},
                           [&] {
                             device().enqueue(ops::BagRows{rows, table, bags, index, BagKind::sum, state});
                           }});
  expect_checks(
      device(),
      {"bag_rows_backward",
       {{"grad_rows", &rows, Fixed::cols},
        {"grad_table", &table, Fixed::cols},
        {"bags.starts", &bags.starts, Fixed::cols, Layout::vector},
        {"bags.rows", &bags.rows, Fixed::cols, Layout::vector},
        {"index", &index, Fixed::cols, Layout::vector},
        {"state", &state, Fixed::both}},
       [&] {
         device().enqueue(ops::BagRowsBackward{table, rows, bags, index, BagKind::sum, ScatterKind::segments, state});
       }});
}

TEST_P(ArgumentsTest, dot_rows_checks_its_arguments) {
  Arguments make(device());
  MatrixView prediction = make.floats(4);
  MfRows rows{make.floats(4, 3), make.floats(4, 3), make.floats(4), make.floats(4), make.floats(1)};
  MatrixView state = make.state();
  expect_checks(device(), {"dot_rows",
                           {{"prediction", &prediction, Fixed::both, Layout::vector},
                            {"rows.user", &rows.user, Fixed::both},
                            {"rows.item", &rows.item, Fixed::both},
                            {"rows.user_bias", &rows.user_bias, Fixed::both},
                            {"rows.item_bias", &rows.item_bias, Fixed::both},
                            {"rows.mean", &rows.mean, Fixed::both},
                            {"state", &state, Fixed::both}},
                           [&] {
                             device().enqueue(ops::DotRows{prediction, rows, state});
                           }});
}

TEST_P(ArgumentsTest, dot_rows_backward_checks_its_arguments) {
  Arguments make(device());
  MatrixView grad_prediction = make.floats(4);
  MfRows rows{make.floats(4, 3), make.floats(4, 3), make.floats(4), make.floats(4), make.floats(1)};
  MfRows grad{make.floats(4, 3), make.floats(4, 3), make.floats(4), make.floats(4), {}};
  MatrixView state = make.state();
  const auto invoke = [&] { device().enqueue(ops::DotRowsBackward{grad, grad_prediction, rows, 0.1F, state}); };
  expect_checks(device(), {"dot_rows_backward",
                           {{"grad.user", &grad.user, Fixed::both},
                            {"grad.item", &grad.item, Fixed::both},
                            {"grad.user_bias", &grad.user_bias, Fixed::both},
                            {"grad.item_bias", &grad.item_bias, Fixed::both},
                            {"grad_prediction", &grad_prediction, Fixed::both, Layout::vector},
                            {"rows.user", &rows.user, Fixed::both},
                            {"rows.item", &rows.item, Fixed::both},
                            {"rows.user_bias", &rows.user_bias, Fixed::both},
                            {"rows.item_bias", &rows.item_bias, Fixed::both},
                            {"state", &state, Fixed::both}},
                           invoke});
  // Either both have a bias or neither: otherwise a gradient would be read from nowhere, or be lost.
  for (MfRows* side : {&rows, &grad}) {
    for (MatrixView* bias : {&side->user_bias, &side->item_bias}) {
      const MatrixView present = std::exchange(*bias, MatrixView{});
      EXPECT_THROW(invoke(), std::invalid_argument);
      *bias = present;
    }
  }
  EXPECT_NO_THROW(invoke());
}

TEST_P(ArgumentsTest, rating_loss_checks_its_arguments) {
  Arguments make(device());
  MatrixView grad = make.floats(4);
  MatrixView sums = make.sums();
  MatrixView prediction = make.floats(4);
  MatrixView ratings = make.floats(10);
  MatrixView state = make.state();
  expect_checks(device(), {"rating_loss",
                           {{"grad", &grad, Fixed::both, Layout::vector},
                            {"sums", &sums, Fixed::both},
                            {"prediction", &prediction, Fixed::both, Layout::vector},
                            {"ratings", &ratings, Fixed::cols, Layout::vector},
                            {"state", &state, Fixed::both}},
                           [&] {
                             device().enqueue(ops::RatingLoss{grad, sums, prediction, ratings, LossKind::mse, state});
                           }});
}

TEST_P(ArgumentsTest, scatter_add_rows_checks_its_arguments) {
  Arguments make(device());
  MatrixView grad_table = make.floats(6, 3);
  MatrixView grad_rows = make.floats(4, 3);
  MatrixView index = make.ids(10);
  SegmentsView segments{make.ids(10), make.ids(10), make.ids(10), make.ids(3)};
  MatrixView state = make.state();
  for (const ScatterKind kind : {ScatterKind::atomic, ScatterKind::segments}) {
    Call call{"scatter_add_rows",
              {{"grad_table", &grad_table, Fixed::cols},
               {"grad_rows", &grad_rows, Fixed::cols},
               {"index", &index, Fixed::cols, Layout::vector},
               {"state", &state, Fixed::both}},
              [&] {
                device().enqueue(ops::ScatterAddRows{grad_table, grad_rows, index, segments, kind, state});
              }};
    if (kind == ScatterKind::segments) {
      call.arguments.insert(call.arguments.end(),
                            {{"segments.rows", &segments.rows, Fixed::both, Layout::vector},
                             {"segments.starts", &segments.starts, Fixed::both, Layout::vector},
                             {"segments.positions", &segments.positions, Fixed::both, Layout::vector},
                             {"segments.counts", &segments.counts, Fixed::cols, Layout::vector}});
    }
    expect_checks(device(), call);
  }
}

TEST_P(ArgumentsTest, update_rows_checks_its_arguments) {
  Arguments make(device());
  TrainedTable table{make.floats(6, 3), make.floats(6, 3), make.floats(6, 3), make.floats(6, 3)};
  SegmentsView segments{make.ids(10), make.ids(10), make.ids(10), make.ids(3)};
  MatrixView state = make.state();
  OptimizerParams params;
  params.kind = OptimizerKind::adam;
  const auto invoke = [&] { device().enqueue(ops::UpdateRows{table, segments, params, state}); };
  expect_checks(device(), {"update_rows",
                           {{"weights", &table.weights, Fixed::both},
                            {"gradient", &table.gradient, Fixed::both},
                            {"first_moment", &table.first_moment, Fixed::both},
                            {"second_moment", &table.second_moment, Fixed::both},
                            {"segments.rows", &segments.rows, Fixed::both, Layout::vector},
                            {"segments.starts", &segments.starts, Fixed::both, Layout::vector},
                            {"segments.positions", &segments.positions, Fixed::both, Layout::vector},
                            {"segments.counts", &segments.counts, Fixed::cols, Layout::vector},
                            {"state", &state, Fixed::both}},
                           invoke});
  // The slots that an optimizer needs must be there, those that it does not need may be absent.
  table.first_moment = MatrixView{};
  EXPECT_THROW(invoke(), std::invalid_argument) << "Adam without its first moment";
  params.kind = OptimizerKind::adagrad;
  EXPECT_NO_THROW(invoke()) << "Adagrad has no first moment";
  table.second_moment = MatrixView{};
  EXPECT_THROW(invoke(), std::invalid_argument) << "Adagrad without its second moment";
  params.kind = OptimizerKind::sgd;
  EXPECT_NO_THROW(invoke()) << "SGD has no slots";
}

TEST_P(ArgumentsTest, update_dense_checks_its_arguments) {
  Arguments make(device());
  TrainedTable table{make.floats(6, 3), make.floats(6, 3), make.floats(6, 3), make.floats(6, 3)};
  MatrixView state = make.state();
  OptimizerParams params;
  params.kind = OptimizerKind::adam;
  const auto invoke = [&] { device().enqueue(ops::UpdateDense{table, params, state}); };
  expect_checks(device(), {"update_dense",
                           {{"weights", &table.weights, Fixed::both},
                            {"gradient", &table.gradient, Fixed::both},
                            {"first_moment", &table.first_moment, Fixed::both},
                            {"second_moment", &table.second_moment, Fixed::both},
                            {"state", &state, Fixed::both}},
                           invoke});
  table.first_moment = MatrixView{};
  EXPECT_THROW(invoke(), std::invalid_argument) << "Adam without its first moment";
  params.kind = OptimizerKind::adagrad;
  EXPECT_NO_THROW(invoke()) << "Adagrad has no first moment";
  table.second_moment = MatrixView{};
  EXPECT_THROW(invoke(), std::invalid_argument) << "Adagrad without its second moment";
  params.kind = OptimizerKind::sgd;
  EXPECT_NO_THROW(invoke()) << "SGD has no slots";
}

TEST_P(ArgumentsTest, add_l2_rows_checks_its_arguments) {
  Arguments make(device());
  MatrixView grad_rows = make.floats(4, 3);
  MatrixView table = make.floats(6, 3);
  MatrixView index = make.ids(10);
  MatrixView state = make.state();
  expect_checks(device(), {"add_l2_rows",
                           {{"grad_rows", &grad_rows, Fixed::cols},
                            {"table", &table, Fixed::cols},
                            {"index", &index, Fixed::cols, Layout::vector},
                            {"state", &state, Fixed::both}},
                           [&] {
                             device().enqueue(ops::AddL2Rows{grad_rows, table, index, 0.1F, state});
                           }});
}

TEST_P(ArgumentsTest, dense_forward_checks_its_arguments) {
  Arguments make(device());
  DenseBatch batch{make.floats(4, 2), make.floats(4, 3)};
  DenseParams params{make.floats(2, 3), make.floats(2)};
  MatrixView state = make.state();
  expect_checks(device(), {"dense_forward",
                           {{"out", &batch.out, Fixed::both},
                            {"in", &batch.in, Fixed::both},
                            {"weight", &params.weight, Fixed::both, Layout::contiguous},
                            {"bias", &params.bias, Fixed::both, Layout::vector},
                            {"state", &state, Fixed::both}},
                           [&] {
                             device().enqueue(ops::DenseForward{batch, params, {ActivationKind::relu}, state});
                           }});
}

TEST_P(ArgumentsTest, dense_backward_checks_its_arguments) {
  Arguments make(device());
  DenseBatch grad{make.floats(4, 2), make.floats(4, 3)};
  DenseParams grad_params{make.floats(2, 3), make.floats(2)};
  DenseBatch batch{make.floats(4, 2), make.floats(4, 3)};
  DenseParams params{make.floats(2, 3), make.floats(2)};
  MatrixView state = make.state();
  const auto invoke = [&] {
    device().enqueue(ops::DenseBackward{grad, grad_params, batch, params, {ActivationKind::relu}, state});
  };
  expect_checks(device(), {"dense_backward",
                           {{"grad.out", &grad.out, Fixed::both},
                            {"grad.in", &grad.in, Fixed::both},
                            {"grad_params.weight", &grad_params.weight, Fixed::both, Layout::contiguous},
                            {"grad_params.bias", &grad_params.bias, Fixed::both, Layout::vector},
                            {"out", &batch.out, Fixed::both},
                            {"in", &batch.in, Fixed::both},
                            {"weight", &params.weight, Fixed::both, Layout::contiguous},
                            {"bias", &params.bias, Fixed::both, Layout::vector},
                            {"state", &state, Fixed::both}},
                           invoke});
  grad.in = MatrixView{};
  EXPECT_NO_THROW(invoke()) << "a first layer has nobody to hand the gradient of its inputs to";
  grad.out = MatrixView{};
  EXPECT_THROW(invoke(), std::invalid_argument) << "no gradient of the outputs";
}

TEST_P(ArgumentsTest, dropout_checks_its_arguments) {
  Arguments make(device());
  MatrixView rows = make.floats(4, 3);
  MatrixView state = make.state();
  DropoutParams params{0.25F, RandomPurpose::dropout_user};
  const auto invoke = [&] { device().enqueue(ops::Dropout{rows, params, state}); };
  expect_checks(device(), {"dropout", {{"rows", &rows, Fixed::none}, {"state", &state, Fixed::both}}, invoke});
  for (const float rate : {-0.25F, -0x1p-149F, 1.0F, 2.0F, kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
    params.rate = rate;
    EXPECT_THROW(invoke(), std::invalid_argument) << "rate " << rate;
  }
  for (const float rate : {0.0F, 0x1p-149F, 0x1.fffffep-1F}) {
    params.rate = rate;
    EXPECT_NO_THROW(invoke()) << "rate " << rate;
  }
}

TEST_P(ArgumentsTest, rating_errors_checks_its_arguments) {
  Arguments make(device());
  MatrixView sums = make.sums();
  MatrixView prediction = make.floats(4);
  MatrixView ratings = make.floats(10);
  MatrixView state = make.state();
  expect_checks(device(),
                {"rating_errors",
                 {{"sums", &sums, Fixed::both},
                  {"prediction", &prediction, Fixed::cols, Layout::vector},
                  {"ratings", &ratings, Fixed::cols, Layout::vector},
                  {"state", &state, Fixed::both}},
                 [&] {
                   device().enqueue(ops::RatingErrors{sums, prediction, ratings, ClipRange{0.5F, 5.0F}, state});
                 }});
}

/// Tables and ratings of a matrix factorization.
struct MfArguments {
  explicit MfArguments(Arguments& make)
      : tables{make.floats(6, 3), make.floats(5, 3), make.floats(6), make.floats(5), make.floats(1)},
        sums(make.sums()),
        ratings{make.ids(10), make.ids(10), make.floats(10)} {}

  std::vector<Argument> table_arguments() {
    return {{"tables.user", &tables.user, Fixed::both},           {"tables.item", &tables.item, Fixed::both},
            {"tables.user_bias", &tables.user_bias, Fixed::both}, {"tables.item_bias", &tables.item_bias, Fixed::both},
            {"tables.mean", &tables.mean, Fixed::both},           {"sums", &sums, Fixed::both}};
  }

  std::vector<Argument> rating_arguments() {
    return {{"ratings.users", &ratings.users, Fixed::both, Layout::vector},
            {"ratings.items", &ratings.items, Fixed::both, Layout::vector},
            {"ratings.ratings", &ratings.ratings, Fixed::both, Layout::vector}};
  }

  std::vector<Argument> arguments() {
    std::vector<Argument> all = table_arguments();
    const std::vector<Argument> more = rating_arguments();
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  MfTables tables;
  MatrixView sums;
  RatingsView ratings;
};

TEST_P(ArgumentsTest, mf_sgd_epoch_checks_its_arguments) {
  Arguments make(device());
  MfArguments mf(make);
  MatrixView state = make.state();
  const HostRatings host{std::vector<std::int32_t>(10, 0), std::vector<std::int32_t>(10, 0),
                         std::vector<float>(10, 3.0F)};
  const DeviceRatings ratings(device(), host);
  const RatingsView view = ratings.view();
  const auto plan = device().run(ops::PlanMfEpoch{view, 6, 5});
  std::vector<Argument> arguments = mf.table_arguments();
  arguments.push_back({"state", &state, Fixed::both});
  expect_checks(device(), {"mf_sgd_epoch", arguments, [&] {
                             device().enqueue(ops::MfSgdEpoch{mf.tables, mf.sums, plan.get(), {}, state});
                           }});
  for (const auto& [users, items] : {std::pair{7, 5}, {6, 4}}) {
    const auto other = device().run(ops::PlanMfEpoch{view, users, items});
    EXPECT_THROW(device().enqueue(ops::MfSgdEpoch{mf.tables, mf.sums, other.get(), {}, state}), std::invalid_argument);
  }
  const auto other_device = make_device("cpu", 1);
  const DeviceRatings none(*other_device, HostRatings{});
  const auto other = other_device->run(ops::PlanMfEpoch{none.view(), 6, 5});
  EXPECT_THROW(device().enqueue(ops::MfSgdEpoch{mf.tables, mf.sums, other.get(), {}, state}), std::invalid_argument);
}

TEST_P(ArgumentsTest, plan_mf_epoch_checks_its_arguments) {
  Arguments make(device());
  MfArguments mf(make);
  expect_checks(device(), {"plan_mf_epoch", mf.rating_arguments(), [&] {
                             device().run(ops::PlanMfEpoch{mf.ratings, 6, 5});
                           }});
  EXPECT_THROW(device().run(ops::PlanMfEpoch{mf.ratings, -1, 5}), std::invalid_argument);
  EXPECT_THROW(device().run(ops::PlanMfEpoch{mf.ratings, 6, -1}), std::invalid_argument);
}

TEST_P(ArgumentsTest, sum_squared_error_checks_its_arguments) {
  Arguments make(device());
  MfArguments mf(make);
  expect_checks(device(),
                {"sum_squared_error", mf.arguments(), [&] {
                   device().enqueue(ops::SumSquaredError{mf.sums, mf.tables, mf.ratings, ClipRange{0.5F, 5.0F}});
                 }});
}

}  // namespace
}  // namespace curate::test
