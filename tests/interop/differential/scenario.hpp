/// A transaction made by chance: what is asked of a coordinator, and what its branches answer. The same seed and number make
/// the same scenario everywhere.
/// Needs: std. Threads: values.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace dtm_test {

enum class Kind { kSuccess, kFailure, kOngoing, kError, kLate, kSlow };

/// One answer of a branch. `form` chooses among the ways to say it. kLate: after the request_timeout of 1 s; kSlow: success
/// after 1.4 s.
struct BranchAnswer {
  Kind kind = Kind::kSuccess;
  int form = 0;
};

inline std::string KindName(Kind kind) {
  const char* const names[] = {"SUCCESS", "FAILURE", "ONGOING", "ERROR", "LATE", "SLOW"};
  return names[static_cast<std::size_t>(kind)];
}

/// Names of rows are "action 01".
struct Scenario {
  std::uint64_t seed = 0;
  int number = 0;
  std::string run;  ///< makes another gid of the same length for another run
  std::string type;
  int steps = 0;
  bool concurrent = false;
  std::map<int, std::vector<int>> orders;
  std::vector<std::string> payloads;
  std::set<std::string> without_url;
  std::map<std::string, std::vector<BranchAnswer>> script;  ///< after its end: success
  bool wait_result = false;
  bool headers = false;
  int timeout_to_fail = 0, request_timeout = 0, retry_interval = 1, retry_limit = 0, delay = 0;
  /// prepare, submit, abort, forceStop, "register N", "register N again", "register N other", "forceStop unknown".
  std::vector<std::string> begin;
  std::string middle;              ///< once the first call of `middle_row` is answered
  std::string middle_row{};        ///< "": at once
  bool spare_go = false;           ///< `middle` is for ours only; it must not change what happens
  std::vector<std::string> after;  ///< once it has ended

  std::string Gid() const {
    std::string digits = std::to_string(number);
    digits.insert(0, 6 - (std::min)(digits.size(), std::size_t{6}), '0');
    return "diff-" + std::to_string(seed) + "-" + digits + "-" + (run.empty() ? "a" : run);
  }
  bool Ordered() const { return !concurrent; }  ///< one call after the other
};

inline std::string BranchId(int step) { return (step < 9 ? "0" : "") + std::to_string(step + 1); }
inline std::string Row(const std::string& op, int step) { return op + " " + BranchId(step); }

/// The rows that are called before anything is repeated; an action that fails answers when all these have been called,
/// so that it is not chance which of them were.
inline std::vector<std::string> FirstWave(const Scenario& s) {
  std::vector<std::string> wave;
  std::set<int> done;
  std::set<int> seen;
  for (bool more = true; more;) {
    more = false;
    for (int step = 0; step < s.steps; ++step) {
      if (seen.count(step) > 0) continue;
      const auto order = s.orders.find(step);
      const bool ready = order == s.orders.end() ||
                         std::all_of(order->second.begin(), order->second.end(),
                                     [&](int before) { return done.count(before) > 0; });
      if (!ready || (!s.concurrent && step > 0 && done.count(step - 1) == 0)) continue;
      more = true;
      seen.insert(step);
      const std::string row = Row("action", step);
      if (s.without_url.count(row) == 0) wave.push_back(row);
      const auto script = s.script.find(row);
      const bool good = script == s.script.end() || script->second.empty() ||
                        script->second.front().kind == Kind::kSuccess ||
                        script->second.front().kind == Kind::kSlow;
      if (good) done.insert(step);
    }
  }
  return wave;
}

inline std::string Text(const Scenario& s) {
  std::string text = "seed " + std::to_string(s.seed) + " number " + std::to_string(s.number) +
                     ": " + s.type + " of " + std::to_string(s.steps) +
                     (s.concurrent ? " concurrent" : "");
  for (const auto& [step, before] : s.orders) {
    text += " " + BranchId(step) + "<-";
    for (const int b : before) text += BranchId(b) + ",";
  }
  const auto number = [&](const char* name, int value) {
    if (value != 0) text += std::string(" ") + name + "=" + std::to_string(value);
  };
  number("wait_result", s.wait_result ? 1 : 0);
  number("headers", s.headers ? 1 : 0);
  number("timeout_to_fail", s.timeout_to_fail);
  number("request_timeout", s.request_timeout);
  number("retry_interval", s.retry_interval);
  number("retry_limit", s.retry_limit);
  number("delay", s.delay);
  const auto list = [&](const char* name, const std::vector<std::string>& words) {
    if (words.empty()) return;
    text += std::string("\n    ") + name + ":";
    for (const std::string& word : words) text += " " + word + ";";
  };
  list("commands", s.begin);
  if (!s.middle.empty()) {
    list("then", {s.middle + " once " + s.middle_row + (s.spare_go ? ", ours only" : "")});
  }
  list("at the end", s.after);
  list("no url", {s.without_url.begin(), s.without_url.end()});
  for (const auto& [row, answers] : s.script) {
    if (answers.empty()) continue;
    text += "\n    " + row + " answers";
    for (const BranchAnswer& answer : answers) {
      text += " " + KindName(answer.kind) + "/" + std::to_string(answer.form);
    }
  }
  return text;
}

/// One scenario a little smaller in each possible way.
inline std::vector<Scenario> Smaller(const Scenario& s) {
  std::vector<Scenario> all;
  const auto add = [&](auto change) {
    Scenario other = s;
    change(other);
    all.push_back(std::move(other));
  };
  for (const auto& [row, answers] : s.script) {
    if (!answers.empty()) add([&, name = row](Scenario& o) { o.script[name].pop_back(); });
  }
  if (s.steps > 1 && s.type != "tcc" && s.type != "xa") {
    add([](Scenario& o) {
      o.orders.erase(--o.steps);
      for (auto& order : o.orders) {
        auto& list = order.second;
        list.erase(std::remove(list.begin(), list.end(), o.steps), list.end());
      }
    });
  }
  if (!s.after.empty()) add([](Scenario& o) { o.after.pop_back(); });
  if (!s.without_url.empty()) add([](Scenario& o) { o.without_url.clear(); });
  if (!s.orders.empty()) add([](Scenario& o) { o.orders.clear(); });
  if (s.wait_result) add([](Scenario& o) { o.wait_result = false; });
  if (s.headers) add([](Scenario& o) { o.headers = false; });
  if (s.request_timeout != 0) add([](Scenario& o) { o.request_timeout = 0; });
  return all;
}

}  // namespace dtm_test
