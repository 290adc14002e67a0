/// What the load program knows of each saga: when it was submitted, acknowledged and finished, and
/// which branch calls came for it. A gid ends in the saga's number, so finding it takes no search.
/// Needs: std. Threads: one.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "bench.hpp"

namespace bench {

class SagaTally {
 public:
  using Clock = std::chrono::steady_clock;
  using Time = Clock::time_point;
  static constexpr std::size_t kDigits = 8;

  /// Of a window of time, and of the whole run what was wrong.
  struct Sums {
    double finished = 0;
    std::vector<double> submit_ms;
    std::vector<double> end_to_end_ms;
    double acknowledged = 0;
    double missing = 0;       ///< calls that an acknowledged saga did not get
    double duplicates = 0;    ///< calls that came again
    double out_of_order = 0;  ///< a second action before the first
    double unexpected = 0;    ///< calls that nobody ordered
  };

  SagaTally() {
    char text[32];
    std::snprintf(text, sizeof text, "load-%llx-",
                  static_cast<unsigned long long>(
                      std::chrono::system_clock::now().time_since_epoch().count()));
    prefix_ = text;
  }

  std::size_t Submitted(Time now) {
    sagas_.emplace_back();
    sagas_.back().submitted = now;
    ++open_;
    return sagas_.size() - 1;
  }

  void Acknowledged(std::size_t number, Time now) {
    sagas_[number].acknowledged = now;
    if (sagas_[number].finished == Time()) ++unfinished_;
  }

  /// It need not come, but may: perhaps only the answer was lost.
  void Refused(std::size_t number) {
    if (sagas_[number].finished == Time()) --open_;
    sagas_[number].refused = true;
  }

  /// A branch was called, with the path and query that the first line of the request names.
  /// True: that finished the saga.
  bool Called(std::string_view line, Time now) {
    const std::size_t step = StepOf(line);
    const std::size_t number = NumberOf(line);
    if (step == kNone || number >= sagas_.size()) {
      ++unexpected_;
      return false;
    }
    Saga& saga = sagas_[number];
    if (saga.calls[step]++ > 0) {
      ++duplicates_;
      return false;
    }
    if (step == 0) return false;
    if (saga.calls[0] == 0) ++out_of_order_;
    saga.finished = now;
    if (!saga.refused) --open_;
    if (saga.acknowledged != Time()) --unfinished_;
    return true;
  }

  /// Submitted, neither refused nor finished.
  std::size_t Open() const { return open_; }
  /// Acknowledged, but not finished.
  std::size_t Unfinished() const { return unfinished_; }

  Sums Sum(Time from, Time to) const {
    const auto within = [&](Time time) { return time >= from && time < to; };
    const auto ms = [](Clock::duration time) { return 1e3 * Seconds(time).count(); };
    Sums sums;
    sums.duplicates = duplicates_;
    sums.out_of_order = out_of_order_;
    sums.unexpected = unexpected_;
    for (const Saga& saga : sagas_) {
      if (within(saga.finished)) {
        ++sums.finished;
        sums.end_to_end_ms.push_back(ms(saga.finished - saga.submitted));
      }
      if (within(saga.acknowledged))
        sums.submit_ms.push_back(ms(saga.acknowledged - saga.submitted));
      if (saga.acknowledged == Time()) continue;
      ++sums.acknowledged;
      for (const int calls : saga.calls) sums.missing += calls == 0 ? 1 : 0;
    }
    return sums;
  }

  /// Gids of acknowledged sagas, from the first to the last.
  std::vector<std::string> Sample(std::size_t count) const {
    std::vector<std::string> gids;
    const std::size_t stride = sagas_.size() / count + 1;
    for (std::size_t number = 0; number < sagas_.size(); number += stride) {
      if (sagas_[number].acknowledged != Time()) gids.push_back(Gid(number));
    }
    return gids;
  }

  std::string Gid(std::size_t number) const {
    std::string gid = prefix_ + std::string(kDigits, '0');
    WriteNumber(number, gid.data() + prefix_.size());
    return gid;
  }

  static void WriteNumber(std::size_t number, char* digits) {
    for (std::size_t i = kDigits; i-- > 0; number /= 10) {
      digits[i] = static_cast<char>('0' + number % 10);
    }
  }

 private:
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

  struct Saga {
    Time submitted, acknowledged, finished;
    std::array<int, 2> calls{};
    bool refused = false;
  };

  /// POST /action1?branch_id=01&gid=...&op=action&trans_type=saga
  static std::size_t StepOf(std::string_view line) {
    constexpr std::string_view kAction = "POST /action";
    constexpr std::string_view kConfirm = "POST /confirm";  // of a tcc: the last branch comes first
    const bool confirm = line.substr(0, kConfirm.size()) == kConfirm;
    const std::string_view path = confirm ? kConfirm : kAction;
    if (line.substr(0, path.size()) != path || line.size() < path.size() + 2) return kNone;
    const char digit = line[path.size()];
    const char number = static_cast<char>(confirm ? '1' + '2' - digit : digit);
    const std::string_view query = line.substr(path.size() + 1);
    const char branch[] = {'b', 'r', 'a', 'n', 'c', 'h', '_', 'i', 'd', '=', '0', number, '\0'};
    if (digit < '1' || digit > '2' || query[0] != '?' ||
        query.find(branch) == std::string_view::npos ||
        query.find(confirm ? "op=confirm" : "op=action") == std::string_view::npos) {
      return kNone;
    }
    return static_cast<std::size_t>(digit - '1');
  }

  std::size_t NumberOf(std::string_view line) const {
    const std::size_t gid = line.find(prefix_);
    if (gid == std::string_view::npos) return kNone;
    std::size_t number = 0;
    const std::string_view digits = line.substr(gid + prefix_.size(), kDigits);
    for (const char digit : digits) {
      if (digit < '0' || digit > '9') return kNone;
      number = 10 * number + static_cast<std::size_t>(digit - '0');
    }
    return digits.size() == kDigits ? number : kNone;
  }

  std::string prefix_;  ///< no two runs have the same
  std::deque<Saga> sagas_;
  std::size_t open_ = 0;
  std::size_t unfinished_ = 0;
  double duplicates_ = 0;
  double out_of_order_ = 0;
  double unexpected_ = 0;
};

}  // namespace bench
