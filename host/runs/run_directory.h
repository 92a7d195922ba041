#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "curate/metrics.h"
#include "curate/trainer.h"
#include "runs/run_config.h"
#include "support/output_folder.h"

namespace curate {

/// The directory of a run, claimed as long as the object lives: another process that is to write there is refused.
/// Until write(), a run that was there stays as it is, and nothing new is left behind; from then on the new one is
/// there, whole, even if the process is killed meanwhile (see support/file_set.h). config.toml is the last of its
/// files.
class RunDirectory {
 public:
  /// Throws InputError where the directory cannot be written to, holds files of a run (unless `overwrite`), or where
  /// another process is at work.
  RunDirectory(const std::string& path, bool overwrite);

  /// A new directory runs/<data>-<model>, then with -2, -3, ...: of processes that start at the same time everyone gets
  /// one of its own. What a training that was killed has claimed and not written is used again.
  static RunDirectory with_free_name(const std::string& data, const std::string& model);

  const std::string& path() const { return folder_.path(); }

  /// Writes config.toml, history.csv, metrics.json, the model and its id tables. Once.
  void write(const RunConfig& config, const TrainResult& result, const std::optional<Metrics>& test);

 private:
  RunDirectory(const std::string& data, const std::string& model);

  OutputFolder folder_;
};

/// The directory of a cross-validation, claimed in the same way: a run for each fold in fold-1, fold-2, ..., which are
/// written one after the other, and at the end what they have in common.
class FoldsDirectory {
 public:
  /// Throws InputError also where a run is there that would be touched: a single one always, runs of folds unless
  /// `overwrite`.
  FoldsDirectory(const std::string& path, std::int32_t folds, bool overwrite);

  /// See RunDirectory.
  static FoldsDirectory with_free_name(const std::string& data, const std::string& model);

  const std::string& path() const { return folder_.path(); }

  /// The directory of a fold, from 1.
  RunDirectory fold(std::int32_t number) const;

  /// Writes metrics.json. Once.
  void write(const std::string& metrics);

 private:
  FoldsDirectory(const std::string& data, const std::string& model);

  OutputFolder folder_;
  bool overwrite_ = false;
};

}  // namespace curate
