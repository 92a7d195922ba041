#include "data/side_writers.h"

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "data/movielens.h"
#include "data/rating_lines.h"
#include "data/text_table.h"
#include "support/buffered_file.h"
#include "support/csv_field.h"

namespace curate {
namespace {

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
  ItemWriter(const Dataset& dataset, ListedItems listed, SideFormat format, LayoutLosses& losses)
      : dataset_(dataset), format_(format), losses_(losses), fit_(format) {
    if (listed == ListedItems::all) {
      items_.resize(static_cast<std::size_t>(dataset.items.size()));
      std::iota(items_.begin(), items_.end(), 0);
    } else {
      items_ = known_by_raw_id(
          dataset.items, [&](std::int32_t item) { return !(info(item).title.empty() && info(item).genres.empty()); });
    }
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
  const ItemInfo& info(std::int32_t item) const {
    static const ItemInfo kUnknown;
    const auto index = static_cast<std::size_t>(item);
    return index < dataset_.item_info.size() ? dataset_.item_info[index] : kUnknown;
  }

  void write_lines(BufferedFile& out, std::string_view separator) {
    for (const std::int32_t item : items_) {
      fit_.start();
      out.append(written_id(dataset_.items, item));
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
        out.append(written_id(dataset_.items, item));
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

void write_item_files(const Dataset& dataset, ListedItems listed, SideFormat format, OutputFolder& folder,
                      LayoutLosses& losses) {
  ItemWriter(dataset, listed, format, losses).write(folder);
}

void write_user_files(const Dataset& dataset, const UserTable& table, SideFormat format, OutputFolder& folder,
                      LayoutLosses& losses) {
  UserWriter(dataset, table, format, losses).write(folder);
}

}  // namespace curate
