/// A Redis server for the tests of one process, and what tests do with it.
/// Needs: hiredis, tools/with_redis.sh. Threads: by one thread at a time; connections as hiredis has it.
#pragma once

#include <csignal>
#include <cstdlib>
#include <hiredis/hiredis.h>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/support/server_process.hpp"

namespace dtm_test {

/// A connection that a test owns.
class RedisConnection {
 public:
  explicit RedisConnection(int port, int timeout_ms = 5000) : context_(nullptr, &redisFree) {
    const timeval limit{timeout_ms / 1000, timeout_ms % 1000 * 1000};
    context_.reset(redisConnectWithTimeout("127.0.0.1", port, limit));
    if (context_ == nullptr) throw std::bad_alloc();
    if (context_->err == 0) redisSetTimeout(context_.get(), limit);
  }
  redisContext* Handle() { return context_.get(); }

  /// The reply as text: "nil", an integer, an error beginning with '-', the elements of an array with blanks between them.
  std::string Ask(const std::vector<std::string>& words) {
    std::vector<const char*> data;
    std::vector<std::size_t> sizes;
    for (const std::string& word : words) {
      data.push_back(word.data());
      sizes.push_back(word.size());
    }
    auto* const reply = static_cast<redisReply*>(redisCommandArgv(
        context_.get(), static_cast<int>(words.size()), data.data(), sizes.data()));
    if (reply == nullptr) throw std::runtime_error(words.front() + ": " + context_->errstr);
    const std::string text = Text(*reply);
    freeReplyObject(reply);
    return text;
  }

 private:
  static std::string Text(const redisReply& reply) {
    switch (reply.type) {
      case REDIS_REPLY_NIL: return "nil";
      case REDIS_REPLY_INTEGER: return std::to_string(reply.integer);
      case REDIS_REPLY_ERROR: return '-' + std::string(reply.str, reply.len);
      case REDIS_REPLY_ARRAY: {
        std::string all;
        for (std::size_t i = 0; i < reply.elements; ++i) {
          all += (i == 0 ? "" : " ") + Text(*reply.element[i]);
        }
        return all;
      }
      default: return std::string(reply.str, reply.len);
    }
  }

  std::unique_ptr<redisContext, decltype(&redisFree)> context_;
};

class RedisServer {
 public:
  /// One for each test process, started when it is first asked for.
  static RedisServer& Shared() {
    static RedisServer server;
    return server;
  }
  int Port() const { return std::atoi(process_.Get("DTM_REDIS").c_str() + 10); }  // 127.0.0.1:port

  void Kill() { server_.Kill(Restarts::ReadPid(process_.Get("DTM_REDIS_PID"))); }
  /// After Kill; returns when it has loaded what it had.
  void Start() {
    server_.Start(process_.Get("DTM_REDIS_START"), [this] {
      try {
        RedisConnection probe(Port());
        return probe.Handle()->err == 0 && probe.Ask({"PING"}) == "PONG";
      } catch (const std::runtime_error&) {  // the killed one had accepted it
        return false;
      }
    });
  }

 private:
  RedisServer() : process_("with_redis.sh", {"DTM_REDIS", "DTM_REDIS_PID", "DTM_REDIS_START"}) {}

  ServerProcess process_;
  Restarts server_{SIGKILL};
};

}  // namespace dtm_test
