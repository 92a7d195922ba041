#include "data/user_info.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <system_error>
#include <vector>

#include "data/delimited_text.h"
#include "data/text_table.h"

namespace curate {
namespace {

constexpr std::string_view kUserRemedy = "correct it, or move the user file away to go without it";
constexpr std::int32_t kOldest = 150;

/// The place and the fields of one user, and what goes wrong with them.
class UserLine {
 public:
  UserLine(const std::string& file, std::int64_t number) : file_(file), number_(number) {}

  [[noreturn]] void fail(const std::string& what) const { throw_input_error(file_, number_, what, kUserRemedy); }

  std::int64_t id(std::string_view field) const { return parse_id(field, "user id", file_, number_, kUserRemedy); }

  std::string sex(std::string_view field) const {
    field = trimmed(field);
    if (field.empty() || field == "F" || field == "M") {
      return std::string(field);
    }
    fail(fmt::format("the sex is neither F nor M ({})", excerpt(field)));
  }

  /// A number from 0 to `most`, or nothing for an empty field.
  std::optional<std::int32_t> number(std::string_view field, const char* name, std::int32_t most) const {
    field = trimmed(field);
    if (field.empty()) {
      return std::nullopt;
    }
    std::int32_t value = 0;
    const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
    if (end != field.data() + field.size() || error != std::errc{} || value < 0 || value > most) {
      fail(fmt::format("the {} is not a whole number from 0 to {} ({})", name, most, excerpt(field)));
    }
    return value;
  }

  std::int32_t age(std::string_view field) const {
    return number(field, "age", kOldest).value_or(UserInfo::kUnknownAge);
  }

 private:
  const std::string& file_;
  std::int64_t number_;
};

/// Calls take(info, line, fields) for every line of `separator`-separated fields. There must be five fields.
template <typename Take>
UserTable parse_user_lines(std::string_view text, const std::string& file, std::string_view separator,
                           const char* fields_wanted, Take take) {
  check_is_text(text, file);
  const TextDecoder decode(text);
  UserTable users;
  for_each_line(text, [&](std::string_view line, std::int64_t number) {
    const std::vector<std::string_view> fields = split_plainly(line, separator);
    const UserLine at(file, number);
    if (fields.size() != 5) {
      at.fail(fmt::format("{} fields separated by `{}` instead of {} ({})", fields.size(), separator, fields_wanted,
                          excerpt(line)));
    }
    UserInfo info;
    take(info, at, fields, decode);
    info.zip = decode(trimmed(fields[4]));
    users[at.id(fields[0])] = std::move(info);
  });
  return users;
}

}  // namespace

std::int32_t age_group(std::int32_t age) {
  const auto* const above = std::upper_bound(kAgeGroups.begin() + 1, kAgeGroups.end(), age,
                                             [](std::int32_t of, const AgeGroup& group) { return of < group.from; });
  return static_cast<std::int32_t>(above - kAgeGroups.begin()) - 1;
}

UserTable parse_users_dat(std::string_view text, const std::string& file) {
  using Fields = std::vector<std::string_view>;
  return parse_user_lines(
      text, file, "::", "5: id, gender, age, occupation, zip code",
      [](UserInfo& info, const UserLine& at, const Fields& fields, const TextDecoder& /*decode*/) {
        info.sex = at.sex(fields[1]);
        info.age = at.age(fields[2]);
        info.age_is_group = info.age != UserInfo::kUnknownAge;
        if (const auto code = at.number(fields[3], "occupation", static_cast<std::int32_t>(kOccupations.size()) - 1)) {
          info.occupation = kOccupations[static_cast<std::size_t>(*code)];
        }
      });
}

UserTable parse_u_user(std::string_view text, const std::string& file) {
  using Fields = std::vector<std::string_view>;
  return parse_user_lines(text, file, "|", "5: id, age, gender, occupation, zip code",
                          [](UserInfo& info, const UserLine& at, const Fields& fields, const TextDecoder& decode) {
                            info.age = at.age(fields[1]);
                            info.sex = at.sex(fields[2]);
                            info.occupation = decode(trimmed(fields[3]));
                          });
}

UserTable parse_users_csv(std::string_view text, const std::string& file) {
  check_is_text(text, file);
  const TextDecoder decode(text);
  CsvReader reader(text, file, kUserRemedy);
  reader.read_header();
  const std::size_t id_column =
      reader.column("userId", "give the user file the header userId,gender,age,occupation,zip, or move it away");
  const auto column = [&](std::string_view name) { return reader.find_column(name); };
  const auto sex_column = column("gender");
  const auto age_column = column("age");
  const auto occupation_column = column("occupation");
  const auto zip_column = column("zip");

  UserTable users;
  std::vector<std::string> fields;
  const auto field = [&](const std::optional<std::size_t>& index) {
    return index ? std::string_view(fields[*index]) : std::string_view();
  };
  while (reader.next_row(fields)) {
    const UserLine at(file, reader.line());
    UserInfo info;
    info.sex = at.sex(field(sex_column));
    const auto* const group = std::find_if(kAgeGroups.begin(), kAgeGroups.end(),
                                           [&](const AgeGroup& one) { return one.name == field(age_column); });
    info.age_is_group = group != kAgeGroups.end();
    info.age = info.age_is_group ? group->code : at.age(field(age_column));
    info.occupation = decode(field(occupation_column));
    info.zip = decode(field(zip_column));
    users[at.id(fields[id_column])] = std::move(info);
  }
  return users;
}

UserTable read_user_file(const SideFiles& files, std::string_view layout) {
  struct UserFile {
    std::string_view layout;
    const char* name;
    UserTable (*parse)(std::string_view text, const std::string& file);
  };
  constexpr std::array<UserFile, 3> kFiles = {{{"ml-100k", "u.user", parse_u_user},
                                               {"ml-1m", "users.dat", parse_users_dat},
                                               {"ml-csv", "users.csv", parse_users_csv}}};
  // A file of ratings may lie beside any of them.
  const bool known = std::any_of(kFiles.begin(), kFiles.end(), [&](const UserFile& f) { return f.layout == layout; });
  for (const UserFile& file : kFiles) {
    if ((!known || file.layout == layout) && files.has(file.name)) {
      return file.parse(files.text(file.name), files.path(file.name));
    }
  }
  return {};
}

}  // namespace curate
