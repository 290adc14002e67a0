/// Drawings in the words of Mermaid. That mermaid 11 reads them was tried by hand, with all stories and 600 random ones.
#include <string>

#include "tests/catch.hpp"
#include "tests/timeline/story_kit.hpp"
#include <dtm/timeline/draw.hpp>
#include <dtm/timeline/drawing/mermaid_diagram.hpp>

TEST_CASE("mermaid: a saga through a takeover") {
  CHECK('\n' + dtm::Draw(story_kit::TakenOver(), dtm::DrawFormat::kMermaid) == R"drawn(
sequenceDiagram
    title saga gid-1: succeed after 3.5 s
    participant p0 as application
    participant p1 as coordinator
    participant p2 as bank-a
    participant p3 as bank-b
    p0->>p1: 0.0 ms · submit
    p1->>p2: 0.2 ms · 01 TransOut
    p2-->>p1: 4.0 ms · success
    p1--xp3: 4.2 ms · 02 TransIn
    Note over p0,p3: process 7 is gone
    Note right of p1: 3.4 s later
    Note over p0,p3: 3.4 s · taken up by process 9
    p1->>p3: 3.4 s · 02 TransIn
    p3-->>p1: 3.5 s · success
    p1-->>p0: 3.5 s · succeed
)drawn");
}

TEST_CASE("mermaid: what could mean something is escaped, and lines are broken") {
  using dtm::drawing::EscapedMermaid;
  CHECK(EscapedMermaid("01 Trans/In_a.b (x), -y: ä日") == "01 Trans/In_a.b (x), -y: ä日");
  CHECK(EscapedMermaid("a;b#c%%{d}<br/>\"&") ==
        "a#59;b#35;c#37;#37;#123;d#125;#60;br/#62;#34;#38;");
  CHECK(EscapedMermaid("style:x") == "style#58;x");
  CHECK(EscapedMermaid("a:") == "a#58;");
  const std::string drawn = dtm::Draw(story_kit::People(), dtm::DrawFormat::kMermaid);
  CHECK(drawn.find("was closed<br/>by its side after 0 bytes") != std::string::npos);
}

TEST_CASE("mermaid: one lifeline, and an arrow to oneself") {
  dtm::Diagram diagram;
  diagram.lifelines = {{"a"}};
  diagram.events = {{dtm::DiagramEvent::Kind::kCall, {}, 0, 0, "x"},
                    {dtm::DiagramEvent::Kind::kEnd, {}, 0, 0, "y"}};
  const std::string drawn = dtm::Draw(diagram, dtm::DrawFormat::kMermaid);
  CHECK(drawn.find("    Note right of p0: x\n    Note over p0: y\n") != std::string::npos);
}
