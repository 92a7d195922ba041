#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace curate {

/// Bars side by side: of every group one for each series. Values that are absent or not finite have no bar.
struct BarSeries {
  std::string name;
  std::vector<std::optional<double>> values;  ///< by group
  std::vector<std::optional<double>> marks;   ///< by group, drawn as a line across the bar; may be shorter
};
struct BarPanel {
  std::string title;
  std::string x_label;
  std::string y_label;
  std::vector<std::string> groups;
  std::vector<BarSeries> series;
  std::string mark_name;  ///< for the legend
};

/// Lines through points, in their order. Points that are not finite are left out.
struct LineSeries {
  std::string name;
  std::vector<std::pair<double, double>> points;
  std::optional<std::size_t> ring = std::nullopt;  ///< the point to draw a ring around
};
struct LinePanel {
  enum class Scale : std::uint8_t {
    linear,         ///< from 0
    whole_numbers,  ///< the same with ticks at whole numbers only
    logarithmic     ///< over the range of the points; those at or below 0 are left out
  };

  std::string title;
  std::string x_label;
  std::string y_label;  ///< the axis has the range of the points
  std::vector<LineSeries> series;
  std::optional<double> rule;  ///< a horizontal line
  std::string rule_name;
  Scale x_scale = Scale::linear;
  std::optional<double> y_limit;  ///< the axis ends near it if points lie above; lines to those are cut off
};

using PlotPanel = std::variant<BarPanel, LinePanel>;

struct PlotPage {
  std::string title;
  std::string note;  ///< below the title, broken into lines
  std::vector<PlotPanel> panels;
  int columns = 2;
  bool shared_legend = false;  ///< one below all panels: that of the first panel
};

/// One SVG document with all panels, row by row. Text may be anything: it is escaped, and what no XML can hold becomes
/// U+FFFD.
std::string svg_plot(const PlotPage& page);

/// Multiples of 1, 2 or 5 times a power of ten, about `count` of them, from at or below `low` to at or above `high`.
/// Both finite, low <= high.
std::vector<double> nice_ticks(double low, double high, int count);

/// From `low` to `high` the powers of ten, with 2 and 5 or 3 between them if that makes `count` at most. Both finite
/// and above 0, low <= high.
std::vector<double> log_ticks(double low, double high, int count);

}  // namespace curate
