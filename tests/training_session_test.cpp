#include "train/training_session.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <set>
#include <string>

#include "curate/error.h"
#include "recommend/predictor.h"
#include "tests/emulator/engine.h"
#include "tests/support/forwarding_device.h"
#include "tests/support/session_file.h"
#include "tests/support/session_ways.h"
#include "tests/support/set_option.h"

namespace curate {
namespace {

namespace fs = std::filesystem;

void expect_same_tensors(const TensorMap& got, const TensorMap& expected, const char* what) {
  ASSERT_EQ(got.size(), expected.size()) << what;
  for (const auto& [name, tensor] : expected) {
    ASSERT_EQ(got.count(name), 1U) << what << ": " << name;
    EXPECT_EQ(got.at(name).shape, tensor.shape) << what << ": " << name;
    EXPECT_EQ(got.at(name).values, tensor.values) << what << ": " << name;
  }
}

/// But for the clock.
void expect_same_states(const SessionState& got, const SessionState& expected) {
  expect_same_tensors(got.parameters, expected.parameters, "parameters");
  expect_same_tensors(got.slots, expected.slots, "slots");
  expect_same_tensors(got.best, expected.best, "best");
  EXPECT_EQ(got.best_epoch, expected.best_epoch);
  ASSERT_EQ(got.best_validation.has_value(), expected.best_validation.has_value());
  if (got.best_validation) {
    EXPECT_EQ(got.best_validation->rmse, expected.best_validation->rmse);
    EXPECT_EQ(got.best_validation->mae, expected.best_validation->mae);
  }
  ASSERT_EQ(got.history.size(), expected.history.size());
  for (std::size_t e = 0; e < got.history.size(); ++e) {
    EXPECT_EQ(got.history[e].epoch, expected.history[e].epoch);
    EXPECT_EQ(got.history[e].train_rmse, expected.history[e].train_rmse) << "epoch " << e + 1;
    EXPECT_EQ(got.history[e].validation_rmse, expected.history[e].validation_rmse) << "epoch " << e + 1;
    EXPECT_EQ(got.history[e].learning_rate, expected.history[e].learning_rate) << "epoch " << e + 1;
    EXPECT_EQ(got.history[e].best, expected.history[e].best) << "epoch " << e + 1;
  }
}

struct ResumeCase {
  std::string way;
  std::string device;
};

void PrintTo(const ResumeCase& resumed, std::ostream* out) {
  *out << resumed.way << " on " << resumed.device;
}

std::vector<ResumeCase> resume_cases() {
  std::vector<ResumeCase> cases;
  for (const test::SessionWay& way : test::session_ways()) {
    if (way.on_cpu) {
      cases.push_back({way.name, "cpu"});
    }
    cases.push_back({way.name, "cuda-emulated"});
  }
  return cases;
}

class Resume : public testing::TestWithParam<ResumeCase> {};

TEST_P(Resume, InAnotherProcessGivesTheSameBits) {
  emulator::add_emulated_engine();
  const TrainOptions options = test::session_options(GetParam().way, GetParam().device);
  const Dataset dataset = test::session_dataset(options);
  const auto device = make_device(options.device, options.threads);

  TrainingSession whole(*device, options, dataset, dataset.ratings);
  while (!whole.done()) {
    whole.step();
  }
  const SessionState expected = whole.state();
  const auto epochs = expected.history.size();
  ASSERT_GE(epochs, 3U);
  if (options.patience > 0) {
    EXPECT_LT(epochs, static_cast<std::size_t>(options.epochs.value())) << "did not stop early";
  }

  // With patience one epoch before the end, when the best one has been.
  const std::size_t stop = options.patience > 0 ? epochs - 1 : 3;
  TrainingSession interrupted(*device, options, dataset, dataset.ratings);
  for (std::size_t e = 0; e < stop; ++e) {
    interrupted.step();
  }
  std::string folder = (fs::temp_directory_path() / "curate_session_XXXXXX").string();
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  const SessionState state = interrupted.state();
  test::write_state(folder + "/in", state);
  const std::string command = "'" CURATE_SESSION_CHILD "' " + GetParam().way + " " + GetParam().device + " " + folder +
                              "/in " + folder + "/out";
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
  const SessionState got = test::read_state(folder + "/out");
  fs::remove_all(folder);
  expect_same_states(got, expected);
  EXPECT_GT(got.seconds, state.seconds) << "seconds of the process before count, too";

  // What comes out at the end does too.
  TrainingSession again(*device, options, dataset, dataset.ratings);
  again.restore(got);
  EXPECT_TRUE(again.done());
  const Trained resumed = again.finish();
  const Trained straight = whole.finish();
  expect_same_tensors(resumed.result.model.parts().tensors, straight.result.model.parts().tensors, "model");
  EXPECT_EQ(resumed.result.train.rmse, straight.result.train.rmse);
  EXPECT_EQ(resumed.result.best_epoch, straight.result.best_epoch);
  EXPECT_EQ(resumed.result.history.size(), epochs);
}

INSTANTIATE_TEST_SUITE_P(Ways, Resume, testing::ValuesIn(resume_cases()),
                         [](const testing::TestParamInfo<ResumeCase>& resumed) {
                           return resumed.param.way + (resumed.param.device == "cpu" ? "_cpu" : "_emulated");
                         });

TEST(TrainingSession, RefusesTheStateOfAnother) {
  const TrainOptions adam = test::session_options("adam", "cpu");
  const Dataset dataset = test::session_dataset(adam);
  const auto device = make_device("cpu", 1);
  TrainingSession session(*device, adam, dataset, dataset.ratings);
  session.step();
  const SessionState state = session.state();
  for (const char* other : {"sgd", "adagrad", "mlp"}) {
    TrainingSession refusing(*device, test::session_options(other, "cpu"), dataset, dataset.ratings);
    EXPECT_THROW(refusing.restore(state), InputError) << other;
  }
  TrainOptions wider = adam;
  wider.dim = 7;
  TrainingSession refusing(*device, wider, dataset, dataset.ratings);
  EXPECT_THROW(refusing.restore(state), InputError);
}

// What the device cannot do is said before anything is put on it.
TEST(TrainingSession, AsksTheDeviceWhatItCanDo) {
  const auto device = make_device("cpu", 1);
  const auto refused = [&](const char* key, const std::function<void(TrainOptions&)>& set) {
    TrainOptions options;
    set(options);
    options = resolve(options);
    const Dataset dataset = test::session_dataset(options);
    try {
      const TrainingSession session(*device, options, dataset, dataset.ratings);
      ADD_FAILURE() << key << " was taken";
    } catch (const InputError& error) {
      EXPECT_EQ(error.key(), key) << error.what();
    }
    EXPECT_EQ(device->allocated_bytes(), 0U);
  };
  refused("precision", [](TrainOptions& o) { o.precision = EmbeddingPrecision::f16; });
  refused("sgd_kernel", [](TrainOptions& o) { o.sgd_kernel = MfKernelOptions{8}; });
  refused("products", [](TrainOptions& o) { o.model = ModelKind::mlp, o.products = ProductPrecision::tf32; });
}

/// The CPU engine, as one whose additions are faster in any order.
class AnyOrderDevice : public test::ForwardingDevice {
 public:
  AnyOrderDevice() : ForwardingDevice(make_device("cpu", 1)) {}

  ScatterKind fastest_scatter() const override { return ScatterKind::atomic; }

  std::set<ScatterKind> kinds;

 protected:
  void do_enqueue(const ops::ScatterAddRows& operation) override {
    kinds.insert(operation.kind);
    ForwardingDevice::do_enqueue(operation);
  }
};

// Whatever the device is called: "auto" may be a GPU.
TEST(TrainingSession, AddsGradientsTheWayThatTheDevicePrefers) {
  for (const char* model : {"mf", "mlp"}) {
    TrainOptions options;
    test::set_or_clear(options, "model", model);
    options.optimizer = OptimizerChoice::adam;
    options.epochs = 1;
    for (const bool deterministic : {false, true}) {
      options.deterministic = deterministic;
      const TrainOptions resolved = resolve(options);
      ASSERT_EQ(resolved.device, "auto");
      const Dataset dataset = test::session_dataset(resolved);
      AnyOrderDevice device;
      TrainingSession(device, resolved, dataset, dataset.ratings).step();
      const ScatterKind expected = deterministic ? ScatterKind::segments : ScatterKind::atomic;
      EXPECT_EQ(device.kinds, std::set<ScatterKind>{expected}) << model;
    }
  }
}

// What a model left on its device predicts is what it predicts once it was saved and loaded.
TEST(TrainingSession, LeavesTheModelOnTheDevice) {
  for (const test::SessionWay& way : test::session_ways()) {
    SCOPED_TRACE(way.name);
    emulator::add_emulated_engine();
    const std::string name = way.on_cpu ? "cpu" : "cuda-emulated";
    const TrainOptions options = test::session_options(way.name, name);
    const Dataset dataset = test::session_dataset(options);
    const auto device = make_device(name, 1);
    Trained trained = train(*device, options, dataset, dataset.ratings);
    const Model& model = trained.result.model;
    const Predictor resident = make_predictor(*device, model, std::move(trained.resident));
    const Metrics there = resident.evaluate(dataset.ratings);
    const Metrics loaded = model.evaluate(dataset.ratings, {name, 1});
    EXPECT_EQ(there.rmse, loaded.rmse);
    EXPECT_EQ(there.mae, loaded.mae);
    const std::vector<RawPair> pairs = {{dataset.users.id(3), dataset.items.id(5)}, {RawId(-7), dataset.items.id(1)}};
    const std::vector<Prediction> a = resident.predict(pairs);
    const std::vector<Prediction> b = model.predict(pairs, {name, 1});
    for (std::size_t n = 0; n < pairs.size(); ++n) {
      EXPECT_EQ(a[n].rating, b[n].rating) << n;
      EXPECT_EQ(a[n].basis, b[n].basis) << n;
    }
  }
}

}  // namespace
}  // namespace curate
