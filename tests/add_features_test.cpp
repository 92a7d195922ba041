// Features of users and items: what a data set's own files and columns of other files say, made into values per row.

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "curate/dataset.h"
#include "curate/error.h"
#include "data/feature_request.h"

namespace curate {
namespace {

namespace fs = std::filesystem;

using Names = std::vector<std::string>;

/// What messages tell the reader to do.
constexpr std::array<const char*, 6> kRemedies = {" write ", "give ", "; name", "; correct", "; check", "; unpack"};

class AddFeatures : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "curate_add_features_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string write(const std::string& name, std::string_view content) const {
    const fs::path path = folder_ / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << content;
    return path.string();
  }

  /// Users 1 to 3 and items 10, 20, 30, in this order.
  void write_csv() const {
    write("ratings.csv", "userId,movieId,rating\n1,10,3\n2,20,4\n3,30,5\n");
    write("movies.csv", "movieId,title,genres\n10,A (1990),War|Drama|War\n20,B,\n30,C (1995),Drama\n");
  }

  std::vector<Feature> read(const std::string& wanted, const std::string& data = "") const {
    Dataset dataset = read_dataset((data.empty() ? folder_ : folder_ / data).string());
    add_features(dataset, wanted);
    check_features(dataset.features, dataset.users.size(), dataset.items.size());
    return dataset.features;
  }

  Feature read_one(const std::string& wanted, const std::string& data = "") const {
    std::vector<Feature> features = read(wanted, data);
    EXPECT_EQ(features.size(), 1U);
    return features.at(0);
  }

  /// A column `x` of numbers for items 0, 1, 2, ...; "" is missing.
  Feature read_numbers(const Names& numbers, const std::string& kind = ":number") const {
    std::string ratings = "userId,itemId,rating\n";
    std::string table = "itemId,x\n";
    for (std::size_t item = 0; item < numbers.size(); ++item) {
      ratings += fmt::format("1,{},3\n", item);
      table += fmt::format("{},{}\n", item, numbers[item]);
    }
    write("numbers/ratings.csv", ratings);
    const std::string file = write("numbers/table.csv", table);
    return read_one(fmt::format("{}:x{}", file, kind), "numbers/ratings.csv");
  }

  /// The message of the InputError has all of the parts, and a remedy.
  void expect_refused(const std::string& wanted, const Names& parts, const std::string& data = "") const {
    try {
      read(wanted, data);
      ADD_FAILURE() << "no InputError: " << wanted;
    } catch (const InputError& error) {
      const std::string message = error.what();
      for (const std::string& part : parts) {
        EXPECT_NE(message.find(part), std::string::npos) << message << "\nlacks: " << part;
      }
      const bool remedy = std::any_of(kRemedies.begin(), kRemedies.end(),
                                      [&](const char* word) { return message.find(word) != std::string::npos; });
      EXPECT_TRUE(remedy) << message << "\nlacks a remedy";
      const bool one_line = std::none_of(message.begin(), message.end(), [](char c) { return c >= 0 && c < 0x20; });
      EXPECT_TRUE(one_line) << message;
    }
  }

  fs::path folder_;
};

/// The values of a row.
Names row(const Feature& feature, std::size_t at) {
  Names names;
  for (std::int32_t k = feature.starts.at(at); k < feature.starts.at(at + 1); ++k) {
    names.push_back(feature.values.at(static_cast<std::size_t>(feature.ids.at(static_cast<std::size_t>(k)))));
  }
  return names;
}

/// The only value of every row, "" where it is unknown.
Names rows(const Feature& feature) {
  Names all;
  for (std::size_t at = 0; at + 1 < feature.starts.size(); ++at) {
    const Names values = row(feature, at);
    EXPECT_EQ(values.size(), 1U);
    const bool known = feature.knows(static_cast<std::int32_t>(at));
    EXPECT_EQ(known, values.at(0) != feature.values.at(0));
    all.push_back(known ? values.at(0) : "");
  }
  return all;
}

TEST_F(AddFeatures, OfAFolderOf100k) {
  write("u.data", "1\t1\t3\t5\n2\t2\t4\t5\n3\t2\t4\t5\n");
  write("u.item",
        "1|Toy Story (1995)|01-Jan-1995||http://x|0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0\n"
        "2|unknown||||1|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0\n");
  write("u.user", "1|24|M|writer|1\n3|53|F|other|2\n");
  const std::vector<Feature> features = read("genres, year,age ,sex,occupation,age_group");
  Names prefixes;
  for (const Feature& feature : features) {
    prefixes.push_back(feature.prefix());
    EXPECT_EQ(feature.values.at(0), "(unknown)");
  }
  EXPECT_EQ(prefixes, (Names{"item.genres", "item.year", "user.age", "user.sex", "user.occupation", "user.age_group"}));
  EXPECT_EQ(features[0].kind, FeatureKind::multi);
  EXPECT_EQ(row(features[0], 0), (Names{"Animation", "Children's", "Comedy"}));
  EXPECT_EQ(row(features[0], 1), Names{"(unknown)"});
  EXPECT_EQ(rows(features[1]), (Names{"1995", ""}));
  EXPECT_EQ(features[2].kind, FeatureKind::number);
  EXPECT_EQ(rows(features[2]), (Names{"24", "", "53"}));
  EXPECT_EQ(features[3].kind, FeatureKind::category);
  EXPECT_EQ(features[3].values, (Names{"(unknown)", "F", "M"}));
  EXPECT_EQ(rows(features[3]), (Names{"M", "", "F"}));
  EXPECT_EQ(rows(features[4]), (Names{"writer", "", "other"}));
  // All groups there are, found or not.
  EXPECT_EQ(features[5].values.size(), 8U);
  EXPECT_EQ(rows(features[5]), (Names{"18-24", "", "50-55"}));
}

TEST_F(AddFeatures, OfAFolderOf1m) {
  write("ratings.dat", "1::10::3::5\n2::20::4::5\n");
  write("movies.dat", "20::B (1991)::War|Comedy\n");
  write("users.dat", "1::F::25::1::0\n");
  const std::vector<Feature> features = read("age_group,genres,year");
  EXPECT_EQ(rows(features.at(0)), (Names{"25-34", ""}));
  EXPECT_EQ(row(features.at(1), 1), (Names{"Comedy", "War"}));
  EXPECT_EQ(rows(features.at(2)), (Names{"", "1991"}));
  expect_refused("age", {"`features` age: ", folder_.string(), "name one of sex, age_group, occupation, genres, year"});
}

TEST_F(AddFeatures, OfAFolderOfCsv) {
  write_csv();
  write("tags.csv", "userId,movieId,tag,timestamp\n1,20,Dark,1\n2,20,slow,1\n1,30,dark,1\n1,99,other,1\n");
  write("users.csv", "userId,age\n2,30\n");
  const std::vector<Feature> features = read("tags,genres,age");
  EXPECT_EQ(features.at(0).values, (Names{"(unknown)", "dark", "slow"}));
  EXPECT_EQ(row(features.at(0), 0), Names{"(unknown)"});
  EXPECT_EQ(row(features.at(0), 1), (Names{"dark", "slow"}));
  EXPECT_EQ(row(features.at(0), 2), Names{"dark"});
  EXPECT_EQ(row(features.at(1), 0), (Names{"Drama", "War"}));
  EXPECT_EQ(rows(features.at(2)), (Names{"", "30", ""}));
  expect_refused("genre",
                 {"`features` genre: ", "name one of age, age_group, genres, year, tags, or give FILE:COLUMN"});
  expect_refused("tags,tags", {"item.tags comes twice"});
}

TEST_F(AddFeatures, WhatIsNotThere) {
  write("ratings.csv", "userId,movieId,rating\n1,10,3\n");
  expect_refused("genres", {"`features` genres: ", folder_.string(), "give FILE:COLUMN"});
  expect_refused("tags", {"`features` tags: "});
  write_csv();
  expect_refused("a\x1b[2Jb", {"without tabs, line ends and other control characters"});
  expect_refused("genres,,year", {"`features` genres,,year: a name is missing"});
  expect_refused("genres,", {"a name is missing"});
  expect_refused("", {"a name is missing"});
  expect_refused(" ", {"a name is missing"});
  expect_refused("genres,year,genres", {"item.genres comes twice; name it once"});
}

TEST_F(AddFeatures, OfSyntheticData) {
  Dataset dataset = generate_dataset(SyntheticOptions()).dataset;
  add_features(dataset, "genres");
  EXPECT_GT(dataset.features.at(0).values.size(), 2U);
  EXPECT_THROW(add_features(dataset, "tags"), InputError);
}

TEST_F(AddFeatures, AreMadeAnew) {
  write_csv();
  Dataset dataset = read_dataset(folder_.string());
  add_features(dataset, "genres");
  EXPECT_THROW(add_features(dataset, "year,none"), InputError);
  EXPECT_EQ(dataset.features.at(0).name, "genres");
  add_features(dataset, "year");
  ASSERT_EQ(dataset.features.size(), 1U);
  EXPECT_EQ(dataset.features[0].name, "year");
}

TEST_F(AddFeatures, OfItemsOfATestFileElsewhere) {
  write_csv();
  write("movies.csv", "movieId,title,genres\n10,A (1990),War\n40,D (1999),Drama\n50,E (1998),War\n");
  write("users.csv", "userId,age\n7,30\n");
  write("test/u.item", "no item file of this layout\n");
  const std::string test = write("test/more.csv", "7,40,3\n1,50,3\n1,60,3\n");
  Dataset dataset = read_dataset(folder_.string());
  read_more_ratings(dataset, test);
  add_features(dataset, "year,age");
  EXPECT_EQ(rows(dataset.features.at(0)), (Names{"1990", "", "", "1999", "1998", ""}));
  EXPECT_EQ(rows(dataset.features.at(1)), (Names{"", "", "", "30"}));
  EXPECT_EQ(dataset.title(3), "D (1999)");
  // What lies beside the test file goes first.
  write("test/movies.csv", "movieId,title,genres\n40,D (2001),Drama\n");
  dataset = read_dataset((folder_ / "ratings.csv").string());
  read_more_ratings(dataset, test);
  add_features(dataset, "year");
  EXPECT_EQ(rows(dataset.features.at(0)), (Names{"1990", "", "", "2001", "1998", ""}));
}

TEST_F(AddFeatures, ColumnsOfFiles) {
  write_csv();
  const std::string items = write("items.csv",
                                  "\xEF\xBB\xBFitemId,Studio,cast,\"a, b\"\r\n"
                                  "30,  MGM ,x|y||x, 1\r\n"
                                  "10,\"Fox, \"\"20th\"\"\",y,\r\n"
                                  "\r\n"
                                  "99,Nobody,z,7\r\n");
  const Feature studio = read_one(items + ":Studio");
  EXPECT_EQ(studio.prefix(), "item.Studio");
  EXPECT_EQ(studio.kind, FeatureKind::category);
  EXPECT_EQ(studio.values, (Names{"(unknown)", "Fox, \"20th\"", "MGM"}));  // of ids without ratings nothing is taken
  EXPECT_EQ(rows(studio), (Names{"Fox, \"20th\"", "", "MGM"}));
  const Feature cast = read_one(items + ":cast");
  EXPECT_EQ(cast.kind, FeatureKind::multi);
  EXPECT_EQ(row(cast, 0), Names{"y"});
  EXPECT_EQ(row(cast, 1), Names{"(unknown)"});
  EXPECT_EQ(row(cast, 2), (Names{"x", "y"}));
  const Feature whole = read_one(items + ":cast:category");
  EXPECT_EQ(rows(whole), (Names{"y", "", "x|y||x"}));
  EXPECT_EQ(read_one(items + ":Studio:multi").kind, FeatureKind::multi);

  const std::string users = write("users-more.csv", "USERID,income,sex\n3,-5,\n1,2.5,x\n");
  const std::vector<Feature> both = read(users + ":income:number," + items + ":studio,genres");
  EXPECT_EQ(both.at(0).prefix(), "user.income");
  EXPECT_EQ(both.at(0).kind, FeatureKind::number);
  EXPECT_EQ(rows(both.at(0)), (Names{"2.5", "", "-5"}));
  EXPECT_EQ(both.at(1).prefix(), "item.studio");
  EXPECT_EQ(both.at(2).prefix(), "item.genres");
  EXPECT_EQ(read_one(users + ":income").kind, FeatureKind::category) << "few numbers are as good as names";
}

TEST_F(AddFeatures, AColumnNamedAsTheDataSetsOwn) {
  write_csv();
  const std::string items = write("items.csv", "movieId,genres\n10,Other\n");
  EXPECT_EQ(rows(read_one(items + ":genres")), (Names{"Other", "", ""}));
  expect_refused("genres," + items + ":genres", {"item.genres comes twice"});
  // Users and items may have what is called alike.
  const std::string users = write("people.csv", "userId,genres\n1,Other\n");
  EXPECT_EQ(read("genres," + users + ":genres").size(), 2U);
}

TEST_F(AddFeatures, PathsAndColumnsWithColons) {
  write_csv();
  const std::string file = write("c:d/e:f.csv", "itemId,x:y,number,multi\n10,a,1,b|c\n");
  EXPECT_EQ(read_one(file + ":number").name, "number");
  EXPECT_EQ(read_one(file + ":number").kind, FeatureKind::category);
  EXPECT_EQ(read_one(file + ":number:number").kind, FeatureKind::number);
  EXPECT_EQ(read_one(file + ":multi:category").kind, FeatureKind::category);
  EXPECT_EQ(read_one(file + ":multi").kind, FeatureKind::multi);
  expect_refused(file + ":x:y", {file + ":x: no such file"});  // the last colon counts
  for (const char* text : {":", "a:", ":a", "::number", "a::number"}) {
    expect_refused(text, {fmt::format("`features` {}: write FILE:COLUMN", text)});
  }
  EXPECT_EQ(parse_feature_requests("a.csv:x:number")[0].text(), "a.csv:x:number");
  EXPECT_EQ(parse_feature_requests(file + ":number, genres")[0].text(), file + ":number");
  EXPECT_EQ(parse_feature_requests(file + ":number, genres")[1].text(), "genres");
  EXPECT_EQ(parse_feature_requests("a.csv:number")[0].text(), "a.csv:number");
}

TEST_F(AddFeatures, OddNamesOfColumns) {
  write_csv();
  const std::string name = std::string(5000, 'n') + "/..=\\ \"\xC3\xA9";
  std::string quoted = name;
  quoted.insert(quoted.find('"'), "\"");
  const std::string file = write("items.csv", "itemId,\"" + quoted + "\",\"a\tb\"\n10,x,y\n");
  EXPECT_EQ(read_one(file + ":" + name).name, name);
  expect_refused(file + ":a\tb", {"a feature called 'a\\x09b'", "control characters"});
}

TEST_F(AddFeatures, TextIds) {
  write("names.csv", "user,item,rating\nann,\"the \"\"B\"\"\",3\nb c,007,4\n");
  const std::string users = write("users-more.csv", "userId,x\nb c,1\nANN,2\n");
  EXPECT_EQ(rows(read_one(users + ":x", "names.csv")), (Names{"", "1"}));
  const std::string items = write("items-more.csv", "itemId,x\n7,1\n\"the \"\"B\"\"\",2\n007,3\n");
  EXPECT_EQ(rows(read_one(items + ":x", "names.csv")), (Names{"2", "3"}));
}

TEST_F(AddFeatures, TextThatIsNotUtf8) {
  write_csv();
  const std::string file = write("items.csv", "itemId,x\n10,Mis\xE9rables\n20,b\n");
  EXPECT_EQ(rows(read_one(file + ":x")), (Names{"Mis\xC3\xA9rables", "b", ""}));
}

TEST_F(AddFeatures, FilesThatAreRefused) {
  write_csv();
  struct Case {
    std::string content;
    std::string request;  ///< after the file
    std::string where;    ///< after the file
    std::string what;
  };
  const std::vector<Case> cases = {
      {"itemId,x\n10,a\n", ":y", ":1: ", "the header has no column y; name one that it has"},
      {"id,itemId,x\n1,10,a\n", ":x",
       ":1: ", "the first column has the name \"id\" instead of userId, itemId or movieId; give"},
      {"itemId,x\n10,a\n", ":itemId", ":1: ", "itemId is the column of ids"},
      {"itemId,x\n10,a\n20,b\n10,a\n", ":x", ":4: ", "10 is on line 2 already"},
      {"itemId,x\n10,a\n010,b\n", ":x", ":3: ", "010 is on line 2 already"},
      {"itemId,x\n99,a\n", ":x", ": ", "x has no value for any item with ratings; check that its ids"},
      {"userId,x\n1,\n2,\n", ":x", ": ", "x has no value for any user with ratings"},
      {"itemId,x\n", ":x", ": ", "x has no value"},
      {"itemId,x\n10,1\n20,one\n", ":x:number", ":3: ", "x is not a number (\"one\"); correct it"},
      {"itemId,x\n10,nan\n", ":x:number", ":2: ", "x is not a number"},
      {"itemId,x\n10,-inf\n", ":x:number", ":2: ", "x is not a number"},
      {"itemId,x\n10,1e39\n", ":x:number", ":2: ", "x is not a number"},
      {"itemId,x\n10,0x10\n", ":x:number", ":2: ", "x is not a number"},
      {"itemId,x\n10,1 2\n", ":x:number", ":2: ", "x is not a number"},
      {"itemId,x\n10,a,b\n", ":x", ":2: ", "3 fields separated by comma instead of 2"},
      {"itemId,x\n10,\"a\n", ":x", ":2: ", "a quoted field does not end"},
      {"", ":x", ":1: ", "the file is empty"},
      {"PK\x03\x04", ":x", ":1: ", "zip archive"}};
  for (const Case& one : cases) {
    SCOPED_TRACE(one.content + one.request);
    const std::string file = write("items.csv", one.content);
    expect_refused(file + one.request, {file + one.where, one.what});
  }
  expect_refused((folder_ / "none.csv").string() + ":x", {"none.csv: no such file"});
  expect_refused(folder_.string() + ":x", {folder_.string() + ": this is a folder"});
}

TEST_F(AddFeatures, FewNumbersHaveABucketEach) {
  const Feature feature = read_numbers({"3", "", "1", "+3", "-2.5", "1e-50", "3.0", "-0.5e1"});
  EXPECT_EQ(feature.values, (Names{"(unknown)", "-5", "-2.5", "0", "1", "3"}));
  EXPECT_EQ(rows(feature), (Names{"3", "", "1", "3", "-2.5", "0", "3", "-5"}));
  EXPECT_EQ(read_numbers({"7", "7", "7"}).values, (Names{"(unknown)", "7"}));
  Names ten;
  for (int n = 0; n < 30; ++n) {
    ten.push_back(fmt::format("{}", n % 10));
  }
  EXPECT_EQ(read_numbers(ten).values.size(), 11U);
  EXPECT_EQ(read_numbers(ten, "").kind, FeatureKind::category);
}

TEST_F(AddFeatures, ManyNumbersAreSharedOutEvenly) {
  Names numbers;
  for (int n = 0; n < 100; ++n) {
    numbers.push_back(fmt::format("{}", n * 37 % 100 - 20));  // -20 to 79, each once
  }
  const Feature feature = read_numbers(numbers, "");
  EXPECT_EQ(feature.kind, FeatureKind::number) << "what has many numbers is one";
  EXPECT_EQ(feature.values, (Names{"(unknown)", "-20 to -11", "-10 to -1", "0-9", "10-19", "20-29", "30-39", "40-49",
                                   "50-59", "60-69", "70-79"}));
  for (std::size_t item = 0; item < numbers.size(); ++item) {
    EXPECT_EQ(feature.ids[item], (std::stoi(numbers[item]) + 20) / 10 + 1) << numbers[item];
  }
}

TEST_F(AddFeatures, EqualNumbersStayTogether) {
  Names numbers;
  for (int n = 0; n < 1000; ++n) {
    numbers.push_back(fmt::format("{}", n < 600 ? 5 : n % 40));
  }
  const Feature feature = read_numbers(numbers);
  EXPECT_LE(feature.values.size(), 11U);
  for (std::size_t a = 0; a < numbers.size(); ++a) {
    for (const std::size_t b : {(a * 7 + 1) % 1000, (a + 40) % 1000}) {
      const int first = std::stoi(numbers[a]);
      const int second = std::stoi(numbers[b]);
      if (first == second) {
        EXPECT_EQ(feature.ids[a], feature.ids[b]);
      } else if (first < second) {
        EXPECT_LE(feature.ids[a], feature.ids[b]);
      }
    }
  }
}

TEST_F(AddFeatures, ANumberThatMostRowsHaveLeavesBucketsToTheOthers) {
  Names numbers(950, "0");
  for (int n = 1; n <= 50; ++n) {
    numbers.push_back(fmt::format("{}", n));
  }
  const Feature feature = read_numbers(numbers);
  EXPECT_EQ(feature.values.size(), 11U);
  EXPECT_EQ(feature.values.at(1), "0");
  EXPECT_EQ(feature.values.at(10).substr(feature.values.at(10).size() - 3), "-50");
}

TEST_F(AddFeatures, KnowsWhatLiesOutside) {
  const Feature feature = read_numbers({"1", ""});
  EXPECT_TRUE(feature.knows(0));
  EXPECT_FALSE(feature.knows(1));
  EXPECT_FALSE(feature.knows(2));
  EXPECT_FALSE(feature.knows(-1));
  EXPECT_FALSE(Feature().knows(0));
}

TEST_F(AddFeatures, PartsThatDoNotFitAreRefused) {
  const Feature sound = {"x", FeatureSide::item, FeatureKind::multi, {"(unknown)", "a"}, {0, 1, 3}, {0, 1, 0}};
  EXPECT_NO_THROW(check_features({sound}, 9, 2));
  const auto refused = [&](auto change, const char* what) {
    std::vector<Feature> features = {sound};
    change(features);
    try {
      check_features(features, 9, 2);
      ADD_FAILURE() << what;
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find(what), std::string::npos) << error.what();
    }
  };
  refused([](auto& f) { f.push_back(f[0]); }, "feature item.x: it comes twice");
  refused([](auto& f) { f[0].kind = FeatureKind::vector; }, "models take no vectors");
  refused([](auto& f) { f[0].name = ""; }, "a feature called ''");
  refused([](auto& f) { f[0].name = "a\nb"; }, "a feature called 'a\\x0ab'");
  refused([](auto& f) { f[0].side = FeatureSide::user; }, "2 rows, but there are 9 users");
  refused([](auto& f) { f[0].starts = {}; }, "0 rows, but there are 2 items");
  refused([](auto& f) { f[0].starts = {0, 3}; }, "1 rows");
  refused([](auto& f) { f[0].starts = {1, 2, 3}; }, "its rows do not follow");
  refused([](auto& f) { f[0].starts = {0, 0, 3}; }, "one has no value");
  refused([](auto& f) { f[0].starts = {0, 4, 3}; }, "its rows do not follow");
  refused([](auto& f) { f[0].starts = {0, 1, 2}; }, "its rows do not follow");
  refused([](auto& f) { f[0].ids[1] = 2; }, "a value that the feature does not have");
  refused([](auto& f) { f[0].ids[1] = -1; }, "a value that the feature does not have");
  refused([](auto& f) { f[0].values = {}; }, "a value that the feature does not have");
}

}  // namespace
}  // namespace curate
