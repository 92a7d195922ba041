#include "report/compare_runs.h"

#include <gtest/gtest.h>

#include <fmt/format.h>
#include <algorithm>
#include <filesystem>
#include <functional>

#include "curate/error.h"
#include "support/atomic_file.h"
#include "train/safetensors.h"

namespace curate {
namespace {

namespace fs = std::filesystem;

/// What is written of a run.
struct MadeRun {
  RunConfig config;
  double test_rmse = 0.9;  ///< 0: no test part
  std::int64_t test_ratings = 1000;
  double validation_rmse = 0.95;  ///< of the last epoch; 0: no validation slice
  double seconds = 1.5;
  int epochs = 3;
};

std::string metrics_text(double rmse, std::int64_t ratings) {
  return rmse == 0.0 ? "null"
                     : fmt::format(
                           "{{\"rmse\": {}, \"mse\": {}, \"mae\": {}, \"mae_whole_stars\": {}, \"ratings\": {}, "
                           "\"cold_ratings\": 0, \"warm_rmse\": {}, \"cold_rmse\": 0.0}}",
                           rmse, rmse * rmse, 0.8 * rmse, 0.7 * rmse, ratings, rmse);
}

class CompareRunsTest : public testing::Test {
 protected:
  CompareRunsTest()
      : root_(fs::path(testing::TempDir()) /
              fmt::format("curate_compare_runs_{}", testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::remove_all(root_);
    fs::create_directories(root_);
  }
  ~CompareRunsTest() override { fs::remove_all(root_); }

  std::string path(const std::string& name) const { return (root_ / name).string(); }

  std::string make(const std::string& name, const std::function<void(MadeRun&)>& change = {}) const {
    MadeRun run;
    run.config.data = "/data/u1.base";
    run.config.test = "/data/u1.test";
    run.config.options = resolve({});
    run.config.options.device = "cpu";
    if (change) {
      change(run);
    }
    fs::create_directories(path(name));
    write_file_atomically(path(name + "/config.toml"), to_toml(run.config));
    write_file_atomically(
        path(name + "/metrics.json"),
        fmt::format(
            "{{\"train\": {}, \"validation\": {}, \"test\": {},\n\"best_epoch\": {}, \"epochs\": {}, \"seconds\": "
            "{}, \"device\": \"cpu\"}}\n",
            metrics_text(0.7, 5000), metrics_text(run.validation_rmse, 250),
            metrics_text(run.test_rmse, run.test_ratings), run.epochs, run.epochs, run.seconds));
    std::string history = "epoch,seconds,train_rmse,validation_rmse,learning_rate,ratings_per_second\n";
    for (int epoch = 1; epoch <= run.epochs; ++epoch) {
      const double above = 0.1 * (run.epochs - epoch);
      history += fmt::format("{},{},{},{},0.05,1000000\n", epoch, run.seconds / run.epochs, 0.8 + above,
                             run.validation_rmse == 0.0 ? "" : fmt::format("{}", run.validation_rmse + above));
    }
    write_file_atomically(path(name + "/history.csv"), history);
    write_safetensors(path(name + "/model.safetensors"), {{{"user.embedding", {{3, 2}, std::vector<float>(6)}},
                                                           {"global_mean", {{1}, {3.5F}}},
                                                           {"fallback.user", {{3}, std::vector<float>(3)}}},
                                                          {}});
    return path(name);
  }

  /// The message of the error that `call` ends in.
  static std::string refusal(const std::function<void()>& call) {
    try {
      call();
    } catch (const InputError& error) {
      return error.what();
    }
    ADD_FAILURE() << "taken";
    return "";
  }

  fs::path root_;
};

std::vector<std::string> names_of(const RunComparison& comparison) {
  std::vector<std::string> names;
  for (const ComparedRun& run : comparison.runs) {
    names.push_back(run.name);
  }
  return names;
}

using Names = std::vector<std::string>;

TEST_F(CompareRunsTest, RunsAreSortedByTestRmseAndTheBestIsMarked) {
  make("a", [](MadeRun& run) { run.test_rmse = 0.93; });
  make("b", [](MadeRun& run) {
    run.test_rmse = 0.91;
    run.config.options.dim = 16;
    run.seconds = 2.5;
  });
  make("c", [](MadeRun& run) { run.test_rmse = 0.92; });
  const RunComparison comparison = compare_runs({path("a"), path("b"), path("c")});
  EXPECT_EQ(names_of(comparison), (Names{"b", "c", "a"}));
  EXPECT_EQ(comparison.sorted_by, "test_rmse");
  EXPECT_EQ(comparison.differing, Names{"dim"});
  EXPECT_TRUE(comparison.warnings.empty());
  EXPECT_EQ(comparison.runs[0].parameters, 7);
  EXPECT_EQ(
      comparison_table(comparison),
      "in all runs: data /data/u1.base, test /data/u1.test, model mf, optimizer sgd, epochs 20, lr 0.045, reg 0.04, "
      "batch 1, validation 0.05, seed 1, device cpu, all other options at their defaults\n"
      "\n"
      "          epochs   best                          test     test    whole   validation\n"
      "run  dim     run  epoch  parameters  seconds     RMSE      MAE    stars         RMSE\n"
      "b     16       3      3           7     2.50   0.9100*  0.7280*  0.6370*      0.9500*\n"
      "c     64       3      3           7     1.50*  0.9200   0.7360   0.6440       0.9500*\n"
      "a     64       3      3           7     1.50*  0.9300   0.7440   0.6510       0.9500*\n"
      "\n"
      "*: the lowest of its column\n");
  const std::string bold = comparison_table(comparison, {0, true});
  EXPECT_NE(bold.find("\x1b[1m0.9100*\x1b[0m"), std::string::npos);
  EXPECT_EQ(bold.find("\x1b[1m0.9300"), std::string::npos);
}

TEST_F(CompareRunsTest, OneRunHasNothingMarked) {
  const RunComparison comparison = compare_runs({make("a")});
  EXPECT_TRUE(comparison.differing.empty());
  const std::string table = comparison_table(comparison);
  EXPECT_EQ(table.find('*'), std::string::npos);
  EXPECT_EQ(table.rfind("options: data /data/u1.base", 0), 0U);
}

TEST_F(CompareRunsTest, OtherSorts) {
  make("a", [](MadeRun& run) { run.seconds = 3; });
  make("b", [](MadeRun& run) { run.test_rmse = 0.95; });
  make("c", [](MadeRun& run) { run.test_rmse = 0.97; });
  EXPECT_EQ(names_of(compare_runs({root_.string()}, "seconds")), (Names{"b", "c", "a"}));
  EXPECT_EQ(names_of(compare_runs({path("c"), path("a"), path("b")}, "name")), (Names{"a", "b", "c"}));
  for (const std::string& name : comparison_sort_names()) {
    EXPECT_EQ(compare_runs({root_.string()}, name).runs.size(), 3U) << name;
  }
  EXPECT_NE(refusal([&] { compare_runs({root_.string()}, "speed\x1b"); }).find("`sort` speed\\x1b: not one of name"),
            std::string::npos);
}

TEST_F(CompareRunsTest, WithoutATestPartValidationDecides) {
  make("a", [](MadeRun& run) {
    run.test_rmse = 0;
    run.validation_rmse = 0.8;
  });
  make("b", [](MadeRun& run) {
    run.test_rmse = 0;
    run.validation_rmse = 0.7;
  });
  RunComparison comparison = compare_runs({root_.string()});
  EXPECT_EQ(comparison.sorted_by, "validation_rmse");
  EXPECT_EQ(names_of(comparison), (Names{"b", "a"}));
  EXPECT_EQ(comparison_table(comparison).find("test "), comparison_table(comparison).rfind("test "));  // the option's
  EXPECT_NE(refusal([&] { compare_runs({root_.string()}, "test-mae"); }).find("`sort` test-mae: none"),
            std::string::npos);
  // Those with a test part come first.
  make("c", [](MadeRun& run) { run.test_rmse = 2.0; });
  comparison = compare_runs({root_.string()});
  EXPECT_EQ(comparison.sorted_by, "test_rmse");
  EXPECT_EQ(names_of(comparison), (Names{"c", "b", "a"}));
  EXPECT_TRUE(comparison.same_test);
}

TEST_F(CompareRunsTest, RunsWithoutAnyMeasure) {
  make("b", [](MadeRun& run) { run.test_rmse = run.validation_rmse = 0; });
  make("a", [](MadeRun& run) { run.test_rmse = run.validation_rmse = 0; });
  const RunComparison comparison = compare_runs({root_.string()});
  EXPECT_EQ(comparison.sorted_by, "name");
  EXPECT_EQ(names_of(comparison), (Names{"a", "b"}));
  EXPECT_EQ(comparison_table(comparison).find("RMSE"), std::string::npos);
  const PlotPage page = comparison_plot(comparison);
  EXPECT_EQ(std::get<LinePanel>(page.panels[0]).y_label, "RMSE on ratings learnt");
}

TEST_F(CompareRunsTest, OtherTestRatingsAreWarnedOf) {
  make("a");
  make("b", [](MadeRun& run) { run.test_ratings = 999; });
  RunComparison comparison = compare_runs({root_.string()});
  ASSERT_EQ(comparison.warnings.size(), 1U);
  EXPECT_NE(comparison.warnings[0].find("/data/u1.test, 1,000 ratings (a); /data/u1.test, 999 ratings (b)"),
            std::string::npos)
      << comparison.warnings[0];
  const std::string table = comparison_table(comparison);
  EXPECT_NE(table.find("\nwarning: test errors cannot be compared, because"), std::string::npos);
  EXPECT_EQ(table.find("0.9000*"), std::string::npos);  // neither is the best
  EXPECT_NE(table.find("0.9500*"), std::string::npos);  // validated on the same
  const auto json = comparison_json(comparison);
  EXPECT_FALSE(json["best"].contains("test_rmse"));
  EXPECT_FALSE(json["same_test_ratings"].get<bool>());
}

// Catches: a mark at validation errors that are not comparable.
TEST_F(CompareRunsTest, OtherValidationRatingsHaveNoBest) {
  make("a");
  make("b", [](MadeRun& run) {
    run.test_rmse = 0.91;
    run.validation_rmse = 0.94;
    run.config.options.seed = 2;  // draws other ratings for validation
  });
  const RunComparison comparison = compare_runs({root_.string()});
  EXPECT_TRUE(comparison.same_test);
  EXPECT_FALSE(comparison.same_validation);
  const std::string table = comparison_table(comparison);
  EXPECT_NE(table.find("0.9000*"), std::string::npos);  // tested on the same
  EXPECT_NE(table.find(" 0.9400"), std::string::npos);
  EXPECT_EQ(table.find("0.9400*"), std::string::npos);
  EXPECT_EQ(table.find("0.9500*"), std::string::npos);
  EXPECT_NE(table.find("\nwarning: validation errors cannot be compared, because"), std::string::npos);
  const auto json = comparison_json(comparison);
  EXPECT_TRUE(json["best"].contains("test_rmse"));
  EXPECT_FALSE(json["best"].contains("validation_rmse"));
}

TEST_F(CompareRunsTest, OtherSourcesOfTestRatings) {
  const auto split = [](const char* text, std::uint64_t seed) {
    return [text, seed](MadeRun& run) {
      run.config.test = "";
      run.config.split = text;
      run.config.options.seed = seed;
    };
  };
  make("a", split("random:0.1", 1));
  make("b", split("random:0.1", 2));
  EXPECT_FALSE(compare_runs({root_.string()}).same_test);
  make("b", split("random:0.1", 1));
  EXPECT_TRUE(compare_runs({root_.string()}).same_test);
  make("a", split("time:0.1", 1));
  make("b", split("time:0.1", 2));
  // The latest ratings are the same for every seed; those held out for validation are not.
  const RunComparison comparison = compare_runs({root_.string()});
  EXPECT_TRUE(comparison.same_test);
  EXPECT_FALSE(comparison.same_validation);
  ASSERT_EQ(comparison.warnings.size(), 1U);
  EXPECT_EQ(comparison.warnings[0].rfind("validation errors cannot be compared", 0), 0U);
}

TEST_F(CompareRunsTest, ManyDifferentPartsMakeNoLongWarning) {
  for (int fold = 1; fold <= 9; ++fold) {
    make(fmt::format("cross/fold-{}", fold), [&](MadeRun& run) {
      run.config.test = "";
      run.config.folds = 9;
      run.config.fold = fold;
    });
  }
  const RunComparison comparison = compare_runs({root_.string()});
  EXPECT_EQ(comparison.runs.size(), 9U);
  EXPECT_EQ(comparison.runs[0].name, "fold-1");
  EXPECT_NE(comparison.warnings.at(0).find("; 6 others"), std::string::npos);
}

TEST_F(CompareRunsTest, NamesAreAsLongAsItTakes) {
  make("x/run");
  make("y/run");
  make("y/other");
  RunComparison comparison = compare_runs({path("x"), path("y/run/"), path("y/./other")}, "name");
  EXPECT_EQ(names_of(comparison), (Names{"other", "x/run", "y/run"}));
  make(
      "od\x07"
      "d\xFF \xC3\xA9");
  comparison =
      compare_runs({path("od\x07"
                         "d\xFF \xC3\xA9")});
  EXPECT_EQ(comparison.runs[0].name, "od\\x07d\\xff \xC3\xA9");
  EXPECT_EQ(comparison_table(comparison).find('\x07'), std::string::npos);
  comparison_json(comparison).dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

TEST_F(CompareRunsTest, NarrowTablesHaveFewerOptions) {
  make("a");
  make("b", [](MadeRun& run) {
    run.config.options.dim = 16;
    run.config.options.seed = 5;
    run.config.options.reg = 0.0123456789012;
    run.config.test = "/data/elsewhere/u1.test";
  });
  const RunComparison comparison = compare_runs({root_.string()});
  const auto lines_of = [&](std::size_t width) {
    const std::string table = comparison_table(comparison, {width, false});
    const std::size_t from = table.find("\n\n") + 2;
    return table.substr(from, table.find("\n\n", from) - from);
  };
  EXPECT_NE(lines_of(0).find("elsewhere/u1.test"), std::string::npos);
  EXPECT_EQ(lines_of(0).find("/data/elsewhere"), std::string::npos);
  for (const std::size_t width : {90, 100, 110, 120, 200}) {
    std::size_t longest = 0;
    const std::string lines = lines_of(width);
    for (std::size_t from = 0; from < lines.size();) {
      const std::size_t to = std::min(lines.find('\n', from), lines.size());
      longest = std::max(longest, to - from);
      from = to + 1;
    }
    EXPECT_LE(longest, width);
    EXPECT_NE(lines.find(" dim "), std::string::npos) << lines;
  }
  EXPECT_NE(comparison_table(comparison, {90, false}).find("the table has no room for them: test, reg"),
            std::string::npos);
}

TEST_F(CompareRunsTest, WhatFollowsFromTheModelHasNoColumn) {
  make("a");
  make("b", [](MadeRun& run) {
    run.config.options = {};
    run.config.options.model = ModelKind::mlp;
    run.config.options.layers = {10, 5};
    run.config.options = resolve(run.config.options);
    run.config.options.device = "cpu";
  });
  const std::string table = comparison_table(compare_runs({root_.string()}));
  const std::string rows = table.substr(table.find("run "), table.find("\n\n*") - table.find("run "));
  for (const char* shown : {"model", "layers", "10,5", "lr"}) {
    EXPECT_NE(rows.find(shown), std::string::npos) << shown;
  }
  EXPECT_EQ(rows.find("dropout"), std::string::npos);
  EXPECT_NE(table.find("\nthese options differ because their defaults depend on model, optimizer and preset: user_dim, "
                       "item_dim, activations"),
            std::string::npos);
}

TEST_F(CompareRunsTest, Json) {
  make("a", [](MadeRun& run) { run.test_rmse = 0.93; });
  make("b", [](MadeRun& run) {
    run.validation_rmse = 0;
    run.config.options.seed = ~std::uint64_t{0};
  });
  const auto json = comparison_json(compare_runs({root_.string()}));
  EXPECT_EQ(json["sorted_by"], "test_rmse");
  EXPECT_EQ(json["differing_options"], nlohmann::ordered_json::parse("[\"seed\"]"));
  EXPECT_EQ(json["best"]["test_rmse"], path("b"));
  EXPECT_FALSE(json["best"].contains("validation_rmse"));  // one run alone has that
  const auto& run = json["runs"][0];
  EXPECT_EQ(run["run"], path("b"));
  EXPECT_EQ(run["options"]["seed"].get<std::uint64_t>(), ~std::uint64_t{0});
  EXPECT_TRUE(run["options"]["layers"].is_null());
  EXPECT_EQ(run["parameters"], 7);
  EXPECT_TRUE(run["validation"].is_null());
  EXPECT_EQ(run["test"]["ratings"], 1000);
  EXPECT_EQ(run["tested_on"], "/data/u1.test");
  ASSERT_EQ(run["history"].size(), 3U);
  EXPECT_EQ(run["history"][2]["train_rmse"], 0.8);
}

TEST_F(CompareRunsTest, CurvesAddUpTheSeconds) {
  make("a", [](MadeRun& run) { run.seconds = 3.0; });
  make("b", [](MadeRun& run) {
    run.validation_rmse = 0;
    run.test_rmse = 0.95;
  });
  const PlotPage page = comparison_plot(compare_runs({root_.string()}));
  EXPECT_TRUE(page.shared_legend);
  ASSERT_EQ(page.panels.size(), 2U);
  const auto& by_epoch = std::get<LinePanel>(page.panels[0]);
  const auto& by_seconds = std::get<LinePanel>(page.panels[1]);
  EXPECT_EQ(by_epoch.x_scale, LinePanel::Scale::whole_numbers);
  EXPECT_EQ(by_seconds.x_scale, LinePanel::Scale::linear);
  ASSERT_EQ(by_seconds.series.size(), 2U);
  EXPECT_EQ(by_seconds.series[0].name, "a");
  EXPECT_EQ(by_seconds.series[1].name, "b (learnt)");
  ASSERT_EQ(by_seconds.series[0].points.size(), 3U);
  EXPECT_NEAR(by_seconds.series[0].points[2].first, 3.0, 1e-9);
  EXPECT_NEAR(by_seconds.series[0].points[2].second, 0.95, 1e-9);
  EXPECT_EQ(by_epoch.series[0].points[2].first, 3.0);
  EXPECT_EQ(by_epoch.series[0].ring, 2U);
  EXPECT_NEAR(by_epoch.series[1].points[2].second, 0.8, 1e-9);
}

TEST_F(CompareRunsTest, RunsOfUnlikeLengthsHaveALogarithmicAxis) {
  make("a");
  make("b", [](MadeRun& run) { run.seconds = 150.0; });
  const PlotPage page = comparison_plot(compare_runs({root_.string()}));
  EXPECT_EQ(std::get<LinePanel>(page.panels[1]).x_scale, LinePanel::Scale::logarithmic);
}

TEST_F(CompareRunsTest, HighFirstErrorsAreCutOff) {
  make("a", [](MadeRun& run) { run.epochs = 30; });
  EXPECT_FALSE(std::get<LinePanel>(comparison_plot(compare_runs({path("a")})).panels[0]).y_limit);
  std::string history = read_file(path("a/history.csv"));
  const std::size_t first = history.find('\n') + 1;
  history.replace(first, history.find('\n', first) - first, "1,0.05,9.0,40.0,0.05,1000000");
  write_file_atomically(path("a/history.csv"), history);
  const PlotPage page = comparison_plot(compare_runs({path("a")}));
  const auto& panel = std::get<LinePanel>(page.panels[0]);
  ASSERT_TRUE(panel.y_limit);
  EXPECT_LT(*panel.y_limit, 10.0);
  EXPECT_NE(page.note.find("cut off"), std::string::npos);
}

TEST_F(CompareRunsTest, WhatIsNoRunIsRefused) {
  EXPECT_NE(refusal([&] { find_runs({path("none")}); }).find(path("none") + ": "), std::string::npos);
  write_file_atomically(path("file"), "x");
  EXPECT_NE(refusal([&] { find_runs({path("file")}); }).find("not a directory; give"), std::string::npos);
  fs::create_directories(root_ / "empty" / "inside");
  EXPECT_NE(refusal([&] { find_runs({path("empty")}); }).find("config.toml is missing; give a run directory"),
            std::string::npos);
  fs::remove(fs::path(make("half")) / "config.toml");
  EXPECT_NE(refusal([&] { find_runs({path("half")}); }).find("config.toml: missing, so"), std::string::npos);
  EXPECT_THROW(find_runs({""}), InputError);
}

TEST_F(CompareRunsTest, ARunTwiceIsRefused) {
  make("runs/a");
  EXPECT_NE(refusal([&] { find_runs({path("runs/a"), path("runs/a")}); }).find("given twice; give"), std::string::npos);
  EXPECT_NE(refusal([&] { find_runs({path("runs/a"), path("runs")}); }).find("given twice; give"), std::string::npos);
  EXPECT_NE(refusal([&] { find_runs({path("runs/a"), path("runs/a/")}); }).find("the same run as"), std::string::npos);
  fs::create_directory_symlink(root_ / "runs" / "a", root_ / "link");
  EXPECT_NE(refusal([&] { find_runs({path("link"), path("runs")}); }).find("the same run as"), std::string::npos);
}

TEST_F(CompareRunsTest, FilesThatAreMissingOrOfAnotherRunAreNamed) {
  for (const char* name : {"metrics.json", "history.csv", "model.safetensors"}) {
    make("a");
    fs::remove(root_ / "a" / name);
    EXPECT_NE(refusal([&] { compare_runs({path("a")}); }).find(path("a/") + name), std::string::npos) << name;
  }
  make("a");
  make("b", [](MadeRun& run) { run.epochs = 2; });
  fs::copy_file(root_ / "b" / "history.csv", root_ / "a" / "history.csv", fs::copy_options::overwrite_existing);
  EXPECT_NE(refusal([&] { compare_runs({path("a")}); }).find("history.csv: the file has 2 epochs, but"),
            std::string::npos);
}

}  // namespace
}  // namespace curate
