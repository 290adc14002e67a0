/// Results of branches, what exceptions of user code become, and results of transactions.
#include <chrono>
#include <stdexcept>
#include <string>

#include "tests/catch.hpp"
#include <dtm/core/result.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::CatchAsResult;
using dtm::Result;
using Kind = dtm::Result::Kind;

TEST_CASE("result: each kind keeps its text") {
  CHECK(Result().kind == Kind::kSuccess);
  CHECK(Result::Success().kind == Kind::kSuccess);
  CHECK(Result::Failure("a").kind == Kind::kFailure);
  CHECK(Result::Failure("a").text == "a");
  CHECK(Result::Ongoing().kind == Kind::kOngoing);
  CHECK(Result::Ongoing("b").text == "b");
  CHECK(Result::Error("c").kind == Kind::kError);
  CHECK(Result::Error("c").text == "c");
  CHECK(Result::NotSent("d").kind == Kind::kNotSent);
  CHECK(Result::NotSent("d").text == "d");
}

TEST_CASE("result: FailureError rolls back, every other exception is tried again") {
  CHECK(CatchAsResult([] { return Result::Ongoing("x"); }).kind == Kind::kOngoing);
  const Result failure = CatchAsResult([]() -> Result { throw dtm::FailureError("no money"); });
  CHECK(failure.kind == Kind::kFailure);
  CHECK(failure.text == "no money");

  const Result ongoing = CatchAsResult([]() -> Result { throw dtm::OngoingError("not yet"); });
  CHECK(ongoing.kind == Kind::kOngoing);
  CHECK(ongoing.text == "not yet");

  const Result error = CatchAsResult([]() -> Result { throw std::runtime_error("lost"); });
  CHECK(error.kind == Kind::kError);
  CHECK(error.text == "lost");
  CHECK(CatchAsResult([]() -> Result { throw dtm::StoreError("s"); }).kind == Kind::kError);
  CHECK(CatchAsResult([]() -> Result { throw dtm::RejectedError("r"); }).kind == Kind::kError);
  CHECK(CatchAsResult([]() -> Result { throw dtm::InDoubtError("i"); }).kind == Kind::kError);
  const Result odd = CatchAsResult([]() -> Result { throw 42; });
  CHECK(odd.kind == Kind::kError);
  CHECK_THAT(odd.text, ContainsSubstring("not a std::exception"));
}

TEST_CASE("result: what an error asks for goes with it") {
  const std::chrono::seconds wait(7);
  CHECK(CatchAsResult([&]() -> Result {
          throw dtm::AskingToWait(dtm::OngoingError("o"), wait);
        }).retry_after == wait);
  CHECK(CatchAsResult([&]() -> Result {
          throw dtm::AskingToWait(dtm::BusyError("b"), wait);
        }).retry_after == wait);
  CHECK(CatchAsResult([]() -> Result { throw dtm::Error("e"); }).retry_after == dtm::Duration(0));
}

TEST_CASE("result: of code that returns nothing or one") {
  int sum = 0;
  const auto add = [&sum](int a, const int& b) { sum += a + b; };
  CHECK(dtm::ResultOf(add, 1, 2).kind == Kind::kSuccess);
  CHECK(sum == 3);
  int given = 0;
  CHECK(dtm::ResultOf([](int& to) { to = 7; }, given).kind == Kind::kSuccess);
  CHECK(given == 7);
  const Result result = dtm::ResultOf([](const char* why) { return Result::Failure(why); }, "no");
  CHECK(result.kind == Kind::kFailure);
  CHECK(result.text == "no");
  CHECK_THROWS_AS(dtm::ResultOf([] { throw dtm::FailureError("no"); }), dtm::FailureError);
}

TEST_CASE("result: of code that returns one it keeps") {
  const Result kept = Result::Ongoing("not yet");
  CHECK(dtm::ResultOf([&]() -> const Result& { return kept; }).kind == Kind::kOngoing);
  CHECK(dtm::ResultOf([&]() -> const Result { return kept; }).text == "not yet");
}

TEST_CASE("result: of a transaction is succeed, failed or unfinished") {
  using dtm::Status;
  struct Row {
    Status status;
    bool finished, succeeded, failed;
  };
  const Row rows[] = {{Status::kPrepared, false, false, false},
                      {Status::kSubmitted, false, false, false},
                      {Status::kAborting, false, false, false},
                      {Status::kSucceed, true, true, false},
                      {Status::kFailed, true, false, true}};
  for (const Row& row : rows) {
    const dtm::TransResult result{"g", row.status, ""};
    CAPTURE(Name(row.status));
    CHECK(result.Finished() == row.finished);
    CHECK(result.Succeeded() == row.succeeded);
    CHECK(result.Failed() == row.failed);
  }
}
