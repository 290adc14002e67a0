/// What is exported is read back, and whatever is wrong in a document is an error that names the place.
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/catch.hpp"
#include <dtm/testing/incident/read_export.hpp>
#include <dtm/timeline/export.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Branch;
using dtm::BranchStatus;
using dtm::ExportContent;
using dtm::JournalEntry;
using dtm::JournalKind;
using dtm::Op;
using dtm::Status;
using dtm::TransType;
using dtm::testing::ExportedTransaction;
using dtm::testing::ReadExport;
using Json = nlohmann::json;
using Seconds = std::chrono::seconds;

namespace {

const std::string kBinary("\xFF\x00\xFE", 3);

dtm::Time At(int micros) { return dtm::Time(Seconds(1795331287)) + dtm::Duration(micros); }

/// With a value everywhere.
dtm::Timeline Full(TransType type) {
  auto d = std::make_shared<dtm::Definition>();
  d->gid = "g\xC3\xBC";
  d->type = type;
  d->steps = {{"local:A", "http://u:secret@h/c?user=alice", R"({"amount":30})"},
              {"http://h/a2", "", kBinary, "07", "topic://t", Op::kAction, true}};
  d->prepared_first = d->concurrent = d->json_rpc = true;
  d->orders = {{1, {0}}};
  d->query_prepared = "http://h/q?x=1";
  d->delay = Seconds(3);
  d->workflow = "wf";
  d->data = "private data";
  d->custom_data = "private too";
  d->options = {true, Seconds(1), Seconds(2), Seconds(3), 4, {{"Authorization", "Bearer secret"}}};
  dtm::Transaction t;
  t.definition = d;
  t.status = Status::kAborting;
  for (std::size_t i = 0; i < dtm::RowCount(*d); ++i) {
    t.branches.emplace_back();
    t.branches.back().tries = static_cast<std::uint32_t>(i);
  }
  Branch& branch = t.branches[1];
  branch.status = BranchStatus::kFailed;
  branch.errors = 7;
  branch.asked_when = true;
  branch.next_try = At(1);
  branch.deadline = At(2);
  branch.finished = At(3);
  t.created = At(4);
  t.updated = At(5);
  t.finished = At(6);
  t.due = At(7);
  t.reason = "private reason";
  t.reason_from = 2;
  t.result = kBinary;
  t.last_error = "private error";
  t.retry_count = 8;
  t.stuck = true;
  std::vector<JournalEntry> journal = {
      {At(8), dtm::kNoRow, {}, JournalKind::kSubmitted, {}, "host-of-alice:1"},
      {At(9), 1, dtm::OpOf(*d, 1), JournalKind::kStarted},
      {At(10), 17, {}, JournalKind::kGap},
      {At(11), 1, dtm::OpOf(*d, 1), JournalKind::kFailure, "private text " + kBinary},
      {At(12), dtm::kNoRow, {}, JournalKind::kCancel, "private why", "alice"},
      {At(13), dtm::kNoRow, {}, JournalKind::kTakenUp, {}, "host-of-bob:2"},
      {At(14), dtm::kNoRow, {}, JournalKind::kRetryNow, {}, "alice"},
      {At(15), 99, {}, JournalKind::kStarted}};
  return dtm::MakeTimeline(std::move(t), std::move(journal));
}

constexpr TransType kTypes[] = {TransType::kSaga, TransType::kMsg, TransType::kTcc, TransType::kXa,
                                TransType::kWorkflow};

std::string Problem(const Json& json) {
  try {
    (void)ReadExport(json.dump(), "x.dtm");
  } catch (const dtm::BadInput& error) {
    return error.what();
  }
  return {};
}

}  // namespace

TEST_CASE("read export: everything that was exported comes back, of each type") {
  for (const TransType type : kTypes) {
    CAPTURE(dtm::Name(type));
    const dtm::Timeline story = Full(type);
    const std::string text =
        dtm::Export(story, ExportContent::kFull, {Seconds(4), Seconds(5), Seconds(6)});
    const ExportedTransaction read = ReadExport(text, "x.dtm");
    CHECK(read.library == dtm::kVersion);
    CHECK_FALSE(read.redacted);
    CHECK(read.settings.retry_interval == Seconds(4));
    CHECK(read.settings.request_timeout == Seconds(5));
    CHECK(read.settings.timeout_to_fail == Seconds(6));
    // What is written again is the same, so nothing was lost; and what is never written is not there.
    CHECK(dtm::Export(read.story, ExportContent::kFull, read.settings) == text);
    CHECK_THAT(text, !ContainsSubstring("secret"));
    const dtm::Definition& d = *read.story.transaction.definition;
    CHECK(d.gid == story.transaction.definition->gid);
    CHECK(d.steps[1].payload == kBinary);
    CHECK(d.steps[1].failed);
    CHECK(d.orders == story.transaction.definition->orders);
    CHECK(d.options.branch_headers.at("Authorization") == "***");
    CHECK(read.story.transaction.result == kBinary);
    CHECK(read.story.transaction.due == At(7));
    CHECK(read.story.transaction.branches[1].deadline == At(2));
    CHECK(read.story.entries == story.entries);
    CHECK(read.story.runs.size() == 2);
    CHECK(read.story.attempts.size() == story.attempts.size());
  }
}

TEST_CASE("read export: what waits for no time has none") {
  dtm::Timeline story = Full(TransType::kSaga);
  story.transaction.due = dtm::kNever;
  const ExportedTransaction read = ReadExport(dtm::Export(story), "x.dtm");
  CHECK(read.story.transaction.due == dtm::kNever);
  CHECK(read.settings.retry_interval == Seconds(0));
}

TEST_CASE("read export: a redacted one has no content, and its sizes") {
  for (const TransType type : kTypes) {
    CAPTURE(dtm::Name(type));
    const std::string text = dtm::Export(Full(type), ExportContent::kRedacted);
    for (const char* word :
         {"private", "alice", "bob", "secret", "amount", "Authorization", "/wD+"}) {
      CAPTURE(word);
      CHECK_THAT(text, !ContainsSubstring(word));
    }
    const ExportedTransaction read = ReadExport(text, "x.dtm");
    CHECK(read.redacted);
    CHECK(read.story.transaction.definition->steps[0].payload == R"("xxxxxxxxxxx")");
    CHECK(read.story.transaction.reason.size() == 14);
    CHECK(read.story.transaction.definition->query_prepared == "http://h/q?***");
    CHECK(read.story.entries[0].who == "process 1");
    CHECK(read.story.entries[4].who == "person 1");
    CHECK(read.story.entries[5].who == "process 2");
    CHECK(read.story.entries[6].who == "person 1");
    CHECK(read.story.entries[3].text.size() == 16);
  }
}

TEST_CASE("read export: the decision of a workflow is one of two words, and stays") {
  dtm::Timeline story = Full(TransType::kWorkflow);
  auto d = std::make_shared<dtm::Definition>(*story.transaction.definition);
  d->steps[0].branch_id = dtm::kDecision;
  d->steps[0].payload = "rollback";
  story.transaction.definition = d;
  CHECK_THAT(dtm::Export(story, ExportContent::kRedacted), ContainsSubstring("\"rollback\""));
}

TEST_CASE("read export: what is wrong is named with its place") {
  const Json good = Json::parse(dtm::Export(Full(TransType::kSaga)));
  REQUIRE(Problem(good).empty());
  struct Row {
    const char* pointer;
    Json value;
    const char* problem;
  };
  const Row rows[] = {
      {"/format", "other", "x.dtm: 'format' must be 'dtm-export'"},
      {"/version", 2, "x.dtm has version 2 of the format; this is dtm "},
      {"/version", 0, "x.dtm has version 0"},
      {"/version", "1", "x.dtm: 'version' must be a number"},
      {"/more", 1, "x.dtm: 'more' is no key of this format"},
      {"/redacted", 1, "x.dtm: 'redacted' must be true or false"},
      {"/transaction", 1, "x.dtm: transaction must be an object"},
      {"/transaction/gid", 1, "x.dtm: transaction: 'gid' must be a text"},
      {"/transaction/type", "sage",
       "x.dtm: transaction: 'type' must be one of: saga, msg, tcc, xa, "},
      {"/transaction/status", "done", "'status' must be one of: prepared, submitted, aborting"},
      {"/transaction/created", "yesterday", "x.dtm: transaction: 'created' must be a time such as"},
      {"/transaction/delay", -1, "x.dtm: transaction: 'delay' must be a number from 0 to"},
      {"/transaction/options/retry_limit", 1e30, "x.dtm: transaction: options: 'retry_limit'"},
      {"/transaction/options/retry", 1, "x.dtm: transaction: options: 'retry' is no key"},
      {"/transaction/options/branch_headers", {{"a", 1}}, "'branch_headers' must be an object of"},
      {"/transaction/orders", {{"x", 1}}, "x.dtm: transaction: 'orders' must be an object such as"},
      {"/transaction/steps/1/payload",
       {{"base64", "?"}},
       "x.dtm: transaction: steps[1]: 'payload' "},
      {"/transaction/steps/1/payload", {{"bytes", -1}}, "x.dtm: transaction: steps[1]: 'payload' "},
      {"/transaction/steps/0/payloed", "", "x.dtm: transaction: steps[0]: 'payloed' is no key"},
      {"/transaction/rows/1/op", "confirm",
       "x.dtm: transaction: rows[1]: 'op' must be 'action', as"},
      {"/transaction/rows/0/tries", 1.5, "x.dtm: transaction: rows[0]: 'tries' must be a number"},
      {"/journal", 1, "x.dtm: 'journal' must be an array"},
      {"/journal/1/kind", "begun", "x.dtm: journal[1]: 'kind' must be one of: prepared, "},
      {"/journal/1/branch_id", "02",
       "x.dtm: journal[1]: 'branch_id' must be '01', as the steps say"},
      {"/journal/1/time", 3, "x.dtm: journal[1]: 'time' must be a time"},
      {"/journal/2/row", 3, "x.dtm: journal[2]: 'row' is no key of this format"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.pointer);
    Json bad = good;
    bad[Json::json_pointer(row.pointer)] = row.value;
    CHECK_THAT(Problem(bad), ContainsSubstring(row.problem));
  }
  for (const char* key : {"format", "version", "transaction", "journal"}) {
    CAPTURE(key);
    Json bad = good;
    bad.erase(key);
    CHECK_THAT(Problem(bad), ContainsSubstring(std::string("x.dtm: '") + key + "'"));
  }
  for (const char* text : {"", "{", "[]", "null", "\xFF", "{\"format\":\"dtm-export\"}"}) {
    CAPTURE(text);
    CHECK_THROWS_WITH(ReadExport(text, "x.dtm"), ContainsSubstring("x.dtm"));
  }
  CHECK_THROWS_WITH(ReadExport(std::string(100000, '['), "x.dtm"), ContainsSubstring("too deep"));
}
