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
#include <dtm/store/memory_search.hpp>
#include <dtm/store/search.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

/// Keeps everything until it is destroyed.
class MemoryStore : public Store {
 public:
  const char* Kind() const override { return "memory"; }

  void Begin() override {
    if (open_) throw StoreError("a batch is open already; commit it or roll it back first");
    open_ = true;
    batch_.clear();
    removed_.clear();
    forgotten_.clear();
    new_rows_.clear();
    told_.clear();
    new_values_ = values_;
  }

  Result Run(const Work& work) override {
    const std::shared_ptr<const Values> before = new_values_;
    Result result = CatchAsResult([&work] { return work(WorkContext()); });
    if (result.kind != Result::Kind::kSuccess) new_values_ = before;
    return result;
  }

  bool Has(const std::string& gid) override {
    return rows_.count(gid) > 0 || new_rows_.count(gid) > 0 || kept_.count(gid) > 0;
  }

  std::optional<KeyValue> GetValue(const std::string& category, const std::string& key) override {
    const KeyValue* found = new_values_->Find(category, key);
    if (found == nullptr) return std::nullopt;
    return *found;
  }

  void PutValue(const KeyValue& value) override {
    const KeyValue* old = new_values_->Find(value.category, value.key);
    KeyValue kept = value;
    kept.id = old == nullptr ? ++last_value_ : old->id;
    kept.version = old == nullptr ? 1 : old->version + 1;
    kept.created = old == nullptr ? value.updated : old->created;
    const auto changed = std::make_shared<Values>(*new_values_);
    changed->rows_of[{value.category, value.key}] = kept.id;
    changed->by_row[kept.id] = std::move(kept);
    new_values_ = changed;
  }

  bool RemoveValue(const std::string& category, const std::string& key) override {
    const KeyValue* old = new_values_->Find(category, key);
    if (old == nullptr) return false;
    const auto changed = std::make_shared<Values>(*new_values_);
    changed->by_row.erase(old->id);
    changed->rows_of.erase({category, key});
    new_values_ = changed;
    return true;
  }

  void Apply(std::vector<Change>& changes) override {
    for (Change& change : changes) {
      Transaction& transaction = *change.transaction;
      change.applied = transaction.id == 0 ? Insert(transaction) : Update(transaction);
      if (change.applied && !change.journal.empty()) Tell(transaction.id, change);
    }
  }

  void Commit() override {
    if (!open_) throw StoreError("there is no open batch to commit");
    const std::lock_guard<std::mutex> lock(mutex_);
    std::map<std::pair<Time, std::int64_t>, bool> due;
    for (const auto& [row, transaction] : batch_) {
      if (!IsFinal(transaction.status)) due[{transaction.due, row}] = true;
    }
    rows_.reserve(rows_.size() + new_rows_.size());
    for (auto& [row, journal] : told_) {
      const auto old = journals_.find(row);
      if (old != journals_.end()) Join(old->second, journal);
    }
    // All or nothing: below nothing needs memory.
    open_ = false;
    values_ = new_values_;
    rows_.merge(new_rows_);
    while (!batch_.empty()) {
      auto node = batch_.extract(batch_.begin());
      const auto old = records_.find(node.key());
      if (old == records_.end()) {
        records_.insert(std::move(node));
      } else {
        due_.erase({old->second.due, node.key()});
        old->second = std::move(node.mapped());
      }
    }
    due_.merge(due);
    for (auto& entry : told_) journals_.erase(entry.first);
    journals_.merge(told_);
    for (const std::int64_t row : removed_) {
      const auto record = records_.find(row);
      if (record == records_.end()) continue;  // two steps of retention in one batch
      KeptGid kept = KeptOf(record->second);
      if (keep_gids_) kept_[kept.gid] = std::move(kept);
      rows_.erase(record->second.definition->gid);
      records_.erase(record);
      journals_.erase(row);
    }
    for (const std::string& gid : forgotten_) kept_.erase(gid);
  }

  void Rollback() noexcept override { open_ = false; }

  void Recover() override { open_ = false; }

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
    keep_gids_ = keep_gids;
    std::int64_t last = 0;
    std::size_t seen = 0;
    for (auto record = records_.upper_bound(after); record != records_.end() && seen < limit;
         ++record, ++seen) {
      const Transaction& transaction = record->second;
      const Time newest = records_.rbegin()->second.created;
      if (transaction.created >= before && transaction.created <= newest) return 0;
      last = record->first;
      if (IsFinal(transaction.status) && transaction.finished < before) removed_.push_back(last);
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
      if (kept->second.finished < before) forgotten_.push_back(last);
    }
    return seen == limit ? last : std::string();
  }

 private:
  bool Insert(Transaction& transaction) {
    const std::string& gid = transaction.definition->gid;
    if (Has(gid)) return false;
    transaction.id = ++last_row_;
    new_rows_[gid] = transaction.id;
    Keep(transaction, 1);
    return true;
  }

  bool Update(const Transaction& transaction) {
    const auto in_batch = batch_.find(transaction.id);
    const auto stored = records_.find(transaction.id);
    const Transaction* old = in_batch != batch_.end()   ? &in_batch->second
                             : stored != records_.end() ? &stored->second
                                                        : nullptr;
    if (old == nullptr || old->version != transaction.version) return false;
    Keep(transaction, transaction.version + 1);
    return true;
  }

  void Keep(const Transaction& transaction, std::uint64_t version) {
    Transaction& kept = batch_[transaction.id] = transaction;
    kept.version = version;
    kept.owner = Owner();
    for (Branch& branch : kept.branches) {  // what no store keeps
      branch.in_flight = branch.unsent = false;
      branch.previous_deadline = Time{};
    }
  }

  struct Journal {
    std::string bytes;
    std::size_t folded = 0;  ///< bytes when it was folded last
    unsigned history = 0;
  };

  void Tell(std::int64_t row, const Change& change) {
    Journal& told = told_[row];
    told.bytes.append(change.journal);
    told.history = change.history;
  }

  /// Puts the old ones before the new ones. It is folded whenever it has doubled.
  static void Join(const Journal& old, Journal& journal) {
    journal.bytes.insert(0, old.bytes);
    journal.folded = old.folded;
    if (journal.bytes.size() < 2 * journal.folded + kFoldedFrom) return;
    std::vector<JournalEntry> entries;
    codec::DecodeJournal(journal.bytes, entries);
    FoldJournal(entries, journal.history);
    journal.bytes.clear();
    codec::EncodeJournal(entries, journal.bytes);
    journal.folded = journal.bytes.size();
  }
  static constexpr std::size_t kFoldedFrom = 1024;

  /// Never changed once they are kept: a batch that writes values makes new ones.
  struct Values {
    std::map<std::int64_t, KeyValue> by_row;
    std::map<std::pair<std::string, std::string>, std::int64_t> rows_of;

    const KeyValue* Find(const std::string& category, const std::string& key) const {
      const auto row = rows_of.find({category, key});
      return row == rows_of.end() ? nullptr : &by_row.at(row->second);
    }
  };

  std::mutex mutex_;  // guards what is committed; only the owner's calls change it
  memory_store::Records records_;
  std::unordered_map<std::string, std::int64_t> rows_;
  memory_store::DueOnes due_;
  std::map<std::string, KeptGid> kept_;
  std::map<std::int64_t, Journal> journals_;
  std::shared_ptr<const Values> values_ = std::make_shared<Values>();
  // The open batch, the owner's alone.
  bool open_ = false;
  std::int64_t last_row_ = 0;
  std::map<std::int64_t, Transaction> batch_;
  std::unordered_map<std::string, std::int64_t> new_rows_;
  std::map<std::int64_t, Journal> told_;
  std::vector<std::int64_t> removed_;
  bool keep_gids_ = false;
  std::vector<std::string> forgotten_;
  std::shared_ptr<const Values> new_values_ = values_;
  std::int64_t last_value_ = 0;
};

}  // namespace v1
}  // namespace dtm
