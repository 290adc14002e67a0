/// The contract of stores, which keep what is durable. One test suite (tests/store/store_contract.hpp) checks every
/// store against it.
/// Needs: std. Threads: one owner thread calls everything but Load, ReadJournal, Scan, ScanValues and
/// CountUnfinished, which any thread may.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dtm/base/error.hpp>
#include <dtm/core/journal.hpp>
#include <dtm/core/result.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/work_context.hpp>
#include <dtm/store/scan.hpp>

namespace dtm {
inline namespace v1 {

/// A commit that may or may not have become durable. After Recover() the stored records show which.
class CommitInDoubt : public StoreError {
 public:
  using StoreError::StoreError;
};

/// One transaction to write in the open batch: an insert if its `id` is 0, else an update.
struct Change {
  Transaction* transaction = nullptr;
  bool due_changed = true;          ///< false spares the update of the index
  bool definition_changed = false;  ///< an update writes the whole definition as well
  /// Out, once Commit has returned: false = the gid exists already, or the stored version is another.
  bool applied = false;
  /// Without definition_changed, an update adds the last so many steps: all that is new in the definition.
  std::size_t new_steps = 0;
  /// Entries to append to the journal of the transaction if the change is applied, see codec::JournalWriter; may be empty.
  std::string_view journal{};
  /// What FoldJournal may leave of it; 0: no journal is kept.
  unsigned history = 0;
};

/// What is kept of a finished transaction when its record is removed, so that the same gid does not run again.
struct KeptGid {
  std::string gid;
  TransType type{};  ///< 0: its record was damaged
  Status status{};
  Time finished{};
  std::uint64_t content = 0;  ///< see Transaction
};

inline KeptGid KeptOf(const Transaction& transaction) {
  const Definition& definition = *transaction.definition;
  if (transaction.unreadable)
    return {definition.gid, {}, transaction.status, transaction.finished, 0};
  return {definition.gid, definition.type, transaction.status, transaction.finished,
          definition.prepared_first ? 0 : ContentHash(definition)};
}

inline Transaction RecordOf(const KeptGid& kept) {
  auto definition = std::make_shared<Definition>();
  definition->gid = kept.gid;
  Transaction transaction;
  if (kept.type == TransType{}) {
    transaction.unreadable = true;
    transaction.last_error = "its record was damaged, and has expired";
  } else {
    definition->type = kept.type;
  }
  transaction.definition = std::move(definition);
  transaction.status = kept.status;
  transaction.created = transaction.finished = kept.finished;
  if (kept.status == Status::kFailed)
    transaction.reason = "its record has expired, and the reason with it";
  transaction.expired = true;
  transaction.content = kept.content;
  transaction.version = 1;
  return transaction;
}

/// The number of unfinished transactions.
struct Backlog {
  std::uint64_t unfinished = 0;
  std::uint64_t waiting = 0;  ///< of them: for a time that has not come, or for their submit
  std::uint64_t stuck = 0;    ///< of them: see Transaction
  Time oldest = kNever;       ///< when the oldest was created; kNever: there is none
};

/// A position in the order in which unfinished transactions are due.
struct DuePosition {
  Time due = (Time::min)();
  std::int64_t id = 0;
};

/// Gets one transaction; returns true for more.
using DueVisitor = std::function<bool(Transaction&&)>;

/// A small text that is stored under a name, such as a topic with its subscribers (category "topics").
struct KeyValue {
  std::string category, key, value;
  std::uint64_t version = 0;  ///< counted up with each write, from 1
  Time created{}, updated{};
  std::int64_t id = 0;  ///< the store's own key
};

struct KeyValuePage {
  std::vector<KeyValue> values;
  std::int64_t next = 0;  ///< position of the next page, which may be empty; 0 = there is none
};

/// User code whose writes share the commit of the batch it runs in.
using Work = std::function<Result(const WorkContext&)>;

/// A work has broken the open batch (its SQL made the database roll everything back). Nothing of the batch is
/// stored; after Rollback the batch can be written again without that work.
class BatchLost : public StoreError {
 public:
  using StoreError::StoreError;
};

/// Another connection is writing, so the batch was not opened. Nothing has failed; try again a little later.
class StoreBusy : public StoreError {
 public:
  using StoreError::StoreError;
};

/// Some expired records could not be removed, since a table of the user refers to them. The others were removed, and the
/// batch can go on.
class NotAllExpired : public StoreError {
 public:
  NotAllExpired(const std::string& text, std::int64_t next_id) : StoreError(text), next(next_id) {}
  const std::int64_t next;  ///< what Expire would have returned
};

/// Several coordinators share the store, and the others have taken over what this one owned, since it was silent for too
/// long. Nothing of the batch is stored, and nothing that was read or written before is ours. After Recover it is a
/// coordinator like a new one. Any call of the owner thread may throw it, but what only reads; Recover only if no call did before.
class Fenced : public StoreError {
 public:
  using StoreError::StoreError;
};

/// Of one coordinator among several on one store: while it holds, nobody takes over what that one owns. It ends when the
/// others have not heard of it for too long, may come back if none of them has noticed, and is over for good once one has.
/// Threads: any.
class Lease {
 public:
  virtual ~Lease() = default;
  virtual bool Holds() const = 0;
};

class Peers;

/// How it goes with the others on a shared store.
struct SharingCounts {
  std::uint64_t failed_beats = 0;  ///< attempts to be heard by them
  std::uint64_t fenced = 0;        ///< how often they took over what was ours
  std::uint64_t forgotten = 0;     ///< of these: the database turned out to be an older one
};

class Store {
 public:
  virtual ~Store() = default;

  /// What it is, for people and metrics. Any thread.
  virtual const char* Kind() const = 0;

  // Who drives what. A store that one coordinator has for itself keeps to what is here.

  /// This coordinator's number among those that share the store: what it writes is its own from then on, whoever owned it
  /// before, and another's change of it is left out. Never given again; only Recover changes it. 0: it has the store for
  /// itself, or (in a record) nobody has taken it up yet.
  virtual std::uint64_t Owner() const { return 0; }

  /// The lease on what is ours: a call begins only while it holds. Only Recover changes it. Null: for ever.
  virtual std::shared_ptr<const Lease> OurLease() const { return nullptr; }

  /// How often something has come to be ours that the owner thread has not written, or we were fenced: then Due has more to
  /// tell. Any thread. `changed` is called by some thread after each, until Leave has returned; it comes before the first turn.
  virtual std::uint64_t Takeovers() const { return 0; }
  virtual void OnTakeover(const std::function<void()>& /*changed*/) {}

  /// The others on the store. Null: this coordinator has it for itself, and the store runs works.
  virtual Peers* Shared() { return nullptr; }
  /// The time that all coordinators on the store agree on, whatever their machines' clocks say. Nothing: it is not shared. Any
  /// thread.
  virtual std::optional<Time> SharedTime() const { return std::nullopt; }
  /// `tell` is called by some thread, until Leave has returned, with the reason when the others cannot hear any more that this
  /// coordinator lives, and with an empty text when they can. It comes before the first turn.
  virtual void OnSilence(const std::function<void(const std::string& why)>& /*tell*/) {}
  /// Nothing: it is not shared. Any thread.
  virtual std::optional<SharingCounts> CountSharing() const { return std::nullopt; }

  /// The coordinator has stopped, and writes no more: another one may take over what is unfinished at once. Reading goes on.
  virtual void Leave() noexcept {}

  /// Opens a batch. Nothing of it is visible to Load and Scan before Commit; Due and NextDue are
  /// asked between batches only. In a batch Apply comes before Expire.
  /// @throws StoreBusy   another connection is writing; Begin waits only for a moment.
  /// @throws StoreError  nothing was changed.
  virtual void Begin() = 0;

  /// Runs user work inside the batch. Its writes are kept if it returns Success, and undone otherwise,
  /// without harm to the rest of the batch; an exception is an Error result.
  /// @throws BatchLost  the work broke the batch.
  virtual Result Run(const Work& work) = 0;

  /// Whether this gid has a record or is kept, in the store or in the open batch.
  virtual bool Has(const std::string& gid) = 0;

  /// Values as the open batch has left them, for work that Run runs. PutValue writes `value` under its
  /// category and key, as a new version; RemoveValue returns whether there was one.
  virtual std::optional<KeyValue> GetValue(const std::string& category, const std::string& key) = 0;
  virtual void PutValue(const KeyValue& value) = 0;
  virtual bool RemoveValue(const std::string& category, const std::string& key) = 0;

  /// Writes the changes, which stay in their place until Commit or Rollback; each is compare-and-set on (id, version),
  /// or on the gid being new (and not kept). Once Commit has returned, `applied` says how it went, and inserted
  /// transactions have their `id`: the store may send the whole batch at once. One that runs works (Run) knows both when
  /// this returns. The caller counts `version` up once Commit has returned.
  virtual void Apply(std::vector<Change>& changes) = 0;

  /// Makes the batch durable, all or nothing. It waits for another machine for a bounded time only.
  /// @throws CommitInDoubt  an I/O error, or that time is over: it may be stored; call Recover before the next Begin.
  /// @throws StoreError     definite: nothing of the batch is stored.
  virtual void Commit() = 0;

  /// Drops the open batch, if there is one.
  virtual void Rollback() noexcept = 0;

  /// After an I/O error or Fenced: reopens, recovers and checks. Until it has returned nothing may be
  /// believed; from then on no earlier batch can become durable any more.
  /// @throws Fenced      that was not known yet; call again.
  /// @throws StoreError  it is still not usable; call again later.
  virtual void Recover() = 0;

  /// Looks for damage in all that is stored, which may take long; ends early when `stop` becomes
  /// true. Any thread, at any time. Returns what is wrong, or nothing.
  virtual std::string Check(const std::atomic<bool>& stop) = 0;

  /// The committed record; or, if it has expired, what is kept of it.
  virtual std::optional<Transaction> Load(const std::string& gid) = 0;

  /// The journal of this transaction, oldest first; empty without a record or a journal. Of what was told it has at least
  /// what FoldJournal leaves, and the store folds it now and then, so that what it keeps is bounded. It is removed with the
  /// record. Any thread.
  virtual std::vector<JournalEntry> ReadJournal(const std::string& gid) = 0;

  /// Committed records, newest first, from `position` (0 = the newest) on. A page that is not the last is full, unless the
  /// filter is a search. Any thread.
  virtual ScanPage Scan(const ScanFilter& filter, std::int64_t position, std::size_t limit) = 0;

  /// Committed values, in the order of their creation, after `position` (0 = from the first); an
  /// empty category or key matches any. Any thread.
  virtual KeyValuePage ScanValues(const std::string& category, const std::string& key,
                                  std::int64_t position, std::size_t limit) = 0;

  /// Counts the committed ones. Any thread. It takes about 50 ns for each.
  virtual Backlog CountUnfinished(Time now) = 0;

  /// Reads unfinished transactions that are ours, with due <= `now`, in order of (due, id), after `after`, one by one until `visit`
  /// returns false: each may be a megabyte. `visit` must not use the store.
  virtual void Due(Time now, DuePosition after, const DueVisitor& visit) = 0;

  /// When the first unfinished transaction of ours after `now` is due; kNever if there is none.
  virtual Time NextDue(Time now) = 0;

  /// One small step of retention: looks at up to `limit` records after the id `after` and removes those that
  /// finished before `before`; with `keep_gids` their gids are kept. Returns where to continue; 0 = the end was
  /// reached, or all others are younger. Unfinished transactions never expire.
  virtual std::int64_t Expire(Time before, std::int64_t after, std::size_t limit,
                              bool keep_gids) = 0;

  /// The same for kept gids: looks at up to `limit` of them after `after`, in their order, and removes those of
  /// transactions that finished before `before`. Returns where to continue; empty = the end was reached.
  virtual std::string ForgetGids(Time before, const std::string& after, std::size_t limit) = 0;
};

}  // namespace v1
}  // namespace dtm
