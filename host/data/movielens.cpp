#include "data/movielens.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <functional>
#include <system_error>

#include "curate/error.h"

namespace curate {
namespace {

namespace fs = std::filesystem;

constexpr std::array<MovielensLayout, 3> kLayouts = {{
    {"ml-100k", "u.data", "u.item", Separator::tab, {1.0F, 5.0F}},
    {"ml-1m", "ratings.dat", "movies.dat", Separator::double_colon, {0.5F, 5.0F}},
    {"ml-csv", "ratings.csv", "movies.csv", Separator::comma, {0.5F, 5.0F}},
}};

constexpr std::size_t kItemFieldsBeforeGenres = 5;  // id, title, release date, video release date, address
constexpr std::string_view kNoGenres = "(no genres listed)";
constexpr std::string_view kItemRemedy = "correct it, or move the item file away to go without titles";

const MovielensLayout* layout_in(const fs::path& folder) {
  for (const MovielensLayout& layout : kLayouts) {
    std::error_code error;
    if (fs::exists(folder / layout.ratings_file, error)) {
      return &layout;
    }
  }
  return nullptr;
}

/// RFC 3629: no overlong forms, no surrogates, nothing past U+10FFFF.
bool is_utf8(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const auto lead = static_cast<unsigned char>(text[at]);
    std::size_t follow = 0;
    unsigned char low = 0x80;
    unsigned char high = 0xBF;
    if (lead < 0x80) {
      follow = 0;
    } else if (lead >= 0xC2 && lead <= 0xDF) {
      follow = 1;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
      follow = 2;
      low = lead == 0xE0 ? 0xA0 : low;
      high = lead == 0xED ? 0x9F : high;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
      follow = 3;
      low = lead == 0xF0 ? 0x90 : low;
      high = lead == 0xF4 ? 0x8F : high;
    } else {
      return false;
    }
    if (text.size() - at <= follow) {
      return false;
    }
    for (std::size_t k = 1; k <= follow; ++k) {
      const auto byte = static_cast<unsigned char>(text[at + k]);
      if (byte < low || byte > high) {
        return false;
      }
      low = 0x80;
      high = 0xBF;
    }
    at += follow + 1;
  }
  return true;
}

class Decoder {
 public:
  explicit Decoder(std::string_view text) : utf8_(is_utf8(text)) {}

  std::string operator()(std::string_view bytes) const {
    if (utf8_) {
      return std::string(bytes);
    }
    std::string result;
    for (const char c : bytes) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte < 0x80) {
        result += c;
      } else {
        result += static_cast<char>(0xC0 | (byte >> 6U));
        result += static_cast<char>(0x80 | (byte & 0x3FU));
      }
    }
    return result;
  }

 private:
  bool utf8_;
};

std::int64_t parse_item_id(std::string_view field, const std::string& file, std::int64_t line) {
  field = trimmed(field);
  std::int64_t id = 0;
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), id);
  if (end != field.data() + field.size() || error != std::errc{}) {
    throw_input_error(file, line, fmt::format("the item id is not a whole number of 64 bits ({})", excerpt(field)),
                      kItemRemedy);
  }
  return id;
}

std::vector<std::string_view> split_plainly(std::string_view line, char separator) {
  std::vector<std::string_view> fields;
  std::size_t start = 0;
  while (true) {
    const std::size_t end = line.find(separator, start);
    fields.push_back(line.substr(start, end == std::string_view::npos ? end : end - start));
    if (end == std::string_view::npos) {
      return fields;
    }
    start = end + 1;
  }
}

/// Calls `take` with every line that is not blank, and its number.
void for_each_line(std::string_view text, const std::function<void(std::string_view, std::int64_t)>& take) {
  std::size_t offset = byte_order_mark(text);
  for (std::int64_t number = 1; offset < text.size(); ++number) {
    std::string_view line = next_line(text, offset);
    if (!line.empty() && line.back() == '\r') {
      line.remove_suffix(1);
    }
    if (!trimmed(line).empty()) {
      take(line, number);
    }
  }
}

/// Records of a CSV text as in RFC 4180: quoted fields may hold commas, doubled quotes and line ends.
class CsvReader {
 public:
  CsvReader(std::string_view text, const std::string& file) : text_(text), file_(file), at_(byte_order_mark(text)) {}

  /// The line that the last record started on.
  std::int64_t line() const { return line_; }

  /// False at the end; skips blank lines.
  bool next(std::vector<std::string>& fields) {
    fields.clear();
    while (at_ < text_.size()) {
      std::size_t after = at_;
      if (!trimmed(next_line(text_, after)).empty()) {
        break;
      }
      at_ = after;
      ++next_line_;
    }
    if (at_ >= text_.size()) {
      return false;
    }
    line_ = next_line_;
    const std::size_t start = at_;
    bool more = true;
    while (more) {
      fields.emplace_back();
      while (peek() == ' ') {
        ++at_;
      }
      if (peek() == '"') {
        take_quoted(fields.back(), start);
      } else {
        const std::size_t end = std::min(text_.find_first_of(",\n", at_), text_.size());
        fields.back() = trimmed(text_.substr(at_, end - at_));
        at_ = end;
      }
      more = peek() == ',';
      ++at_;
    }
    ++next_line_;
    return true;
  }

 private:
  char peek() const { return at_ < text_.size() ? text_[at_] : '\n'; }

  [[noreturn]] void fail(std::string_view what, std::size_t start) const {
    std::size_t end = start;
    throw_input_error(file_, line_, fmt::format("{} ({})", what, excerpt(next_line(text_, end))), kItemRemedy);
  }

  void take_quoted(std::string& field, std::size_t start) {
    ++at_;
    while (true) {
      const std::size_t quote = text_.find('"', at_);
      if (quote == std::string_view::npos) {
        fail("a quoted field does not end", start);
      }
      const std::string_view part = text_.substr(at_, quote - at_);
      next_line_ += std::count(part.begin(), part.end(), '\n');
      field += part;
      at_ = quote + 1;
      if (peek() != '"') {
        break;
      }
      field += '"';
      ++at_;
    }
    while (peek() == ' ' || peek() == '\r') {
      ++at_;
    }
    if (peek() != ',' && peek() != '\n') {
      fail("text after the closing quote of a field", start);
    }
  }

  std::string_view text_;
  const std::string& file_;
  std::size_t at_;
  std::int64_t line_ = 1;
  std::int64_t next_line_ = 1;
};

}  // namespace

const MovielensLayout& find_movielens_layout(const std::string& folder) {
  if (const MovielensLayout* layout = layout_in(folder)) {
    return *layout;
  }
  std::vector<std::string> candidates;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    std::error_code not_a_folder;
    if (entry->is_directory(not_a_folder) && layout_in(entry->path()) != nullptr) {
      candidates.push_back(entry->path().string());
    }
  }
  if (error) {
    throw InputError(fmt::format("{}: cannot list this folder: {}; check its permissions", folder, error.message()));
  }
  throw InputError(fmt::format(
      "{}: no MovieLens ratings in this folder (looked for u.data, ratings.dat and ratings.csv); {}", folder,
      candidates.size() == 1 ? fmt::format("did you mean {}?", candidates.front())
                             : "name the folder that holds one of them, or a file of ratings"));
}

const MovielensLayout* movielens_layout_of(Separator separator) {
  const auto* const found = std::find_if(kLayouts.begin(), kLayouts.end(),
                                         [&](const MovielensLayout& layout) { return layout.separator == separator; });
  return found == kLayouts.end() ? nullptr : found;
}

ItemTable read_item_file(const std::string& folder, const MovielensLayout& layout) {
  const std::string path = (fs::path(folder) / layout.items_file).string();
  std::error_code error;
  if (!fs::exists(path, error)) {
    return {};
  }
  const std::string text = read_text(path);
  if (layout.separator == Separator::double_colon) {
    return parse_movies_dat(text, path);
  }
  if (layout.separator == Separator::comma) {
    return parse_movies_csv(text, path);
  }
  const std::string genre_path = (fs::path(folder) / "u.genre").string();
  return parse_u_item(
      text, path,
      fs::exists(genre_path, error) ? parse_u_genre(read_text(genre_path), genre_path) : movielens_100k_genres());
}

ItemTable parse_u_item(std::string_view text, const std::string& file, const std::vector<std::string>& genres) {
  check_is_text(text, file);
  const Decoder decode(text);
  const std::size_t expected = kItemFieldsBeforeGenres + genres.size();
  ItemTable items;
  for_each_line(text, [&](std::string_view line, std::int64_t number) {
    const std::vector<std::string_view> fields = split_plainly(line, '|');
    if (fields.size() != expected) {
      throw_input_error(file, number,
                        fmt::format("{} fields separated by `|` instead of 5 and a flag for each of {} genres ({})",
                                    fields.size(), genres.size(), excerpt(line)),
                        kItemRemedy);
    }
    const std::int64_t id = parse_item_id(fields[0], file, number);
    ItemInfo info;
    info.title = decode(trimmed(fields[1]));
    for (std::size_t genre = 0; genre < genres.size(); ++genre) {
      const std::string_view flag = trimmed(fields[kItemFieldsBeforeGenres + genre]);
      if (flag != "0" && flag != "1") {
        throw_input_error(file, number,
                          fmt::format("the flag of genre {} is neither 0 nor 1 ({})", genres[genre], excerpt(flag)),
                          kItemRemedy);
      }
      if (flag == "1" && genres[genre] != "unknown") {
        info.genres += info.genres.empty() ? "" : "|";
        info.genres += genres[genre];
      }
    }
    items[id] = std::move(info);
  });
  return items;
}

ItemTable parse_movies_dat(std::string_view text, const std::string& file) {
  check_is_text(text, file);
  const Decoder decode(text);
  ItemTable items;
  for_each_line(text, [&](std::string_view line, std::int64_t number) {
    // Titles hold colons, ids and genres do not.
    const std::size_t first = line.find("::");
    const std::size_t last = line.rfind("::");
    if (first == std::string_view::npos || last < first + 2) {
      throw_input_error(file, number,
                        fmt::format("three fields separated by `::` are needed: id, title, genres ({})", excerpt(line)),
                        kItemRemedy);
    }
    const std::int64_t id = parse_item_id(line.substr(0, first), file, number);
    const std::string_view genres = trimmed(line.substr(last + 2));
    items[id] = {decode(trimmed(line.substr(first + 2, last - first - 2))),
                 genres == kNoGenres ? std::string() : decode(genres)};
  });
  return items;
}

ItemTable parse_movies_csv(std::string_view text, const std::string& file) {
  check_is_text(text, file);
  const Decoder decode(text);
  CsvReader reader(text, file);
  std::vector<std::string> fields;
  reader.next(fields);
  const std::vector<std::string> header = fields;
  const auto column_of = [&](std::string_view name) {
    const auto found = std::find_if(header.begin(), header.end(), [&](const std::string& field) {
      return std::equal(field.begin(), field.end(), name.begin(), name.end(), [](char a, char b) {
        return (a >= 'A' && a <= 'Z' ? static_cast<char>(a - 'A' + 'a') : a) == b;
      });
    });
    if (found == header.end()) {
      throw_input_error(file, reader.line(),
                        fmt::format("the header has no column {}", name == "movieid" ? "movieId" : name),
                        "start the item file with movieId,title,genres, or move it away to go without titles");
    }
    return static_cast<std::size_t>(found - header.begin());
  };
  const std::size_t id_column = column_of("movieid");
  const std::size_t title_column = column_of("title");
  const std::size_t genres_column = column_of("genres");

  ItemTable items;
  while (reader.next(fields)) {
    if (fields.size() != header.size()) {
      throw_input_error(file, reader.line(),
                        fmt::format("{} field{} separated by comma instead of {} ({})", fields.size(),
                                    fields.size() == 1 ? "" : "s", header.size(), excerpt(fields[0])),
                        kItemRemedy);
    }
    const std::int64_t id = parse_item_id(fields[id_column], file, reader.line());
    const std::string& genres = fields[genres_column];
    items[id] = {decode(fields[title_column]), genres == kNoGenres ? std::string() : decode(genres)};
  }
  return items;
}

std::vector<std::string> parse_u_genre(std::string_view text, const std::string& file) {
  check_is_text(text, file);
  const Decoder decode(text);
  std::vector<std::string> genres;
  for_each_line(text, [&](std::string_view line, std::int64_t number) {
    const std::vector<std::string_view> fields = split_plainly(line, '|');
    if (fields.size() != 2 || trimmed(fields[1]) != std::to_string(genres.size())) {
      throw_input_error(
          file, number,
          fmt::format("a genre and its number {} are needed, separated by `|` ({})", genres.size(), excerpt(line)),
          "correct it, or move u.genre away to use the usual 19 genres");
    }
    genres.push_back(decode(trimmed(fields[0])));
  });
  return genres;
}

const std::vector<std::string>& movielens_100k_genres() {
  static const std::vector<std::string> kGenres = {"unknown",   "Action",   "Adventure",   "Animation", "Children's",
                                                   "Comedy",    "Crime",    "Documentary", "Drama",     "Fantasy",
                                                   "Film-Noir", "Horror",   "Musical",     "Mystery",   "Romance",
                                                   "Sci-Fi",    "Thriller", "War",         "Western"};
  return kGenres;
}

}  // namespace curate
