// The item files of MovieLens from their text: what comes out is UTF-8 with sound years, and csv survives being written
// and read again. Input: a byte that chooses the file (as ASCII: 0 u.item, 1 u.item of three genres, 2 movies.dat,
// 3 movies.csv, 4 u.genre, 5 titles), then the text.

#include <string>
#include <string_view>

#include "data/movielens.h"
#include "data/text_table.h"
#include "support/csv_field.h"
#include "tests/fuzz/support.h"

namespace curate::fuzz {
namespace {

const std::string kFile = "items";

void check_items(const ItemTable& items) {
  for (const auto& [id, info] : items) {
    check(is_utf8(info.title) && is_utf8(info.genres), "a title or genres that are not UTF-8");
    check(info.year == 0 || (info.year >= 1870 && info.year <= 2100), "an impossible year");
  }
}

void test_movies_csv(std::string_view text) {
  ItemTable items;
  if (refusal_of([&] { items = parse_movies_csv(text, kFile); })) {
    return;
  }
  check_items(items);
  std::string written = "movieId,title,genres\n";
  for (const auto& [id, info] : items) {
    written += std::to_string(id) + "," + csv_field(info.title) + "," + csv_field(info.genres) + "\n";
  }
  ItemTable back;
  const auto refusal = refusal_of([&] { back = parse_movies_csv(written, kFile); });
  check(!refusal, "written and refused: " + refusal.value_or(""));
  check(back.size() == items.size(), "written and read again: another number of items");
  for (const auto& [id, info] : items) {
    check(back.at(id).title == info.title && back.at(id).year == info.year, "written and read again: another title");
    check(back.at(id).genres == (info.genres == "(no genres listed)" ? "" : info.genres),
          "written and read again: other genres");
  }
}

void test(std::uint8_t which, std::string_view text) {
  ItemTable items;
  switch (which % 8U) {
    case 0:
      refusal_of([&] { items = parse_u_item(text, kFile, movielens_100k_genres()); });
      break;
    case 1:
      refusal_of([&] { items = parse_u_item(text, kFile, {"unknown", "Kurz", "War"}); });
      break;
    case 2:
      refusal_of([&] { items = parse_movies_dat(text, kFile); });
      break;
    case 3:
      test_movies_csv(text);
      break;
    case 4:
      // Both files from one text, as two that belong together would come: genres up to an empty line, then items.
      refusal_of([&] {
        const std::size_t end = text.find("\n\n");
        const std::vector<std::string> genres = parse_u_genre(text.substr(0, end), kFile);
        for (const std::string& genre : genres) {
          check(is_utf8(genre), "a genre that is not UTF-8");
        }
        if (end != std::string_view::npos) {
          items = parse_u_item(text.substr(end + 2), kFile, genres);
        }
      });
      break;
    default: {
      const std::int32_t year = year_of_title(text);
      check(year == 0 || (year >= 1870 && year <= 2100), "an impossible year");
      check(year == 0 || text.find(std::to_string(year)) != std::string_view::npos, "a year out of nowhere");
      break;
    }
  }
  check_items(items);
}

}  // namespace
}  // namespace curate::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  curate::fuzz::Input input(data, size);
  const std::uint8_t which = input.byte();
  curate::fuzz::test(which, input.rest());
  return 0;
}
