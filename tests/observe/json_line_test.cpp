/// Events, spans and log lines as JSON: each is one line that any reader of JSON takes, whatever bytes are in it.
#include <string>

#include <nlohmann/json.hpp>

#include "tests/catch.hpp"
#include <dtm/observe/json_line.hpp>

using dtm::JsonLine;
using nlohmann::json;

TEST_CASE("json line: of the log") {
  const dtm::Time time{std::chrono::seconds(1767225600)};
  CHECK(
      JsonLine({dtm::LogLevel::kWarning, "it \"fails\"", "g", "t"}, time) ==
      R"({"time":"2026-01-01T00:00:00Z","level":"warning","message":"it \"fails\"","gid":"g","trace_id":"t"})");
  CHECK(JsonLine({dtm::LogLevel::kInfo, "x", "", ""}, time) ==
        R"({"time":"2026-01-01T00:00:00Z","level":"info","message":"x"})");
}

TEST_CASE("json line: of an event, without what is empty") {
  dtm::Event event;
  event.gid = "g";
  CHECK(
      JsonLine(event) ==
      R"({"time":"1970-01-01T00:00:00Z","event":"submitted","gid":"g","trans_type":"saga","status":"submitted"})");
  event.kind = dtm::JournalKind::kNotSent;
  event.branch_id = "01";
  event.op = dtm::Op::kAction;
  event.target = "http://bank/out";
  event.text = "no slot";
  event.who = "ann";
  event.trace_id = "t";
  const json read = json::parse(JsonLine(event));
  CHECK(read["event"] == "not sent");
  CHECK(read["op"] == "action");
  CHECK(read["target"] == "http://bank/out");
  CHECK(read["text"] == "no slot");
  CHECK(read["who"] == "ann");
  CHECK(read["trace_id"] == "t");
}

TEST_CASE("json line: of a span") {
  dtm::Span span;
  span.name = "saga action 01";
  span.trace_id = "t";
  span.span_id = "s";
  span.attributes = {{"dtm.gid", "g"}, {"dtm.attempt", "1"}};
  const json read = json::parse(JsonLine(span));
  CHECK(read["span"] == "saga action 01");
  CHECK(read["failed"] == false);
  CHECK(read["attributes"]["dtm.gid"] == "g");
  CHECK_FALSE(read.contains("parent_id"));
}

TEST_CASE("json line: any bytes are one line of JSON") {
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  all += "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\xed\xa0\x80\xc3";
  const std::string line = JsonLine({dtm::LogLevel::kInfo, all, "", ""}, dtm::Time{});
  CHECK(line.find('\n') == std::string::npos);
  const std::string read = json::parse(line)["message"].get<std::string>();
  CHECK(read.substr(0, 128) == all.substr(0, 128));
  CHECK(read.find("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80") != std::string::npos);
}
