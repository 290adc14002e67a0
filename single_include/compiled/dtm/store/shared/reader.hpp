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

#include <algorithm>
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
 private:
  class Searched : public SearchSource {
   public:
    explicit Searched(Reader& reader) : reader_(reader) {}

    Ids Unfinished(bool stuck, std::size_t most) override {
      Ids ids;
      reader_.ForEachOwner([&](std::int64_t owner) {
        const bool only_stuck = stuck && owner >= 0;  // what waits for its app is due at some time
        Add(Query::kUnfinished,
            {owner, only_stuck ? Stored(kNever) : INT64_MIN, Count(most - ids.size())}, ids);
        return ids.size() < most;
      });
      return ids;
    }
    std::optional<Ids> WithGids(const std::string& from, const std::string& to,
                                std::size_t most) override {
      Ids ids;
      if (IsStorable(from)) {
        Add(Query::kGids, {std::string_view(from), std::string_view(to), Count(most)}, ids);
      }
      return ids;
    }
    Ids Below(std::int64_t id, std::size_t most) override {
      Ids ids;
      Add(Query::kBelow, {id, Count(most)}, ids);
      return ids;
    }
    Part Read(const Ids& ids, bool in_a_row, const ScanFilter& filter, std::size_t most,
              std::size_t bytes) override {
      const std::string part = StoredPartOf(filter.target);
      std::vector<SqlValue> values{
          filter.type ? static_cast<std::int64_t>(*filter.type) : std::int64_t{0},
          filter.status ? static_cast<std::int64_t>(*filter.status) : std::int64_t{0},
          Stored(filter.created_from),
          Stored(filter.created_to),
          std::int64_t{filter.stuck        ? 2
                       : filter.unfinished ? 1
                                           : 0},
          std::int64_t{filter.errors},
          SqlBytes{part},
          Count(most),
          Count(bytes)};
      if (in_a_row) {
        values.insert(values.end(), {ids.back(), ids.front()});
      } else {
        values.emplace_back(&ids);
      }
      const auto rows = reader_.Run(in_a_row ? Query::kSearchRange : Query::kSearch, values);
      Part part_read;
      for (std::size_t row = 0; row < rows->Count(); ++row) {
        part_read.records.push_back(ReadTransaction(*rows, row, reader_.app_));
      }
      part_read.whole = !MayHaveMore(*rows, {most, bytes});
      return part_read;
    }

   private:
    static std::int64_t Count(std::size_t count) { return static_cast<std::int64_t>(count); }
    void Add(Query query, const std::vector<SqlValue>& values, Ids& ids) {
      const auto rows = reader_.Run(query, values);
      for (std::size_t row = 0; row < rows->Count(); ++row) ids.push_back(rows->Number(row, 0));
    }

    Reader& reader_;
  };

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
    Searched searched(*this);
    return filter.IsSearch() ? search::Search(searched, filter, position, limit)
                             : search::FullPage(searched, filter, position, limit);
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
    Backlog all;
    ForEachOwner([&](std::int64_t owner) {
      const auto rows = Run(Query::kCount, {Stored(now), owner});
      const auto number = [&rows](std::size_t column) {
        return static_cast<std::uint64_t>(rows->Number(0, column));
      };
      all.unfinished += number(0);
      all.waiting += number(1);
      all.stuck += number(2);
      if (!rows->IsNull(0, 3)) {
        all.oldest = (std::min)(all.oldest, FromStored(rows->Number(0, 3)));
      }
      return true;
    });
    return all;
  }

 private:
  /// Of those with unfinished rows, and perhaps others, until `visit` returns false: the index of what is due begins with them.
  template <typename Visit>
  void ForEachOwner(const Visit& visit) {
    constexpr std::int64_t kOwnersAtATime = 900;  // MySQL recurs no deeper than 1000
    for (std::int64_t after = INT64_MIN;;) {
      const auto owners = Run(Query::kOrphans, {after, kOwnersAtATime});
      for (std::size_t row = 0; row < owners->Count(); ++row) {
        after = owners->Number(row, 0);
        if (!visit(after)) return;
      }
      if (owners->Count() < static_cast<std::size_t>(kOwnersAtATime)) return;
    }
  }

  Database& database_;
  std::string app_;
  std::mutex mutex_;
  std::unique_ptr<Connection> connection_;  // guarded by it
};

}  // namespace shared_store
}  // namespace v1
}  // namespace dtm
