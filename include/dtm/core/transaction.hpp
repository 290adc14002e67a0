/// The transaction record: what the initiator asked for, and how far it has come.
/// Needs: std. Threads: values only; a Definition is never changed once it is shared.
/// Protocol: §1 (branch ids), §2.1 (transaction body), §4.1 (saga rows).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <dtm/core/result.hpp>
#include <dtm/core/types.hpp>

namespace dtm {
inline namespace v1 {

/// Options of one transaction; zero means "the coordinator's default".
struct TransOptions {
  bool wait_result =
      false;  ///< answer Submit when the transaction has ended, not when it is stored
  std::chrono::seconds timeout_to_fail{0};  ///< after this long an unfinished saga is rolled back
  std::chrono::seconds request_timeout{0};  ///< deadline of one branch call by URL
  std::chrono::seconds retry_interval{0};   ///< first wait after an error; fixed wait after ONGOING
  int retry_limit =
      0;  ///< tries of saga actions, all together, before it is rolled back; 0 = no limit
  std::map<std::string, std::string> branch_headers;  ///< sent with every branch call by URL
};

/// A branch is named by a URL, or by `local:` and the name of a registered function; empty =
/// nothing to call. The payload is the request body, as text.
struct Step {
  std::string action;
  std::string compensate;
  std::string payload;
};

inline constexpr const char kLocalPrefix[] = "local:";
inline constexpr std::size_t kLocalPrefixSize = sizeof(kLocalPrefix) - 1;

inline bool IsLocal(const std::string& url) {
  return url.compare(0, kLocalPrefixSize, kLocalPrefix) == 0;
}

/// What the initiator asked for.
struct Definition {
  std::string gid;
  TransType type = TransType::kSaga;
  std::vector<Step> steps;
  bool prepared_first = false;             ///< stored by a prepare, to run when it is submitted
  bool concurrent = false;                 ///< steps start together, but for `orders`
  std::map<int, std::vector<int>> orders;  ///< step -> the steps that must have succeeded before it
  TransOptions options;
};

/// Same content = the same transaction submitted again. Options are not part of it.
inline bool SameContent(const Definition& a, const Definition& b) {
  const auto same_step = [](const Step& x, const Step& y) {
    return x.action == y.action && x.compensate == y.compensate && x.payload == y.payload;
  };
  if (a.gid != b.gid || a.type != b.type || a.concurrent != b.concurrent || a.orders != b.orders ||
      a.steps.size() != b.steps.size()) {
    return false;
  }
  for (std::size_t i = 0; i < a.steps.size(); ++i) {
    if (!same_step(a.steps[i], b.steps[i])) return false;
  }
  return true;
}

/// How far one branch has come.
struct Branch {
  BranchStatus status = BranchStatus::kPrepared;
  bool in_flight = false;   ///< called by this life of the coordinator and not answered; not stored
  std::uint32_t tries = 0;  ///< calls that may have been sent; > 0 = it may have run
  std::uint32_t errors = 0;  ///< consecutive errors, drives the waits
  Time next_try{};           ///< not called again before this
  Time deadline{};         ///< a call by URL is out that may still be running until then; 0 = none
  Time former_deadline{};  ///< the same, of calls by earlier lives only; not stored
  bool unsent = false;     ///< it waits because its last call was not sent; not stored
};

/// A transaction as the coordinator drives it and the store keeps it.
///
/// The rows of a saga are, per step, its compensation and its action: branches[2k], branches[2k+1].
struct Transaction {
  std::shared_ptr<const Definition> definition;
  Status status = Status::kSubmitted;
  std::vector<Branch> branches;
  Time created{};
  Time finished{};                ///< 0 while unfinished
  Time due{};                     ///< when it next needs the coordinator, after a restart too
  std::string reason;             ///< why it is rolled back
  std::string last_error;         ///< of the last call that had no success; for people
  std::uint32_t retry_count = 0;  ///< counts against retry_limit
  bool stuck = false;       ///< an invariant broke: not driven any more until RetryNow or ForceStop
  bool unreadable = false;  ///< the stored record is damaged (see last_error); not stored
  std::uint64_t version = 0;  ///< of the stored record, 0 = none; writes are compare-and-set on it
  std::int64_t row = 0;       ///< the store's own key; 0 = not stored yet
};

inline std::size_t StepOf(std::size_t branch) { return branch / 2; }
inline std::size_t CompensateOf(std::size_t step) { return 2 * step; }
inline std::size_t ActionOf(std::size_t step) { return 2 * step + 1; }
inline Op OpOf(std::size_t branch) { return branch % 2 == 0 ? Op::kCompensate : Op::kAction; }

/// "01", "02", ... "99", "100": two digits, 1-based.
inline std::string BranchIdOf(std::size_t branch) {
  char text[24];
  std::snprintf(text, sizeof text, "%02zu", StepOf(branch) + 1);
  return text;
}

inline const std::string& UrlOf(const Definition& definition, std::size_t branch) {
  const Step& step = definition.steps[StepOf(branch)];
  return OpOf(branch) == Op::kAction ? step.action : step.compensate;
}

inline const std::string& PayloadOf(const Definition& definition, std::size_t branch) {
  return definition.steps[StepOf(branch)].payload;
}

inline TransResult ResultOf(const Transaction& transaction) {
  return {transaction.definition->gid, transaction.status, transaction.reason};
}

inline BranchInfo InfoOf(const Definition& definition, std::size_t branch) {
  return {definition.gid, definition.type, BranchIdOf(branch), OpOf(branch)};
}

}  // namespace v1
}  // namespace dtm
