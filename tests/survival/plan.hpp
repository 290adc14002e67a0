/// What one saga of the survival test does: a pure function of its gid, so that any process, also
/// one that starts after a crash, can submit the same saga again. Needs: nlohmann/json,
/// <dtm/dtm.hpp>. Threads: values only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <dtm/dtm.hpp>

namespace survival {

/// The payload of a step: tells the branch who it is called for and how it has to behave.
///   ok       answers success at once
///   slow     answers success after `ms`
///   ongoing  says ONGOING twice, then success
///   error    one temporary error, then success
///   lost     does it, but the answer gets lost once (URLs only)
///   fail     answers FAILURE
///   broken   always a temporary error
///   waits    always ONGOING
struct Order {
  std::string gid;
  int step = 0;
  std::string action;
  std::string compensate;
  int ms = 0;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Order, gid, step, action, compensate, ms)

struct PlannedStep {
  Order order;
  bool url = false;
  bool can_be_undone = true;
  bool in_transaction = false;  ///< writes a row into the coordinator's file, in its commit
};

struct Plan {
  std::string type = "saga";  ///< message, outbox, tcc, xa, workflow; rows: a saga that leaves some
  std::string fate;           ///< of a message or outbox, see Planner
  std::vector<PlannedStep> steps;
  bool concurrent = false;
  std::map<int, std::vector<int>> orders;
  int retry_limit = 0;
  int timeout_s = 0;
  int interval_s = 0;  ///< 0: the coordinator's
  bool succeeds = true;

  /// As the checker reads it.
  nlohmann::json ToJson() const {
    nlohmann::json json = {{"type", type},
                           {"concurrent", concurrent},
                           {"succeeds", succeeds},
                           {"interval_s", interval_s}};
    json["orders"] = nlohmann::json::array();
    for (const auto& order : orders) {
      for (const int before : order.second) json["orders"].push_back({order.first + 1, before + 1});
    }
    for (const PlannedStep& step : steps) {
      json["steps"].push_back({{"url", step.url},
                               {"undo", step.can_be_undone},
                               {"rows", step.in_transaction},
                               {"action", step.order.action},
                               {"compensate", step.order.compensate}});
    }
    return json;
  }
};

class Planner {
 public:
  explicit Planner(std::uint64_t seed) : seed_(seed) {}

  Plan PlanOf(const std::string& gid) const {
    std::seed_seq sequence{Word(seed_), Word(seed_ >> 32), Word(std::hash<std::string>{}(gid))};
    std::mt19937 random(sequence);
    const auto below = [&random](std::size_t n) { return static_cast<int>(random() % n); };
    const std::string type = gid.substr(0, gid.find('-'));
    if (type != "slow" && type != "order") return MixedPlanOf(gid, type, below);
    Plan plan;
    plan.concurrent = below(2) == 0;
    const int count = 2 + below(3);
    for (int i = 0; i < count; ++i) {
      PlannedStep step;
      step.order.gid = gid;
      step.order.step = i + 1;
      step.url = below(2) == 0;
      step.order.ms = 50 + below(200);
      static const std::vector<std::string> kSteady = {"ok",    "ok",      "slow", "slow",
                                                       "error", "ongoing", "ok",   "lost"};
      step.order.action = kSteady[static_cast<std::size_t>(below(kSteady.size()))];
      step.order.compensate = kSteady[static_cast<std::size_t>(below(kSteady.size()))];
      step.can_be_undone = below(16) != 0;
      plan.steps.push_back(std::move(step));
    }
    if (plan.concurrent && below(2) == 0) {
      plan.orders[count - 1] = {0};
      if (count > 2) plan.orders[count - 1].push_back(1);
      if (count > 3) plan.orders[2] = {0};
    }
    Order& victim = plan.steps[static_cast<std::size_t>(below(plan.steps.size()))].order;
    if (gid.compare(0, 5, "slow-") == 0) {  // waits for its timer most of the time
      plan.interval_s = 1;
      for (PlannedStep& step : plan.steps) step.order.action = step.order.compensate = "ok";
      Order& patient = plan.steps[static_cast<std::size_t>(below(plan.steps.size()))].order;
      patient.action = below(2) == 0 ? "ongoing" : "error";
      victim.compensate = "error";
    }
    // Two of five are rolled back, for one of three reasons.
    const int fate = below(20);
    plan.succeeds = fate >= 8;
    if (fate < 6 || (fate < 8 && plan.interval_s > 0)) {
      victim.action = "fail";
    } else if (fate == 6) {
      victim.action = "broken";
      plan.retry_limit = 3;
      // It counts the tries of all actions; the others must not use it up.
      for (PlannedStep& step : plan.steps) {
        if (&step.order != &victim) step.order.action = "slow";
      }
    } else if (fate == 7) {
      victim.action = "waits";
      plan.timeout_s = 1;
    }
    return plan;
  }

 private:
  /// What is no saga of branches outside. Two or three steps, one after the other.
  template <typename Below>
  static Plan MixedPlanOf(const std::string& gid, const std::string& type, const Below& below) {
    Plan plan;
    plan.type = type;
    plan.interval_s = 1;
    const int count = 2 + below(2);
    for (int i = 0; i < count; ++i) {
      PlannedStep step;
      step.order.gid = gid;
      step.order.step = i + 1;
      step.order.ms = 20 + below(100);
      step.url = below(2) == 0;
      step.in_transaction = type == "rows" && i != 1;
      if (step.in_transaction) step.url = false;
      static const std::vector<std::string> kSteady = {"ok", "slow", "error", "ongoing", "lost"};
      const auto mood = [&below](std::size_t n) {
        return kSteady[static_cast<std::size_t>(below(n))];
      };
      // A try that gives no definite answer is cancelled; the steps of a workflow are run again.
      step.order.action = mood(type == "tcc" || type == "xa" ? 2 : kSteady.size());
      step.order.compensate = mood(kSteady.size());
      plan.steps.push_back(std::move(step));
    }
    PlannedStep& chosen = plan.steps[static_cast<std::size_t>(below(plan.steps.size()))];
    Order& victim = chosen.order;
    if (type == "workflow") {  // all its errors together double the wait for the next run
      const auto moods = std::make_pair(victim.action, victim.compensate);
      for (PlannedStep& step : plan.steps) step.order.action = step.order.compensate = "slow";
      victim.action = moods.first == "ongoing" ? "error" : moods.first;
      victim.compensate = moods.second == "ongoing" ? "error" : moods.second;
    }
    const int fate = below(10);
    if (type == "message") {
      static const char* const kFates[] = {"commit",  "commit", "commit", "commit", "refuse",
                                           "forgets", "dies",   "dies",   "lost",   "commit"};
      // commit: and submit. refuse: and abort. dies, forgets: nothing more after the local commit, or instead of
      // it. lost: the local commit says it failed, and did not.
      plan.fate = kFates[fate];
    } else if (type == "outbox") {
      plan.fate = fate < 7 ? "commit" : "refuse";
    } else if (fate < 4) {
      plan.succeeds = false;
      victim.action = "fail";
    } else if (fate == 4 && (type == "tcc" || type == "xa")) {
      plan.succeeds = false;
      victim.action = "broken";
    } else if (fate == 5 && type == "xa" && chosen.url) {  // prepared, and nobody knows
      plan.succeeds = false;
      victim.action = "lost";
    }
    return plan;
  }

  static std::uint32_t Word(std::uint64_t value) { return static_cast<std::uint32_t>(value); }
  std::uint64_t seed_;
};

}  // namespace survival
