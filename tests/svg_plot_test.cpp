#include "report/svg_plot.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <regex>
#include <string>
#include <vector>

namespace curate {
namespace {

/// Every tag is closed in its turn, attributes are quoted, and & begins an entity.
void expect_well_formed(const std::string& xml) {
  static const std::regex kTag(R"re(<(/?)([a-z]+)((?: [a-z0-9A-Z-]+="[^"<]*")*) ?(/?)>)re");
  std::vector<std::string> open;
  std::size_t at = xml.find("?>") + 2;
  ASSERT_EQ(xml.rfind("<?xml", 0), 0U);
  for (std::sregex_iterator tag(xml.begin() + static_cast<std::ptrdiff_t>(at), xml.end(), kTag), end; tag != end;
       ++tag) {
    const std::string text = tag->prefix();
    ASSERT_EQ(text.find_first_of("<>"), std::string::npos) << text;
    if (!(*tag)[1].str().empty()) {
      ASSERT_FALSE(open.empty());
      ASSERT_EQ(open.back(), (*tag)[2].str());
      open.pop_back();
    } else if ((*tag)[4].str().empty()) {
      open.push_back((*tag)[2]);
    }
  }
  EXPECT_TRUE(open.empty());
  for (std::size_t amp = xml.find('&'); amp != std::string::npos; amp = xml.find('&', amp + 1)) {
    EXPECT_TRUE(std::regex_search(xml.substr(amp, 8), std::regex("^&(amp|lt|gt|quot);"))) << xml.substr(amp, 8);
  }
}

/// The numbers that a pattern with one group finds.
std::vector<double> numbers(const std::string& svg, const std::string& pattern) {
  const std::regex regex(pattern);
  std::vector<double> found;
  for (std::sregex_iterator match(svg.begin(), svg.end(), regex), end; match != end; ++match) {
    found.push_back(std::stod((*match)[1]));
  }
  return found;
}

PlotPage page_of(PlotPanel panel) {
  PlotPage page;
  page.title = "title";
  page.note = "note";
  page.panels.push_back(std::move(panel));
  return page;
}

BarPanel bars() {
  BarPanel panel;
  panel.title = "bars";
  panel.groups = {"32", "64"};
  panel.series = {{"cpu", {10.0, 5.0}, {12.0}}, {"gpu", {std::nullopt, 20.0}, {}}};
  panel.mark_name = "roof";
  return panel;
}

TEST(NiceTicks, AreRoundAndCoverTheRange) {
  EXPECT_EQ(nice_ticks(0.0, 100.0, 5), (std::vector<double>{0, 20, 40, 60, 80, 100}));
  EXPECT_EQ(nice_ticks(-3.0, 7.0, 5), (std::vector<double>{-4, -2, 0, 2, 4, 6, 8}));
  for (const double high : {1e-9, 0.3, 1.0, 7.7, 1e12}) {
    const std::vector<double> ticks = nice_ticks(0.0, high, 6);
    EXPECT_LE(ticks.front(), 0.0);
    EXPECT_GE(ticks.back(), high * (1.0 - 1e-9));
    EXPECT_GE(ticks.size(), 3U);
    EXPECT_LE(ticks.size(), 8U);
  }
  const std::vector<double> around = nice_ticks(0.85, 0.85, 5);
  EXPECT_LT(around.front(), 0.85);
  EXPECT_GT(around.back(), 0.85);
  EXPECT_GE(nice_ticks(0.0, 0.0, 5).size(), 2U);
}

TEST(SvgPlot, HeightsOfBarsAreTheValues) {
  const std::string svg = svg_plot(page_of(bars()));
  expect_well_formed(svg);
  const std::vector<double> heights = numbers(svg, R"re(class="bar"[^>]* height="([^"]*)")re");
  const std::vector<double> tops = numbers(svg, R"re(class="bar"[^>]* y="([^"]*)")re");
  const std::vector<double> marks = numbers(svg, R"re(y1="([^"]*)"[^>]* class="mark")re");
  ASSERT_EQ(heights.size(), 3U);
  EXPECT_NEAR(heights[1], 0.5 * heights[0], 0.02);
  EXPECT_NEAR(heights[2], 2.0 * heights[0], 0.02);
  EXPECT_NEAR(tops[0] + heights[0], tops[2] + heights[2], 0.02);
  ASSERT_EQ(marks.size(), 1U);
  EXPECT_NEAR(tops[0] - marks[0], 0.2 * heights[0], 0.02);
  EXPECT_NE(svg.find(">roof<"), std::string::npos);
}

TEST(SvgPlot, WithoutMarksTheLegendHasNone) {
  BarPanel panel = bars();
  panel.series[0].marks.clear();
  EXPECT_EQ(svg_plot(page_of(panel)).find(">roof<"), std::string::npos);
}

TEST(SvgPlot, PointsLieWhereTheAxesSay) {
  LinePanel panel;
  panel.series = {{"a", {{0.0, 1.0}, {5.0, 3.0}, {10.0, 2.0}}}};
  panel.rule = 2.0;
  panel.rule_name = "target";
  const std::string svg = svg_plot(page_of(panel));
  expect_well_formed(svg);
  const std::vector<double> x = numbers(svg, R"re(<circle cx="([^"]*)")re");
  const std::vector<double> y = numbers(svg, R"re(<circle cx="[^"]*" cy="([^"]*)")re");
  ASSERT_EQ(x.size(), 3U);
  EXPECT_NEAR(x[1] - x[0], x[2] - x[1], 0.02);
  EXPECT_LT(y[1], y[0]);  // upwards
  EXPECT_NEAR(y[0] - y[2], y[2] - y[1], 0.02);
  EXPECT_EQ(numbers(svg, R"re(y1="([^"]*)"[^>]* stroke-dasharray="4 3")re").front(), y[2]);
  EXPECT_NE(svg.find(">target<"), std::string::npos);
}

TEST(SvgPlot, TextIsEscaped) {
  PlotPage page = page_of(bars());
  page.title = "a < b & \"c\" > d";
  page.note = std::string("bell \a, zero ") + '\0' + ", cut \xE2\x82, surrogate \xED\xA0\x80, euro \xE2\x82\xAC";
  const std::string svg = svg_plot(page);
  expect_well_formed(svg);
  EXPECT_NE(svg.find("a &lt; b &amp; &quot;c&quot; &gt; d"), std::string::npos);
  EXPECT_NE(svg.find("euro \xE2\x82\xAC"), std::string::npos);
  EXPECT_NE(svg.find("bell \xEF\xBF\xBD"), std::string::npos);
  EXPECT_EQ(svg.find('\a'), std::string::npos);
  EXPECT_EQ(svg.find('\0'), std::string::npos);
  EXPECT_EQ(svg.find("\xED\xA0"), std::string::npos);
}

TEST(SvgPlot, WhatIsNotFiniteOrNotThereIsLeftOut) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  LinePanel lines;
  lines.series = {{"a", {{0.0, nan}, {1.0, 0.5}, {2.0, infinity}}}, {"empty", {}}};
  BarPanel none;
  none.series = {{"a", {nan, infinity}, {nan}}};
  none.groups = {"1", "2"};
  PlotPage page;
  page.panels = {lines, none, BarPanel{}, LinePanel{}};
  const std::string svg = svg_plot(page);
  expect_well_formed(svg);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg.find("inf"), std::string::npos);
  EXPECT_EQ(numbers(svg, R"re(<circle cx="([^"]*)")re").size(), 1U);
  EXPECT_EQ(svg.find("class=\"bar\""), std::string::npos);
}

TEST(SvgPlot, LongTextsAreShortened) {
  BarPanel panel = bars();
  panel.title = std::string(300, 'x');
  panel.groups = {std::string(300, 'y'), "64"};
  panel.series[0].name = std::string(300, 'z');
  const std::string svg = svg_plot(page_of(panel));
  expect_well_formed(svg);
  for (const char c : {'x', 'y', 'z'}) {
    EXPECT_EQ(svg.find(std::string(100, c)), std::string::npos);
    EXPECT_NE(svg.find(std::string(10, c)), std::string::npos);
  }
}

TEST(SvgPlot, PanelsLieInRows) {
  PlotPage page = page_of(bars());
  page.panels.resize(3, bars());
  const std::string svg = svg_plot(page);
  const std::vector<double> x = numbers(svg, R"re(<g transform="translate\(([0-9.]+) [0-9.]+\)">\n<text)re");
  ASSERT_EQ(x.size(), 3U);
  EXPECT_EQ(x[0], x[2]);
  EXPECT_GT(x[1], x[0]);
  EXPECT_LT(numbers(svg_plot(page_of(bars())), R"re(<svg[^>]* width="([0-9]+)")re").front(),
            numbers(svg, R"re(<svg[^>]* width="([0-9]+)")re").front());
}

}  // namespace
}  // namespace curate
