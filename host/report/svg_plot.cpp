#include "report/svg_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

#include "report/progress.h"
#include "support/utf8.h"

namespace curate {
namespace {

constexpr double kPanelWidth = 560.0;
constexpr double kPlotHeight = 280.0;
constexpr double kLeft = 76.0;
constexpr double kRight = 16.0;
constexpr double kTop = 38.0;
constexpr double kBelowPlot = 52.0;  // ticks and the label of the axis
constexpr double kLegendRow = 20.0;
constexpr double kMargin = 16.0;
constexpr double kPlotWidth = kPanelWidth - kLeft - kRight;

// Told apart by people with any colour vision (Okabe and Ito 2008), without the yellow, which is too light for lines.
constexpr std::array<const char*, 7> kColors = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                "#e69f00", "#56b4e9", "#555555"};
// Series beyond the colours.
constexpr std::array<const char*, 5> kDashes = {"", "7 4", "2 3", "10 3 2 3", "14 4"};
constexpr const char* kInk = "#222222";
constexpr const char* kGrid = "#dddddd";

const char* color_of(std::size_t series) {
  return kColors[series % kColors.size()];
}

std::string dash_of(std::size_t series) {
  const std::string dash = kDashes[series / kColors.size() % kDashes.size()];
  return dash.empty() ? "" : fmt::format(" stroke-dasharray=\"{}\"", dash);
}

std::string escaped(std::string_view text) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t size = character_bytes(text, at);
    if (size != 1) {
      result += size == 0 ? std::string_view("\xEF\xBF\xBD") : text.substr(at, size);
      at += std::max<std::size_t>(1, size);
      continue;
    }
    switch (text[at]) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        result += text[at];
    }
    ++at;
  }
  return result;
}

/// About the width of a text, rather too wide than too narrow: the font is not known here.
double width_of(std::string_view text, double size) {
  return 0.64 * size * static_cast<double>(character_count(text));
}

/// Shortened to a width.
std::string fitted(std::string text, double size, double width) {
  if (width_of(text, size) <= width) {
    return text;
  }
  while (!text.empty() && width_of(text, size) + size > width) {
    do {
      text.pop_back();
    } while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xC0U) == 0x80);
  }
  return text + "\xE2\x80\xA6";
}

std::vector<std::string> broken(const std::string& text, double size, double width) {
  std::vector<std::string> lines;
  std::string line;
  for (std::size_t from = 0; from < text.size();) {
    const std::size_t to = std::min(text.find(' ', from), text.size());
    const std::string word = text.substr(from, to - from);
    if (!line.empty() && width_of(line + " " + word, size) > width) {
      lines.push_back(fitted(line, size, width));
      line.clear();
    }
    line += (line.empty() ? "" : " ") + word;
    from = to + 1;
  }
  if (!line.empty()) {
    lines.push_back(fitted(line, size, width));
  }
  return lines;
}

struct TextStyle {
  double size = 12.0;
  const char* anchor = "start";
  const char* color = kInk;
  bool bold = false;
  bool upwards = false;
};

std::string text_at(double x, double y, std::string_view text, const TextStyle& style) {
  return fmt::format("<text x=\"{:.2f}\" y=\"{:.2f}\" font-size=\"{}\" text-anchor=\"{}\" fill=\"{}\"{}{}>{}</text>\n",
                     x, y, style.size, style.anchor, style.color, style.bold ? " font-weight=\"bold\"" : "",
                     style.upwards ? fmt::format(" transform=\"rotate(-90 {:.2f} {:.2f})\"", x, y) : "", escaped(text));
}

std::string line_from(double x1, double y1, double x2, double y2, std::string_view attributes) {
  return fmt::format("<line x1=\"{:.2f}\" y1=\"{:.2f}\" x2=\"{:.2f}\" y2=\"{:.2f}\" {}/>\n", x1, y1, x2, y2,
                     attributes);
}

struct Axis {
  double low = 0.0;
  double high = 1.0;
  std::vector<double> ticks;
  bool logarithmic = false;

  Axis(double from, double to, int count) : ticks(nice_ticks(from, to, count)) {
    low = ticks.front();
    high = ticks.back();
  }

  /// Ends where the values do, with some room; both above 0.
  static Axis of_magnitudes(double from, double to, int count) {
    constexpr double kRoom = 1.1;
    Axis axis(0.0, 1.0, 1);
    axis.logarithmic = true;
    axis.low = from / kRoom;
    axis.high = to * kRoom;
    axis.ticks = log_ticks(axis.low, axis.high, count);
    return axis;
  }

  /// From 0 to 1.
  double at(double value) const {
    return logarithmic ? std::log(value / low) / std::log(high / low) : (value - low) / (high - low);
  }

  std::string text(double tick) const {
    const double largest = std::max(std::fabs(low), std::fabs(high));
    if (logarithmic) {
      return tick >= 10000.0 ? short_count(tick) : fmt::format("{:.6g}", tick);
    }
    if (largest >= 10000.0) {
      return short_count(tick);
    }
    const double step = ticks[1] - ticks[0];
    const int decimals = std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
    return fmt::format("{:.{}f}", tick, decimals);
  }
};

/// What the axes of a panel map to, in its own coordinates.
double x_of(const Axis& axis, double value) {
  return kLeft + kPlotWidth * axis.at(value);
}
double y_of(const Axis& axis, double value) {
  return kTop + kPlotHeight * (1.0 - axis.at(value));
}

std::string frame(const std::string& title, const std::string& x_label, const std::string& y_label, const Axis& y) {
  std::string svg = text_at(kLeft, kTop - 16.0, fitted(title, 14.0, kPlotWidth), {14.0, "start", kInk, true});
  for (const double tick : y.ticks) {
    svg += line_from(kLeft, y_of(y, tick), kLeft + kPlotWidth, y_of(y, tick), fmt::format("stroke=\"{}\"", kGrid));
    svg += text_at(kLeft - 6.0, y_of(y, tick) + 4.0, y.text(tick), {12.0, "end"});
  }
  svg +=
      text_at(kLeft + kPlotWidth / 2.0, kTop + kPlotHeight + 42.0, fitted(x_label, 12.0, kPlotWidth), {12.0, "middle"});
  svg +=
      text_at(16.0, kTop + kPlotHeight / 2.0, fitted(y_label, 12.0, kPlotHeight), {12.0, "middle", kInk, false, true});
  return svg;
}

std::string base_line() {
  return line_from(kLeft, kTop + kPlotHeight, kLeft + kPlotWidth, kTop + kPlotHeight,
                   fmt::format("stroke=\"{}\"", kInk));
}

struct LegendEntry {
  std::string name;
  std::string symbol;  ///< drawn in 24 by 12 with its middle at 0, 0
};

/// Rows of entries within a width.
std::vector<std::vector<LegendEntry>> legend_rows(const std::vector<LegendEntry>& entries, double width,
                                                  double& column) {
  double widest = 0.0;
  for (const LegendEntry& entry : entries) {
    widest = std::max(widest, width_of(entry.name, 12.0));
  }
  column = std::min(width, widest + 44.0);
  const auto columns = static_cast<std::size_t>(width / column);
  std::vector<std::vector<LegendEntry>> rows;
  for (const LegendEntry& entry : entries) {
    if (rows.empty() || rows.back().size() == columns) {
      rows.emplace_back();
    }
    rows.back().push_back(entry);
  }
  return rows;
}

std::vector<LegendEntry> legend_of(const BarPanel& panel) {
  std::vector<LegendEntry> entries;
  bool marks = false;
  for (std::size_t s = 0; s < panel.series.size(); ++s) {
    entries.push_back({panel.series[s].name, fmt::format("<rect x=\"-12\" y=\"-6\" width=\"24\" height=\"12\" "
                                                         "fill=\"{}\"/>",
                                                         color_of(s))});
    marks = marks || std::any_of(panel.series[s].marks.begin(), panel.series[s].marks.end(),
                                 [](const std::optional<double>& mark) { return mark.has_value(); });
  }
  if (marks) {
    entries.push_back(
        {panel.mark_name, line_from(-12, 0, 12, 0, fmt::format("stroke=\"{}\" stroke-width=\"3\"", kInk))});
  }
  return entries;
}

constexpr const char* kRuleStyle = "stroke=\"#222222\" stroke-width=\"1\" stroke-dasharray=\"4 3\"";

std::vector<LegendEntry> legend_of(const LinePanel& panel) {
  std::vector<LegendEntry> entries;
  for (std::size_t s = 0; s < panel.series.size(); ++s) {
    entries.push_back(
        {panel.series[s].name,
         line_from(-12, 0, 12, 0, fmt::format("stroke=\"{}\" stroke-width=\"2.5\"{}", color_of(s), dash_of(s)))});
  }
  if (panel.rule) {
    entries.push_back({panel.rule_name, line_from(-12, 0, 12, 0, kRuleStyle)});
  }
  return entries;
}

/// With its upper left corner at `left`, `top`.
std::string legend(const std::vector<LegendEntry>& entries, double left, double top, double width) {
  double column = 0.0;
  const auto rows = legend_rows(entries, width, column);
  std::string svg;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    for (std::size_t c = 0; c < rows[r].size(); ++c) {
      const double x = left + column * static_cast<double>(c) + 12.0;
      const double y = top + kLegendRow * (static_cast<double>(r) + 0.5);
      svg += fmt::format("<g transform=\"translate({:.2f} {:.2f})\">{}</g>\n", x, y, rows[r][c].symbol);
      svg += text_at(x + 18.0, y + 4.0, fitted(rows[r][c].name, 12.0, width - 44.0), {});
    }
  }
  return svg;
}

double legend_height(const std::vector<LegendEntry>& entries, double width) {
  double column = 0.0;
  return kLegendRow * static_cast<double>(legend_rows(entries, width, column).size());
}

constexpr double kLegendTop = kTop + kPlotHeight + kBelowPlot;

std::optional<double> finite(const std::vector<std::optional<double>>& values, std::size_t at) {
  return at < values.size() && values[at] && std::isfinite(*values[at]) ? values[at] : std::nullopt;
}

std::string draw(const BarPanel& panel) {
  double low = 0.0;
  double high = 0.0;
  for (const BarSeries& series : panel.series) {
    for (const auto* values : {&series.values, &series.marks}) {
      for (std::size_t g = 0; g < panel.groups.size(); ++g) {
        low = std::min(low, finite(*values, g).value_or(0.0));
        high = std::max(high, finite(*values, g).value_or(0.0));
      }
    }
  }
  const Axis y(low, high > low ? high : low + 1.0, 6);
  std::string svg = frame(panel.title, panel.x_label, panel.y_label, y);
  const double group_width = kPlotWidth / static_cast<double>(std::max<std::size_t>(1, panel.groups.size()));
  const double bar_width =
      std::min(72.0, 0.8 * group_width / static_cast<double>(std::max<std::size_t>(1, panel.series.size())));
  for (std::size_t g = 0; g < panel.groups.size(); ++g) {
    const double middle = kLeft + group_width * (static_cast<double>(g) + 0.5);
    svg +=
        text_at(middle, kTop + kPlotHeight + 18.0, fitted(panel.groups[g], 12.0, group_width - 4.0), {12.0, "middle"});
    for (std::size_t s = 0; s < panel.series.size(); ++s) {
      const double left =
          middle + bar_width * (static_cast<double>(s) - 0.5 * static_cast<double>(panel.series.size()));
      const double inside = 0.92 * bar_width;
      const std::optional<double> value = finite(panel.series[s].values, g);
      const std::optional<double> mark = finite(panel.series[s].marks, g);
      double top = y_of(y, 0.0);
      if (value) {
        top = y_of(y, std::max(0.0, *value));
        svg += fmt::format(
            "<rect class=\"bar\" x=\"{:.2f}\" y=\"{:.2f}\" width=\"{:.2f}\" height=\"{:.2f}\" fill=\"{}\"/>\n", left,
            top, inside, y_of(y, std::min(0.0, *value)) - top, color_of(s));
      }
      if (mark) {
        svg += line_from(left - 2.0, y_of(y, *mark), left + inside + 2.0, y_of(y, *mark),
                         fmt::format("class=\"mark\" stroke=\"{}\" stroke-width=\"3\"", kInk));
      }
      if (value && inside >= width_of("9.99 M", 11.0)) {
        // Within the bar, or above a low one, but clear of the mark.
        const bool within = y_of(y, 0.0) - top >= 20.0;
        const bool free = !mark || y_of(y, *mark) <= top - 18.0 || y_of(y, *mark) >= top;
        svg += within ? text_at(left + inside / 2.0, top + 14.0, short_count(*value), {11.0, "middle", "#ffffff", true})
                      : text_at(left + inside / 2.0, (free ? top : y_of(y, *mark)) - 5.0, short_count(*value),
                                {11.0, "middle"});
      }
    }
  }
  return svg + base_line();
}

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void take(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return !(low <= high); }
};

using Points = std::vector<std::pair<double, double>>;

/// What can be drawn of a line.
Points drawn_points(const LineSeries& series, bool logarithmic) {
  Points points;
  for (const auto& point : series.points) {
    if (std::isfinite(point.first) && std::isfinite(point.second) && (!logarithmic || point.first > 0.0)) {
      points.push_back(point);
    }
  }
  return points;
}

Axis x_axis(const LinePanel& panel, const Range& x) {
  constexpr int kTicks = 7;
  if (panel.x_scale == LinePanel::Scale::logarithmic && !x.empty()) {
    return Axis::of_magnitudes(x.low, x.high, kTicks);
  }
  const double right = x.empty() || x.high <= 0.0 ? 1.0 : x.high;
  const bool whole = panel.x_scale == LinePanel::Scale::whole_numbers;
  // With no more ticks than numbers they fall on whole ones.
  return {0.0, right, whole ? std::clamp(static_cast<int>(std::min(right, 100.0)), 1, kTicks) : kTicks};
}

bool has_limit(const LinePanel& panel, double low) {
  return panel.y_limit && std::isfinite(*panel.y_limit) && *panel.y_limit > low;
}

std::string draw(const LinePanel& panel) {
  Range x_range;
  Range y_range;
  std::vector<Points> lines;
  for (const LineSeries& series : panel.series) {
    lines.push_back(drawn_points(series, panel.x_scale == LinePanel::Scale::logarithmic));
    for (const auto& [px, py] : lines.back()) {
      x_range.take(px);
      y_range.take(py);
    }
  }
  if (panel.rule && std::isfinite(*panel.rule)) {
    y_range.take(*panel.rule);
  }
  if (y_range.empty()) {
    y_range = {0.0, 1.0};
  }
  const bool limited = has_limit(panel, y_range.low) && *panel.y_limit < y_range.high;
  const Axis x = x_axis(panel, x_range);
  const Axis y(y_range.low, limited ? *panel.y_limit : y_range.high, 6);
  std::string svg = frame(panel.title, panel.x_label, panel.y_label, y);
  for (const double tick : x.ticks) {
    svg += line_from(x_of(x, tick), kTop + kPlotHeight, x_of(x, tick), kTop + kPlotHeight + 4.0,
                     fmt::format("stroke=\"{}\"", kInk));
    svg += text_at(x_of(x, tick), kTop + kPlotHeight + 18.0, x.text(tick), {12.0, "middle"});
  }
  if (panel.rule && std::isfinite(*panel.rule)) {
    svg += line_from(kLeft, y_of(y, *panel.rule), kLeft + kPlotWidth, y_of(y, *panel.rule), kRuleStyle);
  }
  const auto dot = [&](const std::pair<double, double>& point, std::string_view attributes) {
    return point.second > y.high ? ""
                                 : fmt::format("<circle cx=\"{:.2f}\" cy=\"{:.2f}\" {}/>\n", x_of(x, point.first),
                                               y_of(y, point.second), attributes);
  };
  constexpr std::size_t kMostDots = 60;
  // Above dashes dots would hide them.
  const bool dashed = lines.size() > kColors.size();
  std::string rings;
  // The first come last, and so above the others.
  for (std::size_t s = lines.size(); s-- > 0;) {
    std::string points;
    std::string dots;
    for (const auto& point : lines[s]) {
      points += fmt::format("{}{:.2f},{:.2f}", points.empty() ? "" : " ", x_of(x, point.first), y_of(y, point.second));
      dots += dot(point, fmt::format("r=\"2.5\" fill=\"{}\"", color_of(s)));
    }
    svg += fmt::format("<polyline class=\"line\" points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"{}{}/>\n",
                       points, color_of(s), dash_of(s), limited ? " clip-path=\"url(#plot)\"" : "");
    svg += lines[s].size() <= kMostDots && (!dashed || lines[s].size() == 1) ? dots : "";
    const LineSeries& series = panel.series[s];
    if (series.ring && *series.ring < series.points.size()) {
      const auto& point = series.points[*series.ring];
      if (std::find(lines[s].begin(), lines[s].end(), point) != lines[s].end()) {
        rings += dot(point, fmt::format("class=\"ring\" r=\"4.5\" fill=\"#ffffff\" stroke=\"{}\" stroke-width=\"2\"",
                                        color_of(s)));
      }
    }
  }
  return svg + rings + base_line();
}

}  // namespace

std::vector<double> nice_ticks(double low, double high, int count) {
  if (!(high > low)) {
    const double around = low == 0.0 ? 1.0 : 0.1 * std::fabs(low);
    low -= around;
    high += around;
  }
  const double rough = (high - low) / std::max(1, count);
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  const double digit = rough / power;
  const double step = power * (digit <= 1.0 ? 1.0 : digit <= 2.0 ? 2.0 : digit <= 5.0 ? 5.0 : 10.0);
  // A hair's breadth of rounding makes no further tick.
  const double first = std::floor(low / step + 1e-9);
  const double last = std::ceil(high / step - 1e-9);
  std::vector<double> ticks;
  for (double k = first; k <= last; k += 1.0) {
    ticks.push_back(k * step);
  }
  return ticks;
}

std::vector<double> log_ticks(double low, double high, int count) {
  const std::array<std::vector<int>, 3> choices = {{{1, 2, 5}, {1, 3}, {1}}};
  const int first = static_cast<int>(std::floor(std::log10(low)));
  const int last = static_cast<int>(std::ceil(std::log10(high)));
  std::vector<double> ticks;
  for (const std::vector<int>& digits : choices) {
    ticks.clear();
    for (int power = first; power <= last; ++power) {
      for (const int digit : digits) {
        // Powers of ten below one are closest to their decimals as quotients.
        const double tick = power < 0 ? digit / std::pow(10.0, -power) : digit * std::pow(10.0, power);
        if (tick >= low && tick <= high) {
          ticks.push_back(tick);
        }
      }
    }
    if (ticks.size() <= static_cast<std::size_t>(std::max(1, count))) {
      break;
    }
  }
  return ticks;
}

std::string svg_plot(const PlotPage& page) {
  const auto columns = static_cast<std::size_t>(std::max(1, page.columns));
  const double width = kMargin * 2.0 + kPanelWidth * static_cast<double>(std::min(
                                                         columns, std::max<std::size_t>(1, page.panels.size())));
  std::string body;
  double y = kMargin;
  if (!page.title.empty()) {
    y += 18.0;
    body += text_at(kMargin, y, fitted(page.title, 18.0, width - 2.0 * kMargin), {18.0, "start", kInk, true});
    y += 8.0;
  }
  for (const std::string& line : broken(page.note, 12.0, width - 2.0 * kMargin)) {
    y += 16.0;
    body += text_at(kMargin, y, line, {});
  }
  y += kMargin;
  for (std::size_t first = 0; first < page.panels.size(); first += columns) {
    double height = 0.0;
    for (std::size_t p = first; p < std::min(first + columns, page.panels.size()); ++p) {
      std::string drawing = std::visit([](const auto& panel) { return draw(panel); }, page.panels[p]);
      if (!page.shared_legend) {
        const auto entries = std::visit([](const auto& one) { return legend_of(one); }, page.panels[p]);
        drawing += legend(entries, kLeft, kLegendTop, kPlotWidth);
        height = std::max(height, legend_height(entries, kPlotWidth));
      }
      body += fmt::format("<g transform=\"translate({:.2f} {:.2f})\">\n{}</g>\n",
                          kMargin + kPanelWidth * static_cast<double>(p - first), y, drawing);
    }
    y += kLegendTop + height + kMargin;
  }
  if (page.shared_legend && !page.panels.empty()) {
    const auto entries = std::visit([](const auto& one) { return legend_of(one); }, page.panels.front());
    const double legend_width = width - 2.0 * kMargin - kLeft - kRight;
    body += legend(entries, kMargin + kLeft, y - kMargin, legend_width);
    y += legend_height(entries, legend_width);
  }
  // One serves all panels: it is taken in the coordinates of what refers to it.
  const std::string clip = fmt::format(
      "<clipPath id=\"plot\"><rect x=\"{:.2f}\" y=\"{:.2f}\" width=\"{:.2f}\" height=\"{:.2f}\"/></clipPath>\n", kLeft,
      kTop, kPlotWidth, kPlotHeight + 2.0);
  const bool limited = body.find("url(#plot)") != std::string::npos;
  return fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 0 {0:.0f} {1:.0f}\" "
      "font-family=\"DejaVu Sans, Verdana, Arial, sans-serif\">\n"
      "<rect width=\"{0:.0f}\" height=\"{1:.0f}\" fill=\"#ffffff\"/>\n{2}{3}</svg>\n",
      width, y, limited ? clip : "", body);
}

}  // namespace curate
