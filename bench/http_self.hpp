/// A coordinator that keeps nothing: with it the load program measures what it can reach itself,
/// and shows that it sees what a bad coordinator does. In a process of its own.
/// Needs: Linux. Threads: one.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "http_wire.hpp"

namespace bench {

class ToyCoordinator : private HttpWire::User {
 public:
  /// `faulty`: of 1000 sagas one gets no second call, one gets it twice, one gets it first.
  explicit ToyCoordinator(bool faulty) : faulty_(faulty) {}

  int Port() const { return wire_.Port(); }

  [[noreturn]] void Serve() {
    while (true) wire_.Poll(-1, *this);
  }

 private:
  static constexpr std::size_t kMaxCalls = 64;  ///< under way at a time

  struct Saga {
    std::string gid;
    std::string calls;  ///< numbers of the steps that are still to be called
  };

  void Received(int connection, const HttpMessage& message) override {
    if (message.IsAnswer()) {
      CallNext(connection);
      return;
    }
    const bool submit = message.first_line.substr(0, 4) == "POST";
    wire_.Send(connection, submit ? kSubmitted : kSucceed);
    if (message.last) wire_.Close(connection);
    if (submit) Start(message.body);
  }

  void Closed(int connection) override { calling_.erase(connection); }

  void Start(std::string_view body) {
    constexpr std::string_view kOrigin = R"("action":"http://127.0.0.1:)";
    branch_port_ = std::atoi(body.data() + body.find(kOrigin) + kOrigin.size());
    const std::string_view gid = body.substr(body.find(R"("gid":")") + 7);
    waiting_.push_back({std::string(gid.substr(0, gid.find('"'))), Calls()});
    if (!idle_.empty()) {
      const int connection = idle_.back();
      idle_.pop_back();
      CallNext(connection);
    } else if (calling_.size() < kMaxCalls) {
      CallNext(wire_.Connect(branch_port_));
    }
  }

  std::string Calls() {
    switch (++count_ % 1000) {
      case 100: return faulty_ ? "1" : "12";
      case 200: return faulty_ ? "122" : "12";
      case 300: return faulty_ ? "21" : "12";
      default: return "12";
    }
  }

  /// The saga of this connection goes on, or the next one begins.
  void CallNext(int connection) {
    Saga& saga = calling_[connection];
    if (saga.calls.empty()) {
      if (waiting_.empty()) {
        idle_.push_back(connection);
        return;
      }
      saga = std::move(waiting_.front());
      waiting_.pop_front();
    }
    const char step = saga.calls.front();
    saga.calls.erase(0, 1);
    std::string request = "POST /action";
    request.append(1, step).append("?branch_id=0").append(1, step);
    request.append("&gid=").append(saga.gid).append("&op=action&trans_type=saga HTTP/1.1\r\n");
    request.append("Host: 127.0.0.1\r\nContent-Length: 13\r\n\r\n{\"amount\":30}");
    wire_.Send(connection, request);
  }

  static constexpr std::string_view kSubmitted =
      "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 24\r\n\r\n"
      R"({"dtm_result":"SUCCESS"})";
  static constexpr std::string_view kSucceed =
      "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 36\r\n\r\n"
      R"({"transaction":{"status":"succeed"}})";

  const bool faulty_;
  HttpWire wire_;
  int branch_port_ = 0;
  int count_ = 0;
  std::deque<Saga> waiting_;
  std::unordered_map<int, Saga> calling_;  ///< connections to the branches
  std::vector<int> idle_;                  ///< those of them without a saga
};

}  // namespace bench
