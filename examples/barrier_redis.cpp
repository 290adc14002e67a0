/// Branches whose data are in Redis: each call takes effect once, even if its reply is lost and it comes again, and undoing
/// what was never done does nothing. An amount is adjusted by CheckAdjustAmount; anything else is a Lua script.
/// Needs: Redis (DTM_REDIS is host:port), hiredis, SQLite. Start it with: examples/run.sh barrier_redis
/// Fails if the outcome is not what it says.
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <hiredis/hiredis.h>
#include <memory>
#include <stdexcept>
#include <string>

#include "settings.hpp"
#include <dtm/barrier/redis_barrier.hpp>
#include <dtm/dtm.hpp>

struct Transfer {
  int amount;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Transfer, amount)

/// One for each thread of the coordinator; a new one after the connection broke. Yours come from a pool.
redisContext* ThisThreads() {
  thread_local std::unique_ptr<redisContext, decltype(&redisFree)> connection(nullptr, redisFree);
  if (connection && connection->err == 0) return connection.get();
  const std::string address = std::getenv("DTM_REDIS");
  const std::size_t colon = address.rfind(':');
  const timeval limit{2, 0};  // less than the coordinator waits for a reply
  const unsigned port =
      colon == std::string::npos ? 6379 : Port("DTM_REDIS", address.substr(colon + 1));
  connection.reset(
      redisConnectWithTimeout(address.substr(0, colon).c_str(), static_cast<int>(port), limit));
  if (!connection || connection->err != 0) {
    throw std::runtime_error("no connection to Redis at " + address + ": " +
                             (connection ? connection->errstr : "out of memory"));
  }
  redisSetTimeout(connection.get(), limit);
  return connection.get();
}

dtm::Result Book(const dtm::BranchInfo& who, const std::string& key, int amount) {
  dtm::RedisBarrier barriers(ThisThreads());
  dtm::Barrier barrier = dtm::BarrierFrom(who);  // over HTTP: BarrierFromRequest(request)
  return barriers.CheckAdjustAmount(barrier, key, amount);  // Failure: there is not enough
}

/// What does not fit CheckAdjustAmount: a script that checks first and writes then.
dtm::Result TakeSeat(const dtm::BranchInfo& who, const std::string& seat) {
  dtm::RedisBarrier barriers(ThisThreads());
  dtm::Barrier barrier = dtm::BarrierFrom(who);
  dtm::Result result = barriers.Call(
      barrier, {"if redis.call('SADD', KEYS[1], ARGV[1]) == 0 then return 'FAILURE' end",
                {"dtm_example:taken"},
                {seat}});
  if (result.kind == dtm::Result::Kind::kFailure) result.text = "seat " + seat + " is taken";
  return result;
}

std::string Redis(const char* command) {
  redisContext* const connection = ThisThreads();
  const std::unique_ptr<void, decltype(&freeReplyObject)> reply(redisCommand(connection, command),
                                                                freeReplyObject);
  const auto* const text = static_cast<const redisReply*>(reply.get());
  if (text == nullptr) throw std::runtime_error(std::string("Redis: ") + connection->errstr);
  if (text->type == REDIS_REPLY_ERROR) throw std::runtime_error(text->str);
  return text->str != nullptr ? text->str : std::to_string(text->integer);
}
std::string State() {
  return "alice has " + Redis("GET dtm_example:alice") +
         ", taken seats: " + Redis("SCARD dtm_example:taken");
}

void Run() {
  using Who = dtm::BranchInfo;
  std::signal(SIGPIPE, SIG_IGN);  // hiredis would end the program when Redis is gone
  Redis("DEL dtm_example:taken");
  Redis("SET dtm_example:alice 100");

  std::filesystem::remove_all("barrier_redis.files");  // what an earlier run left
  std::filesystem::create_directory("barrier_redis.files");
  dtm::Coordinator tm("barrier_redis.files/coordinator.db");
  std::atomic<int> calls_of_pay{0};
  auto pay = tm.Register<Transfer>("Pay", [&](const Transfer& t, const Who& who) {
    const dtm::Result result = Book(who, "dtm_example:alice", -t.amount);
    if (++calls_of_pay == 1) throw std::runtime_error("the reply is lost");  // alice has paid
    return result;
  });
  auto pay_back = tm.Register<Transfer>("PayBack", [](const Transfer& t, const Who& who) {
    return Book(who, "dtm_example:alice", t.amount);
  });
  auto seat = tm.Register<std::string>(
      "Seat", [](const std::string& which, const Who& who) { return TakeSeat(who, which); });
  tm.Start();
  std::printf("%s, in Redis\n", State().c_str());

  for (const int amount : {30, 31, 1000}) {  // the seat is free; taken; too expensive
    const dtm::TransResult saga = dtm::NewSaga(tm, dtm::MustGenGid(tm))
                                      .Add(pay, pay_back, Transfer{amount})
                                      .Add(seat, dtm::kNoBranch, std::string("12A"))
                                      .SetRetryInterval(std::chrono::seconds(1))
                                      .SubmitAndWait(std::chrono::seconds(30));
    std::printf("seat 12A for %d: %s%s%s; %s\n", amount, dtm::Name(saga.status),
                saga.Failed() ? " because " : "", saga.reason.c_str(), State().c_str());
  }
  std::printf("  for the first seat, Pay was called twice, since its reply was lost\n");
  if (calls_of_pay != 4 || State() != "alice has 70, taken seats: 1") {
    throw std::runtime_error("this is not what should have come of it");
  }
}

int main() {
  if (std::getenv("DTM_REDIS") == nullptr) {
    std::fputs(
        "Set DTM_REDIS to host:port, or start this with examples/run.sh barrier_redis, which "
        "starts a Redis for it.\n",
        stderr);
    return 2;
  }
  try {
    Run();
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "barrier_redis: %s\n", error.what());
    return 1;
  }
}
