#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <filesystem>
#include <iterator>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "report/compare_runs.h"
#include "report/comparison_figures.h"
#include "report/comparison_options.h"
#include "report/distinct_ends.h"
#include "report/progress.h"
#include "support/utf8.h"

namespace curate {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

struct Cell {
  std::string text;
  bool best = false;
};

constexpr std::size_t kTitleLines = 2;

struct TableColumn {
  std::array<std::string, kTitleLines> title;
  std::vector<Cell> cells;
  bool left = false;
  bool marked = false;  ///< has room for the mark of the best

  std::size_t width() const {
    std::size_t widest = std::max(character_count(title[0]), character_count(title[1]));
    for (const Cell& cell : cells) {
      widest = std::max(widest, character_count(cell.text));
    }
    return widest + (marked ? 1 : 0);
  }
};

constexpr std::size_t kGap = 2;

std::size_t table_width(const std::vector<TableColumn>& columns) {
  std::size_t width = 0;
  for (const TableColumn& column : columns) {
    width += column.width() + (width > 0 ? kGap : 0);
  }
  return width;
}

/// A text within a column, with its mark; `bold` wraps what is no blank.
std::string aligned(const TableColumn& column, const std::string& text, bool best, bool bold) {
  const std::string mark = !column.marked ? "" : best ? "*" : " ";
  const std::string blanks(column.width() - character_count(text) - mark.size(), ' ');
  const std::string shown = bold && best ? "\x1b[1m" + text + mark + "\x1b[0m" : text + mark;
  return column.left ? shown + blanks : blanks + shown;
}

std::string table_row(const std::vector<std::string>& texts) {
  std::string row;
  for (const std::string& text : texts) {
    row += (row.empty() ? std::string() : std::string(kGap, ' ')) + text;
  }
  row.resize(row.find_last_not_of(' ') + 1);
  return row + "\n";
}

int decimals_of_seconds(const std::vector<ComparedRun>& runs) {
  double least = std::numeric_limits<double>::infinity();
  for (const ComparedRun& run : runs) {
    least = std::min(least, run.metrics.seconds);
  }
  return least < 1.0 ? 3 : least < 100.0 ? 2 : 0;
}

TableColumn figure_column(const RunComparison& comparison, const Figure& figure) {
  const std::string_view key = figure.key;
  const int decimals = key == "seconds" ? decimals_of_seconds(comparison.runs) : 4;
  const bool whole = !figure.lowest_is_best;
  const std::optional<double> best = best_of(comparison, figure);
  TableColumn column;
  const std::string title = figure.title;
  const std::size_t line_end = title.find('\n');
  column.title = line_end == std::string::npos
                     ? std::array<std::string, kTitleLines>{"", title}
                     : std::array<std::string, kTitleLines>{title.substr(0, line_end), title.substr(line_end + 1)};
  column.marked = best.has_value();
  for (const ComparedRun& run : comparison.runs) {
    const std::optional<double> value = figure.value(run);
    Cell& cell = column.cells.emplace_back();
    cell.text = !value  ? "-"
                : whole ? grouped(static_cast<std::int64_t>(*value))
                        : fmt::format("{:.{}f}", *value, decimals);
    // What looks the same is marked the same.
    cell.best = best && value && cell.text == fmt::format("{:.{}f}", *best, decimals);
  }
  return column;
}

TableColumn option_column(const RunComparison& comparison, const std::string& key) {
  TableColumn column;
  column.title.back() = key;
  std::vector<std::string> texts;
  for (const ComparedRun& run : comparison.runs) {
    const Json& value = run.options[key];
    texts.push_back(option_text(value));
  }
  if (key == "data" || key == "test") {
    // Paths are told apart by their ends.
    std::set<std::string> different(texts.begin(), texts.end());
    different.erase("-");
    const std::vector<fs::path> paths(different.begin(), different.end());
    const std::vector<std::string> ends = distinct_ends(paths);
    for (std::string& text : texts) {
      const auto found = std::find(paths.begin(), paths.end(), fs::path(text));
      text = found == paths.end() ? text : ends[static_cast<std::size_t>(found - paths.begin())];
    }
  }
  for (std::string& text : texts) {
    column.cells.push_back({std::move(text), false});
  }
  return column;
}

/// What becomes of the options that differ.
struct OptionChoice {
  std::vector<std::string> shown;    ///< in the order of config.toml, as are the others
  std::vector<std::string> no_room;  ///< too much for the width
  std::vector<std::string> implied;  ///< in all runs what their main options make of them by default
};

OptionChoice choose_options(const RunComparison& comparison, std::size_t taken, std::size_t width) {
  const std::set<std::string> chosen = chosen_options(comparison.runs);
  OptionChoice choice;
  std::vector<std::string> by_rank;
  for (const std::string& key : comparison.differing) {
    (chosen.count(key) > 0 ? by_rank : choice.implied).push_back(key);
  }
  std::stable_sort(by_rank.begin(), by_rank.end(),
                   [](const std::string& a, const std::string& b) { return option_rank(a) < option_rank(b); });
  std::set<std::string> fitting;
  for (const std::string& key : by_rank) {
    const std::size_t more = kGap + option_column(comparison, key).width();
    if (width == 0 || taken + more <= width) {
      taken += more;
      fitting.insert(key);
    }
  }
  for (const std::string& key : comparison.differing) {
    if (chosen.count(key) > 0) {
      (fitting.count(key) > 0 ? choice.shown : choice.no_room).push_back(key);
    }
  }
  return choice;
}

/// A line for every line of the titles, then one for every run.
std::string rows_of(const std::vector<TableColumn>& columns, std::size_t runs, bool bold) {
  std::string text;
  std::vector<std::string> texts;
  for (std::size_t line = 0; line < kTitleLines; ++line) {
    texts.clear();
    for (const TableColumn& column : columns) {
      texts.push_back(aligned(column, column.title[line], false, false));
    }
    text += table_row(texts);
  }
  for (std::size_t r = 0; r < runs; ++r) {
    texts.clear();
    for (const TableColumn& column : columns) {
      texts.push_back(aligned(column, column.cells[r].text, column.cells[r].best, bold));
    }
    text += table_row(texts);
  }
  return text;
}

/// What follows the table, a line each.
std::string notes_of(const RunComparison& comparison, const OptionChoice& options, bool marks) {
  std::string notes;
  if (marks) {
    notes += "*: the lowest of its column\n";
  }
  if (!options.no_room.empty()) {
    notes += fmt::format("these options differ, too, but the table has no room for them: {}\n",
                         fmt::join(options.no_room, ", "));
  }
  if (!options.implied.empty()) {
    notes += fmt::format("these options differ because their defaults depend on model, optimizer and preset: {}\n",
                         fmt::join(options.implied, ", "));
  }
  for (const std::string& warning : comparison.warnings) {
    notes += fmt::format("warning: {}\n", printable_utf8(warning));
  }
  return notes;
}

}  // namespace

std::string comparison_table(const RunComparison& comparison, const TableStyle& style) {
  TableColumn names;
  names.title.back() = "run";
  names.left = true;
  for (const ComparedRun& run : comparison.runs) {
    names.cells.push_back({run.name, false});
  }
  std::vector<TableColumn> figures;
  bool marks = false;
  for (const Figure& figure : comparison_figures()) {
    if (any_has(comparison.runs, figure)) {
      figures.push_back(figure_column(comparison, figure));
      marks = marks || figures.back().marked;
    }
  }
  const std::size_t taken = names.width() + kGap + table_width(figures);
  const OptionChoice options = choose_options(comparison, taken, style.width);
  std::vector<TableColumn> columns = {std::move(names)};
  for (const std::string& key : options.shown) {
    columns.push_back(option_column(comparison, key));
  }
  columns.insert(columns.end(), std::make_move_iterator(figures.begin()), std::make_move_iterator(figures.end()));

  const bool one = comparison.runs.size() == 1;
  const std::string notes = notes_of(comparison, options, marks);
  return fmt::format("{}: {}\n\n{}{}{}", one ? "options" : "in all runs", common_options(comparison),
                     rows_of(columns, comparison.runs.size(), style.bold), notes.empty() ? "" : "\n", notes);
}

}  // namespace curate
