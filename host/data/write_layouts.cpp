#include "data/write_layouts.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <exception>
#include <functional>
#include <map>
#include <numeric>
#include <set>

#include "curate/error.h"
#include "data/movielens.h"
#include "data/text_table.h"
#include "support/buffered_file.h"
#include "support/csv_field.h"
#include "support/ordered_file.h"
#include "support/thread_pool.h"

namespace curate {
namespace {

/// How the ratings' file of a layout is written.
struct RatingsFormat {
  std::string_view separator;
  std::array<std::string_view, 4> header;  ///< empty names: no header
  bool one_decimal = false;                ///< 4.0 instead of 4
};

enum class SideFormat : std::uint8_t { csv, dat, u };

struct WrittenLayout {
  std::string_view name;
  std::string_view ratings_file;
  RatingsFormat format;
  SideFormat side;
  float min;  ///< of the ratings; without bounds min > max
  float max;
  bool whole_stars;
};

constexpr std::array<std::string_view, 4> kNoHeader = {};
constexpr std::array<std::string_view, 4> kPlainHeader = {"user", "item", "rating", "timestamp"};
constexpr std::array<std::string_view, 4> kMovielensHeader = {"userId", "movieId", "rating", "timestamp"};
constexpr RatingsFormat kMovielensCsv = {",", kMovielensHeader, true};

constexpr std::array<WrittenLayout, 5> kWrittenLayouts = {{
    {"ml-csv", "ratings.csv", kMovielensCsv, SideFormat::csv, 0.5F, 5.0F, false},
    {"ml-1m", "ratings.dat", {"::", kNoHeader, false}, SideFormat::dat, 1.0F, 5.0F, true},
    {"ml-100k", "u.data", {"\t", kNoHeader, false}, SideFormat::u, 1.0F, 5.0F, true},
    {"csv", "ratings.csv", {",", kPlainHeader, false}, SideFormat::csv, 1.0F, 0.0F, false},
    {"tsv", "ratings.tsv", {"\t", kPlainHeader, false}, SideFormat::u, 1.0F, 0.0F, false},
}};

constexpr std::array<std::string_view, 8> kSideNames = {"movies.csv", "users.csv", "movies.dat", "users.dat",
                                                        "u.item",     "u.genre",   "u.user",     "u.occupation"};

const WrittenLayout& find_layout(const std::string& name) {
  const auto* const found = std::find_if(kWrittenLayouts.begin(), kWrittenLayouts.end(),
                                         [&](const WrittenLayout& layout) { return layout.name == name; });
  if (found == kWrittenLayouts.end()) {
    throw InputError("layout", name, fmt::format("not one of {}", fmt::join(layout_names(), ", ")));
  }
  return *found;
}

bool is_half_star(float rating) {
  return std::trunc(2.0F * rating) == 2.0F * rating;
}

/// Lines in memory, appended to as to a BufferedFile.
struct TextBuffer {
  std::string text;

  void append(std::string_view more) { text += more; }
  void append(char c) { text += c; }
  template <typename T>
  void append_number(T value) {
    std::array<char, 64> digits;
    text.append(digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr);
  }
};

void append_rating(TextBuffer& out, float rating, bool one_decimal) {
  constexpr float kMost = 1e6F;
  if (rating >= 0.0F && rating < kMost && is_half_star(rating)) {
    const auto halves = static_cast<std::int32_t>(2.0F * rating);
    out.append_number(halves / 2);
    if (halves % 2 == 1) {
      out.append(".5");
    } else if (one_decimal) {
      out.append(".0");
    }
    return;
  }
  out.append_number(rating);
}

template <typename Out>
void append_id(Out& out, const IdMap& ids, std::int32_t dense) {
  if (ids.numbers()) {
    out.append_number(ids.raw(dense));
  } else {
    out.append(csv_field(ids.text(dense)));
  }
}

/// Pieces of lines are made on all threads and written in their order.
void write_ratings(OutputFolder& folder, std::string_view name, const Dataset& ids, const RatingTable& table,
                   const RatingsFormat& format) {
  constexpr std::int64_t kPiece = 1 << 16;
  const bool timed = table.has_timestamps();
  const std::string file_name(name);
  OrderedFile file(folder.stage(file_name), folder.label(file_name));
  const std::int64_t pieces = (table.size() + kPiece - 1) / kPiece;
  ThreadPool pool(static_cast<int>(std::clamp<std::int64_t>(pieces, 1, hardware_threads())));
  pool.run(std::max<std::int64_t>(1, pieces), [&](std::int64_t piece) {
    try {
      file.check();
      TextBuffer out;
      out.text.reserve(static_cast<std::size_t>(kPiece) * 32);
      if (piece == 0 && !format.header[0].empty()) {
        out.append(format.header[0]);
        for (std::size_t column = 1; column < (timed ? 4U : 3U); ++column) {
          out.append(format.separator);
          out.append(format.header[column]);
        }
        out.append('\n');
      }
      const auto end = static_cast<std::size_t>(std::min((piece + 1) * kPiece, table.size()));
      for (auto k = static_cast<std::size_t>(piece * kPiece); k < end; ++k) {
        append_id(out, ids.users, table.users[k]);
        out.append(format.separator);
        append_id(out, ids.items, table.items[k]);
        out.append(format.separator);
        append_rating(out, table.ratings[k], format.one_decimal);
        if (timed) {
          out.append(format.separator);
          out.append_number(table.timestamps[k]);
        }
        out.append('\n');
      }
      file.write(piece, out.text);
    } catch (...) {
      file.give_up(std::current_exception());
      throw;
    }
  });
  file.close();
}

void check_ratings_fit(const Dataset& dataset, const WrittenLayout& layout) {
  if (layout.min > layout.max) {
    return;
  }
  if (!dataset.users.numbers() || !dataset.items.numbers()) {
    throw InputError(fmt::format("{}: has ids that are text, but {} holds whole numbers; use `layout` csv",
                                 dataset.source, layout.name));
  }
  const RatingTable& table = dataset.ratings;
  for (std::size_t k = 0; k < table.ratings.size(); ++k) {
    const float rating = table.ratings[k];
    const bool whole = std::trunc(rating) == rating;
    if (rating >= layout.min && rating <= layout.max && (whole || !layout.whole_stars)) {
      continue;
    }
    const std::string which =
        fmt::format("{}: user {} rated item {} with {}", dataset.source, dataset.users.text(table.users[k]),
                    dataset.items.text(table.items[k]), rating);
    if (layout.whole_stars) {
      throw InputError(fmt::format("{}, but {} holds whole stars from {:g} to {:g} only{}; use `layout` {}", which,
                                   layout.name, layout.min, layout.max,
                                   is_half_star(rating) && !whole ? ", no half stars" : "",
                                   dataset.scale.min >= 0.5F && dataset.scale.max <= 5.0F ? "ml-csv" : "csv"));
    }
    throw InputError(fmt::format("{}, but {} holds ratings from {:g} to {:g} only; use `layout` csv", which,
                                 layout.name, layout.min, layout.max));
  }
}

/// Dense ids for which `known` is true, in order of raw id.
std::vector<std::int32_t> known_by_raw_id(const IdMap& ids, const std::function<bool(std::int32_t)>& known) {
  std::vector<std::int32_t> order;
  for (std::int32_t id = 0; id < ids.size(); ++id) {
    if (known(id)) {
      order.push_back(id);
    }
  }
  if (ids.numbers()) {
    std::sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) { return ids.raw(a) < ids.raw(b); });
  }
  return order;
}

/// Fits texts to a layout whose fields end at a separator and, in all layouts but csv, at line ends.
class TextFitter {
 public:
  explicit TextFitter(SideFormat format) : format_(format) {}

  /// Forgets whether texts were changed so far.
  void start() { changed_ = false; }
  bool changed() const { return changed_; }

  std::string operator()(std::string_view text) {
    std::string result;
    for (const char c : text) {
      const auto byte = static_cast<unsigned char>(c);
      const bool line_end = c == '\n' || c == '\r' || c == '\t';
      if (byte < 0x20 && !(line_end && format_ == SideFormat::csv)) {
        result += ' ';
      } else if (c == '|' && format_ == SideFormat::u) {
        result += '/';
      } else {
        result += c;
      }
    }
    changed_ = changed_ || result != text;
    return format_ == SideFormat::csv ? csv_field(result) : result;
  }

  /// The same for a field that must not hold `::`, which titles may.
  std::string without_colons(std::string_view text) {
    std::string result = (*this)(text);
    if (format_ == SideFormat::dat) {
      for (std::size_t at = result.find("::"); at != std::string::npos; at = result.find("::", at)) {
        result.erase(at, 1);
        changed_ = true;
      }
    }
    return result;
  }

 private:
  SideFormat format_;
  bool changed_ = false;
};

std::vector<std::string> genres_of(const ItemInfo& info) {
  std::vector<std::string> genres;
  for (const std::string_view genre : split_plainly(info.genres, "|")) {
    if (!genre.empty()) {
      genres.emplace_back(genre);
    }
  }
  return genres;
}

/// Writes one file of a folder.
template <typename Write>
void write_file(OutputFolder& folder, std::string_view name, Write write) {
  const std::string file(name);
  BufferedFile out(folder.stage(file), folder.label(file));
  write(out);
  out.close();
}

class ItemWriter {
 public:
  ItemWriter(const Dataset& dataset, SideFormat format, LayoutLosses& losses)
      : dataset_(dataset), format_(format), losses_(losses), fit_(format) {
    items_ = known_by_raw_id(dataset.items, [&](std::int32_t item) {
      const auto index = static_cast<std::size_t>(item);
      return index < dataset.item_info.size() &&
             !(dataset.item_info[index].title.empty() && dataset.item_info[index].genres.empty());
    });
  }

  void write(OutputFolder& folder) {
    if (items_.empty()) {
      return;
    }
    switch (format_) {
      case SideFormat::csv:
        write_file(folder, "movies.csv", [&](BufferedFile& out) {
          out.append("movieId,title,genres\n");
          write_lines(out, ",");
        });
        return;
      case SideFormat::dat:
        write_file(folder, "movies.dat", [&](BufferedFile& out) { write_lines(out, "::"); });
        return;
      case SideFormat::u:
        write_u_files(folder);
    }
  }

 private:
  const ItemInfo& info(std::int32_t item) const { return dataset_.item_info[static_cast<std::size_t>(item)]; }

  void write_lines(BufferedFile& out, std::string_view separator) {
    for (const std::int32_t item : items_) {
      fit_.start();
      append_id(out, dataset_.items, item);
      out.append(separator);
      out.append(fit_(info(item).title));
      out.append(separator);
      out.append(info(item).genres.empty() ? std::string(kNoGenres) : fit_.without_colons(info(item).genres));
      out.append('\n');
      losses_.texts += fit_.changed() ? 1 : 0;
      losses_.years += info(item).year != 0 && year_of_title(info(item).title) == 0 ? 1 : 0;
    }
  }

  void write_u_files(OutputFolder& folder) {
    const std::vector<std::string> genres = genre_list();
    write_file(folder, "u.genre", [&](BufferedFile& out) {
      for (std::size_t genre = 0; genre < genres.size(); ++genre) {
        out.append(fit_(genres[genre]));
        out.append('|');
        out.append_number(genre);
        out.append('\n');
      }
    });
    write_file(folder, "u.item", [&](BufferedFile& out) {
      for (const std::int32_t item : items_) {
        fit_.start();
        append_id(out, dataset_.items, item);
        out.append('|');
        out.append(fit_(info(item).title));
        out.append('|');
        if (info(item).year != 0) {
          out.append("01-Jan-");
          out.append_number(info(item).year);
        }
        out.append("||");
        const std::vector<std::string> own = genres_of(info(item));
        const std::set<std::string> flags(own.begin(), own.end());
        out.append(flags.empty() ? "|1" : "|0");
        for (std::size_t genre = 1; genre < genres.size(); ++genre) {
          out.append(flags.count(genres[genre]) > 0 ? "|1" : "|0");
        }
        out.append('\n');
        losses_.texts += fit_.changed() ? 1 : 0;
      }
    });
  }

  /// "unknown" and the genres that items have: those of MovieLens 100k if they suffice.
  std::vector<std::string> genre_list() const {
    const std::vector<std::string>& usual = movielens_100k_genres();
    std::set<std::string> all;
    for (const std::int32_t item : items_) {
      const std::vector<std::string> genres = genres_of(info(item));
      all.insert(genres.begin(), genres.end());
    }
    if (std::all_of(all.begin(), all.end(), [&](const std::string& genre) {
          return std::find(usual.begin(), usual.end(), genre) != usual.end();
        })) {
      return usual;
    }
    all.erase(usual.front());
    std::vector<std::string> genres = {usual.front()};
    genres.insert(genres.end(), all.begin(), all.end());
    return genres;
  }

  const Dataset& dataset_;
  SideFormat format_;
  LayoutLosses& losses_;
  TextFitter fit_;
  std::vector<std::int32_t> items_;
};

/// MovieLens 1M's number of an occupation; those of MovieLens 100k get the nearest, unknown ones "other".
std::size_t occupation_number(const std::string& name) {
  const auto* const found = std::find(kOccupations.begin(), kOccupations.end(), name);
  if (found != kOccupations.end()) {
    return static_cast<std::size_t>(found - kOccupations.begin());
  }
  static const std::map<std::string_view, std::string_view> kNearest = {
      {"administrator", "clerical/admin"},  {"doctor", "doctor/health care"},      {"educator", "academic/educator"},
      {"engineer", "technician/engineer"},  {"executive", "executive/managerial"}, {"healthcare", "doctor/health care"},
      {"marketing", "sales/marketing"},     {"salesman", "sales/marketing"},       {"student", "college/grad student"},
      {"technician", "technician/engineer"}};
  const auto nearest = kNearest.find(name);
  return nearest == kNearest.end() ? 0 : occupation_number(std::string(nearest->second));
}

class UserWriter {
 public:
  UserWriter(const Dataset& dataset, const UserTable& table, SideFormat format, LayoutLosses& losses)
      : dataset_(dataset), table_(table), format_(format), losses_(losses), fit_(format) {
    if (dataset.users.numbers()) {
      users_ =
          known_by_raw_id(dataset.users, [&](std::int32_t user) { return table.count(dataset.users.raw(user)) > 0; });
    }
  }

  void write(OutputFolder& folder) {
    if (users_.empty()) {
      return;
    }
    switch (format_) {
      case SideFormat::csv:
        write_file(folder, "users.csv", [&](BufferedFile& out) {
          out.append("userId,gender,age,occupation,zip\n");
          write_lines(out, ",", [&](const UserInfo& info) -> Fields {
            const std::string age = info.age_is_group
                                        ? std::string(kAgeGroups[static_cast<std::size_t>(age_group(info.age))].name)
                                        : plain_age(info);
            return {info.sex, age, fit_(info.occupation), fit_(info.zip)};
          });
        });
        return;
      case SideFormat::dat:
        write_file(folder, "users.dat", [&](BufferedFile& out) {
          write_lines(out, "::", [&](const UserInfo& info) { return dat_fields(info); });
        });
        return;
      case SideFormat::u:
        write_u_files(folder);
    }
  }

 private:
  using Fields = std::array<std::string, 4>;

  static std::string plain_age(const UserInfo& info) {
    return info.age == UserInfo::kUnknownAge ? std::string() : std::to_string(info.age);
  }

  template <typename FieldsOf>
  void write_lines(BufferedFile& out, std::string_view separator, FieldsOf fields_of) {
    for (const std::int32_t user : users_) {
      fit_.start();
      out.append_number(dataset_.users.raw(user));
      for (const std::string& field : fields_of(table_.at(dataset_.users.raw(user)))) {
        out.append(separator);
        out.append(field);
      }
      out.append('\n');
      losses_.texts += fit_.changed() ? 1 : 0;
    }
  }

  Fields dat_fields(const UserInfo& info) {
    std::string age;
    if (info.age != UserInfo::kUnknownAge) {
      age = std::to_string(kAgeGroups[static_cast<std::size_t>(age_group(info.age))].code);
      losses_.ages += info.age_is_group ? 0 : 1;
    }
    std::string occupation;
    if (!info.occupation.empty()) {
      const std::size_t number = occupation_number(info.occupation);
      occupation = std::to_string(number);
      losses_.occupations += kOccupations[number] == info.occupation ? 0 : 1;
    }
    return {info.sex, age, occupation, fit_.without_colons(info.zip)};
  }

  void write_u_files(OutputFolder& folder) {
    std::set<std::string> occupations;
    write_file(folder, "u.user", [&](BufferedFile& out) {
      write_lines(out, "|", [&](const UserInfo& info) -> Fields {
        losses_.ages += info.age_is_group ? 1 : 0;
        Fields fields = {plain_age(info), info.sex, fit_(info.occupation), fit_(info.zip)};
        occupations.insert(fields[2]);
        return fields;
      });
    });
    occupations.erase("");
    write_file(folder, "u.occupation", [&](BufferedFile& out) {
      for (const std::string& occupation : occupations) {
        out.append(occupation);
        out.append('\n');
      }
    });
  }

  const Dataset& dataset_;
  const UserTable& table_;
  SideFormat format_;
  LayoutLosses& losses_;
  TextFitter fit_;
  std::vector<std::int32_t> users_;
};

}  // namespace

const std::vector<std::string_view>& layout_names() {
  static const std::vector<std::string_view> kNames = [] {
    std::vector<std::string_view> names;
    for (const WrittenLayout& layout : kWrittenLayouts) {
      names.push_back(layout.name);
    }
    return names;
  }();
  return kNames;
}

bool is_layout_file(std::string_view name) {
  return std::find(kSideNames.begin(), kSideNames.end(), name) != kSideNames.end() ||
         std::any_of(kWrittenLayouts.begin(), kWrittenLayouts.end(),
                     [&](const WrittenLayout& layout) { return layout.ratings_file == name; });
}

void check_layout(const std::string& layout) {
  find_layout(layout);
}

LayoutLosses write_layout(const Dataset& dataset, const UserTable& users, const std::string& layout,
                          OutputFolder& folder) {
  const WrittenLayout& to = find_layout(layout);
  check_ratings_fit(dataset, to);
  const LayoutLosses losses = write_side_files(dataset, users, layout, folder);
  // The ratings last: they are what makes the folder a data set.
  write_ratings(folder, to.ratings_file, dataset, dataset.ratings, to.format);
  return losses;
}

LayoutLosses write_side_files(const Dataset& dataset, const UserTable& users, const std::string& layout,
                              OutputFolder& folder) {
  const SideFormat format = find_layout(layout).side;
  LayoutLosses losses;
  ItemWriter(dataset, format, losses).write(folder);
  UserWriter(dataset, users, format, losses).write(folder);
  return losses;
}

void write_part(const Dataset& dataset, const RatingTable& part, const std::string& name, OutputFolder& folder) {
  write_ratings(folder, name, dataset, part, kMovielensCsv);
}

}  // namespace curate
