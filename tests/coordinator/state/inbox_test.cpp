/// The inbox: bounded, closes, wakes whoever waits.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/coordinator/state/inbox.hpp>

using dtm::Command;
using dtm::Definition;
using dtm::Inbox;
using dtm::kNever;
using dtm::Mail;
using dtm::QueuedWork;
using dtm::Result;
using dtm::Submission;
using dtm::Time;

namespace {

constexpr std::size_t kBytes = std::size_t{1} << 30;

Submission NewSubmission(const std::string& gid, std::size_t payload = 0) {
  auto definition = std::make_shared<Definition>();
  definition->gid = gid;
  definition->data.assign(payload, 'x');
  return {definition, {}};
}

/// Waits for notifications only, and says when somebody has begun to wait.
class BlockingClock : public dtm::Clock {
 public:
  Time Now() override { return Time{}; }
  void Wait(std::condition_variable& condition, std::unique_lock<std::mutex>& lock,
            Time until) override {
    if (until == Time{}) return;  // its time is over
    begun.set_value();
    notified = condition.wait_for(lock, std::chrono::seconds(5)) == std::cv_status::no_timeout;
  }
  std::promise<void> begun;
  bool notified = false;
};

}  // namespace

TEST_CASE(
    "inbox: what has ended is freed by those who submit, two each, and what they leave in the next "
    "turn") {
  Inbox inbox(3, kBytes);
  std::vector<std::weak_ptr<const Definition>> ended;
  const auto freed = [&ended] {
    return std::count_if(ended.begin(), ended.end(), [](const auto& one) { return one.expired(); });
  };
  Mail mail;
  for (int i = 0; i < 6; ++i) {
    mail.ended.push_back(NewSubmission("e").definition);
    ended.push_back(mail.ended.back());
  }
  inbox.Take(mail);
  CHECK(mail.ended.empty());
  CHECK(freed() == 0);
  CHECK(inbox.Push(NewSubmission("a")));
  CHECK(freed() == 2);
  CHECK(inbox.Push(NewSubmission("b")));
  CHECK(freed() == 4);
  SECTION("left for the next turn") {
    inbox.Take(mail);
    CHECK(mail.ended.size() == 2);
    CHECK(mail.submissions.size() == 2);
    mail.Clear();
    CHECK(freed() == 6);
  }
  SECTION("none is left") {
    CHECK(inbox.Push(NewSubmission("c")));
    CHECK(freed() == 6);
    CHECK_FALSE(inbox.Push(NewSubmission("d")));
  }
}

TEST_CASE("inbox: everything comes out once, in its order") {
  Inbox inbox(10, kBytes);
  CHECK(inbox.Push(NewSubmission("a")));
  CHECK(inbox.Push(NewSubmission("b")));
  Command command;
  command.gid = "c";
  CHECK(inbox.Push(std::move(command)));
  CHECK(inbox.Push(QueuedWork{[](dtm::TransactContext&) { return Result::Success(); }, {}}));
  inbox.Done({NewSubmission("d").definition, 1, {}}, Result::Failure("no"));
  Mail mail;
  inbox.Take(mail);
  REQUIRE(mail.submissions.size() == 2);
  CHECK(mail.submissions[0].definition->gid == "a");
  CHECK(mail.submissions[1].definition->gid == "b");
  REQUIRE(mail.commands.size() == 1);
  CHECK(mail.commands[0].gid == "c");
  CHECK(mail.works.size() == 1);
  REQUIRE(mail.results.size() == 1);
  CHECK(mail.results[0].call.row == 1);
  CHECK(mail.results[0].result.text == "no");
  mail.Clear();
  CHECK(mail.Empty());
  inbox.Take(mail);
  CHECK(mail.Empty());
}

TEST_CASE("inbox: submissions and works are bounded, answers and commands are not") {
  Inbox inbox(2, kBytes);
  CHECK(inbox.Push(NewSubmission("a")));
  CHECK(inbox.Push(NewSubmission("b")));
  CHECK(!inbox.Push(NewSubmission("c")));
  CHECK(!inbox.Closed());
  CHECK(inbox.Push(QueuedWork{}));
  CHECK(inbox.Push(QueuedWork{}));
  CHECK(!inbox.Push(QueuedWork{}));
  for (int i = 0; i < 10; ++i) {
    CHECK(inbox.Push(Command{}));
    inbox.Done({NewSubmission("d").definition, 1, {}}, Result::Success());
  }
  Mail mail;
  inbox.Take(mail);
  CHECK(mail.submissions.size() == 2);
  CHECK(mail.results.size() == 10);
  CHECK(mail.commands.size() == 10);
  CHECK(inbox.Push(NewSubmission("c")));  // there is room again
}

TEST_CASE("inbox: closed, it takes answers only") {
  Inbox inbox(2, kBytes);
  inbox.Close();
  CHECK(inbox.Closed());
  CHECK(!inbox.Push(NewSubmission("a")));
  CHECK(!inbox.Push(QueuedWork{}));
  CHECK(!inbox.Push(Command{}));
  inbox.Done({NewSubmission("d").definition, 1, {}}, Result::Success());
  Mail mail;
  inbox.Take(mail);
  CHECK(mail.results.size() == 1);
}

TEST_CASE("inbox: does not wait if there is mail, or if it is enough") {
  Inbox inbox(2, kBytes);
  BlockingClock clock;
  CHECK(inbox.Empty());
  inbox.Wait(clock, kNever, [] { return true; });  // else it would take 5 s
  inbox.Done({NewSubmission("d").definition, 1, {}}, Result::Success());
  CHECK(!inbox.Empty());
  inbox.Wait(clock, kNever, [] { return false; });
  CHECK(!clock.notified);
}

TEST_CASE("inbox: mail wakes a waiting thread, also after another one stopped waiting") {
  Inbox inbox(2, kBytes);
  BlockingClock clock;
  const auto never = [] { return false; };
  std::thread waiter([&] { inbox.Wait(clock, kNever, never); });
  clock.begun.get_future().wait();
  SECTION("nobody else waits") { CHECK(inbox.Push(NewSubmission("a"))); }
  SECTION("somebody else waited for a shorter time") {
    inbox.Wait(clock, Time{}, never);
    CHECK(inbox.Push(NewSubmission("a")));
  }
  SECTION("an answer") { inbox.Done({NewSubmission("d").definition, 1, {}}, Result::Success()); }
  SECTION("it is interrupted") { inbox.Interrupt(); }
  waiter.join();
  CHECK(clock.notified);
}

TEST_CASE("inbox: bounded by bytes, which count until the turn that took them is over") {
  Inbox inbox(100, 10000);
  CHECK(inbox.Push(NewSubmission("a", 4000)));
  CHECK(inbox.Push(NewSubmission("b", 1000)));
  CHECK_FALSE(inbox.Push(NewSubmission("c", 4000)));
  CHECK(inbox.Push(NewSubmission("d", 1000)));  // a smaller one still fits
  Mail mail;
  inbox.Take(mail);
  CHECK(mail.submissions.size() == 3);
  CHECK_FALSE(inbox.Push(NewSubmission("c", 4000)));  // those are being stored
  mail.Clear();
  inbox.DoneWithTaken();
  CHECK(inbox.Push(NewSubmission("c", 4000)));
  inbox.Take(mail);
  inbox.DoneWithTaken();
  inbox.DoneWithTaken();
  CHECK(inbox.Push(NewSubmission("e", 8000)));
}

TEST_CASE("inbox: one that is larger than all the bytes is taken alone") {
  Inbox inbox(100, 10);
  CHECK(inbox.Push(NewSubmission("a", 4000)));
  CHECK_FALSE(inbox.Push(NewSubmission("b", 0)));
  Mail mail;
  inbox.Take(mail);
  CHECK_FALSE(inbox.Push(NewSubmission("b", 0)));
  inbox.DoneWithTaken();
  CHECK(inbox.Push(NewSubmission("b", 0)));
}

TEST_CASE("inbox: who sleeps is woken once, by whatever arrives, without the lock") {
  int woken = 0;
  Inbox* self = nullptr;
  Inbox inbox(10, 1000000, [&] {
    ++woken;
    CHECK_FALSE(self->Empty());  // may ask
    throw 7;
  });
  self = &inbox;
  const Time until(std::chrono::seconds(100));
  Mail mail;
  const auto sleeps = [&] {
    inbox.Take(mail);
    mail.Clear();
    woken = 0;
    REQUIRE(inbox.FallAsleep(until));
  };
  CHECK(inbox.Push(NewSubmission("awake")));
  CHECK(woken == 0);
  CHECK_FALSE(inbox.FallAsleep(until));  // something has arrived
  sleeps();
  CHECK(inbox.Push(NewSubmission("a")));
  CHECK(inbox.Push(NewSubmission("b")));
  CHECK(woken == 1);
  sleeps();
  CHECK(inbox.Push(Command()));
  CHECK(woken == 1);
  sleeps();
  CHECK(inbox.Push(QueuedWork()));
  CHECK(woken == 1);
  sleeps();
  inbox.Done({}, Result::Success());
  CHECK(woken == 1);
  sleeps();
  inbox.Interrupt();  // nothing to do
  CHECK(woken == 0);
  inbox.WokeUp();
  inbox.Done({}, Result::Success());
  CHECK(woken == 0);
}

TEST_CASE(
    "inbox: in a burst nobody is woken, but once at its end, or by what another thread pushes") {
  int woken = 0;
  Inbox inbox(10, 1000000, [&] { ++woken; });
  Mail mail;
  const auto sleeps = [&] {
    inbox.Take(mail);
    mail.Clear();
    woken = 0;
    REQUIRE(inbox.FallAsleep(Time(std::chrono::seconds(100))));
  };
  const auto burst = [&] {
    CHECK(inbox.Push(NewSubmission("a")));
    CHECK(inbox.Push(Command()));
    CHECK(inbox.Push(QueuedWork()));
    inbox.Done({}, Result::Success());
  };
  sleeps();
  inbox.BeginBurst();
  inbox.BeginBurst();  // one burst
  burst();
  CHECK(woken == 0);
  inbox.EndBurst();
  CHECK(woken == 1);
  inbox.EndBurst();
  CHECK(woken == 1);
  sleeps();
  burst();  // and no more
  CHECK(woken == 1);
  sleeps();
  inbox.BeginBurst();
  inbox.EndBurst();  // an empty one
  CHECK(woken == 0);
  inbox.BeginBurst();
  CHECK(inbox.Push(NewSubmission("b")));
  std::thread([&] {
    inbox.BeginBurst();  // there is one
    CHECK(inbox.Push(NewSubmission("c")));
    CHECK(woken == 1);
    inbox.EndBurst();
  }).join();
  CHECK(woken == 1);
  inbox.EndBurst();
  CHECK(woken == 1);  // nobody sleeps any more
}
