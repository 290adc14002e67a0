/// What the coordinator has done since it was opened, counted.
/// Needs: std. Threads: thread-safe. Protocol: §9 (the names are the HTTP API's).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <dtm/core/result.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/types.hpp>

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
