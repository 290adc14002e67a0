/// A transaction in memory: its record, and what is held back until the record is durable.
/// Needs: std. Threads: the thread that drives the loop.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <dtm/coordinator/inbox.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/machine.hpp>

namespace dtm {
inline namespace v1 {

struct Live {
  Transaction transaction;  ///< as stepped; durable unless `dirty`
  std::uint64_t life = 0;   ///< another one if it leaves memory and comes back
  bool dirty = false;       ///< changed since the last commit
  bool redefined = false;   ///< its definition too
  bool surely_new = false;  ///< not stored yet, and it was made sure that its gid is not taken
  bool touched = false;     ///< something of it waits for release
  Time stored_due{};        ///< the due time in the store's record
  Time timer = kNever;      ///< when the machine wants to look again
  Time armed = kNever;      ///< its place in Timers
  std::vector<std::size_t> held_calls;  ///< to be started once the record is durable
  std::vector<Waiter> waiters;
  std::vector<Command> commands;      ///< obeyed before it was stored: again, if another one is
  std::vector<engine::Event> events;  ///< stepped since the last commit
  std::size_t doubtful_events = 0;    ///< of them, those in a commit that may have become durable
  std::size_t bytes = 0;              ///< of the definition, for the memory limit

  bool Fresh() const { return transaction.version == 0; }
  bool CallsOut() const {
    return std::any_of(transaction.branches.begin(), transaction.branches.end(),
                       [](const Branch& branch) { return branch.in_flight; });
  }
};

inline std::size_t BytesOf(const Definition& definition) {
  std::size_t bytes = sizeof(Live) + definition.gid.size() + definition.data.size();
  for (const Step& step : definition.steps) {
    bytes += sizeof(Step) + 2 * sizeof(Branch) + step.action.size() + step.compensate.size() +
             step.payload.size();
  }
  return bytes;
}

/// The transactions in memory, by gid. A Live stays where it is until it is removed.
class Lives {
 public:
  Live* Find(const std::string& gid) {
    const auto found = lives_.find(gid);
    return found == lives_.end() ? nullptr : &found->second;
  }
  Live& Add(Transaction transaction) {
    Live& live = lives_[transaction.definition->gid];
    live.life = ++last_life_;
    live.bytes = BytesOf(*transaction.definition);
    live.stored_due = transaction.due;
    live.transaction = std::move(transaction);
    bytes_ += live.bytes;
    return live;
  }
  /// Gives it another definition, of the same gid.
  void Redefine(Live& live, Definition definition) {
    bytes_ -= live.bytes;
    auto node = lives_.extract(live.transaction.definition->gid);  // its key is in there
    live.transaction.definition = std::make_shared<const Definition>(std::move(definition));
    live.redefined = true;
    live.bytes = BytesOf(*live.transaction.definition);
    bytes_ += live.bytes;
    node.key() = live.transaction.definition->gid;
    lives_.insert(std::move(node));
  }
  void Remove(Live& live) {
    bytes_ -= live.bytes;
    const auto found = lives_.find(live.transaction.definition->gid);
    lives_.erase(found);
  }
  std::size_t Count() const { return lives_.size(); }
  std::size_t Bytes() const { return bytes_; }
  template <typename Visit>
  void ForEach(Visit visit) {
    for (auto& entry : lives_) visit(entry.second);
  }

 private:
  std::unordered_map<std::string_view, Live> lives_;  // keys are in the definitions, which stay
  std::size_t bytes_ = 0;
  std::uint64_t last_life_ = 0;
};

}  // namespace v1
}  // namespace dtm
