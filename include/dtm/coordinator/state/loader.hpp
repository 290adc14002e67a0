/// Brings unfinished transactions from the store into memory: after a restart, and when there is
/// room for those that did not fit.
/// Needs: std, store. Threads: the thread that drives the loop.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <utility>
#include <vector>

#include <dtm/core/transaction.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

/// Walks the unfinished transactions in the order in which they are due, page by page. One walk is
/// a pass; after it the next one begins when something left in the store is due.
class Loader {
 public:
  static constexpr std::size_t kPage = 256;

  /// When there is something to load; kNever if all that is unfinished is in memory.
  Time NextPass() const { return next_pass_; }

  /// The next page of the pass, or nothing: at most `room` transactions, and `bytes` of definitions, which only the last
  /// one may exceed. `with_waiting`: there is room for those that are not due yet. The page may hold transactions that
  /// are in memory already.
  std::vector<Transaction> NextPage(Store& store, Time now, bool with_waiting, std::size_t room,
                                    std::size_t bytes) {
    if (next_pass_ > now || room == 0 || bytes == 0) return {};
    // The first pass reads all of them: if the wall clock was set back, due times may be far off. In a shared store what is
    // prepared waits there, so later passes read only what is due.
    const bool shared = store.Owner() != 0;
    const bool all = (with_waiting && !shared) || first_pass_;
    const std::size_t limit = (std::min)(kPage, room);
    if (cursor_.id == 0) left_behind_ = kNever;  // a pass begins; it finds them
    std::vector<Transaction> page;
    bool at_end = true;
    store.Due(all ? kNever : now, cursor_, [&](Transaction&& stored) {
      const std::size_t size = BytesOf(*stored.definition);
      bytes -= (std::min)(bytes, size);
      page.push_back(std::move(stored));
      at_end = page.size() < limit && bytes > 0;
      return at_end;
    });
    if (at_end) {
      next_pass_ = (std::min)(left_behind_, all ? kNever : store.NextDue(now));
      if (shared) next_pass_ = (std::max)(next_pass_, now + kBetweenPasses);
      left_behind_ = kNever;
      cursor_ = DuePosition{};
      first_pass_ = false;
    } else {
      cursor_ = {page.back().due, page.back().id};
    }
    return page;
  }

  /// All that was unfinished has been in a page.
  bool HasSeenAll() const { return !first_pass_; }

  /// A transaction that is due then leaves memory, or did not come into it.
  void LeaveBehind(Time due) {
    left_behind_ = (std::min)(left_behind_, due);
    const bool between_passes = next_pass_ == kNever || cursor_.id == 0;
    if (between_passes) next_pass_ = (std::min)(next_pass_, due);
  }

  /// The store may hold transactions that memory does not know of.
  void Restart() {
    cursor_ = DuePosition{};
    next_pass_ = (Time::min)();
    first_pass_ = true;
  }

 private:
  static constexpr Duration kBetweenPasses = std::chrono::milliseconds(100);

  bool first_pass_ = true;
  DuePosition cursor_;
  Time next_pass_ = (Time::min)();
  Time left_behind_ = kNever;
};

}  // namespace v1
}  // namespace dtm
