#include "curate/model.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <string_view>
#include <tuple>

#include "curate/error.h"
#include "models/members.h"
#include "models/rating_model.h"
#include "support/atomic_file.h"
#include "support/file_set.h"
#include "support/output_folder.h"
#include "support/printable.h"
#include "support/split_list.h"
#include "train/features_file.h"
#include "train/model_files.h"
#include "train/option_visit.h"
#include "train/safetensors.h"

namespace curate {
namespace {

constexpr const char* kFormat = "curate-1";
constexpr const char* kEnsembleFormat = "curate-ensemble-1";  // versions without ensembles refuse it by this name
constexpr const char* kEnsemble = "ensemble";                 // its kind
constexpr const char* kUsersHeader = "raw_id\tdense_id\tratings\n";
constexpr const char* kItemsHeader = "raw_id\tdense_id\ttitle\tgenres\tratings\n";

constexpr const char* kModelFile = "model.safetensors";  // the last to be written
constexpr const char* kUsersFile = "users.tsv";
constexpr const char* kItemsFile = "items.tsv";
constexpr const char* kFeaturesFile = "features.json";

std::string path_in(const std::string& directory, const char* name) {
  return fmt::format("{}/{}", directory, name);
}

const Tensor& need(const TensorMap& tensors, const char* name, std::int64_t elements) {
  const auto found = tensors.find(name);
  if (found == tensors.end()) {
    throw InputError(fmt::format("the model has no tensor {}; train it again", name));
  }
  if (static_cast<std::int64_t>(found->second.values.size()) != elements) {
    throw InputError(fmt::format("tensor {} has {} elements, not {}; train the model again", name,
                                 found->second.values.size(), elements));
  }
  return found->second;
}

void need_embedding(const TensorMap& tensors, const char* name, std::int64_t rows) {
  const auto found = tensors.find(name);
  const bool fits = found != tensors.end() && found->second.shape.size() == 2 && found->second.shape[0] == rows &&
                    found->second.shape[1] >= 1;
  if (!fits) {
    throw InputError(fmt::format("tensor {} is missing or not [{}, factors]; train the model again", name, rows));
  }
}

/// Without one of its features mf would be taken for a model of ids alone, and predict something else. Throws
/// InputError.
void check_all_features_given(const ModelSpec& spec, const TensorMap& tensors) {
  std::set<std::string> known = {"user.embedding", "item.embedding"};
  for (const Feature& feature : spec.features) {
    known.insert(feature.prefix() + ".embedding");
  }
  for (const auto& [name, tensor] : tensors) {
    const bool of_a_side = name.starts_with("user.") || name.starts_with("item.");
    if (of_a_side && name.ends_with(".embedding") && known.count(name) == 0) {
      throw InputError(fmt::format("tensor {} is of a feature that features.json does not have; train the model again",
                                   printable(name)));
    }
  }
}

[[noreturn]] void fail(const std::string& problem) {
  throw InputError(printable(problem) + "; train the model again");
}

void check_finite(const TensorMap& tensors) {
  for (const auto& [name, tensor] : tensors) {
    if (!std::all_of(tensor.values.begin(), tensor.values.end(), [](float value) { return std::isfinite(value); })) {
      fail(fmt::format("tensor {} holds values that are not finite", name));
    }
  }
}

/// A model, or a member of an ensemble, with its features. Throws InputError.
void check_model(const ModelSpec& spec, const TensorMap& tensors, std::int64_t users, std::int64_t items) {
  if (is_bias(spec)) {
    need(tensors, "user.bias", users);
    need(tensors, "item.bias", items);
  } else {
    need_embedding(tensors, "user.embedding", users);
    need_embedding(tensors, "item.embedding", items);
  }
  if (is_bias(spec) && !spec.features.empty()) {
    fail("a bias model takes no features, and this one has some");
  }
  check_all_features_given(spec, tensors);
  if (spec.kind == "mf" || is_bias(spec)) {
    mf_shape_of(spec, tensors);
  } else if (is_network(spec.kind)) {
    mlp_shape_of(spec, tensors);
  } else {
    fail(fmt::format("a model of kind '{}' is not known to this version", spec.kind));
  }
  check_finite(tensors);
}

/// Throws InputError that names the member.
void check_members(const Model::Parts& parts) {
  if (parts.spec.kind != kEnsemble) {
    fail(fmt::format("'{}' is not the kind of an ensemble", parts.spec.kind));
  }
  if (parts.members.size() < 2 || parts.members.size() > kMostMembers) {
    fail(fmt::format("an ensemble has 2 to {} members, not {}", kMostMembers, parts.members.size()));
  }
  if (parts.tensors.size() != 3) {
    fail("an ensemble has tensors that are of no member");
  }
  for (std::size_t member = 0; member < parts.members.size(); ++member) {
    try {
      check_model(member_spec(parts, member), member_tensors(parts, member), parts.users.size(), parts.items.size());
    } catch (const InputError& error) {
      throw InputError(fmt::format("member {} of the ensemble: {}", member + 1, error.what()));
    }
  }
}

/// Text for one field of a tab-separated file: tabs and line ends would break the table.
std::string tsv_field(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c == '\t' || c == '\n' || c == '\r'; }, ' ');
  return text;
}

struct IdTable {
  IdMap ids;
  std::vector<std::int64_t> counts;
  std::vector<ItemInfo> info;
};

std::int64_t parse_integer(const std::string& path, std::int64_t line, std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw InputError(fmt::format("{}:{}: '{}' is not an integer; train the model again", path, line, printable(text)));
  }
  return value;
}

/// Reads users.tsv (raw_id, dense_id, ratings) or items.tsv (raw_id, dense_id, title, genres, ratings).
IdTable read_ids(const std::string& path, bool items) {
  const std::string content = read_file(path);
  const std::size_t fields_wanted = items ? 5 : 3;
  IdTable table;
  if (content.rfind(items ? kItemsHeader : kUsersHeader, 0) != 0) {
    throw InputError(fmt::format("{}:1: not the header of this table; train the model again", path));
  }
  if (content.back() != '\n') {
    throw InputError(fmt::format("{}: its last line is cut off; train the model again", path));
  }
  std::int64_t line_number = 0;
  for (std::size_t begin = 0; begin < content.size();) {
    const std::size_t end = std::min(content.find('\n', begin), content.size());
    const std::string_view line = std::string_view(content).substr(begin, end - begin);
    begin = end + 1;
    ++line_number;
    if (line_number == 1) {
      continue;
    }
    std::vector<std::string_view> fields;
    for (std::size_t from = 0; from <= line.size();) {
      const std::size_t to = std::min(line.find('\t', from), line.size());
      fields.push_back(line.substr(from, to - from));
      from = to + 1;
    }
    if (fields.size() != fields_wanted) {
      throw InputError(fmt::format("{}:{}: {} fields, not {}; train the model again", path, line_number, fields.size(),
                                   fields_wanted));
    }
    if (fields[0].empty() || parse_integer(path, line_number, fields[1]) != table.ids.find_or_add(fields[0])) {
      throw InputError(
          fmt::format("{}:{}: dense ids do not count up from 0; train the model again", path, line_number));
    }
    table.counts.push_back(parse_integer(path, line_number, fields.back()));
    if (table.counts.back() < 0) {
      throw InputError(fmt::format("{}:{}: a negative number of ratings; train the model again", path, line_number));
    }
    if (items) {
      table.info.push_back({std::string(fields[2]), std::string(fields[3])});
    }
  }
  return table;
}

/// What stands before the names of a member's tensors and metadata.
std::string prefix_of(std::size_t member) {
  return fmt::format("member.{}.", member + 1);
}

float metadata_float(const SafetensorsFile& file, const std::string& path, const std::string& key) {
  const auto found = file.metadata.find(key);
  char* end = nullptr;
  const float value = found == file.metadata.end() ? 0.0F : std::strtof(found->second.c_str(), &end);
  if (end == nullptr || end == found->second.c_str() || *end != '\0' || !std::isfinite(value)) {
    throw InputError(fmt::format("{}: the metadata has no sound {}; train the model again", path, key));
  }
  return value;
}

/// Of a model, or with a prefix of a member; without its features.
ModelSpec read_spec(SafetensorsFile& file, const std::string& path, const std::string& prefix) {
  ModelSpec spec;
  spec.kind = file.metadata[prefix + "model"];
  if (is_network(spec.kind)) {
    spec.activations = split_list(file.metadata[prefix + "activations"]);
    spec.output_min = metadata_float(file, path, prefix + "output_min");
    spec.output_max = metadata_float(file, path, prefix + "output_max");
    // Runs of before there was one have none.
    if (file.metadata.count(prefix + "output_floor") > 0) {
      spec.output_floor = metadata_float(file, path, prefix + "output_floor");
    }
    if (const auto found = file.metadata.find(prefix + "product"); found != file.metadata.end()) {
      if (found->second != "true") {
        throw InputError(fmt::format("{}: the metadata has no sound product; train the model again", path));
      }
      spec.product = true;
    }
  }
  return spec;
}

void add_spec(std::map<std::string, std::string>& metadata, const ModelSpec& spec, const std::string& prefix) {
  metadata[prefix + "model"] = spec.kind;
  if (is_network(spec.kind)) {
    metadata[prefix + "activations"] = fmt::format("{}", fmt::join(spec.activations, ","));
    metadata[prefix + "output_min"] = fmt::format("{}", spec.output_min);
    metadata[prefix + "output_max"] = fmt::format("{}", spec.output_max);
    metadata[prefix + "output_floor"] = fmt::format("{}", spec.output_floor);
    if (spec.product) {
      metadata[prefix + "product"] = "true";
    }
  }
}

/// Takes the members' tensors out of the file. Throws InputError for a member that is not there.
std::vector<ModelMember> take_members(SafetensorsFile& file, const std::string& path) {
  const auto count = parse_number<std::int32_t>(file.metadata["members"]);
  if (!count || *count < 2 || *count > kMostMembers) {
    throw InputError(fmt::format("{}: the metadata has no sound number of members; train the model again", path));
  }
  std::vector<ModelMember> members(static_cast<std::size_t>(*count));
  for (std::size_t member = 0; member < members.size(); ++member) {
    const std::string prefix = prefix_of(member);
    members[member].spec = read_spec(file, path, prefix);
    for (auto at = file.tensors.lower_bound(prefix); at != file.tensors.end() && at->first.starts_with(prefix);) {
      members[member].tensors[at->first.substr(prefix.size())] = std::move(at->second);
      at = file.tensors.erase(at);
    }
  }
  return members;
}

}  // namespace

const char* name_of(PredictionBasis basis) {
  switch (basis) {
    case PredictionBasis::model:
      return "model";
    case PredictionBasis::features:
      return "features";
    case PredictionBasis::user_mean:
      return "user mean";
    case PredictionBasis::item_mean:
      return "item mean";
    case PredictionBasis::global_mean:
      return "global mean";
  }
  return "unknown";
}

Model::Model(Parts parts) : parts_(std::make_shared<const Parts>(std::move(parts))) {
  const std::int64_t users = parts_->users.size();
  const std::int64_t items = parts_->items.size();
  if (static_cast<std::int64_t>(parts_->user_counts.size()) != users ||
      static_cast<std::int64_t>(parts_->item_counts.size()) != items) {
    fail("the model's ids and training counts differ in number");
  }
  need(parts_->tensors, "fallback.user", users);
  need(parts_->tensors, "fallback.item", items);
  need(parts_->tensors, "fallback.mean", 1);
  check_features(parts_->spec.features, users, items);
  if (is_ensemble(*parts_)) {
    check_members(*parts_);
    check_finite(parts_->tensors);
  } else {
    check_model(parts_->spec, parts_->tensors, users, items);
  }
  if (!std::isfinite(parts_->spec.transform.start)) {
    fail("the transform of ratings starts at no finite one");
  }
  if (!(parts_->scale.min <= parts_->scale.max)) {
    fail("the lowest rating of the model's scale is above the highest");
  }
}

namespace {

/// Without one in the metadata none, as in runs of before there was one.
RatingTransform transform_in(const SafetensorsFile& file, const std::string& path) {
  const auto found = file.metadata.find("transform");
  if (found == file.metadata.end()) {
    return {};
  }
  const std::optional<TransformKind> kind = find_kind<TransformKind>(found->second);
  if (!kind) {
    throw InputError(fmt::format("{}: the transform '{}' is not known to this version; train the model again", path,
                                 printable(found->second)));
  }
  return {*kind, static_cast<double>(metadata_float(file, path, "transform_start"))};
}

Model load_model(const std::string& run_directory) {
  const std::string path = path_in(run_directory, kModelFile);
  SafetensorsFile file = read_safetensors(path);
  const bool ensemble = file.metadata["format"] == kEnsembleFormat;
  if (!ensemble && file.metadata["format"] != kFormat) {
    throw InputError(fmt::format("{}: written as '{}', this version reads '{}'; train the model again", path,
                                 printable(file.metadata["format"]), kFormat));
  }
  IdTable users = read_ids(path_in(run_directory, kUsersFile), false);
  IdTable items = read_ids(path_in(run_directory, kItemsFile), true);
  Model::Parts parts;
  parts.spec = read_spec(file, path, "");
  if (ensemble) {
    parts.members = take_members(file, path);
  }
  parts.scale = {metadata_float(file, path, "rating_min"), metadata_float(file, path, "rating_max"),
                 metadata_float(file, path, "rating_step")};
  parts.spec.transform = transform_in(file, path);
  const std::string clip = file.metadata["clip"];
  if (clip != "true" && clip != "false") {
    throw InputError(fmt::format("{}: the metadata has no sound clip; train the model again", path));
  }
  parts.clip = clip == "true";
  const auto rows_of = [&](const char* name) {
    const auto found = file.tensors.find(name);
    return found == file.tensors.end() ? std::int64_t{-1} : static_cast<std::int64_t>(found->second.values.size());
  };
  for (const auto& [table, rows, table_path] :
       {std::tuple{&users, rows_of("fallback.user"), path_in(run_directory, kUsersFile)},
        std::tuple{&items, rows_of("fallback.item"), path_in(run_directory, kItemsFile)}}) {
    if (rows >= 0 && table->ids.size() != rows) {
      throw InputError(fmt::format("{}: {} ids, but {} has rows for {}; train the model again", table_path,
                                   table->ids.size(), path, rows));
    }
  }
  parts.spec.features = read_features_json(path_in(run_directory, kFeaturesFile), users.ids.size(), items.ids.size());
  parts.tensors = std::move(file.tensors);
  parts.users = std::move(users.ids);
  parts.items = std::move(items.ids);
  parts.user_counts = std::move(users.counts);
  parts.item_counts = std::move(items.counts);
  parts.item_info = std::move(items.info);
  try {
    return Model(std::move(parts));
  } catch (const InputError& error) {
    throw InputError(fmt::format("{}: {}", path, error.what()));
  }
}

}  // namespace

Model Model::load(const std::string& run_directory) {
  return read_set(run_directory, kModelFile, [&] { return load_model(run_directory); });
}

bool is_model_file(std::string_view name) {
  return name == kModelFile || name == kUsersFile || name == kItemsFile || name == kFeaturesFile;
}

void write_model_files(const Model::Parts& parts, const std::function<std::string(const std::string& name)>& path_of) {
  std::string users = kUsersHeader;
  for (std::int32_t user = 0; user < parts.users.size(); ++user) {
    users +=
        fmt::format("{}\t{}\t{}\n", parts.users.text(user), user, parts.user_counts[static_cast<std::size_t>(user)]);
  }
  std::string items = kItemsHeader;
  for (std::int32_t item = 0; item < parts.items.size(); ++item) {
    const auto index = static_cast<std::size_t>(item);
    const ItemInfo info = index < parts.item_info.size() ? parts.item_info[index] : ItemInfo{};
    items += fmt::format("{}\t{}\t{}\t{}\t{}\n", parts.items.text(item), item, tsv_field(info.title),
                         tsv_field(info.genres), parts.item_counts[index]);
  }
  write_file_atomically(path_of(kUsersFile), users);
  write_file_atomically(path_of(kItemsFile), items);
  std::map<std::string, std::string> metadata = {{"format", is_ensemble(parts) ? kEnsembleFormat : kFormat},
                                                 {"rating_min", fmt::format("{}", parts.scale.min)},
                                                 {"rating_max", fmt::format("{}", parts.scale.max)},
                                                 {"rating_step", fmt::format("{}", parts.scale.step)},
                                                 {"clip", parts.clip ? "true" : "false"}};
  add_spec(metadata, parts.spec, "");
  TensorViews tensors;
  const auto add_tensors = [&](const TensorMap& all, const std::string& prefix) {
    for (const auto& [name, tensor] : all) {
      tensors[prefix + name] = &tensor;
    }
  };
  add_tensors(parts.tensors, "");
  if (is_ensemble(parts)) {
    metadata["members"] = fmt::format("{}", parts.members.size());
    for (std::size_t member = 0; member < parts.members.size(); ++member) {
      add_spec(metadata, parts.members[member].spec, prefix_of(member));
      add_tensors(parts.members[member].tensors, prefix_of(member));
    }
  }
  if (parts.spec.transform.kind != TransformKind::none) {
    metadata["transform"] = name_of(parts.spec.transform.kind);
    metadata["transform_start"] = fmt::format("{}", static_cast<float>(parts.spec.transform.start));
  }
  if (!parts.spec.features.empty()) {
    write_file_atomically(path_of(kFeaturesFile), features_json(parts.spec.features));
  }
  write_safetensors(path_of(kModelFile), tensors, metadata);
}

void Model::save(const std::string& run_directory) const {
  OutputFolder folder(run_directory, true, is_model_file, "");
  write_model_files(*parts_, [&](const std::string& name) { return folder.stage(name); });
  folder.commit();
}

RatingTable Model::translate(const Dataset& dataset, const RatingTable& ratings) const {
  const auto map = [](const IdMap& from, const IdMap& to) {
    std::vector<std::int32_t> dense(static_cast<std::size_t>(from.size()));
    for (std::int32_t id = 0; id < from.size(); ++id) {
      dense[static_cast<std::size_t>(id)] = to.find(from.id(id)).value_or(-1);
    }
    return dense;
  };
  const std::vector<std::int32_t> users = map(dataset.users, parts_->users);
  const std::vector<std::int32_t> items = map(dataset.items, parts_->items);
  RatingTable translated = ratings;
  for (std::int32_t& user : translated.users) {
    user = users[static_cast<std::size_t>(user)];
  }
  for (std::int32_t& item : translated.items) {
    item = items[static_cast<std::size_t>(item)];
  }
  return translated;
}

}  // namespace curate
