/// A store that several coordinators share, in memory: one table, and each coordinator sends a whole batch when it commits,
/// as a store in a database server will. Who takes over from whom, and when, is told by the test: there are no leases.
/// It runs no works, and retention is not part of a batch.
/// Needs: store. Threads: reading, any; else one thread for all coordinators.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/test_lease.hpp"
#include <dtm/store/memory.hpp>
#include <dtm/store/peers.hpp>

namespace dtm_test {

class SharedTable {
 public:
  /// A coordinator like a new one.
  std::uint64_t Join() { return ++last_member_; }
  bool IsMember(std::uint64_t owner) const { return owner > 0 && fenced_.count(owner) == 0; }

  /// From now on `dead` writes nothing.
  void Fence(std::uint64_t dead) { fenced_.insert(dead); }

  /// Up to `limit` unfinished transactions of one that is fenced are those of `heir` now, the first ones due first.
  /// Returns how many.
  std::size_t Claim(std::uint64_t dead, std::uint64_t heir, std::size_t limit) {
    std::vector<dtm::Transaction> page;
    ForDue(dead, dtm::kNever, {}, [&](dtm::Transaction&& transaction) {
      page.push_back(std::move(transaction));
      return page.size() < limit;
    });
    std::vector<dtm::Change> changes;
    for (dtm::Transaction& transaction : page) changes.push_back({&transaction});
    Write(changes, heir);
    return page.size();
  }

  /// All of them.
  void Inherit(std::uint64_t dead, std::uint64_t heir) {
    Fence(dead);
    while (Claim(dead, heir, 1000) > 0) {
    }
  }

  void Write(std::vector<dtm::Change>& changes, std::uint64_t owner) {
    rows_.writer = owner;
    rows_.Begin();
    rows_.Apply(changes);
    rows_.Commit();
  }

  void ForDue(std::uint64_t owner, dtm::Time now, dtm::DuePosition after,
              const dtm::DueVisitor& visit) {
    rows_.Due(now, after, [&](dtm::Transaction&& transaction) {
      return transaction.owner != owner || visit(std::move(transaction));
    });
  }

  dtm::MemoryStore& Rows() { return rows_; }

  /// A request, and what became of it.
  struct Asked {
    dtm::Request request;
    std::uint64_t taker = 0;
    std::optional<std::string> reply;
  };
  std::map<std::int64_t, Asked> asked;
  std::map<std::uint64_t, dtm::NodeName> names;

 private:
  struct OwnedRows : dtm::MemoryStore {
    std::uint64_t Owner() const override { return writer; }
    std::uint64_t writer = 0;
  };

  OwnedRows rows_;
  std::uint64_t last_member_ = 0;
  std::set<std::uint64_t> fenced_;
};

/// The table as one of the coordinators sees it. What it is asked it hears when the test says so.
class SharedStore : public dtm::Store, public dtm::Peers {
 public:
  explicit SharedStore(std::shared_ptr<SharedTable> table)
      : table_(std::move(table)), me_(table_->Join()) {}

  /// Called first in each Commit.
  std::function<void()> before_commit;
  /// See OurLease; a coordinator that comes back as another one has another.
  std::shared_ptr<TestLease> lease = std::make_shared<TestLease>();
  /// See Takeovers.
  std::uint64_t takeovers = 0;

  const char* Kind() const override { return "shared table"; }
  std::uint64_t Owner() const override { return me_; }
  std::shared_ptr<const dtm::Lease> OurLease() const override { return lease; }
  std::uint64_t Takeovers() const override { return takeovers; }
  dtm::Peers* Shared() override { return this; }

  /// See AskedTimes.
  std::uint64_t asked_times = 0;

  std::vector<dtm::Peer> All() override {
    std::vector<dtm::Peer> all;
    for (const auto& [id, name] : table_->names) {
      all.push_back({name, table_->IsMember(id), std::nullopt, id == me_});
    }
    return all;
  }
  void Introduce(const dtm::NodeName& me) override { table_->names[me_] = me; }
  std::vector<dtm::Progress> Look(const std::vector<std::string>& gids) override {
    ++looks;
    std::vector<dtm::Progress> found;
    for (const std::string& gid : gids) {
      const auto stored = Rows().Load(gid);
      if (!stored) continue;
      std::optional<dtm::Time> due;
      if (!dtm::IsFinal(stored->status)) due = stored->due;
      found.push_back({gid, due});
    }
    return found;
  }
  std::int64_t Ask(const dtm::Request& request) override {
    const auto id = static_cast<std::int64_t>(table_->asked.size() + 1);
    table_->asked[id].request = request;
    table_->asked[id].request.id = id;
    return id;
  }
  std::map<std::int64_t, std::string> TakeReplies(const std::vector<std::int64_t>& ids) override {
    if (reading_fails) throw dtm::StoreError("the test's table cannot be read");
    std::map<std::int64_t, std::string> replies;
    for (const std::int64_t id : ids) {
      if (table_->asked.at(id).reply) replies[id] = *table_->asked.at(id).reply;
    }
    return replies;
  }
  bool Withdraw(std::int64_t id, bool at_all_costs) override {
    SharedTable::Asked& asked = table_->asked.at(id);
    const bool nobody = asked.taker == 0;
    if (nobody || at_all_costs) asked.reply = "withdrawn";
    return nobody;
  }
  std::uint64_t AskedTimes() const override { return asked_times; }
  std::vector<dtm::Request> Asked() override {
    std::vector<dtm::Request> mine;
    for (const auto& [id, asked] : table_->asked) {
      const auto stored = Rows().Load(asked.request.gid);
      const bool driven = asked.request.member == 0 && stored && stored->owner == me_;
      if (asked.reply || heard_.count(id) > 0 || (!driven && asked.request.member != me_)) continue;
      heard_.insert(id);
      mine.push_back(asked.request);
    }
    return mine;
  }
  bool TakeUp(std::int64_t id) override {
    if (table_->asked.at(id).reply) return false;
    table_->asked.at(id).taker = me_;
    return true;
  }
  void Reply(std::int64_t id, const std::string& text) override {
    if (text.empty()) return void(heard_.erase(id));
    table_->asked.at(id).reply = text;
  }
  std::optional<dtm::Peer> Find(std::uint64_t owner) override {
    const auto name = table_->names.find(owner);
    if (name == table_->names.end()) return std::nullopt;
    return dtm::Peer{name->second, table_->IsMember(owner), std::chrono::milliseconds(200)};
  }
  dtm::PeerCounts Count() override { return {}; }
  std::vector<std::string> Waiting(dtm::Time after, std::size_t limit) override {
    std::vector<std::string> gids;
    Rows().Due(dtm::kNever - dtm::Duration(1), {after, INT64_MAX},
               [&](const dtm::Transaction& one) {
                 gids.push_back(one.definition->gid);
                 return gids.size() < limit;
               });
    return gids;
  }
  std::vector<std::string> TakeNews() override { return {}; }
  dtm::Result ChangeValue(const std::string&, const std::string&, const ValueChange&) override {
    NoWorks();
  }

  std::uint64_t looks = 0;  ///< calls of Look
  bool reading_fails = false;

  void Begin() override {
    if (open_) throw dtm::StoreError("a batch is open already");
    CheckMember();
    open_ = true;
  }
  void Apply(std::vector<dtm::Change>& changes) override {
    for (dtm::Change& change : changes) {
      sent_.push_back({&change, *change.transaction, change});
    }
  }
  void Commit() override {
    if (!open_) throw dtm::StoreError("there is no open batch to commit");
    if (before_commit) before_commit();
    open_ = false;
    std::vector<Sent> sent;
    sent.swap(sent_);
    CheckMember();
    std::vector<dtm::Change> changes;
    for (Sent& one : sent) {
      changes.push_back(one.change);
      changes.back().transaction = &one.transaction;
    }
    table_->Write(changes, me_);
    for (std::size_t i = 0; i < sent.size(); ++i) {
      sent[i].place->applied = changes[i].applied;
      sent[i].place->transaction->id = sent[i].transaction.id;
    }
  }
  void Rollback() noexcept override {
    open_ = false;
    sent_.clear();
  }
  void Recover() override {
    Rollback();
    if (table_->IsMember(me_)) return;
    if (!told_) CheckMember();
    me_ = table_->Join();
    lease->holds = false;
    lease = std::make_shared<TestLease>();
    told_ = false;
  }

  void Due(dtm::Time now, dtm::DuePosition after, const dtm::DueVisitor& visit) override {
    CheckMember();
    table_->ForDue(me_, now, after, visit);
  }
  dtm::Time NextDue(dtm::Time now) override {
    dtm::Time next = dtm::kNever;
    table_->ForDue(me_, dtm::kNever, {now, INT64_MAX}, [&](const dtm::Transaction& first) {
      next = first.due;
      return false;
    });
    return next;
  }

  std::int64_t Expire(dtm::Time before, std::int64_t after, std::size_t limit,
                      bool keep_gids) override {
    Rows().Begin();
    const std::int64_t next = Rows().Expire(before, after, limit, keep_gids);
    Rows().Commit();
    return next;
  }
  std::string ForgetGids(dtm::Time before, const std::string& after, std::size_t limit) override {
    Rows().Begin();
    const std::string next = Rows().ForgetGids(before, after, limit);
    Rows().Commit();
    return next;
  }

  std::string Check(const std::atomic<bool>& stop) override { return Rows().Check(stop); }
  std::optional<dtm::Transaction> Load(const std::string& gid) override { return Rows().Load(gid); }
  std::vector<dtm::JournalEntry> ReadJournal(const std::string& gid) override {
    return Rows().ReadJournal(gid);
  }
  dtm::ScanPage Scan(const dtm::ScanFilter& filter, std::int64_t position,
                     std::size_t limit) override {
    return Rows().Scan(filter, position, limit);
  }
  dtm::KeyValuePage ScanValues(const std::string& category, const std::string& key,
                               std::int64_t position, std::size_t limit) override {
    return Rows().ScanValues(category, key, position, limit);
  }
  dtm::Backlog CountUnfinished(dtm::Time now) override { return Rows().CountUnfinished(now); }

  dtm::Result Run(const dtm::Work&) override { NoWorks(); }
  bool Has(const std::string&) override { NoWorks(); }
  std::optional<dtm::KeyValue> GetValue(const std::string&, const std::string&) override {
    NoWorks();
  }
  void PutValue(const dtm::KeyValue&) override { NoWorks(); }
  bool RemoveValue(const std::string&, const std::string&) override { NoWorks(); }

 private:
  /// What Apply was given, and a copy of what was in it at that time.
  struct Sent {
    dtm::Change* place;
    dtm::Transaction transaction;
    dtm::Change change;
  };

  [[noreturn]] static void NoWorks() { throw dtm::StoreError("a shared table runs no works"); }

  void CheckMember() {
    if (table_->IsMember(me_)) return;
    told_ = true;
    throw dtm::Fenced("the others have taken over from this one");
  }
  dtm::MemoryStore& Rows() { return table_->Rows(); }

  const std::shared_ptr<SharedTable> table_;
  std::uint64_t me_;
  bool open_ = false;
  bool told_ = false;
  std::set<std::int64_t> heard_;
  std::vector<Sent> sent_;
};

}  // namespace dtm_test
