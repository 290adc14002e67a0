/// How those who asked get their answer: nothing a callback throws leaves, and a rollback is told as was promised.
#include <exception>
#include <future>
#include <new>
#include <optional>
#include <string>

#include "tests/catch.hpp"
#include <dtm/coordinator/replies.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Replies;
using dtm::Reply;
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
  std::optional<Reply> reply;
  Waiter waiter;

  explicit Asked(bool failure_is_error = false) {
    waiter.failure_is_error = failure_is_error;
    waiter.callback = [this](const Reply& answer) { reply = answer; };
  }
};

}  // namespace

TEST_CASE("replies: a rollback is a status, or an error where that was promised") {
  Asked status;
  Replies::Answer(status.waiter, RolledBack());
  REQUIRE(status.reply);
  CHECK(status.reply->Get().status == Status::kFailed);

  Asked error(true);
  Replies::Answer(error.waiter, RolledBack());
  REQUIRE(error.reply);
  CHECK_THROWS_AS(error.reply->Get(), dtm::FailureError);
  CHECK_THROWS_WITH(error.reply->Get(), ContainsSubstring("'g'") && ContainsSubstring("no money"));
}

TEST_CASE("replies: what a callback throws leaves nobody, and nobody to ask is no harm") {
  Waiter throws;
  throws.callback = [](const Reply&) { throw 42; };
  CHECK_NOTHROW(Replies::Answer(throws, RolledBack()));
  CHECK_NOTHROW(Replies::Refuse(throws, Replies::Rejected("no")));
  CHECK_NOTHROW(Replies::Refuse(Waiter(), Replies::Rejected("no")));
}

TEST_CASE("replies: an error without memory for its sentence is bad_alloc, not none") {
  const std::exception_ptr told =
      Replies::Made<dtm::StoreError>([] { return std::string("the disk is full"); });
  CHECK_THROWS_WITH(std::rethrow_exception(told), "the disk is full");
  const std::exception_ptr without =
      Replies::Made<dtm::StoreError>([]() -> std::string { throw std::bad_alloc(); });
  CHECK_THROWS_AS(std::rethrow_exception(without), std::bad_alloc);
}

TEST_CASE("replies: a promise gets the answer, or its error") {
  std::promise<Reply> promise;
  Replies::Fulfil(promise, {RolledBack(), nullptr});
  CHECK(promise.get_future().get().Get().gid == "g");
}
