/// Generated from include/dtm/store/shared/batch.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../../dtm.hpp"

// ---- dtm/store/shared/batch.hpp ----------------------------------------------------------------

/// A batch for a database server as it is sent: the rows that it inserts and changes, encoded, in the order that keeps batches
/// of several coordinators from waiting for each other in a circle.
/// Needs: std. Threads: values.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace dtm {
inline namespace v1 {
namespace shared_store {

inline std::int64_t Stored(Time time) { return time.time_since_epoch().count(); }
inline Time FromStored(std::int64_t micros) { return Time(Duration(micros)); }

/// Of what is stored for the finished there is nothing due.
inline std::optional<std::int64_t> DueOf(const Transaction& transaction) {
  if (IsFinal(transaction.status)) return std::nullopt;
  return Stored(transaction.due);
}

struct NewRow {
  Change* place;  ///< where the outcome goes
  const std::string* gid;
  std::int64_t type, status, created, finished;
  std::optional<std::int64_t> due;
  std::string definition, state, told;  ///< told: empty if nothing is
  std::string app;                      ///< empty: it calls no functions of programs
};

struct ChangedRow {
  Change* place;
  std::int64_t id, version, status, created, finished;
  std::optional<std::int64_t> due;
  std::string definition;  ///< empty: it stays
  std::string state;
  std::string told;                  ///< to append to the journal in the row; empty: nothing
  std::string folded;                ///< the whole journal, which leaves the row; empty: it stays
  std::optional<std::string> app{};  ///< nothing: it stays
};

struct AddedStep {
  std::int64_t transaction, nr;
  std::string step;
};

/// A value as the batch leaves it.
struct ChangedValue {
  std::string category, key;
  std::optional<std::string> value;  ///< nothing: it is removed
  std::int64_t created = 0, updated = 0;
  std::int64_t version = 0;
  std::int64_t before = 0;  ///< the version that it was made from; 0 = there was none
};

/// What a row takes in a message besides its blobs, at most.
inline constexpr std::size_t kRowBytes = 512;
inline std::size_t BytesOf(const NewRow& row) {
  return kRowBytes + row.gid->size() + row.definition.size() + row.state.size() + row.told.size();
}
inline std::size_t BytesOf(const ChangedRow& row) {
  return kRowBytes + row.definition.size() + row.state.size() + row.told.size() + row.folded.size();
}
inline std::size_t BytesOf(const AddedStep& row) { return kRowBytes + row.step.size(); }
inline std::size_t BytesOf(const ChangedValue& row) {
  return kRowBytes + row.category.size() + row.key.size() + (row.value ? row.value->size() : 0);
}

struct BatchRows {
  std::vector<NewRow> inserts;
  std::vector<ChangedRow> updates;
  std::vector<AddedStep> steps;
  std::vector<std::int64_t>
      redefined;  ///< ids of updates whose steps are all in the definition now
  std::vector<ChangedValue> values;

  bool Empty() const { return inserts.empty() && updates.empty() && values.empty(); }
  void Clear() {
    inserts.clear();
    updates.clear();
    steps.clear();
    redefined.clear();
    values.clear();
  }

  /// `app`: of this coordinator.
  void Add(Change& change, const std::string& app) {
    const Transaction& transaction = *change.transaction;
    std::string state;
    codec::EncodeState(transaction, state);
    std::string told(change.journal);
    const auto status = static_cast<std::int64_t>(transaction.status);
    const Definition& definition = *transaction.definition;
    const bool changed = transaction.id == 0 || change.definition_changed || change.new_steps > 0;
    const std::string app_of = changed && CallsFunctions(definition) ? app : std::string();
    if (transaction.id == 0) {
      inserts.push_back({&change, &definition.gid, static_cast<std::int64_t>(definition.type),
                         status, Stored(transaction.created), Stored(transaction.finished),
                         DueOf(transaction), codec::EncodeDefinition(definition), std::move(state),
                         std::move(told), app_of});
      return;
    }
    updates.push_back({&change, transaction.id, static_cast<std::int64_t>(transaction.version),
                       status, Stored(transaction.created), Stored(transaction.finished),
                       DueOf(transaction), std::string(), std::move(state), std::move(told),
                       std::string()});
    if (changed) updates.back().app = app_of;
    if (change.definition_changed) {
      updates.back().definition = codec::EncodeDefinition(definition);
      if (RegistersSteps(definition.type)) redefined.push_back(transaction.id);
      return;
    }
    const std::vector<Step>& all = definition.steps;
    for (std::size_t nr = all.size() - change.new_steps; nr < all.size(); ++nr) {
      steps.push_back({transaction.id, static_cast<std::int64_t>(nr), std::string()});
      codec::EncodeStep(all[nr], steps.back().step);
    }
  }

  /// Of one gid twice the first stays the first.
  void Sort() {
    std::stable_sort(inserts.begin(), inserts.end(),
                     [](const NewRow& a, const NewRow& b) { return *a.gid < *b.gid; });
    std::stable_sort(updates.begin(), updates.end(),
                     [](const ChangedRow& a, const ChangedRow& b) { return a.id < b.id; });
  }

  std::size_t Bytes() const {
    const auto sum = [](const auto& rows) {
      return std::accumulate(
          rows.begin(), rows.end(), std::size_t{0},
          [](std::size_t bytes, const auto& row) { return bytes + BytesOf(row); });
    };
    return sum(inserts) + sum(updates) + sum(steps) + sum(values);
  }

  void Inserted(const std::string& gid, std::int64_t id) {
    const auto row = std::lower_bound(
        inserts.begin(), inserts.end(), gid,
        [](const NewRow& one, const std::string& wanted) { return *one.gid < wanted; });
    if (row == inserts.end() || *row->gid != gid) return;
    row->place->applied = true;
    row->place->transaction->id = id;
  }
  void Updated(std::int64_t id) {
    const auto row = std::lower_bound(
        updates.begin(), updates.end(), id,
        [](const ChangedRow& one, std::int64_t wanted) { return one.id < wanted; });
    if (row != updates.end() && row->id == id) row->place->applied = true;
  }
};

}  // namespace shared_store
}  // namespace v1
}  // namespace dtm
