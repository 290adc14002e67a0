/// What a search reads of a SQLite file. See store/search.hpp.
/// Needs: SQLite through sql/sqlite_connection.hpp. Threads: any; each step has the reading connection for itself, so that
/// others read in between.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <dtm/core/transaction.hpp>
#include <dtm/sql/sqlite_connection.hpp>
#include <dtm/store/scan.hpp>
#include <dtm/store/search.hpp>
#include <dtm/store/sqlite/reader.hpp>
#include <dtm/store/sqlite/records.hpp>

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

inline std::vector<Transaction> ReadWanted(Reader& reader, const SearchSource::Ids& ids,
                                           const ScanFilter& filter, std::size_t most) {
  if (ids.empty()) return {};
  const auto gaps = ids.front() - ids.back() - static_cast<std::int64_t>(ids.size());
  // Rows that follow each other are read in one go. What else is among them may match as well.
  const bool dense = gaps <= static_cast<std::int64_t>(ids.size());
  sql::Statement& search = dense ? reader.search_range : reader.search;
  search.Bind(3, filter.type ? static_cast<std::int64_t>(*filter.type) : 0);
  search.Bind(4, filter.status ? static_cast<std::int64_t>(*filter.status) : 0);
  search.Bind(5, Stored(filter.created_from)).Bind(6, Stored(filter.created_to));
  search.Bind(7, filter.stuck ? 2 : filter.unfinished ? 1 : 0).Bind(8, filter.errors ? 1 : 0);
  const std::string part = StoredPartOf(filter.target);
  std::vector<Transaction> read;
  for (const std::int64_t id : ids) {
    const Finally reset{search};
    search.Bind(1, id).Bind(2, ids.back());
    while (read.size() < most && search.Step()) {
      if (MayCall(search, part)) read.push_back(ReadTransaction(search, reader.steps));
      if (!dense) break;
    }
    if (dense || read.size() == most) break;
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
  std::vector<Transaction> Read(const Ids& ids, const ScanFilter& filter,
                                std::size_t most) override {
    const typename All::Reading reader(all_);
    return ReadWanted(*reader, ids, filter, most);
  }

 private:
  All& all_;
};

}  // namespace sqlite_store
}  // namespace v1
}  // namespace dtm
