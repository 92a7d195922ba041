#include "runs/run_directory.h"

#include <gtest/gtest.h>

#include <fmt/format.h>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <type_traits>

#include "curate/error.h"
#include "runs/run_config.h"
#include "runs/run_history.h"
#include "runs/run_metrics.h"
#include "support/atomic_file.h"
#include "train/option_text.h"
#include "train/option_visit.h"

namespace curate {
namespace {

namespace fs = std::filesystem;

class RunDirectoryTest : public testing::Test {
 protected:
  RunDirectoryTest()
      : root_(fs::path(testing::TempDir()) /
              fmt::format("curate_run_directory_{}", testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::remove_all(root_);
    fs::create_directories(root_);
  }
  ~RunDirectoryTest() override { fs::remove_all(root_); }

  std::string path(const char* name) const { return (root_ / name).string(); }

  fs::path root_;
};

TEST_F(RunDirectoryTest, ConfigRoundTrip) {
  RunConfig config;
  config.data = "/data/with \"quotes\" and \\ backslash/\xC3\xA9";
  config.split = "time:0.25";
  config.rating_range = "0.5:5";
  config.folds = 5;
  config.fold = 2;
  config.test = "/data/test";
  config.text_ids = true;
  config.options.dim = 17;
  config.options.learning_rate = 1e-7;
  config.options.reg = 0.1 + 0.2;  // all 17 digits must survive
  config.options.seed = 9007199254740993;
  config.options.biases = false;
  config.options.optimizer = OptimizerChoice::adagrad;
  write_file_atomically(path("config.toml"), to_toml(config));
  const RunConfig back = read_config(path("config.toml"));
  EXPECT_EQ(to_toml(back), to_toml(config));
  EXPECT_EQ(back.data, config.data);
  EXPECT_EQ(back.test, config.test);
  EXPECT_EQ(back.split, config.split);
  EXPECT_EQ(back.rating_range, config.rating_range);
  EXPECT_EQ(back.folds, config.folds);
  EXPECT_EQ(back.fold, config.fold);
  EXPECT_EQ(back.text_ids, config.text_ids);
  EXPECT_EQ(back.options.reg, config.options.reg);
  EXPECT_EQ(back.options.seed, config.options.seed);
}

/// What any member of a struct is made from.
struct Anything {
  template <typename T>
  operator T() const;  // NOLINT: implicit, for that is what it is for
};

/// Members of an aggregate: the most values that it can be made from.
template <typename T, typename... Values>
constexpr std::size_t count_members() {
  if constexpr (requires { T{Values{}..., Anything{}}; }) {
    return count_members<T, Values..., Anything>();
  } else {
    return sizeof...(Values);
  }
}

std::map<std::string, std::string> texts_of(const TrainOptions& options) {
  std::map<std::string, std::string> texts;
  std::set<const void*> members;
  visit_options(options, [&](const auto& value, const OptionInfo& info) {
    const std::string key(info.key);
    EXPECT_TRUE(texts.emplace(key, text_of(value)).second) << key << " is twice in the table";
    EXPECT_TRUE(members.insert(&value).second) << key << " sets what another option sets";
  });
  return texts;
}

/// A value by which that option is known, and that is not its default.
void set_to(bool& value, std::int32_t /*number*/, const std::string& /*key*/) {
  value = !value;
}
void set_to(std::string& value, std::int32_t number, const std::string& key) {
  value = fmt::format("{} {}", key, number);
}
void set_to(double& value, std::int32_t number, const std::string& /*key*/) {
  value = 1.0 / static_cast<double>(number);  // of 17 digits
}
void set_to(DropoutRates& value, std::int32_t number, const std::string& /*key*/) {
  value = {1.0 / static_cast<double>(number), 2.0 / static_cast<double>(number)};
}
void set_to(std::vector<std::int32_t>& value, std::int32_t number, const std::string& /*key*/) {
  value = {number, 3, number + 1};
}
void set_to(std::vector<ActivationKind>& value, std::int32_t /*number*/, const std::string& /*key*/) {
  value = {ActivationKind::tanh, ActivationKind::relu};
}
void set_to(std::vector<FeatureDim>& value, std::int32_t number, const std::string& key) {
  value = {{key, number}, {"other", 2}};
}
void set_to(MfKernelOptions& value, std::int32_t number, const std::string& /*key*/) {
  value = {8, 4, number, number + 1, true};
}
void set_to(std::vector<EnsemblePart>& value, std::int32_t number, const std::string& /*key*/) {
  value = {{ModelKind::mf, 2}, {ModelKind::neumf, 1 + number % 60}};
}
/// Not its default, and in options whose values have the same names not the same one.
template <NamedKind Kind>
void set_to(Kind& value, std::int32_t /*number*/, const std::string& key) {
  const auto last = static_cast<Kind>(kKindNames<Kind>.size() - 1);
  value = key == "schedule" ? Kind{} : key == "precision" ? static_cast<Kind>(1) : last;
}
template <typename T>
void set_to(T& value, std::int32_t number, const std::string& key) {
  if constexpr (requires { value.has_value(); }) {
    set_to(value.emplace(), number, key);
  } else {
    value = static_cast<T>(number);
  }
}

// Covers every option, those that will come too. Catches: one that config.toml or its reader lacks, or takes for
// another one, digits that are lost, an option that is in the struct and not in the table.
TEST_F(RunDirectoryTest, EveryOptionComesBackFromConfig) {
  const TrainOptions defaults;
  RunConfig config;
  config.data = "/data/x";
  std::int32_t number = 100;
  visit_options(config.options, [&](auto& value, const OptionInfo& info) {
    ++number;  // no two options have the same value
    set_to(value, number, std::string(info.key));
  });
  const std::map<std::string, std::string> expected = texts_of(config.options);
  const std::map<std::string, std::string> by_default = texts_of(defaults);
  // preset is written by its own name; a preset's options are options like others.
  EXPECT_EQ(expected.size() + 1, count_members<TrainOptions>());
  for (const auto& [key, text] : expected) {
    EXPECT_NE(text, by_default.at(key)) << key << " has its default";
  }
  write_file_atomically(path("config.toml"), to_toml(config));
  const RunConfig back = read_config(path("config.toml"));
  EXPECT_EQ(texts_of(back.options), expected);
  // Bools have no values of their own: one at a time.
  visit_options(defaults, [&](const auto& value, const OptionInfo& info) {
    if constexpr (std::is_same_v<std::decay_t<decltype(value)>, bool>) {
      RunConfig other;
      other.data = "/data/x";
      visit_options(other.options, [&](auto& member, const OptionInfo& at) {
        if constexpr (std::is_same_v<std::decay_t<decltype(member)>, bool>) {
          member = at.key == info.key ? !member : member;
        }
      });
      write_file_atomically(path("config.toml"), to_toml(other));
      EXPECT_EQ(texts_of(read_config(path("config.toml")).options), texts_of(other.options)) << info.key;
    }
  });
}

TEST_F(RunDirectoryTest, BadConfigNamesFileLineAndKey) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"dim = 8\nwidth = 3\n", ":2: "},
      {"dim = \"8\"\n", ":1: dim"},
      {"\n\nseed = 1.5\n", ":3: seed"},
      {"biases = 1\n", ":1: biases"},
      {"dim = 99999999999\n", ":1: dim"},
      {"lr = true\n", ":1: lr"},
      {"dim = = 8\n", ":1: "},
      {"seed = -1\n", ":1: seed"},
      {"clip = true\nlayers = \"8,x\"\n", ":2: layers 8,x: write widths from 1 to 8192"},
      {"model = \"svd\"\n", ":1: model svd: not one of mf, mlp, neumf"},
      {"preset = \"keras\"\n", ":1: preset keras: no such preset"},
  };
  for (const auto& [text, expected] : cases) {
    write_file_atomically(path("bad.toml"), text);
    try {
      read_config(path("bad.toml"));
      ADD_FAILURE() << "taken: " << text;
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find(path("bad.toml") + expected), std::string::npos) << error.what();
    }
  }
}

TEST_F(RunDirectoryTest, MessagesHaveNoControlCharacters) {
  for (const std::string text : {"\"\\u001b[2J\" = 1\n", "preset = \"\\u001b[2J\"\n"}) {
    write_file_atomically(path("bad.toml"), text);
    try {
      read_config(path("bad.toml"));
      ADD_FAILURE() << "taken: " << text;
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find("\\x1b[2J"), std::string::npos) << error.what();
    }
  }
  TrainOptions options;
  options.device = "\x1b[2J";
  try {
    resolve(options);
    ADD_FAILURE() << "taken";
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("`device` \\x1b[2J: not one of"), std::string::npos) << error.what();
  }
}

TEST_F(RunDirectoryTest, OptionsAsJson) {
  RunConfig config;
  config.data = "/data/x";
  config.options.biases = false;
  config.options.seed = ~std::uint64_t{0};
  const nlohmann::ordered_json json = config_json(config);
  EXPECT_EQ(json.begin().key(), "data");
  EXPECT_EQ(json["data"], "/data/x");
  for (const char* key : {"test", "split", "folds", "fold", "preset", "dim", "layers", "lr", "batch"}) {
    EXPECT_TRUE(json.at(key).is_null()) << key;
  }
  EXPECT_EQ(json["biases"], false);
  EXPECT_EQ(json["seed"].get<std::uint64_t>(), ~std::uint64_t{0});
  EXPECT_EQ(json["patience"], 0);
}

constexpr const char* kHistory =
    "epoch,seconds,train_rmse,validation_rmse,learning_rate,ratings_per_second\n"
    "1,0.5,1.25,0.95,0.05,1e+06\n"
    "2,0.25,1,,0.025,2000000\n";

TEST_F(RunDirectoryTest, HistoryIsReadBack) {
  write_file_atomically(path("history.csv"), kHistory);
  const std::vector<EpochRecord> history = read_history(path("history.csv"));
  ASSERT_EQ(history.size(), 2U);
  EXPECT_EQ(history[0].epoch, 1);
  EXPECT_EQ(history[0].seconds, 0.5);
  EXPECT_EQ(history[0].train_rmse, 1.25);
  EXPECT_EQ(history[0].validation_rmse, 0.95);
  EXPECT_EQ(history[0].learning_rate, 0.05);
  EXPECT_EQ(history[0].ratings_per_second, 1e6);
  EXPECT_FALSE(history[1].validation_rmse);
}

TEST_F(RunDirectoryTest, BadHistoryNamesFileAndLine) {
  const std::string sound = kHistory;
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string text = sound;
    return text.replace(text.find(from), from.size(), to);
  };
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", ":1: no epoch"},
      {sound.substr(0, sound.find('\n') + 1), ":1: no epoch"},
      {sound.substr(0, sound.size() - 3), ":3: cut off"},
      {changed("1.25", "x\x1b"), ":2: train_rmse is \"x\\x1b\""},
      {changed("1.25", "nan"), ":2: train_rmse"},
      {changed("1.25", "1e999"), ":2: train_rmse"},
      {changed("1.25", ""), ":2: train_rmse"},
      {changed("1.25", "-1"), ":2: train_rmse"},
      {changed("1.25,", ""), ":2: 5 fields"},
      {changed("\n2,", "\n3,"), ":3: not epoch 2"},
      {changed("train_rmse", "error"), ":2: no column is called train_rmse"},
      {changed("2000000\n", "2000000\n\n"), ":4: 1 fields"},
  };
  for (const auto& [text, expected] : cases) {
    write_file_atomically(path("bad.csv"), text);
    try {
      read_history(path("bad.csv"));
      ADD_FAILURE() << "taken: " << text;
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find(path("bad.csv") + expected), std::string::npos) << error.what();
    }
  }
}

constexpr const char* kMetrics =
    "{\n\"train\": {\"rmse\": 0.5, \"mse\": 0.25, \"mae\": 0.4, \"mae_whole_stars\": 0.3, \"ratings\": 100,\n"
    "\"cold_ratings\": 2, \"warm_rmse\": 0.5, \"cold_rmse\": 1},\n"
    "\"validation\": null, \"epochs\": 4, \"best_epoch\": 3, \"seconds\": 2, \"device\": \"cpu\"}\n";

TEST_F(RunDirectoryTest, MetricsAreReadBack) {
  write_file_atomically(path("metrics.json"), kMetrics);
  const RunMetrics metrics = read_metrics(path("metrics.json"));
  ASSERT_TRUE(metrics.train);
  EXPECT_EQ(metrics.train->rmse, 0.5);
  EXPECT_EQ(metrics.train->mae_whole_stars, 0.3);
  EXPECT_EQ(metrics.train->ratings, 100);
  EXPECT_EQ(metrics.train->cold_ratings, 2);
  EXPECT_FALSE(metrics.validation);
  EXPECT_FALSE(metrics.test);
  EXPECT_EQ(metrics.epochs, 4);
  EXPECT_EQ(metrics.best_epoch, 3);
  EXPECT_EQ(metrics.seconds, 2.0);
  EXPECT_EQ(metrics.device, "cpu");
}

TEST_F(RunDirectoryTest, BadMetricsNameFileAndPlace) {
  const std::string sound = kMetrics;
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string text = sound;
    return text.replace(text.find(from), from.size(), to);
  };
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", ":1: not JSON"},
      {sound.substr(0, sound.size() - 3), ":4: not JSON"},
      {changed("null,", "null"), ":4: not JSON"},
      {changed("0.5", "NaN"), ":2: not JSON"},
      {"[1]", ": not the metrics"},
      {changed("0.5", "1e999"), ": "},
      {changed("0.5", "\"0.5\""), ": rmse is not a number"},
      {changed("0.5", "-0.5"), ": rmse is not a number of 0 or more"},
      {changed("\"rmse\"", "\"error\""), ": rmse is not"},
      {changed("100", "100.5"), ": ratings is not a whole number"},
      {changed("100", "1e30"), ": ratings is not a whole number"},
      {changed("null", "3"), ": validation is not an object"},
      {changed("\"epochs\": 4", "\"epochs\": 0"), ": epochs is not a whole number of 1 or more"},
      {changed("\"epochs\": 4", "\"epochs\": 99999999999"), ": epochs is not"},
      {changed("\"epochs\": 4", "\"epochs\": 2"), ": best_epoch 3 of 2"},
  };
  for (const auto& [text, expected] : cases) {
    write_file_atomically(path("bad.json"), text);
    try {
      read_metrics(path("bad.json"));
      ADD_FAILURE() << "taken: " << text;
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find(path("bad.json") + expected), std::string::npos) << error.what();
    }
  }
}

TEST_F(RunDirectoryTest, WholeNumbersPassForReals) {
  write_file_atomically(path("config.toml"), "lr = 1\n");
  EXPECT_EQ(read_config(path("config.toml")).options.learning_rate, 1.0);
}

/// A run of a model that nobody trained, of two users and two items.
TrainResult made_up_result(bool featured) {
  Model::Parts parts;
  for (const std::int64_t id : {1, 2}) {
    parts.users.find_or_add(id);
    parts.items.find_or_add(id);
  }
  parts.tensors = {{"user.embedding", {{2, 1}, {1.0F, 2.0F}}},
                   {"item.embedding", {{2, 1}, {1.0F, 2.0F}}},
                   {"global_mean", {{1}, {3.0F}}},
                   {"fallback.user", {{2}, {0.0F, 0.0F}}},
                   {"fallback.item", {{2}, {0.0F, 0.0F}}},
                   {"fallback.mean", {{1}, {3.0F}}}};
  if (featured) {
    Feature feature;
    feature.name = "genre";
    feature.side = FeatureSide::item;
    feature.starts = {0, 1, 2};
    feature.ids = {0, 1};
    feature.values = {"", "drama"};
    parts.spec.features = {feature};
    parts.tensors["item.genre.embedding"] = {{2, 1}, {0.0F, 0.5F}};
  }
  parts.user_counts = {1, 1};
  parts.item_counts = {1, 1};
  parts.scale = {1.0F, 5.0F, 1.0F};
  TrainResult result{Model(parts), {}, 1, {}, {}, {}, {}, 1.0, "cpu", 0};
  EpochRecord epoch;
  epoch.epoch = 1;
  result.history = {epoch};
  return result;
}

// Catches: files of the run before that stay, among them features of a model that has none now.
TEST_F(RunDirectoryTest, ARunReplacesAllOfTheRunBefore) {
  RunConfig config;
  config.data = "/data/x";
  config.options.dim = 1;
  {
    RunDirectory directory(path("run"), false);
    directory.write(config, made_up_result(true), {});
  }
  EXPECT_TRUE(fs::exists(root_ / "run" / "features.json"));
  EXPECT_EQ(Model::load(path("run")).parts().spec.features.size(), 1U);
  config.options.seed = 7;
  {
    RunDirectory directory(path("run"), true);
    directory.write(config, made_up_result(false), {});
  }
  EXPECT_FALSE(fs::exists(root_ / "run" / "features.json"));
  EXPECT_FALSE(fs::exists(root_ / "run" / ".publishing"));
  EXPECT_TRUE(Model::load(path("run")).parts().spec.features.empty());
  EXPECT_EQ(read_config(path("run/config.toml")).options.seed, 7U);
  EXPECT_EQ(read_history(path("run/history.csv")).size(), 1U);
  EXPECT_EQ(read_metrics(path("run/metrics.json")).epochs, 1);
}

TEST_F(RunDirectoryTest, AnUnusedDirectoryGoesAwayAgain) {
  { const RunDirectory directory(path("a/b/c"), false); }
  EXPECT_FALSE(fs::exists(root_ / "a"));
  fs::create_directories(root_ / "kept");
  { const RunDirectory directory(path("kept/run/"), false); }
  EXPECT_TRUE(fs::exists(root_ / "kept"));
  EXPECT_FALSE(fs::exists(root_ / "kept/run"));
  { const RunDirectory directory(path("kept"), false); }
  EXPECT_TRUE(fs::exists(root_ / "kept"));
}

TEST_F(RunDirectoryTest, RefusesWhatItCannotUse) {
  write_file_atomically(path("file"), "x");
  EXPECT_THROW(RunDirectory(path("file"), false), InputError);
  EXPECT_THROW(RunDirectory(path("file/run"), false), InputError);
  fs::create_directories(root_ / "run");
  write_file_atomically(path("run/config.toml"), "");
  EXPECT_THROW(RunDirectory(path("run"), false), InputError);
  EXPECT_NO_THROW(RunDirectory(path("run"), true));
  // Files of that name that no training may have written.
  fs::create_directories(root_ / "data");
  write_file_atomically(path("data/users.tsv"), "mine");
  EXPECT_THROW(RunDirectory(path("data"), false), InputError);
  EXPECT_EQ(read_file(path("data/users.tsv")), "mine");
  EXPECT_FALSE(fs::exists(root_ / "data" / ".publishing"));
}

/// Changes the folder that the process is in, as names under runs/ are relative.
class FolderChange {
 public:
  explicit FolderChange(const fs::path& to) : from_(fs::current_path()) { fs::current_path(to); }
  FolderChange(const FolderChange&) = delete;
  FolderChange& operator=(const FolderChange&) = delete;
  ~FolderChange() { fs::current_path(from_); }

 private:
  fs::path from_;
};

// Catches: a name that is looked for and not claimed, names that are used up by trainings that failed.
TEST_F(RunDirectoryTest, FreeNamesAreClaimed) {
  const FolderChange change(root_);
  RunConfig config;
  config.data = "/data/x";
  {
    RunDirectory first = RunDirectory::with_free_name("/data/x/", "mf");
    EXPECT_EQ(first.path(), "runs/x-mf");
    EXPECT_EQ(RunDirectory::with_free_name("/data/x", "mf").path(), "runs/x-mf-2");
    EXPECT_EQ(FoldsDirectory::with_free_name("/data/x", "mf").path(), "runs/x-mf-2");
    EXPECT_EQ(RunDirectory::with_free_name("/data/x", "mlp").path(), "runs/x-mlp");
    EXPECT_THROW(RunDirectory("runs/x-mf", true), InputError);
    first.write(config, made_up_result(false), {});
  }
  EXPECT_EQ(RunDirectory::with_free_name("/data/x", "mf").path(), "runs/x-mf-2");
  EXPECT_FALSE(fs::exists("runs/x-mf-2"));
  EXPECT_EQ(Model::load("runs/x-mf").parts().users.size(), 2);
}

// Catches: folds that another process may write into while a cross-validation is at work, a summary that is lost.
TEST_F(RunDirectoryTest, FoldsAreClaimedTogether) {
  RunConfig config;
  config.data = "/data/x";
  {
    FoldsDirectory folds(path("cross"), 2, false);
    EXPECT_THROW(FoldsDirectory(path("cross"), 2, true), InputError);
    for (const std::int32_t number : {1, 2}) {
      RunDirectory fold = folds.fold(number);
      fold.write(config, made_up_result(false), {});
    }
    folds.write("{}\n");
  }
  EXPECT_EQ(read_file(path("cross/metrics.json")), "{}\n");
  EXPECT_EQ(read_metrics(path("cross/fold-2/metrics.json")).epochs, 1);
  EXPECT_THROW(FoldsDirectory(path("cross"), 2, false), InputError);
  fs::remove(root_ / "cross" / "metrics.json");
  EXPECT_THROW(FoldsDirectory(path("cross"), 2, false), InputError);
  EXPECT_NO_THROW(FoldsDirectory(path("cross"), 2, true));
  write_file_atomically(path("cross/config.toml"), "");
  EXPECT_THROW(FoldsDirectory(path("cross"), 2, true), InputError);
}

}  // namespace
}  // namespace curate
