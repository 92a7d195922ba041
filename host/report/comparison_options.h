#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "report/compare_runs.h"

namespace curate {

/// How much an option tells of a run: 0 is the most, and all that tell little have one rank. A narrow table keeps those
/// of a low rank longest.
std::size_t option_rank(const std::string& key);

/// Options that some run has otherwise than its main options imply.
std::set<std::string> chosen_options(const std::vector<ComparedRun>& runs);

/// A value of ComparedRun::options as people read it.
std::string option_text(const nlohmann::ordered_json& value);

/// What all runs share, in one line: the chosen options by name, the others as a whole.
std::string common_options(const RunComparison& comparison);

}  // namespace curate
