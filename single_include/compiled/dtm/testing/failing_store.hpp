/// Generated from include/dtm/testing/failing_store.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../dtm.hpp"

// ---- dtm/testing/failing_store.hpp -------------------------------------------------------------

/// A store around another one, which fails when a test wants it to.
/// Needs: std, store. Threads: as the store inside; faults are set by the owner's thread.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace dtm {
inline namespace v1 {
namespace testing {

/// How an operation fails. Only Commit can fail in doubt; other operations then fail definitely.
enum class StoreFault { kNone, kDefinite, kInDoubtNotStored, kInDoubtButStored };

/// Passes everything on to another store, and fails when a test says so.
class FailingStore : public Store {
 public:
  /// `inner` keeps what is stored.
  explicit FailingStore(std::shared_ptr<Store> inner) : inner_(std::move(inner)) {}

  /// The n-th operation from now on (1 = the next) fails once. Begin, Run, Has, Apply, Commit, Recover, Load, Due,
  /// NextDue, Expire and ForgetGids count as operations; Query is a Load too.
  void FailOnce(std::uint64_t n, StoreFault fault) {
    fail_at_ = operations_ + n;
    fault_ = fault;
  }
  /// All operations except those that only read (Has, Load, NextDue) fail, until set to kNone.
  void FailAlways(StoreFault fault) { always_ = fault; }
  /// The reading operations fail too, until set to false.
  void FailReading(bool fails) { reading_fails_ = fails; }

  /// Another connection writes: no batch can be opened (StoreBusy), until set to false.
  void Lock(bool locked) { locked_ = locked; }

  /// How many there were.
  std::uint64_t Operations() const { return operations_; }
  /// How many succeeded.
  std::uint64_t Commits() const { return commits_; }

  const char* Kind() const override { return inner_->Kind(); }
  std::uint64_t Owner() const override { return inner_->Owner(); }
  std::shared_ptr<const Lease> OurLease() const override { return inner_->OurLease(); }
  std::uint64_t Takeovers() const override { return inner_->Takeovers(); }
  void OnTakeover(const std::function<void()>& changed) override { inner_->OnTakeover(changed); }
  Peers* Shared() override { return inner_->Shared(); }
  std::optional<Time> SharedTime() const override { return inner_->SharedTime(); }
  void OnSilence(const std::function<void(const std::string&)>& tell) override {
    inner_->OnSilence(tell);
  }
  std::optional<SharingCounts> CountSharing() const override { return inner_->CountSharing(); }
  void Leave() noexcept override {
    if (always_ == StoreFault::kNone) inner_->Leave();
  }

  void Begin() override {
    Definite("Begin");
    if (locked_) throw StoreBusy("somebody else writes to the test's store");
    inner_->Begin();
  }
  Result Run(const Work& work) override {
    Definite("Run");
    return inner_->Run(work);
  }
  bool Has(const std::string& gid) override {
    Reading("Has");
    return inner_->Has(gid);
  }
  std::optional<KeyValue> GetValue(const std::string& category, const std::string& key) override {
    return inner_->GetValue(category, key);
  }
  void PutValue(const KeyValue& value) override { inner_->PutValue(value); }
  bool RemoveValue(const std::string& category, const std::string& key) override {
    return inner_->RemoveValue(category, key);
  }
  void Apply(std::vector<Change>& changes) override {
    Definite("Apply");
    inner_->Apply(changes);
  }
  void Commit() override {
    const StoreFault fault = Next();
    if (fault == StoreFault::kDefinite) throw StoreError("the test's disk is full at Commit");
    if (fault == StoreFault::kInDoubtNotStored) {
      inner_->Rollback();
      throw CommitInDoubt("the test's disk had an I/O error at Commit");
    }
    inner_->Commit();
    if (fault == StoreFault::kInDoubtButStored) {
      throw CommitInDoubt("the test's disk had an I/O error at Commit");
    }
    ++commits_;
  }
  void Rollback() noexcept override { inner_->Rollback(); }
  void Recover() override {
    Definite("Recover");
    inner_->Recover();
  }
  std::string Check(const std::atomic<bool>& stop) override { return inner_->Check(stop); }
  std::optional<Transaction> Load(const std::string& gid) override {
    Reading("Load");
    return inner_->Load(gid);
  }
  std::vector<JournalEntry> ReadJournal(const std::string& gid) override {
    return inner_->ReadJournal(gid);
  }
  ScanPage Scan(const ScanFilter& filter, std::int64_t position, std::size_t limit) override {
    return inner_->Scan(filter, position, limit);
  }
  Backlog CountUnfinished(Time now) override { return inner_->CountUnfinished(now); }
  KeyValuePage ScanValues(const std::string& category, const std::string& key,
                          std::int64_t position, std::size_t limit) override {
    return inner_->ScanValues(category, key, position, limit);
  }
  void Due(Time now, DuePosition after, const DueVisitor& visit) override {
    Definite("Due");
    inner_->Due(now, after, visit);
  }
  Time NextDue(Time now) override {
    Reading("NextDue");
    return inner_->NextDue(now);
  }
  std::int64_t Expire(Time before, std::int64_t after, std::size_t limit, bool keep_gids) override {
    Definite("Expire");
    return inner_->Expire(before, after, limit, keep_gids);
  }
  std::string ForgetGids(Time before, const std::string& after, std::size_t limit) override {
    Definite("ForgetGids");
    return inner_->ForgetGids(before, after, limit);
  }

 private:
  StoreFault Next() {
    const bool now = ++operations_ == fail_at_;
    if (always_ != StoreFault::kNone) return always_;
    return now ? fault_ : StoreFault::kNone;
  }
  void Reading(const char* operation) {
    const bool now = ++operations_ == fail_at_ && fault_ != StoreFault::kNone;
    if (now || reading_fails_) {
      throw StoreError(std::string("the test's disk failed at ") + operation);
    }
  }
  void Definite(const char* operation) {
    if (Next() != StoreFault::kNone) {
      throw StoreError(std::string("the test's disk failed at ") + operation);
    }
  }

  std::shared_ptr<Store> inner_;
  std::atomic<std::uint64_t> operations_{0};  // Load comes from any thread
  std::uint64_t commits_ = 0;
  std::uint64_t fail_at_ = 0;
  StoreFault fault_ = StoreFault::kNone;
  StoreFault always_ = StoreFault::kNone;
  bool reading_fails_ = false;
  bool locked_ = false;
};

}  // namespace testing
}  // namespace v1
}  // namespace dtm
