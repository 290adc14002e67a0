/// The present state of a coordinator in numbers.
/// Needs: std. Threads: values; LoopGauges is written by the loop and read by any thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include <dtm/base/error.hpp>
#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/core/types.hpp>
#include <dtm/store/peers.hpp>
#include <dtm/store/store.hpp>

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
