#include "runs/run_directory.h"

#include <fmt/format.h>

#include <filesystem>
#include <functional>
#include <system_error>

#include "curate/error.h"
#include "runs/run_history.h"
#include "runs/run_metrics.h"
#include "support/atomic_file.h"
#include "train/model_files.h"

namespace curate {
namespace {

namespace fs = std::filesystem;

bool is_run_file(std::string_view name) {
  return is_model_file(name) || name == "history.csv" || name == "metrics.json" || name == "config.toml";
}

bool is_folds_file(std::string_view name) {
  return name == "metrics.json";
}

/// The path, unless a run is there that would be overwritten.
const std::string& without_run(const std::string& path, bool overwrite) {
  std::error_code error;
  if (!overwrite &&
      (fs::exists(fs::path(path) / "config.toml", error) || fs::exists(fs::path(path) / "metrics.json", error))) {
    throw InputError("out", path, "holds a run already; give another directory, or `overwrite`");
  }
  return path;
}

std::string fold_path(const std::string& path, std::int32_t fold) {
  return fmt::format("{}/fold-{}", path, fold);
}

const std::string& with_room_for_folds(const std::string& path, std::int32_t folds, bool overwrite) {
  std::error_code error;
  if (fs::exists(fs::path(path) / "config.toml", error)) {
    throw InputError("out", path, "holds a single run, which `overwrite` keeps; give another directory");
  }
  for (std::int32_t fold = 1; fold <= folds; ++fold) {
    without_run(fold_path(path, fold), overwrite);
  }
  return without_run(path, overwrite);
}

std::function<std::string(int)> run_names(const std::string& data, const std::string& model) {
  fs::path path = fs::path(data).lexically_normal();
  if (path.filename().empty()) {
    path = path.parent_path();
  }
  return [base = fmt::format("runs/{}-{}", path.filename().string(), model)](int number) {
    return number == 1 ? base : fmt::format("{}-{}", base, number);
  };
}

}  // namespace

RunDirectory::RunDirectory(const std::string& path, bool overwrite)
    : folder_(without_run(path, overwrite), overwrite, is_run_file) {}

RunDirectory::RunDirectory(const std::string& data, const std::string& model)
    : folder_(OutputFolder::first_free(run_names(data, model), is_run_file)) {}

RunDirectory RunDirectory::with_free_name(const std::string& data, const std::string& model) {
  return RunDirectory(data, model);
}

void RunDirectory::write(const RunConfig& config, const TrainResult& result, const std::optional<Metrics>& test) {
  write_model_files(result.model.parts(), [&](const std::string& name) { return folder_.stage(name); });
  write_file_atomically(folder_.stage("history.csv"), history_csv(result.history));
  write_file_atomically(folder_.stage("metrics.json"), metrics_json(result, test));
  write_file_atomically(folder_.stage("config.toml"), to_toml(config));
  folder_.commit();
}

FoldsDirectory::FoldsDirectory(const std::string& path, std::int32_t folds, bool overwrite)
    : folder_(with_room_for_folds(path, folds, overwrite), overwrite, is_folds_file), overwrite_(overwrite) {}

FoldsDirectory::FoldsDirectory(const std::string& data, const std::string& model)
    : folder_(OutputFolder::first_free(run_names(data, model), is_folds_file)) {}

FoldsDirectory FoldsDirectory::with_free_name(const std::string& data, const std::string& model) {
  return FoldsDirectory(data, model);
}

RunDirectory FoldsDirectory::fold(std::int32_t number) const {
  return RunDirectory(fold_path(path(), number), overwrite_);
}

void FoldsDirectory::write(const std::string& metrics) {
  write_file_atomically(folder_.stage("metrics.json"), metrics);
  folder_.commit();
}

}  // namespace curate
