/// Without a thread: what Poll says, and who is woken when something comes earlier.
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/quiet.hpp"
#include <tests/coordinator/world.hpp>

using dtm::Coordinator;
using dtm::Duration;
using dtm::Result;
using dtm::testing::TestCoordinator;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using world::NewDefinition;
using world::World;

namespace {

/// A coordinator and the loop of a program that polls it.
struct Sleeper {
  int woken = 0;
  TestCoordinator kit;

  explicit Sleeper(TestCoordinator::Setup setup = {}) : kit(std::move(setup), WithWake()) {}

  dtm::Options WithWake() {
    dtm::Options options = dtm_test::Quiet();
    options.on_wake = [this] { ++woken; };
    return options;
  }
  /// As long as the program may sleep now.
  Duration Settle() {
    for (;;) {
      const Duration sleep = kit->Poll();
      if (sleep > Duration(0)) return sleep;
    }
  }
};

dtm::Definition Local(const std::string& gid, const std::string& name) {
  dtm::Definition definition;
  definition.gid = gid;
  definition.steps.push_back({"local:" + name, "", "1"});
  return definition;
}

}  // namespace

TEST_CASE("poll: how long the program may sleep") {
  Sleeper sleeper;
  auto& kit = sleeper.kit;
  const Duration idle = sleeper.Settle();
  CHECK(idle > minutes(1));
  CHECK(idle <= hours(1));
  auto definition = NewDefinition("a", 1);
  definition.options.retry_interval = seconds(7);
  kit.Branches().On("http://a/01/action", {{Result::Ongoing(), {}, false}});
  kit->SubmitAsync(definition, {});
  CHECK(sleeper.Settle() == seconds(7));
  kit.Clock().MoveTowards(kit.Clock().Now() + seconds(5));
  CHECK(kit->Poll() == seconds(2));
  kit.Clock().MoveTowards(kit.Clock().Now() + seconds(2));
  CHECK(kit->Poll() == Duration(0));
  CHECK(sleeper.Settle() > minutes(1));
  CHECK(kit->Wait("a", seconds(1)).Succeeded());
  CHECK(kit->Stop(seconds(1)));
  CHECK(kit->Poll() == hours(1));
}

TEST_CASE("poll: an idle program polls a few times an hour") {
  Sleeper sleeper;
  int polls = 0;
  const auto end = sleeper.kit.Clock().Now() + hours(24);
  while (sleeper.kit.Clock().Now() < end) {
    ++polls;
    sleeper.kit.Clock().MoveTowards(sleeper.kit.Clock().Now() + sleeper.kit->Poll());
  }
  CHECK(polls < 24 * 10);
  CHECK(sleeper.woken == 0);
}

TEST_CASE("poll: a URL's answer wakes who sleeps, once") {
  Sleeper sleeper;
  auto& kit = sleeper.kit;
  for (const char* gid : {"a", "b"}) {
    kit.Branches().On("http://" + std::string(gid) + "/01/action",
                      {{Result::Success(), seconds(1), false}});
    auto definition = NewDefinition(gid, 1);
    definition.options.request_timeout = seconds(600);
    kit->SubmitAsync(definition, {});
  }
  CHECK(sleeper.woken == 0);  // nobody has slept yet
  const Duration sleep = sleeper.Settle();
  CHECK(sleep > seconds(100));
  kit.Clock().MoveTowards(kit.Clock().Now() + sleep);
  CHECK(sleeper.woken == 1);  // for both
  sleeper.Settle();
  for (const char* gid : {"a", "b"}) {
    CHECK(kit->Query(gid)->status == dtm::Status::kSucceed);
  }
  CHECK(sleeper.woken == 1);
}

TEST_CASE("poll: whatever another thread wants wakes who sleeps") {
  std::function<void()> inside;
  Sleeper sleeper([&](Coordinator& tm) {
    tm.Register<int>("A", [&](const int&) {
      if (inside) inside();
    });
    tm.Register<int>("Waits", [](const int&) { return Result::Ongoing(); });
  });
  auto& kit = sleeper.kit;
  kit->SubmitAsync(Local("waits", "Waits"), {});
  sleeper.Settle();
  const auto wakes = [&](const std::function<void()>& what) {
    const int before = sleeper.woken;
    std::thread(what).join();
    const int woken = sleeper.woken - before;
    sleeper.Settle();
    return woken;
  };
  CHECK(wakes([] {}) == 0);
  CHECK(wakes([&] { kit->SubmitAsync(Local("a", "A"), {}); }) == 1);
  CHECK(wakes([&] { kit->Submit(Local("b", "A")); }) >= 1);
  CHECK(wakes([&] { kit->RetryNow("waits"); }) >= 1);
  CHECK(wakes([&] { kit->Cancel("waits"); }) >= 1);
  CHECK(wakes([&] { kit->Register<int>("new", [](const int&) {}); }) == 1);
  CHECK(wakes([&] { (void)kit->Query("a"); }) == 0);
  // A function that runs in the other thread has returned.
  int while_it_runs = 0;
  inside = [&] { while_it_runs = sleeper.woken; };
  CHECK(wakes([&] {
          kit->Submit(Local("c", "A"));
          sleeper.kit->Poll();
        }) >= 1);
  CHECK(kit->Query("c")->status == dtm::Status::kSucceed);
}

TEST_CASE("poll: a time that another thread's turn has set meanwhile is not slept through") {
  std::function<void()> alerted;
  int woken = 0;
  dtm::Options options = dtm_test::Quiet();
  options.alert_retry_limit = 1;
  options.on_alert = [&](const dtm::Alert&) { alerted(); };
  options.on_wake = [&] { ++woken; };
  TestCoordinator kit(
      [](Coordinator& tm) { tm.Register<int>("A", [](const int&) { return Result::Ongoing(); }); },
      options);
  kit.Branches().On("http://a/01/action", {{Result::Error("no"), {}, false}});
  // It runs after the turn of Poll. Meanwhile somebody submits, waits and goes.
  alerted = [&] {
    std::thread([&] {
      auto definition = Local("b", "A");
      definition.options.retry_interval = seconds(3);
      kit->Submit(definition);
      (void)kit->Explain("b");
    }).join();
  };
  auto definition = NewDefinition("a", 1);
  definition.options.retry_interval = seconds(600);
  kit->SubmitAsync(definition, {});
  Duration sleep{};
  while (sleep == Duration(0)) sleep = kit->Poll();
  CHECK(kit->Query("b").has_value());
  CHECK((sleep <= seconds(3) || woken > 0));
}
