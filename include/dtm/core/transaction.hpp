/// The transaction record: its definition, and how far it has come.
/// Needs: std. Threads: values only; a Definition is never changed once it is shared.
/// Protocol: §1 (branch ids), §2.1 (transaction body), §2.4 (registered branches), §4 (rows).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dtm/base/text.hpp>
#include <dtm/core/result.hpp>
#include <dtm/core/types.hpp>

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
