#pragma once

#include <CLI/CLI.hpp>

#include "curate/dataset.h"
#include "report/progress.h"

namespace curate::cli {

/// Arguments of commands that read ratings.
struct ReadingArguments {
  bool text_ids = false;
  bool no_cache = false;
};

/// --text-ids, unless the command has it elsewhere, and --no-cache.
void add_text_ids(CLI::App& app, bool& text_ids);
void add_no_cache(CLI::App& app, bool& no_cache);
void add_reading_options(CLI::App& app, ReadingArguments& arguments);

/// With progress on `line`, which has to outlive the reading.
ReadOptions read_options(const ReadingArguments& arguments, PhaseLine& line);

}  // namespace curate::cli
