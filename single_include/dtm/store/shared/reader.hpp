/// Generated from include/dtm/store/shared/reader.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../../dtm.hpp"
#include "../../sql/sql_errors.hpp"
#include "database.hpp"
#include "records.hpp"

// ---- dtm/store/shared/reader.hpp ---------------------------------------------------------------

/// What a shared store reads for anybody: a transaction, a journal, lists, numbers.
/// Needs: std. Threads: any, one after the other, on a connection beside the owner's.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dtm {
inline namespace v1 {
namespace shared_store {

/// On another connection if this one is lost, or is lost meanwhile.
inline std::unique_ptr<SqlRows> ReadOn(Database& database, std::unique_ptr<Connection>& connection,
                                       Query query, const std::vector<SqlValue>& values) {
  if (connection != nullptr && connection->Works()) {
    try {
      return connection->Run(query, values);
    } catch (const SqlError&) {
      if (connection->Works()) throw;
    }
  }
  connection.reset();
  connection = database.Connect();
  return connection->Run(query, values);
}

class Reader {
 public:
  explicit Reader(Database& database) : database_(database) {}

  /// Comes before the others: of this coordinator.
  void SetApp(const std::string& app) { app_ = app; }

  /// Any statement that may run twice.
  std::unique_ptr<SqlRows> Run(Query query, const std::vector<SqlValue>& values) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return ReadOn(database_, connection_, query, values);
  }
  /// One that may not: after a lost connection it is not known whether it has run.
  std::unique_ptr<SqlRows> RunOnce(Query query, const std::vector<SqlValue>& values) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (connection_ == nullptr || !connection_->Works()) {
      connection_.reset();
      connection_ = database_.Connect();
    }
    return connection_->Run(query, values);
  }

  std::optional<Transaction> Load(const std::string& gid) {
    if (!IsStorable(gid)) return std::nullopt;
    const auto rows = Run(Query::kFind, {std::string_view(gid)});
    if (rows->Count() == 0) return std::nullopt;
    return ReadTransaction(*rows, 0, app_);
  }

  std::vector<JournalEntry> ReadJournal(const std::string& gid) {
    if (!IsStorable(gid)) return {};
    const auto rows = Run(Query::kJournal, {std::string_view(gid)});
    if (rows->Count() == 0) return {};
    return shared_store::ReadJournal(*rows, 0, 0);
  }

  ScanPage Scan(const ScanFilter& filter, std::int64_t position, std::size_t limit) {
    const auto rows = Run(
        Query::kScan,
        {position > 0 ? position : INT64_MAX,
         filter.type ? static_cast<std::int64_t>(*filter.type) : std::int64_t{0},
         filter.status ? static_cast<std::int64_t>(*filter.status) : std::int64_t{0},
         Stored(filter.created_from), Stored(filter.created_to), static_cast<std::int64_t>(limit)});
    ScanPage page;
    for (std::size_t row = 0; row < rows->Count(); ++row) {
      page.transactions.push_back(ReadTransaction(*rows, row, app_));
    }
    if (limit > 0 && page.transactions.size() == limit) page.next = page.transactions.back().id;
    return page;
  }

  KeyValuePage ScanValues(const std::string& category, const std::string& key,
                          std::int64_t position, std::size_t limit) {
    KeyValuePage page;
    if (!IsStorable(category) || !IsStorable(key)) return page;
    const auto rows =
        Run(Query::kValues, {position, std::string_view(category), std::string_view(key),
                             static_cast<std::int64_t>(limit)});
    for (std::size_t row = 0; row < rows->Count(); ++row) {
      page.values.push_back(ReadValue(*rows, row));
    }
    if (limit > 0 && page.values.size() == limit) page.next = page.values.back().id;
    return page;
  }

  Backlog CountUnfinished(Time now) {
    const auto rows = Run(Query::kCount, {Stored(now)});
    const auto number = [&rows](std::size_t column) {
      return static_cast<std::uint64_t>(rows->Number(0, column));
    };
    return {number(0), number(1), number(2),
            rows->IsNull(0, 3) ? kNever : FromStored(rows->Number(0, 3))};
  }

 private:
  Database& database_;
  std::string app_;
  std::mutex mutex_;
  std::unique_ptr<Connection> connection_;  // guarded by it
};

}  // namespace shared_store
}  // namespace v1
}  // namespace dtm
