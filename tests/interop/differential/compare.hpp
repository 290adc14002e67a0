/// What differs between what two coordinators did with the same scenario, and which row of docs/differences.md says so.
/// Needs: std. Threads: pure functions.
#pragma once

#include <algorithm>
#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/interop/differential/run.hpp"
#include "tests/interop/differential/scenario.hpp"

namespace dtm_test {

/// Names of docs/differences.md.
inline const char* const kWaitResult = "W19";
inline const char* const kBadInput = "W13";
inline const char* const kSubmitAfterSuccess = "the same submit after success";
inline const char* const kRegisteredAgain = "a branch registered twice";
inline const char* const kTimeoutDuringCall = "the timeout of a saga while an action is out";
inline const char* const kNotAwaited = "W10";
inline const char* const kRetryLimit = "W21";

struct Difference {
  std::string name;  ///< "": documented nowhere
  std::string text;
};

class Comparison {
 public:
  Comparison(const Scenario& scenario, const Outcome& ours, const Outcome& go)
      : s_(scenario), ours_(ours), go_(go) {}

  std::vector<Difference> All() {
    Replies();
    Ends();
    Calls();
    Order(ours_, "ours");
    Order(go_, "go");
    return std::move(all_);
  }

 private:
  void Add(const std::string& name, const std::string& text) { all_.push_back({name, text}); }

  bool DuringCall() const {
    return std::any_of(s_.script.begin(), s_.script.end(), [](const auto& row) {
      return !row.second.empty() && row.second.front().kind == Kind::kSlow;
    });
  }

  void Replies() {
    std::map<std::string, std::size_t> next;
    std::vector<std::pair<std::string, int>> go = go_.replies;
    if (s_.spare_go) {
      const auto extra = static_cast<std::ptrdiff_t>(s_.begin.size());
      go.insert(go.begin() + extra, {s_.middle, 200});  // what it would do with it is W1 and W2
    }
    if (ours_.replies.size() != go.size()) return Add("", "not as many replies");
    for (std::size_t i = 0; i < go.size(); ++i) {
      const auto& [command, our] = ours_.replies[i];
      const int its = go[i].second;
      if (our == its) continue;
      const bool end = i >= s_.begin.size() + (s_.middle.empty() ? 0 : 1);
      std::string name;
      if (our == 425 && (its == 409 || its == 500) && s_.wait_result && !end) name = kWaitResult;
      // Two rounds of Go at once: "dtm panic".
      if (s_.concurrent && s_.wait_result && our == 409 && its == 500 && !end) name = kNotAwaited;
      // Go calls again at once, and has succeeded meanwhile.
      if (s_.retry_limit > 0 && our == 425 && its == 200 && s_.wait_result && !end)
        name = kRetryLimit;
      if (end && command == "submit" && our == 200 && its == 409) name = kSubmitAfterSuccess;
      if (command.find("again") != std::string::npos && our == 200 && its == 500)
        name = kRegisteredAgain;
      if (command.find("other") != std::string::npos && our == 409 && its == 500)
        name = kRegisteredAgain;
      // "register 07": a saga and a msg have no branches to register.
      const bool nonsense = command == "forceStop unknown" || (end && command == "register 07");
      if (nonsense && our == 400 && its == 500) name = kBadInput;
      if (DuringCall()) name = kTimeoutDuringCall;
      Add(name, command + ": ours " + std::to_string(our) + ", go " + std::to_string(its));
    }
  }

  void Ends() {
    if (ours_.status != go_.status) {
      Add(DuringCall() ? kTimeoutDuringCall : "", "ours is " + ours_.status + ", go " + go_.status);
    }
    // The other reasons are those of branches, which differ by name.
    const bool words =
        ours_.reason.compare(0, 7, "Timeout") == 0 || go_.reason.compare(0, 7, "Timeout") == 0 ||
        ours_.reason.compare(0, 5, "Retry") == 0 || go_.reason.compare(0, 5, "Retry") == 0 ||
        s_.type == "tcc" || s_.type == "xa";
    if (words && ours_.reason != go_.reason) {
      Add(DuringCall() ? kTimeoutDuringCall : "",
          "the reason is '" + ours_.reason + "', of go '" + go_.reason + "'");
    }
    if (ours_.rows.size() != go_.rows.size()) return Add("", "not as many rows");
    for (std::size_t i = 0; i < go_.rows.size(); ++i) {
      if (ours_.rows[i] == go_.rows[i]) continue;
      std::string name;
      if (DuringCall()) name = kTimeoutDuringCall;
      // Go went back before it had saved what the other actions answered.
      const std::string::size_type status = go_.rows[i].rfind(' ');
      if (s_.concurrent && ours_.status == "failed" && go_.rows[i].substr(status) == " prepared" &&
          ours_.rows[i].substr(0, status + 1) == go_.rows[i].substr(0, status + 1)) {
        name = kNotAwaited;
      }
      Add(name, "row: ours " + ours_.rows[i] + "; go " + go_.rows[i]);
    }
  }

  static std::vector<std::string> Texts(const Outcome& outcome, const std::string& row = "") {
    std::vector<std::string> texts;
    for (const ServiceCall& call : outcome.calls) {
      if (row.empty() || call.row == row) texts.push_back(call.text);
    }
    return texts;
  }

  void Calls() {
    if (s_.Ordered()) {
      if (Texts(ours_) != Texts(go_))
        Add(DuringCall() ? kTimeoutDuringCall : "", "the calls are not the same");
      return;
    }
    std::map<std::string, bool> rows;
    for (const ServiceCall& call : ours_.calls) rows[call.row] = true;
    for (const ServiceCall& call : go_.calls) rows[call.row] = true;
    for (const auto& row : rows) {
      if (Texts(ours_, row.first) != Texts(go_, row.first))
        Add("", "the calls of " + row.first + " are not the same");
    }
  }

  static const ServiceCall* First(const Outcome& outcome, const std::string& row) {
    for (const ServiceCall& call : outcome.calls) {
      if (call.row == row) return &call;
    }
    return nullptr;
  }
  static const ServiceCall* Last(const Outcome& outcome, const std::string& row) {
    const ServiceCall* last = nullptr;
    for (const ServiceCall& call : outcome.calls) {
      if (call.row == row) last = &call;
    }
    return last;
  }

  /// What the orders of a saga allow. Ours also begins no compensation while an action is out.
  void Order(const Outcome& outcome, const std::string& who) {
    for (const auto& [later, list] : s_.orders) {
      for (const int earlier : list) {
        Before(outcome, who, Row("action", earlier), Row("action", later));
        Before(outcome, who, Row("compensate", later), Row("compensate", earlier));
      }
    }
    if (who != "ours") return;
    for (int undone = 0; undone < s_.steps; ++undone) {
      for (int step = 0; step < s_.steps; ++step) {
        Before(outcome, who, Row("action", step), Row("compensate", undone));
      }
    }
  }
  void Before(const Outcome& outcome, const std::string& who, const std::string& first,
              const std::string& second) {
    const ServiceCall* const a = Last(outcome, first);
    const ServiceCall* const b = First(outcome, second);
    if (a == nullptr || b == nullptr) return;
    if (a->kind == Kind::kLate) return;  // its caller gave up before it was answered
    if (a->end == 0 || a->end > b->begin)
      Add("", who + " called " + second + " before " + first + " was done");
  }

  const Scenario& s_;
  const Outcome& ours_;
  const Outcome& go_;
  std::vector<Difference> all_;
};

/// The calls of both, for people.
inline std::string Told(const Outcome& outcome, const std::string& who) {
  std::string text = "  " + who + ": " + outcome.status + " '" + outcome.reason + "'";
  for (const auto& [command, status] : outcome.replies)
    text += "; " + command + " " + std::to_string(status);
  const auto zero =
      outcome.calls.empty() ? std::chrono::steady_clock::time_point{} : outcome.calls.front().at;
  for (const ServiceCall& call : outcome.calls) {
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(call.at - zero).count();
    text += "\n    " + std::to_string(ms) + " ms  " + call.text;
  }
  for (const std::string& row : outcome.rows) text += "\n    row " + row;
  return text + "\n";
}

}  // namespace dtm_test
