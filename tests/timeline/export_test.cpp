/// What an exported transaction looks like. That all of it comes back: tests/testing/incident/read_export_test.cpp.
#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "tests/catch.hpp"
#include <dtm/timeline/export.hpp>

using dtm::JournalKind;
using dtm::Op;

namespace {

dtm::Timeline Small() {
  const dtm::Time time(std::chrono::seconds(1795331287));
  auto definition = std::make_shared<dtm::Definition>();
  definition->gid = "s1";
  definition->steps = {{"local:A", "", "{\"amount\":30}"}};
  dtm::Transaction transaction;
  transaction.definition = definition;
  transaction.branches.resize(2);
  transaction.branches[1].tries = 1;
  transaction.created = time;
  transaction.due = dtm::kNever;
  return dtm::MakeTimeline(std::move(transaction),
                           {{time, dtm::kNoRow, {}, JournalKind::kSubmitted, {}, "here:1"},
                            {time, 1, Op::kAction, JournalKind::kError, "no \"route\""},
                            {time, 3, {}, JournalKind::kGap}});
}

std::string Document(const std::string& redacted, const std::string& settings,
                     const std::string& payload, const std::string& who, const std::string& text) {
  return R"({
 "format": "dtm-export",
 "version": 1,
 "library": ")" +
         std::string(dtm::kVersion) + R"(",
 "redacted": )" +
         redacted + "," + settings + R"(
 "transaction": {
  "gid": "s1",
  "type": "saga",
  "options": {},
  "steps": [
   {
    "action": "local:A",
    "payload": )" +
         payload + R"(
   }
  ],
  "status": "submitted",
  "created": "2026-11-22T07:08:07Z",
  "rows": [
   {
    "branch_id": "01",
    "op": "compensate",
    "status": "prepared"
   },
   {
    "branch_id": "01",
    "op": "action",
    "status": "prepared",
    "tries": 1
   }
  ]
 },
 "journal": [
  {
   "time": "2026-11-22T07:08:07Z",
   "kind": "submitted",
   "who": ")" +
         who + R"("
  },
  {
   "time": "2026-11-22T07:08:07Z",
   "kind": "error",
   "row": 1,
   "branch_id": "01",
   "op": "action",
   "text": )" +
         text + R"(
  },
  {
   "time": "2026-11-22T07:08:07Z",
   "kind": "gap",
   "count": 3
  }
 ]
}
)";
}

}  // namespace

TEST_CASE("export: a document for people and programs, byte for byte") {
  CHECK(dtm::Export(Small()) ==
        Document("false", "", R"("{\"amount\":30}")", "here:1", R"("no \"route\"")"));
}

TEST_CASE("export: the settings of its coordinator, and sizes in place of what is private") {
  struct {
    dtm::Duration retry_interval = std::chrono::seconds(10);
    dtm::Duration request_timeout = std::chrono::milliseconds(2);
    std::chrono::seconds timeout_to_fail{35};
  } options;
  const std::string settings = R"(
 "settings": {
  "retry_interval_us": 10000000,
  "request_timeout_us": 2000,
  "timeout_to_fail_s": 35
 },)";
  CHECK(dtm::Export(Small(), dtm::ExportContent::kRedacted, dtm::ExportSettings::Of(options)) ==
        Document("true", settings, "{\n     \"bytes\": 13\n    }", "process 1",
                 "{\n    \"bytes\": 10\n   }"));
}
