/// What the stages of a turn leave to each other; each list has one stage that empties it.
/// Needs: std, engine. Threads: the thread that drives the loop.
#pragma once

#include <deque>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <dtm/coordinator/parts/options.hpp>
#include <dtm/coordinator/state/active_table.hpp>
#include <dtm/coordinator/state/inbox.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/machine.hpp>
#include <dtm/observe/event.hpp>
#include <dtm/observe/span.hpp>

namespace dtm {
inline namespace v1 {

/// What the next turn has to take up again, before anything new. Collect empties it.
struct ToCollect {
  std::vector<std::pair<std::string, engine::EventKind>> readvance;  ///< gids, and why
  std::vector<Submission> resubmit;  ///< found a stored record, which is in memory now
  std::vector<Command> reissue;      ///< came before a commit had taken their transaction
  std::vector<std::shared_ptr<const Definition>> ended;  ///< see Mail
};

/// What the next commit has to write and to run. Commit empties it.
struct ToCommit {
  std::vector<ActiveTransaction*> dirty;  ///< changed since the last commit
  std::deque<QueuedWork> works;           ///< user work
  std::deque<BranchWork> branch_works;    ///< branches that run inside a commit
  std::set<std::string> in_doubt;  ///< gids submitted in a commit whose outcome is not known yet
};

/// What has to wait until its cause is durable. Release empties it.
struct ToRelease {
  std::vector<ActiveTransaction*> touched;           ///< calls, timers and answers are held back
  std::vector<std::shared_ptr<const Alert>> alerts;  ///< of what is durable
  std::vector<std::shared_ptr<const Event>> events;  ///< the same
  std::vector<std::shared_ptr<const Span>> spans;
};

}  // namespace v1
}  // namespace dtm
