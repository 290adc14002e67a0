/// The defaults of the options, and what is refused: what the README promises.
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/coordinator/world.hpp"
#include "tests/support/quiet.hpp"
#include <dtm/coordinator/coordinator.hpp>
#include <dtm/coordinator/parts/options.hpp>
#include <dtm/store/memory.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Duration;
using dtm::Options;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

struct Setting {
  const char* says;
  std::function<void(Options&)> set;
};

constexpr std::size_t kMost = (std::numeric_limits<std::size_t>::max)();

const std::vector<Setting> kRefused = {
    {"retry_interval is 0 s", [](Options& o) { o.retry_interval = Duration(0); }},
    {"retry_interval is 999 us", [](Options& o) { o.retry_interval = Duration(999); }},
    {"retry_interval is -1 s", [](Options& o) { o.retry_interval = seconds(-1); }},
    {"1 ms to 86400 s", [](Options& o) { o.retry_interval = (Duration::max)(); }},
    {"request_timeout is 0 s", [](Options& o) { o.request_timeout = Duration(0); }},
    {"request_timeout is 86401 s", [](Options& o) { o.request_timeout = seconds(86401); }},
    {"request_timeout is ", [](Options& o) { o.request_timeout = (Duration::max)(); }},
    {"timeout_to_fail is 0 s", [](Options& o) { o.timeout_to_fail = seconds(0); }},
    {"timeout_to_fail is -5 s", [](Options& o) { o.timeout_to_fail = seconds(-5); }},
    {"1 s to 86400 s", [](Options& o) { o.timeout_to_fail = (seconds::max)(); }},
    {"keep_finished is -1 us", [](Options& o) { o.keep_finished = Duration(-1); }},
    {"keep_finished is ", [](Options& o) { o.keep_finished = (Duration::min)(); }},
    {"keep_gids is -1 us", [](Options& o) { o.keep_gids = Duration(-1); }},
    {"max_in_memory is 0", [](Options& o) { o.max_in_memory = 0; }},
    {"max_memory_bytes is 0", [](Options& o) { o.max_memory_bytes = 0; }},
    {"max_waiting_submissions is 0", [](Options& o) { o.max_waiting_submissions = 0; }},
    {"max_function_threads is 0", [](Options& o) { o.max_function_threads = 0; }},
    {"max_function_threads is 10001", [](Options& o) { o.max_function_threads = 10001; }},
    {"max_threads_per_function is 0", [](Options& o) { o.max_threads_per_function = 0; }},
};

/// The ends of the ranges.
const std::vector<Setting> kAllowed = {
    {"", [](Options& o) { o.retry_interval = milliseconds(1); }},
    {"", [](Options& o) { o.retry_interval = hours(24); }},
    {"", [](Options& o) { o.request_timeout = milliseconds(1); }},
    {"", [](Options& o) { o.request_timeout = hours(24); }},
    {"", [](Options& o) { o.timeout_to_fail = seconds(1); }},
    {"", [](Options& o) { o.timeout_to_fail = hours(24); }},
    {"", [](Options& o) { o.keep_finished = (Duration::max)(); }},
    {"", [](Options& o) { o.keep_gids = (Duration::max)(); }},
    {"", [](Options& o) { o.keep_gids = Duration(0); }},
    {"", [](Options& o) { o.max_in_memory = 1; }},
    {"", [](Options& o) { o.max_in_memory = kMost; }},
    {"", [](Options& o) { o.max_memory_bytes = 1; }},
    {"", [](Options& o) { o.max_memory_bytes = kMost; }},
    {"", [](Options& o) { o.max_waiting_submissions = 1; }},
    {"", [](Options& o) { o.max_waiting_submissions = kMost; }},
    {"", [](Options& o) { o.max_function_threads = 1; }},
    {"", [](Options& o) { o.max_function_threads = 10000; }},
    {"", [](Options& o) { o.max_threads_per_function = 1; }},
    {"", [](Options& o) { o.max_threads_per_function = kMost; }},
};

}  // namespace

TEST_CASE("options: defaults") {
  const Options options;
  CHECK(options.durability == dtm::Durability::kPower);
  CHECK(options.retry_interval == seconds(10));
  CHECK(options.request_timeout == seconds(3));
  CHECK(options.max_threads_per_function < options.max_function_threads);
  CHECK(options.alert_retry_limit == 3);
  CHECK_FALSE(options.on_alert);  // nobody is told
  REQUIRE(options.log);
}

TEST_CASE("options: what is out of its range is refused with its name, and nothing is touched") {
  const std::string file =
      (std::filesystem::temp_directory_path() / "dtm_options_test_untouched.db").string();
  for (const Setting& setting : kRefused) {
    CAPTURE(setting.says);
    Options options;
    setting.set(options);
    const auto in_memory = [&] {
      dtm::Coordinator tm(std::make_unique<dtm::MemoryStore>(), options);
    };
    const auto in_file = [&] { dtm::Coordinator tm(file, options); };
    CHECK_THROWS_AS(in_memory(), dtm::LogicError);
    CHECK_THROWS_WITH(in_memory(),
                      ContainsSubstring(setting.says) && ContainsSubstring("; it must be "));
    CHECK_THROWS_WITH(in_file(), ContainsSubstring(setting.says));
    CHECK_FALSE(std::filesystem::exists(file));
  }
}

TEST_CASE("options: with the ends of the ranges all goes on as ever") {
  for (std::size_t i = 0; i < kAllowed.size(); ++i) {
    CAPTURE(i);
    Options options;
    options.keep_finished = hours(1000);  // to look at them
    kAllowed[i].set(options);
    world::World world(options);
    world.Script("once-more", 1, dtm::Op::kAction,
                 world::Times(1, dtm::Result::Error("down"), Duration(0)));
    world.Script("undone", 1, dtm::Op::kAction,
                 world::Times(1, dtm::Result::Failure("no"), Duration(0)));
    for (const char* gid : {"plain", "once-more", "undone"}) {
      world.Submit(world::NewDefinition(gid, 2));
      world.Run(Duration(0));
    }
    world.Submit(world::NewDefinition("functions", 2, false, true));
    world.Run(Duration(0));
    dtm::Definition tcc;
    tcc.gid = "tcc";
    tcc.type = dtm::TransType::kTcc;
    (void)world.kit->Prepare(tcc);
    CHECK(world.kit->Query("tcc")->status == dtm::Status::kPrepared);  // not aborted at once
    world.Run(hours(72));
    CHECK(world.AllFinal());
    CHECK(world.Violations() == std::vector<std::string>{});
    CHECK(world.kit->Query("tcc").value_or(dtm::Transaction{}).status != dtm::Status::kPrepared);
    CHECK(world.Calls() == 11);  // 2, 3, 2 and 1 or 2 undone, 2; nothing in circles
  }
}

TEST_CASE("options: to wait for ever is a time as any other") {
  dtm::testing::TestCoordinator kit([](dtm::Coordinator&) {}, dtm_test::Quiet());
  const Duration ever = (Duration::max)();
  kit.Branches().On("http://late", {{dtm::Result::Success(), seconds(2), false}});
  dtm::Definition definition;
  definition.gid = "a";
  definition.steps = {{"http://late", "", "{}"}};
  CHECK(kit->SubmitAndWait(definition, ever).Succeeded());
  definition.gid = "b";
  (void)kit->Submit(definition);
  CHECK(kit->Wait("b", ever).Succeeded());
  CHECK(kit->ListWaiting(ever, 10).empty());
  CHECK(kit->ListWaiting((Duration::min)(), 10).empty());
  CHECK(kit->Stop(ever));
}

TEST_CASE("options: a server_url that nobody could call is refused") {
  dtm::Options options;
  for (const char* good : {"", "http://me/api/dtmsvr"}) {
    options.server_url = good;
    CHECK_NOTHROW(dtm::CheckedOptions(options));
  }
  for (const char* bad : {"me/api", "http://", "http://u:secret@/"}) {
    options.server_url = bad;
    CHECK_THROWS_AS(dtm::CheckedOptions(options), dtm::LogicError);
    CHECK_THROWS_WITH(dtm::CheckedOptions(options), Catch::Matchers::Contains("server_url") &&
                                                        !Catch::Matchers::Contains("secret"));
  }
}
