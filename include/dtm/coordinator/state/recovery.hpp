/// Brings unfinished transactions back from the store while there is room, and tells people what was found there.
/// Needs: std, engine, store. Threads: the thread that drives the loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include <dtm/coordinator/parts/options.hpp>
#include <dtm/coordinator/state/turn_state.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/explain.hpp>

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
