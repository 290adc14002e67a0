/// Generated from include/dtm/store/shared/shared_store.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../../dtm.hpp"
#include "batch.hpp"
#include "database.hpp"
#include "membership.hpp"
#include "pending_values.hpp"
#include "reader.hpp"
#include "records.hpp"
#include "retention.hpp"
#include "sending.hpp"
#include "shared_peers.hpp"

// ---- dtm/store/shared/shared_store.hpp ---------------------------------------------------------

/// A store in a database server that several coordinators share. Safety rests on the database alone: an insert is of a gid that
/// is new, an update names the version that it was made from, and every batch names its member and epoch (the fence).
/// Needs: std. Threads: see store.hpp; the owner's calls use a connection of their own, the reading ones another under a lock.
/// Document: docs/store_format.md, "Tables of a shared store".

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dtm {
inline namespace v1 {

class SharedStore : public Store {
 public:
  /// Joins the coordinators that share the database. `lease`: after so much silence they take over what this one drives.
  /// `now`: the time since boot; another one in tests.
  /// @throws StoreError  it cannot be used.
  SharedStore(std::unique_ptr<shared_store::Database> database, Duration lease,
              const shared_store::Members::NowFunction& now = os::SinceBoot)
      : database_(std::move(database)),
        membership_(*database_, lease, now),
        reader_(*database_),
        peers_(*database_, reader_, membership_),
        writer_(database_->Connect()) {
    membership_.LearnTime(*writer_);
    Join();
  }
  ~SharedStore() override { SharedStore::Leave(); }

  /// Keeps it a member, by a thread of its own; without it there is no lease.
  void StartBeating() { membership_.Start(); }
  /// Instead of that: its lease counts, and somebody calls Beat every quarter of it. True: the next one is to come at once.
  void StartBeatingByHand() { membership_.StartByHand(); }
  bool Beat() { return membership_.Beat(); }

  const char* Kind() const override {
    return database_->Dialect() == SqlDialect::kPostgres ? "postgres" : "mysql";
  }
  std::uint64_t Owner() const override { return membership_.Owner(); }
  std::shared_ptr<const Lease> OurLease() const override {
    return membership_.Beats() ? membership_.OurLease() : nullptr;
  }
  std::uint64_t Takeovers() const override { return membership_.Takeovers(); }
  void OnTakeover(const std::function<void()>& changed) override {
    membership_.OnTakeover(changed);
  }

  Peers* Shared() override { return &peers_; }
  std::optional<Time> SharedTime() const override { return membership_.ServerTime(); }
  void OnSilence(const std::function<void(const std::string& why)>& tell) override {
    membership_.OnSilence(tell);
  }
  std::optional<SharingCounts> CountSharing() const override { return membership_.Counted(); }

  void Leave() noexcept override {
    if (std::exchange(left_, true)) return;
    membership_.Stop();
    try {  // else its lease has to run out
      if (writer_ != nullptr) (void)writer_->Run(Query::kLeave, {Me(), epoch_});
    } catch (const std::exception&) {
    }
    writer_.reset();
  }

  void Begin() override {
    if (membership_.IsFenced()) ThrowFenced();
    if (open_) throw StoreError("a batch is open already; commit it or roll it back first");
    (void)Writing();
    open_ = true;
  }

  /// It has no connection for the work.
  Result Run(const Work& work) override {
    const shared_store::PendingValues before = values_;
    Result result = CatchAsResult([&work] { return work(WorkContext()); });
    if (result.kind != Result::Kind::kSuccess) values_ = before;
    return result;
  }

  bool Has(const std::string& gid) override {
    for (const NewRow& row : batch_.inserts) {
      if (*row.gid == gid) return true;
    }
    return shared_store::IsStorable(gid) &&
           ReadMine(Query::kFind, {std::string_view(gid)})->Count() > 0;
  }

  std::optional<KeyValue> GetValue(const std::string& category, const std::string& key) override {
    return values_.Get(Writing(), category, key);
  }
  void PutValue(const KeyValue& value) override { values_.Put(Writing(), value); }
  bool RemoveValue(const std::string& category, const std::string& key) override {
    return values_.Remove(Writing(), category, key);
  }

  void Apply(std::vector<Change>& changes) override {
    const std::size_t first = batch_.updates.size();
    for (Change& change : changes) {
      change.applied = true;  // as far as is known; Commit says
      batch_.Add(change, peers_.Me().app);
    }
    FoldJournals(first);
  }

  void Commit() override {
    if (!open_) throw StoreError("there is no open batch to commit");
    const Ended ended{*this};
    values_.MoveTo(batch_);
    if (batch_.Empty()) return;
    batch_.Sort();
    for (const NewRow& row : batch_.inserts) row.place->applied = false;
    for (const ChangedRow& row : batch_.updates) row.place->applied = false;
    bool member = false;
    try {
      member = shared_store::Send(Writing(), database_->Dialect(), Owner(), epoch_, batch_);
    } catch (const CommitInDoubt&) {
      in_doubt_ = true;
      throw;
    }
    if (!member) ThrowFenced();
  }

  void Rollback() noexcept override {
    open_ = false;
    batch_.Clear();
    values_.Clear();
  }

  /// On another connection: whatever the old one had sent has been written by now, or is of an epoch that is over.
  void Recover() override {
    Rollback();
    if (left_) throw StoreError(kStopped);
    writer_.reset();
    writer_ = database_->Connect();
    const auto epoch = writer_->Run(Query::kRejoin, {Me(), epoch_});
    const bool is_there = epoch->Count() > 0;
    if (is_there) epoch_ = epoch->Number(0, 0);
    if (!is_there || membership_.IsFenced()) {
      if (!told_) ThrowFenced();
      // In a database that went back it may be there: others take over from it.
      if (is_there) (void)writer_->Run(Query::kLeave, {Me(), epoch_});
      Join();
    }
    in_doubt_ = false;
    told_ = false;  // what it was told of may have been a Rejoin that came late
  }

  /// What is stored is the server's to check.
  std::string Check(const std::atomic<bool>&) override { return {}; }

  std::optional<Transaction> Load(const std::string& gid) override { return reader_.Load(gid); }
  std::vector<JournalEntry> ReadJournal(const std::string& gid) override {
    return reader_.ReadJournal(gid);
  }
  ScanPage Scan(const ScanFilter& filter, std::int64_t position, std::size_t limit) override {
    return reader_.Scan(filter, position, limit);
  }
  KeyValuePage ScanValues(const std::string& category, const std::string& key,
                          std::int64_t position, std::size_t limit) override {
    return reader_.ScanValues(category, key, position, limit);
  }
  Backlog CountUnfinished(Time now) override { return reader_.CountUnfinished(now); }

  void Due(Time now, DuePosition after, const DueVisitor& visit) override {
    if (membership_.IsFenced()) ThrowFenced();
    std::int64_t due = Stored(after.due);
    std::int64_t id = after.id;
    for (;;) {
      const auto rows = ReadMine(Query::kDue, {Me(), due, id, Stored(now), kDuePage, kDueBytes});
      for (std::size_t row = 0; row < rows->Count(); ++row) {
        Transaction stored = shared_store::ReadTransaction(*rows, row, peers_.Me().app);
        due = Stored(stored.due);
        id = stored.id;
        if (!visit(std::move(stored))) return;
      }
      if (!shared_store::MayHaveMore(*rows, {kDuePage, kDueBytes})) return;
    }
  }

  Time NextDue(Time now) override {
    const auto rows = ReadMine(Query::kNextDue, {Me(), Stored(now)});
    return rows->IsNull(0, 0) ? kNever : shared_store::FromStored(rows->Number(0, 0));
  }

  /// At once, not with the batch: whether it is stored does not depend on it.
  std::int64_t Expire(Time before, std::int64_t after, std::size_t limit, bool keep_gids) override {
    return shared_store::Expire(Writing(), Stored(before), after, limit, keep_gids);
  }
  std::string ForgetGids(Time before, const std::string& after, std::size_t limit) override {
    return shared_store::ForgetGids(Writing(), Stored(before), after, limit);
  }

 private:
  using Query = shared_store::Query;
  using NewRow = shared_store::NewRow;
  using ChangedRow = shared_store::ChangedRow;

  struct Ended {
    SharedStore& store;
    ~Ended() { store.Rollback(); }
  };

  static std::int64_t Stored(Time time) { return shared_store::Stored(time); }

  std::int64_t Me() const { return static_cast<std::int64_t>(Owner()); }

  /// Not 1: a database that was restored gives ids again, and the one that had this id may still live.
  static std::int64_t NewEpoch() {
    std::uint64_t random = 0;
    os::FillRandom(&random, sizeof random);
    return static_cast<std::int64_t>(random >> 22) * shared_store::kEpochs;
  }

  void Join() {
    const std::int64_t epoch = NewEpoch();
    const Duration sent = membership_.Now();
    const NodeName& me = peers_.Me();
    const auto member = writer_->Run(
        Query::kJoin,
        {std::string_view(me.name), std::string_view(me.url), std::string_view(me.app), epoch});
    membership_.Joined({static_cast<std::uint64_t>(member->Number(0, 0)), epoch}, sent);
    epoch_ = epoch;
  }

  [[noreturn]] void ThrowFenced() {
    told_ = true;
    throw Fenced(membership_.IsForgotten()
                     ? "the database has forgotten this coordinator: a backup was restored, or a "
                       "server took over that was behind; what was accepted since may be missing"
                     : "this coordinator was silent for too long, and others took over what it "
                       "drove");
  }

  /// The owner's connection. A lost one is opened again, unless a batch went with it.
  shared_store::Connection& Writing() {
    if (left_) throw StoreError(kStopped);
    if (in_doubt_) throw StoreError("the last commit is in doubt; recover first");
    if (writer_ == nullptr || !writer_->Works()) {
      writer_.reset();
      writer_ = database_->Connect();
    }
    return *writer_;
  }

  std::unique_ptr<SqlRows> ReadMine(Query query, const std::vector<SqlValue>& values) {
    (void)Writing();
    return shared_store::ReadOn(*database_, writer_, query, values);
  }

  /// Now and then what is told leaves the row, which every step rewrites, and is folded.
  void FoldJournals(std::size_t first) {
    std::vector<std::int64_t> ids;
    std::map<std::int64_t, ChangedRow*> rows_of;
    for (std::size_t i = first; i < batch_.updates.size(); ++i) {
      ChangedRow& row = batch_.updates[i];
      if (row.place->history == 0 || row.version % kChangesInRow != 0) continue;
      ids.push_back(row.id);
      rows_of[row.id] = &row;
    }
    if (ids.empty()) return;
    const auto journals = ReadMine(Query::kJournals, {&ids});
    for (std::size_t i = 0; i < journals->Count(); ++i) {
      ChangedRow& row = *rows_of.at(journals->Number(i, 0));
      std::vector<JournalEntry> entries = shared_store::ReadJournal(*journals, i, 1);
      codec::DecodeJournal(row.told, entries);
      FoldJournal(entries, row.place->history);
      codec::EncodeJournal(entries, row.folded);
      row.told.clear();
    }
  }

  static constexpr const char* kStopped = "this coordinator has stopped; it writes no more";
  static constexpr std::int64_t kDuePage = 64;
  static constexpr std::int64_t kDueBytes = std::int64_t{4} << 20;
  static constexpr std::int64_t kChangesInRow = 8;

  const std::unique_ptr<shared_store::Database> database_;
  shared_store::Membership membership_;
  shared_store::Reader reader_;
  shared_store::SharedPeers peers_;
  // The owner's alone.
  std::unique_ptr<shared_store::Connection> writer_;
  std::int64_t epoch_ = 0;
  bool open_ = false;
  bool in_doubt_ = false;
  bool left_ = false;
  bool told_ = false;  ///< that it is fenced: what the loop knew is forgotten
  shared_store::BatchRows batch_;
  shared_store::PendingValues values_;
};

}  // namespace v1
}  // namespace dtm
