/// The barrier on a real Redis: what it decides, its keys, and every way in which the server or the connection can fail.
#include <chrono>
#include <csignal>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/cut_at_every_byte.hpp"
#include "tests/support/redis_server.hpp"
#include <dtm/barrier/redis_barrier.hpp>

using Catch::Matchers::ContainsSubstring;

namespace {

using Kind = dtm::Result::Kind;
using dtm_test::RedisConnection;
using dtm_test::RedisServer;

/// One connection, one account "a" with 100, and nothing else in the server.
struct Kit {
  explicit Kit(int timeout_ms = 5000) : db(RedisServer::Shared().Port(), timeout_ms) {
    std::signal(SIGPIPE, SIG_IGN);
    db.Ask({"FLUSHALL"});
    db.Ask({"SET", "a", "100"});
  }
  std::string Balance() { return db.Ask({"GET", "a"}); }
  /// Besides the account.
  std::string Keys() { return std::to_string(std::stoi(db.Ask({"DBSIZE"})) - 1); }

  RedisConnection db;
};

dtm::Barrier Saga(const std::string& op) { return dtm::Barrier("saga", "g", "01", op); }
dtm::Barrier Msg() { return dtm::Barrier("msg", "g", "00", "msg"); }

/// A delivery as a request brings it.
dtm::Result Add(RedisConnection& db, dtm::Barrier barrier, int amount,
                const dtm::RedisBarrierOptions& options = {}) {
  return dtm::RedisBarrier(db.Handle(), options).CheckAdjustAmount(barrier, "a", amount);
}
dtm::Result Run(RedisConnection& db, dtm::Barrier barrier, const std::string& lua) {
  return dtm::RedisBarrier(db.Handle()).Call(barrier, {lua, {"a"}, {}});
}

/// Connections to a proxy.
struct Cut {
  using Connection = RedisConnection;
  static constexpr bool kLooksAfterwards = false;
  static int ServerPort() { return RedisServer::Shared().Port(); }
  static int Through(int port) { return port; }
};

template <typename Thrown, typename Function>
std::string TextOf(const Function& function) {
  try {
    function();
  } catch (const Thrown& error) {
    return error.what();
  }
  FAIL("it did not throw what was expected");
  return "";
}
template <typename Function>
std::string CodeOf(const Function& function) {
  try {
    function();
  } catch (const dtm::RedisError& error) {
    return error.Code();
  }
  return "none";
}

}  // namespace

TEST_CASE("redis: every op against every state of its keys") {
  const std::map<std::string, std::string> origins = {
      {"cancel", "try"}, {"compensate", "action"}, {"rollback", "action"}};
  for (const std::string op : {"action", "try", "confirm", "compensate", "cancel", "rollback"}) {
    for (const bool own : {false, true}) {
      for (const bool origin : {false, true}) {
        CAPTURE(op, own, origin);
        Kit kit;
        const auto found = origins.find(op);
        const std::string origin_key =
            "g-01-" + (found == origins.end() ? "other" : found->second) + "-01";
        if (own) kit.db.Ask({"SET", "g-01-" + op + "-01", "op"});
        if (origin) kit.db.Ask({"SET", origin_key, "op"});
        CHECK(Add(kit.db, Saga(op), -30).kind == Kind::kSuccess);
        const bool null = found != origins.end() && !origin;
        CHECK(kit.Balance() == (own || null ? "100" : "70"));
        CHECK(kit.db.Ask({"GET", "g-01-" + op + "-01"}) == "op");
        CHECK(kit.db.Ask({"GET", origin_key}) == (origin         ? "op"
                                                  : null && !own ? "rollback"
                                                                 : "nil"));
        CHECK(Add(kit.db, Saga(op), -30).kind == Kind::kSuccess);  // again
        CHECK(kit.Balance() == (own || null ? "100" : "70"));
      }
    }
  }
}

TEST_CASE("redis: an action that comes after its compensation does nothing") {
  Kit kit;
  CHECK(Add(kit.db, Saga("compensate"), 30).kind == Kind::kSuccess);
  CHECK(Add(kit.db, Saga("action"), -30).kind == Kind::kSuccess);
  CHECK(kit.Balance() == "100");
}

TEST_CASE("redis: keys, values and expiry are those of dtm's clients, byte by byte") {
  Kit kit;
  dtm::Barrier barrier("saga", "order-7", "01", "compensate");
  dtm::RedisBarrier redis(kit.db.Handle(), {std::chrono::hours(1), ""});
  CHECK(redis.CheckAdjustAmount(barrier, "a", 5).kind == Kind::kSuccess);
  CHECK(kit.db.Ask({"GET", "order-7-01-compensate-01"}) == "op");
  CHECK(kit.db.Ask({"GET", "order-7-01-action-01"}) == "rollback");
  CHECK(kit.db.Ask({"TTL", "order-7-01-compensate-01"}) == "3600");
  CHECK(kit.db.Ask({"TTL", "order-7-01-action-01"}) == "3600");
  // The second call of the same request has a number of its own.
  CHECK(redis.CheckAdjustAmount(barrier, "a", 5).kind == Kind::kSuccess);
  CHECK(kit.db.Ask({"GET", "order-7-01-compensate-02"}) == "op");
  CHECK(kit.db.Ask({"GET", "order-7-01-action-02"}) == "rollback");
  CHECK(kit.Keys() == "4");

  kit.db.Ask({"FLUSHALL"});
  kit.db.Ask({"SET", "a", "100"});
  CHECK(Add(kit.db, Saga("action"), 1, {std::chrono::hours(1), "{a}:"}).kind == Kind::kSuccess);
  CHECK(kit.db.Ask({"GET", "{a}:g-01-action-01"}) == "op");
  CHECK(kit.Keys() == "1");
}

TEST_CASE("redis: a balance that is missing or too small is a failure, and nothing is changed") {
  Kit kit;
  const dtm::Result small = Add(kit.db, Saga("action"), -101);
  CHECK(small.kind == Kind::kFailure);
  CHECK_THAT(small.text, ContainsSubstring("'a'"));
  CHECK(kit.Balance() == "100");
  CHECK(kit.Keys() == "0");
  CHECK(Add(kit.db, Saga("action"), -100).kind == Kind::kSuccess);
  // A repeat is one, whatever the balance is by now.
  CHECK(Add(kit.db, Saga("action"), -100).kind == Kind::kSuccess);
  CHECK(kit.Balance() == "0");
  kit.db.Ask({"DEL", "a"});
  CHECK(Add(kit.db, Saga("confirm"), 1).kind == Kind::kFailure);
}

TEST_CASE("redis: amounts up to 2^53 are exact, more is refused") {
  Kit kit;
  kit.db.Ask({"SET", "a", "9007199254740991"});
  dtm::RedisBarrier redis(kit.db.Handle());
  dtm::Barrier first = Saga("action");
  CHECK(redis.CheckAdjustAmount(first, "a", -(std::int64_t{1} << 53)).kind == Kind::kFailure);
  dtm::Barrier second = Saga("action");
  CHECK(redis.CheckAdjustAmount(second, "a", -(std::int64_t{1} << 53) + 1).kind == Kind::kSuccess);
  CHECK(kit.Balance() == "0");
  dtm::Barrier third = Saga("try");
  CHECK_THROWS_AS(redis.CheckAdjustAmount(third, "a", (std::int64_t{1} << 53) + 1),
                  dtm::LogicError);
}

TEST_CASE("redis: a script of the program's sees its own keys and arguments only") {
  Kit kit;
  dtm::RedisBarrier redis(kit.db.Handle());
  dtm::Barrier barrier = Saga("compensate");
  kit.db.Ask({"SET", "g-01-action-01", "op"});
  CHECK(redis
            .Call(barrier, {"redis.call('SET', KEYS[1], #KEYS .. ARGV[1] .. #ARGV)\n"
                            "redis.call('SET', KEYS[2], ARGV[2]) -- no line after this",
                            {"a", "b"},
                            {"x", std::string("y\0z", 3)}})
            .kind == Kind::kSuccess);
  CHECK(kit.db.Ask({"GET", "a"}) == "2x2");
  CHECK(kit.db.Ask({"GET", "b"}) == std::string("y\0z", 3));
}

TEST_CASE("redis: a script that returns FAILURE may run again") {
  for (const std::string lua : {"return 'FAILURE'", "return redis.status_reply('FAILURE')"}) {
    Kit kit;
    CHECK(Run(kit.db, Saga("action"), lua).kind == Kind::kFailure);
    CHECK(kit.Keys() == "0");
    CHECK(Run(kit.db, Saga("action"), "redis.call('INCR', KEYS[1])").kind == Kind::kSuccess);
    CHECK(kit.Balance() == "101");
  }
}

TEST_CASE("redis: any other value of the script is success") {
  for (const std::string lua : {"", "return nil", "return false", "return 0", "return {}",
                                "return {1, 'FAILURE'}", "return 'FAILURES'"}) {
    CAPTURE(lua);
    Kit kit;
    CHECK(Run(kit.db, Saga("action"), lua).kind == Kind::kSuccess);
    CHECK(kit.Keys() == "1");
  }
}

TEST_CASE("redis: an error of the script is an error, never a failure, and it may run again") {
  for (const std::string lua : {"error('broken')", "return redis.error_reply('ERR broken')",
                                "redis.call('LPUSH', KEYS[1], 1)", "return nothing.at_all"}) {
    CAPTURE(lua);
    Kit kit;
    const std::string text =
        TextOf<dtm::RedisError>([&] { (void)Run(kit.db, Saga("action"), lua); });
    CHECK_THAT(text, ContainsSubstring("saga gid 'g', branch 01, op action"));
    CHECK_THAT(text, ContainsSubstring("its script failed"));
    CHECK(kit.Keys() == "0");
  }
  Kit kit;
  CHECK(CodeOf([&] { (void)Run(kit.db, Saga("action"), "redis.call('LPUSH', KEYS[1], 1)"); }) ==
        "WRONGTYPE");
  const std::string text =
      TextOf<dtm::RedisError>([&] { (void)Run(kit.db, Saga("action"), "this is not Lua"); });
  CHECK_THAT(text, ContainsSubstring("compiling"));
  CHECK_THAT(text, ContainsSubstring("nothing was stored"));
}

TEST_CASE("redis: something else at the key of the barrier or of the account") {
  Kit kit;
  kit.db.Ask({"LPUSH", "g-01-action-01", "x"});
  CHECK_THAT(TextOf<dtm::RedisError>([&] { (void)Add(kit.db, Saga("action"), 1); }),
             ContainsSubstring("Something else uses the barrier's key"));
  for (const std::string value : {"text", "1.5", "9223372036854775807"}) {
    kit.db.Ask({"SET", "a", value});
    CHECK(CodeOf([&] { (void)Add(kit.db, Saga("try"), 1); }) != "none");
    CHECK(kit.Balance() == value);
    CHECK(kit.Keys() == "1");
  }
}

TEST_CASE("redis: a barrier whose call did not succeed has no next one") {
  Kit kit;
  dtm::RedisBarrier redis(kit.db.Handle());
  dtm::Barrier barrier = Saga("action");
  CHECK(redis.CheckAdjustAmount(barrier, "a", -101).kind == Kind::kFailure);
  CHECK_THROWS_AS(redis.CheckAdjustAmount(barrier, "a", 1), dtm::LogicError);
  dtm::Barrier other = Saga("action");
  CHECK_THROWS_AS(redis.Call(other, {"error('x')", {}, {}}), dtm::RedisError);
  CHECK_THROWS_AS(redis.Call(other, {"", {}, {}}), dtm::LogicError);
}

TEST_CASE("redis: the local step of a message, and the question for it") {
  Kit kit;
  dtm::RedisBarrier redis(kit.db.Handle());
  CHECK(Add(kit.db, Msg(), -30).kind == Kind::kSuccess);
  CHECK(kit.db.Ask({"GET", "g-00-msg-01"}) == "op");
  CHECK(redis.QueryPrepared(Msg()).kind == Kind::kSuccess);
  CHECK_THAT(TextOf<dtm::DuplicatedError>([&] { (void)Add(kit.db, Msg(), -30); }),
             ContainsSubstring("DUPLICATED"));
  CHECK(kit.Balance() == "70");

  kit.db.Ask({"FLUSHALL"});
  kit.db.Ask({"SET", "a", "100"});
  CHECK(redis.QueryPrepared(Msg()).kind == Kind::kFailure);
  CHECK(kit.db.Ask({"GET", "g-00-msg-01"}) == "rollback");
  CHECK(kit.db.Ask({"TTL", "g-00-msg-01"}) == "604800");
  CHECK(redis.QueryPrepared(Msg()).kind == Kind::kFailure);
  CHECK_THROWS_AS(Add(kit.db, Msg(), -30), dtm::DuplicatedError);
  CHECK(kit.Balance() == "100");
  CHECK_THROWS_AS(redis.QueryPrepared(Saga("action")), dtm::LogicError);
}

TEST_CASE("redis: misuse is refused before anything is sent") {
  Kit kit;
  CHECK_THROWS_AS(dtm::RedisBarrier(nullptr), dtm::LogicError);
  CHECK_THROWS_AS(dtm::RedisBarrier(kit.db.Handle(), {std::chrono::seconds(0), ""}),
                  dtm::LogicError);
  CHECK_THROWS_AS(Add(kit.db, dtm::Barrier("xa", "g", "01", "action"), 1), dtm::LogicError);
  CHECK_THROWS_AS(Add(kit.db, dtm::Barrier("saga", "g", "01-02", "action"), 1), dtm::Error);
  CHECK(kit.Keys() == "0");
}

TEST_CASE("redis: a connection in MULTI, or with replies that nobody read") {
  Kit kit;
  kit.db.Ask({"MULTI"});
  CHECK_THAT(TextOf<dtm::LogicError>([&] { (void)Add(kit.db, Saga("action"), 1); }),
             ContainsSubstring("DISCARD"));
  kit.db.Ask({"DISCARD"});
  CHECK(kit.Balance() == "100");
  redisAppendCommand(kit.db.Handle(), "GET a");
  CHECK_THROWS_AS(Add(kit.db, Saga("action"), 1), dtm::InDoubtError);
  RedisConnection other(RedisServer::Shared().Port());
  CHECK(Add(other, Saga("action"), 1).kind == Kind::kSuccess);
  CHECK(other.Ask({"GET", "a"}) == "101");
}

TEST_CASE("redis: the script is sent again after SCRIPT FLUSH") {
  Kit kit;
  dtm::RedisBarrier redis(kit.db.Handle());
  for (const std::string op : {"action", "try", "confirm"}) {
    dtm::Barrier barrier = Saga(op);
    CHECK(redis.CheckAdjustAmount(barrier, "a", 1).kind == Kind::kSuccess);
    kit.db.Ask({"SCRIPT", "FLUSH"});
  }
  CHECK(kit.Balance() == "103");
}

TEST_CASE("redis: without a password, without the right") {
  Kit kit;
  kit.db.Ask({"CONFIG", "SET", "requirepass", "secret"});
  RedisConnection stranger(RedisServer::Shared().Port());
  const std::string text = TextOf<dtm::RedisError>([&] { (void)Add(stranger, Saga("action"), 1); });
  stranger.Ask({"AUTH", "secret"});
  kit.db.Ask({"CONFIG", "SET", "requirepass", ""});
  CHECK_THAT(text, ContainsSubstring("Send AUTH"));
  kit.db.Ask({"ACL", "SETUSER", "reader", "on", "nopass", "~*", "+get"});
  stranger.Ask({"AUTH", "reader", "x"});
  CHECK(CodeOf([&] { (void)Add(stranger, Saga("action"), 1); }) == "NOPERM");
  kit.db.Ask({"ACL", "DELUSER", "reader"});
  CHECK(kit.Keys() == "0");
}

TEST_CASE("redis: a replica and a full server change nothing, and the same call works later") {
  Kit kit;
  dtm::RedisBarrier redis(kit.db.Handle());
  dtm::Barrier warm = Saga("confirm");
  CHECK(redis.CheckAdjustAmount(warm, "a", 0).kind == Kind::kSuccess);  // the script is known
  const auto call = [&] {
    dtm::Barrier barrier = Saga("action");
    (void)redis.CheckAdjustAmount(barrier, "a", 1);
  };
  kit.db.Ask({"CONFIG", "SET", "maxmemory", "1"});
  CHECK(CodeOf(call) == "OOM");
  kit.db.Ask({"CONFIG", "SET", "maxmemory", "0"});
  kit.db.Ask({"CONFIG", "SET", "min-replicas-to-write", "1"});
  CHECK(CodeOf(call) == "NOREPLICAS");
  kit.db.Ask({"CONFIG", "SET", "min-replicas-to-write", "0"});
  kit.db.Ask({"REPLICAOF", "127.0.0.1", "1"});
  CHECK(CodeOf(call) == "READONLY");
  kit.db.Ask({"CONFIG", "SET", "replica-serve-stale-data", "no"});
  CHECK(CodeOf(call) == "MASTERDOWN");
  kit.db.Ask({"CONFIG", "SET", "replica-serve-stale-data", "yes"});
  kit.db.Ask({"REPLICAOF", "NO", "ONE"});
  CHECK(kit.Keys() == "1");
  CHECK(kit.Balance() == "100");
  call();
  CHECK(kit.Balance() == "101");
}

TEST_CASE("redis: a server that is busy with a script of somebody else") {
  Kit kit;
  kit.db.Ask({"CONFIG", "SET", "busy-reply-threshold", "10"});
  RedisConnection busy(RedisServer::Shared().Port());
  redisAppendCommand(busy.Handle(), "EVAL %s 0", "while true do end");
  int done = 0;
  while (done == 0) redisBufferWrite(busy.Handle(), &done);
  while (kit.db.Ask({"PING"}) == "PONG") {
  }
  CHECK(CodeOf([&] { (void)Add(kit.db, Saga("action"), 1); }) == "BUSY");
  kit.db.Ask({"SCRIPT", "KILL"});
  while (kit.db.Ask({"PING"}) != "PONG") {  // it ends a moment later
  }
  kit.db.Ask({"CONFIG", "SET", "busy-reply-threshold", "5000"});
  CHECK(Add(kit.db, Saga("action"), 1).kind == Kind::kSuccess);
  CHECK(kit.Balance() == "101");
}

TEST_CASE(
    "redis: the server is killed; what it had is there, and the same call settles what was lost") {
  Kit kit;
  CHECK(Add(kit.db, Saga("action"), -30).kind == Kind::kSuccess);
  RedisServer::Shared().Kill();
  dtm::RedisBarrier redis(kit.db.Handle());
  CHECK_THROWS_AS(redis.QueryPrepared(Msg()), dtm::StoreError);
  CHECK_THAT(TextOf<dtm::RedisError>([&] { (void)redis.QueryPrepared(Msg()); }),
             ContainsSubstring("nothing was sent"));
  RedisServer::Shared().Start();
  RedisConnection again(RedisServer::Shared().Port());
  CHECK(Add(again, Saga("action"), -30).kind == Kind::kSuccess);
  CHECK(again.Ask({"GET", "a"}) == "70");
}

TEST_CASE("redis: the connection breaks at any byte of a call, and the same call settles it") {
  Kit kit;
  kit.db.Ask({"SET", "a", "10000"});
  int effects = 0;
  const auto gid = [](int number, const std::string& op) {
    return dtm::Barrier(op == "msg" ? "msg" : "saga", std::to_string(number),
                        op == "msg" ? "00" : "01", op);
  };
  SECTION("an action, with the script that is sent first") {
    dtm_test::CutAtEveryByte<Cut>(
        [&](RedisConnection& db, int number, const auto& armed) {
          armed();
          const dtm::Result said = Add(db, gid(number, "action"), -1);
          CHECK(said.kind == Kind::kSuccess);
        },
        [&](int number, dtm_test::Said said) {
          if (said == dtm_test::Said::kNothingStored) {
            CHECK(kit.Balance() == std::to_string(10000 - effects));
          }
          ++effects;
          for (int repetition = 0; repetition < 2; ++repetition) {
            CHECK(Add(kit.db, gid(number, "action"), -1).kind == Kind::kSuccess);
            CHECK(kit.Balance() == std::to_string(10000 - effects));
          }
        },
        10000);
  }
  SECTION("a compensation of what ran") {
    dtm_test::CutAtEveryByte<Cut>(
        [&](RedisConnection& db, int number, const auto& armed) {
          CHECK(Add(kit.db, gid(number, "action"), -1).kind == Kind::kSuccess);
          armed();
          const dtm::Result said = Add(db, gid(number, "compensate"), 1);
          CHECK(said.kind == Kind::kSuccess);
        },
        [&](int number, dtm_test::Said) {
          CHECK(Add(kit.db, gid(number, "compensate"), 1).kind == Kind::kSuccess);
          CHECK(kit.Balance() == "10000");
        },
        400);
  }
  SECTION("the question for a local step, which forbids it") {
    dtm_test::CutAtEveryByte<Cut>(
        [&](RedisConnection& db, int number, const auto& armed) {
          armed();
          const dtm::Result said = dtm::RedisBarrier(db.Handle()).QueryPrepared(gid(number, "msg"));
          CHECK(said.kind == Kind::kFailure);
        },
        [&](int number, dtm_test::Said) {
          CHECK(dtm::RedisBarrier(kit.db.Handle()).QueryPrepared(gid(number, "msg")).kind ==
                Kind::kFailure);
          CHECK_THROWS_AS(Add(kit.db, gid(number, "msg"), -1), dtm::DuplicatedError);
        },
        400);
  }
}
