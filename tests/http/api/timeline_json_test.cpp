/// What timeline shows of a transaction: who drove it, each call, each entry of its journal.
#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/api_kit.hpp"
#include <dtm/timeline/draw.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Result;
using dtm_test::ApiKit;
using dtm_test::Json;
using dtm_test::kDone;
using dtm_test::Saga;
using dtm_test::Step;
using Names = std::vector<std::string>;
using Seconds = std::chrono::seconds;

namespace {

Json TimelineOf(ApiKit& kit, const std::string& gid) {
  const dtm::ApiReply reply = kit.AskGet("timeline", {{"gid", gid}});
  REQUIRE(reply.status == 200);
  return Json::parse(reply.body);
}

Names Keys(const Json& object) {
  Names keys;
  for (const auto& item : object.items()) keys.push_back(item.key());
  return keys;
}

Names Column(const Json& rows, const char* key) {
  Names column;
  for (const Json& row : rows) column.push_back(row.value(key, ""));
  return column;
}

}  // namespace

TEST_CASE("timeline: the calls of a saga with their outcomes, and what was decided") {
  ApiKit kit;
  kit.kit.Branches().On("http://u:secret@b/a", {{Result::Error("busy"), Seconds(2), false},
                                                {Result::Failure("no <money>"), {}, false}});
  CHECK(kit.AskPost("submit", Saga("g", Step("http://u:secret@b/a", "http://b/c"))).body == kDone);
  kit.kit.Advance(Seconds(60));
  const std::string text = kit.AskGet("timeline", {{"gid", "g"}}).body;
  CHECK_THAT(text, !ContainsSubstring("secret"));
  CHECK_THAT(text, !ContainsSubstring("<"));
  const Json story = Json::parse(text);
  CHECK(Keys(story) == Names{"transaction", "branches", "runs", "attempts", "entries"});
  const Json queried = Json::parse(kit.AskGet("query", {{"gid", "g"}}).body);
  CHECK(story["transaction"] == queried["transaction"]);
  CHECK(story["branches"] == queried["branches"]);

  REQUIRE(story["runs"].size() == 1);
  CHECK(Keys(story["runs"][0]) == Names{"process", "begin_time"});
  CHECK(story["runs"][0]["begin_time"] == story["transaction"]["create_time"]);

  const Json& attempts = story["attempts"];
  CHECK(Column(attempts, "outcome") == Names{"error", "failure", "success"});
  CHECK(Column(attempts, "text") == Names{"busy", "no <money>", ""});
  CHECK(Column(attempts, "op") == Names{"action", "action", "compensate"});
  CHECK(Column(attempts, "url") == Names{"http://***@b/a", "http://***@b/a", "http://b/c"});
  for (const Json& attempt : attempts) {
    CHECK(Keys(attempt) == Names{"row", "branch_id", "op", "url", "run", "begin_time", "end_time",
                                 "outcome", "text"});
    CHECK(attempt["branch_id"] == "01");
    CHECK(attempt["run"] == 0);
  }
  CHECK(attempts[0]["row"] == 1);
  CHECK(attempts[2]["row"] == 0);
  CHECK(attempts[0]["begin_time"] == story["transaction"]["create_time"]);
  CHECK(attempts[0]["end_time"] != attempts[0]["begin_time"]);

  const Json& entries = story["entries"];
  CHECK(Column(entries, "kind") == Names{"submitted", "started", "error", "started", "failure",
                                         "rollback", "started", "success", "failed"});
  CHECK(Keys(entries[0]) == Names{"time", "kind", "text", "who"});
  CHECK(Keys(entries[5]) == Names{"time", "kind", "row", "branch_id", "op", "text", "who"});
  CHECK(entries[5]["text"] == "no <money>");
  CHECK(entries[5]["row"] == 1);
  CHECK(entries[8]["time"] == story["transaction"]["rollback_time"]);
}

TEST_CASE("timeline: what is not known has no time, and a gap says how much it stands for") {
  ApiKit kit;
  kit.kit.Branches().On("http://b/a", {dtm::testing::ScriptedAnswer::Silence()});
  CHECK(kit.AskPost("submit", Saga("g", Step("http://b/a"))).body == kDone);
  kit.kit.Advance(Seconds(1));
  const Json running = TimelineOf(kit, "g")["attempts"][0];
  CHECK(running["outcome"] == "running");
  CHECK(running["end_time"] == "");
  dtm::Timeline story = *kit.kit->Timeline("g");
  story.entries = {{{}, 70, {}, dtm::JournalKind::kGap}, {{}, 99, {}, dtm::JournalKind::kError}};
  story = dtm::MakeTimeline(story.transaction, story.entries);
  CHECK(dtm::timeline_json::Entries(story).dump() ==
        R"([{"time":"","kind":"gap","count":70,"text":"","who":""},)"
        R"({"time":"","kind":"error","text":"","who":""}])");  // a row that it does not have
  CHECK(dtm::timeline_json::Attempts(story)[0]["begin_time"] == "");
}

TEST_CASE("timeline: of an unknown gid there is nothing, and without one it is refused") {
  ApiKit kit;
  CHECK(kit.AskGet("timeline", {{"gid", "none"}}).body ==
        R"({"transaction":null,"branches":[],"runs":[],"attempts":[],"entries":[]})");
  CHECK(kit.AskGet("timeline").status == 400);
  CHECK(kit.AskGet("timeline").body == R"({"message":"no gid specified"})");
}

TEST_CASE("timeline: as one document to keep, with all or without what is private") {
  ApiKit kit;
  CHECK(kit.AskPost("submit", Saga("g", Step("http://u:secret@b/a", "http://b/c"))).body == kDone);
  kit.kit.Advance(Seconds(1));
  const dtm::ApiReply reply = kit.AskGet("timeline", {{"gid", "g"}, {"format", "export"}});
  REQUIRE(reply.status == 200);
  const Json full = Json::parse(reply.body);
  CHECK(full["format"] == "dtm-export");
  CHECK(full["redacted"] == false);
  CHECK(full["settings"]["retry_interval_us"] ==
        std::chrono::microseconds(dtm_test::Quiet().retry_interval).count());
  CHECK(full["transaction"]["steps"][0]["action"] == "http://***@b/a");
  CHECK(full["transaction"]["steps"][0]["payload"].is_string());
  CHECK(full["journal"].size() == 4);
  const Json redacted = Json::parse(
      kit.AskGet("timeline", {{"gid", "g"}, {"format", "export"}, {"redacted", "1"}}).body);
  CHECK(redacted["redacted"] == true);
  CHECK(redacted["transaction"]["steps"][0]["payload"].is_object());

  CHECK(kit.AskGet("timeline", {{"gid", "none"}, {"format", "export"}}).status == 400);
  CHECK(kit.AskGet("timeline", {{"gid", "g"}, {"format", "export"}, {"redacted", "2"}}).status ==
        400);
}

TEST_CASE("timeline: as a drawing, in each format") {
  ApiKit kit;
  kit.kit.Branches().On("http://u:secret@b/a", Result::Error("<script>"));
  CHECK(kit.AskPost("submit", Saga("g", Step("http://u:secret@b/a", "http://b/c"))).body == kDone);
  kit.kit.Advance(Seconds(60));
  const auto ask = [&kit](const char* format) {
    const dtm::ApiReply reply = kit.AskGet("timeline", {{"gid", "g"}, {"format", format}});
    CHECK(reply.status == 200);
    CHECK_THAT(reply.body, !ContainsSubstring("secret"));
    return reply;
  };
  const dtm::ApiReply text = ask("text");
  CHECK(std::string(text.type) == "text/plain; charset=utf-8");
  CHECK(text.body == dtm::Draw(*kit.kit->Timeline("g"), dtm::DrawFormat::kText));
  CHECK_THAT(text.body, ContainsSubstring("── 01 a ──") && ContainsSubstring("◀─ succeed"));
  const dtm::ApiReply svg = ask("svg");
  CHECK(std::string(svg.type) == "image/svg+xml");
  CHECK_THAT(svg.body, Catch::Matchers::StartsWith("<svg ") && !ContainsSubstring("<script"));
  CHECK_FALSE(svg.headers.empty());
  const dtm::ApiReply mermaid = ask("mermaid");
  CHECK(std::string(mermaid.type) == "text/plain; charset=utf-8");
  CHECK_THAT(mermaid.body, Catch::Matchers::StartsWith("sequenceDiagram\n"));

  CHECK(kit.AskGet("timeline", {{"gid", "none"}, {"format", "svg"}}).status == 400);
  const dtm::ApiReply unknown = kit.AskGet("timeline", {{"gid", "g"}, {"format", "png"}});
  CHECK(unknown.status == 400);
  CHECK(unknown.body ==
        R"({"message":"the format 'png' is none of text, svg, mermaid and export"})");
}
