/// The requests that were answered, counted by the name of the API.
/// Needs: std. Threads: thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include <dtm/coordinator/parts/answers.hpp>
#include <dtm/coordinator/parts/metrics.hpp>
#include <dtm/core/types.hpp>

namespace dtm {
inline namespace v1 {

/// Requests that got a reply, by the name of the API.
class ApiCounters {
 public:
  struct Api {
    std::uint64_t ok = 0;
    std::uint64_t failed = 0;
    Histogram durations;
  };

  /// `api` is one of a few names, never what a caller sent.
  void Answered(const std::string& api, int status, Duration took) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Api& counted = apis_[api];
    ++(status < 400 ? counted.ok : counted.failed);
    counted.durations.Add(took);
  }
  /// The same for a request that came at `begin`. Without memory it is not counted.
  void AnsweredNow(const char* api, int status, std::chrono::steady_clock::time_point begin) {
    const auto took = std::chrono::steady_clock::now() - begin;
    Answers::Protected([&] { Answered(api, status, std::chrono::duration_cast<Duration>(took)); });
  }

  std::map<std::string, Api> Get() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return apis_;
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::string, Api> apis_;
};

}  // namespace v1
}  // namespace dtm
