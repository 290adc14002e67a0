/// The functions that this program lacks, so that people are told of each of them once a minute.
/// Needs: std. Threads: the thread that drives the loop.
#pragma once

#include <chrono>
#include <cstddef>
#include <iterator>
#include <map>
#include <string>

#include <dtm/base/time.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/url.hpp>

namespace dtm {
inline namespace v1 {

class MissingFunctions {
 public:
  /// False: people were told of it less than a minute ago, or of too many others. All URLs of a scheme are one: what is
  /// missing is their caller.
  /// @throws std::bad_alloc  it is not remembered.
  bool IsNews(const std::string& url, Time now) {
    const std::string name = IsLocal(url) ? url : SchemeOf(url);
    const auto told = told_until_.find(name);
    if (told != told_until_.end() && now < told->second) return false;
    if (told == told_until_.end() && told_until_.size() >= kMostNames) {
      for (auto old = told_until_.begin(); old != told_until_.end();) {
        old = old->second <= now ? told_until_.erase(old) : std::next(old);
      }
      if (told_until_.size() >= kMostNames) return false;
    }
    told_until_[name] = now + kTellAgain;
    return true;
  }

  static constexpr std::size_t kMostNames = 1000;

 private:
  static constexpr Duration kTellAgain = std::chrono::minutes(1);
  std::map<std::string, Time> told_until_;
};

}  // namespace v1
}  // namespace dtm
