#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "data/side_files.h"

namespace curate {

/// What is known of a user beyond the ratings; strings are UTF-8, empty if unknown.
struct UserInfo {
  static constexpr std::int32_t kUnknownAge = -1;

  std::string sex;  ///< "F" or "M"
  std::int32_t age = kUnknownAge;
  bool age_is_group = false;  ///< the age is the code of a group of kAgeGroups
  std::string occupation;
  std::string zip;
};

/// By raw id. If a file lists a user twice, the later line counts.
using UserTable = std::unordered_map<std::int64_t, UserInfo>;

/// The groups of age that MovieLens 1M has, in order. The code is what stands in users.dat: the youngest age, but 1 for
/// the first.
struct AgeGroup {
  std::int32_t code;
  std::int32_t from;
  std::string_view name;
};
inline constexpr std::array<AgeGroup, 7> kAgeGroups = {{{1, 0, "under 18"},
                                                        {18, 18, "18-24"},
                                                        {25, 25, "25-34"},
                                                        {35, 35, "35-44"},
                                                        {45, 45, "45-49"},
                                                        {50, 50, "50-55"},
                                                        {56, 56, "56+"}}};

/// Index into kAgeGroups of an age in years, or of a group's code.
std::int32_t age_group(std::int32_t age);

/// The occupations of MovieLens 1M; the index is what stands in users.dat.
inline constexpr std::array<std::string_view, 21> kOccupations = {"other",
                                                                  "academic/educator",
                                                                  "artist",
                                                                  "clerical/admin",
                                                                  "college/grad student",
                                                                  "customer service",
                                                                  "doctor/health care",
                                                                  "executive/managerial",
                                                                  "farmer",
                                                                  "homemaker",
                                                                  "K-12 student",
                                                                  "lawyer",
                                                                  "programmer",
                                                                  "retired",
                                                                  "sales/marketing",
                                                                  "scientist",
                                                                  "self-employed",
                                                                  "technician/engineer",
                                                                  "tradesman/craftsman",
                                                                  "unemployed",
                                                                  "writer"};

/// The user files from their text; `file` is for messages. Empty fields are unknown values. Throw InputError.
///   users.dat (1M)   UserID::Gender::Age::Occupation::Zip, age and occupation by code
///   u.user (100k)    id|age|gender|occupation|zip
///   users.csv        userId,gender,age,occupation,zip, of which all but userId may be missing; age in years or the
///                    name of a group. No published set has it: it is how `curate data convert` keeps what is known.
UserTable parse_users_dat(std::string_view text, const std::string& file);
UserTable parse_u_user(std::string_view text, const std::string& file);
UserTable parse_users_csv(std::string_view text, const std::string& file);

/// The user file among `files`, for ratings of a layout as in Dataset::layout; empty if there is none.
UserTable read_user_file(const SideFiles& files, std::string_view layout);

}  // namespace curate
