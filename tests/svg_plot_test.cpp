#include "report/svg_plot.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace curate {
namespace {

struct Tag {
  std::string name;  ///< with / before it where it closes
  std::map<std::string, std::string> attributes;
  double number(const std::string& attribute) const { return std::stod(attributes.at(attribute)); }
};

/// The tags after the declaration. Every one is closed in its turn, attributes are quoted, and & begins an entity.
std::vector<Tag> tags_of(const std::string& xml) {
  std::vector<Tag> tags;
  std::vector<std::string> open;
  EXPECT_EQ(xml.rfind("<?xml", 0), 0U);
  std::size_t at = xml.find("?>") + 2;
  for (std::size_t begin = xml.find('<', at); begin != std::string::npos; begin = xml.find('<', at)) {
    const std::size_t end = xml.find('>', begin);
    EXPECT_EQ(xml.substr(at, begin - at).find('>'), std::string::npos);
    EXPECT_NE(end, std::string::npos);
    std::string inside = xml.substr(begin + 1, end - begin - 1);
    EXPECT_EQ(inside.find('<'), std::string::npos) << inside;
    const bool alone = inside.back() == '/';
    inside.resize(inside.size() - (alone ? 1 : 0));
    Tag tag;
    std::size_t next = std::min(inside.find(' '), inside.size());
    tag.name = inside.substr(0, next);
    while ((next = inside.find_first_not_of(' ', next)) != std::string::npos) {
      const std::size_t equals = inside.find("=\"", next);
      const std::size_t quote = equals == std::string::npos ? equals : inside.find('"', equals + 2);
      if (quote == std::string::npos) {
        ADD_FAILURE() << inside;
        break;
      }
      tag.attributes[inside.substr(next, equals - next)] = inside.substr(equals + 2, quote - equals - 2);
      next = quote + 1;
    }
    if (tag.name.front() == '/') {
      EXPECT_FALSE(open.empty());
      EXPECT_EQ(tag.name, "/" + open.back());
      open.pop_back();
    } else if (!alone) {
      open.push_back(tag.name);
    }
    tags.push_back(std::move(tag));
    at = end + 1;
  }
  EXPECT_TRUE(open.empty());
  for (std::size_t amp = xml.find('&'); amp != std::string::npos; amp = xml.find('&', amp + 1)) {
    const std::string entity = xml.substr(amp, xml.find(';', amp) - amp);
    EXPECT_TRUE(entity == "&amp" || entity == "&lt" || entity == "&gt" || entity == "&quot") << entity;
  }
  return tags;
}

/// Those whose attribute has the value.
std::vector<Tag> with(const std::vector<Tag>& tags, const std::string& attribute, const std::string& value) {
  std::vector<Tag> found;
  std::copy_if(tags.begin(), tags.end(), std::back_inserter(found), [&](const Tag& tag) {
    const auto it = tag.attributes.find(attribute);
    return it != tag.attributes.end() && it->second == value;
  });
  return found;
}

std::vector<Tag> named(const std::vector<Tag>& tags, const std::string& name) {
  std::vector<Tag> found;
  std::copy_if(tags.begin(), tags.end(), std::back_inserter(found), [&](const Tag& tag) { return tag.name == name; });
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
  const std::vector<Tag> tags = tags_of(svg);
  const std::vector<Tag> drawn = with(tags, "class", "bar");
  const std::vector<Tag> marks = with(tags, "class", "mark");
  ASSERT_EQ(drawn.size(), 3U);
  const double ten = drawn[0].number("height");
  EXPECT_NEAR(drawn[1].number("height"), 0.5 * ten, 0.02);
  EXPECT_NEAR(drawn[2].number("height"), 2.0 * ten, 0.02);
  EXPECT_NEAR(drawn[0].number("y") + ten, drawn[2].number("y") + drawn[2].number("height"), 0.02);
  ASSERT_EQ(marks.size(), 1U);
  EXPECT_NEAR(drawn[0].number("y") - marks[0].number("y1"), 0.2 * ten, 0.02);
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
  const std::vector<Tag> tags = tags_of(svg);
  const std::vector<Tag> dots = named(tags, "circle");
  ASSERT_EQ(dots.size(), 3U);
  const auto x = [&](std::size_t k) { return dots[k].number("cx"); };
  const auto y = [&](std::size_t k) { return dots[k].number("cy"); };
  EXPECT_NEAR(x(1) - x(0), x(2) - x(1), 0.02);
  EXPECT_LT(y(1), y(0));  // upwards
  EXPECT_NEAR(y(0) - y(2), y(2) - y(1), 0.02);
  EXPECT_EQ(with(tags, "stroke-dasharray", "4 3").front().number("y1"), y(2));
  EXPECT_NE(svg.find(">target<"), std::string::npos);
}

TEST(LogTicks, LieWithinTheRange) {
  EXPECT_EQ(log_ticks(0.9, 110.0, 7), (std::vector<double>{1, 2, 5, 10, 20, 50, 100}));
  EXPECT_EQ(log_ticks(0.9, 110.0, 6), (std::vector<double>{1, 3, 10, 30, 100}));
  EXPECT_EQ(log_ticks(0.0009, 11.0, 6), (std::vector<double>{0.001, 0.01, 0.1, 1, 10}));
}

TEST(SvgPlot, FactorsLieEvenlyOnALogarithmicAxis) {
  LinePanel panel;
  panel.x_scale = LinePanel::Scale::logarithmic;
  panel.series = {{"a", {{0.0, 1.0}, {0.01, 1.0}, {1.0, 3.0}, {100.0, 2.0}}}};
  const std::string svg = svg_plot(page_of(panel));
  const std::vector<Tag> dots = named(tags_of(svg), "circle");
  ASSERT_EQ(dots.size(), 3U);  // zero has no place
  EXPECT_NEAR(dots[1].number("cx") - dots[0].number("cx"), dots[2].number("cx") - dots[1].number("cx"), 0.02);
  for (const char* text : {">0.01<", ">0.1<", ">1<", ">10<", ">100<"}) {
    EXPECT_NE(svg.find(text), std::string::npos) << text;
  }
  panel.series = {{"a", {{0.0, 1.0}}}};
  tags_of(svg_plot(page_of(panel)));
}

TEST(SvgPlot, WholeNumbersHaveWholeTicks) {
  LinePanel panel;
  panel.x_scale = LinePanel::Scale::whole_numbers;
  for (const double last : {1.0, 2.0, 3.0, 5.0, 8.0, 20.0, 250.0}) {
    panel.series = {{"a", {{1.0, 10.0}, {last, 20.0}}}};
    const std::string svg = svg_plot(page_of(panel));
    EXPECT_EQ(svg.find(".5<"), std::string::npos) << last;
    EXPECT_EQ(svg.find(".2<"), std::string::npos) << last;
    EXPECT_NE(svg.find(">0<"), std::string::npos) << last;
  }
}

TEST(SvgPlot, WhatLiesAboveTheLimitIsCutOff) {
  LinePanel panel;
  panel.series = {{"a", {{0.0, 50.0}, {5.0, 1.0}, {10.0, 2.0}}}};
  EXPECT_EQ(svg_plot(page_of(panel)).find("clip-path"), std::string::npos);
  panel.y_limit = 3.0;
  const std::vector<Tag> tags = tags_of(svg_plot(page_of(panel)));
  EXPECT_EQ(named(tags, "circle").size(), 2U);
  EXPECT_EQ(named(tags, "clipPath").size(), 1U);
  EXPECT_EQ(with(tags, "clip-path", "url(#plot)").size(), 1U);
  for (const double limit : {60.0, 0.5}) {  // above all points, below all points
    panel.y_limit = limit;
    EXPECT_EQ(named(tags_of(svg_plot(page_of(panel))), "circle").size(), 3U);
  }
}

TEST(SvgPlot, ARingMarksAPoint) {
  LinePanel panel;
  panel.series = {{"a", {{0.0, 1.0}, {5.0, 3.0}}, 1}, {"b", {{0.0, 1.0}}, 7}};
  const std::vector<Tag> tags = tags_of(svg_plot(page_of(panel)));
  const std::vector<Tag> rings = with(tags, "class", "ring");
  ASSERT_EQ(rings.size(), 1U);
  EXPECT_EQ(with(tags, "cx", rings[0].attributes.at("cx")).size(), 2U);
}

TEST(SvgPlot, ManySeriesAreToldApart) {
  LinePanel panel;
  for (int k = 0; k < 30; ++k) {
    panel.series.push_back({"s", {{0.0, 1.0}, {1.0, 2.0 + k}}});
  }
  std::set<std::pair<std::string, std::string>> looks;
  for (const Tag& line : with(tags_of(svg_plot(page_of(panel))), "class", "line")) {
    const auto dash = line.attributes.find("stroke-dasharray");
    looks.emplace(line.attributes.at("stroke"), dash == line.attributes.end() ? "" : dash->second);
  }
  EXPECT_EQ(looks.size(), 30U);
}

TEST(SvgPlot, ASharedLegendIsThereOnce) {
  LinePanel panel;
  panel.series = {{"a name", {{0.0, 1.0}, {1.0, 2.0}}}};
  PlotPage page;
  page.panels = {panel, panel};
  const auto count = [&] {
    const std::string svg = svg_plot(page);
    tags_of(svg);
    std::size_t found = 0;
    for (std::size_t at = svg.find(">a name<"); at != std::string::npos; at = svg.find(">a name<", at + 1)) {
      ++found;
    }
    return found;
  };
  EXPECT_EQ(count(), 2U);
  page.shared_legend = true;
  EXPECT_EQ(count(), 1U);
}

TEST(SvgPlot, TextIsEscaped) {
  PlotPage page = page_of(bars());
  page.title = "a < b & \"c\" > d";
  page.note = std::string("bell \a, zero ") + '\0' + ", cut \xE2\x82, surrogate \xED\xA0\x80, euro \xE2\x82\xAC";
  const std::string svg = svg_plot(page);
  tags_of(svg);
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
  const std::vector<Tag> tags = tags_of(svg);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg.find("inf"), std::string::npos);
  EXPECT_EQ(named(tags, "circle").size(), 1U);
  EXPECT_EQ(svg.find("class=\"bar\""), std::string::npos);
}

TEST(SvgPlot, LongTextsAreShortened) {
  BarPanel panel = bars();
  panel.title = std::string(300, 'x');
  panel.groups = {std::string(300, 'y'), "64"};
  panel.series[0].name = std::string(300, 'z');
  const std::string svg = svg_plot(page_of(panel));
  tags_of(svg);
  for (const char c : {'x', 'y', 'z'}) {
    EXPECT_EQ(svg.find(std::string(100, c)), std::string::npos);
    EXPECT_NE(svg.find(std::string(10, c)), std::string::npos);
  }
}

TEST(SvgPlot, PanelsLieInRows) {
  PlotPage page = page_of(bars());
  page.panels.resize(3, bars());
  const std::vector<Tag> tags = tags_of(svg_plot(page));
  std::vector<std::string> x;
  for (std::size_t k = 0; k + 1 < tags.size(); ++k) {
    if (tags[k].name == "g" && tags[k + 1].name == "text") {  // not a symbol of a legend
      const std::string& place = tags[k].attributes.at("transform");
      x.push_back(place.substr(0, place.find(' ')));
    }
  }
  ASSERT_EQ(x.size(), 3U);
  EXPECT_EQ(x[0], x[2]);
  EXPECT_NE(x[1], x[0]);
  EXPECT_LT(tags_of(svg_plot(page_of(bars()))).front().number("width"), tags.front().number("width"));
}

}  // namespace
}  // namespace curate
