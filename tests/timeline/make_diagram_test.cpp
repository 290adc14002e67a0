/// What is drawn of a story: who has a lifeline, how calls are named, and what stands for what is left out.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/timeline/story_kit.hpp"
#include <dtm/store/store.hpp>
#include <dtm/timeline/make_diagram.hpp>

using dtm::Diagram;
using dtm::DiagramEvent;
using dtm::JournalKind;
using dtm::Tone;
using story_kit::Story;
using Names = std::vector<std::string>;

namespace {

Names LifelinesOf(const std::vector<std::string>& urls) {
  Story story;
  for (const std::string& url : urls) story.Step(url);
  double ms = 0;
  for (std::size_t i = 0; i < urls.size(); ++i) story.Tell(++ms, JournalKind::kStarted, 2 * i + 1);
  Names names;
  for (const dtm::Lifeline& lifeline : dtm::MakeDiagram(story.Make()).lifelines) {
    names.push_back(lifeline.name);
  }
  CHECK(names.at(0) == "application");
  CHECK(names.at(1) == "coordinator");
  names.erase(names.begin(), names.begin() + 2);
  return names;
}

std::string CallOf(dtm::TransType type, const std::string& action, const std::string& undo,
                   std::size_t row) {
  Story story(type);
  story.Step(action, undo);
  return dtm::timeline::CallInWords(story.definition, row);
}

/// Texts of the events of that kind.
Names TextsOf(const Diagram& diagram, DiagramEvent::Kind kind) {
  Names texts;
  for (const DiagramEvent& event : diagram.events) {
    if (event.kind == kind) texts.push_back(InWords(event));
  }
  return texts;
}

}  // namespace

TEST_CASE("diagram: a lifeline for each host, with the shortest name that is no other one's") {
  CHECK(LifelinesOf({"http://bank-a/x", "http://bank-a/y?z", "https://mail.example.org/x"}) ==
        Names{"bank-a", "mail"});
  CHECK(LifelinesOf({"http://bank.one.org/x", "http://bank.two.org/x"}) ==
        Names{"bank.one.org", "bank.two.org"});
  CHECK(LifelinesOf({"http://bank:81/x", "http://bank:82/x"}) == Names{"bank:81", "bank:82"});
  CHECK(LifelinesOf({"http://bank:81/x", "grpc://bank:81/x"}) ==
        Names{"http://bank:81", "grpc://bank:81"});
  CHECK(LifelinesOf({"http://127.0.0.1:81/x", "http://localhost:82/x", "http://[::1]/x"}) ==
        Names{"127.0.0.1:81", "localhost:82", "[::1]"});
  CHECK(LifelinesOf({"http://coordinator.org/x"}) == Names{"coordinator.org"});
  CHECK(LifelinesOf({"local:Out", "local:In", "http://functions/x"}) ==
        Names{"registered functions", "http://functions"});
  CHECK(LifelinesOf({"http://user:secret@bank/x", "http://user:secret@a b/x"}) ==
        Names{"bank", "http://***@a b"});
  CHECK(LifelinesOf({"", "local:tx/Out"}).empty());  // the coordinator does that itself
}

TEST_CASE("diagram: beyond six hosts some have a lifeline together") {
  Names urls;
  for (int i = 0; i < 6; ++i) urls.push_back("http://h" + std::to_string(i) + "/x");
  CHECK(LifelinesOf(urls) == Names{"h0", "h1", "h2", "h3", "h4", "h5"});
  urls.push_back("http://h6/x");
  CHECK(LifelinesOf(urls) == Names{"h0", "h1", "h2", "h3", "h4", "2 others"});
}

TEST_CASE(
    "diagram: calls are named by their branch, and by the operation unless the name says it") {
  using dtm::TransType;
  CHECK(CallOf(TransType::kSaga, "http://a/b/TransIn?x=1", "http://a/b/TransInCom", 1) ==
        "01 TransIn");
  CHECK(CallOf(TransType::kSaga, "http://a/b/TransIn", "http://a/b/TransInCom/", 0) ==
        "01 compensate TransInCom");
  CHECK(CallOf(TransType::kSaga, "http://a", "http://a/", 1) == "01 action");
  CHECK(CallOf(TransType::kSaga, "http://a", "http://a/", 0) == "01 compensate");
  CHECK(CallOf(TransType::kTcc, "http://a/Confirm", "http://a/cancel", 1) == "01 Confirm");
  CHECK(CallOf(TransType::kTcc, "local:InConfirm", "local:InCancel", 0) == "01 cancel InCancel");
  CHECK(CallOf(TransType::kXa, "http://a/Xa", "http://a/Xa", 1) == "01 commit Xa");
  CHECK(CallOf(TransType::kSaga, "local:tx/Out", "", 1) == "01 Out");
  CHECK(CallOf(TransType::kSaga, "http://a/%41%0a", "", 1) == "01 A ");
  CHECK(CallOf(TransType::kSaga, "http://a/b", "", 7) == "row 7");
  Story rpc;
  rpc.definition.json_rpc = true;
  rpc.Step("http://a/api/json-rpc?method=trans_in&x=1");
  CHECK(dtm::timeline::CallInWords(rpc.definition, 1) == "01 trans_in");
}

TEST_CASE("diagram: of many tries the first two and the last three are drawn") {
  const auto calls = [](int errors) {
    return TextsOf(dtm::MakeDiagram(story_kit::ManyTries(errors).Make()), DiagramEvent::Kind::kCall)
        .size();
  };
  CHECK(calls(5) == 2 + 6);  // submit, the other branch
  CHECK(calls(6) == 2 + 5);
  CHECK(calls(500) == 2 + 5);
  Story story = story_kit::Transfer();
  for (int i = 0; i < 200; ++i) story.Call(i * 1000, i * 1000 + 1, 1, JournalKind::kError, "busy");
  const Names spans = TextsOf(dtm::MakeDiagram(story.Make()), DiagramEvent::Kind::kSpan);
  CHECK(std::count(spans.begin(), spans.end(), "195 more tries over 3 min 14 s, all error: busy") ==
        1);
}

TEST_CASE("diagram: tries of two rows at once are folded each for itself") {
  Story story = story_kit::Transfer();
  for (int i = 0; i < 100; ++i) {
    story.Tell(i * 1000, JournalKind::kStarted, 1).Tell(i * 1000, JournalKind::kStarted, 3);
    story.Tell(i * 1000 + 1, JournalKind::kError, 3, i == 50 ? "closed" : "busy");
    story.Tell(i * 1000 + 2, JournalKind::kOngoing, 1);
  }
  const Names spans = TextsOf(dtm::MakeDiagram(story.Make()), DiagramEvent::Kind::kSpan);
  const auto has = [&spans](const char* text) {
    return std::find(spans.begin(), spans.end(), text) != spans.end();
  };
  CHECK(has("01 TransOut: 95 more tries over 1 min 34 s, all ongoing"));
  CHECK(has("02 TransIn: 95 more tries over 1 min 34 s, all error: mostly busy"));
}

TEST_CASE("diagram: entries that are not kept are counted where they were") {
  Story gap = story_kit::Transfer();
  gap.Tell(5, JournalKind::kGap, 152).Call(6, 7, 1);
  CHECK(TextsOf(dtm::MakeDiagram(gap.Make()), DiagramEvent::Kind::kSpan) ==
        Names{"... 152 entries not kept"});
  Story unknown = story_kit::Transfer();
  unknown.Tell(5, JournalKind::kGap, 0);
  CHECK(TextsOf(dtm::MakeDiagram(unknown.Make()), DiagramEvent::Kind::kSpan) ==
        Names{"... entries not kept"});
}

TEST_CASE("diagram: what people or processes do again and again is folded") {
  Story story = story_kit::Transfer();
  for (int i = 0; i < 100; ++i)
    story.Tell(i, JournalKind::kRetryNow).Call(i, i, 1, JournalKind::kError);
  const Diagram diagram = dtm::MakeDiagram(story.Make());
  CHECK(TextsOf(diagram, DiagramEvent::Kind::kNote).size() == 2 + 3);
  CHECK(TextsOf(diagram, DiagramEvent::Kind::kSpan).front() == "95 times more: retry now");
}

TEST_CASE("diagram: a story is never longer than can be read, and its decisions stay") {
  const Diagram diagram = dtm::MakeDiagram(story_kit::ThousandSteps());
  CHECK(diagram.events.size() < 200);
  CHECK(TextsOf(diagram, DiagramEvent::Kind::kSpan).back() == "... 1842 lines not drawn");
  Story story;
  for (int i = 0; i < 300; ++i) story.Step("local:Do");
  for (std::size_t i = 0; i < 300; ++i) story.Call(0, 0, 2 * i + 1);
  story.entries.insert(story.entries.begin() + 300,
                       {story_kit::At(0), dtm::kNoRow, {}, JournalKind::kCancel, "why", "who"});
  CHECK(TextsOf(dtm::MakeDiagram(story.Make()), DiagramEvent::Kind::kNote) ==
        Names{"cancelled by who: why"});
}

TEST_CASE(
    "diagram: of a story that is shortened no process ends without the next one, and none is left "
    "out") {
  for (std::size_t before = 41; before < 130; ++before) {
    Story story;
    for (int i = 0; i < 200; ++i) story.Step("local:tx/Do");
    story.Tell(0, JournalKind::kSubmitted, dtm::kNoRow, "", "a");
    for (std::size_t i = 0; i < 200; ++i) {
      if (i == before) story.Tell(0, JournalKind::kTakenUp, dtm::kNoRow, "", "b");
      story.Call(0, 0, 2 * i + 1);
    }
    const Diagram diagram = dtm::MakeDiagram(story.Make());
    CHECK(diagram.events.size() < 200);
    CHECK(TextsOf(diagram, DiagramEvent::Kind::kEnd) == Names{"a is gone"});
    CHECK(TextsOf(diagram, DiagramEvent::Kind::kBegin) == Names{"taken up by b"});
  }
}

TEST_CASE("diagram: an answer that comes after other calls says whose it is") {
  const Diagram diagram = dtm::MakeDiagram(story_kit::QueriedMessage());
  CHECK(TextsOf(diagram, DiagramEvent::Kind::kReply) ==
        Names{"ongoing", "success", "success", "01 success", "succeed"});
}

TEST_CASE("diagram: a call whose process is gone gets no answer; one at the end needs none") {
  CHECK(TextsOf(dtm::MakeDiagram(story_kit::TakenOver()), DiagramEvent::Kind::kLost) ==
        Names{"02 TransIn"});
  CHECK(TextsOf(dtm::MakeDiagram(story_kit::ResumedWorkflow()), DiagramEvent::Kind::kLost).empty());
  dtm::Timeline in_doubt =
      story_kit::Transfer().Tell(1, JournalKind::kStarted, 1).Call(2, 3, 1).Make();
  in_doubt.attempts[0].outcome = dtm::Attempt::Outcome::kLost;
  CHECK(TextsOf(dtm::MakeDiagram(in_doubt), DiagramEvent::Kind::kLost) == Names{"01 TransOut"});
}

TEST_CASE("diagram: a journal that knows more than the record, which was read before it") {
  Story story = story_kit::Transfer().Call(1, 2, 1).Call(2, 3, 3).End(3, dtm::Status::kSucceed);
  story.record.status = dtm::Status::kSubmitted;
  story.record.due = story_kit::At(9);
  CHECK(TextsOf(dtm::MakeDiagram(story.Make()), DiagramEvent::Kind::kNote).empty());
}

TEST_CASE("diagram: processes are named as shortly as they can be told apart") {
  const auto breaks = [](const std::vector<std::string>& names) {
    Story story = story_kit::Transfer();
    story.entries[0].who = names[0];
    for (std::size_t i = 1; i < names.size(); ++i) {
      story.Tell(static_cast<double>(i), JournalKind::kTakenUp, dtm::kNoRow, "", names[i]);
    }
    const Diagram diagram = dtm::MakeDiagram(story.Make());
    Names texts;
    for (const DiagramEvent& event : diagram.events) {
      if (event.kind == DiagramEvent::Kind::kEnd || event.kind == DiagramEvent::Kind::kBegin) {
        texts.push_back(InWords(event));
      }
    }
    return texts;
  };
  CHECK(breaks({"host:7", "host:9"}) == Names{"process 7 is gone", "taken up by process 9"});
  CHECK(breaks({"host:7", "other:9"}) == Names{"host:7 is gone", "taken up by other:9"});
  CHECK(breaks({"host:7", "host:"}) == Names{"host:7 is gone", "taken up by host:"});
  CHECK(breaks({"a", "a"}) == Names{"a is gone", "started again"});
  CHECK(breaks({"", "a"}) == Names{"its process is gone", "taken up by a"});
  CHECK(breaks({"a", ""}) == Names{"a is gone", "taken up"});
  CHECK(breaks({"", ""}) == Names{"its process is gone", "taken up"});
  std::vector<std::string> many;
  for (int i = 0; i < 20; ++i) many.push_back("n" + std::to_string(i));
  const Names texts = breaks(many);
  REQUIRE(texts.size() == 10);
  CHECK(texts[3] == "taken up by n2");
  CHECK(texts[4] == "n16 is gone");
  CHECK(texts[9] == "taken up by n19");
}

TEST_CASE("diagram: tones") {
  const auto tones = [](const dtm::Timeline& story) {
    std::string text;
    for (const DiagramEvent& event : dtm::MakeDiagram(story).events) {
      text += "pgwbq"[static_cast<std::size_t>(event.tone)];
    }
    return text;
  };
  CHECK(tones(story_kit::Success()) == "ppgpgg");
  CHECK(tones(story_kit::Rollback()) == "ppgpbbpgpgb");
  CHECK(tones(story_kit::TakenOver()) == "ppgwbqppgg");
}

TEST_CASE("diagram: its title says what it is") {
  CHECK(dtm::MakeDiagram(story_kit::Success()).title == "saga gid-1: succeed after 7.4 ms");
  CHECK(dtm::MakeDiagram(story_kit::Running()).title == "saga gid-1: submitted");
}

TEST_CASE("diagram: of a record that is damaged, or of which only the gid is left") {
  dtm::Timeline nothing;
  CHECK(dtm::MakeDiagram(nothing).lifelines.size() == 2);
  Story expired = story_kit::Transfer();
  expired.entries.clear();
  expired.definition.steps.clear();
  expired.record.created = {};
  expired.record.status = dtm::Status::kSucceed;
  CHECK(TextsOf(dtm::MakeDiagram(expired.Make()), DiagramEvent::Kind::kReply) == Names{"succeed"});
  dtm::Timeline kept;
  kept.transaction = dtm::RecordOf(
      {"g", dtm::TransType::kSaga, dtm::Status::kSucceed, story_kit::At(0), std::uint64_t{1}});
  const Diagram end = dtm::MakeDiagram(kept);
  CHECK(end.title == "saga g: succeed");  // nobody knows how long it took
  CHECK(TextsOf(end, DiagramEvent::Kind::kCall).empty());
  CHECK(TextsOf(end, DiagramEvent::Kind::kNote) ==
        Names{"its record has expired: only its end is known"});
  CHECK(!end.events.back().at);
  Story damaged = story_kit::Transfer();
  damaged.record.unreadable = true;
  damaged.record.last_error = "a stored record is damaged";
  CHECK(TextsOf(dtm::MakeDiagram(damaged.Make()), DiagramEvent::Kind::kNote) ==
        Names{"its record cannot be read: a stored record is damaged"});
}
