/// Each error of the coordinator as one of the kinds that protocols tell apart.
#include <exception>
#include <stdexcept>
#include <string>

#include "tests/catch.hpp"
#include <dtm/coordinator/outcome.hpp>

using Kind = dtm::Outcome::Kind;

TEST_CASE("outcome: every error has its kind, and keeps its words") {
  const auto kind_of = [](const auto& error) {
    const dtm::Outcome outcome = dtm::OutcomeOf(std::make_exception_ptr(error));
    CHECK(outcome.message == "words");
    return outcome.kind;
  };
  CHECK(kind_of(dtm::BadInput("words")) == Kind::kBadInput);
  CHECK(kind_of(dtm::RejectedError("words")) == Kind::kRejected);
  CHECK(kind_of(dtm::EndedError("words")) == Kind::kRejected);
  CHECK(kind_of(dtm::BusyError("words")) == Kind::kUnavailable);
  CHECK(kind_of(dtm::StoreError("words")) == Kind::kUnavailable);
  CHECK(kind_of(dtm::LogicError("words")) == Kind::kUnavailable);
  CHECK(kind_of(dtm::FailureError("words")) == Kind::kRolledBack);
  CHECK(kind_of(dtm::OngoingError("words")) == Kind::kOngoing);
  CHECK(kind_of(dtm::InDoubtError("words")) == Kind::kUnknown);
  CHECK(kind_of(std::runtime_error("words")) == Kind::kUnknown);
}

TEST_CASE("outcome: of an answer; a rollback is told in the branch's own words") {
  CHECK(dtm::OutcomeOf(dtm::Answer{}).kind == Kind::kDone);
  dtm::Answer answer;
  answer.error = std::make_exception_ptr(dtm::FailureError("gid 'a' was rolled back: no money"));
  answer.result.status = dtm::Status::kFailed;
  answer.result.reason = "no money";
  CHECK(dtm::OutcomeOf(answer).kind == Kind::kRolledBack);
  CHECK(dtm::OutcomeOf(answer).message == "no money");
}
