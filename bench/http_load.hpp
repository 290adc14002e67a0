/// The load: plays the application, which submits sagas, messages or tccs of two HTTP branches on some
/// connections, each with the next one after the answer, and the service whose branches are called, which
/// answers at once. It is finished when its second branch was called.
/// Needs: Linux. Threads: one.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <deque>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bench.hpp"
#include "http_tally.hpp"
#include "http_wire.hpp"
#include "process.hpp"

namespace bench {

struct LoadOptions {
  int port = 0;  ///< of the coordinator, on loopback
  std::string path = "/api/dtmsvr";
  std::string type = "saga";  ///< or msg, tcc
  std::size_t connections = 16;
  std::size_t max_open = 2000;  ///< no submit while so many sagas are not finished
  double warm_up = 2;           ///< seconds before the window
  double seconds = 8;           ///< of the window that is measured
  double patience = 20;         ///< seconds without progress, after which the rest is lost
  std::vector<NamedProcess> processes;
};

struct LoadResult {
  SagaTally::Sums sums;
  double window = 0;
  double own_cpu = 0;               ///< seconds in the window, as the following
  std::vector<double> cpu;          ///< of each process
  double other_cores = 0;           ///< busy with something else: a disturbed run
  std::vector<double> memory_mb;    ///< of each process, at the end of the window
  double refused = 0;               ///< submits with another answer than success, or with none
  std::string refusal;              ///< the first of them
  std::vector<std::string> sample;  ///< gids that must have succeeded
};

class HttpLoad : private HttpWire::User {
 public:
  explicit HttpLoad(LoadOptions options) : options_(std::move(options)) {
    const std::string host = "127.0.0.1:";
    const std::string branches = "http://" + host + std::to_string(wire_.Port());
    const std::string saga =
        R"({"gid":")" + tally_.Gid(0) + R"(","trans_type":")" + options_.type + '"';
    // As dtm's Go client writes it, and as large as a transfer is.
    const std::string payload = R"("{\"amount\":30,\"note\":\")" + std::string(85, 'x') + R"(\"}")";
    const auto url = [&](const std::string& key, const std::string& path) {
      return '"' + key + R"(":")" + branches + path + '"';
    };
    const auto add = [&](const std::string& operation, const std::string& body) {
      Request request;
      request.text =
          "POST " + options_.path + "/" + operation + " HTTP/1.1\r\nHost: " + host +
          std::to_string(options_.port) +
          "\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
          "\r\n\r\n" + body;
      request.number_at =
          request.text.find(tally_.Gid(0)) + tally_.Gid(0).size() - SagaTally::kDigits;
      requests_.push_back(std::move(request));
    };
    if (options_.type == "tcc") {  // the tries are between the initiator and its branches
      const std::string end = R"(,"concurrent":false,"protocol":""})";
      const auto branch = [&](const std::string& id, const std::string& call) {
        return saga + R"(,"branch_id":")" + id + R"(","data":)" + payload + "," +
               url("confirm", "/confirm" + call) + "," + url("cancel", "/cancel" + call) + "}";
      };
      add("prepare", saga + end);
      add("registerBranch", branch("01", "2"));
      add("registerBranch", branch("02", "1"));
      add("submit", saga + end);
      return;
    }
    const bool msg = options_.type == "msg";
    const auto step = [&](const std::string& number) {
      return "{" + url("action", "/action" + number) +
             (msg ? "" : "," + url("compensate", "/compensate" + number)) + "}";
    };
    const std::string body = saga + R"(,"concurrent":false,"steps":[)" + step("1") + "," +
                             step("2") + R"(],"payloads":[)" + payload + "," + payload + "]" +
                             (msg ? "," + url("query_prepared", "/query") : "") +
                             R"(,"protocol":""})";
    if (msg) add("prepare", body);
    add("submit", body);
  }

  LoadResult Run() {
    const Time start = Clock::now();
    const Time from = RunUntil(start + After(options_.warm_up));
    const Watch own;
    const double machine = MachineCpuSeconds();
    const std::vector<double> before = Cpu();
    const Time to = RunUntil(from + After(options_.seconds));
    LoadResult result;
    result.window = Seconds(to - from).count();
    result.own_cpu = own.CpuUsed();
    result.cpu = Cpu();
    double known = result.own_cpu;
    for (std::size_t i = 0; i < before.size(); ++i) known += result.cpu[i] -= before[i];
    result.other_cores = (MachineCpuSeconds() - machine - known) / result.window;
    for (const NamedProcess& process : options_.processes) {
      result.memory_mb.push_back(ResidentMegabytes(process.pid));
    }
    Drain();
    result.sums = tally_.Sum(from, to);
    result.refused = refused_;
    result.refusal = refusal_;
    result.sample = tally_.Sample(50);
    return result;
  }

 private:
  using Clock = SagaTally::Clock;
  using Time = SagaTally::Time;
  static constexpr int kPollMs = 2;

  struct Request {
    std::string text;
    std::size_t number_at = 0;  ///< where the transaction's number is in it
  };
  struct Submitting {
    std::size_t number = 0;
    std::size_t request = 0;  ///< the one that is out
  };

  static Clock::duration After(double seconds) {
    return std::chrono::duration_cast<Clock::duration>(Seconds(seconds));
  }

  std::vector<double> Cpu() const {
    std::vector<double> seconds;
    for (const NamedProcess& process : options_.processes) {
      seconds.push_back(CpuSeconds(process.pid));
    }
    return seconds;
  }

  Time RunUntil(Time end) {
    Time now;
    while ((now = Clock::now()) < end) {
      SubmitMore(now);
      wire_.Poll(kPollMs, *this);
    }
    return now;
  }

  void Drain() {
    draining_ = true;
    progress_ = Clock::now();
    while ((!submitting_.empty() || tally_.Unfinished() > 0) &&
           Clock::now() < progress_ + After(options_.patience)) {
      wire_.Poll(kPollMs, *this);
    }
    // A call that comes once too often comes late.
    const Time end = Clock::now() + std::chrono::milliseconds(300);
    while (Clock::now() < end) wire_.Poll(kPollMs, *this);
  }

  void SubmitMore(Time now) {
    while (!resting_.empty() && resting_.front() <= now) resting_.pop_front();
    while (!draining_ && submitting_.size() + resting_.size() < options_.connections &&
           tally_.Open() < options_.max_open) {
      int connection = 0;
      if (idle_.empty()) {
        connection = wire_.Connect(options_.port);
      } else {
        connection = idle_.back();
        idle_.pop_back();
      }
      const std::size_t number = tally_.Submitted(now);
      submitting_[connection] = {number, 0};
      SendRequest(connection, {number, 0});
    }
  }

  void SendRequest(int connection, const Submitting& submitting) {
    Request& request = requests_[submitting.request];
    SagaTally::WriteNumber(submitting.number, &request.text[request.number_at]);
    wire_.Send(connection, request.text);
  }

  void Received(int connection, const HttpMessage& message) override {
    const Time now = Clock::now();
    if (message.IsAnswer()) {
      Answered(connection, message, now);
    } else {
      wire_.Send(connection, kSuccess);
      if (message.last) wire_.Close(connection);
      if (tally_.Called(message.first_line, now)) progress_ = now;
    }
    SubmitMore(now);
  }

  void Answered(int connection, const HttpMessage& message, Time now) {
    const auto found = submitting_.find(connection);
    if (found == submitting_.end()) throw std::runtime_error("an answer that nobody asked for");
    const std::size_t number = found->second.number;
    const bool good = message.first_line.find(" 200") != std::string_view::npos &&
                      message.body.find("SUCCESS") != std::string_view::npos;
    if (good && found->second.request + 1 < requests_.size()) {
      if (message.last) throw std::runtime_error("a coordinator that closes its connections");
      ++found->second.request;
      return SendRequest(connection, found->second);
    }
    submitting_.erase(found);
    if (good) {
      tally_.Acknowledged(number, now);
      progress_ = now;
    } else {
      Refused(number, std::string(message.first_line) + " " + std::string(message.body), now);
    }
    if (message.last) {
      wire_.Close(connection);
    } else {
      idle_.push_back(connection);
    }
  }

  void Closed(int connection) override {
    const auto found = submitting_.find(connection);
    if (found == submitting_.end()) {
      idle_.erase(std::remove(idle_.begin(), idle_.end(), connection), idle_.end());
      return;
    }
    Refused(found->second.number, "the connection was closed without an answer", Clock::now());
    submitting_.erase(found);
  }

  /// Whoever was refused comes back a little later, with another saga.
  void Refused(std::size_t number, std::string why, Time now) {
    if (refused_++ == 0) refusal_ = std::move(why);
    tally_.Refused(number);
    resting_.push_back(now + std::chrono::milliseconds(10));
  }

  static constexpr std::string_view kSuccess =
      "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 24\r\n\r\n"
      R"({"dtm_result":"SUCCESS"})";

  const LoadOptions options_;
  HttpWire wire_;
  SagaTally tally_;
  std::vector<Request> requests_;                   ///< that make one transaction
  std::unordered_map<int, Submitting> submitting_;  ///< connection -> its transaction
  std::vector<int> idle_;                           ///< connections
  std::deque<Time> resting_;                        ///< until when, of callers
  bool draining_ = false;
  Time progress_;
  double refused_ = 0;
  std::string refusal_;
};

}  // namespace bench
