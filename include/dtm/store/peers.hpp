/// What the coordinators that share a store know of each other, and ask of each other: all of it goes through the store.
/// Needs: std. Threads: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <dtm/base/text.hpp>
#include <dtm/base/time.hpp>
#include <dtm/core/result.hpp>
#include <dtm/core/types.hpp>

namespace dtm {
inline namespace v1 {

struct KeyValue;

/// How a coordinator is called by people and by the others.
struct NodeName {
  std::string name;
  std::string url;  ///< where it serves its API; may be empty
  std::string app;  ///< programs of the same app have the same functions
};

/// What one coordinator asks of the one that drives a transaction.
struct Request {
  enum class Kind {
    kCancel = 1,
    kRetryNow = 2,
    kLook = 3,  ///< another has written it; there is no reply
    kSkip = 4
  };
  std::int64_t id = 0;  ///< given by the store
  Kind kind = Kind::kCancel;
  std::string gid;
  std::string reason{};      ///< kCancel, kRetryNow, kSkip
  std::uint64_t member = 0;  ///< who is asked; 0: whoever drives it, when it looks
  std::string who{};         ///< kCancel, kRetryNow, kSkip: the person or program that asks
  std::string branch_id{};   ///< kSkip
  Op op{};                   ///< kSkip
};

/// How far a transaction has come.
struct Progress {
  std::string gid;
  std::optional<Time> due;  ///< nothing: it has ended
};

/// A coordinator, as another one sees it.
struct Peer {
  NodeName node;
  bool is_member = false;  ///< false: it has stopped, or the others go on with what it drove
  std::optional<Duration> silent{};  ///< since it was last seen; nothing: not known here
  bool is_self = false;
};

struct PeerCounts {
  std::uint64_t members = 0;     ///< that are alive, as far as is known here
  std::uint64_t taken_over = 0;  ///< transactions, by this coordinator from others
  std::uint64_t driven = 0;      ///< unfinished transactions that it owns
};

/// In a record: its owner has died, and it waits for a coordinator of this app, whose functions it calls.
inline std::uint64_t OwnerForApp(const std::string& app) {
  StableHash hash;
  hash.Add(app);
  return hash.Value() | std::uint64_t{1} << 63;
}
inline bool WaitsForApp(std::uint64_t owner) { return owner >> 63 != 0; }

class Peers {
 public:
  virtual ~Peers() = default;

  /// Tells the others who this is; comes before the first turn. Transactions that call functions of programs are driven only
  /// by coordinators of this app.
  /// @throws StoreError
  virtual void Introduce(const NodeName& me) = 0;

  /// Of those that have a record.
  /// @throws StoreError
  virtual std::vector<Progress> Look(const std::vector<std::string>& gids) = 0;

  /// Stores a request, and returns its id.
  /// @throws StoreError  it may or may not be stored, and goes by itself after a minute.
  virtual std::int64_t Ask(const Request& request) = 0;
  /// What was replied to these; such requests are gone then.
  /// @throws StoreError
  virtual std::map<std::int64_t, std::string> TakeReplies(const std::vector<std::int64_t>& ids) = 0;
  /// True: the request is gone, and nobody has taken it up. `at_all_costs`: it is gone in any case.
  /// @throws StoreError
  virtual bool Withdraw(std::int64_t id, bool at_all_costs) = 0;

  /// How often something was asked of this coordinator. OnTakeover tells of it.
  virtual std::uint64_t AskedTimes() const = 0;
  /// Requests that came since the last call; one may come again that was not replied to.
  virtual std::vector<Request> Asked() = 0;
  /// This coordinator obeys it now. False: it was withdrawn.
  /// @throws StoreError
  virtual bool TakeUp(std::int64_t id) = 0;
  /// Without a text: it is for another one, who drives the transaction now.
  /// @throws StoreError  it comes again.
  virtual void Reply(std::int64_t id, const std::string& text) = 0;

  /// Nothing: there is no such coordinator (any more). Of an owner that stands for an app (WaitsForApp) it names the app.
  /// @throws StoreError
  virtual std::optional<Peer> Find(std::uint64_t owner) = 0;
  /// This coordinator and the others, in the order in which they came, also those that are members no more but are not
  /// forgotten yet; at most 1000.
  /// @throws StoreError
  virtual std::vector<Peer> All() = 0;
  /// @throws StoreError
  virtual PeerCounts Count() = 0;
  /// Gids of unfinished transactions of all coordinators that are due after that and before kNever, the earliest first.
  /// @throws StoreError
  virtual std::vector<std::string> Waiting(Time after, std::size_t limit) = 0;
  /// Sentences for the log, once each.
  virtual std::vector<std::string> TakeNews() = 0;

  /// Changes a small value, see KeyValue, compare-and-set: `change` gets what is stored or nothing, and leaves what is to be
  /// stored or nothing. It may run several times. What it returns is returned; but for Success nothing is written.
  /// @throws StoreError  nothing was written, or (InDoubt) perhaps.
  using ValueChange = std::function<Result(std::optional<KeyValue>& value)>;
  virtual Result ChangeValue(const std::string& category, const std::string& key,
                             const ValueChange& change) = 0;
};

}  // namespace v1
}  // namespace dtm
