/// A store in memory, for tests and for work that may be lost: nothing is durable.
/// Needs: std. Threads: see store.hpp; a lock guards the committed records.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <dtm/core/journal.hpp>
#include <dtm/store/journal_codec.hpp>
#include <dtm/store/memory_batch.hpp>
#include <dtm/store/memory_search.hpp>
#include <dtm/store/search.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

/// Keeps everything until it is destroyed.
class MemoryStore : public Store {
 public:
  const char* Kind() const override { return "memory"; }

  void Begin() override { batch_.Begin(values_); }
  Result Run(const Work& work) override { return batch_.Run(work); }

  bool Has(const std::string& gid) override {
    return rows_.count(gid) > 0 || batch_.rows.count(gid) > 0 || kept_.count(gid) > 0;
  }

  std::optional<KeyValue> GetValue(const std::string& category, const std::string& key) override {
    return batch_.GetValue(category, key);
  }
  void PutValue(const KeyValue& value) override { batch_.PutValue(value); }
  bool RemoveValue(const std::string& category, const std::string& key) override {
    return batch_.RemoveValue(category, key);
  }

  void Apply(std::vector<Change>& changes) override {
    for (Change& change : changes) {
      Transaction& transaction = *change.transaction;
      change.applied = transaction.id == 0 ? Insert(transaction) : Update(transaction);
      if (change.applied && !change.journal.empty()) batch_.Tell(transaction.id, change);
    }
  }

  void Commit() override {
    if (!batch_.IsOpen()) throw StoreError("there is no open batch to commit");
    const std::lock_guard<std::mutex> lock(mutex_);
    std::map<std::pair<Time, std::int64_t>, bool> due;
    for (const auto& [row, transaction] : batch_.records) {
      if (!IsFinal(transaction.status)) due[{transaction.due, row}] = true;
    }
    rows_.reserve(rows_.size() + batch_.rows.size());
    for (auto& [row, journal] : batch_.told) {
      const auto old = journals_.find(row);
      if (old != journals_.end()) journal.Follow(old->second);
    }
    // All or nothing: below nothing needs memory.
    batch_.Close();
    values_ = batch_.values;
    rows_.merge(batch_.rows);
    while (!batch_.records.empty()) {
      auto node = batch_.records.extract(batch_.records.begin());
      const auto old = records_.find(node.key());
      if (old == records_.end()) {
        records_.insert(std::move(node));
      } else {
        due_.erase({old->second.due, node.key()});
        old->second = std::move(node.mapped());
      }
    }
    due_.merge(due);
    for (auto& entry : batch_.told) journals_.erase(entry.first);
    journals_.merge(batch_.told);
    for (const std::int64_t row : batch_.removed) {
      const auto record = records_.find(row);
      if (record == records_.end()) continue;  // two steps of retention in one batch
      KeptGid kept = KeptOf(record->second);
      if (batch_.keep_gids) kept_[kept.gid] = std::move(kept);
      rows_.erase(record->second.definition->gid);
      records_.erase(record);
      journals_.erase(row);
    }
    for (const std::string& gid : batch_.forgotten) kept_.erase(gid);
  }

  void Rollback() noexcept override { batch_.Close(); }

  void Recover() override { batch_.Close(); }

  std::string Check(const std::atomic<bool>&) override { return {}; }

  std::optional<Transaction> Load(const std::string& gid) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto row = rows_.find(gid);
    if (row != rows_.end()) return records_.at(row->second);
    const auto kept = kept_.find(gid);
    return kept == kept_.end() ? std::nullopt : std::optional(RecordOf(kept->second));
  }

  std::vector<JournalEntry> ReadJournal(const std::string& gid) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto row = rows_.find(gid);
    if (row == rows_.end()) return {};
    const auto journal = journals_.find(row->second);
    std::vector<JournalEntry> entries;
    if (journal != journals_.end()) codec::DecodeJournal(journal->second.bytes, entries);
    return entries;
  }

  Backlog CountUnfinished(Time now) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    Backlog backlog;
    std::int64_t oldest = INT64_MAX;
    for (const auto& entry : due_) {
      const std::int64_t row = entry.first.second;
      const Transaction& transaction = records_.at(row);
      ++backlog.unfinished;
      if (row < oldest) oldest = row, backlog.oldest = transaction.created;
      const bool stuck = transaction.stuck && transaction.due == kNever;
      if (stuck) ++backlog.stuck;
      if (!stuck && transaction.due > now) ++backlog.waiting;
    }
    return backlog;
  }

  ScanPage Scan(const ScanFilter& filter, std::int64_t position, std::size_t limit) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (filter.IsSearch()) {
      memory_store::Searched searched(records_, due_);
      return search::Search(searched, filter, position, limit);
    }
    ScanPage page;
    auto end = position > 0 ? records_.lower_bound(position) : records_.end();
    while (end != records_.begin() && page.transactions.size() < limit) {
      const Transaction& transaction = std::prev(end)->second;
      --end;
      if (Matches(filter, transaction)) page.transactions.push_back(transaction);
    }
    if (limit > 0 && page.transactions.size() == limit) page.next = page.transactions.back().id;
    return page;
  }

  KeyValuePage ScanValues(const std::string& category, const std::string& key,
                          std::int64_t position, std::size_t limit) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    KeyValuePage page;
    if (!category.empty() && !key.empty()) {
      const KeyValue* found = values_->Find(category, key);
      if (found != nullptr && found->id > position && limit > 0) page.values.push_back(*found);
    } else {
      for (auto entry = values_->by_row.upper_bound(position);
           entry != values_->by_row.end() && page.values.size() < limit; ++entry) {
        const KeyValue& value = entry->second;
        const bool wanted =
            (category.empty() || category == value.category) && (key.empty() || key == value.key);
        if (wanted) page.values.push_back(value);
      }
    }
    if (limit > 0 && page.values.size() == limit) page.next = page.values.back().id;
    return page;
  }

  void Due(Time now, DuePosition after, const DueVisitor& visit) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto entry = due_.upper_bound({after.due, after.id});
         entry != due_.end() && entry->first.first <= now; ++entry) {
      if (!visit(Transaction(records_.at(entry->first.second)))) return;
    }
  }

  Time NextDue(Time now) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto entry = due_.upper_bound({now, INT64_MAX});
    return entry == due_.end() ? kNever : entry->first.first;
  }

  std::int64_t Expire(Time before, std::int64_t after, std::size_t limit, bool keep_gids) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    batch_.keep_gids = keep_gids;
    std::int64_t last = 0;
    std::size_t seen = 0;
    for (auto record = records_.upper_bound(after); record != records_.end() && seen < limit;
         ++record, ++seen) {
      const Transaction& transaction = record->second;
      const Time newest = records_.rbegin()->second.created;
      if (transaction.created >= before && transaction.created <= newest) return 0;
      last = record->first;
      if (IsFinal(transaction.status) && transaction.finished < before)
        batch_.removed.push_back(last);
    }
    return seen == limit ? last : 0;
  }

  std::string ForgetGids(Time before, const std::string& after, std::size_t limit) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::string last;
    std::size_t seen = 0;
    for (auto kept = kept_.upper_bound(after); kept != kept_.end() && seen < limit;
         ++kept, ++seen) {
      last = kept->first;
      if (kept->second.finished < before) batch_.forgotten.push_back(last);
    }
    return seen == limit ? last : std::string();
  }

 private:
  bool Insert(Transaction& transaction) {
    const std::string& gid = transaction.definition->gid;
    if (Has(gid)) return false;
    transaction.id = ++last_row_;
    batch_.rows[gid] = transaction.id;
    batch_.Keep(transaction, 1, Owner());
    return true;
  }

  bool Update(const Transaction& transaction) {
    const auto in_batch = batch_.records.find(transaction.id);
    const auto stored = records_.find(transaction.id);
    const Transaction* old = in_batch != batch_.records.end() ? &in_batch->second
                             : stored != records_.end()       ? &stored->second
                                                              : nullptr;
    if (old == nullptr || old->version != transaction.version) return false;
    batch_.Keep(transaction, transaction.version + 1, Owner());
    return true;
  }

  std::mutex mutex_;  // guards what is committed; only the owner's calls change it
  memory_store::Records records_;
  std::unordered_map<std::string, std::int64_t> rows_;
  memory_store::DueOnes due_;
  std::map<std::string, KeptGid> kept_;
  std::map<std::int64_t, memory_store::Journal> journals_;
  std::shared_ptr<const memory_store::Values> values_ = std::make_shared<memory_store::Values>();
  // The owner's alone.
  memory_store::OpenBatch batch_;
  std::int64_t last_row_ = 0;
};

}  // namespace v1
}  // namespace dtm
