/// Generated from include/dtm/store/shared/pending_values.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../../dtm.hpp"
#include "batch.hpp"
#include "database.hpp"
#include "records.hpp"

// ---- dtm/store/shared/pending_values.hpp -------------------------------------------------------

/// The values (topics) that the works of an open batch have read and written: they go with the batch, compare-and-set on the
/// version that was read.
/// Needs: std. Threads: the owner's.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace dtm {
inline namespace v1 {
namespace shared_store {

/// Copied to undo what a work has done.
class PendingValues {
 public:
  void Clear() { values_.clear(); }

  std::optional<KeyValue> Get(Connection& connection, const std::string& category,
                              const std::string& key) {
    return Find(connection, category, key).now;
  }
  void Put(Connection& connection, const KeyValue& value) {
    Pending& pending = Find(connection, value.category, value.key);
    KeyValue written = value;
    written.version = pending.now ? pending.now->version + 1 : 1;
    written.created = pending.now ? pending.now->created : value.updated;
    pending.now = std::move(written);
    pending.written = true;
  }
  bool Remove(Connection& connection, const std::string& category, const std::string& key) {
    Pending& pending = Find(connection, category, key);
    pending.written = true;
    return std::exchange(pending.now, std::nullopt).has_value();
  }

  void MoveTo(BatchRows& batch) {
    for (auto& [name, pending] : values_) {
      if (!pending.written || (!pending.stored && !pending.now)) continue;
      ChangedValue changed;
      changed.category = name.first;
      changed.key = name.second;
      if (pending.stored) changed.before = static_cast<std::int64_t>(pending.stored->version);
      if (pending.now) {
        changed.value = pending.now->value;
        changed.created = Stored(pending.now->created);
        changed.updated = Stored(pending.now->updated);
        changed.version = static_cast<std::int64_t>(pending.now->version);
      }
      batch.values.push_back(std::move(changed));
    }
    Clear();
  }

 private:
  struct Pending {
    std::optional<KeyValue> stored, now;
    bool written = false;
  };

  Pending& Find(Connection& connection, const std::string& category, const std::string& key) {
    const auto place = values_.find({category, key});
    if (place != values_.end()) return place->second;
    Pending found;
    if (IsStorable(category) && IsStorable(key)) {
      const auto rows = connection.Run(Query::kValues, {std::int64_t{0}, std::string_view(category),
                                                        std::string_view(key), std::int64_t{1}});
      if (rows->Count() > 0) found.stored = found.now = ReadValue(*rows, 0);
    }
    return values_.emplace(std::make_pair(category, key), std::move(found)).first->second;
  }

  std::map<std::pair<std::string, std::string>, Pending> values_;
};

}  // namespace shared_store
}  // namespace v1
}  // namespace dtm
