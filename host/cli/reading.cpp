#include "cli/reading.h"

#include <cstdint>

namespace curate::cli {

void add_text_ids(CLI::App& app, bool& text_ids) {
  app.add_flag("--text-ids", text_ids,
               "user and item ids are text, even if those of the first row are numbers (files, not MovieLens folders)");
}

void add_no_cache(CLI::App& app, bool& no_cache) {
  app.add_flag("--no-cache", no_cache, "neither read nor write the cache beside large ratings files");
}

void add_reading_options(CLI::App& app, ReadingArguments& arguments) {
  add_text_ids(app, arguments.text_ids);
  add_no_cache(app, arguments.no_cache);
}

ReadOptions read_options(const ReadingArguments& arguments, PhaseLine& line) {
  ReadOptions options;
  options.text_ids = arguments.text_ids;
  options.cache = !arguments.no_cache;
  options.progress = [&line](const char* phase, std::int64_t done, std::int64_t total) {
    line.show(phase, done, total);
  };
  return options;
}

}  // namespace curate::cli
