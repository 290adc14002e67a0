/// An event says of whom, what, where and why, without passwords.
#include <memory>
#include <string>
#include <utility>

#include "tests/catch.hpp"
#include <dtm/observe/event.hpp>

using dtm::Event;
using dtm::JournalEntry;
using dtm::JournalKind;
using dtm::Op;

namespace {

dtm::Transaction Stored(dtm::Definition definition) {
  dtm::Transaction transaction;
  transaction.definition = std::make_shared<const dtm::Definition>(std::move(definition));
  transaction.status = dtm::Status::kAborting;
  return transaction;
}

}  // namespace

TEST_CASE("event: of a branch") {
  dtm::Definition saga;
  saga.gid = "g";
  saga.steps.push_back({"http://ann:secret@bank/out", "local:Back", "{}"});
  const dtm::Time time{dtm::Duration(7)};
  const Event event = dtm::EventOf(
      Stored(saga), {time, 1, Op::kAction, JournalKind::kFailure, "no money", "host 12"});
  CHECK(event.gid == "g");
  CHECK(event.type == dtm::TransType::kSaga);
  CHECK(event.status == dtm::Status::kAborting);
  CHECK(event.time == time);
  CHECK(event.kind == JournalKind::kFailure);
  CHECK(event.branch_id == "01");
  CHECK(event.op == Op::kAction);
  CHECK(event.target.find("secret") == std::string::npos);
  CHECK(event.target.find("bank/out") != std::string::npos);
  CHECK(event.text == "no money");
  CHECK(event.who == "host 12");
  const Event back =
      dtm::EventOf(Stored(saga), {time, 0, Op::kCompensate, JournalKind::kStarted, ""});
  CHECK(back.target == "local:Back");
}

TEST_CASE("event: of the transaction itself, and of a row that it does not have") {
  dtm::Definition saga;
  saga.gid = "g";
  for (const std::size_t row : {dtm::kNoRow, std::size_t{5}}) {
    const Event event =
        dtm::EventOf(Stored(saga), {dtm::Time{}, row, Op{}, JournalKind::kSubmitted, ""});
    CHECK(event.branch_id.empty());
    CHECK(event.target.empty());
    CHECK(event.op == Op{});
  }
}
