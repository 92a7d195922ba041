// Data sets written in every layout and read back, parts of a split as files, and the folders they go into.

#include "data/write_layouts.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "curate/error.h"
#include "data/feature_table.h"
#include "data/split_request.h"
#include "runs/run_data.h"
#include "support/buffered_file.h"

namespace curate {
namespace {

namespace fs = std::filesystem;

class WriteLayoutsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "curate_layouts_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  void write(const std::string& name, const std::string& content) const {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name, std::ios::binary) << content;
  }

  std::string content(const std::string& name) const {
    std::ostringstream text;
    text << std::ifstream(folder_ / name, std::ios::binary).rdbuf();
    return text.str();
  }

  std::vector<std::string> files(const std::string& name) const {
    std::vector<std::string> found;
    for (const auto& entry : fs::recursive_directory_iterator(folder_ / name)) {
      found.push_back(fs::relative(entry.path(), folder_ / name).string());
    }
    std::sort(found.begin(), found.end());
    return found;
  }

  /// The data set at `from` in `layout`, in the folder `to`.
  LayoutLosses convert(const std::string& from, const std::string& layout, const std::string& to) const {
    const Dataset dataset = read_dataset(from);
    const UserTable users = read_user_file(*files_beside(dataset.source), dataset.layout);
    OutputFolder folder(path(to), false, is_layout_file);
    const LayoutLosses losses = write_layout(dataset, users, layout, folder);
    folder.commit();
    return losses;
  }

  /// Where to read what was written: the folder, or the file for those that are no MovieLens layout.
  std::string written(const std::string& layout, const std::string& to) const {
    return path(layout == "tsv" ? to + "/ratings.tsv" : layout == "csv" ? to + "/ratings.csv" : to);
  }

  fs::path folder_;
};

using WrittenRow = std::tuple<std::int64_t, std::int64_t, float, std::int64_t>;

std::vector<WrittenRow> written_rows(const Dataset& dataset, const RatingTable& table) {
  std::vector<WrittenRow> rows;
  for (std::size_t k = 0; k < table.ratings.size(); ++k) {
    rows.emplace_back(dataset.users.raw(table.users[k]), dataset.items.raw(table.items[k]), table.ratings[k],
                      table.has_timestamps() ? table.timestamps[k] : -1);
  }
  return rows;
}

std::vector<WrittenRow> written_rows(const Dataset& dataset) {
  return written_rows(dataset, dataset.ratings);
}

const std::string kUUser = "7|24|M|technician|85711\n-3|17|F|student|\n9||||\n";
const std::string kUItem =
    "100|Mis\xE9rables, \"Les\" (1995)|01-Jan-1995||http://x|0|1|1\n200|Toy: Story::2 (1999)|||x|0|0|0\n"
    "300|No year|05-Mar-1987||x|1|0|0\n";
const std::string kUGenre = "unknown|0\nDrama|1\nMusical|2\n";

class EveryLayout : public WriteLayoutsTest, public ::testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    WriteLayoutsTest::SetUp();
    write("from/u.data",
          "7\t100\t5\t881250949\n-3\t300\t1\t5\n7\t200\t3\t891717742\n12345678901\t100\t4\t-6\n9\t9\t2\t1\n");
    write("from/u.item", kUItem);
    write("from/u.genre", kUGenre);
    write("from/u.user", kUUser);
  }
};

TEST_P(EveryLayout, ReadsBackTheSame) {
  const std::string layout = GetParam();
  convert(path("from"), layout, "to");
  const Dataset before = read_dataset(path("from"));
  const Dataset after = read_dataset(written(layout, "to"));
  EXPECT_EQ(written_rows(after), written_rows(before));
  ASSERT_EQ(after.items.size(), before.items.size());
  for (std::int32_t item = 0; item < before.items.size(); ++item) {
    const auto index = static_cast<std::size_t>(item);
    EXPECT_EQ(after.title(item), before.title(item));
    EXPECT_EQ(after.item_info[index].genres, before.item_info[index].genres);
    if (layout == "ml-100k" || layout == "tsv") {
      EXPECT_EQ(after.item_info[index].year, before.item_info[index].year);
    }
  }
  const UserTable users = read_user_file(*files_beside(after.source), after.layout);
  EXPECT_EQ(users.size(), 3U);
  EXPECT_EQ(users.at(7).sex, "M");
  EXPECT_EQ(users.at(7).zip, "85711");
  EXPECT_EQ(age_group(users.at(7).age), age_group(24));
  EXPECT_EQ(users.at(7).occupation, layout == "ml-1m" ? "technician/engineer" : "technician");
  EXPECT_EQ(users.at(9).age, UserInfo::kUnknownAge);
  EXPECT_EQ(users.at(9).occupation, "");
}

TEST_P(EveryLayout, WithoutTimesAndSideFiles) {
  const std::string layout = GetParam();
  write("plain.csv", "1,2,3\n1,3,4\n");
  convert(path("plain.csv"), layout, "to");
  EXPECT_EQ(files("to").size(), 1U);
  const Dataset after = read_dataset(written(layout, "to"));
  EXPECT_EQ(written_rows(after), (std::vector<WrittenRow>{{1, 2, 3.0F, -1}, {1, 3, 4.0F, -1}}));
}

TEST_P(EveryLayout, FromEveryOther) {
  const std::string layout = GetParam();
  const std::vector<WrittenRow> rows = written_rows(read_dataset(path("from")));
  convert(path("from"), layout, "to");
  for (const std::string_view name : layout_names()) {
    const std::string other(name);
    convert(written(layout, "to"), other, "to-" + other);
    const Dataset after = read_dataset(written(other, "to-" + other));
    EXPECT_EQ(written_rows(after), rows) << other;
    EXPECT_EQ(after.title(0), "Misérables, \"Les\" (1995)") << other;
    EXPECT_EQ(after.item_info[0].genres, "Drama|Musical") << other;
    EXPECT_EQ(read_user_file(*files_beside(after.source), after.layout).at(-3).sex, "F") << other;
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, EveryLayout, ::testing::Values("ml-csv", "ml-1m", "ml-100k", "csv", "tsv"),
                         [](const auto& layout) {
                           std::string name = layout.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST_F(WriteLayoutsTest, AreThoseOfMovielens) {
  write("from/ratings.dat", "2::20::5::11\n1::10::3::10\n");
  write("from/movies.dat", "10::A, B (1990)::Children's|War\n20::C::(no genres listed)\n");
  write("from/users.dat", "2::F::1::10::48067\n1::M::25::0::\n");
  convert(path("from"), "ml-1m", "1m");
  EXPECT_EQ(content("1m/ratings.dat"), content("from/ratings.dat"));
  EXPECT_EQ(content("1m/movies.dat"), content("from/movies.dat"));
  EXPECT_EQ(content("1m/users.dat"), "1::M::25::0::\n2::F::1::10::48067\n");
  convert(path("from"), "ml-csv", "csv");
  EXPECT_EQ(content("csv/ratings.csv"), "userId,movieId,rating,timestamp\n2,20,5.0,11\n1,10,3.0,10\n");
  EXPECT_EQ(content("csv/movies.csv"),
            "movieId,title,genres\n10,\"A, B (1990)\",Children's|War\n20,C,(no genres listed)\n");
  EXPECT_EQ(content("csv/users.csv"),
            "userId,gender,age,occupation,zip\n1,M,25-34,other,\n2,F,under 18,K-12 student,48067\n");
  convert(path("from"), "ml-100k", "100k");
  EXPECT_EQ(content("100k/u.data"), "2\t20\t5\t11\n1\t10\t3\t10\n");
  EXPECT_EQ(content("100k/u.item"),
            "10|A, B (1990)|01-Jan-1990|||0|0|0|0|1|0|0|0|0|0|0|0|0|0|0|0|0|1|0\n"
            "20|C||||1|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0\n");
  EXPECT_EQ(content("100k/u.user"), "1|25|M|other|\n2|1|F|K-12 student|48067\n");
  EXPECT_EQ(content("100k/u.occupation"), "K-12 student\nother\n");
  convert(path("from"), "tsv", "tsv");
  EXPECT_EQ(content("tsv/ratings.tsv"), "user\titem\trating\ttimestamp\n2\t20\t5\t11\n1\t10\t3\t10\n");
}

TEST_F(WriteLayoutsTest, GroupsOfAgesStayGroupsInCsv) {
  write("from/ratings.dat", "2::20::5::11\n");
  write("from/users.dat", "2::F::56::10::48067\n");
  convert(path("from"), "ml-csv", "csv");
  convert(path("csv"), "ml-1m", "1m");
  EXPECT_EQ(content("1m/users.dat"), "2::F::56::10::48067\n");
}

TEST_F(WriteLayoutsTest, GenresBeyondTheUsualOnesAreListed) {
  write("from/ratings.csv", "userId,movieId,rating\n1,10,3\n1,20,4\n");
  write("from/movies.csv", "movieId,title,genres\n10,A,IMAX|Comedy\n20,B,\n");
  convert(path("from"), "ml-100k", "to");
  EXPECT_EQ(content("to/u.genre"), "unknown|0\nComedy|1\nIMAX|2\n");
  EXPECT_EQ(content("to/u.item"), "10|A||||0|1|1\n20|B||||1|0|0\n");
  EXPECT_EQ(read_dataset(path("to")).item_info[0].genres, "Comedy|IMAX");
}

TEST_F(WriteLayoutsTest, LossesAreCounted) {
  write("from/u.data", "1\t10\t3\t5\n2\t20\t4\t5\n3\t30\t4\t5\n");
  write("from/u.item", "10|A (1990)||||0\n20|B|01-Jan-1991|||0\n30|C::D||||0\n");
  write("from/u.genre", "unknown|0\n");
  write("from/u.user", "1|24|M|engineer|1::2\n2|30|F|writer|5\n3||F||5\n");
  const LayoutLosses dat = convert(path("from"), "ml-1m", "1m");
  EXPECT_EQ(dat.years, 1);
  EXPECT_EQ(dat.ages, 2);
  EXPECT_EQ(dat.occupations, 1);
  EXPECT_EQ(dat.texts, 1);
  EXPECT_EQ(content("1m/users.dat"), "1::M::18::17::1:2\n2::F::25::20::5\n3::F::::::5\n");
  write("multi/ratings.csv", "userId,movieId,rating\n1,10,3\n1,20,3\n");
  write("multi/movies.csv", "movieId,title,genres\n10,\"A|B\nC\",War\n20,D,\n");
  EXPECT_EQ(convert(path("multi"), "csv", "csv").texts, 0);
  EXPECT_EQ(read_dataset(path("csv")).title(0), "A|B\nC");
  EXPECT_EQ(convert(path("multi"), "tsv", "tsv").texts, 1);
  EXPECT_EQ(read_dataset(path("tsv/ratings.tsv")).title(0), "A/B C");
}

TEST_F(WriteLayoutsTest, RatingsThatDoNotFitAreRefused) {
  write("half.csv", "userId,movieId,rating\n1,10,3\n7,20,3.5\n");
  write("ten.csv", "userId,movieId,rating\n1,10,3\n7,20,8\n");
  const auto refused = [&](const std::string& file, const std::string& layout, const std::string& what) {
    try {
      convert(path(file), layout, "to");
      ADD_FAILURE() << "no InputError";
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find(what), std::string::npos) << error.what();
    }
    EXPECT_FALSE(fs::exists(folder_ / "to"));
  };
  for (const std::string layout : {"ml-1m", "ml-100k"}) {
    refused("half.csv", layout,
            "user 7 rated item 20 with 3.5, but " + layout +
                " holds whole stars from 1 to 5 only, no half stars; use `layout` ml-csv");
    refused("ten.csv", layout, "whole stars from 1 to 5 only; use `layout` csv");
  }
  refused("ten.csv", "ml-csv", "user 7 rated item 20 with 8, but ml-csv holds ratings from 0.5 to 5 only");
  refused("ten.csv", "ml-2m", "`layout` ml-2m: not one of ml-csv, ml-1m, ml-100k, csv, tsv");
}

TEST_F(WriteLayoutsTest, AnyRatingsReadBackInCsvAndTsv) {
  std::mt19937 random(3);
  std::string text = "userId,movieId,rating\n";
  const std::vector<std::string> ratings = {"0",        "-0.5", "-3", "0.1",  "3.14159274", "1e-30", "1e30",
                                            "16777216", "99.5", "4",  "1e20", "3.5",        "-1e5"};
  for (std::size_t k = 0; k < ratings.size(); ++k) {
    text += std::to_string(k) + "," + std::to_string(random()) + "," + ratings[k] + "\n";
  }
  write("any.csv", text);
  for (const std::string layout : {"csv", "tsv"}) {
    convert(path("any.csv"), layout, layout);
    EXPECT_EQ(written_rows(read_dataset(written(layout, layout))), written_rows(read_dataset(path("any.csv"))));
  }
}

TEST_F(WriteLayoutsTest, IdsOfAnyLengthReadBack) {
  std::string text = "userId,movieId,rating,timestamp\n";
  for (std::size_t length = 1; length < 70; ++length) {
    text += std::string(length, 'u') + ",\"" + std::string(length, 'i') + ", \"\"x\"\"\",3.5,1000000000\n";
    text += "u" + std::string(length, '9') + "," + std::string(length, 'i') + ",4,999999999\n";
  }
  write("long.csv", text);
  for (const std::string layout : {"csv", "tsv"}) {
    convert(path("long.csv"), layout, layout);
    const Dataset from = read_dataset(path("long.csv"));
    const Dataset back = read_dataset(written(layout, layout));
    ASSERT_EQ(back.ratings.size(), from.ratings.size());
    for (std::size_t k = 0; k < from.ratings.ratings.size(); ++k) {
      EXPECT_EQ(back.users.text(back.ratings.users[k]), from.users.text(from.ratings.users[k]));
      EXPECT_EQ(back.items.text(back.ratings.items[k]), from.items.text(from.ratings.items[k]));
      EXPECT_EQ(back.ratings.timestamps[k], from.ratings.timestamps[k]);
    }
  }
}

TEST(SplitRequests, AreParsed) {
  EXPECT_EQ(parse_split("random:0.25")->kind, SplitRequest::Kind::random);
  EXPECT_EQ(parse_split("random:0.25")->fraction, 0.25);
  EXPECT_EQ(parse_split("time:0.5")->kind, SplitRequest::Kind::time);
  EXPECT_EQ(parse_split("folds:5")->folds, 5);
  for (const char* text : {"", "random", "random:", "random:0", "random:1", "random:0.1x", "random:nan", "time:-1",
                           "folds:", "folds:2.5", "folds:99999999999", "folds:5 ", "none", "0.1", ":0.1"}) {
    EXPECT_FALSE(parse_split(text).has_value()) << text;
  }
}

class PartsTest : public WriteLayoutsTest {
 protected:
  /// The part files hold what training takes.
  void expect_as_trained(const RunConfig& config, const Split& parts) {
    const RunData data = load_run_data(config);
    OutputFolder folder(path("parts"), true, [](std::string_view name) { return name.ends_with(".csv"); });
    write_part(data.dataset, parts.train, "train.csv", folder);
    write_part(data.dataset, parts.test, "test.csv", folder);
    folder.commit();
    // Training reads timestamps where it splits by them.
    ReadOptions read;
    read.timestamps = data.train.has_timestamps();
    EXPECT_EQ(read.timestamps, config.split.starts_with("time"));
    const Dataset train = read_dataset(path("parts/train.csv"), read);
    const Dataset test = read_dataset(path("parts/test.csv"), read);
    EXPECT_EQ(written_rows(train), written_rows(data.dataset, data.train));
    EXPECT_EQ(written_rows(test), written_rows(data.dataset, *data.test));
  }
};

TEST_F(PartsTest, AreThoseOfTraining) {
  std::string text = "userId,movieId,rating,timestamp\n";
  std::mt19937 random(5);
  for (int k = 0; k < 500; ++k) {
    text += std::to_string(random() % 40) + "," + std::to_string(k) + "," + std::to_string(random() % 10) + "." +
            std::to_string(random() % 10) + "," + std::to_string(random() % 1000) + "\n";
  }
  write("data.csv", text);
  const Dataset dataset = read_dataset(path("data.csv"));
  RunConfig config;
  config.data = path("data.csv");
  config.options.seed = 77;
  for (const char* split : {"random:0.1", "random:0.37", "time:0.2"}) {
    config.split = split;
    expect_as_trained(config, split_as_asked(dataset.ratings, *parse_split(split), 77));
  }
  config.split = "";
  config.folds = 3;
  const std::vector<std::int32_t> fold_of = assign_folds(dataset.ratings.size(), 3, 77);
  for (config.fold = 1; config.fold <= 3; ++config.fold) {
    expect_as_trained(config, split_fold(dataset.ratings, fold_of, config.fold - 1));
  }
}

TEST_F(WriteLayoutsTest, FoldersAreMadeWholeOrNotAtAll) {
  const auto ours = [](std::string_view name) { return name == "a" || name == "b"; };
  const auto put = [](OutputFolder& folder, const std::string& name, const std::string& text) {
    BufferedFile file(folder.stage(name), folder.label(name));
    file.append(text);
    file.close();
  };
  {
    OutputFolder folder(path("x/y"), false, ours);
    put(folder, "a", "1");
  }
  EXPECT_FALSE(fs::exists(folder_ / "x"));
  {
    OutputFolder folder(path("x/y"), false, ours);
    put(folder, "a", "1");
    put(folder, "b", "2");
    EXPECT_EQ(files("x/y"), (std::vector<std::string>{".publishing", ".publishing/lock", ".publishing/new",
                                                      ".publishing/new/a", ".publishing/new/b"}));
    folder.commit();
  }
  EXPECT_EQ(files("x/y"), (std::vector<std::string>{"a", "b"}));
  EXPECT_THROW(OutputFolder(path("x/y"), false, ours), InputError);
  write("x/y/other", "stays");
  {
    OutputFolder folder(path("x/y"), true, ours);
    put(folder, "a", "3");
  }
  EXPECT_EQ(content("x/y/a"), "1");
  {
    OutputFolder folder(path("x/y"), true, ours);
    put(folder, "a", "3");
    folder.commit();
  }
  EXPECT_EQ(files("x/y"), (std::vector<std::string>{"a", "other"}));
  EXPECT_EQ(content("x/y/a"), "3");
}

TEST_F(WriteLayoutsTest, BuffersOfAnySize) {
  std::mt19937 random(11);
  std::string expected;
  {
    BufferedFile file(path("file"), "file");
    for (int k = 0; k < 300000; ++k) {
      const auto value = static_cast<std::int64_t>(random()) - 2000000000;
      file.append_number(value);
      file.append(',');
      expected += std::to_string(value) + ",";
    }
    for (const std::size_t size : {std::size_t{1} << 20U, (std::size_t{1} << 20U) + 1, std::size_t{3} << 20U}) {
      file.append(std::string(size, 'x'));
      expected += std::string(size, 'x');
    }
    file.append_number(std::numeric_limits<std::int64_t>::min());
    expected += "-9223372036854775808";
    file.close();
  }
  EXPECT_EQ(content("file"), expected);
  EXPECT_THROW(BufferedFile(path("missing/file"), "file"), Error);
}

}  // namespace
}  // namespace curate
