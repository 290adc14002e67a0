/// What is read of a SQLite file for anybody: a transaction, a journal, lists, numbers.
/// Needs: SQLite through sql/sqlite_connection.hpp. Threads: any; each step has the reading connection for itself, so that
/// others read between the steps of a search.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <dtm/core/journal.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/sql/sqlite_connection.hpp>
#include <dtm/store/scan.hpp>
#include <dtm/store/search.hpp>
#include <dtm/store/sqlite/reader.hpp>
#include <dtm/store/sqlite/records.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {
namespace sqlite_store {

inline SearchSource::Ids IdsOf(sql::Statement& statement) {
  const Finally reset{statement};
  SearchSource::Ids ids;
  while (statement.Step()) ids.push_back(statement.Int(0));
  return ids;
}

inline SearchSource::Ids UnfinishedIds(Reader& reader, bool stuck, std::size_t most) {
  reader.unfinished_ids.Bind(1, stuck ? Stored(kNever) : INT64_MIN);
  reader.unfinished_ids.Bind(2, static_cast<std::int64_t>(most));
  return IdsOf(reader.unfinished_ids);
}

inline SearchSource::Ids IdsWithGids(Reader& reader, const std::string& from, const std::string& to,
                                     std::size_t most) {
  reader.gid_ids.BindText(1, from).BindText(2, to).Bind(3, static_cast<std::int64_t>(most));
  return IdsOf(reader.gid_ids);
}

inline SearchSource::Ids IdsBelow(Reader& reader, std::int64_t id, std::size_t most) {
  reader.below.Bind(1, id).Bind(2, static_cast<std::int64_t>(most));
  return IdsOf(reader.below);
}

/// Steps in rows of their own may have the target.
inline bool MayCall(const sql::Statement& row, const std::string& part) {
  return RegistersSteps(static_cast<TransType>(row.Int(2))) ||
         row.View(9).find(part) != std::string_view::npos;
}

inline SearchSource::Part ReadWanted(Reader& reader, const SearchSource::Ids& ids, bool in_a_row,
                                     const ScanFilter& filter, std::size_t most,
                                     std::size_t bytes) {
  if (ids.empty()) return {};
  sql::Statement& search = in_a_row ? reader.search_range : reader.search;
  search.Bind(3, filter.type ? static_cast<std::int64_t>(*filter.type) : 0);
  search.Bind(4, filter.status ? static_cast<std::int64_t>(*filter.status) : 0);
  search.Bind(5, Stored(filter.created_from)).Bind(6, Stored(filter.created_to));
  search.Bind(7, filter.stuck ? 2 : filter.unfinished ? 1 : 0).Bind(8, filter.errors ? 1 : 0);
  const std::string part = StoredPartOf(filter.target);
  SearchSource::Part read;
  for (const std::int64_t id : ids) {
    const Finally reset{search};
    search.Bind(1, id).Bind(2, ids.back());
    while (read.whole && search.Step()) {
      if (MayCall(search, part)) {
        read.records.push_back(ReadTransaction(search, reader.steps));
        bytes -= (std::min)(bytes, BytesOf(*read.records.back().definition));
        read.whole = read.records.size() < most && bytes > 0;
      }
      if (!in_a_row) break;
    }
    if (in_a_row || !read.whole) break;
  }
  return read;
}

/// `All` gives the reader for a while, as Connections does.
template <typename All>
class Searched : public SearchSource {
 public:
  explicit Searched(All& all) : all_(all) {}

  Ids Unfinished(bool stuck, std::size_t most) override {
    const typename All::Reading reader(all_);
    return UnfinishedIds(*reader, stuck, most);
  }
  std::optional<Ids> WithGids(const std::string& from, const std::string& to,
                              std::size_t most) override {
    const typename All::Reading reader(all_);
    return IdsWithGids(*reader, from, to, most);
  }
  Ids Below(std::int64_t id, std::size_t most) override {
    const typename All::Reading reader(all_);
    return IdsBelow(*reader, id, most);
  }
  Part Read(const Ids& ids, bool in_a_row, const ScanFilter& filter, std::size_t most,
            std::size_t bytes) override {
    const typename All::Reading reader(all_);
    return ReadWanted(*reader, ids, in_a_row, filter, most, bytes);
  }

 private:
  All& all_;
};

/// The reading half of a Store. `all`: see Searched; it outlives this.
template <typename All>
class Reads {
 public:
  explicit Reads(All& all) : all_(all) {}

  std::optional<Transaction> Load(const std::string& gid) {
    const typename All::Reading reader(all_);
    sql::Statement& find = reader->find;
    const Finally reset{find};
    if (find.BindText(1, gid).Step()) {
      return ReadTransaction(find, reader->steps);
    }
    sql::Statement& find_kept = reader->find_kept;
    const Finally reset_kept{find_kept};
    if (!find_kept.BindText(1, gid).Step()) return std::nullopt;
    return ReadKept(find_kept);
  }

  std::vector<JournalEntry> ReadJournal(const std::string& gid) {
    const typename All::Reading reader(all_);
    sql::Statement& journal = reader->journal;
    const Finally reset{journal};
    if (!journal.BindText(1, gid).Step()) return {};
    return sqlite_store::ReadJournal(journal);
  }

  ScanPage Scan(const ScanFilter& filter, std::int64_t position, std::size_t limit) {
    Searched<All> searched(all_);
    if (filter.IsSearch()) return search::Search(searched, filter, position, limit);
    if (search::OnlyUnfinished(filter)) return search::FullPage(searched, filter, position, limit);
    const typename All::Reading reader(all_);
    sql::Statement& scan = reader->scan;
    const Finally reset{scan};
    scan.Bind(1, position > 0 ? position : INT64_MAX);
    scan.Bind(2, filter.type ? static_cast<std::int64_t>(*filter.type) : 0);
    scan.Bind(3, filter.status ? static_cast<std::int64_t>(*filter.status) : 0);
    scan.Bind(4, Stored(filter.created_from));
    scan.Bind(5, Stored(filter.created_to));
    scan.Bind(6, static_cast<std::int64_t>(limit));
    ScanPage page;
    while (scan.Step()) {
      page.transactions.push_back(ReadTransaction(scan, reader->steps));
    }
    if (limit > 0 && page.transactions.size() == limit) page.next = page.transactions.back().id;
    return page;
  }

  KeyValuePage ScanValues(const std::string& category, const std::string& key,
                          std::int64_t position, std::size_t limit) {
    const typename All::Reading reader(all_);
    const bool one = !category.empty() && !key.empty();
    sql::Statement& scan = one ? reader->find_value : reader->scan_values;
    const Finally reset{scan};
    scan.Bind(1, position).BindText(2, category).BindText(3, key);
    scan.Bind(4, static_cast<std::int64_t>(limit));
    KeyValuePage page;
    while (scan.Step()) page.values.push_back(ReadValue(scan));
    if (limit > 0 && page.values.size() == limit) page.next = page.values.back().id;
    return page;
  }

  Backlog CountUnfinished(Time now) {
    const typename All::Reading reader(all_);
    const auto number = [](std::int64_t value) { return static_cast<std::uint64_t>(value); };
    Backlog backlog;
    sql::Statement& unfinished = reader->unfinished;
    const Finally reset_unfinished{unfinished};
    if (!unfinished.Bind(1, Stored(now)).Step() || unfinished.IsNull(2)) {
      return backlog;
    }
    backlog.unfinished = number(unfinished.Int(0));
    sql::Statement& created = reader->created;
    const Finally reset_created{created};
    if (created.Bind(1, unfinished.Int(2)).Step()) {
      backlog.oldest = FromStored(created.Int(0));
    }
    sql::Statement& stuck = reader->stuck;
    const Finally reset_stuck{stuck};
    if (stuck.Step()) backlog.stuck = number(stuck.Int(0));
    // They were counted one after the other.
    const std::uint64_t waiting = number(unfinished.Int(1));
    backlog.waiting = waiting - (std::min)(waiting, backlog.stuck);
    return backlog;
  }

 private:
  All& all_;
};

}  // namespace sqlite_store
}  // namespace v1
}  // namespace dtm
