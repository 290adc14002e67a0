/// Makes scenarios by chance: sagas, messages, tccs and xas.
/// What the Go server answers by the speed of the machine is left out, so that a difference is a difference:
///  - at most two errors, and two answers ONGOING: its waits double for the whole transaction;
///  - while a compensation cannot go on, a round of it does nothing for 6 s, and its only poller waits with it; so most
///    compensations that do not succeed at once do so in the round of the submit, which has a thread of its own;
///  - if one action of several fails, the others have been called before (FirstWave), or never will be.
/// Needs: std. Threads: pure functions.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/interop/differential/scenario.hpp"

namespace dtm_test {

class Generator {
 public:
  Generator(std::uint64_t seed, int number)
      : random_(seed * 1000003U + static_cast<std::uint64_t>(number)) {
    s_.seed = seed;
    s_.number = number;
  }

  Scenario Make() {
    const int type = Pick(100);
    s_.wait_result = Chance(30);
    s_.headers = Chance(30);
    if (Chance(20)) s_.request_timeout = 2 + Pick(4);
    if (type < 45) {
      Saga();
    } else if (type < 70) {
      Msg();
    } else {
      TwoPhases(type < 90 ? "tcc" : "xa");
    }
    if (Chance(40)) After();
    return std::move(s_);
  }

 private:
  int Pick(int count) { return static_cast<int>(random_() % static_cast<std::uint64_t>(count)); }
  bool Chance(int percent) { return Pick(100) < percent; }
  BranchAnswer Of(Kind kind) { return {kind, Pick(12)}; }

  /// ERROR or ONGOING, within what a transaction may have of them. Of a required row FAILURE is an error.
  void Disturb(const std::string& row, bool required = false) {
    const bool error = Chance(50);
    int& left = error ? errors_ : ongoings_;
    if (left == 0) return;
    --left;
    const Kind kind = !error                   ? Kind::kOngoing
                      : required && Chance(40) ? Kind::kFailure
                                               : Kind::kError;
    s_.script[row].push_back(Of(kind));
  }

  void Steps(int count) {
    s_.steps = count;
    const char* const payloads[] = {
        "{\"amount\":30}", "", "null", "{\"text\":\"<ü & \\\"x\\\">\"}", "plain text",
        "[1,2.5,true]"};
    for (int i = 0; i < count; ++i) s_.payloads.emplace_back(payloads[Pick(6)]);
    if (count > 0 && Chance(3)) s_.payloads.back() = std::string(20000, 'x');
  }

  void Orders() {
    std::vector<int> steps;
    for (int i = 0; i < s_.steps; ++i) steps.push_back(i);
    if (s_.concurrent) {
      for (std::size_t i = steps.size(); i > 1; --i) {
        std::swap(steps[i - 1], steps[static_cast<std::size_t>(Pick(static_cast<int>(i)))]);
      }
    }
    for (std::size_t later = 1; later < steps.size(); ++later) {
      for (std::size_t earlier = 0; earlier < later; ++earlier) {
        if (Chance(25)) s_.orders[steps[later]].push_back(steps[earlier]);
      }
    }
  }

  /// All that have to succeed before this step.
  std::set<int> Before(int step) const {
    std::set<int> all;
    std::vector<int> look{step};
    while (!look.empty()) {
      const auto order = s_.orders.find(look.back());
      look.pop_back();
      if (order == s_.orders.end()) continue;
      for (const int before : order->second) {
        if (all.insert(before).second) look.push_back(before);
      }
    }
    return all;
  }

  int RandomStep() { return Pick(s_.steps); }

  void Saga() {
    s_.type = "saga";
    Steps(1 + Pick(5));
    s_.concurrent = s_.steps > 1 && Chance(40);
    if (Chance(s_.concurrent ? 60 : 10)) Orders();
    for (int i = 0; i < s_.steps; ++i) {
      if (Chance(4)) s_.without_url.insert(Row("action", i));
      if (Chance(8)) s_.without_url.insert(Row("compensate", i));
    }
    if (Chance(10)) s_.begin.emplace_back("prepare");
    s_.begin.emplace_back("submit");
    const int kind = Pick(100);
    if (kind < 40) {
      SagaSucceeds();
    } else if (kind < 80) {
      s_.concurrent ? ConcurrentSagaFails() : SagaFails();
    } else if (kind < 86) {
      SagaTimesOut();
    } else if (kind < 92) {
      SagaRetryLimit();
    } else if (kind < 94) {
      SagaTimesOutDuringCall();
    } else {
      SagaMeddledWith();
    }
  }

  void SagaSucceeds() {
    if (Chance(10)) return CallLate(Row("action", RandomStep()));
    for (int n = Pick(4); n > 0; --n) Disturb(Row("action", RandomStep()));
  }

  /// Nothing but this: a round with a call that gets no answer takes a second.
  void CallLate(const std::string& row) {
    s_.request_timeout = 1;
    s_.retry_interval = 3;
    s_.script[row] = {Of(Kind::kLate)};
  }

  void SagaFails() {
    const int failing = RandomStep();
    const bool clean = Chance(60);
    if (!clean) Disturb(Row("action", Pick(failing + 1)));
    const std::string row = Row("action", failing);
    s_.without_url.erase(row);
    s_.script[row].push_back(Of(Kind::kFailure));
    if (clean && Chance(50)) Disturb(Row("compensate", Pick(failing + 1)), true);
    if (Chance(25)) Disturb(Row("compensate", 0), true);
  }

  void ConcurrentSagaFails() {
    const int failing = RandomStep();
    const std::string row = Row("action", failing);
    s_.without_url.erase(row);
    const std::set<int> before = Before(failing);
    const bool later = Chance(30);
    if (later) Disturb(row);
    s_.script[row].push_back(Of(Kind::kFailure));
    for (int i = 0; i < s_.steps && !later; ++i) {
      const bool free = i != failing && before.count(i) == 0 && Before(i).count(failing) == 0;
      if (!free || !Chance(40)) continue;
      const std::string other = Row("action", i);
      if (Chance(30)) {
        s_.without_url.erase(other);
        s_.script[other] = {Of(Kind::kFailure)};
      } else {
        Disturb(other);
      }
    }
    const bool one = Chance(40) && (s_.orders.empty() || !later);
    if (one) Disturb(Row("compensate", RandomStep()), true);
    if (one && s_.orders.empty()) Disturb(Row("compensate", RandomStep()), true);
  }

  /// Every retry would come after the timeout, here and there.
  void SagaTimesOut() {
    s_.timeout_to_fail = 2;
    s_.retry_interval = 3;
    const Kind kind = Chance(50) ? Kind::kError : Kind::kOngoing;
    const std::string row = Row("action", RandomStep());
    s_.script[row] = {Of(kind), Of(kind)};
  }

  void SagaRetryLimit() {
    s_.concurrent = false;
    s_.orders.clear();
    s_.retry_limit = 1 + Pick(2);
    const int count = s_.retry_limit + Pick(2);
    for (int i = 0; i < count; ++i) {
      s_.script[Row("action", Chance(50) ? 0 : s_.steps - 1)].push_back(
          Of(Chance(50) ? Kind::kError : Kind::kOngoing));
    }
  }

  void SagaTimesOutDuringCall() {
    s_.concurrent = false;
    s_.orders.clear();
    s_.request_timeout = 0;
    s_.timeout_to_fail = 1;
    s_.retry_interval = 3;
    const std::string row = Row("action", RandomStep());
    s_.without_url.erase(row);
    s_.script[row] = {Of(Kind::kSlow)};
  }

  /// Somebody stops it while it waits, or submits it again.
  void SagaMeddledWith() {
    s_.retry_interval = 4;
    s_.wait_result = false;
    s_.concurrent = false;
    s_.orders.clear();
    s_.middle_row = Row("action", RandomStep());
    s_.without_url.erase(s_.middle_row);
    Meddle();
  }
  void Meddle() {
    s_.script[s_.middle_row] = {Of(Chance(50) ? Kind::kError : Kind::kOngoing)};
    s_.spare_go = Chance(50);
    s_.middle = s_.spare_go ? "submit" : "forceStop";
  }

  void Msg() {
    s_.type = "msg";
    Steps(1 + Pick(4));
    s_.concurrent = s_.steps > 1 && Chance(30);
    for (int i = 0; i < s_.steps; ++i) {
      if (Chance(4)) s_.without_url.insert(Row("action", i));
    }
    if (Chance(12)) s_.delay = 1 + Pick(2);
    const int kind = Pick(100);
    if (kind < 40 || s_.delay > 0) {
      if (Chance(30)) s_.begin.emplace_back("prepare");
      s_.begin.emplace_back("submit");
      if (s_.delay == 0 && Chance(6)) return CallLate(Row("action", RandomStep()));
    } else if (kind < 60) {
      s_.begin = {"prepare", "submit"};
    } else if (kind < 88) {
      s_.begin = {"prepare"};
      s_.timeout_to_fail = 1;
      s_.retry_interval = 2;
      ongoings_ = errors_ = 1;
      if (Chance(50)) Disturb("msg 00");
      if (Chance(40)) s_.script["msg 00"].push_back(Of(Kind::kFailure));
    } else if (kind < 94) {
      s_.begin = {"prepare", "abort"};
      return;
    } else {
      s_.begin = {"submit"};
      s_.retry_interval = 4;
      s_.wait_result = false;
      s_.middle_row = Row("action", s_.concurrent ? RandomStep() : 0);
      s_.without_url.erase(s_.middle_row);
      return Meddle();
    }
    for (int n = Pick(3); n > 0; --n) Disturb(Row("action", RandomStep()), true);
  }

  void TwoPhases(const std::string& type) {
    s_.type = type;
    Steps(Pick(5));
    const std::string yes = type == "tcc" ? "confirm" : "commit";
    const std::string no = type == "tcc" ? "cancel" : "rollback";
    for (int i = 0; i < s_.steps; ++i) {
      if (type == "tcc" && Chance(4)) s_.without_url.insert(Row(yes, i));
      if (type == "tcc" && Chance(4)) s_.without_url.insert(Row(no, i));
    }
    if (!Chance(5)) {
      s_.begin.emplace_back("prepare");
      for (int i = 0; i < s_.steps; ++i) {
        s_.begin.push_back("register " + BranchId(i));
        if (Chance(8))
          s_.begin.push_back("register " + BranchId(Pick(i + 1)) +
                             (Chance(60) ? " again" : " other"));
      }
    }
    const bool registered = !s_.begin.empty() && s_.steps > 0;
    const int kind = s_.begin.empty() ? 0 : Pick(100);
    std::string op = yes;
    if (kind < 50) {
      s_.begin.emplace_back("submit");
    } else {
      op = no;
      if (kind < 80) {
        s_.begin.emplace_back("abort");
      } else if (kind < 92) {
        s_.timeout_to_fail = 1;
        s_.retry_interval = 2;
        ongoings_ = errors_ = 1;
      } else {
        s_.begin.emplace_back("abort");
        s_.retry_interval = 4;
        ongoings_ = errors_ = 0;
        if (s_.steps > 0) {  // tcc begins with the last one, xa with the first
          s_.middle = "abort";
          s_.middle_row = Row(no, type == "tcc" ? s_.steps - 1 : 0);
          s_.without_url.erase(s_.middle_row);
          s_.script[s_.middle_row] = {Of(Chance(50) ? Kind::kError : Kind::kOngoing)};
        }
      }
    }
    if (!registered) return;
    if (kind < 80 && Chance(6)) return CallLate(Row(op, RandomStep()));
    if (kind < 50 && Chance(8)) {  // the second submit
      s_.retry_interval = 4;
      s_.wait_result = false;
      s_.middle_row = Row(op, type == "tcc" ? s_.steps - 1 : 0);
      s_.without_url.erase(s_.middle_row);
      s_.script[s_.middle_row] = {Of(Chance(50) ? Kind::kError : Kind::kOngoing)};
      s_.middle = "submit";
      s_.spare_go = true;
      return;
    }
    for (int n = Pick(3); n > 0; --n) Disturb(Row(op, RandomStep()), true);
  }

  void After() {
    const char* const commands[] = {"submit",    "prepare",     "abort",
                                    "forceStop", "register 07", "forceStop unknown"};
    for (int n = 1 + Pick(2); n > 0; --n) s_.after.emplace_back(commands[Pick(6)]);
  }

  std::mt19937_64 random_;
  Scenario s_;
  int errors_ = 2, ongoings_ = 2;
};

}  // namespace dtm_test
