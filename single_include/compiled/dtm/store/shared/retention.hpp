/// Generated from include/dtm/store/shared/retention.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../../dtm.hpp"
#include "database.hpp"
#include "records.hpp"

// ---- dtm/store/shared/retention.hpp ------------------------------------------------------------

/// One step of retention in a shared store. Each is one statement that writes, and two coordinators that come to the same row do
/// it no harm.
/// Needs: std. Threads: the owner's.

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace dtm {
inline namespace v1 {
namespace shared_store {

/// Leaves only the gids of these.
inline void KeepGids(Connection& connection, const std::vector<std::int64_t>& expired) {
  const auto rows = connection.Run(Query::kRecords, {&expired});
  std::vector<std::int64_t> ids;
  std::vector<std::int64_t> types;
  std::vector<std::int64_t> contents;
  for (std::size_t row = 0; row < rows->Count(); ++row) {
    const Transaction stored = ReadTransaction(*rows, row);
    const KeptGid kept = KeptOf(stored);
    ids.push_back(stored.id);
    types.push_back(static_cast<std::int64_t>(kept.type));
    contents.push_back(static_cast<std::int64_t>(kept.content));
  }
  (void)connection.Run(Query::kKeep, {&ids, &types, &contents});
}

/// See Store::Expire.
inline std::int64_t Expire(Connection& connection, std::int64_t before, std::int64_t after,
                           std::size_t limit, bool keep_gids) {
  constexpr std::int64_t kMostBytes = 1 << 20;  // they are read for the hash of their content
  const auto made = connection.Run(Query::kNewest, {});
  const std::int64_t newest = made->Count() > 0 ? made->Number(0, 0) : 0;
  const auto seen = connection.Run(Query::kLook, {after, static_cast<std::int64_t>(limit)});
  std::vector<std::int64_t> expired;
  std::int64_t next = 0;
  std::int64_t bytes = 0;
  for (std::size_t row = 0; row < seen->Count(); ++row) {
    const std::int64_t created = seen->Number(row, 1);
    const std::int64_t finished = seen->Number(row, 2);
    // Rows are in order of creation: the rest is younger, but behind one that was made with a clock ahead.
    if (created >= before && created <= newest) break;
    if (finished != 0 && finished < before) {
      expired.push_back(seen->Number(row, 0));
      bytes += keep_gids ? seen->Number(row, 3) : 0;
    }
    if (row + 1 < limit && bytes <= kMostBytes) continue;
    next = seen->Number(row, 0);
    break;
  }
  if (expired.empty()) return next;
  if (keep_gids) {
    KeepGids(connection, expired);
  } else {
    (void)connection.Run(Query::kRemove, {&expired});
  }
  return next;
}

/// See Store::ForgetGids. A position is the number of a row in as many digits.
inline std::string ForgetGids(Connection& connection, std::int64_t before, const std::string& after,
                              std::size_t limit) {
  constexpr std::size_t kDigits = 19;
  const auto seen = connection.Run(
      Query::kLookKept,
      {after.empty() ? std::int64_t{0} : static_cast<std::int64_t>(std::stoll(after)),
       static_cast<std::int64_t>(limit)});
  std::vector<std::int64_t> forgotten;
  std::string last;
  for (std::size_t row = 0; row < seen->Count(); ++row) {
    const std::int64_t number = seen->Number(row, 0);
    if (seen->Number(row, 1) < before) forgotten.push_back(number);
    last = std::to_string(number);
  }
  if (!forgotten.empty()) (void)connection.Run(Query::kForget, {&forgotten});
  return seen->Count() == limit ? std::string(kDigits - last.size(), '0') + last : std::string();
}

}  // namespace shared_store
}  // namespace v1
}  // namespace dtm
