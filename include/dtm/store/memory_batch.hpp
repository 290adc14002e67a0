/// What a batch of the store in memory is to write: all of it is beside what is committed, so it can be dropped.
/// Needs: std. Threads: the owner's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <dtm/core/journal.hpp>
#include <dtm/core/result.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/work_context.hpp>
#include <dtm/store/journal_codec.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {
namespace memory_store {

/// Never changed once they are kept: a batch that writes values makes new ones.
struct Values {
  std::map<std::int64_t, KeyValue> by_row;
  std::map<std::pair<std::string, std::string>, std::int64_t> rows_of;

  const KeyValue* Find(const std::string& category, const std::string& key) const {
    const auto row = rows_of.find({category, key});
    return row == rows_of.end() ? nullptr : &by_row.at(row->second);
  }
};

struct Journal {
  std::string bytes;
  std::size_t folded = 0;  ///< bytes when it was folded last
  unsigned history = 0;

  /// Puts the old ones before the new ones. It is folded whenever it has doubled.
  void Follow(const Journal& old) {
    bytes.insert(0, old.bytes);
    folded = old.folded;
    if (bytes.size() < 2 * folded + kFoldedFrom) return;
    std::vector<JournalEntry> entries;
    codec::DecodeJournal(bytes, entries);
    FoldJournal(entries, history);
    bytes.clear();
    codec::EncodeJournal(entries, bytes);
    folded = bytes.size();
  }

 private:
  static constexpr std::size_t kFoldedFrom = 1024;
};

class OpenBatch {
 public:
  /// `committed`: what the batch begins with.
  /// @throws StoreError  it is open.
  void Begin(std::shared_ptr<const Values> committed) {
    if (open_) throw StoreError("a batch is open already; commit it or roll it back first");
    open_ = true;
    records.clear();
    rows.clear();
    told.clear();
    removed.clear();
    forgotten.clear();
    values = std::move(committed);
  }
  bool IsOpen() const { return open_; }
  void Close() noexcept { open_ = false; }

  /// See Store::Run.
  Result Run(const Work& work) {
    const std::shared_ptr<const Values> before = values;
    Result result = CatchAsResult([&work] { return work(WorkContext()); });
    if (result.kind != Result::Kind::kSuccess) values = before;
    return result;
  }

  std::optional<KeyValue> GetValue(const std::string& category, const std::string& key) const {
    const KeyValue* found = values->Find(category, key);
    if (found == nullptr) return std::nullopt;
    return *found;
  }

  void PutValue(const KeyValue& value) {
    const KeyValue* old = values->Find(value.category, value.key);
    KeyValue kept = value;
    kept.id = old == nullptr ? ++last_value_ : old->id;
    kept.version = old == nullptr ? 1 : old->version + 1;
    kept.created = old == nullptr ? value.updated : old->created;
    const auto changed = std::make_shared<Values>(*values);
    changed->rows_of[{value.category, value.key}] = kept.id;
    changed->by_row[kept.id] = std::move(kept);
    values = changed;
  }

  bool RemoveValue(const std::string& category, const std::string& key) {
    const KeyValue* old = values->Find(category, key);
    if (old == nullptr) return false;
    const auto changed = std::make_shared<Values>(*values);
    changed->by_row.erase(old->id);
    changed->rows_of.erase({category, key});
    values = changed;
    return true;
  }

  /// As it is to be stored.
  void Keep(const Transaction& transaction, std::uint64_t version, std::uint64_t owner) {
    Transaction& kept = records[transaction.id] = transaction;
    kept.version = version;
    kept.owner = owner;
    for (Branch& branch : kept.branches) {  // what no store keeps
      branch.in_flight = branch.unsent = false;
      branch.previous_deadline = Time{};
    }
  }

  void Tell(std::int64_t row, const Change& change) {
    Journal& journal = told[row];
    journal.bytes.append(change.journal);
    journal.history = change.history;
  }

  std::map<std::int64_t, Transaction> records;         ///< new and changed ones
  std::unordered_map<std::string, std::int64_t> rows;  ///< of new gids
  std::map<std::int64_t, Journal> told;                ///< of these records
  std::vector<std::int64_t> removed;                   ///< records that have expired
  bool keep_gids = false;                              ///< of them
  std::vector<std::string> forgotten;                  ///< gids that were kept
  std::shared_ptr<const Values> values = std::make_shared<Values>();

 private:
  bool open_ = false;
  std::int64_t last_value_ = 0;
};

}  // namespace memory_store
}  // namespace v1
}  // namespace dtm
