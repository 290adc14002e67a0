/// Transaction records for tests of stores: short ways to make, write and compare them.
/// Needs: store. Threads: values and pure functions.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <dtm/core/transaction.hpp>
#include <dtm/store/store.hpp>

namespace dtm_test {

/// A moment, in seconds of the test's own calendar.
inline dtm::Time At(std::int64_t seconds) {
  return dtm::Time(std::chrono::seconds(1700000000 + seconds));
}

/// A saga of one step that was just submitted.
inline dtm::Transaction NewTransaction(const std::string& gid, dtm::Time due = At(0),
                                       std::string payload = "{}") {
  auto definition = std::make_shared<dtm::Definition>();
  definition->gid = gid;
  definition->steps.push_back({"local:Out", "local:OutCom", std::move(payload)});
  dtm::Transaction transaction;
  transaction.definition = definition;
  transaction.branches.resize(2);
  transaction.created = At(0);
  transaction.due = due;
  return transaction;
}

inline dtm::Transaction Finished(const std::string& gid, dtm::Time created, dtm::Time finished) {
  dtm::Transaction transaction = NewTransaction(gid);
  transaction.status = dtm::Status::kSucceed;
  transaction.created = created;
  transaction.finished = finished;
  transaction.due = dtm::kNever;
  return transaction;
}

/// Applies one change to the open batch of a store that knows at once whether it was applied.
inline bool ApplyOne(dtm::Store& store, dtm::Transaction& transaction, bool due_changed = true) {
  std::vector<dtm::Change> changes{{&transaction, due_changed, false}};
  store.Apply(changes);
  return changes[0].applied;
}

/// What an open batch is to write: stays in its place until Commit, after which all of it has to be applied.
class Batch {
 public:
  Batch(dtm::Store& store, std::vector<dtm::Transaction*> transactions) {
    for (dtm::Transaction* transaction : transactions) changes_.push_back({transaction});
    store.Apply(changes_);
  }
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;
  bool Applied() const {
    return std::all_of(changes_.begin(), changes_.end(),
                       [](const dtm::Change& change) { return change.applied; });
  }

 private:
  std::vector<dtm::Change> changes_;
};

/// One batch with this change; counts the version up as the coordinator does.
inline bool Put(dtm::Store& store, dtm::Transaction& transaction, bool due_changed = true) {
  std::vector<dtm::Change> changes{{&transaction, due_changed, false}};
  store.Begin();
  store.Apply(changes);
  store.Commit();
  if (changes[0].applied) ++transaction.version;
  return changes[0].applied;
}
inline bool Put(dtm::Store& store, dtm::Transaction&& transaction) {
  return Put(store, transaction);
}

inline std::vector<std::string> Gids(const std::vector<dtm::Transaction>& transactions) {
  std::vector<std::string> gids;
  for (const dtm::Transaction& transaction : transactions) {
    gids.push_back(transaction.definition->gid);
  }
  return gids;
}

/// The first of what is due.
inline std::vector<dtm::Transaction> DuePage(dtm::Store& store, dtm::Time now,
                                             dtm::DuePosition after, std::size_t limit) {
  std::vector<dtm::Transaction> page;
  if (limit == 0) return page;
  store.Due(now, after, [&](dtm::Transaction&& transaction) {
    page.push_back(std::move(transaction));
    return page.size() < limit;
  });
  return page;
}

/// All that is stored, newest first.
inline std::vector<dtm::Transaction> All(dtm::Store& store) {
  return store.Scan({}, 0, 1000000).transactions;
}

/// What differs between a record as written and as read back: the name of the first field, or "".
/// The due time of a finished one means nothing.
inline std::string Difference(const dtm::Transaction& a, const dtm::Transaction& b) {
  if (!dtm::SameContent(*a.definition, *b.definition)) return "content";
  if (a.definition->prepared_first != b.definition->prepared_first) return "prepared_first";
  if (a.definition->query_prepared != b.definition->query_prepared) return "query_prepared";
  if (a.definition->custom_data != b.definition->custom_data) return "custom_data";
  const dtm::TransOptions& x = a.definition->options;
  const dtm::TransOptions& y = b.definition->options;
  if (x.wait_result != y.wait_result) return "wait_result";
  if (x.timeout_to_fail != y.timeout_to_fail) return "timeout_to_fail";
  if (x.request_timeout != y.request_timeout) return "request_timeout";
  if (x.retry_interval != y.retry_interval) return "retry_interval";
  if (x.retry_limit != y.retry_limit) return "retry_limit";
  if (x.branch_headers != y.branch_headers) return "branch_headers";
  if (a.status != b.status) return "status";
  if (a.created != b.created) return "created";
  if (a.finished != b.finished) return "finished";
  const auto updated = [](const dtm::Transaction& t) {
    return dtm::IsFinal(t.status) ? t.finished : (std::max)(t.created, t.updated);
  };
  if (updated(a) != updated(b)) return "updated";
  if (!dtm::IsFinal(a.status) && a.due != b.due) return "due";
  if (a.reason != b.reason) return "reason";
  if (a.reason_from != b.reason_from) return "reason_from";
  if (a.last_error != b.last_error) return "last_error";
  if (a.retry_count != b.retry_count) return "retry_count";
  if (a.stuck != b.stuck) return "stuck";
  if (a.unreadable != b.unreadable) return "unreadable";
  if (a.version != b.version) return "version";
  if (a.id != b.id) return "row";
  if (a.branches.size() != b.branches.size()) return "number of branches";
  for (std::size_t i = 0; i < a.branches.size(); ++i) {
    const dtm::Branch& p = a.branches[i];
    const dtm::Branch& q = b.branches[i];
    if (p.status != q.status || p.tries != q.tries || p.errors != q.errors ||
        p.next_try != q.next_try || p.asked_when != q.asked_when || p.deadline != q.deadline ||
        p.finished != q.finished) {
      return "branch " + std::to_string(i);
    }
  }
  return {};
}

}  // namespace dtm_test
