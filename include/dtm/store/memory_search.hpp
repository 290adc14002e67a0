/// What a search reads of the store in memory. See search.hpp.
/// Needs: std. Threads: under the lock of the store.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <dtm/core/transaction.hpp>
#include <dtm/store/scan.hpp>
#include <dtm/store/search.hpp>

namespace dtm {
inline namespace v1 {
namespace memory_store {

using Records = std::map<std::int64_t, Transaction>;
/// Of the unfinished: when each is due, and its id.
using DueOnes = std::map<std::pair<Time, std::int64_t>, bool>;

class Searched : public SearchSource {
 public:
  Searched(const Records& records, const DueOnes& due) : records_(records), due_(due) {}

  Ids Unfinished(bool stuck, std::size_t most) override {
    Ids ids;
    auto due = stuck ? due_.lower_bound({kNever, 0}) : due_.begin();
    for (; due != due_.end() && ids.size() < most; ++due) ids.push_back(due->first.second);
    return ids;
  }
  std::optional<Ids> WithGids(const std::string&, const std::string&, std::size_t) override {
    return std::nullopt;  // they are in no order
  }
  Ids Below(std::int64_t id, std::size_t most) override {
    Ids ids;
    for (auto end = records_.lower_bound(id); end != records_.begin() && ids.size() < most;) {
      ids.push_back((--end)->first);
    }
    return ids;
  }
  /// They are in memory already, so their bytes do not count.
  Part Read(const Ids& ids, bool, const ScanFilter& filter, std::size_t most,
            std::size_t /*bytes*/) override {
    Part read;
    for (const std::int64_t id : ids) {
      const Transaction& record = records_.at(id);
      if (Matches(filter, record)) read.records.push_back(record);
      read.whole = read.records.size() < most;
      if (!read.whole) break;
    }
    return read;
  }

 private:
  const Records& records_;
  const DueOnes& due_;
};

}  // namespace memory_store
}  // namespace v1
}  // namespace dtm
