#include "train/run_directory.h"

#include <gtest/gtest.h>

#include <fmt/format.h>
#include <filesystem>

#include "curate/error.h"
#include "support/atomic_file.h"

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
  config.options.dim = 17;
  config.options.learning_rate = 1e-7;
  config.options.reg = 0.1 + 0.2;  // all 17 digits must survive
  config.options.seed = 9007199254740993;
  config.options.biases = false;
  config.options.optimizer = "adagrad";
  write_file_atomically(path("config.toml"), to_toml(config));
  const RunConfig back = read_config(path("config.toml"));
  EXPECT_EQ(to_toml(back), to_toml(config));
  EXPECT_EQ(back.data, config.data);
  EXPECT_EQ(back.options.reg, config.options.reg);
  EXPECT_EQ(back.options.seed, config.options.seed);
}

TEST_F(RunDirectoryTest, BadConfigNamesFileLineAndKey) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"dim = 8\nfactors = 3\n", ":2: "},
      {"dim = \"8\"\n", ":1: dim"},
      {"\n\nseed = 1.5\n", ":3: seed"},
      {"biases = 1\n", ":1: biases"},
      {"dim = 99999999999\n", ":1: dim"},
      {"lr = true\n", ":1: lr"},
      {"dim = = 8\n", ":1: "},
      {"seed = -1\n", ":1: seed"},
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
  options.model = "\x1b[2J";
  try {
    resolve(options);
    ADD_FAILURE() << "taken";
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("--model \\x1b[2J: not one of"), std::string::npos) << error.what();
  }
}

TEST_F(RunDirectoryTest, WholeNumbersPassForReals) {
  write_file_atomically(path("config.toml"), "lr = 1\n");
  EXPECT_EQ(read_config(path("config.toml")).options.learning_rate, 1.0);
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
}

}  // namespace
}  // namespace curate
