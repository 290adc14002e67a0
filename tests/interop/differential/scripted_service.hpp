/// The branches of both coordinators: an HTTP service that answers by the scenario of each gid, and keeps what it was called.
/// A peer is told from the other by the first part of the path.
/// Needs: cpp-httplib. Threads: those of httplib; Add and Calls from any.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <httplib.h>

#include "tests/interop/differential/scenario.hpp"

namespace dtm_test {

/// `begin` and `end` are positions in the order in which all calls came and were answered.
struct ServiceCall {
  std::string row;
  std::string text;  ///< what was sent, and what came back
  Kind kind = Kind::kSuccess;
  std::size_t begin = 0;
  std::size_t end = 0;  ///< 0: not yet
  std::chrono::steady_clock::time_point at{};
};

class ScriptedService {
 public:
  ScriptedService() {
    server_.new_task_queue = [] { return new httplib::ThreadPool(96); };
    server_.set_keep_alive_max_count(1);  // a connection that stays open would keep its thread
    const auto handle = [this](const httplib::Request& request, httplib::Response& response) {
      Handle(request, response);
    };
    server_.Get(".*", handle);
    server_.Post(".*", handle);
    port_ = server_.bind_to_any_port("127.0.0.1");
    server_.TakeMany();
    thread_ = std::thread([this] { server_.listen_after_bind(); });
  }
  ~ScriptedService() {
    server_.stop();
    thread_.join();
  }
  ScriptedService(const ScriptedService&) = delete;
  ScriptedService& operator=(const ScriptedService&) = delete;

  std::string Url(const std::string& peer) const {
    return "http://127.0.0.1:" + std::to_string(port_) + "/" + peer + "/branch?of=test";
  }

  void Add(const std::string& peer, const Scenario& scenario) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Transaction& transaction = transactions_[peer + scenario.Gid()];
    transaction.scenario = &scenario;
    transaction.wave = FirstWave(scenario);
  }
  void Remove(const std::string& peer, const Scenario& scenario) {
    const std::lock_guard<std::mutex> lock(mutex_);
    transactions_.erase(peer + scenario.Gid());
  }
  std::vector<ServiceCall> Calls(const std::string& peer, const Scenario& scenario) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return transactions_.at(peer + scenario.Gid()).calls;
  }

 private:
  struct Transaction {
    const Scenario* scenario = nullptr;
    std::vector<std::string> wave;
    std::vector<ServiceCall> calls;
  };

  void Handle(const httplib::Request& request, httplib::Response& response) {
    const std::string peer = request.path.substr(1, request.path.find('/', 1) - 1);
    const std::string row =
        request.get_param_value("op") + " " + request.get_param_value("branch_id");
    std::string sent = request.method + " " + row + " " + request.get_param_value("trans_type") +
                       " of=" + request.get_param_value("of") + " {";
    sent +=
        request.body.size() > 60 ? std::to_string(request.body.size()) + " bytes" : request.body;
    sent += "} " + request.get_header_value("Content-Type") +
            " x-test=" + request.get_header_value("X-Test");
    std::unique_lock<std::mutex> lock(mutex_);
    const auto found = transactions_.find(peer + request.get_param_value("gid"));
    if (found == transactions_.end()) {
      response.status = 500;
      return;
    }
    Transaction& transaction = found->second;
    const Scenario& scenario = *transaction.scenario;
    const std::size_t index = transaction.calls.size();
    const auto times = static_cast<std::size_t>(
        std::count_if(transaction.calls.begin(), transaction.calls.end(),
                      [&](const ServiceCall& call) { return call.row == row; }));
    BranchAnswer answer;
    const auto script = scenario.script.find(row);
    if (script != scenario.script.end() && times < script->second.size())
      answer = script->second[times];
    transaction.calls.push_back(
        {row, sent + " -> " + KindName(answer.kind) + "/" + std::to_string(answer.form),
         answer.kind, ++order_, 0, std::chrono::steady_clock::now()});
    changed_.notify_all();
    const bool holds = answer.kind == Kind::kFailure && scenario.type == "saga" &&
                       scenario.concurrent && row.compare(0, 6, "action") == 0;
    if (holds) {
      changed_.wait_for(lock, std::chrono::milliseconds(1200),
                        [&] { return WaveIsOver(transaction); });
    }
    lock.unlock();
    // The others have been answered, and what they said has time to arrive.
    if (holds) std::this_thread::sleep_for(std::chrono::milliseconds(40));
    if (answer.kind == Kind::kLate) std::this_thread::sleep_for(std::chrono::milliseconds(1600));
    if (answer.kind == Kind::kSlow) std::this_thread::sleep_for(std::chrono::milliseconds(1400));
    Say(answer, response);
    lock.lock();
    const auto still = transactions_.find(peer + scenario.Gid());
    if (still != transactions_.end() && index < still->second.calls.size()) {
      still->second.calls[index].end = ++order_;
    }
    changed_.notify_all();
  }

  static bool WaveIsOver(const Transaction& transaction) {
    return std::all_of(
        transaction.wave.begin(), transaction.wave.end(), [&](const std::string& row) {
          return std::any_of(
              transaction.calls.begin(), transaction.calls.end(), [&](const ServiceCall& call) {
                return call.row == row && (call.end > 0 || call.kind == Kind::kFailure);
              });
        });
  }

  static void Say(const BranchAnswer& answer, httplib::Response& response) {
    struct Form {
      int status;
      const char* body;
    };
    static const std::vector<std::vector<Form>> forms = {
        {{200, ""}, {200, R"({"dtm_result":"SUCCESS"})"}, {200, "whatever"}},
        {{409, ""},
         {409, R"({"dtm_result":"FAILURE","message":"no"})"},
         {200, "a FAILURE of mine"},
         {500, "FAILURE"}},
        {{425, ""}, {425, R"({"dtm_result":"ONGOING"})"}, {200, "still ONGOING"}, {409, "ONGOING"}},
        {{500, "broken"}, {502, ""}, {404, "no such page"}, {201, ""}, {204, ""}, {200, nullptr}}};
    const bool waited = answer.kind == Kind::kLate || answer.kind == Kind::kSlow;
    const std::size_t kind = static_cast<std::size_t>(waited ? Kind::kSuccess : answer.kind);
    const auto& of_kind = forms[kind];
    const Form& form = of_kind[static_cast<std::size_t>(answer.form) % of_kind.size()];
    response.status = form.status;
    if (form.body != nullptr) return response.set_content(form.body, "text/plain");
    // Ends in the middle of its body.
    response.set_content_provider(
        10, "text/plain", [](std::size_t, std::size_t, httplib::DataSink&) { return false; });
  }

  /// httplib lets 5 connections wait; beyond that a caller tries again after a second.
  struct HttpServer : httplib::Server {
    void TakeMany() const { ::listen(svr_sock_, 1024); }
  };
  HttpServer server_;
  std::thread thread_;
  int port_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t order_ = 0;
  std::map<std::string, Transaction> transactions_;
};

}  // namespace dtm_test
