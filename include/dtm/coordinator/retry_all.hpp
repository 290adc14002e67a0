/// Tries many transactions at once.
/// Needs: std. Threads: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <dtm/base/error.hpp>
#include <dtm/coordinator/coordinator.hpp>
#include <dtm/core/endpoint.hpp>

namespace dtm {
inline namespace v1 {

/// As Coordinator::RetryNow for each; returns how many of them had not ended. They are asked for at once, since what another
/// coordinator drives is answered with that one's next beat.
/// @throws as RetryNow, when all have been answered.
inline std::int64_t RetryAllNow(Coordinator& tm, const std::vector<std::string>& gids) {
  struct Tries {
    std::mutex mutex;
    std::size_t left = 0;
    std::int64_t done = 0;
    Answer problem{};
  };
  if (gids.empty()) return 0;
  const auto tries = std::make_shared<Tries>();
  tries->left = gids.size();
  tm.Await([&](const AnswerCallback& answer) {
    const AnswerCallback one = [tries, answer](const Answer& given) {
      const std::unique_lock<std::mutex> lock(tries->mutex);
      try {
        (void)given.Get();
        ++tries->done;
      } catch (const RejectedError&) {  // it has ended meanwhile
      } catch (...) {                   // the others are tried all the same
        tries->problem = given;
      }
      if (--tries->left == 0) answer(tries->problem);
    };
    for (const std::string& gid : gids) {
      try {
        tm.RetryNowAsync(gid, one);
      } catch (...) {
        one({{}, std::current_exception()});
      }
    }
  });
  return tries->done;
}

}  // namespace v1
}  // namespace dtm
