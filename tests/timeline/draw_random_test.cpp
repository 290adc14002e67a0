/// Stories that make no sense, with texts that nobody should write: every drawing of them is well-formed.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <sstream>
#include <string>

#include "tests/catch.hpp"
#include "tests/timeline/random_story.hpp"
#include "tests/timeline/xml_check.hpp"
#include <dtm/timeline/draw.hpp>
#include <dtm/timeline/drawing/shown_text.hpp>

namespace {

void CheckText(const std::string& drawn, std::size_t width) {
  std::string line;
  for (const char c : drawn) {
    if (c != '\n') {
      line += c;
      continue;
    }
    if (dtm::drawing::ColumnsOf(line) > width || dtm::drawing::Shown(line) != line) {
      FAIL("not a line of " << width << " columns: " << line);
    }
    line.clear();
  }
  CHECK(line.empty());
}

/// As the lines that MermaidDiagram writes: what follows the first colon has no character that means something.
void CheckMermaid(const std::string& drawn) {
  std::istringstream lines(drawn);
  std::string line;
  std::getline(lines, line);
  CHECK(line == "sequenceDiagram");
  while (std::getline(lines, line)) {
    const std::size_t text = (std::min)(line.find(": "), line.find(" as "));
    const bool title = line.compare(0, 10, "    title ") == 0;
    const std::string head = title ? "    title" : line.substr(0, text);
    std::string tail = line.substr(head.size());
    for (const char* allowed : {"<br/>", "#"}) {
      for (std::size_t at = 0; (at = tail.find(allowed)) != std::string::npos;) {
        const std::size_t end = *allowed == '#' ? tail.find(';', at) + 1 : at + 5;
        tail.erase(at, end - at);
      }
    }
    if (head.find_first_not_of(" abcdefghijklmnopqrstuvwxyzN0123456789->,") != std::string::npos ||
        tail.find_first_of(";#%{}<>\"'&`\\") != std::string::npos) {
      FAIL("not a line of ours: " << line);
    }
  }
}

}  // namespace

TEST_CASE("random drawings: whatever happened and was said, each is well-formed") {
  for (std::uint64_t seed = 0; seed < 600; ++seed) {
    INFO("seed " << seed);
    const dtm::Timeline story = story_kit::RandomStory(seed).Make();
    const std::size_t width = seed % 4 == 0 ? 96 : 40 + seed % 100;
    const std::string text = dtm::Draw(story, dtm::DrawFormat::kText, {false, width});
    CheckText(text, width);
    const std::string svg = dtm::Draw(story, dtm::DrawFormat::kSvg);
    if (story_kit::XmlProblem(svg) != "" || svg.size() >= 200000) FAIL(svg);
    const std::string mermaid = dtm::Draw(story, dtm::DrawFormat::kMermaid);
    CheckMermaid(mermaid);
    for (const std::string* drawn : {&text, &svg, &mermaid}) {
      if (drawn->find("secret") != std::string::npos) FAIL("a password is shown");
    }
  }
}
