#include "report/svg_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

#include "report/progress.h"

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
constexpr std::array<const char*, 3> kDashes = {"", "7 4", "2 3"};
constexpr const char* kInk = "#222222";
constexpr const char* kGrid = "#dddddd";

const char* color_of(std::size_t series) {
  return kColors[series % kColors.size()];
}

std::string dash_of(std::size_t series) {
  const std::string dash = kDashes[series / kColors.size() % kDashes.size()];
  return dash.empty() ? "" : fmt::format(" stroke-dasharray=\"{}\"", dash);
}

/// Bytes of the UTF-8 character at `at` that XML can hold, or 0.
std::size_t character_bytes(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t k) -> std::uint32_t {
    return at + k < text.size() ? static_cast<unsigned char>(text[at + k]) : 0U;
  };
  const std::uint32_t first = byte(0);
  if (first < 0x80) {
    return first >= 0x20 && first != 0x7F ? 1 : 0;
  }
  const std::size_t size = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  std::uint32_t code = first & (0xFFU >> (size + 1));
  for (std::size_t k = 1; k < size; ++k) {
    if ((byte(k) & 0xC0U) != 0x80) {
      return 0;
    }
    code = code << 6U | (byte(k) & 0x3FU);
  }
  constexpr std::array<std::uint32_t, 5> kLeast = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  const bool valid = first >= 0xC2 && first <= 0xF4 && code >= kLeast[size] && code <= 0x10FFFF && !surrogate;
  return valid && code >= 0xA0 && code != 0xFFFE && code != 0xFFFF ? size : 0;
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

/// About the width of a text, on the safe side: nobody knows the font here.
double width_of(std::string_view text, double size) {
  const auto characters = std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0U) != 0x80;  // not within a character of several bytes
  });
  return 0.64 * size * static_cast<double>(characters);
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

  Axis(double from, double to, int count) : ticks(nice_ticks(from, to, count)) {
    low = ticks.front();
    high = ticks.back();
  }

  /// From 0 to 1.
  double at(double value) const { return (value - low) / (high - low); }

  std::string text(double tick) const {
    const double largest = std::max(std::fabs(low), std::fabs(high));
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

/// Rows of entries within the panel's width.
std::vector<std::vector<LegendEntry>> legend_rows(const std::vector<LegendEntry>& entries, double& column) {
  double widest = 0.0;
  for (const LegendEntry& entry : entries) {
    widest = std::max(widest, width_of(entry.name, 12.0));
  }
  column = std::min(kPlotWidth, widest + 44.0);
  const auto columns = static_cast<std::size_t>(kPlotWidth / column);
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

std::string legend(const std::vector<LegendEntry>& entries) {
  double column = 0.0;
  const auto rows = legend_rows(entries, column);
  std::string svg;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    for (std::size_t c = 0; c < rows[r].size(); ++c) {
      const double x = kLeft + column * static_cast<double>(c) + 12.0;
      const double y = kTop + kPlotHeight + kBelowPlot + kLegendRow * (static_cast<double>(r) + 0.5);
      svg += fmt::format("<g transform=\"translate({:.2f} {:.2f})\">{}</g>\n", x, y, rows[r][c].symbol);
      svg += text_at(x + 18.0, y + 4.0, fitted(rows[r][c].name, 12.0, kPlotWidth - 44.0), {});
    }
  }
  return svg;
}

double panel_height(const PlotPanel& panel) {
  const auto entries = std::visit([](const auto& one) { return legend_of(one); }, panel);
  double column = 0.0;
  const auto rows = legend_rows(entries, column);
  return kTop + kPlotHeight + kBelowPlot + kLegendRow * static_cast<double>(rows.size()) + kMargin;
}

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
  return svg + base_line() + legend(legend_of(panel));
}

std::string draw(const LinePanel& panel) {
  double right = 0.0;
  double low = std::numeric_limits<double>::infinity();
  double high = -low;
  std::vector<std::vector<std::pair<double, double>>> lines;
  for (const LineSeries& series : panel.series) {
    auto& points = lines.emplace_back();
    for (const auto& point : series.points) {
      if (std::isfinite(point.first) && std::isfinite(point.second)) {
        points.push_back(point);
        right = std::max(right, point.first);
        low = std::min(low, point.second);
        high = std::max(high, point.second);
      }
    }
  }
  if (panel.rule && std::isfinite(*panel.rule)) {
    low = std::min(low, *panel.rule);
    high = std::max(high, *panel.rule);
  }
  if (!(low <= high)) {
    low = 0.0;
    high = 1.0;
  }
  const Axis x(0.0, right > 0.0 ? right : 1.0, 7);
  const Axis y(low, high, 6);
  std::string svg = frame(panel.title, panel.x_label, panel.y_label, y);
  for (const double tick : x.ticks) {
    svg += line_from(x_of(x, tick), kTop + kPlotHeight, x_of(x, tick), kTop + kPlotHeight + 4.0,
                     fmt::format("stroke=\"{}\"", kInk));
    svg += text_at(x_of(x, tick), kTop + kPlotHeight + 18.0, x.text(tick), {12.0, "middle"});
  }
  if (panel.rule && std::isfinite(*panel.rule)) {
    svg += line_from(kLeft, y_of(y, *panel.rule), kLeft + kPlotWidth, y_of(y, *panel.rule), kRuleStyle);
  }
  constexpr std::size_t kMostDots = 60;
  for (std::size_t s = 0; s < lines.size(); ++s) {
    std::string points;
    std::string dots;
    for (const auto& [px, py] : lines[s]) {
      points += fmt::format("{}{:.2f},{:.2f}", points.empty() ? "" : " ", x_of(x, px), y_of(y, py));
      dots += fmt::format("<circle cx=\"{:.2f}\" cy=\"{:.2f}\" r=\"2.5\" fill=\"{}\"/>\n", x_of(x, px), y_of(y, py),
                          color_of(s));
    }
    svg += fmt::format("<polyline class=\"line\" points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"{}/>\n",
                       points, color_of(s), dash_of(s));
    svg += lines[s].size() <= kMostDots ? dots : "";
  }
  return svg + base_line() + legend(legend_of(panel));
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
      body += fmt::format("<g transform=\"translate({:.2f} {:.2f})\">\n{}</g>\n",
                          kMargin + kPanelWidth * static_cast<double>(p - first), y,
                          std::visit([](const auto& panel) { return draw(panel); }, page.panels[p]));
      height = std::max(height, panel_height(page.panels[p]));
    }
    y += height;
  }
  return fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 0 {0:.0f} {1:.0f}\" "
      "font-family=\"DejaVu Sans, Verdana, Arial, sans-serif\">\n"
      "<rect width=\"{0:.0f}\" height=\"{1:.0f}\" fill=\"#ffffff\"/>\n{2}</svg>\n",
      width, y, body);
}

}  // namespace curate
