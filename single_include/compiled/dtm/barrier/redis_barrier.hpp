/// Generated from include/dtm/barrier/redis_barrier.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../dtm.hpp"

// ---- dtm/barrier/redis_barrier.hpp -------------------------------------------------------------

/// The barrier of a branch service whose data are in Redis: each call takes effect once, in one script with the key that
/// records it.
/// Needs: hiredis 0.14 or newer; Redis 2.6.12 or newer, or what speaks its protocol and Lua. Threads: a barrier by one
/// thread at a time, as its connection.
/// Protocol: §11.6 (Redis barrier), §11.3 (the local step of a message).

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <hiredis/hiredis.h>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dtm {
inline namespace v1 {

/// Redis refused a command, or the connection was unusable before it was sent.
class RedisError : public StoreError {
 public:
  /// `code`: the first word of Redis's error ("READONLY", "WRONGTYPE", "ERR"), or "" if there is no connection.
  RedisError(const std::string& text, std::string code)
      : StoreError(text), code_(std::move(code)) {}
  /// The first word of the server's error ("NOSCRIPT"), or empty.
  const std::string& Code() const { return code_; }

 private:
  std::string code_;
};

/// What a branch does in Redis: the body of a Lua function that has `keys` as KEYS and `args` as ARGV, both from 1. It
/// checks first and writes then, since Redis does not undo what a script wrote before an error. It returns 'FAILURE' for
/// a definite business failure; anything else but an error is success.
struct RedisScript {
  std::string lua;  ///< a constant: Redis keeps every different one; values go into args
  std::vector<std::string> keys;  ///< all that it touches, in a cluster of the slot of the prefix
  std::vector<std::string> args{};
};

/// What all programs that share a barrier agree on.
struct RedisBarrierOptions {
  /// How long a call is remembered, at least 1 s. Longer than any transaction lives, retries and outages included: a call that is
  /// repeated later takes effect again.
  std::chrono::seconds expire = std::chrono::hours(24 * 7);
  /// Before the barrier's keys. In a Redis Cluster a hash tag ("{account}") which the business keys have as well. dtm's clients
  /// in other languages have none.
  std::string prefix{};
};

namespace redis {
/// What to do about an error of Redis, as the end of a sentence. The barrier's script writes its key first, so an error of
/// its own comes before any effect.
inline const char* Advice(std::string_view code) {
  static constexpr std::pair<std::string_view, const char*> kAdvice[] = {
      {"READONLY", ". This is a replica: connect to its master"},
      {"MOVED", ". Connect to the node that it names"},
      {"NOAUTH", ". Send AUTH before the connection is used"},
      {"NOPERM",
       ". Grant the user EVAL, EVALSHA, SCRIPT LOAD, GET, SET, DEL and what the script uses"},
      {"CROSSSLOT",
       ". In a cluster the barrier takes a prefix with the hash tag of the business keys"},
      {"WRONGTYPE", ". Something else uses the barrier's key"}};
  for (const auto& [known, advice] : kAdvice) {
    if (code == known) return advice;
  }
  return code == "ERR" ? "" : ", the call may come again";
}
}  // namespace redis

/// The barrier as one connection of hiredis sees it. Keys and values are those of dtm's Go and C# clients, which may share them.
/// The connection is the program's: give it a timeout (redisSetTimeout) that is shorter than the coordinator's request
/// timeout, and ignore SIGPIPE, which hiredis does not. After an InDoubtError it cannot be used any more: redisReconnect.
///
/// A key and its effect survive a power loss, or the loss of a master, together or not at all, and only as far as Redis is set
/// up for it (appendfsync always, WAIT). Its maxmemory-policy has to be noeviction: a key that is evicted is a call that
/// takes effect again.
class RedisBarrier {
 public:
  /// Does not ask the server; the connection must outlive it.
  /// @throws LogicError  the connection is null, or `expire` is less than a second.
  explicit RedisBarrier(redisContext* connection, RedisBarrierOptions options = {})
      : connection_(connection), options_(std::move(options)) {
    if (connection_ == nullptr) throw LogicError("the connection of a RedisBarrier is null");
    if (options_.expire < std::chrono::seconds(1)) {
      throw LogicError("a RedisBarrier has to remember calls for at least a second; expire is " +
                       std::to_string(options_.expire.count()) + " s");
    }
  }
  RedisBarrier(const RedisBarrier&) = delete;
  RedisBarrier& operator=(const RedisBarrier&) = delete;

  /// Adds `amount` (at most 2^53 up or down) to the integer at `key`, once for this call of this barrier. Failure, and nothing is
  /// changed, if there is no such key or the sum would be negative.
  /// @throws as Call; RedisError also if there is something else than an integer at `key`.
  [[nodiscard]] Result CheckAdjustAmount(Barrier& barrier, const std::string& key,
                                         std::int64_t amount) {
    constexpr std::int64_t kMost = std::int64_t{1} << 53;  // what Lua's numbers hold exactly
    if (amount > kMost || amount < -kMost) {
      throw LogicError(Where(barrier) + "the amount " + std::to_string(amount) +
                       " is beyond 2^53, the most that Redis's scripts can calculate with");
    }
    Result result = Call(barrier, {R"lua(
local v = redis.call('GET', KEYS[1])
if v == false or v + ARGV[1] < 0 then return 'FAILURE' end
redis.call('INCRBY', KEYS[1], ARGV[1])
)lua",
                                   {key},
                                   {std::to_string(amount)}});
    if (result.kind == Result::Kind::kFailure) {
      result.text = "the amount at '" + Printable(key) + "' is missing or too small for " +
                    std::to_string(amount);
    }
    return result;
  }

  /// Runs the script at most once for this call of this barrier. Returns Success if it took effect, now or earlier, or if there is
  /// no effect (a compensation of an action that never ran, an action that comes after its compensation); Failure if
  /// it returned 'FAILURE', after which it may run again.
  /// @throws InDoubtError     no answer came: key and effect are both stored, or neither. The same call again, with a new
  ///                          Barrier on a new connection, is safe and settles it.
  /// @throws DuplicatedError  the local step of a message ran before, or QueryPrepared forbade it.
  /// @throws RedisError       (a StoreError) nothing was stored; if the script itself failed, nothing but what it wrote before.
  /// @throws LogicError       the connection is in MULTI; the branch is that of an xa; the barrier had a call that did not
  ///                          succeed.
  [[nodiscard]] Result Call(Barrier& barrier, const RedisScript& script) {
    if (barrier.Type() == Name(TransType::kXa)) {
      throw LogicError(Where(barrier) + "Redis has no XA; use a saga or tcc");
    }
    if ((barrier.BranchId() + barrier.Op()).find('-') !=
        std::string::npos) {  // else two calls could have one key
      throw Error(Where(barrier) +
                  "branch_id and op must not contain '-', which separates them in the keys");
    }
    const std::string number = barrier.BeginCall();
    try {
      const std::string origin = barrier::OriginOf(barrier.Op());
      std::vector<std::string> keys = {
          Key(barrier.Gid(), barrier.BranchId(), barrier.Op(), number)};
      if (!origin.empty()) keys.push_back(Key(barrier.Gid(), barrier.BranchId(), origin, number));
      std::vector<std::string> args = {Expire(), std::to_string(keys.size())};
      keys.insert(keys.end(), script.keys.begin(), script.keys.end());
      args.insert(args.end(), script.args.begin(), script.args.end());
      const Answer answer =
          Run(barrier, "local function business(KEYS, ARGV)\n" + script.lua + kCall, keys, args);
      if (answer.word == "REPEATED" && barrier.Op() == barrier::kMsgOp) {
        throw DuplicatedError("DUPLICATED: " + Where(barrier) +
                              "the local step ran before, or was forbidden when the coordinator "
                              "asked for it; QueryPrepared says which");
      }
      if (answer.word == "ERROR") {
        throw RedisError(Where(barrier) + "its script failed: " + answer.text +
                             "; what it wrote before that stays, and it runs again with the next "
                             "call: let it check before it writes",
                         CodeOf(answer.text));
      }
      if (answer.word != "FAILURE") return Result::Success();
    } catch (...) {
      barrier.Fail();
      throw;
    }
    barrier.Fail();
    return Result::Failure(Where(barrier) + "the script returned FAILURE");
  }

  /// Tells a coordinator whether the local step of a message took effect (op msg). Success: it did. Failure: it did not, and
  /// never will.
  /// @throws InDoubtError, RedisError  nothing is known; the coordinator asks again.
  /// @throws LogicError                the connection is in MULTI, or the op of the call is not msg.
  [[nodiscard]] Result QueryPrepared(const Barrier& barrier) {
    if (barrier.Op() != barrier::kMsgOp) {
      throw LogicError(Where(barrier) + "QueryPrepared answers only calls with op msg; use Call");
    }
    const std::string key =
        Key(barrier.Gid(), barrier::kMsgBranch, barrier::kMsgOp, barrier::kMsgNumber);
    if (Run(barrier, kQuery, {key}, {Expire()}).word == "STORED") return Result::Success();
    return Result::Failure("the local step of msg gid '" + barrier.Gid() +
                           "' did not take effect, and cannot any more");
  }

 private:
  struct Answer {
    std::string word;
    std::string text;
  };
  using Reply = std::unique_ptr<redisReply, decltype(&freeReplyObject)>;

  // After the function of the business, which so sees nothing of this. The own key is the first write: it fails before
  // anything else is changed, on a replica or without memory; and later ones are let through.
  static constexpr const char kCall[] = R"lua(
end
if redis.call('GET', KEYS[1]) then return {'REPEATED'} end
redis.call('SET', KEYS[1], 'op', 'EX', ARGV[1])
local n = tonumber(ARGV[2])
if n == 2 and not redis.call('GET', KEYS[2]) then
  redis.call('SET', KEYS[2], 'rollback', 'EX', ARGV[1])
  return {'NOTHING'}
end
local keys, args = {}, {}
for i = n + 1, #KEYS do keys[i - n] = KEYS[i] end
for i = 3, #ARGV do args[i - 2] = ARGV[i] end
local ok, r = pcall(business, keys, args)
if type(r) == 'table' then
  if r.err then ok, r = false, r.err elseif r.ok then r = r.ok end
end
if ok and r ~= 'FAILURE' then return {'DONE'} end
redis.call('DEL', KEYS[1])
if ok then return {'FAILURE'} end
return {'ERROR', tostring(r)}
)lua";
  static constexpr const char kQuery[] = R"lua(
local v = redis.call('GET', KEYS[1])
if not v then
  v = 'rollback'
  redis.call('SET', KEYS[1], v, 'EX', ARGV[1])
end
return {v == 'rollback' and 'FORBIDDEN' or 'STORED'}
)lua";

  std::string Where(const Barrier& barrier) const {
    return "barrier of " + barrier.Who() + ", in Redis: ";
  }
  std::string Expire() const { return std::to_string(options_.expire.count()); }
  std::string Key(const std::string& gid, const std::string& branch, const std::string& op,
                  const std::string& number) const {
    return options_.prefix + gid + '-' + branch + '-' + op + '-' + number;
  }
  static std::string CodeOf(const std::string& text) { return text.substr(0, text.find(' ')); }

  /// Runs a script that answers with one word, or two of which the second is a text.
  Answer Run(const Barrier& barrier, const std::string& script,
             const std::vector<std::string>& keys, const std::vector<std::string>& args) {
    if (script != script_) {
      const Reply loaded = Command(barrier, {"SCRIPT", "LOAD", script}, {}, {});
      sha1_ = TextOf(*loaded);
      if (loaded->type != REDIS_REPLY_STRING) Refused(barrier, *loaded);
      script_ = script;
    }
    const std::string count = std::to_string(keys.size());
    Reply reply = Command(barrier, {"EVALSHA", sha1_, count}, keys, args);
    if (CodeOf(*reply) == "NOSCRIPT") {  // after SCRIPT FLUSH or a change of the master
      reply = Command(barrier, {"EVAL", script_, count}, keys, args);
    }
    if (reply->type != REDIS_REPLY_ARRAY) Refused(barrier, *reply);
    Answer answer;
    if (reply->elements > 0) answer.word = TextOf(*reply->element[0]);
    if (reply->elements > 1) answer.text = TextOf(*reply->element[1]);
    const std::string words = " REPEATED NOTHING DONE FAILURE ERROR STORED FORBIDDEN ";
    if (words.find(' ' + answer.word + ' ') == std::string::npos) NotOurs(barrier);
    return answer;
  }
  static std::string TextOf(const redisReply& reply) {
    return reply.str == nullptr ? std::string() : std::string(reply.str, reply.len);
  }
  /// The first word of an error; "" if the reply is none.
  static std::string CodeOf(const redisReply& reply) {
    return reply.type == REDIS_REPLY_ERROR ? CodeOf(TextOf(reply)) : "";
  }

  [[noreturn]] void Refused(const Barrier& barrier, const redisReply& reply) const {
    const std::string text = TextOf(reply);
    if (reply.type == REDIS_REPLY_ERROR) {
      throw RedisError(Where(barrier) + text + "; nothing was stored" + redis::Advice(CodeOf(text)),
                       CodeOf(text));
    }
    if (text == "QUEUED") {
      throw LogicError(Where(barrier) +
                       "the connection is in MULTI, so it was only queued; DISCARD it");
    }
    NotOurs(barrier);
  }
  [[noreturn]] void NotOurs(const Barrier& barrier) const {
    throw InDoubtError(
        Where(barrier) +
        "this is the reply to an earlier command; read all replies before. The call may "
        "have taken effect; the same call again on a new connection settles it");
  }

  Reply Command(const Barrier& barrier, const std::vector<std::string>& command,
                const std::vector<std::string>& keys, const std::vector<std::string>& args) {
    if (connection_->err != 0) {
      throw RedisError(
          Where(barrier) + "nothing was sent, the connection is broken: " + connection_->errstr,
          "");
    }
    std::vector<const char*> data;
    std::vector<std::size_t> sizes;
    for (const std::vector<std::string>* words : {&command, &keys, &args}) {
      for (const std::string& word : *words) {
        data.push_back(word.data());
        sizes.push_back(word.size());
      }
    }
    Reply reply(static_cast<redisReply*>(redisCommandArgv(
                    connection_, static_cast<int>(data.size()), data.data(), sizes.data())),
                &freeReplyObject);
    if (reply != nullptr) return reply;
    const std::string text = Where(barrier) + "no answer came (" + connection_->errstr + "); ";
    if (command.front() == "SCRIPT") throw RedisError(text + "nothing was stored", "");
    throw InDoubtError(text +
                       "it may have taken effect; the same call on a new connection settles it");
  }

  redisContext* connection_;
  RedisBarrierOptions options_;
  std::string script_;  ///< the last one
  std::string sha1_;    ///< its name in the server
};

}  // namespace v1
}  // namespace dtm
