/// Generated from include/dtm/dtm.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

// ---- dtm/base/error.hpp ------------------------------------------------------------------------

/// The errors that this library throws: one small tree.
/// Needs: std. Threads: values only.

#include <chrono>
#include <exception>
#include <stdexcept>
#include <string>

namespace dtm {
inline namespace v1 {

/// Base of everything this library throws; `what()` is a sentence that names the thing and says
/// what to do.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;

  /// The caller was asked (Retry-After) to try again no sooner than this; 0: not asked. A branch function may set it
  /// before it throws; at most an hour counts.
  std::chrono::microseconds retry_after{0};
};

/// The error, with its `retry_after` set.
template <typename Kind>
Kind AskingToWait(Kind error, std::chrono::microseconds retry_after) {
  error.retry_after = retry_after;
  return error;
}

/// Definite: the transaction was rolled back. Thrown by a branch function it means "roll back".
class FailureError : public Error {
 public:
  using Error::Error;
};

/// Not finished yet, and not failed: the branch is called again after the plain retry interval. Thrown by a branch
/// function it means the same as Result::Ongoing; thrown by a call it is the result of the branch.
class OngoingError : public Error {
 public:
  using Error::Error;
};

/// Definite: refused, and nothing was changed (other content under this gid, a limit, a status
/// that does not allow it).
class RejectedError : public Error {
 public:
  using Error::Error;
};

/// Refused whatever is stored: a limit is exceeded, a value is malformed, or there is no transaction with this gid.
class BadInput : public RejectedError {
 public:
  using RejectedError::RejectedError;
};

/// Refused because the transaction has ended already.
class EndedError : public RejectedError {
 public:
  using RejectedError::RejectedError;
};

/// Refused because too much is waiting already; the same may be accepted a moment later.
class BusyError : public RejectedError {
 public:
  using RejectedError::RejectedError;
};

/// In doubt: there was no answer, so the transaction may be stored. Submitting the same content under the same
/// gid again is safe and settles it.
class InDoubtError : public Error {
 public:
  using Error::Error;
};

/// The local step of a message ran before, or is forbidden by now, so it was not run. The text begins
/// with DUPLICATED. This is not a failure; asking whether the step was committed settles it.
class DuplicatedError : public Error {
 public:
  using Error::Error;
};

/// Definite: the store failed and nothing was stored (disk full, read-only, damaged, in use by
/// another coordinator).
class StoreError : public Error {
 public:
  using Error::Error;
};

/// Misuse of the library; the program has to be changed.
class LogicError : public Error {
 public:
  using Error::Error;
};

/// Inside a `catch (...)`: the text of the exception, for people; short if no memory is left for it.
inline std::string WhatWasThrown() noexcept {
  try {
    try {
      throw;
    } catch (const std::exception& error) {
      return error.what();
    } catch (...) {
      return "it threw something that is not a std::exception";
    }
  } catch (...) {
    return "out of memory";  // so short that it takes none
  }
}

/// The sentence, or nothing if no memory is left for it.
template <typename Sentence>
std::string IfThereIsMemory(const Sentence& sentence) noexcept {
  try {
    return sentence();
  } catch (...) {
    return {};
  }
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/base/text.hpp -------------------------------------------------------------------------

/// Small facts about text that comes from outside.
/// Needs: std. Threads: pure functions. Source: RFC 3629 (UTF-8), RFC 3986 (URLs), RFC 8259 (JSON).

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

namespace dtm {
inline namespace v1 {

/// Length of the valid UTF-8 sequence at `at`, or 0.
inline std::size_t Utf8Length(const std::string& text, std::size_t at) {
  const auto byte = [&text](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const auto tail = [&byte](std::size_t i) { return (byte(i) & 0xC0u) == 0x80u; };
  const unsigned first = byte(at);
  if (at >= text.size()) return 0;
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return tail(at + 1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const unsigned second = byte(at + 1);
    const bool overlong = first == 0xE0 && second < 0xA0;
    const bool surrogate = first == 0xED && second > 0x9F;
    return tail(at + 1) && tail(at + 2) && !overlong && !surrogate ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const unsigned second = byte(at + 1);
    const bool overlong = first == 0xF0 && second < 0x90;
    const bool too_large = first == 0xF4 && second > 0x8F;
    const bool tails = tail(at + 1) && tail(at + 2) && tail(at + 3);
    return tails && !overlong && !too_large ? 4 : 0;
  }
  return 0;
}

inline bool IsUtf8(const std::string& text) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = Utf8Length(text, at);
    if (length == 0) return false;
    at += length;
  }
  return true;
}

/// FNV-1a, 64 bits: the same on every machine and in every version, so it may be stored.
class StableHash {
 public:
  void Add(unsigned char byte) { value_ = (value_ ^ byte) * 1099511628211U; }
  void Add(std::string_view text) {
    for (const char c : text) Add(static_cast<unsigned char>(c));
  }
  std::uint64_t Value() const { return value_; }

 private:
  std::uint64_t value_ = 14695981039346656037U;
};

inline bool HasPrefix(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

/// Without blanks and tabs at its ends.
inline std::string_view Trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

/// With A to Z in lower case; other letters stay.
inline std::string Lowered(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

/// Everything but RFC 3986's unreserved characters as %XX.
inline std::string PercentEncoded(std::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string result;
  result.reserve(text.size());
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                       c == '-' || c == '.' || c == '_' || c == '~';
    if (plain) {
      result += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      result.append({'%', kHex[byte >> 4], kHex[byte & 15]});
    }
  }
  return result;
}

/// Every %XX as its byte; what only looks like one stays.
inline std::string PercentDecoded(std::string_view text) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  std::string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool encoded =
        text[i] == '%' && text.size() - i > 2 && digit(text[i + 1]) >= 0 && digit(text[i + 2]) >= 0;
    result += encoded ? static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2])) : text[i];
    if (encoded) i += 2;
  }
  return result;
}

/// The url up to where one more `key=value` of its query goes.
inline std::string WithQueryOpen(std::string url) {
  if (url.find('?') == std::string::npos) return url + '?';
  if (url.back() != '?' && url.back() != '&') url += '&';
  return url;
}

inline std::string WithQuery(std::string url, const char* key, const std::string& value) {
  return WithQueryOpen(std::move(url)) + key + '=' + PercentEncoded(value);
}

/// How deeply JSON is nested: its brackets outside of strings.
inline std::size_t JsonDepth(std::string_view text) {
  std::size_t depth = 0, deepest = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = (++depth > deepest) ? depth : deepest;
    } else if ((c == '}' || c == ']') && depth > 0) {
      --depth;
    }
  }
  return deepest;
}

/// At most `max_bytes` of the text, cut between characters.
inline std::string_view Front(std::string_view text, std::size_t max_bytes) {
  if (text.size() <= max_bytes) return text;
  std::size_t end = max_bytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0u) == 0x80u) --end;
  return text.substr(0, end);
}

/// The same.
inline std::string Truncated(std::string text, std::size_t max_bytes) {
  text.resize(Front(text, max_bytes).size());
  return text;
}

/// At most `max_bytes` of the text, cut between characters. `replacement(at, length)` says for the character there what
/// stands for its first byte, or 0 to keep it; `length` is 0 where the bytes are no UTF-8.
template <typename Replacement>
std::string Replaced(const std::string& text, std::size_t max_bytes, Replacement replacement) {
  std::string clean;
  clean.reserve((std::min)(text.size(), max_bytes));
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = Utf8Length(text, at);
    const char other = replacement(at, length);
    if (clean.size() + (other != 0 ? 1 : length) > max_bytes) break;
    if (other != 0) {
      clean += other;
      ++at;
    } else {
      clean.append(text, at, length);
      at += length;
    }
  }
  return clean;
}

/// The text with everything that is not printable UTF-8 replaced, fit for a log line or a record.
inline std::string Printable(const std::string& text) {
  return Replaced(text, text.size(), [&text](std::size_t at, std::size_t length) {
    const unsigned char first = static_cast<unsigned char>(text[at]);
    if (first == '\n' || first == '\t') return ' ';
    const bool c1 = length == 2 && first == 0xC2 && static_cast<unsigned char>(text[at + 1]) < 0xA0;
    return length == 0 || first < 0x20 || first == 0x7F || c1 ? '?' : '\0';
  });
}

/// As all dtm servers and barriers read a gid and its like: these characters would break queries and logs.
inline std::string CleanGid(std::string gid) {
  const auto breaks = [](char c) { return c == '\n' || c == '\r' || c == ';'; };
  gid.erase(std::remove_if(gid.begin(), gid.end(), breaks), gid.end());
  return gid;
}

/// The number that the whole text is, without blanks or a plus; nothing if it is none or does not fit.
template <typename Number>
std::optional<Number> ParseNumber(std::string_view text, int base = 10) {
  Number number{};
  const char* const end = text.data() + text.size();
  const std::from_chars_result result = std::from_chars(text.data(), end, number, base);
  return result.ec == std::errc() && result.ptr == end ? std::optional(number) : std::nullopt;
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/core/limits.hpp -----------------------------------------------------------------------

/// Limits on every size and count, the same in process and over HTTP.
/// Needs: std. Threads: constants and pure functions. Source: the limits of common protocols and
/// databases.

namespace dtm {
inline namespace v1 {

inline constexpr std::size_t kMaxGidBytes = 128;
inline constexpr std::size_t kMaxUrlBytes = 2048;
inline constexpr std::size_t kMaxSteps = 1000;
inline constexpr std::size_t kMaxPayloadBytes = 256 * 1024;
inline constexpr std::size_t kMaxDefinitionBytes =
    1024 * 1024;  ///< urls, payloads, headers together
/// For workflows. The size of a result is known only after its step was done, so a workflow that exceeds a limit is rolled
/// back. The limits of what is stored leave room for the URLs and failures of all branches, and for base64.
inline constexpr std::size_t kMaxWorkflowBranches = 400;
inline constexpr std::size_t kMaxAnswersBytes =
    4 * 1024 * 1024;                                        ///< answers of its steps, together
inline constexpr std::size_t kMaxRecordBytes = 512 * 1024;  ///< stored of one answer
inline constexpr std::size_t kMaxWorkflowBytes = 10 * 1024 * 1024;  ///< all that is stored
inline constexpr std::size_t kMaxOrders = 10000;                    ///< entries of branch orders
inline constexpr std::size_t kMaxHeaders = 32;
inline constexpr std::size_t kMaxHeaderBytes = 4096;
inline constexpr std::size_t kMaxReasonBytes = 1024;      ///< stored of a reason or error text
inline constexpr std::size_t kMaxReplyBytes = 64 * 1024;  ///< read of a branch's answer
inline constexpr std::size_t kMaxJsonDepth = 64;          ///< copying and dumping it recurse
inline constexpr std::size_t kMaxListLimit = 1000;
inline constexpr std::chrono::seconds kMaxOptionSeconds{86400};
inline constexpr std::chrono::seconds kMaxDelay{366 * 86400};  ///< of a message
inline constexpr std::chrono::seconds kMaxRetryAfter{3600};    ///< that a branch may ask for
inline constexpr int kMaxRetryLimit = 1000000;

}  // namespace v1
}  // namespace dtm

// ---- dtm/base/time.hpp -------------------------------------------------------------------------

/// Time as everybody counts it, and waits that cannot overflow.
/// Needs: std. Threads: values only.

namespace dtm {
inline namespace v1 {

using Duration = std::chrono::microseconds;
/// UTC. Inside the coordinator: the wall clock at open plus the time that passed since.
using Time = std::chrono::time_point<std::chrono::system_clock, Duration>;
inline constexpr Time kNever = (Time::max)();

/// The end of a wait that somebody asked for: Duration::max() and whatever else no clock reaches is for ever.
template <typename TimePoint>
TimePoint Later(TimePoint from, Duration wait) {
  constexpr Duration kCentury = std::chrono::hours(24 * 36525);
  if (wait >= kCentury) return (TimePoint::max)();
  if (wait <= -kCentury) return from - kCentury;
  if (wait.count() > 0 && from > (TimePoint::max)() - wait) return (TimePoint::max)();
  return from + wait;
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/core/types.hpp ------------------------------------------------------------------------

/// The basic vocabulary: transaction types, statuses, operations.
/// Needs: std. Threads: values only. Protocol: §1 (vocabulary, status transitions).

namespace dtm {
inline namespace v1 {

/// The numbers of these enums are stored; never change the value of an entry.
enum class TransType : std::uint8_t { kSaga = 1, kMsg = 2, kTcc = 3, kXa = 4, kWorkflow = 5 };

/// How far a transaction has come; only kSucceed and kFailed are ends.
enum class Status : std::uint8_t {
  kPrepared = 1,
  kSubmitted = 2,
  kAborting = 3,
  kSucceed = 4,
  kFailed = 5
};

/// How far one branch operation has come.
enum class BranchStatus : std::uint8_t { kPrepared = 1, kSucceed = 2, kFailed = 3 };

/// What a branch is called for.
enum class Op : std::uint8_t {
  kAction = 1,      ///< saga, msg, workflow, xa: do it
  kCompensate = 2,  ///< saga: undo it
  kTry = 3,         ///< tcc: reserve
  kConfirm = 4,     ///< tcc: use what was reserved
  kCancel = 5,      ///< tcc: give back what was reserved
  kCommit = 6,      ///< xa, workflow
  kRollback = 7,    ///< xa, workflow
  kMsg = 8,         ///< msg: the local transaction, and the question whether it was committed
  kBusiness = 9,    ///< workflow: the local part of an xa step
  kResume = 10      ///< workflow: run it again from where it stopped; on the wire, its name
};

/// Succeed or failed.
inline bool IsFinal(Status status) {
  return status == Status::kSucceed || status == Status::kFailed;
}

/// dtm's own names, as used in sentences and on the wire.
inline const char* Name(TransType type) {
  switch (type) {
    case TransType::kSaga: return "saga";
    case TransType::kMsg: return "msg";
    case TransType::kTcc: return "tcc";
    case TransType::kXa: return "xa";
    case TransType::kWorkflow: return "workflow";
  }
  return "unknown";
}

/// As on the wire: "prepared", "submitted", "aborting", "succeed", "failed".
inline const char* Name(Status status) {
  switch (status) {
    case Status::kPrepared: return "prepared";
    case Status::kSubmitted: return "submitted";
    case Status::kAborting: return "aborting";
    case Status::kSucceed: return "succeed";
    case Status::kFailed: return "failed";
  }
  return "unknown";
}

/// As on the wire: "prepared", "succeed", "failed".
inline const char* Name(BranchStatus status) {
  switch (status) {
    case BranchStatus::kPrepared: return "prepared";
    case BranchStatus::kSucceed: return "succeed";
    case BranchStatus::kFailed: return "failed";
  }
  return "unknown";
}

/// As on the wire: "action", "compensate", ...
inline const char* Name(Op op) {
  switch (op) {
    case Op::kAction: return "action";
    case Op::kCompensate: return "compensate";
    case Op::kTry: return "try";
    case Op::kConfirm: return "confirm";
    case Op::kCancel: return "cancel";
    case Op::kCommit: return "commit";
    case Op::kRollback: return "rollback";
    case Op::kMsg: return "msg";
    case Op::kBusiness: return "business";
    case Op::kResume: return "resume";
  }
  return "unknown";
}

/// Identifies the call of a branch function or service: the key by which it can make itself idempotent.
struct BranchInfo {
  std::string gid;
  TransType trans_type = TransType::kSaga;
  std::string branch_id;  ///< "01", "02", ... "100"; nested "0201"; of a topic "01-02"; "00" = msg
                          ///< query-back and workflow resume
  Op op = Op::kAction;
  std::string workflow{};  ///< kResume: the name of the workflow
  /// The trace that the call belongs to, as the headers of the same names say it (W3C Trace Context); empty: none.
  std::string traceparent{};
  std::string tracestate{};
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/barrier/barrier.hpp -------------------------------------------------------------------

/// The barrier without a database: identifies the call of a branch service, and decides if its work is to
/// be done.
/// Needs: std. Threads: a Barrier by one thread at a time; the functions are pure.
/// Protocol: §11.5 (SQL barrier), §11.3 (the local step of a message).
///
/// Coordinators call a branch again when they got no reply. They may call its compensation although the
/// action never arrived, and the action may arrive late, after its compensation. A barrier makes
/// that harmless: each call leaves a row in a table beside the business rows, in their transaction,
/// and these rows decide. The file for your database does that: barrier/sqlite_barrier.hpp, postgres_barrier.hpp,
/// mysql_barrier.hpp, redis_barrier.hpp.

#include <map>

namespace dtm {
inline namespace v1 {

/// One delivery of one branch call. Make a new one for each, from the request (BarrierFromQuery,
/// BarrierFromRequest) or from the BranchInfo that a branch function gets (BarrierFrom).
class Barrier {
 public:
  /// All four as the coordinator sent them: trans_type ("saga", "msg", "tcc", ...) and op
  /// ("action", "compensate", "try", "cancel", "msg", ...) at most 45 bytes, gid and branch_id at
  /// most 128, valid UTF-8 without control characters.
  /// @throws Error  one of them is missing or not valid.
  Barrier(std::string trans_type, std::string gid, std::string branch_id, std::string op)
      : trans_type_(std::move(trans_type)),
        gid_(std::move(gid)),
        branch_id_(std::move(branch_id)),
        op_(std::move(op)) {
    const struct {
      const char* name;
      const std::string& value;
      std::size_t limit;
    } parts[] = {{"trans_type", trans_type_, kMaxNameBytes},
                 {"gid", gid_, kMaxGidBytes},
                 {"branch_id", branch_id_, kMaxGidBytes},
                 {"op", op_, kMaxNameBytes}};
    std::string missing;
    for (const auto& part : parts) {
      if (part.value.empty()) missing += (missing.empty() ? "" : ", ") + std::string(part.name);
    }
    if (!missing.empty()) {
      throw Error("the call does not say its " + missing +
                  "; a coordinator puts trans_type, gid, branch_id and op into the query of every "
                  "branch call");
    }
    for (const auto& part : parts) {
      const auto refuse = [&part](const std::string& why) {
        return Error(std::string("the ") + part.name + " '" +
                     Printable(Truncated(part.value, kMaxGidBytes)) + "' of the call " + why);
      };
      if (part.value.size() > part.limit) {
        throw refuse("has " + std::to_string(part.value.size()) + " bytes; the limit is " +
                     std::to_string(part.limit));
      }
      if (Printable(part.value) != part.value) {
        throw refuse("contains control characters or is not valid UTF-8; leave them out");
      }
    }
  }

  /// What it was made of: trans_type, gid, branch_id and op.
  const std::string& Type() const { return trans_type_; }
  /// See Type.
  const std::string& Gid() const { return gid_; }
  /// See Type.
  const std::string& BranchId() const { return branch_id_; }
  /// See Type.
  const std::string& Op() const { return op_; }

  /// For sentences: saga gid 'g', branch 01, op action.
  std::string Who() const {
    return trans_type_ + " gid '" + gid_ + "', branch " + branch_id_ + ", op " + op_;
  }

  /// For the tables: the number of the call that begins, "01", "02", ... A repeat of the request
  /// must number its calls in the same way, so after a call that did not commit there is no next one.
  /// @throws LogicError  one did not commit.
  std::string BeginCall() {
    if (failed_) {
      throw LogicError("barrier of " + Who() +
                       ": its last call did not commit, so the next has no number; answer with the "
                       "error (the coordinator calls again), or begin again from the first call "
                       "with a new Barrier");
    }
    ++calls_;
    return (calls_ < 10 ? "0" : "") + std::to_string(calls_);
  }
  /// For the tables: the call did not commit.
  void Fail() noexcept { failed_ = true; }

 private:
  static constexpr std::size_t kMaxNameBytes = 45;

  std::string trans_type_;
  std::string gid_;
  std::string branch_id_;
  std::string op_;
  int calls_ = 0;
  bool failed_ = false;
};

/// From the decoded query parameters of a branch call: trans_type, gid, branch_id and op. Line breaks
/// and semicolons are left out, as dtm does; other parameters do not matter.
/// @throws Error  one is missing, occurs twice with different values, or is not valid (see Barrier).
inline Barrier BarrierFromQuery(const std::multimap<std::string, std::string>& query) {
  const auto value = [&query](const char* name) {
    const auto found = query.equal_range(name);
    if (found.first == found.second) return std::string();
    for (auto other = found.first; other != found.second; ++other) {
      // The branch's own URL has such a parameter: whose call this is would be a guess.
      if (other->second != found.first->second) {
        throw Error("the query of the call says " + std::string(name) +
                    " twice with different values; a branch's URL must not have a parameter of "
                    "this name, the coordinator adds it");
      }
    }
    return CleanGid(found.first->second);
  };
  return Barrier(value("trans_type"), value("gid"), value("branch_id"), value("op"));
}

/// For a registered C++ function. (One whose rows are in its coordinator's own file needs no barrier:
/// Coordinator::RegisterInTransaction.)
/// @throws Error  a value is not valid, see Barrier.
inline Barrier BarrierFrom(const BranchInfo& info) {
  return Barrier(Name(info.trans_type), info.gid, info.branch_id, Name(info.op));
}

/// What the barriers of all databases share.
namespace barrier {

// The local step of a message, and the question whether it was committed.
inline constexpr const char kMsgOp[] = "msg";
inline constexpr const char kMsgBranch[] = "00";
inline constexpr const char kMsgNumber[] = "01";
/// The reason of a row that forbids the local step.
inline constexpr const char kRollback[] = "rollback";

/// The op that this op undoes, or "". Its row is written by the op that undoes it, and stops it if it comes late.
inline const char* OriginOf(const std::string& op) {
  if (op == "cancel") return "try";
  if (op == "compensate" || op == "rollback") return "action";
  return "";
}

enum class Decision {
  kRun,               ///< do the business, and commit it with the rows
  kNullCompensation,  ///< there is nothing to undo: commit the rows, return success
  kRepeated,          ///< done before, or undone before it came: return success
  kDuplicated         ///< the local step of a message came again: roll back, DuplicatedError
};

/// `origin_inserted`: the row of OriginOf(op) was not there before; false if there is no origin.
/// `own_inserted`: the row of `op` was not there before.
inline Decision Decide(const std::string& op, bool origin_inserted, bool own_inserted) {
  if (op == kMsgOp && !own_inserted) return Decision::kDuplicated;
  if (origin_inserted && *OriginOf(op) != '\0') return Decision::kNullCompensation;
  return own_inserted ? Decision::kRun : Decision::kRepeated;
}

}  // namespace barrier
}  // namespace v1
}  // namespace dtm

// ---- dtm/sql/sqlite_connection.hpp -------------------------------------------------------------

/// Thin ownership of sqlite3 connections and statements; the only file that includes sqlite3.h.
/// Needs: SQLite 3.35 or newer. Threads: one connection and its statements by one thread at a time.

#include <sqlite3.h>

namespace dtm {
inline namespace v1 {
namespace sql {

/// An error of SQLite, with its code. Definite unless the code is an I/O error during COMMIT.
class SqliteError : public StoreError {
 public:
  SqliteError(const std::string& text, int code) : StoreError(text), code_(code) {}
  /// The extended result code.
  int Code() const { return code_; }
  int Primary() const { return code_ & 0xFF; }

 private:
  int code_;
};

/// A connection, opened without a mutex: its owner makes sure that one thread at a time uses it.
class Database {
 public:
  /// `uri`: how SQLite is to open the file, if not by its path.
  /// @throws SqliteError  it cannot be opened.
  Database(const std::string& path, int flags, const std::string& uri = {})
      : path_(path), name_("the store file") {
    const int how = flags | SQLITE_OPEN_NOMUTEX | (uri.empty() ? 0 : SQLITE_OPEN_URI);
    const int code =
        sqlite3_open_v2(uri.empty() ? path.c_str() : uri.c_str(), &handle_, how, nullptr);
    if (code != SQLITE_OK) {
      const std::string why = handle_ != nullptr ? sqlite3_errmsg(handle_) : sqlite3_errstr(code);
      sqlite3_close_v2(handle_);
      throw SqliteError("the store file '" + path + "' cannot be opened: " + why, code);
    }
    sqlite3_extended_result_codes(handle_, 1);
  }
  /// Borrows a connection of the program: it is neither configured nor closed here.
  explicit Database(sqlite3* borrowed) : name_("the database"), handle_(borrowed), owned_(false) {
    const char* path = sqlite3_db_filename(borrowed, "main");
    path_ = path == nullptr || *path == '\0' ? ":memory:" : path;
  }
  ~Database() {
    if (owned_) sqlite3_close_v2(handle_);
  }
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  sqlite3* Handle() const { return handle_; }
  const std::string& Path() const { return path_; }
  int Changes() const { return sqlite3_changes(handle_); }
  std::int64_t LastRow() const { return sqlite3_last_insert_rowid(handle_); }
  bool InTransaction() const { return sqlite3_get_autocommit(handle_) == 0; }

  /// Runs statements that return no rows of interest.
  void Exec(const char* text) {
    const int code = sqlite3_exec(handle_, text, nullptr, nullptr, nullptr);
    if (code != SQLITE_OK) Fail(code, text);
  }

  /// Another file, or none, is at its path now.
  bool HasMoved() const {
    int moved = 0;
    return sqlite3_file_control(handle_, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK &&
           moved != 0;
  }

  /// Copies the whole log into the file.
  /// @throws SqliteError  not all of it could be copied; a part of it does no harm.
  void CopyLog() {
    int frames = 0, copied = 0;
    const int code =
        sqlite3_wal_checkpoint_v2(handle_, "main", SQLITE_CHECKPOINT_FULL, &frames, &copied);
    if (code != SQLITE_OK) Fail(code, "copying the log");
  }

  /// From now on closing the connection leaves the log as it is: neither copied into the file nor removed.
  void KeepLog() { sqlite3_db_config(handle_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr); }

  /// @throws SqliteError  always: what happened, on which file, and what to do where that is known.
  [[noreturn]] void Fail(int code, std::string_view doing) const {
    std::string text = name_ + (" '" + path_ + "': ") + sqlite3_errmsg(handle_);
    const int extended = sqlite3_extended_errcode(handle_);
    if ((extended & 0xFF) == code) code = extended;  // a borrowed connection may say less
    switch (code & 0xFF) {
      case SQLITE_FULL:
        text += " (no space is left on its disk; free some, it goes on by itself)";
        break;
      case SQLITE_READONLY: text += " (make the file and its folder writable)"; break;
      case SQLITE_CORRUPT:
      case SQLITE_NOTADB:
        text += " (the file is damaged or is no SQLite database; restore it from a backup)";
        break;
      case SQLITE_BUSY:
        text += " (another program holds a write transaction on it; end that one)";
        break;
      case SQLITE_IOERR:
        text += " (its disk is full or fails: see that it has space and works)";
        break;
      default: text += " (while: " + std::string(doing.substr(0, 60)) + ")"; break;
    }
    throw SqliteError(text, code);
  }

 private:
  std::string path_;
  const char* name_;  ///< what the file is to its user
  sqlite3* handle_ = nullptr;
  bool owned_ = true;
};

/// How far the log (WAL) of a connection was copied into its file: the index that all connections to the file share,
/// at fixed places. Source: sqlite.org/walformat.html, 2.1 and 2.2.
class LogIndex {
 public:
  struct State {
    bool known = false;
    std::uint32_t salt = 0;    ///< another one whenever the log begins anew
    std::uint32_t frames = 0;  ///< that are committed
    std::uint32_t copied = 0;  ///< of them, at the beginning
    std::uint32_t begun = 0;   ///< that will have been copied when whoever is copying is done

    bool operator!=(const State& other) const {
      return known != other.known || salt != other.salt || copied != other.copied;
    }
    /// Somebody copies at this moment, or died while it did.
    bool Copying() const { return begun != copied; }
  };

  /// The connection has read something, and outlives this.
  explicit LogIndex(const Database& database) {
    sqlite3_file* file = nullptr;
    sqlite3_file_control(database.Handle(), "main", SQLITE_FCNTL_FILE_POINTER, &file);
    if (file == nullptr || file->pMethods == nullptr || file->pMethods->iVersion < 2) return;
    void volatile* mapped = nullptr;
    constexpr int kRegionBytes = 32768;
    if (file->pMethods->xShmMap(file, 0, kRegionBytes, 0, &mapped) != SQLITE_OK) return;
    words_ = static_cast<const volatile std::uint32_t*>(mapped);
  }

  State Now() const {
    if (words_ == nullptr || words_[0] != kVersion) return {};
    return {true, words_[8], words_[4], words_[24], words_[32]};
  }

 private:
  static constexpr std::uint32_t kVersion = 3007000;  ///< of the index; it was never another

  const volatile std::uint32_t* words_ = nullptr;
};

/// A prepared statement. Binding does not copy: what is bound must live until Step returned.
class Statement {
 public:
  Statement(Database& database, std::string text) : database_(&database), text_(std::move(text)) {
    const int code =
        sqlite3_prepare_v3(database.Handle(), text_.data(), static_cast<int>(text_.size()),
                           SQLITE_PREPARE_PERSISTENT, &handle_, nullptr);
    if (code != SQLITE_OK) database.Fail(code, text_);
  }
  ~Statement() { sqlite3_finalize(handle_); }
  Statement(Statement&& other) noexcept
      : database_(other.database_), text_(std::move(other.text_)), handle_(other.handle_) {
    other.handle_ = nullptr;
  }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  Statement& operator=(Statement&&) = delete;

  Statement& Bind(int index, std::int64_t value) {
    return Check(sqlite3_bind_int64(handle_, index, value));
  }
  Statement& BindText(int index, std::string_view value) {
    return Check(sqlite3_bind_text(handle_, index, Data(value), static_cast<int>(value.size()),
                                   SQLITE_STATIC));
  }
  Statement& BindBlob(int index, std::string_view value) {
    return Check(sqlite3_bind_blob(handle_, index, Data(value), static_cast<int>(value.size()),
                                   SQLITE_STATIC));
  }
  Statement& BindNull(int index) { return Check(sqlite3_bind_null(handle_, index)); }

  /// True while there is a row. After false the statement is ready to be bound again.
  bool Step() {
    const int code = sqlite3_step(handle_);
    if (code == SQLITE_ROW) return true;
    // Fail reads the message before Reset could replace it.
    if (code != SQLITE_DONE) {
      Resetter reset{handle_};
      database_->Fail(code, text_);
    }
    sqlite3_reset(handle_);
    return false;
  }
  /// For a statement that returns at most one row: drops the rest.
  void Reset() { sqlite3_reset(handle_); }

  std::int64_t Int(int column) const { return sqlite3_column_int64(handle_, column); }
  std::size_t Bytes(int column) const {
    return static_cast<std::size_t>(sqlite3_column_bytes(handle_, column));
  }
  bool IsNull(int column) const { return sqlite3_column_type(handle_, column) == SQLITE_NULL; }
  /// A text as UTF-8, whatever the encoding of the file; a blob as it is.
  std::string Text(int column) const { return std::string(View(column)); }
  /// The same without a copy, until the next step.
  std::string_view View(int column) const {
    const void* data = sqlite3_column_type(handle_, column) == SQLITE_BLOB
                           ? sqlite3_column_blob(handle_, column)
                           : sqlite3_column_text(handle_, column);
    const auto size = static_cast<std::size_t>(sqlite3_column_bytes(handle_, column));
    return data == nullptr ? std::string_view()
                           : std::string_view(static_cast<const char*>(data), size);
  }

 private:
  struct Resetter {
    sqlite3_stmt* handle;
    ~Resetter() { sqlite3_reset(handle); }
  };
  // A null pointer would bind NULL where an empty value is meant.
  static const char* Data(std::string_view value) { return value.empty() ? "" : value.data(); }
  Statement& Check(int code) {
    if (code != SQLITE_OK) database_->Fail(code, text_);
    return *this;
  }

  Database* database_;
  std::string text_;
  sqlite3_stmt* handle_ = nullptr;
};

}  // namespace sql
}  // namespace v1
}  // namespace dtm

// ---- dtm/sql/exclusive.hpp ---------------------------------------------------------------------

/// Gives one thread at a time exclusive use of a shared connection.
/// Needs: SQLite 3.35 or newer. Threads: thread-safe; an Exclusive itself belongs to the thread that made it.

#include <mutex>
#include <thread>

namespace dtm {
inline namespace v1 {
namespace sql {

/// While it lives, no other thread can use this connection. A thread may have several for one
/// connection.
///
/// By default SQLite gives a connection its own mutex, which each sqlite3_ function takes. This class
/// also holds it between these calls, so other threads wait, even those that do not use this class.
/// A connection that was opened with SQLITE_OPEN_NOMUTEX (or by a SQLite built for one thread) has no
/// mutex: the program has promised that one thread at a time uses it, and a second thread is refused.
class Exclusive {
 public:
  /// @throws LogicError  the connection has no mutex, and another thread is inside.
  explicit Exclusive(sqlite3* db) : db_(db), mutex_(sqlite3_db_mutex(db)) {
    if (mutex_ != nullptr) {
      sqlite3_mutex_enter(mutex_);
      return;
    }
    const std::thread::id me = std::this_thread::get_id();
    Inside& inside = WithoutMutex();
    const std::lock_guard<std::mutex> lock(inside.mutex);
    Inside::Visit& visit = inside.visits[db_];
    if (visit.depth > 0 && visit.thread != me) {
      throw LogicError(
          "the SQLite connection is used by another thread at this moment, and has no mutex to "
          "wait "
          "for; open it without SQLITE_OPEN_NOMUTEX, or give each thread a connection of its own");
    }
    visit.thread = me;
    ++visit.depth;
  }
  ~Exclusive() {
    if (mutex_ != nullptr) {
      sqlite3_mutex_leave(mutex_);
      return;
    }
    Inside& inside = WithoutMutex();
    const std::lock_guard<std::mutex> lock(inside.mutex);
    const auto visit = inside.visits.find(db_);
    if (--visit->second.depth == 0) inside.visits.erase(visit);
  }
  Exclusive(const Exclusive&) = delete;
  Exclusive& operator=(const Exclusive&) = delete;

 private:
  struct Inside {
    struct Visit {
      std::thread::id thread;
      int depth = 0;
    };
    std::mutex mutex;
    std::map<sqlite3*, Visit> visits;
  };
  /// One for the process, because only so two objects that use one connection find each other. It is
  /// never destroyed, so that threads may still use it when the process ends.
  static Inside& WithoutMutex() {
    static Inside& inside = *new Inside;
    return inside;
  }

  sqlite3* const db_;
  sqlite3_mutex* const mutex_;
};

}  // namespace sql
}  // namespace v1
}  // namespace dtm

// ---- dtm/barrier/sqlite_schema.hpp -------------------------------------------------------------

/// Creates the barrier table in SQLite.
/// Needs: SQLite 3.35 or newer. Threads: thread-safe. Protocol: §11.5 (SQL barrier).

namespace dtm {
inline namespace v1 {

namespace barrier {

/// The name of the table in SQL. It is in the main file: only one file commits as one.
/// @throws LogicError  it is no such name.
inline std::string Quoted(const std::string& table) {
  bool plain = !table.empty() && table.size() <= 64;
  for (const char c : table) {
    plain = plain && ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '_');
  }
  if (!plain) {
    throw LogicError(
        "'" + Printable(table) +
        "' is no name for a barrier table; use up to 64 letters, digits and _, without "
        "a schema (the table is in the main file of the connection)");
  }
  return "main.\"" + table + "\"";
}

/// @throws LogicError  it is null.
inline sqlite3* NotNull(sqlite3* db) {
  if (db == nullptr)
    throw LogicError("the connection for the barrier table is null; open it first");
  return db;
}

}  // namespace barrier

/// Creates the table, with the same columns as dtm's, unless there is one with this name. `table`: up to
/// 64 letters, digits and _. (id stays NULL: as a key it would cost one more page write for each call. A
/// table in which it is a key works too. Rows are never updated, so update_time is NULL.)
/// A row may be deleted once no more calls with its gid can come; create_time (UTC) is for that.
/// @throws StoreError  the file cannot be written; nothing was changed.
inline void CreateBarrierTable(sqlite3* db, const std::string& table = "barrier") {
  const sql::Exclusive exclusive(barrier::NotNull(db));
  sql::Database database(db);
  database.Exec(("CREATE TABLE IF NOT EXISTS " + barrier::Quoted(table) + R"sql( (
  id INTEGER,
  trans_type TEXT NOT NULL,
  gid TEXT NOT NULL,
  branch_id TEXT NOT NULL,
  op TEXT NOT NULL,
  barrier_id TEXT NOT NULL,
  reason TEXT NOT NULL,
  create_time TEXT DEFAULT CURRENT_TIMESTAMP,
  update_time TEXT,
  PRIMARY KEY (gid, branch_id, op, barrier_id)
) WITHOUT ROWID)sql")
                    .c_str());
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/base/callable.hpp ---------------------------------------------------------------------

/// Checks at compile time that functions of the program can be called and kept; the compiler says in one sentence what is
/// wrong with one.
/// Needs: std. Threads: nothing shared.

#include <functional>
#include <memory>
#include <type_traits>

namespace dtm {
inline namespace v1 {
namespace callable {

/// `function(arguments...)` compiles for a `const Function&`.
template <typename Function, typename... Arguments>
inline constexpr bool kFits =
    !std::is_member_pointer_v<Function> && std::is_invocable_v<const Function&, Arguments...>;

/// It compiles if the function is not const.
template <typename Function, typename... Arguments>
inline constexpr bool kFitsMutable =
    !std::is_member_pointer_v<Function> && std::is_invocable_v<Function&, Arguments...>;

/// Reports what can be wrong with any function. Returns false if the arguments are wrong: then the caller
/// says what such a function takes.
template <typename Function, bool fits, bool fits_mutable>
constexpr bool Check() {
  constexpr bool member = std::is_member_pointer_v<Function>;
  static_assert(!member,
                "dtm: a member function lacks its object; pass a lambda that calls it: "
                "[&object](const auto& payload) { object.Method(payload); }");
  static_assert(member || fits || !fits_mutable,
                "dtm: this function is called as a const object, perhaps by several threads at "
                "once; leave out `mutable` or make its operator() const, and capture by reference "
                "what it changes");
  return member || fits || fits_mutable;
}
template <typename Function, typename... Arguments>
constexpr bool Check() {
  return Check<Function, kFits<Function, Arguments...>, kFitsMutable<Function, Arguments...>>();
}

/// The same for one that may change what it holds.
template <typename Function, typename... Arguments>
constexpr bool CheckMutable() {
  constexpr bool fits = kFitsMutable<Function, Arguments...>;
  return Check<Function, fits, fits>();
}

template <typename Function>
struct IsStdFunction : std::false_type {};
template <typename Signature>
struct IsStdFunction<std::function<Signature>> : std::true_type {};

/// A null pointer or an empty std::function.
template <typename Function>
bool Empty(const Function& function) {
  if constexpr (std::is_pointer_v<Function> || IsStdFunction<Function>::value) {
    return function == nullptr;
  } else {
    return false;
  }
}

/// A std::function of any function. If that is move-only (because of its captures), copies share it.
template <typename Signature, typename Function>
std::function<Signature> Keep(Function function) {
  if constexpr (std::is_copy_constructible_v<Function>) {
    return function;
  } else {
    return [shared = std::make_shared<Function>(std::move(function))](auto&&... arguments) {
      return (*shared)(std::forward<decltype(arguments)>(arguments)...);
    };
  }
}

/// Refers to a function while a call lasts, without a copy of it. A parameter that is no template needs only its declaration.
template <typename Signature>
class Ref;
template <typename Returned, typename... Arguments>
class Ref<Returned(Arguments...)> {
 public:
  template <typename Function, typename = std::enable_if_t<!std::is_same_v<Function, Ref>>>
  Ref(const Function& function)  // NOLINT(google-explicit-constructor): so that a lambda is one
      : function_(&function), call_([](const void* target, Arguments... arguments) -> Returned {
          return (*static_cast<const Function*>(target))(std::forward<Arguments>(arguments)...);
        }) {}
  Returned operator()(Arguments... arguments) const {
    return call_(function_, std::forward<Arguments>(arguments)...);
  }

 private:
  const void* function_;
  Returned (*call_)(const void*, Arguments...);
};

}  // namespace callable
}  // namespace v1
}  // namespace dtm

// ---- dtm/core/result.hpp -----------------------------------------------------------------------

/// The result of a branch call, and how a transaction ended.
/// Needs: std. Threads: values only. Protocol: §1 (results).

namespace dtm {
inline namespace v1 {

/// The result of one branch call. A branch function returns Success, Failure or Ongoing; callers report
/// the other two when there was no such result.
struct Result {
  /// What the caller has to do next.
  enum class Kind {
    kSuccess,  ///< done
    kFailure,  ///< definite business failure: roll back, never call this again
    kOngoing,  ///< in progress: ask again after the retry interval
    kError,    ///< no definite result; it may have run: call again, with growing waits
    kNotSent   ///< the call certainly did not start (no handler, no free slot): try again later
  };

  Kind kind = Kind::kSuccess;
  std::string text;
  bool done = false;  ///< kError: it was done all the same, only its text cannot be used
  /// Of Ongoing and Error: it is not called again before this time has passed (at most an hour), nor before the usual wait.
  Duration retry_after{};
  bool no_handler = false;  ///< kNotSent: this program has no function or caller for it
  bool at_once = false;     ///< kNotSent: it did not begin, and is tried again without a wait

  /// It is done, with nothing to say.
  static Result Success() { return {Kind::kSuccess, {}}; }
  /// It can never be done, and had no effect: the transaction is rolled back.
  static Result Failure(std::string reason) { return {Kind::kFailure, std::move(reason)}; }
  /// It is not finished: call again after the retry interval.
  static Result Ongoing(std::string text = {}) { return {Kind::kOngoing, std::move(text)}; }
  /// It may have run or not: call again, with growing waits.
  static Result Error(std::string text) { return {Kind::kError, std::move(text)}; }
  /// It certainly did not run: try again later.
  static Result NotSent(std::string why) { return {Kind::kNotSent, std::move(why)}; }
  /// NotSent, since this program has nothing that can call it.
  static Result NoHandler(std::string why) {
    Result result = NotSent(std::move(why));
    result.no_handler = true;
    return result;
  }
};

/// Calls user code that returns nothing (success) or a Result.
template <typename Function, typename... Arguments>
Result ResultOf(const Function& function, Arguments&&... arguments) {
  static_assert(callable::Check<Function, Arguments...>(),
                "dtm: the function does not take what it is called with");
  if constexpr (callable::kFits<Function, Arguments...>) {
    using Returned = std::decay_t<std::invoke_result_t<const Function&, Arguments...>>;
    static_assert(std::is_void_v<Returned> || std::is_same_v<Returned, Result>,
                  "dtm: the function returns nothing or dtm::Result");
    if constexpr (std::is_void_v<Returned>) {
      function(std::forward<Arguments>(arguments)...);
    } else if constexpr (std::is_same_v<Returned, Result>) {
      return function(std::forward<Arguments>(arguments)...);
    }
  }
  return Result::Success();
}

/// Runs user code and turns whatever it throws into a result; without memory for that, into an error.
template <typename Function>
Result CatchAsResult(const Function& function) noexcept {
  try {
    try {
      return function();
    } catch (const FailureError& error) {
      return Result::Failure(error.what());
    } catch (const OngoingError& error) {
      return {Result::Kind::kOngoing, error.what(), false, error.retry_after};
    } catch (const Error& error) {
      return {Result::Kind::kError, error.what(), false, error.retry_after};
    }
  } catch (...) {
    return Result::Error(WhatWasThrown());
  }
}

/// The durable state of a transaction.
struct TransResult {
  std::string gid;
  Status status = Status::kSubmitted;
  std::string
      reason;  ///< why it was rolled back: the text of the branch, or of the one who cancelled it
  std::string
      reason_from{};  ///< the branch that gave the reason, with its op and url; empty: not a branch
  std::string
      last_error{};  ///< of the last call that did not succeed, even if a later one did; for people

  /// Succeeded or failed: nothing more will be called.
  bool Finished() const { return IsFinal(status); }
  /// Every step was done.
  bool Succeeded() const { return status == Status::kSucceed; }
  /// It was rolled back, or stopped by a person.
  bool Failed() const { return status == Status::kFailed; }
};

/// The text of a FailureError about it.
inline std::string RolledBack(const TransResult& result) {
  std::string text = "gid '" + result.gid + "' was rolled back: " + result.reason;
  if (!result.reason_from.empty()) text += " (" + result.reason_from + ")";
  return text;
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/barrier/sqlite_barrier.hpp ------------------------------------------------------------

/// The barrier of a branch service whose rows are in SQLite: each call takes effect once, in one commit
/// with its row.
/// Needs: SQLite 3.35 or newer. Threads: thread-safe, by the connection: see SqliteBarrierTable.
/// Protocol: §11.5 (SQL barrier), §11.3 (the local step of a message).

namespace dtm {
inline namespace v1 {

/// The barrier table as one connection sees it. Prepares its statements, so keep it as long as the
/// connection (one made for each call costs 10 us of CPU more); destroy it before the connection is
/// closed.
///
/// The connection belongs to the program, and its settings are not changed. Give it a busy timeout
/// (sqlite3_busy_timeout), otherwise a call that meets another writer fails at once. Effects survive a power
/// loss only with PRAGMA synchronous = FULL, SQLite's default. Business rows must be in the same file: an
/// attached file does not commit together with it.
///
/// Threads may share a connection, with one table or several: each call has the connection to
/// itself from its beginning to its commit, and the others wait. (If the connection lacks the mutex that
/// SQLite gives it by default, see sql::Exclusive, they are refused.) To run calls in parallel, give each
/// thread its own connection. A business uses the connection in the thread in which it is called.
class SqliteBarrierTable {
 public:
  /// @throws StoreError  there is no such table (make it with CreateBarrierTable), or it lacks
  ///                     dtm's columns or unique key.
  explicit SqliteBarrierTable(sqlite3* db, const std::string& table = "barrier")
      : SqliteBarrierTable(sql::Exclusive(barrier::NotNull(db)), db, table) {}
  SqliteBarrierTable(const SqliteBarrierTable&) = delete;
  SqliteBarrierTable& operator=(const SqliteBarrierTable&) = delete;

  /// Runs `business(sqlite3*)` at most once for this call of this barrier, in one transaction with
  /// the row that records it. It writes through this connection, must not use COMMIT or ROLLBACK,
  /// and returns nothing (success) or a Result. It may run again only if it did not commit.
  ///
  /// Returns Success once the effect is durable, from this call or an earlier one, or if there is no
  /// effect (a compensation of an action that never ran, an action that comes after its compensation).
  /// If the business returns Failure, Ongoing or Error, that is rolled back and returned; if it throws,
  /// that is rolled back and the exception passes. There is no deadline but the busy timeout.
  /// @throws InDoubtError     COMMIT met an I/O error or was interrupted: either both row and effect
  ///                          are stored, or neither. The same call again, with a new Barrier, is
  ///                          safe and settles it.
  /// @throws DuplicatedError  the local step of a message ran before, or QueryPrepared forbade it.
  /// @throws sql::SqliteError (a StoreError) nothing was stored. Code SQLITE_BUSY: another writer
  ///                          held the lock for longer than the busy timeout; the business did not run
  ///                          (unless COMMIT waited for readers, without WAL).
  /// @throws LogicError       the connection is in a transaction, the business ended ours, the
  ///                          barrier had a call that did not commit, or another thread is using
  ///                          a connection without a mutex.
  template <typename Business>
  [[nodiscard]] Result Call(Barrier& barrier, const Business& business) {
    CheckBusiness<Business>();
    return Run(barrier, BegunBy::kCall, [&] { return ResultOf(business, db_.Handle()); });
  }

  /// The same inside a transaction that the program has begun, with BEGIN IMMEDIATE, for several
  /// barriers or other business in one commit. Nothing is durable before the program commits, so do
  /// not reply before. A rollback here undoes only this call. After a StoreError roll back the whole
  /// transaction. A transaction belongs to a connection, not to a thread: if threads share the
  /// connection, hold an sql::Exclusive from before BEGIN until after COMMIT.
  /// @throws as Call, but not InDoubtError, which only COMMIT can cause.
  template <typename Business>
  [[nodiscard]] Result CallInTransaction(Barrier& barrier, const Business& business) {
    CheckBusiness<Business>();
    return Run(barrier, BegunBy::kProgram, [&] { return ResultOf(business, db_.Handle()); });
  }

  /// Tells a coordinator whether the local step of a message was committed (op msg). Success: it
  /// was. Failure: it was not, and never will be: that is durable. While the step is running on
  /// another connection this waits for its end, at most for the busy timeout.
  /// @throws InDoubtError      COMMIT met an I/O error; the coordinator asks again.
  /// @throws sql::SqliteError  SQLITE_BUSY: the step is still running; otherwise the file failed.
  ///                           Nothing was decided; the coordinator asks again.
  /// @throws LogicError        the connection is in a transaction, or the op of the call is not msg.
  [[nodiscard]] Result QueryPrepared(const Barrier& barrier) {
    if (barrier.Op() != barrier::kMsgOp) {
      throw LogicError(Where(barrier) + "QueryPrepared answers only calls with op msg; use Call");
    }
    const sql::Exclusive exclusive(db_.Handle());
    if (db_.InTransaction()) {
      throw LogicError(Where(barrier) +
                       "the connection is in a transaction, but the answer must be durable before "
                       "it is given; end the transaction first");
    }
    return Ours(barrier, [&] {
      Insert(barrier, barrier::kMsgBranch, barrier::kMsgOp, barrier::kMsgNumber,
             barrier::kRollback);
      sql::Statement read(db_, "SELECT reason FROM " + quoted_ +
                                   " WHERE gid = ?1 AND branch_id = ?2 AND op = ?3 AND "
                                   "barrier_id = ?4");
      read.BindText(1, barrier.Gid()).BindText(2, barrier::kMsgBranch);
      read.BindText(3, barrier::kMsgOp).BindText(4, barrier::kMsgNumber);
      if (!read.Step()) throw StoreError(Where(barrier) + "its row was deleted; ask again");
      if (read.Text(0) != barrier::kRollback) return Result::Success();
      return Result::Failure("the local step of msg gid '" + barrier.Gid() +
                             "' was not committed, and cannot be any more");
    });
  }

 private:
  template <typename Business>
  static constexpr void CheckBusiness() {
    static_assert(callable::Check<Business, sqlite3*>(),
                  "dtm: the business of a barrier takes the connection: [&](sqlite3* db)");
  }

  SqliteBarrierTable(const sql::Exclusive&, sqlite3* db, const std::string& table)
      : table_(table),
        quoted_(barrier::Quoted(table)),
        db_(db),
        save_(db_, "SAVEPOINT dtm_barrier"),
        release_(db_, "RELEASE dtm_barrier"),
        insert_(PrepareInsert()) {}

  /// Who begins and ends the transaction.
  enum class BegunBy { kCall, kProgram };

  /// Rolls back what a call did, unless Keep was called.
  class Undo {
   public:
    Undo(sql::Database& db, Barrier& barrier, BegunBy begun_by)
        : db_(db), barrier_(barrier), begun_by_(begun_by) {}
    ~Undo() {
      if (kept_) return;
      barrier_.Fail();
      if (begun_by_ == BegunBy::kCall) {
        if (db_.InTransaction()) Run("ROLLBACK");
      } else if (begun_) {
        Run("ROLLBACK TO dtm_barrier_inner; RELEASE dtm_barrier_inner");
      }
    }
    Undo(const Undo&) = delete;
    Undo& operator=(const Undo&) = delete;
    void Begun() { begun_ = true; }
    void Keep() { kept_ = true; }

   private:
    void Run(const char* text) { sqlite3_exec(db_.Handle(), text, nullptr, nullptr, nullptr); }
    sql::Database& db_;
    Barrier& barrier_;
    const BegunBy begun_by_;
    bool begun_ = false;
    bool kept_ = false;
  };

  sql::Statement PrepareInsert() {
    try {
      // With the columns of its unique key, so that a table without it is refused.
      return sql::Statement(db_, "INSERT INTO " + quoted_ +
                                     " (trans_type, gid, branch_id, op, barrier_id, reason) "
                                     "VALUES (?1, ?2, ?3, ?4, ?5, ?6) "
                                     "ON CONFLICT (gid, branch_id, op, barrier_id) DO NOTHING");
    } catch (const sql::SqliteError& error) {
      if (error.Primary() != SQLITE_ERROR) throw;
      throw sql::SqliteError("'" + table_ + "' cannot serve as barrier table: " + error.what() +
                                 "; CreateBarrierTable makes one",
                             error.Code());
    }
  }

  std::string Where(const Barrier& barrier) const {
    return "barrier of " + barrier.Who() + ", table '" + table_ + "': ";
  }

  /// Runs our own statements; an error names the call.
  template <typename Statements>
  auto Ours(const Barrier& barrier, const Statements& statements) -> decltype(statements()) {
    try {
      return statements();
    } catch (const sql::SqliteError& error) {
      throw sql::SqliteError(Where(barrier) + error.what() + "; the call may come again",
                             error.Code());
    }
  }

  /// True: the row was not there before.
  bool Insert(const Barrier& barrier, std::string_view branch_id, std::string_view op,
              std::string_view number, std::string_view reason) {
    insert_.BindText(1, barrier.Type()).BindText(2, barrier.Gid()).BindText(3, branch_id);
    insert_.BindText(4, op).BindText(5, number).BindText(6, reason);
    insert_.Step();
    return db_.Changes() > 0;
  }

  /// Outside a transaction a savepoint begins one, and the insert that follows takes the write lock
  /// as BEGIN IMMEDIATE would. If the savepoint still exists at the end, the business has not ended it.
  void Begin(BegunBy begun_by) {
    if (begun_by == BegunBy::kProgram) return db_.Exec("SAVEPOINT dtm_barrier_inner");
    save_.Step();
  }

  Result Run(Barrier& barrier, BegunBy begun_by, const std::function<Result()>& business) {
    const sql::Exclusive exclusive(db_.Handle());
    CheckUse(barrier, begun_by);
    const std::string number = barrier.BeginCall();
    Undo undo(db_, barrier, begun_by);
    Ours(barrier, [&] { Begin(begun_by); });
    undo.Begun();
    const barrier::Decision decision = Ours(barrier, [&] {
      const std::string origin = barrier::OriginOf(barrier.Op());
      const bool origin_inserted =
          !origin.empty() && Insert(barrier, barrier.BranchId(), origin, number, barrier.Op());
      const bool own_inserted =
          Insert(barrier, barrier.BranchId(), barrier.Op(), number, barrier.Op());
      return barrier::Decide(barrier.Op(), origin_inserted, own_inserted);
    });
    Result result = Result::Success();
    switch (decision) {
      case barrier::Decision::kDuplicated:
        throw DuplicatedError("DUPLICATED: " + Where(barrier) +
                              "the local step ran before, or was forbidden when the coordinator "
                              "asked for it; QueryPrepared says which");
      case barrier::Decision::kRun: result = business(); break;
      case barrier::Decision::kNullCompensation:
      case barrier::Decision::kRepeated: break;
    }
    if (result.kind != Result::Kind::kSuccess) return result;
    Commit(barrier, begun_by);
    undo.Keep();
    return result;
  }

  void CheckUse(const Barrier& barrier, BegunBy begun_by) const {
    if (barrier.Type() == Name(TransType::kXa)) {
      throw LogicError(Where(barrier) +
                       "SQLite cannot prepare a transaction for xa; use saga or tcc");
    }
    if (begun_by == BegunBy::kCall && db_.InTransaction()) {
      throw LogicError(Where(barrier) +
                       "the connection is in a transaction already; end it, or use "
                       "CallInTransaction and commit before you answer");
    }
    if (begun_by == BegunBy::kProgram && !db_.InTransaction()) {
      throw LogicError(Where(barrier) +
                       "the connection is in no transaction; begin one with BEGIN IMMEDIATE, or "
                       "use Call");
    }
  }

  void Commit(const Barrier& barrier, BegunBy begun_by) {
    bool ended = false;  // inside the business
    try {
      if (begun_by == BegunBy::kProgram) return db_.Exec("RELEASE dtm_barrier_inner");
      release_.Step();
      ended = db_.InTransaction();  // it was a savepoint of the business that we released
    } catch (const sql::SqliteError& error) {
      const std::string text = Where(barrier) + error.what();
      const int code = error.Primary();
      ended = code == SQLITE_ERROR;  // no such savepoint
      // These may come after the commit has reached the disk.
      const bool in_doubt =
          code == SQLITE_IOERR || code == SQLITE_NOMEM || code == SQLITE_INTERRUPT;
      if (begun_by == BegunBy::kCall && in_doubt) {
        throw InDoubtError(text +
                           "; row and effect are both stored or both not, the same call "
                           "again settles it");
      }
      if (!ended) {
        throw sql::SqliteError(
            text + (begun_by == BegunBy::kCall ? "; it did not commit, nothing was stored"
                                               : "; roll the transaction back"),
            error.Code());
      }
    }
    if (ended) {
      throw LogicError(Where(barrier) +
                       "its transaction was ended inside the business, by COMMIT, ROLLBACK or an "
                       "error that SQLite answered with a rollback; leave the first two to the "
                       "barrier and pass every error on. What was written since is not covered");
    }
  }

  const std::string table_;
  const std::string quoted_;
  sql::Database db_;
  sql::Statement save_;
  sql::Statement release_;
  sql::Statement insert_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/base/version.hpp ----------------------------------------------------------------------

/// The version of the library. CMake and the packages read it from here.
/// Needs: nothing. Threads: a constant.

/// Needs: nothing. Threads: constants only.

namespace dtm {
/// Every public name lives in `dtm::v1`: two incompatible versions in one program fail to link
/// instead of mixing their layouts.
inline namespace v1 {

inline constexpr const char* kVersion = "0.1.0";

}  // namespace v1
}  // namespace dtm

// ---- dtm/base/payload.hpp ----------------------------------------------------------------------

/// Payloads: C++ values as the JSON text that is stored and sent. What JSON cannot hold is refused, never changed.
/// Needs: nlohmann/json. Threads: pure functions.

#include <cmath>

#include <nlohmann/json.hpp>

namespace dtm {
inline namespace v1 {
namespace payload {

/// nlohmann/json can write a T.
template <typename T>
inline constexpr bool kWritable = std::is_constructible_v<nlohmann::json, const T&>;

template <typename T, typename = void>
struct Readable : std::false_type {};
template <typename T>
struct Readable<T, std::void_t<decltype(std::declval<const nlohmann::json&>().template get<T>())>>
    : std::true_type {};

/// nlohmann/json can read a T, which then owns what it holds.
template <typename T>
inline constexpr bool kReadable =
    std::conjunction_v<std::negation<std::is_pointer<T>>, std::negation<std::is_reference<T>>,
                       std::negation<std::is_same<T, std::string_view>>, Readable<T>>;

/// The part of a value that JSON cannot hold (nlohmann would write something else), or null. `place`
/// returns where it is, as "/a/0".
inline const char* Unwritable(const nlohmann::json& value, std::string& place) {
  const char* found = nullptr;
  if (value.is_number_float()) {
    if (!std::isfinite(value.get<double>()))
      found = "a number that is not finite (NaN or infinity)";
  } else if (value.is_object()) {
    for (auto entry = value.begin(); entry != value.end() && found == nullptr; ++entry) {
      found = Unwritable(*entry, place);
      if (found != nullptr) place.insert(0, "/" + entry.key());
    }
  } else if (value.is_array()) {
    for (std::size_t i = 0; i < value.size() && found == nullptr; ++i) {
      found = Unwritable(value[i], place);
      if (found != nullptr) place.insert(0, "/" + std::to_string(i));
    }
  } else if (value.is_binary()) {
    found = "binary data";
  } else if (value.is_discarded()) {
    found = "a discarded value (a text that did not parse)";
  }
  return found;
}

/// The JSON text; `what` names it in errors: "gid 'g': the payload of step 0".
/// @throws LogicError  it cannot be written, or only as something else.
inline std::string Text(const std::string& what, const nlohmann::json& value) {
  std::string place;
  if (const char* found = Unwritable(value, place)) {
    throw LogicError(what + " cannot be written as JSON: " +
                     (place.empty() ? "it is " : "at '" + place + "' is ") + found +
                     ", which JSON does not have; check it before, or send a text or null in its "
                     "place");
  }
  try {
    return value.dump();
  } catch (const nlohmann::json::exception& error) {
    throw LogicError(what + " cannot be written as JSON: " + error.what());
  }
}

}  // namespace payload
}  // namespace v1
}  // namespace dtm

// ---- dtm/core/transaction.hpp ------------------------------------------------------------------

/// The transaction record: its definition, and how far it has come.
/// Needs: std. Threads: values only; a Definition is never changed once it is shared.
/// Protocol: §1 (branch ids), §2.1 (transaction body), §2.4 (registered branches), §4 (rows).

#include <cstdio>
#include <vector>

namespace dtm {
inline namespace v1 {

/// Options of one transaction; zero means "the coordinator's default".
struct TransOptions {
  bool wait_result =
      false;  ///< Submit returns when the transaction has ended, not when it is stored
  /// After this long an unfinished saga is rolled back, and a msg, tcc or xa waits no longer for its submit; a workflow has none.
  std::chrono::seconds timeout_to_fail{0};
  std::chrono::seconds request_timeout{0};  ///< deadline of one branch call by URL
  std::chrono::seconds retry_interval{0};   ///< first wait after an error; fixed wait after ONGOING
  /// How often the actions of a saga, counted together, are called again before it is rolled back; 0 = no limit.
  int retry_limit = 0;
  std::map<std::string, std::string> branch_headers;  ///< sent with every branch call by URL
};

/// The branch headers that say to which trace a transaction belongs (W3C Trace Context).
inline constexpr const char kTraceParent[] = "traceparent";
inline constexpr const char kTraceState[] = "tracestate";

/// `lower`: its name in lower case; in the headers it may be written otherwise. Null: there is none.
inline const std::string* FindBranchHeader(const TransOptions& options, std::string_view lower) {
  for (const auto& [name, value] : options.branch_headers) {
    if (name.size() == lower.size() && Lowered(name) == lower) return &value;
  }
  return nullptr;
}

inline bool IsTraceHeader(const std::string& name) {
  const std::string lower = Lowered(name);
  return lower == kTraceParent || lower == kTraceState;
}

/// What one branch does. It is named by a URL, or by `local:` and the name of a registered function;
/// empty = nothing to call. The payload is the request body, as text.
struct Step {
  std::string action;       ///< tcc: confirm; xa: both; workflow: what was called, see kOwnCode
  std::string compensate;   ///< tcc: cancel; xa: both; msg, workflow: none
  std::string payload;      ///< workflow: the recorded result
  std::string branch_id{};  ///< empty: the number of the step
  /// msg: `topic://name` of which `action` is a subscriber; workflow: the name its branch was given
  std::string topic{};
  Op op{};              ///< workflow: what was recorded; else given by the type
  bool failed = false;  ///< workflow: recorded as failed
  /// What counts against the limits.
  std::size_t UrlAndPayloadBytes() const {
    return action.size() + compensate.size() + payload.size();
  }
};

inline constexpr const char kLocalPrefix[] = "local:";
inline constexpr std::size_t kLocalPrefixSize = sizeof(kLocalPrefix) - 1;

inline bool IsLocal(std::string_view url) { return HasPrefix(url, kLocalPrefix); }

/// The names of functions that run inside the commit of their result begin with this. Without a result, such a function
/// has certainly had no effect.
inline constexpr const char kInTransactionPrefix[] = "tx/";

inline bool RunsInTransaction(std::string_view url) {
  return IsLocal(url) && HasPrefix(url.substr(kLocalPrefixSize), kInTransactionPrefix);
}

/// What a recorded step of a workflow was, if it called no URL and no function. Empty: it was recorded without this (by an
/// earlier dtm or another client, or through the Go server, which does not keep it).
inline constexpr const char kOwnCode[] = "do:";
inline constexpr const char kNoCall[] = "none:";

/// The branch under which a workflow records its decision, before its first callback; its result is the name of
/// Op::kCommit or Op::kRollback.
inline constexpr const char kDecision[] = "00";

inline constexpr const char kTopicPrefix[] = "topic://";
inline constexpr std::size_t kTopicPrefixSize = sizeof(kTopicPrefix) - 1;

inline bool IsTopic(std::string_view url) { return HasPrefix(url, kTopicPrefix); }

/// What a transaction has to do. Made as `Definition`, not as `const Definition`: see ActiveTable::AddStep.
struct Definition {
  std::string gid;
  TransType type = TransType::kSaga;
  std::vector<Step> steps;
  bool prepared_first = false;             ///< stored by a prepare, to run when it is submitted
  bool concurrent = false;                 ///< steps start at once, except for `orders`
  std::map<int, std::vector<int>> orders;  ///< step -> the steps that must have succeeded before it
  std::string
      query_prepared;  ///< msg: asked whether to deliver; workflow: called to resume it; else only shown
  std::chrono::seconds delay{0};  ///< msg: no delivery before this has passed since its creation
  bool json_rpc = false;          ///< branches whose url names a method are called by JSON-RPC
  std::string workflow;           ///< workflow: its name
  std::string data;               ///< workflow: what it was started with
  std::string
      custom_data;  ///< as a client elsewhere sent it; empty if it follows from the other fields
  TransOptions options;
};

/// It calls functions that are registered in programs, so only those can drive it.
inline bool CallsFunctions(const Definition& definition) {
  const auto is_local = [](const Step& step) {
    return IsLocal(step.action) || IsLocal(step.compensate);
  };
  return IsLocal(definition.query_prepared) ||
         std::any_of(definition.steps.begin(), definition.steps.end(), is_local);
}

/// The memory that it takes, including its rows in the record.
inline std::size_t BytesOf(const Step& step) {
  constexpr std::size_t kBytesOfBranch = 48;
  return sizeof(Step) + 2 * kBytesOfBranch + step.branch_id.size() + step.topic.size() +
         step.UrlAndPayloadBytes();
}
inline std::size_t BytesOf(const Definition& definition) {
  constexpr std::size_t kRecord = 512;
  std::size_t bytes = sizeof(Definition) + kRecord + definition.gid.size() +
                      definition.data.size() + definition.query_prepared.size() +
                      definition.workflow.size() + definition.custom_data.size();
  for (const auto& [name, value] : definition.options.branch_headers) {
    bytes += 2 * sizeof(std::string) + name.size() + value.size();
  }
  for (const auto& order : definition.orders) {
    bytes += sizeof order + order.second.size() * sizeof(int);
  }
  for (const Step& step : definition.steps) bytes += BytesOf(step);
  return bytes;
}

/// True if clients register its steps one after the other, while it is prepared.
inline bool RegistersSteps(TransType type) {
  return type == TransType::kTcc || type == TransType::kXa || type == TransType::kWorkflow;
}

/// True if it has a row "00" for a call of its initiator, before the rows of the steps.
inline bool HasQueryRow(TransType type) {
  return type == TransType::kMsg || type == TransType::kWorkflow;
}

/// The steps of a message as they were submitted: a topic is one, however many subscribers it has.
inline std::vector<std::pair<std::string, std::string>> SubmittedSteps(
    const Definition& definition) {
  std::vector<std::pair<std::string, std::string>> steps;
  std::string last;  // the number of the topic's step
  for (const Step& step : definition.steps) {
    const std::string number = step.branch_id.substr(0, step.branch_id.find('-'));
    const bool more = !step.topic.empty() && number == last;
    last = step.topic.empty() ? std::string() : number;
    if (!more) steps.emplace_back(step.topic.empty() ? step.action : step.topic, step.payload);
  }
  return steps;
}

/// Same content = the same transaction submitted again. Options and registered branches are not part
/// of it.
inline bool SameContent(const Definition& a, const Definition& b) {
  const auto same_step = [](const Step& x, const Step& y) {
    return x.action == y.action && x.compensate == y.compensate && x.payload == y.payload;
  };
  if (a.gid != b.gid || a.type != b.type || a.concurrent != b.concurrent || a.orders != b.orders ||
      a.workflow != b.workflow || a.data != b.data) {
    return false;
  }
  if (HasQueryRow(a.type) && a.query_prepared != b.query_prepared) return false;
  if (RegistersSteps(a.type)) return true;
  if (a.type == TransType::kMsg) return SubmittedSteps(a) == SubmittedSteps(b);
  return std::equal(a.steps.begin(), a.steps.end(), b.steps.begin(), b.steps.end(), same_step);
}

/// A hash of what SameContent compares, without the gid. It is stored, so it must never change; never 0.
inline std::uint64_t ContentHash(const Definition& definition) {
  StableHash hash;
  const auto add_number = [&](std::uint64_t number) {
    for (int i = 0; i < 64; i += 8) hash.Add(static_cast<unsigned char>(number >> i & 0xFF));
  };
  const auto add = [&](const std::string& text) {
    add_number(text.size());
    hash.Add(text);
  };
  add_number(static_cast<std::uint64_t>(definition.type));
  add_number(definition.concurrent ? 1 : 0);
  add_number(definition.orders.size());
  for (const auto& order : definition.orders) {
    add_number(static_cast<std::uint64_t>(order.first));
    add_number(order.second.size());
    for (const int step : order.second) add_number(static_cast<std::uint64_t>(step));
  }
  add(HasQueryRow(definition.type) ? definition.query_prepared : std::string());
  add(definition.workflow);
  add(definition.data);
  if (definition.type == TransType::kMsg) {
    for (const auto& step : SubmittedSteps(definition)) {
      add(step.first);
      add(step.second);
    }
  } else if (!RegistersSteps(definition.type)) {
    for (const Step& step : definition.steps) {
      for (const std::string* text : {&step.action, &step.compensate, &step.payload}) add(*text);
    }
  }
  return hash.Value() == 0 ? 1 : hash.Value();
}

/// How far one branch has come.
struct Branch {
  BranchStatus status = BranchStatus::kPrepared;
  bool in_flight = false;    ///< a call of this run is out, without a result yet; not stored
  bool unsent = false;       ///< it waits because its last call was not sent; not stored
  bool asked_when = false;   ///< it waits because the branch asked for that time (Retry-After)
  std::uint32_t tries = 0;   ///< calls that may have had an effect; > 0 = it may have run
  std::uint32_t errors = 0;  ///< consecutive errors, drives the waits
  Time next_try{};           ///< not called again before this
  Time deadline{};           ///< a URL call may still be running until then; 0 = none
  Time previous_deadline{};  ///< the same, of calls by previous runs only; not stored
  /// When it succeeded or failed; 0 before, and of records of store format 1.
  Time finished{};
};

/// A transaction as the coordinator drives it and the store keeps it.
///
/// The rows (`branches`) of a saga, tcc or xa are, for each step, what undoes it and what does it:
/// branches[2k] is its compensate, cancel or rollback, branches[2k+1] its action, confirm or commit.
/// Those of a message or workflow: first the question to its initiator (branch "00"), then a row for
/// each step.
struct Transaction {
  std::shared_ptr<const Definition> definition;
  Status status = Status::kSubmitted;
  std::vector<Branch> branches;
  Time created{};
  Time updated{};                 ///< when it last changed
  Time finished{};                ///< 0 while unfinished
  Time due{};                     ///< when it next needs the coordinator, after a restart too
  std::string reason;             ///< why it is rolled back; the text of the branch
  std::string result;             ///< workflow: what it returned
  std::string last_error;         ///< of the last call that did not succeed; for people
  std::uint32_t retry_count = 0;  ///< counts against retry_limit
  std::uint32_t reason_from = 0;  ///< 1 + the row whose FAILURE is the reason; 0 = none
  bool stuck = false;       ///< an invariant is broken: not driven until RetryNow or ForceStop
  bool unreadable = false;  ///< the stored record is damaged (see last_error); not stored
  bool other_app = false;   ///< as it was read: it calls functions of programs of another app
  bool expired = false;     ///< only its gid, type, status and `content` are left; not stored
  std::uint64_t content =
      0;  ///< expired: see ContentHash; 0 = it was prepared first, and is not compared
  std::uint64_t version = 0;  ///< of the stored record, 0 = none; writes are compare-and-set on it
  std::int64_t id = 0;        ///< the store's own key; 0 = not stored yet
  std::uint64_t owner = 0;    ///< as it was read: the coordinator that drives it, see Store::Owner
  std::uint64_t driver =
      0;  ///< the one that changed it last; 0 = it has the store for itself, or none did
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/core/endpoint.hpp ---------------------------------------------------------------------

/// A coordinator as a client sees it: in this process, or elsewhere.
/// Needs: std. Threads: implementations are thread-safe. Protocol: §2.2.

namespace dtm {
inline namespace v1 {

/// The coordinator's answer to what was asked: a result, or the error that Submit would throw.
struct Answer {
  TransResult result;
  std::exception_ptr error;

  /// The result, or throws the error.
  const TransResult& Get() const {
    if (error) std::rethrow_exception(error);
    return result;
  }
};
/// Gets the answer to one submission; must not throw.
using AnswerCallback = std::function<void(const Answer&)>;

/// A registered function as a builder sees it. Returned by Coordinator::Register; cheap to copy. `T` is the payload type,
/// so builders refuse another type at compile time.
template <typename T>
struct LocalBranch {
  std::string name;
  std::uint64_t registered_with = 0;  ///< the identity of a coordinator
};

/// A workflow as its coordinator knows it.
struct WorkflowState {
  Status status = Status::kPrepared;
  std::string reason;  ///< why it failed
  std::string result;  ///< what it returned
  TransOptions
      options;  ///< for its calls, if the coordinator reports them: request_timeout, branch_headers
  std::vector<Step> recorded;  ///< its steps so far: branch_id, op, payload = the result, failed
  std::string workflow{};      ///< its name; empty: not reported
  std::string data{};          ///< what it was started with
};

/// A call that the initiator makes itself: the try of a tcc, the action of an xa, the step of a workflow.
struct InitiatorCall {
  BranchInfo info;
  std::string url;      ///< or `local:` and the name of a function
  std::string payload;  ///< the body; empty = GET, but for xa
  TransOptions options;
  /// Tells the branch the coordinator's URL, so that it can register itself (xa) or branches below it (tcc).
  bool tell_coordinator = false;
  std::string phase2_url;
};

/// The names of the query parameters that tell a branch so (protocol §3).
inline constexpr const char kCoordinatorParameter[] = "dtm";
inline constexpr const char kPhase2UrlParameter[] = "phase2_url";

/// Every method that changes something throws InDoubtError if the change may be stored or not (no answer, or the store
/// began to fail; doing the same again settles it), and StoreError if it is certainly not stored. An embedded coordinator
/// answers within its commit, or after 3 s if its store fails; a remote one within RemoteOptions::timeout (10 s).
class Endpoint {
 public:
  virtual ~Endpoint() = default;

  /// A gid that nobody has used; see MustGenGid.
  virtual std::string NewGid() = 0;

  /// Submits a transaction. Returns once it is durable, or with `wait_result` once it has ended or must wait
  /// for a timer, after 6 s at the latest.
  /// @throws InDoubtError   no answer: it may be stored. Submit the same again.
  /// @throws RejectedError  refused (other content under this gid); nothing was changed. Its kind BadInput: a limit is
  ///                        exceeded or a value is malformed, so it can never be accepted as it is.
  /// @throws FailureError   this transaction was rolled back.
  /// @throws StoreError     the coordinator's store failed; nothing was stored.
  virtual TransResult Submit(Definition definition) = 0;

  /// The same, and waits up to `timeout` for the end. Throws as Submit, but never FailureError: the returned
  /// status says so.
  virtual TransResult SubmitAndWait(Definition definition, Duration timeout) = 0;

  /// Submit, without waiting: `callback` gets what Submit would have returned or thrown.
  /// @throws RejectedError  refused at once; the callback is not called.
  virtual void SubmitAsync(Definition definition, AnswerCallback callback) = 0;

  /// Stores a transaction that runs when it is submitted under the same gid: a message with its steps, or a tcc
  /// or xa, whose branches are registered one by one.
  /// @throws as Submit
  virtual TransResult Prepare(Definition definition) = 0;

  /// Rolls a prepared transaction back. Returns once that is decided.
  /// @throws InDoubtError   no answer: it may be decided. Abort again.
  /// @throws RejectedError  it is submitted, has ended, is unknown, or has another type.
  virtual void Abort(const std::string& gid, TransType type, const std::string& reason) = 0;

  /// Adds a branch to a prepared tcc (action = confirm, compensate = cancel) or xa, or records a step of a
  /// workflow; durable when it returns. The same again is accepted.
  /// @throws InDoubtError   no answer: it may be registered. Register it again.
  /// @throws RejectedError  the transaction is not prepared (any more), or this branch is registered with other content.
  virtual void RegisterBranch(const std::string& gid, TransType type, Step step) = 0;

  /// Stores a workflow, or finds the stored one and returns how far it has come. Name and data are compared if the
  /// definition has them.
  /// @throws InDoubtError   no answer: it may be stored. Prepare it again.
  /// @throws RejectedError  the gid belongs to another type or workflow, or was started with other data.
  virtual WorkflowState PrepareWorkflow(Definition definition) = 0;

  /// The same for a stored workflow that has to be resumed; stores nothing.
  /// @throws InDoubtError   no answer.
  /// @throws RejectedError  as PrepareWorkflow; or it is not stored: the call was a mistake, or came too late.
  virtual WorkflowState ResumeWorkflow(Definition definition) = 0;

  /// Ends a workflow: kSucceed, or kFailed and why. The same status again is accepted.
  /// @throws InDoubtError   no answer: it may be stored. Finish it again.
  /// @throws RejectedError  it is unknown, or has ended with another status.
  virtual void FinishWorkflow(const std::string& gid, Status status, const std::string& reason,
                              const std::string& result) = 0;

  /// Calls a branch at once, without the coordinator's retries, and waits for the result, at most
  /// `call.options.request_timeout` (3 s by default). The text of a success is the body of the reply.
  /// @throws RejectedError  the url cannot be called.
  virtual Result CallBranch(const InitiatorCall& call) = 0;

  /// The url by which this coordinator calls a function of this process.
  /// @throws LogicError  it cannot call it.
  virtual std::string UrlOfLocal(const std::string& name, std::uint64_t registered_with) const = 0;
};

/// A new gid, made here without asking. The name is the Go client's.
inline std::string MustGenGid(Endpoint& endpoint) { return endpoint.NewGid(); }

}  // namespace v1
}  // namespace dtm

// ---- dtm/core/url.hpp --------------------------------------------------------------------------

/// URLs of branches and others, taken apart and checked where they are given, and shown without credentials.
/// Needs: std. Threads: pure functions. Protocol: §3 (calling branches). Source: RFC 3986; user and password as Go reads
/// them.

namespace dtm {
inline namespace v1 {

struct Url {
  std::string scheme;  ///< lower case: "http"
  std::string host;    ///< lower case; an IPv6 address without its brackets
  int port = 0;
  std::string target;       ///< path and query, ready for the request line
  std::string credentials;  ///< "user:password", decoded; empty = none. Never shown

  /// `host:port` as the Host header wants it.
  std::string Authority() const {
    const bool ipv6 = host.find(':') != std::string::npos;
    std::string text = ipv6 ? "[" + host + "]" : host;
    if (port != DefaultPort()) text += ":" + std::to_string(port);
    return text;
  }
  /// `http://host:port`: calls with the same origin share connections and limits.
  std::string Origin() const { return scheme + "://" + Authority(); }
  bool Tls() const { return scheme == "https"; }
  bool Http() const { return scheme == "http" || Tls(); }
  int DefaultPort() const { return Tls() ? 443 : Http() ? 80 : 0; }
};

namespace url_parts {

/// Also makes it lower-case.
inline bool ValidHost(std::string& host, bool (*allowed)(char)) {
  host = Lowered(host);
  return !host.empty() && std::all_of(host.begin(), host.end(), allowed);
}

/// 1 .. 65535, or 0 if it is no port.
inline int Port(std::string_view text) {
  if (text.empty() || text.size() > 5) return 0;
  int port = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return 0;
    port = port * 10 + (c - '0');
  }
  return port <= 65535 ? port : 0;
}

/// Path and query as they are; spaces and bytes beyond ASCII would break the request line.
inline std::string Target(std::string_view rest) {
  std::string target = rest.empty() || rest.front() != '/' ? "/" : "";
  target.reserve(rest.size() + 1);
  for (const char c : rest) {
    if (c == '#') break;
    if (c > ' ' && c < 127) {
      target += c;
    } else {
      target += PercentEncoded(std::string_view(&c, 1));
    }
  }
  return target;
}

/// With "***" instead of what stands between `begin` and `at`.
inline std::string Hidden(std::string_view url, std::size_t begin, std::size_t at) {
  return std::string(url.substr(0, begin)) + "***" + std::string(url.substr(at));
}

/// Where user and password stand, and the '@' behind them.
struct User {
  std::size_t begin = 0;
  std::size_t at = std::string::npos;  ///< npos: there are none
};
inline User FindUser(const std::string& url) {
  const std::size_t scheme = url.find("://");
  if (scheme == std::string::npos || IsLocal(url) || IsTopic(url)) return {};
  const std::size_t begin = scheme + 3;
  const std::size_t end = (std::min)(url.find_first_of("/?#", begin), url.size());
  const std::size_t at = std::string_view(url).substr(0, end).rfind('@');
  return {begin, at == std::string::npos || at < begin ? std::string::npos : at};
}

/// As Go reads it: the password may be missing, other characters than these are encoded.
inline bool Credentials(std::string_view text, std::string& credentials) {
  constexpr std::string_view kMarks = "-._:~!$&'()*+,;=%@";
  for (const char c : text) {
    const bool word = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (!word && kMarks.find(c) == std::string_view::npos) return false;
  }
  if (text.empty()) return true;
  const std::size_t colon = text.find(':');
  credentials = PercentDecoded(text.substr(0, colon)) + ':';
  if (colon != std::string_view::npos) credentials += PercentDecoded(text.substr(colon + 1));
  return true;
}

/// Where the credentials of something broken end is not known, so whatever they can be is hidden.
inline Error Refusal(const std::string& text, const char* what, const char* why) {
  const std::size_t at = text.rfind('@');
  const std::size_t scheme = text.find("://");
  const std::size_t begin = scheme == std::string::npos || scheme > at ? 0 : scheme + 3;
  std::string shown;
  for (const char c : (at == std::string::npos ? text : Hidden(text, begin, at)).substr(0, 200))
    shown += c >= ' ' && c != 127 ? c : '?';
  return Error(std::string(what) + " \"" + shown + "\" " + why);
}

inline constexpr const char kNoHttp[] = "does not start with http:// or https://";

}  // namespace url_parts

/// The url as it may be shown, stored as a text for people, or logged: without user and password.
inline std::string ShownUrl(const std::string& url) {
  const url_parts::User user = url_parts::FindUser(url);
  return user.at == std::string::npos ? url : url_parts::Hidden(url, user.begin, user.at);
}

/// Both call the same, as whoever it is.
inline bool SameCall(const std::string& url, const std::string& other) {
  const auto bare = [](std::string text) {
    const url_parts::User user = url_parts::FindUser(text);
    return user.at == std::string::npos ? text : text.erase(user.begin, user.at + 1 - user.begin);
  };
  return url == other || bare(url) == bare(other);
}

/// The scheme in lower case; empty if there is none (RFC 3986, §3.1).
inline std::string SchemeOf(const std::string& url) {
  const std::size_t colon = url.find("://");
  if (colon == std::string::npos) return {};
  std::string scheme = Lowered(std::string_view(url).substr(0, colon));
  const auto letter = [](char c) { return c >= 'a' && c <= 'z'; };
  const bool valid = std::all_of(scheme.begin(), scheme.end(), [&](char c) {
    return letter(c) || (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.';
  });
  return valid && !scheme.empty() && letter(scheme.front()) ? scheme : std::string();
}

/// A URL of any scheme; whether somebody calls that is for UrlCallers to say.
/// @throws Error  a sentence that says what is wrong with `text`, which is `what`.
inline Url ParseUrl(const std::string& text, const char* what = "the branch URL") {
  const auto refuse = [&text, what](const char* why) {
    return url_parts::Refusal(text, what, why);
  };
  if (text.size() > kMaxUrlBytes) throw refuse("is too long");
  for (const char c : text) {
    if ((c >= 0 && c < ' ') || c == 127) throw refuse("contains a control character");
  }
  Url url;
  url.scheme = SchemeOf(text);
  if (url.scheme.empty()) throw refuse(url_parts::kNoHttp);

  const std::string_view after = std::string_view(text).substr(url.scheme.size() + 3);
  std::string_view authority = after.substr(0, after.find_first_of("/?#"));
  url.target = url_parts::Target(after.substr(authority.size()));
  if (const std::size_t at = authority.rfind('@'); at != std::string_view::npos) {
    if (!url_parts::Credentials(authority.substr(0, at), url.credentials)) {
      throw refuse("has a user name or password with a character that has to be written as %XX");
    }
    authority.remove_prefix(at + 1);
  }
  std::string_view rest;  // of the authority, behind the host
  bool valid = false;
  if (!authority.empty() && authority.front() == '[') {
    const std::size_t end = authority.find(']');
    if (end == std::string_view::npos) throw refuse("has an IPv6 address without its closing ]");
    url.host = authority.substr(1, end - 1);
    rest = authority.substr(end + 1);
    valid = url_parts::ValidHost(url.host,
                                 [](char c) {
                                   return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') ||
                                          c == ':' || c == '.';
                                 }) &&
            url.host.find(':') != std::string::npos;
  } else {
    const std::size_t end =
        (authority.find(':') == std::string_view::npos) ? authority.size() : authority.find(':');
    url.host = authority.substr(0, end);
    rest = authority.substr(end);
    valid = url_parts::ValidHost(url.host, [](char c) {
      return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-' || c == '.' || c == '_';
    });
  }
  if (!valid) throw refuse("has no valid host name");
  url.port = url.DefaultPort();
  if (!rest.empty()) {
    url.port = rest.front() == ':' ? url_parts::Port(rest.substr(1)) : 0;
    if (url.port == 0) throw refuse("has no valid port (1 to 65535)");
  }
  return url;
}

/// @throws Error  as ParseUrl, also if it is no URL of http or https.
inline Url ParseHttpUrl(const std::string& text, const char* what = "the branch URL") {
  Url url = ParseUrl(text, what);
  if (!url.Http()) throw url_parts::Refusal(text, what, url_parts::kNoHttp);
  return url;
}

/// Empty, or a URL of http or https.
/// @throws LogicError
inline void CheckUrlOption(const char* name, const std::string& url) {
  if (url.empty()) return;
  try {
    (void)ParseHttpUrl(url, name);
  } catch (const Error& error) {
    throw LogicError(std::string("the option ") + error.what());
  }
}

/// Why nobody could call this branch, wherever: empty if it is a URL of any scheme, names a function or a topic, or is empty
/// (nothing to call).
inline std::string UrlProblem(const std::string& url) {
  if (url.empty() || IsLocal(url) || IsTopic(url)) return {};
  try {
    (void)ParseUrl(url);
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/client/branch_args.hpp ----------------------------------------------------------------

/// What every builder does with a branch and a payload: checks that they fit, and turns them into text.
/// Needs: nlohmann/json. Threads: pure functions.

namespace dtm {
inline namespace v1 {

/// Nothing to undo in this step (or nothing to do): `.Add(notify, kNoBranch, payload)`. Note that even
/// the last step may have to be undone: it may time out, or the saga may be cancelled while it runs.
struct NoBranch {};
inline constexpr NoBranch kNoBranch{};

namespace branch_args {

template <typename Branch>
struct IsLocalBranch : std::false_type {};
template <typename T>
struct IsLocalBranch<LocalBranch<T>> : std::true_type {
  using Type = T;
};

/// Checks the type of a branch. Call it in a static_assert, so that this error is the first that the compiler reports.
template <typename Branch>
constexpr bool CheckBranch() {
  static_assert(!std::is_null_pointer_v<Branch>,
                "dtm: nullptr is no branch; where there is nothing to call write dtm::kNoBranch");
  static_assert(IsLocalBranch<Branch>::value || std::is_same_v<Branch, NoBranch> ||
                    std::is_convertible_v<Branch, std::string>,
                "dtm: a branch is a URL, a registered function, or dtm::kNoBranch");
  return true;
}

/// Checks that a branch can take this payload.
template <typename Branch, typename Payload>
constexpr bool CheckPayload() {
  static_assert(CheckBranch<Branch>());
  static_assert(
      payload::kWritable<Payload>,
      "dtm: nlohmann/json cannot write the payload; write "
      "NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Type, members...) in the namespace of its type");
  if constexpr (IsLocalBranch<Branch>::value) {
    static_assert(std::is_same_v<typename IsLocalBranch<Branch>::Type, Payload>,
                  "dtm: this function was registered for another payload type");
  }
  return true;
}

template <typename Payload>
nlohmann::json Json(const Payload& payload) {
  if constexpr (payload::kWritable<Payload>) {
    return nlohmann::json(payload);
  } else {
    return {};  // CheckPayload has reported it
  }
}

/// For a branch that is called later with the payload of another one (compensation, confirm, cancel): a registered
/// function may take a type of its own, if that can be read from the same JSON.
/// @throws LogicError  it cannot. Without this check the error would come only when the branch is needed.
template <typename Payload, typename Branch>
void CheckReads(const Branch&, const std::string& gid, const std::string& where,
                const nlohmann::json& payload) {
  static_assert(CheckBranch<Branch>());
  if constexpr (IsLocalBranch<Branch>::value) {
    using Type = typename IsLocalBranch<Branch>::Type;
    if constexpr (!std::is_same_v<Type, Payload>) {
      try {
        (void)payload.get<Type>();
      } catch (const nlohmann::json::exception& error) {
        throw LogicError("gid '" + gid + "': the payload of " + where +
                         " is not what one of its functions takes: " + error.what());
      }
    }
  }
}

inline std::string Url(const Endpoint&, const std::string&, NoBranch) { return {}; }

/// @throws LogicError  the function belongs to another coordinator.
template <typename T>
std::string Url(const Endpoint& endpoint, const std::string&, const LocalBranch<T>& branch) {
  return endpoint.UrlOfLocal(branch.name, branch.registered_with);
}

/// @throws LogicError     it is the name of a function instead of what Register returned, or a null pointer.
/// @throws RejectedError  it is not a URL that can be called.
inline std::string Url(const Endpoint&, const std::string& gid, const std::string& url) {
  if (IsLocal(url)) {
    throw LogicError("gid '" + gid + "': '" + url +
                     "' names a function; pass what Register returned, so that its payload type is "
                     "checked");
  }
  const std::string problem = UrlProblem(url);
  if (!problem.empty()) throw RejectedError("gid '" + gid + "': " + problem);
  return url;
}

/// @throws LogicError, RejectedError  as above, or it is null.
inline std::string Url(const Endpoint& endpoint, const std::string& gid, const char* url) {
  if (url != nullptr) return Url(endpoint, gid, std::string(url));
  throw LogicError("gid '" + gid +
                   "': a branch is a null pointer; where there is nothing to call write kNoBranch");
}

/// The JSON text of a payload; `where` names its branch in errors.
/// @throws LogicError  JSON cannot hold it.
inline std::string Text(const std::string& gid, const std::string& where,
                        const nlohmann::json& payload) {
  return payload::Text("gid '" + gid + "': the payload of " + where, payload);
}

}  // namespace branch_args
}  // namespace v1
}  // namespace dtm

// ---- dtm/client/option_setters.hpp -------------------------------------------------------------

/// The setters that every builder has.
/// Needs: std. Threads: one builder by one thread at a time. Protocol: §2.1 (options).

namespace dtm {
inline namespace v1 {

/// `Builder` derives from this, so that chained calls keep its type and its value category. The values are
/// checked by Submit, which throws RejectedError; 0 means the coordinator's default.
template <typename Builder>
class OptionSetters {
 public:
  /// Submit returns when the transaction has ended or must wait for a timer, or after 6 s.
  Builder& SetWaitResult(bool wait = true) & {
    Options().wait_result = wait;
    return Self();
  }
  Builder SetWaitResult(bool wait = true) && { return std::move(SetWaitResult(wait)); }

  /// A saga is rolled back if it has not succeeded by then, counted from its creation; by default it has no timeout. Of a msg,
  /// tcc or xa it is the time for its submit (35 s, see Options::timeout_to_fail). 1 s to 1 day.
  Builder& SetTimeoutToFail(std::chrono::seconds timeout) & {
    Options().timeout_to_fail = timeout;
    return Self();
  }
  Builder SetTimeoutToFail(std::chrono::seconds timeout) && {
    return std::move(SetTimeoutToFail(timeout));
  }

  /// The first wait after an error (it doubles with each further error, up to an hour), and the wait after
  /// ONGOING. 1 s to 1 day; default: 10 s, see Options::retry_interval.
  Builder& SetRetryInterval(std::chrono::seconds interval) & {
    Options().retry_interval = interval;
    return Self();
  }
  Builder SetRetryInterval(std::chrono::seconds interval) && {
    return std::move(SetRetryInterval(interval));
  }

  /// How often the actions of a saga, counted together, are called again after a call without a definite result;
  /// the next such call rolls the saga back. So SetRetryLimit(3) for a saga with one action allows four calls, as with
  /// dtm's own server. 0: no limit. Calls that did not start do not count. Only saga actions have this limit.
  Builder& SetRetryLimit(int limit) & {
    Options().retry_limit = limit;
    return Self();
  }
  Builder SetRetryLimit(int limit) && { return std::move(SetRetryLimit(limit)); }

  /// The deadline of one branch call by URL; 1 s to 1 day. Default: 3 s, see Options::request_timeout.
  Builder& SetRequestTimeout(std::chrono::seconds timeout) & {
    Options().request_timeout = timeout;
    return Self();
  }
  Builder SetRequestTimeout(std::chrono::seconds timeout) && {
    return std::move(SetRequestTimeout(timeout));
  }

  /// Sent with every branch call by URL; at most 32 headers of 4 KiB.
  Builder& AddBranchHeader(const std::string& name, const std::string& value) & {
    Options().branch_headers[name] = value;
    return Self();
  }
  Builder AddBranchHeader(const std::string& name, const std::string& value) && {
    return std::move(AddBranchHeader(name, value));
  }

 private:
  Builder& Self() { return static_cast<Builder&>(*this); }
  TransOptions& Options() { return Self().MutableOptions(); }
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/client/msg.hpp ------------------------------------------------------------------------

/// The two-phase message builder: branches that are called if and only if a local transaction was committed.
/// Needs: nlohmann/json. Threads: one builder by one thread at a time. Protocol: §4.2, §11.1, §11.3.

namespace dtm {
inline namespace v1 {

/// A message under construction: a movable value.
class Msg : public OptionSetters<Msg> {
 public:
  /// See NewMsg.
  Msg(Endpoint& endpoint, std::string gid) : endpoint_(&endpoint) {
    definition_.gid = std::move(gid);
    definition_.type = TransType::kMsg;
  }

  /// Adds a branch, a URL or a registered function, and its payload. Branches are called in this order, each
  /// until it succeeds. A branch cannot refuse, so it must always be able to do its work in the end.
  /// @throws LogicError  the function belongs to another coordinator; JSON cannot hold the payload (NaN,
  /// a text that is not UTF-8).
  /// @throws RejectedError  the URL cannot be called (no http://, no host, ...).
  template <typename Action, typename Payload>
  Msg& Add(const Action& action, const Payload& payload) & {
    static_assert(branch_args::CheckPayload<Action, Payload>());
    return AddStep(branch_args::Url(*endpoint_, definition_.gid, action),
                   branch_args::Json(payload));
  }
  template <typename Action, typename Payload>
  Msg Add(const Action& action, const Payload& payload) && {
    return std::move(Add(action, payload));
  }

  /// Adds all subscribers of the topic, as they are when the message is stored.
  /// @throws LogicError  JSON cannot hold the payload.
  template <typename Payload>
  Msg& AddTopic(const std::string& topic, const Payload& payload) & {
    static_assert(branch_args::CheckPayload<std::string, Payload>());
    return AddStep(kTopicPrefix + topic, branch_args::Json(payload));
  }
  template <typename Payload>
  Msg AddTopic(const std::string& topic, const Payload& payload) && {
    return std::move(AddTopic(topic, payload));
  }

  /// No branch is called until this much time has passed since the message was stored; at most 366 days.
  Msg& SetDelay(std::chrono::seconds delay) & {
    definition_.delay = delay;
    return *this;
  }
  Msg SetDelay(std::chrono::seconds delay) && { return std::move(SetDelay(delay)); }

  /// Calls all branches at once, instead of one after the other.
  Msg& SetConcurrent() & {
    definition_.concurrent = true;
    return *this;
  }
  Msg SetConcurrent() && { return std::move(SetConcurrent()); }

  /// Stores the message; no branch is called before Submit. If that does not come within the timeout (35 s, see
  /// SetTimeoutToFail), `query_prepared` is asked: success means deliver, FAILURE means forget it.
  /// `query_prepared` is a URL or a function registered for nlohmann::json, which gets null.
  /// @throws as Submit; LogicError: the function belongs to another coordinator.
  template <typename Query>
  void Prepare(const Query& query_prepared) {
    static_assert(branch_args::CheckBranch<Query>());
    if constexpr (branch_args::IsLocalBranch<Query>::value) {
      static_assert(
          std::is_same_v<typename branch_args::IsLocalBranch<Query>::Type, nlohmann::json>,
          "dtm: the query of a message gets no payload; register it for nlohmann::json");
    }
    definition_.query_prepared = branch_args::Url(*endpoint_, definition_.gid, query_prepared);
    endpoint_->Prepare(definition_);
  }

  /// Submits the message for delivery, with or without a Prepare before; it is durable when this returns. May be repeated.
  /// Returns after one commit (with SetWaitResult: when it has ended or must wait, after 6 s at the latest); a
  /// RemoteCoordinator waits for the reply, at most RemoteOptions::timeout (10 s).
  /// @throws InDoubtError   there was no answer; the message may be stored. Submit again.
  /// @throws RejectedError  a limit, a topic without subscribers, other content; nothing was stored.
  /// @throws FailureError   it was aborted.
  /// @throws StoreError     the coordinator could not store it; nothing was stored.
  TransResult Submit() const { return endpoint_->Submit(definition_); }

  /// Submit, then waits up to `timeout` for the end (Duration::max(): for ever): the returned status is unfinished if that did
  /// not come.
  /// @throws as Submit, but a message that was aborted is returned, not thrown.
  [[nodiscard]] TransResult SubmitAndWait(Duration timeout) const {
    return endpoint_->SubmitAndWait(definition_, timeout);
  }

  /// Prepare, `business`, Submit. `business` runs a local transaction. It gets a `const BranchInfo&` to make its
  /// barrier from, and returns nothing or Result. `query_prepared` reads the row of that barrier:
  ///
  ///   msg.DoAndSubmit(query, [&](const dtm::BranchInfo& who) {
  ///     dtm::Barrier barrier = dtm::BarrierFrom(who);
  ///     return table.Call(barrier, [&](sqlite3* db) { Debit(db, 30); });
  ///   });
  ///
  /// FailureError or Result::Failure: nothing was committed, and the message is aborted. After any other error it is
  /// not known whether `business` committed, so `query_prepared` is asked at once. If it returns success, the message is
  /// submitted and this returns normally.
  /// @throws InDoubtError  also if `business` committed but the submit was refused for now (too much is waiting, the
  /// store failed): the message is prepared, and will be delivered when the coordinator asks `query_prepared`.
  /// @throws what `business` threw; else as Submit.
  template <typename Query, typename Business>
  TransResult DoAndSubmit(const Query& query_prepared, const Business& business) {
    static_assert(callable::Check<Business, const BranchInfo&>(),
                  "dtm: what DoAndSubmit runs takes const dtm::BranchInfo&");
    Prepare(query_prepared);
    const BranchInfo info{definition_.gid, TransType::kMsg, "00", Op::kMsg, {}};
    std::exception_ptr error;
    const Result done = CatchAsResult([&]() -> Result {
      try {
        return ResultOf(business, info);
      } catch (...) {
        error = std::current_exception();
        throw;
      }
    });
    if (done.kind == Result::Kind::kSuccess) return SubmitCommitted();
    const Result committed = done.kind == Result::Kind::kFailure ? done : AskInitiator(info);
    if (committed.kind == Result::Kind::kSuccess) return SubmitCommitted();
    if (committed.kind == Result::Kind::kFailure) Abort(done.text);
    if (error) std::rethrow_exception(error);
    if (committed.kind == Result::Kind::kFailure) throw FailureError(committed.text);
    throw InDoubtError("gid '" + definition_.gid +
                       "': the local transaction gave no definite answer (" + done.text +
                       "); the coordinator will ask " + ShownUrl(definition_.query_prepared));
  }

  /// As given to NewMsg.
  const std::string& Gid() const { return definition_.gid; }
  /// What Submit gives to the coordinator.
  const Definition& Content() const { return definition_; }

 private:
  friend class OptionSetters<Msg>;
  TransOptions& MutableOptions() { return definition_.options; }

  Msg& AddStep(std::string url, const nlohmann::json& payload) {
    Step step;
    step.action = std::move(url);
    step.payload = branch_args::Text(definition_.gid,
                                     "step " + std::to_string(definition_.steps.size()), payload);
    definition_.steps.push_back(std::move(step));
    return *this;
  }

  /// A refusal says "nothing was changed". That would be false here: the local transaction is committed.
  TransResult SubmitCommitted() const {
    const auto in_doubt = [this](const Error& error) {
      return InDoubtError("gid '" + definition_.gid +
                          "': the local transaction is committed and the message prepared, but its "
                          "submit was refused (" +
                          error.what() + "); submit it again, or the coordinator will ask " +
                          ShownUrl(definition_.query_prepared));
    };
    try {
      return Submit();
    } catch (const BusyError& error) {
      throw in_doubt(error);
    } catch (const StoreError& error) {
      throw in_doubt(error);
    }
  }

  Result AskInitiator(const BranchInfo& info) const {
    InitiatorCall call;
    call.info = info;
    call.url = definition_.query_prepared;
    call.options = definition_.options;
    return CatchAsResult([&] { return endpoint_->CallBranch(call); });
  }

  /// If this does not reach the coordinator, the coordinator asks the initiator later.
  void Abort(const std::string& reason) const {
    (void)CatchAsResult([&] {
      endpoint_->Abort(definition_.gid, TransType::kMsg, reason);
      return Result::Success();
    });
  }

  Endpoint* endpoint_;
  Definition definition_;
};

/// A message for `endpoint`, a Coordinator or a RemoteCoordinator, which must outlive the builder.
inline Msg NewMsg(Endpoint& endpoint, std::string gid) { return Msg(endpoint, std::move(gid)); }
Msg NewMsg(Endpoint&& endpoint, std::string gid) = delete;

}  // namespace v1
}  // namespace dtm

// ---- dtm/client/saga.hpp -----------------------------------------------------------------------

/// The saga builder: steps with their compensations, for any coordinator.
/// Needs: nlohmann/json. Threads: one builder by one thread at a time.
/// Protocol: §4.1, §11.1.

namespace dtm {
inline namespace v1 {

/// A saga under construction: a movable value. Every method before Submit only changes the builder.
class Saga : public OptionSetters<Saga> {
 public:
  /// See NewSaga.
  Saga(Endpoint& endpoint, std::string gid) : endpoint_(&endpoint) {
    definition_.gid = std::move(gid);
    definition_.type = TransType::kSaga;
  }

  /// Adds a step: what to do, how to undo it, and the payload that both get.
  ///
  /// A branch is a URL, a function registered with the coordinator, or kNoBranch. The payload is
  /// anything nlohmann/json can serialise, and is serialised here; if the action is a registered
  /// function it must be of the function's payload type. A compensation may take another type, which
  /// can be read from the same JSON. At most 1000 steps of 256 KiB.
  ///
  /// An action that failed, or gave no definite result, is compensated too, since it may have had an
  /// effect. So a compensation must do nothing if its action did nothing.
  /// @throws LogicError  the function belongs to another coordinator; JSON cannot hold the payload (NaN,
  ///                     a text that is not UTF-8), or the compensation cannot read it.
  /// @throws RejectedError  the URL cannot be called (no http://, no host, ...).
  template <typename Action, typename Compensate, typename Payload>
  Saga& Add(const Action& action, const Compensate& compensate, const Payload& payload) & {
    static_assert(branch_args::CheckPayload<Action, Payload>());
    static_assert(branch_args::CheckBranch<Compensate>());
    const std::string& gid = definition_.gid;
    const std::string where = "step " + std::to_string(definition_.steps.size());
    const nlohmann::json json = branch_args::Json(payload);
    Step step;
    step.payload = branch_args::Text(gid, where, json);
    branch_args::CheckReads<Payload>(compensate, gid, where, json);
    step.action = branch_args::Url(*endpoint_, gid, action);
    step.compensate = branch_args::Url(*endpoint_, gid, compensate);
    definition_.steps.push_back(std::move(step));
    return *this;
  }
  template <typename Action, typename Compensate, typename Payload>
  Saga Add(const Action& action, const Compensate& compensate, const Payload& payload) && {
    return std::move(Add(action, compensate, payload));
  }

  /// `step` starts only after the steps in `after` have succeeded, and is compensated before them. Steps
  /// are counted from 0. Use it with SetConcurrent. Submit refuses orders that form a cycle.
  Saga& AddBranchOrder(int step, std::vector<int> after) & {
    definition_.orders[step] = std::move(after);
    return *this;
  }
  Saga AddBranchOrder(int step, std::vector<int> after) && {
    return std::move(AddBranchOrder(step, std::move(after)));
  }

  /// Starts all steps at once, except for the orders of AddBranchOrder.
  Saga& SetConcurrent() & {
    definition_.concurrent = true;
    return *this;
  }
  Saga SetConcurrent() && { return std::move(SetConcurrent()); }

  /// Gives the saga to the coordinator. Returns once it is durable there, not once it has run (with SetWaitResult:
  /// once it has ended or must wait, after 6 s at the latest). May be repeated: the same saga never runs twice.
  /// @throws InDoubtError   there was no answer; the saga may be stored. Submit again.
  /// @throws RejectedError  a limit, or the gid exists with other content; nothing was stored.
  /// @throws FailureError   the saga of this gid was rolled back.
  /// @throws StoreError     the coordinator could not store it; nothing was stored.
  /// Cost: one commit, shared with everything else that is submitted at that moment.
  TransResult Submit() const { return endpoint_->Submit(definition_); }

  /// Submit, then waits up to `timeout` for the end; Duration::max(): for ever.
  /// @return succeed, failed (with the reason) or, at the timeout, the unfinished status.
  /// @throws as Submit, but a saga that was rolled back is returned, not thrown.
  [[nodiscard]] TransResult SubmitAndWait(Duration timeout) const {
    return endpoint_->SubmitAndWait(definition_, timeout);
  }

  /// Submit without waiting. `callback` gets what Submit would have returned or thrown. It runs on a thread
  /// of the coordinator, so it must be quick and must not wait for the coordinator.
  /// @throws RejectedError  refused at once (a limit, too much is waiting); the callback is not called.
  template <typename Callback>
  void SubmitAsync(Callback callback) const {
    static_assert(callable::CheckMutable<Callback, const Answer&>(),
                  "dtm: the callback of SubmitAsync takes const dtm::Answer&");
    endpoint_->SubmitAsync(definition_, callable::Keep<void(const Answer&)>(std::move(callback)));
  }

  /// As given to NewSaga.
  const std::string& Gid() const { return definition_.gid; }
  /// What Submit gives to the coordinator.
  const Definition& Content() const { return definition_; }

 private:
  friend class OptionSetters<Saga>;
  TransOptions& MutableOptions() { return definition_.options; }

  Endpoint* endpoint_;
  Definition definition_;
};

/// A saga for `endpoint`, a Coordinator or a RemoteCoordinator, which must outlive the builder.
inline Saga NewSaga(Endpoint& endpoint, std::string gid) { return Saga(endpoint, std::move(gid)); }
Saga NewSaga(Endpoint&& endpoint, std::string gid) = delete;

}  // namespace v1
}  // namespace dtm

// ---- dtm/core/rows.hpp -------------------------------------------------------------------------

/// The rows of a transaction: which step and operation each stands for, and what is called for it.
/// Needs: std. Threads: pure functions. Protocol: §1 (branch ids, operations), §4 (rows).

namespace dtm {
inline namespace v1 {

/// Rows of a saga, tcc or xa.
inline std::size_t CompensateOf(std::size_t step) { return 2 * step; }
inline std::size_t ActionOf(std::size_t step) { return 2 * step + 1; }

/// Rows of a message or workflow.
inline constexpr std::size_t kQueryRow = 0;
inline std::size_t DeliveryOf(std::size_t step) { return step + 1; }

inline std::size_t RowCount(const Definition& definition) {
  const std::size_t steps = definition.steps.size();
  return HasQueryRow(definition.type) ? 1 + steps : 2 * steps;
}
/// The step of a row that is not the query row.
inline std::size_t StepOf(TransType type, std::size_t row) {
  return HasQueryRow(type) ? row - 1 : row / 2;
}

inline Op OpOf(TransType type, std::size_t row) {
  const bool undo = row % 2 == 0;
  switch (type) {
    case TransType::kSaga: return undo ? Op::kCompensate : Op::kAction;
    case TransType::kTcc: return undo ? Op::kCancel : Op::kConfirm;
    case TransType::kXa: return undo ? Op::kRollback : Op::kCommit;
    case TransType::kMsg: return row == kQueryRow ? Op::kMsg : Op::kAction;
    case TransType::kWorkflow: return row == kQueryRow ? Op::kResume : Op::kAction;
  }
  return Op::kAction;
}
inline Op OpOf(const Definition& definition, std::size_t row) {
  if (HasQueryRow(definition.type) && row == kQueryRow) return OpOf(definition.type, row);
  const Op op = definition.steps[StepOf(definition.type, row)].op;
  return op == Op{} ? OpOf(definition.type, row) : op;
}

/// "01", "02", ... "99", "100": two digits, 1-based.
inline std::string NumberOf(std::size_t step) {
  char text[24];
  std::snprintf(text, sizeof text, "%02zu", step + 1);
  return text;
}
inline std::string BranchIdOf(const Definition& definition, std::size_t row) {
  if (HasQueryRow(definition.type) && row == kQueryRow) return "00";
  const std::size_t step = StepOf(definition.type, row);
  const std::string& own = definition.steps[step].branch_id;
  return own.empty() ? NumberOf(step) : own;
}

/// The row that is called by this branch id and operation; nothing: there is none.
inline std::optional<std::size_t> RowOf(const Definition& definition, const std::string& branch_id,
                                        Op op) {
  for (std::size_t row = 0; row < RowCount(definition); ++row) {
    if (OpOf(definition, row) == op && BranchIdOf(definition, row) == branch_id) return row;
  }
  return std::nullopt;
}

inline const std::string& UrlOf(const Definition& definition, std::size_t row) {
  if (HasQueryRow(definition.type)) {
    return row == kQueryRow ? definition.query_prepared : definition.steps[row - 1].action;
  }
  const Step& step = definition.steps[row / 2];
  return row % 2 == 1 ? step.action : step.compensate;
}

inline const std::string& PayloadOf(const Definition& definition, std::size_t row) {
  if (HasQueryRow(definition.type) && row == kQueryRow) return definition.data;
  return definition.steps[StepOf(definition.type, row)].payload;
}

/// After steps were registered: adds a row for each, with the recorded status.
inline void AddMissingRows(Transaction& transaction) {
  const Definition& definition = *transaction.definition;
  while (transaction.branches.size() < RowCount(definition)) {
    Branch branch;
    if (definition.type == TransType::kWorkflow && !transaction.branches.empty()) {
      const Step& step = definition.steps[transaction.branches.size() - 1];
      branch.status = step.failed ? BranchStatus::kFailed : BranchStatus::kSucceed;
    }
    transaction.branches.push_back(branch);
  }
}

/// Whether the row may be called in this status: while prepared, the question to the initiator; then the actions, or
/// the compensations.
inline bool HasItsTurn(const Transaction& transaction, std::size_t index) {
  const TransType type = transaction.definition->type;
  if (HasQueryRow(type)) {
    return (index == kQueryRow) == (transaction.status == Status::kPrepared);
  }
  return (index % 2 == 0) == (transaction.status == Status::kAborting);
}

inline BranchInfo InfoOf(const Definition& definition, std::size_t row) {
  return {definition.gid, definition.type, BranchIdOf(definition, row), OpOf(definition, row),
          definition.workflow};
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/client/sub_branches.hpp ---------------------------------------------------------------

/// The ids of the branches that an initiator calls itself, one after the other.
/// Needs: std. Threads: one. Protocol: §1 (branch ids of tcc, xa and workflow).

namespace dtm {
inline namespace v1 {

/// "01", "02", ...; below a branch "02": "0201", "0202", ...
class SubBranches {
 public:
  /// `parent`: the branch below which they are; empty: none.
  explicit SubBranches(std::string parent = {}) : parent_(std::move(parent)) {}

  /// @throws LogicError  more than 99, or nested too deep.
  std::string Next() {
    if (count_ >= kMostBranches) throw LogicError("a transaction makes at most 99 branches itself");
    if (parent_.size() >= kLongestParent) {
      throw LogicError("branch " + parent_ + " is nested too deep for branches below it");
    }
    return parent_ + NumberOf(count_++);
  }

 private:
  static constexpr std::size_t kMostBranches = 99;
  static constexpr std::size_t kLongestParent = 20;
  std::string parent_;
  std::size_t count_ = 0;
};

/// What the result of a branch means to the initiator that called it: the body of its reply, or an exception.
/// @throws OngoingError  it is not finished yet.
/// @throws FailureError  it said no.
/// @throws Error         it gave no definite result.
inline std::string BodyOf(const Result& result, const std::string& what) {
  if (result.kind == Result::Kind::kSuccess) return result.text;
  if (result.kind == Result::Kind::kFailure) throw FailureError(what + " failed: " + result.text);
  if (result.kind == Result::Kind::kOngoing) {
    throw AskingToWait(OngoingError(what + " is not finished yet: " + result.text),
                       result.retry_after);
  }
  throw AskingToWait(Error(what + " gave no definite answer: " + result.text), result.retry_after);
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/client/global_transaction.hpp ---------------------------------------------------------

/// What tcc and xa share: prepare, run the initiator's code, then submit or abort; and the calls that code makes.
/// Needs: std. Threads: the caller's. Protocol: §11.2 (GlobalTransaction).

namespace dtm {
inline namespace v1 {

/// A transaction that is prepared, and whose branches the initiator calls itself: what Tcc and Xa derive from.
class GlobalTransaction {
 public:
  /// As it was given to the function that began it.
  const std::string& Gid() const { return gid_; }

 protected:
  /// `parent`: the branch below which the new ones are; empty: there is none.
  GlobalTransaction(Endpoint& endpoint, std::string gid, TransOptions options,
                    std::string parent = {})
      : endpoint_(&endpoint),
        gid_(std::move(gid)),
        options_(std::move(options)),
        branches_(std::move(parent)) {}

  /// A call of this transaction; its URL and payload are still empty.
  InitiatorCall NewCall(TransType type, std::string branch_id, Op op) const {
    InitiatorCall call;
    call.info = {gid_, type, std::move(branch_id), op, {}};
    call.options = options_;
    call.tell_coordinator = true;
    return call;
  }

  /// Makes the call and returns the body of its reply. `what`: "the try", for the sentence of an error.
  /// @throws as BodyOf.
  std::string Call(const InitiatorCall& call, const char* what) const {
    if (call.url.empty()) return {};
    return BodyOf(endpoint_->CallBranch(call),
                  "gid '" + gid_ + "': the " + what + " of branch " + call.info.branch_id);
  }

  Endpoint* endpoint_;
  std::string gid_;
  TransOptions options_;
  SubBranches branches_;
};

/// Prepares, runs `body`, and submits; if `body` throws, aborts and lets the exception pass.
template <typename Body>
TransResult RunGlobalTransaction(Endpoint& endpoint, Definition definition, const Body& body) {
  endpoint.Prepare(definition);
  std::string reason = "it threw something that is not a std::exception";
  try {
    try {
      body();
    } catch (const std::exception& error) {
      reason = error.what();
      throw;
    }
  } catch (...) {
    try {
      endpoint.Abort(definition.gid, definition.type, reason);
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): its timeout will abort it
    }
    throw;
  }
  return endpoint.Submit(std::move(definition));
}

/// The same with a new `Transaction` (a Tcc or an Xa), which `body` gets.
template <typename Transaction, typename Body>
TransResult RunGlobalTransaction(Endpoint& endpoint, TransType type, std::string gid,
                                 TransOptions options, const Body& body) {
  Definition definition;
  definition.gid = std::move(gid);
  definition.type = type;
  definition.options = std::move(options);
  Transaction transaction(endpoint, definition.gid, definition.options);
  return RunGlobalTransaction(endpoint, std::move(definition), [&] {
    if constexpr (callable::kFits<Body, Transaction&>) body(transaction);
  });
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/client/tcc.hpp ------------------------------------------------------------------------

/// TCC: branches are tried one by one by the initiator, then all are confirmed, or all cancelled.
/// Needs: nlohmann/json. Threads: one Tcc by one thread at a time. Protocol: §4.3, §11.2.

namespace dtm {
inline namespace v1 {

/// A prepared TCC transaction; the body of TccGlobalTransaction gets it.
class Tcc : public GlobalTransaction {
 public:
  /// See TccGlobalTransaction.
  Tcc(Endpoint& endpoint, std::string gid, TransOptions options)
      : GlobalTransaction(endpoint, std::move(gid), std::move(options)) {}

  /// Inside a try, to have branches below it. `caller` is what the try was called with; `options` are for the calls of
  /// its own tries (request_timeout, branch_headers).
  Tcc(Endpoint& endpoint, const BranchInfo& caller, TransOptions options = {})
      : GlobalTransaction(endpoint, caller.gid, std::move(options), caller.branch_id) {}

  /// Registers the branch, then calls its try; the call has `request_timeout` (3 s by default). Confirm or cancel follow
  /// when the transaction is decided, with the same payload. Cancel also comes if the try failed or never arrived, and must
  /// do nothing then. Branches are URLs or registered functions; a function for confirm or cancel may take a type of its own,
  /// if that can be read from the same JSON. Returns the body of the reply (empty for a function).
  /// @throws InDoubtError   there was no answer to the registration; the try was not called.
  /// @throws FailureError   the try refused: let it pass, and everything is cancelled.
  /// @throws RejectedError  the transaction is decided already (its timeout), or a URL cannot be called; the try was not called.
  /// @throws LogicError     JSON cannot hold the payload, a function cannot read it, or it is the 100th branch of this
  ///                        initiator; the try was not called.
  /// @throws Error          the try gave no definite result (OngoingError: not yet). Let it pass, too.
  template <typename Payload, typename Try, typename Confirm, typename Cancel>
  std::string CallBranch(const Payload& payload, const Try& try_branch, const Confirm& confirm,
                         const Cancel& cancel) {
    static_assert(branch_args::CheckPayload<Try, Payload>());
    Step step;
    step.branch_id = branches_.Next();
    const std::string where = "branch " + step.branch_id;
    const nlohmann::json json = branch_args::Json(payload);
    step.payload = branch_args::Text(gid_, where, json);
    branch_args::CheckReads<Payload>(confirm, gid_, where, json);
    branch_args::CheckReads<Payload>(cancel, gid_, where, json);
    step.action = branch_args::Url(*endpoint_, gid_, confirm);
    step.compensate = branch_args::Url(*endpoint_, gid_, cancel);
    InitiatorCall call = NewCall(TransType::kTcc, step.branch_id, Op::kTry);
    call.url = branch_args::Url(*endpoint_, gid_, try_branch);
    call.payload = step.payload;
    endpoint_->RegisterBranch(gid_, TransType::kTcc, std::move(step));
    return Call(call, "try");
  }
};

/// Prepares a TCC, runs `body(Tcc&)` in this thread, and submits. Returns once it is durable that all branches will be confirmed (with
/// options.wait_result: once they are, after 6 s at the latest). If `body` throws, all branches are cancelled and the
/// exception passes. After a crash they are cancelled when options.timeout_to_fail (35 s) is over.
/// @throws InDoubtError   there was no answer to prepare or submit; ask for the gid.
/// @throws RejectedError  the timeout came before the submit: everything is cancelled.
/// @throws what `body` threw; else as Saga::Submit.
template <typename Body>
TransResult TccGlobalTransaction(Endpoint& endpoint, std::string gid, TransOptions options,
                                 const Body& body) {
  static_assert(callable::Check<Body, Tcc&>(), "dtm: the body takes dtm::Tcc&");
  return RunGlobalTransaction<Tcc>(endpoint, TransType::kTcc, std::move(gid), std::move(options),
                                   body);
}
/// The same with options that are all left to the coordinator.
template <typename Body>
TransResult TccGlobalTransaction(Endpoint& endpoint, std::string gid, const Body& body) {
  return TccGlobalTransaction(endpoint, std::move(gid), TransOptions{}, body);
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/client/workflow_ledger.hpp ------------------------------------------------------------

/// The recorded steps of a workflow, from earlier runs and from this one. A recorded step is not done again. If this run
/// does not match the record, nothing more is done.
/// Needs: std. Threads: thread-safe. Protocol: §4.5, §11.7; what a step was is this library's addition.

#include <set>

namespace dtm {
inline namespace v1 {

/// A step was done, but its result cannot be recorded.
struct NotKept {
  std::string why;
};

/// A limit was exceeded by something that was done already: the workflow fails, and what was done is undone.
class BeyondLimit : public FailureError {
 public:
  using FailureError::FailureError;
};

class WorkflowLedger {
 public:
  using Work = std::function<std::string()>;

  WorkflowLedger(Endpoint& endpoint, std::string gid, const WorkflowState& state)
      : endpoint_(&endpoint), gid_(std::move(gid)) {
    for (const Step& step : state.recorded) {
      recorded_[{step.branch_id, step.op}] = step;
      answers_bytes_ += step.payload.size();
    }
  }

  /// Does `work` and records its result, or returns the recorded result. `step` identifies it: branch_id, op, action
  /// and topic.
  /// @throws FailureError  it failed, now or before. BeyondLimit: it was done, but its result cannot be kept; that is
  /// recorded, so it is not done again.
  /// @throws LogicError    something else is recorded: see Refuse.
  /// @throws what `work` threw, and then nothing is recorded.
  std::string Take(Step step, const Work& work) {
    if (std::optional<std::string> before = Before(step)) return std::move(*before);
    std::string unkept;
    try {
      step.payload = work();
      unkept = Unkept(step);
    } catch (const FailureError& error) {
      step.payload = Truncated(error.what(), kMaxReasonBytes);
      step.failed = true;
      Record(step);
      throw;
    } catch (const NotKept& error) {
      unkept = error.why;
    }
    if (!unkept.empty()) {
      step.op = Op::kBusiness;
      step.payload = Truncated(unkept, kMaxReasonBytes);
      Record(step);
      Doom(unkept);
    }
    Record(step);
    return step.payload;
  }

  /// From now on no step begins and the workflow fails, even if the function catches the exception.
  [[noreturn]] void Doom(const std::string& why) {
    const std::lock_guard<std::mutex> lock(mutex_);
    doomed_ = Truncated(why, kMaxReasonBytes);
    throw BeyondLimit(doomed_);
  }

  /// The function has returned `result`.
  /// @throws BeyondLimit  a limit was met.
  void CheckKept(const std::string& result) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!doomed_.empty()) throw BeyondLimit(doomed_);
    }
    if (result.size() <= kMaxPayloadBytes) return;
    Doom("gid '" + gid_ + "': the workflow returned " + std::to_string(result.size()) +
         " bytes; the limit is " + std::to_string(kMaxPayloadBytes));
  }

  /// The function has ended. Everything recorded must have been replayed, and callbacks that have begun must belong to
  /// this decision. `callbacks`: the branches that have one for it.
  /// @throws LogicError  see Refuse.
  void Decide(bool succeeded, const std::set<std::string>& callbacks) {
    CheckDecision(succeeded, callbacks);
    if (callbacks.empty()) return;
    // Before the first callback begins: if the program dies in it, the next run must not decide otherwise, nor may
    // another process, which the coordinator refuses.
    Step decision;
    decision.branch_id = kDecision;
    decision.op = Op::kAction;
    decision.action = kOwnCode;
    decision.payload = Name(succeeded ? Op::kCommit : Op::kRollback);
    if (recorded_.count({decision.branch_id, decision.op}) == 0) Record(decision);
  }

  /// @throws LogicError  this run was refused, but the function ignored that.
  void CheckNotRefused() {
    const std::lock_guard<std::mutex> lock(mutex_);
    CheckRefused();
  }

 private:
  using Key = std::pair<std::string, Op>;

  void CheckDecision(bool succeeded, const std::set<std::string>& callbacks) {
    const std::lock_guard<std::mutex> lock(mutex_);
    CheckRefused();
    const Op wrong = succeeded ? Op::kRollback : Op::kCommit;
    for (const auto& entry : recorded_) {
      const Step& step = entry.second;
      if (step.branch_id == kDecision) {
        if (step.payload == Name(wrong)) RefuseDecision(step, succeeded);
        continue;
      }
      const bool callback = step.op == Op::kRollback || step.op == Op::kCommit;
      const bool action = step.op == Op::kAction || step.op == Op::kBusiness;
      if (action && done_.count({step.branch_id, Op::kAction}) == 0) {
        Refuse(Named(step) + " is recorded, and this run ended without it");
      } else if (step.op == wrong) {
        RefuseDecision(step, succeeded);
      } else if (callback && callbacks.count(step.branch_id) == 0) {
        Refuse(Named(step) + " is recorded, and this run has registered none");
      }
    }
  }

  [[noreturn]] void RefuseDecision(const Step& step, bool succeeded) {
    Refuse(Named(step) + " is recorded, so it was decided to " +
           (succeeded ? "roll back" : "commit") + ", and this run " +
           (succeeded ? "succeeded" : "failed"));
  }

  std::optional<std::string> Before(const Step& step) {
    const std::lock_guard<std::mutex> lock(mutex_);
    CheckRefused();
    const Key key{step.branch_id, step.op};
    if (done_.count(key) > 0) {
      throw LogicError("branch " + step.branch_id + " has such a step already; take a NewBranch()");
    }
    auto found = recorded_.find(key);
    if (found == recorded_.end() && step.op == Op::kAction) {
      found = recorded_.find({step.branch_id, Op::kBusiness});
    }
    if (found == recorded_.end()) {
      if (step.op != Op::kAction) return std::nullopt;
      if (!doomed_.empty()) throw BeyondLimit(doomed_);
      CheckUndecided(step);
      return std::nullopt;
    }
    const Step& old = found->second;
    const bool same = SameCall(old.action, step.action) && old.topic == step.topic;
    if (!old.action.empty() && !same) {
      Refuse(Named(step) + " was recorded as " + What(old) + " and is " + What(step) + " now");
    }
    done_.insert(key);
    if (old.op == Op::kBusiness) throw BeyondLimit(doomed_ = old.payload);
    if (old.failed) throw FailureError(old.payload);
    return old.payload;
  }

  /// Once a decision is recorded, there can be no new steps.
  void CheckUndecided(const Step& step) {
    for (const auto& entry : recorded_) {
      const Op op = entry.first.second;
      if (op != Op::kRollback && op != Op::kCommit && entry.first.first != kDecision) continue;
      Refuse(Named(entry.second) +
             " is recorded, so all steps were done before, and this run has " + Named(step) +
             " as well, " + What(step));
    }
  }

  /// Why the result cannot be recorded; empty if it can.
  std::string Unkept(const Step& step) {
    if (step.op != Op::kAction) return {};  // a callback, which has no result
    const std::string done = "gid '" + gid_ + "': branch " + step.branch_id +
                             " was done, but its answer cannot be kept: ";
    if (step.payload.size() > kMaxPayloadBytes) {
      return done + "it has " + std::to_string(step.payload.size()) + " bytes; the limit is " +
             std::to_string(kMaxPayloadBytes);
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    answers_bytes_ += step.payload.size();
    if (answers_bytes_ <= kMaxAnswersBytes) return {};
    return done + "with those before it has " + std::to_string(answers_bytes_) +
           " bytes; the limit is " + std::to_string(kMaxAnswersBytes);
  }

  void Record(const Step& step) {
    endpoint_->RegisterBranch(gid_, TransType::kWorkflow, step);
    const std::lock_guard<std::mutex> lock(mutex_);
    done_.insert({step.branch_id, step.op == Op::kBusiness ? Op::kAction : step.op});
  }

  /// From now on this run does and undoes nothing, even if the function catches the exception.
  [[noreturn]] void Refuse(const std::string& why) {
    refused_ = "gid '" + gid_ + "' does not go on: " + why +
               ". Nothing more is done or undone. Run the code that recorded it, or ForceStop it; "
               "new code of a workflow "
               "gets a new name";
    throw LogicError(refused_);
  }
  void CheckRefused() const {
    if (!refused_.empty()) throw LogicError(refused_);
  }

  static std::string Named(const Step& step) {
    if (step.branch_id == kDecision) return "the decision to " + step.payload;
    return "the " + std::string(Name(step.op)) + " of branch " + step.branch_id;
  }
  static std::string What(const Step& step) {
    const std::string what = step.action == kOwnCode  ? "own code"
                             : step.action == kNoCall ? "no call"
                                                      : "a call of " + Truncated(step.action, 200);
    return step.topic.empty() ? what : what + " named '" + step.topic + "'";
  }

  Endpoint* endpoint_;
  const std::string gid_;
  std::mutex mutex_;
  std::map<Key, Step> recorded_;  // before this run
  std::set<Key> done_;            // in this run, or replayed by it
  std::size_t answers_bytes_ = 0;
  std::string refused_;
  std::string doomed_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/client/workflow_function.hpp ----------------------------------------------------------

/// Checks the functions, steps and callbacks of workflows, and turns their results into text.
/// Needs: nlohmann/json. Threads: one thread at a time for each function that is returned.

namespace dtm {
inline namespace v1 {

class Workflow;

namespace workflow_function {

/// A workflow, which returns nothing or a text.
template <typename T, typename Function>
std::function<std::string(Workflow&, const T&)> Erase(Function function) {
  static_assert(payload::kReadable<T> && payload::kWritable<T>,
                "dtm: nlohmann/json has to read and to write the data T of RegisterWorkflow<T>; "
                "write NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(T, members...) in the namespace of T");
  static_assert(callable::Check<Function, Workflow&, const T&>(),
                "dtm: a workflow takes `dtm::Workflow&` and `const T&`, where T is the data of "
                "RegisterWorkflow<T>");
  return callable::Keep<std::string(Workflow&, const T&)>(
      [function = std::move(function)](Workflow& workflow, const T& data) -> std::string {
        if constexpr (callable::kFits<Function, Workflow&, const T&>) {
          using Returned = std::invoke_result_t<const Function&, Workflow&, const T&>;
          constexpr bool text = std::is_constructible_v<std::string, Returned>;
          static_assert(std::is_void_v<Returned> || text,
                        "dtm: a workflow returns nothing or a text");
          if constexpr (std::is_void_v<Returned>) {
            function(workflow, data);
          } else if constexpr (text) {
            return std::string(function(workflow, data));
          }
        }
        return {};
      });
}

/// The result of a step as JSON text.
/// @throws NotKept  JSON cannot hold it; the step was done, so it is not done again.
template <typename Returned>
std::string Written(const Returned& returned, const std::string& where) {
  static_assert(
      payload::kWritable<Returned>,
      "dtm: nlohmann/json cannot write what the step returns; write "
      "NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Type, members...) in the namespace of its type");
  try {
    return payload::Text(where + ": what the step returned", branch_args::Json(returned));
  } catch (const std::exception& error) {
    throw NotKept{error.what()};
  }
}

/// Runs a step, and returns its result as the text to record. `where` names its branch.
/// @throws what it threw, or the exception that its Result stands for.
template <typename Step>
std::string Answer(const Step& step, const std::string& where) {
  static_assert(callable::Check<Step>(),
                "dtm: a step of a workflow takes nothing; capture what it needs");
  if constexpr (callable::kFits<Step>) {
    using Returned = std::decay_t<std::invoke_result_t<const Step&>>;
    if constexpr (std::is_void_v<Returned>) {
      step();
    } else if constexpr (std::is_same_v<Returned, Result>) {
      return BodyOf(step(), where);
    } else if constexpr (std::is_convertible_v<Returned, std::string> &&
                         !std::is_same_v<Returned, nlohmann::json>) {
      return step();
    } else {
      return Written(step(), where);
    }
  }
  return {};
}

/// A callback: it returns nothing or Result.
template <typename Function>
std::function<void()> Callback(Function function, const std::string& where) {
  static_assert(callable::CheckMutable<Function>(),
                "dtm: a callback of a workflow takes nothing; capture what it needs");
  if constexpr (callable::kFitsMutable<Function>) {
    using Returned = std::invoke_result_t<Function&>;
    const std::function<Returned()> kept = callable::Keep<Returned()>(std::move(function));
    return [kept, what = where + ": its callback"] { (void)BodyOf(ResultOf(kept), what); };
  } else {
    return {};
  }
}

/// A callback that runs in both cases and is told whether the workflow succeeded.
template <typename Function>
auto Finish(Function finish) {
  static_assert(callable::CheckMutable<Function, bool>(),
                "dtm: the callback of OnFinish takes bool: whether the workflow succeeded");
  if constexpr (callable::kFitsMutable<Function, bool>) {
    using Returned = std::invoke_result_t<Function&, bool>;
    return callable::Keep<Returned(bool)>(std::move(finish));
  } else {
    return std::function<void(bool)>();
  }
}

}  // namespace workflow_function
}  // namespace v1
}  // namespace dtm

// ---- dtm/client/workflow_run.hpp ---------------------------------------------------------------

/// One run of a workflow, and its branches.
/// Needs: nlohmann/json. Threads: NewBranch by one thread; the branches it returned may be used side by side.
/// Protocol: §4.5, §11.7.

namespace dtm {
inline namespace v1 {

class WorkflowBranch;

/// One run of a workflow; its function gets this. The function may run several times (after a crash, or after an error
/// other than FailureError). Recorded steps are not done again, but return their recorded results. So the function must do
/// the same steps in the same order every time, must do nothing that matters outside of steps, and must fail or succeed by
/// the results of steps only. A step that differs from the recorded one (own code or a call, the URL or function, the name
/// of its branch) is refused with a LogicError, before it or anything after it is done or undone. The transaction stays as
/// it is and is tried again, with alerts, until the code that recorded it is back. (A Go server does not store what a step
/// was; there only missing steps and another decision are noticed.)
class Workflow {
 public:
  /// A run of a workflow has one; see WorkflowHandle::Execute.
  Workflow(Endpoint& endpoint, std::string gid, const WorkflowState& state)
      : endpoint_(&endpoint),
        gid_(std::move(gid)),
        options_(state.options),
        ledger_(endpoint, gid_, state) {}
  Workflow(const Workflow&) = delete;
  Workflow& operator=(const Workflow&) = delete;

  /// The next branch, "01", "02", ...: it has at most one step (Do or Call), one OnRollback and one OnCommit. Its name is
  /// recorded with them; it is the only thing that tells steps of own code (Do) apart.
  /// @throws BeyondLimit  more than 400: the workflow is rolled back.
  /// @throws LogicError   in a callback; a name of more than 128 bytes, or not UTF-8.
  WorkflowBranch NewBranch(std::string name = {});

  /// As given to Execute.
  const std::string& Gid() const { return gid_; }

 private:
  friend class WorkflowBranch;
  template <typename T>
  friend class WorkflowHandle;
  using Callback = std::function<void()>;
  struct Undo {
    Step step;  ///< what it is, for the ledger
    Callback callback;
  };

  std::string CallUrl(const std::string& branch_id, Op op, const std::string& url,
                      const std::string& payload) const {
    if (url.empty()) return {};
    InitiatorCall call;
    call.info = {gid_, TransType::kWorkflow, branch_id, op, {}};
    call.url = url;
    call.payload = payload;
    call.options = options_;
    const std::string who = "gid '" + gid_ + "': branch " + branch_id;
    const Result answer = endpoint_->CallBranch(call);
    if (answer.done)
      throw NotKept{who + " was done, but its answer cannot be kept: " + answer.text};
    return BodyOf(answer, who);
  }

  void Keep(std::vector<Undo>& list, Step step, Callback callback) {
    if (deciding_) throw LogicError("a callback of a workflow registers no callbacks");
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const Undo& other : list) {
      if (other.step.branch_id != step.branch_id) continue;
      throw LogicError("branch " + step.branch_id +
                       " has such a callback already; take a NewBranch()");
    }
    list.push_back({std::move(step), std::move(callback)});
  }

  /// A branch that failed did nothing, so it needs no undo.
  void ForgetRollbackOf(const std::string& branch_id) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto undo = rollbacks_.begin(); undo != rollbacks_.end(); ++undo) {
      if (undo->step.branch_id != branch_id) continue;
      rollbacks_.erase(undo);
      return;
    }
  }

  /// In reverse order of registration. A callback has to succeed in the end: if it throws, the run is repeated.
  void RunCallbacks(bool succeeded) {
    deciding_ = true;
    const std::vector<Undo>& list = succeeded ? commits_ : rollbacks_;
    std::set<std::string> branches;
    for (const Undo& undo : list) branches.insert(undo.step.branch_id);
    ledger_.Decide(succeeded, branches);
    for (auto undo = list.rbegin(); undo != list.rend(); ++undo) {
      (void)ledger_.Take(undo->step, [&] {
        try {
          undo->callback();
        } catch (const FailureError& error) {
          throw Error("gid '" + gid_ + "': a callback of branch " + undo->step.branch_id +
                      " must not fail: " + error.what());
        }
        return std::string();
      });
    }
  }

  Endpoint* endpoint_;
  const std::string gid_;
  const TransOptions options_;
  WorkflowLedger ledger_;
  std::size_t branches_ = 0;
  std::mutex mutex_;  // of the callbacks
  std::vector<Undo> rollbacks_;
  std::vector<Undo> commits_;
  bool deciding_ = false;
};

/// One branch of a workflow; a value that refers to its workflow.
class WorkflowBranch {
 public:
  /// See Workflow::NewBranch.
  WorkflowBranch(Workflow& workflow, std::string id, std::string name)
      : workflow_(&workflow), id_(std::move(id)), name_(std::move(name)) {}

  /// `undo()` is called if the workflow fails, after later branches were undone. Register it before the step.
  /// It returns nothing or Result, must do nothing if the step did nothing, and may be called several times.
  /// @throws LogicError  the branch has such a callback already, or this is inside a callback.
  template <typename Function>
  WorkflowBranch& OnRollback(Function undo) {
    return Keep(Op::kRollback, kOwnCode, workflow_function::Callback(std::move(undo), Where()));
  }
  /// The same, as a branch: a URL or a registered function with its payload.
  template <typename Branch, typename Payload>
  WorkflowBranch& OnRollback(const Branch& branch, const Payload& payload) {
    return CallLater(Op::kRollback, branch, payload);
  }

  /// Called if the workflow succeeds.
  template <typename Function>
  WorkflowBranch& OnCommit(Function commit) {
    return Keep(Op::kCommit, kOwnCode, workflow_function::Callback(std::move(commit), Where()));
  }
  /// The same, as a branch: a URL or a registered function with its payload.
  template <typename Branch, typename Payload>
  WorkflowBranch& OnCommit(const Branch& branch, const Payload& payload) {
    return CallLater(Op::kCommit, branch, payload);
  }

  /// Called in both cases, with whether it succeeded.
  template <typename Function>
  WorkflowBranch& OnFinish(Function finish) {
    const auto shared = workflow_function::Finish(std::move(finish));
    OnCommit([shared] { return shared(true); });
    return OnRollback([shared] { return shared(false); });
  }

  /// Runs `step()` here and records its result: nothing, a text, or anything nlohmann can serialise. Returns the
  /// recorded text. If `step` returns a Result, a success gives its text, and anything else is thrown. The step may run
  /// again if the program dies before the record is written: give it a barrier.
  /// @throws InDoubtError  the coordinator gave no answer to the record; the workflow is run again later.
  /// @throws FailureError  it failed (and is recorded as that): let it pass, and the workflow is rolled back.
  /// @throws BeyondLimit   it was done, but JSON cannot hold its result (NaN), or it has more than 256 KiB, or the results of
  /// all steps have more than 4 MiB: the workflow is rolled back, with this branch, even if you catch this.
  /// @throws LogicError    another step is recorded in its place: let it pass; see Workflow.
  /// @throws what it threw  nothing is recorded, and the workflow is run again later: after OngoingError at the
  /// retry interval, after other exceptions with growing waits.
  template <typename Function>
  std::string Do(const Function& step) {
    return RunStep(kOwnCode, [&] { return workflow_function::Answer(step, Where()); });
  }

  /// Calls a branch, a URL or a registered function, and records the body of its reply; returns it. A URL call has
  /// `request_timeout` (3 s by default).
  /// @throws as Do; Error: it gave no definite result. RejectedError: the URL cannot be called.
  template <typename Branch, typename Payload>
  std::string Call(const Branch& branch, const Payload& payload) {
    const Target target = TargetOf(branch, payload);
    return RunStep(target.what, [&] {
      return workflow_->CallUrl(id_, Op::kAction, target.url, target.payload);
    });
  }

  /// "01", "02", ...
  const std::string& Id() const { return id_; }

 private:
  struct Target {
    std::string what;  ///< as recorded; the url by which a function is called may change
    std::string url;
    std::string payload;
  };

  Step StepOf(Op op, std::string what) const {
    Step step;
    step.branch_id = id_;
    step.op = op;
    step.action = std::move(what);
    step.topic = name_;
    return step;
  }

  std::string Where() const { return "gid '" + workflow_->gid_ + "': branch " + id_; }

  std::string RunStep(const std::string& what, const std::function<std::string()>& work) {
    try {
      return workflow_->ledger_.Take(StepOf(Op::kAction, what), work);
    } catch (const BeyondLimit&) {  // it may have been done
      throw;
    } catch (const FailureError&) {
      workflow_->ForgetRollbackOf(id_);
      throw;
    }
  }

  WorkflowBranch& Keep(Op op, std::string what, Workflow::Callback callback) {
    workflow_->Keep(op == Op::kCommit ? workflow_->commits_ : workflow_->rollbacks_,
                    StepOf(op, std::move(what)), std::move(callback));
    return *this;
  }

  template <typename T>
  static std::string WhatIs(const LocalBranch<T>& branch, const std::string&) {
    return kLocalPrefix + branch.name;
  }
  template <typename Branch>
  static std::string WhatIs(const Branch&, const std::string& url) {
    return url.empty() ? kNoCall : ShownUrl(url);
  }

  /// @throws LogicError  its URL or name cannot be recorded, so it is not called.
  template <typename Branch, typename Payload>
  Target TargetOf(const Branch& branch, const Payload& payload) const {
    static_assert(branch_args::CheckPayload<Branch, Payload>());
    Target target;
    target.url = branch_args::Url(*workflow_->endpoint_, workflow_->gid_, branch);
    target.what = WhatIs(branch, target.url);
    target.payload =
        branch_args::Text(workflow_->gid_, "branch " + id_, branch_args::Json(payload));
    if (target.what.size() > kMaxUrlBytes || !IsUtf8(target.what) || IsTopic(target.what)) {
      throw LogicError("gid '" + workflow_->gid_ + "': branch " + id_ + " calls '" +
                       Printable(Truncated(target.what, 200)) + "', which has " +
                       std::to_string(target.what.size()) +
                       " bytes; a workflow calls URLs and functions with UTF-8 names of at most " +
                       std::to_string(kMaxUrlBytes) + " bytes, and no topics");
    }
    return target;
  }

  template <typename Branch, typename Payload>
  WorkflowBranch& CallLater(Op op, const Branch& branch, const Payload& payload) {
    Target target = TargetOf(branch, payload);
    std::string what = target.what;
    return Keep(op, std::move(what),
                [workflow = workflow_, op, id = id_, target = std::move(target)] {
                  try {
                    (void)workflow->CallUrl(id, op, target.url, target.payload);
                  } catch (const NotKept&) {  // a callback needs no result
                  }
                });
  }

  Workflow* workflow_;
  std::string id_;
  std::string name_;
};

inline WorkflowBranch Workflow::NewBranch(std::string name) {
  if (deciding_) throw LogicError("a callback of a workflow has no branches of its own");
  if (name.size() > kMaxGidBytes || !IsUtf8(name)) {
    throw LogicError("gid '" + gid_ + "': the name of a branch is UTF-8 of at most " +
                     std::to_string(kMaxGidBytes) + " bytes");
  }
  if (branches_ == kMaxWorkflowBranches) {
    ledger_.Doom("gid '" + gid_ + "': a workflow has at most " +
                 std::to_string(kMaxWorkflowBranches) + " branches");
  }
  return WorkflowBranch(*this, NumberOf(branches_++), std::move(name));
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/client/workflow.hpp -------------------------------------------------------------------

/// Workflows: a transaction as a C++ function, whose steps are recorded, so that it can be run again from where a
/// crash stopped it.
/// Needs: nlohmann/json. Threads: thread-safe; a gid runs once at a time. Protocol: §4.5, §11.7.

namespace dtm {
inline namespace v1 {

/// A registered workflow, to be started. Copies are cheap and refer to the same workflow.
template <typename T>
class WorkflowHandle {
 public:
  /// What the user's function comes to: it returns the result as text.
  using Function = std::function<std::string(Workflow&, const T&)>;

  /// See RegisterWorkflow.
  WorkflowHandle(Endpoint& endpoint, std::string name, Function function)
      : shared_(std::make_shared<Shared>(endpoint, std::move(name), std::move(function))) {}

  /// Runs the workflow in this thread, or returns its result if it has run before. If the process dies, the
  /// coordinator resumes it where its name is registered. The request_timeout and branch_headers of `options` are for its
  /// URL calls too; but a dtm::Server elsewhere does not pass the headers on when the workflow is resumed. There is no
  /// deadline for the whole.
  /// @throws InDoubtError   the coordinator gave no answer; execute it again.
  /// @throws FailureError   it was rolled back, perhaps because it returned more than 256 KiB or exceeded another limit.
  /// @throws RejectedError  the gid belongs to another transaction or workflow, or was started with other data; nothing
  /// is run.
  /// @throws LogicError     the recorded steps are not those that it does now (see Workflow), or it is running already.
  /// @throws what a step threw: the workflow is undecided, and the coordinator will run it again (after OngoingError at
  /// the retry interval).
  std::string Execute(const std::string& gid, const T& data, TransOptions options = {}) const {
    const Running running(*shared_, gid);
    if (!running.Alone()) throw LogicError("gid '" + gid + "' is running in this process already");
    Definition definition;
    definition.gid = gid;
    definition.type = TransType::kWorkflow;
    definition.workflow = shared_->name;
    definition.query_prepared = shared_->resume_url;
    const nlohmann::json given = branch_args::Json(data);
    definition.data = branch_args::Text(gid, "the workflow", given);
    definition.options = options;
    return Run(std::move(definition), given, data, std::move(options));
  }

  /// The coordinator calls this to resume it; `given` is the data that it was started with.
  Result Resume(const std::string& gid, const nlohmann::json& given) const {
    const Running running(*shared_, gid);
    if (!running.Alone()) return Result::Ongoing("it is running in this process");
    Definition definition;
    definition.gid = gid;
    definition.type = TransType::kWorkflow;
    definition.workflow = shared_->name;
    (void)Run(std::move(definition), given, DataOf(given), std::nullopt);
    return Result::Success();
  }

  /// The URL or function by which the coordinator resumes it; RegisterWorkflow sets it.
  void ResumeAt(const std::string& url) { shared_->resume_url = url; }
  /// As it was registered.
  const std::string& Name() const { return shared_->name; }

 private:
  struct Shared {
    Shared(Endpoint& endpoint_in, std::string name_in, Function function_in)
        : endpoint(endpoint_in), name(std::move(name_in)), function(std::move(function_in)) {}
    Endpoint& endpoint;
    const std::string name;
    const Function function;
    std::string resume_url;
    std::mutex mutex;
    std::set<std::string> running;
  };

  /// One run of a gid at a time in this process.
  class Running {
   public:
    Running(Shared& shared, const std::string& gid) : shared_(shared), gid_(gid) {
      const std::lock_guard<std::mutex> lock(shared_.mutex);
      alone_ = shared_.running.insert(gid_).second;
    }
    ~Running() {
      if (!alone_) return;
      const std::lock_guard<std::mutex> lock(shared_.mutex);
      shared_.running.erase(gid_);
    }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    bool Alone() const { return alone_; }

   private:
    Shared& shared_;
    const std::string gid_;
    bool alone_ = false;
  };

  static T DataOf(const nlohmann::json& given) {
    if constexpr (payload::kReadable<T>) {  // else RegisterWorkflow has reported it
      try {
        return given.template get<T>();
      } catch (const nlohmann::json::exception& error) {
        throw Error(std::string("its data is not what the workflow takes: ") + error.what());
      }
    }
    throw LogicError("its data cannot be read");
  }

  /// The Go server does not compare, so this does.
  void CheckSame(const std::string& gid, const WorkflowState& state,
                 const nlohmann::json& given) const {
    if (state.workflow.empty() && state.data.empty()) return;  // it is not told
    if (state.workflow != shared_->name) {
      throw RejectedError("gid '" + gid + "' is the workflow '" + state.workflow + "', not '" +
                          shared_->name + "'; nothing was run. Use a new gid");
    }
    const nlohmann::json stored =
        nlohmann::json::parse(state.data.empty() ? "null" : state.data, nullptr, false);
    if (stored != given) {
      throw RejectedError("gid '" + gid +
                          "' was started with other data than it is run with now; " +
                          "nothing was run. Use a new gid, or the data it was started with");
    }
  }

  /// `options`: nothing if it is resumed, then it has the stored ones.
  std::string Run(Definition definition, const nlohmann::json& given, const T& data,
                  std::optional<TransOptions> options) const {
    Endpoint& endpoint = shared_->endpoint;
    const std::string gid = definition.gid;
    WorkflowState state = options ? endpoint.PrepareWorkflow(std::move(definition))
                                  : endpoint.ResumeWorkflow(std::move(definition));
    CheckSame(gid, state, given);
    if (options) state.options = std::move(*options);
    if (state.status == Status::kSucceed) return state.result;
    if (state.status == Status::kFailed) throw FailureError(state.reason);
    Workflow workflow(endpoint, gid, state);
    std::string result;
    try {
      try {
        result = shared_->function(workflow, data);
      } catch (const FailureError&) {
        throw;
      } catch (...) {  // what stopped it counts, whatever the function made of it
        workflow.ledger_.CheckNotRefused();
        workflow.ledger_.CheckKept({});
        throw;
      }
      workflow.ledger_.CheckKept(result);
    } catch (const FailureError& error) {
      workflow.RunCallbacks(false);
      endpoint.FinishWorkflow(gid, Status::kFailed, error.what(), {});
      if (dynamic_cast<const BeyondLimit*>(&error) == nullptr) throw;
      throw FailureError(error.what());  // of another workflow it would be a failed step like any
    }
    workflow.RunCallbacks(true);
    endpoint.FinishWorkflow(gid, Status::kSucceed, {}, result);
    return result;
  }

  std::shared_ptr<Shared> shared_;
};

/// Registers a workflow: `function(Workflow&, const T&)`, which returns nothing or a text, its result. The name is
/// stored: register the same name after a restart, and workflows that a crash interrupted continue. `functions` is the
/// Coordinator of this program, which runs the workflow when `endpoint` resumes it: the same coordinator, or, for one
/// elsewhere, a coordinator that a dtm::Server serves.
/// @throws LogicError  the name is taken, the function is empty, or `endpoint` cannot reach `functions`.
template <typename T, typename Functions, typename Function>
WorkflowHandle<T> RegisterWorkflow(Endpoint& endpoint, Functions& functions,
                                   const std::string& name, Function function) {
  if (callable::Empty(function)) {
    throw LogicError("the workflow '" + name + "' is an empty function");
  }
  WorkflowHandle<T> handle(endpoint, name, workflow_function::Erase<T>(std::move(function)));
  const auto resume = functions.template RegisterResume<nlohmann::json>(
      name, [handle](const nlohmann::json& given, const BranchInfo& info) -> Result {
        return handle.Resume(info.gid, given);
      });
  handle.ResumeAt(endpoint.UrlOfLocal(resume.name, resume.registered_with));
  return handle;
}
/// The same, where the coordinator of this program is also the endpoint.
template <typename T, typename Coordinator, typename Function>
WorkflowHandle<T> RegisterWorkflow(Coordinator& tm, const std::string& name, Function function) {
  return RegisterWorkflow<T>(tm, tm, name, std::move(function));
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/client/xa.hpp -------------------------------------------------------------------------

/// XA: branches work inside XA transactions of their databases, then all are committed, or all rolled back.
/// Needs: nlohmann/json. Threads: one Xa by one thread at a time. Protocol: §4.4, §11.4 (the initiator's side; the
/// branch's side belongs to the databases that have XA).

namespace dtm {
inline namespace v1 {

/// A prepared XA transaction; the body of XaGlobalTransaction gets it.
class Xa : public GlobalTransaction {
 public:
  /// See XaGlobalTransaction.
  Xa(Endpoint& endpoint, std::string gid, TransOptions options)
      : GlobalTransaction(endpoint, std::move(gid), std::move(options)) {}

  /// Calls the branch, which does its work in an XA transaction, registers itself and prepares. Later it is called at the
  /// same url to commit or to roll back. The call has `request_timeout` (3 s by default). Returns the body of its reply.
  /// @throws FailureError   it refused: let it pass, and everything is rolled back.
  /// @throws RejectedError  its URL cannot be called; the branch was not called.
  /// @throws LogicError     JSON cannot hold the payload, or it is the 100th branch; the branch was not called.
  /// @throws Error          it gave no definite result (OngoingError: not yet). Let it pass, too.
  template <typename Payload, typename Branch>
  std::string CallBranch(const Payload& payload, const Branch& branch) {
    static_assert(branch_args::CheckPayload<Branch, Payload>());
    InitiatorCall call = NewCall(TransType::kXa, branches_.Next(), Op::kAction);
    call.url = branch_args::Url(*endpoint_, gid_, branch);
    call.payload =
        branch_args::Text(gid_, "branch " + call.info.branch_id, branch_args::Json(payload));
    call.phase2_url = call.url;
    return Call(call, "action");
  }
};

/// As TccGlobalTransaction, with `body(Xa&)`.
template <typename Body>
TransResult XaGlobalTransaction(Endpoint& endpoint, std::string gid, TransOptions options,
                                const Body& body) {
  static_assert(callable::Check<Body, Xa&>(), "dtm: the body takes dtm::Xa&");
  return RunGlobalTransaction<Xa>(endpoint, TransType::kXa, std::move(gid), std::move(options),
                                  body);
}
/// The same with options that are all left to the coordinator.
template <typename Body>
TransResult XaGlobalTransaction(Endpoint& endpoint, std::string gid, const Body& body) {
  return XaGlobalTransaction(endpoint, std::move(gid), TransOptions{}, body);
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/base/os.hpp ---------------------------------------------------------------------------

/// All calls of the operating system except sockets, which are in http/transport/: the files to port.
/// Needs: POSIX. Threads: thread-safe functions; a FileLock belongs to one owner.

#include <atomic>
#include <cerrno>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

namespace dtm {
inline namespace v1 {
namespace os {

/// Time since boot, going on while the machine sleeps; never jumps.
inline Duration SinceBoot() {
  timespec now{};
#ifdef CLOCK_BOOTTIME
  ::clock_gettime(CLOCK_BOOTTIME, &now);
#else
  ::clock_gettime(CLOCK_MONOTONIC, &now);
#endif
  return std::chrono::seconds(now.tv_sec) + std::chrono::microseconds(now.tv_nsec / 1000);
}

/// Fills `size` bytes (at most 256) with unpredictable random ones.
/// @throws Error  the system gives none.
inline void FillRandom(void* bytes, std::size_t size) {
  if (::getentropy(bytes, size) != 0) {
    throw Error("the operating system gives no random bytes: " +
                std::generic_category().message(errno));
  }
}

/// How many descriptors this process may have open.
inline std::size_t MaxOpenFiles() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return SIZE_MAX;
  return static_cast<std::size_t>(limit.rlim_cur);
}

inline std::string LastErrorText() { return std::generic_category().message(errno); }

/// Waits until the descriptor can be read, or (`writing`) also if it can be written, or has an error or its end. False: not
/// within `limit` (up to 1 day); it is looked at once in any case.
inline bool WaitFor(int descriptor, bool writing, Duration limit) {
  const Duration end = SinceBoot() + limit;
  for (;;) {
    const Duration left = (std::max)(end - SinceBoot(), Duration(0));
    pollfd waits{descriptor, static_cast<short>(writing ? POLLIN | POLLOUT : POLLIN), 0};
    // Rounded up: else the last millisecond would be waited in none.
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
    const int ready = ::poll(&waits, 1, static_cast<int>(ms));
    if (ready > 0 || (ready < 0 && errno != EINTR)) return true;  // who uses it learns why
    if (ready == 0 && end <= SinceBoot()) return false;
  }
}

/// "host:1234", a name of this process for people.
inline std::string HostAndProcess() {
  char host[256] = {};
  if (::gethostname(host, sizeof host - 1) != 0) host[0] = 0;
  return std::string(host) + ":" + std::to_string(::getpid());
}

/// An absolute name of the same file, without symbolic links of folders, so that it stays valid after a chdir or when such
/// a link changes. Returned unchanged if the folder does not exist; opening the file then says why.
inline std::string FullPath(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const bool bare = slash == std::string::npos;
  const std::string folder = bare ? "." : slash == 0 ? "/" : path.substr(0, slash);
  const std::unique_ptr<char, void (*)(void*)> full(::realpath(folder.c_str(), nullptr), ::free);
  if (!full || path.empty()) return path;
  const std::string name = bare ? path : path.substr(slash + 1);
  return (slash == 0 || full.get() == std::string("/") ? "" : full.get()) + ("/" + name);
}

/// Identifies a file and its state: two stamps differ if it is another file or was written to.
struct FileStamp {
  dev_t device = 0;
  ino_t number = 0;
  off_t bytes = 0;
  time_t seconds = 0;  ///< when it was last written
  long nanoseconds = 0;
  bool plain = false;  ///< no link, folder, pipe or device

  bool SameFile(const std::optional<FileStamp>& other) const {
    return other && device == other->device && number == other->number;
  }
  bool SameContent(const FileStamp& other) const {
    return bytes == other.bytes && seconds == other.seconds && nanoseconds == other.nanoseconds;
  }
};

/// Nothing if there is no file, or it may not be looked at. A link is not followed.
inline std::optional<FileStamp> StampOf(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) return std::nullopt;
  return FileStamp{info.st_dev,         info.st_ino,          info.st_size,
                   info.st_mtim.tv_sec, info.st_mtim.tv_nsec, S_ISREG(info.st_mode)};
}

/// Creates the file for its owner only (0600) if it does not exist. An existing file is checked without opening it:
/// closing a descriptor of it would release the locks that this process holds on it through SQLite.
/// @throws StoreError  it cannot be created or written, is a symbolic link, or is not a plain file.
inline void EnsurePrivateFile(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) == 0) {
    if (!S_ISREG(info.st_mode)) {
      throw StoreError("the store file '" + path +
                       "' is a link or no plain file, which is refused");
    }
    if (::access(path.c_str(), R_OK | W_OK) == 0) return;
    throw StoreError("the store file '" + path + "' cannot be opened for writing: " +
                     LastErrorText() + "; make it and its folder writable for this user");
  }
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file < 0) {
    throw StoreError("the store file '" + path + "' cannot be created: " + LastErrorText() +
                     "; give a file in a folder this user may write to");
  }
  ::close(file);
}

/// Follows the forks of this process. There is one state for the process, since fork handlers take no context and cannot be
/// removed; it counts the forks after its first use.
class Forking {
 public:
  /// The number of forks between the process that asked first and this one; it differs between a child and its parent.
  static unsigned Generation() { return Get().generation.load(std::memory_order_relaxed); }

  /// Closes this descriptor in forked children: otherwise its lock or port would live on in a child after this process has
  /// died. Close it with Close. Without memory to note it, it is closed here at once. `name`: for Inherited.
  static void CloseInChildren(int file, const std::string& name = {}) {
    State& state = Get();
    const std::lock_guard<std::mutex> lock(state.mutex);
    try {
      state.files[file] = name;
    } catch (...) {
      state.files.erase(file);
      ::close(file);
      throw;
    }
  }
  static void Forget(int file) {
    State& state = Get();
    const std::lock_guard<std::mutex> lock(state.mutex);
    state.files.erase(file);
  }
  /// Does nothing in a forked child, where it is closed already.
  static void Close(int file) {
    State& state = Get();
    const std::lock_guard<std::mutex> lock(state.mutex);
    if (state.files.erase(file) > 0) ::close(file);
  }
  /// True if a descriptor of that name was open in a parent of this process when it forked.
  static bool Inherited(const std::string& name) {
    State& state = Get();
    const std::lock_guard<std::mutex> lock(state.mutex);
    for (const auto& [file, its_name] : state.inherited) {
      if (its_name == name) return true;
    }
    return false;
  }

 private:
  struct State {
    State() { ::pthread_atfork(&BeforeFork, &AfterFork, &InChild); }
    std::atomic<unsigned> generation{0};
    std::mutex mutex;
    std::map<int, std::string> files;
    std::multimap<int, std::string> inherited;  // closed here
  };
  static State& Get() {
    static State* const state =
        new State;  // never freed: objects that close files may be destroyed later
    return *state;
  }
  static void BeforeFork() { Get().mutex.lock(); }
  static void AfterFork() { Get().mutex.unlock(); }
  static void InChild() {
    State& state = Get();
    for (const auto& [file, name] : state.files) ::close(file);
    state.inherited.merge(state.files);
    ++state.generation;
    state.mutex.unlock();
  }
};

/// A descriptor that is readable between Signal and Clear: for epoll, poll and the like.
class EventFd {
 public:
  /// @throws Error  the system has no free descriptor.
  EventFd() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (fd_ < 0) throw Error("no eventfd can be had: " + LastErrorText() + "; see ulimit -n");
  }
  ~EventFd() { ::close(fd_); }
  EventFd(const EventFd&) = delete;
  EventFd& operator=(const EventFd&) = delete;

  int Get() const { return fd_; }
  void Signal() const {
    const std::uint64_t one = 1;
    (void)!::write(fd_, &one, sizeof one);  // it fails if it is readable anyway
  }
  void Clear() const {
    std::uint64_t count = 0;
    (void)!::read(fd_, &count, sizeof count);  // it fails if it was not readable
  }

 private:
  int fd_;
};

/// An exclusive lock on `path`, held until it is destroyed or the process ends. A forked child does not share it, and
/// cannot take it later either: SQLite, which it guards, would still have the parent's state there. Two locks on one
/// file exclude each other even in one process.
class FileLock {
 public:
  /// @throws StoreError  it is held elsewhere, was held by a parent when it forked this process, or the file cannot be opened.
  explicit FileLock(const std::string& path)
      : path_(path), file_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)) {
    if (file_ < 0) {
      throw StoreError("the lock file '" + path + "' cannot be opened: " + LastErrorText() +
                       "; the folder of the store must exist and be writable");
    }
    if (::flock(file_, LOCK_EX | LOCK_NB) != 0) {
      const bool taken = errno == EWOULDBLOCK;
      const std::string why = LastErrorText();
      ::close(file_);
      throw StoreError(
          taken ? "another coordinator, in this process or another, uses this store: it holds the "
                  "lock file '" +
                      path + "'; stop it first, or give this one a store of its own"
                : "the lock file '" + path + "' cannot be locked: " + why);
    }
    Forking::CloseInChildren(file_, path_);
    const bool inherited = Forking::Inherited(path_);
    if (!inherited && AtItsPath()) return;
    Forking::Close(file_);
    if (inherited) {
      throw StoreError("the store of the lock file '" + path +
                       "' was open when this process was forked, and cannot be opened in it any "
                       "more; fork before it "
                       "is opened, or open it in a program that is started by exec");
    }
    throw StoreError("the lock file '" + path + "' was replaced at this moment; try again");
  }
  /// Closing alone would not release it while a forked child still has the descriptor, before its exec or fork handler.
  ~FileLock() {
    if (generation_ == Forking::Generation()) ::flock(file_, LOCK_UN);
    Forking::Close(file_);
  }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

  /// False: the file was removed or replaced, so that somebody else may hold the lock of its name.
  bool AtItsPath() const {
    struct stat mine {};
    if (::fstat(file_, &mine) != 0) return false;
    const std::optional<FileStamp> there = StampOf(path_);
    return there && there->device == mine.st_dev && there->number == mine.st_ino;
  }
  /// A cheaper check: the file was removed.
  bool Removed() const {
    struct stat mine {};
    return ::fstat(file_, &mine) != 0 || mine.st_nlink == 0;
  }

 private:
  const std::string path_;
  const unsigned generation_ = Forking::Generation();
  int file_;
};

}  // namespace os
}  // namespace v1
}  // namespace dtm

// ---- dtm/base/of_this_process.hpp --------------------------------------------------------------

/// Owns something that belongs to one process and not to its forked children: threads, sockets, locks.
/// Needs: POSIX through base/os.hpp. Threads: as the owned object.

namespace dtm {
inline namespace v1 {

/// In a forked child Get() throws, and the destructor leaves the object alone: its threads are not there to be joined, and
/// its connections are the parent's.
template <typename T>
class OfThisProcess {
 public:
  /// `what`: its name in the error of a forked child.
  template <typename... Arguments>
  explicit OfThisProcess(const char* what, Arguments&&... arguments)
      : what_(what), owned_(std::make_unique<T>(std::forward<Arguments>(arguments)...)) {}
  OfThisProcess(const char* what, std::unique_ptr<T> owned)
      : what_(what), owned_(std::move(owned)) {}
  ~OfThisProcess() {
    if (!Here()) (void)owned_.release();
  }
  OfThisProcess(const OfThisProcess&) = delete;
  OfThisProcess& operator=(const OfThisProcess&) = delete;

  bool Here() const { return generation_ == os::Forking::Generation(); }

  /// For destructors: null in a forked child.
  T* IfHere() const noexcept { return Here() ? owned_.get() : nullptr; }

  /// @throws LogicError  this is a forked child.
  T& Get() const {
    if (Here()) return *owned_;
    throw LogicError(std::string("this ") + what_ +
                     " belongs to the parent process; a forked child has to make one of its own");
  }

 private:
  const char* const what_;
  const unsigned generation_ = os::Forking::Generation();
  std::unique_ptr<T> owned_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/core/journal.hpp ----------------------------------------------------------------------

/// The journal of a transaction: what happened to it, entry by entry, and how much of that is kept.
/// Needs: std. Threads: values and pure functions. Document: docs/store_format.md.

#include <unordered_map>

namespace dtm {
inline namespace v1 {

/// What an entry tells. The numbers are stored; never change the value of one.
enum class JournalKind : std::uint8_t {
  kPrepared = 1,    ///< it was stored, to run when it is submitted
  kSubmitted = 2,   ///< it was submitted
  kRegistered = 3,  ///< a branch was registered, or a workflow's step recorded; `row` is its call
  kStarted = 4,     ///< the call of `row` is about to start
  kSuccess = 5,     ///< `row` was done
  kFailure = 6,     ///< `row` refused, `text` says why
  kOngoing = 7,     ///< `row` is not finished yet
  kError = 8,       ///< the call of `row` had no definite answer, `text` says why
  kNotSent = 9,     ///< the call of `row` did not start, `text` says why
  kRollback = 10,   ///< it is rolled back from now on; `text` says why, `row` is whose reason it is
  kStuck = 11,      ///< it waits for a person: RetryNow, Skip or ForceStop; `text` says why
  kSucceeded = 12,  ///< it ended
  kFailed = 13,     ///< it ended, rolled back or stopped
  kCancel = 14,     ///< somebody asked to roll it back; `text` says why
  kForceStop = 15,  ///< somebody stopped it
  kRetryNow = 16,   ///< somebody asked to forget its waits
  kFinish = 17,     ///< workflow: its initiator said how it ended; `text` is why it failed
  kTakenUp = 18,    ///< another run of the coordinator goes on with it
  kGap = 19,        ///< `row` entries were here and are not kept; 0: nobody knows how many
  kRepair = 20      ///< somebody said that `row` counts as done, without a call; `text` says why
};

/// In words, for people and files.
inline const char* Name(JournalKind kind) {
  switch (kind) {
    case JournalKind::kPrepared: return "prepared";
    case JournalKind::kSubmitted: return "submitted";
    case JournalKind::kRegistered: return "registered";
    case JournalKind::kStarted: return "started";
    case JournalKind::kSuccess: return "success";
    case JournalKind::kFailure: return "failure";
    case JournalKind::kOngoing: return "ongoing";
    case JournalKind::kError: return "error";
    case JournalKind::kNotSent: return "not sent";
    case JournalKind::kRollback: return "rollback";
    case JournalKind::kStuck: return "stuck";
    case JournalKind::kSucceeded: return "succeeded";
    case JournalKind::kFailed: return "failed";
    case JournalKind::kCancel: return "cancel";
    case JournalKind::kForceStop: return "force stop";
    case JournalKind::kRetryNow: return "retry now";
    case JournalKind::kFinish: return "finish";
    case JournalKind::kTakenUp: return "taken up";
    case JournalKind::kGap: return "gap";
    case JournalKind::kRepair: return "repair";
  }
  return "unknown";
}

/// `row` of an entry that concerns no branch.
inline constexpr std::size_t kNoRow = SIZE_MAX;

/// One thing that happened. It becomes durable with the change of the record that followed from it.
struct JournalEntry {
  Time time{};
  std::size_t row = kNoRow;  ///< of the transaction, see Transaction; kGap: a number of entries
  Op op{};                   ///< of that row; 0 without one
  JournalKind kind{};
  std::string text{};  ///< at most kMaxJournalText bytes
  /// kPrepared, kSubmitted, kTakenUp: the process that drives it from then on. Of what people ask for (kCancel, kForceStop,
  /// kRetryNow, kRepair): who asked, if they said so. At most kMaxJournalWho bytes.
  std::string who{};
};

inline bool operator==(const JournalEntry& a, const JournalEntry& b) {
  return a.time == b.time && a.row == b.row && a.op == b.op && a.kind == b.kind &&
         a.text == b.text && a.who == b.who;
}

/// Who asks for something by hand, and why: for the journal. Whatever is not known is empty.
struct By {
  std::string
      who{};  ///< as the program or the request says, it is not checked; kMaxJournalWho bytes are kept
  std::string why{};  ///< kMaxJournalText bytes are kept
};

/// What is kept of one transaction, besides Options::history.
inline constexpr std::size_t kMaxJournalText = 200;  ///< bytes of one text
inline constexpr std::size_t kMaxJournalWho = 64;    ///< bytes of one name
inline constexpr std::size_t kFirstAttempts = 8;     ///< of all rows together
inline constexpr std::size_t kLastAttempts = 500;    ///< the same
inline constexpr std::size_t kFirstDecisions = 16;
inline constexpr std::size_t kLastDecisions = 48;
/// What these come to as they are stored, also of the largest transaction, with a text and a name everywhere.
inline constexpr std::size_t kMaxJournalBytes = std::size_t{160} << 10;

/// An entry about one call of a row, or about its registration. The others are decisions.
inline bool IsAttempt(JournalKind kind) {
  return kind >= JournalKind::kRegistered && kind <= JournalKind::kNotSent;
}

/// Which entries of a journal stay. An attempt is one call: that it started, and what came of it; or a registration.
class JournalFold {
 public:
  JournalFold(const std::vector<JournalEntry>& entries, std::size_t history)
      : entries_(entries), attempt_of_(entries.size(), kNone) {
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (IsAttempt(entries[i].kind)) {
        attempt_of_[i] = AttemptOf(entries[i]);
      } else if (entries[i].kind != JournalKind::kGap) {
        ++decisions_;
      }
    }
    MarkKept(history);
  }

  /// To be asked of each entry, once, in their order.
  bool Keeps(std::size_t i) {
    if (entries_[i].kind == JournalKind::kGap) return false;
    if (attempt_of_[i] != kNone) return attempts_[attempt_of_[i]].kept;
    const std::size_t nr = decision_++;
    return nr < kFirstDecisions || nr + kLastDecisions >= decisions_;
  }

 private:
  static constexpr std::size_t kNone = SIZE_MAX;

  struct OneAttempt {
    std::size_t row;
    bool registration;
    bool ended;  ///< there is an entry of that
    bool kept = false;
  };
  struct Row {
    std::size_t last = kNone;  ///< attempt
    bool open = false;         ///< it has no end yet
    std::size_t later = 0;
  };

  std::size_t AttemptOf(const JournalEntry& entry) {
    const bool registration = entry.kind == JournalKind::kRegistered;
    Row& row = rows_[entry.row];
    const bool starts = entry.kind == JournalKind::kStarted;
    if (!registration && !starts && row.open) {
      row.open = false;
      attempts_[row.last].ended = true;
      return row.last;
    }
    attempts_.push_back({entry.row, registration, !starts});
    if (registration) return attempts_.size() - 1;
    row.open = starts;
    return row.last = attempts_.size() - 1;
  }

  /// One that has no end yet stays: its end will belong to it. One that will never have an end goes before the later ones
  /// of its row do, so that no end of theirs is taken for its own.
  void MarkKept(std::size_t history) {
    std::size_t first = (std::min)(kFirstAttempts, history);
    for (OneAttempt& attempt : attempts_) {
      if (first == 0) break;
      if (!attempt.ended) continue;
      attempt.kept = true;
      --first;
    }
    std::size_t later = 0;
    for (std::size_t i = attempts_.size(); i-- > 0;) {
      OneAttempt& attempt = attempts_[i];
      Row& row = rows_[attempt.row];
      const bool last_of_row = attempt.registration || row.later++ < history;
      const bool last = last_of_row && later++ < kLastAttempts;
      if (last || (row.open && row.last == i)) attempt.kept = true;
    }
  }

  const std::vector<JournalEntry>& entries_;
  std::vector<std::size_t> attempt_of_;
  std::vector<OneAttempt> attempts_;
  std::unordered_map<std::size_t, Row> rows_;
  std::size_t decisions_ = 0;
  std::size_t decision_ = 0;  // the next
};

/// Leaves of each row its last `history` attempts (1 or more), as far as they are among the last kLastAttempts of all that;
/// the first kFirstAttempts of all that ended, or `history` if that is less; the first and the last decisions; and attempts that have
/// no end yet. In place of the others there are gaps that count them. It does not matter how often a journal is folded while
/// it grows: the result is the same as if all of it were folded at once.
inline void FoldJournal(std::vector<JournalEntry>& entries, std::size_t history) {
  if (entries.size() <= (std::min)(history, kFirstDecisions + kLastDecisions)) return;
  JournalFold fold(entries, history);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    JournalEntry& entry = entries[i];
    if (fold.Keeps(i)) {
      if (i != kept) entries[kept] = std::move(entry);
      ++kept;
      continue;
    }
    const std::size_t count = entry.kind == JournalKind::kGap ? entry.row : 1;
    JournalEntry* before = kept == 0 ? nullptr : &entries[kept - 1];
    if (before != nullptr && before->kind == JournalKind::kGap) {
      before->row = before->row == 0 || count == 0 ? 0 : before->row + count;
      before->time = entry.time;
    } else {
      entries[kept++] = {entry.time, count, {}, JournalKind::kGap, {}};
    }
  }
  entries.resize(kept);
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/core/work_context.hpp -----------------------------------------------------------------

/// What user code that runs inside a commit writes through: the store's connection, of whatever type the store has.
/// Needs: std. Threads: a value; the connection is the batch's.

namespace dtm {
inline namespace v1 {

/// Becomes a pointer to the connection where one is expected: `sqlite3* db = context` with a SqliteStore. Not to be kept:
/// after a failure of the store the connection is another one.
class WorkContext {
 public:
  WorkContext() = default;  ///< of a store that has none
  template <typename Connection>
  explicit WorkContext(Connection* connection)
      : connection_(connection), type_(&kType<Connection>) {}

  /// @throws LogicError  the store has no such connection.
  template <typename Connection, std::enable_if_t<std::is_class_v<Connection>, int> = 0>
  operator Connection*() const {  // NOLINT(google-explicit-constructor): what it is for
    if (type_ == &kType<Connection>) return static_cast<Connection*>(connection_);
    throw LogicError(connection_ == nullptr
                         ? "the store has no SQL for functions inside a transaction"
                         : "the store's connection has another type than this function takes");
  }

 private:
  template <typename Connection>  // only its address counts
  static inline const char kType = 0;

  void* connection_ = nullptr;
  const void* type_ = nullptr;
};
}  // namespace v1
}  // namespace dtm

// ---- dtm/store/scan.hpp ------------------------------------------------------------------------

/// What a list of transactions asks of a store, and gets.
/// Needs: std. Threads: values and pure functions.

namespace dtm {
inline namespace v1 {

/// What Scan returns; unset = any.
struct ScanFilter {
  std::optional<TransType> type;
  std::optional<Status> status;
  Time created_from{};
  Time created_to = kNever;

  // With one of these it is a search: it reads a bounded number of records and returns what it has found, so a page may be
  // short, or empty, although there are more.
  bool unfinished = false;      ///< those that have not ended
  bool stuck = false;           ///< of them, those that nothing but a person will wake: see Backlog
  bool errors = false;          ///< those with a last_error, even if they have ended well since
  std::string gid_prefix = {};  ///< UTF-8; their gid begins with this
  /// UTF-8; part of the URL (as it is shown), function, topic or workflow that they call. Letters count as they are.
  std::string target = {};
  bool may_be_short = false;  ///< a search, whatever else is set

  bool IsSearch() const {
    return unfinished || stuck || errors || !gid_prefix.empty() || !target.empty() || may_be_short;
  }
};

struct ScanPage {
  std::vector<Transaction> transactions;  ///< newest first
  std::int64_t next = 0;  ///< position of the next page, which may be empty; 0 = there is none
};

/// Nothing will wake it: an invariant is broken, or (in a shared store) it waits for a coordinator of another app.
inline bool IsStuck(const Transaction& transaction) {
  if (IsFinal(transaction.status)) return false;
  return (transaction.stuck && transaction.due == kNever) || transaction.owner >> 63 != 0;
}

/// One of its calls goes to `target`, or to something whose name contains it.
inline bool CallsTarget(const Definition& definition, const std::string& target) {
  const auto is_in = [&target](const std::string& text) {
    return ShownUrl(text).find(target) != std::string::npos;
  };
  return is_in(definition.query_prepared) || is_in(definition.workflow) ||
         std::any_of(definition.steps.begin(), definition.steps.end(), [&](const Step& step) {
           return is_in(step.action) || is_in(step.compensate) || is_in(step.topic);
         });
}

/// What a stored definition contains if it calls `target`: a shown URL has stars instead of its credentials.
inline std::string StoredPartOf(const std::string& target) {
  return target.substr(target.rfind('*') + 1);  // npos + 1 is 0
}

inline bool Matches(const ScanFilter& filter, const Transaction& transaction) {
  const Definition& definition = *transaction.definition;
  return (!filter.type || *filter.type == definition.type) &&
         (!filter.status || *filter.status == transaction.status) &&
         transaction.created >= filter.created_from && transaction.created <= filter.created_to &&
         (!filter.unfinished || !IsFinal(transaction.status)) &&
         (!filter.stuck || IsStuck(transaction)) &&
         (!filter.errors || !transaction.last_error.empty()) &&
         HasPrefix(definition.gid, filter.gid_prefix) &&
         (filter.target.empty() || CallsTarget(definition, filter.target));
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/store/store.hpp -----------------------------------------------------------------------

/// The contract of stores, which keep what is durable. One test suite (tests/store/store_contract.hpp) checks every
/// store against it.
/// Needs: std. Threads: one owner thread calls everything but Load, ReadJournal, Scan, ScanValues and
/// CountUnfinished, which any thread may.

namespace dtm {
inline namespace v1 {

/// A commit that may or may not have become durable. After Recover() the stored records show which.
class CommitInDoubt : public StoreError {
 public:
  using StoreError::StoreError;
};

/// One transaction to write in the open batch: an insert if its `id` is 0, else an update.
struct Change {
  Transaction* transaction = nullptr;
  bool due_changed = true;          ///< false spares the update of the index
  bool definition_changed = false;  ///< an update writes the whole definition as well
  /// Out, once Commit has returned: false = the gid exists already, or the stored version is another.
  bool applied = false;
  /// Without definition_changed, an update adds the last so many steps: all that is new in the definition.
  std::size_t new_steps = 0;
  /// Entries to append to the journal of the transaction if the change is applied, see codec::JournalWriter; may be empty.
  std::string_view journal{};
  /// What FoldJournal may leave of it; 0: no journal is kept.
  unsigned history = 0;
};

/// What is kept of a finished transaction when its record is removed, so that the same gid does not run again.
struct KeptGid {
  std::string gid;
  TransType type{};  ///< 0: its record was damaged
  Status status{};
  Time finished{};
  std::uint64_t content = 0;  ///< see Transaction
};

inline KeptGid KeptOf(const Transaction& transaction) {
  const Definition& definition = *transaction.definition;
  if (transaction.unreadable)
    return {definition.gid, {}, transaction.status, transaction.finished, 0};
  return {definition.gid, definition.type, transaction.status, transaction.finished,
          definition.prepared_first ? 0 : ContentHash(definition)};
}

inline Transaction RecordOf(const KeptGid& kept) {
  auto definition = std::make_shared<Definition>();
  definition->gid = kept.gid;
  Transaction transaction;
  if (kept.type == TransType{}) {
    transaction.unreadable = true;
    transaction.last_error = "its record was damaged, and has expired";
  } else {
    definition->type = kept.type;
  }
  transaction.definition = std::move(definition);
  transaction.status = kept.status;
  transaction.created = transaction.finished = kept.finished;
  if (kept.status == Status::kFailed)
    transaction.reason = "its record has expired, and the reason with it";
  transaction.expired = true;
  transaction.content = kept.content;
  transaction.version = 1;
  return transaction;
}

/// The number of unfinished transactions.
struct Backlog {
  std::uint64_t unfinished = 0;
  std::uint64_t waiting = 0;  ///< of them: for a time that has not come, or for their submit
  std::uint64_t stuck = 0;    ///< of them: see Transaction
  Time oldest = kNever;       ///< when the oldest was created; kNever: there is none
};

/// A position in the order in which unfinished transactions are due.
struct DuePosition {
  Time due = (Time::min)();
  std::int64_t id = 0;
};

/// Gets one transaction; returns true for more.
using DueVisitor = std::function<bool(Transaction&&)>;

/// A small text that is stored under a name, such as a topic with its subscribers (category "topics").
struct KeyValue {
  std::string category, key, value;
  std::uint64_t version = 0;  ///< counted up with each write, from 1
  Time created{}, updated{};
  std::int64_t id = 0;  ///< the store's own key
};

struct KeyValuePage {
  std::vector<KeyValue> values;
  std::int64_t next = 0;  ///< position of the next page, which may be empty; 0 = there is none
};

/// User code whose writes share the commit of the batch it runs in.
using Work = std::function<Result(const WorkContext&)>;

/// A work has broken the open batch (its SQL made the database roll everything back). Nothing of the batch is
/// stored; after Rollback the batch can be written again without that work.
class BatchLost : public StoreError {
 public:
  using StoreError::StoreError;
};

/// Another connection is writing, so the batch was not opened. Nothing has failed; try again a little later.
class StoreBusy : public StoreError {
 public:
  using StoreError::StoreError;
};

/// Some expired records could not be removed, since a table of the user refers to them. The others were removed, and the
/// batch can go on.
class NotAllExpired : public StoreError {
 public:
  NotAllExpired(const std::string& text, std::int64_t next_id) : StoreError(text), next(next_id) {}
  const std::int64_t next;  ///< what Expire would have returned
};

/// Several coordinators share the store, and the others have taken over what this one owned, since it was silent for too
/// long. Nothing of the batch is stored, and nothing that was read or written before is ours. After Recover it is a
/// coordinator like a new one. Any call of the owner thread may throw it, but what only reads; Recover only if no call did before.
class Fenced : public StoreError {
 public:
  using StoreError::StoreError;
};

/// Of one coordinator among several on one store: while it holds, nobody takes over what that one owns. It ends when the
/// others have not heard of it for too long, may come back if none of them has noticed, and is over for good once one has.
/// Threads: any.
class Lease {
 public:
  virtual ~Lease() = default;
  virtual bool Holds() const = 0;
};

class Peers;

/// How it goes with the others on a shared store.
struct SharingCounts {
  std::uint64_t failed_beats = 0;  ///< attempts to be heard by them
  std::uint64_t fenced = 0;        ///< how often they took over what was ours
  std::uint64_t forgotten = 0;     ///< of these: the database turned out to be an older one
};

class Store {
 public:
  virtual ~Store() = default;

  /// What it is, for people and metrics. Any thread.
  virtual const char* Kind() const = 0;

  // Who drives what. A store that one coordinator has for itself keeps to what is here.

  /// This coordinator's number among those that share the store: what it writes is its own from then on, whoever owned it
  /// before, and another's change of it is left out. Never given again; only Recover changes it. 0: it has the store for
  /// itself, or (in a record) nobody has taken it up yet.
  virtual std::uint64_t Owner() const { return 0; }

  /// The lease on what is ours: a call begins only while it holds. Only Recover changes it. Null: for ever.
  virtual std::shared_ptr<const Lease> OurLease() const { return nullptr; }

  /// How often something has come to be ours that the owner thread has not written, or we were fenced: then Due has more to
  /// tell. Any thread. `changed` is called by some thread after each, until Leave has returned; it comes before the first turn.
  virtual std::uint64_t Takeovers() const { return 0; }
  virtual void OnTakeover(const std::function<void()>& /*changed*/) {}

  /// The others on the store. Null: this coordinator has it for itself, and the store runs works.
  virtual Peers* Shared() { return nullptr; }
  /// The time that all coordinators on the store agree on, whatever their machines' clocks say. Nothing: it is not shared. Any
  /// thread.
  virtual std::optional<Time> SharedTime() const { return std::nullopt; }
  /// `tell` is called by some thread, until Leave has returned, with the reason when the others cannot hear any more that this
  /// coordinator lives, and with an empty text when they can. It comes before the first turn.
  virtual void OnSilence(const std::function<void(const std::string& why)>& /*tell*/) {}
  /// Nothing: it is not shared. Any thread.
  virtual std::optional<SharingCounts> CountSharing() const { return std::nullopt; }

  /// The coordinator has stopped, and writes no more: another one may take over what is unfinished at once. Reading goes on.
  virtual void Leave() noexcept {}

  /// Opens a batch. Nothing of it is visible to Load and Scan before Commit; Due and NextDue are
  /// asked between batches only. In a batch Apply comes before Expire.
  /// @throws StoreBusy   another connection is writing; Begin waits only for a moment.
  /// @throws StoreError  nothing was changed.
  virtual void Begin() = 0;

  /// Runs user work inside the batch. Its writes are kept if it returns Success, and undone otherwise,
  /// without harm to the rest of the batch; an exception is an Error result.
  /// @throws BatchLost  the work broke the batch.
  virtual Result Run(const Work& work) = 0;

  /// Whether this gid has a record or is kept, in the store or in the open batch.
  virtual bool Has(const std::string& gid) = 0;

  /// Values as the open batch has left them, for work that Run runs. PutValue writes `value` under its
  /// category and key, as a new version; RemoveValue returns whether there was one.
  virtual std::optional<KeyValue> GetValue(const std::string& category, const std::string& key) = 0;
  virtual void PutValue(const KeyValue& value) = 0;
  virtual bool RemoveValue(const std::string& category, const std::string& key) = 0;

  /// Writes the changes, which stay in their place until Commit or Rollback; each is compare-and-set on (id, version),
  /// or on the gid being new (and not kept). Once Commit has returned, `applied` says how it went, and inserted
  /// transactions have their `id`: the store may send the whole batch at once. One that runs works (Run) knows both when
  /// this returns. The caller counts `version` up once Commit has returned.
  virtual void Apply(std::vector<Change>& changes) = 0;

  /// Makes the batch durable, all or nothing. It waits for another machine for a bounded time only.
  /// @throws CommitInDoubt  an I/O error, or that time is over: it may be stored; call Recover before the next Begin.
  /// @throws StoreError     definite: nothing of the batch is stored.
  virtual void Commit() = 0;

  /// Drops the open batch, if there is one.
  virtual void Rollback() noexcept = 0;

  /// After an I/O error or Fenced: reopens, recovers and checks. Until it has returned nothing may be
  /// believed; from then on no earlier batch can become durable any more.
  /// @throws Fenced      that was not known yet; call again.
  /// @throws StoreError  it is still not usable; call again later.
  virtual void Recover() = 0;

  /// Looks for damage in all that is stored, which may take long; ends early when `stop` becomes
  /// true. Any thread, at any time. Returns what is wrong, or nothing.
  virtual std::string Check(const std::atomic<bool>& stop) = 0;

  /// The committed record; or, if it has expired, what is kept of it.
  virtual std::optional<Transaction> Load(const std::string& gid) = 0;

  /// The journal of this transaction, oldest first; empty without a record or a journal. Of what was told it has at least
  /// what FoldJournal leaves, and the store folds it now and then, so that what it keeps is bounded. It is removed with the
  /// record. Any thread.
  virtual std::vector<JournalEntry> ReadJournal(const std::string& gid) = 0;

  /// Committed records, newest first, from `position` (0 = the newest) on. A page that is not the last is full, unless the
  /// filter is a search. Any thread.
  virtual ScanPage Scan(const ScanFilter& filter, std::int64_t position, std::size_t limit) = 0;

  /// Committed values, in the order of their creation, after `position` (0 = from the first); an
  /// empty category or key matches any. Any thread.
  virtual KeyValuePage ScanValues(const std::string& category, const std::string& key,
                                  std::int64_t position, std::size_t limit) = 0;

  /// Counts the committed ones. Any thread. It takes about 50 ns for each.
  virtual Backlog CountUnfinished(Time now) = 0;

  /// Reads unfinished transactions that are ours, with due <= `now`, in order of (due, id), after `after`, one by one until `visit`
  /// returns false: each may be a megabyte. `visit` must not use the store.
  virtual void Due(Time now, DuePosition after, const DueVisitor& visit) = 0;

  /// When the first unfinished transaction of ours after `now` is due; kNever if there is none.
  virtual Time NextDue(Time now) = 0;

  /// One small step of retention: looks at up to `limit` records after the id `after` and removes those that
  /// finished before `before`; with `keep_gids` their gids are kept. Returns where to continue; 0 = the end was
  /// reached, or all others are younger. Unfinished transactions never expire.
  virtual std::int64_t Expire(Time before, std::int64_t after, std::size_t limit,
                              bool keep_gids) = 0;

  /// The same for kept gids: looks at up to `limit` of them after `after`, in their order, and removes those of
  /// transactions that finished before `before`. Returns where to continue; empty = the end was reached.
  virtual std::string ForgetGids(Time before, const std::string& after, std::size_t limit) = 0;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/parts/clock.hpp -----------------------------------------------------------

/// The coordinator's time: an interface, so that tests can drive it.
/// Needs: std, base/os.hpp. Threads: thread-safe.

#include <condition_variable>

namespace dtm {
inline namespace v1 {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Time Now() = 0;
  /// Waits for a notification, or until `until`; may return earlier. A virtual clock lets time pass
  /// instead.
  virtual void Wait(std::condition_variable& condition, std::unique_lock<std::mutex>& lock,
                    Time until) = 0;
};

/// The wall clock at construction plus the boot time since then: jumps of the wall clock change nothing.
class SystemClock : public Clock {
 public:
  SystemClock()
      : start_(std::chrono::time_point_cast<Duration>(std::chrono::system_clock::now())),
        since_boot_(os::SinceBoot()) {}

  Time Now() override { return start_ + (os::SinceBoot() - since_boot_); }

  void Wait(std::condition_variable& condition, std::unique_lock<std::mutex>& lock,
            Time until) override {
    const Time now = Now();
    if (until <= now) return;
    // The wait does not count the time that the machine sleeps, so look at the clock now and then.
    condition.wait_for(lock, (std::min)(until - now, Duration(std::chrono::seconds(5))));
  }

 private:
  Time start_;
  Duration since_boot_;
};

/// Of a store that several coordinators share: it is the same for all of them.
class StoreClock : public SystemClock {
 public:
  /// `store` outlives it.
  explicit StoreClock(const Store& store) : store_(store) {}
  Time Now() override { return store_.SharedTime().value_or(Time{}); }

 private:
  const Store& store_;
};

/// The clock of a coordinator on this store.
inline std::unique_ptr<Clock> ClockOf(const Store& store) {
  if (store.SharedTime()) return std::make_unique<StoreClock>(store);
  return std::make_unique<SystemClock>();
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/observe/trace_context.hpp -------------------------------------------------------------

/// The trace that a transaction belongs to: the headers traceparent and tracestate of its branches.
/// Needs: std. Threads: values and pure functions. Source: W3C Trace Context (level 1, and the keys of level 2).

namespace dtm {
inline namespace v1 {

struct TraceContext {
  std::string trace_id;   ///< 32 hexadecimal digits
  std::string parent_id;  ///< 16 of them: the span that caused what comes
  std::string flags;      ///< 2 of them; the lowest bit: it is recorded
  std::string state;      ///< of the vendors, see TraceState; empty: none

  bool Sampled() const {
    return !flags.empty() &&
           std::string_view("13579bdf").find(flags.back()) != std::string_view::npos;
  }
};

namespace trace {

inline bool IsHex(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}
inline bool IsZero(std::string_view text) {
  return text.find_first_not_of('0') == std::string_view::npos;
}

inline bool IsKey(std::string_view key) {
  const auto small = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  return !key.empty() && key.size() <= 256 && small(key[0]) &&
         std::all_of(key.begin(), key.end(), [&small](char c) {
           return small(c) || std::string_view("_-*/@").find(c) != std::string_view::npos;
         });
}
inline bool IsValue(std::string_view value) {
  return !value.empty() && value.size() <= 256 && value.back() != ' ' &&
         std::all_of(value.begin(), value.end(),
                     [](char c) { return c >= ' ' && c <= '~' && c != ',' && c != '='; });
}

/// 16 hexadecimal digits.
inline std::string Hex(std::uint64_t number) {
  std::string text(16, '0');
  for (std::size_t i = text.size(); i-- > 0; number >>= 4) {
    text[i] = "0123456789abcdef"[number & 0xF];
  }
  return text;
}

/// Each bit of the number changes about half of the bits.
inline std::uint64_t Mixed(std::uint64_t number) {
  number = (number ^ (number >> 33)) * 0xFF51AFD7ED558CCDU;
  number = (number ^ (number >> 33)) * 0xC4CEB9FE1A85EC53U;
  return number ^ (number >> 33);
}

/// The same in every process and after every restart, so it must never change; never 0.
inline std::uint64_t HashOf(std::string_view salt, const std::string& gid) {
  StableHash hash;
  hash.Add(salt);
  hash.Add(gid);
  const std::uint64_t mixed = Mixed(hash.Value());
  return mixed == 0 ? 1 : mixed;
}

}  // namespace trace

/// Whether a tracestate is one; an invalid one is not passed on. Blanks around its members are allowed.
inline bool IsTraceState(std::string_view text) {
  if (text.size() > kMaxHeaderBytes) return false;
  std::set<std::string_view> keys;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = (std::min)(text.find(',', begin), text.size());
    const std::string_view member = Trimmed(text.substr(begin, end - begin));
    begin = end + 1;
    if (member.empty()) continue;
    const std::size_t is = (std::min)(member.find('='), member.size());
    const bool valid = trace::IsKey(member.substr(0, is)) && is < member.size() &&
                       trace::IsValue(member.substr(is + 1));
    if (!valid || !keys.insert(member.substr(0, is)).second || keys.size() > 32) return false;
  }
  return !keys.empty();
}

/// Nothing: `parent` is no valid traceparent, so it counts as if it were not there, and so does `state`. An invalid state
/// alone is left out.
inline std::optional<TraceContext> ReadTraceContext(std::string_view parent,
                                                    std::string_view state) {
  parent = Trimmed(parent);
  constexpr std::size_t kSize = 55;  // of version 00; later ones may go on
  if (parent.size() < kSize || parent[2] != '-' || parent[35] != '-' || parent[52] != '-') {
    return std::nullopt;
  }
  const std::string_view version = parent.substr(0, 2);
  const std::string_view id = parent.substr(3, 32);
  const std::string_view span = parent.substr(36, 16);
  const std::string_view flags = parent.substr(53, 2);
  const bool known = version == "00" && parent.size() == kSize;
  const bool later =
      version != "00" && version != "ff" && (parent.size() == kSize || parent[kSize] == '-');
  for (const std::string_view part : {version, id, span, flags}) {
    if (!trace::IsHex(part)) return std::nullopt;
  }
  if (!(known || later) || trace::IsZero(id) || trace::IsZero(span)) return std::nullopt;
  TraceContext context{std::string(id), std::string(span), std::string(flags), {}};
  if (IsTraceState(state)) context.state = Trimmed(state);
  return context;
}

/// The value of a traceparent, in version 00.
inline std::string TraceParent(const TraceContext& context) {
  return "00-" + context.trace_id + "-" + context.parent_id + "-" + context.flags;
}

/// What a transaction was submitted with.
inline std::optional<TraceContext> TraceContextOf(const TransOptions& options) {
  if (options.branch_headers.empty()) return std::nullopt;
  const std::string* parent = FindBranchHeader(options, kTraceParent);
  if (parent == nullptr) return std::nullopt;
  const std::string* state = FindBranchHeader(options, kTraceState);
  return ReadTraceContext(*parent, state == nullptr ? std::string_view() : *state);
}

/// The trace of a transaction whose spans are told, and as the parent its own span. Without a trace from outside one begins
/// with it. Both follow from the gid, so they are the same after a restart.
inline TraceContext OwnTrace(const std::string& gid, const TransOptions& options) {
  TraceContext context = TraceContextOf(options).value_or(TraceContext{{}, {}, "01", {}});
  if (context.trace_id.empty()) {
    context.trace_id = trace::Hex(trace::HashOf("trace ", gid)) +
                       trace::Hex(trace::HashOf("trace, second half ", gid));
  }
  context.parent_id = trace::Hex(trace::HashOf("span ", gid));
  return context;
}

/// The id of the trace of a transaction; `spans`: they are told. Empty: it has none.
inline std::string TraceIdOf(const Definition& definition, bool spans) {
  if (spans) return OwnTrace(definition.gid, definition.options).trace_id;
  const std::optional<TraceContext> context = TraceContextOf(definition.options);
  return context ? context->trace_id : std::string();
}

/// Tells a branch in which trace it is.
inline void Put(const TraceContext& context, BranchInfo& info) {
  info.traceparent = TraceParent(context);
  info.tracestate = context.state;
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/observe/span.hpp ----------------------------------------------------------------------

/// A transaction, or one attempt of one of its branches, as a span of a trace: what Options::on_span is told.
/// Needs: std, POSIX. Threads: values and pure functions; SpanIds: any thread. Document: docs/observe.md.

namespace dtm {
inline namespace v1 {

/// It is over when it is told.
struct Span {
  std::string gid;
  std::string trace_id;     ///< 32 hexadecimal digits
  std::string span_id;      ///< 16 of them
  std::string parent_id;    ///< 16 of them; empty: the trace begins with it
  std::string trace_state;  ///< what came with the traceparent; empty: none
  bool sampled = true;      ///< as the traceparent said
  std::string name;  ///< "saga action 01"; of a transaction "saga", of a workflow "workflow order"
  Time begin{};
  Time end{};
  bool failed = false;
  std::string text;  ///< why it failed, or what the branch said
  /// dtm.gid, dtm.trans_type; of an attempt dtm.branch_id, dtm.op, dtm.attempt (1 is the first; not of calls that the
  /// initiator makes itself), dtm.outcome, and url.full (without a password) or dtm.function; of a transaction dtm.status.
  std::vector<std::pair<std::string, std::string>> attributes;
};

/// A call that is a span, from when the coordinator starts it.
struct CallSpan {
  std::uint64_t id = 0;
  Time begin{};
  std::uint32_t attempt = 0;  ///< 0: not known
};

/// Ids that no other span has.
class SpanIds {
 public:
  /// Never 0.
  std::uint64_t Next() {
    if (state_ == 0) Begin();
    const std::uint64_t id = trace::Mixed(state_.fetch_add(0x9E3779B97F4A7C15U));
    return id == 0 ? Next() : id;
  }

 private:
  void Begin() {
    std::uint64_t first = 0;
    os::FillRandom(&first, sizeof first);
    std::uint64_t nothing = 0;
    state_.compare_exchange_strong(nothing, first | 1);
  }
  std::atomic<std::uint64_t> state_{0};
};

/// The trace that a call tells its branch, where it is a span itself or not (null).
inline std::optional<TraceContext> ContextOfCall(const std::string& gid,
                                                 const TransOptions& options,
                                                 const CallSpan* span) {
  if (span == nullptr) return TraceContextOf(options);
  TraceContext context = OwnTrace(gid, options);
  context.parent_id = trace::Hex(span->id);
  return context;
}

namespace span_parts {

inline Span In(const TraceContext& context, const Definition& definition) {
  Span span;
  span.gid = definition.gid;
  span.trace_id = context.trace_id;
  span.parent_id = context.parent_id;
  span.trace_state = context.state;
  span.sampled = context.Sampled();
  span.attributes = {{"dtm.gid", definition.gid}, {"dtm.trans_type", Name(definition.type)}};
  return span;
}

inline const char* Outcome(Result::Kind kind) {
  switch (kind) {
    case Result::Kind::kSuccess: return "success";
    case Result::Kind::kFailure: return "failure";
    case Result::Kind::kOngoing: return "ongoing";
    case Result::Kind::kError: return "error";
    case Result::Kind::kNotSent: return "not sent";
  }
  return "unknown";
}

}  // namespace span_parts

/// Of a call with its result. The payload that a success may have as its text is not told.
inline Span SpanOf(const Definition& definition, std::size_t row, const CallSpan& call,
                   const Result& result, Time end) {
  Span span = span_parts::In(OwnTrace(definition.gid, definition.options), definition);
  const std::string branch_id = BranchIdOf(definition, row);
  const char* const op = Name(OpOf(definition, row));
  const std::string& url = UrlOf(definition, row);
  span.span_id = trace::Hex(call.id);
  span.name = std::string(Name(definition.type)) + " " + op + " " + branch_id;
  span.begin = call.begin;
  span.end = end;
  span.failed = result.kind != Result::Kind::kSuccess && result.kind != Result::Kind::kOngoing;
  if (result.kind != Result::Kind::kSuccess) span.text = Truncated(result.text, kMaxReasonBytes);
  const auto add = [&span](const char* name, std::string value) {
    span.attributes.emplace_back(name, std::move(value));
  };
  add("dtm.branch_id", branch_id);
  add("dtm.op", op);
  if (call.attempt > 0) add("dtm.attempt", std::to_string(call.attempt));
  add("dtm.outcome", span_parts::Outcome(result.kind));
  IsLocal(url) ? add("dtm.function", url.substr(kLocalPrefixSize)) : add("url.full", ShownUrl(url));
  return span;
}

/// Of a transaction that has ended. Its id follows from the gid, since its attempts may be made by several processes.
inline Span SpanOf(const Transaction& transaction) {
  const Definition& definition = *transaction.definition;
  const std::optional<TraceContext> parent = TraceContextOf(definition.options);
  TraceContext context = OwnTrace(definition.gid, definition.options);
  const std::string id = std::move(context.parent_id);
  context.parent_id = parent ? parent->parent_id : std::string();
  Span span = span_parts::In(context, definition);
  span.span_id = id;
  span.name = Name(definition.type);
  if (!definition.workflow.empty()) span.name += " " + definition.workflow;
  span.begin = transaction.created;
  span.end = transaction.finished;
  span.failed = transaction.status == Status::kFailed;
  if (span.failed) span.text = transaction.reason;
  span.attributes.emplace_back("dtm.status", Name(transaction.status));
  return span;
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/parts/branch_caller.hpp ---------------------------------------------------

/// How the coordinator calls branches: an interface, implemented by the pool of functions, by the
/// HTTP client and by tests.
/// Needs: std. Threads: Call comes from the thread that drives the loop, and from those who make a call of their own, also
/// while Stop runs; results may be delivered from any thread, also from inside Call.

namespace dtm {
inline namespace v1 {

/// One call to make. It shares the definition, so nothing is copied, and the transaction may leave
/// memory meanwhile.
struct BranchCall {
  std::shared_ptr<const Definition> definition;
  std::size_t row = 0;   ///< index of the row, see Transaction
  Duration timeout{};    ///< total deadline of a call by URL, from when it is sent
  Duration late{};       ///< of a URL call: how long it has waited already
  std::size_t slot = 0;  ///< whose call it is, see ActiveTable
  std::uint64_t generation = 0;
  bool keep_body = false;                  ///< a success needs the body of the reply as its text
  std::shared_ptr<const Lease> lease{};    ///< null: it may begin at any time
  std::shared_ptr<const CallSpan> span{};  ///< null: it is none, see Options::on_span

  /// Asked directly before it begins, as late as whoever makes the call can: others may have taken over meanwhile. False: its
  /// result is LeaseOver.
  bool MayBegin() const { return lease == nullptr || lease->Holds(); }

  const std::string& Url() const { return UrlOf(*definition, row); }
  const std::string& Payload() const { return PayloadOf(*definition, row); }
  BranchInfo Info() const {
    BranchInfo info = InfoOf(*definition, row);
    if (const auto trace = Trace()) Put(*trace, info);
    return info;
  }
  /// What the branch is told of the trace; nothing: it belongs to none.
  std::optional<TraceContext> Trace() const {
    return ContextOfCall(definition->gid, definition->options, span.get());
  }
};

/// It certainly did not begin; it is tried again as soon as the coordinator may make calls again.
inline Result LeaseOver() {
  Result result = Result::NotSent(IfThereIsMemory([] {
    return std::string("the coordinator was silent for too long, and others may have taken over");
  }));
  result.at_once = true;
  return result;
}

/// A call that an initiator makes itself, in the form for a BranchCaller. `coordinator`: the url that the branch is
/// told.
inline BranchCall ToBranchCall(const InitiatorCall& direct, const std::string& coordinator,
                               Duration default_timeout) {
  auto definition = std::make_shared<Definition>();
  definition->gid = direct.info.gid;
  definition->type = direct.info.trans_type;
  definition->options = direct.options;
  Step step;
  step.action = direct.url;
  if (direct.tell_coordinator && !coordinator.empty()) {
    step.action = WithQuery(step.action, kCoordinatorParameter, coordinator);
  }
  if (!direct.phase2_url.empty()) {
    step.action = WithQuery(step.action, kPhase2UrlParameter, direct.phase2_url);
  }
  step.payload = direct.payload;
  step.branch_id = direct.info.branch_id;
  step.op = direct.info.op;
  definition->steps.push_back(std::move(step));
  BranchCall call;
  call.row = HasQueryRow(definition->type) ? DeliveryOf(0) : ActionOf(0);
  const auto timeout = (std::min)(direct.options.request_timeout, kMaxOptionSeconds);
  call.timeout = timeout.count() > 0 ? Duration(timeout) : default_timeout;
  call.keep_body = true;
  call.definition = std::move(definition);
  return call;
}

/// The number of calls at a host, and of those that wait for it.
struct HostLoad {
  std::string host;  ///< "http://bank-a:8080"
  std::size_t in_flight = 0;
  std::size_t waiting = 0;
  bool limited = false;  ///< it has not replied for long: it gets few calls at a time
};

struct CallLoad {
  std::size_t in_flight = 0;
  std::size_t waiting = 0;      ///< for a free thread or slot
  std::vector<HostLoad> hosts;  ///< those with calls, or limited
};

/// Receives the results. Thread-safe; must outlive the calls.
class BranchResults {
 public:
  virtual ~BranchResults() = default;
  virtual void Done(BranchCall call, Result result) = 0;

  /// Between these two, results of this thread do not wake the coordinator; EndBurst wakes it once for all of them. For a
  /// thread that gets many at a time. It must not wait for anything meanwhile.
  virtual void BeginBurst() {}
  virtual void EndBurst() {}
};

class BranchCaller {
 public:
  virtual ~BranchCaller() = default;

  /// The schemes of the URLs that it calls, in lower case: Coordinator::Use gives it the calls with these.
  virtual std::vector<std::string> Schemes() const { return {"http", "https"}; }

  /// Starts the calls and returns without waiting for them. Every call gets exactly one result: LeaseOver if it may not
  /// begin (MayBegin) when it could; NotSent if it is a URL call that is not sent within `call.timeout - call.late` from now;
  /// once sent, a result within another `call.timeout`. Never throws.
  virtual void Call(std::vector<BranchCall> calls, BranchResults& results) = 0;

  /// The present load. Any thread.
  virtual CallLoad Load() { return {}; }

  /// Gives up the running calls: afterwards no more results are delivered, and no thread is left. Calls
  /// without a result are repeated after a restart.
  virtual void Stop() = 0;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/store/peers.hpp -----------------------------------------------------------------------

/// What the coordinators that share a store know of each other, and ask of each other: all of it goes through the store.
/// Needs: std. Threads: any.

namespace dtm {
inline namespace v1 {

struct KeyValue;

/// How a coordinator is called by people and by the others.
struct NodeName {
  std::string name;
  std::string url;  ///< where it serves its API; may be empty
  std::string app;  ///< programs of the same app have the same functions
};

/// What one coordinator asks of the one that drives a transaction.
struct Request {
  enum class Kind {
    kCancel = 1,
    kRetryNow = 2,
    kLook = 3,  ///< another has written it; there is no reply
    kSkip = 4
  };
  std::int64_t id = 0;  ///< given by the store
  Kind kind = Kind::kCancel;
  std::string gid;
  std::string reason{};      ///< kCancel, kRetryNow, kSkip
  std::uint64_t member = 0;  ///< who is asked; 0: whoever drives it, when it looks
  std::string who{};         ///< kCancel, kRetryNow, kSkip: the person or program that asks
  std::string branch_id{};   ///< kSkip
  Op op{};                   ///< kSkip
};

/// How far a transaction has come.
struct Progress {
  std::string gid;
  std::optional<Time> due;  ///< nothing: it has ended
};

/// A coordinator, as another one sees it.
struct Peer {
  NodeName node;
  bool is_member = false;  ///< false: it has stopped, or the others go on with what it drove
  std::optional<Duration> silent{};  ///< since it was last seen; nothing: not known here
  bool is_self = false;
};

struct PeerCounts {
  std::uint64_t members = 0;     ///< that are alive, as far as is known here
  std::uint64_t taken_over = 0;  ///< transactions, by this coordinator from others
  std::uint64_t driven = 0;      ///< unfinished transactions that it owns
};

/// In a record: its owner has died, and it waits for a coordinator of this app, whose functions it calls.
inline std::uint64_t OwnerForApp(const std::string& app) {
  StableHash hash;
  hash.Add(app);
  return hash.Value() | std::uint64_t{1} << 63;
}
inline bool WaitsForApp(std::uint64_t owner) { return owner >> 63 != 0; }

class Peers {
 public:
  virtual ~Peers() = default;

  /// Tells the others who this is; comes before the first turn. Transactions that call functions of programs are driven only
  /// by coordinators of this app.
  /// @throws StoreError
  virtual void Introduce(const NodeName& me) = 0;

  /// Of those that have a record.
  /// @throws StoreError
  virtual std::vector<Progress> Look(const std::vector<std::string>& gids) = 0;

  /// Stores a request, and returns its id.
  /// @throws StoreError  it may or may not be stored, and goes by itself after a minute.
  virtual std::int64_t Ask(const Request& request) = 0;
  /// What was replied to these; such requests are gone then.
  /// @throws StoreError
  virtual std::map<std::int64_t, std::string> TakeReplies(const std::vector<std::int64_t>& ids) = 0;
  /// True: the request is gone, and nobody has taken it up. `at_all_costs`: it is gone in any case.
  /// @throws StoreError
  virtual bool Withdraw(std::int64_t id, bool at_all_costs) = 0;

  /// How often something was asked of this coordinator. OnTakeover tells of it.
  virtual std::uint64_t AskedTimes() const = 0;
  /// Requests that came since the last call; one may come again that was not replied to.
  virtual std::vector<Request> Asked() = 0;
  /// This coordinator obeys it now. False: it was withdrawn.
  /// @throws StoreError
  virtual bool TakeUp(std::int64_t id) = 0;
  /// Without a text: it is for another one, who drives the transaction now.
  /// @throws StoreError  it comes again.
  virtual void Reply(std::int64_t id, const std::string& text) = 0;

  /// Nothing: there is no such coordinator (any more). Of an owner that stands for an app (WaitsForApp) it names the app.
  /// @throws StoreError
  virtual std::optional<Peer> Find(std::uint64_t owner) = 0;
  /// This coordinator and the others, in the order in which they came, also those that are members no more but are not
  /// forgotten yet; at most 1000.
  /// @throws StoreError
  virtual std::vector<Peer> All() = 0;
  /// @throws StoreError
  virtual PeerCounts Count() = 0;
  /// Gids of unfinished transactions of all coordinators that are due after that and before kNever, the earliest first.
  /// @throws StoreError
  virtual std::vector<std::string> Waiting(Time after, std::size_t limit) = 0;
  /// Sentences for the log, once each.
  virtual std::vector<std::string> TakeNews() = 0;

  /// Changes a small value, see KeyValue, compare-and-set: `change` gets what is stored or nothing, and leaves what is to be
  /// stored or nothing. It may run several times. What it returns is returned; but for Success nothing is written.
  /// @throws StoreError  nothing was written, or (InDoubt) perhaps.
  using ValueChange = std::function<Result(std::optional<KeyValue>& value)>;
  virtual Result ChangeValue(const std::string& category, const std::string& key,
                             const ValueChange& change) = 0;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/parts/gauges.hpp ----------------------------------------------------------

/// The present state of a coordinator in numbers.
/// Needs: std. Threads: values; LoopGauges is written by the loop and read by any thread.

namespace dtm {
inline namespace v1 {

/// What the loop reports after each turn.
struct LoopGauges {
  std::atomic<std::size_t> in_memory{0};
  std::atomic<std::size_t> damaged{0};
  std::atomic<bool> store_fails{false};
};

/// Of all outboxes that the coordinator relays.
struct OutboxGauges {
  std::uint64_t relayed = 0;  ///< rows that became transactions
  std::uint64_t refused = 0;  ///< rows that were marked with a problem
  /// Of the oldest row that waits, whoever is to take it; seen in the last 10 s.
  Duration oldest_age{};
};

/// Of a hook, see Options::on_event.
struct HookLoad {
  std::size_t waiting = 0;    ///< that it was not told yet
  std::uint64_t dropped = 0;  ///< that it will never be told, since it was too slow
};

/// The present state of a coordinator in numbers.
struct Gauges {
  Time time{};                     ///< of the coordinator, when it was measured
  const char* store = "";          ///< Store::Kind
  std::optional<Backlog> backlog;  ///< of the store; nothing: it cannot be read now
  Duration oldest_age{};           ///< of the oldest unfinished transaction; 0: there is none
  std::size_t in_memory =
      0;  ///< transactions in memory; the rest of the unfinished waits in the store
  /// Unreadable records found so far; 101 means that many or more.
  std::size_t damaged = 0;
  bool store_fails = false;  ///< the last commit failed
  CallLoad functions;        ///< calls of registered functions
  CallLoad urls;
  std::optional<PeerCounts> peers;  ///< nothing: no others share the store, or it cannot be read
  std::optional<OutboxGauges> outboxes;   ///< nothing: it relays none
  std::optional<SharingCounts> sharing;   ///< nothing: it has its store for itself
  std::map<std::string, HookLoad> hooks;  ///< those that are set, by the name of the option
};

/// Leaves the backlog empty if the store cannot be read.
inline void MeasureStore(Gauges& gauges, Store& store, Time now) {
  gauges.store = store.Kind();
  gauges.sharing = store.CountSharing();
  try {
    gauges.backlog = store.CountUnfinished(now);
    if (Peers* const peers = store.Shared()) gauges.peers = peers->Count();
    if (gauges.backlog->oldest < now) gauges.oldest_age = now - gauges.backlog->oldest;
  } catch (const StoreError&) {  // NOLINT(bugprone-empty-catch)
  }
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/base/option_range.hpp -----------------------------------------------------------------

/// What an option may be, and the sentence if it is something else.
/// Needs: std. Threads: pure functions.
///
/// The ranges are checked where the options are: CheckedOptions of an embedded coordinator, of a server, of callers.

#include <limits>

namespace dtm {
inline namespace v1 {
namespace option_range {

inline constexpr Duration kShortest = std::chrono::milliseconds(1);
inline constexpr Duration kEver = (Duration::max)();
inline constexpr std::size_t kAnyNumber = (std::numeric_limits<std::size_t>::max)();

inline std::string InWords(Duration value) {
  const auto count = value.count();
  if (count % 1000000 == 0) return std::to_string(count / 1000000) + " s";
  if (count % 1000 == 0) return std::to_string(count / 1000) + " ms";
  return std::to_string(count) + " us";
}
inline std::string InWords(std::chrono::seconds value) {
  return std::to_string(value.count()) + " s";  // the greatest of them is no Duration
}
inline std::string InWords(int value) { return std::to_string(value); }
inline std::string InWords(std::size_t value) { return std::to_string(value); }

template <typename Value>
struct Itself {  // so that only `value` decides the type
  using Type = Value;
};

/// @throws LogicError  `value` is below `least` or above `most`.
template <typename Value>
void Check(const char* name, const Value& value, const typename Itself<Value>::Type& least,
           const typename Itself<Value>::Type& most) {
  if (value >= least && value <= most) return;
  throw LogicError(std::string("the option ") + name + " is " + InWords(value) + "; it must be " +
                   InWords(least) + " to " + InWords(most));
}

}  // namespace option_range
}  // namespace v1
}  // namespace dtm

// ---- dtm/observe/event.hpp ---------------------------------------------------------------------

/// What happened to a transaction, as Options::on_event is told it.
/// Needs: std. Threads: values and pure functions. Document: docs/observe.md.

namespace dtm {
inline namespace v1 {

/// One thing that happened to a transaction, and is durable. Its kinds are those of the journal; never kGap.
struct Event {
  std::string gid;
  TransType type = TransType::kSaga;
  Status status = Status::kSubmitted;  ///< after the commit that made it durable
  Time time{};
  JournalKind kind = JournalKind::kSubmitted;
  std::string branch_id;  ///< whose; empty: of no branch
  Op op{};                ///< of that branch; 0 without one
  std::string target;     ///< its URL without a password, or `local:Name`; empty: of no branch
  std::string text;       ///< why, or what the branch said; at most kMaxJournalText bytes
  std::string who;        ///< who asked for it, or which process goes on with it; empty: not known
  std::string trace_id;   ///< of the trace to which the transaction belongs; empty: none
};

/// `transaction` is what the entry led to. `spans`: see TraceIdOf.
inline Event EventOf(const Transaction& transaction, const JournalEntry& entry,
                     bool spans = false) {
  const Definition& definition = *transaction.definition;
  Event event;
  event.gid = definition.gid;
  event.type = definition.type;
  event.status = transaction.status;
  event.time = entry.time;
  event.kind = entry.kind;
  event.op = entry.op;
  event.text = entry.text;
  event.who = entry.who;
  if (entry.row < RowCount(definition)) {
    event.branch_id = BranchIdOf(definition, entry.row);
    event.target = ShownUrl(UrlOf(definition, entry.row));
  }
  event.trace_id = TraceIdOf(definition, spans);
  return event;
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/observe/log_line.hpp ------------------------------------------------------------------

/// A line of the log, and the functions that may take it: Options::log.
/// Needs: std. Threads: values; a log function is called from any thread.

namespace dtm {
inline namespace v1 {

/// What a line of the log is: what happened, what should be looked at, what is wrong.
enum class LogLevel { kInfo, kWarning, kError };

/// "info", "warning" or "error".
inline const char* Name(LogLevel level) {
  return level == LogLevel::kError ? "error" : level == LogLevel::kWarning ? "warning" : "info";
}

/// One line of the log.
struct LogLine {
  LogLevel level = LogLevel::kInfo;
  std::string text;      ///< a sentence, which names the gid too
  std::string gid;       ///< empty: it is not about one transaction
  std::string trace_id;  ///< of the trace to which that belongs; empty: none
};

/// The log that Options have by default: a line to standard error.
inline void LogToStderr(LogLevel level, const std::string& text) {
  std::fprintf(stderr, "dtm %s: %s\n", Name(level), text.c_str());
}

namespace log_function {

template <typename Function>
inline constexpr bool kPlain = std::is_invocable_v<Function&, LogLevel, const std::string&>;
template <typename Function>
inline constexpr bool kWhole = std::is_invocable_v<Function&, const LogLine&>;
template <typename Function>
inline constexpr bool kFits = kPlain<Function> || kWhole<Function>;

}  // namespace log_function

/// Any function that takes `dtm::LogLevel, const std::string&`, or `const dtm::LogLine&`; an empty one logs nothing.
class LogFunction {
 public:
  LogFunction() = default;
  /// Logs nothing.
  LogFunction(std::nullptr_t) {}  // NOLINT(google-explicit-constructor): as of a std::function
  /// Keeps `function`.
  template <typename Function, typename = std::enable_if_t<!std::is_same_v<Function, LogFunction> &&
                                                           log_function::kFits<Function>>>
  LogFunction(Function function) {  // NOLINT(google-explicit-constructor): so that a lambda is one
    if (callable::Empty(function)) return;
    if constexpr (log_function::kPlain<Function>) {
      log_ = [function = std::move(function)](const LogLine& line) mutable {
        function(line.level, line.text);
      };
    } else {
      log_ = std::move(function);
    }
  }

  /// False: it logs nothing.
  explicit operator bool() const { return static_cast<bool>(log_); }
  /// Only if it is not empty.
  void operator()(const LogLine& line) const { log_(line); }
  /// A line without gid and trace; the same.
  void operator()(LogLevel level, const std::string& text) const { log_({level, text, {}, {}}); }

 private:
  std::function<void(const LogLine&)> log_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/store/durability.hpp ------------------------------------------------------------------

/// How much a commit survives.
/// Needs: nothing. Threads: a value.

namespace dtm {
inline namespace v1 {

/// What a commit survives.
enum class Durability {
  kPower,   ///< the loss of power: one fsync a commit
  kProcess  ///< the death of the process (kill -9), not that of the machine
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/parts/options.hpp ---------------------------------------------------------

/// The settings of an embedded coordinator.
/// Needs: std. Threads: values; `log` and `on_wake` are called from any thread, `on_alert`, `on_event` and `on_span` each from
/// one of its own (without Start: inside Poll).
/// Protocol: §3 (alert).

namespace dtm {
inline namespace v1 {

/// A branch keeps failing: it had `retry_count` errors in a row.
struct Alert {
  std::string gid;
  Status status = Status::kSubmitted;
  std::string branch;             ///< its URL, or `local:Name`
  std::string error;              ///< the last one, with branch, op and url
  std::uint32_t retry_count = 0;  ///< errors in a row
};

/// The constructor of the coordinator throws LogicError if a value is out of range.
struct Options {
  /// What a commit survives, with the coordinator's own file; see Durability. A store that is given to it has its own.
  Durability durability = Durability::kPower;
  /// The first wait after an error, for transactions that set none: 1 ms to 1 day.
  Duration retry_interval = std::chrono::seconds(10);
  /// The deadline of a branch call by URL, for transactions that set none: 1 ms to 1 day.
  Duration request_timeout = std::chrono::seconds(3);
  /// How long a prepared msg, tcc or xa that sets no timeout waits for its submit. Then a message
  /// asks its initiator, and the others are rolled back. 1 s to 1 day.
  std::chrono::seconds timeout_to_fail{35};
  /// The URL at which a dtm::Server serves this coordinator ("http://this-host:36789/api/dtmsvr"). The branches that
  /// a tcc or xa calls are told it, so that they can register. Empty: they cannot.
  std::string server_url;
  /// Finished transactions are removed after this time, 0 or more; with Duration::max(), never. Unfinished ones are never
  /// removed.
  Duration keep_finished = std::chrono::hours(24);
  /// The gids of finished transactions are kept for this time after their end, so that a gid does not run again. The
  /// same content gets the status that it ended with; other content is refused, and so is a workflow, whose result is
  /// gone with its record. A gid takes about 50 bytes. If this is not more than keep_finished, no gids are kept.
  Duration keep_gids = std::chrono::hours(24 * 7);
  /// What this coordinator is called by people: in timelines, and on a store that several share in Explain at the others. Empty:
  /// the name of its machine and its process id. At most 255 bytes; timelines show 64.
  std::string node_name;
  /// On such a store: transactions with steps that are functions of programs are driven only by coordinators with the same
  /// app. So programs that have the same functions have one name. 1 to 128 bytes.
  std::string app = "main";
  /// On such a store a function of a program that was stopped, and goes on later, may still run when another coordinator has
  /// taken over. So a compensation waits until so much time has passed since the call of a function whose result is not
  /// known: 1 s to 1 day. A function that takes longer needs a barrier.
  Duration function_limit = std::chrono::seconds(30);
  /// How many attempts of each branch are kept with a transaction, the last ones: when they began and ended, and how; and with
  /// them the decisions and who drove it, see Coordinator::Timeline. Of all its branches together the last 500 attempts are
  /// kept, and the first 8. They are stored by the commits that happen anyway, some 10 bytes an attempt and its error text (at
  /// most 200 bytes). 0: nothing is kept; at most 500.
  unsigned history = 20;
  /// The number of transactions in memory, and the memory that the coordinator takes (within a third). Half of it is for
  /// definitions of transactions, an eighth for what waits to be stored, a quarter, but at most 64 MiB, for pages of the
  /// file; the rest is for work. What does not fit waits in the store, and a submission that would have to wait in
  /// memory is refused (BusyError). Both 1 or more.
  std::size_t max_in_memory = 20000;
  std::size_t max_memory_bytes = std::size_t{256} << 20;
  /// The number of submissions that may wait for a commit, 1 or more; others are refused (BusyError).
  std::size_t max_waiting_submissions = 20000;
  /// The number of threads that run branch functions, 1 to 10,000, and how many of them one function may occupy: 1 or
  /// more, but at most half of those that the others leave. A function of which no call runs always gets a thread, even
  /// beyond the maximum, so that functions that block delay no others.
  std::size_t max_function_threads = 128;
  std::size_t max_threads_per_function = 64;
  /// Called at the `alert_retry_limit`-th error in a row of a branch, and at every later one, even when the wait between
  /// tries no longer grows; not for questions to the initiator of a message. After a success, ONGOING, a call that could
  /// not be sent or RetryNow the count starts again; after a restart it does not. 0 means 1.
  ///
  /// Also called if a branch cannot be called (its function is not registered, or it is a URL and there is no
  /// HttpBranches), once a minute for each function, with the present `retry_count`.
  ///
  /// It reports only what is durable. It runs on a thread of its own (without Start: inside Poll), one alert after the
  /// other. It may block and throw: no transaction waits for it. An alert is lost if 1000 are waiting, if the time of Stop
  /// is over, or in a crash; the next error sends the next one. Stop and the destructor wait for the one that is
  /// running. For a web hook: dtm::AlertWebHook(url) of <dtm/http.hpp>.
  std::function<void(const Alert&)> on_alert;
  std::uint32_t alert_retry_limit = 3;
  /// Called with what happens to transactions: submitted, a call started or ended, rolled back, stuck, ended, taken up by
  /// another run, and what people asked for (Event::kind); of each transaction in order.
  ///
  /// It is told only what is durable, each thing once; docs/observe.md says what holds in a crash. It runs on a thread of its
  /// own (without Start: inside Poll), one event after the other. It may block and throw: no transaction waits for it. Beyond
  /// 10,000 that wait, events are dropped, counted and logged. Stop tells what waits as long as its limit lasts, the
  /// destructor for a second; both wait for the one that is running.
  std::function<void(const Event&)> on_event;
  /// Called with each transaction that has ended, and each attempt of each branch, as a span of a trace: the one with which the
  /// transaction came (traceparent), or one that begins with it. The branch gets the attempt's span as its parent. An attempt
  /// is told once its result is stored, or was found to be too late; one whose result a crash lost is not told. For the rest
  /// as on_event.
  std::function<void(const Span&)> on_span;
  /// Without Start: called when there is something to do earlier than the last Poll returned (another thread has
  /// submitted, a URL has replied, a function has returned), so call Poll. It is called once until then, from any thread,
  /// even from inside calls of the coordinator. It should only wake an event loop; it must not use the coordinator. See
  /// WakeFd.
  std::function<void()> on_wake;
  /// Called from any thread; must not throw. It takes `LogLevel, const std::string&`, or `const LogLine&` with the gid and the
  /// trace beside the text: such a function is LogAsJson.
  LogFunction log = LogToStderr;
};

/// What happens to transactions is put into words, for somebody.
inline bool TellsEntries(const Options& options) {
  return options.history > 0 || options.on_event != nullptr;
}

/// One line: control characters, which texts of others may contain, are replaced. Ignores exceptions of the log.
/// `about`: a transaction that the line is about, or null.
inline void LogTo(const Options& options, LogLevel level, const std::string& text,
                  const Definition* about = nullptr) {
  try {
    if (!options.log) return;
    LogLine line{level, Printable(text), {}, {}};
    if (about != nullptr) {
      line.gid = about->gid;
      line.trace_id = TraceIdOf(*about, options.on_span != nullptr);
    }
    options.log(line);
  } catch (...) {  // NOLINT(bugprone-empty-catch): there is nobody left to tell
  }
}

/// Inside a `catch (...)`: `what` failed, and why.
inline void LogFailure(const Options& options, const char* what) noexcept {
  const std::string thrown = WhatWasThrown();
  try {
    LogTo(options, LogLevel::kError, what + thrown);
  } catch (...) {  // out of memory
    LogTo(options, LogLevel::kError, thrown);
  }
}

/// @throws LogicError  an option is out of range, or is not a URL where it must be one.
inline const Options& CheckedOptions(const Options& options) {
  option_range::Check("retry_interval", options.retry_interval, option_range::kShortest,
                      kMaxOptionSeconds);
  option_range::Check("request_timeout", options.request_timeout, option_range::kShortest,
                      kMaxOptionSeconds);
  option_range::Check("timeout_to_fail", options.timeout_to_fail, std::chrono::seconds(1),
                      kMaxOptionSeconds);
  option_range::Check("function_limit", options.function_limit, std::chrono::seconds(1),
                      kMaxOptionSeconds);
  option_range::Check("the length of app", options.app.size(), 1, 128);
  option_range::Check("the length of node_name", options.node_name.size(), 0, 255);
  if (!IsUtf8(options.app) || !IsUtf8(options.node_name)) {
    throw LogicError("app or node_name is not UTF-8");
  }
  option_range::Check("history", std::size_t{options.history}, 0, kLastAttempts);
  option_range::Check("keep_finished", options.keep_finished, Duration(0), option_range::kEver);
  option_range::Check("keep_gids", options.keep_gids, Duration(0), option_range::kEver);
  option_range::Check("max_in_memory", options.max_in_memory, 1, option_range::kAnyNumber);
  option_range::Check("max_memory_bytes", options.max_memory_bytes, 1, option_range::kAnyNumber);
  option_range::Check("max_waiting_submissions", options.max_waiting_submissions, 1,
                      option_range::kAnyNumber);
  option_range::Check("max_function_threads", options.max_function_threads, 1, 10000);
  option_range::Check("max_threads_per_function", options.max_threads_per_function, 1,
                      option_range::kAnyNumber);
  CheckUrlOption("server_url", options.server_url);
  return options;
}

/// As people and other coordinators call the one with these options.
inline NodeName NodeOf(const Options& options) {
  const std::string name = options.node_name.empty() ? os::HostAndProcess() : options.node_name;
  return {name, options.server_url, options.app};
}

/// The parts of `max_memory_bytes`: for active transactions, for what waits to be stored, for pages of the file.
inline std::size_t ActiveBytes(const Options& options) {
  return (std::max)(options.max_memory_bytes / 2, std::size_t{1});
}
inline std::size_t InboxBytes(const Options& options) { return options.max_memory_bytes / 8; }
/// Small definitions that have ended are freed later and do not count; so many of them at a time.
inline constexpr std::size_t kSmallBytes = 4096;
inline std::size_t MostEnded(const Options& options) {
  return (std::min)(std::size_t{4096}, options.max_memory_bytes / (16 * kSmallBytes));
}
inline std::size_t CacheBytes(const Options& options) {
  return (std::min)(options.max_memory_bytes / 4, std::size_t{64} << 20);
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/hooks/hook_queue.hpp ------------------------------------------------------

/// Gives what happened to a function of the program: outside the loop, one after the other, with a bounded queue.
/// Needs: std. Threads: thread-safe. Without StartThread the function runs where RunWaiting is called.
/// Protocol: §3 (alert), off the path of the transactions (§12, W9).

#include <deque>
#include <new>

namespace dtm {
inline namespace v1 {

/// `T` has a gid. It does not use the pool of functions: a hook may hang, and must not take threads from branches or count
/// as a branch.
template <typename T>
class HookQueue {
 public:
  using Hook = std::function<void(const T&)>;
  using List = std::vector<std::shared_ptr<const T>>;

  /// `name`: of the option. At most `max_waiting` wait. `hook` and `options` outlive it.
  HookQueue(const char* name, const Hook& hook, std::size_t max_waiting, Clock& clock,
            const Options& options)
      : name_(name), hook_(hook), max_waiting_(max_waiting), clock_(clock), options_(options) {}
  ~HookQueue() {
    DropWaiting();
    if (thread_.joinable()) thread_.join();
  }
  HookQueue(const HookQueue&) = delete;
  HookQueue& operator=(const HookQueue&) = delete;

  bool Wanted() const { return static_cast<bool>(hook_); }

  /// From now on the hook runs on a thread of its own.
  void StartThread() {
    if (!Wanted()) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    thread_ = std::thread([this] { ThreadMain(); });
    threaded_ = true;
  }

  /// Returns at once; what does not fit is dropped, and counted.
  void Tell(List told) {
    std::size_t dropped = 0;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (stopping_) return;
      for (auto& one : told) {
        if (!Keep(one)) ++dropped;
      }
      changed_.notify_all();
    }
    if (dropped == 0) return;
    dropped_ += dropped;
    WarnNowAndThen(next_too_slow_, [this] {
      return std::string(name_) + " is too slow: " + std::to_string(max_waiting_) +
             " wait for it, more are dropped (" + std::to_string(dropped_) + " so far)";
    });
  }

  /// Without a thread: tells what waits, in this thread. Does nothing inside the hook. True: there is more.
  bool RunWaiting() {
    std::unique_lock<std::mutex> lock(mutex_);
    if (threaded_ || running_) return false;
    // What comes meanwhile is told next time.
    for (std::size_t n = waiting_.size(); n > 0 && !waiting_.empty() && !running_; --n)
      RunOne(lock);
    return !threaded_ && !running_ && !waiting_.empty();
  }

  /// Tells what waits until `until`, drops the rest, and waits for the one that is being told. False: it is still running.
  /// Nothing comes any more.
  bool Stop(Time until) {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!threaded_ && !running_ && !waiting_.empty() && clock_.Now() < until) RunOne(lock);
    while (threaded_ && !waiting_.empty() && clock_.Now() < until) {
      clock_.Wait(changed_, lock, until);
    }
    const std::size_t rest = waiting_.size();
    waiting_.clear();
    stopping_ = true;
    changed_.notify_all();
    while (running_ && clock_.Now() < until) clock_.Wait(changed_, lock, until);
    const bool done = !running_;
    lock.unlock();
    if (rest > 0) {
      dropped_ += rest;
      Warn([&] {
        return std::string(name_) + " is too slow: " + std::to_string(rest) +
               " waited for it when the coordinator stopped, and are dropped";
      });
    }
    if (done && thread_.joinable()) thread_.join();
    return done;
  }

  HookLoad Load() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return {waiting_.size(), dropped_};
  }

 private:
  static constexpr Duration kBetweenLines = std::chrono::seconds(10);

  void DropWaiting() {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    waiting_.clear();
    changed_.notify_all();
  }

  /// With mutex_ held.
  bool Keep(std::shared_ptr<const T>& one) {
    if (waiting_.size() >= max_waiting_) return false;
    try {
      waiting_.push_back(std::move(one));
      return true;
    } catch (const std::bad_alloc&) {
      return false;
    }
  }

  void ThreadMain() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      // One that began before there was this thread may still run.
      changed_.wait(lock, [this] { return (!waiting_.empty() && !running_) || stopping_; });
      if (stopping_) return;
      RunOne(lock);
    }
  }

  /// Takes one, and tells it without the lock.
  void RunOne(std::unique_lock<std::mutex>& lock) {
    const std::shared_ptr<const T> one = std::move(waiting_.front());
    waiting_.pop_front();
    running_ = true;
    lock.unlock();
    try {
      hook_(*one);
    } catch (...) {
      const std::string thrown = WhatWasThrown();
      ++failures_;
      WarnNowAndThen(next_failed_, [&] {
        return std::string(name_) + " failed for gid '" + one->gid + "': " + thrown +
               (failures_ > 1 ? " (" + std::to_string(failures_) + " failures so far)" : "");
      });
    }
    lock.lock();
    running_ = false;
    changed_.notify_all();
  }

  /// A hook that always fails or is always too slow does not fill the log. `next`: of this kind of line.
  template <typename Text>
  void WarnNowAndThen(std::atomic<Time>& next, const Text& text) const {
    const Time now = clock_.Now();
    if (now < next.load()) return;
    next = now + kBetweenLines;
    Warn(text);
  }

  template <typename Text>
  void Warn(const Text& text) const {
    try {
      LogTo(options_, LogLevel::kWarning, text());
    } catch (...) {  // out of memory
      LogTo(options_, LogLevel::kWarning, name_);
    }
  }

  const char* const name_;
  const Hook& hook_;
  const std::size_t max_waiting_;
  Clock& clock_;
  const Options& options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<const T>> waiting_;
  bool threaded_ = false;
  bool running_ = false;
  bool stopping_ = false;
  std::atomic<std::uint64_t> dropped_{0};
  std::atomic<std::uint64_t> failures_{0};
  std::atomic<Time> next_too_slow_{Time{}};
  std::atomic<Time> next_failed_{Time{}};
  std::thread thread_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/hooks/hooks.hpp -----------------------------------------------------------

/// The hooks of the program, each with a queue of its own: Options::on_alert, on_event, on_span.
/// Needs: std. Threads: thread-safe.

namespace dtm {
inline namespace v1 {

struct Hooks {
  static constexpr std::size_t kMaxAlerts = 1000;
  static constexpr std::size_t kMaxEvents = 10000;

  /// Both outlive it.
  Hooks(Clock& clock, const Options& options)
      : alerts("on_alert", options.on_alert, kMaxAlerts, clock, options),
        events("on_event", options.on_event, kMaxEvents, clock, options),
        spans("on_span", options.on_span, kMaxEvents, clock, options) {}

  void StartThreads() {
    alerts.StartThread();
    events.StartThread();
    spans.StartThread();
  }
  /// See HookQueue; true: there is more.
  bool RunWaiting() {
    const bool more_alerts = alerts.RunWaiting();
    const bool more_spans = spans.RunWaiting();
    return events.RunWaiting() || more_alerts || more_spans;
  }
  bool Stop(Time until) {
    const bool events_told = events.Stop(until);
    const bool spans_told = spans.Stop(until);
    return alerts.Stop(until) && events_told && spans_told;
  }

  /// Of those that are set, by the name of the option.
  std::map<std::string, HookLoad> Load() const {
    std::map<std::string, HookLoad> loads;
    if (alerts.Wanted()) loads["on_alert"] = alerts.Load();
    if (events.Wanted()) loads["on_event"] = events.Load();
    if (spans.Wanted()) loads["on_span"] = spans.Load();
    return loads;
  }

  HookQueue<Alert> alerts;
  HookQueue<Event> events;
  HookQueue<Span> spans;
  SpanIds span_ids;  ///< of calls that do not come from the loop
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/functions/branch_function.hpp ---------------------------------------------

/// Branch functions as they are registered, with their payload types erased.
/// Needs: std. Threads: values; a function runs on any thread.

namespace dtm {
inline namespace v1 {

/// Gives a function the BranchInfo of its call if it asks. Most do not, and making one costs more than the call.
class Caller {
 public:
  explicit Caller(const BranchCall& call) : call_(&call) {}
  explicit Caller(const BranchInfo& info) : info_(&info) {}
  BranchInfo Info() const { return call_ != nullptr ? call_->Info() : *info_; }

 private:
  const BranchCall* call_ = nullptr;
  const BranchInfo* info_ = nullptr;
};

/// A branch function with its payload type erased: gets the payload as text.
using BranchFunction = std::function<Result(const std::string&, const Caller&)>;

/// The same, inside a commit: it writes through the store's own connection.
using TransactionFunction =
    std::function<Result(const WorkContext&, const std::string&, const Caller&)>;

/// The error of a name that is registered twice.
inline std::string NameTaken(const std::string& name) {
  return "a branch function named '" + name +
         "' is registered already; give each function a name of its own";
}

/// The result of a call whose function is not registered in this program: it waits until it is.
inline Result NotRegistered(const BranchCall& call) {
  return Result::NoHandler(IfThereIsMemory([&] {
    return "waiting for handler \"" + call.Url().substr(kLocalPrefixSize) +
           "\": this program has not registered it";
  }));
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/base/thread_list.hpp ------------------------------------------------------------------

/// Threads of a pool, which may leave one by one and are all joined in the end.
/// Needs: std. Threads: the owner's mutex is held for each call, but for JoinAll.

#include <list>

namespace dtm {
inline namespace v1 {

class ThreadList {
 public:
  /// @throws std::exception  there is no thread or no memory for it now; nothing was changed.
  template <typename Main>
  void Add(Main main) {
    running_.emplace_back();
    try {
      running_.back() = std::thread(std::move(main));
    } catch (...) {
      running_.pop_back();
      throw;
    }
  }

  /// The last thing that a thread does which returns before its pool stops. The next one to leave joins it, or JoinAll.
  void Leave() {
    const auto self = std::find_if(running_.begin(), running_.end(), [](const auto& thread) {
      return thread.get_id() == std::this_thread::get_id();
    });
    if (self == running_.end()) return;  // TakeAll has it
    for (auto& thread : left_) thread.join();
    left_.clear();
    left_.splice(left_.end(), running_, self);
  }

  std::size_t Count() const { return running_.size(); }

  /// All of them, to be joined by JoinAll without the mutex; none is left here.
  ThreadList TakeAll() {
    ThreadList all;
    all.running_.swap(running_);
    all.left_.swap(left_);
    return all;
  }
  void JoinAll() {
    for (auto& thread : left_) thread.join();
    for (auto& thread : running_) thread.join();
    left_.clear();
    running_.clear();
  }

 private:
  std::list<std::thread> running_;
  std::list<std::thread> left_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/functions/function_queue.hpp ----------------------------------------------

/// Decides which call of a function begins next: each function has a queue, they take turns, and none takes all threads.
/// Needs: std. Threads: none inside; the caller holds its own lock.

namespace dtm {
inline namespace v1 {

/// Functions that block delay no others. A function of which no call runs may always begin one, even beyond the maximum;
/// beyond that first call it takes at most half of the threads that the others leave. So at most the maximum, and one more
/// of each function, run at a time.
class FunctionQueue {
 public:
  /// A function and its calls. It is never removed.
  class Entry {
   public:
    const BranchFunction& Function() const { return function_; }
    std::size_t Running() const { return running_; }

   private:
    friend class FunctionQueue;
    BranchFunction function_;
    std::deque<BranchCall> waiting_;
    std::size_t running_ = 0;
    Entry* next_ = nullptr;  // in the ring; null: it is not in the ring
  };

  FunctionQueue(std::size_t max_threads, std::size_t max_per_function)
      : max_threads_(max_threads), max_per_function_(max_per_function) {}

  /// False: the name is taken.
  bool Add(const std::string& name, BranchFunction function) {
    auto entry = std::make_unique<Entry>();
    entry->function_ = std::move(function);
    return entries_.emplace(name, std::move(entry)).second;
  }

  /// Null: there is none of this name.
  Entry* Find(std::string_view name) {
    const auto found = entries_.find(name);
    return found == entries_.end() ? nullptr : found->second.get();
  }

  /// @throws std::bad_alloc  nothing was changed, also not `call`.
  void Push(Entry& entry, BranchCall&& call) {
    entry.waiting_.push_back(std::move(call));
    ++waiting_;
    if (entry.next_ != nullptr) return;
    entry.next_ = last_ == nullptr ? &entry : last_->next_;
    if (last_ != nullptr) last_->next_ = &entry;
    last_ = &entry;
    ++in_ring_;
  }

  /// The function whose turn it is; null: nothing may begin.
  Entry* Next() {
    for (std::size_t left = in_ring_; left > 0; --left) {
      if (MayBegin(*last_->next_)) return last_->next_;
      held_back_ = true;
      last_ = last_->next_;
    }
    return nullptr;
  }

  /// Takes a call of the function that Next has just returned; Ended must follow.
  BranchCall Take() {
    Entry& entry = *last_->next_;
    BranchCall call = std::move(entry.waiting_.front());
    entry.waiting_.pop_front();
    if (entry.waiting_.empty()) {
      LeaveRing(entry);
    } else {
      last_ = &entry;
    }
    --waiting_;
    ++running_;
    ++entry.running_;
    return call;
  }

  /// True: other calls, which had to wait for this one, may begin now.
  bool Ended(Entry& entry) {
    --running_;
    --entry.running_;
    return std::exchange(held_back_, false);
  }

  /// @throws std::bad_alloc  nothing was changed.
  std::vector<BranchCall> TakeAllWaiting() {
    std::vector<BranchCall> calls;
    calls.reserve(waiting_);
    while (last_ != nullptr) {
      Entry& entry = *last_->next_;
      for (BranchCall& call : entry.waiting_) calls.push_back(std::move(call));
      entry.waiting_.clear();
      LeaveRing(entry);
    }
    waiting_ = 0;
    return calls;
  }

  std::size_t Waiting() const { return waiting_; }  ///< calls
  std::size_t Running() const { return running_; }  ///< calls

 private:
  /// The first one.
  void LeaveRing(Entry& entry) {
    last_->next_ = entry.next_;
    if (last_ == &entry) last_ = nullptr;
    entry.next_ = nullptr;
    --in_ring_;
  }

  bool MayBegin(const Entry& entry) const {
    if (entry.running_ == 0) return true;
    if (entry.running_ >= max_per_function_) return false;
    const std::size_t others = running_ - entry.running_;
    return others < max_threads_ && entry.running_ < (max_threads_ - others) / 2;
  }

  const std::size_t max_threads_;
  const std::size_t max_per_function_;
  std::map<std::string, std::unique_ptr<Entry>, std::less<>> entries_;
  // The ring of functions with calls that wait, in turn; the last one leads to the first. Nothing is allocated for it.
  Entry* last_ = nullptr;
  std::size_t in_ring_ = 0;
  std::size_t waiting_ = 0;
  std::size_t running_ = 0;
  bool held_back_ = false;  // one had to wait for others since the last end
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/functions/functions.hpp ---------------------------------------------------

/// The registry of branch functions, and the threads that run them.
/// Needs: std. Threads: thread-safe. Without StartThreads the functions run where RunQueued is
/// called.

namespace dtm {
inline namespace v1 {

/// The functions by name, and the pool that runs them. It is not a ThreadPool: it grows only when all running functions
/// have blocked for a while, takes the calls of functions in turn (FunctionQueue), works without threads too, and on Stop
/// drops what has not begun.
class Functions : public BranchCaller {
 public:
  Functions(std::size_t max_threads, std::size_t max_per_function)
      : max_threads_(max_threads), queue_(max_threads, max_per_function) {}
  ~Functions() override { Functions::Stop(); }

  /// @throws LogicError  the name is taken.
  void Register(const std::string& name, BranchFunction function) {
    if (name.empty()) throw LogicError("a branch function needs a name; the store keeps it");
    if (RunsInTransaction(kLocalPrefix + name)) {
      throw LogicError("'" + name + "' begins like the name of a function inside a transaction, '" +
                       kInTransactionPrefix + "'; give it another one");
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!queue_.Add(name, std::move(function))) {
      throw LogicError(NameTaken(name));
    }
  }

  /// Calls of names that are not registered here go there. Set it before the first call.
  void ElseCall(BranchCaller& others) { else_ = &others; }

  void Call(std::vector<BranchCall> calls, BranchResults& results) override {
    std::vector<BranchCall> unknown;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      if (refusing_) {
        lock.unlock();
        return Refuse(calls, results);
      }
      results_ = &results;
      for (BranchCall& call : calls) {
        FunctionQueue::Entry* entry =
            queue_.Find(std::string_view(call.Url()).substr(kLocalPrefixSize));
        try {
          if (entry == nullptr) {
            unknown.push_back(std::move(call));
          } else {
            queue_.Push(*entry, std::move(call));
          }
        } catch (const std::bad_alloc&) {  // it stays here
        }
      }
      WakeThreads();
    }
    for (BranchCall& call : calls) {
      if (call.definition) results.Done(std::move(call), Result::NotSent({}));
    }
    if (else_ != nullptr && !unknown.empty()) return else_->Call(std::move(unknown), results);
    for (const BranchCall& call : unknown) results.Done(call, NotRegistered(call));
  }

  /// The function of this name; empty if there is none.
  BranchFunction Find(const std::string& name) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const FunctionQueue::Entry* entry = queue_.Find(name);
    return entry == nullptr ? BranchFunction() : entry->Function();
  }

  /// From now on functions run on threads of their own.
  void StartThreads() {
    const std::lock_guard<std::mutex> lock(mutex_);
    threaded_ = true;
    const std::size_t first =
        (std::max)(std::size_t{2}, std::size_t{std::thread::hardware_concurrency()});
    while (threads_.Count() < (std::min)(first, max_threads_)) AddThread();
    min_threads_ = threads_.Count();
  }

  /// Adds threads if no waiting call has begun for `kPatience`, because all running ones block. Returns when to look
  /// again.
  Time Grow(Time now) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const FunctionQueue::Entry* next = threaded_ ? Next() : nullptr;
    if (next != nullptr && idle_ > 0) return now + kPatience;  // an idle thread will take it
    const bool starves = next != nullptr && next->Running() == 0;
    const std::size_t most = starves ? (std::max)(max_threads_, running_.size() + 1) : max_threads_;
    if (next == nullptr || threads_.Count() >= most) {
      stalled_since_ = kNever;
      return kNever;
    }
    if (stalled_since_ == kNever || taken_ != taken_before_) {
      stalled_since_ = now;
      taken_before_ = taken_;
    } else if (now - stalled_since_ >= kPatience) {
      const std::size_t more =
          (std::min)({threads_.Count(), queue_.Waiting(), most - threads_.Count()});
      stalled_since_ = now;
      try {
        for (std::size_t i = 0; i < more; ++i) AddThread();
      } catch (const std::exception&) {  // no new thread now; the others go on
      }
    }
    return now + kPatience;
  }

  /// Without threads: runs the queued calls in this thread. False: there were none.
  bool RunQueued() {
    std::unique_lock<std::mutex> lock(mutex_);
    if (threaded_ || queue_.Waiting() == 0) return false;
    // A function may submit and so queue more calls; those run next time.
    for (std::size_t n = queue_.Waiting(); n > 0; --n) {
      FunctionQueue::Entry* entry = Next();
      if (entry == nullptr) break;
      RunOne(*entry, lock);
    }
    return true;
  }

  /// True on a thread that is running one of these functions.
  bool OnFunctionThread() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return std::find(running_.begin(), running_.end(), std::this_thread::get_id()) !=
           running_.end();
  }

  /// The number of running calls; queued ones are not counted.
  std::size_t Running() { return Load().in_flight; }
  CallLoad Load() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return {running_.size(), queue_.Waiting(), {}};
  }

  /// Drops the calls that have not begun, waits for the running ones, joins the threads.
  void Stop() override {
    ThreadList threads;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      refusing_ = true;
      stopping_ = true;
      threads = threads_.TakeAll();
      ready_changed_.notify_all();
    }
    threads.JoinAll();
  }

  /// From now on no call begins; new ones get the result NotSent.
  void BeginNothingNew() {
    const std::lock_guard<std::mutex> lock(mutex_);
    refusing_ = true;
  }

  /// Gives waiting calls the result NotSent, after BeginNothingNew.
  void RefuseWaiting() {
    std::vector<BranchCall> calls;
    BranchResults* results = nullptr;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!refusing_) return;
      results = results_;
      calls = queue_.TakeAllWaiting();
    }
    if (!calls.empty()) Refuse(calls, *results);
  }

 private:
  static void Refuse(const std::vector<BranchCall>& calls, BranchResults& results) {
    for (const BranchCall& call : calls) {
      results.Done(call,
                   Result::NotSent(IfThereIsMemory([] { return "the coordinator was stopping"; })));
    }
  }

  static constexpr Duration kPatience = std::chrono::milliseconds(2);
  static constexpr std::chrono::seconds kIdleBeforeLeaving{10};

  /// All below with mutex_ held.
  FunctionQueue::Entry* Next() { return refusing_ ? nullptr : queue_.Next(); }

  void WakeThreads() {
    if (idle_ == 0 || Next() == nullptr) return;
    if (queue_.Waiting() > 1) {
      ready_changed_.notify_all();
    } else {
      ready_changed_.notify_one();
    }
  }

  void AddThread() {
    threads_.Add([this] { ThreadMain(); });
  }

  void ThreadMain() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!stopping_) {
      if (FunctionQueue::Entry* entry = Next()) {
        RunOne(*entry, lock);
        continue;
      }
      ++idle_;
      const auto woken = ready_changed_.wait_for(lock, kIdleBeforeLeaving);
      --idle_;
      if (woken == std::cv_status::timeout && Next() == nullptr &&
          threads_.Count() > min_threads_ && !stopping_) {
        return threads_.Leave();
      }
    }
  }

  /// Takes a call of the function that Next has just returned, and runs it without the lock.
  void RunOne(FunctionQueue::Entry& entry, std::unique_lock<std::mutex>& lock) {
    try {
      if (running_.size() == running_.capacity()) running_.reserve(2 * running_.size() + 4);
    } catch (const std::bad_alloc&) {
      lock.unlock();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      return lock.lock();
    }
    BranchCall call = queue_.Take();
    ++taken_;
    running_.push_back(std::this_thread::get_id());
    BranchResults& results = *results_;
    lock.unlock();
    Result result =
        call.MayBegin()
            ? CatchAsResult([&] { return entry.Function()(call.Payload(), Caller(call)); })
            : LeaseOver();
    results.Done(std::move(call), std::move(result));
    lock.lock();
    running_.erase(std::find(running_.begin(), running_.end(), std::this_thread::get_id()));
    if (queue_.Ended(entry)) WakeThreads();
  }

  const std::size_t max_threads_;
  std::mutex mutex_;
  std::condition_variable ready_changed_;
  FunctionQueue queue_;
  std::size_t idle_ = 0;
  std::size_t min_threads_ = 0;
  std::size_t taken_ = 0;
  std::size_t taken_before_ = 0;
  Time stalled_since_ = kNever;
  bool threaded_ = false;
  bool refusing_ = false;
  bool stopping_ = false;
  BranchResults* results_ = nullptr;
  BranchCaller* else_ = nullptr;
  std::vector<std::thread::id> running_;
  ThreadList threads_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/functions/program_functions.hpp -------------------------------------------

/// All functions that the program has registered: branches, and those that resume workflows.
/// Needs: std. Threads: thread-safe.

namespace dtm {
inline namespace v1 {

/// Two pools of threads, since a workflow may wait for other transactions, and so for branches. They share their names.
class ProgramFunctions final : public BranchCaller {
 public:
  ProgramFunctions(std::size_t max_threads, std::size_t max_per_function)
      : branches_(max_threads, max_per_function), workflows_(max_threads, max_per_function) {
    branches_.ElseCall(workflows_);
  }

  /// @throws LogicError  the name is taken.
  void Register(const std::string& name, BranchFunction function) {
    CheckFree(name, workflows_);
    branches_.Register(name, std::move(function));
  }
  /// The same for what resumes a workflow.
  void RegisterResume(const std::string& name, BranchFunction function) {
    CheckFree(name, branches_);
    workflows_.Register(name, std::move(function));
    resumes_ = true;
    if (threaded_) workflows_.StartThreads();
  }
  /// Calls of functions that are not registered go there. Set it before the first call.
  void ElseCall(BranchCaller& others) { workflows_.ElseCall(others); }
  /// Empty if there is none of this name.
  BranchFunction Find(const std::string& name) {
    BranchFunction function = branches_.Find(name);
    return function ? function : workflows_.Find(name);
  }

  void Call(std::vector<BranchCall> calls, BranchResults& results) override {
    branches_.Call(std::move(calls), results);
  }

  /// From now on functions run on threads; those for workflows are there once one is registered.
  void StartThreads() {
    branches_.StartThreads();
    threaded_ = true;
    if (resumes_) workflows_.StartThreads();
  }
  /// See Functions::Grow.
  Time Grow(Time now) { return (std::min)(branches_.Grow(now), workflows_.Grow(now)); }
  /// Without threads: runs what is queued, but no workflow inside a workflow. Not on a thread that runs a branch.
  void RunQueued() {
    (void)branches_.RunQueued();
    if (!workflows_.OnFunctionThread()) (void)workflows_.RunQueued();
  }
  /// True on a thread that is running a branch.
  bool OnBranchThread() { return branches_.OnFunctionThread(); }

  std::size_t Running() { return branches_.Running() + workflows_.Running(); }
  /// Of the branches.
  CallLoad Load() override { return branches_.Load(); }

  /// See Functions, in the order in which they are called.
  void BeginNothingNew() {
    branches_.BeginNothingNew();
    workflows_.BeginNothingNew();
  }
  void RefuseWaiting() {
    branches_.RefuseWaiting();
    workflows_.RefuseWaiting();
  }
  void Stop() override {
    branches_.Stop();
    workflows_.Stop();
  }

 private:
  static void CheckFree(const std::string& name, Functions& others) {
    if (!others.Find(name)) return;
    throw LogicError("'" + name + "' is registered already; workflows and functions share no name");
  }

  Functions branches_;
  Functions workflows_;
  std::atomic<bool> threaded_{false};
  std::atomic<bool> resumes_{false};
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/functions/transaction_functions.hpp ---------------------------------------

/// The registry of functions that run inside the coordinator's own commit, on the thread of the loop.
/// Needs: std. Threads: thread-safe.

namespace dtm {
inline namespace v1 {

/// InCommitWork calls them. Their names are separate from those of Functions.
class TransactionFunctions {
 public:
  /// @throws LogicError  the name is empty or taken.
  void Register(const std::string& name, TransactionFunction function) {
    if (name == kInTransactionPrefix) throw LogicError("a branch function needs a name");
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!functions_.emplace(name, std::move(function)).second) throw LogicError(NameTaken(name));
  }

  /// Runs the function in this thread, with the connection of the open batch.
  /// @throws LogicError  the function takes a connection that the store does not have; and what it throws itself.
  Result Run(const BranchCall& call, const WorkContext& connection) {
    std::unique_lock<std::mutex> lock(mutex_);
    const auto found = functions_.find(call.Url().c_str() + kLocalPrefixSize);
    if (found == functions_.end()) return NotRegistered(call);
    const TransactionFunction& function = found->second;  // none is ever removed
    lock.unlock();
    return function(connection, call.Payload(), Caller(call));
  }

 private:
  std::mutex mutex_;
  std::map<std::string, TransactionFunction, std::less<>> functions_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/base/prefetch.hpp ---------------------------------------------------------------------

/// Asks the processor for memory that is needed soon.
/// Needs: GCC or Clang (a builtin). Threads: thread-safe.
///
/// With thousands of transactions in flight most of what the loop looks at is in none of the nearer caches. Asking for it some
/// transactions ahead gives 5 to 9 % more of them a second, most on a machine whose neighbours use the caches too.

namespace dtm {
inline namespace v1 {

inline constexpr std::size_t kCacheLine = 64;

/// Nothing is read: any address will do, also null.
template <std::size_t kLines>
void Prefetch(const void* address) {
  if (address == nullptr) return;
  const char* at = static_cast<const char*>(address);
  for (std::size_t i = 0; i < kLines; ++i) __builtin_prefetch(at + i * kCacheLine);
}

/// The lines of an object of this size.
constexpr std::size_t LinesOf(std::size_t bytes) { return (bytes + kCacheLine - 1) / kCacheLine; }

/// How far ahead memory is asked for: first an object itself, then what it points to.
inline constexpr std::size_t kObjectsAhead = 8;
inline constexpr std::size_t kPartsAhead = 4;

/// Visits all in their order. Of those that come later, `object` and then `parts` are called in time to ask for what will
/// be looked at.
template <typename List, typename Object, typename Parts, typename Visit>
void VisitAhead(List& list, const Object& object, const Parts& parts, Visit visit) {
  const std::size_t count = list.size();
  for (std::size_t i = 0; i < count; ++i) {
    if (i + kObjectsAhead < count) object(list[i + kObjectsAhead]);
    if (i + kPartsAhead < count) parts(list[i + kPartsAhead]);
    visit(list[i]);
  }
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/core/in_words.hpp ---------------------------------------------------------------------

/// Sentences about a transaction: which branch it was, and which one gave the reason of a rollback.
/// Needs: std. Threads: pure functions.

namespace dtm {
inline namespace v1 {

/// "branch 02 action http://bank-b/TransIn"
inline std::string BranchInWords(const Definition& definition, std::size_t row) {
  return "branch " + BranchIdOf(definition, row) + " " + Name(OpOf(definition, row)) + " " +
         ShownUrl(UrlOf(definition, row));
}

/// The branch that gave the reason of the rollback, in words; empty if it was not a branch.
inline std::string ReasonFrom(const Transaction& transaction) {
  const std::size_t from = transaction.reason_from;
  if (from == 0 || from > RowCount(*transaction.definition)) return {};
  return BranchInWords(*transaction.definition, from - 1);
}

inline TransResult ResultOf(const Transaction& transaction) {
  return {transaction.definition->gid, transaction.status, transaction.reason,
          ReasonFrom(transaction), transaction.last_error};
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/engine/resubmission.hpp ---------------------------------------------------------------

/// Decides what a submit or prepare of a gid that exists means.
/// Needs: std. Threads: pure functions. Protocol: §2.3, with the differences of docs/http_api.md.

namespace dtm {
inline namespace v1 {
namespace engine {

struct Resubmission {
  enum class Kind {
    kAttach,   ///< the same again: nothing runs twice, the answer is that of the stored one
    kPromote,  ///< the submit of a prepared one
    kRefuse
  };
  Kind kind = Kind::kAttach;
  std::string refused;  ///< kRefuse: why
};

/// Whether its status can only have come after its submit. A tcc, xa or workflow is rolled back only if none came in time.
inline bool ShowsSubmit(const Transaction& stored) {
  if (stored.status == Status::kPrepared) return false;
  return !RegistersSteps(stored.definition->type) || stored.status != Status::kAborting;
}

/// The initiator has to learn that its submit came too late.
inline std::string CannotSubmit(const Transaction& stored) {
  return "gid '" + stored.definition->gid + "': current status '" + Name(stored.status) +
         "', cannot submit. FAILURE";
}

/// `again`: the new submit or (`prepare`) prepare. A submit is compared only with a submit, and a prepare only
/// with a prepare, since a submit after a prepare need not repeat the steps.
inline Resubmission OnResubmission(const Transaction& stored, const Definition& again,
                                   bool prepare) {
  const Definition& first = *stored.definition;
  const std::string gid = "gid '" + again.gid + "'";
  if (stored.unreadable) return {Resubmission::Kind::kRefuse, gid + ": " + stored.last_error};
  if (first.type != again.type) {
    return {Resubmission::Kind::kRefuse, gid + " exists as a " + Name(first.type) + ", not as a " +
                                             Name(again.type) +
                                             "; nothing was changed. Use a new gid"};
  }
  const bool prepared = stored.status == Status::kPrepared;
  if (prepare && !prepared) {
    return {Resubmission::Kind::kRefuse,
            gid + ": current status '" + Name(stored.status) + "', cannot prepare. FAILURE"};
  }
  if (!prepare && prepared) return {Resubmission::Kind::kPromote, {}};
  if (!prepare && !ShowsSubmit(stored)) {
    return {Resubmission::Kind::kRefuse, CannotSubmit(stored)};
  }
  const bool same = stored.expired ? stored.content == 0 || stored.content == ContentHash(again)
                                   : first.prepared_first != prepare || SameContent(first, again);
  if (!same) {
    return {Resubmission::Kind::kRefuse,
            gid +
                " exists with other content; nothing was changed. Use a new gid, or submit "
                "exactly what was submitted first"};
  }
  return {Resubmission::Kind::kAttach, {}};
}

/// Empty if `again` prepares the stored workflow; otherwise why not. The URL that resumes it may have changed; name and data
/// are compared only if both have them.
inline std::string OtherWorkflow(const Definition& stored, const Definition& again) {
  const std::string gid = "gid '" + again.gid + "' ";
  const char* end = "; nothing was changed or run. Use a new gid";
  if (stored.type != TransType::kWorkflow) {
    return gid + "is a " + Name(stored.type) + ", not a workflow" + end;
  }
  if (!again.workflow.empty() && again.workflow != stored.workflow) {
    return gid + "is the workflow '" + stored.workflow + "', not '" + again.workflow + "'" + end;
  }
  if (!again.data.empty() && again.data != stored.data) {
    return gid + "was started with other data" + end;
  }
  return {};
}

/// The headers of the submit replace those of the prepare, but a transaction stays in the trace in which it began.
inline std::map<std::string, std::string> MergedHeaders(const TransOptions& prepared,
                                                        const TransOptions& submitted) {
  using Headers = std::map<std::string, std::string>;
  const auto part = [](const Headers& headers, bool of_trace) {
    Headers found;
    for (const auto& header : headers) {
      if (IsTraceHeader(header.first) == of_trace) found.insert(header);
    }
    return found;
  };
  Headers merged = part(submitted.branch_headers, false);
  if (merged.empty()) merged = part(prepared.branch_headers, false);
  Headers trace = part(prepared.branch_headers, true);
  if (trace.empty()) trace = part(submitted.branch_headers, true);
  for (const auto& header : trace) {
    if (merged.size() < kMaxHeaders) merged.insert(header);
  }
  return merged;
}

/// The steps stay those of the prepare; options and orders of the submit replace those of the prepare.
inline Definition Promoted(const Definition& prepared, const Definition& submitted) {
  Definition merged = prepared;
  TransOptions& options = merged.options;
  const TransOptions& later = submitted.options;
  options.wait_result = later.wait_result;
  const auto take = [](auto& value, const auto& newer) {
    if (newer != std::decay_t<decltype(newer)>{}) value = newer;
  };
  if (merged.query_prepared.empty()) merged.query_prepared = submitted.query_prepared;
  take(options.timeout_to_fail, later.timeout_to_fail);
  take(options.request_timeout, later.request_timeout);
  take(options.retry_interval, later.retry_interval);
  take(options.retry_limit, later.retry_limit);
  options.branch_headers = MergedHeaders(options, later);
  take(merged.delay, submitted.delay);
  const bool order = submitted.concurrent || !submitted.orders.empty();
  if (order) {
    merged.concurrent = submitted.concurrent;
    merged.orders = submitted.orders;
  }
  if (order || submitted.delay.count() > 0 || !submitted.custom_data.empty()) {
    merged.custom_data = submitted.custom_data;
  }
  return merged;
}

}  // namespace engine
}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/parts/answers.hpp ---------------------------------------------------------

/// How callers get their answers: exactly once, whatever happens.
/// Needs: std. Threads: any, one at a time for each.

#include <future>

namespace dtm {
inline namespace v1 {

/// The promise of an answer to a caller. Once the inbox has taken it, it is kept even if it is dropped (because no memory
/// was left): then the answer is that the outcome is in doubt.
class Promise {
 public:
  Promise() = default;  ///< nobody wants an answer
  Promise(Promise&& other) noexcept
      : callback_(std::move(other.callback_)), binds_(std::exchange(other.binds_, false)) {
    if (other.callback_) other.callback_ = nullptr;  // most libraries have done so
  }
  Promise& operator=(Promise&& other) noexcept {
    if (binds_) Keep({{}, InDoubt()});
    callback_ = std::move(other.callback_);
    binds_ = std::exchange(other.binds_, false);
    return *this;
  }
  /// Of a promise that the inbox has not taken yet.
  Promise& operator=(AnswerCallback callback) {
    callback_.swap(callback);
    return *this;
  }
  ~Promise() {
    if (binds_) Keep({{}, InDoubt()});
  }

  /// Not answered yet.
  bool Open() const { return callback_ != nullptr; }
  void Bind() { binds_ = Open(); }
  /// Gives the answer, unless it was given. Exceptions of the callback are ignored.
  void Keep(const Answer& answer) noexcept {
    if (!callback_) return;
    const AnswerCallback callback = std::exchange(callback_, nullptr);
    binds_ = false;
    try {
      callback(answer);
    } catch (...) {  // NOLINT(bugprone-empty-catch): there is nobody left to tell
    }
  }

  /// The answer if there is no memory for a better one. It is made at the first call.
  static const std::exception_ptr& InDoubt() {
    static const std::exception_ptr in_doubt = std::make_exception_ptr(
        InDoubtError("no memory was left for the answer, so what was asked for may or may not be "
                     "done; ask for it again"));
    return in_doubt;
  }

 private:
  AnswerCallback callback_;
  bool binds_ = false;
};

/// An error; without memory for its sentence, that it is not known.
template <typename Kind, typename Sentence>
std::exception_ptr Made(const Sentence& sentence) noexcept {
  try {
    return std::make_exception_ptr(Kind(sentence()));
  } catch (...) {
    return Promise::InDoubt();
  }
}

/// Who waits is told the status that it has now.
inline std::exception_ptr GoesOn(const TransResult& result) noexcept {
  return Made<OngoingError>([&] {
    return "gid '" + result.gid + "' is " + Name(result.status) + " and goes on; ask query";
  });
}

/// When a caller wants its answer.
enum class AnswerWhen {
  kStored,   ///< once it is durable
  kSettled,  ///< once it has ended, or has to wait for a timer
  kFinished  ///< once it has ended
};

/// Whether the wait_result of a stored transaction says when the answer comes.
enum class WaitResult { kIgnored, kCounts };

/// A caller who waits for an answer about a transaction.
struct Waiter {
  /// With wait_result, so long.
  static constexpr Duration kLongestWaitResult = std::chrono::seconds(6);

  AnswerWhen when = AnswerWhen::kStored;
  bool failure_is_error = false;  ///< a rollback is told as FailureError
  bool ongoing_is_error = false;  ///< an unfinished status is told as OngoingError
  bool submits = false;           ///< the answer must not be a status without its submit
  Time deadline = kNever;         ///< then the answer is the present status
  /// The number of the event that it asked for; 0: none. After a conflict that is decided anew, and may be refused.
  std::uint64_t ask = 0;
  /// Asks again, if another coordinator on the store has written the transaction first. Empty: there is nothing to ask again.
  std::function<void(Waiter&&)> again{};
  Promise promise{};

  void WaitForResult(Time now) {
    when = AnswerWhen::kSettled;
    deadline = Later(now, kLongestWaitResult);
  }

  /// Answers in the form that was promised.
  void Give(TransResult result) {
    Answer answer;
    if (failure_is_error && result.Failed()) {
      answer.error = std::make_exception_ptr(FailureError(RolledBack(result)));
    }
    if (ongoing_is_error && !IsFinal(result.status)) answer.error = GoesOn(result);
    answer.result = std::move(result);
    promise.Keep(answer);
  }
  void Refuse(const std::exception_ptr& error) { promise.Keep({{}, error}); }
  /// Answers with the record as it is stored now.
  void GiveStatusOf(const Transaction& stored) {
    if (!submits || engine::ShowsSubmit(stored)) return Give(ResultOf(stored));
    Refuse(Made<RejectedError>([&] { return engine::CannotSubmit(stored); }));
  }
};

struct Answers {
  /// Runs what must not stop the loop if it throws.
  template <typename Function>
  static void Protected(const Function& function) noexcept {
    try {
      function();
    } catch (...) {  // NOLINT(bugprone-empty-catch): there is nobody left to tell
    }
  }
  /// The answer is copied beforehand: set_value runs within std::call_once, and what throws there leaves it locked for
  /// ever in the thread sanitizer and in some libraries (GCC bug 66146).
  static void Fulfil(std::promise<Answer>& promise, const Answer& answer) {
    Answer copy;
    try {
      copy = answer;
    } catch (const std::bad_alloc&) {
      return promise.set_exception(Promise::InDoubt());
    }
    promise.set_value(std::move(copy));
  }
  static std::exception_ptr Rejected(const std::string& why) {
    return Made<RejectedError>([&] { return why; });
  }
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/state/inbox.hpp -----------------------------------------------------------

/// Everything that the loop has to handle arrives here, from any thread.
/// Needs: std. Threads: thread-safe; Take and Wait by the thread that drives the loop.

namespace dtm {
inline namespace v1 {

struct Submission {
  std::shared_ptr<const Definition> definition;
  Waiter waiter;
  bool prepare = false;   ///< to be stored, and to run when it is submitted
  std::size_t bytes = 0;  ///< of the definition, counted by the inbox
};

struct ArrivedResult {
  BranchCall call;
  Result result;
};

/// What is commanded of a transaction that exists.
struct Instruction {
  enum class Kind {
    kCancel,
    kForceStop,
    kRetryNow,
    kSkip,
    kWait,
    kExplain,
    kListWaiting,
    kRegistered,
    kAddBranch,
    kFinish,
    kLook  ///< another coordinator on the store has written it
  };
  Kind kind = Kind::kWait;
  std::string gid;     ///< kRegistered: the url of the function
  std::string reason;  ///< kCancel, kFinish; kForceStop, kRetryNow, kSkip: why
  std::string who{};   ///< kCancel, kForceStop, kRetryNow, kSkip
  WaitResult wait_result = WaitResult::kIgnored;  ///< kCancel
  Step step;                                      ///< kAddBranch; kSkip: its branch_id and op
  Status status{};                                ///< kFinish
  std::string data;                               ///< kFinish: what the workflow returned
  std::optional<TransType> type;                  ///< refused if it has another one
  std::int64_t asked = 0;  ///< the request of another coordinator that this is, see Peers
};

struct Command : Instruction {
  Waiter waiter;
  std::shared_ptr<std::string> explained{};            ///< kExplain, out
  Time after{};                                        ///< kListWaiting: due later than this
  std::size_t limit = 0;                               ///< kListWaiting
  std::shared_ptr<std::vector<std::string>> listed{};  ///< kListWaiting, out
};

/// What user work can use while it runs inside a commit.
struct TransactContext {
  WorkContext connection;
  std::function<bool(const std::string&)> exists;  ///< whether a gid is taken
  std::vector<std::shared_ptr<const Definition>>
      submitted;  ///< out: to be stored by the same commit
};

/// User work for the next commit. The answer comes after the commit, or is its error. The work may run several times, and
/// is committed once.
struct QueuedWork {
  std::function<Result(TransactContext&)> work;
  std::shared_ptr<Result> result;  ///< out: what it returned
  Promise promise{};
};

struct Mail {
  std::vector<Submission> submissions;
  std::vector<ArrivedResult> results;
  std::vector<Command> commands;
  std::vector<QueuedWork> works;
  /// Freed by the next submitter, else in the next turn: memory is best freed by the thread that allocated it, and the
  /// loop's thread bounds the throughput.
  std::vector<std::shared_ptr<const Definition>> ended;

  bool Empty() const {
    return submissions.empty() && results.empty() && commands.empty() && works.empty();
  }
  void Clear() {
    submissions.clear();
    results.clear();
    commands.clear();
    works.clear();
    ended.clear();
  }
};

class Inbox : public BranchResults {
 public:
  /// `on_wake`: see Options.
  Inbox(std::size_t max_submissions, std::size_t max_bytes, std::function<void()> on_wake = {})
      : max_submissions_(max_submissions), max_bytes_(max_bytes), on_wake_(std::move(on_wake)) {
    (void)Promise::InDoubt();  // made now, while there is memory
  }

  /// False: too many submissions are waiting, or too many bytes of them, or the inbox is closed; nothing was taken.
  bool Push(Submission submission) {
    submission.bytes = BytesOf(*submission.definition);
    std::shared_ptr<const Definition> ended[2];  // one for the one that came, and one to catch up
    std::unique_lock<std::mutex> lock(mutex_);
    if (closed_ || mail_.submissions.size() >= max_submissions_) return false;
    const std::size_t before = bytes_.load(std::memory_order_relaxed);
    if (before > 0 && submission.bytes > max_bytes_ - (std::min)(before, max_bytes_)) return false;
    const std::size_t bytes = submission.bytes;
    mail_.submissions.push_back(std::move(submission));
    mail_.submissions.back().waiter.promise.Bind();
    bytes_.fetch_add(bytes, std::memory_order_relaxed);
    arrived_bytes_ += bytes;
    for (auto& definition : ended) {
      if (mail_.ended.empty()) break;
      definition = std::move(mail_.ended.back());
      mail_.ended.pop_back();
    }
    Came(lock);
    return true;
  }
  bool Push(QueuedWork work) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (closed_ || mail_.works.size() >= max_submissions_) return false;
    mail_.works.push_back(std::move(work));
    mail_.works.back().promise.Bind();
    Came(lock);
    return true;
  }
  /// False: the inbox is closed.
  bool Push(Command command) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (closed_) return false;
    mail_.commands.push_back(std::move(command));
    mail_.commands.back().waiter.promise.Bind();
    Came(lock);
    return true;
  }
  /// A lost result would be expected for ever, so without memory this waits until there is some.
  void Done(BranchCall call, Result result) override {
    ArrivedResult arrived{std::move(call), std::move(result)};
    while (!Keep(arrived)) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

  /// One thread at a time has a burst; what other threads push meanwhile wakes the loop as usual.
  void BeginBurst() override {
    std::thread::id nobody;
    burst_of_.compare_exchange_strong(nobody, std::this_thread::get_id());
  }
  void EndBurst() override {
    if (!InBurst()) return;
    burst_of_ = std::thread::id();
    std::unique_lock<std::mutex> lock(mutex_);
    if (!mail_.Empty()) Arrived(lock);
  }

  /// Swaps all that has arrived into `mail`, which must be empty except for `ended`; its memory is used again.
  /// What was taken still counts as bytes until DoneWithTaken.
  void Take(Mail& mail) {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::swap(mail, mail_);
    taken_bytes_ += std::exchange(arrived_bytes_, 0);
  }
  /// The submissions that were taken are now in the active table, in the store, or refused.
  void DoneWithTaken() {
    bytes_.fetch_sub(std::exchange(taken_bytes_, 0), std::memory_order_relaxed);
  }

  /// Returns when something has arrived, when `enough()` is true, at `until`, or earlier. Whoever makes
  /// `enough` true must call Interrupt.
  template <typename Enough>
  void Wait(Clock& clock, Time until, const Enough& enough) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (!mail_.Empty() || enough()) return;
    ++waiting_;
    clock.Wait(arrived_, lock, until);
    --waiting_;
  }

  /// The poller is about to sleep until then; false: something has arrived. What arrives earlier wakes it, once.
  bool FallAsleep(Time until) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!mail_.Empty()) return false;
    asleep_until_ = until;
    return true;
  }
  /// The poller is awake again.
  void WokeUp() {
    const std::lock_guard<std::mutex> lock(mutex_);
    asleep_until_ = kAwake;
  }
  /// There is something to do at `time`, even if nothing arrives.
  void WakeBefore(Time time) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (time < asleep_until_) Arrived(lock);
  }

  bool Empty() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return mail_.Empty();
  }

  /// Makes Wait check its condition again.
  void Interrupt() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (waiting_ > 0) arrived_.notify_all();
  }

  /// From now on only results are taken.
  void Close() {
    const std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
  }
  bool Closed() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return closed_;
  }

 private:
  bool Keep(ArrivedResult& arrived) {
    std::unique_lock<std::mutex> lock(mutex_);
    try {
      mail_.results.push_back(std::move(arrived));  // which moves nothing if it throws
    } catch (const std::bad_alloc&) {
      return false;
    }
    Came(lock);
    return true;
  }

  bool InBurst() const { return burst_of_ == std::this_thread::get_id(); }
  void Came(std::unique_lock<std::mutex>& lock) {
    if (!InBurst()) Arrived(lock);
  }

  /// Wakes the thread that waits; releases the lock first, since on_wake is code of the program.
  void Arrived(std::unique_lock<std::mutex>& lock) {
    if (waiting_ > 0) arrived_.notify_all();
    const bool wake = std::exchange(asleep_until_, kAwake) != kAwake;
    lock.unlock();
    if (!wake || !on_wake_) return;
    try {
      on_wake_();
    } catch (...) {  // NOLINT(bugprone-empty-catch): there is nobody left to tell
    }
  }

  static constexpr Time kAwake = (Time::min)();

  const std::size_t max_submissions_;
  const std::size_t max_bytes_;
  std::atomic<std::size_t> bytes_{
      0};  // of submissions that arrived, or were taken and not dealt with
  std::size_t arrived_bytes_ = 0;
  std::size_t taken_bytes_ = 0;  // used by who takes
  const std::function<void()> on_wake_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  Mail mail_;
  int waiting_ = 0;
  Time asleep_until_ = kAwake;  ///< of the poller
  bool closed_ = false;
  std::atomic<std::thread::id> burst_of_{std::thread::id()};
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/engine/machine.hpp --------------------------------------------------------------------

/// The interface of the machines: what can happen to a transaction, and what follows from it.
/// Needs: std. Threads: values only; Advance is pure (no I/O, no clock, no randomness).
/// Protocol: §3 (alert), §4; implemented by saga_machine.hpp, msg_machine.hpp,
/// tcc_machine.hpp (tcc and xa) and workflow_machine.hpp.

namespace dtm {
inline namespace v1 {
namespace engine {

enum class EventKind {
  kSubmitted,    ///< new, not yet stored; or the submit of a prepared one
  kPrepared,     ///< new, not yet stored, to run when it is submitted
  kLoaded,       ///< read from the store: calls that were in flight belong to a previous run
  kResult,       ///< a call brought a result
  kTimer,        ///< the time that the machine asked for has come
  kBranchAdded,  ///< its definition has one more step
  kCancel,       ///< it is to be rolled back; the result's text may say why
  kFinish,       ///< workflow: it ended with `result` (success or failure, why) and returned `data`
  kForceStop,    ///< it is to end as failed, and nothing more is to be called
  kRegistered,   ///< the missing function of `row` is registered now
  kRetryNow,     ///< the waits are to be forgotten
  kRepair        ///< `row` counts as done, without a call
};

struct Event {
  EventKind kind = EventKind::kTimer;
  std::size_t row = 0;  ///< kResult, kRegistered, kBranchAdded, kRepair: the row concerned
  Result result;        ///< kResult: its answer
  std::string data{};   ///< kFinish
  std::string
      who{};  ///< kCancel, kForceStop, kRetryNow, kRepair: who asked; the text of `result` says why
};

/// What a machine knows besides the transaction.
struct Context {
  Time now{};
  Time started{};                                      ///< of this run of the coordinator
  Duration retry_interval = std::chrono::seconds(10);  ///< for transactions that set none
  Duration request_timeout = std::chrono::seconds(3);  ///< for transactions that set none
  Duration
      function_limit{};  ///< a function may still run for so long after its call; 0: it ends with its process
  std::chrono::seconds timeout_to_fail{35};  ///< of a prepared msg, tcc or xa that names none
  /// People are alerted at this number of errors in a row of a branch, and at every later one. 0: never.
  std::uint32_t alert_after = 0;
  Duration
      lateness{};  ///< by how much calls may leave later than they are decided: commits take a while
  bool may_call = true;  ///< false while the coordinator stops: record results, start nothing
};

/// What has to be done once the changed transaction is durable.
struct Effects {
  bool changed = false;              ///< the transaction has to be stored
  std::vector<std::size_t> calls;    ///< rows to call
  std::optional<std::size_t> alert;  ///< the row that keeps failing, see Context::alert_after
  Time timer = kNever;               ///< send kTimer then
  std::string refused;               ///< why the command does not fit the status; else empty
};

}  // namespace engine
}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/commands/refusals.hpp -----------------------------------------------------

/// Why a command is refused, in the sentences that dtm's clients know.
/// Needs: std. Threads: pure functions. Protocol: §2.2, §2.4.

namespace dtm {
inline namespace v1 {
namespace refusals {

using Kind = Instruction::Kind;

inline std::string Unknown(const std::string& gid) {
  return "no TransGlobal with gid: " + gid + " found; there is no transaction with gid '" + gid +
         "', or it ended and its time was over; check the gid";
}

inline std::string NotPrepared(const std::string& gid) {
  return "no trans with gid: " + gid + " status: prepared found FAILURE";
}

/// The text begins with what dtm's clients look for.
inline std::string Sentence(Kind kind, const Transaction& transaction, const std::string& why) {
  const std::string status = Name(transaction.status);
  std::string unchanged = "gid '" + transaction.definition->gid + "' was not changed: " + why;
  switch (kind) {
    case Kind::kCancel:
      return "trans type: '" + std::string(Name(transaction.definition->type)) +
             "' current status '" + status + "', cannot abort. FAILURE: " + unchanged;
    case Kind::kForceStop:
      return "global transaction force stop error. status: " + status +
             ". error: FAILURE: " + unchanged;
    default: return unchanged;
  }
}

[[noreturn]] inline void RefuseEnded(Kind kind, const Transaction& transaction) {
  const std::string& gid = transaction.definition->gid;
  if (kind == Kind::kAddBranch) throw RejectedError(NotPrepared(gid));
  const std::string status = Name(transaction.status);
  throw EndedError(Sentence(kind, transaction, "it has already ended as " + status));
}

[[noreturn]] inline void Refuse(Kind kind, const Transaction& transaction, const std::string& why) {
  if (IsFinal(transaction.status)) RefuseEnded(kind, transaction);
  throw RejectedError(Sentence(kind, transaction, why));
}

/// To register or to finish assumes that the transaction exists; that it does not is a conflict, and no bad input.
[[noreturn]] inline void RefuseUnknown(Kind kind, const std::string& gid) {
  switch (kind) {
    case Kind::kAddBranch: throw RejectedError(NotPrepared(gid));
    case Kind::kFinish: throw RejectedError(Unknown(gid));
    default: throw BadInput(Unknown(gid));
  }
}

/// What asked for this event.
inline Kind KindOf(engine::EventKind event) {
  switch (event) {
    case engine::EventKind::kCancel: return Kind::kCancel;
    case engine::EventKind::kForceStop: return Kind::kForceStop;
    case engine::EventKind::kRepair: return Kind::kSkip;
    case engine::EventKind::kFinish: return Kind::kFinish;
    case engine::EventKind::kBranchAdded: return Kind::kAddBranch;
    default: return Kind::kRetryNow;
  }
}

/// Of a command whose event was applied to a record that turned out not to be the stored one, and does not fit that.
inline std::exception_ptr OfEvent(engine::EventKind event, const Transaction& stored,
                                  const std::string& why) {
  try {
    Refuse(KindOf(event), stored, why);
  } catch (...) {
    return std::current_exception();
  }
}

}  // namespace refusals
}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/parts/store_health.hpp ----------------------------------------------------

/// Whether the store works, and when to try again after a failure.
/// Needs: std. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

/// After a failed commit the next try comes after 10 ms, 20 ms, ... 1 s. Until one succeeds nothing is
/// released. While another connection holds the store's lock: every 5 ms; that counts as failure only if it lasts.
class StoreHealth {
 public:
  bool Good() const { return failures_ == 0; }
  bool MayTry(Time now) const { return (Good() && !WaitsForLock()) || now >= next_try_; }
  bool WaitsForLock() const { return locked_since_ != kNever; }
  Time NextTry() const { return next_try_; }
  /// The outcome of a commit is unknown: the store has to be recovered before it is used.
  bool NeedsRecovery() const { return needs_recovery_; }
  const std::string& Problem() const { return problem_; }

  /// False: it has lasted too long, or the store was failing before.
  bool Locked(Time now, const std::string& problem) {
    if (!Good()) return false;
    if (!WaitsForLock()) locked_since_ = now;
    if (now - locked_since_ >= kPatience) return false;
    problem_ = problem;
    next_try_ = now + kBetweenLocked;
    return true;
  }
  void Failed(Time now, std::string problem, bool in_doubt, bool writing) {
    writing_failed_ = writing_failed_ || writing;
    locked_since_ = kNever;
    problem_ = std::move(problem);
    needs_recovery_ = needs_recovery_ || in_doubt;
    Duration wait = std::chrono::milliseconds(10);
    for (int i = 0; i < failures_ && wait < kLongestWait; ++i) wait *= 2;
    next_try_ = now + (std::min)(wait, kLongestWait);
    ++failures_;
  }
  void Recovered() { needs_recovery_ = false; }
  /// A commit that wrote nothing does not prove that one that writes would work.
  void Worked(bool writing) {
    locked_since_ = kNever;
    if (writing_failed_ && !writing) return;
    failures_ = 0;
    writing_failed_ = false;
    problem_.clear();
  }

 private:
  static constexpr Duration kLongestWait = std::chrono::seconds(1);
  static constexpr Duration kBetweenLocked = std::chrono::milliseconds(5);
  static constexpr Duration kPatience = std::chrono::seconds(5);
  Time locked_since_ = kNever;
  int failures_ = 0;
  Time next_try_{};
  bool needs_recovery_ = false;
  bool writing_failed_ = false;
  std::string problem_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/state/active_table.hpp ----------------------------------------------------

/// A transaction in memory: its record, and what is held back until the record is durable.
/// Needs: std. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

/// An event, and what came of it.
struct AppliedEvent : engine::Event {
  std::shared_ptr<const Alert>
      alert;  ///< what people are to be told once it is durable; null: nothing
  Time at{};
  bool changed = false;      ///< the record; the others are only true if this is
  bool taken_up = false;     ///< the first change by this run of the coordinator
  bool from_outbox = false;  ///< the first change by any: the program itself has stored it
  bool rolled_back = false;  ///< that was decided
  bool stuck = false;        ///< it got stuck
  bool ended = false;
  std::uint32_t errors = 0;  ///< in a row of its branch, if it is one of them
  bool refused = false;      ///< what was asked for; what changed is due to the time
  std::uint64_t ask = 0;     ///< of the waiter who asked for it, see Waiter
};

struct ActiveTransaction {
  Transaction transaction;              ///< as advanced; durable unless `dirty`
  std::size_t slot = 0;                 ///< see ActiveTable
  std::uint64_t generation = 0;         ///< a new one whenever it comes into memory; 0: it has left
  bool dirty = false;                   ///< changed since the last commit
  bool redefined = false;               ///< its definition too
  std::size_t new_steps = 0;            ///< or only these last steps of it
  bool surely_new = false;              ///< not stored yet, and its gid was found to be free
  bool touched = false;                 ///< something of it waits for release
  bool rolled_back = false;             ///< that was decided; to be told once it is durable
  Time stored_due{};                    ///< the due time in the store's record
  Time timer = kNever;                  ///< when the machine wants to look again
  Time armed = kNever;                  ///< its time in Timers
  std::vector<std::size_t> held_calls;  ///< to be started once the record is durable
  std::vector<Waiter> waiters;
  /// Carried out before it was stored; repeated if a stored record takes its place.
  std::vector<Command> commands;
  std::vector<AppliedEvent> events;  ///< applied since the last commit
  std::size_t doubtful_events = 0;   ///< of them, those in a commit that may have become durable
  std::size_t journaled_events = 0;  ///< of them, those whose commit has told the journal of them
  std::size_t journaled_calls = 0;   ///< the same of `held_calls`
  std::size_t bytes = 0;             ///< of the definition, for the memory limit

  /// Empty again, but for its slot and the memory of vectors of ordinary size.
  void Clear() {
    const auto emptied = [](auto& vector) {
      if (vector.capacity() > kKeptCapacity) vector.shrink_to_fit();
      return std::move(vector);
    };
    ActiveTransaction empty;
    empty.slot = slot;
    transaction.branches.clear();
    held_calls.clear();
    waiters.clear();
    commands.clear();
    events.clear();
    empty.transaction.branches = emptied(transaction.branches);
    empty.held_calls = emptied(held_calls);
    empty.waiters = emptied(waiters);
    empty.commands = emptied(commands);
    empty.events = emptied(events);
    *this = std::move(empty);
  }

  static constexpr std::size_t kKeptCapacity = 64;

  bool Fresh() const { return transaction.version == 0; }
  bool CallsOut() const {
    return std::any_of(transaction.branches.begin(), transaction.branches.end(),
                       [](const Branch& branch) { return branch.in_flight; });
  }
};

/// It does not go on until somebody submits it, retries it or repairs its record; so it takes no room.
inline bool WaitsForPeople(const ActiveTransaction& active) {
  const Transaction& transaction = active.transaction;
  return transaction.stuck || transaction.unreadable ||
         (transaction.status == Status::kPrepared && active.timer == kNever && !active.CallsOut());
}

inline std::shared_ptr<const Alert> AlertOf(const Transaction& transaction, std::size_t row,
                                            const std::string& error) {
  const Definition& definition = *transaction.definition;
  return std::make_shared<const Alert>(Alert{definition.gid, transaction.status,
                                             ShownUrl(UrlOf(definition, row)), error,
                                             transaction.branches[row].errors});
}

inline constexpr Duration kLongestWaitForStore = std::chrono::seconds(3);

/// A branch whose function runs inside a commit.
struct BranchWork {
  std::size_t slot = 0;  ///< see ActiveTable
  std::uint64_t generation = 0;
  std::size_t row = 0;
};

inline std::uint32_t ErrorsOf(const Transaction& transaction, std::size_t row) {
  return row < transaction.branches.size() ? transaction.branches[row].errors : 0;
}

inline bool BeganToFail(Status before, Status now) {
  return now != before &&
         (now == Status::kAborting || (now == Status::kFailed && before != Status::kAborting));
}

/// So that the next push_back cannot fail.
template <typename T>
inline void MakeRoom(std::vector<T>& vector) {
  if (vector.size() == vector.capacity()) vector.reserve(2 * vector.size() + 4);
}

/// What is looked at soon: first the transaction itself, then what it points to.
inline void PrefetchActive(const ActiveTransaction& active) {
  Prefetch<LinesOf(sizeof(ActiveTransaction))>(&active);
}
inline void PrefetchParts(const ActiveTransaction& active) {
  Prefetch<LinesOf(4 * sizeof(Branch))>(active.transaction.branches.data());
  const Definition* definition = active.transaction.definition.get();
  if (definition == nullptr) return;  // it has left
  Prefetch<2>(definition);
  Prefetch<1>(&definition->options);
}

/// Visits them in their order, with the next ones on their way from memory.
template <typename Visit>
void ForEachActive(const std::vector<ActiveTransaction*>& list, Visit visit) {
  using Active = const ActiveTransaction*;
  VisitAhead(
      list, [](Active active) { PrefetchActive(*active); },
      [](Active active) { PrefetchParts(*active); },
      [&visit](ActiveTransaction* active) { visit(*active); });
}

/// The transactions in memory, by gid. One of them stays where it is until it is removed; its slot is then used again,
/// with the memory its vectors have, since allocating them anew for each transaction costs as much as driving it.
class ActiveTable {
 public:
  ActiveTransaction* Find(const std::string& gid) {
    const auto found = index_.find(gid);
    return found == index_.end() ? nullptr : found->second;
  }
  /// The one that got this slot and generation; null if it has left.
  ActiveTransaction* At(std::size_t slot, std::uint64_t generation) {
    return slot < slots_.size() && slots_[slot].generation == generation ? &slots_[slot] : nullptr;
  }
  /// Calls one of the above with what is in this slot, if it was ever used.
  template <typename PrefetchOne>
  void PrefetchAt(std::size_t slot, PrefetchOne prefetch) const {
    if (slot < slots_.size()) prefetch(slots_[slot]);
  }
  ActiveTransaction& Add(Transaction transaction) {
    const std::size_t bytes = BytesOf(*transaction.definition);
    return Add(std::move(transaction), bytes);
  }
  ActiveTransaction& Add(Transaction transaction, std::size_t bytes) {
    ActiveTransaction& active = TakeSlot();
    active.generation = ++last_generation_;
    active.bytes = bytes;
    active.stored_due = transaction.due;
    if (transaction.branches.empty()) transaction.branches.swap(active.transaction.branches);
    active.transaction = std::move(transaction);
    Enter(active);
    bytes_ += active.bytes;
    return active;
  }
  /// Gives it another definition, of the same gid.
  void Redefine(ActiveTransaction& active, Definition definition) {
    Exchange(active, std::move(definition));
    active.redefined = true;
  }
  /// Adds a step to its definition, in place if nobody else holds it: the n-th costs as much as the first.
  void AddStep(ActiveTransaction& active, const Step& step) {
    std::shared_ptr<const Definition>& definition = active.transaction.definition;
    if (IsSoleOwner(definition)) {
      std::const_pointer_cast<Definition>(definition)->steps.push_back(step);
      active.bytes += BytesOf(step);
      bytes_ += BytesOf(step);
    } else {
      Definition larger = *definition;
      larger.steps.push_back(step);
      Exchange(active, std::move(larger));
    }
    ++active.new_steps;
  }
  /// Returns its definition, for whoever frees it.
  std::shared_ptr<const Definition> Remove(ActiveTransaction& active) {
    bytes_ -= active.bytes;
    spare_nodes_.push_back(index_.extract(active.transaction.definition->gid));
    std::shared_ptr<const Definition> definition = std::move(active.transaction.definition);
    active.Clear();
    free_.push_back(&active);
    return definition;
  }
  /// Any one of them; null: there is none.
  ActiveTransaction* Any() { return index_.empty() ? nullptr : index_.begin()->second; }
  std::size_t Count() const { return index_.size(); }
  std::size_t Bytes() const { return bytes_; }
  template <typename Visit>
  void ForEach(Visit visit) {
    for (auto& entry : index_) visit(*entry.second);
  }

 private:
  /// True: no other thread has it or will get it, and what others did with it has happened before. (Reading the count does
  /// not ensure that; counting up and down does, since it comes after the last count of the others.)
  static bool IsSoleOwner(const std::shared_ptr<const Definition>& definition) {
    if (definition.use_count() != 1) return false;
    std::shared_ptr<const Definition>(definition).reset();
    return true;
  }

  void Exchange(ActiveTransaction& active, Definition definition) {
    auto shared = std::make_shared<Definition>(std::move(definition));
    bytes_ -= active.bytes;
    auto node = index_.extract(active.transaction.definition->gid);  // its key is in there
    active.transaction.definition = std::move(shared);
    active.bytes = BytesOf(*active.transaction.definition);
    bytes_ += active.bytes;
    node.key() = active.transaction.definition->gid;
    index_.insert(std::move(node));
  }

  using Index = std::unordered_map<std::string_view,
                                   ActiveTransaction*>;  // keys are in the definitions, which stay

  ActiveTransaction& TakeSlot() {
    if (free_.empty()) {
      if (free_.capacity() <= slots_.size()) {  // what leaves memory needs none for that
        spare_nodes_.reserve(2 * slots_.size() + 4);
        free_.reserve(2 * slots_.size() + 4);
      }
      slots_.emplace_back();
      slots_.back().slot = slots_.size() - 1;
      return slots_.back();
    }
    ActiveTransaction& active = *free_.back();
    free_.pop_back();
    return active;
  }
  void Enter(ActiveTransaction& active) {
    if (spare_nodes_.empty()) {
      index_.emplace(active.transaction.definition->gid, &active);
      return;
    }
    Index::node_type node = std::move(spare_nodes_.back());
    spare_nodes_.pop_back();
    node.key() = active.transaction.definition->gid;
    node.mapped() = &active;
    index_.insert(std::move(node));
  }

  std::deque<ActiveTransaction> slots_;
  std::vector<ActiveTransaction*> free_;
  Index index_;
  std::vector<Index::node_type> spare_nodes_;
  std::size_t bytes_ = 0;
  std::uint64_t last_generation_ = 0;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/state/between_stages.hpp --------------------------------------------------

/// What the stages of a turn leave to each other; each list has one stage that empties it.
/// Needs: std, engine. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

/// What the next turn has to take up again, before anything new. Collect empties it.
struct ToCollect {
  std::vector<std::pair<std::string, engine::EventKind>> readvance;  ///< gids, and why
  std::vector<Submission> resubmit;  ///< found a stored record, which is in memory now
  std::vector<Command> reissue;      ///< came before a commit had taken their transaction
  std::vector<std::shared_ptr<const Definition>> ended;  ///< see Mail
};

/// What the next commit has to write and to run. Commit empties it.
struct ToCommit {
  std::vector<ActiveTransaction*> dirty;  ///< changed since the last commit
  std::deque<QueuedWork> works;           ///< user work
  std::deque<BranchWork> branch_works;    ///< branches that run inside a commit
  std::set<std::string> in_doubt;  ///< gids submitted in a commit whose outcome is not known yet
};

/// What has to wait until its cause is durable. Release empties it.
struct ToRelease {
  std::vector<ActiveTransaction*> touched;           ///< calls, timers and answers are held back
  std::vector<std::shared_ptr<const Alert>> alerts;  ///< of what is durable
  std::vector<std::shared_ptr<const Event>> events;  ///< the same
  std::vector<std::shared_ptr<const Span>> spans;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/state/peer_messages.hpp ---------------------------------------------------

/// What coordinators say to one another through the store: a command as a request, and its answer as a reply.
/// Needs: std. Threads: pure functions.

namespace dtm {
inline namespace v1 {

/// The reply when a branch was skipped; what an earlier version replies to what it does not know says only "no error".
inline constexpr char kSkipped[] = "+skipped";

/// What is asked of the coordinator that drives it.
inline Request RequestFor(const Command& command) {
  Request request;
  request.kind = command.kind == Command::Kind::kCancel ? Request::Kind::kCancel
                 : command.kind == Command::Kind::kSkip ? Request::Kind::kSkip
                                                        : Request::Kind::kRetryNow;
  request.gid = command.gid;
  request.reason = command.reason;
  request.who = command.who;
  request.branch_id = command.step.branch_id;
  request.op = command.step.op;
  return request;
}

inline Command CommandFor(const Request& request) {
  Command command;
  switch (request.kind) {
    case Request::Kind::kCancel: command.kind = Command::Kind::kCancel; break;
    case Request::Kind::kRetryNow: command.kind = Command::Kind::kRetryNow; break;
    case Request::Kind::kSkip: command.kind = Command::Kind::kSkip; break;
    case Request::Kind::kLook: command.kind = Command::Kind::kLook; break;
  }
  command.gid = request.gid;
  command.reason = request.reason;
  command.who = request.who;
  command.step.branch_id = request.branch_id;
  command.step.op = request.op;
  command.asked = request.id;
  return command;
}

/// An answer to another coordinator, as it is stored: the kind of the error in one letter, and its sentence. "+": no error.
inline std::string ReplyOf(const Answer& answer) {
  if (!answer.error) return "+";
  try {
    std::rethrow_exception(answer.error);
  } catch (const EndedError& error) {
    return std::string("e") + error.what();
  } catch (const BadInput& error) {
    return std::string("b") + error.what();
  } catch (const RejectedError& error) {
    return std::string("r") + error.what();
  } catch (const StoreError& error) {
    return std::string("s") + error.what();
  } catch (...) {
    return "d" + WhatWasThrown();
  }
}

/// To a request of a kind that only a later version knows.
inline std::string NotKnown(const Request& request) {
  return ReplyOf({{},
                  Answers::Rejected("gid '" + request.gid +
                                    "' was not changed: the coordinator that drives it is of "
                                    "an earlier version of dtm; replace it, then ask again")});
}

/// Null: no error.
inline std::exception_ptr ErrorOf(const std::string& reply) {
  const std::string sentence = reply.empty() ? std::string() : reply.substr(1);
  switch (reply.empty() ? 'd' : reply[0]) {
    case '+': return nullptr;
    case 'e': return std::make_exception_ptr(EndedError(sentence));
    case 'b': return std::make_exception_ptr(BadInput(sentence));
    case 'r': return std::make_exception_ptr(RejectedError(sentence));
    case 's': return std::make_exception_ptr(StoreError(sentence));
    default: return std::make_exception_ptr(InDoubtError(sentence));
  }
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/engine/schedule.hpp -------------------------------------------------------------------

/// Computes times: intervals, waits between tries, deadlines.
/// Needs: std. Threads: pure functions. Protocol: §3 (schedule numbers), with the first retry after
/// one interval, a cap and jitter. Source of the waits: capped exponential backoff.

namespace dtm {
inline namespace v1 {
namespace engine {

inline constexpr Duration kMaxRetryWait = std::chrono::hours(1);

/// The base interval between tries.
inline Duration RetryInterval(const TransOptions& options, const Context& context) {
  if (options.retry_interval.count() > 0) return options.retry_interval;
  if (options.timeout_to_fail.count() > 0 && options.timeout_to_fail < context.retry_interval) {
    return options.timeout_to_fail;
  }
  return context.retry_interval;
}

inline Duration RequestTimeout(const TransOptions& options, const Context& context) {
  return options.request_timeout.count() > 0 ? Duration(options.request_timeout)
                                             : context.request_timeout;
}

/// How long a prepared msg, tcc or xa waits for its submit.
inline std::chrono::seconds PreparedTimeout(const TransOptions& options, const Context& context) {
  return options.timeout_to_fail.count() > 0 ? options.timeout_to_fail : context.timeout_to_fail;
}

/// The interval after so many errors in a row: it doubles up to one hour (but is never less than at first).
inline Duration DoubledInterval(Duration interval, std::uint32_t errors) {
  const Duration cap = (std::max)(kMaxRetryWait, interval);
  for (std::uint32_t i = 1; i < errors && interval < cap; ++i) interval *= 2;
  return (std::min)(interval, cap);
}

/// The wait after the n-th consecutive error (n >= 1): interval * 2^(n-1), at most one hour (but
/// never less than the interval). Up to a fifth is added, different for each branch and try, so that calls
/// that failed together are not repeated together. The addition is computed from the names, so the same
/// record always gives the same wait.
inline Duration RetryWait(const Transaction& transaction, std::size_t row, Duration interval) {
  const std::uint32_t errors = (std::max)(transaction.branches[row].errors, std::uint32_t{1});
  const Duration wait = DoubledInterval(interval, errors);
  const std::size_t seed =
      std::hash<std::string>{}(transaction.definition->gid) ^ (row * 7919 + errors * 104729);
  return wait + wait * static_cast<Duration::rep>(seed % 1000) / 5000;
}

/// The action of a saga had a call that may have had an effect, or counts as done.
inline bool MayHaveRun(const Branch& action) {
  return action.tries > 0 || action.status == BranchStatus::kSucceed;
}

/// The present interval: that of the branch with the most errors in a row, among those that it waits for.
inline Duration IntervalNow(const Transaction& transaction, const Context& context) {
  std::uint32_t errors = 0;
  for (std::size_t i = 0; i < transaction.branches.size(); ++i) {
    const Branch& branch = transaction.branches[i];
    const bool waits = branch.status == BranchStatus::kPrepared && HasItsTurn(transaction, i);
    if (waits) errors = (std::max)(errors, branch.errors);
  }
  return DoubledInterval(RetryInterval(transaction.definition->options, context), errors);
}

/// The time until which a call decided now may be running: it is sent when the decision is durable, and the caller may hold
/// it back for one timeout and then give it another (see BranchCaller::Call). 0: no longer than this process.
inline Time CallDeadline(const std::string& url, const TransOptions& options,
                         const Context& context) {
  if (!IsLocal(url)) return context.now + context.lateness + 2 * RequestTimeout(options, context);
  if (context.function_limit.count() == 0) return {};
  return context.now + context.lateness + context.function_limit;
}

/// For calls that were decided earlier but are sent only now.
inline void MoveDeadlines(Transaction& transaction, const std::vector<std::size_t>& calls,
                          const Context& context) {
  for (const std::size_t call : calls) {
    Branch& branch = transaction.branches[call];
    if (branch.deadline == Time{}) continue;  // a function ends with its process
    const Definition& definition = *transaction.definition;
    branch.deadline = (std::max)(
        branch.deadline, CallDeadline(UrlOf(definition, call), definition.options, context));
  }
}

/// Ends all waits, and drives a stuck transaction again. False: nothing waited.
inline bool ForgetWaits(Transaction& transaction) {
  bool waited = std::exchange(transaction.stuck, false);
  for (Branch& branch : transaction.branches) {
    waited = waited || branch.errors > 0 || branch.next_try != Time{};
    branch.errors = 0;
    branch.next_try = Time{};
    branch.asked_when = false;
  }
  return waited;
}

/// After a restart no call of this run is in flight, and the clock may have been set, so each wait is cut to the longest
/// that is possible. A deadline is reduced only by what the clock was ahead, since it may come from a longer
/// request_timeout than today's. A workflow that this program resumes is tried again after one interval: it may have been
/// waiting for the new code.
inline void ForgetPreviousRun(Transaction& transaction, const Context& context) {
  const TransOptions& options = transaction.definition->options;
  const Duration interval = RetryInterval(options, context);
  const Duration ahead = (std::max)(transaction.updated - context.now, Duration(0));
  const Definition& definition = *transaction.definition;
  const bool new_code = definition.type == TransType::kWorkflow &&
                        IsLocal(definition.query_prepared) &&
                        transaction.updated <= context.started;
  for (std::size_t i = 0; i < transaction.branches.size(); ++i) {
    Branch& branch = transaction.branches[i];
    branch.in_flight = false;
    const Duration longest = new_code ? interval : RetryWait(transaction, i, interval);
    branch.next_try =
        (std::min)(branch.next_try,
                   context.now + (branch.asked_when ? (std::max)(longest, Duration(kMaxRetryAfter))
                                                    : longest));
    branch.deadline = (std::max)(branch.deadline - ahead, Time{});
    branch.previous_deadline = branch.deadline;
  }
}

/// Of one that another coordinator drives, which lives: its initiator may be at it for a call from there, and records a step
/// here. So it is not called a second time as long as that call may be out.
inline void LeaveToInitiator(Transaction& transaction) {
  if (!HasQueryRow(transaction.definition->type)) return;
  Branch& initiator = transaction.branches[kQueryRow];
  initiator.next_try = (std::max)(initiator.next_try, initiator.deadline);
}

}  // namespace engine
}  // namespace v1
}  // namespace dtm

// ---- dtm/engine/explain.hpp --------------------------------------------------------------------

/// Explains the state of a transaction to people.
/// Needs: std. Threads: pure function.

namespace dtm {
inline namespace v1 {
namespace engine {

/// The result of a branch as one sentence of at most kMaxReasonBytes.
inline std::string DescribeResult(const Definition& definition, std::size_t index,
                                  const Result& result) {
  const char* said = "failed";
  switch (result.kind) {
    case Result::Kind::kSuccess: said = "succeeded"; break;
    case Result::Kind::kFailure: said = "answered FAILURE"; break;
    case Result::Kind::kOngoing: said = "is ONGOING"; break;
    case Result::Kind::kError: said = "gave no definite answer"; break;
    case Result::Kind::kNotSent: said = "was not called"; break;
  }
  std::string text = BranchInWords(definition, index) + " " + said;
  if (!result.text.empty()) text += ": " + result.text;
  return Truncated(std::move(text), kMaxReasonBytes);
}

/// "2.5": with a point in every locale.
inline std::string Seconds(Duration time) {
  const Duration::rep tenths = time.count() / 100000 + (time.count() % 100000 >= 50000 ? 1 : 0);
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10);
}

/// "in 2.5 s", "now".
inline std::string InWords(Duration wait) {
  return wait.count() <= 0 ? "now" : "in " + Seconds(wait) + " s";
}

inline std::string ExplainBranch(const Transaction& transaction, std::size_t index, Time now) {
  const Branch& branch = transaction.branches[index];
  const Definition& definition = *transaction.definition;
  std::string text = BranchInWords(definition, index) + ": ";
  if (branch.in_flight) {
    text += "called, its answer is awaited";
  } else if (branch.deadline > now) {
    text +=
        "called; it may still be running, for at most " + InWords(branch.deadline - now).substr(3);
  } else {
    text += "next try " + InWords(branch.next_try - now);
    if (branch.asked_when && branch.next_try > now) text += ", as it asked for (Retry-After)";
  }
  text += " (" + std::to_string(branch.tries) + (branch.tries == 1 ? " try" : " tries");
  if (branch.errors > 0) {
    text += ", " + std::to_string(branch.errors) + (branch.errors == 1 ? " error" : " errors") +
            " in a row";
  }
  return text + ")";
}

inline std::string ExplainPrepared(const Transaction& transaction) {
  std::string text = "\nit waits for its submit";
  if (transaction.due == kNever) return text;
  switch (transaction.definition->type) {
    case TransType::kMsg: return text + "; then its initiator is asked";
    case TransType::kWorkflow: return text + "; then it is resumed";
    default: return text + "; then it is rolled back";
  }
}

/// One sentence about the whole, then a line for each branch that is running or waits.
inline std::string Explain(const Transaction& transaction, Time now) {
  const Definition& definition = *transaction.definition;
  std::string text = std::string(Name(definition.type)) + " " + definition.gid + " is ";
  if (transaction.unreadable) {
    return text + "stuck: " + transaction.last_error + "; restore the store from a backup";
  }
  text += Name(transaction.status);
  if (!transaction.reason.empty()) text += " because: " + transaction.reason;
  if (transaction.reason_from != 0) text += " (" + ReasonFrom(transaction) + ")";
  if (transaction.expired) return text + " (its record has expired, the gid is kept)";
  if (IsFinal(transaction.status)) return text;
  if (transaction.stuck) {
    return text + "\nstuck: " + transaction.last_error +
           "; it goes on with RetryNow or ends with ForceStop";
  }
  if (transaction.status == Status::kPrepared) text += ExplainPrepared(transaction);
  for (std::size_t i = 0; i < transaction.branches.size(); ++i) {
    const Branch& branch = transaction.branches[i];
    const bool waits = branch.status == BranchStatus::kPrepared && HasItsTurn(transaction, i) &&
                       (branch.tries > 0 || branch.next_try != Time{});
    if (branch.in_flight || branch.deadline > now || waits) {
      text += "\n" + ExplainBranch(transaction, i, now);
    }
  }
  if (!transaction.last_error.empty()) text += "\nlast error: " + transaction.last_error;
  const std::chrono::seconds timeout = definition.options.timeout_to_fail;
  if (definition.type == TransType::kSaga && timeout.count() > 0 &&
      transaction.status == Status::kSubmitted) {
    text += "\nrolled back if not done " + InWords(transaction.created + timeout - now);
  }
  return text;
}

}  // namespace engine
}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/state/elsewhere.hpp -------------------------------------------------------

/// What was asked here about transactions that other coordinators on the store drive: who waits for their end, and requests
/// that the others have to obey. One statement every 100 ms looks after all of it.
/// Needs: std, store. Threads: the thread that drives the loop.

#include <iterator>

namespace dtm {
inline namespace v1 {

class Elsewhere {
 public:
  /// `most`: so many may wait.
  Elsewhere(Store& store, std::size_t most) : store_(store), peers_(store.Shared()), most_(most) {}

  /// Answers when it has ended, or at the time that `waiter` set, whoever drives it.
  void Watch(const std::string& gid, Waiter&& waiter, Time now) {
    if (!waiter.promise.Open()) return;
    if (waiters_ >= most_) {
      return waiter.Refuse(Made<BusyError>([&] {
        return "too many wait for transactions of other coordinators, " + std::to_string(most_) +
               "; ask query for gid '" + gid + "'";
      }));
    }
    waiter.again = nullptr;
    LookAt((std::min)(waiter.deadline, now + kEvery), now);
    watched_[gid].push_back(std::move(waiter));
    ++waiters_;
  }

  /// Asks the one that drives it to obey the command; its answer is the answer. The coordinator that takes over from it may
  /// obey as well, so this waits for longer than that takes.
  /// @throws StoreError  nothing was asked.
  void Ask(Command&& command, Time now) {
    const std::int64_t id = peers_->Ask(RequestFor(command));
    LookAt(now + kEvery, now);
    asked_.emplace(id, Asked{std::move(command), now + kLongestReply, false});
  }

  /// What others ask of this one.
  void Hear(std::vector<Command>& reissue) {
    for (const Request& request : peers_->Asked()) {
      if (request.kind > Request::Kind::kSkip) {
        Answers::Protected([&] { peers_->Reply(request.id, NotKnown(request)); });
        continue;
      }
      Command command = CommandFor(request);
      const bool skips = command.kind == Command::Kind::kSkip;
      command.waiter.promise = [peers = peers_, id = request.id, skips](const Answer& answer) {
        peers->Reply(id, skips && !answer.error ? kSkipped : ReplyOf(answer));
      };
      reissue.push_back(std::move(command));
    }
  }

  /// It was stopped here, and the one that drove it does not know. If that cannot be told, it finds out at its next write.
  void TellOwner(const Transaction& transaction) {
    if (peers_ == nullptr || transaction.owner == 0 || transaction.owner == store_.Owner()) return;
    Answers::Protected([&] {
      (void)peers_->Ask(
          {0, Request::Kind::kLook, transaction.definition->gid, {}, transaction.owner});
    });
  }

  /// A line for people: who drives it.
  std::string DrivenBy(const Transaction& stored) const {
    if (IsFinal(stored.status)) return {};
    if (stored.owner == 0) return "\nno coordinator has taken it up yet";
    const std::optional<Peer> peer = peers_->Find(stored.owner);
    if (peer && WaitsForApp(stored.owner)) {
      return "\nit calls functions of app '" + peer->node.app +
             "', and none of its coordinators is alive: it waits until one runs";
    }
    if (!peer) return "\nthe coordinator that drove it is gone; another one takes it over";
    if (stored.owner == store_.Owner()) return "\ndriven by this node, " + peer->node.name;
    const std::string name =
        peer->node.name + (peer->node.url.empty() ? "" : " (" + peer->node.url + ")");
    if (!peer->is_member) return "\nnode " + name + " drove it and is gone; another takes it over";
    return "\ndriven by node " + name +
           (peer->silent ? ", seen " + engine::Seconds(*peer->silent) + " s ago" : "");
  }

  /// When to look the next time; kNever: nobody waits.
  Time Next() const { return next_; }

  /// Looks, if it is time. Commands that have to be obeyed here, after all, go into `reissue`.
  void Look(Time now, std::vector<Command>& reissue) {
    if (now < next_) return;
    next_ = now + kEvery;
    try {
      TakeReplies(now, reissue);
      LookAtWatched(now);
    } catch (const StoreError&) {  // the next look may work; nobody waits longer than asked
      AnswerExpired(now);
    }
    if (watched_.empty() && asked_.empty()) next_ = kNever;
  }

  /// Nobody waits any longer: the answer is the status that is stored.
  void AnswerAll(const std::string& why) {
    next_ = kNever;
    waiters_ = 0;
    for (auto& [gid, waiters] : std::exchange(watched_, {})) {
      AnswerThose(gid, waiters, why, [](const Waiter&) { return true; });
    }
    for (auto& [id, asked] : std::exchange(asked_, {})) {
      asked.command.waiter.Refuse(InDoubt(asked.command.gid, why));
    }
  }

 private:
  struct Asked {
    Command command;
    Time until;
    bool taken_up;
  };

  void LookAt(Time time, Time now) {
    if (next_ == kNever) next_ = now + kEvery;
    next_ = (std::min)(next_, time);
  }

  static std::exception_ptr InDoubt(const std::string& gid, const std::string& why) {
    return Made<InDoubtError>([&] {
      return "gid '" + gid + "' may or may not have been changed: " + why + "; ask for it again";
    });
  }

  void TakeReplies(Time now, std::vector<Command>& reissue) {
    if (asked_.empty()) return;
    std::vector<std::int64_t> ids;
    for (const auto& entry : asked_) ids.push_back(entry.first);
    for (const auto& [id, reply] : peers_->TakeReplies(ids)) {
      const auto place = asked_.find(id);
      if (place == asked_.end()) continue;
      Command command = std::move(place->second.command);
      asked_.erase(place);
      OnReply(std::move(command), reply, now);
    }
    for (auto place = asked_.begin(); place != asked_.end();) {
      Asked& asked = place->second;
      const bool over = asked.until <= now && GiveUp(place->first, asked, now, reissue);
      place = over ? asked_.erase(place) : std::next(place);
    }
  }

  void OnReply(Command&& command, const std::string& reply, Time now) {
    if (const std::exception_ptr error = ErrorOf(reply)) return command.waiter.Refuse(error);
    if (command.kind == Command::Kind::kSkip && reply != kSkipped) {
      return command.waiter.Refuse(Made<RejectedError>([&] {
        return "gid '" + command.gid +
               "' was not changed: the coordinator that drives it is of an earlier version of dtm, "
               "which skips no branches; replace it, then ask again";
      }));
    }
    const std::optional<Transaction> stored = store_.Load(command.gid);
    if (!stored) return command.waiter.Refuse(InDoubt(command.gid, "its record is gone"));
    if (command.wait_result != WaitResult::kCounts || !stored->definition->options.wait_result) {
      return command.waiter.Give(ResultOf(*stored));
    }
    command.waiter.WaitForResult(now);
    command.waiter.ongoing_is_error = true;
    Watch(command.gid, std::move(command.waiter), now);
  }

  /// True: it was answered.
  bool GiveUp(std::int64_t id, Asked& asked, Time now, std::vector<Command>& reissue) {
    Command& command = asked.command;
    const std::string& gid = command.gid;
    if (!peers_->Withdraw(id, asked.taken_up)) {  // somebody obeys it at this moment
      if (!asked.taken_up) return asked.taken_up = true, asked.until = now + kLongestReply, false;
      command.waiter.Refuse(InDoubt(gid, "the coordinator that drives it does not answer"));
      return true;
    }
    const std::optional<Transaction> stored = store_.Load(gid);
    const bool here = !stored || IsFinal(stored->status) || stored->owner == store_.Owner();
    if (here) {
      reissue.push_back(std::move(command));
    } else {
      command.waiter.Refuse(Made<StoreError>([&] {
        return "gid '" + gid +
               "' was not changed: no coordinator that drives it has answered; ask again later";
      }));
    }
    return true;
  }

  /// So many in one statement; the others with the next ones, in turn.
  void LookAtWatched(Time now) {
    std::vector<std::string> gids;
    auto from = watched_.upper_bound(last_);
    if (from == watched_.end()) from = watched_.begin();
    for (; from != watched_.end() && gids.size() < kPage; ++from) gids.push_back(from->first);
    if (gids.empty()) return;
    const bool all = gids.size() == watched_.size();
    last_ = all ? std::string() : gids.back();
    std::map<std::string, std::optional<Time>> due;
    for (const Progress& found : peers_->Look(gids)) due.emplace(found.gid, found.due);
    for (const std::string& gid : gids) {
      const auto found = due.find(gid);
      if (found == due.end()) {
        AnswerIf(gid, "its record is gone", [](const Waiter&) { return true; });
        continue;
      }
      const bool ended = !found->second.has_value();
      const bool settled = ended || *found->second > now;
      AnswerIf(gid, "it cannot be read", [&](const Waiter& waiter) {
        return ended || (settled && waiter.when == AnswerWhen::kSettled) || waiter.deadline <= now;
      });
    }
    if (!all) AnswerExpired(now);
    for (const auto& entry : watched_) {
      for (const Waiter& waiter : entry.second) next_ = (std::min)(next_, waiter.deadline);
    }
  }

  void AnswerExpired(Time now) {
    for (auto place = asked_.begin(); place != asked_.end();) {
      Command& command = place->second.command;
      const bool over = place->second.until + kLongestReply <= now;
      if (over) command.waiter.Refuse(InDoubt(command.gid, "the store cannot be read"));
      place = over ? asked_.erase(place) : std::next(place);
    }
    std::vector<std::string> gids;
    for (const auto& entry : watched_) gids.push_back(entry.first);
    for (const std::string& gid : gids) {
      AnswerIf(gid, "the store cannot be read",
               [now](const Waiter& waiter) { return waiter.deadline <= now; });
    }
  }

  template <typename Wanted>
  void AnswerIf(const std::string& gid, const std::string& why, const Wanted& wanted) {
    const auto place = watched_.find(gid);
    std::vector<Waiter>& waiters = place->second;
    const std::size_t before = waiters.size();
    AnswerThose(gid, waiters, why, wanted);
    waiters_ -= before - waiters.size();
    if (waiters.empty()) watched_.erase(place);
  }

  /// Those that are wanted leave `waiters`.
  template <typename Wanted>
  void AnswerThose(const std::string& gid, std::vector<Waiter>& waiters, const std::string& why,
                   const Wanted& wanted) {
    const auto first = std::stable_partition(waiters.begin(), waiters.end(),
                                             [&](const Waiter& waiter) { return !wanted(waiter); });
    if (first == waiters.end()) return;
    std::optional<Transaction> stored;
    try {
      stored = store_.Load(gid);
    } catch (const StoreError&) {  // NOLINT(bugprone-empty-catch): then it is not known
    }
    for (auto waiter = first; waiter != waiters.end(); ++waiter) {
      const bool told = stored && (!waiter->submits || engine::ShowsSubmit(*stored));
      if (told) {
        waiter->Give(ResultOf(*stored));
      } else {
        waiter->Refuse(InDoubt(gid, stored ? std::string("it is ") + Name(stored->status) : why));
      }
    }
    waiters.erase(first, waiters.end());
  }

  static constexpr Duration kEvery = std::chrono::milliseconds(100);
  static constexpr Duration kLongestReply = std::chrono::seconds(5);
  static constexpr std::size_t kPage = 1000;

  Store& store_;
  Peers* const peers_;
  const std::size_t most_;
  std::map<std::string, std::vector<Waiter>> watched_;
  std::string last_;  ///< of them, that were looked at
  std::size_t waiters_ = 0;
  std::map<std::int64_t, Asked> asked_;
  Time next_ = kNever;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/state/loader.hpp ----------------------------------------------------------

/// Brings unfinished transactions from the store into memory: after a restart, and when there is
/// room for those that did not fit.
/// Needs: std, store. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

/// Walks the unfinished transactions in the order in which they are due, page by page. One walk is
/// a pass; after it the next one begins when something left in the store is due.
class Loader {
 public:
  static constexpr std::size_t kPage = 256;

  /// When there is something to load; kNever if all that is unfinished is in memory.
  Time NextPass() const { return next_pass_; }

  /// The next page of the pass, or nothing: at most `room` transactions, and `bytes` of definitions, which only the last
  /// one may exceed. `with_waiting`: there is room for those that are not due yet. The page may hold transactions that
  /// are in memory already.
  std::vector<Transaction> NextPage(Store& store, Time now, bool with_waiting, std::size_t room,
                                    std::size_t bytes) {
    if (next_pass_ > now || room == 0 || bytes == 0) return {};
    // The first pass reads all of them: if the wall clock was set back, due times may be far off. In a shared store what is
    // prepared waits there, so later passes read only what is due.
    const bool shared = store.Owner() != 0;
    const bool all = (with_waiting && !shared) || first_pass_;
    const std::size_t limit = (std::min)(kPage, room);
    if (cursor_.id == 0) left_behind_ = kNever;  // a pass begins; it finds them
    std::vector<Transaction> page;
    bool at_end = true;
    store.Due(all ? kNever : now, cursor_, [&](Transaction&& stored) {
      const std::size_t size = BytesOf(*stored.definition);
      bytes -= (std::min)(bytes, size);
      page.push_back(std::move(stored));
      at_end = page.size() < limit && bytes > 0;
      return at_end;
    });
    if (at_end) {
      next_pass_ = (std::min)(left_behind_, all ? kNever : store.NextDue(now));
      if (shared) next_pass_ = (std::max)(next_pass_, now + kBetweenPasses);
      left_behind_ = kNever;
      cursor_ = DuePosition{};
      first_pass_ = false;
    } else {
      cursor_ = {page.back().due, page.back().id};
    }
    return page;
  }

  /// All that was unfinished has been in a page.
  bool HasSeenAll() const { return !first_pass_; }

  /// A transaction that is due then leaves memory, or did not come into it.
  void LeaveBehind(Time due) {
    left_behind_ = (std::min)(left_behind_, due);
    const bool between_passes = next_pass_ == kNever || cursor_.id == 0;
    if (between_passes) next_pass_ = (std::min)(next_pass_, due);
  }

  /// The store may hold transactions that memory does not know of.
  void Restart() {
    cursor_ = DuePosition{};
    next_pass_ = (Time::min)();
    first_pass_ = true;
  }

 private:
  static constexpr Duration kBetweenPasses = std::chrono::milliseconds(100);

  bool first_pass_ = true;
  DuePosition cursor_;
  Time next_pass_ = (Time::min)();
  Time left_behind_ = kNever;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/hooks/span_feed.hpp -------------------------------------------------------

/// The spans of what the loop drives: when they begin, and which are over.
/// Needs: std. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

class SpanFeed {
 public:
  using Spans = std::vector<std::shared_ptr<const Span>>;

  /// `ended`: gets the spans that are over. Both outlive it.
  SpanFeed(const Options& options, Spans& ended) : options_(options), ended_(ended) {}

  /// Of a call that starts now; null: nobody wants spans.
  std::shared_ptr<const CallSpan> Begin(const Transaction& transaction, std::size_t row, Time now) {
    if (!options_.on_span) return nullptr;
    return std::make_shared<const CallSpan>(
        CallSpan{ids_.Next(), now, transaction.branches[row].tries});
  }

  void End(const BranchCall& call, const Result& result, Time now) noexcept {
    if (call.span == nullptr || result.at_once) return;  // it is none, or did not begin
    Add([&] { return SpanOf(*call.definition, call.row, *call.span, result, now); });
  }

  void Ended(const Transaction& transaction) noexcept {
    if (options_.on_span) Add([&] { return SpanOf(transaction); });
  }

 private:
  template <typename Make>
  void Add(const Make& make) noexcept {
    try {
      ended_.push_back(std::make_shared<const Span>(make()));
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): no memory for it
    }
  }

  const Options& options_;
  Spans& ended_;
  SpanIds ids_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/parts/metrics.hpp ---------------------------------------------------------

/// What the coordinator has done since it was opened, counted.
/// Needs: std. Threads: thread-safe. Protocol: §9 (the names are the HTTP API's).

#include <array>
#include <tuple>

namespace dtm {
inline namespace v1 {

/// Counts durations by upper bounds.
struct Histogram {
  using Bounds = std::array<double, 11>;  ///< seconds
  static constexpr Bounds kBounds = {.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10};
  static constexpr Bounds kOfCommits = {.0001, .00025, .0005, .001, .0025, .005,
                                        .01,   .025,   .1,    .5,   2.5};

  /// Counts one duration.
  void Add(Duration time) {
    const double seconds = static_cast<double>(time.count()) / 1e6;
    const auto bound = std::lower_bound(bounds->begin(), bounds->end(), seconds);
    ++counts[static_cast<std::size_t>(bound - bounds->begin())];
    sum += seconds;
  }

  const Bounds* bounds = &kBounds;
  std::array<std::uint64_t, kBounds.size() + 1> counts{};  ///< the last: more than all bounds
  double sum = 0;
};

/// The counters. Only what is durable is counted.
class Metrics {
 public:
  /// What calls are counted by.
  struct Branch {
    TransType type;
    std::string branch_id;
    Op op;
    bool ok;
    bool operator<(const Branch& other) const {
      return std::tie(type, branch_id, op, ok) <
             std::tie(other.type, other.branch_id, other.op, other.ok);
    }
  };
  /// The counters at one moment.
  struct Snapshot {
    std::map<std::pair<TransType, Status>, std::uint64_t> ended;  ///< by final status
    std::map<TransType, Histogram> durations;                     ///< from creation to the end
    std::map<Branch, std::uint64_t> branches;                     ///< answered calls
    std::map<TransType, std::uint64_t> repaired;                  ///< branches that people skipped
    Histogram commits{&Histogram::kOfCommits};  ///< how long the store took for each
  };

  /// For the coordinator: a commit took so long.
  void Committed(Duration took) {
    const std::lock_guard<std::mutex> lock(mutex_);
    snapshot_.commits.Add(took);
  }

  /// For the coordinator: the end of this transaction is durable.
  void Ended(const Transaction& transaction) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const TransType type = transaction.definition->type;
    ++snapshot_.ended[{type, transaction.status}];
    snapshot_.durations[type].Add(transaction.finished - transaction.created);
  }

  /// For the coordinator: that somebody skipped a branch is durable.
  void Repaired(TransType type) {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++snapshot_.repaired[type];
  }

  /// For the coordinator: the result of a call of this row is durable.
  void GotResult(const Definition& definition, std::size_t row, const Result& result) {
    const bool ok = result.kind == Result::Kind::kSuccess;
    const std::size_t slot = 2 * row + (ok ? 1 : 0);
    const std::lock_guard<std::mutex> lock(mutex_);
    std::vector<std::uint64_t>& counts = answers_[static_cast<std::size_t>(definition.type)];
    if (slot >= kMaxSlots) return;  // so many names of series would help nobody
    if (counts.size() <= slot) counts.resize(slot + 1);
    ++counts[slot];
  }

  /// The counters now.
  Snapshot Get() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    Snapshot snapshot = snapshot_;
    for (std::size_t type = 0; type < answers_.size(); ++type) {
      for (std::size_t slot = 0; slot < answers_[type].size(); ++slot) {
        if (answers_[type][slot] == 0) continue;
        const std::size_t row = slot / 2;
        snapshot.branches[KeyOf(static_cast<TransType>(type), row, slot % 2 == 1)] =
            answers_[type][slot];
      }
    }
    return snapshot;
  }

 private:
  /// Branches are named by their row, which bounds the number of names.
  static Branch KeyOf(TransType type, std::size_t row, bool ok) {
    const bool query = HasQueryRow(type) && row == kQueryRow;
    return {type, query ? "00" : NumberOf(StepOf(type, row)), OpOf(type, row), ok};
  }

  static constexpr std::size_t kMaxSlots =
      4 * 99;  ///< 198 rows: 99 steps of a saga, 197 of a message

  mutable std::mutex mutex_;
  Snapshot snapshot_;
  std::array<std::vector<std::uint64_t>, 6> answers_;  ///< by type; per row: failed, succeeded
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/parts/missing_functions.hpp -----------------------------------------------

/// The functions that this program lacks, so that people are told of each of them once a minute.
/// Needs: std. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

class MissingFunctions {
 public:
  /// False: people were told of it less than a minute ago, or of too many others. All URLs of a scheme are one: what is
  /// missing is their caller.
  /// @throws std::bad_alloc  it is not remembered.
  bool IsNews(const std::string& url, Time now) {
    const std::string name = IsLocal(url) ? url : SchemeOf(url);
    const auto told = told_until_.find(name);
    if (told != told_until_.end() && now < told->second) return false;
    if (told == told_until_.end() && told_until_.size() >= kMostNames) {
      for (auto old = told_until_.begin(); old != told_until_.end();) {
        old = old->second <= now ? told_until_.erase(old) : std::next(old);
      }
      if (told_until_.size() >= kMostNames) return false;
    }
    told_until_[name] = now + kTellAgain;
    return true;
  }

  static constexpr std::size_t kMostNames = 1000;

 private:
  static constexpr Duration kTellAgain = std::chrono::minutes(1);
  std::map<std::string, Time> told_until_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/engine/repair.hpp ---------------------------------------------------------------------

/// A repair: somebody says that a row is done, and the transaction goes on without a call. Nothing else changes.
/// Needs: std. Threads: pure functions.

namespace dtm {
inline namespace v1 {
namespace engine {

/// Whether a call of the row may still come. A saga that goes forward may be rolled back later.
inline bool MayBeCalled(const Transaction& transaction, std::size_t row) {
  const bool saga = transaction.definition->type == TransType::kSaga;
  if (saga && transaction.status == Status::kSubmitted) return true;
  if (!HasItsTurn(transaction, row)) return false;
  const bool undo = saga && row % 2 == 0;
  return !undo || MayHaveRun(transaction.branches[row + 1]);
}

/// Why the row of an unfinished transaction cannot be said to be done; empty: it can. While a call of it is out, or may be, it
/// cannot: the call could have its effect after somebody has done the same by hand.
inline std::string RepairProblem(const Transaction& transaction, std::size_t row, Time now) {
  const Definition& definition = *transaction.definition;
  const std::size_t rows = transaction.branches.size();
  if (definition.type == TransType::kWorkflow) {
    return "the steps of a workflow are made by its own code, so none can be skipped; it goes on "
           "with "
           "that code, or ends with ForceStop";
  }
  if (rows != RowCount(definition) || row >= rows) {
    return "its record is damaged, it has " + std::to_string(rows) + " branch rows for " +
           std::to_string(definition.steps.size()) + " steps; ForceStop ends it";
  }
  if (transaction.status == Status::kPrepared) {
    return "it is prepared, so none of its branches is called yet; submit it, or cancel it";
  }
  const Branch& branch = transaction.branches[row];
  const std::string who = BranchInWords(definition, row);
  if (branch.status == BranchStatus::kSucceed) return who + " has succeeded already";
  if (!MayBeCalled(transaction, row)) {
    return "it is " + std::string(Name(transaction.status)) + ", and " + who +
           " will not be called, so there is nothing to skip";
  }
  if (branch.in_flight) return "a call of " + who + " is running; skip it once that has ended";
  if (branch.deadline <= now) return {};
  return "a call of " + who + " may still be running, for at most " +
         Seconds(branch.deadline - now) + " s; skip it then";
}

/// "branch 02 compensate was skipped by ann: paid back by hand"
inline std::string DescribeRepair(const Definition& definition, std::size_t row,
                                  const std::string& who, const std::string& why) {
  return "branch " + BranchIdOf(definition, row) + " " + Name(OpOf(definition, row)) +
         " was skipped" + (who.empty() ? "" : " by " + who) + ": " + why;
}

/// The last error, and behind it what people have done about it.
inline std::string LastErrorWith(const std::string& error, std::string repair) {
  constexpr std::size_t kBetween = 2;
  repair = Truncated(std::move(repair), kMaxReasonBytes);
  if (error.empty() || repair.size() + kBetween >= kMaxReasonBytes) return repair;
  return Truncated(error, kMaxReasonBytes - kBetween - repair.size()) + "; " + repair;
}

}  // namespace engine
}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/parts/news.hpp ------------------------------------------------------------

/// The lines about transactions in the log: rollbacks, first errors, missing functions, stuck transactions, the recovery.
/// Needs: std, engine. Threads: the thread that drives the loop.
///
/// Ten thousand transactions may meet one dead host in a second. So only a few lines of each kind are written in a
/// second, and then how many were left out.

namespace dtm {
inline namespace v1 {

/// Allows a number of lines in a second, and counts the others.
class LineLimit {
 public:
  static constexpr std::size_t kPerSecond = 10;

  /// Whether a line may be written now. Flush comes first.
  bool Allow(Time now) {
    if (now >= end_ || now + kWindow < end_) {  // over, or the clock was set back
      end_ = now + kWindow;
      written_ = 0;
    }
    if (written_ < kPerSecond) return ++written_, true;
    ++left_out_;
    return false;
  }
  /// When to log how many were left out.
  Time NextFlush() const { return left_out_ > 0 ? end_ : kNever; }
  /// How many lines were left out, once their second is over.
  std::size_t Flush() { return std::exchange(left_out_, 0); }

 private:
  static constexpr Duration kWindow = std::chrono::seconds(1);
  Time end_{};
  std::size_t written_ = 0;
  std::size_t left_out_ = 0;
};

class News {
 public:
  explicit News(const Options& options) : options_(options) {}

  // All of them tell of what is durable. If a line cannot be written, the loop goes on: none of these throws.

  /// The rollback is decided.
  void RolledBack(const Transaction& transaction, Time now) {
    Say(kRollbacks, transaction, now, [&] {
      const bool failed = transaction.status == Status::kFailed;  // there was nothing to undo
      std::string text = Who(transaction) + " (" + Name(transaction.definition->type) + ")" +
                         (failed ? " has failed" : " is being rolled back");
      if (!transaction.reason.empty()) text += ": " + transaction.reason;
      if (transaction.reason_from != 0) text += " (" + ReasonFrom(transaction) + ")";
      return text;
    });
  }

  /// `errors`: errors in a row of the branch, with `result` the last of them. Logs the first, and the one that shows that
  /// it keeps failing.
  void Error(const Transaction& transaction, std::size_t row, const Result& result,
             std::uint32_t errors, Time now) {
    const auto what = [&] { return engine::DescribeResult(*transaction.definition, row, result); };
    if (errors == 1) {
      Say(kFirstErrors, transaction, now,
          [&] { return Who(transaction) + ", first error: " + what(); });
    } else if (errors == kErrorsThatGoOn) {
      Say(kMoreErrors, transaction, now,
          [&] { return Who(transaction) + " keeps failing and is retried: " + what(); });
    }
  }

  /// The transaction goes on only with help.
  void Stuck(const Transaction& transaction, Time now) {
    Say(kStuck, transaction, now, [&] {
      return Who(transaction) + " is stuck: " + transaction.last_error +
             "; see Explain, then RetryNow or ForceStop";
    });
  }

  /// Somebody has said that the row is done.
  void Repaired(const Transaction& transaction, std::size_t row, const std::string& who,
                const std::string& why, Time now) {
    Say(kRepairs, transaction, now, [&] {
      return Who(transaction) + ": " +
             engine::DescribeRepair(*transaction.definition, row, who, why);
    });
  }

  /// Somebody else has removed its record.
  void Vanished(const Transaction& transaction, Time now) {
    Say(kVanished, transaction, now, [&] {
      return Who(transaction) + " has vanished from the store; somebody else removed it";
    });
  }

  /// See Sweep.
  void SetGoing(const Transaction& transaction, Time now) {
    Say(kSetGoing, transaction, now, [&] {
      return Who(transaction) +
             " was in memory and nothing would have gone on with it; it is set going. If no turn "
             "of "
             "the coordinator failed before, this is a fault of dtm: please report it";
    });
  }

  /// This program has no function or caller for the branch; see MissingFunctions.
  void NobodyToCall(const Transaction& transaction, std::size_t row, const Result& result,
                    Time now) {
    Say(kNobody, transaction, now, [&] {
      return Who(transaction) +
             " waits: " + engine::DescribeResult(*transaction.definition, row, result);
    });
  }

  void Recovered(std::size_t found, Duration took) const {
    if (found == 0) return;
    Quietly([&] {
      LogTo(
          options_, LogLevel::kInfo,
          std::to_string(found) +
              (found == 1 ? " unfinished transaction goes on" : " unfinished transactions go on") +
              "; to find what an earlier run left took " + engine::Seconds(took) + " s");
    });
  }

  Time NextFlush() const {
    Time next = kNever;
    for (const LineLimit& limit : limits_) next = (std::min)(next, limit.NextFlush());
    return next;
  }
  /// Logs how many lines were left out in seconds that are over.
  void Flush(Time now) {
    for (std::size_t kind = 0; kind < limits_.size(); ++kind) {
      const Time next = limits_[kind].NextFlush();
      if (next == kNever || next > now) continue;
      const std::size_t left_out = limits_[kind].Flush();
      Quietly([&] {
        LogTo(options_, kLevels[kind],
              "and " + std::to_string(left_out) + " more " + kNames[kind] +
                  " in that second, without a line each");
      });
    }
  }

 private:
  enum Kind {
    kRollbacks,
    kFirstErrors,
    kMoreErrors,
    kNobody,
    kStuck,
    kRepairs,
    kVanished,
    kSetGoing,
    kKinds
  };
  static constexpr std::array<const char*, kKinds> kNames = {"rollbacks",
                                                             "first errors of branches",
                                                             "branches that keep failing",
                                                             "functions that are missing",
                                                             "stuck transactions",
                                                             "branches that people skipped",
                                                             "transactions that have vanished",
                                                             "transactions that are set going"};
  static constexpr std::array<LogLevel, kKinds> kLevels = {
      LogLevel::kInfo,  LogLevel::kWarning, LogLevel::kWarning, LogLevel::kWarning,
      LogLevel::kError, LogLevel::kWarning, LogLevel::kError,   LogLevel::kError};
  static constexpr std::uint32_t kErrorsThatGoOn = 3;

  static std::string Who(const Transaction& transaction) {
    return "gid '" + transaction.definition->gid + "'";
  }

  template <typename Function>
  static void Quietly(const Function& function) noexcept {
    try {
      function();
    } catch (...) {  // NOLINT(bugprone-empty-catch): no memory for a line of the log
    }
  }

  template <typename MakeText>
  void Say(Kind kind, const Transaction& about, Time now, const MakeText& text) {
    Quietly([&] {
      if (limits_[kind].NextFlush() <= now) Flush(now);
      if (!limits_[kind].Allow(now)) return;
      LogTo(options_, kLevels[kind], text(), about.definition.get());
    });
  }

  const Options& options_;
  std::array<LineLimit, kKinds> limits_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/state/reports.hpp ---------------------------------------------------------

/// What is counted and told of what is durable: metrics, alerts, lines in the log, spans.
/// Needs: std, engine. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

class Reports {
 public:
  /// `to_release`: gets what is told by hooks. All of them outlive it.
  Reports(const Options& options, const engine::Context& context, ToRelease& to_release)
      : news(options),
        spans(options, to_release.spans),
        options_(options),
        context_(context),
        to_release_(to_release) {}

  /// Whether Report has something to say of it.
  static bool HasNews(const AppliedEvent& event) {
    return event.alert || event.stuck || event.kind == engine::EventKind::kRepair ||
           event.kind == engine::EventKind::kResult;
  }

  /// An event that is durable now: counts it, and tells people of it.
  void Report(const Transaction& transaction, const AppliedEvent& event) {
    if (event.alert) to_release_.alerts.push_back(event.alert);
    if (event.stuck) news.Stuck(transaction, context_.now);
    if (event.kind == engine::EventKind::kRepair && !event.refused) {
      metrics.Repaired(transaction.definition->type);
      news.Repaired(transaction, event.row, event.who, event.result.text, context_.now);
    }
    if (event.kind != engine::EventKind::kResult) return;
    metrics.GotResult(*transaction.definition, event.row, event.result);
    if (event.errors > 0) {
      news.Error(transaction, event.row, event.result, event.errors, context_.now);
    } else if (event.result.no_handler) {
      Answers::Protected([&] { NobodyToCall(transaction, event); });
    }
  }

  /// If it has ended, that is durable now.
  void ReportEnd(const Transaction& transaction) {
    if (!IsFinal(transaction.status)) return;
    metrics.Ended(transaction);
    spans.Ended(transaction);
  }

  Metrics metrics;
  News news;
  SpanFeed spans;

 private:
  void NobodyToCall(const Transaction& transaction, const AppliedEvent& event) {
    const Definition& definition = *transaction.definition;
    if (!missing_functions_.IsNews(UrlOf(definition, event.row), context_.now)) return;
    news.NobodyToCall(transaction, event.row, event.result, context_.now);
    if (!options_.on_alert) return;
    to_release_.alerts.push_back(AlertOf(
        transaction, event.row, engine::DescribeResult(definition, event.row, event.result)));
  }

  MissingFunctions missing_functions_;
  const Options& options_;
  const engine::Context& context_;
  ToRelease& to_release_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/state/room.hpp ------------------------------------------------------------

/// How much room is left in memory for transactions: by number (max_in_memory) and by bytes.
/// Needs: std. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

class Room {
 public:
  Room(const ActiveTable& table, const Options& options) : table_(table), options_(options) {}

  std::size_t Count() const { return Full() ? 0 : options_.max_in_memory - table_.Count(); }
  std::size_t Bytes() const { return Full() ? 0 : ActiveBytes(options_) - table_.Bytes(); }

  bool Full() const {
    return table_.Count() >= options_.max_in_memory || table_.Bytes() >= ActiveBytes(options_);
  }
  /// More are in memory than fit: one that was just added should not begin.
  bool Overfull() const {
    return table_.Count() > options_.max_in_memory || table_.Bytes() > ActiveBytes(options_);
  }
  /// Transactions that only wait for a time may take half of the room.
  bool HalfFull() const {
    return table_.Count() >= options_.max_in_memory / 2 ||
           table_.Bytes() >= ActiveBytes(options_) / 2;
  }

 private:
  const ActiveTable& table_;
  const Options& options_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/state/timers.hpp ----------------------------------------------------------

/// When each transaction has to be looked at again.
/// Needs: std. Threads: one owner.

namespace dtm {
inline namespace v1 {

struct ActiveTransaction;

/// One timer per transaction in memory, in order of time. Nodes are reused: most transactions have a timer, for those
/// who wait for their end.
class Timers {
 public:
  /// Replaces the timer at `old` by one at `time`; kNever is none.
  void Move(ActiveTransaction& active, Time old, Time time) {
    if (old == time) return;
    Ordered::node_type node;
    if (old != kNever) {
      node = timers_.extract({old, &active});
    } else if (!spare_nodes_.empty()) {
      node = std::move(spare_nodes_.back());
      spare_nodes_.pop_back();
    }
    const auto hint = timers_.end();  // mostly later than others
    if (time == kNever) {
      if (node) Spare(std::move(node));
    } else if (node) {
      node.value() = {time, &active};
      timers_.insert(hint, std::move(node));
    } else {
      timers_.emplace_hint(hint, time, &active);
    }
  }
  Time Next() const { return timers_.empty() ? kNever : timers_.begin()->first; }
  /// Takes the first one that is due; null if none is.
  ActiveTransaction* TakeDue(Time now) {
    if (timers_.empty() || timers_.begin()->first > now) return nullptr;
    ActiveTransaction* active = timers_.begin()->second;
    timers_.erase(timers_.begin());
    return active;
  }

 private:
  using Ordered = std::set<std::pair<Time, ActiveTransaction*>>;

  void Spare(Ordered::node_type&& node) {
    try {
      spare_nodes_.push_back(std::move(node));
    } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): one less
    }
  }

  Ordered timers_;
  std::vector<Ordered::node_type> spare_nodes_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/engine/machine_parts.hpp --------------------------------------------------------------

/// What all machines share: taking results, calling branches, waiting, ending, getting stuck.
/// Needs: std. Threads: pure. Protocol: §3 (what a result does to a row, schedule numbers, alert), with the
/// safe alternatives of its §12: running calls are awaited, tries survive restarts.

namespace dtm {
inline namespace v1 {
namespace engine {

class MachineParts {
 protected:
  MachineParts(Transaction& transaction, const Context& context, Effects&& effects)
      : t_(transaction),
        def_(*transaction.definition),
        context_(context),
        effects_(std::move(effects)) {}

  /// Handles what is the same for every type. False: nothing follows.
  bool GoesOn(const Event& event) {
    if (event.kind == EventKind::kLoaded) ForgetPreviousRun(t_, context_);
    if (IsFinal(t_.status)) {
      if (event.kind == EventKind::kCancel || event.kind == EventKind::kForceStop ||
          event.kind == EventKind::kRetryNow || event.kind == EventKind::kRepair) {
        effects_.refused = "it has already ended as " + std::string(Name(t_.status));
      }
      return false;
    }
    switch (event.kind) {
      case EventKind::kLoaded:
        if (t_.created <= context_.now) break;
        t_.created = context_.now;  // its clock was ahead: timeouts and delays count from here
        effects_.changed = true;
        break;
      case EventKind::kRegistered: Awaken(event.row); break;
      case EventKind::kForceStop: Finish(Status::kFailed); return false;
      case EventKind::kRetryNow: TryAgainNow(); break;
      case EventKind::kRepair: Repair(event); break;
      case EventKind::kBranchAdded: AddRows(); break;
      default: break;
    }
    return true;
  }

  /// Adds the row of a registered step; that of a workflow is recorded as done.
  void AddRows() {
    std::size_t row = t_.branches.size();
    AddMissingRows(t_);
    for (; row < t_.branches.size(); ++row) {
      Branch& branch = t_.branches[row];
      if (branch.status != BranchStatus::kPrepared) branch.finished = context_.now;
    }
    effects_.changed = true;
  }

  /// False: it is stuck, or has ended.
  bool MayDrive() {
    if (IsFinal(t_.status)) return false;
    if (t_.branches.size() != RowCount(def_)) {
      GetStuck("the record has " + std::to_string(t_.branches.size()) + " branch rows for " +
               std::to_string(def_.steps.size()) + " steps");
    }
    return !t_.stuck;
  }

  void Create(Status status) {
    t_.status = status;
    t_.branches.assign(RowCount(def_), Branch{});
    t_.created = t_.due = context_.now;
    effects_.changed = true;
  }

  void OnSubmitted() {
    if (t_.created == Time{}) return Create(Status::kSubmitted);
    if (t_.status != Status::kPrepared) return;
    t_.status = Status::kSubmitted;
    t_.due = context_.now;
    effects_.changed = true;
  }

  /// Records an expected result; false: it was not expected.
  bool TakeAnswer(std::size_t index, const Result& result) {
    if (index >= t_.branches.size() || !t_.branches[index].in_flight) return false;
    Branch& branch = t_.branches[index];
    branch.in_flight = false;
    branch.deadline = branch.previous_deadline;  // calls of a previous run may still be running
    effects_.changed = true;
    if (result.kind == Result::Kind::kSuccess) {
      Succeed(branch);
      return true;
    }
    t_.last_error = DescribeResult(def_, index, result);
    if (result.kind == Result::Kind::kNotSent && branch.tries > 0) --branch.tries;
    return true;
  }

  void Succeed(Branch& branch) {
    branch.status = BranchStatus::kSucceed;
    branch.finished = context_.now;
    branch.errors = 0;
    branch.next_try = Time{};
    branch.asked_when = false;
  }

  /// Counts the row as done. A stuck transaction is driven again: whatever it lacked may be here now.
  void Repair(const Event& event) {
    effects_.refused = RepairProblem(t_, event.row, context_.now);
    if (!effects_.refused.empty()) return;
    Succeed(t_.branches[event.row]);
    t_.stuck = false;
    t_.last_error =
        LastErrorWith(t_.last_error, DescribeRepair(def_, event.row, event.who, event.result.text));
    effects_.changed = true;
  }

  /// After ONGOING, or if the call was not sent, it waits for one interval; after errors longer and longer; and always at
  /// least as long as the branch asked for. A call that was not sent because the coordinator stops, or may make none for a
  /// while, does not wait: it is made first when there are calls again.
  void WaitForNextTry(std::size_t index, Result::Kind kind, const Result& result) {
    Branch& branch = t_.branches[index];
    branch.unsent = kind == Result::Kind::kNotSent;
    const Duration interval = RetryInterval(def_.options, context_);
    Duration wait = interval;
    if (kind == Result::Kind::kOngoing || kind == Result::Kind::kNotSent) {
      // Most calls of a host that does not reply find no slot. They do not interrupt its errors in a row.
      if (kind == Result::Kind::kOngoing) branch.errors = 0;
      const bool at_once = result.at_once || !context_.may_call;
      if (kind == Result::Kind::kNotSent && at_once) wait = Duration(0);
    } else {
      ++branch.errors;
      wait = RetryWait(t_, index, interval);
      AlertIfItKeepsFailing(index);
    }
    const Duration asked = (std::min)(result.retry_after, Duration(kMaxRetryAfter));
    branch.asked_when = asked > wait;
    wait = (std::max)(wait, asked);
    branch.next_try = wait == Duration(0) ? Time{} : context_.now + wait;
  }

  /// The question to a message's initiator may fail for long without harm: the initiator may be down. For other rows
  /// people are alerted at the n-th error in a row, whether or not the wait still doubles.
  void AlertIfItKeepsFailing(std::size_t index) {
    const bool question = def_.type == TransType::kMsg && index == kQueryRow;
    if (question || context_.alert_after == 0) return;
    if (t_.branches[index].errors >= context_.alert_after) effects_.alert = index;
  }

  /// The result of a branch that has to succeed in the end: after anything but success it is called again.
  void OnRequiredResult(std::size_t index, const Result& result) {
    if (!TakeAnswer(index, result) || result.kind == Result::Kind::kSuccess) return;
    WaitForNextTry(index, result.kind, result);
  }

  /// Ends the wait of a call that found no function; waits after errors stay.
  void Awaken(std::size_t index) {
    if (index >= t_.branches.size()) return;
    Branch& branch = t_.branches[index];
    const bool unsent = branch.unsent || branch.tries == 0;
    if (branch.in_flight || !unsent || branch.next_try == Time{}) return;
    branch.next_try = Time{};
    effects_.changed = true;
  }

  void TryAgainNow() {
    if (ForgetWaits(t_)) effects_.changed = true;
  }

  void Abort(std::string reason) {
    t_.status = Status::kAborting;
    t_.reason = Truncated(std::move(reason), kMaxReasonBytes);
    effects_.changed = true;
  }

  /// Keeps the text of the branch as the reason, and beside it which branch that was.
  void GiveReason(std::size_t index, const Result& result) {
    t_.reason =
        Truncated(result.text.empty() ? "FAILURE, without a reason" : result.text, kMaxReasonBytes);
    t_.reason_from = static_cast<std::uint32_t>(index + 1);
  }

  /// Results that are still expected do not matter any more.
  void Finish(Status status) {
    for (Branch& branch : t_.branches) branch.in_flight = false;
    t_.status = status;
    t_.finished = context_.now;
    t_.due = kNever;
    t_.stuck = false;
    effects_.changed = true;
    effects_.calls.clear();
    effects_.timer = kNever;
  }

  void GetStuck(const std::string& why) {
    if (t_.stuck) return;
    t_.stuck = true;
    t_.last_error = why;
    effects_.changed = true;
  }

  bool Succeeded(std::size_t row) const {
    return t_.branches[row].status == BranchStatus::kSucceed;
  }

  /// Calls the branch if no call of it is running and its wait is over. True: it has no url and is done.
  bool TryCall(std::size_t index) {
    Branch& branch = t_.branches[index];
    if (branch.in_flight) return false;
    const std::string& url = UrlOf(def_, index);
    if (url.empty()) {
      branch.status = BranchStatus::kSucceed;
      branch.finished = context_.now;
      effects_.changed = true;
      return true;
    }
    if (branch.next_try > context_.now) {
      WakeAt(branch.next_try);
      return false;
    }
    if (!context_.may_call) return false;
    branch.in_flight = true;
    if (!RunsInTransaction(url)) ++branch.tries;  // its success, if any, is stored with its effect
    branch.deadline =
        (std::max)(CallDeadline(url, def_.options, context_), branch.previous_deadline);
    effects_.calls.push_back(index);
    effects_.changed = true;
    return false;
  }

  void WakeAt(Time time) { effects_.timer = (std::min)(effects_.timer, time); }

  /// While a call is running, or could start but may not now, a restart has to look at it at once.
  void Schedule() {
    if (IsFinal(t_.status)) return;
    const bool out = std::any_of(t_.branches.begin(), t_.branches.end(),
                                 [](const Branch& branch) { return branch.in_flight; });
    // If the initiator could be asked but may not be asked now, a restart has to ask it.
    const bool asks = HasQueryRow(def_.type) && !def_.query_prepared.empty();
    const bool waits_for_submit =
        t_.status == Status::kPrepared && !out && effects_.timer == kNever && !asks;
    if (!out && !waits_for_submit && context_.may_call && effects_.timer == kNever) {
      GetStuck("no branch is out, none may start and no wait will end");
    }
    Time due = effects_.timer;
    if (t_.stuck || waits_for_submit) {
      due = kNever;
      effects_.timer = kNever;
    } else if (out || !context_.may_call) {
      due = (std::min)(t_.due, context_.now);
    }
    if (due != t_.due) {
      t_.due = due;
      effects_.changed = true;
    }
  }

  Transaction& t_;
  const Definition& def_;
  const Context& context_;
  Effects effects_;
};

/// Makes the machine for one event, and returns the effects.
template <typename Machine>
class MachineOf : protected MachineParts {
 public:
  /// Applies the event to `transaction`. `effects` is empty; only its memory is used.
  static Effects Advance(Transaction& transaction, const Event& event, const Context& context,
                         Effects&& effects = {}) {
    Machine machine(transaction, context, std::move(effects));
    machine.Run(event);
    return std::move(machine.effects_);
  }

 protected:
  using MachineParts::MachineParts;
};

}  // namespace engine
}  // namespace v1
}  // namespace dtm

// ---- dtm/engine/msg_machine.hpp ----------------------------------------------------------------

/// The machine of two-phase messages: while prepared, it waits for its submit and after a timeout asks its initiator;
/// once submitted, it calls every branch until that succeeds.
/// Needs: std. Threads: pure. Protocol: §4.2; never rolled back once it is submitted.

namespace dtm {
inline namespace v1 {
namespace engine {

class MsgMachine : public MachineOf<MsgMachine> {
  friend class MachineOf<MsgMachine>;
  using MachineOf::MachineOf;

  void Run(const Event& event) {
    if (!GoesOn(event)) return;
    switch (event.kind) {
      case EventKind::kSubmitted: OnSubmitted(); break;
      case EventKind::kPrepared: Create(Status::kPrepared); break;
      case EventKind::kResult:
        event.row == kQueryRow ? OnQueryResult(event.result)
                               : OnRequiredResult(event.row, event.result);
        break;
      case EventKind::kCancel: OnCancel(event); break;
      default: break;
    }
    if (MayDrive()) {
      if (t_.status == Status::kPrepared) AskInitiator();
      if (t_.status == Status::kSubmitted) Deliver();
    }
    Schedule();
  }

  void OnCancel(const Event& event) {
    if (t_.status != Status::kPrepared) {
      effects_.refused = "it is submitted, and a submitted message is delivered";
      return;
    }
    t_.reason = Truncated(event.result.text, kMaxReasonBytes);
    Finish(Status::kFailed);
  }

  /// The initiator is asked only while the message is prepared. If a submit has come meanwhile, the result is ignored.
  void OnQueryResult(const Result& result) {
    if (!TakeAnswer(kQueryRow, result) || t_.status != Status::kPrepared) return;
    if (result.kind == Result::Kind::kSuccess) {
      OnSubmitted();
    } else if (result.kind == Result::Kind::kFailure) {
      GiveReason(kQueryRow, result);
      Finish(Status::kFailed);
    } else {
      WaitForNextTry(kQueryRow, result.kind, result);
    }
  }

  void AskInitiator() {
    const Time asked = t_.created + PreparedTimeout(def_.options, context_);
    if (context_.now < asked) return WakeAt(asked);
    if (TryCall(kQueryRow)) OnSubmitted();  // there is nobody to ask
  }

  void Deliver() {
    const Time earliest = t_.created + def_.delay;
    if (context_.now < earliest) return WakeAt(earliest);
    bool all_done = true;
    for (std::size_t step = 0; step < def_.steps.size(); ++step) {
      const std::size_t row = DeliveryOf(step);
      if (Succeeded(row) || TryCall(row)) continue;
      all_done = false;
      if (!def_.concurrent) break;
    }
    if (all_done) Finish(Status::kSucceed);
  }
};

}  // namespace engine
}  // namespace v1
}  // namespace dtm

// ---- dtm/engine/saga_machine.hpp ---------------------------------------------------------------

/// The saga machine: runs the steps in order, and after a definite failure undoes, in reverse order, all that may
/// have run.
/// Needs: std. Threads: pure. Protocol: §4.1, with the safe alternatives of its §12: a running action
/// is awaited before it is compensated, tries survive restarts, retries wait.

namespace dtm {
inline namespace v1 {
namespace engine {

class SagaMachine : public MachineOf<SagaMachine> {
  friend class MachineOf<SagaMachine>;
  using MachineOf::MachineOf;

  void Run(const Event& event) {
    if (!GoesOn(event)) return;
    switch (event.kind) {
      case EventKind::kSubmitted: OnSubmitted(); break;
      case EventKind::kPrepared: Create(Status::kPrepared); break;
      case EventKind::kResult: OnResult(event.row, event.result); break;
      case EventKind::kCancel:
        t_.status == Status::kAborting ? TryAgainNow() : Abort(event.result.text);
        break;
      default: break;
    }
    if (MayDrive()) {
      if (t_.status == Status::kSubmitted) Forward();
      if (t_.status == Status::kAborting) Backward();
    }
    Schedule();
  }

  void OnResult(std::size_t index, const Result& result) {
    if (!TakeAnswer(index, result) || result.kind == Result::Kind::kSuccess) return;
    const bool action = OpOf(TransType::kSaga, index) == Op::kAction;
    if (action && result.kind == Result::Kind::kFailure) {
      t_.branches[index].status = BranchStatus::kFailed;
      t_.branches[index].finished = context_.now;
      if (t_.status != Status::kSubmitted) return;
      Abort({});
      return GiveReason(index, result);
    }
    if (action && t_.status == Status::kAborting) return;  // it is compensated in any case
    WaitForNextTry(index, result.kind, result);
    if (action && result.kind != Result::Kind::kNotSent) CountAgainstRetryLimit();
  }

  void CountAgainstRetryLimit() {
    const int limit = def_.options.retry_limit;
    if (limit <= 0) return;
    if (t_.retry_count < static_cast<std::uint32_t>(limit)) {
      ++t_.retry_count;
    } else {
      Abort("RetryCount is greater than RetryLimit, RetryLimit: " + std::to_string(limit));
    }
  }

  void Forward() {
    const std::chrono::seconds timeout = def_.options.timeout_to_fail;
    if (timeout.count() > 0) {
      if (context_.now >= t_.created + timeout) {
        Abort("Timeout after " + std::to_string(timeout.count()) + " seconds");
        return;
      }
      WakeAt(t_.created + timeout);
    }
    bool progress = true;  // an empty url succeeds at once and may make an earlier step ready
    while (progress) {
      progress = false;
      bool all_succeeded = true;
      for (std::size_t step = 0; step < def_.steps.size(); ++step) {
        const std::size_t action = ActionOf(step);
        if (Succeeded(action)) continue;
        all_succeeded = false;
        if (MayStart(step) && TryCall(action)) progress = true;
        if (!def_.concurrent && !Succeeded(action)) break;
      }
      if (all_succeeded) {
        Finish(Status::kSucceed);
        return;
      }
    }
  }

  bool MayStart(std::size_t step) const {
    if (!def_.concurrent && step > 0 && !Succeeded(ActionOf(step - 1))) return false;
    const auto order = def_.orders.find(static_cast<int>(step));
    if (order == def_.orders.end()) return true;
    return std::all_of(order->second.begin(), order->second.end(), [this](int before) {
      return Succeeded(ActionOf(static_cast<std::size_t>(before)));
    });
  }

  void Backward() {
    if (ActionsMayBegin()) return;
    bool progress = true;
    while (progress) {
      progress = false;
      bool all_undone = true;
      const std::vector<bool> needed = NeededByOthers();
      for (std::size_t step = def_.steps.size(); step-- > 0;) {
        if (Undone(step)) continue;
        all_undone = false;
        if (!needed[step] && TryCall(CompensateOf(step))) progress = true;
        if (!def_.concurrent && !Undone(step)) break;
      }
      if (all_undone) {
        Finish(Status::kFailed);
        return;
      }
    }
  }

  /// Nothing is left to undo: the action cannot have run, or its compensation is done. An action that
  /// failed may have had an effect, so it is compensated too.
  bool Undone(std::size_t step) const {
    return !MayHaveRun(t_.branches[ActionOf(step)]) || Succeeded(CompensateOf(step));
  }

  /// A running call, or one of a previous run that may still be running, may have its effect later; and no action
  /// may take effect after the compensation of any step.
  bool ActionsMayBegin() {
    Time last{};
    for (std::size_t step = 0; step < def_.steps.size(); ++step) {
      const Branch& action = t_.branches[ActionOf(step)];
      if (action.in_flight) return true;
      last = (std::max)(last, action.deadline);
    }
    if (last <= context_.now) return false;
    WakeAt(last);
    return true;
  }

  /// Which steps a step that came after them by the orders still rests on.
  std::vector<bool> NeededByOthers() const {
    std::vector<bool> needed(def_.steps.size(), false);
    for (const auto& order : def_.orders) {
      if (Undone(static_cast<std::size_t>(order.first))) continue;
      for (const int before : order.second) needed[static_cast<std::size_t>(before)] = true;
    }
    return needed;
  }
};

}  // namespace engine
}  // namespace v1
}  // namespace dtm

// ---- dtm/engine/tcc_machine.hpp ----------------------------------------------------------------

/// The machine of tcc and xa: branches register while it is prepared; then all are confirmed, or all
/// cancelled (xa: committed, rolled back).
/// Needs: std. Threads: pure. Protocol: §4.3, §4.4. Confirm and cancel have to succeed in the end: after any other
/// result they are called again.

namespace dtm {
inline namespace v1 {
namespace engine {

class TccMachine : public MachineOf<TccMachine> {
  friend class MachineOf<TccMachine>;
  using MachineOf::MachineOf;

  void Run(const Event& event) {
    if (!GoesOn(event)) return;
    switch (event.kind) {
      case EventKind::kSubmitted: OnSubmitted(); break;
      case EventKind::kPrepared: Create(Status::kPrepared); break;
      case EventKind::kResult: OnRequiredResult(event.row, event.result); break;
      case EventKind::kCancel: OnCancel(event); break;
      default: break;
    }
    if (MayDrive()) {
      if (t_.status == Status::kPrepared) WaitForSubmit();
      if (t_.status == Status::kSubmitted && AllDone(ActionOf)) Finish(Status::kSucceed);
      if (t_.status == Status::kAborting && AllDone(CompensateOf)) Finish(Status::kFailed);
    }
    Schedule();
  }

  void OnCancel(const Event& event) {
    if (t_.status == Status::kSubmitted) {
      effects_.refused = "it is submitted, so it is carried through";
    } else {
      t_.status == Status::kAborting ? TryAgainNow() : Abort(event.result.text);
    }
  }

  void WaitForSubmit() {
    const std::chrono::seconds timeout = PreparedTimeout(def_.options, context_);
    const Time end = t_.created + timeout;
    if (context_.now < end) return WakeAt(end);
    Abort("Timeout after " + std::to_string(timeout.count()) + " seconds");
  }

  /// Calls one branch after the other: tcc in reverse order of registration, xa in that order. Every registered
  /// branch is called, even if its try failed or never came.
  template <typename RowOf>
  bool AllDone(RowOf row_of) {
    const std::size_t count = def_.steps.size();
    for (std::size_t n = 0; n < count; ++n) {
      const std::size_t row = row_of(def_.type == TransType::kTcc ? count - 1 - n : n);
      if (!Succeeded(row) && !TryCall(row)) return false;
    }
    return true;
  }
};

}  // namespace engine
}  // namespace v1
}  // namespace dtm

// ---- dtm/engine/workflow_machine.hpp -----------------------------------------------------------

/// The workflow machine: a ledger. The initiator runs the workflow, records its steps, and reports the end; if it does
/// not, it is called to resume the workflow.
/// Needs: std. Threads: pure. Protocol: §4.5, with W26 done right: waits grow after errors, and the same final
/// status again is accepted.

namespace dtm {
inline namespace v1 {
namespace engine {

class WorkflowMachine : public MachineOf<WorkflowMachine> {
  friend class MachineOf<WorkflowMachine>;
  using MachineOf::MachineOf;

  void Run(const Event& event) {
    if (event.kind == EventKind::kFinish) return OnFinish(event);
    if (!GoesOn(event)) return;
    switch (event.kind) {
      case EventKind::kPrepared:
        Create(Status::kPrepared);
        WaitForInitiator();
        break;
      case EventKind::kResult: OnResult(event.row, event.result); break;
      case EventKind::kBranchAdded: t_.branches[kQueryRow].errors = 0; break;  // it makes progress
      case EventKind::kCancel:
        effects_.refused = "a workflow is rolled back by its own code; ForceStop ends it";
        break;
      default: break;
    }
    if (MayDrive() && !def_.query_prepared.empty()) (void)TryCall(kQueryRow);
    Schedule();
  }

  void OnFinish(const Event& event) {
    const bool success = event.result.kind == Result::Kind::kSuccess;
    const Status status = success ? Status::kSucceed : Status::kFailed;
    if (IsFinal(t_.status)) {
      if (t_.status != status) {
        effects_.refused = "it has already ended as " + std::string(Name(t_.status));
      }
      return;
    }
    // Somebody runs it elsewhere, and its callbacks have begun.
    const Op wrong = success ? Op::kRollback : Op::kCommit;
    for (const dtm::Step& step : def_.steps) {
      if (step.branch_id != kDecision || step.payload != Name(wrong)) continue;
      effects_.refused =
          "the decision to " + step.payload + " is recorded, so it does not end as " + Name(status);
      return;
    }
    t_.result = event.data;
    t_.reason = Truncated(event.result.text, kMaxReasonBytes);
    Finish(status);
  }

  /// The result of this call does not end the workflow; only kFinish does.
  void OnResult(std::size_t index, const Result& result) {
    if (index != kQueryRow || !TakeAnswer(index, result)) return;
    t_.branches[index].status = BranchStatus::kPrepared;
    const bool heard =
        result.kind == Result::Kind::kSuccess || result.kind == Result::Kind::kFailure;
    WaitForNextTry(index, heard ? Result::Kind::kOngoing : result.kind, result);
  }

  void WaitForInitiator() {
    t_.branches[kQueryRow].next_try = context_.now + RetryInterval(def_.options, context_);
  }
};

}  // namespace engine
}  // namespace v1
}  // namespace dtm

// ---- dtm/engine/advance.hpp --------------------------------------------------------------------

/// Which machine drives which transaction type. A new type is a new file and a line here.
/// Needs: std. Threads: pure. Protocol: §4.

namespace dtm {
inline namespace v1 {
namespace engine {

/// Pure: the same transaction, event and context always give the same result. `effects` is empty; only its memory is used.
/// @throws LogicError  the type does not exist.
inline Effects Advance(Transaction& transaction, const Event& event, const Context& context,
                       Effects&& effects = {}) {
  switch (transaction.definition->type) {
    case TransType::kSaga:
      return SagaMachine::Advance(transaction, event, context, std::move(effects));
    case TransType::kMsg:
      return MsgMachine::Advance(transaction, event, context, std::move(effects));
    case TransType::kTcc:
    case TransType::kXa:
      return TccMachine::Advance(transaction, event, context, std::move(effects));
    case TransType::kWorkflow:
      return WorkflowMachine::Advance(transaction, event, context, std::move(effects));
  }
  throw LogicError("gid '" + transaction.definition->gid + "' is of a type that does not exist");
}

}  // namespace engine
}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/state/turn_state.hpp ------------------------------------------------------

/// What the four stages of the loop share: the transactions in memory and what has happened to them
/// since the last commit.
/// Needs: std, engine, store. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

/// With this bit a version is one that no record has.
inline constexpr std::uint64_t kNoVersion = std::uint64_t{1} << 63;

/// The transactions in memory, how the store does, what is counted and logged; and, for each stage, what the others
/// leave to it.
class TurnState : public Answers {
 public:
  TurnState(Store& store_in, const Options& options_in)
      : store(store_in),
        options(options_in),
        elsewhere(store_in, options_in.max_waiting_submissions) {
    context.retry_interval = options.retry_interval;
    context.request_timeout = options.request_timeout;
    context.timeout_to_fail = options.timeout_to_fail;
    if (IsShared()) context.function_limit = options.function_limit;
    if (options.on_alert) context.alert_after = (std::max)(options.alert_retry_limit, 1U);
  }

  /// Gives the event to the machine, and keeps the effects in `active` until the record is durable. Returns why the event
  /// was refused, or nothing. Without memory the stored record takes its place, and the events since are applied again.
  /// @throws std::bad_alloc  nothing was changed, not even `event`; or it is new, and the sweep refuses it.
  std::string Advance(ActiveTransaction& active, engine::Event&& event) {
    Transaction& transaction = active.transaction;
    MakeReady(active);
    if (transaction.unreadable) return "its stored record is damaged: " + transaction.last_error;
    out_.clear();
    for (const Branch& branch : transaction.branches) out_.push_back(branch.in_flight ? 1 : 0);
    engine::Effects effects;
    try {
      AdvanceNow(active, event, effects);
    } catch (const std::bad_alloc&) {
      if (active.Fresh()) {
        Untouch(active);
        Forget(to_commit.dirty, active);
        active.dirty = false;
        throw;
      }
      for (std::size_t i = 0; i < out_.size() && i < transaction.branches.size(); ++i) {
        transaction.branches[i].in_flight = out_[i] != 0;
      }
      active.events.push_back({std::move(event), nullptr, context.now});
      // The next commit finds a conflict, and the stored record takes the place of this one.
      transaction.version |= kNoVersion;
      if (!std::exchange(active.dirty, true)) to_commit.dirty.push_back(&active);
    }
    return std::move(effects.refused);
  }

  /// Reserves the memory that Advance needs: after that it throws nothing, unless the transaction is new.
  void MakeReady(ActiveTransaction& active) {
    Touch(active);
    MakeRoom(active.events);
    MakeRoom(to_commit.dirty);
    out_.reserve(active.transaction.branches.size());
  }

  /// Without room it starts no calls: it leaves memory, and is loaded when there is room.
  void AdvanceIfRoom(ActiveTransaction& active, engine::EventKind kind, bool has_room) {
    const bool may_call = std::exchange(context.may_call, context.may_call && has_room);
    try {
      Advance(active, {kind, 0, {}});
    } catch (...) {
      context.may_call = may_call;
      throw;
    }
    context.may_call = may_call;
  }

  /// Something of it is to be released: calls, timers, answers.
  void Touch(ActiveTransaction& active) {
    if (active.touched) return;
    to_release.touched.push_back(&active);
    active.touched = true;  // not before it is in the list
  }

  void AddWaiter(ActiveTransaction& active, Waiter&& waiter) {
    if (!waiter.promise.Open()) return;
    LimitWait(active, waiter);
    ArmBefore(active, waiter.deadline);  // also if no commit works and nothing is released
    Touch(active);
    active.waiters.push_back(std::move(waiter));
  }

  /// `waiter` asked for the last event of `active`. If that is refused when it is applied again, it is told.
  void Link(ActiveTransaction& active, Waiter& waiter) {
    if (!active.Fresh()) active.events.back().ask = waiter.ask = ++last_ask_;
  }

  /// While nothing can be released, those who wait still need a timer for their deadlines.
  void ArmWaiters(ActiveTransaction& active) {
    for (Waiter& waiter : active.waiters) {
      LimitWait(active, waiter);
      ArmBefore(active, (std::max)(waiter.deadline, context.now + Duration(1)));
    }
  }
  /// Nobody waits long for a failing store. Waiters of a new transaction are refused with it.
  void LimitWait(const ActiveTransaction& active, Waiter& waiter) const {
    if (waiter.when != AnswerWhen::kStored || active.Fresh()) return;
    waiter.deadline = (std::min)(waiter.deadline, context.now + kLongestWaitForStore);
  }
  void ArmBefore(ActiveTransaction& active, Time time) {
    if (time >= active.armed) return;
    timers.Move(active, active.armed, time);
    active.armed = time;
  }

  void ArmTimer(ActiveTransaction& active) {
    Time next = active.timer;
    for (const Waiter& waiter : active.waiters) next = (std::min)(next, waiter.deadline);
    timers.Move(active, active.armed, next);
    active.armed = next;
  }

  /// The one way out of memory, besides DropAll. The loader finds again what has not ended, and the earlier record, if
  /// there is one, of what no commit has taken. What waits for people is not loaded.
  void Remove(ActiveTransaction& active) {
    const Transaction& transaction = active.transaction;
    const bool as_stored = !active.dirty && !active.Fresh();
    if (!as_stored) {
      loader.LeaveBehind(context.now);
    } else if (!IsFinal(transaction.status) && !transaction.unreadable) {
      loader.LeaveBehind(transaction.due);
    }
    Free(active);
  }

  /// The gid of a new transaction turned out to be stored: that record takes its place, unless it has ended.
  /// @throws std::bad_alloc  nothing was changed.
  void Replace(ActiveTransaction& fresh, Transaction&& stored) {
    const bool goes_on = !IsFinal(stored.status) && MayDrive(stored);
    if (goes_on)
      to_collect.readvance.emplace_back(stored.definition->gid, engine::EventKind::kLoaded);
    Untouch(fresh);
    Free(fresh);
    if (goes_on) table.Add(std::move(stored));  // in the place that is free now
  }

  void Untouch(ActiveTransaction& active) {
    active.touched = false;
    Forget(to_release.touched, active);
  }

  void RemoveFresh(ActiveTransaction& active) {
    Untouch(active);
    Forget(to_commit.dirty, active);
    Remove(active);
  }

  /// Nothing in memory is ours any more, and calls that are out are forgotten with it.
  void DropAll() {
    to_collect.readvance.clear();
    to_commit.dirty.clear();
    to_commit.branch_works.clear();
    to_release.touched.clear();
    while (ActiveTransaction* active = table.Any()) Free(*active);
    loader.Restart();
  }

  /// This coordinator owns it, or will with its next write: of a prepared one no call is out, but perhaps to its initiator.
  /// While it is fenced it owns nothing, although its heir may not have written that yet.
  bool MayDrive(const Transaction& stored) const {
    return (stored.owner == store.Owner() && !fenced) ||
           (stored.status == Status::kPrepared && !stored.other_app);
  }

  ActiveTransaction& Bring(Transaction stored) {
    if (stored.owner != store.Owner()) engine::LeaveToInitiator(stored);
    ActiveTransaction& active = table.Add(std::move(stored));
    try {
      Advance(active, {engine::EventKind::kLoaded, 0, {}});
      return active;
    } catch (...) {
      Untouch(active);
      Remove(active);
      throw;
    }
  }
  bool IsShared() const { return store.Owner() != 0; }
  bool SomethingLeftOver() const {
    return !to_collect.readvance.empty() || !to_collect.resubmit.empty() ||
           !to_collect.reissue.empty();
  }

  void Log(LogLevel level, const std::string& text) const { LogTo(options, level, text); }
  bool MayUseStore() const {
    return health.MayTry(context.now) || (health.WaitsForLock() && !room.Full());
  }

  Store& store;
  const Options& options;
  engine::Context context;
  ActiveTable table;
  const Room room{table, options};
  Timers timers;
  Loader loader;
  StoreHealth health;
  bool fenced = false;  ///< until the store has recovered
  Time not_before{};    ///< of the next turn: of commits in doubt each has a time of its own
  Elsewhere elsewhere;
  ToCollect to_collect;
  ToCommit to_commit;
  ToRelease to_release;
  Reports reports{options, context, to_release};

 private:
  static void Forget(std::vector<ActiveTransaction*>& list, const ActiveTransaction& active) {
    list.erase(std::remove(list.begin(), list.end(), &active), list.end());
  }

  void AdvanceNow(ActiveTransaction& active, engine::Event& event, engine::Effects& effects) {
    Transaction& transaction = active.transaction;
    const bool was_stuck = transaction.stuck;
    const Status before = transaction.status;
    const bool has_result = event.kind == engine::EventKind::kResult;
    const std::size_t row = event.row;
    const std::uint32_t errors = has_result ? ErrorsOf(transaction, row) : 0;
    const std::uint64_t me = store.Owner();
    const bool outbox = !active.Fresh() && me != 0 && transaction.driver == 0;
    // Each run on a shared store has a number of its own; and the time there may go back a little, as clocks are brought together.
    const bool other_run =
        !active.Fresh() && !outbox &&
        (me != 0 ? transaction.driver != me : transaction.updated < context.started);
    if (active.held_calls.empty()) effects.calls.swap(active.held_calls);  // its memory
    try {
      effects = engine::Advance(transaction, event, context, std::move(effects));
    } catch (const std::exception& error) {
      if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) throw;
      transaction.stuck = true;
      transaction.due = kNever;
      transaction.last_error = error.what();
      effects.changed = true;  // or the record would count as stored
    }
    const std::uint32_t errors_now = has_result ? ErrorsOf(transaction, row) : 0;
    const std::uint32_t new_errors = errors_now > errors ? errors_now : 0;
    const bool stuck = transaction.stuck && !was_stuck;
    std::shared_ptr<const Alert> alert;
    if (effects.alert) alert = AlertOf(transaction, *effects.alert, transaction.last_error);
    if (active.held_calls.empty()) {
      active.held_calls.swap(effects.calls);
    } else {
      active.held_calls.insert(active.held_calls.end(), effects.calls.begin(), effects.calls.end());
    }
    // Nothing below can fail. The events of a new transaction are not applied again, so they are kept only for what they tell.
    const bool rolled_back = BeganToFail(before, transaction.status);
    if (rolled_back) active.rolled_back = true;
    if (!active.Fresh() || alert || has_result || stuck || TellsEntries(options)) {
      active.events.push_back({std::move(event), std::move(alert), context.now, effects.changed,
                               effects.changed && other_run, effects.changed && outbox, rolled_back,
                               stuck, IsFinal(transaction.status) && !IsFinal(before), new_errors,
                               !effects.refused.empty()});
    }
    if (effects.changed) {
      transaction.updated = context.now;
      transaction.driver = me;
      if (!std::exchange(active.dirty, true)) to_commit.dirty.push_back(&active);
    }
    active.timer = effects.timer;
  }

  /// A large definition is freed at once, since no limit counts what waits in `ended`.
  void Free(ActiveTransaction& active) {
    timers.Move(active, active.armed, kNever);
    const bool keep = active.bytes <= kSmallBytes && to_collect.ended.size() < MostEnded(options);
    std::shared_ptr<const Definition> definition = table.Remove(active);
    if (keep) Protected([&] { to_collect.ended.push_back(std::move(definition)); });
  }
  std::vector<char> out_;  // a member for its memory
  std::uint64_t last_ask_ = 0;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/commands/questions.hpp ----------------------------------------------------

/// What only looks: Explain, and the list of those that wait.
/// Needs: std, engine, store. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

class Questions {
 public:
  explicit Questions(TurnState& state) : state_(state) {}

  /// Transactions that wait for a time, the earliest first. Those that are stuck or prepared wait for somebody, and are
  /// left out.
  void ListWaiting(Command& command) {
    std::vector<std::string>& gids = *command.listed;
    const Time last = kNever - Duration(1);
    if (Peers* const peers = state_.store.Shared()) {
      gids = peers->Waiting(command.after, command.limit);
    } else if (command.limit > 0) {
      state_.store.Due(last, {command.after, INT64_MAX}, [&](const Transaction& stored) {
        gids.push_back(stored.definition->gid);
        return gids.size() < command.limit;
      });
    }
    command.waiter.promise.Keep({});
  }

  /// Committed state only: a change that is not stored did not happen yet.
  void Explain(Command& command) {
    const ActiveTransaction* active = state_.table.Find(command.gid);
    if (active != nullptr && active->dirty) active = nullptr;
    std::string& text = *command.explained;
    const bool shared = state_.IsShared();
    std::optional<Transaction> stored;
    if (active == nullptr || shared) stored = state_.store.Load(command.gid);
    if (active != nullptr && shared && stored) {  // another may have written it
      const bool mine = stored->owner == state_.store.Owner();
      if (!mine || stored->version != active->transaction.version) active = nullptr;
    }
    if (active != nullptr) {
      text = engine::Explain(active->transaction, state_.context.now);
    } else if (stored) {
      text = engine::Explain(*stored, state_.context.now);
    } else {
      text = refusals::Unknown(command.gid);
    }
    if (shared && stored) text += state_.elsewhere.DrivenBy(*stored);
    if (!state_.health.Good()) {
      const bool waits =
          !state_.to_commit.dirty.empty() || state_.health.NeedsRecovery() || !state_.MayUseStore();
      text += (waits ? "\nthe store is failing, so nothing goes on: "
                     : "\nthe last write to the store failed, the next one will be tried: ") +
              state_.health.Problem();
    }
    command.waiter.promise.Keep({});
  }

 private:
  TurnState& state_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/state/not_stored.hpp ------------------------------------------------------

/// The answers to callers whose change was not committed.
/// Needs: std, store. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

inline bool MayBeStored(TurnState& state, const std::string& gid) {
  const ActiveTransaction* active = state.table.Find(gid);
  if (state.to_commit.in_doubt.count(gid) > 0 || (active != nullptr && !active->Fresh()))
    return true;
  try {
    return state.store.Load(gid).has_value();
  } catch (...) {
    return true;
  }
}

/// The error for the submitter. Definite only if no earlier submission can have brought its gid into the store.
inline std::exception_ptr NotTaken(TurnState& state, const std::string& gid,
                                   const std::string& why) {
  const bool maybe = MayBeStored(state, gid);
  const auto sentence = [&] {
    return "gid '" + gid + (maybe ? "' may or may not be stored: " : "' was not stored: ") + why +
           "; submit it again" + (maybe ? "" : " later");
  };
  return maybe ? Made<InDoubtError>(sentence) : Made<StoreError>(sentence);
}

/// Removes a fresh transaction from memory, and tells those who wait for it why.
inline void RefuseFresh(TurnState& state, ActiveTransaction& active, const std::string& why) {
  const std::shared_ptr<const Definition> definition = active.transaction.definition;
  std::vector<Waiter> waiters = std::move(active.waiters);
  std::vector<Command> commands = std::move(active.commands);
  state.RemoveFresh(active);
  const std::exception_ptr refusal = NotTaken(state, definition->gid, why);
  for (Waiter& waiter : waiters) waiter.Refuse(refusal);
  for (Command& command : commands) command.waiter.Refuse(refusal);
}

/// While no change becomes durable: the answer is the stored status, or an error for those who wait for a change.
inline void AnswerAsStored(TurnState& state, Waiter& waiter, const std::string& gid,
                           const std::string& why) {
  if (waiter.when != AnswerWhen::kStored) {
    try {
      const std::optional<Transaction> stored = state.store.Load(gid);
      const bool told = stored && (!waiter.submits || engine::ShowsSubmit(*stored));
      if (told) return waiter.Give(ResultOf(*stored));
    } catch (...) {  // NOLINT(bugprone-empty-catch): then it is not known
    }
  }
  waiter.Refuse(Made<InDoubtError>([&] {
    return "the change of gid '" + gid + "' may or may not be stored: " + why +
           "; ask for it again later";
  }));
}

/// Another coordinator drives it: who waits for its end goes on waiting. The others stay.
inline void WatchAll(TurnState& state, ActiveTransaction& active) {
  std::vector<Waiter> others;
  for (Waiter& waiter : active.waiters) {
    if (waiter.when == AnswerWhen::kStored || waiter.again) {
      others.push_back(std::move(waiter));
    } else {
      state.elsewhere.Watch(active.transaction.definition->gid, std::move(waiter),
                            state.context.now);
    }
  }
  active.waiters.swap(others);
}

/// Answers everybody who still waits for something in memory, with the status that is durable: nothing goes on here.
inline void AnswerAll(TurnState& state, const std::string& why) {
  const auto not_stored = [&](const auto& what) {
    return Made<StoreError>(
        [&] { return std::string(what()) + ": its last change could not be stored: " + why; });
  };
  const auto refuse = [&](std::vector<Command> commands) {
    for (Command& command : commands) {
      command.waiter.Refuse(not_stored([&] { return "gid '" + command.gid + "'"; }));
    }
  };
  for (Submission& submission : std::exchange(state.to_collect.resubmit, {})) {
    submission.waiter.Refuse(NotTaken(state, submission.definition->gid, why));
  }
  refuse(std::exchange(state.to_collect.reissue, {}));
  state.table.ForEach([&](ActiveTransaction& active) {
    const std::string& gid = active.transaction.definition->gid;
    for (Waiter& waiter : std::exchange(active.waiters, {})) {
      TurnState::Protected([&] {
        // With events a conflict has left it to be advanced again.
        const bool as_stored = !active.dirty && active.events.empty();
        if (as_stored) return waiter.GiveStatusOf(active.transaction);
        if (active.Fresh()) return waiter.Refuse(NotTaken(state, gid, why));
        AnswerAsStored(state, waiter, gid, why);
      });
    }
    refuse(std::exchange(active.commands, {}));
  });
  for (QueuedWork& work : std::exchange(state.to_commit.works, {})) {
    work.promise.Keep({{}, not_stored([] { return "the work"; })});
  }
}

inline std::exception_ptr StoreFailing(const TurnState& state, const std::string& what) {
  return Made<StoreError>([&] {
    return what + ", the store is failing: " + state.health.Problem() + "; try again later";
  });
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/core/validate.hpp ---------------------------------------------------------------------

/// Refuses a definition that could not be carried out, before anything is stored.
/// Needs: std. Threads: pure function. Protocol: §2.1, §4.1; the limits also hold in process.

namespace dtm {
inline namespace v1 {

/// @throws BadInput  `problem` is one, and that of this gid.
inline void RefuseOf(const std::string& gid, const std::string& problem) {
  if (!problem.empty()) throw BadInput("gid '" + gid + "': " + problem);
}

inline std::string GidProblem(const std::string& gid) {
  if (gid.empty()) return "the gid is empty; take one from NewGid()";
  if (gid.size() > kMaxGidBytes) {
    return "the gid has " + std::to_string(gid.size()) + " bytes; the limit is " +
           std::to_string(kMaxGidBytes);
  }
  for (const char c : gid) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F || c == ';') {
      return "gid '" + Printable(gid) + "' contains a control character or ';'; leave it out";
    }
  }
  if (!IsUtf8(gid)) return "gid '" + Printable(gid) + "' is not valid UTF-8";
  return {};
}

/// Steps in a cycle of orders would never run. Kahn's algorithm over the steps.
inline std::string OrdersProblem(const Definition& definition) {
  if (definition.orders.empty()) return {};
  std::size_t entries = 0;
  for (const auto& order : definition.orders) entries += order.second.size();
  if (entries > kMaxOrders) {
    return "gid '" + definition.gid + "': " + std::to_string(entries) +
           " entries of branch orders; the limit is " + std::to_string(kMaxOrders);
  }
  const std::size_t count = definition.steps.size();
  std::vector<std::vector<std::size_t>> followers(count);
  std::vector<std::size_t> waits_for(count, 0);
  const auto add = [&](std::size_t before, std::size_t step) {
    followers[before].push_back(step);
    ++waits_for[step];
  };
  const auto missing = [&definition, count](int step) {
    if (step >= 0 && static_cast<std::size_t>(step) < count) return std::string();
    return "gid '" + definition.gid + "': a branch order names step " + std::to_string(step) +
           ", which does not exist; there are " + std::to_string(count) + ", counted from 0";
  };
  for (const auto& order : definition.orders) {
    std::string problem = missing(order.first);
    if (!problem.empty()) return problem;
    for (const int before : order.second) {
      problem = missing(before);
      if (!problem.empty()) return problem;
      add(static_cast<std::size_t>(before), static_cast<std::size_t>(order.first));
    }
  }
  for (std::size_t step = 1; !definition.concurrent && step < count; ++step) add(step - 1, step);
  std::vector<std::size_t> ready;
  for (std::size_t step = 0; step < count; ++step) {
    if (waits_for[step] == 0) ready.push_back(step);
  }
  std::size_t done = 0;
  while (!ready.empty()) {
    const std::size_t step = ready.back();
    ready.pop_back();
    ++done;
    for (const std::size_t next : followers[step]) {
      if (--waits_for[next] == 0) ready.push_back(next);
    }
  }
  if (done == count) return {};
  return "gid '" + definition.gid +
         "': the branch orders form a cycle, so these steps would wait for each other for ever";
}

/// Empty, or why it cannot be prepared, besides Problem.
inline std::string PrepareProblem(const Definition& definition) {
  if (definition.type != TransType::kMsg || !definition.query_prepared.empty()) return {};
  return "gid '" + definition.gid +
         "': a message that is prepared needs query_prepared, which is asked whether to deliver it "
         "when "
         "no submit comes";
}

/// Empty, or why it cannot be submitted, besides Problem.
inline std::string SubmitProblem(const Definition& definition) {
  if (definition.type != TransType::kWorkflow) return {};
  return "gid '" + definition.gid + "': a workflow is prepared, and finished with its status";
}

/// @throws LogicError  a workflow cannot end with this status.
inline void CheckEnd(Status status) {
  if (!IsFinal(status)) throw LogicError("a workflow ends as succeed or failed");
}

/// Empty, or why this branch cannot be registered with any transaction of that gid and type.
inline std::string RegistrationProblem(const std::string& gid, TransType type, const Step& step) {
  std::string problem = GidProblem(gid);
  if (!problem.empty()) return problem;
  const std::string who = "gid '" + gid + "': ";
  if (!RegistersSteps(type)) {
    return who + "no branches are registered with a " + Name(type) +
           "; tcc, xa and workflow register them";
  }
  if (step.branch_id.empty() || step.branch_id.size() > kMaxGidBytes) {
    return who + "branch_id must have 1 to " + std::to_string(kMaxGidBytes) + " bytes";
  }
  if (!IsUtf8(step.branch_id)) return who + "branch_id is not valid UTF-8";
  if (type == TransType::kWorkflow && (step.op == Op{} || step.op > Op::kBusiness)) {
    return who + "a workflow records what was done: action, commit, rollback, ...";
  }
  if (type == TransType::kWorkflow) return {};  // what it was is called by nobody
  if (IsTopic(step.action) || IsTopic(step.compensate)) {
    return who + "a branch that is registered is no topic";
  }
  for (const std::string* url : {&step.action, &step.compensate}) {
    problem = UrlProblem(*url);
    if (!problem.empty()) return who + "branch " + step.branch_id + ": " + problem;
  }
  return {};
}

/// @throws RejectedError  it is no URL of http or https, so this program cannot make the call without its coordinator.
inline void CheckCallable(const InitiatorCall& call) {
  try {
    (void)ParseHttpUrl(call.url);
  } catch (const Error& error) {
    throw RejectedError("gid '" + call.info.gid + "': " + error.what());
  }
}

namespace limit {

/// "gid 'x': the payload of step 3 has 300000 bytes; the limit is 262144"
inline std::string Above(const std::string& gid, const std::string& what, std::size_t is,
                         std::size_t most) {
  return "gid '" + gid + "': " + what + " has " + std::to_string(is) + " bytes; the limit is " +
         std::to_string(most);
}

inline std::string AboveSteps(const std::string& gid, std::size_t count) {
  if (count <= kMaxSteps) return {};
  return "gid '" + gid + "': " + std::to_string(count) + " steps; the limit is " +
         std::to_string(kMaxSteps);
}

/// Checks the limit of the whole transaction.
inline std::string AboveBytes(const Definition& definition, std::size_t more) {
  std::size_t bytes = more + definition.data.size();
  for (const Step& step : definition.steps) bytes += step.UrlAndPayloadBytes();
  for (const auto& header : definition.options.branch_headers) {
    bytes += header.first.size() + header.second.size();
  }
  const std::size_t most =
      definition.type == TransType::kWorkflow ? kMaxWorkflowBytes : kMaxDefinitionBytes;
  return bytes <= most ? std::string() : Above(definition.gid, "the transaction", bytes, most);
}

}  // namespace limit

/// A function could never read it. Each level takes a byte at least, so most payloads are not looked at.
inline bool TooDeep(const std::string& json) {
  return json.size() > kMaxJsonDepth && JsonDepth(json) > kMaxJsonDepth;
}

/// Empty, or why this cannot be the `index`-th step of such a transaction, counted from 0.
inline std::string StepProblem(const Definition& definition, const Step& step, std::size_t index) {
  const auto who = [&definition] { return "gid '" + definition.gid + "': "; };
  const auto name = [index] { return "step " + std::to_string(index); };
  const bool workflow = definition.type == TransType::kWorkflow;
  for (const std::string* url : {&step.action, &step.compensate, &step.branch_id, &step.topic}) {
    if (url->size() > kMaxUrlBytes) {
      return limit::Above(definition.gid, "a url of " + name(), url->size(), kMaxUrlBytes);
    }
    if (!IsUtf8(*url)) return who() + "a url of " + name() + " is not valid UTF-8";
  }
  for (const std::string* url : {&step.action, &step.compensate}) {
    if (workflow) break;  // what was recorded is called by nobody
    const std::string problem = UrlProblem(*url);
    if (!problem.empty()) return who() + name() + ": " + problem;
  }
  const std::size_t most = workflow ? kMaxRecordBytes : kMaxPayloadBytes;
  if (step.payload.size() > most) {
    return limit::Above(definition.gid, "the payload of " + name(), step.payload.size(), most);
  }
  const bool function = IsLocal(step.action) || IsLocal(step.compensate);
  if (function && !workflow && TooDeep(step.payload)) {
    return who() + "the payload of " + name() + " is nested more than " +
           std::to_string(kMaxJsonDepth) + " levels deep; no function could read it";
  }
  const bool undone = definition.type != TransType::kMsg;  // a message has no compensations
  if (undone && (IsTopic(step.action) || IsTopic(step.compensate))) {
    return who() + name() + " goes to a topic; only messages do";
  }
  return {};
}

/// Empty, or why this step cannot be added at the end.
inline std::string AddedStepProblem(const Definition& definition, const Step& step) {
  const std::size_t index = definition.steps.size();
  std::string problem = limit::AboveSteps(definition.gid, index + 1);
  if (problem.empty()) problem = StepProblem(definition, step, index);
  if (problem.empty()) problem = limit::AboveBytes(definition, step.UrlAndPayloadBytes());
  return problem;
}

/// Empty if the definition can be carried out, else the sentence that says why not.
inline std::string Problem(const Definition& definition) {
  std::string problem = GidProblem(definition.gid);
  if (!problem.empty()) return problem;
  const auto who = [&definition] { return "gid '" + definition.gid + "': "; };
  const auto above = [&definition](const std::string& what, std::size_t is, std::size_t most) {
    return limit::Above(definition.gid, what, is, most);
  };
  problem = limit::AboveSteps(definition.gid, definition.steps.size());
  for (std::size_t i = 0; problem.empty() && i < definition.steps.size(); ++i) {
    problem = StepProblem(definition, definition.steps[i], i);
  }
  if (!problem.empty()) return problem;
  for (const std::string* text : {&definition.query_prepared, &definition.workflow}) {
    if (text->size() > kMaxUrlBytes)
      return above("query_prepared or the name", text->size(), kMaxUrlBytes);
    if (!IsUtf8(*text)) return who() + "query_prepared or the name is not valid UTF-8";
  }
  const std::string asked = UrlProblem(definition.query_prepared);
  if (!asked.empty()) return who() + "query_prepared: " + asked;
  if (IsTopic(definition.query_prepared)) {
    return who() + "query_prepared is a topic; one place is asked, not its subscribers";
  }
  if (definition.data.size() > kMaxPayloadBytes) {
    return above("its data", definition.data.size(), kMaxPayloadBytes);
  }
  if (IsLocal(definition.query_prepared) && TooDeep(definition.data)) {
    return who() + "its data is nested more than " + std::to_string(kMaxJsonDepth) +
           " levels deep; no function could read it";
  }
  if (definition.delay.count() < 0 || definition.delay > kMaxDelay) {
    return who() + "the delay is " + std::to_string(definition.delay.count()) +
           " s; it must be 0 to " + std::to_string(kMaxDelay.count()) + " s";
  }
  const TransOptions& options = definition.options;
  if (options.branch_headers.size() > kMaxHeaders) {
    return who() + std::to_string(options.branch_headers.size()) +
           " branch headers; the limit is " + std::to_string(kMaxHeaders);
  }
  for (const auto& header : options.branch_headers) {
    const std::size_t size = header.first.size() + header.second.size();
    if (size > kMaxHeaderBytes)
      return above("branch header " + header.first, size, kMaxHeaderBytes);
    const bool name_ok =
        !header.first.empty() && header.first.find_first_of(": \t") == std::string::npos;
    if (!name_ok)
      return who() + "branch header '" + Printable(header.first) + "' has no valid name";
    for (const char c : header.first + header.second) {
      if (c == '\r' || c == '\n' || c == '\0') {
        return who() + "branch header '" + Printable(header.first) +
               "' contains a line break or NUL";
      }
    }
  }
  problem = limit::AboveBytes(definition, 0);
  if (!problem.empty()) return problem;
  const auto out_of_range = [&who](const char* name, std::chrono::seconds value) {
    return who() + name + " is " + std::to_string(value.count()) +
           " s; it must be 0 (default) to " + std::to_string(kMaxOptionSeconds.count()) + " s";
  };
  const auto bad = [](std::chrono::seconds s) { return s.count() < 0 || s > kMaxOptionSeconds; };
  if (bad(options.timeout_to_fail)) {
    return out_of_range("timeout_to_fail", options.timeout_to_fail);
  }
  if (bad(options.request_timeout)) {
    return out_of_range("request_timeout", options.request_timeout);
  }
  if (bad(options.retry_interval)) return out_of_range("retry_interval", options.retry_interval);
  if (options.retry_limit < 0 || options.retry_limit > kMaxRetryLimit) {
    return who() + "retry_limit is " + std::to_string(options.retry_limit) +
           "; it must be 0 (no limit) to " + std::to_string(kMaxRetryLimit);
  }
  // The submit of a prepared one may bring orders for steps that it does not repeat.
  return definition.steps.empty() ? std::string() : OrdersProblem(definition);
}

inline std::string NothingToResume(const std::string& gid) {
  return "gid '" + gid +
         "' is not stored, so there is no workflow to go on with; nothing was run or stored";
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/commands/commands.hpp -----------------------------------------------------

/// Commands on transactions that exist: cancel, force stop, retry, skip, register a branch, finish.
/// Needs: std, engine, store. Threads: the thread that drives the loop.
/// Protocol: §2.2, §2.3, §2.4 (registration), §4.5 (the end of a workflow).

namespace dtm {
inline namespace v1 {

class Commands {
 public:
  explicit Commands(TurnState& state) : state_(state), questions_(state) {}

  void Do(Command& command) {
    if (command.kind == Command::Kind::kRegistered) return OnRegistered(command.gid);
    try {
      switch (command.kind) {
        case Command::Kind::kExplain: questions_.Explain(command); break;
        case Command::Kind::kListWaiting: questions_.ListWaiting(command); break;
        case Command::Kind::kLook: Look(command); break;
        default:
          if (command.asked == 0 || state_.store.Shared()->TakeUp(command.asked)) Obey(command);
      }
    } catch (const std::bad_alloc&) {
      throw;
    } catch (...) {  // a store that the program supplies may throw anything
      command.waiter.Refuse(std::current_exception());
    }
  }

 private:
  void Obey(Command& command) {
    ActiveTransaction* active = state_.table.Find(command.gid);
    if (active == nullptr) {
      std::optional<Transaction> stored = state_.store.Load(command.gid);
      if (!stored) refusals::RefuseUnknown(command.kind, command.gid);
      CheckType(command, *stored);
      if (IsFinal(stored->status)) {
        const bool again =
            command.kind == Command::Kind::kFinish && command.status == stored->status;
        if (command.kind != Command::Kind::kWait && !again)
          refusals::RefuseEnded(command.kind, *stored);
        return command.waiter.Give(ResultOf(*stored));
      }
      if (!state_.MayDrive(*stored) && command.kind != Command::Kind::kForceStop) {
        return AskOther(command, *stored);
      }
      if (WatchesPrepared(command, *stored)) return Watch(command);
      CheckStoreFor(command);  // what came into memory would be driven here, whoever drives it
      active = &state_.Bring(std::move(*stored));
    }
    CheckType(command, active->transaction);
    if (WatchesPrepared(command, active->transaction)) return Watch(command);
    if (command.wait_result == WaitResult::kCounts &&
        active->transaction.definition->options.wait_result) {
      command.waiter.WaitForResult(state_.context.now);
      command.waiter.ongoing_is_error = true;
    }
    CheckStoreFor(command);
    if (command.kind != Command::Kind::kWait) {
      const std::size_t before = active->events.size();
      const std::string refused = Change(*active, command);
      if (!refused.empty()) {
        // It may be the submit of a prepared one, whose record is in the store.
        if (active->Fresh()) return state_.to_collect.reissue.push_back(std::move(command));
        refusals::Refuse(command.kind, active->transaction, refused);
      }
      if (active->events.size() > before) state_.Link(*active, command.waiter);
    }
    if (!active->Fresh()) {
      if (state_.IsShared() && command.kind != Command::Kind::kWait) {
        command.waiter.again = [this,
                                what = static_cast<const Instruction&>(command)](Waiter&& waiter) {
          state_.to_collect.reissue.push_back({what, std::move(waiter)});
        };
      }
      return state_.AddWaiter(*active, std::move(command.waiter));
    }
    // The gid may turn out to be stored already; the command is then for the stored record.
    active->commands.push_back(std::move(command));
  }

  /// Returns why it was refused, or nothing.
  std::string Change(ActiveTransaction& active, const Command& command) {
    switch (command.kind) {
      case Command::Kind::kAddBranch: return AddBranch(active, command);
      case Command::Kind::kSkip: return Skip(active, command);
      default: return state_.Advance(active, EventOf(command));
    }
  }

  /// @throws StoreError  it would change something, and nothing can be written now.
  void CheckStoreFor(const Command& command) const {
    if (command.kind == Command::Kind::kWait || state_.MayUseStore()) return;
    std::rethrow_exception(StoreFailing(state_, "gid '" + command.gid + "' was not changed"));
  }

  /// In a shared store any coordinator may submit it, so its end may come elsewhere.
  bool WatchesPrepared(const Command& command, const Transaction& transaction) const {
    return state_.IsShared() && command.kind == Command::Kind::kWait &&
           transaction.status == Status::kPrepared && transaction.version > 0;
  }
  void Watch(Command& command) {
    state_.elsewhere.Watch(command.gid, std::move(command.waiter), state_.context.now);
  }

  /// Another coordinator drives it.
  void AskOther(Command& command, const Transaction& stored) {
    switch (command.kind) {
      case Command::Kind::kWait: return Watch(command);
      case Command::Kind::kCancel:
      case Command::Kind::kRetryNow:
      case Command::Kind::kSkip:
        if (command.asked != 0) return state_.store.Shared()->Reply(command.asked, {});
        return state_.elsewhere.Ask(std::move(command), state_.context.now);
      default:
        if (!stored.other_app) throw RejectedError(refusals::NotPrepared(command.gid));
        throw RejectedError("gid '" + command.gid +
                            "' was not changed: it calls functions that only programs of another "
                            "app have; ask a coordinator of that app (Explain names it)");
    }
  }

  /// If it has been written elsewhere, the next commit finds the conflict.
  void Look(Command& command) {
    ActiveTransaction* active = state_.table.Find(command.gid);
    if (active != nullptr && !active->dirty) {
      MakeRoom(state_.to_commit.dirty);
      state_.to_commit.dirty.push_back(active);
      active->dirty = true;
    }
    command.waiter.Give({});
  }

  static engine::Event EventOf(const Command& command) {
    const bool failed = command.status == Status::kFailed;
    const Result result{failed ? Result::Kind::kFailure : Result::Kind::kSuccess, command.reason};
    switch (command.kind) {
      case Command::Kind::kCancel: return {engine::EventKind::kCancel, 0, result, {}, command.who};
      case Command::Kind::kForceStop:
        return {engine::EventKind::kForceStop, 0, result, {}, command.who};
      case Command::Kind::kFinish: return {engine::EventKind::kFinish, 0, result, command.data};
      default: return {engine::EventKind::kRetryNow, 0, result, {}, command.who};
    }
  }

  static void CheckType(const Command& command, const Transaction& stored) {
    if (!command.type || stored.unreadable || *command.type == stored.definition->type) return;
    throw RejectedError("gid '" + command.gid + "' is a " + Name(stored.definition->type) +
                        ", not a " + Name(*command.type) + "; nothing was changed");
  }

  /// Registers a branch, while the transaction is prepared. The same branch again is accepted.
  std::string AddBranch(ActiveTransaction& active, const Command& command) {
    const Definition& definition = *active.transaction.definition;
    if (active.Fresh()) return "it is not stored yet";  // and the command is issued again
    if (active.transaction.unreadable) return active.transaction.last_error;
    if (!RegistersSteps(definition.type)) {
      return std::string("no branches are registered with a ") + Name(definition.type);
    }
    if (active.transaction.status != Status::kPrepared)
      throw RejectedError(refusals::NotPrepared(command.gid));
    const Step& step = command.step;
    for (const Step& old : definition.steps) {
      if (old.branch_id != step.branch_id || old.op != step.op) continue;
      const bool same = old.action == step.action && old.compensate == step.compensate &&
                        old.payload == step.payload && old.failed == step.failed &&
                        old.topic == step.topic;
      return same ? std::string()
                  : "branch " + step.branch_id + " is registered already, otherwise";
    }
    const std::string problem = AddedStepProblem(definition, step);
    if (!problem.empty()) throw RejectedError(problem);
    const bool recorded = definition.type == TransType::kWorkflow;
    const std::size_t added = definition.steps.size();
    const std::size_t row = recorded ? DeliveryOf(added) : ActionOf(added);
    state_.MakeReady(active);
    state_.table.AddStep(active, step);
    return state_.Advance(active, {engine::EventKind::kBranchAdded, row, {}});
  }

  std::string Skip(ActiveTransaction& active, const Command& command) {
    const Transaction& transaction = active.transaction;
    if (active.Fresh()) return "it is not stored yet";  // and the command is issued again
    if (transaction.unreadable) return transaction.last_error;
    const Step& branch = command.step;
    const auto row = RowOf(*transaction.definition, branch.branch_id, branch.op);
    if (!row) {
      throw BadInput("gid '" + command.gid + "' was not changed: it has no branch " +
                     Printable(branch.branch_id) + " " + Name(branch.op) +
                     "; query shows its branches");
    }
    const Result why{Result::Kind::kSuccess, command.reason};
    return state_.Advance(active, {engine::EventKind::kRepair, *row, why, {}, command.who});
  }

  /// Wakes what waits for this function.
  void OnRegistered(const std::string& url) {
    state_.table.ForEach([&](ActiveTransaction& active) {
      const Transaction& transaction = active.transaction;
      for (std::size_t i = 0; i < transaction.branches.size(); ++i) {
        const Branch& branch = transaction.branches[i];
        if (!branch.in_flight && branch.status == BranchStatus::kPrepared &&
            branch.next_try > state_.context.now && UrlOf(*transaction.definition, i) == url) {
          state_.Advance(active, {engine::EventKind::kRegistered, i, {}});
        }
      }
    });
  }

  TurnState& state_;
  Questions questions_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/parts/topics.hpp ----------------------------------------------------------

/// Topics: names under which urls subscribe to messages; kept in the store, category "topics".
/// Needs: nlohmann/json, store. Threads: pure functions, but for Expand and Subscribers, any thread, and ChangeIn, work for
/// Store::Run.
/// Protocol: §6. A change counts at once, for messages that are prepared or submitted after it.

namespace dtm {
inline namespace v1 {

struct Subscriber {
  std::string url;
  std::string remark;
};

namespace topics {

inline constexpr const char kCategory[] = "topics";

/// @throws StoreError  the stored list is damaged.
inline std::vector<Subscriber> Parse(const KeyValue& stored) {
  std::vector<Subscriber> subscribers;
  const nlohmann::json list = nlohmann::json::parse(stored.value, nullptr, false);
  try {
    if (list.is_array()) {
      for (const nlohmann::json& entry : list) {
        subscribers.push_back({entry.value("url", ""), entry.value("remark", "")});
      }
      return subscribers;
    }
  } catch (const nlohmann::json::exception&) {  // an entry of another form
  }
  throw StoreError("the stored subscribers of topic '" + stored.key + "' cannot be read");
}

inline KeyValue ToStore(const std::string& topic, const std::vector<Subscriber>& subscribers,
                        Time now) {
  // By hand: ordered_json would cost every program as much compile time as json.
  std::string list = "[";
  for (const Subscriber& subscriber : subscribers) {
    if (list.size() > 1) list += ',';
    list += R"({"url":)" + nlohmann::json(subscriber.url).dump() + R"(,"remark":)" +
            nlohmann::json(subscriber.remark).dump() + '}';
  }
  list += ']';
  KeyValue value;
  value.category = kCategory;
  value.key = topic;
  value.value = std::move(list);
  value.updated = now;
  return value;
}

/// Empty, or why this subscription is refused.
inline std::string Problem(const std::string& topic, const std::string& url,
                           const std::string& remark) {
  if (topic.empty()) return "empty topic";
  if (url.empty()) return "empty url";
  if (IsTopic(url)) return "a topic cannot subscribe to topic '" + Printable(topic) + "'";
  if (topic.size() > kMaxGidBytes || !IsUtf8(topic)) {
    return "the name of a topic is UTF-8 of at most " + std::to_string(kMaxGidBytes) + " bytes";
  }
  if (url.size() > kMaxUrlBytes || !IsUtf8(url) || remark.size() > kMaxReasonBytes ||
      !IsUtf8(remark)) {
    return "the url or the remark of topic '" + topic + "' is too long or not UTF-8";
  }
  return {};
}

/// What a change makes of the stored value of a topic; none: there is no such topic. After a failure nothing is to be stored.
using Change = std::function<Result(std::optional<KeyValue>& stored, Time now)>;

/// @throws StoreError  the stored list is damaged.
inline Result Subscribe(std::optional<KeyValue>& stored, const std::string& topic,
                        const Subscriber& subscriber, Time now) {
  std::vector<Subscriber> all;
  if (stored) all = Parse(*stored);
  const bool known = std::any_of(
      all.begin(), all.end(), [&](const Subscriber& other) { return other.url == subscriber.url; });
  if (known) return Result::Failure("this url exists");
  if (all.size() >= kMaxSteps) {
    return Result::Failure("topic '" + topic + "' has " + std::to_string(kMaxSteps) +
                           " subscribers, which is the limit");
  }
  all.push_back(subscriber);
  stored = ToStore(topic, all, now);
  return Result::Success();
}

/// The url of the subscriber that is meant, as the text of a success: the one that is given; else that of the only subscriber
/// whom lists show like that, since they show no user and password.
inline Result UrlMeant(const std::vector<Subscriber>& all, const std::string& topic,
                       const std::string& url) {
  std::vector<std::string> shown_so;
  for (const Subscriber& subscriber : all) {
    if (subscriber.url == url) return {Result::Kind::kSuccess, url};
    if (ShownUrl(subscriber.url) == url) shown_so.push_back(subscriber.url);
  }
  if (shown_so.empty()) return Result::Failure("no such an url ");
  if (shown_so.size() == 1) return {Result::Kind::kSuccess, shown_so[0]};
  return Result::Failure(std::to_string(shown_so.size()) + " subscribers of topic '" + topic +
                         "' are shown as '" + url +
                         "', and none was removed; name one by its whole url, with its user and "
                         "password");
}

/// @throws StoreError  the stored list is damaged.
inline Result Unsubscribe(std::optional<KeyValue>& stored, const std::string& topic,
                          const std::string& url, Time now) {
  if (!stored) return Result::Failure("no such a topic");
  std::vector<Subscriber> all = Parse(*stored);
  if (all.empty()) return Result::Failure("this topic is empty");
  Result meant = UrlMeant(all, topic, url);
  if (meant.kind != Result::Kind::kSuccess) return meant;
  all.erase(std::remove_if(all.begin(), all.end(),
                           [&](const Subscriber& other) { return other.url == meant.text; }),
            all.end());
  stored = ToStore(topic, all, now);
  return Result::Success();
}

inline Result Delete(std::optional<KeyValue>& stored, const std::string& topic) {
  if (std::exchange(stored, std::nullopt)) return Result::Success();
  return Result::Failure("there is no topic '" + topic + "'");
}

/// Makes the change in the open batch.
/// @throws StoreError  as the store does, or the stored list is damaged.
inline Result ChangeIn(Store& store, const std::string& topic, const Change& change, Time now) {
  std::optional<KeyValue> value = store.GetValue(kCategory, topic);
  Result result = change(value, now);
  if (result.kind != Result::Kind::kSuccess) return result;
  if (value) {
    store.PutValue(*value);
  } else {
    (void)store.RemoveValue(kCategory, topic);
  }
  return result;
}

/// The present subscribers of a topic; none if there is no such topic.
inline std::vector<Subscriber> Subscribers(Store& store, const std::string& topic) {
  if (topic.empty()) return {};  // ScanValues takes an empty key for any
  const KeyValuePage page = store.ScanValues(kCategory, topic, 0, 1);
  return page.values.empty() ? std::vector<Subscriber>() : Parse(page.values[0]);
}

inline bool HasTopics(const Definition& message) {
  return message.type == TransType::kMsg &&
         std::any_of(message.steps.begin(), message.steps.end(),
                     [](const Step& step) { return IsTopic(step.action); });
}

/// Replaces the topics of a message by what `subscribers_of` says of each: of step 01 there may be 01-01, 01-02 and so on.
/// A topic without subscribers stays, and is refused where a new message is stored.
template <typename SubscribersOf>
void ExpandBy(Definition& message, const SubscribersOf& subscribers_of) {
  std::vector<Step> expanded;
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < message.steps.size(); ++i) {
    Step step = std::move(message.steps[i]);
    step.branch_id = NumberOf(i);
    const std::vector<Subscriber> subscribers =
        IsTopic(step.action) ? subscribers_of(step.action.substr(kTopicPrefixSize))
                             : std::vector<Subscriber>();
    if (subscribers.empty()) {
      expanded.push_back(std::move(step));
      continue;
    }
    step.topic = step.action;
    for (std::size_t j = 0; j < subscribers.size(); ++j) {
      // It will be refused, so copy no more payloads.
      if (expanded.size() > kMaxSteps || bytes > kMaxDefinitionBytes) break;
      bytes += subscribers[j].url.size() + step.payload.size();
      Step one = step;
      one.action = subscribers[j].url;
      if (subscribers.size() > 1) one.branch_id += "-" + NumberOf(j);
      expanded.push_back(std::move(one));
    }
  }
  message.steps = std::move(expanded);
}

/// By those that are stored. A stored message keeps the subscribers it has: new ones must not bring its submit beyond a limit
/// after its local transaction has committed. False: nothing was replaced.
inline bool Expand(Definition& message, Store& store) {
  if (!HasTopics(message) || store.Load(message.gid)) return false;
  ExpandBy(message, [&store](const std::string& topic) { return Subscribers(store, topic); });
  return true;
}

/// @throws BadInput       it can never be carried out.
/// @throws RejectedError  it cannot be carried out with the present subscribers of its topics.
inline void CheckAndExpand(Definition& definition, Store& store) {
  std::string problem = dtm::Problem(definition);
  if (!problem.empty()) throw BadInput(problem);
  if (Expand(definition, store)) problem = dtm::Problem(definition);
  if (!problem.empty()) throw RejectedError(problem);
}

/// Refuses what only a repeat, or the submit of a prepared message, may have: a topic without subscribers, or orders for
/// steps that are not given.
/// @throws RejectedError, BadInput
inline void CheckNew(const Definition& definition) {
  if (definition.steps.empty()) {
    const std::string problem = OrdersProblem(definition);
    if (!problem.empty()) throw BadInput(problem);
  }
  if (definition.type != TransType::kMsg) return;
  for (const Step& step : definition.steps) {
    if (!IsTopic(step.action)) continue;
    throw RejectedError("gid '" + definition.gid + "': topic not found: " +
                        step.action.substr(kTopicPrefixSize) + "; subscribe somebody to it first");
  }
}

}  // namespace topics
}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/loop/collect_stage.hpp ----------------------------------------------------

/// The first two stages of a turn: take what arrived, and advance the transactions it concerns.
/// Needs: std, engine, store. Threads: the thread that drives the loop.
/// Protocol: §2.3 (what a repeat means), with the differences of docs/differences.md.

namespace dtm {
inline namespace v1 {

class CollectStage {
 public:
  CollectStage(TurnState& state, Inbox& inbox) : state_(state), inbox_(inbox), commands_(state) {}

  /// Returns whether anything had arrived or was due.
  bool Run() {
    mail_.ended.swap(state_.to_collect.ended);
    inbox_.Take(mail_);
    bool something = !mail_.Empty() || state_.SomethingLeftOver();
    std::vector<std::pair<std::string, engine::EventKind>> again;
    again.swap(state_.to_collect.readvance);
    for (const auto& entry : again) {
      if (ActiveTransaction* active = state_.table.Find(entry.first))
        AdvanceAgain(*active, entry.second);
    }
    TakeResults();
    obeyed_ = 0;
    if (!state_.to_collect.resubmit.empty() || !state_.to_collect.reissue.empty()) TakeAgain();
    TakeSubmissions();
    for (Command& command : mail_.commands) DoOrRefuse(command);
    for (QueuedWork& work : mail_.works) OrInDoubt([&] { OnWork(work); });
    mail_.Clear();
    while (ActiveTransaction* active = state_.timers.TakeDue(state_.context.now)) {
      active->armed = kNever;
      ForSure([&] { OnTimer(*active); });
      something = true;
    }
    return something;
  }

  /// True if something could not be done for lack of memory; asking resets it.
  bool Incomplete() { return std::exchange(incomplete_, false); }

 private:
  void TakeResults() {
    using Arrived = const ArrivedResult&;
    VisitAhead(
        mail_.results,
        [this](Arrived arrived) { state_.table.PrefetchAt(arrived.call.slot, PrefetchActive); },
        [this](Arrived arrived) { state_.table.PrefetchAt(arrived.call.slot, PrefetchParts); },
        [this](ArrivedResult& arrived) { OnResult(arrived); });
  }

  void TakeAgain() {
    for (Submission& submission : std::exchange(state_.to_collect.resubmit, {}))
      DoOrRefuse(submission);
    for (Command& command : std::exchange(state_.to_collect.reissue, {})) DoOrRefuse(command);
  }

  void TakeSubmissions() {
    VisitAhead(
        mail_.submissions,
        [](const Submission& soon) {
          Prefetch<LinesOf(sizeof(Definition))>(soon.definition.get());
        },
        [](const Submission& soon) {
          Prefetch<1>(soon.definition->gid.data());
          Prefetch<LinesOf(2 * sizeof(Step))>(soon.definition->steps.data());
        },
        [this](Submission& submission) { DoOrRefuse(submission); });
  }

  void DoOrRefuse(Submission& submission) {
    OrInDoubt([&] { OnSubmission(submission); });
    ActiveTransaction* active =
        incomplete_ ? state_.table.Find(submission.definition->gid) : nullptr;
    if (active != nullptr && active->Fresh() && !active->dirty) state_.RemoveFresh(*active);
  }
  /// A command may have to load its transaction: without room one command is obeyed in a turn, the others in later ones.
  void DoOrRefuse(Command& command) {
    OrInDoubt([&] {
      const bool full = state_.room.Overfull() && state_.health.MayTry(state_.context.now);
      const bool loads = command.waiter.promise.Open() && !command.explained && !command.listed;
      const bool next_turn = full && obeyed_++ > 0 && loads;
      next_turn ? state_.to_collect.reissue.push_back(std::move(command)) : commands_.Do(command);
    });
  }

  /// Without memory the item is dropped, which answers it (in doubt), and the turn goes on with the others.
  template <typename Function>
  void OrInDoubt(const Function& function) {
    try {
      function();
    } catch (const std::bad_alloc&) {
      incomplete_ = true;
    }
  }

  /// For what must not be lost, see Inbox::Done: without memory it changes nothing, and is tried again.
  template <typename Function>
  void ForSure(const Function& function) {
    for (;;) {
      try {
        return function();
      } catch (const std::bad_alloc&) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    }
  }

  void OnResult(ArrivedResult& arrived) {
    state_.reports.spans.End(arrived.call, arrived.result, state_.context.now);
    ActiveTransaction* active = state_.table.At(arrived.call.slot, arrived.call.generation);
    if (active == nullptr) return;  // it has ended meanwhile, and its gid may have been given again
    if (MayWaitForLease(*active, arrived)) {
      return ForSure([&] { WaitForLease(*active, arrived.call.row); });
    }
    engine::Event event{engine::EventKind::kResult, arrived.call.row, std::move(arrived.result)};
    try {
      state_.Advance(*active, std::move(event));
    } catch (const std::bad_alloc&) {  // it will come again
      inbox_.Done(std::move(arrived.call), std::move(event.result));
    }
  }

  /// It did not begin, is still wanted, and at least half of the time that was stored for it is left.
  bool MayWaitForLease(const ActiveTransaction& active, const ArrivedResult& arrived) const {
    const Transaction& transaction = active.transaction;
    const std::size_t row = arrived.call.row;
    if (!arrived.result.at_once || row >= transaction.branches.size()) return false;
    const Branch& branch = transaction.branches[row];
    if (!branch.in_flight || !HasItsTurn(transaction, row)) return false;
    if (branch.deadline == Time{}) return true;  // a function ends with its process
    const TransOptions& options = transaction.definition->options;
    const Duration half = IsLocal(arrived.call.Url())
                              ? state_.context.function_limit / 2
                              : engine::RequestTimeout(options, state_.context);
    return branch.deadline - state_.context.now > half;
  }

  /// Without a commit: a lease runs out when the store is slow, and a commit for each call would make it slower.
  void WaitForLease(ActiveTransaction& active, std::size_t row) {
    state_.Touch(active);
    const auto told =
        active.held_calls.begin() + static_cast<std::ptrdiff_t>(active.journaled_calls);
    active.held_calls.insert(told, row);
    ++active.journaled_calls;  // that it began was told with its commit
  }

  void OnTimer(ActiveTransaction& active) {
    if (active.timer <= state_.context.now)
      state_.Advance(active, {engine::EventKind::kTimer, 0, {}});
    state_.Touch(active);  // the time of a waiter may be over
    if (!state_.health.Good() || state_.health.WaitsForLock()) {
      AnswerExpired(active);
      state_.ArmWaiters(active);
    }
  }

  /// Its record may have been replaced by the stored one: then its events are applied again. They come first, since time has
  /// passed: what was decided before a deadline is not undone by it.
  void AdvanceAgain(ActiveTransaction& active, engine::EventKind kind) {
    for (AppliedEvent& event : std::exchange(active.events, {})) ApplyAgain(active, event);
    ForSure([&] {
      state_.AdvanceIfRoom(active, kind,
                           kind != engine::EventKind::kLoaded || !state_.room.Overfull());
    });
  }

  void ApplyAgain(ActiveTransaction& active, AppliedEvent& event) {
    const std::uint64_t ask = event.ask;
    const engine::EventKind kind = event.kind;
    std::string refused;
    ForSure([&] { refused = state_.Advance(active, std::move(event)); });
    if (ask == 0) return;
    if (refused.empty()) {
      active.events.back().ask = ask;  // it may have to be applied once more
      return;
    }
    const auto asked = std::stable_partition(active.waiters.begin(), active.waiters.end(),
                                             [&](const Waiter& each) { return each.ask != ask; });
    for (auto waiter = asked; waiter != active.waiters.end(); ++waiter) {
      waiter->Refuse(refusals::OfEvent(kind, active.transaction, refused));
    }
    active.waiters.erase(asked, active.waiters.end());
  }

  /// While nothing can be released, nobody waits longer than asked: the answer is the stored status, or an error for
  /// those who wait for a change.
  void AnswerExpired(ActiveTransaction& active) {
    const std::string& gid = active.transaction.definition->gid;
    const auto expired = std::stable_partition(
        active.waiters.begin(), active.waiters.end(),
        [this](const Waiter& waiter) { return waiter.deadline > state_.context.now; });
    for (auto waiter = expired; waiter != active.waiters.end(); ++waiter) {
      AnswerAsStored(state_, *waiter, gid,
                     "the store cannot be written: " + state_.health.Problem());
    }
    active.waiters.erase(expired, active.waiters.end());
  }

  void OnSubmission(Submission& submission) {
    const std::string& gid = submission.definition->gid;
    submission.waiter.submits = !submission.prepare;
    if (!state_.MayUseStore())
      return NotTaken(submission, "the store is failing: " + state_.health.Problem());
    if (ActiveTransaction* active = state_.table.Find(gid))
      return OnResubmitted(*active, submission);
    std::exception_ptr refused;
    try {
      refused = ProblemOfNew(*submission.definition);
    } catch (const StoreError& error) {  // it cannot be read now; what came with it goes on
      return NotTaken(submission, error.what());
    }
    if (refused) return submission.waiter.Refuse(refused);
    const bool full = state_.room.Full();
    Transaction transaction;
    transaction.definition = submission.definition;
    ActiveTransaction& active = state_.table.Add(std::move(transaction), submission.bytes);
    state_.AddWaiter(active, std::move(submission.waiter));
    state_.AdvanceIfRoom(
        active, submission.prepare ? engine::EventKind::kPrepared : engine::EventKind::kSubmitted,
        !full);
  }

  void NotTaken(Submission& submission, const std::string& why) {
    submission.waiter.Refuse(dtm::NotTaken(state_, submission.definition->gid, why));
  }

  /// @throws StoreError
  std::exception_ptr ProblemOfNew(const Definition& definition) const {
    try {
      topics::CheckNew(definition);
      return nullptr;
    } catch (const RejectedError&) {
      return state_.store.Load(definition.gid) ? nullptr : std::current_exception();
    }
  }

  void OnResubmitted(ActiveTransaction& active, Submission& submission) {
    if (active.Fresh()) return OnSubmittedTwiceInATurn(active, submission);
    const engine::Resubmission resubmission =
        engine::OnResubmission(active.transaction, *submission.definition, submission.prepare);
    std::string refused = resubmission.refused;
    if (resubmission.kind == engine::Resubmission::Kind::kPromote) {
      Definition merged = engine::Promoted(*active.transaction.definition, *submission.definition);
      refused = Problem(merged);
      if (refused.empty()) refused = OrdersProblem(merged);
      if (refused.empty()) {
        state_.MakeReady(active);
        state_.table.Redefine(active, std::move(merged));
        state_.AdvanceIfRoom(active, engine::EventKind::kSubmitted, !state_.room.Overfull());
      }
    }
    if (!refused.empty()) return submission.waiter.Refuse(TurnState::Rejected(refused));
    if (state_.IsShared()) {
      const auto again = [this, definition = submission.definition,
                          prepare = submission.prepare](Waiter&& waiter) {
        state_.to_collect.resubmit.push_back({definition, std::move(waiter), prepare});
      };
      submission.waiter.again = again;
    }
    state_.AddWaiter(active, std::move(submission.waiter));
  }

  /// A transaction that is not committed yet decides nothing: its gid may turn out to be stored, or it may not
  /// become durable.
  void OnSubmittedTwiceInATurn(ActiveTransaction& active, Submission& submission) {
    const Definition& first = *active.transaction.definition;
    const bool same =
        first.prepared_first == submission.prepare && SameContent(first, *submission.definition);
    if (same) return state_.AddWaiter(active, std::move(submission.waiter));
    state_.to_collect.resubmit.push_back(std::move(submission));
  }

  void OnWork(QueuedWork& work) {
    if (!state_.MayUseStore()) {
      return work.promise.Keep({{}, StoreFailing(state_, "the work was not run")});
    }
    state_.to_commit.works.push_back(std::move(work));
  }

  TurnState& state_;
  Inbox& inbox_;
  Commands commands_;
  Mail mail_;
  bool incomplete_ = false;
  std::size_t obeyed_ = 0;  // commands, in this turn
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/hooks/event_feed.hpp ------------------------------------------------------

/// Which events are durable: those of a batch are told once its commit is known to be stored.
/// Needs: std. Threads: the thread that drives the loop.
///
/// An event is told once, whatever becomes of its commit: those of a batch that was rolled back come again with the next
/// one, and those of a commit in doubt wait in Doubts. If another coordinator has gone on with the transaction by then, the
/// events of that commit are not told, since it cannot be known any more whether it was stored.

namespace dtm {
inline namespace v1 {

class EventFeed {
 public:
  using Events = std::vector<std::shared_ptr<const Event>>;

  /// `durable`: gets the events of what is stored, and outlives it. `spans`: see TraceIdOf.
  EventFeed(Events& durable, bool spans) : durable_(durable), spans_(spans) {}

  /// A batch begins; what the one before has not stored is forgotten.
  void Begin() {
    ends_.clear();
    events_.clear();
  }

  /// The next change of the batch, as it will be stored.
  void Add(const Transaction& transaction, const std::vector<JournalEntry>& entries) {
    for (const JournalEntry& entry : entries) {
      events_.push_back(std::make_shared<const Event>(EventOf(transaction, entry, spans_)));
    }
    ends_.push_back(events_.size());
    durable_.reserve(durable_.size() + events_.size());
  }

  /// The commit took the n-th change of the batch. Throws nothing.
  void Stored(std::size_t n) noexcept { Take(n, durable_); }

  /// Of the n-th change of a batch whose commit is in doubt.
  Events OfDoubt(std::size_t n) {
    Events events;
    Take(n, events);
    return events;
  }

 private:
  void Take(std::size_t n, Events& to) {
    if (n >= ends_.size()) return;
    for (std::size_t i = n == 0 ? 0 : ends_[n - 1]; i < ends_[n]; ++i) {
      to.push_back(std::move(events_[i]));
    }
  }

  std::vector<std::size_t> ends_;  // of the events of each change
  Events events_;                  // of all of them
  Events& durable_;
  const bool spans_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/loop/conflicts.hpp --------------------------------------------------------

/// What a commit left out, since the store holds another version: the stored record wins.
/// Needs: std, engine, store. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

class Conflicts {
 public:
  explicit Conflicts(TurnState& state) : state_(state) {}

  /// A new transaction whose gid is stored already: the same submission again, or other content.
  void OnGidExists(ActiveTransaction& active) {
    std::optional<Transaction> stored;
    try {
      stored = state_.store.Load(active.transaction.definition->gid);
      if (!stored) return RefuseFresh(state_, active, "it was removed at this moment");
    } catch (...) {
      return RefuseFresh(state_, active, WhatWasThrown());
    }
    const std::shared_ptr<const Definition> definition = active.transaction.definition;
    const bool prepare = active.transaction.status == Status::kPrepared;
    std::vector<Waiter> waiters = std::move(active.waiters);
    std::vector<Command> commands = std::move(active.commands);
    try {
      std::move(commands.begin(), commands.end(), std::back_inserter(state_.to_collect.reissue));
      const bool goes_on = !IsFinal(stored->status) && state_.MayDrive(*stored);
      state_.Replace(active, std::move(*stored));
      if (goes_on) return Return(definition, waiters, prepare);
      const engine::Resubmission resubmission =
          engine::OnResubmission(*stored, *definition, prepare);
      if (resubmission.kind != engine::Resubmission::Kind::kRefuse) {
        for (Waiter& waiter : waiters) AnswerOrWatch(*stored, waiter);
        return;
      }
      for (Waiter& waiter : waiters) waiter.Refuse(TurnState::Rejected(resubmission.refused));
    } catch (const std::bad_alloc&) {  // those without an answer are told that it is in doubt
      const ActiveTransaction* still = state_.table.Find(definition->gid);
      if (still == &active && active.Fresh()) state_.RemoveFresh(active);
    }
  }

  /// If it cannot be read now, the same conflict comes back with the next commit. Returns why, or nothing.
  std::string OnConflictOrLater(ActiveTransaction& active) {
    try {
      OnConflict(active);
      return {};
    } catch (...) {
      active.dirty = true;
      state_.to_commit.dirty.push_back(&active);
      return WhatWasThrown();
    }
  }

 private:
  /// Of one that is not driven here.
  void AnswerOrWatch(const Transaction& stored, Waiter& waiter) {
    if (waiter.when == AnswerWhen::kStored || IsFinal(stored.status)) {
      return waiter.Give(ResultOf(stored));
    }
    state_.elsewhere.Watch(stored.definition->gid, std::move(waiter), state_.context.now);
  }

  /// For the next turn, before those that came later.
  void Return(const std::shared_ptr<const Definition>& definition, std::vector<Waiter>& waiters,
              bool prepare) {
    if (waiters.empty()) waiters.emplace_back();  // nobody wants the answer
    std::vector<Submission> returned;
    returned.reserve(waiters.size() + state_.to_collect.resubmit.size());
    for (Waiter& waiter : waiters) returned.push_back({definition, std::move(waiter), prepare});
    std::move(state_.to_collect.resubmit.begin(), state_.to_collect.resubmit.end(),
              std::back_inserter(returned));
    state_.to_collect.resubmit.swap(returned);
  }

  /// The stored record is not the one that this change was made from, so it takes the place of ours. Calls that were held
  /// back are dropped; calls that have left stay in flight.
  void OnConflict(ActiveTransaction& active) {
    for (const std::size_t call : active.held_calls)
      active.transaction.branches[call].in_flight = false;
    active.held_calls.clear();
    active.journaled_events = active.journaled_calls = 0;
    std::optional<Transaction> stored = state_.store.Load(active.transaction.definition->gid);
    if (!stored) {
      state_.reports.news.Vanished(active.transaction, state_.context.now);
      const auto gone = Made<StoreError>([&] {
        return "gid '" + active.transaction.definition->gid + "' has vanished from the store";
      });
      for (Waiter& waiter : active.waiters) waiter.Refuse(gone);
      return state_.RemoveFresh(active);
    }
    if (stored->owner != state_.store.Owner() || !IsOurs(active, *stored)) {
      return Leave(active, *stored);
    }
    state_.to_collect.readvance.emplace_back(active.transaction.definition->gid,
                                             engine::EventKind::kTimer);
    // Rows that were registered since are added; rows that are lost are not, and it gets stuck.
    const bool whole = stored->branches.size() == RowCount(*stored->definition);
    stored->definition = active.transaction.definition;
    active.redefined = active.redefined || active.new_steps > 0;  // some of them may be stored
    if (whole) AddMissingRows(*stored);
    for (std::size_t i = 0; i < stored->branches.size(); ++i) {
      if (i >= active.transaction.branches.size()) continue;
      const Branch& known = active.transaction.branches[i];
      stored->branches[i].previous_deadline =
          known.previous_deadline;  // which the store cannot tell
      // What runs inside a commit is never out: it is called again if it is still wanted.
      stored->branches[i].in_flight =
          known.in_flight && !RunsInTransaction(UrlOf(*stored->definition, i));
    }
    KeepEvents(active, *stored);
    active.rolled_back = false;
    active.transaction = std::move(*stored);
    active.stored_due = active.transaction.due;
    state_.Untouch(active);  // nothing of it is released before it was advanced again
  }

  /// Nobody else has written it since. What another one has written cannot be joined with our definition, and may be
  /// here again: its author died.
  bool IsOurs(const ActiveTransaction& active, const Transaction& stored) const {
    if (state_.store.Owner() == 0) return true;
    return stored.version == Known(active) || IsOfCommitInDoubt(active, stored);
  }

  static std::uint64_t Known(const ActiveTransaction& active) {
    return active.transaction.version & ~kNoVersion;
  }

  /// The commit in doubt, with the first of our events, did become durable. Of a record that another coordinator owned before,
  /// the next version may be that of our takeover just as well.
  bool IsOfCommitInDoubt(const ActiveTransaction& active, const Transaction& stored) const {
    return active.doubtful_events > 0 && stored.version == Known(active) + 1 &&
           active.transaction.owner == state_.store.Owner();
  }

  /// Several commits may have been in doubt, one after the other, each with more events; at most one of them was stored. Which
  /// one, the time of the record says, since each was made at a later time.
  std::size_t StoredEvents(const ActiveTransaction& active, const Transaction& stored) const {
    if (!IsOfCommitInDoubt(active, stored)) return 0;
    const auto later = [&stored](const AppliedEvent& event) { return event.at > stored.updated; };
    const auto end = active.events.begin() + static_cast<std::ptrdiff_t>(active.doubtful_events);
    return static_cast<std::size_t>(std::find_if(active.events.begin(), end, later) -
                                    active.events.begin());
  }

  /// Another coordinator has taken it over. Its change may have been made before that, in a commit that was in doubt.
  void Leave(ActiveTransaction& active, const Transaction& stored) {
    const std::string gid = active.transaction.definition->gid;
    std::vector<Waiter> waiters = std::move(active.waiters);
    state_.RemoveFresh(active);
    if (stored.owner == state_.store.Owner()) state_.loader.LeaveBehind(state_.context.now);
    for (Waiter& waiter : waiters) {
      if (waiter.again) {
        std::exchange(waiter.again, nullptr)(std::move(waiter));
        continue;
      }
      if (waiter.when != AnswerWhen::kStored) {
        AnswerOrWatch(stored, waiter);
        continue;
      }
      AnswerAsStored(state_, waiter, gid, "another coordinator has changed it");
    }
  }

  /// The events since the stored record are applied again, on top of it: results (their calls count as in flight until
  /// then) and commands. If a commit in doubt did become durable, the record has the first of them already.
  void KeepEvents(ActiveTransaction& active, Transaction& stored) {
    const std::size_t stored_events = StoredEvents(active, stored);
    const auto first = active.events.begin();
    const auto end = first + static_cast<std::ptrdiff_t>(stored_events);
    for (auto event = first; event != end; ++event) {
      state_.reports.Report(active.transaction, *event);
    }
    active.events.erase(first, end);
    active.doubtful_events = 0;
    using engine::EventKind;
    const auto over = [](const AppliedEvent& event) {  // the time is looked at in any case
      return event.kind == EventKind::kLoaded || event.kind == EventKind::kTimer || event.refused;
    };
    active.events.erase(std::remove_if(active.events.begin(), active.events.end(), over),
                        active.events.end());
    for (const engine::Event& event : active.events) {
      const bool has_result =
          event.kind == EventKind::kResult && event.row < stored.branches.size();
      if (has_result) stored.branches[event.row].in_flight = true;
    }
  }

  TurnState& state_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/loop/in_commit_work.hpp ---------------------------------------------------

/// User code that runs inside a commit: Transact, and branches registered with RegisterInTransaction. Its writes, the
/// effects of its result and everything else in the turn become durable together.
/// Needs: std, engine, store. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

class InCommitWork {
 public:
  static constexpr std::size_t kPerTurn = 256;

  /// A call that is a span: to be told once it is durable.
  struct EndedCall {
    BranchCall call;
    Result result;
    Time at{};
  };

  InCommitWork(TurnState& state, TransactionFunctions& functions, Clock& clock)
      : state_(state), functions_(functions), clock_(clock) {}

  bool Pending() const { return TransactsLeft() || BranchesLeft(); }
  /// How many ran in the open batch.
  std::size_t Ran() const { return transacts_ + branches_.size(); }

  /// Takes the branches that run inside a commit out of the calls that were to start after it.
  void TakeCalls() {
    ForEachActive(state_.to_release.touched,
                  [this](ActiveTransaction& active) { TakeCallsOf(active); });
  }

  /// Runs at most `limit` of them inside the open batch, and no more once it takes long.
  /// @throws BatchLost, StoreError  then Undo.
  void Run(std::size_t limit) {
    const Time end = clock_.Now() + kTimePerTurn;
    branch_was_next_ = branch_next_;
    added_bytes_ = 0;
    for (std::size_t n = 0; n < limit && Pending(); ++n) {
      if (n > 0 && (clock_.Now() >= end || added_bytes_ > InboxBytes(state_.options))) return;
      const bool branch = BranchIsNext();
      branch_next_ = !branch;
      branch ? RunBranch() : RunTransact();
    }
  }

  /// The calls of `active` that ran in the open batch and are spans.
  std::vector<EndedCall> EndedCallsOf(const ActiveTransaction& active) const {
    std::vector<EndedCall> calls;
    for (const Branch& ran : branches_) {
      if (IsOf(ran.work, active) && ran.ended.call.span) calls.push_back(ran.ended);
    }
    return calls;
  }
  /// How many events `active` had before something of it ran in the open batch.
  std::size_t EventsBefore(const ActiveTransaction& active) const {
    const auto first = std::find_if(branches_.begin(), branches_.end(),
                                    [&](const Branch& ran) { return IsOf(ran.work, active); });
    return first == branches_.end() ? active.events.size() : first->events;
  }

  /// The batch is lost: memory returns to its earlier state, and all works in it have to run again.
  void Undo() {
    branch_next_ = branch_was_next_;
    for (auto ran = branches_.rbegin(); ran != branches_.rend(); ++ran) {
      ActiveTransaction* active = Alive(ran->work);
      if (active != nullptr) {
        active->transaction = std::move(ran->before);
        active->rolled_back = active->rolled_back && ran->rolled_back;
        active->events.resize((std::min)(active->events.size(), ran->events));
        active->doubtful_events = (std::min)(active->doubtful_events, active->events.size());
        active->timer = ran->timer;
        active->held_calls = std::move(ran->held_calls);
      }
    }
    branches_.clear();
    transacts_ = 0;
    // Calls that followed from what is undone.
    auto& works = state_.to_commit.branch_works;
    const auto unwanted = [this](const BranchWork& work) { return !Wanted(work); };
    works.erase(std::remove_if(works.begin(), works.end(), unwanted), works.end());
    for (ActiveTransaction* active : added_) state_.RemoveFresh(*active);
    added_.clear();
  }

  /// Refuses the first one.
  void GiveUpFirst(const std::exception_ptr& error, const std::string& problem) {
    if (Pending() && !BranchIsNext()) {
      AnswerWork({{}, error});
    } else if (!state_.to_commit.branch_works.empty()) {
      AdvanceBranch(state_.to_commit.branch_works.front(), Result::Error(problem));
      state_.to_commit.branch_works.pop_front();
    }
  }

  /// The batch is not stored. All who wait for a work are told, whether it ran in this batch or not: as with
  /// submissions, nobody waits until the store works again.
  void Failed(const std::string& problem, bool in_doubt) {
    const std::size_t ran = transacts_;
    Undo();
    const auto sentence = [&](const char* what, const char* then) {
      return std::string("the work ") + what + problem + then;
    };
    for (std::size_t n = 0; !state_.to_commit.works.empty(); ++n) {
      AnswerWork({{},
                  n >= ran   ? Made<StoreError>([&] {
                    return sentence("was not run, the store is failing: ", "; try again later");
                  })
                  : in_doubt ? Made<InDoubtError>([&] {
                      return sentence("may or may not be stored: ", "; submit it again");
                    })
                             : Made<StoreError>([&] {
                                 return sentence("was not stored: ", "; submit it again later");
                               })});
    }
  }

  /// All of it is durable.
  void Committed() {
    if (Ran() == 0) return;
    state_.to_commit.branch_works.erase(state_.to_commit.branch_works.begin(), FirstLeft());
    for (const Branch& ran : branches_) {
      state_.reports.spans.End(ran.ended.call, ran.ended.result, ran.ended.at);
    }
    branches_.clear();
    added_.clear();
    for (; transacts_ > 0; --transacts_) AnswerWork({});
  }

 private:
  static constexpr Duration kTimePerTurn = std::chrono::milliseconds(5);
  static constexpr Duration kSlow = std::chrono::milliseconds(50);

  struct Branch {
    BranchWork work;
    Transaction before;
    std::vector<std::size_t> held_calls;
    std::size_t events = 0;
    Time timer = kNever;
    bool rolled_back = false;
    EndedCall ended{};
  };

  void TakeCallsOf(ActiveTransaction& active) {
    const Definition& definition = *active.transaction.definition;
    const auto others = std::stable_partition(
        active.held_calls.begin(), active.held_calls.end(),
        [&](std::size_t row) { return !RunsInTransaction(UrlOf(definition, row)); });
    for (auto row = others; row != active.held_calls.end();) {
      state_.to_commit.branch_works.push_back({active.slot, active.generation, *row});
      row = active.held_calls.erase(row);
    }
  }

  static bool IsOf(const BranchWork& work, const ActiveTransaction& active) {
    return work.slot == active.slot && work.generation == active.generation;
  }

  /// The two kinds take turns, so that a steady flow of one does not starve the other.
  bool BranchIsNext() const { return !TransactsLeft() || (branch_next_ && BranchesLeft()); }
  bool TransactsLeft() const { return state_.to_commit.works.size() > transacts_; }
  bool BranchesLeft() const { return state_.to_commit.branch_works.size() > branches_.size(); }

  /// The first one of the queue.
  void AnswerWork(const Answer& reply) {
    QueuedWork work = std::move(state_.to_commit.works.front());
    state_.to_commit.works.pop_front();
    work.promise.Keep(reply);
  }

  ActiveTransaction* Alive(const BranchWork& work) {
    return state_.table.At(work.slot, work.generation);
  }

  std::deque<BranchWork>::iterator FirstLeft() {
    return state_.to_commit.branch_works.begin() + static_cast<std::ptrdiff_t>(branches_.size());
  }

  /// It is still wanted: it was not stopped, and has no result from a commit that had been in doubt.
  bool Wanted(const BranchWork& work) {
    const ActiveTransaction* active = Alive(work);
    return active != nullptr && work.row < active->transaction.branches.size() &&
           active->transaction.branches[work.row].in_flight;
  }

  void RunBranch() {
    const BranchWork work = *FirstLeft();
    ActiveTransaction* active = Alive(work);
    // A new one may turn out to exist; then the stored one counts, and nothing of this may run.
    if (!Wanted(work) || (active->Fresh() && !active->surely_new &&
                          state_.store.Has(active->transaction.definition->gid))) {
      state_.to_commit.branch_works.erase(FirstLeft());
      return;
    }
    if (!state_.context.may_call) {
      AdvanceBranch(work, Result::NotSent("the coordinator was stopping"));
      state_.to_commit.branch_works.erase(FirstLeft());
      return;
    }
    active->surely_new = true;
    branches_.push_back({work, active->transaction, active->held_calls, active->events.size(),
                         active->timer, active->rolled_back});
    BranchCall call;
    call.definition = active->transaction.definition;
    call.row = work.row;
    const Time begin = clock_.Now();
    call.span = state_.reports.spans.Begin(active->transaction, work.row, begin);
    Result result = state_.store.Run(
        [&](const WorkContext& connection) { return functions_.Run(call, connection); });
    WarnIfSlow(begin, call.Url());
    if (call.span != nullptr) branches_.back().ended = {call, result, clock_.Now()};
    AdvanceBranch(work, std::move(result));
  }

  void AdvanceBranch(const BranchWork& work, Result result) {
    ActiveTransaction* active = Alive(work);
    if (active == nullptr) return;
    state_.Advance(*active, {engine::EventKind::kResult, work.row, std::move(result)});
    TakeCallsOf(*active);
  }

  void RunTransact() {
    QueuedWork& work = state_.to_commit.works[transacts_++];
    TransactContext context;
    context.exists = [this](const std::string& gid) {
      return state_.table.Find(gid) != nullptr || state_.store.Has(gid);
    };
    const Time begin = clock_.Now();
    *work.result = state_.store.Run([&](const WorkContext& connection) {
      context.connection = connection;
      context.submitted.clear();
      return work.work(context);
    });
    WarnIfSlow(begin, "Transact");
    if (work.result->kind != Result::Kind::kSuccess) return;
    for (const auto& definition : context.submitted) {
      Transaction transaction;
      transaction.definition = definition;
      const bool room = !state_.room.Full();
      ActiveTransaction& active = state_.table.Add(std::move(transaction));
      active.surely_new = true;
      added_.push_back(&active);
      added_bytes_ += active.bytes;
      state_.AdvanceIfRoom(active, engine::EventKind::kSubmitted, room);
      TakeCallsOf(active);
    }
  }

  void WarnIfSlow(Time begin, const std::string& what) const {
    const Duration took = clock_.Now() - begin;
    if (took <= kSlow) return;
    state_.Log(LogLevel::kWarning,
               what + " took " + std::to_string(took.count() / 1000) +
                   " ms inside a commit, and everything else waited; do less in there");
  }

  TurnState& state_;
  TransactionFunctions& functions_;
  Clock& clock_;
  // What ran in the open batch stays at the front of its queue until that is durable.
  std::size_t transacts_ = 0;
  std::vector<Branch> branches_;
  std::vector<ActiveTransaction*> added_;  // submitted by them
  std::size_t added_bytes_ = 0;
  bool branch_next_ = false;      // if both kinds wait
  bool branch_was_next_ = false;  // before what ran in the open batch
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/store/codec_bytes.hpp -----------------------------------------------------------------

/// Numbers and texts as bytes, of which the stored form of a record consists.
/// Needs: std. Threads: values only. Document: docs/store_format.md.

namespace dtm {
inline namespace v1 {
namespace codec {

inline constexpr std::size_t kMostNumberBytes = 10;

/// Puts a number there as LEB128 (7 bits a byte, low bits first). Returns its end.
inline char* PutNumber(char* at, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) *at++ = static_cast<char>(value | 0x80);
  *at++ = static_cast<char>(value);
  return at;
}

/// Appends numbers as LEB128 and texts as length and bytes.
class Writer {
 public:
  explicit Writer(std::string& out) : out_(out) {}
  void Byte(std::uint8_t value) { out_.push_back(static_cast<char>(value)); }
  void Number(std::uint64_t value) {
    if (value < 0x80) return Byte(static_cast<std::uint8_t>(value));
    char bytes[kMostNumberBytes];
    out_.append(bytes, static_cast<std::size_t>(PutNumber(bytes, value) - bytes));
  }
  void Text(std::string_view text) {
    Number(text.size());
    out_.append(text);
  }

 private:
  std::string& out_;
};

/// Reads the same, and never beyond the end.
/// @throws StoreError  the bytes are not of this format.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  std::uint8_t Byte() {
    if (rest_.empty()) Fail();
    const auto value = static_cast<std::uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    return value;
  }
  std::uint64_t Number() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const std::uint8_t byte = Byte();
      value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    Fail();
  }
  std::string Text() {
    const std::uint64_t size = Number();
    if (size > rest_.size()) Fail();
    std::string text(rest_.substr(0, static_cast<std::size_t>(size)));
    rest_.remove_prefix(static_cast<std::size_t>(size));
    return text;
  }
  /// A count of things that take at least one byte each, so a damaged count cannot request much
  /// memory.
  std::size_t Count() {
    const std::uint64_t count = Number();
    if (count > rest_.size()) Fail();
    return static_cast<std::size_t>(count);
  }
  bool AtEnd() const { return rest_.empty(); }
  void ExpectEnd() const {
    if (!AtEnd()) Fail();
  }
  [[noreturn]] static void Fail() {
    throw StoreError("a stored record is damaged or was written by a newer version");
  }

 private:
  std::string_view rest_;
};

}  // namespace codec
}  // namespace v1
}  // namespace dtm

// ---- dtm/store/codec.hpp -----------------------------------------------------------------------

/// The stored form of a definition and of a state. No other file knows it.
/// Needs: std. Threads: pure functions. Document: docs/store_format.md; change both together, and
/// only with a new format number.
///
/// It has its own format because a record is written three times per saga, on the thread that bounds the
/// throughput: a JSON or MessagePack document of the same content costs more than the database
/// does.

namespace dtm {
inline namespace v1 {
namespace codec {

inline constexpr std::uint8_t kFormat = 2;
/// Flags of a definition: fields follow that a plain saga does not have; the custom_data of a client follows.
inline constexpr std::uint8_t kMore = 8;
inline constexpr std::uint8_t kCustomData = 32;
/// Flags of a state.
inline constexpr std::uint8_t kStuck = 1;
inline constexpr std::uint8_t kResult = 2;
inline constexpr std::uint8_t kUpdated = 4;
inline constexpr std::uint8_t kReasonFrom = 8;
inline constexpr std::uint8_t kDriver = 16;  // in shared stores only

inline std::uint64_t Micros(Time time) {
  const auto count = time.time_since_epoch().count();
  return count < 0 ? 0 : static_cast<std::uint64_t>(count);
}
inline Time FromMicros(std::uint64_t micros) {
  return Time(Duration(static_cast<Duration::rep>(micros)));
}

/// Times are stored relative to the creation, which takes a few bytes.
inline std::uint64_t MicrosAfter(Time created, Time time) {
  return time <= created ? 0 : static_cast<std::uint64_t>((time - created).count());
}
inline Time FromMicrosAfter(Time created, std::uint64_t micros) {
  const auto since = static_cast<std::uint64_t>(created.time_since_epoch().count());
  return Time(Duration(static_cast<Duration::rep>(since + micros)));  // damaged ones overflow
}

/// @throws StoreError  no version has written this format.
inline std::uint8_t ReadFormat(Reader& reader) {
  const std::uint8_t format = reader.Byte();
  if (format == 0 || format > kFormat) Reader::Fail();
  return format;
}

/// `more`: as of all but plain sagas.
inline void WriteStep(Writer& writer, const Step& step, bool more) {
  writer.Text(step.action);
  writer.Text(step.compensate);
  writer.Text(step.payload);
  if (!more) return;
  writer.Text(step.branch_id);
  writer.Text(step.topic);
  writer.Byte(static_cast<std::uint8_t>(step.op));
  writer.Byte(step.failed ? 1 : 0);
}

inline Step ReadStep(Reader& reader, bool more) {
  Step step;
  step.action = reader.Text();
  step.compensate = reader.Text();
  step.payload = reader.Text();
  if (!more) return step;
  step.branch_id = reader.Text();
  step.topic = reader.Text();
  step.op = static_cast<Op>(reader.Byte());
  step.failed = reader.Byte() != 0;
  return step;
}

/// A step that was added to the stored definition later, in a row of its own.
inline void EncodeStep(const Step& step, std::string& out) {
  out.clear();
  Writer writer(out);
  writer.Byte(kFormat);
  WriteStep(writer, step, true);
}

/// @throws StoreError  damaged, or of a newer format.
inline Step DecodeStep(std::string_view bytes) {
  Reader reader(bytes);
  (void)ReadFormat(reader);
  Step step = ReadStep(reader, true);
  reader.ExpectEnd();
  return step;
}

/// Everything of a definition but its gid and type, which are columns.
inline std::string EncodeDefinition(const Definition& definition) {
  std::string out;
  std::size_t size = 32;
  for (const Step& step : definition.steps) {
    size += step.action.size() + step.compensate.size() + step.payload.size() + 12;
  }
  out.reserve(size);
  Writer writer(out);
  const TransOptions& options = definition.options;
  const bool more = definition.type != TransType::kSaga || !definition.query_prepared.empty();
  writer.Byte(kFormat);
  writer.Byte(static_cast<std::uint8_t>(
      (definition.concurrent ? 1 : 0) | (options.wait_result ? 2 : 0) |
      (definition.prepared_first ? 4 : 0) | (more ? kMore : 0) | (definition.json_rpc ? 16 : 0) |
      (definition.custom_data.empty() ? 0 : kCustomData)));
  writer.Number(static_cast<std::uint64_t>(options.timeout_to_fail.count()));
  writer.Number(static_cast<std::uint64_t>(options.request_timeout.count()));
  writer.Number(static_cast<std::uint64_t>(options.retry_interval.count()));
  writer.Number(static_cast<std::uint64_t>(options.retry_limit));
  writer.Number(options.branch_headers.size());
  for (const auto& header : options.branch_headers) {
    writer.Text(header.first);
    writer.Text(header.second);
  }
  writer.Number(definition.orders.size());
  for (const auto& order : definition.orders) {
    writer.Number(static_cast<std::uint64_t>(order.first));
    writer.Number(order.second.size());
    for (const int before : order.second) writer.Number(static_cast<std::uint64_t>(before));
  }
  writer.Number(definition.steps.size());
  for (const Step& step : definition.steps) WriteStep(writer, step, more);
  if (more) {
    writer.Text(definition.query_prepared);
    writer.Number(static_cast<std::uint64_t>(definition.delay.count()));
    writer.Text(definition.workflow);
    writer.Text(definition.data);
  }
  if (!definition.custom_data.empty()) writer.Text(definition.custom_data);
  return out;
}

/// @throws StoreError  damaged, or of a newer format.
inline std::shared_ptr<Definition> DecodeDefinition(std::string gid, TransType type,
                                                    std::string_view bytes) {
  auto definition = std::make_shared<Definition>();
  definition->gid = std::move(gid);
  definition->type = type;
  Reader reader(bytes);
  (void)ReadFormat(reader);
  const std::uint8_t flags = reader.Byte();
  definition->concurrent = (flags & 1) != 0;
  TransOptions& options = definition->options;
  options.wait_result = (flags & 2) != 0;
  definition->prepared_first = (flags & 4) != 0;
  const bool more = (flags & kMore) != 0;
  definition->json_rpc = (flags & 16) != 0;
  options.timeout_to_fail = std::chrono::seconds(reader.Number());
  options.request_timeout = std::chrono::seconds(reader.Number());
  options.retry_interval = std::chrono::seconds(reader.Number());
  options.retry_limit = static_cast<int>(reader.Number());
  for (std::size_t n = reader.Count(); n > 0; --n) {
    std::string name = reader.Text();
    options.branch_headers[std::move(name)] = reader.Text();
  }
  for (std::size_t n = reader.Count(); n > 0; --n) {
    std::vector<int>& before = definition->orders[static_cast<int>(reader.Number())];
    for (std::size_t m = reader.Count(); m > 0; --m) {
      before.push_back(static_cast<int>(reader.Number()));
    }
  }
  definition->steps.resize(reader.Count());
  for (Step& step : definition->steps) step = ReadStep(reader, more);
  if (more) {
    definition->query_prepared = reader.Text();
    definition->delay = std::chrono::seconds(reader.Number());
    definition->workflow = reader.Text();
    definition->data = reader.Text();
  }
  if ((flags & kCustomData) != 0) definition->custom_data = reader.Text();
  reader.ExpectEnd();
  const auto known = [&](int step) {
    return step >= 0 && static_cast<std::size_t>(step) < definition->steps.size();
  };
  for (const auto& order : definition->orders) {  // they are used as indexes
    if (!known(order.first)) Reader::Fail();
    for (const int before : order.second) {
      if (!known(before)) Reader::Fail();
    }
  }
  return definition;
}

/// How far a transaction has come: what is not in a column. `in_flight` is not stored.
inline void EncodeState(const Transaction& transaction, std::string& out) {
  out.clear();
  Writer writer(out);
  const Time created = transaction.created;
  const bool updated = transaction.updated > created && !IsFinal(transaction.status);
  writer.Byte(kFormat);
  writer.Byte(static_cast<std::uint8_t>(
      (transaction.stuck ? kStuck : 0) | (transaction.result.empty() ? 0 : kResult) |
      (updated ? kUpdated : 0) | (transaction.reason_from == 0 ? 0 : kReasonFrom) |
      (transaction.driver == 0 ? 0 : kDriver)));
  writer.Number(transaction.retry_count);
  writer.Text(transaction.reason);
  writer.Text(transaction.last_error);
  writer.Number(transaction.branches.size());
  for (const Branch& branch : transaction.branches) {
    const bool next_try = branch.next_try != Time{};
    const bool deadline = branch.deadline != Time{};
    const bool finished = branch.finished != Time{};
    writer.Byte(static_cast<std::uint8_t>(
        static_cast<unsigned>(branch.status) | (branch.tries > 0 ? 4u : 0u) |
        (branch.errors > 0 ? 8u : 0u) | (next_try ? 16u : 0u) | (deadline ? 32u : 0u) |
        (finished ? 64u : 0u) | (branch.asked_when ? 128u : 0u)));
    if (branch.tries > 0) writer.Number(branch.tries);
    if (branch.errors > 0) writer.Number(branch.errors);
    if (next_try) writer.Number(Micros(branch.next_try));
    if (deadline) writer.Number(Micros(branch.deadline));
    if (finished) writer.Number(MicrosAfter(created, branch.finished));
  }
  if (!transaction.result.empty()) writer.Text(transaction.result);
  if (updated) writer.Number(MicrosAfter(created, transaction.updated));
  if (transaction.reason_from != 0) writer.Number(transaction.reason_from);
  if (transaction.driver != 0) writer.Number(transaction.driver);
}

/// `transaction` has what is in columns already.
/// @throws StoreError  damaged, or of a newer format.
inline void DecodeState(std::string_view bytes, Transaction& transaction) {
  Reader reader(bytes);
  const bool old = ReadFormat(reader) == 1;
  const std::uint8_t flags = reader.Byte();
  if (flags >= (old ? 4 : 32)) Reader::Fail();
  const Time created = transaction.created;
  transaction.stuck = (flags & kStuck) != 0;
  transaction.retry_count = static_cast<std::uint32_t>(reader.Number());
  transaction.reason = reader.Text();
  transaction.last_error = reader.Text();
  transaction.branches.assign(reader.Count(), Branch{});
  for (Branch& branch : transaction.branches) {
    const std::uint8_t bits = reader.Byte();
    const unsigned status = bits & 3u;
    if (status == 0 || (old && bits >= 64)) Reader::Fail();
    branch.status = static_cast<BranchStatus>(status);
    if ((bits & 4u) != 0) branch.tries = static_cast<std::uint32_t>(reader.Number());
    if ((bits & 8u) != 0) branch.errors = static_cast<std::uint32_t>(reader.Number());
    if ((bits & 16u) != 0) branch.next_try = FromMicros(reader.Number());
    if ((bits & 32u) != 0) branch.deadline = FromMicros(reader.Number());
    branch.asked_when = (bits & 128u) != 0;
    if ((bits & 64u) != 0) branch.finished = FromMicrosAfter(created, reader.Number());
  }
  transaction.result = (flags & kResult) != 0 ? reader.Text() : std::string();
  transaction.updated = IsFinal(transaction.status) ? transaction.finished : created;
  if ((flags & kUpdated) != 0) transaction.updated = FromMicrosAfter(created, reader.Number());
  transaction.reason_from =
      (flags & kReasonFrom) != 0 ? static_cast<std::uint32_t>(reader.Number()) : 0;
  transaction.driver = (flags & kDriver) != 0 ? reader.Number() : 0;
  reader.ExpectEnd();
}

}  // namespace codec
}  // namespace v1
}  // namespace dtm

// ---- dtm/store/journal_codec.hpp ---------------------------------------------------------------

/// The stored form of a journal: the entries of each change one after the other, so that those of the next are
/// appended without reading the others.
/// Needs: std. Threads: pure functions. Document: docs/store_format.md; change both together, and only with a
/// new format number.

namespace dtm {
inline namespace v1 {
namespace codec {

inline constexpr std::uint8_t kJournalFormat = 2;
inline constexpr std::uint8_t kCountedJournal = 1;  // its format before entries said who
/// Flags beside the kind.
inline constexpr std::uint8_t kHasText = 32;
inline constexpr std::uint8_t kHasWho = 64;
inline constexpr std::uint8_t kHasRow = 128;
inline constexpr std::uint8_t kKindBits = 31;

/// Writes the entries of one change, one after the other, without making them first.
class JournalWriter {
 public:
  /// Appends to `out`; nothing if nothing is told.
  explicit JournalWriter(std::string& out) : begin_(out.size()), out_(out) {}

  void Tell(Time time, JournalKind kind, std::size_t row, Op op, std::string_view text,
            std::string_view who) {
    char bytes[kMostEntryBytes];
    char* at = bytes;
    if (out_.size() == begin_) {
      *at++ = static_cast<char>(kJournalFormat);
      at = PutNumber(at, Micros(time));
      before_ = (std::max)(time, Time{});
    }
    const bool has_row = row != kNoRow;
    *at++ = static_cast<char>(static_cast<unsigned>(kind) | (has_row ? kHasRow : 0u) |
                              (text.empty() ? 0u : kHasText) | (who.empty() ? 0u : kHasWho));
    at = PutNumber(at, MicrosAfter(before_, time));  // 0 if the clock was set back
    if (has_row) {
      *at++ = static_cast<char>(op);
      at = PutNumber(at, row);
    }
    out_.append(bytes, static_cast<std::size_t>(at - bytes));
    if (!text.empty()) Writer(out_).Text(text);
    if (!who.empty()) Writer(out_).Text(who);
    if (time > before_) before_ = time;
  }

  /// The number of bytes is even: what SQLite concatenates in a file of UTF-16 it takes for text, and cuts half a
  /// character off.
  void End() {
    const std::size_t size = out_.size() - begin_;
    if (size > 0) out_.append("\0", 2 - size % 2);  // at least the end
  }

 private:
  static constexpr std::size_t kMostEntryBytes = 4 + 4 * kMostNumberBytes;

  const std::size_t begin_;
  std::string& out_;
  Time before_{};
};

/// Appends the entries to `out`; nothing if there are none.
inline void EncodeJournal(const std::vector<JournalEntry>& entries, std::string& out) {
  JournalWriter writer(out);
  for (const JournalEntry& entry : entries) {
    writer.Tell(entry.time, entry.kind, entry.row, entry.op, entry.text, entry.who);
  }
  writer.End();
}

inline JournalEntry ReadCountedEntry(Reader& reader, Time before) {
  JournalEntry entry;
  entry.kind = static_cast<JournalKind>(reader.Byte());
  entry.op = static_cast<Op>(reader.Byte());
  const std::uint64_t row = reader.Number();
  entry.row = row == 0 ? kNoRow : static_cast<std::size_t>(row - 1);
  entry.time = FromMicrosAfter(before, reader.Number());
  entry.text = reader.Text();
  return entry;
}

inline JournalEntry ReadEntry(Reader& reader, std::uint8_t first, Time before) {
  JournalEntry entry;
  entry.kind = static_cast<JournalKind>(first & kKindBits);
  entry.time = FromMicrosAfter(before, reader.Number());
  if ((first & kHasRow) != 0) {
    entry.op = static_cast<Op>(reader.Byte());
    entry.row = static_cast<std::size_t>(reader.Number());
  }
  if ((first & kHasText) != 0) entry.text = reader.Text();
  if ((first & kHasWho) != 0) entry.who = reader.Text();
  return entry;
}

/// @throws StoreError  damaged, or of a newer format.
inline void ReadEntries(Reader& reader, std::vector<JournalEntry>& entries) {
  const std::uint8_t format = reader.Byte();
  if (format == 0) return;  // fills up the entries before it
  const bool counted = format == kCountedJournal;
  if (!counted && format != kJournalFormat) Reader::Fail();
  std::size_t count = counted ? reader.Count() : 0;
  Time time = FromMicros(reader.Number());
  const auto keep = [&](JournalEntry entry) {
    time = entry.time;
    entries.push_back(std::move(entry));
  };
  for (; count > 0; --count) keep(ReadCountedEntry(reader, time));
  if (counted) return;
  while (const std::uint8_t first = reader.Byte()) keep(ReadEntry(reader, first, time));
}

/// Appends what `bytes` hold to `entries`. In place of what is damaged there is a gap: a journal is for people, and
/// keeps nothing from going on.
inline void DecodeJournal(std::string_view bytes, std::vector<JournalEntry>& entries) {
  Reader reader(bytes);
  try {
    while (!reader.AtEnd()) ReadEntries(reader, entries);
  } catch (const StoreError&) {
    const Time time = entries.empty() ? Time{} : entries.back().time;
    entries.push_back({time, 0, {}, JournalKind::kGap, {}});
  }
}

}  // namespace codec
}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/loop/journal_entries.hpp --------------------------------------------------

/// What the journal is told of a change: the events that led to it, what was decided on them, and the calls that start
/// once it is durable.
/// Needs: std, engine, store. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

class JournalEntries {
 public:
  /// Appends to `out` what no commit has told of `active` yet, in the form that stores keep. `me`: the name of this process.
  static void Tell(const ActiveTransaction& active, Time now, std::string_view me,
                   std::string& out) {
    JournalEntries(active, now, me, out);
  }

 private:
  JournalEntries(const ActiveTransaction& active, Time now, std::string_view me, std::string& out)
      : transaction_(active.transaction), me_(me), writer_(out) {
    bool taken_up = false;
    for (std::size_t i = active.journaled_events; i < active.events.size(); ++i) {
      const AppliedEvent& event = active.events[i];
      if (!event.changed) continue;
      // Once a change, also if this coordinator joined again before it was stored.
      if (event.taken_up && !std::exchange(taken_up, true))
        AddDriver(event.at, JournalKind::kTakenUp);
      AddEvent(event);
    }
    if (!IsFinal(transaction_.status)) {
      for (std::size_t i = active.journaled_calls; i < active.held_calls.size(); ++i) {
        Add(now, JournalKind::kStarted, active.held_calls[i]);
      }
    }
    writer_.End();
  }

  void AddEvent(const AppliedEvent& event) {
    if (event.from_outbox) AddDriver(transaction_.created, JournalKind::kSubmitted);
    switch (event.kind) {
      case engine::EventKind::kSubmitted: AddDriver(event.at, JournalKind::kSubmitted); break;
      case engine::EventKind::kPrepared: AddDriver(event.at, JournalKind::kPrepared); break;
      case engine::EventKind::kBranchAdded: AddBranch(event); break;
      case engine::EventKind::kResult: AddResult(event); break;
      case engine::EventKind::kFinish:
        Add(event.at, JournalKind::kFinish, kNoRow, event.result.text);
        break;
      case engine::EventKind::kCancel: AddAsked(event, JournalKind::kCancel); break;
      case engine::EventKind::kForceStop: AddAsked(event, JournalKind::kForceStop); break;
      case engine::EventKind::kRetryNow: AddAsked(event, JournalKind::kRetryNow); break;
      case engine::EventKind::kRepair: AddAsked(event, JournalKind::kRepair, event.row); break;
      case engine::EventKind::kLoaded:
      case engine::EventKind::kTimer:
      case engine::EventKind::kRegistered: break;  // what follows from them is told
    }
    if (event.rolled_back) {
      const std::size_t from = transaction_.reason_from;
      Add(event.at, JournalKind::kRollback, from == 0 ? kNoRow : from - 1, transaction_.reason);
    }
    if (event.stuck) Add(event.at, JournalKind::kStuck, kNoRow, transaction_.last_error);
    if (!event.ended) return;
    const bool failed = transaction_.status == Status::kFailed;
    Add(event.at, failed ? JournalKind::kFailed : JournalKind::kSucceeded);
  }

  /// From now on this process drives it.
  void AddDriver(Time at, JournalKind kind) { writer_.Tell(at, kind, kNoRow, {}, {}, me_); }

  /// What somebody asked for.
  void AddAsked(const AppliedEvent& event, JournalKind kind, std::size_t row = kNoRow) {
    if (event.refused) return;
    Add(event.at, kind, row, event.result.text, Front(event.who, kMaxJournalWho));
  }

  void AddBranch(const AppliedEvent& event) {
    const Definition& definition = *transaction_.definition;
    const bool known = event.row < RowCount(definition);
    const bool failed = known && definition.steps[StepOf(definition.type, event.row)].failed;
    Add(event.at, JournalKind::kRegistered, event.row,
        failed ? std::string_view(PayloadOf(definition, event.row)) : std::string_view());
  }

  void AddResult(const AppliedEvent& event) {
    const Result& result = event.result;
    switch (result.kind) {
      case Result::Kind::kSuccess: return Add(event.at, JournalKind::kSuccess, event.row);
      case Result::Kind::kFailure:
        return Add(event.at, JournalKind::kFailure, event.row, result.text);
      case Result::Kind::kOngoing:
        return Add(event.at, JournalKind::kOngoing, event.row, result.text);
      case Result::Kind::kError: return Add(event.at, JournalKind::kError, event.row, result.text);
      case Result::Kind::kNotSent:
        return Add(event.at, JournalKind::kNotSent, event.row, result.text);
    }
  }

  void Add(Time at, JournalKind kind, std::size_t row = kNoRow, std::string_view text = {},
           std::string_view who = {}) {
    const Definition& definition = *transaction_.definition;
    const bool branch = row != kNoRow && row < RowCount(definition);
    writer_.Tell(at, kind, row, branch ? OpOf(definition, row) : Op{}, Front(text, kMaxJournalText),
                 who);
  }

  const Transaction& transaction_;
  const std::string_view me_;
  codec::JournalWriter writer_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/loop/retention.hpp --------------------------------------------------------

/// Removes finished transactions after their time, in small steps that share a commit with others.
/// Needs: std, store. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

class Retention {
 public:
  /// Both count from the end of a transaction; gids that would go before their records are not kept.
  Retention(Duration keep_finished, Duration keep_gids)
      : keep_finished_(keep_finished), keep_gids_((std::max)(keep_gids, keep_finished)) {}

  Time NextTime() const { return (std::min)(next_, next_gids_); }

  /// One step inside the open batch. Returns a sentence to log about records that could not be removed; each once.
  std::string RemoveSome(Store& store, Time now) {
    std::string problem;
    if (next_ <= now) {
      try {
        position_ = store.Expire(Before(now, keep_finished_), position_, kRowsPerStep,
                                 keep_gids_ > keep_finished_);
      } catch (const NotAllExpired& error) {
        position_ = error.next;
        if (told_ != error.what()) problem = told_ = error.what();
      }
      next_ = now + (position_ == 0 ? Pause(keep_finished_, kLongestPause) : kBetweenSteps);
    }
    if (next_gids_ <= now) {
      gid_ = store.ForgetGids(Before(now, keep_gids_), gid_, kGidsPerStep);
      next_gids_ = now + (gid_.empty() ? Pause(keep_gids_, kLongestPauseOfGids) : kBetweenSteps);
    }
    return problem;
  }

  /// The step was lost with its batch.
  void Failed(Time now) { next_ = next_gids_ = now + kShortestPause; }

 private:
  static constexpr std::size_t kRowsPerStep = 256;
  static constexpr std::size_t kGidsPerStep = 1024;  // most are only looked at
  static constexpr Duration kBetweenSteps = std::chrono::milliseconds(5);
  static constexpr Duration kShortestPause = std::chrono::seconds(1);
  static constexpr Duration kLongestPause = std::chrono::minutes(10);
  static constexpr Duration kLongestPauseOfGids =
      std::chrono::hours(24);  // a pass walks all of them

  /// After a pass the next one waits for a fraction of the time for which records are kept.
  static Duration Pause(Duration keep, Duration longest) {
    return (std::min)((std::max)(keep / 100, kShortestPause), longest);
  }

  static Time Before(Time now, Duration keep) {
    return keep >= now.time_since_epoch() ? Time{} : now - keep;
  }

  const Duration keep_finished_, keep_gids_;
  Time next_{}, next_gids_{};
  std::int64_t position_ = 0;
  std::string gid_;
  std::string told_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/hooks/doubts.hpp ----------------------------------------------------------

/// What could not be told since its commit was in doubt: it is told once the store says that the commit was stored.
/// Needs: std, store. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

/// Tells the record that a change makes from those that others have made with the same gid and version: an earlier run, another
/// coordinator on the store, or this one, of an earlier submission.
struct RecordMark {
  /// `changed`: as it will be stored.
  explicit RecordMark(const Transaction& changed)
      : version(changed.version + 1),
        created(changed.created),
        driver(changed.driver),
        status(changed.status) {}

  bool IsOf(const Transaction& stored) const {
    return stored.version == version && stored.created == created && stored.driver == driver &&
           stored.status == status && !stored.expired;
  }

  std::uint64_t version = 0;
  Time created{};
  std::uint64_t driver = 0;
  Status status{};
};

class Doubts {
 public:
  /// Gets the record as it is stored. If it throws, it has told nothing, and is called again.
  using Tell = std::function<void(const Transaction& stored)>;

  /// A change of a commit in doubt, and what is told if it was stored.
  void Add(const Transaction& changed, Tell tell) {
    const std::string& gid = changed.definition->gid;
    const RecordMark mark(changed);
    const auto stored = stored_.find(gid);
    if (stored != stored_.end() && stored->second == mark.version) return;
    doubts_.push_back({gid, mark, std::move(tell)});
  }

  /// The store can be asked again what it has.
  /// @throws StoreError  then it is asked again for the rest.
  void Settle(Store& store) {
    while (!doubts_.empty()) {
      const Doubt& next = doubts_.front();
      const std::optional<Transaction> stored = store.Load(next.gid);
      if (stored && next.mark.IsOf(*stored)) {
        stored_[next.gid] = next.mark.version;
        next.tell(*stored);
      }
      doubts_.pop_front();
    }
  }

  /// A commit worked: no commit is in doubt any more.
  void Committed() noexcept { stored_.clear(); }

 private:
  struct Doubt {
    std::string gid;
    RecordMark mark;
    Tell tell;
  };

  std::deque<Doubt> doubts_;
  /// Versions of records that an earlier commit in doubt has stored: a later one cannot have stored them again.
  std::map<std::string, std::uint64_t> stored_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/loop/untold.hpp -----------------------------------------------------------

/// What a commit in doubt has left untold. What goes on in memory tells it later by itself; the rest is here: events, and what
/// has left memory or was undone there.
/// Needs: std, store. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

class Untold {
 public:
  explicit Untold(TurnState& state) : state_(state) {}

  /// The commit of these changes is in doubt, each of the transaction in the same place of `dirty`. Comes before anything in
  /// memory is undone.
  void Keep(const std::vector<Change>& changes, const std::vector<ActiveTransaction*>& dirty,
            EventFeed& feed, const InCommitWork& works) {
    for (std::size_t n = 0; n < changes.size(); ++n) {
      const ActiveTransaction& active = *dirty[n];
      const auto of = std::make_shared<OfChange>();
      of->events = feed.OfDoubt(n);
      of->calls = works.EndedCallsOf(active);
      of->leaves = active.Fresh();
      of->rolled_back = active.rolled_back;
      // Those that stay in memory are reported with their conflict, see Conflicts.
      for (std::size_t i = of->leaves ? 0 : works.EventsBefore(active); i < active.events.size();
           ++i) {
        if (Reports::HasNews(active.events[i])) of->reported.push_back(active.events[i]);
      }
      const bool ends = of->leaves && IsFinal(active.transaction.status);
      if (of->events.empty() && of->calls.empty() && of->reported.empty() && !ends) continue;
      doubts_.Add(active.transaction, [this, of](const Transaction& stored) { Tell(*of, stored); });
    }
  }

  /// @throws StoreError  see Doubts.
  void Settle(Store& store) { doubts_.Settle(store); }
  void Committed() noexcept { doubts_.Committed(); }

 private:
  /// Of one change.
  struct OfChange {
    EventFeed::Events events;
    std::vector<InCommitWork::EndedCall> calls;
    std::vector<AppliedEvent> reported;
    bool leaves = false;
    bool rolled_back = false;
  };

  void Tell(const OfChange& of, const Transaction& stored) {
    EventFeed::Events& events = state_.to_release.events;
    events.insert(events.end(), of.events.begin(), of.events.end());
    for (const auto& ended : of.calls) {
      state_.reports.spans.End(ended.call, ended.result, ended.at);
    }
    TurnState::Protected([&] {
      for (const AppliedEvent& event : of.reported) state_.reports.Report(stored, event);
      if (!of.leaves) return;
      if (of.rolled_back) state_.reports.news.RolledBack(stored, state_.context.now);
      state_.reports.ReportEnd(stored);
    });
  }

  TurnState& state_;
  Doubts doubts_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/loop/commit_stage.hpp -----------------------------------------------------

/// The third stage of a turn: all changes in one commit of the store, and what to do if it fails.
/// Needs: std, store. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

class CommitStage {
 public:
  CommitStage(TurnState& state, TransactionFunctions& functions, Clock& clock)
      : state_(state),
        clock_(clock),
        conflicts_(state),
        retention_(state.options.keep_finished, state.options.keep_gids),
        me_(Front(NodeOf(state.options).name, kMaxJournalWho)),
        in_commit_work_(state, functions, clock),
        untold_(state),
        feed_(state.to_release.events, state.options.on_span != nullptr) {}

  /// True: everything up to here is durable, and may be released.
  bool Run() {
    in_commit_work_.TakeCalls();
    const bool expire = retention_.NextTime() <= state_.context.now;
    const bool writes = !state_.to_commit.dirty.empty() || in_commit_work_.Pending();
    if (!writes && !expire && !state_.health.NeedsRecovery()) return true;
    try {
      const Time begin = clock_.Now();
      WriteWithWorks(expire);
      state_.reports.metrics.Committed(clock_.Now() - begin);
    } catch (const StoreBusy& error) {
      if (!state_.health.Locked(state_.context.now, error.what())) Failed(error.what(), false);
      return false;
    } catch (const Fenced& error) {
      LoseAll(error.what());
      return false;
    } catch (const CommitInDoubt& error) {
      Failed(error.what(), true);
      return false;
    } catch (...) {
      Failed(WhatWasThrown(), false);
      return false;
    }
    const std::string unread = Written();
    if (!unread.empty()) {
      CannotGoOn(unread);
      state_.health.Failed(state_.context.now, unread, false, false);
      return true;
    }
    const bool was_good = state_.health.Good();
    state_.health.Worked(writes);
    if (!was_good && state_.health.Good()) state_.Log(LogLevel::kInfo, "the store works again");
    RunOneAlone();
    return true;
  }

  /// Drops the batch. Submissions in it are refused; everything else is kept, and tried again.
  void Failed(const std::string& problem, bool in_doubt) {
    if (in_doubt) untold_.Keep(changes_, state_.to_commit.dirty, feed_, in_commit_work_);
    changes_.clear();
    state_.store.Rollback();
    const std::size_t ran = in_commit_work_.Ran();
    in_commit_work_.Failed(problem, in_doubt);
    CannotGoOn(problem);
    const bool writing = !state_.to_commit.dirty.empty() || ran > 0;
    retry_alone_ = (std::max)(retry_alone_, ran);  // one of them may be the reason
    state_.health.Failed(state_.context.now, problem, in_doubt, writing);
    retention_.Failed(state_.context.now);
    if (in_doubt) {
      state_.loader.Restart();
      state_.not_before = state_.context.now + Duration(1);
      for (ActiveTransaction* active : state_.to_commit.dirty) {
        active->doubtful_events = active->events.size();
        if (active->Fresh()) state_.to_commit.in_doubt.insert(active->transaction.definition->gid);
      }
    }
    // No new transaction goes on when its submitter was refused.
    for (std::size_t i = 0; i < state_.to_commit.dirty.size();) {
      ActiveTransaction& active = *state_.to_commit.dirty[i];
      active.Fresh() ? RefuseFresh(state_, active, problem) : (void)++i;
    }
    for (Submission& submission : std::exchange(state_.to_collect.resubmit, {})) {
      submission.waiter.Refuse(NotTaken(state_, submission.definition->gid, problem));
    }
    for (ActiveTransaction* active : state_.to_release.touched) state_.ArmWaiters(*active);
  }

  /// Other coordinators have taken over what this one owned. New transactions were not stored, and are refused; those who
  /// wait are told the stored status. Nothing that was decided since may leave, so memory is emptied and the store is
  /// recovered.
  void LoseAll(const std::string& problem) {
    state_.fenced = true;
    state_.store.Rollback();
    in_commit_work_.Failed(problem, false);
    TurnState::Protected([&] {
      state_.Log(LogLevel::kError, "other coordinators go on with what this one drove, " +
                                       std::to_string(state_.table.Count()) +
                                       " transactions in memory: " + problem);
    });
    state_.table.ForEach([this](ActiveTransaction& active) {
      if (!active.Fresh()) TurnState::Protected([&] { WatchAll(state_, active); });
    });
    AnswerAll(state_, problem);
    state_.DropAll();
    retry_alone_ = 0;
    state_.health.Failed(state_.context.now, problem, true, false);
    retention_.Failed(state_.context.now);
  }

  /// An exception ended the turn: undoes what ran in its batch, before the next turn takes what has arrived since.
  void BreakOff() noexcept {
    state_.store.Rollback();
    in_commit_work_.Undo();
  }

  Time NextRetention() const { return retention_.NextTime(); }

 private:
  /// If a work breaks the batch, everything else is written without works, and then each work gets a commit of its own.
  void WriteWithWorks(bool expire) {
    try {
      Write(expire, retry_alone_ > 0 ? 0 : InCommitWork::kPerTurn);
    } catch (const BatchLost&) {
      retry_alone_ = in_commit_work_.Ran();
      state_.store.Rollback();
      in_commit_work_.Undo();
      if (expire) retention_.Failed(state_.context.now);  // it may have been the reason
      Write(false, 0);
    }
  }

  void CannotGoOn(const std::string& problem) {
    if (!state_.health.Good() && state_.health.Problem() == problem) return;
    TurnState::Protected([&] {
      state_.Log(LogLevel::kError, "the store fails, nothing goes on until it works: " + problem);
    });
  }

  void RunOneAlone() {
    if (retry_alone_ == 0) return;
    --retry_alone_;
    if (!in_commit_work_.Pending()) return;
    try {
      Write(false, 1);
      (void)Written();  // what cannot be read is in the next commit again
    } catch (const StoreBusy&) {
      ++retry_alone_;  // it has not run
    } catch (const Fenced& error) {
      LoseAll(error.what());
    } catch (const CommitInDoubt& error) {
      Failed(error.what(), true);
    } catch (...) {
      const std::string problem = WhatWasThrown();
      state_.store.Rollback();
      in_commit_work_.Undo();
      in_commit_work_.GiveUpFirst(
          Made<StoreError>([&] { return "the work was not stored: " + problem; }), problem);
    }
  }

  void Write(bool expire, std::size_t works) {
    Store& store = state_.store;
    changes_.clear();
    if (!state_.health.Good() || state_.health.WaitsForLock()) {
      // Calls that were decided on before leave late, so their deadlines are later too.
      for (ActiveTransaction* active : state_.to_commit.dirty) {
        engine::MoveDeadlines(active->transaction, active->held_calls, state_.context);
      }
    }
    if (state_.health.NeedsRecovery()) {
      store.Recover();
      untold_.Settle(store);
      state_.fenced = false;
      state_.health.Recovered();
      state_.to_commit.in_doubt.clear();
    }
    store.Begin();
    in_commit_work_.Run(works);
    feed_.Begin();
    const std::vector<ActiveTransaction*>& dirty = state_.to_commit.dirty;
    for (ActiveTransaction* active : dirty) {
      if (active->Fresh()) active->transaction.id = 0;  // given by a batch that was lost
      const bool due_changed = active->transaction.due != active->stored_due;
      changes_.push_back(
          {&active->transaction, due_changed, active->redefined, false, active->new_steps});
    }
    if (TellsEntries(state_.options)) TellEntries();
    store.Apply(changes_);
    if (in_commit_work_.Ran() > 0) CheckAllApplied();
    if (expire) {
      const std::string problem = retention_.RemoveSome(store, state_.context.now);
      if (!problem.empty()) state_.Log(LogLevel::kError, problem);
    }
    store.Commit();
  }

  /// Those of all changes are in one text, which may move while it grows.
  void TellEntries() {
    const std::vector<ActiveTransaction*>& dirty = state_.to_commit.dirty;
    if (journals_.capacity() > kJournalBytesKept) journals_ = {};
    journals_.clear();
    journal_ends_.clear();
    for (const ActiveTransaction* active : dirty) {
      JournalEntries::Tell(*active, state_.context.now, me_, journals_);
      journal_ends_.push_back(journals_.size());
    }
    std::size_t begin = 0;
    for (std::size_t i = 0; i < changes_.size(); ++i) {
      const std::string_view told =
          std::string_view(journals_).substr(begin, journal_ends_[i] - begin);
      begin = journal_ends_[i];
      if (state_.options.on_event) Feed(dirty[i]->transaction, told);
      if (state_.options.history == 0) continue;
      changes_[i].journal = told;
      changes_[i].history = state_.options.history;
    }
  }

  void Feed(const Transaction& transaction, std::string_view told) {
    std::vector<JournalEntry> entries;
    codec::DecodeJournal(told, entries);
    feed_.Add(transaction, entries);
  }

  /// What ran inside this batch was for these records: if one was changed meanwhile, the batch is lost.
  void CheckAllApplied() const {
    for (const Change& change : changes_) {
      if (!change.applied && change.transaction->version > 0) {
        throw BatchLost("gid '" + change.transaction->definition->gid + "' was changed meanwhile");
      }
    }
  }

  /// Marks as stored what the commit took, and settles the conflicts. Returns why a stored record could not be read, or
  /// nothing.
  std::string Written() {
    std::string unread;
    in_commit_work_.Committed();
    untold_.Committed();
    written_.clear();
    written_.swap(state_.to_commit.dirty);
    for (std::size_t i = 0; i < written_.size(); ++i) {
      if (i + kObjectsAhead < written_.size()) PrefetchActive(*written_[i + kObjectsAhead]);
      ActiveTransaction& active = *written_[i];
      active.dirty = false;
      if (changes_[i].applied) {
        ++active.transaction.version;
        // Who drove what is stopped has to be told, see Elsewhere::TellOwner.
        if (!IsFinal(active.transaction.status)) active.transaction.owner = state_.store.Owner();
        active.stored_due = active.transaction.due;
        active.redefined = false;
        active.new_steps = 0;
        active.doubtful_events = 0;
        active.journaled_events = active.events.size();
        active.journaled_calls = active.held_calls.size();
        feed_.Stored(i);
        for (Command& command : active.commands) {
          TurnState::Protected([&] { state_.AddWaiter(active, std::move(command.waiter)); });
        }
        active.commands.clear();
        for (Waiter& waiter : active.waiters) waiter.again = nullptr;
      } else if (active.Fresh()) {
        conflicts_.OnGidExists(active);
      } else {
        std::string problem = conflicts_.OnConflictOrLater(active);
        if (!problem.empty()) unread = std::move(problem);
      }
    }
    return unread;
  }

  TurnState& state_;
  Clock& clock_;
  Conflicts conflicts_;
  Retention retention_;
  std::vector<Change> changes_;
  static constexpr std::size_t kJournalBytesKept = std::size_t{1} << 20;
  const std::string me_;  // in journals
  std::string
      journals_;  // what is told of the changes, one after the other; a member for its memory
  std::vector<std::size_t> journal_ends_;    // the same
  std::vector<ActiveTransaction*> written_;  // a member for its memory
  InCommitWork in_commit_work_;
  Untold untold_;
  EventFeed feed_;
  std::size_t retry_alone_ =
      0;  // works that get a commit of their own, since a batch with them was lost
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/loop/release_stage.hpp ----------------------------------------------------

/// The last stage of a turn: only now that their cause is durable, calls start, timers are armed
/// and callers are answered, and people are told what keeps failing.
/// Needs: std. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

class ReleaseStage {
 public:
  ReleaseStage(TurnState& state, Clock& clock, BranchCaller& functions, BranchCaller& urls,
               BranchResults& results, Hooks& hooks)
      : state_(state),
        clock_(clock),
        functions_(functions),
        urls_(urls),
        results_(results),
        hooks_(hooks) {}

  void Run() {
    released_.clear();
    released_.swap(state_.to_release.touched);
    lease_ = state_.store.OurLease();
    const bool may_call = lease_ == nullptr || lease_->Holds();
    if (!state_.to_commit.dirty.empty()) KeepUnsettled();
    local_calls_.reserve(released_.size());
    now_ = clock_.Now();
    if (may_call) {
      ForEachActive(released_, [this](ActiveTransaction& active) { TakeCalls(active); });
      StartCalls();
    }
    ForEachActive(released_, [this](ActiveTransaction& active) {
      Count(active);
      const bool grows =
          !active.events.empty() && active.events.back().kind == engine::EventKind::kBranchAdded;
      active.events.clear();
      active.journaled_events = 0;
      active.journaled_calls = active.held_calls.size();
      AnswerWaiters(active);
      ArmTimerOrLeave(active, grows);
      if (!active.held_calls.empty()) state_.Touch(active);  // until the lease holds
    });
    TellHooks();
  }

 private:
  void TellHooks() {
    ToRelease& told = state_.to_release;
    if (!told.alerts.empty()) hooks_.alerts.Tell(std::exchange(told.alerts, {}));
    if (!told.spans.empty()) hooks_.spans.Tell(std::exchange(told.spans, {}));
    if (!told.events.empty()) hooks_.events.Tell(std::exchange(told.events, {}));
  }

  /// A transaction that is dirty again has a conflict that is not settled yet; it waits for the next commit.
  void KeepUnsettled() {
    const auto settled =
        std::stable_partition(released_.begin(), released_.end(),
                              [](const ActiveTransaction* active) { return active->dirty; });
    state_.to_release.touched.assign(released_.begin(), settled);
    released_.erase(released_.begin(), settled);
  }

  void Count(ActiveTransaction& active) {
    const Transaction& transaction = active.transaction;
    if (active.rolled_back) state_.reports.news.RolledBack(transaction, state_.context.now);
    active.rolled_back = false;
    for (const AppliedEvent& event : active.events) {
      state_.reports.Report(transaction, event);
      if (event.kind == engine::EventKind::kForceStop) state_.elsewhere.TellOwner(transaction);
    }
    state_.reports.ReportEnd(transaction);
  }

  void TakeCalls(ActiveTransaction& active) {
    const Transaction& transaction = active.transaction;
    if (!IsFinal(transaction.status)) {
      // First, or some calls would be both taken and held when there is no memory for the others.
      for (auto* calls : {&local_calls_, &url_calls_}) {
        const std::size_t needed = calls->size() + active.held_calls.size();
        if (needed > calls->capacity()) calls->reserve(2 * needed);
      }
      for (const std::size_t row : active.held_calls) {
        BranchCall call;
        call.definition = transaction.definition;
        call.row = row;
        call.slot = active.slot;
        call.generation = active.generation;
        call.timeout = engine::RequestTimeout(transaction.definition->options, state_.context);
        call.lease = lease_;
        call.span = state_.reports.spans.Begin(transaction, row, now_);
        TakeCall(std::move(call), transaction.branches[row].deadline);
      }
    }
    active.held_calls.clear();
  }

  /// The stored deadline holds even if the commit took long or the call was held back, so it is told how late it is. With no
  /// time left after it was held back it is decided on again.
  void TakeCall(BranchCall call, Time deadline) {
    if (IsLocal(call.Url())) return local_calls_.push_back(std::move(call));
    call.late = (std::max)(now_ + 2 * call.timeout - deadline, Duration(0));
    if (lease_ != nullptr && call.late >= call.timeout) {
      return results_.Done(std::move(call), LeaseOver());
    }
    url_calls_.push_back(std::move(call));
  }

  /// The next deadlines allow for as long a commit.
  void StartCalls() {
    if (!local_calls_.empty()) functions_.Call(std::exchange(local_calls_, {}), results_);
    if (url_calls_.empty()) return;
    state_.context.lateness = 2 * (std::max)(now_ - state_.context.now, Duration(0));
    urls_.Call(std::exchange(url_calls_, {}), results_);
  }

  void AnswerWaiters(ActiveTransaction& active) {
    if (active.waiters.empty()) return;
    const Transaction& transaction = active.transaction;
    const bool ended = IsFinal(transaction.status);
    const bool settled = ended || transaction.stuck ||
                         (active.timer != kNever && !active.CallsOut() && !HeldBack(active));
    for (Waiter& waiter : active.waiters) {
      const bool now = ended || waiter.when == AnswerWhen::kStored || !state_.context.may_call ||
                       (settled && waiter.when == AnswerWhen::kSettled) ||
                       waiter.deadline <= state_.context.now;
      if (now && waiter.promise.Open()) waiter.GiveStatusOf(transaction);
    }
    const auto answered = [](const Waiter& waiter) { return !waiter.promise.Open(); };
    active.waiters.erase(std::remove_if(active.waiters.begin(), active.waiters.end(), answered),
                         active.waiters.end());
  }

  /// It is due, but was not allowed to start calls; its timer, if it has one, is for its timeout.
  bool HeldBack(const ActiveTransaction& active) const {
    return active.transaction.due <= state_.context.now;
  }

  /// `grows`: a step was just registered. More may follow soon, and to load all of them again for each would take longer
  /// and longer; so it stays in memory for a moment.
  void ArmTimerOrLeave(ActiveTransaction& active, bool grows) {
    const Transaction& transaction = active.transaction;
    if (IsFinal(transaction.status)) return state_.Remove(active);
    state_.ArmTimer(active);
    active.touched = false;
    if (active.CallsOut()) return;
    const bool prepared = transaction.status == Status::kPrepared && state_.IsShared();
    const bool waits = WaitsForPeople(active) || prepared;  // anybody may write what is prepared
    if (waits && grows && !prepared && !state_.room.HalfFull()) {
      return state_.ArmBefore(active, state_.context.now + kUntilNextStep);
    }
    const bool idle = (active.timer == kNever || HeldBack(active)) && !waits;
    const bool leave = waits || (idle ? state_.room.Full() : state_.room.HalfFull());
    if (active.waiters.empty() && leave) {
      state_.Remove(active);
    } else if (idle && state_.context.may_call) {
      state_.to_collect.readvance.emplace_back(transaction.definition->gid,
                                               engine::EventKind::kTimer);
    }
  }

  static constexpr Duration kUntilNextStep = std::chrono::seconds(1);

  TurnState& state_;
  Clock& clock_;
  BranchCaller& functions_;
  BranchCaller& urls_;
  BranchResults& results_;
  Hooks& hooks_;
  std::shared_ptr<const Lease> lease_;        // in this turn
  Time now_{};                                // when its commit was done
  std::vector<ActiveTransaction*> released_;  // in this turn; a member for its memory
  std::vector<BranchCall> local_calls_;
  std::vector<BranchCall> url_calls_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/loop/sweep.hpp ------------------------------------------------------------

/// Looks now and then for transactions in memory that would never continue, and sets them going. There are none
/// unless a turn was broken off (no memory was left) or this library has a fault; the log says so.
/// Needs: std. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

class Sweep {
 public:
  explicit Sweep(TurnState& state) : state_(state) {}

  /// At the end of each turn.
  void NowAndThen() {
    if (state_.context.now >= next_) Run();
  }

  void Run() {
    next_ = state_.context.now + kEvery;
    Complete(state_.to_commit.dirty, &ActiveTransaction::dirty);
    Complete(state_.to_release.touched, &ActiveTransaction::touched);
    QueueLostWorks();
    std::vector<ActiveTransaction*> lost;
    state_.table.ForEach([&](ActiveTransaction& active) {
      if (!GoesOn(active)) lost.push_back(&active);
    });
    for (ActiveTransaction* active : lost) SetGoing(*active);
  }

 private:
  static constexpr Duration kEvery = std::chrono::seconds(30);

  /// Restores a list that lacks transactions whose flag says that they are in it.
  void Complete(std::vector<ActiveTransaction*>& list, bool ActiveTransaction::*flag) {
    std::size_t flagged = 0;
    state_.table.ForEach([&](const ActiveTransaction& active) { flagged += active.*flag ? 1 : 0; });
    if (flagged == list.size()) return;
    std::vector<ActiveTransaction*> complete;
    state_.table.ForEach([&](ActiveTransaction& active) {
      if (active.*flag) complete.push_back(&active);
    });
    list.swap(complete);
  }

  /// Queues branches that run inside a commit, were called, and are in no queue.
  void QueueLostWorks() {
    std::set<std::pair<std::size_t, std::size_t>> queued;
    for (const BranchWork& work : state_.to_commit.branch_works)
      queued.emplace(work.slot, work.row);
    state_.table.ForEach([&](const ActiveTransaction& active) {
      const Transaction& transaction = active.transaction;
      for (std::size_t i = 0; i < transaction.branches.size(); ++i) {
        if (!transaction.branches[i].in_flight ||
            !RunsInTransaction(UrlOf(*transaction.definition, i))) {
          continue;
        }
        const auto& held = active.held_calls;
        const bool waits = std::find(held.begin(), held.end(), i) != held.end() ||
                           queued.count({active.slot, i}) > 0;
        if (waits) continue;
        state_.to_commit.branch_works.push_back({active.slot, active.generation, i});
        Tell(active);
      }
    });
  }

  /// True if something will continue it: a commit, the release, a result, a timer, the next turn or a person.
  bool GoesOn(const ActiveTransaction& active) const {
    const Transaction& transaction = active.transaction;
    if (active.dirty) return true;
    if (active.Fresh()) return false;
    if (active.touched || active.armed != kNever || active.CallsOut()) return true;
    if (!active.waiters.empty() && WaitsForPeople(active)) return true;
    if (!state_.context.may_call && !IsFinal(transaction.status)) return true;  // after the restart
    return std::any_of(
        state_.to_collect.readvance.begin(), state_.to_collect.readvance.end(),
        [&](const auto& entry) { return entry.first == transaction.definition->gid; });
  }

  void SetGoing(ActiveTransaction& active) {
    Tell(active);
    if (!active.Fresh()) {
      // Perhaps it was lost before it was advanced for the first time; no call of it is running.
      state_.to_collect.readvance.emplace_back(active.transaction.definition->gid,
                                               engine::EventKind::kLoaded);
      return;
    }
    // Its turn was broken off before it was complete: it is not stored.
    RefuseFresh(state_, active, "a turn of the coordinator failed");
  }

  void Tell(const ActiveTransaction& active) const {
    state_.reports.news.SetGoing(active.transaction, state_.context.now);
  }

  TurnState& state_;
  Time next_{};
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/state/recovery.hpp --------------------------------------------------------

/// Brings unfinished transactions back from the store while there is room, and tells people what was found there.
/// Needs: std, engine, store. Threads: the thread that drives the loop.

namespace dtm {
inline namespace v1 {

class Recovery {
 public:
  explicit Recovery(TurnState& state) : state_(state) {}

  /// Loads unfinished transactions from the store, if there is room.
  /// @throws StoreError  they cannot be read.
  void Load() {
    if (state_.room.Full() || !state_.context.may_call) return;
    const Time now = state_.context.now;
    if (recovery_began_ == Time{}) recovery_began_ = now;
    std::vector<Transaction> page = state_.loader.NextPage(
        state_.store, now, !state_.room.HalfFull(), state_.room.Count(), state_.room.Bytes());
    try {
      for (Transaction& stored : page) Load(std::move(stored));
    } catch (...) {
      state_.loader.LeaveBehind(now);  // the rest of the page
      throw;
    }
    if (recovering_ && state_.loader.HasSeenAll()) {
      state_.reports.news.Recovered(recovered_, now - recovery_began_);
      recovering_ = false;
    }
  }

  /// Stored records that could not be read so far; 101 are that many or more.
  std::size_t Damaged() const { return damaged_.size(); }

 private:
  static constexpr std::size_t kDamagedNamed = 100;

  void Load(Transaction&& stored) {
    if (ActiveTransaction* known = state_.table.Find(stored.definition->gid)) {
      return CheckVersion(*known, stored);
    }
    if (stored.unreadable) LogDamaged(stored);
    if (stored.unreadable || stored.stuck) return;  // it waits for people, and takes no room
    state_.Bring(std::move(stored));
    ++recovered_;
  }

  /// If another coordinator has written it since, and has died: the next commit finds the conflict.
  void CheckVersion(ActiveTransaction& known, const Transaction& stored) {
    if (known.transaction.version == stored.version || known.dirty) return;
    MakeRoom(state_.to_commit.dirty);
    state_.to_commit.dirty.push_back(&known);
    known.dirty = true;
  }

  /// Logs each once, and only the first of many.
  void LogDamaged(const Transaction& stored) {
    if (damaged_.size() > kDamagedNamed || !damaged_.insert(stored.id).second) return;
    state_.Log(LogLevel::kError, damaged_.size() <= kDamagedNamed
                                     ? engine::Explain(stored, state_.context.now)
                                     : "more stored records are damaged; a query or Explain of "
                                       "each says so");
  }

  TurnState& state_;
  std::set<std::int64_t> damaged_;  // rows of which the log has told
  bool recovering_ = true;          // until all that a previous run left was found
  Time recovery_began_{};
  std::size_t recovered_ = 0;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/loop/loop.hpp -------------------------------------------------------------

/// The loop that owns all transaction state: collect, advance, commit, release.
/// Needs: std, engine, store. Threads: driven by one thread at a time; everything arrives through
/// the inbox. Rule: nothing leaves before its cause is durable (docs/architecture.md).

namespace dtm {
inline namespace v1 {

class Loop {
 public:
  Loop(Store& store, Clock& clock, Inbox& inbox, ProgramFunctions& functions, BranchCaller& urls,
       TransactionFunctions& transaction_functions, Hooks& hooks, const Options& options)
      : clock_(clock),
        functions_(functions),
        inbox_(inbox),
        state_(store, options),
        recovery_(state_),
        collect_(state_, inbox),
        commit_(state_, transaction_functions, clock),
        release_(state_, clock, functions, urls, inbox, hooks),
        sweep_(state_),
        peers_(store.Shared()) {
    state_.context.started = clock.Now();
    if (peers_ != nullptr) peers_->Introduce(NodeOf(options));
  }

  /// From the next turn on nothing is called any more, and nobody waits for an end; what is answered is still recorded.
  void StartNothingNew() {
    functions_.RefuseWaiting();
    state_.elsewhere.AnswerAll("the coordinator stops");
    if (!std::exchange(state_.context.may_call, false)) return;
    // Those who wait for an end are told now what the status is.
    state_.table.ForEach([this](ActiveTransaction& active) {
      if (!active.waiters.empty()) state_.Touch(active);
    });
  }

  /// One turn; returns whether anything had happened.
  bool Turn() {
    const TakenMail taken{inbox_};
    state_.context.now = (std::max)(clock_.Now(), state_.not_before);
    state_.reports.news.Flush(state_.context.now);
    if (broken_off_) {
      commit_.BreakOff();
      sweep_.Run();
    }
    broken_off_ = true;  // should it throw
    const bool something = Stages();
    sweep_.NowAndThen();
    broken_off_ = collect_.Incomplete();
    return something;
  }

  /// When the next turn has something to do, if nothing arrives.
  Time NextTurn() {
    gauges_.in_memory = state_.table.Count();
    gauges_.damaged = recovery_.Damaged();
    gauges_.store_fails = !state_.health.Good();
    const Time now = clock_.Now();
    const Time growth = functions_.Grow(now);
    const bool pending = !state_.to_commit.dirty.empty() || !state_.to_release.touched.empty() ||
                         !state_.to_commit.works.empty() ||
                         !state_.to_commit.branch_works.empty() || state_.SomethingLeftOver() ||
                         state_.health.NeedsRecovery();
    if (broken_off_) return now + kAfterBrokenTurn;
    Time next = pending ? now : (std::min)(state_.timers.Next(), commit_.NextRetention());
    if (!state_.room.Full() && state_.context.may_call) {
      next = (std::min)(next, state_.loader.NextPass());
    }
    next = (std::min)(next, state_.elsewhere.Next());
    if (HasNews()) next = now;
    const auto lease = state_.store.OurLease();
    if (lease != nullptr && !lease->Holds()) next = (std::max)(next, now + kAfterBrokenTurn);
    if (!state_.health.MayTry(now)) {  // but whose time is over is answered meanwhile
      next = (std::min)((std::max)(next, state_.health.NextTry()), state_.timers.Next());
    }
    return (std::min)({next, growth, state_.reports.news.NextFlush()});
  }

  /// The store has more to load, or to obey, than the last turn knew. Any thread.
  bool HasNews() const {
    return HasTakenOver() || (peers_ != nullptr && peers_->AskedTimes() != asked_times_);
  }

  Metrics::Snapshot Counted() const { return state_.reports.metrics.Get(); }
  const LoopGauges& Measured() const { return gauges_; }

  /// Branch calls that are out, or changes that no commit has taken yet.
  bool Busy() {
    bool busy = !state_.to_commit.dirty.empty() || !state_.to_commit.works.empty();
    state_.table.ForEach(
        [&busy](const ActiveTransaction& active) { busy = busy || active.CallsOut(); });
    return busy;
  }

  /// Answers everybody who still waits, with the status that is durable; for the end.
  void AnswerAll() {
    state_.reports.news.Flush(kNever);
    Mail never_read;  // the last turn was broken off
    inbox_.Take(never_read);
    dtm::AnswerAll(state_, "the coordinator stopped");
    state_.elsewhere.AnswerAll("the coordinator stopped");
  }

 private:
  bool Stages() {
    if (peers_ != nullptr) HearOthers();
    const bool something = collect_.Run();
    if (HasTakenOver()) {
      takeovers_ = state_.store.Takeovers();
      state_.loader.Restart();
    }
    if (!state_.health.MayTry(state_.context.now)) return something;
    try {
      if (!state_.health.NeedsRecovery()) recovery_.Load();
    } catch (const Fenced& error) {
      commit_.LoseAll(error.what());
      return something;
    } catch (...) {
      commit_.Failed(WhatWasThrown(), false);
      return something;
    }
    if (commit_.Run()) release_.Run();
    return something;
  }

  bool HasTakenOver() const { return state_.store.Takeovers() != takeovers_; }

  /// What other coordinators on the store have done or want.
  void HearOthers() {
    const std::uint64_t asked_times = peers_->AskedTimes();
    if (asked_times != asked_times_) {
      state_.elsewhere.Hear(state_.to_collect.reissue);
      for (const std::string& news : peers_->TakeNews()) state_.Log(LogLevel::kWarning, news);
      asked_times_ = asked_times;
    }
    state_.elsewhere.Look(state_.context.now, state_.to_collect.reissue);
  }

  static constexpr Duration kAfterBrokenTurn = std::chrono::milliseconds(10);

  struct TakenMail {
    Inbox& inbox;
    ~TakenMail() { inbox.DoneWithTaken(); }
  };

  Clock& clock_;
  ProgramFunctions& functions_;
  Inbox& inbox_;
  TurnState state_;
  Recovery recovery_;
  CollectStage collect_;
  CommitStage commit_;
  ReleaseStage release_;
  Sweep sweep_;
  bool broken_off_ = false;  // the last turn ended with an exception
  LoopGauges gauges_;
  Peers* const peers_;  // null: the store is not shared
  std::atomic<std::uint64_t> asked_times_{0};
  std::atomic<std::uint64_t> takeovers_{0};  // of the store, as far as they are known here
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/loop/url_callers.hpp ------------------------------------------------------

/// The callers of URLs, by scheme: Coordinator::Use adds one, and each call goes to the one for its URL. They also make a
/// call for an initiator that waits for its result.
/// Needs: std. Threads: thread-safe; Stop comes once, and after the last Use.

namespace dtm {
inline namespace v1 {

class UrlCallers final : public BranchCaller {
 public:
  static constexpr const char* kLocalScheme = "local";  ///< of functions that are not registered

  /// @throws LogicError  there is no caller, or one of its schemes has one.
  void Use(std::unique_ptr<BranchCaller> caller) {
    if (caller == nullptr) throw LogicError("Use() was given no caller of branches");
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const std::string& scheme : caller->Schemes()) {
      if (by_scheme_.count(scheme) == 0) continue;
      throw LogicError("Use() comes once for each scheme, and " + scheme + ":// has its caller");
    }
    for (const std::string& scheme : caller->Schemes()) by_scheme_[scheme] = caller.get();
    callers_.push_back(std::move(caller));
  }

  /// True if there is a caller of functions.
  bool CallsFunctions() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return by_scheme_.count(kLocalScheme) > 0;
  }

  /// Empty, or why this can be the URL of no branch here. A program without HttpBranches takes http all the same: such calls
  /// wait until it runs with them.
  std::string Problem(const std::string& url) const {
    std::string problem = UrlProblem(url);
    return problem.empty() ? WithoutCaller(url) : problem;
  }

  /// Empty, or that nobody here calls this URL, which has no UrlProblem: it is not parsed again.
  std::string WithoutCaller(const std::string& url) const {
    if (url.empty() || IsLocal(url) || IsTopic(url) || IsHttp(SchemeOf(url))) return {};
    if (Find(url) != nullptr) return {};
    return "the branch URL \"" + Truncated(ShownUrl(url), 200) + "\": " + NobodyCalls(url);
  }

  /// The same for all URLs of a definition.
  std::string WithoutCaller(const Definition& definition) const {
    std::string problem = WithoutCaller(definition.query_prepared);
    if (definition.type == TransType::kWorkflow) return problem;  // its steps are called by nobody
    for (const Step& step : definition.steps) {
      if (problem.empty()) problem = WithoutCaller(step.action);
      if (problem.empty()) problem = WithoutCaller(step.compensate);
    }
    return problem;
  }

  void Call(std::vector<BranchCall> calls, BranchResults& results) override {
    while (!calls.empty()) {
      std::unique_lock<std::mutex> lock(mutex_);
      BranchCaller* const caller = Found(calls.front().Url());
      const auto with_it = [&](const BranchCall& call) { return Found(call.Url()) == caller; };
      auto others = std::find_if_not(calls.begin() + 1, calls.end(), with_it);  // mostly none
      others = std::stable_partition(others, calls.end(), with_it);
      lock.unlock();
      std::vector<BranchCall> rest(std::make_move_iterator(others),
                                   std::make_move_iterator(calls.end()));
      calls.erase(others, calls.end());
      if (caller != nullptr) {
        caller->Call(std::move(calls), results);
      } else {
        for (BranchCall& call : calls) {
          Result missing =
              Result::NoHandler(IfThereIsMemory([&] { return NobodyCalls(call.Url()); }));
          results.Done(std::move(call), std::move(missing));
        }
      }
      calls = std::move(rest);
    }
  }

  /// One call, for a thread that waits for its result. `drive` drives the coordinator meanwhile, and returns when to do so
  /// again.
  /// @throws LogicError  this program does not call such URLs.
  template <typename Drive>
  Result CallOnce(BranchCall call, Clock& clock, const Drive& drive) {
    BranchCaller* const caller = Find(call.Url());
    if (caller == nullptr) throw LogicError(NobodyCalls(call.Url()));
    One one;
    caller->Call({std::move(call)}, one);
    std::unique_lock<std::mutex> lock(one.mutex);
    // A caller that was stopped delivers no more results.
    while (!one.result && !stopped_) {
      lock.unlock();
      const Time next = drive();
      lock.lock();
      if (!one.result) clock.Wait(one.arrived, lock, (std::min)(next, clock.Now() + kLook));
    }
    return one.result ? std::move(*one.result) : Result::Error("the coordinator was stopped");
  }

  CallLoad Load() override {
    CallLoad all;
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& caller : callers_) {
      CallLoad load = caller->Load();
      all.in_flight += load.in_flight;
      all.waiting += load.waiting;
      std::move(load.hosts.begin(), load.hosts.end(), std::back_inserter(all.hosts));
    }
    return all;
  }

  void Stop() override {
    for (const auto& caller : callers_) caller->Stop();
    stopped_ = true;
  }

 private:
  static constexpr Duration kLook = std::chrono::milliseconds(20);

  struct One : BranchResults {
    void Done(BranchCall, Result told) override {
      const std::lock_guard<std::mutex> lock(mutex);
      result = std::move(told);
      arrived.notify_all();
    }
    std::mutex mutex;
    std::condition_variable arrived;
    std::optional<Result> result;
  };

  static bool IsHttp(const std::string& scheme) { return scheme == "http" || scheme == "https"; }

  static std::string NobodyCalls(const std::string& url) {
    const std::string scheme = SchemeOf(url);
    if (IsHttp(scheme)) {
      return "this program calls no URLs: include <dtm/http.hpp> and say "
             "Use(dtm::HttpBranches())";
    }
    return "this program calls no " + scheme +
           ":// URLs: include the header of a BranchCaller for them, and say Use() with it before "
           "Start(); or check the spelling";
  }

  /// Null: nobody calls it.
  BranchCaller* Find(const std::string& url) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return Found(url);
  }
  /// With mutex_ held.
  BranchCaller* Found(const std::string& url) const {
    const auto found = by_scheme_.find(IsLocal(url) ? kLocalScheme : SchemeOf(url));
    return found == by_scheme_.end() ? nullptr : found->second;
  }

  mutable std::mutex mutex_;
  std::map<std::string, BranchCaller*> by_scheme_;
  std::vector<std::unique_ptr<BranchCaller>> callers_;
  std::atomic<bool> stopped_{false};
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/loop/driver.hpp -----------------------------------------------------------

/// Who drives the loop: a thread of its own, or whoever calls Poll or waits for an answer.
/// Needs: std. Threads: thread-safe.

namespace dtm {
inline namespace v1 {

class Driver {
 public:
  Driver(std::unique_ptr<Store> store_in, std::unique_ptr<Clock> clock_in,
         const Options& options_in)
      : options(CheckedOptions(options_in)),
        store(std::move(store_in)),
        clock(clock_in ? std::move(clock_in) : ClockOf(*store)),
        inbox(options.max_waiting_submissions, InboxBytes(options), options.on_wake),
        functions(options.max_function_threads, options.max_threads_per_function),
        hooks(*clock, options),
        loop_(*store, *clock, inbox, functions, urls, transaction_functions, hooks, options) {
    store->OnSilence([this](const std::string& why) { TellSilence(why); });
    store->OnTakeover([this] { inbox.Interrupt(), inbox.WakeBefore(clock->Now()); });
  }

  /// See Coordinator::Use.
  void Use(std::unique_ptr<BranchCaller> caller) {
    CheckNotLoop();
    const std::lock_guard<std::mutex> lock(drive_mutex_);
    if (threaded_ || inbox.Closed()) throw LogicError("Use() comes before Start() and Stop()");
    urls.Use(std::move(caller));
    if (urls.CallsFunctions()) functions.ElseCall(urls);
  }

  /// See Coordinator::Start.
  void Start() {
    CheckNotLoop();
    const std::lock_guard<std::mutex> lock(drive_mutex_);
    if (threaded_ || inbox.Closed()) throw LogicError("Start() comes once, and before Stop()");
    functions.StartThreads();
    hooks.StartThreads();
    threaded_ = true;
    thread_ = std::thread([this] { ThreadMain(); });
    check_thread_ = std::thread([this] {
      try {
        const std::string damage = store->Check(stopping_);
        if (!damage.empty()) Log(LogLevel::kError, damage);
      } catch (...) {
        LogFailure(options, "looking for damage of the store failed: ");
      }
    });
  }

  bool HasThread() const { return threaded_; }
  /// One turn, and the functions and hooks it queued, on this thread. See Coordinator::Poll.
  Duration Poll() {
    CheckNotLoop();
    if (threaded_) throw LogicError("Poll() is for a coordinator that was not started");
    inbox.WokeUp();
    std::uint64_t turn = 0;
    const Time next = Drive(&turn);
    const Time now = clock->Now();
    const Time until = (std::min)(next, now + std::chrono::hours(1));
    if (until <= now || !inbox.FallAsleep(until)) return Duration(0);
    // Another's turn since ours may have set an earlier time; those that come now wake us when they go.
    return turns_ == turn ? until - now : Duration(0);
  }

  /// Calls `ask` with a callback, and returns what it gets. Drives the loop meanwhile if no thread does.
  /// @throws LogicError  called by the loop itself, which would wait for itself.
  TransResult WaitFor(callable::Ref<void(AnswerCallback)> ask) {
    CheckNotLoop();
    // Not a condition variable: to wake up with its mutex costs a further system call, to unlock it.
    // Shared, so that the answer, which may be an exception, lives as long as the callback.
    const auto promise = std::make_shared<std::promise<Answer>>();
    const std::shared_future<Answer> answer = promise->get_future().share();
    const bool driving = !threaded_;
    ask([this, promise, driving](const Answer& reply) {
      Answers::Fulfil(*promise, reply);
      if (driving) inbox.Interrupt();
    });
    inbox.EndBurst();  // or the loop would not be woken for it
    const auto answered = [&answer] {
      return answer.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
    };
    Time next = kNever;
    while (!threaded_ && !answered()) {
      next = Drive();
      inbox.Wait(*clock, next, answered);
    }
    if (driving) inbox.WakeBefore(next);  // from now on this is for who polls
    return answer.get().Get();
  }

  /// One call by URL for somebody who waits for it.
  /// @throws LogicError  nobody calls such URLs.
  Result CallOnce(const InitiatorCall& direct, std::shared_ptr<const CallSpan> span) {
    Time next = kNever;
    BranchCall call = ToBranchCall(direct, options.server_url, options.request_timeout);
    call.span = std::move(span);
    Result result = urls.CallOnce(std::move(call), *clock, [&] {
      const bool driven = threaded_ || loop_thread_ == std::this_thread::get_id();
      return next = driven ? kNever : Drive();
    });
    if (next != kNever) inbox.WakeBefore(next);  // from now on this is for who polls
    return result;
  }

  /// See Coordinator::Stop. From here on no function begins; the next turn refuses the calls that wait.
  bool Stop(Time until) {
    CheckNotLoop();
    const std::lock_guard<std::mutex> one_at_a_time(stop_mutex_);
    if (stopped_) return hooks.Stop(until);
    {
      const std::lock_guard<std::mutex> lock(drive_mutex_);  // Start and Use came before, or refuse
      inbox.Close();
      stopping_ = true;
    }
    functions.BeginNothingNew();
    if (!WaitUntilQuiet(until) && functions.Running() > 0) return false;
    if (threaded_) {
      quit_ = true;
      inbox.Interrupt();
      if (thread_.joinable()) thread_.join();  // an earlier Stop may have come this far and failed
      if (check_thread_.joinable()) check_thread_.join();
    }
    urls.Stop();
    functions.Stop();
    const std::lock_guard<std::mutex> lock(drive_mutex_);  // others may wait, and drive
    loop_thread_ = std::this_thread::get_id();
    TurnOnce();  // results that came at the last moment
    loop_.AnswerAll();
    loop_thread_ = std::thread::id();
    stopped_ = true;
    store->Leave();
    return hooks.Stop(until);  // the last events too
  }

  Metrics::Snapshot Counted() const { return loop_.Counted(); }

  /// Reads the store, and waits for no turn of the loop.
  Gauges Measure() {
    Gauges gauges;
    gauges.time = clock->Now();
    MeasureStore(gauges, *store, gauges.time);
    const LoopGauges& loop = loop_.Measured();
    gauges.in_memory = loop.in_memory;
    gauges.damaged = loop.damaged;
    gauges.store_fails = loop.store_fails;
    gauges.functions = functions.Load();
    gauges.urls = urls.Load();
    gauges.hooks = hooks.Load();
    return gauges;
  }

  /// Stop for a destructor: waits as long as it takes.
  void StopForGood() {
    try {
      if (Stop(clock->Now() + std::chrono::seconds(1))) return;
      Log(LogLevel::kWarning,
          "the coordinator is destroyed while branch functions or hooks run; waiting for them");
      while (!Stop(clock->Now() + std::chrono::hours(1))) {
      }
    } catch (...) {
      LogFailure(options, "stopping the coordinator failed: ");
    }
  }

  /// @throws LogicError  called by the loop itself (a callback), which would wait for itself.
  void CheckNotLoop() const {
    if (loop_thread_ == std::this_thread::get_id()) {
      throw LogicError("a callback of the coordinator must not wait for it; use SubmitAsync there");
    }
  }

  void Log(LogLevel level, const std::string& text) const { LogTo(options, level, text); }

  const Options options;
  const std::unique_ptr<Store> store;
  const std::unique_ptr<Clock> clock;
  Inbox inbox;
  ProgramFunctions functions;
  UrlCallers urls;
  TransactionFunctions transaction_functions;
  Hooks hooks;

 private:
  void TellSilence(const std::string& why) noexcept {
    try {
      Log(why.empty() ? LogLevel::kInfo : LogLevel::kWarning,
          why.empty() ? "the other coordinators on the store hear this one again"
                      : "the other coordinators on the store cannot hear this one, and take over "
                        "from it soon; until they hear it again it calls nothing: " +
                            why);
    } catch (...) {  // NOLINT(bugprone-empty-catch): no memory for a line of the log
    }
  }

  /// `turn`: out, its number.
  Time Drive(std::uint64_t* turn = nullptr) {
    Time next;
    {
      const std::lock_guard<std::mutex> lock(drive_mutex_);
      ++turns_;
      if (turn != nullptr) *turn = turns_;
      if (threaded_) return clock->Now();  // started meanwhile
      if (stopped_) return kNever;         // everybody was answered
      loop_thread_ = std::this_thread::get_id();
      TurnOnce();
      loop_thread_ = std::thread::id();
      next = loop_.NextTurn();
    }
    // A branch that submits drives the loop as well, but runs no other function inside itself. A workflow that waits lets
    // branches run.
    if (!functions.OnBranchThread()) {
      functions.RunQueued();
      if (hooks.RunWaiting()) next = clock->Now();
    }
    return inbox.Empty() ? next : clock->Now();
  }

  void TurnOnce() {
    try {
      if (stopping_) {
        stop_noticed_ = true;
        loop_.StartNothingNew();
      }
      loop_.Turn();
    } catch (...) {  // out of memory, or a bug: go on
      LogFailure(options, "a turn of the coordinator failed: ");
    }
    if (stopping_) {
      const std::lock_guard<std::mutex> lock(quiet_mutex_);
      quiet_ = !loop_.Busy();
      quiet_changed_.notify_all();
      if (quiet_) inbox.Interrupt();  // without a thread Stop waits there
    }
  }

  void ThreadMain() {
    loop_thread_ = std::this_thread::get_id();
    while (!quit_) {
      TurnOnce();
      inbox.Wait(*clock, loop_.NextTurn(),
                 [this] { return quit_ || StopNoticed() || loop_.HasNews(); });
    }
    loop_thread_ = std::thread::id();
  }

  /// The first turn after Stop was called has to come at once.
  bool StopNoticed() { return stopping_ && !stop_noticed_; }

  bool WaitUntilQuiet(Time until) {
    inbox.Interrupt();
    if (!threaded_) {
      for (Time next = Drive(); !quiet_ && clock->Now() < until; next = Drive()) {
        inbox.Wait(*clock, (std::min)(next, until), [this] { return quiet_.load(); });
      }
      return quiet_;
    }
    std::unique_lock<std::mutex> lock(quiet_mutex_);
    while (!quiet_ && clock->Now() < until) clock->Wait(quiet_changed_, lock, until);
    return quiet_;
  }

  std::mutex drive_mutex_;  // without a thread: one caller drives at a time
  Loop loop_;
  std::atomic<std::uint64_t> turns_{0};  // without a thread
  std::thread thread_;
  std::thread check_thread_;  // looks for damage of the file, once
  std::atomic<std::thread::id> loop_thread_{std::thread::id()};
  std::atomic<bool> threaded_{false};
  std::atomic<bool> stopping_{false}, stop_noticed_{false};
  std::atomic<bool> quit_{false}, stopped_{false}, quiet_{false};
  std::mutex stop_mutex_;
  std::mutex quiet_mutex_;
  std::condition_variable quiet_changed_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/driven_endpoint.hpp -------------------------------------------------------

/// An endpoint with its coordinator behind it, and how a thread waits for what it asked of that.
/// Needs: std, store. Threads: every method is thread-safe.

namespace dtm {
inline namespace v1 {

/// Gets a value, or the error.
template <typename T>
using ValueCallback = std::function<void(const T&, std::exception_ptr)>;

class DrivenEndpoint : public Endpoint {
 public:
  DrivenEndpoint(const DrivenEndpoint&) = delete;
  DrivenEndpoint& operator=(const DrivenEndpoint&) = delete;

  /// The blocking form: calls `ask` with a callback, and returns what the callback gets. Drives the coordinator
  /// meanwhile if no thread does.
  /// @throws LogicError  called in a callback of the coordinator, which would wait for itself.
  TransResult Await(callable::Ref<void(AnswerCallback)> ask) const {
    return Checked().WaitFor(ask);
  }
  template <typename T, typename Ask>  // the same for a ValueCallback
  T AwaitValue(const Ask& ask) const {
    const auto box = std::make_shared<T>();
    Await([&](const AnswerCallback& answer) {
      ask([box, answer](const T& value, const std::exception_ptr& error) {
        try {
          *box = value;
        } catch (const std::bad_alloc&) {
          return answer({{}, Promise::InDoubt()});
        }
        answer({{}, error});
      });
    });
    return std::move(*box);
  }

  /// For a thread that has many requests at once: see BranchResults. A call that waits ends the burst.
  void BeginBurst() { Checked().inbox.BeginBurst(); }
  void EndBurst() { Checked().inbox.EndBurst(); }
  bool HasThread() const { return Checked().HasThread(); }  ///< else whoever waits has to drive it

 protected:
  ~DrivenEndpoint() override = default;
  explicit DrivenEndpoint(std::unique_ptr<Driver> driver)
      : driver_("coordinator", std::move(driver)) {}

  void StopForGood() {
    if (driver_.Here()) Checked().StopForGood();
  }

  /// @throws LogicError  this is a forked child.
  Driver& Checked() const { return driver_.Get(); }

 private:
  OfThisProcess<Driver> driver_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/command_operations.hpp ----------------------------------------------------

/// What may be asked of a coordinator about a transaction that exists, and about those that wait. The rules that need its record
/// are in the loop, see commands/commands.hpp.
/// Needs: std, store. Threads: every method is thread-safe, and none waits for a commit. Protocol: §2.2, §2.3.

namespace dtm {
inline namespace v1 {

/// See Operations.
class CommandOperations : public DrivenEndpoint {
 public:
  void RegisterBranchAsync(const std::string& gid, TransType type, Step step,
                           AnswerCallback callback) {
    Refuse(RegistrationProblem(gid, type, step));
    for (const std::string* url : {&step.action, &step.compensate}) {
      if (type != TransType::kWorkflow) RefuseOf(gid, Checked().urls.WithoutCaller(*url));
    }
    Command command = About(gid, Command::Kind::kAddBranch);
    command.type = type;
    command.step = std::move(step);
    Push(std::move(command), std::move(callback));
  }

  void FinishWorkflowAsync(const std::string& gid, Status status, const std::string& reason,
                           const std::string& result, AnswerCallback callback) {
    CheckEnd(status);
    Command command = About(gid, Command::Kind::kFinish);
    command.type = TransType::kWorkflow;
    command.status = status;
    command.reason = reason;
    command.data = result;
    Push(std::move(command), std::move(callback));
  }

  /// Refused if the transaction has another type than `type`. If its wait_result is set and counts, the answer comes as that
  /// of a submit does, and is OngoingError if it has not ended.
  void AbortAsync(const std::string& gid, std::optional<TransType> type, const By& by,
                  WaitResult wait_result, AnswerCallback callback) {
    Command command = About(gid, Command::Kind::kCancel, by);
    command.wait_result = wait_result;
    command.type = type;
    Push(std::move(command), std::move(callback));
  }
  void AbortAsync(const std::string& gid, std::optional<TransType> type, const std::string& reason,
                  WaitResult wait_result, AnswerCallback callback) {
    AbortAsync(gid, type, By{{}, reason}, wait_result, std::move(callback));
  }

  void ForceStopAsync(const std::string& gid, const By& by, AnswerCallback callback) {
    Push(About(gid, Command::Kind::kForceStop, by), std::move(callback));
  }
  void ForceStopAsync(const std::string& gid, AnswerCallback callback) {
    ForceStopAsync(gid, By{}, std::move(callback));
  }

  void RetryNowAsync(const std::string& gid, const By& by, AnswerCallback callback) {
    Push(About(gid, Command::Kind::kRetryNow, by), std::move(callback));
  }
  void RetryNowAsync(const std::string& gid, AnswerCallback callback) {
    RetryNowAsync(gid, By{}, std::move(callback));
  }

  /// See Coordinator::Skip.
  void SkipAsync(const std::string& gid, const std::string& branch_id, Op op, const By& by,
                 AnswerCallback callback) {
    const std::string why = Truncated(Printable(by.why), kMaxJournalText);
    if (Trimmed(why).empty()) {
      throw BadInput("gid '" + gid + "' was not changed: say why branch " + Printable(branch_id) +
                     " " + Name(op) + " counts as done; it is kept, so that others can follow");
    }
    Command command = About(gid, Command::Kind::kSkip, By{by.who, why});
    command.step.branch_id = branch_id;
    command.step.op = op;
    Push(std::move(command), std::move(callback));
  }

  void WaitAsync(const std::string& gid, Duration timeout, AnswerCallback callback) {
    Command command = About(gid, Command::Kind::kWait);
    command.waiter.when = AnswerWhen::kFinished;
    command.waiter.deadline = TimeIn(timeout);
    Push(std::move(command), std::move(callback));
  }

  void ExplainAsync(const std::string& gid, ValueCallback<std::string> callback) {
    Command command = About(gid, Command::Kind::kExplain);
    command.explained = std::make_shared<std::string>();
    AnswerCallback answer = AnswerWith(command.explained, std::move(callback));
    Push(std::move(command), std::move(answer));
  }

  void ListWaitingAsync(Duration wait, std::size_t limit,
                        ValueCallback<std::vector<std::string>> callback) {
    Command command = About({}, Command::Kind::kListWaiting);
    command.after = TimeIn(wait);
    command.limit = limit;
    command.listed = std::make_shared<std::vector<std::string>>();
    AnswerCallback answer = AnswerWith(command.listed, std::move(callback));
    Push(std::move(command), std::move(answer));
  }

 protected:
  ~CommandOperations() override = default;
  using DrivenEndpoint::DrivenEndpoint;

  static Command About(const std::string& gid, Command::Kind kind) {
    Command command;
    command.kind = kind;
    command.gid = gid;
    return command;
  }
  static Command About(const std::string& gid, Command::Kind kind, const By& by) {
    Command command = About(gid, kind);
    command.reason = by.why;
    command.who = Truncated(Printable(by.who), kMaxJournalWho);
    return command;
  }

  Time TimeIn(Duration wait) const { return Later(Checked().clock->Now(), wait); }

  /// A callback that adds the value that is there by then.
  template <typename T>
  static AnswerCallback AnswerWith(std::shared_ptr<T> value, ValueCallback<T> callback) {
    return [value, callback](const Answer& reply) { callback(*value, reply.error); };
  }
  static void Refuse(const std::string& problem) {
    if (!problem.empty()) throw BadInput(problem);
  }

 private:
  void Push(Command command, AnswerCallback callback = {}) {
    command.waiter.promise = std::move(callback);
    if (!Checked().inbox.Push(std::move(command))) throw LogicError("the coordinator was stopped");
  }
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/core/gid.hpp --------------------------------------------------------------------------

/// Global transaction ids: 22 base-57 characters, the time first.
/// Needs: std. Threads: one generator by one thread at a time. Protocol: §1 (gid).
///
/// Later ids sort later, so only a small part of the store's index is in use at a time and stays in memory.

namespace dtm {
inline namespace v1 {

/// Makes gids without I/O: 48 bits of milliseconds, then 74 random bits.
class GidGenerator {
 public:
  GidGenerator() = default;
  GidGenerator(const GidGenerator&) = delete;  // a copy would make the same gids
  GidGenerator& operator=(const GidGenerator&) = delete;

  /// A gid of 22 letters and digits; those that were made later sort later.
  std::string Make(Time now) {
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch());
    // A forked child has the same stock as its parent: it asks for one of its own.
    const unsigned generation = os::Forking::Generation();
    if (std::exchange(generation_, generation) != generation) used_ = kStock;
    const std::uint64_t first = Random();
    std::string gid(22, kAlphabet[0]);
    Put((static_cast<std::uint64_t>(ms.count()) << 10 & kTimeMask) | (first & 0x3FF), 10, &gid[0]);
    Put(Random() % kPow57To10, 10, &gid[10]);
    Put(first >> 10, 2, &gid[20]);
    return gid;
  }

 private:
  // In ASCII order, and without the characters that people confuse.
  static constexpr const char* kAlphabet =
      "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
  static constexpr std::uint64_t kTimeMask = (std::uint64_t{1} << 58) - 1;
  static constexpr std::uint64_t kPow57To10 = 362033331456891249u;

  static void Put(std::uint64_t value, int digits, char* to) {
    for (int i = digits - 1; i >= 0; --i, value /= 57) to[i] = kAlphabet[value % 57];
  }

  /// Asks the system for a few at a time: asking costs more than making a gid.
  std::uint64_t Random() {
    if (used_ == kStock) {
      os::FillRandom(random_, sizeof random_);
      used_ = 0;
    }
    return random_[used_++];
  }

  static constexpr std::size_t kStock = 32;
  std::uint64_t random_[kStock];
  std::size_t used_ = kStock;
  unsigned generation_ = os::Forking::Generation();
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/operations.hpp ------------------------------------------------------------

/// What may be asked of a coordinator, by C++, HTTP or JSON-RPC alike, with the rules that need no stored record. The others
/// are in the loop: commands/commands.hpp for transactions that exist, engine/resubmission.hpp for those that are submitted again.
/// Needs: std, store. Threads: every method is thread-safe, and none waits for a commit. Protocol: §2.2, §2.3, §6.

namespace dtm {
inline namespace v1 {

/// The methods with a callback. What can be refused at once is thrown (RejectedError and its kinds; LogicError: stopped, or
/// a forked child), and then the callback is not called. Else it is called once, with what the method without Async returns
/// or throws: before this method returns, or on a thread of the coordinator, so it must not wait.
class Operations : public CommandOperations {
 public:
  // A new transaction, or the same again.

  std::string NewGid() override {
    const Time now = Checked().clock->Now();
    const std::lock_guard<std::mutex> lock(gid_mutex_);
    return gids_.Make(now);
  }

  /// With `wait_result` the answer comes at the end, at a wait for a timer, or after 6 s: perhaps with an unfinished status.
  void SubmitAsync(Definition definition, AnswerCallback callback) override {
    CheckSubmittable(definition);
    Waiter waiter;
    waiter.failure_is_error = true;
    waiter.promise = std::move(callback);
    if (definition.options.wait_result) waiter.WaitForResult(Checked().clock->Now());
    Enqueue(std::move(definition), std::move(waiter), false);
  }

  void SubmitAndWaitAsync(Definition definition, Duration timeout, AnswerCallback callback) {
    CheckSubmittable(definition);
    Waiter waiter;
    waiter.when = AnswerWhen::kFinished;
    waiter.deadline = TimeIn(timeout);
    waiter.promise = std::move(callback);
    Enqueue(std::move(definition), std::move(waiter), false);
  }

  void PrepareAsync(Definition definition, AnswerCallback callback) {
    Waiter waiter;
    waiter.promise = std::move(callback);
    Enqueue(std::move(definition), std::move(waiter), true);
  }

  /// Answers with its record. Reads the store.
  void PrepareWorkflowAsync(Definition definition, const ValueCallback<Transaction>& callback) {
    if (const std::optional<Transaction> stored = StoredWorkflow(definition)) {
      return callback(*stored, nullptr);
    }
    const auto asked = std::make_shared<const Definition>(definition);
    PrepareAsync(std::move(definition), [this, asked, callback](const Answer& reply) {
      std::optional<Transaction> stored;
      std::exception_ptr error = reply.error;
      try {
        if (!error) stored = StoredWorkflow(*asked);
        if (!error && !stored) {
          throw StoreError("gid '" + asked->gid + "' was removed at this moment; try again");
        }
      } catch (...) {
        error = std::current_exception();
      }
      if (!stored) stored.emplace();
      callback(*stored, error);
    });
  }

  // Topics.

  void SubscribeAsync(const std::string& topic, const std::string& url, const std::string& remark,
                      AnswerCallback callback) {
    Refuse(Checked().urls.Problem(url));
    ChangeTopic(
        topics::Problem(topic, url, remark), topic,
        [=](auto& stored, Time now) {
          return topics::Subscribe(stored, topic, {url, remark}, now);
        },
        std::move(callback));
  }
  void UnsubscribeAsync(const std::string& topic, const std::string& url, AnswerCallback callback) {
    ChangeTopic(
        topics::Problem(topic, url, {}), topic,
        [=](auto& stored, Time now) { return topics::Unsubscribe(stored, topic, url, now); },
        std::move(callback));
  }
  void DeleteTopicAsync(const std::string& topic, AnswerCallback callback) {
    ChangeTopic(
        {}, topic, [=](auto& stored, Time) { return topics::Delete(stored, topic); },
        std::move(callback));
  }

 protected:
  ~Operations() override = default;
  using CommandOperations::CommandOperations;

  /// Runs the work inside the next commit; the answer is what it returned, once that is durable.
  /// @throws LogicError  the store runs none.
  void RunWorkAsync(std::function<Result(TransactContext&)> work, ValueCallback<Result> callback) {
    CheckRunsWorks();
    QueuedWork queued{std::move(work), std::make_shared<Result>()};
    queued.promise = AnswerWith(queued.result, std::move(callback));
    if (!Checked().inbox.Push(std::move(queued))) NotTaken("");
  }

  void CheckRunsWorks() const {
    if (Checked().store->Shared() == nullptr) return;
    throw LogicError(
        "nothing of the program runs inside a commit of a store that several coordinators share: "
        "its "
        "SQL would keep all of them waiting. To store rows and a saga together, write both in a "
        "transaction of the program: dtm::PgOutbox or dtm::MysqlOutbox");
  }

 private:
  static void CheckSubmittable(const Definition& definition) {
    const std::string problem = SubmitProblem(definition);
    if (!problem.empty()) throw RejectedError(problem);
  }

  void Enqueue(Definition definition, Waiter waiter, bool prepare) {
    Driver& driver = Checked();
    definition.prepared_first = prepare;
    topics::CheckAndExpand(definition, *driver.store);
    RefuseOf(definition.gid, driver.urls.WithoutCaller(definition));
    const std::string problem = prepare ? PrepareProblem(definition) : std::string();
    if (!problem.empty()) throw RejectedError(problem);
    const auto shared = std::make_shared<Definition>(std::move(definition));
    if (driver.inbox.Push(Submission{shared, std::move(waiter), prepare})) return;
    NotTaken("gid '" + shared->gid + "' was not stored: ");
  }

  [[noreturn]] void NotTaken(const std::string& who) const {
    if (Checked().inbox.Closed()) throw LogicError(who + "the coordinator was stopped");
    const Options& options = Checked().options;
    throw BusyError(who + "too much is waiting to be stored, " +
                    std::to_string(options.max_waiting_submissions) + " submissions or " +
                    std::to_string(InboxBytes(options)) +
                    " bytes (an eighth of max_memory_bytes); submit it again later");
  }

  /// Nothing if the gid is free.
  std::optional<Transaction> StoredWorkflow(const Definition& asked) {
    std::optional<Transaction> stored = Checked().store->Load(asked.gid);
    if (!stored) return stored;
    if (stored->unreadable) throw RejectedError("gid '" + asked.gid + "': " + stored->last_error);
    if (stored->expired && stored->definition->type == TransType::kWorkflow) {
      throw RejectedError(
          "gid '" + asked.gid + "' has ended as " + Name(stored->status) +
          " and its result is no longer kept (keep_finished); nothing was run. Use a new gid");
    }
    const std::string problem = engine::OtherWorkflow(*stored->definition, asked);
    if (!problem.empty()) throw RejectedError(problem);
    return stored;
  }

  void ChangeTopic(const std::string& problem, const std::string& topic,
                   const topics::Change& change, AnswerCallback callback) {
    if (!problem.empty()) throw RejectedError(problem);
    Driver& driver = Checked();
    if (Peers* const peers = driver.store->Shared()) {  // at once, in this thread
      const Time now = driver.clock->Now();
      const Result result =
          peers->ChangeValue(topics::kCategory, topic,
                             [&](std::optional<KeyValue>& stored) { return change(stored, now); });
      if (result.kind != Result::Kind::kSuccess) throw RejectedError(result.text);
      return callback({});
    }
    RunWorkAsync(
        [&driver, topic, change](TransactContext&) {
          return topics::ChangeIn(*driver.store, topic, change, driver.clock->Now());
        },
        [callback = std::move(callback)](const Result& result, const std::exception_ptr& error) {
          const bool refused = !error && result.kind != Result::Kind::kSuccess;
          callback({{}, refused ? Answers::Rejected(result.text) : error});
        });
  }

  std::mutex gid_mutex_;
  GidGenerator gids_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/tx.hpp --------------------------------------------------------------------

/// A transaction of the program's database that the coordinator commits, together with what is submitted in it.
/// Needs: std, store. Threads: the thread that drives the loop, during Transact.

namespace dtm {
inline namespace v1 {

/// The function of Coordinator::Transact gets this: the connection to write through, and an endpoint for sagas and
/// messages that are stored by the same commit. Do not keep it.
class Tx : public Endpoint {
 public:
  /// See Coordinator::Transact.
  Tx(Endpoint& coordinator, Driver& driver, TransactContext& context)
      : coordinator_(coordinator), driver_(driver), context_(context) {}

  /// The store's connection: a sqlite3* with SQLite. BEGIN, COMMIT, ROLLBACK and the dtm_ tables are denied. Finalize your
  /// statements before the function returns: after a failure of the store there is a new connection.
  const WorkContext& Db() const { return context_.connection; }

  /// A new gid, of the coordinator.
  std::string NewGid() override { return coordinator_.NewGid(); }

  /// Submits a saga or a message; it is stored if and only if the rows are.
  /// @throws RejectedError  a limit, or the gid exists: let it pass, and nothing is stored.
  TransResult Submit(Definition definition) override {
    const std::string gid = definition.gid;
    const bool fits = definition.type == TransType::kSaga || definition.type == TransType::kMsg;
    if (!fits || definition.options.wait_result) {
      throw LogicError(
          "gid '" + gid +
          "': inside Transact only sagas and messages are submitted, and nobody waits");
    }
    topics::CheckAndExpand(definition, *driver_.store);
    topics::CheckNew(definition);
    RefuseOf(gid, driver_.urls.WithoutCaller(definition));
    bool taken = context_.exists(gid);
    for (const auto& other : context_.submitted) taken = taken || other->gid == gid;
    if (taken) throw RejectedError("gid '" + gid + "' exists already; nothing was changed");
    context_.submitted.push_back(std::make_shared<Definition>(std::move(definition)));
    return {gid, Status::kSubmitted, {}};
  }

  std::string UrlOfLocal(const std::string& name, std::uint64_t registered_with) const override {
    return coordinator_.UrlOfLocal(name, registered_with);
  }

  // What would wait for the commit that this is part of.
  TransResult SubmitAndWait(Definition, Duration) override { Waits("SubmitAndWait"); }
  void SubmitAsync(Definition, AnswerCallback) override { Waits("SubmitAsync"); }
  TransResult Prepare(Definition) override { Waits("Prepare"); }
  void Abort(const std::string&, TransType, const std::string&) override { Waits("Abort"); }
  void RegisterBranch(const std::string&, TransType, Step) override { Waits("RegisterBranch"); }
  WorkflowState PrepareWorkflow(Definition) override { Waits("PrepareWorkflow"); }
  WorkflowState ResumeWorkflow(Definition) override { Waits("ResumeWorkflow"); }
  void FinishWorkflow(const std::string&, Status, const std::string&, const std::string&) override {
    Waits("FinishWorkflow");
  }
  Result CallBranch(const InitiatorCall&) override { Waits("CallBranch"); }

 private:
  [[noreturn]] static void Waits(const char* what) {
    throw LogicError(std::string(what) +
                     " inside Transact would wait for the commit it is part of; use Submit");
  }

  Endpoint& coordinator_;
  Driver& driver_;
  TransactContext& context_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/embedded_endpoint.hpp -----------------------------------------------------

/// The embedded coordinator as builders see it: the operations of operations.hpp in their blocking form, and the calls
/// that an initiator makes itself.
/// Needs: std, store. Threads: every method is thread-safe. Protocol: §2.2, as a C++ interface.

namespace dtm {
inline namespace v1 {

/// What a Coordinator is for builders: the Endpoint in this process.
class EmbeddedEndpoint : public Operations {
 public:
  /// Stops, and waits for functions that are running.
  ~EmbeddedEndpoint() override { StopForGood(); }

  TransResult Submit(Definition definition) override {
    if (definition.options.wait_result) CheckMayBlock("Submit with wait_result");
    return Await(
        [&](AnswerCallback answer) { SubmitAsync(std::move(definition), std::move(answer)); });
  }

  TransResult SubmitAndWait(Definition definition, Duration timeout) override {
    CheckMayBlock("SubmitAndWait");
    return Await([&](AnswerCallback answer) {
      SubmitAndWaitAsync(std::move(definition), timeout, std::move(answer));
    });
  }

  TransResult Prepare(Definition definition) override {
    return Await(
        [&](AnswerCallback answer) { PrepareAsync(std::move(definition), std::move(answer)); });
  }

  void Abort(const std::string& gid, TransType type, const std::string& reason) override {
    Await([&](AnswerCallback answer) {
      AbortAsync(gid, type, reason, WaitResult::kIgnored, std::move(answer));
    });
  }

  void RegisterBranch(const std::string& gid, TransType type, Step step) override {
    Await([&](AnswerCallback answer) {
      RegisterBranchAsync(gid, type, std::move(step), std::move(answer));
    });
  }

  WorkflowState PrepareWorkflow(Definition definition) override {
    const Transaction stored =
        AwaitValue<Transaction>([&](const ValueCallback<Transaction>& answer) {
          PrepareWorkflowAsync(std::move(definition), answer);
        });
    const Definition& found = *stored.definition;
    return {stored.status, stored.reason,  stored.result, found.options,
            found.steps,   found.workflow, found.data};
  }

  WorkflowState ResumeWorkflow(Definition definition) override {
    if (!Checked().store->Load(definition.gid))
      throw RejectedError(NothingToResume(definition.gid));
    return PrepareWorkflow(std::move(definition));
  }

  void FinishWorkflow(const std::string& gid, Status status, const std::string& reason,
                      const std::string& result) override {
    Await([&](AnswerCallback answer) {
      FinishWorkflowAsync(gid, status, reason, result, std::move(answer));
    });
  }

  Result CallBranch(const InitiatorCall& call) override {
    if (call.url.empty()) return Result::Success();  // there is nothing to call
    Driver& driver = Checked();
    Hooks& hooks = driver.hooks;
    if (!hooks.spans.Wanted()) return CallBranchIn(call, nullptr);
    const auto span =
        std::make_shared<const CallSpan>(CallSpan{hooks.span_ids.Next(), driver.clock->Now(), 0});
    Result result = CallBranchIn(call, span);
    const BranchCall made = BareCall(call);
    hooks.spans.Tell({std::make_shared<const Span>(
        SpanOf(*made.definition, made.row, *span, result, driver.clock->Now()))});
    return result;
  }

  std::string UrlOfLocal(const std::string& name, std::uint64_t registered_with) const override {
    if (registered_with != identity_) {
      throw LogicError("function '" + name +
                       "' is registered with another coordinator; register it "
                       "with the one the transaction is submitted to");
    }
    return kLocalPrefix + name;
  }

  /// Runs a registered function in this thread, for a transaction of a coordinator elsewhere.
  /// @throws RejectedError  no function has this name.
  Result CallFunction(const std::string& name, const std::string& payload, const BranchInfo& info) {
    if (RunsInTransaction(kLocalPrefix + name)) {
      throw BadInput("'" + name +
                     "' runs inside the commit of this coordinator, so no other one can call it; "
                     "use Register for it");
    }
    BranchFunction function = Checked().functions.Find(name);
    if (!function) throw BadInput("no branch function is registered as '" + name + "'");
    return CatchAsResult([&] { return function(payload, Caller(info)); });
  }

 protected:
  /// Owns `driver`.
  explicit EmbeddedEndpoint(std::unique_ptr<Driver> driver)
      : Operations(std::move(driver)), identity_(RandomIdentity()) {}

  /// A branch function that waits for a transaction could wait for itself.
  void CheckMayBlock(const char* what) const {
    if (Checked().functions.OnBranchThread()) {
      throw LogicError(
          std::string(what) +
          " inside a branch function could wait for itself; use Submit or SubmitAsync");
    }
  }

  /// Runs `work` inside a commit of the coordinator, and waits for that.
  Result RunWork(std::function<Result(TransactContext&)> work) {
    return AwaitValue<Result>(
        [&](ValueCallback<Result> answer) { RunWorkAsync(std::move(work), std::move(answer)); });
  }

  /// See Coordinator::Transact.
  void RunTransact(callable::Ref<Result(Tx&)> function) {
    Driver& driver = Checked();
    const auto thrown = std::make_shared<std::exception_ptr>();
    const Result result = RunWork([&, thrown](TransactContext& context) -> Result {
      *thrown = nullptr;
      Tx tx(*this, driver, context);
      try {
        return function(tx);
      } catch (...) {
        *thrown = std::current_exception();
        throw;
      }
    });
    // Moved, so that the last reference is the caller's: the exception may be read here while the loop frees its own.
    if (*thrown) std::rethrow_exception(std::exchange(*thrown, nullptr));
    if (result.kind == Result::Kind::kFailure) throw FailureError(result.text);
    if (result.kind != Result::Kind::kSuccess) throw Error(result.text);
  }

  /// `span`: null if it is none.
  Result CallBranchIn(const InitiatorCall& call, const std::shared_ptr<const CallSpan>& span) {
    if (RunsInTransaction(call.url)) return CallInTransaction(call, span);
    if (IsLocal(call.url)) {
      BranchInfo info = call.info;
      const auto trace = ContextOfCall(info.gid, call.options, span.get());
      if (trace) Put(*trace, info);
      return CallFunction(call.url.substr(kLocalPrefixSize), call.payload, info);
    }
    const std::string problem = Checked().urls.Problem(call.url);
    if (!problem.empty()) throw RejectedError("gid '" + call.info.gid + "': " + problem);
    return Checked().CallOnce(call, span);
  }

  /// Without what a branch by URL is told besides.
  static BranchCall BareCall(InitiatorCall direct) {
    direct.phase2_url.clear();
    return ToBranchCall(direct, {}, {});
  }

  /// A function inside a commit that the initiator calls itself: it gets a commit of its own.
  Result CallInTransaction(const InitiatorCall& direct, std::shared_ptr<const CallSpan> span) {
    BranchCall call = BareCall(direct);
    call.span = std::move(span);
    const auto functions = &Checked().transaction_functions;
    return RunWork([call, functions](TransactContext& context) {
      return functions->Run(call, context.connection);
    });
  }

  /// What tells its functions from those of other coordinators.
  std::uint64_t Identity() const { return identity_; }

 private:
  static std::uint64_t RandomIdentity() {
    std::uint64_t identity = 0;
    os::FillRandom(&identity, sizeof identity);
    return identity;
  }

  const std::uint64_t identity_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/functions/typed_function.hpp ----------------------------------------------

/// Turns a function with its own payload type into one that the registry can keep.
/// Needs: nlohmann/json. Threads: the result runs on any thread; the function has to allow that.

namespace dtm {
inline namespace v1 {

/// @throws Error  it is no JSON, nested too deep, or no T.
template <typename T>
T ParsePayload(const std::string& text) {
  if (JsonDepth(text) > kMaxJsonDepth) {
    throw Error("its payload is nested more than " + std::to_string(kMaxJsonDepth) +
                " levels deep");
  }
  try {
    return nlohmann::json::parse(text.empty() ? "null" : text).template get<T>();
  } catch (const nlohmann::json::exception& error) {
    throw Error(std::string("its payload is not what the function takes: ") + error.what());
  }
}

namespace typed_function {

template <typename T, typename Function, typename... Before>
inline constexpr bool kPlain = callable::kFits<Function, Before..., const T&>;
template <typename T, typename Function, typename... Before>
inline constexpr bool kFits = kPlain<T, Function, Before...> ||
                              callable::kFits<Function, Before..., const T&, const BranchInfo&>;
template <typename T, typename Function, typename... Before>
inline constexpr bool kFitsMutable =
    callable::kFitsMutable<Function, Before..., const T&> ||
    callable::kFitsMutable<Function, Before..., const T&, const BranchInfo&>;

/// `Before` is nothing, or WorkContext for a function inside a commit, which takes it as the connection it is.
template <typename T, typename Function, typename... Before>
constexpr void Check() {
  static_assert(payload::kReadable<T>,
                "dtm: nlohmann/json cannot read the payload type T of Register<T>; write "
                "NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(T, members...) in the namespace of T");
  constexpr bool in_commit = sizeof...(Before) > 0;
  // The same function for the other kind of registration.
  constexpr bool other = in_commit ? kFits<T, Function> : kFits<T, Function, const WorkContext&>;
  constexpr bool ours = kFits<T, Function, Before...> || kFitsMutable<T, Function, Before...>;
  static_assert(ours || !other || !in_commit,
                "dtm: a function of RegisterInTransaction takes the store's connection first: "
                "[](sqlite3* db, const T& payload)");
  static_assert(ours || !other || in_commit,
                "dtm: a function that takes a connection is registered with RegisterInTransaction");
  static_assert((other && !ours) || callable::Check<Function, kFits<T, Function, Before...>,
                                                    kFitsMutable<T, Function, Before...>>(),
                "dtm: a branch function takes `const T&`, or `const T&` and "
                "`const dtm::BranchInfo&`, where T is the payload type of Register<T>");
}

template <typename T, typename Function, typename... Before>
Result Call(const Function& function, const std::string& text, const Caller& caller,
            Before... before) {
  if constexpr (payload::kReadable<T> && kFits<T, Function, Before...>) {
    const T payload = ParsePayload<T>(text);
    if constexpr (kPlain<T, Function, Before...>) {
      return ResultOf(function, before..., payload);
    } else {
      return ResultOf(function, before..., payload, caller.Info());
    }
  } else {
    return Result::Success();  // Check has said what is wrong
  }
}

}  // namespace typed_function

/// `function` takes `const T&`, or `const T&` and `const BranchInfo&`; it returns nothing (success)
/// or a Result. An empty function stays empty. No payload is null. A payload that cannot be read as T is a temporary
/// error, not a Failure.
template <typename T, typename Function>
BranchFunction EraseType(Function function) {
  typed_function::Check<T, Function>();
  if (callable::Empty(function)) return {};
  return callable::Keep<Result(const std::string&, const Caller&)>(
      [function = std::move(function)](const std::string& text, const Caller& caller) {
        return typed_function::Call<T>(function, text, caller);
      });
}

/// The same for a function that runs inside a commit: it takes the store's connection before these.
template <typename T, typename Function>
TransactionFunction EraseTransactionType(Function function) {
  typed_function::Check<T, Function, const WorkContext&>();
  if (callable::Empty(function)) return {};
  return callable::Keep<Result(const WorkContext&, const std::string&, const Caller&)>(
      [function = std::move(function)](const WorkContext& context, const std::string& text,
                                       const Caller& caller) {
        return typed_function::Call<T, Function, const WorkContext&>(function, text, caller,
                                                                     context);
      });
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/parts/wake_fd.hpp ---------------------------------------------------------

/// A file descriptor that tells an event loop when to call Poll.
/// Needs: base/os.hpp. Threads: thread-safe.

namespace dtm {
inline namespace v1 {

/// `options.on_wake = wake.OnWake()` makes Fd() readable; then call Clear and Poll. Poll as well when the time that it
/// returned is over (examples/event_loop_poll.cpp).
class WakeFd {
 public:
  /// @throws Error  the system has no free descriptor.
  WakeFd() : event_(std::make_shared<const os::EventFd>()) {}

  /// Readable from a wake to Clear; for poll, epoll and the like.
  int Fd() const { return event_->Get(); }
  /// Call it before Poll.
  void Clear() const { event_->Clear(); }
  /// The returned function may outlive this.
  std::function<void()> OnWake() const {
    return [event = event_] { event->Signal(); };
  }

 private:
  std::shared_ptr<const os::EventFd> event_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/outcome.hpp ---------------------------------------------------------------

/// What came of what was asked of a coordinator, in the few kinds that every protocol to the outside tells apart.
/// Needs: std. Threads: pure functions.

namespace dtm {
inline namespace v1 {

struct Outcome {
  enum class Kind {
    kDone,
    kBadInput,     ///< it can never be accepted as it is; nothing was changed
    kRejected,     ///< it does not fit what is stored; nothing was changed
    kRolledBack,   ///< the transaction was, or will be
    kOngoing,      ///< not finished yet; ask again
    kUnavailable,  ///< not possible now; nothing was changed, the same may work later
    kUnknown       ///< it may have happened or not; ask for the same again
  };
  Kind kind = Kind::kDone;
  std::string message{};  ///< unless it is done
};

/// An error that the coordinator has thrown or answered with.
inline Outcome OutcomeOf(const std::exception_ptr& error) {
  using Kind = Outcome::Kind;
  try {
    std::rethrow_exception(error);
  } catch (const BadInput& bad) {
    return {Kind::kBadInput, bad.what()};
  } catch (const BusyError& busy) {
    return {Kind::kUnavailable, busy.what()};
  } catch (const RejectedError& rejected) {
    return {Kind::kRejected, rejected.what()};
  } catch (const FailureError& failure) {
    return {Kind::kRolledBack, failure.what()};
  } catch (const OngoingError& ongoing) {
    return {Kind::kOngoing, ongoing.what()};
  } catch (const StoreError& failed) {
    return {Kind::kUnavailable, failed.what()};
  } catch (const LogicError& stopped) {
    return {Kind::kUnavailable, stopped.what()};
  } catch (...) {  // in doubt, or an unknown exception
    return {Kind::kUnknown, WhatWasThrown()};
  }
}

inline Outcome OutcomeOf(const Answer& answer) {
  if (!answer.error) return {};
  // The error says more than the clients of dtm are told of a rollback.
  if (answer.result.Failed()) return {Outcome::Kind::kRolledBack, answer.result.reason};
  return OutcomeOf(answer.error);
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/parts/outbox_source.hpp ---------------------------------------------------

/// Where a coordinator finds transactions that a program wrote into its own database; the interface of <dtm/outbox/...>.
/// Needs: std. Threads: one at a time, that of the relay.

namespace dtm {
inline namespace v1 {

class OutboxSource {
 public:
  virtual ~OutboxSource() = default;

  /// What became of a transaction.
  struct Verdict {
    enum class Kind {
      kTaken,    ///< the coordinator has it: its row goes
      kRefused,  ///< it cannot be taken: its row is kept and marked with `why`
      kLater     ///< not now: its row stays as it is
    };
    Kind kind = Kind::kLater;
    std::string why{};
  };
  /// One for each of a page, in their order.
  using Take = std::function<std::vector<Verdict>(std::vector<Definition>)>;

  /// The row that waits longest, whoever is to take it up.
  struct Oldest {
    Duration age{};        ///< 0: no row waits
    std::string not_ours;  ///< why this coordinator leaves it alone; empty: it takes it up
  };

  /// Claims up to `limit` rows for the store of that name, the oldest first, and gives them to `take` when that is durable;
  /// then removes or marks them. So a row is only ever given to coordinators of one store, which knows its gid. Returns how
  /// many rows there were. If `take` throws, all of them stay.
  /// @throws Error  the database does not answer. Rows that were taken may come again, to the same store.
  virtual std::size_t Relay(const std::string& store, std::size_t limit, const Take& take) = 0;

  /// @throws Error  the database does not answer.
  virtual Oldest LookAtOldest(const std::string& store) = 0;

  /// For the log: which table of which server; no password.
  virtual std::string Name() const = 0;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/store_name.hpp ------------------------------------------------------------

/// A name for a store that no other has: it is made when it is first asked for, and stays in the store.
/// Needs: std. Threads: any. Format: docs/store_format.md.

namespace dtm {
inline namespace v1 {

namespace store_name {

inline constexpr const char kCategory[] = "coordinator";
inline constexpr const char kKey[] = "store";

}  // namespace store_name

/// Calls back once with the name (22 letters and digits) when it is durable, or with the error: at once, or on the loop's
/// thread.
/// @throws StoreError  the store cannot be read. BusyError: too much is waiting, or the coordinator was stopped. Then the
/// callback is not called.
inline void AskStoreName(
    Driver& driver, std::function<void(const std::string&, const std::exception_ptr&)> callback) {
  const KeyValuePage stored =
      driver.store->ScanValues(store_name::kCategory, store_name::kKey, 0, 1);
  if (!stored.values.empty()) return callback(stored.values[0].value, nullptr);
  const auto name = std::make_shared<std::string>();
  QueuedWork work;
  work.work = [&driver, name](TransactContext&) {
    const std::optional<KeyValue> now =
        driver.store->GetValue(store_name::kCategory, store_name::kKey);
    if (now) {
      *name = now->value;
      return Result::Success();
    }
    KeyValue value;
    value.category = store_name::kCategory;
    value.key = store_name::kKey;
    value.updated = driver.clock->Now();
    value.value = *name = GidGenerator().Make(value.updated);
    driver.store->PutValue(value);
    return Result::Success();
  };
  work.result = std::make_shared<Result>();
  work.promise = [name, result = work.result,
                  callback = std::move(callback)](const Answer& answer) {
    const bool failed = !answer.error && result->kind != Result::Kind::kSuccess;
    callback(*name, failed ? std::make_exception_ptr(StoreError(result->text)) : answer.error);
  };
  if (!driver.inbox.Push(std::move(work))) {
    throw BusyError("the name of the store: too much is waiting to be stored, or it was stopped");
  }
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/relay.hpp -----------------------------------------------------------------

/// Takes over what programs submitted into an outbox table: the thread between an OutboxSource and its coordinator.
/// Needs: std. Threads: Stop from any thread, once.

namespace dtm {
inline namespace v1 {

/// Counts of one relay; any thread.
struct RelayCounts {
  std::atomic<std::uint64_t> relayed{0}, refused{0};
  std::atomic<Duration::rep> oldest{0};  ///< microseconds
};

/// A row is claimed for this coordinator's store, its transaction submitted, and then the row removed. So after a crash at
/// any point it may be submitted again, but only to this store, where its gid makes that harmless. What the coordinator
/// refuses (a limit, other content under the gid, a topic without subscribers) is marked in its row and logged; everything
/// else is tried again, with waits that grow to 10 s while the database or the store fails, or too much is waiting. The
/// waits are of real time, also when the coordinator has another clock.
class Relay {
 public:
  Relay(Endpoint& coordinator, Driver& driver, std::unique_ptr<OutboxSource> source,
        Duration interval)
      : coordinator_(coordinator),
        driver_(driver),
        source_(std::move(source)),
        interval_(interval),
        thread_([this] { Main(); }) {}
  ~Relay() { Stop(); }
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  const RelayCounts& Counts() const { return counts_; }

  /// From now on the thread begins nothing new.
  void BeginStop() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
  }
  /// Returns when the thread has ended: at once, or when the database has answered; the source bounds that.
  void Stop() {
    BeginStop();
    if (thread_.joinable()) thread_.join();
  }

 private:
  static constexpr std::size_t kPage = 64;    // of at most 1 MiB each
  static constexpr int kLooksUntilIdle = 10;  // that find nothing
  static constexpr Duration kLookAtOldest = std::chrono::seconds(10);
  static constexpr Duration kLongForAnother = std::chrono::minutes(1);

  void Main() noexcept {
    Duration wait = interval_;
    int found_nothing = 0;
    for (bool failed = false;;) {
      bool progress = false;
      try {
        if (store_.empty()) store_ = AskName();
        LookAtOldest();
        const bool found = Drain(progress);
        if (failed) Log(LogLevel::kInfo, "is read again");
        failed = false;
        found_nothing = found ? 0 : (std::min)(found_nothing + 1, kLooksUntilIdle);
        wait = found_nothing < kLooksUntilIdle ? interval_ : 3 * interval_;
      } catch (...) {
        const std::string why = WhatWasThrown();
        if (!failed && !Stopping()) {
          Log(LogLevel::kWarning, "cannot be relayed now, and is tried again: " + why);
        }
        failed = true;
        wait = progress ? interval_ : (std::min)(wait * 2, Duration(std::chrono::seconds(10)));
      }
      if (!Sleep(wait)) return;
    }
  }

  /// All that is there. False: nothing was. @throws Error  some of it has to come again; or the database fails.
  bool Drain(bool& progress) {
    std::size_t rows = kPage;
    bool found = false;
    std::string later;
    while (rows == kPage && later.empty() && !Stopping()) {
      rows = source_->Relay(store_, kPage, [&](std::vector<Definition> page) {
        return Submit(std::move(page), later, progress);
      });
      found = found || rows > 0;
    }
    if (!later.empty()) throw Error(later);
    return found;
  }

  /// For the gauge; and says once if what waits is left alone.
  void LookAtOldest() {
    const Duration now = os::SinceBoot();
    if (now < next_look_ || Stopping()) return;
    next_look_ = now + kLookAtOldest;
    const OutboxSource::Oldest oldest = source_->LookAtOldest(store_);
    counts_.oldest = oldest.age.count();
    const bool stays = !oldest.not_ours.empty() && oldest.age >= kLongForAnother;
    if (stays && !said_) {
      Log(LogLevel::kWarning, "the oldest row waits for " +
                                  std::to_string(oldest.age / std::chrono::seconds(1)) +
                                  " s: " + oldest.not_ours);
    }
    said_ = stays;
  }

  void Log(LogLevel level, const std::string& text) noexcept {
    try {
      LogTo(driver_.options, level, "outbox " + source_->Name() + ": " + text);
    } catch (...) {  // NOLINT(bugprone-empty-catch): no memory for a line of the log
    }
  }

  bool Stopping() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return stopping_;
  }
  /// False: it is time to stop.
  bool Sleep(Duration wait) {
    std::unique_lock<std::mutex> lock(mutex_);
    return !changed_.wait_for(lock, wait, [this] { return stopping_; });
  }

  /// Waits for `left` answers at most longer than a coordinator takes whose store fails; shorter if it is to stop.
  template <typename Answers>
  void Await(Answers& answers, std::unique_lock<std::mutex>& lock) {
    for (int waits = 0; answers.left > 0 && waits < 100 && !Stopping(); ++waits) {
      answers.changed.wait_for(lock, std::chrono::milliseconds(100),
                               [&] { return answers.left == 0; });
    }
  }

  std::string AskName() {
    struct Asked {
      std::mutex mutex;
      std::condition_variable changed;
      std::size_t left = 1;
      std::string name;
      std::exception_ptr error;
    };
    const auto asked = std::make_shared<Asked>();
    AskStoreName(driver_, [asked](const std::string& name, const std::exception_ptr& error) {
      const std::lock_guard<std::mutex> lock(asked->mutex);
      asked->name = name;
      asked->error = error;
      asked->left = 0;
      asked->changed.notify_all();
    });
    std::unique_lock<std::mutex> lock(asked->mutex);
    Await(*asked, lock);
    if (asked->error) std::rethrow_exception(asked->error);
    if (asked->left > 0) throw Error(kNoAnswer);
    return asked->name;
  }

  static constexpr const char* kNoAnswer =
      "the coordinator did not answer; does the program poll it?";

  using Verdict = OutboxSource::Verdict;

  /// What became of a page; shared, since answers may come after nobody waits for them any more.
  struct Answers {
    explicit Answers(std::size_t count) : left(count), verdicts(count) {}
    std::mutex mutex;
    std::condition_variable changed;
    std::size_t left;
    std::vector<Verdict> verdicts;
  };

  /// All of a page are in the coordinator's next commits, which are shared. `later`: why one of them has to come again;
  /// `progress`: one has not.
  std::vector<Verdict> Submit(std::vector<Definition> page, std::string& later, bool& progress) {
    const auto answers = std::make_shared<Answers>(page.size());
    for (std::size_t i = 0; i < page.size(); ++i) {
      const auto answered = [answers, i](const Outcome& outcome) {
        const std::lock_guard<std::mutex> lock(answers->mutex);
        answers->verdicts[i] = VerdictOf(outcome);
        --answers->left;
        answers->changed.notify_all();
      };
      try {
        coordinator_.SubmitAsync(std::move(page[i]),
                                 [answered](const Answer& answer) { answered(OutcomeOf(answer)); });
      } catch (...) {
        answered(OutcomeOf(std::current_exception()));
      }
    }
    std::unique_lock<std::mutex> lock(answers->mutex);
    Await(*answers, lock);
    std::vector<Verdict> verdicts = answers->verdicts;
    lock.unlock();
    for (const Verdict& verdict : verdicts) {
      progress = progress || verdict.kind != Verdict::Kind::kLater;
      if (verdict.kind == Verdict::Kind::kTaken) ++counts_.relayed;
      if (verdict.kind == Verdict::Kind::kRefused) {
        ++counts_.refused;
        Log(LogLevel::kError,
            "a row was refused, and is kept with the reason in its column `problem`: " +
                verdict.why);
      } else if (verdict.kind == Verdict::Kind::kLater && later.empty()) {
        later = verdict.why.empty() ? kNoAnswer : verdict.why;
      }
    }
    return verdicts;
  }

  static Verdict VerdictOf(const Outcome& outcome) {
    switch (outcome.kind) {
      case Outcome::Kind::kDone:
      case Outcome::Kind::kRolledBack:  // it is there
        return {Verdict::Kind::kTaken};
      case Outcome::Kind::kBadInput:
      case Outcome::Kind::kRejected: return {Verdict::Kind::kRefused, outcome.message};
      case Outcome::Kind::kOngoing:
      case Outcome::Kind::kUnavailable:
      case Outcome::Kind::kUnknown: break;
    }
    return {Verdict::Kind::kLater, outcome.message};
  }

  Endpoint& coordinator_;
  Driver& driver_;
  const std::unique_ptr<OutboxSource> source_;
  const Duration interval_;
  RelayCounts counts_;
  std::string store_;      // its name, once it is known
  Duration next_look_{0};  // at the oldest, since boot
  bool said_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::thread thread_;  // the last: it uses the others
};

/// The relays of a coordinator. Threads: thread-safe.
class Relays {
 public:
  /// @throws LogicError  see Coordinator::Relay.
  void Add(Endpoint& coordinator, Driver& driver, std::unique_ptr<OutboxSource> source,
           Duration interval) {
    if (!source) throw LogicError("Relay without a source; make one, for example with PgRelay");
    if (interval < std::chrono::milliseconds(1) || interval > std::chrono::minutes(1)) {
      throw LogicError("an outbox is looked at every 1 ms to 1 min");
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stopped_)
      throw LogicError("Relay after Stop; an outbox is relayed while the coordinator runs");
    relays_.push_back(std::make_unique<Relay>(coordinator, driver, std::move(source), interval));
  }
  void Stop() {
    const std::lock_guard<std::mutex> one_at_a_time(stop_mutex_);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopped_ = true;  // from now on there come no more
    }
    for (const auto& relay : relays_) relay->BeginStop();  // so that they wait at the same time
    for (const auto& relay : relays_) relay->Stop();
  }
  void Measure(Gauges& gauges) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (relays_.empty()) return;
    OutboxGauges& all = gauges.outboxes.emplace();
    for (const auto& relay : relays_) {
      all.relayed += relay->Counts().relayed;
      all.refused += relay->Counts().refused;
      all.oldest_age = (std::max)(all.oldest_age, Duration(relay->Counts().oldest));
    }
  }

 private:
  std::mutex stop_mutex_;
  std::mutex mutex_;
  bool stopped_ = false;
  std::vector<std::unique_ptr<Relay>> relays_;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/store/sqlite/files.hpp ----------------------------------------------------------------

/// Checks that the files that the SQLite store has open are still those at their path, and that nobody else has written to
/// them.
/// Needs: SQLite through sql/sqlite_connection.hpp. Threads: the owner's. Document: docs/store_format.md, "Files".
///
/// SQLite continues in files that were removed, renamed or overwritten, and reports success; such a commit is lost. So the
/// store checks its files after each commit, before the commit counts, and before it copies its log into a file that may
/// be a different one.

namespace dtm {
inline namespace v1 {
namespace sqlite_store {

class OpenFiles {
 public:
  enum class State {
    kGood,
    kReopen,  ///< the file is the same, its log is no longer at its path: what is committed can be saved
    kLost  ///< not the file that was opened; nothing may be written into it, not even the log
  };
  struct Finding {
    State state = State::kGood;
    std::string what;  ///< a sentence
  };

  explicit OpenFiles(std::string path)
      : path_(std::move(path)), wal_path_(path_ + "-wal"), shm_path_(path_ + "-shm") {}

  /// Once a connection that writes is open, with its log.
  /// @throws StoreError  it is not the file that was opened at first, or another connection of this process keeps a log
  ///                     that was removed.
  void Opened(const sql::Database& writer) {
    wal_ = os::StampOf(wal_path_);
    shm_ = os::StampOf(shm_path_);
    // Where SQLite has no log open, the index would be opened here, and closed by nobody.
    const bool log = wal_ && shm_;
    Copied(log ? sql::LogIndex(writer).Now() : sql::LogIndex::State());
    if (!main_ || !main_->SameFile(first_) || writer.HasMoved()) throw StoreError(Another());
    if (log) return;
    throw StoreError("the store file '" + path_ +
                     "': its log was removed, and a connection of this program to the file still "
                     "uses the removed one; close that "
                     "connection, or start the program again");
  }

  /// A batch begins: nobody else writes until it has ended.
  void Begun(const sql::LogIndex::State& log) { at_begin_ = log; }

  /// The log was copied into the file by its owner, or may have been.
  void Copied(const sql::LogIndex::State& log) {
    main_ = os::StampOf(path_);
    if (!first_) first_ = main_;
    at_begin_ = copied_ = log;
  }

  /// Takes a few microseconds. `index`: of the connection that writes, if there is one.
  Finding Look(const sql::LogIndex* index) {
    if (!lost_.empty()) return {State::kLost, lost_};
    // Whoever copies the log says so before it writes and again when it is done: read before the stamp it tells what may
    // still come, behind it what may have come.
    const sql::LogIndex::State before = StateOf(index);
    const std::optional<os::FileStamp> main = os::StampOf(path_);
    if (!main) {
      return {State::kLost,
              File() +
                  " is no longer at its path, it was removed or its folder renamed; put "
                  "it back, or start the program again on the right file"};
    }
    if (!first_ || !main->SameFile(*first_)) {
      return {State::kLost, Another()};
    }
    if (!main_ || (!main->SameContent(*main_) && !CopiedByOthers(StateOf(index)))) {
      lost_ = "another program has written into " + File() +
              ", as a backup that is copied over it would; stop this program, put the right file "
              "there without '" +
              wal_path_ + "' and '" + shm_path_ + "', and start it again";
      return {State::kLost, lost_};
    }
    main_ = main;
    copied_ = at_begin_ = before;
    const std::optional<os::FileStamp> wal = os::StampOf(wal_path_);
    const std::optional<os::FileStamp> shm = os::StampOf(shm_path_);
    // A new log without anything in it is of somebody who only looked.
    const bool gone = !wal || (!wal->SameFile(wal_) && wal->bytes == 0);
    if (!gone && (!wal->SameFile(wal_) || (shm && !shm->SameFile(shm_)))) {
      return {State::kLost,
              File() +
                  " was given another log by somebody, after its own was removed; stop the "
                  "other programs that use it, and start this one again"};
    }
    if (gone || !shm) {
      return {State::kReopen,
              "the log of " + File() + ", '" + (gone ? wal_path_ : shm_path_) +
                  "', is no longer at its path; somebody removed it, or another copy of SQLite "
                  "in this process has opened and closed the file"};
    }
    return {};
  }

 private:
  std::string File() const { return "the store file '" + path_ + "'"; }
  std::string Another() const {
    return "another file has taken the place of the store file '" + path_ +
           "'; start the program again on the right one";
  }

  static sql::LogIndex::State StateOf(const sql::LogIndex* index) {
    return index != nullptr ? index->Now() : sql::LogIndex::State();
  }

  /// Since `main_` was looked at somebody else may have copied the log into the file, as every connection with wal_autocheckpoint
  /// does: that changes the file, and is no harm.
  bool CopiedByOthers(const sql::LogIndex::State& now) const {
    if (!now.known || now.Copying() || at_begin_ != copied_) return true;
    if (now.salt == at_begin_.salt) return now.copied != at_begin_.copied;
    // Our own commit has begun the log anew, which it may once all of it was copied.
    return now.copied > 0 || at_begin_.copied != at_begin_.frames;
  }

  const std::string path_, wal_path_, shm_path_;
  std::optional<os::FileStamp> first_;  ///< the file that was opened at first
  std::optional<os::FileStamp> main_, wal_, shm_;
  sql::LogIndex::State copied_,
      at_begin_;  ///< the log when `main_` was looked at, and when the batch began
  std::string lost_;
};

}  // namespace sqlite_store
}  // namespace v1
}  // namespace dtm

// ---- dtm/store/sqlite/records.hpp --------------------------------------------------------------

/// How the SQLite store reads rows back into records.
/// Needs: SQLite through sql/sqlite_connection.hpp. Threads: those of the statement. Document: docs/store_format.md.

namespace dtm {
inline namespace v1 {
namespace sqlite_store {

/// Ends the reading of a statement.
struct Finally {
  sql::Statement& statement;
  ~Finally() { statement.Reset(); }
};

inline std::int64_t Stored(Time time) { return time.time_since_epoch().count(); }
inline Time FromStored(std::int64_t micros) { return Time(Duration(micros)); }

/// SELECT of whole records, completed by `rest`; ReadTransaction reads these columns.
inline std::string Select(const std::string& rest) {
  return "SELECT id, gid, type, status, version, created, finished, due, state, "
         "coalesce(definition, "
         "(SELECT b.definition FROM dtm_big_definition b WHERE b.id = dtm_trans.id)) "
         "FROM dtm_trans " +
         rest;
}

inline constexpr char kSelectSteps[] = "SELECT nr, step FROM dtm_step WHERE trans = ?1 ORDER BY nr";

/// Those that were added since the definition was written.
/// @throws StoreError  damaged; SqliteError: they cannot be read now.
inline void ReadAddedSteps(sql::Statement& steps, std::int64_t trans, Definition& definition) {
  const Finally reset{steps};
  steps.Bind(1, trans);
  while (steps.Step()) {
    const auto nr = static_cast<std::int64_t>(definition.steps.size());
    if (steps.Int(0) != nr) codec::Reader::Fail();
    definition.steps.push_back(codec::DecodeStep(steps.View(1)));
  }
}

/// A record that cannot be read comes back `unreadable`, with its gid and the reason: it stops that
/// transaction and no other. `steps`: kSelectSteps on the same connection; as the row is still being read, both are of
/// the same commit.
/// @throws SqliteError  the step rows cannot be read now.
inline Transaction ReadTransaction(const sql::Statement& row, sql::Statement& steps) {
  Transaction transaction;
  transaction.id = row.Int(0);
  const std::string gid = row.Text(1);
  const auto type = static_cast<TransType>(row.Int(2));
  transaction.status = static_cast<Status>(row.Int(3));
  transaction.version = static_cast<std::uint64_t>(row.Int(4));
  transaction.created = FromStored(row.Int(5));
  transaction.finished = FromStored(row.Int(6));
  transaction.due = row.IsNull(7) ? kNever : FromStored(row.Int(7));
  try {
    const auto known = [](std::int64_t number) { return number >= 1 && number <= 5; };
    if (!known(row.Int(2)) || !known(row.Int(3))) codec::Reader::Fail();
    codec::DecodeState(row.View(8), transaction);
    const std::shared_ptr<Definition> definition = codec::DecodeDefinition(gid, type, row.View(9));
    if (RegistersSteps(type)) ReadAddedSteps(steps, transaction.id, *definition);
    transaction.definition = definition;
  } catch (const sql::SqliteError&) {  // of the step rows: they may be read another time
    throw;
  } catch (const StoreError& error) {
    auto unreadable = std::make_shared<Definition>();
    unreadable->gid = gid;
    unreadable->type = type;
    transaction.definition = std::move(unreadable);
    transaction.branches.clear();
    transaction.unreadable = true;
    transaction.last_error = error.what();
  }
  return transaction;
}

/// What was moved out of the row, and what came since.
inline constexpr char kSelectJournal[] =
    "SELECT (SELECT j.entries FROM dtm_journal j WHERE j.trans = dtm_trans.id), journal FROM "
    "dtm_trans ";

/// The same of a file whose version keeps none.
inline constexpr char kSelectNoJournal[] = "SELECT NULL, NULL FROM dtm_trans ";

inline std::vector<JournalEntry> ReadJournal(const sql::Statement& row) {
  std::vector<JournalEntry> entries;
  codec::DecodeJournal(row.View(0), entries);
  codec::DecodeJournal(row.View(1), entries);
  return entries;
}

inline constexpr char kSelectValues[] =
    "SELECT id, cat, k, v, version, created, updated FROM dtm_kv ";

inline KeyValue ReadValue(const sql::Statement& row) {
  KeyValue value;
  value.id = row.Int(0);
  value.category = row.Text(1);
  value.key = row.Text(2);
  value.value = row.Text(3);
  value.version = static_cast<std::uint64_t>(row.Int(4));
  value.created = FromStored(row.Int(5));
  value.updated = FromStored(row.Int(6));
  return value;
}

inline constexpr char kSelectKept[] = "SELECT gid, type, status, finished, content FROM dtm_gids ";

/// Seconds are enough, and half as long.
inline Time FromKept(std::int64_t seconds) { return Time(std::chrono::seconds(seconds)); }

inline Transaction ReadKept(const sql::Statement& row) {
  return RecordOf({row.Text(0), static_cast<TransType>(row.Int(1)), static_cast<Status>(row.Int(2)),
                   FromKept(row.Int(3)), static_cast<std::uint64_t>(row.Int(4))});
}

}  // namespace sqlite_store
}  // namespace v1
}  // namespace dtm

// ---- dtm/store/sqlite/reader.hpp ---------------------------------------------------------------

/// The connection of the SQLite store that reads, with its statements. It sees committed records only.
/// Needs: SQLite through sql/sqlite_connection.hpp. Threads: one at a time.
/// Document: docs/store_format.md.

namespace dtm {
inline namespace v1 {
namespace sqlite_store {

/// Nothing will wake it, and the lowest bit of the second byte of its state is set.
inline constexpr char kStuck[] =
    "due = 9223372036854775807 AND instr('13579BDF', substr(hex(substr(state, 2, 1)), 2)) > 0";

/// What of a search is cheap to see before a record is decoded: type, status, created from, to, 1: unfinished or 2: stuck, 1:
/// errors. Without a reason and an error the first two texts of the state, behind the number of errors, are empty.
inline std::string Wanted() {
  return " AND (?3 = 0 OR type = ?3) AND (?4 = 0 OR status = ?4) AND created >= ?5 AND created <= "
         "?6 AND (?7 = 0 OR due IS NOT NULL) AND (?7 < 2 OR (" +
         std::string(kStuck) + ")) AND (?8 = 0 OR substr(state, 4, 2) <> x'0000')";
}

struct Reader {
  /// `journals`: the file keeps them; false of older versions.
  explicit Reader(std::unique_ptr<sql::Database> configured, bool journals = true)
      : owned(std::move(configured)),
        find(*owned, Select("WHERE gid = ?1")),
        steps(*owned, kSelectSteps),
        journal(*owned,
                std::string(journals ? kSelectJournal : kSelectNoJournal) + "WHERE gid = ?1"),
        find_kept(*owned, std::string(kSelectKept) + "WHERE gid = ?1"),
        scan(*owned,
             Select("WHERE id < ?1 AND (?2 = 0 OR type = ?2) AND (?3 = 0 OR status = ?3) AND "
                    "created >= ?4 AND created <= ?5 ORDER BY id DESC LIMIT ?6")),
        scan_values(*owned, std::string(kSelectValues) +
                                "WHERE id > ?1 AND (?2 = '' OR cat = ?2) AND (?3 = '' OR k = ?3) "
                                "ORDER BY id LIMIT ?4"),
        // The same if both are given: by the index, however many values there are.
        find_value(*owned,
                   std::string(kSelectValues) + "WHERE id > ?1 AND cat = ?2 AND k = ?3 LIMIT ?4"),
        unfinished_ids(*owned,
                       "SELECT id FROM dtm_trans INDEXED BY dtm_trans_due WHERE due IS NOT NULL "
                       "AND due >= ?1 LIMIT ?2"),
        gid_ids(*owned,
                "SELECT id FROM dtm_trans WHERE gid >= ?1 AND (?2 = '' OR gid < ?2) LIMIT ?3"),
        below(*owned, "SELECT id FROM dtm_trans WHERE id < ?1 ORDER BY id DESC LIMIT ?2"),
        search(*owned, Select("WHERE id = ?1 AND ?2 = ?2" + Wanted())),
        search_range(*owned,
                     Select("WHERE id <= ?1 AND id >= ?2" + Wanted() + " ORDER BY id DESC")),
        // By the index of what is due alone. Ids are in order of creation.
        unfinished(*owned,
                   "SELECT count(*), count(CASE WHEN due > ?1 THEN 1 END), min(id) FROM dtm_trans "
                   "WHERE due IS NOT NULL"),
        created(*owned, "SELECT created FROM dtm_trans WHERE id = ?1"),
        stuck(*owned, std::string("SELECT count(*) FROM dtm_trans WHERE ") + kStuck) {}

  std::unique_ptr<sql::Database> owned;
  sql::Statement find, steps, journal, find_kept, scan, scan_values, find_value, unfinished_ids,
      gid_ids, below, search, search_range, unfinished, created, stuck;
};

}  // namespace sqlite_store
}  // namespace v1
}  // namespace dtm

// ---- dtm/store/sqlite/schema.hpp ---------------------------------------------------------------

/// The schema of the SQLite store: its versions, the migration of older ones, and the settings of the two
/// connections.
/// Needs: SQLite through sql/sqlite_connection.hpp. Threads: the owner's. Document: docs/store_format.md.

namespace dtm {
inline namespace v1 {
namespace sqlite_schema {

/// Counted up with every change of the tables or of the codec. Kept in dtm_meta, not in
/// user_version, which belongs to the program whose file this may also be.
inline constexpr int kVersion = 6;

/// The steps from version n to n + 1, in order. Never change one that was released.
inline constexpr const char* kMigrations[kVersion] = {
    R"sql(
CREATE TABLE dtm_trans (
  id INTEGER PRIMARY KEY,
  gid TEXT NOT NULL UNIQUE,
  type INTEGER NOT NULL,
  status INTEGER NOT NULL,
  version INTEGER NOT NULL,
  created INTEGER NOT NULL,
  finished INTEGER NOT NULL,
  due INTEGER,
  definition BLOB,
  state BLOB NOT NULL
);
CREATE INDEX dtm_trans_due ON dtm_trans (due) WHERE due IS NOT NULL;
CREATE TABLE dtm_big_definition (
  id INTEGER PRIMARY KEY,
  definition BLOB NOT NULL
);
)sql",
    R"sql(
CREATE TABLE dtm_kv (
  id INTEGER PRIMARY KEY,
  cat TEXT NOT NULL,
  k TEXT NOT NULL,
  v TEXT NOT NULL,
  version INTEGER NOT NULL,
  created INTEGER NOT NULL,
  updated INTEGER NOT NULL,
  UNIQUE (cat, k)
);
)sql",
    "",  // 3: format 2 of the blobs; what is stored stays as it is
    R"sql(
CREATE TABLE dtm_gids (
  gid TEXT PRIMARY KEY,
  type INTEGER NOT NULL,
  status INTEGER NOT NULL,
  finished INTEGER NOT NULL,
  content INTEGER NOT NULL
) WITHOUT ROWID;
)sql",
    R"sql(
CREATE TABLE dtm_step (
  trans INTEGER NOT NULL,
  nr INTEGER NOT NULL,
  step BLOB NOT NULL,
  PRIMARY KEY (trans, nr)
) WITHOUT ROWID;
)sql",
    R"sql(
ALTER TABLE dtm_trans ADD COLUMN journal BLOB;
CREATE TABLE dtm_journal (
  trans INTEGER PRIMARY KEY,
  entries BLOB NOT NULL
);
)sql"};

/// What a look into a file of version n lacks because of the step from n to n + 1: the same tables, of the connection and empty.
/// A column cannot be made like this; Reader does without it.
inline constexpr const char* kStandIns[kVersion] = {
    "",
    "CREATE TEMP TABLE dtm_kv (id INTEGER PRIMARY KEY, cat, k, v, version, created, updated)",
    "",
    "CREATE TEMP TABLE dtm_gids (gid TEXT PRIMARY KEY, type, status, finished, content)",
    "CREATE TEMP TABLE dtm_step (trans, nr, step)",
    "CREATE TEMP TABLE dtm_journal (trans INTEGER PRIMARY KEY, entries)"};
/// From this version on a row of dtm_trans has a journal.
inline constexpr int kWithJournals = 6;

/// The tables that user SQL may not touch.
inline std::vector<std::string> OwnTables() {
  return {"dtm_meta",      "dtm_trans", "dtm_big_definition", "dtm_kv",
          "dtm_trans_due", "dtm_gids",  "dtm_step",           "dtm_journal"};
}

/// The schema version of the file; 0 = it has no tables of ours yet. Only reads.
/// @throws StoreError  the file is of a newer version, or of one that never was.
inline int StoredVersion(sql::Database& db) {
  sql::Statement table(db, "SELECT 1 FROM sqlite_schema WHERE name = 'dtm_meta'");
  const bool fresh = !table.Step();
  table.Reset();
  if (fresh) return 0;
  sql::Statement read(db, "SELECT value FROM dtm_meta WHERE key = 'schema_version'");
  const std::string text = read.Step() ? read.Text(0) : "none";
  const std::int64_t version = text == "none" ? 0 : read.Int(0);
  read.Reset();
  const std::string which = "the store file '" + db.Path() + "' has schema version " + text;
  if (version < 1) {
    throw StoreError(which + ", which no dtm has written; restore it from a backup");
  }
  if (version > kVersion) {
    throw StoreError(which + ", and dtm " + dtm::kVersion + " knows versions up to " +
                     std::to_string(kVersion) + "; use the newer dtm that wrote it");
  }
  return static_cast<int>(version);
}

/// What SQLite finds wrong with the file, or nothing. Reads all of it.
inline std::string Damage(sql::Database& db) {
  sql::Statement check(db, "PRAGMA quick_check(1)");
  const std::string verdict = check.Step() ? check.Text(0) : "it gave no answer";
  return verdict == "ok" ? std::string() : verdict;
}

/// Brings the tables to kVersion in one transaction.
/// @throws StoreError  the file is of a newer version; nothing is changed.
inline void Migrate(sql::Database& db) {
  if (StoredVersion(db) == kVersion) return;  // without the lock that somebody may hold
  db.Exec("BEGIN IMMEDIATE");
  try {
    const int stored = StoredVersion(db);
    if (stored == 0) db.Exec("CREATE TABLE dtm_meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID");
    for (int version = stored; version < kVersion; ++version) db.Exec(kMigrations[version]);
    if (stored < kVersion) {
      sql::Statement write(db, "REPLACE INTO dtm_meta (key, value) VALUES ('schema_version', ?1)");
      write.Bind(1, kVersion).Step();
    }
    db.Exec("COMMIT");
  } catch (...) {
    if (db.InTransaction()) sqlite3_exec(db.Handle(), "ROLLBACK", nullptr, nullptr, nullptr);
    throw;
  }
}

/// How long an open connection waits for the lock of another. It is short, since the loop has answers and deadlines to
/// handle.
inline constexpr int kLockWaitMs = 20;
/// The same while it is opened.
inline constexpr int kOpenWaitMs = 5000;

/// Pages of the file that the connections keep in memory; the reader an eighth of it.
inline constexpr std::size_t kCacheBytes = std::size_t{64} << 20;

inline std::string CachePragma(std::size_t bytes) {
  return "PRAGMA cache_size = -" + std::to_string((std::max)(bytes / 1024, std::size_t{64}));
}

inline void ConfigureWriter(sql::Database& db, bool sync_each_commit,
                            std::size_t cache_bytes = kCacheBytes) {
  sqlite3_busy_timeout(db.Handle(), kOpenWaitMs);
  StoredVersion(db);  // a newer file is refused before anything is changed in it
  db.Exec("PRAGMA trusted_schema = OFF");
  sql::Statement mode(db, "PRAGMA journal_mode = WAL");
  const std::string got = mode.Step() ? mode.Text(0) : "unknown";
  mode.Reset();
  if (got != "wal") {
    throw StoreError("the store file '" + db.Path() + "' cannot use WAL (it answers '" + got +
                     "'); put it on a local disk that this user may write to");
  }
  db.Exec(sync_each_commit ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
  // A log that had to grow behind a long reader is cut to 16 MiB, four times what it is without one.
  db.Exec(
      "PRAGMA wal_autocheckpoint = 1000; PRAGMA journal_size_limit = 16777216;"
      "PRAGMA foreign_keys = ON");
  db.Exec(CachePragma(cache_bytes).c_str());
}

inline void ConfigureReader(sql::Database& db, std::size_t cache_bytes = kCacheBytes) {
  sqlite3_busy_timeout(db.Handle(), kOpenWaitMs);
  db.Exec("PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; PRAGMA wal_autocheckpoint = 0");
  db.Exec(CachePragma(cache_bytes / 8).c_str());
}

/// A connection that ConfigureReader has configured reads a file of this version from now on like one of kVersion. Only what
/// the connection has in memory is changed.
inline void StandInForNewer(sql::Database& db, int version) {
  if (version == kVersion) return;
  db.Exec("PRAGMA temp_store = MEMORY; PRAGMA query_only = OFF");  // the latter counts for them too
  for (int step = version; step < kVersion; ++step) db.Exec(kStandIns[step]);
  db.Exec("PRAGMA query_only = ON");
}

}  // namespace sqlite_schema
}  // namespace v1
}  // namespace dtm

// ---- dtm/sql/user_sql.hpp ----------------------------------------------------------------------

/// Keeps user SQL, which runs inside our transaction, from ending it or touching our tables.
/// Needs: SQLite through sql/sqlite_connection.hpp. Threads: the connection's. Source: sqlite.org/c3ref/set_authorizer.html.

namespace dtm {
inline namespace v1 {
namespace sql {

/// Installed once, since that makes SQLite prepare all statements again; On switches it.
class UserSqlRules {
 public:
  /// `tables`: those that user SQL may neither read nor write. The database must outlive the rules.
  UserSqlRules(Database& database, std::vector<std::string> tables)
      : database_(database), tables_(std::move(tables)) {
    sqlite3_set_authorizer(database_.Handle(), &UserSqlRules::Judge, this);
    sqlite3_commit_hook(database_.Handle(), &UserSqlRules::RefuseCommit, this);
  }
  ~UserSqlRules() {
    sqlite3_set_authorizer(database_.Handle(), nullptr, nullptr);
    sqlite3_commit_hook(database_.Handle(), nullptr, nullptr);
  }
  UserSqlRules(const UserSqlRules&) = delete;
  UserSqlRules& operator=(const UserSqlRules&) = delete;

  /// While it lives, each statement is checked when it is prepared, and commits are refused: if a statement has rolled the
  /// transaction back, each one after it would commit on its own.
  class On {
   public:
    explicit On(UserSqlRules& rules) : rules_(rules) { rules_.on_ = true; }
    ~On() { rules_.on_ = false; }
    On(const On&) = delete;
    On& operator=(const On&) = delete;

   private:
    UserSqlRules& rules_;
  };

  /// For our own statements meanwhile: SQLite may prepare one again after the user has changed the schema.
  class Off {
   public:
    explicit Off(UserSqlRules& rules) : rules_(rules), was_on_(rules.on_) { rules_.on_ = false; }
    ~Off() { rules_.on_ = was_on_; }
    Off(const Off&) = delete;
    Off& operator=(const Off&) = delete;

   private:
    UserSqlRules& rules_;
    const bool was_on_;
  };

  /// Resets statements that were not finished: they would keep the transaction from committing.
  void ResetStatements() const {
    sqlite3* db = database_.Handle();
    for (sqlite3_stmt* at = sqlite3_next_stmt(db, nullptr); at != nullptr;
         at = sqlite3_next_stmt(db, at)) {
      if (sqlite3_stmt_busy(at) != 0) sqlite3_reset(at);
    }
  }

  /// Violations of deferred foreign keys that would make the COMMIT fail.
  bool ForeignKeysPending() const {
    int pending = 0, highest = 0;
    sqlite3_db_status(database_.Handle(), SQLITE_DBSTATUS_DEFERRED_FKS, &pending, &highest, 0);
    return pending != 0;
  }

 private:
  static int Judge(void* self, int action, const char* first, const char* second, const char*,
                   const char*) {
    const UserSqlRules& rules = *static_cast<const UserSqlRules*>(self);
    if (!rules.on_) return SQLITE_OK;
    switch (action) {
      case SQLITE_TRANSACTION:
      case SQLITE_SAVEPOINT:
      case SQLITE_ATTACH:
      case SQLITE_DETACH: return SQLITE_DENY;
      case SQLITE_PRAGMA: return Harmless(first, second) ? SQLITE_OK : SQLITE_DENY;
      default: return rules.Ours(first) || rules.Ours(second) ? SQLITE_DENY : SQLITE_OK;
    }
  }

  static int RefuseCommit(void* self) {
    return static_cast<const UserSqlRules*>(self)->on_ ? 1 : 0;
  }

  /// What full-text tables ask on their own.
  static bool Harmless(const char* pragma, const char* value) {
    if (pragma == nullptr || value != nullptr) return false;
    const std::string lower = Lowered(pragma);
    return lower == "data_version" || lower == "page_size";
  }

  bool Ours(const char* name) const {
    if (name == nullptr) return false;
    const std::string lower = Lowered(name);
    for (const std::string& table : tables_) {
      if (lower == table) return true;
    }
    return false;
  }

  Database& database_;
  const std::vector<std::string> tables_;
  bool on_ = false;
};

}  // namespace sql
}  // namespace v1
}  // namespace dtm

// ---- dtm/store/sqlite/row_journals.hpp ---------------------------------------------------------

/// What is told of a transaction since its journal was moved out of its row, remembered for the rows that were written last,
/// so that the next change appends to it without reading it: SQLite needs some mallocs to concatenate.
/// Needs: std. Threads: one at a time.

namespace dtm {
inline namespace v1 {
namespace sqlite_store {

class RowJournals {
 public:
  /// What this version of the row has; null: not known. The caller may append to it, and then keeps it.
  std::string* Find(std::int64_t row, std::uint64_t version) {
    Place& place = At(row);
    return place.row == row && place.version == version ? &place.bytes : nullptr;
  }
  /// This version of the row has that, if it is committed.
  void Keep(std::int64_t row, std::uint64_t version, std::string_view bytes) {
    Place& place = At(row);
    place.row = bytes.size() <= kMostBytes ? row : 0;
    place.version = version;
    if (place.row != 0 && place.bytes.data() != bytes.data()) place.bytes.assign(bytes);
    if (place.bytes.size() > kMostBytes) place.bytes = {};
  }
  /// The row was changed, but not its journal.
  void Next(std::int64_t row, std::uint64_t version) {
    Place& place = At(row);
    if (place.row != row) return;
    if (place.version++ != version) place.row = 0;
  }
  void Forget(std::int64_t row) {
    if (At(row).row == row) At(row).row = 0;
  }
  /// What was written is lost.
  void Clear() noexcept {
    for (Place& place : places_) place.row = 0;
  }

 private:
  struct Place {
    std::int64_t row = 0;  ///< 0: none
    std::uint64_t version = 0;
    std::string bytes;
  };
  static constexpr std::size_t kPlaces = 4096;  // new rows come one after the other
  static constexpr std::size_t kMostBytes = 512;

  Place& At(std::int64_t row) { return places_[static_cast<std::uint64_t>(row) % kPlaces]; }

  std::vector<Place> places_{kPlaces};
};

}  // namespace sqlite_store
}  // namespace v1
}  // namespace dtm

// ---- dtm/store/sqlite/writer.hpp ---------------------------------------------------------------

/// The connection of the SQLite store that writes and makes checkpoints, with its statements.
/// Needs: SQLite through sql/sqlite_connection.hpp. Threads: one at a time.
/// Document: docs/store_format.md.

namespace dtm {
inline namespace v1 {
namespace sqlite_store {

struct Writer {
  explicit Writer(std::unique_ptr<sql::Database> configured)
      : owned(std::move(configured)),
        db(*owned),
        begin(db, "BEGIN IMMEDIATE"),
        commit(db, "COMMIT"),
        insert(db,
               "INSERT INTO dtm_trans (gid, type, status, version, created, finished, due, "
               "definition, state, journal) VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6, ?7, ?8, ?9) "
               "ON CONFLICT (gid) DO NOTHING"),
        insert_big(db,
                   "INSERT OR REPLACE INTO dtm_big_definition (id, definition) VALUES (?1, ?2)"),
        redefine(db, "UPDATE dtm_trans SET definition = ?2 WHERE id = ?1"),
        add_step(db, "INSERT INTO dtm_step (trans, nr, step) VALUES (?1, ?2, ?3)"),
        remove_steps(db, "DELETE FROM dtm_step WHERE trans = ?1"),
        steps(db, kSelectSteps),
        update(db, UpdateSet("")),
        update_due(db, UpdateSet(", due = ?6")),
        update_telling(db, UpdateSet(", journal = ?8")),
        update_due_telling(db, UpdateSet(", due = ?6, journal = ?8")),
        in_row(db, "SELECT journal FROM dtm_trans WHERE id = ?1"),
        journal(db, std::string(kSelectJournal) + "WHERE id = ?1"),
        clear_entries(db, "UPDATE dtm_trans SET journal = NULL WHERE id = ?1"),
        put_journal(db, "INSERT OR REPLACE INTO dtm_journal (trans, entries) VALUES (?1, ?2)"),
        remove_journal(db, "DELETE FROM dtm_journal WHERE trans = ?1"),
        // Not as (due, id) > (?1, ?2): SQLite would walk all that are due at the moment ?1 again.
        due(db, Select("WHERE due = ?1 AND id > ?2 AND due <= ?3 UNION ALL ") +
                    Select("WHERE due > ?1 AND due <= ?3 ORDER BY due, id")),
        next_due(db, "SELECT min(due) FROM dtm_trans WHERE due IS NOT NULL AND due > ?1"),
        newest(db, "SELECT created FROM dtm_trans WHERE id = (SELECT max(id) FROM dtm_trans)"),
        look(db, "SELECT id, created, finished FROM dtm_trans WHERE id > ?1 ORDER BY id LIMIT ?2"),
        remove(db, "DELETE FROM dtm_trans WHERE id = ?1"),
        remove_big(db, "DELETE FROM dtm_big_definition WHERE id = ?1"),
        has(db,
            "SELECT 1 FROM dtm_trans WHERE gid = ?1 UNION ALL SELECT 1 FROM dtm_gids WHERE gid = "
            "?1"),
        find_row(db, Select("WHERE id = ?1")),
        kept(db, "SELECT 1 FROM dtm_gids WHERE gid = ?1"),
        keep(db,
             "INSERT OR REPLACE INTO dtm_gids (gid, type, status, finished, content) "
             "VALUES (?1, ?2, ?3, ?4, ?5)"),
        look_kept(db, "SELECT gid, finished FROM dtm_gids WHERE gid > ?1 ORDER BY gid LIMIT ?2"),
        forget(db, "DELETE FROM dtm_gids WHERE gid = ?1"),
        get_value(db, std::string(kSelectValues) + "WHERE cat = ?1 AND k = ?2"),
        put_value(db,
                  "INSERT INTO dtm_kv (cat, k, v, version, created, updated) "
                  "VALUES (?1, ?2, ?3, 1, ?4, ?4) ON CONFLICT (cat, k) DO UPDATE SET "
                  "v = excluded.v, version = version + 1, updated = excluded.updated"),
        remove_value(db, "DELETE FROM dtm_kv WHERE cat = ?1 AND k = ?2"),
        savepoint(db, "SAVEPOINT dtm_work"),
        roll_back(db, "ROLLBACK TO dtm_work"),
        release(db, "RELEASE dtm_work"),
        user_sql(db, sqlite_schema::OwnTables()),
        log(db) {
    sqlite3_wal_hook(db.Handle(), &NoteLog, &log_pages);
    sql::Statement last(db, "SELECT max(gid) FROM dtm_gids");
    if (last.Step()) last_kept = last.Text(0);
    sql::Statement last_told(db, "SELECT max(trans) FROM dtm_journal");
    if (last_told.Step()) last_journal = last_told.Int(0);
    sql::Statement encoding(db, "PRAGMA encoding");
    // Other encodings have another order: then every gid is looked for.
    if (encoding.Step() && encoding.Text(0) != "UTF-8") last_kept = "\xFF";
  }

  /// The gids that this library makes are later than all that are kept, so they are not even looked for.
  bool IsKept(const std::string& gid) {
    if (gid > last_kept) return false;
    const bool found = kept.BindText(1, gid).Step();
    kept.Reset();
    return found;
  }

  /// Removes the record, and keeps its gid. Returns how many bytes that took.
  std::size_t ReplaceByGid(std::int64_t row) {
    KeptGid gid;
    std::size_t bytes = 0;
    {
      const Finally reset{find_row};
      if (!find_row.Bind(1, row).Step()) return 0;
      const Transaction transaction = ReadTransaction(find_row, steps);
      gid = KeptOf(transaction);
      for (const Step& step : transaction.definition->steps) bytes += step.UrlAndPayloadBytes();
      bytes = find_row.Bytes(8) + (std::max)(find_row.Bytes(9), bytes);
    }
    keep.BindText(1, gid.gid).Bind(2, static_cast<std::int64_t>(gid.type));
    keep.Bind(3, static_cast<std::int64_t>(gid.status));
    keep.Bind(
        4,
        std::chrono::duration_cast<std::chrono::seconds>(gid.finished.time_since_epoch()).count());
    keep.Bind(5, static_cast<std::int64_t>(gid.content)).Step();
    if (gid.gid > last_kept) last_kept = gid.gid;
    Remove(row);
    return bytes;
  }
  void Remove(std::int64_t row) {
    remove.Bind(1, row).Step();
    remove_big.Bind(1, row).Step();
    remove_steps.Bind(1, row).Step();
    remove_journal.Bind(1, row).Step();
  }

  /// In place of SQLite's own: the log is copied into the file only after the store has looked whose file it is.
  static int NoteLog(void* log_pages, sqlite3*, const char*, int pages) {
    *static_cast<int*>(log_pages) = pages;
    return SQLITE_OK;
  }

  /// A log above this is copied into the file as far as its readers allow; SQLite's own choice.
  static constexpr int kLogPages = 1000;

  bool LogIsLong() const { return log_pages >= kLogPages; }
  /// What fails now is tried again after the next commit.
  void CopyLogIfFree() {
    log_pages = 0;
    (void)sqlite3_wal_checkpoint_v2(db.Handle(), "main", SQLITE_CHECKPOINT_PASSIVE, nullptr,
                                    nullptr);
  }

  /// False: the gid exists.
  bool Insert(const Change& change, const std::string& state) {
    Transaction& transaction = *change.transaction;
    const Definition& definition = *transaction.definition;
    if (IsKept(definition.gid)) return false;
    const std::string encoded = codec::EncodeDefinition(definition);
    const bool big = encoded.size() > kInlineBytes;
    insert.BindText(1, definition.gid);
    insert.Bind(2, static_cast<std::int64_t>(definition.type));
    insert.Bind(3, static_cast<std::int64_t>(transaction.status));
    insert.Bind(4, Stored(transaction.created));
    insert.Bind(5, Stored(transaction.finished));
    BindDue(insert, 6, transaction);
    big ? insert.BindNull(7) : insert.BindBlob(7, encoded);
    change.journal.empty() ? insert.BindNull(9) : insert.BindBlob(9, change.journal);
    insert.BindBlob(8, state).Step();
    if (db.Changes() == 0) return false;
    transaction.id = db.LastRow();
    row_journals.Keep(transaction.id, 1, change.journal);
    if (big) insert_big.Bind(1, transaction.id).BindBlob(2, encoded).Step();
    // Of a record that somebody removed by SQL, whose number has come again; so is its journal.
    if (RegistersSteps(definition.type)) remove_steps.Bind(1, transaction.id).Step();
    if (transaction.id <= last_journal) remove_journal.Bind(1, transaction.id).Step();
    return true;
  }

  bool Update(const Change& change, const std::string& state) {
    const Transaction& transaction = *change.transaction;
    const bool due_changed = change.due_changed || IsFinal(transaction.status);
    const bool tells = !change.journal.empty();
    sql::Statement& write = tells ? (due_changed ? update_due_telling : update_telling)
                                  : (due_changed ? update_due : update);
    std::string* const told = tells ? &ToldWith(change) : nullptr;
    if (tells) write.BindBlob(8, *told);
    write.Bind(1, transaction.id);
    write.Bind(2, static_cast<std::int64_t>(transaction.version));
    write.Bind(3, static_cast<std::int64_t>(transaction.status));
    write.Bind(4, Stored(transaction.finished));
    write.BindBlob(5, state).Bind(7, Stored(transaction.created));
    if (due_changed) BindDue(write, 6, transaction);
    write.Step();
    const bool applied = db.Changes() > 0;
    NoteJournal(transaction, applied, told);
    if (applied && change.definition_changed) {
      Redefine(transaction);
    } else if (applied) {
      AddSteps(transaction, change.new_steps);
    }
    if (applied && change.history > 0 && transaction.version % kChangesInRow == 0) {
      MoveJournal(transaction, change.history);
    }
    return applied;
  }

  /// What is in the row, and what the change adds to it.
  std::string& ToldWith(const Change& change) {
    const Transaction& transaction = *change.transaction;
    std::string* told = row_journals.Find(transaction.id, transaction.version);
    if (told == nullptr) {
      told = &told_bytes;
      told->clear();
      const Finally reset{in_row};
      if (in_row.Bind(1, transaction.id).Step()) told->assign(in_row.View(0));
    }
    told->append(change.journal);
    return *told;
  }
  void NoteJournal(const Transaction& transaction, bool applied, const std::string* told) {
    if (!applied) {
      row_journals.Forget(transaction.id);
    } else if (told != nullptr) {
      row_journals.Keep(transaction.id, transaction.version + 1, *told);
    } else {
      row_journals.Next(transaction.id, transaction.version);
    }
  }

  /// Out of the row, which every step rewrites.
  void MoveJournal(const Transaction& transaction, unsigned history) {
    const std::int64_t row = transaction.id;
    std::vector<JournalEntry> entries;
    {
      const Finally reset{journal};
      if (!journal.Bind(1, row).Step() || journal.IsNull(1)) return;
      entries = ReadJournal(journal);
    }
    FoldJournal(entries, history);
    std::string folded;
    codec::EncodeJournal(entries, folded);
    put_journal.Bind(1, row).BindBlob(2, folded).Step();
    last_journal = (std::max)(last_journal, row);
    clear_entries.Bind(1, row).Step();
    row_journals.Keep(row, transaction.version + 1, {});
  }

  void AddSteps(const Transaction& transaction, std::size_t count) {
    const std::vector<Step>& all = transaction.definition->steps;
    std::string encoded;
    for (std::size_t nr = all.size() - count; nr < all.size(); ++nr) {
      codec::EncodeStep(all[nr], encoded);
      add_step.Bind(1, transaction.id).Bind(2, static_cast<std::int64_t>(nr));
      add_step.BindBlob(3, encoded).Step();
    }
  }

  void Redefine(const Transaction& transaction) {
    const std::string encoded = codec::EncodeDefinition(*transaction.definition);
    const bool big = encoded.size() > kInlineBytes;
    redefine.Bind(1, transaction.id);
    big ? redefine.BindNull(2) : redefine.BindBlob(2, encoded);
    redefine.Step();
    if (big) {
      insert_big.Bind(1, transaction.id).BindBlob(2, encoded).Step();
    } else {
      remove_big.Bind(1, transaction.id).Step();
    }
    remove_steps.Bind(1, transaction.id).Step();
  }

  /// Only the unfinished have a place in the index of what is due.
  static void BindDue(sql::Statement& statement, int index, const Transaction& transaction) {
    IsFinal(transaction.status) ? statement.BindNull(index)
                                : statement.Bind(index, Stored(transaction.due));
  }

  /// A definition above this moves to a table of its own: every step rewrites the row it is in.
  static constexpr std::size_t kInlineBytes = 2048;
  /// So many changes of a record leave the entries about them in its row.
  static constexpr std::uint64_t kChangesInRow = 8;

  static std::string UpdateSet(const std::string& more) {
    return "UPDATE dtm_trans SET status = ?3, version = version + 1, finished = ?4, state = ?5, "
           "created = ?7" +
           more + " WHERE id = ?1 AND version = ?2";
  }

  std::unique_ptr<sql::Database> owned;
  sql::Database& db;
  sql::Statement begin, commit, insert, insert_big, redefine, add_step, remove_steps, steps, update,
      update_due, update_telling, update_due_telling, in_row, journal, clear_entries, put_journal,
      remove_journal, due, next_due, newest, look, remove, remove_big, has, find_row, kept, keep,
      look_kept, forget, get_value, put_value, remove_value, savepoint, roll_back, release;
  sql::UserSqlRules user_sql;
  sql::LogIndex log;
  RowJournals row_journals;
  std::string told_bytes;         ///< reused, of a row that is not among them
  std::int64_t last_journal = 0;  ///< no later row has one in a table of its own
  std::string last_kept;          ///< no later gid is kept
  int log_pages = 0;              ///< of the log after the last commit
};

}  // namespace sqlite_store
}  // namespace v1
}  // namespace dtm

// ---- dtm/store/sqlite/connections.hpp ----------------------------------------------------------

/// The connections of the SQLite store to its file: they are opened, checked, reopened after an error, and closed.
/// Needs: SQLite through sql/sqlite_connection.hpp. Threads: the owner's, but for what has the mutex of the reader.
/// Document: docs/store_format.md, "Files".

namespace dtm {
inline namespace v1 {
namespace sqlite_store {

class Connections {
 public:
  /// See SqliteStore.
  Connections(const std::string& path, Durability durability, std::function<void(sqlite3*)> on_open,
              std::size_t cache_bytes)
      : path_(FileAt(path)),
        durability_(durability),
        on_open_(std::move(on_open)),
        cache_bytes_(cache_bytes),
        lock_(std::make_unique<os::FileLock>(path_ + "-lock")),
        files_(path_) {
    const std::optional<os::FileStamp> log = os::StampOf(path_ + "-wal");
    if (log && log->bytes > 0 && !os::StampOf(path_)) {
      throw StoreError(
          "the store file '" + path_ + "' is gone, but its log '" + path_ +
          "-wal' is there; put the file back beside it, or remove the log to begin a new store");
    }
    os::EnsurePrivateFile(path_);
    writer_ = OpenWriter();
    reader_ = OpenReader();
  }
  ~Connections() {
    if (generation_ !=
        os::Forking::Generation()) {  // a forked child: the connections are the parent's
      (void)writer_.release();
      (void)reader_.release();
    } else if (Look().state == OpenFiles::State::kLost) {
      KeepLog();
    }
  }
  Connections(const Connections&) = delete;
  Connections& operator=(const Connections&) = delete;

  const std::string& Path() const { return path_; }

  /// @throws StoreError  Recover comes first.
  Writer& Writing() {
    if (writer_ == nullptr) {
      throw StoreError("the store file '" + path_ + "' has to be recovered after an I/O error");
    }
    return *writer_;
  }

  /// The reader is the caller's as long as this lives.
  class Reading {
   public:
    /// @throws StoreError  it is not open now.
    explicit Reading(Connections& all) : lock_(all.reader_mutex_), reader_(all.reader_.get()) {
      if (reader_ != nullptr) return;
      throw StoreError("the store file '" + all.path_ + "' is not open now; try again");
    }
    Reader* operator->() const { return reader_; }
    Reader& operator*() const { return *reader_; }

   private:
    const std::lock_guard<std::mutex> lock_;
    Reader* reader_;
  };

  void Begin() {
    try {
      Writing().begin.Step();
    } catch (const sql::SqliteError& error) {
      if (error.Primary() != SQLITE_BUSY) throw;
      throw StoreBusy(error.what());
    }
    files_.Begun(writer_->log.Now());
  }

  /// After COMMIT has returned: checks that it went into the right file. Only then is the log copied, if it is long.
  /// @throws CommitInDoubt
  void AfterCommit() {
    OpenFiles::Finding found = Look();
    if (found.state == OpenFiles::State::kGood && lock_->Removed()) {
      found.what = "the lock file '" + path_ +
                   "-lock' was removed, so that another coordinator may have opened the store";
    }
    if (!found.what.empty()) throw CommitInDoubt(found.what);
    if (!writer_->LogIsLong()) return;
    writer_->CopyLogIfFree();
    files_.Copied(writer_->log.Now());
  }

  void Rollback() noexcept {
    if (writer_ == nullptr) return;
    writer_->row_journals.Clear();
    if (!writer_->db.InTransaction()) return;
    sqlite3_exec(writer_->db.Handle(), "ROLLBACK", nullptr, nullptr, nullptr);
  }

  /// Reading goes on meanwhile, but where the log has gone.
  /// @throws StoreError  the files are lost or damaged, or still fail.
  void Recover() {
    Rollback();  // a connection whose statements the user keeps stays open, with its transaction
    const OpenFiles::Finding found = Look();
    if (found.state == OpenFiles::State::kLost) throw StoreError(found.what);
    if (!lock_->AtItsPath()) lock_ = std::make_unique<os::FileLock>(path_ + "-lock");
    if (found.state == OpenFiles::State::kReopen) SaveLog();
    writer_.reset();
    auto writer = OpenWriter();
    writer->db.Exec("PRAGMA wal_checkpoint(TRUNCATE)");
    files_.Copied(writer->log.Now());
    const std::string damage = QuickCheck(writer->db);
    if (!damage.empty()) throw StoreError(damage);
    auto reader = OpenReader();
    writer_ = std::move(writer);
    const std::lock_guard<std::mutex> lock(reader_mutex_);
    reader_ = std::move(reader);
  }

  void ConfigureReader(sql::Database& db) const {
    sqlite_schema::ConfigureReader(db, cache_bytes_);
  }

  /// What is wrong with the file, or nothing.
  std::string QuickCheck(sql::Database& db) const {
    const std::string damage = sqlite_schema::Damage(db);
    if (damage.empty()) return {};
    return "the store file '" + path_ + "' is damaged: " + damage + "; restore it from a backup";
  }

 private:
  static std::string FileAt(const std::string& path) {
    if (!path.empty() && path != ":memory:") return os::FullPath(path);
    throw StoreError("the store file '" + path +
                     "' is no file; name one, or use MemoryStore for what need not be kept");
  }

  OpenFiles::Finding Look() { return files_.Look(writer_ != nullptr ? &writer_->log : nullptr); }

  std::unique_ptr<Writer> OpenWriter() {
    auto db = std::make_unique<sql::Database>(path_, SQLITE_OPEN_READWRITE);
    sqlite_schema::ConfigureWriter(*db, durability_ == Durability::kPower, cache_bytes_);
    sqlite_schema::Migrate(*db);
    files_.Opened(*db);
    CallOnOpen(*db);
    sqlite3_busy_timeout(db->Handle(), sqlite_schema::kLockWaitMs);
    auto writer = std::make_unique<Writer>(std::move(db));
    files_.Copied(writer->log.Now());
    return writer;
  }
  /// @throws what on_open threw; StoreError: it is not a std::exception.
  void CallOnOpen(const sql::Database& db) const {
    try {
      if (on_open_) on_open_(db.Handle());
    } catch (const std::exception&) {
      throw;
    } catch (...) {
      throw StoreError("the store file '" + path_ +
                       "' was not opened: on_open failed: " + WhatWasThrown());
    }
  }
  std::unique_ptr<Reader> OpenReader() const {
    auto db = std::make_unique<sql::Database>(path_, SQLITE_OPEN_READWRITE);
    ConfigureReader(*db);
    sqlite3_busy_timeout(db->Handle(), sqlite_schema::kLockWaitMs);
    return std::make_unique<Reader>(std::move(db));
  }

  /// The log was removed and is only in the connections that have it open: it is copied into the file. Then all of them
  /// let go of it, since SQLite shares its index between those of a process.
  void SaveLog() {
    const std::lock_guard<std::mutex> lock(reader_mutex_);
    if (writer_ != nullptr || reader_ != nullptr) {
      (writer_ != nullptr ? writer_->db : *reader_->owned).CopyLog();
    }
    KeepLog();
    writer_.reset();
    reader_.reset();
  }

  /// Closing would copy the log into a file that may be another's, and remove what has its name.
  void KeepLog() {
    if (writer_ != nullptr) writer_->db.KeepLog();
    if (reader_ != nullptr) reader_->owned->KeepLog();
  }

  const unsigned generation_ = os::Forking::Generation();
  const std::string path_;
  const Durability durability_;
  const std::function<void(sqlite3*)> on_open_;
  const std::size_t cache_bytes_;
  std::unique_ptr<os::FileLock> lock_;
  OpenFiles files_;
  std::unique_ptr<Writer> writer_;
  std::mutex reader_mutex_;
  std::unique_ptr<Reader> reader_;
};

}  // namespace sqlite_store
}  // namespace v1
}  // namespace dtm

// ---- dtm/store/sqlite/expiry.hpp ---------------------------------------------------------------

/// One step of retention in the SQLite store: removes expired records without harm to the rest of the batch.
/// Needs: SQLite through sql/sqlite_connection.hpp. Threads: the owner's.

namespace dtm {
inline namespace v1 {
namespace sqlite_store {

class Expiry {
 public:
  explicit Expiry(Writer& writer) : writer_(writer) {}

  /// See Store::Expire.
  std::int64_t RemoveSome(std::int64_t before, std::int64_t after, std::size_t limit,
                          bool keep_gids) {
    std::vector<std::int64_t> expired;
    const std::int64_t next = Find(before, after, limit, expired);
    if (expired.empty()) return next;
    std::int64_t reached = next;
    const bool all = IfAllowed([&] {
      std::size_t bytes = 0;
      for (const std::int64_t row : expired) {
        bytes += Remove(row, keep_gids);
        if (bytes > kMostBytes) return void(reached = row);
      }
    });
    if (all) return reached;
    std::size_t kept = 0;
    for (const std::int64_t row : expired) {
      if (!IfAllowed([&] { (void)Remove(row, keep_gids); })) ++kept;
    }
    throw NotAllExpired(std::to_string(kept) +
                            " finished transactions have expired and cannot be removed: " + why_ +
                            "; let no foreign key or trigger of yours hold rows of dtm_trans",
                        next);
  }

  /// Removes kept gids. Those that tables of the user refer to stay, which does no harm.
  void Forget(const std::vector<std::string>& gids) {
    const auto forget = [this](const std::string& gid) { writer_.forget.BindText(1, gid).Step(); };
    const auto forget_all = [&] { std::for_each(gids.begin(), gids.end(), forget); };
    if (gids.empty() || IfAllowed(forget_all)) return;
    for (const std::string& gid : gids) (void)IfAllowed([&] { forget(gid); });
  }

 private:
  // What is read for the hash of its content holds up the loop.
  static constexpr std::size_t kMostBytes = std::size_t{1} << 20;

  std::int64_t Find(std::int64_t before, std::int64_t after, std::size_t limit,
                    std::vector<std::int64_t>& expired) {
    sql::Statement& look = writer_.look;
    const Finally reset{look};
    const std::int64_t newest = Newest();
    look.Bind(1, after).Bind(2, static_cast<std::int64_t>(limit));
    std::int64_t last = 0;
    std::size_t seen = 0;
    for (; look.Step(); ++seen) {
      const std::int64_t created = look.Int(1);
      // Rows are in order of creation: the rest is younger, but behind one that was made with a clock ahead.
      if (created >= before && created <= newest) return 0;
      last = look.Int(0);
      const std::int64_t finished = look.Int(2);
      if (finished != 0 && finished < before) expired.push_back(last);
    }
    return seen == limit ? last : 0;
  }

  /// When the last row was made.
  std::int64_t Newest() {
    const Finally reset{writer_.newest};
    return writer_.newest.Step() ? writer_.newest.Int(0) : 0;
  }

  /// Returns the bytes that had to be read for it.
  std::size_t Remove(std::int64_t row, bool keep_gid) {
    if (keep_gid) return writer_.ReplaceByGid(row);
    writer_.Remove(row);
    return 0;
  }

  /// In a savepoint of its own; false, and nothing was changed, if a constraint of the user's tables forbids it.
  template <typename Change>
  bool IfAllowed(const Change& change) {
    writer_.savepoint.Step();
    bool allowed = true;
    try {
      change();
      allowed = !writer_.user_sql.ForeignKeysPending();
      if (!allowed) why_ = "a foreign key refers to one";
    } catch (const sql::SqliteError& error) {
      if (error.Primary() != SQLITE_CONSTRAINT) throw;
      allowed = false;
      why_ = error.what();
    }
    if (!writer_.db.InTransaction()) throw BatchLost("removing what has expired: " + why_);
    if (!allowed) writer_.roll_back.Step();
    writer_.release.Step();
    return allowed;
  }

  Writer& writer_;
  std::string why_;
};

}  // namespace sqlite_store
}  // namespace v1
}  // namespace dtm

// ---- dtm/store/search.hpp ----------------------------------------------------------------------

/// How every store searches: which records it looks at, how many, and where the next page begins.
/// Needs: std. Threads: those of the source.
///
/// There are two indexes that help: of the unfinished, and of gids. If one of them names few candidates, only those are looked
/// at. If it names many, or most of the newest records have such a gid, they are not rare, and are found among the newest records
/// as well. So either way a page costs at most kMostLooked records.

namespace dtm {
inline namespace v1 {

/// What a search reads of a store.
class SearchSource {
 public:
  using Ids = std::vector<std::int64_t>;

  virtual ~SearchSource() = default;

  /// The unfinished in any order; with `stuck`, at least those that are. At most `most`.
  virtual Ids Unfinished(bool stuck, std::size_t most) = 0;
  /// Those whose gid is in [from, to) by its bytes, in any order, and at most `most`. An empty `to` is behind all.
  /// Nothing: there is no such index.
  virtual std::optional<Ids> WithGids(const std::string& from, const std::string& to,
                                      std::size_t most) = 0;
  /// The largest ids below this one, largest first, and at most `most`.
  virtual Ids Below(std::int64_t id, std::size_t most) = 0;
  struct Part {
    std::vector<Transaction> records;
    /// False: it ends behind the last of the records, whatever the ids behind it are.
    bool whole = true;
  };
  /// Of these ids, in their order, those whose records may match the filter: where it is cheap to see that one does not, it
  /// is left out. At most `most`, and none behind those that come to `bytes` bytes: each may have megabytes. `in_a_row`:
  /// there were no others between them, so they may be read in one go.
  virtual Part Read(const Ids& ids, bool in_a_row, const ScanFilter& filter, std::size_t most,
                    std::size_t bytes) = 0;
};

namespace search {

/// So many records are looked at for a page if they follow each other, and so many if an index names them: each of those may
/// be in another place of the disk. An index of more ids than this does not help.
inline constexpr std::size_t kMostLooked = 10000;
inline constexpr std::size_t kMostSought = 4000;
inline constexpr std::size_t kMostFromIndex = 20000;
/// A page ends beyond so many bytes of definitions that were read.
inline constexpr std::size_t kMostBytes = std::size_t{4} << 20;

/// A valid text behind all that begin with this one, in the order of bytes, and as near as is simple; empty: there is none.
inline std::string BehindPrefix(std::string prefix) {
  while (!prefix.empty()) {
    std::size_t at = prefix.size() - 1;
    while (at > 0 && (static_cast<unsigned char>(prefix[at]) & 0xC0u) == 0x80u) --at;
    // The next character of the same length. The last one of its length goes, and the one before it has a next one.
    for (std::size_t i = prefix.size(); i-- > at;) {
      std::string next = prefix;
      for (auto byte = static_cast<unsigned char>(next[i]); byte < 0xFF;) {
        next[i] = static_cast<char>(++byte);
        for (std::size_t rest = i + 1; rest < next.size(); ++rest) next[rest] = '\x80';
        if (Utf8Length(next, at) == next.size() - at) return next;
      }
    }
    prefix.resize(at);
  }
  return {};
}

inline bool OnlyUnfinished(const ScanFilter& filter) {
  return filter.unfinished || filter.stuck || (filter.status && !IsFinal(*filter.status));
}

/// Newest first.
struct Candidates {
  SearchSource::Ids ids;
  bool all = false;  ///< there are no others
};

inline Candidates Newest(SearchSource::Ids ids, std::int64_t below) {
  ids.erase(std::remove_if(ids.begin(), ids.end(),
                           [below](std::int64_t id) { return id <= 0 || id >= below; }),
            ids.end());
  std::sort(ids.begin(), ids.end(), std::greater<>());
  const bool all = ids.size() <= kMostSought;
  if (!all) ids.resize(kMostSought);
  return {std::move(ids), all};
}

/// Most of the newest records have such a gid: those are found in a row, and the index would name thousands first.
inline bool IsCommon(SearchSource& source, const std::string& prefix, std::int64_t below) {
  constexpr std::size_t kSample = 32;
  const SearchSource::Ids ids = source.Below(below, kSample);
  if (ids.empty()) return false;
  const SearchSource::Part read = source.Read(ids, true, {}, kSample, kMostBytes);
  const auto has = [&prefix](const Transaction& one) {
    return HasPrefix(one.definition->gid, prefix);
  };
  const auto all = read.records.size();
  return 2 * static_cast<std::size_t>(
                 std::count_if(read.records.begin(), read.records.end(), has)) >
         all;
}

/// Nothing: no index helps.
inline std::optional<Candidates> FromIndex(SearchSource& source, const ScanFilter& filter,
                                           std::int64_t below) {
  if (!filter.gid_prefix.empty() && !IsCommon(source, filter.gid_prefix, below)) {
    auto ids =
        source.WithGids(filter.gid_prefix, BehindPrefix(filter.gid_prefix), kMostFromIndex + 1);
    if (ids && ids->size() <= kMostFromIndex) return Newest(std::move(*ids), below);
  }
  if (OnlyUnfinished(filter)) {
    SearchSource::Ids ids = source.Unfinished(filter.stuck, kMostFromIndex + 1);
    if (ids.size() <= kMostFromIndex) return Newest(std::move(ids), below);
  }
  return std::nullopt;
}

/// One page, as far as it has come.
class PageInWork {
 public:
  PageInWork(SearchSource& source, const ScanFilter& filter, std::size_t limit)
      : source_(source), filter_(filter), limit_(limit) {}

  /// Looks at these until the page ends; returns at how many. `in_a_row`: see SearchSource::Read.
  std::size_t LookAt(const SearchSource::Ids& ids, bool in_a_row) {
    constexpr std::size_t kAtATime = 32;
    constexpr std::size_t kLargest = 2048;
    std::size_t at = 0;
    while (at < ids.size() && !Ended()) {
      const std::size_t size = (std::min)(chunk_, ids.size() - at);
      const std::size_t most = (std::min)(kAtATime, limit_ - found_.size());
      const auto begin = ids.begin() + static_cast<std::ptrdiff_t>(at);
      const SearchSource::Ids part(begin, begin + static_cast<std::ptrdiff_t>(size));
      SearchSource::Part read = source_.Read(part, in_a_row, filter_, most, kMostBytes - bytes_);
      if (read.whole) {
        at += size;
      } else {
        const std::int64_t last = read.records.back().id;
        at = static_cast<std::size_t>(
            std::upper_bound(ids.begin(), ids.end(), last, std::greater<>()) - ids.begin());
      }
      if (read.records.empty()) chunk_ = (std::min)(2 * chunk_, kLargest);
      for (Transaction& transaction : read.records) {
        bytes_ += BytesOf(*transaction.definition);
        if (Matches(filter_, transaction)) found_.push_back(std::move(transaction));
      }
    }
    return at;
  }
  bool Ended() const { return found_.size() == limit_ || bytes_ >= kMostBytes; }
  ScanPage Take(std::int64_t next) { return {std::move(found_), next}; }

 private:
  SearchSource& source_;
  const ScanFilter& filter_;
  const std::size_t limit_;
  std::vector<Transaction> found_;
  std::size_t bytes_ = 0, chunk_ = 64;
};

/// As Store::Scan, for a filter that is a search.
inline ScanPage Search(SearchSource& source, const ScanFilter& filter, std::int64_t position,
                       std::size_t limit) {
  if (limit == 0 || !IsUtf8(filter.gid_prefix) || !IsUtf8(filter.target)) return {};
  PageInWork page(source, filter, limit);
  std::int64_t below = position > 0 ? position : INT64_MAX;
  if (const std::optional<Candidates> named = FromIndex(source, filter, below)) {
    const std::size_t looked = page.LookAt(named->ids, false);
    const bool end = named->all && looked == named->ids.size();
    return page.Take(end ? 0 : named->ids[looked - 1]);
  }
  std::size_t looked = 0;
  for (std::size_t piece = 256;; piece *= 4) {  // most pages need few
    const std::size_t most = (std::min)(piece, kMostLooked - looked);
    const SearchSource::Ids ids = source.Below(below, most);
    const std::size_t at = page.LookAt(ids, true);
    if (at == ids.size() && ids.size() < most) return page.Take(0);
    below = ids[at - 1];
    looked += at;
    if (page.Ended() || looked == kMostLooked) return page.Take(below);
  }
}

/// The same for one that is not: a page that is not the last is full.
inline ScanPage FullPage(SearchSource& source, const ScanFilter& filter, std::int64_t position,
                         std::size_t limit) {
  ScanPage all;
  if (limit == 0) return all;
  do {
    ScanPage page = Search(source, filter, position, limit - all.transactions.size());
    for (Transaction& each : page.transactions) all.transactions.push_back(std::move(each));
    position = all.next = page.next;
  } while (position != 0 && all.transactions.size() < limit);
  if (all.transactions.size() == limit) all.next = all.transactions.back().id;
  return all;
}

}  // namespace search
}  // namespace v1
}  // namespace dtm

// ---- dtm/store/sqlite/reads.hpp ----------------------------------------------------------------

/// What is read of a SQLite file for anybody: a transaction, a journal, lists, numbers.
/// Needs: SQLite through sql/sqlite_connection.hpp. Threads: any; each step has the reading connection for itself, so that
/// others read between the steps of a search.

namespace dtm {
inline namespace v1 {
namespace sqlite_store {

inline SearchSource::Ids IdsOf(sql::Statement& statement) {
  const Finally reset{statement};
  SearchSource::Ids ids;
  while (statement.Step()) ids.push_back(statement.Int(0));
  return ids;
}

inline SearchSource::Ids UnfinishedIds(Reader& reader, bool stuck, std::size_t most) {
  reader.unfinished_ids.Bind(1, stuck ? Stored(kNever) : INT64_MIN);
  reader.unfinished_ids.Bind(2, static_cast<std::int64_t>(most));
  return IdsOf(reader.unfinished_ids);
}

inline SearchSource::Ids IdsWithGids(Reader& reader, const std::string& from, const std::string& to,
                                     std::size_t most) {
  reader.gid_ids.BindText(1, from).BindText(2, to).Bind(3, static_cast<std::int64_t>(most));
  return IdsOf(reader.gid_ids);
}

inline SearchSource::Ids IdsBelow(Reader& reader, std::int64_t id, std::size_t most) {
  reader.below.Bind(1, id).Bind(2, static_cast<std::int64_t>(most));
  return IdsOf(reader.below);
}

/// Steps in rows of their own may have the target.
inline bool MayCall(const sql::Statement& row, const std::string& part) {
  return RegistersSteps(static_cast<TransType>(row.Int(2))) ||
         row.View(9).find(part) != std::string_view::npos;
}

inline SearchSource::Part ReadWanted(Reader& reader, const SearchSource::Ids& ids, bool in_a_row,
                                     const ScanFilter& filter, std::size_t most,
                                     std::size_t bytes) {
  if (ids.empty()) return {};
  sql::Statement& search = in_a_row ? reader.search_range : reader.search;
  search.Bind(3, filter.type ? static_cast<std::int64_t>(*filter.type) : 0);
  search.Bind(4, filter.status ? static_cast<std::int64_t>(*filter.status) : 0);
  search.Bind(5, Stored(filter.created_from)).Bind(6, Stored(filter.created_to));
  search.Bind(7, filter.stuck ? 2 : filter.unfinished ? 1 : 0).Bind(8, filter.errors ? 1 : 0);
  const std::string part = StoredPartOf(filter.target);
  SearchSource::Part read;
  for (const std::int64_t id : ids) {
    const Finally reset{search};
    search.Bind(1, id).Bind(2, ids.back());
    while (read.whole && search.Step()) {
      if (MayCall(search, part)) {
        read.records.push_back(ReadTransaction(search, reader.steps));
        bytes -= (std::min)(bytes, BytesOf(*read.records.back().definition));
        read.whole = read.records.size() < most && bytes > 0;
      }
      if (!in_a_row) break;
    }
    if (in_a_row || !read.whole) break;
  }
  return read;
}

/// `All` gives the reader for a while, as Connections does.
template <typename All>
class Searched : public SearchSource {
 public:
  explicit Searched(All& all) : all_(all) {}

  Ids Unfinished(bool stuck, std::size_t most) override {
    const typename All::Reading reader(all_);
    return UnfinishedIds(*reader, stuck, most);
  }
  std::optional<Ids> WithGids(const std::string& from, const std::string& to,
                              std::size_t most) override {
    const typename All::Reading reader(all_);
    return IdsWithGids(*reader, from, to, most);
  }
  Ids Below(std::int64_t id, std::size_t most) override {
    const typename All::Reading reader(all_);
    return IdsBelow(*reader, id, most);
  }
  Part Read(const Ids& ids, bool in_a_row, const ScanFilter& filter, std::size_t most,
            std::size_t bytes) override {
    const typename All::Reading reader(all_);
    return ReadWanted(*reader, ids, in_a_row, filter, most, bytes);
  }

 private:
  All& all_;
};

/// The reading half of a Store. `all`: see Searched; it outlives this.
template <typename All>
class Reads {
 public:
  explicit Reads(All& all) : all_(all) {}

  std::optional<Transaction> Load(const std::string& gid) {
    const typename All::Reading reader(all_);
    sql::Statement& find = reader->find;
    const Finally reset{find};
    if (find.BindText(1, gid).Step()) {
      return ReadTransaction(find, reader->steps);
    }
    sql::Statement& find_kept = reader->find_kept;
    const Finally reset_kept{find_kept};
    if (!find_kept.BindText(1, gid).Step()) return std::nullopt;
    return ReadKept(find_kept);
  }

  std::vector<JournalEntry> ReadJournal(const std::string& gid) {
    const typename All::Reading reader(all_);
    sql::Statement& journal = reader->journal;
    const Finally reset{journal};
    if (!journal.BindText(1, gid).Step()) return {};
    return sqlite_store::ReadJournal(journal);
  }

  ScanPage Scan(const ScanFilter& filter, std::int64_t position, std::size_t limit) {
    Searched<All> searched(all_);
    if (filter.IsSearch()) return search::Search(searched, filter, position, limit);
    if (search::OnlyUnfinished(filter)) return search::FullPage(searched, filter, position, limit);
    const typename All::Reading reader(all_);
    sql::Statement& scan = reader->scan;
    const Finally reset{scan};
    scan.Bind(1, position > 0 ? position : INT64_MAX);
    scan.Bind(2, filter.type ? static_cast<std::int64_t>(*filter.type) : 0);
    scan.Bind(3, filter.status ? static_cast<std::int64_t>(*filter.status) : 0);
    scan.Bind(4, Stored(filter.created_from));
    scan.Bind(5, Stored(filter.created_to));
    scan.Bind(6, static_cast<std::int64_t>(limit));
    ScanPage page;
    while (scan.Step()) {
      page.transactions.push_back(ReadTransaction(scan, reader->steps));
    }
    if (limit > 0 && page.transactions.size() == limit) page.next = page.transactions.back().id;
    return page;
  }

  KeyValuePage ScanValues(const std::string& category, const std::string& key,
                          std::int64_t position, std::size_t limit) {
    const typename All::Reading reader(all_);
    const bool one = !category.empty() && !key.empty();
    sql::Statement& scan = one ? reader->find_value : reader->scan_values;
    const Finally reset{scan};
    scan.Bind(1, position).BindText(2, category).BindText(3, key);
    scan.Bind(4, static_cast<std::int64_t>(limit));
    KeyValuePage page;
    while (scan.Step()) page.values.push_back(ReadValue(scan));
    if (limit > 0 && page.values.size() == limit) page.next = page.values.back().id;
    return page;
  }

  Backlog CountUnfinished(Time now) {
    const typename All::Reading reader(all_);
    const auto number = [](std::int64_t value) { return static_cast<std::uint64_t>(value); };
    Backlog backlog;
    sql::Statement& unfinished = reader->unfinished;
    const Finally reset_unfinished{unfinished};
    if (!unfinished.Bind(1, Stored(now)).Step() || unfinished.IsNull(2)) {
      return backlog;
    }
    backlog.unfinished = number(unfinished.Int(0));
    sql::Statement& created = reader->created;
    const Finally reset_created{created};
    if (created.Bind(1, unfinished.Int(2)).Step()) {
      backlog.oldest = FromStored(created.Int(0));
    }
    sql::Statement& stuck = reader->stuck;
    const Finally reset_stuck{stuck};
    if (stuck.Step()) backlog.stuck = number(stuck.Int(0));
    // They were counted one after the other.
    const std::uint64_t waiting = number(unfinished.Int(1));
    backlog.waiting = waiting - (std::min)(waiting, backlog.stuck);
    return backlog;
  }

 private:
  All& all_;
};

}  // namespace sqlite_store
}  // namespace v1
}  // namespace dtm

// ---- dtm/store/sqlite/sqlite_store.hpp ---------------------------------------------------------

/// The store on one SQLite file (WAL): what a program uses by default.
/// Needs: SQLite through sql/sqlite_connection.hpp. Threads: see store.hpp; the owner's calls use the writing
/// connection, Load and Scan a reading one under a lock.
/// Document: docs/store_format.md. Source: sqlite.org/wal.html; one connection writes and
/// checkpoints, since SQLite before 3.51.3 can lose pages when two do.

namespace dtm {
inline namespace v1 {

/// One file of SQLite, for one coordinator.
class SqliteStore : public Store {
 public:
  /// Makes the tables of the program; called whenever the file is opened.
  using OnOpen = std::function<void(sqlite3*)>;

  /// Opens or creates the file (0600), locks it against a second coordinator, and migrates an older
  /// schema. The lock is a separate file beside it, `<path>-lock`. A relative path is resolved now.
  /// `on_open` is called with the connection that writes, whenever it was opened: a place to create the program's own
  /// tables (CREATE TABLE IF NOT EXISTS) and to migrate them, for Transact and RegisterInTransaction.
  /// `cache_bytes`: pages of the file that are kept in memory.
  /// @throws StoreError  in use by another coordinator, unreadable, read-only, damaged, or of a newer schema.
  /// @throws what `on_open` throws.
  explicit SqliteStore(const std::string& path, Durability durability = Durability::kPower,
                       OnOpen on_open = {}, std::size_t cache_bytes = sqlite_schema::kCacheBytes)
      : connections_(path, durability, std::move(on_open), cache_bytes) {}

  const char* Kind() const override { return "sqlite"; }

  void Begin() override { connections_.Begin(); }

  Result Run(const Work& work) override {
    sqlite_store::Writer& writer = Writing();
    writer.savepoint.Step();
    Result result;
    {
      const sql::UserSqlRules::On guarded(writer.user_sql);
      result = CatchAsResult([&] { return work(WorkContext(writer.db.Handle())); });
      writer.user_sql.ResetStatements();  // without a transaction that would commit what they wrote
    }
    if (!writer.db.InTransaction()) {
      throw BatchLost(
          "a statement of the work rolled the whole transaction back (ON CONFLICT "
          "ROLLBACK, a full disk or memory)");
    }
    if (result.kind == Result::Kind::kSuccess && writer.user_sql.ForeignKeysPending()) {
      result = Result::Error("the work leaves a deferred foreign key violated");
    }
    if (result.kind != Result::Kind::kSuccess) writer.roll_back.Step();
    writer.release.Step();
    return result;
  }

  bool Has(const std::string& gid) override {
    sql::Statement& has = Writing().has;
    const sql::UserSqlRules::Off ours(Writing().user_sql);
    const Finally reset{has};
    return has.BindText(1, gid).Step();
  }

  std::optional<KeyValue> GetValue(const std::string& category, const std::string& key) override {
    sql::Statement& get = Writing().get_value;
    const sql::UserSqlRules::Off ours(Writing().user_sql);
    const Finally reset{get};
    if (!get.BindText(1, category).BindText(2, key).Step()) return std::nullopt;
    return sqlite_store::ReadValue(get);
  }

  void PutValue(const KeyValue& value) override {
    sql::Statement& put = Writing().put_value;
    const sql::UserSqlRules::Off ours(Writing().user_sql);
    put.BindText(1, value.category).BindText(2, value.key).BindText(3, value.value);
    put.Bind(4, sqlite_store::Stored(value.updated)).Step();
  }

  bool RemoveValue(const std::string& category, const std::string& key) override {
    sql::Statement& remove = Writing().remove_value;
    const sql::UserSqlRules::Off ours(Writing().user_sql);
    remove.BindText(1, category).BindText(2, key).Step();
    return Writing().db.Changes() > 0;
  }

  void Apply(std::vector<Change>& changes) override {
    sqlite_store::Writer& writer = Writing();
    for (std::size_t i = 0; i < changes.size(); ++i) {
      if (i + 2 < changes.size())
        Prefetch<LinesOf(sizeof(Transaction))>(changes[i + 2].transaction);
      if (i + 1 < changes.size()) {
        Prefetch<LinesOf(4 * sizeof(Branch))>(changes[i + 1].transaction->branches.data());
      }
      Change& change = changes[i];
      codec::EncodeState(*change.transaction, state_);
      change.applied = change.transaction->id == 0 ? writer.Insert(change, state_)
                                                   : writer.Update(change, state_);
    }
  }

  void Commit() override {
    try {
      Writing().commit.Step();
    } catch (const sql::SqliteError& error) {
      Rollback();
      // Both may come after the commit's frame has reached the log.
      const bool in_doubt = error.Primary() == SQLITE_IOERR || error.Primary() == SQLITE_NOMEM;
      if (!in_doubt) throw;
      throw CommitInDoubt(std::string(error.what()) + "; it may or may not be stored");
    }
    connections_.AfterCommit();
  }

  void Rollback() noexcept override { connections_.Rollback(); }
  void Recover() override { connections_.Recover(); }

  std::string Check(const std::atomic<bool>& stop) override {
    try {
      sql::Database db(connections_.Path(), SQLITE_OPEN_READWRITE);
      connections_.ConfigureReader(db);
      const auto stopped = [](void* flag) {
        return static_cast<const std::atomic<bool>*>(flag)->load() ? 1 : 0;
      };
      sqlite3_progress_handler(db.Handle(), 10000, stopped, const_cast<std::atomic<bool>*>(&stop));
      return connections_.QuickCheck(db);
    } catch (const sql::SqliteError& error) {
      return error.Primary() == SQLITE_INTERRUPT ? "" : error.what();
    }
  }

  std::optional<Transaction> Load(const std::string& gid) override { return reads_.Load(gid); }
  std::vector<JournalEntry> ReadJournal(const std::string& gid) override {
    return reads_.ReadJournal(gid);
  }
  ScanPage Scan(const ScanFilter& filter, std::int64_t position, std::size_t limit) override {
    return reads_.Scan(filter, position, limit);
  }
  KeyValuePage ScanValues(const std::string& category, const std::string& key,
                          std::int64_t position, std::size_t limit) override {
    return reads_.ScanValues(category, key, position, limit);
  }
  Backlog CountUnfinished(Time now) override { return reads_.CountUnfinished(now); }

  void Due(Time now, DuePosition after, const DueVisitor& visit) override {
    sql::Statement& due = Writing().due;
    const Finally reset{due};
    due.Bind(1, sqlite_store::Stored(after.due)).Bind(2, after.id);
    due.Bind(3, sqlite_store::Stored(now));
    while (due.Step()) {
      if (!visit(sqlite_store::ReadTransaction(due, Writing().steps))) return;
    }
  }

  Time NextDue(Time now) override {
    sql::Statement& next = Writing().next_due;
    const Finally reset{next};
    next.Bind(1, sqlite_store::Stored(now));
    return next.Step() && !next.IsNull(0) ? sqlite_store::FromStored(next.Int(0)) : kNever;
  }

  std::int64_t Expire(Time before, std::int64_t after, std::size_t limit, bool keep_gids) override {
    return sqlite_store::Expiry(Writing()).RemoveSome(sqlite_store::Stored(before), after, limit,
                                                      keep_gids);
  }

  std::string ForgetGids(Time before, const std::string& after, std::size_t limit) override {
    std::vector<std::string> forgotten;
    std::string last;
    std::size_t seen = 0;
    {
      sql::Statement& look = Writing().look_kept;
      const Finally reset{look};
      look.BindText(1, after).Bind(2, static_cast<std::int64_t>(limit));
      for (; look.Step(); ++seen) {
        last = look.Text(0);
        if (sqlite_store::FromKept(look.Int(1)) < before) forgotten.push_back(last);
      }
    }
    sqlite_store::Expiry(Writing()).Forget(forgotten);
    return seen == limit ? last : std::string();
  }

 private:
  using Connections = sqlite_store::Connections;
  using Finally = sqlite_store::Finally;

  sqlite_store::Writer& Writing() { return connections_.Writing(); }

  sqlite_store::Connections connections_;
  sqlite_store::Reads<sqlite_store::Connections> reads_{connections_};
  std::string state_;  // reused, the encoded state of the change at hand
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/timeline/timeline.hpp -----------------------------------------------------------------

/// The story of a transaction, for people: its record and its journal, with the calls put together from their begin and end.
/// Needs: std. Threads: values and pure functions.

namespace dtm {
inline namespace v1 {

inline constexpr std::size_t kNoEntry = SIZE_MAX;

/// One call of a row.
struct Attempt {
  /// How the call ended.
  enum class Outcome {
    kRunning,  ///< it has no result yet
    kSuccess,
    kFailure,
    kOngoing,
    kError,
    kNotSent,
    kLost  ///< the process that made it ended, or lost the transaction to another, before there was a result
  };
  std::size_t row = 0;  ///< of the transaction
  std::size_t run = 0;  ///< index into Timeline::runs: which process made it
  Time begin{};         ///< 0: not kept (see JournalKind::kGap)
  Time end{};           ///< kLost: when that was noticed; kRunning: 0
  Outcome outcome = Outcome::kRunning;
  std::string text{};                  ///< what the branch, or the error, said
  std::size_t begin_entry = kNoEntry;  ///< where Timeline::entries tell of it
  std::size_t end_entry = kNoEntry;
};

/// In words: "running", "success", "not sent", ...
inline const char* Name(Attempt::Outcome outcome) {
  switch (outcome) {
    case Attempt::Outcome::kRunning: return "running";
    case Attempt::Outcome::kSuccess: return "success";
    case Attempt::Outcome::kFailure: return "failure";
    case Attempt::Outcome::kOngoing: return "ongoing";
    case Attempt::Outcome::kError: return "error";
    case Attempt::Outcome::kNotSent: return "not sent";
    case Attempt::Outcome::kLost: return "lost";
  }
  return "unknown";
}

/// From `begin` on this process drove the transaction.
struct DrivenBy {
  std::string process;  ///< see Options::node_name; empty: not known
  Time begin{};
};

/// The story of one transaction.
struct Timeline {
  Transaction transaction;
  std::vector<JournalEntry> entries;  ///< oldest first; empty: no journal was kept
  std::vector<DrivenBy> runs;         ///< at least one; the first is where it was stored
  std::vector<Attempt> attempts;      ///< in the order in which they began
};

namespace timeline {

inline Attempt::Outcome OutcomeOf(JournalKind kind) {
  switch (kind) {
    case JournalKind::kSuccess: return Attempt::Outcome::kSuccess;
    case JournalKind::kFailure: return Attempt::Outcome::kFailure;
    case JournalKind::kOngoing: return Attempt::Outcome::kOngoing;
    case JournalKind::kError: return Attempt::Outcome::kError;
    case JournalKind::kNotSent: return Attempt::Outcome::kNotSent;
    default: return Attempt::Outcome::kRunning;
  }
}

/// Ends the running attempt of the row, or adds one whose begin is not kept.
inline void EndAttempt(Timeline& story, std::size_t index) {
  const JournalEntry& entry = story.entries[index];
  const auto found = std::find_if(
      story.attempts.rbegin(), story.attempts.rend(), [&entry](const Attempt& attempt) {
        return attempt.row == entry.row && attempt.outcome == Attempt::Outcome::kRunning;
      });
  if (found == story.attempts.rend()) {
    story.attempts.push_back({entry.row, story.runs.size() - 1, Time{}, entry.time,
                              OutcomeOf(entry.kind), entry.text, kNoEntry, index});
    return;
  }
  found->end = entry.time;
  found->outcome = OutcomeOf(entry.kind);
  found->text = entry.text;
  found->end_entry = index;
}

/// What was running when the process ended, or the transaction, has no result any more. `row`: only of this one.
inline void LoseRunning(Timeline& story, Time time, std::size_t row = kNoRow) {
  for (Attempt& attempt : story.attempts) {
    if (attempt.outcome != Attempt::Outcome::kRunning) continue;
    if (row != kNoRow && attempt.row != row) continue;
    attempt.outcome = Attempt::Outcome::kLost;
    attempt.end = time;
  }
}

}  // namespace timeline

/// The story of a transaction, from what the store has of it. Pure.
inline Timeline MakeTimeline(Transaction transaction, std::vector<JournalEntry> entries) {
  Timeline story{std::move(transaction), std::move(entries), {}, {}};
  story.runs.push_back({});
  story.runs.front().begin = story.transaction.created;
  for (std::size_t i = 0; i < story.entries.size(); ++i) {
    const JournalEntry& entry = story.entries[i];
    switch (entry.kind) {
      case JournalKind::kPrepared:
      case JournalKind::kSubmitted:
        if (story.runs.front().process.empty()) story.runs.front().process = entry.who;
        break;
      case JournalKind::kTakenUp:
        timeline::LoseRunning(story, entry.time);
        story.runs.push_back({entry.who, entry.time});
        break;
      case JournalKind::kStarted:
        timeline::LoseRunning(story, entry.time, entry.row);  // its commit was in doubt
        story.attempts.push_back({entry.row, story.runs.size() - 1, entry.time});
        story.attempts.back().begin_entry = i;
        break;
      case JournalKind::kSuccess:
      case JournalKind::kFailure:
      case JournalKind::kOngoing:
      case JournalKind::kError:
      case JournalKind::kNotSent: timeline::EndAttempt(story, i); break;
      case JournalKind::kSucceeded:
      case JournalKind::kFailed: timeline::LoseRunning(story, entry.time); break;
      case JournalKind::kRegistered:
      case JournalKind::kRollback:
      case JournalKind::kStuck:
      case JournalKind::kCancel:
      case JournalKind::kForceStop:
      case JournalKind::kRetryNow:
      case JournalKind::kFinish:
      case JournalKind::kRepair:
      case JournalKind::kGap: break;
    }
  }
  return story;
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/coordinator.hpp -----------------------------------------------------------

/// The embedded coordinator: what a program creates, registers its functions with, and submits to.
/// Needs: nlohmann/json, SQLite (by the constructor that takes a file). Threads: every method is thread-safe. Protocol: §2.2.

namespace dtm {
inline namespace v1 {

/// Drives transactions to their end, through crashes: submitted transactions are durable, and continue when a program opens
/// the same file and registers the same functions again.
///
/// Start() gives it a thread of its own. Without Start the program calls Poll(): functions run inside Poll, and calls that
/// wait (Submit, Wait, ...) drive the coordinator themselves. A method that waits throws LogicError inside a callback of the
/// coordinator (of SubmitAsync, Transact, RegisterInTransaction), where it would wait for itself; Wait and SubmitAndWait throw
/// it inside a branch function, too. A time to wait of Duration::max() is for ever.
///
/// Declare what the functions capture before the coordinator, so that it lives longer. In a forked child every method throws
/// LogicError and the destructor touches nothing.
class Coordinator : public EmbeddedEndpoint {
 public:
  /// Opens or creates the SQLite file, checks and locks it.
  /// @throws StoreError  the file is in use by another coordinator, unreadable, read-only, damaged, or of a newer version.
  /// @throws LogicError  an option is out of range; no file was touched.
  explicit Coordinator(const std::string& file, const Options& options = {})
      : Coordinator(std::make_unique<SqliteStore>(file, CheckedOptions(options).durability,
                                                  SqliteStore::OnOpen(), CacheBytes(options)),
                    options) {}

  /// On a store of your choice, such as a SqliteStore that creates tables of your own; `clock` is for tests: null
  /// is the machine's, or the database's for a store that several coordinators share.
  /// @throws LogicError  an option is out of range.
  explicit Coordinator(std::unique_ptr<Store> store, const Options& options = {},
                       std::unique_ptr<Clock> clock = nullptr)
      : EmbeddedEndpoint(std::make_unique<Driver>(std::move(store), std::move(clock), options)) {}

  /// Stops, and waits for functions that are running, as long as it takes; logs a warning after a second.
  ~Coordinator() override = default;

  /// Registers a branch function under a name. The store keeps the name: register the same names after a restart; transactions
  /// that need a missing one wait for it.
  ///
  /// `function` takes `const T&`, or `const T&` and `const BranchInfo&`; T is anything nlohmann/json can read. It returns nothing
  /// (success) or Result: Success, Failure (definite: roll back), Ongoing (call again after the retry interval). A thrown
  /// FailureError is a Failure, an OngoingError an Ongoing; after any other exception it is called again, with growing waits.
  ///
  /// It may be called again after a crash, so it must be idempotent (BranchInfo identifies the call), and a compensation must do
  /// nothing if its action did nothing. It may block: there is no deadline, and while it runs no other call of its branch
  /// starts. Several threads may call it at once, so it is called as const (no `mutable` lambda); it may capture move-only values.
  /// @throws LogicError  the name is taken, or the function is an empty std::function or pointer.
  template <typename T, typename Function>
  LocalBranch<T> Register(const std::string& name, Function function) {
    Keep(name, EraseType<T>(std::move(function)));
    return {name, Identity()};
  }

  /// The same for RegisterWorkflow. A workflow may wait for other transactions, so workflows run on threads of their own;
  /// there are as many of these as for branch functions.
  /// @throws LogicError  as Register.
  template <typename T, typename Function>
  LocalBranch<T> RegisterResume(const std::string& name, Function function) {
    KeepResume(name, EraseType<T>(std::move(function)));
    return {name, Identity()};
  }

  /// The same as Register for a function that writes to the coordinator's own store, through the connection it gets:
  /// with SQLite `function(sqlite3*, const T&)`, or also `const BranchInfo&`. Its writes, its result and the next step are one
  /// commit: its effect happens exactly once, without a barrier. A Failure or an exception undoes its writes.
  ///
  /// It runs on the coordinator's thread and everything else waits, so it should take less than 5 ms and do nothing but SQL.
  /// Transactions, ATTACH, PRAGMA and the dtm_ tables are denied. It may run several times, and is committed once. If the
  /// initiator calls it itself (the try of a tcc, the action of an xa, the step of a workflow), that has a commit of its own. A
  /// workflow's step is recorded in the next commit, so a crash in between runs it again. No coordinator elsewhere can call it.
  /// @throws LogicError  the name is taken, the function is an empty std::function or pointer, or several coordinators share
  /// the store (PgOutbox is what they have instead).
  template <typename T, typename Function>
  LocalBranch<T> RegisterInTransaction(const std::string& name, Function function) {
    return {KeepInTransaction(name, EraseTransactionType<T>(std::move(function))), Identity()};
  }

  /// Runs `function(Tx&)` inside the next commit, on the coordinator's thread. The rows that it writes through tx.Db() and
  /// the sagas and messages that it submits to `tx` become durable together, or not at all; this returns once they are.
  /// The limits of RegisterInTransaction hold. It may run several times, and is committed once. It returns nothing or
  /// Result.
  /// @throws InDoubtError  the commit failed, and all of it may be stored, or nothing: query the gid.
  /// @throws StoreError    the commit failed; nothing was stored.
  /// @throws LogicError    several coordinators share the store: PgOutbox is what they have instead.
  /// @throws what `function` threw; FailureError: it returned Failure. Nothing was stored.
  template <typename Function>
  void Transact(const Function& function) {
    static_assert(callable::Check<Function, Tx&>(), "dtm: what Transact runs takes dtm::Tx&");
    RunTransact([&function](Tx& tx) -> Result { return ResultOf(function, tx); });
  }

  /// Adds what calls the branches with URLs of some schemes: `tm.Use(dtm::HttpBranches())` from <dtm/http.hpp> for http and
  /// https. A submission with a URL of another scheme is refused unless its caller was added before. A caller with the scheme
  /// "local" gets the calls of functions that are not registered here; tests and replays stand in for them so.
  /// @throws LogicError  one of its schemes has a caller, or it comes after Start or Stop.
  void Use(std::unique_ptr<BranchCaller> caller) { Checked().Use(std::move(caller)); }

  /// Takes over what programs submit into an outbox table, until Stop, on a thread and a connection of its own:
  /// `tm.Relay(dtm::PgRelay("host=... dbname=..."))`. It looks every `interval` (1 ms to 1 min), and after ten looks that
  /// found nothing a third as often. A row is claimed for this store, and goes after its transaction is as durable here as
  /// Options::durability says. So several coordinators may relay a table; each row runs at one of them, whatever crashes.
  /// Stop waits 5 s for a database that does not answer.
  /// @throws LogicError  there is no source, the interval is out of its range, or it comes after Stop.
  void Relay(std::unique_ptr<OutboxSource> source,
             Duration interval = std::chrono::milliseconds(100)) {
    relays_.Get().Add(*this, Checked(), std::move(source), interval);
  }

  /// From now on a thread drives the coordinator. It begins with the transactions that a crash left unfinished.
  /// @throws LogicError  it comes twice, or after Stop.
  void Start() { Checked().Start(); }

  /// For event loops, instead of Start: does what there is to do, runs functions and alerts, and returns how long the
  /// program may sleep before it polls again: zero if there is more to do already, at most an hour. Options::on_wake is
  /// called when something comes earlier; WakeFd turns that into a file descriptor. Any thread may poll. Nothing after Stop.
  /// @throws LogicError  it was started.
  Duration Poll() { return Checked().Poll(); }

  /// Refuses new submissions, answers everybody who waits for an end with the present status, waits up to `limit` for
  /// running calls, and commits their results. Unfinished transactions continue after a restart. False: functions or
  /// on_alert are still running; call it again.
  /// @throws LogicError  called in a callback of the coordinator.
  bool Stop(Duration limit) {
    Checked().CheckNotLoop();
    relays_.Get().Stop();
    return Checked().Stop(TimeIn(limit));
  }

  /// The committed record; nothing if there is none. If the record has expired and only its gid is kept (Options::keep_gids), it
  /// has `expired` and no branches. Like List and ListValues it reads the store in this thread.
  /// @throws StoreError  the store cannot be read.
  std::optional<Transaction> Query(const std::string& gid) { return Checked().store->Load(gid); }

  /// Committed records, newest first; `limit` is 1 to 1000, `position` the one that the page before returned. With a filter
  /// that is a search (see ScanFilter) at most some 10,000 records are read, so a page may be short, or empty, before the
  /// end, which is where `next` is 0.
  /// @throws StoreError     the store cannot be read.
  /// @throws RejectedError  the limit is out of range.
  ScanPage List(const ScanFilter& filter = {}, std::int64_t position = 0, std::size_t limit = 100) {
    CheckListLimit(limit);
    return Checked().store->Scan(filter, position, limit);
  }

  /// The coordinators on the store, this one among them, also those that stopped a moment ago. Alone, if the store is not
  /// shared. Reads the store in this thread.
  /// @throws StoreError  the store cannot be read.
  std::vector<Peer> Nodes() {
    Peers* const peers = Checked().store->Shared();
    return peers != nullptr ? peers->All()
                            : std::vector<Peer>{{NodeOf(Settings()), true, Duration(0), true}};
  }

  /// The whole story of a transaction: its record, each call with its begin, end and outcome, each decision, which process
  /// drove it, with times; nothing if there is no such transaction. What Options::history keeps of it is removed with its
  /// record. Each entry is as durable as the change it tells of. Reads the store in this thread, record first: the entries
  /// may tell of one more change than the record has.
  /// @throws StoreError  the store cannot be read.
  std::optional<dtm::Timeline> Timeline(const std::string& gid) {
    std::optional<Transaction> stored = Query(gid);
    if (!stored) return std::nullopt;
    std::vector<JournalEntry> entries = Checked().store->ReadJournal(gid);
    if (Settings().history > 0) FoldJournal(entries, Settings().history);
    return MakeTimeline(std::move(*stored), std::move(entries));
  }

  /// Waits up to `timeout` for the end; returns the status at that time, which may be an unfinished one.
  /// @throws InDoubtError   the store failed meanwhile.
  /// @throws RejectedError  there is no such transaction.
  /// @throws LogicError     called in a branch function, which could wait for itself.
  TransResult Wait(const std::string& gid, Duration timeout) {
    CheckMayBlock("Wait");
    return Await([&](AnswerCallback answer) { WaitAsync(gid, timeout, std::move(answer)); });
  }

  /// A text for people: the status, what the transaction waits for, the last error, the next try.
  /// @throws StoreError  the store cannot be read.
  std::string Explain(const std::string& gid) {
    return AwaitValue<std::string>(
        [&](ValueCallback<std::string> answer) { ExplainAsync(gid, std::move(answer)); });
  }

  /// Rolls back an unfinished saga (what may have run is compensated), or a transaction that is prepared and not yet
  /// submitted. Returns when that is decided. If it is being rolled back already, the waiting calls are made at once, and
  /// the first reason stays.
  /// @throws InDoubtError   the store failed meanwhile; the change is tried again. StoreError: nothing was changed.
  /// @throws RejectedError  there is no such transaction, it has ended, or it can no longer be rolled back.
  void Cancel(const std::string& gid, const std::string& reason = "cancelled") {
    Cancel(gid, By{{}, reason});
  }
  /// The same, with who asks for it in the journal; `by.why` is the reason.
  void Cancel(const std::string& gid, const By& by) {
    Await([&](AnswerCallback answer) {
      AbortAsync(gid, {}, by, WaitResult::kIgnored, std::move(answer));
    });
  }

  /// Ends an unfinished transaction as failed. Nothing more is called, and nothing is undone. The journal keeps `by`.
  /// @throws InDoubtError   the store failed meanwhile; the change is tried again. StoreError: nothing was changed.
  /// @throws RejectedError  there is no such transaction, or it has ended.
  void ForceStop(const std::string& gid, const By& by = {}) {
    Await([&](AnswerCallback answer) { ForceStopAsync(gid, by, std::move(answer)); });
  }

  /// Makes the waiting calls of an unfinished transaction at once, and drives a stuck one again. The journal keeps `by` if
  /// anything waited.
  /// @throws InDoubtError   the store failed meanwhile; the change is tried again. StoreError: nothing was changed.
  /// @throws RejectedError  there is no such transaction, or it has ended.
  void RetryNow(const std::string& gid, const By& by = {}) {
    Await([&](AnswerCallback answer) { RetryNowAsync(gid, by, std::move(answer)); });
  }

  /// Repairs an unfinished transaction: its branch `branch_id`, `op` ("01", Op::kCompensate) counts as done from now on, without a
  /// call, because of `by.why`, and the transaction goes on; a stuck one, too. Nothing else changes. It is for what was done by hand,
  /// or need not be done any more. A skipped action of a saga is compensated like any other if the saga is rolled back later, unless
  /// its compensation is skipped too (that may be done beforehand). A service with a barrier compensates only what was done
  /// through it: nothing, if the action never came there. The journal keeps who and why, and last_error says it.
  ///
  /// Refused while a call of the branch is running, or may be (of a process that has died): its effect could come after what was
  /// done by hand. So it may be asked for once the call has ended and waits for its next try; Explain says which it is.
  /// @throws InDoubtError   the store failed meanwhile; it is tried again, and may be refused then: ask again. "Has succeeded
  ///                        already" then means that it is done. StoreError: nothing was changed.
  /// @throws RejectedError  there is no such transaction or branch, `by.why` is empty, it has ended, is prepared or a workflow, the
  ///                        branch has succeeded, will not be called, or is being called; nothing was changed.
  void Skip(const std::string& gid, const std::string& branch_id, Op op, const By& by) {
    Await([&](AnswerCallback answer) { SkipAsync(gid, branch_id, op, by, std::move(answer)); });
  }

  /// The gids of at most `limit` unfinished transactions whose next try is more than `wait` away, the earliest
  /// first; RetryNow tries them at once.
  /// @throws StoreError  the store cannot be read.
  std::vector<std::string> ListWaiting(Duration wait, std::size_t limit) {
    using Gids = std::vector<std::string>;
    return AwaitValue<Gids>(
        [&](ValueCallback<Gids> answer) { ListWaitingAsync(wait, limit, std::move(answer)); });
  }

  /// Messages to `topic://<topic>` that are stored from now on go to this url too. At most 1000 subscribers a topic; 128 bytes
  /// for its name, 2048 for a url, 1024 for a remark (for people), all of it UTF-8. Durable when it returns.
  /// @throws InDoubtError, StoreError  the store failed; in doubt: it may be stored, look with ListValues.
  /// @throws RejectedError  "this url exists", or a limit; nothing was changed.
  void Subscribe(const std::string& topic, const std::string& url, const std::string& remark = {}) {
    Await([&](AnswerCallback answer) { SubscribeAsync(topic, url, remark, std::move(answer)); });
  }
  /// Messages that are stored from now on do not go to this url any more. `url`: as it was given, or as ShownUrl shows it.
  /// @throws RejectedError  there is no such topic or url, or several are shown like this; else as Subscribe.
  void Unsubscribe(const std::string& topic, const std::string& url) {
    Await([&](AnswerCallback answer) { UnsubscribeAsync(topic, url, std::move(answer)); });
  }
  /// Removes the topic with its subscribers. Messages that are stored already are delivered all the same.
  /// @throws RejectedError  there is no such topic; else as Subscribe.
  void DeleteTopic(const std::string& topic) {
    Await([&](AnswerCallback answer) { DeleteTopicAsync(topic, std::move(answer)); });
  }

  /// Committed values such as topics (category "topics"); an empty category or key matches any, `limit` is 1 to 1000, and
  /// `position` the one that the page before returned.
  /// @throws StoreError     the store cannot be read.
  /// @throws RejectedError  the limit is out of range.
  KeyValuePage ListValues(const std::string& category, const std::string& key = {},
                          std::int64_t position = 0, std::size_t limit = 100) {
    CheckListLimit(limit);
    return Checked().store->ScanValues(category, key, position, limit);
  }

  /// The present wait between the tries of a transaction; it doubles after errors.
  Duration IntervalOf(const Transaction& transaction) const {
    engine::Context context;
    context.retry_interval = Settings().retry_interval;
    return engine::IntervalNow(transaction, context);
  }

  /// The counters of what was done since the coordinator was opened.
  Metrics::Snapshot Counted() const { return Checked().Counted(); }
  /// The present state in numbers. Reads the store: some milliseconds for 100,000 unfinished transactions.
  /// @throws StoreError  the store cannot be read.
  Gauges Measure() {
    Gauges gauges = Checked().Measure();
    relays_.Get().Measure(gauges);
    return gauges;
  }
  /// The options that it was made with.
  const Options& Settings() const { return Checked().options; }

 private:
  static void CheckListLimit(std::size_t limit) {
    if (limit == 0 || limit > kMaxListLimit) {
      throw RejectedError("the limit of a list must be 1 to " + std::to_string(kMaxListLimit));
    }
  }

  // What the templates above come to, without types of the program.

  void Keep(const std::string& name, BranchFunction function) {
    Driver& driver = Checked();
    if (!function) throw EmptyFunction(name);
    driver.functions.Register(name, std::move(function));
    (void)driver.inbox.Push(About(kLocalPrefix + name, Command::Kind::kRegistered));
  }
  void KeepResume(const std::string& name, BranchFunction function) {
    Driver& driver = Checked();
    driver.functions.RegisterResume(name, std::move(function));
    (void)driver.inbox.Push(About(kLocalPrefix + name, Command::Kind::kRegistered));
  }
  /// Returns the name by which it is stored.
  std::string KeepInTransaction(const std::string& name, TransactionFunction function) {
    Driver& driver = Checked();
    if (!function) throw EmptyFunction(name);
    CheckRunsWorks();
    std::string full_name = kInTransactionPrefix + name;
    driver.transaction_functions.Register(full_name, std::move(function));
    (void)driver.inbox.Push(About(kLocalPrefix + full_name, Command::Kind::kRegistered));
    return full_name;
  }
  static LogicError EmptyFunction(const std::string& name) {
    return LogicError("the branch function '" + name + "' is an empty function");
  }

  OfThisProcess<Relays> relays_{"coordinator"};  // ends before what it submits to
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/text/time_text.hpp --------------------------------------------------------------------

/// Times as text: RFC 3339 in UTC.
/// Needs: std. Threads: pure functions. Source: RFC 3339 §5.6.

#include <ctime>

namespace dtm {
inline namespace v1 {

/// "2026-11-22T07:08:07.0045Z": zeros at the end of the fraction are left out.
inline std::string TimeText(Time time) {
  const auto micros = time.time_since_epoch().count();
  auto seconds = static_cast<std::time_t>(micros / 1000000);
  auto fraction = static_cast<int>(micros % 1000000);
  if (fraction < 0) {
    fraction += 1000000;
    --seconds;
  }
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[48];
  const std::size_t length = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  std::string result(text, length);
  if (fraction != 0) {
    std::snprintf(text, sizeof text, ".%06d", fraction);
    result += text;
    while (result.back() == '0') result.pop_back();
  }
  return result + "Z";
}

namespace time_text {

/// Days from 1970-01-01 in the Gregorian calendar; `month` is 1 to 12.
inline std::int64_t Days(std::int64_t year, unsigned month, unsigned day) {
  // In years that begin in March the leap day is the last one, and months repeat every five.
  const std::int64_t y = month > 2 ? year : year - 1;
  const std::int64_t era = (y >= 0 ? y : y - 399) / 400;
  const auto of_era = static_cast<unsigned>(y - era * 400);
  const unsigned of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  const unsigned in_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
  return era * 146097 + static_cast<std::int64_t>(in_era) - 719468;
}

}  // namespace time_text

/// What TimeText has written, of the years 1000 to 9999; nothing if it is anything else.
inline std::optional<Time> ParseTime(std::string_view text) {
  constexpr std::string_view kForm = "dddd-dd-ddTdd:dd:dd";
  if (text.size() <= kForm.size() || text.back() != 'Z') return std::nullopt;
  for (std::size_t i = 0; i < kForm.size(); ++i) {
    const bool digit = text[i] >= '0' && text[i] <= '9';
    if (kForm[i] == 'd' ? !digit : text[i] != kForm[i]) return std::nullopt;
  }
  const auto number = [text](std::size_t at, std::size_t size) {
    return ParseNumber<unsigned>(text.substr(at, size)).value_or(0);
  };
  std::int64_t micros = 0;
  std::string_view fraction = text.substr(kForm.size(), text.size() - kForm.size() - 1);
  if (!fraction.empty()) {
    const std::string digits(fraction.substr(1));
    const bool fits = fraction[0] == '.' && !digits.empty() && digits.size() <= 6 &&
                      digits.find_first_not_of("0123456789") == std::string::npos;
    if (!fits) return std::nullopt;
    micros = ParseNumber<unsigned>(digits + std::string(6 - digits.size(), '0')).value_or(0);
  }
  const std::int64_t days = time_text::Days(number(0, 4), number(5, 2), number(8, 2));
  const std::int64_t seconds =
      ((days * 24 + number(11, 2)) * 60 + number(14, 2)) * 60 + number(17, 2);
  const Time time{Duration(seconds * 1000000 + micros)};
  // What does not exist (the 30th of February, 25 o'clock) is another time written otherwise.
  const std::string whole = TimeText(Time(Duration(seconds * 1000000)));
  if (whole.substr(0, kForm.size()) != text.substr(0, kForm.size())) return std::nullopt;
  return time;
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/observe/json_line.hpp -----------------------------------------------------------------

/// Events, spans and lines of the log as JSON, each on one line.
/// Needs: std. Threads: pure functions; LogAsJson: any thread. Document: docs/observe.md.

namespace dtm {
inline namespace v1 {

namespace json_line {

/// In quotes. Bytes that are no UTF-8 become U+FFFD.
inline std::string Quoted(const std::string& text) {
  std::string quoted = "\"";
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = Utf8Length(text, at);
    const auto first = static_cast<unsigned char>(text[at]);
    if (length == 0) {
      quoted += "\xEF\xBF\xBD";
    } else if (first < 0x20 || first == 0x7F) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(first));
      quoted += code;
    } else {
      if (first == '"' || first == '\\') quoted += '\\';
      quoted.append(text, at, length);
    }
    at += length == 0 ? 1 : length;
  }
  return quoted + '"';
}

/// An object of texts; empty ones are left out.
class Object {
 public:
  Object& Add(const char* name, const std::string& value) {
    if (!value.empty()) AddRaw(name, Quoted(value));
    return *this;
  }
  Object& AddRaw(const char* name, const std::string& value) {
    text_ += text_.empty() ? "{" : ",";
    text_ += Quoted(name) + ":" + value;
    return *this;
  }
  std::string Text() const { return text_.empty() ? "{}" : text_ + "}"; }

 private:
  std::string text_;
};

}  // namespace json_line

/// {"time":"2026-11-30T18:00:00.5Z","event":"failure","gid":"...","trans_type":"saga","status":"aborting", ...}; what is empty is left out.
inline std::string JsonLine(const Event& event) {
  return json_line::Object()
      .Add("time", TimeText(event.time))
      .Add("event", Name(event.kind))
      .Add("gid", event.gid)
      .Add("trans_type", Name(event.type))
      .Add("status", Name(event.status))
      .Add("branch_id", event.branch_id)
      .Add("op", event.op == Op{} ? "" : Name(event.op))
      .Add("target", event.target)
      .Add("text", event.text)
      .Add("who", event.who)
      .Add("trace_id", event.trace_id)
      .Text();
}

/// {"time":"...","level":"warning","message":"...","gid":"...","trace_id":"..."}
inline std::string JsonLine(const LogLine& line, Time time) {
  return json_line::Object()
      .Add("time", TimeText(time))
      .Add("level", Name(line.level))
      .Add("message", line.text)
      .Add("gid", line.gid)
      .Add("trace_id", line.trace_id)
      .Text();
}

/// {"time": its begin,"end":"...","span":"saga action 01","trace_id":"...", ..., "attributes":{...}}
inline std::string JsonLine(const Span& span) {
  json_line::Object attributes;
  for (const auto& [name, value] : span.attributes) attributes.Add(name.c_str(), value);
  return json_line::Object()
      .Add("time", TimeText(span.begin))
      .Add("end", TimeText(span.end))
      .Add("span", span.name)
      .Add("trace_id", span.trace_id)
      .Add("span_id", span.span_id)
      .Add("parent_id", span.parent_id)
      .AddRaw("failed", span.failed ? "true" : "false")
      .Add("text", span.text)
      .AddRaw("attributes", attributes.Text())
      .Text();
}

/// For Options::log: each line to stderr as JSON, with the gid and the trace if it is about a transaction.
inline void LogAsJson(const LogLine& line) {
  const Time now = std::chrono::time_point_cast<Duration>(std::chrono::system_clock::now());
  std::fputs((JsonLine(line, now) + "\n").c_str(), stderr);
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/store/memory_batch.hpp ----------------------------------------------------------------

/// What a batch of the store in memory is to write: all of it is beside what is committed, so it can be dropped.
/// Needs: std. Threads: the owner's.

namespace dtm {
inline namespace v1 {
namespace memory_store {

/// Never changed once they are kept: a batch that writes values makes new ones.
struct Values {
  std::map<std::int64_t, KeyValue> by_row;
  std::map<std::pair<std::string, std::string>, std::int64_t> rows_of;

  const KeyValue* Find(const std::string& category, const std::string& key) const {
    const auto row = rows_of.find({category, key});
    return row == rows_of.end() ? nullptr : &by_row.at(row->second);
  }
};

struct Journal {
  std::string bytes;
  std::size_t folded = 0;  ///< bytes when it was folded last
  unsigned history = 0;

  /// Puts the old ones before the new ones. It is folded whenever it has doubled.
  void Follow(const Journal& old) {
    bytes.insert(0, old.bytes);
    folded = old.folded;
    if (bytes.size() < 2 * folded + kFoldedFrom) return;
    std::vector<JournalEntry> entries;
    codec::DecodeJournal(bytes, entries);
    FoldJournal(entries, history);
    bytes.clear();
    codec::EncodeJournal(entries, bytes);
    folded = bytes.size();
  }

 private:
  static constexpr std::size_t kFoldedFrom = 1024;
};

class OpenBatch {
 public:
  /// `committed`: what the batch begins with.
  /// @throws StoreError  it is open.
  void Begin(std::shared_ptr<const Values> committed) {
    if (open_) throw StoreError("a batch is open already; commit it or roll it back first");
    open_ = true;
    records.clear();
    rows.clear();
    told.clear();
    removed.clear();
    forgotten.clear();
    values = std::move(committed);
  }
  bool IsOpen() const { return open_; }
  void Close() noexcept { open_ = false; }

  /// See Store::Run.
  Result Run(const Work& work) {
    const std::shared_ptr<const Values> before = values;
    Result result = CatchAsResult([&work] { return work(WorkContext()); });
    if (result.kind != Result::Kind::kSuccess) values = before;
    return result;
  }

  std::optional<KeyValue> GetValue(const std::string& category, const std::string& key) const {
    const KeyValue* found = values->Find(category, key);
    if (found == nullptr) return std::nullopt;
    return *found;
  }

  void PutValue(const KeyValue& value) {
    const KeyValue* old = values->Find(value.category, value.key);
    KeyValue kept = value;
    kept.id = old == nullptr ? ++last_value_ : old->id;
    kept.version = old == nullptr ? 1 : old->version + 1;
    kept.created = old == nullptr ? value.updated : old->created;
    const auto changed = std::make_shared<Values>(*values);
    changed->rows_of[{value.category, value.key}] = kept.id;
    changed->by_row[kept.id] = std::move(kept);
    values = changed;
  }

  bool RemoveValue(const std::string& category, const std::string& key) {
    const KeyValue* old = values->Find(category, key);
    if (old == nullptr) return false;
    const auto changed = std::make_shared<Values>(*values);
    changed->by_row.erase(old->id);
    changed->rows_of.erase({category, key});
    values = changed;
    return true;
  }

  /// As it is to be stored.
  void Keep(const Transaction& transaction, std::uint64_t version, std::uint64_t owner) {
    Transaction& kept = records[transaction.id] = transaction;
    kept.version = version;
    kept.owner = owner;
    for (Branch& branch : kept.branches) {  // what no store keeps
      branch.in_flight = branch.unsent = false;
      branch.previous_deadline = Time{};
    }
  }

  void Tell(std::int64_t row, const Change& change) {
    Journal& journal = told[row];
    journal.bytes.append(change.journal);
    journal.history = change.history;
  }

  std::map<std::int64_t, Transaction> records;         ///< new and changed ones
  std::unordered_map<std::string, std::int64_t> rows;  ///< of new gids
  std::map<std::int64_t, Journal> told;                ///< of these records
  std::vector<std::int64_t> removed;                   ///< records that have expired
  bool keep_gids = false;                              ///< of them
  std::vector<std::string> forgotten;                  ///< gids that were kept
  std::shared_ptr<const Values> values = std::make_shared<Values>();

 private:
  bool open_ = false;
  std::int64_t last_value_ = 0;
};

}  // namespace memory_store
}  // namespace v1
}  // namespace dtm

// ---- dtm/store/memory_search.hpp ---------------------------------------------------------------

/// What a search reads of the store in memory. See search.hpp.
/// Needs: std. Threads: under the lock of the store.

namespace dtm {
inline namespace v1 {
namespace memory_store {

using Records = std::map<std::int64_t, Transaction>;
/// Of the unfinished: when each is due, and its id.
using DueOnes = std::map<std::pair<Time, std::int64_t>, bool>;

class Searched : public SearchSource {
 public:
  Searched(const Records& records, const DueOnes& due) : records_(records), due_(due) {}

  Ids Unfinished(bool stuck, std::size_t most) override {
    Ids ids;
    auto due = stuck ? due_.lower_bound({kNever, 0}) : due_.begin();
    for (; due != due_.end() && ids.size() < most; ++due) ids.push_back(due->first.second);
    return ids;
  }
  std::optional<Ids> WithGids(const std::string&, const std::string&, std::size_t) override {
    return std::nullopt;  // they are in no order
  }
  Ids Below(std::int64_t id, std::size_t most) override {
    Ids ids;
    for (auto end = records_.lower_bound(id); end != records_.begin() && ids.size() < most;) {
      ids.push_back((--end)->first);
    }
    return ids;
  }
  /// They are in memory already, so their bytes do not count.
  Part Read(const Ids& ids, bool, const ScanFilter& filter, std::size_t most,
            std::size_t /*bytes*/) override {
    Part read;
    for (const std::int64_t id : ids) {
      const Transaction& record = records_.at(id);
      if (Matches(filter, record)) read.records.push_back(record);
      read.whole = read.records.size() < most;
      if (!read.whole) break;
    }
    return read;
  }

 private:
  const Records& records_;
  const DueOnes& due_;
};

}  // namespace memory_store
}  // namespace v1
}  // namespace dtm

// ---- dtm/store/memory.hpp ----------------------------------------------------------------------

/// A store in memory, for tests and for work that may be lost: nothing is durable.
/// Needs: std. Threads: see store.hpp; a lock guards the committed records.

namespace dtm {
inline namespace v1 {

/// Keeps everything until it is destroyed.
class MemoryStore : public Store {
 public:
  const char* Kind() const override { return "memory"; }

  void Begin() override { batch_.Begin(values_); }
  Result Run(const Work& work) override { return batch_.Run(work); }

  bool Has(const std::string& gid) override {
    return rows_.count(gid) > 0 || batch_.rows.count(gid) > 0 || kept_.count(gid) > 0;
  }

  std::optional<KeyValue> GetValue(const std::string& category, const std::string& key) override {
    return batch_.GetValue(category, key);
  }
  void PutValue(const KeyValue& value) override { batch_.PutValue(value); }
  bool RemoveValue(const std::string& category, const std::string& key) override {
    return batch_.RemoveValue(category, key);
  }

  void Apply(std::vector<Change>& changes) override {
    for (Change& change : changes) {
      Transaction& transaction = *change.transaction;
      change.applied = transaction.id == 0 ? Insert(transaction) : Update(transaction);
      if (change.applied && !change.journal.empty()) batch_.Tell(transaction.id, change);
    }
  }

  void Commit() override {
    if (!batch_.IsOpen()) throw StoreError("there is no open batch to commit");
    const std::lock_guard<std::mutex> lock(mutex_);
    std::map<std::pair<Time, std::int64_t>, bool> due;
    for (const auto& [row, transaction] : batch_.records) {
      if (!IsFinal(transaction.status)) due[{transaction.due, row}] = true;
    }
    rows_.reserve(rows_.size() + batch_.rows.size());
    for (auto& [row, journal] : batch_.told) {
      const auto old = journals_.find(row);
      if (old != journals_.end()) journal.Follow(old->second);
    }
    // All or nothing: below nothing needs memory.
    batch_.Close();
    values_ = batch_.values;
    rows_.merge(batch_.rows);
    while (!batch_.records.empty()) {
      auto node = batch_.records.extract(batch_.records.begin());
      const auto old = records_.find(node.key());
      if (old == records_.end()) {
        records_.insert(std::move(node));
      } else {
        due_.erase({old->second.due, node.key()});
        old->second = std::move(node.mapped());
      }
    }
    due_.merge(due);
    for (auto& entry : batch_.told) journals_.erase(entry.first);
    journals_.merge(batch_.told);
    for (const std::int64_t row : batch_.removed) {
      const auto record = records_.find(row);
      if (record == records_.end()) continue;  // two steps of retention in one batch
      KeptGid kept = KeptOf(record->second);
      if (batch_.keep_gids) kept_[kept.gid] = std::move(kept);
      rows_.erase(record->second.definition->gid);
      records_.erase(record);
      journals_.erase(row);
    }
    for (const std::string& gid : batch_.forgotten) kept_.erase(gid);
  }

  void Rollback() noexcept override { batch_.Close(); }

  void Recover() override { batch_.Close(); }

  std::string Check(const std::atomic<bool>&) override { return {}; }

  std::optional<Transaction> Load(const std::string& gid) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto row = rows_.find(gid);
    if (row != rows_.end()) return records_.at(row->second);
    const auto kept = kept_.find(gid);
    return kept == kept_.end() ? std::nullopt : std::optional(RecordOf(kept->second));
  }

  std::vector<JournalEntry> ReadJournal(const std::string& gid) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto row = rows_.find(gid);
    if (row == rows_.end()) return {};
    const auto journal = journals_.find(row->second);
    std::vector<JournalEntry> entries;
    if (journal != journals_.end()) codec::DecodeJournal(journal->second.bytes, entries);
    return entries;
  }

  Backlog CountUnfinished(Time now) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    Backlog backlog;
    std::int64_t oldest = INT64_MAX;
    for (const auto& entry : due_) {
      const std::int64_t row = entry.first.second;
      const Transaction& transaction = records_.at(row);
      ++backlog.unfinished;
      if (row < oldest) oldest = row, backlog.oldest = transaction.created;
      const bool stuck = transaction.stuck && transaction.due == kNever;
      if (stuck) ++backlog.stuck;
      if (!stuck && transaction.due > now) ++backlog.waiting;
    }
    return backlog;
  }

  ScanPage Scan(const ScanFilter& filter, std::int64_t position, std::size_t limit) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (filter.IsSearch()) {
      memory_store::Searched searched(records_, due_);
      return search::Search(searched, filter, position, limit);
    }
    ScanPage page;
    auto end = position > 0 ? records_.lower_bound(position) : records_.end();
    while (end != records_.begin() && page.transactions.size() < limit) {
      const Transaction& transaction = std::prev(end)->second;
      --end;
      if (Matches(filter, transaction)) page.transactions.push_back(transaction);
    }
    if (limit > 0 && page.transactions.size() == limit) page.next = page.transactions.back().id;
    return page;
  }

  KeyValuePage ScanValues(const std::string& category, const std::string& key,
                          std::int64_t position, std::size_t limit) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    KeyValuePage page;
    if (!category.empty() && !key.empty()) {
      const KeyValue* found = values_->Find(category, key);
      if (found != nullptr && found->id > position && limit > 0) page.values.push_back(*found);
    } else {
      for (auto entry = values_->by_row.upper_bound(position);
           entry != values_->by_row.end() && page.values.size() < limit; ++entry) {
        const KeyValue& value = entry->second;
        const bool wanted =
            (category.empty() || category == value.category) && (key.empty() || key == value.key);
        if (wanted) page.values.push_back(value);
      }
    }
    if (limit > 0 && page.values.size() == limit) page.next = page.values.back().id;
    return page;
  }

  void Due(Time now, DuePosition after, const DueVisitor& visit) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto entry = due_.upper_bound({after.due, after.id});
         entry != due_.end() && entry->first.first <= now; ++entry) {
      if (!visit(Transaction(records_.at(entry->first.second)))) return;
    }
  }

  Time NextDue(Time now) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto entry = due_.upper_bound({now, INT64_MAX});
    return entry == due_.end() ? kNever : entry->first.first;
  }

  std::int64_t Expire(Time before, std::int64_t after, std::size_t limit, bool keep_gids) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    batch_.keep_gids = keep_gids;
    std::int64_t last = 0;
    std::size_t seen = 0;
    for (auto record = records_.upper_bound(after); record != records_.end() && seen < limit;
         ++record, ++seen) {
      const Transaction& transaction = record->second;
      const Time newest = records_.rbegin()->second.created;
      if (transaction.created >= before && transaction.created <= newest) return 0;
      last = record->first;
      if (IsFinal(transaction.status) && transaction.finished < before)
        batch_.removed.push_back(last);
    }
    return seen == limit ? last : 0;
  }

  std::string ForgetGids(Time before, const std::string& after, std::size_t limit) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::string last;
    std::size_t seen = 0;
    for (auto kept = kept_.upper_bound(after); kept != kept_.end() && seen < limit;
         ++kept, ++seen) {
      last = kept->first;
      if (kept->second.finished < before) batch_.forgotten.push_back(last);
    }
    return seen == limit ? last : std::string();
  }

 private:
  bool Insert(Transaction& transaction) {
    const std::string& gid = transaction.definition->gid;
    if (Has(gid)) return false;
    transaction.id = ++last_row_;
    batch_.rows[gid] = transaction.id;
    batch_.Keep(transaction, 1, Owner());
    return true;
  }

  bool Update(const Transaction& transaction) {
    const auto in_batch = batch_.records.find(transaction.id);
    const auto stored = records_.find(transaction.id);
    const Transaction* old = in_batch != batch_.records.end() ? &in_batch->second
                             : stored != records_.end()       ? &stored->second
                                                              : nullptr;
    if (old == nullptr || old->version != transaction.version) return false;
    batch_.Keep(transaction, transaction.version + 1, Owner());
    return true;
  }

  std::mutex mutex_;  // guards what is committed; only the owner's calls change it
  memory_store::Records records_;
  std::unordered_map<std::string, std::int64_t> rows_;
  memory_store::DueOnes due_;
  std::map<std::string, KeptGid> kept_;
  std::map<std::int64_t, memory_store::Journal> journals_;
  std::shared_ptr<const memory_store::Values> values_ = std::make_shared<memory_store::Values>();
  // The owner's alone.
  memory_store::OpenBatch batch_;
  std::int64_t last_row_ = 0;
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/store/sqlite/read_only_store.hpp ------------------------------------------------------

/// Looks into the file of a SQLite store without changing anything, also while a coordinator has it: for tools.
/// Needs: SQLite through sql/sqlite_connection.hpp. Threads: any. Document: docs/store_format.md.
///
/// Nothing is created, migrated or repaired, and no lock is taken that a coordinator would notice. What a process that
/// crashed has left in the log is read, too, and files of older schema versions as they are. Source: sqlite.org/wal.html,
/// "Read-Only Databases"; uri.html.

namespace dtm {
inline namespace v1 {
namespace sqlite_store {

/// How a file may be opened without a change.
struct HowToLook {
  std::string uri;
  bool in_use = false;  ///< it has a log: a coordinator has it open, or has crashed
};

/// @throws StoreError  it cannot be opened so; says what to do.
inline HowToLook FindHowToLook(const std::string& path) {
  const std::string name = "the store file '" + path + "'";
  const std::optional<os::FileStamp> file = os::StampOf(path);
  if (!file) throw StoreError(name + " is not there, or its folder cannot be read; check the path");
  if (!file->plain) {  // the log of a link's target is not beside the link, and a pipe never answers
    throw StoreError(name + " is a link or no plain file, which is refused; name the file itself");
  }
  const std::optional<os::FileStamp> journal = os::StampOf(path + "-journal");
  if (journal && journal->bytes > 0) {
    throw StoreError(name + " has a journal of a write that was broken off, '" + path +
                     "-journal'; start a coordinator on it, which puts it right");
  }
  const std::optional<os::FileStamp> log = os::StampOf(path + "-wal");
  const bool index = os::StampOf(path + "-shm").has_value();
  if (log && log->bytes > 0 && !index) {
    throw StoreError(name + " has a log, but '" + path +
                     "-shm' beside it is missing, without which nobody can read it and change "
                     "nothing; start a coordinator on it, or look into a copy of both files");
  }
  std::string uri = "file:";
  for (const char c : path) uri += c == '/' ? "/" : PercentEncoded(std::string_view(&c, 1));
  const bool in_use = log && index;
  return {uri + (in_use ? "?mode=ro&readonly_shm=1" : "?mode=ro&immutable=1"), in_use};
}

/// A store file that is open to be read.
struct Look {
  int version;  ///< of the schema of the file
  Reader reader;
};

/// Over a connection that can only read.
/// @throws StoreError  it is no store, or one of a newer version; says what to do.
inline Look OpenToLook(const std::string& path, const HowToLook& how) {
  auto db = std::make_unique<sql::Database>(path, SQLITE_OPEN_READONLY, how.uri);
  db->KeepLog();
  sqlite_schema::ConfigureReader(*db);
  const int version = sqlite_schema::StoredVersion(*db);
  if (version == 0) {
    throw StoreError("the store file '" + path +
                     "' has no tables of dtm: it is another database, or empty");
  }
  sqlite_schema::StandInForNewer(*db, version);
  return {version, Reader(std::move(db), version >= sqlite_schema::kWithJournals)};
}

}  // namespace sqlite_store

/// What only reads of a Store; every call that would change something throws, and nothing is ever due.
class ReadOnlySqliteStore : public Store {
 public:
  /// @throws StoreError  the file is not there, is no store, is damaged, or is of a newer version.
  explicit ReadOnlySqliteStore(const std::string& path) : gate_(os::FullPath(path)) {}

  /// A coordinator has the file open, or has crashed and left its log.
  bool InUse() const { return gate_.how.in_use; }

  /// Of its schema, docs/store_format.md; one below sqlite_schema::kVersion lacks what came later.
  int SchemaVersion() const { return gate_.look.version; }

  /// What was read of a file without a log may be of two moments if a coordinator has opened it meanwhile, and a newer one may
  /// have brought it to its schema version: read it again, with another ReadOnlySqliteStore.
  /// @throws StoreError  it cannot be read.
  bool Changed() {
    const std::optional<os::FileStamp> now = os::StampOf(gate_.path);
    if (!now || !now->SameFile(gate_.stamp)) return true;
    if (InUse()) return VersionNow() != gate_.look.version;
    return !now->SameContent(*gate_.stamp) || os::StampOf(gate_.path + "-wal");
  }

  const char* Kind() const override { return "sqlite"; }
  std::string Check(const std::atomic<bool>&) override {
    const Gate::Reading reader(gate_);
    return sqlite_schema::Damage(*reader->owned);
  }
  std::optional<Transaction> Load(const std::string& gid) override { return reads_.Load(gid); }
  std::vector<JournalEntry> ReadJournal(const std::string& gid) override {
    return reads_.ReadJournal(gid);
  }
  ScanPage Scan(const ScanFilter& filter, std::int64_t position, std::size_t limit) override {
    return reads_.Scan(filter, position, limit);
  }
  KeyValuePage ScanValues(const std::string& category, const std::string& key,
                          std::int64_t position, std::size_t limit) override {
    return reads_.ScanValues(category, key, position, limit);
  }
  Backlog CountUnfinished(Time now) override { return reads_.CountUnfinished(now); }
  void Due(Time, DuePosition, const DueVisitor&) override {}
  Time NextDue(Time) override { return kNever; }

  void Begin() override { Refuse(); }
  Result Run(const Work&) override { Refuse(); }
  bool Has(const std::string&) override { Refuse(); }
  std::optional<KeyValue> GetValue(const std::string&, const std::string&) override { Refuse(); }
  void PutValue(const KeyValue&) override { Refuse(); }
  bool RemoveValue(const std::string&, const std::string&) override { Refuse(); }
  void Apply(std::vector<Change>&) override { Refuse(); }
  void Commit() override { Refuse(); }
  void Rollback() noexcept override {}
  void Recover() override { Refuse(); }
  std::int64_t Expire(Time, std::int64_t, std::size_t, bool) override { Refuse(); }
  std::string ForgetGids(Time, const std::string&, std::size_t) override { Refuse(); }

 private:
  /// See sqlite_store::Searched.
  struct Gate {
    explicit Gate(std::string file)
        : path(std::move(file)),
          stamp(os::StampOf(path)),
          how(sqlite_store::FindHowToLook(path)),
          look(sqlite_store::OpenToLook(path, how)) {}

    class Reading {
     public:
      explicit Reading(Gate& gate) : lock_(gate.mutex), reader_(gate.look.reader) {}
      sqlite_store::Reader* operator->() const { return &reader_; }
      sqlite_store::Reader& operator*() const { return reader_; }

     private:
      const std::lock_guard<std::mutex> lock_;
      sqlite_store::Reader& reader_;
    };

    const std::string path;
    const std::optional<os::FileStamp> stamp;
    const sqlite_store::HowToLook how;
    std::mutex mutex;
    sqlite_store::Look look;
  };

  int VersionNow() {
    const Gate::Reading reader(gate_);
    return sqlite_schema::StoredVersion(*reader->owned);
  }
  [[noreturn]] void Refuse() const {
    throw StoreError("the store file '" + gate_.path +
                     "' is open for looking only; what changes something is done through the "
                     "coordinator that has it");
  }

  Gate gate_;
  sqlite_store::Reads<Gate> reads_{gate_};
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/timeline/drawing/diagram.hpp ----------------------------------------------------------

/// A sequence diagram as a value: who takes part, and what happens between them, from top to bottom. It says nothing of
/// how it is drawn, and whoever draws it need not know what it tells of.
/// Needs: std. Threads: values only.

namespace dtm {
inline namespace v1 {

/// What an event means, for its colour.
enum class Tone {
  kPlain,
  kGood,     ///< something was done
  kWarning,  ///< it has to be tried again
  kBad,      ///< it was refused, or nothing goes on
  kQuiet     ///< about the drawing, or the time that passes
};

/// One line of a diagram.
struct DiagramEvent {
  /// What is drawn.
  enum class Kind {
    kCall,   ///< an arrow from `from` to `to`
    kReply,  ///< the same, of an answer
    kLost,   ///< a call to which no answer came
    kNote,   ///< a remark beside `from`
    kEnd,    ///< all lifelines end
    kBegin,  ///< and begin again
    kSpan    ///< time passes, or more happened than is drawn
  };
  Kind kind = Kind::kNote;
  std::optional<Duration> at{};  ///< since the first event; nothing: not known
  std::size_t from = 0;          ///< a lifeline
  std::size_t to = 0;
  std::string text{};  ///< a few words
  std::string more{};  ///< what was said: after the text, as far as there is room
  Tone tone = Tone::kPlain;
};

inline bool IsArrow(DiagramEvent::Kind kind) {
  return kind == DiagramEvent::Kind::kCall || kind == DiagramEvent::Kind::kReply ||
         kind == DiagramEvent::Kind::kLost;
}

/// All that the event says.
inline std::string InWords(const DiagramEvent& event) {
  return event.more.empty() ? event.text : event.text + ": " + event.more;
}

/// Who takes part: a column of the diagram.
struct Lifeline {
  std::string name;    ///< short
  std::string more{};  ///< who that is, if the name does not say all
};

/// All texts are fit to be shown, see shown_text.hpp. Every `from` and `to` is a lifeline.
struct Diagram {
  std::string title{};
  std::vector<Lifeline> lifelines{};  ///< from left to right; at least one
  std::vector<DiagramEvent> events{};
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/timeline/drawing/shown_text.hpp -------------------------------------------------------

/// Text of others in a drawing: what of it may be shown, and how wide it is where every character takes a cell.
/// Needs: std. Threads: pure functions. Source: Unicode 15 (UAX #9, #11), RFC 3629, XML 1.0 §2.2.

namespace dtm {
inline namespace v1 {
namespace drawing {

struct CodeRange {
  char32_t first;
  char32_t last;
};

/// The ranges are sorted.
template <std::size_t kSize>
bool IsIn(const std::array<CodeRange, kSize>& ranges, char32_t code) {
  if (code < ranges.front().first) return false;
  return std::any_of(ranges.begin(), ranges.end(), [code](const CodeRange& range) {
    return code >= range.first && code <= range.last;
  });
}

/// Controls, what is invisible, what turns the direction of the text, and what XML does not allow.
inline constexpr std::array<CodeRange, 15> kNotShown{{{0, 0x1F},
                                                      {0x7F, 0x9F},
                                                      {0xAD, 0xAD},
                                                      {0x61C, 0x61C},
                                                      {0x115F, 0x1160},
                                                      {0x180B, 0x180F},
                                                      {0x200B, 0x200F},
                                                      {0x2028, 0x202E},
                                                      {0x2060, 0x206F},
                                                      {0x3164, 0x3164},
                                                      {0xFE00, 0xFE0F},
                                                      {0xFEFF, 0xFEFF},
                                                      {0xFFF0, 0xFFFB},
                                                      {0xFFFE, 0xFFFF},
                                                      {0xE0000, 0x10FFFF}}};
/// They are drawn on the character before them.
inline constexpr std::array<CodeRange, 5> kCombining{
    {{0x300, 0x36F}, {0x1AB0, 0x1AFF}, {0x1DC0, 0x1DFF}, {0x20D0, 0x20FF}, {0xFE20, 0xFE2F}}};
/// They take two cells.
inline constexpr std::array<CodeRange, 11> kWide{{{0x1100, 0x115E},
                                                  {0x2E80, 0x303E},
                                                  {0x3041, 0xA4CF},
                                                  {0xA960, 0xA97F},
                                                  {0xAC00, 0xD7A3},
                                                  {0xF900, 0xFAFF},
                                                  {0xFE30, 0xFE6F},
                                                  {0xFF00, 0xFF60},
                                                  {0xFFE0, 0xFFE6},
                                                  {0x1F300, 0x1FAFF},
                                                  {0x20000, 0x3FFFD}}};

/// Of valid UTF-8 of that length.
inline char32_t CodePoint(const std::string& text, std::size_t at, std::size_t length) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[at + i]); };
  if (length == 1) return byte(0);
  char32_t code = byte(0) & (0x7Fu >> length);
  for (std::size_t i = 1; i < length; ++i) code = code << 6 | (byte(i) & 0x3Fu);
  return code;
}

/// The text in one line, with a question mark for all that must not be shown.
inline std::string Shown(const std::string& text) {
  std::string shown;
  shown.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = Utf8Length(text, at);
    const auto first = static_cast<unsigned char>(text[at]);
    if (first >= ' ' && first < 0x7F) {
      shown += text[at];
    } else if (text[at] == '\n' || text[at] == '\t') {
      shown += ' ';
    } else if (length == 0 || IsIn(kNotShown, CodePoint(text, at, length))) {
      shown += '?';
    } else {
      shown.append(text, at, length);
    }
    at += (std::max)(length, std::size_t{1});
  }
  return shown;
}

/// A character, and the combining ones on it.
struct Glyph {
  std::string bytes;
  std::size_t columns = 1;
};

/// Of a text that may be shown.
inline std::vector<Glyph> Glyphs(const std::string& text) {
  std::vector<Glyph> glyphs;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = (std::max)(Utf8Length(text, at), std::size_t{1});
    const char32_t code = CodePoint(text, at, length);
    if (IsIn(kCombining, code) && !glyphs.empty()) {
      glyphs.back().bytes.append(text, at, length);
    } else {
      glyphs.push_back({text.substr(at, length), IsIn(kWide, code) ? std::size_t{2} : 1});
    }
    at += length;
  }
  return glyphs;
}

inline std::size_t ColumnsOf(const std::string& text) {
  std::size_t columns = 0;
  for (const Glyph& glyph : Glyphs(text)) columns += glyph.columns;
  return columns;
}

/// As much of the text as fits; if that is not all, with "…" at its end.
inline std::string Fitted(const std::string& text, std::size_t columns) {
  if (ColumnsOf(text) <= columns) return text;
  std::string fitted;
  std::size_t used = 1;  // the dots
  for (const Glyph& glyph : Glyphs(text)) {
    if (used + glyph.columns > columns) break;
    used += glyph.columns;
    fitted += glyph.bytes;
  }
  while (!fitted.empty() && fitted.back() == ' ') fitted.pop_back();
  return columns == 0 ? std::string() : fitted + "…";
}

/// The text in lines, broken at spaces where there are some; what does not fit into `lines` is cut off.
inline std::vector<std::string> Wrapped(const std::string& text, std::size_t columns,
                                        std::size_t lines) {
  std::vector<std::string> wrapped;
  std::string rest = text;
  while (!rest.empty() && wrapped.size() + 1 < lines && ColumnsOf(rest) > columns) {
    std::size_t end = 0, used = 0, space = 0;
    for (const Glyph& glyph : Glyphs(rest)) {
      if (glyph.bytes == " ") space = end;
      if (used + glyph.columns > columns) break;
      used += glyph.columns;
      end += glyph.bytes.size();
    }
    if (space > 0) end = space;
    if (end == 0) break;  // not even one character fits
    wrapped.push_back(rest.substr(0, end));
    rest.erase(0, (std::min)(rest.find_first_not_of(' ', end), rest.size()));
  }
  if (!rest.empty()) wrapped.push_back(Fitted(rest, columns));
  return wrapped;
}

}  // namespace drawing
}  // namespace v1
}  // namespace dtm

// ---- dtm/timeline/drawing/spans.hpp ------------------------------------------------------------

/// Spans of time between any two points, in words.
/// Needs: std. Threads: pure functions.

namespace dtm {
inline namespace v1 {
namespace drawing {

/// From `begin` to `end`, also if these are damaged: no span is too long to be counted.
inline Duration Between(Time begin, Time end) {
  const auto count = [](Time time) {
    constexpr std::int64_t kFar = INT64_MAX / 16;
    const std::int64_t value = time.time_since_epoch().count();
    return (std::min)((std::max)(value, -kFar), kFar);
  };
  return Duration(count(end) - count(begin));
}

/// How often the unit goes into the span, rounded.
inline std::int64_t Rounded(std::int64_t span, std::int64_t unit) {
  return span / unit + (span % unit * 2 >= unit ? 1 : 0);
}

/// "12.3": with one digit behind the point.
inline std::string Tenths(std::int64_t number) {
  return std::to_string(number / 10) + "." + std::to_string(number % 10);
}

/// "12.3 ms", "4.2 s", "3 min 12 s", "3 h 12 min", "2 d 3 h": rounded, and 0 if it is negative.
inline std::string SpanInWords(Duration span) {
  const std::int64_t us = (std::max)(span.count(), Duration::rep{0});
  const auto two = [](std::int64_t number, std::int64_t in_large, const char* large,
                      const char* small) {
    return std::to_string(number / in_large) + large + std::to_string(number % in_large) + small;
  };
  const std::int64_t s = Rounded(us, 1000000), min = Rounded(s, 60), h = Rounded(min, 60);
  if (us < 99950) return Tenths(Rounded(us, 100)) + " ms";
  if (us < 999500) return std::to_string(Rounded(us, 1000)) + " ms";
  if (us < 59950000) return Tenths(Rounded(us, 100000)) + " s";
  if (s < 3600) return two(s, 60, " min ", " s");
  if (min < 24 * 60) return two(min, 60, " h ", " min");
  return h < 100 * 24 ? two(h, 24, " d ", " h") : std::to_string(h / 24) + " d";
}

/// "12.3": milliseconds, for a column of them.
inline std::string Milliseconds(Duration span) {
  return Tenths(Rounded((std::max)(span.count(), Duration::rep{0}), 100));
}

}  // namespace drawing
}  // namespace v1
}  // namespace dtm

// ---- dtm/timeline/drawing/mermaid_diagram.hpp --------------------------------------------------

/// Writes a diagram as a sequence diagram of Mermaid, for documents and tickets that draw it.
/// Needs: std. Threads: a pure function. Source: mermaid.js.org/syntax/sequenceDiagram, mermaid 11.

namespace dtm {
inline namespace v1 {
namespace drawing {

/// As #number; what could mean something to Mermaid or HTML.
inline std::string EscapedMermaid(const std::string& text) {
  constexpr std::string_view kPlain = " ._/,()-";
  std::string escaped;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const auto byte = static_cast<unsigned char>(c);
    const bool letter = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    // Mermaid takes a "style" with a colon and more behind it for CSS, and drops a semicolon there.
    const bool colon = c == ':' && i + 1 < text.size() && text[i + 1] == ' ';
    if (letter || colon || byte >= 0x80 || kPlain.find(c) != std::string_view::npos) {
      escaped += c;
    } else {
      escaped += '#' + std::to_string(byte) + ';';
    }
  }
  return escaped;
}

class MermaidDiagram {
 public:
  static std::string Draw(const Diagram& diagram) {
    MermaidDiagram drawing(diagram);
    for (const DiagramEvent& event : diagram.events) drawing.Event(event);
    return "sequenceDiagram\n    title " + EscapedMermaid(diagram.title) + "\n" +
           drawing.Participants() + drawing.text_;
  }

 private:
  static constexpr std::size_t kColumns = 56;  // of a line of text
  static constexpr std::size_t kMaxLines = 4;

  explicit MermaidDiagram(const Diagram& diagram) : diagram_(diagram) {}

  static std::string Id(std::size_t lifeline) { return "p" + std::to_string(lifeline); }

  std::string Participants() const {
    std::string text;
    for (std::size_t i = 0; i < diagram_.lifelines.size(); ++i) {
      text +=
          "    participant " + Id(i) + " as " + EscapedMermaid(diagram_.lifelines[i].name) + "\n";
    }
    return text;
  }

  void Event(const DiagramEvent& event) {
    const bool loop = event.from == event.to;
    switch (event.kind) {
      case DiagramEvent::Kind::kCall: return loop ? Note(event) : Arrow(event, "->>");
      case DiagramEvent::Kind::kReply: return loop ? Note(event) : Arrow(event, "-->>");
      case DiagramEvent::Kind::kLost: return loop ? Note(event) : Arrow(event, "--x");
      case DiagramEvent::Kind::kNote:
      case DiagramEvent::Kind::kSpan: return Note(event);
      case DiagramEvent::Kind::kEnd:
      case DiagramEvent::Kind::kBegin: return Across(event);
    }
  }

  void Arrow(const DiagramEvent& event, const char* arrow) {
    Add(Id(event.from) + arrow + Id(event.to), event);
  }
  void Note(const DiagramEvent& event) { Add("Note right of " + Id(event.from), event); }
  void Across(const DiagramEvent& event) {
    const std::string last =
        diagram_.lifelines.size() > 1 ? "," + Id(diagram_.lifelines.size() - 1) : "";
    Add("Note over " + Id(0) + last, event);
  }

  /// The text in lines, which Mermaid would not break.
  void Add(const std::string& what, const DiagramEvent& event) {
    std::string words = InWords(event);
    if (event.at) words = SpanInWords(*event.at) + " · " + words;
    std::string text;
    for (const std::string& line : Wrapped(words, kColumns, kMaxLines)) {
      text += (text.empty() ? "" : "<br/>") + EscapedMermaid(line);
    }
    text_ += "    " + what + ": " + text + "\n";
  }

  const Diagram& diagram_;
  std::string text_;
};

}  // namespace drawing
}  // namespace v1
}  // namespace dtm

// ---- dtm/timeline/drawing/svg_parts.hpp --------------------------------------------------------

/// The pieces of an SVG drawing, and how they look.
/// Needs: std. Threads: pure functions. Source: SVG 2, XML 1.0 §2.4.

namespace dtm {
inline namespace v1 {
namespace drawing {

inline std::string EscapedXml(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&': escaped += "&amp;"; break;
      case '<': escaped += "&lt;"; break;
      case '>': escaped += "&gt;"; break;
      case '"': escaped += "&quot;"; break;
      default: escaped += c;
    }
  }
  return escaped;
}

/// Colours are named once for light and once for dark; everything is below .dtm-diagram, so that nothing else on a page that
/// has the drawing inside of it changes.
inline constexpr const char kSvgStyle[] =
    "<style>.dtm-diagram{--bg:#fff;--ink:#1c2430;--quiet:#667080;--line:#c5cdd6;--box:#f2f5f8;--"
    "call:#2459b8;"
    "--good:#17763a;--bad:#c1272d;--warn:#945400;--gone:#c1272d14;--c:var(--call);max-width:100%;"
    "height:auto;"
    "background:var(--bg);font:12.5px system-ui,-apple-system,'Segoe UI',Roboto,'Noto "
    "Sans','DejaVu Sans',sans-serif}"
    "@media(prefers-color-scheme:dark){.dtm-diagram{--bg:#14181e;--ink:#e6ebf1;--quiet:#919cab;--"
    "line:#414b58;"
    "--box:#1f262f;--call:#7db1ff;--good:#56cc90;--bad:#ff8585;--warn:#e6b450;--gone:#ff858522}}"
    ".dtm-diagram "
    "text{fill:var(--ink);paint-order:stroke;stroke:var(--bg);stroke-width:4px;stroke-linejoin:"
    "round}"
    ".dtm-diagram "
    ".t{fill:var(--quiet);font-size:11px;font-variant-numeric:tabular-nums;text-anchor:end}"
    ".dtm-diagram .n{font-weight:600;text-anchor:middle;stroke:none}.dtm-diagram "
    ".x{text-anchor:end}"
    ".dtm-diagram .m{text-anchor:middle}.dtm-diagram .i{stroke:none}"
    ".dtm-diagram .l{stroke:var(--line);fill:none}.dtm-diagram .d{stroke-dasharray:2 4}"
    ".dtm-diagram .k{fill:var(--box);stroke:var(--line)}.dtm-diagram "
    ".a{fill:var(--box);stroke:var(--line)}"
    ".dtm-diagram .v{fill:var(--gone)}.dtm-diagram .s{stroke:var(--c);stroke-width:1.4;fill:none}"
    ".dtm-diagram .r{stroke-dasharray:5 3}.dtm-diagram .o{stroke-dasharray:2 4}.dtm-diagram "
    ".h{fill:var(--c)}"
    ".dtm-diagram .f{fill:var(--box);stroke:var(--c)}"
    ".dtm-diagram .g{--c:var(--good)}.dtm-diagram .b{--c:var(--bad)}.dtm-diagram "
    ".w{--c:var(--warn)}"
    ".dtm-diagram .q{--c:var(--quiet)}.dtm-diagram .g .e,.dtm-diagram .b .e,.dtm-diagram .w "
    ".e,.dtm-diagram .q .e"
    "{fill:var(--c)}.dtm-diagram .q .e{font-style:italic}</style>";

/// The width of a character, as wide as most fonts have it.
inline constexpr double kSvgColumn = 7.2;

inline std::string Number(int number) { return std::to_string(number); }
inline int WidthOf(const std::string& text) {
  return static_cast<int>(static_cast<double>(ColumnsOf(text)) * kSvgColumn) + 1;
}
inline std::size_t ColumnsIn(int width) {
  return width <= 0 ? 0 : static_cast<std::size_t>(static_cast<double>(width) / kSvgColumn);
}
inline std::string Text(int x, int y, const char* kind, const std::string& text) {
  return "<text x=\"" + Number(x) + "\" y=\"" + Number(y) + "\" class=\"" + kind + "\">" +
         EscapedXml(text) + "</text>";
}
inline std::string Path(const char* kind, const std::string& path) {
  return std::string("<path class=\"") + kind + "\" d=\"" + path + "\"/>";
}
inline std::string Box(const char* kind, int x, int y, int width, int height, int round) {
  return std::string("<rect class=\"") + kind + "\" x=\"" + Number(x) + "\" y=\"" + Number(y) +
         "\" width=\"" + Number(width) + "\" height=\"" + Number(height) + "\" rx=\"" +
         Number(round) + "\"/>";
}
inline const char* KindOf(Tone tone) {
  switch (tone) {
    case Tone::kPlain: return "p";
    case Tone::kGood: return "g";
    case Tone::kWarning: return "w";
    case Tone::kBad: return "b";
    case Tone::kQuiet: return "q";
  }
  return "p";
}

}  // namespace drawing
}  // namespace v1
}  // namespace dtm

// ---- dtm/timeline/drawing/svg_diagram.hpp ------------------------------------------------------

/// Draws a diagram as SVG: one file without scripts, fonts or anything else from elsewhere, for light and dark pages.
/// Needs: std. Threads: a pure function. Source: SVG 2, CSS Custom Properties 1.

namespace dtm {
inline namespace v1 {
namespace drawing {

class SvgDiagram {
 public:
  static std::string Draw(const Diagram& diagram) {
    SvgDiagram drawing(diagram);
    for (const DiagramEvent& event : diagram.events) drawing.Event(event);
    drawing.Row(kAfterLast, Line::kSolid);
    return drawing.Whole();
  }

 private:
  enum class Line { kSolid, kDotted, kNone };
  struct Stretch {
    int begin;
    int end;
    Line line;
  };

  static constexpr int kHead = 46;  // of the names
  static constexpr int kAfterLast = 14;
  static constexpr int kRight = 52;  // of the last lifeline
  static constexpr int kFirstGap = 124;
  static constexpr int kLineHeight = 16;
  static constexpr std::size_t kMaxLines = 4;
  static constexpr std::size_t kFullBytes = 110000;  // beyond it texts are short
  static constexpr std::size_t kShort = 40;          // columns

  explicit SvgDiagram(const Diagram& diagram)
      : diagram_(diagram), active_(diagram.lifelines.size()) {
    for (const DiagramEvent& event : diagram.events) {
      if (event.at && *event.at >= std::chrono::minutes(1)) in_ms_ = false;
    }
    const std::size_t services = (std::max)(diagram.lifelines.size(), std::size_t{2}) - 2;
    const int gap = services <= 1 ? 230 : services <= 2 ? 176 : services <= 3 ? 150 : 118;
    int x = in_ms_ ? 92 : 116;
    for (std::size_t i = 0; i < diagram.lifelines.size(); ++i) {
      columns_.push_back(x);
      x += i == 0 ? kFirstGap : gap;
    }
    const int right = (std::max)(kRight, HalfOf(NameOf(columns_.size() - 1)) + 8);
    width_ = (std::max)(columns_.back() + right, services == 0 ? 460 : 0);
  }

  // --- pieces

  /// The lifelines go on for so much more.
  void Row(int height, Line line) {
    if (!alive_) line = Line::kNone;
    if (stretches_.empty() || stretches_.back().line != line) stretches_.push_back({y_, y_, line});
    y_ += height;
    stretches_.back().end = y_;
  }

  void Time(const std::optional<Duration>& at, int y) {
    if (at)
      body_ += Text(columns_.front() - 40, y, "t", in_ms_ ? Milliseconds(*at) : SpanInWords(*at));
  }

  /// Everything of one event; what it says is seen under the pointer, too.
  void Open(const DiagramEvent& event) {
    body_ += std::string("<g class=\"") + KindOf(event.tone) + "\">";
    if (!event.more.empty() && !Full())
      body_ += "<title>" + EscapedXml(InWords(event)) + "</title>";
  }
  void Close() { body_ += "</g>\n"; }
  bool Full() const { return body_.size() > kFullBytes; }
  std::string Said(const DiagramEvent& event) const {
    return Full() ? Fitted(InWords(event), kShort) : InWords(event);
  }

  // --- events

  void Event(const DiagramEvent& event) {
    Open(event);
    switch (event.kind) {
      case DiagramEvent::Kind::kCall:
      case DiagramEvent::Kind::kReply:
      case DiagramEvent::Kind::kLost: event.from == event.to ? Note(event) : Arrow(event); break;
      case DiagramEvent::Kind::kNote: Note(event); break;
      case DiagramEvent::Kind::kSpan: Span(event); break;
      case DiagramEvent::Kind::kEnd: End(event); break;
      case DiagramEvent::Kind::kBegin: Begin(event); break;
    }
    Close();
  }

  void Arrow(const DiagramEvent& event) {
    const bool rightwards = event.from < event.to;
    const int from = columns_[event.from], to = columns_[event.to];
    const int left = (std::min)(from, to), room = (rightwards ? to - from : from - to) - 20;
    const int y = y_ + 24;
    std::string text = Said(event);
    std::vector<std::string> below;
    if (WidthOf(text) > (std::max)(room, width_ - left - 20) && !event.more.empty() && !Full()) {
      text = event.text;
      below = Wrapped(event.more, ColumnsIn(width_ - left - 20), kMaxLines);
    }
    const bool fits = WidthOf(text) <= room;
    if (!fits) text = Fitted(text, ColumnsIn(width_ - left - 20));
    const bool at_end = fits && !rightwards;
    Time(event.at, y + 4);
    body_ += Text(at_end ? from - 10 : left + 10, y - 6, at_end ? "e x" : "e", text);
    DrawShaft(event.kind, from, to, y);
    Activate(event, y);
    Row(32, Line::kSolid);
    for (const std::string& line : below) {
      body_ += Text(left + 10, y_ + 9, "e", line);
      Row(kLineHeight, Line::kSolid);
    }
  }

  void DrawShaft(DiagramEvent::Kind kind, int from, int to, int y) {
    const int way = from < to ? 1 : -1;
    const int tip = to - 4 * way;
    const char* style = kind == DiagramEvent::Kind::kReply  ? "s r"
                        : kind == DiagramEvent::Kind::kLost ? "s o"
                                                            : "s";
    body_ +=
        Path(style, "M" + Number(from + 4 * way) + " " + Number(y) + "H" + Number(tip - 7 * way));
    if (kind == DiagramEvent::Kind::kLost) {  // a cross: no answer came
      body_ += Path("s", "M" + Number(tip - 8) + " " + Number(y - 4) + "l8 8m0-8l-8 8");
      return;
    }
    body_ += Path("h", "M" + Number(tip) + " " + Number(y) + "l" + Number(-9 * way) + "-4v8z");
  }

  /// A bar on the lifeline of who is called, until it has replied.
  void Activate(const DiagramEvent& event, int y) {
    if (event.kind == DiagramEvent::Kind::kLost) return;
    Active& active = active_[event.kind == DiagramEvent::Kind::kReply ? event.from : event.to];
    if (event.kind == DiagramEvent::Kind::kCall) {
      if (active.calls++ == 0) active.since = y;
    } else if (active.calls > 0 && --active.calls == 0) {
      DrawBar(event.from, y);
    }
  }
  void DrawBar(std::size_t lifeline, int y) {
    const int since = active_[lifeline].since;
    bars_ += Box("a", columns_[lifeline] - 3, since, 6, y - since, 2);
  }
  void DrawBars(int y) {
    for (std::size_t i = 0; i < active_.size(); ++i) {
      if (active_[i].calls > 0) DrawBar(i, y);
    }
  }

  void Note(const DiagramEvent& event) {
    const int x = columns_[event.from] + 14;
    const std::vector<std::string> lines =
        Wrapped(Said(event), ColumnsIn(width_ - x - 24), kMaxLines);
    int widest = 0;
    for (const std::string& line : lines) widest = (std::max)(widest, WidthOf(line));
    const int height = static_cast<int>(lines.size()) * kLineHeight + 8;
    Time(event.at, y_ + 20);
    body_ += "<circle class=\"h\" cx=\"" + Number(x - 14) + "\" cy=\"" + Number(y_ + 16) +
             "\" r=\"4\"/>";
    body_ += Box("f", x, y_ + 4, widest + 16, height, 5);
    for (std::size_t i = 0; i < lines.size(); ++i) {
      body_ += Text(x + 8, y_ + 20 + static_cast<int>(i) * kLineHeight, "e i", lines[i]);
    }
    Row(height + 8, Line::kSolid);
  }

  void Span(const DiagramEvent& event) {
    const int x = columns_[event.from] + 10;
    const int middle = (columns_.front() + columns_.back()) / 2;
    Time(event.at, y_ + 16);
    Row(4, Line::kDotted);
    for (const std::string& line : Wrapped(Said(event), ColumnsIn(width_ - x - 10), kMaxLines)) {
      body_ += alive_ ? Text(x, y_ + 12, "e", line) : Text(middle, y_ + 12, "e m i", line);
      Row(kLineHeight, Line::kDotted);
    }
    Row(4, Line::kDotted);
  }

  void End(const DiagramEvent& event) {
    Row(6, Line::kSolid);
    DrawBars(y_);
    alive_ = false;
    gone_since_ = y_;
    Across(event, y_, y_ + 17);
    Row(24, Line::kNone);
  }

  void Begin(const DiagramEvent& event) {
    Across(event, y_ + 22, y_ + 15);
    Time(event.at, y_ + 26);
    Row(22, Line::kNone);
    if (!alive_) {
      gone_ += Box("v", columns_.front() - 30, gone_since_, columns_.back() - columns_.front() + 60,
                   y_ - gone_since_, 0);
    }
    alive_ = true;
    for (Active& active : active_) active.since = y_;
    Row(6, Line::kSolid);
  }

  void Across(const DiagramEvent& event, int y, int text_y) {
    const int left = columns_.front() - 30, right = columns_.back() + 30;
    const std::string text = Fitted(Said(event), ColumnsIn(width_ - 20));
    body_ += Path("s", "M" + Number(left) + " " + Number(y) + "H" + Number(right));
    body_ += Text((std::max)((left + right) / 2, WidthOf(text) / 2 + 4), text_y, "e m i", text);
  }

  // --- the whole

  std::string Lines() const {
    std::string solid, dotted;
    for (const int x : columns_) {
      for (const Stretch& stretch : stretches_) {
        std::string& path = stretch.line == Line::kSolid ? solid : dotted;
        if (stretch.line == Line::kNone) continue;
        path += "M" + Number(x) + " " + Number(stretch.begin) + "V" + Number(stretch.end);
      }
    }
    return Path("l", solid) + (dotted.empty() ? dotted : Path("l d", dotted)) + "\n";
  }

  /// Of a lifeline, as far as there is room.
  std::string NameOf(std::size_t i) const {
    const int gap = i + 1 < columns_.size() ? columns_[i + 1] - columns_[i]
                                            : columns_[i] - columns_[i - (i > 0)];
    const int room =
        (std::max)((std::min)(gap, i > 0 ? columns_[i] - columns_[i - 1] : gap) - 24, 70);
    return Fitted(diagram_.lifelines[i].name, ColumnsIn(room));
  }
  static int HalfOf(const std::string& name) { return WidthOf(name) / 2 + 9; }

  std::string Names() const {
    std::string names;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const Lifeline& lifeline = diagram_.lifelines[i];
      const std::string name = NameOf(i);
      const int half = HalfOf(name);
      names += "<g>";
      if (!lifeline.more.empty()) names += "<title>" + EscapedXml(lifeline.more) + "</title>";
      names += Box("k", columns_[i] - half, 10, 2 * half, 26, 6) +
               Text(columns_[i], 27, "n", name) + "</g>\n";
    }
    return names;
  }

  std::string Whole() {
    DrawBars(y_ - kAfterLast);
    const std::string size = Number(width_) + " " + Number(y_);
    std::string svg =
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"dtm-diagram\" role=\"img\" width=\"" +
        Number(width_) + "\" height=\"" + Number(y_) + "\" viewBox=\"0 0 " + size + "\">\n<title>" +
        EscapedXml(diagram_.title) + "</title>" + kSvgStyle + "\n" + gone_ + Lines() + bars_ +
        "\n" + Names();
    if (in_ms_) svg += Text(columns_.front() - 56, 27, "t", "ms");
    return svg + body_ + "</svg>\n";
  }

  struct Active {
    int calls = 0;
    int since = 0;
  };

  const Diagram& diagram_;
  std::vector<int> columns_;  // of the lifelines
  std::vector<Active> active_;
  std::vector<Stretch> stretches_;
  std::string body_, bars_, gone_;
  int width_ = 0;
  int y_ = kHead - 10;
  int gone_since_ = 0;
  bool in_ms_ = true;  // everything took less than a minute
  bool alive_ = true;  // lifelines are drawn
};

}  // namespace drawing
}  // namespace v1
}  // namespace dtm

// ---- dtm/timeline/drawing/text_diagram.hpp -----------------------------------------------------

/// Draws a diagram for a terminal: lifelines of box characters, time runs downwards.
/// Needs: std. Threads: a pure function.

namespace dtm {
inline namespace v1 {
namespace drawing {

inline constexpr std::size_t kMinTextWidth = 40;
inline constexpr std::size_t kMaxTextWidth = 1000;

/// One line: a character of the terminal in each cell. The second cell of a wide one is empty.
class TextRow {
 public:
  explicit TextRow(std::size_t width) : cells_(width, " ") {}

  void Put(std::size_t at, const char* sign) {
    if (at < cells_.size()) cells_[at] = sign;
  }
  /// What does not fit is not written.
  void Write(std::size_t at, const std::string& text) {
    for (const Glyph& glyph : Glyphs(text)) {
      if (at + glyph.columns > cells_.size()) return;
      cells_[at] = glyph.bytes;
      if (glyph.columns == 2) cells_[at + 1].clear();
      at += glyph.columns;
    }
  }
  bool IsBlank(std::size_t at) const { return cells_[at] == " "; }
  void Colour(std::size_t first, std::size_t end, const char* begin) {
    if (first >= end || end > cells_.size()) return;
    cells_[first].insert(0, begin);
    cells_[end - 1] += "\033[0m";
  }
  std::string Line() const {
    std::string line;
    for (const std::string& cell : cells_) line += cell;
    line.erase(line.find_last_not_of(' ') + 1);
    return line + '\n';
  }

 private:
  std::vector<std::string> cells_;
};

class TextDiagram {
 public:
  /// @param width  the columns of a line, at least kMinTextWidth.
  static std::string Draw(const Diagram& diagram, std::size_t width, bool colour) {
    TextDiagram drawing(diagram, width, colour);
    drawing.Names();
    for (const DiagramEvent& event : diagram.events) drawing.Event(event);
    return std::move(drawing.text_);
  }

 private:
  static constexpr std::size_t kFirstColumn = 14;
  static constexpr std::size_t kAfterLast = 4;
  static constexpr std::size_t kFirstGap = 18;  // its arrows have short texts
  static constexpr std::size_t kMaxGap = 40;
  static constexpr std::size_t kMaxNameColumns = 24;
  static constexpr std::size_t kMaxLines = 6;

  TextDiagram(const Diagram& diagram, std::size_t width, bool colour)
      : diagram_(diagram),
        width_((std::min)((std::max)(width, kMinTextWidth), kMaxTextWidth)),
        colour_(colour) {
    const std::size_t gaps = (std::max)(diagram.lifelines.size(), std::size_t{2}) - 1;
    const std::size_t room = width_ - kAfterLast - kFirstColumn;
    const std::size_t first =
        gaps == 1 ? (std::min)(room, kFirstGap) : (std::min)(room / gaps, kFirstGap);
    std::size_t column = kFirstColumn;
    for (std::size_t i = 0; i < diagram.lifelines.size(); ++i) {
      columns_.push_back(column);
      column += i == 0 ? first : (std::min)((room - first) / (gaps - (gaps > 1)), kMaxGap);
    }
    for (const DiagramEvent& event : diagram.events) {
      if (event.at && *event.at >= std::chrono::minutes(1)) in_ms_ = false;
    }
  }

  // --- lines

  TextRow Lines(const char* sign) const {
    TextRow row(width_);
    for (const std::size_t column : columns_) row.Put(column, alive_ ? sign : " ");
    return row;
  }

  void Time(TextRow& row, const std::optional<Duration>& at) const {
    if (!at) return;
    const std::string time = in_ms_ ? Milliseconds(*at) : SpanInWords(*at);
    const std::size_t end = in_ms_ ? 7 : 12;
    row.Write(end - (std::min)(time.size(), end), time);
  }

  void Print(const TextRow& row) { text_ += row.Line(); }

  /// Names that do not fit beside the one before stand above it.
  void Names() {
    std::vector<TextRow> rows;
    std::vector<std::size_t> ends;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const std::string name = Fitted(diagram_.lifelines[i].name, kMaxNameColumns);
      const std::size_t columns = ColumnsOf(name);
      const std::size_t centred = columns_[i] - (std::min)(columns / 2, columns_[i]);
      const std::size_t begin = (std::min)(centred, width_ - columns);
      std::size_t level = 0;
      while (level < ends.size() && begin < ends[level] + 2) ++level;
      if (level == ends.size()) {
        rows.emplace_back(width_);
        ends.push_back(0);
      }
      rows[level].Write(begin, name);
      ends[level] = begin + columns;
      for (std::size_t below = 0; below < level; ++below) {
        if (rows[below].IsBlank(columns_[i])) rows[below].Put(columns_[i], "│");
        ends[below] = (std::max)(ends[below], columns_[i] + 1);
      }
    }
    if (!rows.empty()) rows.front().Write(in_ms_ ? 5 : 3, in_ms_ ? "ms" : "time");
    for (auto row = rows.rbegin(); row != rows.rend(); ++row) Print(*row);
    Print(Lines("│"));
  }

  void Event(const DiagramEvent& event) {
    switch (event.kind) {
      case DiagramEvent::Kind::kCall:
      case DiagramEvent::Kind::kReply:
      case DiagramEvent::Kind::kLost: return Arrow(event);
      case DiagramEvent::Kind::kNote: return Beside(event, "│", "●");
      case DiagramEvent::Kind::kSpan: return Beside(event, "┊", "┊");
      case DiagramEvent::Kind::kEnd:
      case DiagramEvent::Kind::kBegin: return Break(event);
    }
  }

  /// A text at the right of a lifeline.
  void Beside(const DiagramEvent& event, const char* lines, const char* mark) {
    const std::size_t begin = columns_[event.from] + 2;
    const std::vector<std::string> texts = Wrapped(InWords(event), width_ - begin, kMaxLines);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      TextRow row = Lines(lines);
      if (i == 0 && alive_) row.Put(columns_[event.from], mark);
      if (i == 0) Time(row, event.at);
      WriteFree(row, begin, texts[i]);
      Colour(row, columns_[event.from], begin + ColumnsOf(texts[i]), event.tone);
      Print(row);
    }
  }

  /// Over lifelines, with a blank around it.
  void WriteFree(TextRow& row, std::size_t begin, const std::string& text) const {
    const std::size_t end = begin + ColumnsOf(text);
    if (begin > 0 && !IsLifeline(begin - 1)) row.Put(begin - 1, " ");
    row.Write(begin, text);
    if (IsLifeline(end)) row.Put(end, " ");
  }
  bool IsLifeline(std::size_t column) const {
    return std::find(columns_.begin(), columns_.end(), column) != columns_.end();
  }

  void Break(const DiagramEvent& event) {
    const bool ends = event.kind == DiagramEvent::Kind::kEnd;
    alive_ = true;
    TextRow row = Lines(ends ? "╧" : "╤");
    const std::size_t first = columns_.front(), last = columns_.back();
    for (std::size_t i = first; i <= last; ++i) {
      if (row.IsBlank(i)) row.Put(i, "═");
    }
    const std::string text = InWords(event);
    const std::size_t columns = ColumnsOf(text);
    std::size_t end = last + 1;
    const std::size_t begin = BetweenLifelines(columns + 2);
    const bool beyond = begin == 0 && last + 2 + columns <= width_;
    if (begin > 0) {
      row.Write(begin, " " + text + " ");
    } else if (beyond) {
      row.Write(last + 2, text);
      end = last + 2 + columns;
    }
    Time(row, event.at);
    Colour(row, first, end, event.tone);
    Print(row);
    alive_ = !ends;
    if (begin == 0 && !beyond) Below(event, first + 2, text);
  }

  /// Where a text stands in the middle of the widest gap if there is room, or else over the lifelines; 0: nowhere.
  std::size_t BetweenLifelines(std::size_t columns) const {
    std::size_t begin = 0, widest = 0;
    for (std::size_t i = 1; i < columns_.size(); ++i) {
      const std::size_t gap = columns_[i] - columns_[i - 1];
      if (gap <= widest || columns + 2 >= gap) continue;
      widest = gap;
      begin = columns_[i - 1] + 1 + (gap - columns) / 2;
    }
    const std::size_t all = columns_.back() - columns_.front();
    if (begin > 0 || columns + 4 > all) return begin;
    return columns_.front() + (all - columns) / 2;
  }

  // --- arrows

  void Arrow(const DiagramEvent& event) {
    if (event.from == event.to) return Beside(event, "│", "●");
    const bool rightwards = event.from < event.to;
    const std::size_t left = columns_[rightwards ? event.from : event.to];
    const std::size_t right = columns_[rightwards ? event.to : event.from];
    TextRow row = Lines("│");
    const bool lost = event.kind == DiagramEvent::Kind::kLost;
    for (std::size_t i = left + 1; i < right; ++i) {
      row.Put(i, IsLifeline(i) ? "┼" : lost ? "╌" : "─");
    }
    row.Put(columns_[event.from], rightwards ? "├" : "┤");
    row.Put(rightwards ? right - 1 : left + 1, rightwards ? "▶" : "◀");
    Time(row, event.at);

    std::string below;
    std::size_t end = right;
    const std::string whole = InWords(event);
    const std::size_t beyond = width_ - right - 2;
    if (WriteOnShaft(row, event, whole)) {
    } else if (ColumnsOf(whole) <= beyond) {
      end = right + 2 + ColumnsOf(whole);
      WriteFree(row, right + 2, whole);
    } else if (!event.more.empty() && WriteOnShaft(row, event, event.text)) {
      below = event.more;
    } else {
      below = whole;
    }
    Colour(row, left + 1, end, event.tone);
    Print(row);
    if (!below.empty()) Below(event, (std::min)(left + 2, width_ / 2), below);
  }

  void Below(const DiagramEvent& event, std::size_t begin, const std::string& text) {
    for (const std::string& line : Wrapped(text, width_ - begin, kMaxLines)) {
      TextRow row = Lines("│");
      WriteFree(row, begin, line);
      Colour(row, begin, begin + ColumnsOf(line), event.tone);
      Print(row);
    }
  }

  /// Beside the one who speaks if there is room for it, else anywhere on the arrow. False: it fits nowhere.
  bool WriteOnShaft(TextRow& row, const DiagramEvent& event, const std::string& text) const {
    const bool rightwards = event.from < event.to;
    const std::size_t left = columns_[rightwards ? event.from : event.to];
    const std::size_t right = columns_[rightwards ? event.to : event.from];
    const std::size_t end = rightwards ? right - 1 : right;
    const std::size_t near = columns_[rightwards ? event.from : event.from - 1];
    const std::size_t near_end = rightwards ? columns_[event.from + 1] : right;
    const std::size_t columns = ColumnsOf(text) + 2;
    const auto write = [&](std::size_t at, std::size_t limit) {
      if (at + columns > limit) return false;
      row.Write(at, " " + text + " ");
      return true;
    };
    return write(near + 3, (std::min)(near_end, end)) || write(left + 3, end) ||
           write(left + 2, end);
  }

  void Colour(TextRow& row, std::size_t first, std::size_t end, Tone tone) const {
    if (!colour_) return;
    const char* begin = "\033[36m";
    switch (tone) {
      case Tone::kGood: begin = "\033[32m"; break;
      case Tone::kBad: begin = "\033[31m"; break;
      case Tone::kWarning: begin = "\033[33m"; break;
      case Tone::kQuiet: begin = "\033[2m"; break;
      case Tone::kPlain: break;
    }
    row.Colour(first, (std::min)(end, width_), begin);
  }

  const Diagram& diagram_;
  const std::size_t width_;
  const bool colour_;
  std::vector<std::size_t> columns_;  // of the lifelines
  bool in_ms_ = true;                 // everything took less than a minute
  bool alive_ = true;                 // lifelines are drawn
  std::string text_;
};

}  // namespace drawing
}  // namespace v1
}  // namespace dtm

// ---- dtm/timeline/lifelines.hpp ----------------------------------------------------------------

/// Who takes part in a transaction, and the names of its calls, as they are drawn.
/// Needs: std. Threads: values and pure functions.

namespace dtm {
inline namespace v1 {
namespace timeline {

inline constexpr std::size_t kApplication = 0;
inline constexpr std::size_t kCoordinator = 1;
inline constexpr std::size_t kMaxServices = 6;  ///< more are drawn as one
inline constexpr std::size_t kMaxName = 40;     ///< columns

/// A name of at most kMaxName columns, as it is shown.
inline std::string ShownName(const std::string& name) {
  return drawing::Fitted(drawing::Shown(Truncated(name, 4 * kMaxName)), kMaxName);
}

/// Whom a URL calls: all calls with the same key go to one lifeline.
struct Service {
  std::string key{};  ///< empty: nobody is called by a message
  std::vector<std::string>
      names{};  ///< from the shortest, which others may have too, to the longest
};

inline Service ServiceOf(const std::string& url) {
  if (url.empty() || RunsInTransaction(url)) return {};
  if (IsLocal(url)) return {"functions", {"functions", "registered functions"}};
  Service service;
  try {
    const Url parts = ParseUrl(url);
    const bool address = parts.host.find(':') != std::string::npos ||
                         parts.host.find_first_not_of("0123456789.") == std::string::npos;
    service.key = parts.Origin();
    if (!address && parts.host != "localhost") {
      service.names = {parts.host.substr(0, parts.host.find('.')), parts.host};
    }
    service.names.push_back(parts.Authority());
    service.names.push_back(parts.Origin());
  } catch (const Error&) {  // of another dtm, or damaged
    const std::size_t scheme = url.find("://");
    const std::size_t begin = scheme == std::string::npos ? 0 : scheme + 3;
    service.key = ShownUrl(url.substr(0, url.find_first_of("/?#", begin)));
    service.names = {service.key};
  }
  return service;
}

/// "TransIn" of http://bank/api/TransIn?x=1 and of a function of that name.
inline std::string NameOfCall(const Definition& definition, const std::string& url) {
  if (IsLocal(url)) {
    const std::string name = url.substr(kLocalPrefixSize);
    return RunsInTransaction(url) ? name.substr(sizeof kInTransactionPrefix - 1) : name;
  }
  std::string path = ShownUrl(url);
  const std::size_t query = (std::min)(path.find('?'), path.size());
  constexpr std::string_view kMethod = "method=";
  const std::size_t method = definition.json_rpc ? path.find(kMethod, query) : std::string::npos;
  if (method != std::string::npos) {
    path = path.substr(method + kMethod.size());
    return PercentDecoded(path.substr(0, path.find('&')));
  }
  path.erase((std::min)(path.find_first_of("?#"), path.size()));
  while (!path.empty() && path.back() == '/') path.pop_back();
  const std::size_t scheme = path.find("://");
  const std::size_t slash = path.rfind('/');
  if (scheme == std::string::npos || slash < scheme + 3) return {};
  return PercentDecoded(path.substr(slash + 1));
}

/// "01 TransIn", "01 compensate TransInCom": the branch id, the operation where the name does not say it, and the name.
inline std::string CallInWords(const Definition& definition, std::size_t row) {
  if (row >= RowCount(definition)) return "row " + std::to_string(row);
  const Op op = OpOf(definition, row);
  std::string name = NameOfCall(definition, UrlOf(definition, row));
  if (definition.type == TransType::kWorkflow && row != kQueryRow) {
    const std::string& own = definition.steps[StepOf(definition.type, row)].topic;
    if (!own.empty()) name = own;
  }
  std::string text = BranchIdOf(definition, row);
  const bool implied = op == Op::kAction || op == Op::kMsg || Lowered(name) == Name(op);
  if (!implied || name.empty()) text += std::string(" ") + Name(op);
  if (op != Op::kResume && !name.empty()) text += " " + name;
  return ShownName(text);
}

/// The lifelines of one drawing. First Add each call, then Name.
class Lifelines {
 public:
  explicit Lifelines(const Definition& definition) : definition_(definition) {
    if (!RegistersSteps(definition.type)) return;
    const bool query = HasQueryRow(definition.type);
    for (std::size_t row = 1; row < RowCount(definition); row += query ? 1 : 2) {
      parents_.emplace(BranchIdOf(definition, row), row);
    }
  }

  void Add(std::size_t row) {
    if (row >= RowCount(definition_) || IsInitiator(row) || rows_.count(row) > 0) return;
    const Service service = ServiceOf(UrlOf(definition_, row));
    if (service.key.empty()) return;
    const auto [found, is_new] = keys_.emplace(service.key, services_.size());
    if (is_new) services_.push_back(service);
    rows_.emplace(row, found->second);
  }

  /// The application and the coordinator, then the services in the order in which they were added.
  std::vector<Lifeline> Name() {
    std::vector<Lifeline> lifelines{{"application"}, {"coordinator"}};
    const bool all = services_.size() <= kMaxServices;
    drawn_ = all ? services_.size() : kMaxServices - 1;
    NameServices();
    for (std::size_t i = 0; i < drawn_; ++i) {
      const std::string& longest = services_[i].names.back();
      lifelines.push_back({names_[i], ShownName(longest)});
    }
    if (!all) {
      const std::string others = std::to_string(services_.size() - drawn_) + " others";
      lifelines.push_back({others, "hosts that have no lifeline of their own"});
    }
    return lifelines;
  }

  /// Who is called by that row; nothing if the coordinator does it itself.
  std::optional<std::size_t> Of(std::size_t row) const {
    if (row < RowCount(definition_) && IsInitiator(row)) return kApplication;
    const std::size_t service = FindService(row);
    if (service == kNone) return std::nullopt;
    return kCoordinator + 1 + (std::min)(service, drawn_);
  }

  std::string Call(std::size_t row) const {
    const std::string call = CallInWords(definition_, row);
    const std::size_t service = FindService(row);
    return service == kNone || service < drawn_ ? call : call + " at " + names_[service];
  }

  std::string Id(std::size_t row) const {
    if (row >= RowCount(definition_)) return Call(row);
    return ShownName(BranchIdOf(definition_, row));
  }

  /// Who registers the row: the service of the branch that it is nested in ("0102" in "01"), else the application.
  std::size_t Registrant(std::size_t row) const {
    const std::size_t parent = ParentOf(row);
    return parent == kNone ? kApplication : Of(parent).value_or(kApplication);
  }

  /// The row of the branch that this one is nested in; kNone without one.
  std::size_t ParentOf(std::size_t row) const {
    if (row >= RowCount(definition_) || parents_.empty()) return kNone;
    const std::string id = BranchIdOf(definition_, row);
    const auto found =
        parents_.find(id.substr(0, id.size() - (std::min)(id.size(), std::size_t{2})));
    return found == parents_.end() ? kNone : found->second;
  }

  static constexpr std::size_t kNone = SIZE_MAX;

 private:
  /// The question of a message and the resumption of a workflow go to whoever began it.
  bool IsInitiator(std::size_t row) const {
    return HasQueryRow(definition_.type) && row == kQueryRow;
  }

  std::size_t FindService(std::size_t row) const {
    const auto found = rows_.find(row);
    return found == rows_.end() ? kNone : found->second;
  }

  /// Each gets its shortest name that no other one has.
  void NameServices() {
    std::map<std::string, std::size_t> uses{{"application", 1}, {"coordinator", 1}};
    for (const Service& service : services_) {
      const std::set<std::string> names(service.names.begin(), service.names.end());
      for (const std::string& name : names) ++uses[name];
    }
    for (const Service& service : services_) {
      const auto own = std::find_if(service.names.begin(), service.names.end(),
                                    [&uses](const std::string& name) { return uses[name] == 1; });
      const std::string& name = own == service.names.end() ? service.names.back() : *own;
      names_.push_back(ShownName(name));
    }
  }

  const Definition& definition_;
  std::vector<Service> services_;
  std::map<std::string, std::size_t> keys_;     // services
  std::map<std::size_t, std::size_t> rows_;     // that were added, and their services
  std::map<std::string, std::size_t> parents_;  // rows of branches, by their ids
  std::vector<std::string> names_;
  std::size_t drawn_ = 0;  ///< so many services have lifelines of their own
};

}  // namespace timeline
}  // namespace v1
}  // namespace dtm

// ---- dtm/timeline/story_events.hpp -------------------------------------------------------------

/// The events of a diagram while they are made, one after the other: with lines for the time that passes between them, and
/// without the middle if they become too many.
/// Needs: std. Threads: one thread.

namespace dtm {
inline namespace v1 {
namespace timeline {

inline constexpr std::size_t kMaxEvents = 160;  ///< of a diagram; of more the middle is left out
inline constexpr std::size_t kMaxSaid = 200;    ///< columns of one text

using EventKind = DiagramEvent::Kind;

/// A text of the journal as it is shown.
inline std::string Said(const std::string& text) {
  return drawing::Fitted(drawing::Shown(Truncated(text, 4 * kMaxSaid)), kMaxSaid);
}

class StoryEvents {
 public:
  /// When what comes next happened.
  void At(std::optional<Duration> at) { at_ = at; }

  /// A remark of the coordinator.
  void Note(std::string text, const std::string& more, Tone tone) {
    Add({EventKind::kNote, at_, kCoordinator, kCoordinator, std::move(text), Said(more), tone});
  }

  void Arrow(EventKind kind, std::size_t from, std::size_t to, std::string text,
             const std::string& more = {}, Tone tone = Tone::kPlain) {
    Add({kind, at_, from, to, std::move(text), Said(more), tone});
  }

  /// What is not drawn, and ended at `until`.
  void Left(std::string text, const std::string& more, Duration until) {
    Add({EventKind::kSpan, at_, kCoordinator, kCoordinator, std::move(text), Said(more),
         Tone::kQuiet});
    last_ = (std::max)(last_, until);
  }

  /// One process is gone, nobody knows since when; another one goes on.
  void Break(std::string end, std::string begin) {
    running_ = 0;
    retries_ = false;
    events_.push_back({EventKind::kEnd, {}, 0, 0, std::move(end), {}, Tone::kBad});
    Add({EventKind::kBegin, at_, 0, 0, std::move(begin), {}, Tone::kPlain});
  }

  /// A call is under way from now on; or it is no more, and `retries` says if it is made again.
  void Begun() { ++running_; }
  void Done(bool begun, bool retries) {
    if (begun && running_ > 0) --running_;
    retries_ = retries;
  }
  void AllDone() { running_ = 0; }

  const DiagramEvent* Last() const { return events_.empty() ? nullptr : &events_.back(); }

  /// All of them; leaves none.
  std::vector<DiagramEvent> Take() {
    Shorten();
    return std::move(events_);
  }

 private:
  void Add(DiagramEvent event) {
    constexpr Duration kLong = std::chrono::milliseconds(100);
    constexpr Duration kLongForACall = std::chrono::seconds(1);
    const Duration passed = event.at ? *event.at - last_ : Duration{0};
    if (passed >= (running_ == 0 ? kLong : kLongForACall)) {
      const std::string span = drawing::SpanInWords(passed);
      const bool waits = retries_ && running_ == 0;
      events_.push_back({EventKind::kSpan,
                         {},
                         kCoordinator,
                         kCoordinator,
                         waits ? "waits " + span : span + " later",
                         {},
                         Tone::kQuiet});
    }
    if (event.at) last_ = (std::max)(last_, *event.at);
    events_.push_back(std::move(event));
  }

  /// Leaves the first and the last events, and some notes and all breaks between.
  void Shorten() {
    if (events_.size() <= kMaxEvents) return;
    constexpr std::size_t kHalf = kMaxEvents / 2;
    constexpr std::size_t kNotesBetween = 16;
    const std::size_t last = events_.size() - kHalf;
    std::vector<DiagramEvent> kept(events_.begin(), events_.begin() + kHalf);
    std::size_t notes = 0, left_out = 0;
    for (std::size_t i = kHalf; i < events_.size(); ++i) {
      const EventKind kind = events_[i].kind;
      const bool breaks = kind == EventKind::kEnd || kind == EventKind::kBegin;
      const bool passed = kind == EventKind::kSpan && !events_[i].at;
      const bool note = !breaks && !passed && !IsArrow(kind);
      if (i < last && !breaks && (!note || ++notes > kNotesBetween)) {
        ++left_out;
        continue;
      }
      if (left_out > 0) kept.push_back(NotDrawn(left_out));
      left_out = 0;
      kept.push_back(std::move(events_[i]));
    }
    events_ = std::move(kept);
  }

  static DiagramEvent NotDrawn(std::size_t count) {
    return {EventKind::kSpan,
            {},
            kCoordinator,
            kCoordinator,
            "... " + std::to_string(count) + " lines not drawn",
            {},
            Tone::kQuiet};
  }

  std::vector<DiagramEvent> events_;
  std::optional<Duration> at_{};
  Duration last_{0};         // when the last of them happened
  std::size_t running_ = 0;  // calls without a result
  bool retries_ = false;     // after the last result its call is made again
};

}  // namespace timeline
}  // namespace v1
}  // namespace dtm

// ---- dtm/timeline/drivers.hpp ------------------------------------------------------------------

/// Which processes drove a transaction, and what a diagram says when another one goes on with it.
/// Needs: std. Threads: one thread.

namespace dtm {
inline namespace v1 {
namespace timeline {

/// Of "machine:4711" only the number, if all are of one machine: that is how a coordinator names itself.
inline std::vector<std::string> ProcessNames(const std::vector<DrivenBy>& runs) {
  const auto host = [](const std::string& name) {
    const std::size_t colon = name.rfind(':');
    const bool number = colon != std::string::npos && colon + 1 < name.size() &&
                        name.find_first_not_of("0123456789", colon + 1) == std::string::npos;
    return number ? name.substr(0, colon + 1) : std::string();
  };
  const bool one = std::all_of(runs.begin(), runs.end(), [&](const DrivenBy& run) {
    return !host(run.process).empty() && host(run.process) == host(runs.front().process);
  });
  std::vector<std::string> names;
  for (const DrivenBy& run : runs) {
    const std::size_t skipped = one ? host(run.process).size() : 0;
    names.push_back((one ? "process " : "") + ShownName(run.process.substr(skipped)));
  }
  return names;
}

class Drivers {
 public:
  explicit Drivers(const Timeline& story)
      : entries_(story.entries),
        names_(ProcessNames(story.runs)),
        shared_(story.transaction.driver != 0) {}

  /// To be told of each entry, in their order.
  void Pass(const JournalEntry& entry) {
    switch (entry.kind) {
      case JournalKind::kPrepared: prepared_ = true; break;
      case JournalKind::kTakenUp: ++run_; break;
      case JournalKind::kSubmitted:
      case JournalKind::kSuccess:  // of the question to its initiator
      case JournalKind::kRollback:
      case JournalKind::kFinish: prepared_ = false; break;
      default: break;
    }
  }

  /// Of entry `i`, the last one that was passed.
  void TellTakenUp(std::size_t i, StoryEvents& events) const {
    const std::string before = Name(run_ - 1), now = Name(run_);
    if (BeforeMayLive(i)) {
      const std::string who = now.empty() ? "another process" : now;
      return events.Note(who + " goes on with it", "", Tone::kPlain);
    }
    const bool same = before == now && !now.empty();
    events.Break(before.empty() ? "its process is gone" : before + " is gone",
                 same          ? "started again"
                 : now.empty() ? "taken up"
                               : "taken up by " + now);
  }

 private:
  /// In a shared store each node goes on with what is prepared, and stops what another one drives.
  bool BeforeMayLive(std::size_t i) const {
    const bool stops = i + 1 < entries_.size() && entries_[i + 1].kind == JournalKind::kForceStop;
    return shared_ && (prepared_ || stops);
  }

  /// Empty if it is not known.
  std::string Name(std::size_t run) const {
    return run < names_.size() ? names_[run] : std::string();
  }

  const std::vector<JournalEntry>& entries_;
  const std::vector<std::string> names_;
  const bool shared_;
  bool prepared_ = false;
  std::size_t run_ = 0;
};

}  // namespace timeline
}  // namespace v1
}  // namespace dtm

// ---- dtm/timeline/folds.hpp --------------------------------------------------------------------

/// When things happened, and what of a long story is not drawn: of many tries of one row, and of what people or processes did again and again, the
/// first and the last are shown, and a sentence stands for those between.
/// Needs: std. Threads: values and pure functions.

namespace dtm {
inline namespace v1 {
namespace timeline {

/// When each entry was made, since `begin`. Time does not go back here: if a clock was set back, what follows is counted on.
struct StoryTimes {
  StoryTimes(Time begin, const std::vector<JournalEntry>& entries) {
    constexpr Duration kFar{INT64_MAX / 8};
    Duration last{0};
    for (const JournalEntry& entry : entries) {
      Duration at = drawing::Between(begin, entry.time) + shift;
      set_back.push_back((std::max)(last - at, Duration{0}));
      shift = (std::min)(shift + set_back.back(), kFar);
      last = (std::max)(last, at);
      since.push_back(last);
    }
  }

  std::vector<Duration> since{};
  std::vector<Duration> set_back{};  ///< by how much the clock was set back before that entry
  Duration shift{0};                 ///< to be added to a time after the last entry
};

inline constexpr std::size_t kFirstShown = 2;
inline constexpr std::size_t kLastShown = 3;

/// Stands for the entries from `first` to `last` that are hidden for the same reason.
struct Fold {
  std::size_t first = 0;
  std::size_t last = 0;
  std::size_t row = kNoRow;  ///< whose tries are hidden
  std::string text{};
  std::string more{};
};

struct Folds {
  std::vector<bool> hidden;           ///< of each entry
  std::map<std::size_t, Fold> folds;  ///< by the first entry that they stand for
};

class FoldStory {
 public:
  static Folds Make(const Timeline& story, const std::vector<Duration>& times) {
    return FoldStory(story, times).folds_;
  }

 private:
  FoldStory(const Timeline& story, const std::vector<Duration>& times)
      : story_(story), times_(times) {
    folds_.hidden.resize(story.entries.size());
    std::map<std::size_t, std::vector<const Attempt*>> rows;
    for (const Attempt& attempt : story.attempts) rows[attempt.row].push_back(&attempt);
    for (const auto& [row, attempts] : rows) HideAttempts(row, attempts);
    std::map<JournalKind, std::vector<std::size_t>> decisions;
    for (std::size_t i = 0; i < story.entries.size(); ++i) {
      const JournalKind kind = story.entries[i].kind;
      if (!IsAttempt(kind) && kind != JournalKind::kGap) decisions[kind].push_back(i);
    }
    for (const auto& [kind, entries] : decisions) HideDecisions(kind, entries);
  }

  template <typename Item>
  static std::vector<Item> Middle(const std::vector<Item>& all) {
    if (all.size() <= kFirstShown + kLastShown + 1) return {};
    return {all.begin() + kFirstShown, all.end() - kLastShown};
  }

  void Hide(std::size_t entry, Fold& fold, bool& any) {
    if (entry >= folds_.hidden.size()) return;
    folds_.hidden[entry] = true;
    fold.first = any ? (std::min)(fold.first, entry) : entry;
    fold.last = any ? (std::max)(fold.last, entry) : entry;
    any = true;
  }

  void HideDecisions(JournalKind kind, const std::vector<std::size_t>& entries) {
    const std::vector<std::size_t> between = Middle(entries);
    Fold fold;
    bool any = false;
    for (const std::size_t entry : between) Hide(entry, fold, any);
    if (!any) return;
    fold.text = std::to_string(between.size()) + " times more: " + Name(kind);
    folds_.folds.emplace(fold.first, fold);
  }

  void HideAttempts(std::size_t row, const std::vector<const Attempt*>& attempts) {
    const std::vector<const Attempt*> between = Middle(attempts);
    Fold fold;
    fold.row = row;
    bool any = false;
    for (const Attempt* attempt : between) {
      Hide(attempt->begin_entry, fold, any);
      Hide(attempt->end_entry, fold, any);
    }
    if (!any) return;
    std::size_t count = between.size();
    const std::size_t gap = HideGaps(fold);
    if (gap > 0 && row < story_.transaction.branches.size()) {
      const std::size_t tries = story_.transaction.branches[row].tries;
      count = (std::max)(count, tries - (std::min)(tries, attempts.size() - between.size()));
    }
    fold.text = std::to_string(count) + " more tries over " +
                drawing::SpanInWords(times_[fold.last] - times_[fold.first]);
    if (gap > 0) fold.text += " (" + std::to_string(gap) + " entries not kept)";
    AddOutcomes(between, fold);
    folds_.folds.emplace(fold.first, fold);
  }

  /// Gaps inside of the fold need no line of their own. Returns how many entries they count, at least 1 for each.
  std::size_t HideGaps(const Fold& fold) {
    std::size_t count = 0;
    for (std::size_t i = fold.first; i <= fold.last; ++i) {
      const JournalEntry& entry = story_.entries[i];
      if (entry.kind != JournalKind::kGap || folds_.hidden[i]) continue;
      folds_.hidden[i] = true;
      count += (std::max)((std::min)(entry.row, std::size_t{1000000000}), std::size_t{1});
    }
    return count;
  }

  /// ", all error" and what it said, or ", 20 error, 3 ongoing" and what was said most often.
  static void AddOutcomes(const std::vector<const Attempt*>& attempts, Fold& fold) {
    std::map<std::string, std::size_t> outcomes, texts;
    for (const Attempt* attempt : attempts) {
      ++outcomes[Name(attempt->outcome)];
      ++texts[attempt->text];
    }
    if (outcomes.size() == 1) fold.text += ", all " + outcomes.begin()->first;
    if (outcomes.size() > 1) {
      for (const auto& [outcome, count] : ByNumber(outcomes)) {
        fold.text += ", " + std::to_string(count) + " " + outcome;
      }
    }
    fold.more = ByNumber(texts).front().first;
    if (texts.size() > 1 && !fold.more.empty()) fold.more = "mostly " + fold.more;
  }

  /// The most frequent first.
  static std::vector<std::pair<std::string, std::size_t>> ByNumber(
      const std::map<std::string, std::size_t>& counted) {
    std::vector<std::pair<std::string, std::size_t>> sorted(counted.begin(), counted.end());
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const auto& a, const auto& b) { return a.second > b.second; });
    return sorted;
  }

  const Timeline& story_;
  const std::vector<Duration>& times_;
  Folds folds_;
};

}  // namespace timeline
}  // namespace v1
}  // namespace dtm

// ---- dtm/timeline/record_story.hpp -------------------------------------------------------------

/// What the record of a transaction adds to its diagram: how it ended or what it waits for; and without a journal, how far
/// each branch has come.
/// Needs: std. Threads: one thread.

namespace dtm {
inline namespace v1 {
namespace timeline {

class RecordStory {
 public:
  /// `begin` is the zero of the diagram, `shift` is added to the times of the record (StoryTimes).
  RecordStory(const Timeline& story, const Definition& definition, const Lifelines& lifelines,
              Time begin, Duration shift)
      : story_(story),
        record_(story.transaction),
        definition_(definition),
        lifelines_(lifelines),
        begin_(begin),
        shift_(shift) {}

  /// In place of a journal.
  void TellAll(StoryEvents& events) const {
    if (record_.expired) {
      return events.Note("its record has expired: only its end is known", "", Tone::kQuiet);
    }
    const bool prepared = definition_.prepared_first || RegistersSteps(definition_.type);
    events.At(Duration{0});
    events.Arrow(EventKind::kCall, kApplication, kCoordinator, prepared ? "prepare" : "submit");
    events.At(std::nullopt);
    events.Note("no journal was kept: this is from the record", "", Tone::kQuiet);
    std::vector<std::size_t> rows;
    for (std::size_t row = 0; row < record_.branches.size(); ++row) {
      if (record_.branches[row].status != BranchStatus::kPrepared) rows.push_back(row);
    }
    std::stable_sort(rows.begin(), rows.end(), [this](std::size_t a, std::size_t b) {
      return record_.branches[a].finished < record_.branches[b].finished;
    });
    for (const std::size_t row : rows) TellRow(row, events);
  }

  void TellEnd(StoryEvents& events) const {
    TellDamage(events);
    events.At(record_.expired ? std::nullopt : At(record_.finished));
    events.AllDone();
    events.Arrow(EventKind::kReply, kCoordinator, kApplication, Name(record_.status),
                 record_.reason, record_.status == Status::kSucceed ? Tone::kGood : Tone::kBad);
  }

  /// What is running, what is waited for, and until when.
  void TellPresent(StoryEvents& events) const {
    events.At(std::nullopt);
    TellDamage(events);
    const std::vector<std::size_t> running = Running();
    if (!running.empty()) events.Note("running: " + Listed(running), "", Tone::kPlain);
    if (record_.stuck) {
      const DiagramEvent* last = events.Last();
      const bool told = last != nullptr && last->text == "stuck";
      if (!told) events.Note("stuck", record_.last_error, Tone::kBad);
      return;
    }
    if (record_.status == Status::kPrepared) events.Note("waits for its submit", "", Tone::kPlain);
    std::vector<std::size_t> waiting;
    const std::size_t rows = (std::min)(record_.branches.size(), RowCount(definition_));
    for (std::size_t row = 0; row < rows; ++row) {
      const Branch& branch = record_.branches[row];
      const bool runs = std::find(running.begin(), running.end(), row) != running.end();
      const bool called = branch.tries > 0 && branch.status == BranchStatus::kPrepared;
      const bool waits = called && branch.next_try != Time{} && HasItsTurn(record_, row);
      if (waits && !runs) waiting.push_back(row);
    }
    if (!waiting.empty()) events.Note("waits to try again: " + Listed(waiting), "", Tone::kPlain);
    if (const auto due = At(record_.due); due && record_.due != kNever) {
      events.Note("due at " + drawing::SpanInWords(*due), "", Tone::kPlain);
    }
  }

 private:
  static constexpr std::size_t kMaxListed = 3;

  /// Nothing for a time that is not known.
  std::optional<Duration> At(Time time) const {
    if (time == Time{}) return std::nullopt;
    return (std::max)(drawing::Between(begin_, time) + shift_, Duration{0});
  }

  void TellRow(std::size_t row, StoryEvents& events) const {
    const Branch& branch = record_.branches[row];
    const bool good = branch.status == BranchStatus::kSucceed;
    std::string text = lifelines_.Call(row) + (good ? " success" : " failure");
    if (branch.tries > 1) text += " after " + std::to_string(branch.tries) + " tries";
    const std::optional<std::size_t> service = lifelines_.Of(row);
    const bool recorded = definition_.type == TransType::kWorkflow && row != kQueryRow;
    const Tone tone = good ? Tone::kGood : Tone::kBad;
    events.At(At(branch.finished));
    if (recorded || !service) return events.Note(text, "", tone);
    events.Arrow(EventKind::kReply, *service, kCoordinator, text, "", tone);
  }

  void TellDamage(StoryEvents& events) const {
    if (!record_.unreadable || record_.expired) return;
    events.At(std::nullopt);
    events.Note("its record cannot be read", record_.last_error, Tone::kBad);
  }

  std::vector<std::size_t> Running() const {
    std::vector<std::size_t> rows;
    for (const Attempt& attempt : story_.attempts) {
      if (attempt.outcome == Attempt::Outcome::kRunning) rows.push_back(attempt.row);
    }
    return rows;
  }

  std::string Listed(const std::vector<std::size_t>& rows) const {
    std::string text;
    for (std::size_t i = 0; i < rows.size() && i < kMaxListed; ++i) {
      text += (i == 0 ? "" : ", ") + lifelines_.Call(rows[i]);
    }
    if (rows.size() <= kMaxListed) return text;
    return text + " and " + std::to_string(rows.size() - kMaxListed) + " more";
  }

  const Timeline& story_;
  const Transaction& record_;
  const Definition& definition_;
  const Lifelines& lifelines_;
  const Time begin_;
  const Duration shift_;
};

}  // namespace timeline
}  // namespace v1
}  // namespace dtm

// ---- dtm/timeline/make_diagram.hpp -------------------------------------------------------------

/// From the story of a transaction to its diagram: here it is decided what is drawn, in which words and order.
/// Needs: std. Threads: a pure function.

namespace dtm {
inline namespace v1 {
namespace timeline {

inline Tone ToneOf(Attempt::Outcome outcome) {
  switch (outcome) {
    case Attempt::Outcome::kSuccess: return Tone::kGood;
    case Attempt::Outcome::kFailure: return Tone::kBad;
    case Attempt::Outcome::kRunning: return Tone::kPlain;
    case Attempt::Outcome::kOngoing:
    case Attempt::Outcome::kError:
    case Attempt::Outcome::kNotSent:
    case Attempt::Outcome::kLost: return Tone::kWarning;
  }
  return Tone::kPlain;
}

/// Makes the diagram of one story.
class DiagramMaker {
 public:
  static Diagram Make(const Timeline& story) {
    DiagramMaker maker(story);
    Diagram diagram;
    diagram.lifelines = maker.MakeLifelines();
    maker.TellAll();
    diagram.events = maker.events_.Take();
    diagram.title = maker.Title();
    return diagram;
  }

 private:
  explicit DiagramMaker(const Timeline& story)
      : story_(story),
        definition_(story.transaction.definition ? *story.transaction.definition : none_),
        begin_(BeginOf(story)),
        times_(begin_, story.entries),
        folds_(FoldStory::Make(story, times_.since)),
        lifelines_(definition_),
        attempts_(story.entries.size()),
        drivers_(story) {
    for (const Attempt& attempt : story.attempts) {
      for (const std::size_t entry : {attempt.begin_entry, attempt.end_entry}) {
        if (entry < attempts_.size()) attempts_[entry] = &attempt;
      }
    }
  }

  static Time BeginOf(const Timeline& story) {
    const Time created = story.transaction.created;
    return created == Time{} && !story.entries.empty() ? story.entries.front().time : created;
  }

  std::vector<Lifeline> MakeLifelines() {
    for (const JournalEntry& entry : story_.entries) {
      if (entry.kind == JournalKind::kRegistered) {
        lifelines_.Add(lifelines_.ParentOf(entry.row));
      } else if (IsAttempt(entry.kind)) {
        lifelines_.Add(entry.row);
      }
    }
    for (std::size_t row = 0; row < story_.transaction.branches.size(); ++row) {
      const Branch& branch = story_.transaction.branches[row];
      if (branch.tries > 0) lifelines_.Add(row);
    }
    std::vector<Lifeline> lifelines = lifelines_.Name();
    if (!story_.runs.empty()) lifelines[kCoordinator].more = ShownName(story_.runs[0].process);
    return lifelines;
  }

  void TellAll() {
    const RecordStory record(story_, definition_, lifelines_, begin_, times_.shift);
    if (story_.entries.empty()) record.TellAll(events_);
    for (std::size_t i = 0; i < story_.entries.size(); ++i) Tell(i);
    if (ended_) return;  // the journal may know it before the record, which was read first
    if (IsFinal(story_.transaction.status)) {
      record.TellEnd(events_);
    } else {
      record.TellPresent(events_);
    }
  }

  void Tell(std::size_t i) {
    // The clocks of two machines always differ.
    constexpr Duration kWorthANote = std::chrono::milliseconds(100);
    const JournalEntry& entry = story_.entries[i];
    events_.At(times_.since[i]);
    if (const auto fold = folds_.folds.find(i); fold != folds_.folds.end()) TellFold(fold->second);
    drivers_.Pass(entry);
    if (folds_.hidden[i]) return;
    if (times_.set_back[i] >= kWorthANote) {
      events_.Note("the clock was set back by " + drawing::SpanInWords(times_.set_back[i]), "",
                   Tone::kQuiet);
    }
    const std::size_t last_call = last_call_;
    last_call_ = kNoEntry;
    TellEntry(i, entry, last_call);
  }

  void TellEntry(std::size_t i, const JournalEntry& entry, std::size_t last_call) {
    switch (entry.kind) {
      case JournalKind::kPrepared: return TellInitiator("prepare");
      case JournalKind::kSubmitted: return TellInitiator("submit");
      case JournalKind::kRegistered: return TellRegistered(entry);
      case JournalKind::kStarted: return TellStarted(i);
      case JournalKind::kSuccess:
      case JournalKind::kFailure:
      case JournalKind::kOngoing:
      case JournalKind::kError:
      case JournalKind::kNotSent: return TellResult(i, last_call);
      case JournalKind::kRollback: return TellRollback(i);
      case JournalKind::kStuck: return events_.Note("stuck", entry.text, Tone::kBad);
      case JournalKind::kSucceeded: return TellEnded(Status::kSucceed, Tone::kGood);
      case JournalKind::kFailed: return TellEnded(Status::kFailed, Tone::kBad);
      case JournalKind::kCancel: return TellCancel(entry);
      case JournalKind::kForceStop: return TellAsked("force-stopped", entry);
      case JournalKind::kRetryNow: return TellAsked("retry now", entry);
      case JournalKind::kFinish:
        return entry.text.empty() ? TellInitiator("finish")
                                  : TellInitiator("fail", entry.text, Tone::kBad);
      case JournalKind::kTakenUp: return drivers_.TellTakenUp(i, events_);
      case JournalKind::kGap: return TellGap(entry, times_.since[i]);
      case JournalKind::kRepair: return TellAsked(lifelines_.Call(entry.row) + " skipped", entry);
    }
  }

  void TellFold(const Fold& fold) {
    bool others = false;
    for (std::size_t i = fold.first; i <= fold.last; ++i) {
      const JournalEntry& entry = story_.entries[i];
      if (IsAttempt(entry.kind) && entry.row != fold.row) others = true;
    }
    const bool named = others && fold.row != kNoRow;
    events_.Left(named ? lifelines_.Call(fold.row) + ": " + fold.text : fold.text, fold.more,
                 times_.since[fold.last]);
  }

  void TellInitiator(const char* text, const std::string& more = {}, Tone tone = Tone::kPlain) {
    events_.Arrow(EventKind::kCall, kApplication, kCoordinator, text, more, tone);
  }

  void TellRegistered(const JournalEntry& entry) {
    const bool workflow = definition_.type == TransType::kWorkflow;
    const bool failed = workflow && !entry.text.empty();
    std::string text =
        workflow ? "record " + lifelines_.Call(entry.row) : "register " + lifelines_.Id(entry.row);
    if (failed) text += " failed";
    events_.Arrow(EventKind::kCall, lifelines_.Registrant(entry.row), kCoordinator, text,
                  entry.text, failed ? Tone::kBad : Tone::kPlain);
  }

  void TellStarted(std::size_t i) {
    const Attempt* attempt = attempts_[i];
    const std::size_t row = story_.entries[i].row;
    // What was not sent is told with its result.
    if (attempt == nullptr || attempt->outcome == Attempt::Outcome::kNotSent) return;
    const std::optional<std::size_t> service = lifelines_.Of(row);
    if (!service) return events_.Note(lifelines_.Call(row), "", Tone::kPlain);
    const bool lost = attempt->outcome == Attempt::Outcome::kLost && !LostAtTheEnd(*attempt);
    events_.Arrow(lost ? EventKind::kLost : EventKind::kCall, kCoordinator, *service,
                  lifelines_.Call(row), "", lost ? Tone::kWarning : Tone::kPlain);
    events_.Begun();
    last_call_ = i;
  }

  /// Nobody waits any more. Else the process is gone that waited, or it has lost what it knew.
  bool LostAtTheEnd(const Attempt& attempt) const {
    if (attempt.run + 1 < story_.runs.size()) return false;
    const auto last = std::find_if(story_.attempts.rbegin(), story_.attempts.rend(),
                                   [&](const Attempt& other) { return other.row == attempt.row; });
    return last != story_.attempts.rend() && &*last == &attempt;
  }

  /// `last_call`: the entry of the call that is the event before, if it is one.
  void TellResult(std::size_t i, std::size_t last_call) {
    const JournalEntry& entry = story_.entries[i];
    const Attempt* attempt = attempts_[i];
    const Attempt::Outcome outcome = OutcomeOf(entry.kind);
    const bool begun = attempt != nullptr && attempt->begin_entry < attempts_.size();
    const bool sent = outcome != Attempt::Outcome::kNotSent;
    const bool at_once = begun && attempt->begin_entry == last_call;
    const std::optional<std::size_t> service = lifelines_.Of(entry.row);
    const std::string whose = !begun || !sent ? lifelines_.Call(entry.row) + " "
                              : at_once       ? std::string()
                                              : lifelines_.Id(entry.row) + " ";
    if (service && sent) {
      events_.Arrow(EventKind::kReply, *service, kCoordinator, whose + Name(outcome), entry.text,
                    ToneOf(outcome));
    } else {
      events_.Note(whose + Name(outcome), entry.text, ToneOf(outcome));
    }
    const bool retries =
        outcome != Attempt::Outcome::kSuccess && outcome != Attempt::Outcome::kFailure;
    events_.Done(begun && service && sent, retries);
  }

  /// The reason is told once: mostly it is the answer above. What is stopped fails without being rolled back.
  void TellRollback(std::size_t i) {
    const JournalEntry& entry = story_.entries[i];
    if (i > 0 && story_.entries[i - 1].kind == JournalKind::kForceStop) return;
    const DiagramEvent* last = events_.Last();
    const bool told = last != nullptr && IsArrow(last->kind) && last->tone == Tone::kBad;
    const bool branch = entry.row != kNoRow && !told;
    events_.Note(branch ? "rolls back because of " + lifelines_.Call(entry.row) : "rolls back",
                 told && last->more == Said(entry.text) ? "" : entry.text, Tone::kBad);
  }

  void TellCancel(const JournalEntry& entry) {
    const bool initiator = entry.who.empty() && RegistersSteps(definition_.type);
    if (initiator) return TellInitiator("cancel", entry.text, Tone::kBad);
    TellAsked("cancelled", entry);
  }

  void TellAsked(const std::string& what, const JournalEntry& entry) {
    const std::string who = ShownName(entry.who);
    events_.Note(who.empty() ? what : what + " by " + who, entry.text, Tone::kWarning);
  }

  void TellGap(const JournalEntry& entry, Duration until) {
    const bool counted = entry.row != 0 && entry.row != kNoRow;
    const std::string count = counted ? std::to_string(entry.row) + " " : std::string();
    events_.Left("... " + count + "entries not kept", "", until);
  }

  void TellEnded(Status status, Tone tone) {
    ended_ = true;
    events_.AllDone();
    events_.Arrow(EventKind::kReply, kCoordinator, kApplication, Name(status), "", tone);
  }

  std::string Title() const {
    const Transaction& record = story_.transaction;
    std::string text = std::string(Name(definition_.type)) + " " + Said(definition_.gid) + ": " +
                       Name(record.status);
    if (!IsFinal(record.status) || record.finished == Time{} || record.expired) return text;
    return text + " after " + drawing::SpanInWords(drawing::Between(begin_, record.finished));
  }

  const Definition none_{};  // of a record without one
  const Timeline& story_;
  const Definition& definition_;
  const Time begin_;
  const StoryTimes times_;
  const Folds folds_;
  Lifelines lifelines_;
  std::vector<const Attempt*> attempts_;  // by entry
  Drivers drivers_;
  StoryEvents events_;
  std::size_t last_call_ = kNoEntry;  // the entry whose call is the last event
  bool ended_ = false;
};

}  // namespace timeline

/// The diagram of a transaction. Of many tries, lines and hosts a readable number is drawn, and sentences stand for the
/// others.
inline Diagram MakeDiagram(const Timeline& story) { return timeline::DiagramMaker::Make(story); }

}  // namespace v1
}  // namespace dtm

// ---- dtm/timeline/draw.hpp ---------------------------------------------------------------------

/// The drawing of a transaction from its story.
/// Needs: std. Threads: a pure function.

namespace dtm {
inline namespace v1 {

/// What Draw makes.
enum class DrawFormat {
  kText,  ///< lines of UTF-8 for a terminal
  kSvg,  ///< one file that needs nothing else: no script, no font; for light and dark pages. At most 200 kB
  kMermaid  ///< a sequenceDiagram of Mermaid
};

/// How a terminal shows it.
struct DrawOptions {
  bool colour = false;  ///< kText: with escape codes of terminals
  std::size_t width =
      96;  ///< kText: the columns of a line; less than 40 is 40, more than 1000 1000
};

/// Draws a diagram that a program has made, or changed (the names of its lifelines, for example).
inline std::string Draw(const Diagram& diagram, DrawFormat format,
                        const DrawOptions& options = {}) {
  switch (format) {
    case DrawFormat::kText:
      return drawing::TextDiagram::Draw(diagram, options.width, options.colour);
    case DrawFormat::kSvg: return drawing::SvgDiagram::Draw(diagram);
    case DrawFormat::kMermaid: return drawing::MermaidDiagram::Draw(diagram);
  }
  return {};
}

/// Draws a transaction: who called whom, when, and what came of it; from the top to the bottom. Texts of others
/// (gids, URLs, errors) are shown in one line, without control characters and without the passwords of URLs.
inline std::string Draw(const Timeline& story, DrawFormat format, const DrawOptions& options = {}) {
  return Draw(MakeDiagram(story), format, options);
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/text/base64.hpp -----------------------------------------------------------------------

/// Base64 of RFC 4648, standard alphabet, with padding: bytes as text.
/// Needs: std. Threads: pure functions. Source: RFC 4648 §4.

namespace dtm {
inline namespace v1 {
namespace base64 {

inline constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

inline std::string Encode(std::string_view bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    std::uint32_t group = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      const bool there = at + i < bytes.size();
      group = group << 8 | (there ? static_cast<unsigned char>(bytes[at + i]) : 0u);
    }
    for (std::size_t i = 0; i < 4; ++i) {
      const bool padding = at + i > bytes.size();
      text += padding ? '=' : kAlphabet[group >> (18 - 6 * i) & 63];
    }
  }
  return text;
}

/// Nothing if it is not valid.
inline std::optional<std::string> Decode(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  std::size_t padding = 0;
  while (padding < 2 && !text.empty() && text.back() == '=') {
    text.remove_suffix(1);
    ++padding;
  }
  std::string bytes;
  std::uint32_t group = 0;
  int bits = 0;
  for (const char c : text) {
    const std::size_t digit = kAlphabet.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    group = (group << 6 | static_cast<std::uint32_t>(digit)) & 0xFFFFu;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      bytes += static_cast<char>(group >> bits & 0xFFu);
    }
  }
  return bytes;
}

}  // namespace base64
}  // namespace v1
}  // namespace dtm

// ---- dtm/timeline/export.hpp -------------------------------------------------------------------

/// A transaction as one JSON document: its record and its journal, to be kept, sent to somebody, and replayed
/// (testing/incident.hpp). testing/incident/read_export.hpp does the opposite.
/// Needs: nlohmann/json. Threads: pure functions. Document: docs/export_format.md.

namespace dtm {
inline namespace v1 {

inline constexpr const char kExportFormat[] = "dtm-export";
inline constexpr int kExportVersion = 1;  ///< readers refuse a newer one

/// The options of the coordinator by which a replay waits as long as it did; 0: not known.
struct ExportSettings {
  Duration retry_interval{};
  Duration request_timeout{};
  std::chrono::seconds timeout_to_fail{0};

  /// Of Options; a template, since those are no business of this room.
  template <typename Options>
  static ExportSettings Of(const Options& options) {
    return {options.retry_interval, options.request_timeout, options.timeout_to_fail};
  }
};

/// kFull: all but the values of branch headers and passwords in URLs, which are never written.
/// kRedacted: besides without payloads, results, texts of errors and reasons, names of people and processes, names of headers,
/// and queries of URLs; what is left of them is how long they are. Gids, names of functions and branches, and paths of URLs stay.
enum class ExportContent { kFull, kRedacted };

namespace export_parts {

using Json = nlohmann::ordered_json;

inline constexpr const char kHidden[] = "***";

/// Leaves out what is empty, zero or false.
class Writer {
 public:
  Writer(const Timeline& story, ExportContent content)
      : transaction_(story.transaction),
        definition_(*story.transaction.definition),
        story_(story),
        redacted_(content == ExportContent::kRedacted) {}

  Json TransactionJson() {
    const Transaction& t = transaction_;
    Json json = DefinitionJson();
    json["status"] = Name(t.status);
    AddTime(json, "created", t.created);
    AddTime(json, "updated", t.updated);
    AddTime(json, "finished", t.finished);
    AddTime(json, "due", t.due);
    AddPrivate(json, "reason", t.reason);
    AddNumber(json, "reason_from", t.reason_from);
    AddPrivate(json, "result", t.result);
    AddPrivate(json, "last_error", t.last_error);
    AddNumber(json, "retry_count", t.retry_count);
    AddFlag(json, "stuck", t.stuck);
    AddFlag(json, "unreadable", t.unreadable);
    AddFlag(json, "expired", t.expired);
    Json rows = Json::array();
    for (std::size_t row = 0; row < t.branches.size(); ++row) rows.push_back(RowJson(row));
    json["rows"] = std::move(rows);
    return json;
  }

  Json JournalJson() {
    Json journal = Json::array();
    for (const JournalEntry& entry : story_.entries) journal.push_back(EntryJson(entry));
    return journal;
  }

 private:
  static void AddNumber(Json& json, const char* key, std::int64_t value) {
    if (value != 0) json[key] = value;
  }
  static void AddFlag(Json& json, const char* key, bool value) {
    if (value) json[key] = true;
  }
  static void AddTime(Json& json, const char* key, Time time) {
    if (time != Time{} && time != kNever) json[key] = TimeText(time);
  }

  /// Text as it is; other bytes as base64.
  static Json Bytes(const std::string& bytes) {
    if (IsUtf8(bytes)) return bytes;
    return {{"base64", base64::Encode(bytes)}};
  }
  static void AddText(Json& json, const char* key, const std::string& text) {
    if (!text.empty()) json[key] = Bytes(text);
  }
  Json Private(const std::string& bytes) const {
    if (!redacted_ || bytes.empty()) return Bytes(bytes);
    return {{"bytes", bytes.size()}};
  }
  void AddPrivate(Json& json, const char* key, const std::string& bytes) const {
    if (!bytes.empty()) json[key] = Private(bytes);
  }

  void AddUrl(Json& json, const char* key, const std::string& url) const {
    std::string shown = ShownUrl(url);
    const std::size_t query = shown.find('?');
    if (redacted_ && !IsLocal(url) && query != std::string::npos) {
      shown.replace(query + 1, std::string::npos, kHidden);
    }
    AddText(json, key, shown);
  }

  Json OptionsJson() const {
    const TransOptions& options = definition_.options;
    Json json = Json::object();
    AddFlag(json, "wait_result", options.wait_result);
    AddNumber(json, "timeout_to_fail", options.timeout_to_fail.count());
    AddNumber(json, "request_timeout", options.request_timeout.count());
    AddNumber(json, "retry_interval", options.retry_interval.count());
    AddNumber(json, "retry_limit", options.retry_limit);
    if (options.branch_headers.empty()) return json;
    Json headers = Json::object();
    for (const auto& header : options.branch_headers) {
      const std::string number = "header " + std::to_string(headers.size() + 1);
      headers[redacted_ || !IsUtf8(header.first) ? number : header.first] = kHidden;
    }
    json["branch_headers"] = std::move(headers);
    return json;
  }

  Json StepJson(const Step& step) const {
    Json json = Json::object();
    AddUrl(json, "action", step.action);
    AddUrl(json, "compensate", step.compensate);
    // The decision of a workflow is one of two words, and says how it goes on.
    const bool decision = definition_.type == TransType::kWorkflow && step.branch_id == kDecision;
    decision ? AddText(json, "payload", step.payload) : AddPrivate(json, "payload", step.payload);
    AddText(json, "branch_id", step.branch_id);
    AddText(json, "topic", step.topic);
    if (step.op != Op{}) json["op"] = Name(step.op);
    AddFlag(json, "failed", step.failed);
    return json;
  }

  Json DefinitionJson() const {
    const Definition& d = definition_;
    Json json = {{"gid", Bytes(d.gid)}, {"type", Name(d.type)}};
    AddFlag(json, "prepared_first", d.prepared_first);
    AddFlag(json, "concurrent", d.concurrent);
    AddFlag(json, "json_rpc", d.json_rpc);
    AddNumber(json, "delay", d.delay.count());
    AddUrl(json, "query_prepared", d.query_prepared);
    AddText(json, "workflow", d.workflow);
    AddPrivate(json, "data", d.data);
    if (!redacted_) AddText(json, "custom_data", d.custom_data);
    json["options"] = OptionsJson();
    if (!d.orders.empty()) {
      Json orders = Json::object();
      for (const auto& order : d.orders) orders[std::to_string(order.first)] = order.second;
      json["orders"] = std::move(orders);
    }
    Json steps = Json::array();
    for (const Step& step : d.steps) steps.push_back(StepJson(step));
    json["steps"] = std::move(steps);
    return json;
  }

  /// Which branch it is, for people; the reader compares.
  void AddBranch(Json& json, std::size_t row) const {
    if (row >= RowCount(definition_)) return;
    json["branch_id"] = BranchIdOf(definition_, row);
    json["op"] = Name(OpOf(definition_, row));
  }

  Json RowJson(std::size_t row) const {
    const Branch& branch = transaction_.branches[row];
    Json json = Json::object();
    AddBranch(json, row);
    json["status"] = Name(branch.status);
    AddNumber(json, "tries", branch.tries);
    AddNumber(json, "errors", branch.errors);
    AddFlag(json, "asked_when", branch.asked_when);
    AddTime(json, "next_try", branch.next_try);
    AddTime(json, "deadline", branch.deadline);
    AddTime(json, "finished", branch.finished);
    return json;
  }

  Json EntryJson(const JournalEntry& entry) {
    Json json = {{"time", TimeText(entry.time)}, {"kind", Name(entry.kind)}};
    if (entry.kind == JournalKind::kGap) {
      json["count"] = entry.row;
      return json;
    }
    if (entry.row != kNoRow) json["row"] = entry.row;
    AddBranch(json, entry.row);
    AddPrivate(json, "text", entry.text);
    AddText(json, "who", redacted_ ? Pseudonym(entry) : entry.who);
    return json;
  }

  /// "process 1" for each process, "person 1" for whoever asked for something; the same one is called the same.
  std::string Pseudonym(const JournalEntry& entry) {
    if (entry.who.empty()) return {};
    const bool process = entry.kind == JournalKind::kPrepared ||
                         entry.kind == JournalKind::kSubmitted ||
                         entry.kind == JournalKind::kTakenUp;
    std::map<std::string, std::size_t>& known = process ? processes_ : people_;
    const std::size_t number = known.emplace(entry.who, known.size() + 1).first->second;
    return (process ? "process " : "person ") + std::to_string(number);
  }

  const Transaction& transaction_;
  const Definition& definition_;
  const Timeline& story_;
  const bool redacted_;
  std::map<std::string, std::size_t> processes_, people_;
};

}  // namespace export_parts

/// The transaction as one JSON document of the version kExportVersion, UTF-8, with a line break at its end. `settings`: of the
/// coordinator that drove it, if they are known: ExportSettings::Of(tm.Settings()).
inline std::string Export(const Timeline& story, ExportContent content = ExportContent::kFull,
                          const ExportSettings& settings = {}) {
  using export_parts::Json;
  export_parts::Writer writer(story, content);
  Json json = {{"format", kExportFormat},
               {"version", kExportVersion},
               {"library", kVersion},
               {"redacted", content == ExportContent::kRedacted}};
  if (settings.retry_interval.count() > 0) {
    json["settings"] = {{"retry_interval_us", settings.retry_interval.count()},
                        {"request_timeout_us", settings.request_timeout.count()},
                        {"timeout_to_fail_s", settings.timeout_to_fail.count()}};
  }
  json["transaction"] = writer.TransactionJson();
  json["journal"] = writer.JournalJson();
  // All texts are UTF-8 by now.
  return json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace v1
}  // namespace dtm

// ---- dtm/dtm.hpp -------------------------------------------------------------------------------

/// Builders, the embedded coordinator, barriers and SQLite: what most programs include. No HTTP; that is
/// <dtm/http.hpp>.
/// Needs: nlohmann/json, SQLite (-lsqlite3), threads (-pthread). Threads: see each class.
