/// Generated from include/dtm/dtm.hpp by tools/amalgamate.py; do not edit. Declarations and templates: the rest is in
/// dtm.cpp, which is compiled once (CMake: dtm::compiled).
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include <nlohmann/json.hpp>

namespace dtm {
inline namespace v1 {
class Driver;
}  // namespace v1
}  // namespace dtm

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
std::string WhatWasThrown() noexcept;

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
std::size_t Utf8Length(const std::string& text, std::size_t at);

bool IsUtf8(const std::string& text);

/// FNV-1a, 64 bits: the same on every machine and in every version, so it may be stored.
class StableHash {
 public:
  void Add(unsigned char byte);
  void Add(std::string_view text);
  std::uint64_t Value() const;

 private:
  std::uint64_t value_ = 14695981039346656037U;
};

bool HasPrefix(std::string_view text, std::string_view prefix);

/// Without blanks and tabs at its ends.
std::string_view Trimmed(std::string_view text);

/// With A to Z in lower case; other letters stay.
std::string Lowered(std::string_view text);

/// Everything but RFC 3986's unreserved characters as %XX.
std::string PercentEncoded(std::string_view text);

/// Every %XX as its byte; what only looks like one stays.
std::string PercentDecoded(std::string_view text);

/// The url up to where one more `key=value` of its query goes.
std::string WithQueryOpen(std::string url);

std::string WithQuery(std::string url, const char* key, const std::string& value);

/// How deeply JSON is nested: its brackets outside of strings.
std::size_t JsonDepth(std::string_view text);

/// At most `max_bytes` of the text, cut between characters.
std::string_view Front(std::string_view text, std::size_t max_bytes);

/// The same.
std::string Truncated(std::string text, std::size_t max_bytes);

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
std::string Printable(const std::string& text);

/// As all dtm servers and barriers read a gid and its like: these characters would break queries and logs.
std::string CleanGid(std::string gid);

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
bool IsFinal(Status status);

/// dtm's own names, as used in sentences and on the wire.
const char* Name(TransType type);

/// As on the wire: "prepared", "submitted", "aborting", "succeed", "failed".
const char* Name(Status status);

/// As on the wire: "prepared", "succeed", "failed".
const char* Name(BranchStatus status);

/// As on the wire: "action", "compensate", ...
const char* Name(Op op);

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
  Barrier(std::string trans_type, std::string gid, std::string branch_id, std::string op);

  /// What it was made of: trans_type, gid, branch_id and op.
  const std::string& Type() const;
  /// See Type.
  const std::string& Gid() const;
  /// See Type.
  const std::string& BranchId() const;
  /// See Type.
  const std::string& Op() const;

  /// For sentences: saga gid 'g', branch 01, op action.
  std::string Who() const;

  /// For the tables: the number of the call that begins, "01", "02", ... A repeat of the request
  /// must number its calls in the same way, so after a call that did not commit there is no next one.
  /// @throws LogicError  one did not commit.
  std::string BeginCall();
  /// For the tables: the call did not commit.
  void Fail() noexcept;

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
Barrier BarrierFromQuery(const std::multimap<std::string, std::string>& query);

/// For a registered C++ function. (One whose rows are in its coordinator's own file needs no barrier:
/// Coordinator::RegisterInTransaction.)
/// @throws Error  a value is not valid, see Barrier.
Barrier BarrierFrom(const BranchInfo& info);

/// What the barriers of all databases share.
namespace barrier {

// The local step of a message, and the question whether it was committed.
inline constexpr const char kMsgOp[] = "msg";
inline constexpr const char kMsgBranch[] = "00";
inline constexpr const char kMsgNumber[] = "01";
/// The reason of a row that forbids the local step.
inline constexpr const char kRollback[] = "rollback";

/// The op that this op undoes, or "". Its row is written by the op that undoes it, and stops it if it comes late.
const char* OriginOf(const std::string& op);

enum class Decision {
  kRun,               ///< do the business, and commit it with the rows
  kNullCompensation,  ///< there is nothing to undo: commit the rows, return success
  kRepeated,          ///< done before, or undone before it came: return success
  kDuplicated         ///< the local step of a message came again: roll back, DuplicatedError
};

/// `origin_inserted`: the row of OriginOf(op) was not there before; false if there is no origin.
/// `own_inserted`: the row of `op` was not there before.
Decision Decide(const std::string& op, bool origin_inserted, bool own_inserted);

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
  SqliteError(const std::string& text, int code);
  /// The extended result code.
  int Code() const;
  int Primary() const;

 private:
  int code_;
};

/// A connection, opened without a mutex: its owner makes sure that one thread at a time uses it.
class Database {
 public:
  /// `uri`: how SQLite is to open the file, if not by its path.
  /// @throws SqliteError  it cannot be opened.
  Database(const std::string& path, int flags, const std::string& uri = {});
  /// Borrows a connection of the program: it is neither configured nor closed here.
  explicit Database(sqlite3* borrowed);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  sqlite3* Handle() const;
  const std::string& Path() const;
  int Changes() const;
  std::int64_t LastRow() const;
  bool InTransaction() const;

  /// Runs statements that return no rows of interest.
  void Exec(const char* text);

  /// Another file, or none, is at its path now.
  bool HasMoved() const;

  /// Copies the whole log into the file.
  /// @throws SqliteError  not all of it could be copied; a part of it does no harm.
  void CopyLog();

  /// From now on closing the connection leaves the log as it is: neither copied into the file nor removed.
  void KeepLog();

  /// @throws SqliteError  always: what happened, on which file, and what to do where that is known.
  [[noreturn]] void Fail(int code, std::string_view doing) const;

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

    bool operator!=(const State& other) const;
    /// Somebody copies at this moment, or died while it did.
    bool Copying() const;
  };

  /// The connection has read something, and outlives this.
  explicit LogIndex(const Database& database);

  State Now() const;

 private:
  static constexpr std::uint32_t kVersion = 3007000;  ///< of the index; it was never another

  const volatile std::uint32_t* words_ = nullptr;
};

/// A prepared statement. Binding does not copy: what is bound must live until Step returned.
class Statement {
 public:
  Statement(Database& database, std::string text);
  ~Statement();
  Statement(Statement&& other) noexcept;
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  Statement& operator=(Statement&&) = delete;

  Statement& Bind(int index, std::int64_t value);
  Statement& BindText(int index, std::string_view value);
  Statement& BindBlob(int index, std::string_view value);
  Statement& BindNull(int index);

  /// True while there is a row. After false the statement is ready to be bound again.
  bool Step();
  /// For a statement that returns at most one row: drops the rest.
  void Reset();

  std::int64_t Int(int column) const;
  std::size_t Bytes(int column) const;
  bool IsNull(int column) const;
  /// A text as UTF-8, whatever the encoding of the file; a blob as it is.
  std::string Text(int column) const;
  /// The same without a copy, until the next step.
  std::string_view View(int column) const;

 private:
  struct Resetter {
    sqlite3_stmt* handle;
    ~Resetter();
  };
  // A null pointer would bind NULL where an empty value is meant.
  static const char* Data(std::string_view value);
  Statement& Check(int code);

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
  explicit Exclusive(sqlite3* db);
  ~Exclusive();
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
  static Inside& WithoutMutex();

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
std::string Quoted(const std::string& table);

/// @throws LogicError  it is null.
sqlite3* NotNull(sqlite3* db);

}  // namespace barrier

/// Creates the table, with the same columns as dtm's, unless there is one with this name. `table`: up to
/// 64 letters, digits and _. (id stays NULL: as a key it would cost one more page write for each call. A
/// table in which it is a key works too. Rows are never updated, so update_time is NULL.)
/// A row may be deleted once no more calls with its gid can come; create_time (UTC) is for that.
/// @throws StoreError  the file cannot be written; nothing was changed.
void CreateBarrierTable(sqlite3* db, const std::string& table = "barrier");

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
  static Result Success();
  /// It can never be done, and had no effect: the transaction is rolled back.
  static Result Failure(std::string reason);
  /// It is not finished: call again after the retry interval.
  static Result Ongoing(std::string text = {});
  /// It may have run or not: call again, with growing waits.
  static Result Error(std::string text);
  /// It certainly did not run: try again later.
  static Result NotSent(std::string why);
  /// NotSent, since this program has nothing that can call it.
  static Result NoHandler(std::string why);
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
  bool Finished() const;
  /// Every step was done.
  bool Succeeded() const;
  /// It was rolled back, or stopped by a person.
  bool Failed() const;
};

/// The text of a FailureError about it.
std::string RolledBack(const TransResult& result);

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
  explicit SqliteBarrierTable(sqlite3* db, const std::string& table = "barrier");
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
  [[nodiscard]] Result QueryPrepared(const Barrier& barrier);

 private:
  template <typename Business>
  static constexpr void CheckBusiness() {
    static_assert(callable::Check<Business, sqlite3*>(),
                  "dtm: the business of a barrier takes the connection: [&](sqlite3* db)");
  }

  SqliteBarrierTable(const sql::Exclusive&, sqlite3* db, const std::string& table);

  /// Who begins and ends the transaction.
  enum class BegunBy { kCall, kProgram };

  /// Rolls back what a call did, unless Keep was called.
  class Undo {
   public:
    Undo(sql::Database& db, Barrier& barrier, BegunBy begun_by);
    ~Undo();
    Undo(const Undo&) = delete;
    Undo& operator=(const Undo&) = delete;
    void Begun();
    void Keep();

   private:
    void Run(const char* text);
    sql::Database& db_;
    Barrier& barrier_;
    const BegunBy begun_by_;
    bool begun_ = false;
    bool kept_ = false;
  };

  sql::Statement PrepareInsert();

  std::string Where(const Barrier& barrier) const;

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
              std::string_view number, std::string_view reason);

  /// Outside a transaction a savepoint begins one, and the insert that follows takes the write lock
  /// as BEGIN IMMEDIATE would. If the savepoint still exists at the end, the business has not ended it.
  void Begin(BegunBy begun_by);

  Result Run(Barrier& barrier, BegunBy begun_by, const std::function<Result()>& business);

  void CheckUse(const Barrier& barrier, BegunBy begun_by) const;

  void Commit(const Barrier& barrier, BegunBy begun_by);

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
const char* Unwritable(const nlohmann::json& value, std::string& place);

/// The JSON text; `what` names it in errors: "gid 'g': the payload of step 0".
/// @throws LogicError  it cannot be written, or only as something else.
std::string Text(const std::string& what, const nlohmann::json& value);

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
const std::string* FindBranchHeader(const TransOptions& options, std::string_view lower);

bool IsTraceHeader(const std::string& name);

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
  std::size_t UrlAndPayloadBytes() const;
};

inline constexpr const char kLocalPrefix[] = "local:";
inline constexpr std::size_t kLocalPrefixSize = sizeof(kLocalPrefix) - 1;

bool IsLocal(std::string_view url);

/// The names of functions that run inside the commit of their result begin with this. Without a result, such a function
/// has certainly had no effect.
inline constexpr const char kInTransactionPrefix[] = "tx/";

bool RunsInTransaction(std::string_view url);

/// What a recorded step of a workflow was, if it called no URL and no function. Empty: it was recorded without this (by an
/// earlier dtm or another client, or through the Go server, which does not keep it).
inline constexpr const char kOwnCode[] = "do:";
inline constexpr const char kNoCall[] = "none:";

/// The branch under which a workflow records its decision, before its first callback; its result is the name of
/// Op::kCommit or Op::kRollback.
inline constexpr const char kDecision[] = "00";

inline constexpr const char kTopicPrefix[] = "topic://";
inline constexpr std::size_t kTopicPrefixSize = sizeof(kTopicPrefix) - 1;

bool IsTopic(std::string_view url);

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
bool CallsFunctions(const Definition& definition);

/// The memory that it takes, including its rows in the record.
std::size_t BytesOf(const Step& step);
std::size_t BytesOf(const Definition& definition);

/// True if clients register its steps one after the other, while it is prepared.
bool RegistersSteps(TransType type);

/// True if it has a row "00" for a call of its initiator, before the rows of the steps.
bool HasQueryRow(TransType type);

/// The steps of a message as they were submitted: a topic is one, however many subscribers it has.
std::vector<std::pair<std::string, std::string>> SubmittedSteps(
    const Definition& definition);

/// Same content = the same transaction submitted again. Options and registered branches are not part
/// of it.
bool SameContent(const Definition& a, const Definition& b);

/// A hash of what SameContent compares, without the gid. It is stored, so it must never change; never 0.
std::uint64_t ContentHash(const Definition& definition);

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
  const TransResult& Get() const;
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
  virtual ~Endpoint();

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
std::string MustGenGid(Endpoint& endpoint);

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
  std::string Authority() const;
  /// `http://host:port`: calls with the same origin share connections and limits.
  std::string Origin() const;
  bool Tls() const;
  bool Http() const;
  int DefaultPort() const;
};

namespace url_parts {

/// Also makes it lower-case.
bool ValidHost(std::string& host, bool (*allowed)(char));

/// 1 .. 65535, or 0 if it is no port.
int Port(std::string_view text);

/// Path and query as they are; spaces and bytes beyond ASCII would break the request line.
std::string Target(std::string_view rest);

/// With "***" instead of what stands between `begin` and `at`.
std::string Hidden(std::string_view url, std::size_t begin, std::size_t at);

/// Where user and password stand, and the '@' behind them.
struct User {
  std::size_t begin = 0;
  std::size_t at = std::string::npos;  ///< npos: there are none
};
User FindUser(const std::string& url);

/// As Go reads it: the password may be missing, other characters than these are encoded.
bool Credentials(std::string_view text, std::string& credentials);

/// Where the credentials of something broken end is not known, so whatever they can be is hidden.
Error Refusal(const std::string& text, const char* what, const char* why);

inline constexpr const char kNoHttp[] = "does not start with http:// or https://";

}  // namespace url_parts

/// The url as it may be shown, stored as a text for people, or logged: without user and password.
std::string ShownUrl(const std::string& url);

/// Both call the same, as whoever it is.
bool SameCall(const std::string& url, const std::string& other);

/// The scheme in lower case; empty if there is none (RFC 3986, §3.1).
std::string SchemeOf(const std::string& url);

/// A URL of any scheme; whether somebody calls that is for UrlCallers to say.
/// @throws Error  a sentence that says what is wrong with `text`, which is `what`.
Url ParseUrl(const std::string& text, const char* what = "the branch URL");

/// @throws Error  as ParseUrl, also if it is no URL of http or https.
Url ParseHttpUrl(const std::string& text, const char* what = "the branch URL");

/// Empty, or a URL of http or https.
/// @throws LogicError
void CheckUrlOption(const char* name, const std::string& url);

/// Why nobody could call this branch, wherever: empty if it is a URL of any scheme, names a function or a topic, or is empty
/// (nothing to call).
std::string UrlProblem(const std::string& url);

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

std::string Url(const Endpoint&, const std::string&, NoBranch);

/// @throws LogicError  the function belongs to another coordinator.
template <typename T>
std::string Url(const Endpoint& endpoint, const std::string&, const LocalBranch<T>& branch) {
  return endpoint.UrlOfLocal(branch.name, branch.registered_with);
}

/// @throws LogicError     it is the name of a function instead of what Register returned, or a null pointer.
/// @throws RejectedError  it is not a URL that can be called.
std::string Url(const Endpoint&, const std::string& gid, const std::string& url);

/// @throws LogicError, RejectedError  as above, or it is null.
std::string Url(const Endpoint& endpoint, const std::string& gid, const char* url);

/// The JSON text of a payload; `where` names its branch in errors.
/// @throws LogicError  JSON cannot hold it.
std::string Text(const std::string& gid, const std::string& where,
                        const nlohmann::json& payload);

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
  Msg(Endpoint& endpoint, std::string gid);

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
  Msg& SetDelay(std::chrono::seconds delay) &;
  Msg SetDelay(std::chrono::seconds delay) &&;

  /// Calls all branches at once, instead of one after the other.
  Msg& SetConcurrent() &;
  Msg SetConcurrent() &&;

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
  TransResult Submit() const;

  /// Submit, then waits up to `timeout` for the end (Duration::max(): for ever): the returned status is unfinished if that did
  /// not come.
  /// @throws as Submit, but a message that was aborted is returned, not thrown.
  [[nodiscard]] TransResult SubmitAndWait(Duration timeout) const;

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
  const std::string& Gid() const;
  /// What Submit gives to the coordinator.
  const Definition& Content() const;

 private:
  friend class OptionSetters<Msg>;
  TransOptions& MutableOptions();

  Msg& AddStep(std::string url, const nlohmann::json& payload);

  /// A refusal says "nothing was changed". That would be false here: the local transaction is committed.
  TransResult SubmitCommitted() const;

  Result AskInitiator(const BranchInfo& info) const;

  /// If this does not reach the coordinator, the coordinator asks the initiator later.
  void Abort(const std::string& reason) const;

  Endpoint* endpoint_;
  Definition definition_;
};

/// A message for `endpoint`, a Coordinator or a RemoteCoordinator, which must outlive the builder.
Msg NewMsg(Endpoint& endpoint, std::string gid);
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
  Saga(Endpoint& endpoint, std::string gid);

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
  Saga& AddBranchOrder(int step, std::vector<int> after) &;
  Saga AddBranchOrder(int step, std::vector<int> after) &&;

  /// Starts all steps at once, except for the orders of AddBranchOrder.
  Saga& SetConcurrent() &;
  Saga SetConcurrent() &&;

  /// Gives the saga to the coordinator. Returns once it is durable there, not once it has run (with SetWaitResult:
  /// once it has ended or must wait, after 6 s at the latest). May be repeated: the same saga never runs twice.
  /// @throws InDoubtError   there was no answer; the saga may be stored. Submit again.
  /// @throws RejectedError  a limit, or the gid exists with other content; nothing was stored.
  /// @throws FailureError   the saga of this gid was rolled back.
  /// @throws StoreError     the coordinator could not store it; nothing was stored.
  /// Cost: one commit, shared with everything else that is submitted at that moment.
  TransResult Submit() const;

  /// Submit, then waits up to `timeout` for the end; Duration::max(): for ever.
  /// @return succeed, failed (with the reason) or, at the timeout, the unfinished status.
  /// @throws as Submit, but a saga that was rolled back is returned, not thrown.
  [[nodiscard]] TransResult SubmitAndWait(Duration timeout) const;

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
  const std::string& Gid() const;
  /// What Submit gives to the coordinator.
  const Definition& Content() const;

 private:
  friend class OptionSetters<Saga>;
  TransOptions& MutableOptions();

  Endpoint* endpoint_;
  Definition definition_;
};

/// A saga for `endpoint`, a Coordinator or a RemoteCoordinator, which must outlive the builder.
Saga NewSaga(Endpoint& endpoint, std::string gid);
Saga NewSaga(Endpoint&& endpoint, std::string gid) = delete;

}  // namespace v1
}  // namespace dtm

// ---- dtm/core/rows.hpp -------------------------------------------------------------------------

/// The rows of a transaction: which step and operation each stands for, and what is called for it.
/// Needs: std. Threads: pure functions. Protocol: §1 (branch ids, operations), §4 (rows).

namespace dtm {
inline namespace v1 {

/// Rows of a saga, tcc or xa.
std::size_t CompensateOf(std::size_t step);
std::size_t ActionOf(std::size_t step);

/// Rows of a message or workflow.
inline constexpr std::size_t kQueryRow = 0;
std::size_t DeliveryOf(std::size_t step);

std::size_t RowCount(const Definition& definition);
/// The step of a row that is not the query row.
std::size_t StepOf(TransType type, std::size_t row);

Op OpOf(TransType type, std::size_t row);
Op OpOf(const Definition& definition, std::size_t row);

/// "01", "02", ... "99", "100": two digits, 1-based.
std::string NumberOf(std::size_t step);
std::string BranchIdOf(const Definition& definition, std::size_t row);

/// The row that is called by this branch id and operation; nothing: there is none.
std::optional<std::size_t> RowOf(const Definition& definition, const std::string& branch_id,
                                        Op op);

const std::string& UrlOf(const Definition& definition, std::size_t row);

const std::string& PayloadOf(const Definition& definition, std::size_t row);

/// After steps were registered: adds a row for each, with the recorded status.
void AddMissingRows(Transaction& transaction);

/// Whether the row may be called in this status: while prepared, the question to the initiator; then the actions, or
/// the compensations.
bool HasItsTurn(const Transaction& transaction, std::size_t index);

BranchInfo InfoOf(const Definition& definition, std::size_t row);

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
  explicit SubBranches(std::string parent = {});

  /// @throws LogicError  more than 99, or nested too deep.
  std::string Next();

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
std::string BodyOf(const Result& result, const std::string& what);

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
  const std::string& Gid() const;

 protected:
  /// `parent`: the branch below which the new ones are; empty: there is none.
  GlobalTransaction(Endpoint& endpoint, std::string gid, TransOptions options,
                    std::string parent = {});

  /// A call of this transaction; its URL and payload are still empty.
  InitiatorCall NewCall(TransType type, std::string branch_id, Op op) const;

  /// Makes the call and returns the body of its reply. `what`: "the try", for the sentence of an error.
  /// @throws as BodyOf.
  std::string Call(const InitiatorCall& call, const char* what) const;

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
  Tcc(Endpoint& endpoint, std::string gid, TransOptions options);

  /// Inside a try, to have branches below it. `caller` is what the try was called with; `options` are for the calls of
  /// its own tries (request_timeout, branch_headers).
  Tcc(Endpoint& endpoint, const BranchInfo& caller, TransOptions options = {});

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

  WorkflowLedger(Endpoint& endpoint, std::string gid, const WorkflowState& state);

  /// Does `work` and records its result, or returns the recorded result. `step` identifies it: branch_id, op, action
  /// and topic.
  /// @throws FailureError  it failed, now or before. BeyondLimit: it was done, but its result cannot be kept; that is
  /// recorded, so it is not done again.
  /// @throws LogicError    something else is recorded: see Refuse.
  /// @throws what `work` threw, and then nothing is recorded.
  std::string Take(Step step, const Work& work);

  /// From now on no step begins and the workflow fails, even if the function catches the exception.
  [[noreturn]] void Doom(const std::string& why);

  /// The function has returned `result`.
  /// @throws BeyondLimit  a limit was met.
  void CheckKept(const std::string& result);

  /// The function has ended. Everything recorded must have been replayed, and callbacks that have begun must belong to
  /// this decision. `callbacks`: the branches that have one for it.
  /// @throws LogicError  see Refuse.
  void Decide(bool succeeded, const std::set<std::string>& callbacks);

  /// @throws LogicError  this run was refused, but the function ignored that.
  void CheckNotRefused();

 private:
  using Key = std::pair<std::string, Op>;

  void CheckDecision(bool succeeded, const std::set<std::string>& callbacks);

  [[noreturn]] void RefuseDecision(const Step& step, bool succeeded);

  std::optional<std::string> Before(const Step& step);

  /// Once a decision is recorded, there can be no new steps.
  void CheckUndecided(const Step& step);

  /// Why the result cannot be recorded; empty if it can.
  std::string Unkept(const Step& step);

  void Record(const Step& step);

  /// From now on this run does and undoes nothing, even if the function catches the exception.
  [[noreturn]] void Refuse(const std::string& why);
  void CheckRefused() const;

  static std::string Named(const Step& step);
  static std::string What(const Step& step);

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
  Workflow(Endpoint& endpoint, std::string gid, const WorkflowState& state);
  Workflow(const Workflow&) = delete;
  Workflow& operator=(const Workflow&) = delete;

  /// The next branch, "01", "02", ...: it has at most one step (Do or Call), one OnRollback and one OnCommit. Its name is
  /// recorded with them; it is the only thing that tells steps of own code (Do) apart.
  /// @throws BeyondLimit  more than 400: the workflow is rolled back.
  /// @throws LogicError   in a callback; a name of more than 128 bytes, or not UTF-8.
  WorkflowBranch NewBranch(std::string name = {});

  /// As given to Execute.
  const std::string& Gid() const;

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
                      const std::string& payload) const;

  void Keep(std::vector<Undo>& list, Step step, Callback callback);

  /// A branch that failed did nothing, so it needs no undo.
  void ForgetRollbackOf(const std::string& branch_id);

  /// In reverse order of registration. A callback has to succeed in the end: if it throws, the run is repeated.
  void RunCallbacks(bool succeeded);

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
  WorkflowBranch(Workflow& workflow, std::string id, std::string name);

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
  const std::string& Id() const;

 private:
  struct Target {
    std::string what;  ///< as recorded; the url by which a function is called may change
    std::string url;
    std::string payload;
  };

  Step StepOf(Op op, std::string what) const;

  std::string Where() const;

  std::string RunStep(const std::string& what, const std::function<std::string()>& work);

  WorkflowBranch& Keep(Op op, std::string what, Workflow::Callback callback);

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
  Xa(Endpoint& endpoint, std::string gid, TransOptions options);

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
Duration SinceBoot();

/// Fills `size` bytes (at most 256) with unpredictable random ones.
/// @throws Error  the system gives none.
void FillRandom(void* bytes, std::size_t size);

/// How many descriptors this process may have open.
std::size_t MaxOpenFiles();

std::string LastErrorText();

/// Waits until the descriptor can be read, or (`writing`) also if it can be written, or has an error or its end. False: not
/// within `limit` (up to 1 day); it is looked at once in any case.
bool WaitFor(int descriptor, bool writing, Duration limit);

/// "host:1234", a name of this process for people.
std::string HostAndProcess();

/// An absolute name of the same file, without symbolic links of folders, so that it stays valid after a chdir or when such
/// a link changes. Returned unchanged if the folder does not exist; opening the file then says why.
std::string FullPath(const std::string& path);

/// Identifies a file and its state: two stamps differ if it is another file or was written to.
struct FileStamp {
  dev_t device = 0;
  ino_t number = 0;
  off_t bytes = 0;
  time_t seconds = 0;  ///< when it was last written
  long nanoseconds = 0;
  bool plain = false;  ///< no link, folder, pipe or device

  bool SameFile(const std::optional<FileStamp>& other) const;
  bool SameContent(const FileStamp& other) const;
};

/// Nothing if there is no file, or it may not be looked at. A link is not followed.
std::optional<FileStamp> StampOf(const std::string& path);

/// Creates the file for its owner only (0600) if it does not exist. An existing file is checked without opening it:
/// closing a descriptor of it would release the locks that this process holds on it through SQLite.
/// @throws StoreError  it cannot be created or written, is a symbolic link, or is not a plain file.
void EnsurePrivateFile(const std::string& path);

/// Follows the forks of this process. There is one state for the process, since fork handlers take no context and cannot be
/// removed; it counts the forks after its first use.
class Forking {
 public:
  /// The number of forks between the process that asked first and this one; it differs between a child and its parent.
  static unsigned Generation();

  /// Closes this descriptor in forked children: otherwise its lock or port would live on in a child after this process has
  /// died. Close it with Close. Without memory to note it, it is closed here at once. `name`: for Inherited.
  static void CloseInChildren(int file, const std::string& name = {});
  static void Forget(int file);
  /// Does nothing in a forked child, where it is closed already.
  static void Close(int file);
  /// True if a descriptor of that name was open in a parent of this process when it forked.
  static bool Inherited(const std::string& name);

 private:
  struct State {
    State();
    std::atomic<unsigned> generation{0};
    std::mutex mutex;
    std::map<int, std::string> files;
    std::multimap<int, std::string> inherited;  // closed here
  };
  static State& Get();
  static void BeforeFork();
  static void AfterFork();
  static void InChild();
};

/// A descriptor that is readable between Signal and Clear: for epoll, poll and the like.
class EventFd {
 public:
  /// @throws Error  the system has no free descriptor.
  EventFd();
  ~EventFd();
  EventFd(const EventFd&) = delete;
  EventFd& operator=(const EventFd&) = delete;

  int Get() const;
  void Signal() const;
  void Clear() const;

 private:
  int fd_;
};

/// An exclusive lock on `path`, held until it is destroyed or the process ends. A forked child does not share it, and
/// cannot take it later either: SQLite, which it guards, would still have the parent's state there. Two locks on one
/// file exclude each other even in one process.
class FileLock {
 public:
  /// @throws StoreError  it is held elsewhere, was held by a parent when it forked this process, or the file cannot be opened.
  explicit FileLock(const std::string& path);
  /// Closing alone would not release it while a forked child still has the descriptor, before its exec or fork handler.
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

  /// False: the file was removed or replaced, so that somebody else may hold the lock of its name.
  bool AtItsPath() const;
  /// A cheaper check: the file was removed.
  bool Removed() const;

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
const char* Name(JournalKind kind);

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

bool operator==(const JournalEntry& a, const JournalEntry& b);

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
bool IsAttempt(JournalKind kind);

/// Which entries of a journal stay. An attempt is one call: that it started, and what came of it; or a registration.
class JournalFold {
 public:
  JournalFold(const std::vector<JournalEntry>& entries, std::size_t history);

  /// To be asked of each entry, once, in their order.
  bool Keeps(std::size_t i);

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

  std::size_t AttemptOf(const JournalEntry& entry);

  /// One that has no end yet stays: its end will belong to it. One that will never have an end goes before the later ones
  /// of its row do, so that no end of theirs is taken for its own.
  void MarkKept(std::size_t history);

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
void FoldJournal(std::vector<JournalEntry>& entries, std::size_t history);

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

  bool IsSearch() const;
};

struct ScanPage {
  std::vector<Transaction> transactions;  ///< newest first
  std::int64_t next = 0;  ///< position of the next page, which may be empty; 0 = there is none
};

/// Nothing will wake it: an invariant is broken, or (in a shared store) it waits for a coordinator of another app.
bool IsStuck(const Transaction& transaction);

/// One of its calls goes to `target`, or to something whose name contains it.
bool CallsTarget(const Definition& definition, const std::string& target);

/// What a stored definition contains if it calls `target`: a shown URL has stars instead of its credentials.
std::string StoredPartOf(const std::string& target);

bool Matches(const ScanFilter& filter, const Transaction& transaction);

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

KeptGid KeptOf(const Transaction& transaction);

Transaction RecordOf(const KeptGid& kept);

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
  NotAllExpired(const std::string& text, std::int64_t next_id);
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
  virtual ~Lease();
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
  virtual ~Store();

  /// What it is, for people and metrics. Any thread.
  virtual const char* Kind() const = 0;

  // Who drives what. A store that one coordinator has for itself keeps to what is here.

  /// This coordinator's number among those that share the store: what it writes is its own from then on, whoever owned it
  /// before, and another's change of it is left out. Never given again; only Recover changes it. 0: it has the store for
  /// itself, or (in a record) nobody has taken it up yet.
  virtual std::uint64_t Owner() const;

  /// The lease on what is ours: a call begins only while it holds. Only Recover changes it. Null: for ever.
  virtual std::shared_ptr<const Lease> OurLease() const;

  /// How often something has come to be ours that the owner thread has not written, or we were fenced: then Due has more to
  /// tell. Any thread. `changed` is called by some thread after each, until Leave has returned; it comes before the first turn.
  virtual std::uint64_t Takeovers() const;
  virtual void OnTakeover(const std::function<void()>& /*changed*/);

  /// The others on the store. Null: this coordinator has it for itself, and the store runs works.
  virtual Peers* Shared();
  /// The time that all coordinators on the store agree on, whatever their machines' clocks say. Nothing: it is not shared. Any
  /// thread.
  virtual std::optional<Time> SharedTime() const;
  /// `tell` is called by some thread, until Leave has returned, with the reason when the others cannot hear any more that this
  /// coordinator lives, and with an empty text when they can. It comes before the first turn.
  virtual void OnSilence(const std::function<void(const std::string& why)>& /*tell*/);
  /// Nothing: it is not shared. Any thread.
  virtual std::optional<SharingCounts> CountSharing() const;

  /// The coordinator has stopped, and writes no more: another one may take over what is unfinished at once. Reading goes on.
  virtual void Leave() noexcept;

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
  virtual ~Clock();
  virtual Time Now() = 0;
  /// Waits for a notification, or until `until`; may return earlier. A virtual clock lets time pass
  /// instead.
  virtual void Wait(std::condition_variable& condition, std::unique_lock<std::mutex>& lock,
                    Time until) = 0;
};

/// The wall clock at construction plus the boot time since then: jumps of the wall clock change nothing.
class SystemClock : public Clock {
 public:
  SystemClock();

  Time Now() override;

  void Wait(std::condition_variable& condition, std::unique_lock<std::mutex>& lock,
            Time until) override;

 private:
  Time start_;
  Duration since_boot_;
};

/// Of a store that several coordinators share: it is the same for all of them.
class StoreClock : public SystemClock {
 public:
  /// `store` outlives it.
  explicit StoreClock(const Store& store);
  Time Now() override;

 private:
  const Store& store_;
};

/// The clock of a coordinator on this store.
std::unique_ptr<Clock> ClockOf(const Store& store);

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

  bool Sampled() const;
};

namespace trace {

bool IsHex(std::string_view text);
bool IsZero(std::string_view text);

bool IsKey(std::string_view key);
bool IsValue(std::string_view value);

/// 16 hexadecimal digits.
std::string Hex(std::uint64_t number);

/// Each bit of the number changes about half of the bits.
std::uint64_t Mixed(std::uint64_t number);

/// The same in every process and after every restart, so it must never change; never 0.
std::uint64_t HashOf(std::string_view salt, const std::string& gid);

}  // namespace trace

/// Whether a tracestate is one; an invalid one is not passed on. Blanks around its members are allowed.
bool IsTraceState(std::string_view text);

/// Nothing: `parent` is no valid traceparent, so it counts as if it were not there, and so does `state`. An invalid state
/// alone is left out.
std::optional<TraceContext> ReadTraceContext(std::string_view parent,
                                                    std::string_view state);

/// The value of a traceparent, in version 00.
std::string TraceParent(const TraceContext& context);

/// What a transaction was submitted with.
std::optional<TraceContext> TraceContextOf(const TransOptions& options);

/// The trace of a transaction whose spans are told, and as the parent its own span. Without a trace from outside one begins
/// with it. Both follow from the gid, so they are the same after a restart.
TraceContext OwnTrace(const std::string& gid, const TransOptions& options);

/// The id of the trace of a transaction; `spans`: they are told. Empty: it has none.
std::string TraceIdOf(const Definition& definition, bool spans);

/// Tells a branch in which trace it is.
void Put(const TraceContext& context, BranchInfo& info);

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
  std::uint64_t Next();

 private:
  void Begin();
  std::atomic<std::uint64_t> state_{0};
};

/// The trace that a call tells its branch, where it is a span itself or not (null).
std::optional<TraceContext> ContextOfCall(const std::string& gid,
                                                 const TransOptions& options,
                                                 const CallSpan* span);

namespace span_parts {

Span In(const TraceContext& context, const Definition& definition);

const char* Outcome(Result::Kind kind);

}  // namespace span_parts

/// Of a call with its result. The payload that a success may have as its text is not told.
Span SpanOf(const Definition& definition, std::size_t row, const CallSpan& call,
                   const Result& result, Time end);

/// Of a transaction that has ended. Its id follows from the gid, since its attempts may be made by several processes.
Span SpanOf(const Transaction& transaction);

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
  bool MayBegin() const;

  const std::string& Url() const;
  const std::string& Payload() const;
  BranchInfo Info() const;
  /// What the branch is told of the trace; nothing: it belongs to none.
  std::optional<TraceContext> Trace() const;
};

/// It certainly did not begin; it is tried again as soon as the coordinator may make calls again.
Result LeaseOver();

/// A call that an initiator makes itself, in the form for a BranchCaller. `coordinator`: the url that the branch is
/// told.
BranchCall ToBranchCall(const InitiatorCall& direct, const std::string& coordinator,
                               Duration default_timeout);

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
  virtual ~BranchResults();
  virtual void Done(BranchCall call, Result result) = 0;

  /// Between these two, results of this thread do not wake the coordinator; EndBurst wakes it once for all of them. For a
  /// thread that gets many at a time. It must not wait for anything meanwhile.
  virtual void BeginBurst();
  virtual void EndBurst();
};

class BranchCaller {
 public:
  virtual ~BranchCaller();

  /// The schemes of the URLs that it calls, in lower case: Coordinator::Use gives it the calls with these.
  virtual std::vector<std::string> Schemes() const;

  /// Starts the calls and returns without waiting for them. Every call gets exactly one result: LeaseOver if it may not
  /// begin (MayBegin) when it could; NotSent if it is a URL call that is not sent within `call.timeout - call.late` from now;
  /// once sent, a result within another `call.timeout`. Never throws.
  virtual void Call(std::vector<BranchCall> calls, BranchResults& results) = 0;

  /// The present load. Any thread.
  virtual CallLoad Load();

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
std::uint64_t OwnerForApp(const std::string& app);
bool WaitsForApp(std::uint64_t owner);

class Peers {
 public:
  virtual ~Peers();

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
void MeasureStore(Gauges& gauges, Store& store, Time now);

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
Event EventOf(const Transaction& transaction, const JournalEntry& entry,
                     bool spans = false);

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
const char* Name(LogLevel level);

/// One line of the log.
struct LogLine {
  LogLevel level = LogLevel::kInfo;
  std::string text;      ///< a sentence, which names the gid too
  std::string gid;       ///< empty: it is not about one transaction
  std::string trace_id;  ///< of the trace to which that belongs; empty: none
};

/// The log that Options have by default: a line to standard error.
void LogToStderr(LogLevel level, const std::string& text);

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
  LogFunction(std::nullptr_t);  // NOLINT(google-explicit-constructor): as of a std::function
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
  explicit operator bool() const;
  /// Only if it is not empty.
  void operator()(const LogLine& line) const;
  /// A line without gid and trace; the same.
  void operator()(LogLevel level, const std::string& text) const;

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
bool TellsEntries(const Options& options);

/// One line: control characters, which texts of others may contain, are replaced. Ignores exceptions of the log.
/// `about`: a transaction that the line is about, or null.
void LogTo(const Options& options, LogLevel level, const std::string& text,
                  const Definition* about = nullptr);

/// Inside a `catch (...)`: `what` failed, and why.
void LogFailure(const Options& options, const char* what) noexcept;

/// @throws LogicError  an option is out of range, or is not a URL where it must be one.
const Options& CheckedOptions(const Options& options);

/// As people and other coordinators call the one with these options.
NodeName NodeOf(const Options& options);

/// The parts of `max_memory_bytes`: for active transactions, for what waits to be stored, for pages of the file.
std::size_t ActiveBytes(const Options& options);
std::size_t InboxBytes(const Options& options);
/// Small definitions that have ended are freed later and do not count; so many of them at a time.
inline constexpr std::size_t kSmallBytes = 4096;
std::size_t MostEnded(const Options& options);
std::size_t CacheBytes(const Options& options);

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
  explicit Caller(const BranchCall& call);
  explicit Caller(const BranchInfo& info);
  BranchInfo Info() const;

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
std::string NameTaken(const std::string& name);

/// The result of a call whose function is not registered in this program: it waits until it is.
Result NotRegistered(const BranchCall& call);

}  // namespace v1
}  // namespace dtm

// ---- dtm/core/in_words.hpp ---------------------------------------------------------------------

/// Sentences about a transaction: which branch it was, and which one gave the reason of a rollback.
/// Needs: std. Threads: pure functions.

namespace dtm {
inline namespace v1 {

/// "branch 02 action http://bank-b/TransIn"
std::string BranchInWords(const Definition& definition, std::size_t row);

/// The branch that gave the reason of the rollback, in words; empty if it was not a branch.
std::string ReasonFrom(const Transaction& transaction);

TransResult ResultOf(const Transaction& transaction);

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/parts/answers.hpp ---------------------------------------------------------

/// How callers get their answers: exactly once, whatever happens.
/// Needs: std. Threads: any, one at a time for each.

#include <future>
#include <new>

namespace dtm {
inline namespace v1 {

/// The promise of an answer to a caller. Once the inbox has taken it, it is kept even if it is dropped (because no memory
/// was left): then the answer is that the outcome is in doubt.
class Promise {
 public:
  Promise() = default;  ///< nobody wants an answer
  Promise(Promise&& other) noexcept;
  Promise& operator=(Promise&& other) noexcept;
  /// Of a promise that the inbox has not taken yet.
  Promise& operator=(AnswerCallback callback);
  ~Promise();

  /// Not answered yet.
  bool Open() const;
  void Bind();
  /// Gives the answer, unless it was given. Exceptions of the callback are ignored.
  void Keep(const Answer& answer) noexcept;

  /// The answer if there is no memory for a better one. It is made at the first call.
  static const std::exception_ptr& InDoubt();

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
std::exception_ptr GoesOn(const TransResult& result) noexcept;

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

  void WaitForResult(Time now);

  /// Answers in the form that was promised.
  void Give(TransResult result);
  void Refuse(const std::exception_ptr& error);
  /// Answers with the record as it is stored now.
  void GiveStatusOf(const Transaction& stored);
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
  static void Fulfil(std::promise<Answer>& promise, const Answer& answer);
  static std::exception_ptr Rejected(const std::string& why);
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

  bool Empty() const;
  void Clear();
};

class Inbox : public BranchResults {
 public:
  /// `on_wake`: see Options.
  Inbox(std::size_t max_submissions, std::size_t max_bytes, std::function<void()> on_wake = {});

  /// False: too many submissions are waiting, or too many bytes of them, or the inbox is closed; nothing was taken.
  bool Push(Submission submission);
  bool Push(QueuedWork work);
  /// False: the inbox is closed.
  bool Push(Command command);
  /// A lost result would be expected for ever, so without memory this waits until there is some.
  void Done(BranchCall call, Result result) override;

  /// One thread at a time has a burst; what other threads push meanwhile wakes the loop as usual.
  void BeginBurst() override;
  void EndBurst() override;

  /// Swaps all that has arrived into `mail`, which must be empty except for `ended`; its memory is used again.
  /// What was taken still counts as bytes until DoneWithTaken.
  void Take(Mail& mail);
  /// The submissions that were taken are now in the active table, in the store, or refused.
  void DoneWithTaken();

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
  bool FallAsleep(Time until);
  /// The poller is awake again.
  void WokeUp();
  /// There is something to do at `time`, even if nothing arrives.
  void WakeBefore(Time time);

  bool Empty();

  /// Makes Wait check its condition again.
  void Interrupt();

  /// From now on only results are taken.
  void Close();
  bool Closed();

 private:
  bool Keep(ArrivedResult& arrived);

  bool InBurst() const;
  void Came(std::unique_lock<std::mutex>& lock);

  /// Wakes the thread that waits; releases the lock first, since on_wake is code of the program.
  void Arrived(std::unique_lock<std::mutex>& lock);

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
  void Add(Duration time);

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
    bool operator<(const Branch& other) const;
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
  void Committed(Duration took);

  /// For the coordinator: the end of this transaction is durable.
  void Ended(const Transaction& transaction);

  /// For the coordinator: that somebody skipped a branch is durable.
  void Repaired(TransType type);

  /// For the coordinator: the result of a call of this row is durable.
  void GotResult(const Definition& definition, std::size_t row, const Result& result);

  /// The counters now.
  Snapshot Get() const;

 private:
  /// Branches are named by their row, which bounds the number of names.
  static Branch KeyOf(TransType type, std::size_t row, bool ok);

  static constexpr std::size_t kMaxSlots =
      4 * 99;  ///< 198 rows: 99 steps of a saga, 197 of a message

  mutable std::mutex mutex_;
  Snapshot snapshot_;
  std::array<std::vector<std::uint64_t>, 6> answers_;  ///< by type; per row: failed, succeeded
};

}  // namespace v1
}  // namespace dtm

// ---- dtm/core/validate.hpp ---------------------------------------------------------------------

/// Refuses a definition that could not be carried out, before anything is stored.
/// Needs: std. Threads: pure function. Protocol: §2.1, §4.1; the limits also hold in process.

namespace dtm {
inline namespace v1 {

/// @throws BadInput  `problem` is one, and that of this gid.
void RefuseOf(const std::string& gid, const std::string& problem);

std::string GidProblem(const std::string& gid);

/// Steps in a cycle of orders would never run. Kahn's algorithm over the steps.
std::string OrdersProblem(const Definition& definition);

/// Empty, or why it cannot be prepared, besides Problem.
std::string PrepareProblem(const Definition& definition);

/// Empty, or why it cannot be submitted, besides Problem.
std::string SubmitProblem(const Definition& definition);

/// @throws LogicError  a workflow cannot end with this status.
void CheckEnd(Status status);

/// Empty, or why this branch cannot be registered with any transaction of that gid and type.
std::string RegistrationProblem(const std::string& gid, TransType type, const Step& step);

/// @throws RejectedError  it is no URL of http or https, so this program cannot make the call without its coordinator.
void CheckCallable(const InitiatorCall& call);

namespace limit {

/// "gid 'x': the payload of step 3 has 300000 bytes; the limit is 262144"
std::string Above(const std::string& gid, const std::string& what, std::size_t is,
                         std::size_t most);

std::string AboveSteps(const std::string& gid, std::size_t count);

/// Checks the limit of the whole transaction.
std::string AboveBytes(const Definition& definition, std::size_t more);

}  // namespace limit

/// A function could never read it. Each level takes a byte at least, so most payloads are not looked at.
bool TooDeep(const std::string& json);

/// Empty, or why this cannot be the `index`-th step of such a transaction, counted from 0.
std::string StepProblem(const Definition& definition, const Step& step, std::size_t index);

/// Empty, or why this step cannot be added at the end.
std::string AddedStepProblem(const Definition& definition, const Step& step);

/// Empty if the definition can be carried out, else the sentence that says why not.
std::string Problem(const Definition& definition);

std::string NothingToResume(const std::string& gid);

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
std::vector<Subscriber> Parse(const KeyValue& stored);

KeyValue ToStore(const std::string& topic, const std::vector<Subscriber>& subscribers,
                        Time now);

/// Empty, or why this subscription is refused.
std::string Problem(const std::string& topic, const std::string& url,
                           const std::string& remark);

/// What a change makes of the stored value of a topic; none: there is no such topic. After a failure nothing is to be stored.
using Change = std::function<Result(std::optional<KeyValue>& stored, Time now)>;

/// @throws StoreError  the stored list is damaged.
Result Subscribe(std::optional<KeyValue>& stored, const std::string& topic,
                        const Subscriber& subscriber, Time now);

/// The url of the subscriber that is meant, as the text of a success: the one that is given; else that of the only subscriber
/// whom lists show like that, since they show no user and password.
Result UrlMeant(const std::vector<Subscriber>& all, const std::string& topic,
                       const std::string& url);

/// @throws StoreError  the stored list is damaged.
Result Unsubscribe(std::optional<KeyValue>& stored, const std::string& topic,
                          const std::string& url, Time now);

Result Delete(std::optional<KeyValue>& stored, const std::string& topic);

/// Makes the change in the open batch.
/// @throws StoreError  as the store does, or the stored list is damaged.
Result ChangeIn(Store& store, const std::string& topic, const Change& change, Time now);

/// The present subscribers of a topic; none if there is no such topic.
std::vector<Subscriber> Subscribers(Store& store, const std::string& topic);

bool HasTopics(const Definition& message);

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
bool Expand(Definition& message, Store& store);

/// @throws BadInput       it can never be carried out.
/// @throws RejectedError  it cannot be carried out with the present subscribers of its topics.
void CheckAndExpand(Definition& definition, Store& store);

/// Refuses what only a repeat, or the submit of a prepared message, may have: a topic without subscribers, or orders for
/// steps that are not given.
/// @throws RejectedError, BadInput
void CheckNew(const Definition& definition);

}  // namespace topics
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
char* PutNumber(char* at, std::uint64_t value);

/// Appends numbers as LEB128 and texts as length and bytes.
class Writer {
 public:
  explicit Writer(std::string& out);
  void Byte(std::uint8_t value);
  void Number(std::uint64_t value);
  void Text(std::string_view text);

 private:
  std::string& out_;
};

/// Reads the same, and never beyond the end.
/// @throws StoreError  the bytes are not of this format.
class Reader {
 public:
  explicit Reader(std::string_view bytes);
  std::uint8_t Byte();
  std::uint64_t Number();
  std::string Text();
  /// A count of things that take at least one byte each, so a damaged count cannot request much
  /// memory.
  std::size_t Count();
  bool AtEnd() const;
  void ExpectEnd() const;
  [[noreturn]] static void Fail();

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

std::uint64_t Micros(Time time);
Time FromMicros(std::uint64_t micros);

/// Times are stored relative to the creation, which takes a few bytes.
std::uint64_t MicrosAfter(Time created, Time time);
Time FromMicrosAfter(Time created, std::uint64_t micros);

/// @throws StoreError  no version has written this format.
std::uint8_t ReadFormat(Reader& reader);

/// `more`: as of all but plain sagas.
void WriteStep(Writer& writer, const Step& step, bool more);

Step ReadStep(Reader& reader, bool more);

/// A step that was added to the stored definition later, in a row of its own.
void EncodeStep(const Step& step, std::string& out);

/// @throws StoreError  damaged, or of a newer format.
Step DecodeStep(std::string_view bytes);

/// Everything of a definition but its gid and type, which are columns.
std::string EncodeDefinition(const Definition& definition);

/// @throws StoreError  damaged, or of a newer format.
std::shared_ptr<Definition> DecodeDefinition(std::string gid, TransType type,
                                                    std::string_view bytes);

/// How far a transaction has come: what is not in a column. `in_flight` is not stored.
void EncodeState(const Transaction& transaction, std::string& out);

/// `transaction` has what is in columns already.
/// @throws StoreError  damaged, or of a newer format.
void DecodeState(std::string_view bytes, Transaction& transaction);

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
  explicit JournalWriter(std::string& out);

  void Tell(Time time, JournalKind kind, std::size_t row, Op op, std::string_view text,
            std::string_view who);

  /// The number of bytes is even: what SQLite concatenates in a file of UTF-16 it takes for text, and cuts half a
  /// character off.
  void End();

 private:
  static constexpr std::size_t kMostEntryBytes = 4 + 4 * kMostNumberBytes;

  const std::size_t begin_;
  std::string& out_;
  Time before_{};
};

/// Appends the entries to `out`; nothing if there are none.
void EncodeJournal(const std::vector<JournalEntry>& entries, std::string& out);

JournalEntry ReadCountedEntry(Reader& reader, Time before);

JournalEntry ReadEntry(Reader& reader, std::uint8_t first, Time before);

/// @throws StoreError  damaged, or of a newer format.
void ReadEntries(Reader& reader, std::vector<JournalEntry>& entries);

/// Appends what `bytes` hold to `entries`. In place of what is damaged there is a gap: a journal is for people, and
/// keeps nothing from going on.
void DecodeJournal(std::string_view bytes, std::vector<JournalEntry>& entries);

}  // namespace codec
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
  TransResult Await(callable::Ref<void(AnswerCallback)> ask) const;
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
  void BeginBurst();
  void EndBurst();
  bool HasThread() const;  ///< else whoever waits has to drive it

 protected:
  ~DrivenEndpoint() override;
  explicit DrivenEndpoint(std::unique_ptr<Driver> driver);

  void StopForGood();

  /// @throws LogicError  this is a forked child.
  Driver& Checked() const;

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
                           AnswerCallback callback);

  void FinishWorkflowAsync(const std::string& gid, Status status, const std::string& reason,
                           const std::string& result, AnswerCallback callback);

  /// Refused if the transaction has another type than `type`. If its wait_result is set and counts, the answer comes as that
  /// of a submit does, and is OngoingError if it has not ended.
  void AbortAsync(const std::string& gid, std::optional<TransType> type, const By& by,
                  WaitResult wait_result, AnswerCallback callback);
  void AbortAsync(const std::string& gid, std::optional<TransType> type, const std::string& reason,
                  WaitResult wait_result, AnswerCallback callback);

  void ForceStopAsync(const std::string& gid, const By& by, AnswerCallback callback);
  void ForceStopAsync(const std::string& gid, AnswerCallback callback);

  void RetryNowAsync(const std::string& gid, const By& by, AnswerCallback callback);
  void RetryNowAsync(const std::string& gid, AnswerCallback callback);

  /// See Coordinator::Skip.
  void SkipAsync(const std::string& gid, const std::string& branch_id, Op op, const By& by,
                 AnswerCallback callback);

  void WaitAsync(const std::string& gid, Duration timeout, AnswerCallback callback);

  void ExplainAsync(const std::string& gid, ValueCallback<std::string> callback);

  void ListWaitingAsync(Duration wait, std::size_t limit,
                        ValueCallback<std::vector<std::string>> callback);

 protected:
  ~CommandOperations() override;
  using DrivenEndpoint::DrivenEndpoint;

  static Command About(const std::string& gid, Command::Kind kind);
  static Command About(const std::string& gid, Command::Kind kind, const By& by);

  Time TimeIn(Duration wait) const;

  /// A callback that adds the value that is there by then.
  template <typename T>
  static AnswerCallback AnswerWith(std::shared_ptr<T> value, ValueCallback<T> callback) {
    return [value, callback](const Answer& reply) { callback(*value, reply.error); };
  }
  static void Refuse(const std::string& problem);

 private:
  void Push(Command command, AnswerCallback callback = {});
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
  std::string Make(Time now);

 private:
  // In ASCII order, and without the characters that people confuse.
  static constexpr const char* kAlphabet =
      "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
  static constexpr std::uint64_t kTimeMask = (std::uint64_t{1} << 58) - 1;
  static constexpr std::uint64_t kPow57To10 = 362033331456891249u;

  static void Put(std::uint64_t value, int digits, char* to);

  /// Asks the system for a few at a time: asking costs more than making a gid.
  std::uint64_t Random();

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

  std::string NewGid() override;

  /// With `wait_result` the answer comes at the end, at a wait for a timer, or after 6 s: perhaps with an unfinished status.
  void SubmitAsync(Definition definition, AnswerCallback callback) override;

  void SubmitAndWaitAsync(Definition definition, Duration timeout, AnswerCallback callback);

  void PrepareAsync(Definition definition, AnswerCallback callback);

  /// Answers with its record. Reads the store.
  void PrepareWorkflowAsync(Definition definition, const ValueCallback<Transaction>& callback);

  // Topics.

  void SubscribeAsync(const std::string& topic, const std::string& url, const std::string& remark,
                      AnswerCallback callback);
  void UnsubscribeAsync(const std::string& topic, const std::string& url, AnswerCallback callback);
  void DeleteTopicAsync(const std::string& topic, AnswerCallback callback);

 protected:
  ~Operations() override;
  using CommandOperations::CommandOperations;

  /// Runs the work inside the next commit; the answer is what it returned, once that is durable.
  /// @throws LogicError  the store runs none.
  void RunWorkAsync(std::function<Result(TransactContext&)> work, ValueCallback<Result> callback);

  void CheckRunsWorks() const;

 private:
  static void CheckSubmittable(const Definition& definition);

  void Enqueue(Definition definition, Waiter waiter, bool prepare);

  [[noreturn]] void NotTaken(const std::string& who) const;

  /// Nothing if the gid is free.
  std::optional<Transaction> StoredWorkflow(const Definition& asked);

  void ChangeTopic(const std::string& problem, const std::string& topic,
                   const topics::Change& change, AnswerCallback callback);

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
  Tx(Endpoint& coordinator, Driver& driver, TransactContext& context);

  /// The store's connection: a sqlite3* with SQLite. BEGIN, COMMIT, ROLLBACK and the dtm_ tables are denied. Finalize your
  /// statements before the function returns: after a failure of the store there is a new connection.
  const WorkContext& Db() const;

  /// A new gid, of the coordinator.
  std::string NewGid() override;

  /// Submits a saga or a message; it is stored if and only if the rows are.
  /// @throws RejectedError  a limit, or the gid exists: let it pass, and nothing is stored.
  TransResult Submit(Definition definition) override;

  std::string UrlOfLocal(const std::string& name, std::uint64_t registered_with) const override;

  // What would wait for the commit that this is part of.
  TransResult SubmitAndWait(Definition, Duration) override;
  void SubmitAsync(Definition, AnswerCallback) override;
  TransResult Prepare(Definition) override;
  void Abort(const std::string&, TransType, const std::string&) override;
  void RegisterBranch(const std::string&, TransType, Step) override;
  WorkflowState PrepareWorkflow(Definition) override;
  WorkflowState ResumeWorkflow(Definition) override;
  void FinishWorkflow(const std::string&, Status, const std::string&, const std::string&) override;
  Result CallBranch(const InitiatorCall&) override;

 private:
  [[noreturn]] static void Waits(const char* what);

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
  ~EmbeddedEndpoint() override;

  TransResult Submit(Definition definition) override;

  TransResult SubmitAndWait(Definition definition, Duration timeout) override;

  TransResult Prepare(Definition definition) override;

  void Abort(const std::string& gid, TransType type, const std::string& reason) override;

  void RegisterBranch(const std::string& gid, TransType type, Step step) override;

  WorkflowState PrepareWorkflow(Definition definition) override;

  WorkflowState ResumeWorkflow(Definition definition) override;

  void FinishWorkflow(const std::string& gid, Status status, const std::string& reason,
                      const std::string& result) override;

  Result CallBranch(const InitiatorCall& call) override;

  std::string UrlOfLocal(const std::string& name, std::uint64_t registered_with) const override;

  /// Runs a registered function in this thread, for a transaction of a coordinator elsewhere.
  /// @throws RejectedError  no function has this name.
  Result CallFunction(const std::string& name, const std::string& payload, const BranchInfo& info);

 protected:
  /// Owns `driver`.
  explicit EmbeddedEndpoint(std::unique_ptr<Driver> driver);

  /// A branch function that waits for a transaction could wait for itself.
  void CheckMayBlock(const char* what) const;

  /// Runs `work` inside a commit of the coordinator, and waits for that.
  Result RunWork(std::function<Result(TransactContext&)> work);

  /// See Coordinator::Transact.
  void RunTransact(callable::Ref<Result(Tx&)> function);

  /// `span`: null if it is none.
  Result CallBranchIn(const InitiatorCall& call, const std::shared_ptr<const CallSpan>& span);

  /// Without what a branch by URL is told besides.
  static BranchCall BareCall(InitiatorCall direct);

  /// A function inside a commit that the initiator calls itself: it gets a commit of its own.
  Result CallInTransaction(const InitiatorCall& direct, std::shared_ptr<const CallSpan> span);

  /// What tells its functions from those of other coordinators.
  std::uint64_t Identity() const;

 private:
  static std::uint64_t RandomIdentity();

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
  WakeFd();

  /// Readable from a wake to Clear; for poll, epoll and the like.
  int Fd() const;
  /// Call it before Poll.
  void Clear() const;
  /// The returned function may outlive this.
  std::function<void()> OnWake() const;

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
Outcome OutcomeOf(const std::exception_ptr& error);

Outcome OutcomeOf(const Answer& answer);

}  // namespace v1
}  // namespace dtm

// ---- dtm/coordinator/parts/outbox_source.hpp ---------------------------------------------------

/// Where a coordinator finds transactions that a program wrote into its own database; the interface of <dtm/outbox/...>.
/// Needs: std. Threads: one at a time, that of the relay.

namespace dtm {
inline namespace v1 {

class OutboxSource {
 public:
  virtual ~OutboxSource();

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
        Duration interval);
  ~Relay();
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  const RelayCounts& Counts() const;

  /// From now on the thread begins nothing new.
  void BeginStop();
  /// Returns when the thread has ended: at once, or when the database has answered; the source bounds that.
  void Stop();

 private:
  static constexpr std::size_t kPage = 64;    // of at most 1 MiB each
  static constexpr int kLooksUntilIdle = 10;  // that find nothing
  static constexpr Duration kLookAtOldest = std::chrono::seconds(10);
  static constexpr Duration kLongForAnother = std::chrono::minutes(1);

  void Main() noexcept;

  /// All that is there. False: nothing was. @throws Error  some of it has to come again; or the database fails.
  bool Drain(bool& progress);

  /// For the gauge; and says once if what waits is left alone.
  void LookAtOldest();

  void Log(LogLevel level, const std::string& text) noexcept;

  bool Stopping();
  /// False: it is time to stop.
  bool Sleep(Duration wait);

  /// Waits for `left` answers at most longer than a coordinator takes whose store fails; shorter if it is to stop.
  template <typename Answers>
  void Await(Answers& answers, std::unique_lock<std::mutex>& lock) {
    for (int waits = 0; answers.left > 0 && waits < 100 && !Stopping(); ++waits) {
      answers.changed.wait_for(lock, std::chrono::milliseconds(100),
                               [&] { return answers.left == 0; });
    }
  }

  std::string AskName();

  static constexpr const char* kNoAnswer =
      "the coordinator did not answer; does the program poll it?";

  using Verdict = OutboxSource::Verdict;

  /// What became of a page; shared, since answers may come after nobody waits for them any more.
  struct Answers {
    explicit Answers(std::size_t count);
    std::mutex mutex;
    std::condition_variable changed;
    std::size_t left;
    std::vector<Verdict> verdicts;
  };

  /// All of a page are in the coordinator's next commits, which are shared. `later`: why one of them has to come again;
  /// `progress`: one has not.
  std::vector<Verdict> Submit(std::vector<Definition> page, std::string& later, bool& progress);

  static Verdict VerdictOf(const Outcome& outcome);

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
           Duration interval);
  void Stop();
  void Measure(Gauges& gauges);

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

  explicit OpenFiles(std::string path);

  /// Once a connection that writes is open, with its log.
  /// @throws StoreError  it is not the file that was opened at first, or another connection of this process keeps a log
  ///                     that was removed.
  void Opened(const sql::Database& writer);

  /// A batch begins: nobody else writes until it has ended.
  void Begun(const sql::LogIndex::State& log);

  /// The log was copied into the file by its owner, or may have been.
  void Copied(const sql::LogIndex::State& log);

  /// Takes a few microseconds. `index`: of the connection that writes, if there is one.
  Finding Look(const sql::LogIndex* index);

 private:
  std::string File() const;
  std::string Another() const;

  static sql::LogIndex::State StateOf(const sql::LogIndex* index);

  /// Since `main_` was looked at somebody else may have copied the log into the file, as every connection with wal_autocheckpoint
  /// does: that changes the file, and is no harm.
  bool CopiedByOthers(const sql::LogIndex::State& now) const;

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
  ~Finally();
};

std::int64_t Stored(Time time);
Time FromStored(std::int64_t micros);

/// SELECT of whole records, completed by `rest`; ReadTransaction reads these columns.
std::string Select(const std::string& rest);

inline constexpr char kSelectSteps[] = "SELECT nr, step FROM dtm_step WHERE trans = ?1 ORDER BY nr";

/// Those that were added since the definition was written.
/// @throws StoreError  damaged; SqliteError: they cannot be read now.
void ReadAddedSteps(sql::Statement& steps, std::int64_t trans, Definition& definition);

/// A record that cannot be read comes back `unreadable`, with its gid and the reason: it stops that
/// transaction and no other. `steps`: kSelectSteps on the same connection; as the row is still being read, both are of
/// the same commit.
/// @throws SqliteError  the step rows cannot be read now.
Transaction ReadTransaction(const sql::Statement& row, sql::Statement& steps);

/// What was moved out of the row, and what came since.
inline constexpr char kSelectJournal[] =
    "SELECT (SELECT j.entries FROM dtm_journal j WHERE j.trans = dtm_trans.id), journal FROM "
    "dtm_trans ";

/// The same of a file whose version keeps none.
inline constexpr char kSelectNoJournal[] = "SELECT NULL, NULL FROM dtm_trans ";

std::vector<JournalEntry> ReadJournal(const sql::Statement& row);

inline constexpr char kSelectValues[] =
    "SELECT id, cat, k, v, version, created, updated FROM dtm_kv ";

KeyValue ReadValue(const sql::Statement& row);

inline constexpr char kSelectKept[] = "SELECT gid, type, status, finished, content FROM dtm_gids ";

/// Seconds are enough, and half as long.
Time FromKept(std::int64_t seconds);

Transaction ReadKept(const sql::Statement& row);

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
std::string Wanted();

struct Reader {
  /// `journals`: the file keeps them; false of older versions.
  explicit Reader(std::unique_ptr<sql::Database> configured, bool journals = true);

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
std::vector<std::string> OwnTables();

/// The schema version of the file; 0 = it has no tables of ours yet. Only reads.
/// @throws StoreError  the file is of a newer version, or of one that never was.
int StoredVersion(sql::Database& db);

/// What SQLite finds wrong with the file, or nothing. Reads all of it.
std::string Damage(sql::Database& db);

/// Brings the tables to kVersion in one transaction.
/// @throws StoreError  the file is of a newer version; nothing is changed.
void Migrate(sql::Database& db);

/// How long an open connection waits for the lock of another. It is short, since the loop has answers and deadlines to
/// handle.
inline constexpr int kLockWaitMs = 20;
/// The same while it is opened.
inline constexpr int kOpenWaitMs = 5000;

/// Pages of the file that the connections keep in memory; the reader an eighth of it.
inline constexpr std::size_t kCacheBytes = std::size_t{64} << 20;

std::string CachePragma(std::size_t bytes);

void ConfigureWriter(sql::Database& db, bool sync_each_commit,
                            std::size_t cache_bytes = kCacheBytes);

void ConfigureReader(sql::Database& db, std::size_t cache_bytes = kCacheBytes);

/// A connection that ConfigureReader has configured reads a file of this version from now on like one of kVersion. Only what
/// the connection has in memory is changed.
void StandInForNewer(sql::Database& db, int version);

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
  UserSqlRules(Database& database, std::vector<std::string> tables);
  ~UserSqlRules();
  UserSqlRules(const UserSqlRules&) = delete;
  UserSqlRules& operator=(const UserSqlRules&) = delete;

  /// While it lives, each statement is checked when it is prepared, and commits are refused: if a statement has rolled the
  /// transaction back, each one after it would commit on its own.
  class On {
   public:
    explicit On(UserSqlRules& rules);
    ~On();
    On(const On&) = delete;
    On& operator=(const On&) = delete;

   private:
    UserSqlRules& rules_;
  };

  /// For our own statements meanwhile: SQLite may prepare one again after the user has changed the schema.
  class Off {
   public:
    explicit Off(UserSqlRules& rules);
    ~Off();
    Off(const Off&) = delete;
    Off& operator=(const Off&) = delete;

   private:
    UserSqlRules& rules_;
    const bool was_on_;
  };

  /// Resets statements that were not finished: they would keep the transaction from committing.
  void ResetStatements() const;

  /// Violations of deferred foreign keys that would make the COMMIT fail.
  bool ForeignKeysPending() const;

 private:
  static int Judge(void* self, int action, const char* first, const char* second, const char*,
                   const char*);

  static int RefuseCommit(void* self);

  /// What full-text tables ask on their own.
  static bool Harmless(const char* pragma, const char* value);

  bool Ours(const char* name) const;

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
  std::string* Find(std::int64_t row, std::uint64_t version);
  /// This version of the row has that, if it is committed.
  void Keep(std::int64_t row, std::uint64_t version, std::string_view bytes);
  /// The row was changed, but not its journal.
  void Next(std::int64_t row, std::uint64_t version);
  void Forget(std::int64_t row);
  /// What was written is lost.
  void Clear() noexcept;

 private:
  struct Place {
    std::int64_t row = 0;  ///< 0: none
    std::uint64_t version = 0;
    std::string bytes;
  };
  static constexpr std::size_t kPlaces = 4096;  // new rows come one after the other
  static constexpr std::size_t kMostBytes = 512;

  Place& At(std::int64_t row);

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
  explicit Writer(std::unique_ptr<sql::Database> configured);

  /// The gids that this library makes are later than all that are kept, so they are not even looked for.
  bool IsKept(const std::string& gid);

  /// Removes the record, and keeps its gid. Returns how many bytes that took.
  std::size_t ReplaceByGid(std::int64_t row);
  void Remove(std::int64_t row);

  /// In place of SQLite's own: the log is copied into the file only after the store has looked whose file it is.
  static int NoteLog(void* log_pages, sqlite3*, const char*, int pages);

  /// A log above this is copied into the file as far as its readers allow; SQLite's own choice.
  static constexpr int kLogPages = 1000;

  bool LogIsLong() const;
  /// What fails now is tried again after the next commit.
  void CopyLogIfFree();

  /// False: the gid exists.
  bool Insert(const Change& change, const std::string& state);

  bool Update(const Change& change, const std::string& state);

  /// What is in the row, and what the change adds to it.
  std::string& ToldWith(const Change& change);
  void NoteJournal(const Transaction& transaction, bool applied, const std::string* told);

  /// Out of the row, which every step rewrites.
  void MoveJournal(const Transaction& transaction, unsigned history);

  void AddSteps(const Transaction& transaction, std::size_t count);

  void Redefine(const Transaction& transaction);

  /// Only the unfinished have a place in the index of what is due.
  static void BindDue(sql::Statement& statement, int index, const Transaction& transaction);

  /// A definition above this moves to a table of its own: every step rewrites the row it is in.
  static constexpr std::size_t kInlineBytes = 2048;
  /// So many changes of a record leave the entries about them in its row.
  static constexpr std::uint64_t kChangesInRow = 8;

  static std::string UpdateSet(const std::string& more);

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
              std::size_t cache_bytes);
  ~Connections();
  Connections(const Connections&) = delete;
  Connections& operator=(const Connections&) = delete;

  const std::string& Path() const;

  /// @throws StoreError  Recover comes first.
  Writer& Writing();

  /// The reader is the caller's as long as this lives.
  class Reading {
   public:
    /// @throws StoreError  it is not open now.
    explicit Reading(Connections& all);
    Reader* operator->() const;
    Reader& operator*() const;

   private:
    const std::lock_guard<std::mutex> lock_;
    Reader* reader_;
  };

  void Begin();

  /// After COMMIT has returned: checks that it went into the right file. Only then is the log copied, if it is long.
  /// @throws CommitInDoubt
  void AfterCommit();

  void Rollback() noexcept;

  /// Reading goes on meanwhile, but where the log has gone.
  /// @throws StoreError  the files are lost or damaged, or still fail.
  void Recover();

  void ConfigureReader(sql::Database& db) const;

  /// What is wrong with the file, or nothing.
  std::string QuickCheck(sql::Database& db) const;

 private:
  static std::string FileAt(const std::string& path);

  OpenFiles::Finding Look();

  std::unique_ptr<Writer> OpenWriter();
  /// @throws what on_open threw; StoreError: it is not a std::exception.
  void CallOnOpen(const sql::Database& db) const;
  std::unique_ptr<Reader> OpenReader() const;

  /// The log was removed and is only in the connections that have it open: it is copied into the file. Then all of them
  /// let go of it, since SQLite shares its index between those of a process.
  void SaveLog();

  /// Closing would copy the log into a file that may be another's, and remove what has its name.
  void KeepLog();

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

  virtual ~SearchSource();

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
std::string BehindPrefix(std::string prefix);

bool OnlyUnfinished(const ScanFilter& filter);

/// Newest first.
struct Candidates {
  SearchSource::Ids ids;
  bool all = false;  ///< there are no others
};

Candidates Newest(SearchSource::Ids ids, std::int64_t below);

/// Most of the newest records have such a gid: those are found in a row, and the index would name thousands first.
bool IsCommon(SearchSource& source, const std::string& prefix, std::int64_t below);

/// Nothing: no index helps.
std::optional<Candidates> FromIndex(SearchSource& source, const ScanFilter& filter,
                                           std::int64_t below);

/// One page, as far as it has come.
class PageInWork {
 public:
  PageInWork(SearchSource& source, const ScanFilter& filter, std::size_t limit);

  /// Looks at these until the page ends; returns at how many. `in_a_row`: see SearchSource::Read.
  std::size_t LookAt(const SearchSource::Ids& ids, bool in_a_row);
  bool Ended() const;
  ScanPage Take(std::int64_t next);

 private:
  SearchSource& source_;
  const ScanFilter& filter_;
  const std::size_t limit_;
  std::vector<Transaction> found_;
  std::size_t bytes_ = 0, chunk_ = 64;
};

/// As Store::Scan, for a filter that is a search.
ScanPage Search(SearchSource& source, const ScanFilter& filter, std::int64_t position,
                       std::size_t limit);

/// The same for one that is not: a page that is not the last is full.
ScanPage FullPage(SearchSource& source, const ScanFilter& filter, std::int64_t position,
                         std::size_t limit);

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

SearchSource::Ids IdsOf(sql::Statement& statement);

SearchSource::Ids UnfinishedIds(Reader& reader, bool stuck, std::size_t most);

SearchSource::Ids IdsWithGids(Reader& reader, const std::string& from, const std::string& to,
                                     std::size_t most);

SearchSource::Ids IdsBelow(Reader& reader, std::int64_t id, std::size_t most);

/// Steps in rows of their own may have the target.
bool MayCall(const sql::Statement& row, const std::string& part);

SearchSource::Part ReadWanted(Reader& reader, const SearchSource::Ids& ids, bool in_a_row,
                                     const ScanFilter& filter, std::size_t most,
                                     std::size_t bytes);

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
                       OnOpen on_open = {}, std::size_t cache_bytes = sqlite_schema::kCacheBytes);

  const char* Kind() const override;

  void Begin() override;

  Result Run(const Work& work) override;

  bool Has(const std::string& gid) override;

  std::optional<KeyValue> GetValue(const std::string& category, const std::string& key) override;

  void PutValue(const KeyValue& value) override;

  bool RemoveValue(const std::string& category, const std::string& key) override;

  void Apply(std::vector<Change>& changes) override;

  void Commit() override;

  void Rollback() noexcept override;
  void Recover() override;

  std::string Check(const std::atomic<bool>& stop) override;

  std::optional<Transaction> Load(const std::string& gid) override;
  std::vector<JournalEntry> ReadJournal(const std::string& gid) override;
  ScanPage Scan(const ScanFilter& filter, std::int64_t position, std::size_t limit) override;
  KeyValuePage ScanValues(const std::string& category, const std::string& key,
                          std::int64_t position, std::size_t limit) override;
  Backlog CountUnfinished(Time now) override;

  void Due(Time now, DuePosition after, const DueVisitor& visit) override;

  Time NextDue(Time now) override;

  std::int64_t Expire(Time before, std::int64_t after, std::size_t limit, bool keep_gids) override;

  std::string ForgetGids(Time before, const std::string& after, std::size_t limit) override;

 private:
  using Connections = sqlite_store::Connections;
  using Finally = sqlite_store::Finally;

  sqlite_store::Writer& Writing();

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
const char* Name(Attempt::Outcome outcome);

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

Attempt::Outcome OutcomeOf(JournalKind kind);

/// Ends the running attempt of the row, or adds one whose begin is not kept.
void EndAttempt(Timeline& story, std::size_t index);

/// What was running when the process ended, or the transaction, has no result any more. `row`: only of this one.
void LoseRunning(Timeline& story, Time time, std::size_t row = kNoRow);

}  // namespace timeline

/// The story of a transaction, from what the store has of it. Pure.
Timeline MakeTimeline(Transaction transaction, std::vector<JournalEntry> entries);

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
  explicit Coordinator(const std::string& file, const Options& options = {});

  /// On a store of your choice, such as a SqliteStore that creates tables of your own; `clock` is for tests: null
  /// is the machine's, or the database's for a store that several coordinators share.
  /// @throws LogicError  an option is out of range.
  explicit Coordinator(std::unique_ptr<Store> store, const Options& options = {},
                       std::unique_ptr<Clock> clock = nullptr);

  /// Stops, and waits for functions that are running, as long as it takes; logs a warning after a second.
  ~Coordinator() override;

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
  void Use(std::unique_ptr<BranchCaller> caller);

  /// Takes over what programs submit into an outbox table, until Stop, on a thread and a connection of its own:
  /// `tm.Relay(dtm::PgRelay("host=... dbname=..."))`. It looks every `interval` (1 ms to 1 min), and after ten looks that
  /// found nothing a third as often. A row is claimed for this store, and goes after its transaction is as durable here as
  /// Options::durability says. So several coordinators may relay a table; each row runs at one of them, whatever crashes.
  /// Stop waits 5 s for a database that does not answer.
  /// @throws LogicError  there is no source, the interval is out of its range, or it comes after Stop.
  void Relay(std::unique_ptr<OutboxSource> source,
             Duration interval = std::chrono::milliseconds(100));

  /// From now on a thread drives the coordinator. It begins with the transactions that a crash left unfinished.
  /// @throws LogicError  it comes twice, or after Stop.
  void Start();

  /// For event loops, instead of Start: does what there is to do, runs functions and alerts, and returns how long the
  /// program may sleep before it polls again: zero if there is more to do already, at most an hour. Options::on_wake is
  /// called when something comes earlier; WakeFd turns that into a file descriptor. Any thread may poll. Nothing after Stop.
  /// @throws LogicError  it was started.
  Duration Poll();

  /// Refuses new submissions, answers everybody who waits for an end with the present status, waits up to `limit` for
  /// running calls, and commits their results. Unfinished transactions continue after a restart. False: functions or
  /// on_alert are still running; call it again.
  /// @throws LogicError  called in a callback of the coordinator.
  bool Stop(Duration limit);

  /// The committed record; nothing if there is none. If the record has expired and only its gid is kept (Options::keep_gids), it
  /// has `expired` and no branches. Like List and ListValues it reads the store in this thread.
  /// @throws StoreError  the store cannot be read.
  std::optional<Transaction> Query(const std::string& gid);

  /// Committed records, newest first; `limit` is 1 to 1000, `position` the one that the page before returned. With a filter
  /// that is a search (see ScanFilter) at most some 10,000 records are read, so a page may be short, or empty, before the
  /// end, which is where `next` is 0.
  /// @throws StoreError     the store cannot be read.
  /// @throws RejectedError  the limit is out of range.
  ScanPage List(const ScanFilter& filter = {}, std::int64_t position = 0, std::size_t limit = 100);

  /// The coordinators on the store, this one among them, also those that stopped a moment ago. Alone, if the store is not
  /// shared. Reads the store in this thread.
  /// @throws StoreError  the store cannot be read.
  std::vector<Peer> Nodes();

  /// The whole story of a transaction: its record, each call with its begin, end and outcome, each decision, which process
  /// drove it, with times; nothing if there is no such transaction. What Options::history keeps of it is removed with its
  /// record. Each entry is as durable as the change it tells of. Reads the store in this thread, record first: the entries
  /// may tell of one more change than the record has.
  /// @throws StoreError  the store cannot be read.
  std::optional<dtm::Timeline> Timeline(const std::string& gid);

  /// Waits up to `timeout` for the end; returns the status at that time, which may be an unfinished one.
  /// @throws InDoubtError   the store failed meanwhile.
  /// @throws RejectedError  there is no such transaction.
  /// @throws LogicError     called in a branch function, which could wait for itself.
  TransResult Wait(const std::string& gid, Duration timeout);

  /// A text for people: the status, what the transaction waits for, the last error, the next try.
  /// @throws StoreError  the store cannot be read.
  std::string Explain(const std::string& gid);

  /// Rolls back an unfinished saga (what may have run is compensated), or a transaction that is prepared and not yet
  /// submitted. Returns when that is decided. If it is being rolled back already, the waiting calls are made at once, and
  /// the first reason stays.
  /// @throws InDoubtError   the store failed meanwhile; the change is tried again. StoreError: nothing was changed.
  /// @throws RejectedError  there is no such transaction, it has ended, or it can no longer be rolled back.
  void Cancel(const std::string& gid, const std::string& reason = "cancelled");
  /// The same, with who asks for it in the journal; `by.why` is the reason.
  void Cancel(const std::string& gid, const By& by);

  /// Ends an unfinished transaction as failed. Nothing more is called, and nothing is undone. The journal keeps `by`.
  /// @throws InDoubtError   the store failed meanwhile; the change is tried again. StoreError: nothing was changed.
  /// @throws RejectedError  there is no such transaction, or it has ended.
  void ForceStop(const std::string& gid, const By& by = {});

  /// Makes the waiting calls of an unfinished transaction at once, and drives a stuck one again. The journal keeps `by` if
  /// anything waited.
  /// @throws InDoubtError   the store failed meanwhile; the change is tried again. StoreError: nothing was changed.
  /// @throws RejectedError  there is no such transaction, or it has ended.
  void RetryNow(const std::string& gid, const By& by = {});

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
  void Skip(const std::string& gid, const std::string& branch_id, Op op, const By& by);

  /// The gids of at most `limit` unfinished transactions whose next try is more than `wait` away, the earliest
  /// first; RetryNow tries them at once.
  /// @throws StoreError  the store cannot be read.
  std::vector<std::string> ListWaiting(Duration wait, std::size_t limit);

  /// Messages to `topic://<topic>` that are stored from now on go to this url too. At most 1000 subscribers a topic; 128 bytes
  /// for its name, 2048 for a url, 1024 for a remark (for people), all of it UTF-8. Durable when it returns.
  /// @throws InDoubtError, StoreError  the store failed; in doubt: it may be stored, look with ListValues.
  /// @throws RejectedError  "this url exists", or a limit; nothing was changed.
  void Subscribe(const std::string& topic, const std::string& url, const std::string& remark = {});
  /// Messages that are stored from now on do not go to this url any more. `url`: as it was given, or as ShownUrl shows it.
  /// @throws RejectedError  there is no such topic or url, or several are shown like this; else as Subscribe.
  void Unsubscribe(const std::string& topic, const std::string& url);
  /// Removes the topic with its subscribers. Messages that are stored already are delivered all the same.
  /// @throws RejectedError  there is no such topic; else as Subscribe.
  void DeleteTopic(const std::string& topic);

  /// Committed values such as topics (category "topics"); an empty category or key matches any, `limit` is 1 to 1000, and
  /// `position` the one that the page before returned.
  /// @throws StoreError     the store cannot be read.
  /// @throws RejectedError  the limit is out of range.
  KeyValuePage ListValues(const std::string& category, const std::string& key = {},
                          std::int64_t position = 0, std::size_t limit = 100);

  /// The present wait between the tries of a transaction; it doubles after errors.
  Duration IntervalOf(const Transaction& transaction) const;

  /// The counters of what was done since the coordinator was opened.
  Metrics::Snapshot Counted() const;
  /// The present state in numbers. Reads the store: some milliseconds for 100,000 unfinished transactions.
  /// @throws StoreError  the store cannot be read.
  Gauges Measure();
  /// The options that it was made with.
  const Options& Settings() const;

 private:
  static void CheckListLimit(std::size_t limit);

  // What the templates above come to, without types of the program.

  void Keep(const std::string& name, BranchFunction function);
  void KeepResume(const std::string& name, BranchFunction function);
  /// Returns the name by which it is stored.
  std::string KeepInTransaction(const std::string& name, TransactionFunction function);
  static LogicError EmptyFunction(const std::string& name);

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
std::string TimeText(Time time);

namespace time_text {

/// Days from 1970-01-01 in the Gregorian calendar; `month` is 1 to 12.
std::int64_t Days(std::int64_t year, unsigned month, unsigned day);

}  // namespace time_text

/// What TimeText has written, of the years 1000 to 9999; nothing if it is anything else.
std::optional<Time> ParseTime(std::string_view text);

}  // namespace v1
}  // namespace dtm

// ---- dtm/observe/json_line.hpp -----------------------------------------------------------------

/// Events, spans and lines of the log as JSON, each on one line.
/// Needs: std. Threads: pure functions; LogAsJson: any thread. Document: docs/observe.md.

namespace dtm {
inline namespace v1 {

namespace json_line {

/// In quotes. Bytes that are no UTF-8 become U+FFFD.
std::string Quoted(const std::string& text);

/// An object of texts; empty ones are left out.
class Object {
 public:
  Object& Add(const char* name, const std::string& value);
  Object& AddRaw(const char* name, const std::string& value);
  std::string Text() const;

 private:
  std::string text_;
};

}  // namespace json_line

/// {"time":"2026-11-30T18:00:00.5Z","event":"failure","gid":"...","trans_type":"saga","status":"aborting", ...}; what is empty is left out.
std::string JsonLine(const Event& event);

/// {"time":"...","level":"warning","message":"...","gid":"...","trace_id":"..."}
std::string JsonLine(const LogLine& line, Time time);

/// {"time": its begin,"end":"...","span":"saga action 01","trace_id":"...", ..., "attributes":{...}}
std::string JsonLine(const Span& span);

/// For Options::log: each line to stderr as JSON, with the gid and the trace if it is about a transaction.
void LogAsJson(const LogLine& line);

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

  const KeyValue* Find(const std::string& category, const std::string& key) const;
};

struct Journal {
  std::string bytes;
  std::size_t folded = 0;  ///< bytes when it was folded last
  unsigned history = 0;

  /// Puts the old ones before the new ones. It is folded whenever it has doubled.
  void Follow(const Journal& old);

 private:
  static constexpr std::size_t kFoldedFrom = 1024;
};

class OpenBatch {
 public:
  /// `committed`: what the batch begins with.
  /// @throws StoreError  it is open.
  void Begin(std::shared_ptr<const Values> committed);
  bool IsOpen() const;
  void Close() noexcept;

  /// See Store::Run.
  Result Run(const Work& work);

  std::optional<KeyValue> GetValue(const std::string& category, const std::string& key) const;

  void PutValue(const KeyValue& value);

  bool RemoveValue(const std::string& category, const std::string& key);

  /// As it is to be stored.
  void Keep(const Transaction& transaction, std::uint64_t version, std::uint64_t owner);

  void Tell(std::int64_t row, const Change& change);

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
  Searched(const Records& records, const DueOnes& due);

  Ids Unfinished(bool stuck, std::size_t most) override;
  std::optional<Ids> WithGids(const std::string&, const std::string&, std::size_t) override;
  Ids Below(std::int64_t id, std::size_t most) override;
  /// They are in memory already, so their bytes do not count.
  Part Read(const Ids& ids, bool, const ScanFilter& filter, std::size_t most,
            std::size_t /*bytes*/) override;

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

#include <iterator>

namespace dtm {
inline namespace v1 {

/// Keeps everything until it is destroyed.
class MemoryStore : public Store {
 public:
  const char* Kind() const override;

  void Begin() override;
  Result Run(const Work& work) override;

  bool Has(const std::string& gid) override;

  std::optional<KeyValue> GetValue(const std::string& category, const std::string& key) override;
  void PutValue(const KeyValue& value) override;
  bool RemoveValue(const std::string& category, const std::string& key) override;

  void Apply(std::vector<Change>& changes) override;

  void Commit() override;

  void Rollback() noexcept override;

  void Recover() override;

  std::string Check(const std::atomic<bool>&) override;

  std::optional<Transaction> Load(const std::string& gid) override;

  std::vector<JournalEntry> ReadJournal(const std::string& gid) override;

  Backlog CountUnfinished(Time now) override;

  ScanPage Scan(const ScanFilter& filter, std::int64_t position, std::size_t limit) override;

  KeyValuePage ScanValues(const std::string& category, const std::string& key,
                          std::int64_t position, std::size_t limit) override;

  void Due(Time now, DuePosition after, const DueVisitor& visit) override;

  Time NextDue(Time now) override;

  std::int64_t Expire(Time before, std::int64_t after, std::size_t limit, bool keep_gids) override;

  std::string ForgetGids(Time before, const std::string& after, std::size_t limit) override;

 private:
  bool Insert(Transaction& transaction);

  bool Update(const Transaction& transaction);

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
HowToLook FindHowToLook(const std::string& path);

/// A store file that is open to be read.
struct Look {
  int version;  ///< of the schema of the file
  Reader reader;
};

/// Over a connection that can only read.
/// @throws StoreError  it is no store, or one of a newer version; says what to do.
Look OpenToLook(const std::string& path, const HowToLook& how);

}  // namespace sqlite_store

/// What only reads of a Store; every call that would change something throws, and nothing is ever due.
class ReadOnlySqliteStore : public Store {
 public:
  /// @throws StoreError  the file is not there, is no store, is damaged, or is of a newer version.
  explicit ReadOnlySqliteStore(const std::string& path);

  /// A coordinator has the file open, or has crashed and left its log.
  bool InUse() const;

  /// Of its schema, docs/store_format.md; one below sqlite_schema::kVersion lacks what came later.
  int SchemaVersion() const;

  /// What was read of a file without a log may be of two moments if a coordinator has opened it meanwhile, and a newer one may
  /// have brought it to its schema version: read it again, with another ReadOnlySqliteStore.
  /// @throws StoreError  it cannot be read.
  bool Changed();

  const char* Kind() const override;
  std::string Check(const std::atomic<bool>&) override;
  std::optional<Transaction> Load(const std::string& gid) override;
  std::vector<JournalEntry> ReadJournal(const std::string& gid) override;
  ScanPage Scan(const ScanFilter& filter, std::int64_t position, std::size_t limit) override;
  KeyValuePage ScanValues(const std::string& category, const std::string& key,
                          std::int64_t position, std::size_t limit) override;
  Backlog CountUnfinished(Time now) override;
  void Due(Time, DuePosition, const DueVisitor&) override;
  Time NextDue(Time) override;

  void Begin() override;
  Result Run(const Work&) override;
  bool Has(const std::string&) override;
  std::optional<KeyValue> GetValue(const std::string&, const std::string&) override;
  void PutValue(const KeyValue&) override;
  bool RemoveValue(const std::string&, const std::string&) override;
  void Apply(std::vector<Change>&) override;
  void Commit() override;
  void Rollback() noexcept override;
  void Recover() override;
  std::int64_t Expire(Time, std::int64_t, std::size_t, bool) override;
  std::string ForgetGids(Time, const std::string&, std::size_t) override;

 private:
  /// See sqlite_store::Searched.
  struct Gate {
    explicit Gate(std::string file);

    class Reading {
     public:
      explicit Reading(Gate& gate);
      sqlite_store::Reader* operator->() const;
      sqlite_store::Reader& operator*() const;

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

  int VersionNow();
  [[noreturn]] void Refuse() const;

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

bool IsArrow(DiagramEvent::Kind kind);

/// All that the event says.
std::string InWords(const DiagramEvent& event);

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
std::string Draw(const Diagram& diagram, DrawFormat format,
                        const DrawOptions& options = {});

/// Draws a transaction: who called whom, when, and what came of it; from the top to the bottom. Texts of others
/// (gids, URLs, errors) are shown in one line, without control characters and without the passwords of URLs.
std::string Draw(const Timeline& story, DrawFormat format, const DrawOptions& options = {});

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

std::string Encode(std::string_view bytes);

/// Nothing if it is not valid.
std::optional<std::string> Decode(std::string_view text);

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
  Writer(const Timeline& story, ExportContent content);

  Json TransactionJson();

  Json JournalJson();

 private:
  static void AddNumber(Json& json, const char* key, std::int64_t value);
  static void AddFlag(Json& json, const char* key, bool value);
  static void AddTime(Json& json, const char* key, Time time);

  /// Text as it is; other bytes as base64.
  static Json Bytes(const std::string& bytes);
  static void AddText(Json& json, const char* key, const std::string& text);
  Json Private(const std::string& bytes) const;
  void AddPrivate(Json& json, const char* key, const std::string& bytes) const;

  void AddUrl(Json& json, const char* key, const std::string& url) const;

  Json OptionsJson() const;

  Json StepJson(const Step& step) const;

  Json DefinitionJson() const;

  /// Which branch it is, for people; the reader compares.
  void AddBranch(Json& json, std::size_t row) const;

  Json RowJson(std::size_t row) const;

  Json EntryJson(const JournalEntry& entry);

  /// "process 1" for each process, "person 1" for whoever asked for something; the same one is called the same.
  std::string Pseudonym(const JournalEntry& entry);

  const Transaction& transaction_;
  const Definition& definition_;
  const Timeline& story_;
  const bool redacted_;
  std::map<std::string, std::size_t> processes_, people_;
};

}  // namespace export_parts

/// The transaction as one JSON document of the version kExportVersion, UTF-8, with a line break at its end. `settings`: of the
/// coordinator that drove it, if they are known: ExportSettings::Of(tm.Settings()).
std::string Export(const Timeline& story, ExportContent content = ExportContent::kFull,
                          const ExportSettings& settings = {});

}  // namespace v1
}  // namespace dtm

namespace dtm {
inline namespace v1 {
namespace compiled {
#ifdef _GLIBCXX_DEBUG
inline constexpr bool kStdDebug = true;
#else
inline constexpr bool kStdDebug = false;
#endif
/// What the layout of our classes depends on.
template <int json_major, int json_minor, int json_patch, bool std_debug>
struct With {};
using Here = With<NLOHMANN_JSON_VERSION_MAJOR, NLOHMANN_JSON_VERSION_MINOR, NLOHMANN_JSON_VERSION_PATCH, kStdDebug>;
/// The linker does not find it: what is linked is not the dtm.cpp of this header, or was compiled with another
/// nlohmann/json or with other flags.
void dtm_cpp_of_version_0_1_0_69fd3f479668(Here);
[[gnu::used]] static void (*const k_dtm_cpp)(Here) = &dtm_cpp_of_version_0_1_0_69fd3f479668;
}  // namespace compiled
}  // namespace v1
}  // namespace dtm
