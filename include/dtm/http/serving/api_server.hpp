/// The server of the API: its connections, what they ask the coordinator, and the workers for what may block.
/// Needs: POSIX. Threads: made, started and stopped by one; everything else is on the thread of the loop.
/// Document: docs/http_api.md, "Security".
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <dtm/base/thread_pool.hpp>
#include <dtm/coordinator/coordinator.hpp>
#include <dtm/http/api/api.hpp>
#include <dtm/http/api/replies.hpp>
#include <dtm/http/serving/reply_queue.hpp>
#include <dtm/http/serving/server_connection.hpp>
#include <dtm/http/transport/held_bytes.hpp>
#include <dtm/http/transport/io_loop.hpp>
#include <dtm/http/transport/listener.hpp>

namespace dtm {
inline namespace v1 {
namespace serving {

class ApiServer final : transport::Listener::Receiver, RequestHandler, transport::TurnEnd {
 public:
  /// The loop outlives this, as `tm` and `api` do. It runs on a thread of its own, or on the one that starts and stops this.
  ApiServer(transport::IoLoop& loop, Coordinator& tm, Api& api, const ServingLimits& limits)
      : loop_(loop),
        tm_(tm),
        api_(api),
        limits_(limits),
        held_(limits.bytes),
        replies_(std::make_shared<ReplyQueue>(loop)) {
    taken_.reserve(64);
    spare_.reserve(kMaxSpare);
  }
  // Inside Poll of its own loop, which is a mistake, it ends the program.
  ~ApiServer() { Stop(); }  // NOLINT(bugprone-exception-escape)
  ApiServer(const ApiServer&) = delete;
  ApiServer& operator=(const ApiServer&) = delete;

  /// Once. Returns the port. @throws Error  it cannot listen there.
  int Start(const std::string& host, int port) {
    transport::ListeningSocket listening = transport::ListenOn(host, port);
    auto listener = std::make_unique<transport::Listener>(
        loop_, static_cast<transport::Listener::Receiver&>(*this), std::move(listening.socket));
    bool open = false;
    loop_.Do([&] {
      loop_.AtTurnEnds(*this);
      open = listener->Open();
    });
    started_ = true;
    listener_ = std::move(listener);
    if (open) return listening.port;
    Stop();
    throw Error("cannot listen on " + host + ": the system watches no more sockets");
  }

  /// Whoever waits for a reply gets it, for at most kLongestStop; what workers do is waited for.
  void Stop() {
    if (!started_) return;
    started_ = false;
    loop_.Do([this] {
      if (listener_ != nullptr) {
        listener_->Close();
        loop_.Dispose(std::move(listener_));
      }
      ForEach([](ServerConnection& connection) { connection.Finish(); });
    });
    workers_.Stop();
    AwaitReplies();
    loop_.Do([this] {
      ForEach([this](ServerConnection& connection) {
        connection.Close();
        Drop(connection);
      });
      loop_.NotAtTurnEnds(*this);
    });
    loop_.Do([] {});  // what was disposed of is destroyed at the end of the turn
    replies_->Close();
  }

 private:
  void AwaitReplies() {
    const SteadyTime until = transport::IoLoop::Clock::now() + kLongestStop;
    try {  // nobody else moves what the program polls
      while (!loop_.HasThread() && open_ > 0 && transport::IoLoop::Clock::now() < until) {
        if (!tm_.HasThread()) (void)tm_.Poll();
        loop_.Poll(std::chrono::milliseconds(1));
      }
    } catch (const std::exception&) {
      return;  // a coordinator that cannot go on owes no reply; Stop closes the sockets
    }
    std::unique_lock<std::mutex> lock(mutex_);
    (void)ended_.wait_until(lock, until, [this] { return open_ == 0; });
  }

  static constexpr std::chrono::seconds kLongestStop{8};
  static constexpr std::size_t kMaxWorkers = 64;
  static constexpr std::size_t kMaxTurnedAway = 256;
  static constexpr std::size_t kMaxSpare = 8;
  static constexpr std::size_t kMaxSpareBytes = std::size_t{16} * 1024;

  // What the listener and the connections want, on the loop.

  void OnConnection(transport::Socket socket) override {
    const bool full = open_ - turned_away_ >= limits_.connections;
    if (full && turned_away_ >= kMaxTurnedAway) return;
    if (free_.empty()) {
      connections_.reserve(connections_.size() + 1);
      free_.reserve(connections_.capacity());
      connections_.emplace_back();
      free_.push_back(connections_.size() - 1);
    }
    const std::size_t place = free_.back();
    connections_[place] =
        std::make_unique<ServerConnection>(loop_, static_cast<RequestHandler&>(*this));
    free_.pop_back();
    ServerConnection& connection = *connections_[place];
    connection.place = place;
    Count(1);
    if (full) ++turned_away_;
    bool served = false;
    try {
      served = full ? connection.TurnAway(std::move(socket)) : connection.Serve(std::move(socket));
    } catch (const std::bad_alloc&) {
    }
    if (!served) {
      connection.Close();
      Drop(connection);
    }
  }

  const ServingLimits& Limits() const override { return limits_; }
  transport::HeldBytes& Held() override { return held_; }
  std::optional<ApiReply> Refusal(const ApiRequest& head) override { return api_.Refusal(head); }

  std::unique_ptr<IncomingRequest> NewRequest() override {
    if (spare_.empty()) return std::make_unique<IncomingRequest>();
    std::unique_ptr<IncomingRequest> request = std::move(spare_.back());
    spare_.pop_back();
    return request;
  }
  void UseAgain(std::unique_ptr<IncomingRequest> request) override {
    if (spare_.size() == kMaxSpare || request->Bytes() > kMaxSpareBytes) return;
    request->Reset();
    spare_.push_back(std::move(request));
  }

  std::size_t Handle(ServerConnection& connection, ApiRequest& request) override {
    connection.asked = ++last_number_;
    const Ticket ticket{connection.place, connection.asked};
    bool expected = false;
    try {
      replies_->Expect();
      expected = true;
      const ApiDone done = [replies = replies_, ticket](ApiReply reply) {
        replies->Add(ticket, std::move(reply));
      };
      // A coordinator without a thread is driven by those who wait for it, or by whoever polls this loop as well.
      if (!Api::MayBlock(request) && (tm_.HasThread() || !loop_.HasThread())) {
        if (!in_burst_) tm_.BeginBurst();
        in_burst_ = true;
        api_.Handle(request, done);
        return 0;  // what the coordinator keeps of it is counted there
      }
      const std::size_t bytes = IncomingRequest::BytesOf(request);
      const auto shared = std::make_shared<ApiRequest>(std::move(request));
      if (workers_.Run([this, shared, ticket] { Work(*shared, ticket); })) return bytes;
    } catch (const std::bad_alloc&) {
    }
    ApiReply busy;  // without a text, for want of memory
    busy.status = 503;
    busy.retry_after = 1;
    if (expected) {
      replies_->Add(ticket, std::move(busy));
    } else {
      connection.Close();
      Drop(connection);
    }
    return 0;
  }

  void Work(const ApiRequest& request, Ticket ticket) {
    ApiReply reply;
    reply.status = 500;
    try {
      reply = api_.Handle(request);
    } catch (const std::bad_alloc&) {  // so it has no text
    }
    replies_->Add(ticket, std::move(reply));
  }

  void Drop(ServerConnection& connection) override {
    const std::size_t place = connection.place;
    if (connection.TurnedAway()) --turned_away_;
    loop_.Dispose(std::move(connections_[place]));
    free_.push_back(place);
    Count(-1);
  }

  void OnTurnEnd() override {
    try {
      if (replies_->Take(taken_)) {
        for (const ReplyQueue::Arrived& one : taken_) Reply(one);
        taken_.clear();
      }
    } catch (const std::bad_alloc&) {
      loop_.Wake();  // to try again
    }
    if (in_burst_) tm_.EndBurst();
    in_burst_ = false;
  }

  void Reply(const ReplyQueue::Arrived& arrived) {
    ServerConnection* const connection = connections_[arrived.ticket.place].get();
    if (connection == nullptr || connection->asked != arrived.ticket.number) return;
    connection->asked = 0;
    try {
      ApiReply full;  // without a text
      full.status = 503;
      full.retry_after = 1;
      const std::size_t bytes = arrived.reply.body.size();
      const bool fits = bytes <= transport::HeldBytes::kSmall || held_.Allow(bytes);
      connection->Reply(fits ? arrived.reply : full);
    } catch (const std::bad_alloc&) {
      connection->Close();
      Drop(*connection);
    }
  }

  template <typename Function>
  void ForEach(const Function& function) {
    for (std::size_t i = 0; i < connections_.size(); ++i) {
      if (connections_[i] != nullptr) function(*connections_[i]);
    }
  }

  void Count(int change) {
    const std::lock_guard<std::mutex> lock(mutex_);
    open_ += static_cast<std::size_t>(change);
    if (open_ == 0) ended_.notify_all();
  }

  transport::IoLoop& loop_;
  Coordinator& tm_;
  Api& api_;
  const ServingLimits limits_;
  transport::HeldBytes held_;
  const std::shared_ptr<ReplyQueue> replies_;
  std::unique_ptr<transport::Listener> listener_;
  std::vector<std::unique_ptr<ServerConnection>> connections_;
  std::vector<std::size_t> free_;  ///< places in it
  std::uint64_t last_number_ = 0;
  std::size_t turned_away_ = 0;
  std::vector<ReplyQueue::Arrived> taken_;
  std::vector<std::unique_ptr<IncomingRequest>> spare_;
  bool in_burst_ = false;
  bool started_ = false;
  ThreadPool workers_{kMaxWorkers, SIZE_MAX / 2};
  std::mutex mutex_;
  std::condition_variable ended_;
  std::size_t open_ = 0;  ///< connections
};

}  // namespace serving
}  // namespace v1
}  // namespace dtm
