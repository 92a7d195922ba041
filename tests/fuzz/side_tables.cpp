// Users, tags and the tag genome from their text, and the columns that are made of them: sound, and the same however
// the text is cut into pieces. Input: a byte that chooses the file (as ASCII: 0 users.dat, 1 u.user, 2 users.csv,
// 3 tags.csv, 4 tags.dat, 5 genome-tags.csv and after an empty line genome-scores.csv, 6 genome-scores.csv alone), then
// the text.

#include <cmath>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "data/feature_table.h"
#include "data/user_info.h"
#include "tests/fuzz/support.h"

namespace curate::fuzz {
namespace {

const std::string kFile = "table";

IdMap some_ids() {
  IdMap ids;
  for (const std::int64_t raw : {1, 2, 3, 7, 10, 100, 5000, -1}) {
    ids.find_or_add(raw);
  }
  return ids;
}

void check_column(const FeatureColumn& column, std::int32_t rows) {
  const auto count = static_cast<std::size_t>(rows);
  for (const std::string& name : column.vocabulary) {
    check(is_utf8(name), "a name that is not UTF-8");
  }
  const auto in_vocabulary = [&](std::int32_t value) {
    return value >= 0 && static_cast<std::size_t>(value) < column.vocabulary.size();
  };
  switch (column.kind) {
    case FeatureKind::category:
      check(column.values.size() == count, "a category column of another length");
      for (const std::int32_t value : column.values) {
        check(value == FeatureColumn::kMissing || in_vocabulary(value), "a value that is not in the vocabulary");
      }
      break;
    case FeatureKind::multi:
      check(column.offsets.size() == count + 1 && column.offsets.front() == 0 &&
                static_cast<std::size_t>(column.offsets.back()) == column.values.size(),
            "offsets that do not fit");
      for (std::size_t row = 0; row < count; ++row) {
        check(column.offsets[row] <= column.offsets[row + 1], "offsets that fall");
      }
      for (const std::int32_t value : column.values) {
        check(in_vocabulary(value), "a value that is not in the vocabulary");
      }
      check(column.counts.empty() || column.counts.size() == column.values.size(), "counts that do not fit");
      for (const std::int32_t times : column.counts) {
        check(times > 0, "a count that is not positive");
      }
      break;
    case FeatureKind::number:
    case FeatureKind::vector:
      check(column.numbers.size() == count * static_cast<std::size_t>(column.width), "numbers that do not fit");
      for (const float number : column.numbers) {
        check(!std::isinf(number), "an infinite number");
      }
      break;
  }
  for (std::int32_t row = 0; row < rows; ++row) {
    column.has(row);
  }
}

void check_users(const UserTable& users) {
  for (const auto& [id, info] : users) {
    check(info.sex.empty() || info.sex == "F" || info.sex == "M", "another sex");
    check(info.age >= UserInfo::kUnknownAge && info.age <= 150, "an impossible age");
    check(is_utf8(info.occupation) && is_utf8(info.zip), "an occupation or zip code that is not UTF-8");
  }
  IdMap ids = some_ids();
  for (const auto& [id, info] : users) {
    if (ids.size() < 20) {
      ids.find_or_add(id);
    }
  }
  const FeatureTable features = user_features(users, ids);
  for (const FeatureColumn& column : features.columns) {
    check_column(column, features.rows);
  }
}

struct Genome {
  FeatureColumn column;
  std::string refusal;
};

Genome read_genome(std::string_view scores, const GenomeTags& tags, const IdMap& items, std::size_t piece) {
  Genome genome;
  genome.refusal = refusal_of([&] {
                     GenomeReader reader(kFile, items, tags);
                     for (std::size_t at = 0; at < scores.size(); at += piece) {
                       reader.feed(scores.substr(at, piece));
                     }
                     genome.column = reader.finish();
                   }).value_or("");
  return genome;
}

void test_genome(std::string_view scores, const GenomeTags& tags, const IdMap& items) {
  const Genome whole = read_genome(scores, tags, items, scores.size() + 1);
  if (whole.refusal.empty()) {
    check_column(whole.column, items.size());
  }
  for (const std::size_t piece : {std::size_t{1}, std::size_t{7}}) {
    const Genome pieces = read_genome(scores, tags, items, piece);
    check(pieces.refusal == whole.refusal, "in pieces another message: " + pieces.refusal + " | " + whole.refusal);
    check(pieces.column.vocabulary == whole.column.vocabulary, "in pieces another vocabulary");
    const std::size_t count = whole.column.numbers.size();
    check(pieces.column.numbers.size() == count &&
              (count == 0 ||
               std::memcmp(pieces.column.numbers.data(), whole.column.numbers.data(), count * sizeof(float)) == 0),
          "in pieces other numbers");
  }
}

void test(std::uint8_t which, std::string_view text) {
  static const IdMap kItems = some_ids();
  UserTable users;
  switch (which % 8U) {
    case 0:
      refusal_of([&] { users = parse_users_dat(text, kFile); });
      break;
    case 1:
      refusal_of([&] { users = parse_u_user(text, kFile); });
      break;
    case 2:
      refusal_of([&] { users = parse_users_csv(text, kFile); });
      break;
    case 3:
      for (const std::int32_t most : {0, 2, 100}) {
        refusal_of([&] { check_column(parse_tags_csv(text, kFile, kItems, most), kItems.size()); });
      }
      break;
    case 4:
      for (const std::int32_t most : {0, 2, 100}) {
        refusal_of([&] { check_column(parse_tags_dat(text, kFile, kItems, most), kItems.size()); });
      }
      break;
    case 5: {
      const std::size_t end = text.find("\n\n");
      GenomeTags tags;
      const auto refusal = refusal_of([&] { tags = parse_genome_tags(text.substr(0, end), kFile); });
      if (!refusal && end != std::string_view::npos) {
        test_genome(text.substr(end + 2), tags, kItems);
      }
      break;
    }
    default:
      test_genome(text, {}, kItems);
      break;
  }
  check_users(users);
}

}  // namespace
}  // namespace curate::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  curate::fuzz::Input input(data, size);
  const std::uint8_t which = input.byte();
  curate::fuzz::test(which, input.rest());
  return 0;
}
