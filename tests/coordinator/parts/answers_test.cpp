/// How those who asked get their answer: once, whatever happens to it, and a rollback is told as was promised.
#include <exception>
#include <future>
#include <new>
#include <optional>
#include <string>
#include <utility>

#include "tests/catch.hpp"
#include <dtm/coordinator/parts/answers.hpp>
#include <dtm/coordinator/state/inbox.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Answer;
using dtm::Answers;
using dtm::Promise;
using dtm::Status;
using dtm::TransResult;
using dtm::Waiter;

namespace {

TransResult RolledBack() {
  TransResult result;
  result.gid = "g";
  result.status = Status::kFailed;
  result.reason = "no money";
  return result;
}

struct Asked {
  std::optional<Answer> reply;
  int answers = 0;
  Waiter waiter;

  explicit Asked(bool failure_is_error = false) {
    waiter.failure_is_error = failure_is_error;
    waiter.promise = [this](const Answer& answer) {
      reply = answer;
      ++answers;
    };
  }
};

}  // namespace

TEST_CASE("answers: a rollback is a status, or an error where that was promised") {
  Asked status;
  status.waiter.Give(RolledBack());
  REQUIRE(status.reply);
  CHECK(status.reply->Get().status == Status::kFailed);

  Asked error(true);
  error.waiter.Give(RolledBack());
  REQUIRE(error.reply);
  CHECK_THROWS_AS(error.reply->Get(), dtm::FailureError);
  CHECK_THROWS_WITH(error.reply->Get(), ContainsSubstring("'g'") && ContainsSubstring("no money"));

  Asked aborting(true);
  TransResult still = RolledBack();
  still.status = Status::kAborting;
  aborting.waiter.Give(still);
  CHECK(!aborting.reply->error);
}

TEST_CASE("answers: whoever answers again, or after it was given away, answers nobody") {
  Asked asked;
  Waiter other = std::move(asked.waiter);
  CHECK(!asked.waiter.promise.Open());  // NOLINT(bugprone-use-after-move): it is empty
  asked.waiter.Give(RolledBack());
  CHECK(asked.answers == 0);
  other.Give(RolledBack());
  other.Refuse(Answers::Rejected("no"));
  CHECK(asked.answers == 1);
  CHECK(!asked.reply->error);
}

TEST_CASE("answers: what the inbox has taken and somebody drops is in doubt") {
  Asked asked;
  dtm::Inbox inbox(1, 1000);
  SECTION("it is answered once") {
    dtm::Command command;
    command.waiter = std::move(asked.waiter);
    REQUIRE(inbox.Push(std::move(command)));
    {
      dtm::Mail mail;
      inbox.Take(mail);
      dtm::Command moved = std::move(mail.commands.front());
      mail.Clear();
      CHECK(asked.answers == 0);
    }
    CHECK(asked.answers == 1);
    CHECK_THROWS_AS(asked.reply->Get(), dtm::InDoubtError);
  }
  SECTION("what has been answered is not answered again") {
    dtm::QueuedWork work;
    work.promise = std::move(asked.waiter.promise);
    REQUIRE(inbox.Push(std::move(work)));
    dtm::Mail mail;
    inbox.Take(mail);
    mail.works.front().promise.Keep({});
    mail.Clear();
    CHECK(asked.answers == 1);
    CHECK(!asked.reply->error);
  }
  SECTION("another takes its place") {
    asked.waiter.promise.Bind();
    asked.waiter.promise = Promise();
    CHECK(asked.answers == 1);
  }
  SECTION("who was refused by the inbox is told by its caller") {
    inbox.Close();
    dtm::Command command;
    command.waiter = std::move(asked.waiter);
    CHECK(!inbox.Push(std::move(command)));
    CHECK(asked.answers == 0);
  }
}

TEST_CASE("answers: what a callback throws leaves nobody, and nobody to ask is no harm") {
  for (const bool dropped : {false, true}) {
    Waiter throws;
    throws.promise = [](const Answer&) { throw 42; };
    throws.promise.Bind();
    if (!dropped) CHECK_NOTHROW(throws.Give(RolledBack()));
  }
  Waiter nobody;
  nobody.promise.Bind();
  CHECK_NOTHROW(nobody.Refuse(Answers::Rejected("no")));
}

TEST_CASE("answers: an error without memory for its sentence is in doubt, not none") {
  const std::exception_ptr told =
      dtm::Made<dtm::StoreError>([] { return std::string("the disk is full"); });
  CHECK_THROWS_WITH(std::rethrow_exception(told), "the disk is full");
  const std::exception_ptr without =
      dtm::Made<dtm::StoreError>([]() -> std::string { throw std::bad_alloc(); });
  CHECK_THROWS_AS(std::rethrow_exception(without), dtm::InDoubtError);
}

TEST_CASE("answers: a promise gets the answer, or its error") {
  std::promise<Answer> promise;
  Answers::Fulfil(promise, {RolledBack(), nullptr});
  CHECK(promise.get_future().get().Get().gid == "g");
}
