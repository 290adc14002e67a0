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
};

struct Plan {
  std::vector<PlannedStep> steps;
  bool concurrent = false;
  std::map<int, std::vector<int>> orders;
  int retry_limit = 0;
  int timeout_s = 0;
  int interval_s = 0;  ///< 0: the coordinator's
  bool succeeds = true;

  /// As the checker reads it.
  nlohmann::json ToJson() const {
    nlohmann::json json = {
        {"concurrent", concurrent}, {"succeeds", succeeds}, {"interval_s", interval_s}};
    json["orders"] = nlohmann::json::array();
    for (const auto& order : orders) {
      for (const int before : order.second) json["orders"].push_back({order.first + 1, before + 1});
    }
    for (const PlannedStep& step : steps) {
      json["steps"].push_back({{"url", step.url},
                               {"undo", step.can_be_undone},
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
  static std::uint32_t Word(std::uint64_t value) { return static_cast<std::uint32_t>(value); }
  std::uint64_t seed_;
};

}  // namespace survival
