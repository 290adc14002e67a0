/// Generated from include/dtm/testing/shared_memory_tables.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../dtm.hpp"
#include "../store/shared/batch.hpp"

// ---- dtm/testing/shared_memory_tables.hpp ------------------------------------------------------

/// The tables of a shared store in memory, and what the statements that change them do; each is a whole, at one moment. What
/// servers do besides (locks, isolation) is in the tests with real ones.
/// Needs: store/shared. Threads: statements by any thread; the rest by one, while there are none. Document: docs/store_format.md, "Tables of a shared store".

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace dtm {
inline namespace v1 {
namespace testing {

class SharedMemoryTables {
 public:
  struct Row {
    std::int64_t id = 0;  ///< below 0: only the gid is kept
    std::string gid;
    std::int64_t type = 0, status = 0, version = 0, created = 0, finished = 0;
    std::optional<std::int64_t> due;  ///< nothing: it has ended
    std::int64_t owner = 0;
    std::string app;
    std::int64_t content = 0;
    std::string definition, state;
    std::map<std::int64_t, std::string> steps;
    std::string journal, folded;
  };
  struct Node {
    std::string name, url, app;
    std::int64_t epoch = 1, beat = 1;
    std::int64_t heir = 0;  ///< 0: a member
  };

  /// What one member asks of another.
  struct Asked {
    std::string gid, reason;
    std::int64_t kind = 0, member = 0, taker = 0;
    std::optional<std::string> outcome;
  };

  using DueKey = std::tuple<std::int64_t, std::int64_t, std::int64_t>;  ///< owner, due, id

  virtual ~SharedMemoryTables() = default;

  /// Of the server. It stands still: coordinators of tests have clocks of their own.
  virtual Time Clock() const { return Time{}; }

  /// As an audit trigger: called for each row of a transaction that is inserted (from null) or changed. `by`: the member whose
  /// statement it was; `claims`: the heir's, of one whose owner is out.
  std::function<void(const Row* before, const Row& after, std::int64_t by, bool claims)> on_change;

  /// Null: it is out, and nothing is left of it.
  const Node* Find(std::int64_t node) const {
    const auto found = nodes_.find(node);
    return found == nodes_.end() ? nullptr : &found->second;
  }
  bool IsMember(std::int64_t node) const {
    const Node* found = Find(node);
    return found != nullptr && found->heir == 0;
  }
  const Row* Find(const std::string& gid) const {
    const auto found = ids_.find(gid);
    return found == ids_.end() ? nullptr : &rows_.at(found->second);
  }
  const Row* At(std::int64_t id) const {
    const auto found = rows_.find(id);
    return found == rows_.end() ? nullptr : &found->second;
  }
  const std::map<std::int64_t, Row>& Rows() const { return rows_; }
  const std::map<std::int64_t, Node>& Nodes() const { return nodes_; }
  const std::map<std::int64_t, KeyValue>& Values() const { return values_; }
  /// Of what has not ended.
  const std::set<DueKey>& Due() const { return due_; }
  std::set<DueKey>::const_iterator DueOf(std::int64_t owner) const {
    return due_.lower_bound({owner, INT64_MIN, INT64_MIN});
  }

  /// Held by whoever carries out a statement.
  std::mutex& Mutex() { return mutex_; }

  // What statements change.

  /// See shared_store::Connection.
  bool Write(std::int64_t member, std::int64_t epoch, shared_store::BatchRows& batch);

  std::int64_t Join(std::int64_t epoch) {
    nodes_[++last_node_].epoch = epoch;
    return last_node_;
  }
  /// Null: it is no member.
  Node* Member(std::int64_t node) { return IsMember(node) ? &nodes_.at(node) : nullptr; }
  Node* AnyNode(std::int64_t node) { return nodes_.count(node) > 0 ? &nodes_.at(node) : nullptr; }
  void Bury(std::int64_t node) { nodes_.erase(node); }

  void TakeOver(std::int64_t id, std::int64_t owner, std::int64_t by) {
    const Row before = rows_.at(id);
    Row after = before;
    Claim(after, owner);
    Store(&before, std::move(after), by, true);
  }
  std::int64_t Ask(Asked asked) {
    asked_[++last_asked_] = std::move(asked);
    return last_asked_;
  }
  std::map<std::int64_t, Asked>& AllAsked() { return asked_; }
  bool IsAsked(const Asked& asked, std::int64_t member) const {
    if (asked.outcome || asked.member != 0) return !asked.outcome && asked.member == member;
    const Row* row = Find(asked.gid);
    return row != nullptr && row->owner == member;
  }
  std::map<std::int64_t, KeyValue>& AllValues() { return values_; }
  std::int64_t NewValueId() { return ++last_value_; }
  /// Unless it has not ended.
  void Remove(std::int64_t id) {
    const Row* row = At(id);
    if (row == nullptr || row->due) return;
    ids_.erase(row->gid);
    rows_.erase(id);
  }
  /// Leaves only the gid.
  void Keep(std::int64_t id, std::int64_t type, std::int64_t content) {
    const Row* row = At(id);
    if (row == nullptr || row->due) return;
    Row kept;
    kept.id = -row->id;
    kept.gid = row->gid;
    kept.type = type;
    kept.content = content;
    kept.status = row->status;
    kept.version = row->version;
    kept.created = row->created;
    kept.finished = row->finished;
    kept.owner = row->owner;
    Remove(id);
    ids_[kept.gid] = kept.id;
    rows_[kept.id] = std::move(kept);
  }

 protected:
  // What safety rests on; a test that plants a fault overrides one.

  virtual bool PassesFence(std::int64_t member, std::int64_t epoch) const {
    const Node* node = Find(member);
    return node != nullptr && node->heir == 0 && node->epoch == epoch;
  }
  virtual bool IsVersion(const Row& row, std::int64_t version) const {
    return row.version == version;
  }
  virtual void Claim(Row& row, std::int64_t heir) const {
    row.owner = heir;
    ++row.version;
  }

 private:
  /// Puts it in the place of `before`.
  void Store(const Row* before, Row after, std::int64_t by, bool claims) {
    if (on_change) on_change(before, after, by, claims);
    if (before != nullptr && before->due) due_.erase({before->owner, *before->due, before->id});
    if (after.due) due_.insert({after.owner, *after.due, after.id});
    ids_[after.gid] = after.id;
    const std::int64_t id = after.id;
    rows_[id] = std::move(after);
  }

  bool WriteValues(const std::vector<shared_store::ChangedValue>& values);

  std::map<std::int64_t, Node> nodes_;
  std::map<std::int64_t, Row> rows_;
  std::map<std::string, std::int64_t> ids_;
  std::mutex mutex_;
  std::set<DueKey> due_;
  std::map<std::int64_t, KeyValue> values_;
  std::map<std::int64_t, Asked> asked_;
  std::int64_t last_node_ = 0, last_row_ = 0, last_value_ = 0, last_asked_ = 0;
};

inline bool SharedMemoryTables::WriteValues(const std::vector<shared_store::ChangedValue>& values) {
  const auto find = [this](const shared_store::ChangedValue& value) {
    return std::find_if(values_.begin(), values_.end(), [&value](const auto& entry) {
      return entry.second.category == value.category && entry.second.key == value.key;
    });
  };
  for (const shared_store::ChangedValue& value : values) {
    const auto found = find(value);
    const std::int64_t stored =
        found == values_.end() ? 0 : static_cast<std::int64_t>(found->second.version);
    if (stored != value.before) return false;
  }
  for (const shared_store::ChangedValue& value : values) {
    auto found = find(value);
    if (!value.value) {
      if (found != values_.end()) values_.erase(found);
      continue;
    }
    if (found == values_.end()) found = values_.emplace(++last_value_, KeyValue()).first;
    found->second = {value.category,
                     value.key,
                     *value.value,
                     static_cast<std::uint64_t>(value.version),
                     shared_store::FromStored(value.created),
                     shared_store::FromStored(value.updated),
                     found->first};
  }
  return true;
}

inline bool SharedMemoryTables::Write(std::int64_t member, std::int64_t epoch,
                                      shared_store::BatchRows& batch) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!PassesFence(member, epoch)) return false;
  if (!WriteValues(batch.values)) {
    throw BatchLost("another coordinator has written the same topic meanwhile; try again");
  }
  for (const shared_store::NewRow& one : batch.inserts) {
    if (ids_.count(*one.gid) > 0) continue;
    Row row;
    row.id = ++last_row_;
    row.gid = *one.gid;
    row.type = one.type;
    row.status = one.status;
    row.version = 1;
    row.created = one.created;
    row.finished = one.finished;
    row.due = one.due;
    row.owner = member;
    row.app = one.app;
    row.definition = one.definition;
    row.state = one.state;
    row.journal = one.told;
    batch.Inserted(row.gid, row.id);
    Store(nullptr, std::move(row), member, false);
  }
  const std::set<std::int64_t> redefined(batch.redefined.begin(), batch.redefined.end());
  for (const shared_store::ChangedRow& one : batch.updates) {
    const Row* stored = At(one.id);
    if (stored == nullptr || !IsVersion(*stored, one.version)) continue;
    const Row before = *stored;
    Row row = before;
    row.status = one.status;
    row.version = one.version + 1;
    row.created = one.created;
    row.finished = one.finished;
    row.due = one.due;
    row.owner = member;
    row.state = one.state;
    if (one.app) row.app = *one.app;
    if (!one.definition.empty()) row.definition = one.definition;
    if (redefined.count(one.id) > 0) row.steps.clear();
    for (const shared_store::AddedStep& step : batch.steps) {
      if (step.transaction == one.id) row.steps[step.nr] = step.step;
    }
    row.journal = one.folded.empty() ? row.journal + one.told : std::string();
    if (!one.folded.empty()) row.folded = one.folded;
    batch.Updated(one.id);
    Store(&before, std::move(row), member, false);
  }
  return true;
}

}  // namespace testing
}  // namespace v1
}  // namespace dtm
