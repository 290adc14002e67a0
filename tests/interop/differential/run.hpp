/// Carries out scenarios at one coordinator, many at once, and tells what came of each.
/// Needs: nlohmann/json, cpp-httplib. Threads: RunAll blocks; several peers may be run at once.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/interop/differential/peers.hpp"
#include "tests/interop/differential/scenario.hpp"
#include "tests/interop/differential/scripted_service.hpp"

namespace dtm_test {

struct Outcome {
  std::vector<std::pair<std::string, int>> replies;  ///< command and status
  std::vector<ServiceCall> calls;
  std::string status;  ///< as queried
  std::string reason;
  std::vector<std::string> rows;
  double seconds = 0;  ///< until it had ended
};

class Runner {
 public:
  Runner(const Peer& peer, ScriptedService& service, const std::vector<Scenario>& scenarios)
      : peer_(peer),
        service_(service),
        scenarios_(scenarios),
        states_(scenarios.size()),
        outcomes_(scenarios.size()) {}

  std::vector<Outcome> RunAll() {
    for (const Scenario& scenario : scenarios_) service_.Add(peer_.Name(), scenario);
    std::vector<std::thread> threads;
    for (int i = 0; i < 24; ++i) threads.emplace_back([this] { Begin(); });
    threads.emplace_back([this] { Meddle(); });
    while (!Look()) std::this_thread::sleep_for(Ms(100));
    for (std::thread& thread : threads) thread.join();
    std::this_thread::sleep_for(Ms(500));  // whatever comes too late
    for (std::size_t i = 0; i < scenarios_.size(); ++i) {
      Query(i);
      outcomes_[i].calls = service_.Calls(peer_.Name(), scenarios_[i]);
      service_.Remove(peer_.Name(), scenarios_[i]);
    }
    return std::move(outcomes_);
  }

 private:
  using SteadyClock = std::chrono::steady_clock;
  using Ms = std::chrono::milliseconds;
  struct State {
    std::atomic<bool> begun{false};
    std::atomic<bool> middle_done{false};
    bool ended = false;
    std::size_t calls = 0;  ///< when it was last queried
    SteadyClock::time_point started{}, queried{};
  };

  /// Takes one scenario after the other; at most 200 a second begin, so that none is late because of the others.
  void Begin() {
    for (;;) {
      std::size_t i = 0;
      {
        const std::lock_guard<std::mutex> lock(pace_);
        i = next_++;
        if (i >= scenarios_.size()) return;
        std::this_thread::sleep_for(Ms(5));
      }
      states_[i].started = SteadyClock::now();
      for (const std::string& command : scenarios_[i].begin) Do(i, command);
      states_[i].begun = true;
    }
  }

  /// One look at all that have begun. True: all have ended.
  bool Look() {
    bool all = true;
    for (std::size_t i = 0; i < scenarios_.size(); ++i) {
      State& state = states_[i];
      if (state.ended) continue;
      all = false;
      if (!state.begun) continue;
      const Scenario& scenario = scenarios_[i];
      const auto now = SteadyClock::now();
      if (!state.middle_done && !scenario.middle.empty()) continue;
      const std::size_t calls = service_.Calls(peer_.Name(), scenario).size();
      const bool news = calls != state.calls && now - state.queried > Ms(300);
      if (!news && now - state.queried < Ms(1000)) continue;
      state.calls = calls;
      state.queried = now;
      Query(i);
      const std::string& status = outcomes_[i].status;
      const bool final = status == "succeed" || status == "failed";
      if (!final && now - state.started < std::chrono::seconds(60)) continue;
      outcomes_[i].seconds = std::chrono::duration<double>(now - state.started).count();
      for (const std::string& command : scenario.after) Do(i, command);
      state.ended = true;
    }
    return all;
  }

  /// What is to come in the middle, before the next try; so nothing else is done here.
  void Meddle() {
    for (bool all = false; !all; std::this_thread::sleep_for(Ms(20))) {
      all = true;
      for (std::size_t i = 0; i < scenarios_.size(); ++i) {
        State& state = states_[i];
        const Scenario& scenario = scenarios_[i];
        if (scenario.middle.empty() || state.middle_done) continue;
        all = false;
        if (!state.begun) continue;
        if (!MayMeddle(i) && SteadyClock::now() - state.started < std::chrono::seconds(30))
          continue;
        if (!scenario.spare_go || !peer_.IsGo()) Do(i, scenario.middle);
        state.middle_done = true;
      }
    }
  }

  /// Its first call has been answered, and the answer has had time to arrive.
  bool MayMeddle(std::size_t i) const {
    const std::vector<ServiceCall> calls = service_.Calls(peer_.Name(), scenarios_[i]);
    return std::any_of(calls.begin(), calls.end(), [&](const ServiceCall& call) {
      return call.row == scenarios_[i].middle_row && call.end > 0 &&
             SteadyClock::now() - call.at > Ms(200);
    });
  }

  void Do(std::size_t i, const std::string& command) {
    const Scenario& s = scenarios_[i];
    const std::string word = command.substr(0, command.find(' '));
    nlohmann::json body = {{"gid", s.Gid()}, {"trans_type", s.type}};
    std::string path = word;
    const std::string url = service_.Url(peer_.Name());
    if (word == "register") {
      path = "registerBranch";
      const std::string id = command.substr(9, 2);
      const int step = std::stoi(id) - 1;
      body["branch_id"] = id;
      body["data"] = static_cast<std::size_t>(step) < s.payloads.size()
                         ? s.payloads[static_cast<std::size_t>(step)]
                         : "";
      if (command.find("other") != std::string::npos) body["data"] = "other data";
      if (s.type == "tcc") {
        for (const char* op : {"confirm", "cancel"}) body[op] = UrlOf(s, op, step);
      } else {
        body["url"] = url + (command.find("other") != std::string::npos ? "&other=1" : "");
      }
    } else if (word == "abort") {
      body["rollback_reason"] = "somebody's reason";
    } else if (command == "forceStop unknown") {
      body["gid"] = "no-such-gid";
    } else {
      Define(s, body);
    }
    const int status = peer_.Post(path, body.dump()).status;
    const std::lock_guard<std::mutex> lock(mutex_);
    outcomes_[i].replies.emplace_back(command, status);
  }

  std::string UrlOf(const Scenario& s, const std::string& op, int step) const {
    return s.without_url.count(Row(op, step)) > 0 ? "" : service_.Url(peer_.Name());
  }

  void Define(const Scenario& s, nlohmann::json& body) const {
    if (s.type == "saga" || s.type == "msg") {
      body["steps"] = nlohmann::json::array();
      body["payloads"] = nlohmann::json::array();
      for (int step = 0; step < s.steps; ++step) {
        nlohmann::json urls = {{"action", UrlOf(s, "action", step)}};
        if (s.type == "saga") urls["compensate"] = UrlOf(s, "compensate", step);
        body["steps"].push_back(std::move(urls));
        body["payloads"].push_back(s.payloads[static_cast<std::size_t>(step)]);
      }
    }
    nlohmann::json custom = nlohmann::json::object();
    if (s.type == "saga" && s.concurrent) custom["concurrent"] = true;
    for (const auto& [step, before] : s.orders) custom["orders"][std::to_string(step)] = before;
    if (s.type == "msg") {
      body["query_prepared"] = service_.Url(peer_.Name());
      if (s.concurrent) body["concurrent"] = true;
      if (s.delay > 0) custom["delay"] = s.delay;
    }
    if (!custom.empty()) body["custom_data"] = custom.dump();
    if (s.headers) body["branch_headers"] = {{"X-Test", "of " + s.type}};
    if (s.wait_result) body["wait_result"] = true;
    const std::pair<const char*, int> numbers[] = {{"timeout_to_fail", s.timeout_to_fail},
                                                   {"request_timeout", s.request_timeout},
                                                   {"retry_interval", s.retry_interval},
                                                   {"retry_limit", s.retry_limit}};
    for (const auto& [name, value] : numbers) {
      if (value != 0) body[name] = value;
    }
  }

  void Query(std::size_t i) {
    const HttpReply reply = peer_.Get("query?gid=" + scenarios_[i].Gid());
    const nlohmann::json answer = nlohmann::json::parse(reply.body, nullptr, false);
    Outcome& outcome = outcomes_[i];
    if (!answer.is_object() || !answer["transaction"].is_object()) {
      outcome.status = "unknown";
      return;
    }
    outcome.status = answer["transaction"].value("status", "");
    outcome.reason = answer["transaction"].value("rollback_reason", "");
    outcome.rows.clear();
    for (const nlohmann::json& row : answer["branches"]) {
      std::string url = row.value("url", "");
      const std::string base = service_.Url(peer_.Name());
      if (url.compare(0, base.size(), base) == 0) url = "service" + url.substr(base.size());
      std::string data = row.value("bin_data", "");
      if (data.size() > 80) data = std::to_string(data.size()) + " bytes";
      outcome.rows.push_back(row.value("op", "") + " " + row.value("branch_id", "") + " " + url +
                             " {" + data + "} " + row.value("status", ""));
    }
  }

  const Peer& peer_;
  ScriptedService& service_;
  const std::vector<Scenario>& scenarios_;
  std::vector<State> states_;
  std::vector<Outcome> outcomes_;
  std::mutex pace_, mutex_;
  std::size_t next_ = 0;
};

}  // namespace dtm_test
