#include "cli/output.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "curate/error.h"
#include "data/write_layouts.h"
#include "report/progress.h"
#include "support/output_folder.h"

namespace curate::cli {

std::string metrics_table(const std::vector<std::pair<std::string, Metrics>>& parts) {
  std::string text = fmt::format("{:<10}  {:>8}  {:>8}  {:>8}  {:>15}  {:>11}  {:>7}\n", "", "RMSE", "MSE", "MAE",
                                 "MAE whole stars", "ratings", "cold");
  for (const auto& [name, metrics] : parts) {
    text +=
        fmt::format("{:<10}  {:>8.5f}  {:>8.5f}  {:>8.5f}  {:>15.5f}  {:>11}  {:>7}\n", name, metrics.rmse, metrics.mse,
                    metrics.mae, metrics.mae_whole_stars, grouped(metrics.ratings), grouped(metrics.cold_ratings));
  }
  for (const auto& [name, metrics] : parts) {
    if (metrics.log_rmse) {
      text += fmt::format("{}: RMSE of log(1 + rating - lowest rating), which is what was learnt, {:.5f}\n", name,
                          *metrics.log_rmse);
    }
    if (metrics.cold_ratings > 0 && name != kBaselineRow) {
      text += fmt::format(
          "{}: {} cold ratings (user or item not in the training part) predicted by features or means, RMSE {:.5f}; "
          "the {} others, RMSE {:.5f}\n",
          name, grouped(metrics.cold_ratings), metrics.cold_rmse, grouped(metrics.ratings - metrics.cold_ratings),
          metrics.warm_rmse);
    }
  }
  return text;
}

std::string short_bytes(std::int64_t bytes) {
  const double megabytes = static_cast<double>(bytes) / 1e6;
  if (megabytes >= 1000.0) {
    return fmt::format("{:.{}f} GB", megabytes / 1000.0, megabytes >= 1e5 ? 0 : megabytes >= 1e4 ? 1 : 2);
  }
  return fmt::format("{:.{}f} MB", megabytes, megabytes >= 100.0 ? 0 : megabytes >= 10.0 ? 1 : 2);
}

void check_plot_place(const std::string& plot) {
  const std::filesystem::path path = plot;
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error)) {
    throw InputError(fmt::format("--plot {}: there is no folder {}; give a file in one", plot, folder.string()));
  }
  if (!path.has_filename() || std::filesystem::is_directory(path, error)) {
    throw InputError(fmt::format("--plot {}: that is a folder; name a file in it", plot));
  }
  if (::access(folder.c_str(), W_OK) != 0) {
    throw InputError(fmt::format("--plot {}: {} cannot be written to; give another place", plot, folder.string()));
  }
}

void check_layout_folder(const std::string& out, bool overwrite) {
  for (const char* name : {"tags.csv", "tags.dat", "genome-scores.csv", "genome-tags.csv"}) {
    std::error_code error;
    if (std::filesystem::exists(std::filesystem::path(out) / name, error)) {
      throw InputError(fmt::format(
          "--out {}: the folder has a {}, which describes another data set; give another folder", out, name));
    }
  }
  OutputFolder::check(out, overwrite, is_layout_file);
}

}  // namespace curate::cli
