/// What is told of a transaction: its result, and which branch said no.
#include <memory>
#include <string>
#include <utility>

#include "tests/catch.hpp"
#include <dtm/core/in_words.hpp>

namespace {

dtm::Transaction Failed() {
  dtm::Definition saga;
  saga.gid = "g";
  saga.steps = {{"http://bank/out", "http://bank/undo", ""},
                {"http://dtm:secret@bank/in", "http://bank/undo", ""}};
  dtm::Transaction transaction;
  transaction.definition = std::make_shared<dtm::Definition>(std::move(saga));
  transaction.branches.resize(4);
  transaction.status = dtm::Status::kFailed;
  transaction.reason = "no money";
  transaction.last_error = "reset";
  return transaction;
}

}  // namespace

TEST_CASE("in_words: the result of a transaction") {
  dtm::Transaction transaction = Failed();
  dtm::TransResult result = ResultOf(transaction);
  CHECK(result.gid == "g");
  CHECK(result.Failed());
  CHECK(result.reason == "no money");
  CHECK(result.reason_from.empty());
  CHECK(result.last_error == "reset");
  CHECK(RolledBack(result) == "gid 'g' was rolled back: no money");
  transaction.reason_from = 2;
  result = ResultOf(transaction);
  CHECK(result.reason_from == "branch 01 action http://bank/out");
  CHECK(RolledBack(result) ==
        "gid 'g' was rolled back: no money (branch 01 action http://bank/out)");
}

TEST_CASE("in_words: a branch is told without its password, one that does not exist is none") {
  dtm::Transaction transaction = Failed();
  transaction.reason_from = 4;
  CHECK(ReasonFrom(transaction) == "branch 02 action http://***@bank/in");
  transaction.reason_from = 5;  // as a damaged record may say
  CHECK(ReasonFrom(transaction).empty());
}
