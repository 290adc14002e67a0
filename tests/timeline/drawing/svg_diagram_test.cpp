/// Drawings as SVG: well-formed, self-contained, escaped, of a bounded size.
#include <cstddef>
#include <string>

#include "tests/catch.hpp"
#include "tests/timeline/story_kit.hpp"
#include "tests/timeline/xml_check.hpp"
#include <dtm/timeline/draw.hpp>
#include <dtm/timeline/drawing/svg_parts.hpp>

using dtm::DrawFormat;
using story_kit::XmlProblem;

namespace {

std::size_t Count(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size())
    ++count;
  return count;
}

std::string Svg(const dtm::Timeline& story) { return dtm::Draw(story, DrawFormat::kSvg); }

}  // namespace

TEST_CASE("svg: the check of XML finds what is wrong") {
  CHECK(XmlProblem("<a x=\"1\"><b/>t&lt;<!-- no --></a>\n") != "");
  CHECK(XmlProblem("<a x=\"1\"><b/>t&lt;</a>\n") == "");
  for (const char* bad :
       {"<a>", "<a></b>", "<a>&</a>", "<a x=\"<\"/>", "<a>\x1b</a>", "<a></a><b/>", "a", ""}) {
    CHECK(XmlProblem(bad) != "");
  }
}

TEST_CASE("svg: every story is well-formed, small, and needs nothing from elsewhere") {
  for (const auto& [name, story] : story_kit::AllStories()) {
    INFO(name);
    const std::string svg = Svg(story);
    CHECK(XmlProblem(svg) == "");
    CHECK(svg.size() < 50000);
    CHECK(Count(svg, "<script") == 0);
    CHECK(Count(svg, "href") == 0);
    CHECK(Count(svg, "url(") == 0);
    CHECK(Count(svg, "@import") == 0);
    CHECK(Count(svg, " style=") == 0);
    CHECK(Count(svg, "secret") == 0);
    CHECK(Count(svg, "\n<title>") == 1);
  }
}

TEST_CASE("svg: calls, answers, and bars while somebody works on a call") {
  const std::string svg = Svg(story_kit::Success());
  CHECK(Count(svg, "class=\"s\"") == 3);    // submit and two calls
  CHECK(Count(svg, "class=\"s r\"") == 3);  // their answers
  CHECK(Count(svg, "class=\"a\"") == 3);    // coordinator, two banks
  CHECK(Count(svg, ">01 TransOut</text>") == 1);
  CHECK(Count(svg, "<title>saga gid-1: succeed after 7.4 ms</title>") == 1);
  CHECK(Count(svg, "prefers-color-scheme:dark") == 1);
}

TEST_CASE("svg: between two processes nothing is alive") {
  const std::string svg = Svg(story_kit::TakenOver());
  CHECK(Count(svg, "class=\"v\"") == 1);
  CHECK(Count(svg, "class=\"s o\"") == 1);  // the call that got no answer
  CHECK(Count(svg, "class=\"a\"") == 4);    // the coordinator twice
}

TEST_CASE("svg: the name of the last lifeline is seen in full") {
  dtm::Diagram diagram;
  diagram.lifelines = {{"application"}, {"coordinator"}, {"ledger.example:44061"}};
  const std::string svg = dtm::Draw(diagram, DrawFormat::kSvg);
  const auto number = [&svg](const std::string& before, std::size_t from) {
    return std::stoi(svg.substr(svg.find(before, from) + before.size()));
  };
  const std::size_t box = svg.rfind("<rect class=\"k\"");
  REQUIRE(box != std::string::npos);
  CHECK(number(" x=\"", box) + number(" width=\"", box) < number(" width=\"", 0));
}

TEST_CASE("svg: what has no room is cut, and seen in full under the pointer") {
  dtm::Diagram diagram;
  const std::string text(400, 'x');
  diagram.lifelines = {{"a"}, {"b"}};
  diagram.events = {{dtm::DiagramEvent::Kind::kReply, {}, 1, 0, "error", text}};
  const std::string svg = dtm::Draw(diagram, DrawFormat::kSvg);
  CHECK(Count(svg, "<title>error: " + text + "</title>") == 1);
  CHECK(Count(svg, "…") == 1);
}

TEST_CASE("svg: whatever is said, it stays below 200 kB") {
  dtm::Diagram diagram;
  diagram.lifelines.assign(8, {std::string(40, '&'), std::string(40, '"')});
  for (std::size_t i = 0; i < 180; ++i) {
    diagram.events.push_back({dtm::DiagramEvent::Kind::kReply, dtm::Duration(i), 7, 1,
                              std::string(60, '&'), std::string(200, '&')});
  }
  const std::string svg = dtm::Draw(diagram, DrawFormat::kSvg);
  CHECK(XmlProblem(svg) == "");
  CHECK(svg.size() < 200000);
}

TEST_CASE("svg: text is escaped") {
  CHECK(dtm::drawing::EscapedXml("<a b=\"c\">&'") == "&lt;a b=&quot;c&quot;&gt;&amp;'");
}
