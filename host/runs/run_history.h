#pragma once

#include <string>
#include <vector>

#include "curate/trainer.h"

namespace curate {

/// history.csv: a line for each epoch, in order, of an ensemble with its member. `best` is not in the file.
std::string history_csv(const std::vector<EpochRecord>& history);

/// history.csv read back. Throws InputError naming file and line.
std::vector<EpochRecord> read_history(const std::string& path);

}  // namespace curate
