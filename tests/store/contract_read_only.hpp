/// A coordinator whose database server is read-only for a while, as after a failover: it says so, accepts nothing that it cannot
/// store, and goes on by itself. tests/store/{postgres,mysql}/*_network_test.cpp run it on real servers.
/// Needs: Catch2, coordinator. Threads: those of a coordinator.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "tests/catch.hpp"
#include <dtm/client/saga.hpp>
#include <dtm/coordinator/coordinator.hpp>
#include <dtm/store/store.hpp>

namespace dtm_test {

/// `open`: a store; `set`: makes the server read-only, or writable; `word`: what its error says.
inline void WhileReadOnly(const std::function<std::unique_ptr<dtm::Store>()>& open,
                          const std::function<void(bool only)>& set, const std::string& word) {
  std::mutex mutex;
  std::string log;
  std::atomic<int> calls{0};
  std::atomic<bool> hold{true};
  dtm::Options options;
  options.log = [&](dtm::LogLevel, const std::string& line) {
    const std::lock_guard<std::mutex> lock(mutex);
    log += line + "\n";
  };
  dtm::Coordinator tm(open(), options);
  const auto pay = tm.Register<int>("Pay", [&](int) {
    ++calls;
    return hold ? dtm::Result::Ongoing() : dtm::Result::Success();
  });
  tm.Start();
  const auto submit = [&](const std::string& gid) {
    dtm::NewSaga(tm, gid)
        .SetRetryInterval(std::chrono::seconds(1))
        .Add(pay, dtm::kNoBranch, 1)
        .Submit();
  };
  submit("before");
  for (int i = 0; i < 500 && calls == 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  CHECK(calls > 0);
  set(true);
  CHECK_THROWS_AS(submit("during"), dtm::StoreError);
  hold = false;
  CHECK_THROWS_AS(submit("during2"), dtm::StoreError);
  {
    const std::lock_guard<std::mutex> lock(mutex);
    CHECK_THAT(log, Catch::Matchers::ContainsSubstring(word));
  }
  CHECK_THROWS_WITH(open(), Catch::Matchers::ContainsSubstring(word));
  set(false);
  CHECK(tm.Wait("before", std::chrono::seconds(20)).status == dtm::Status::kSucceed);
  CHECK_FALSE(tm.Query("during").has_value());
  bool accepted = false;
  for (int i = 0; i < 500 && !accepted; ++i) {
    try {
      submit("during");
      accepted = true;
    } catch (const dtm::StoreError&) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
  CHECK(tm.Wait("during", std::chrono::seconds(20)).status == dtm::Status::kSucceed);
}

}  // namespace dtm_test
