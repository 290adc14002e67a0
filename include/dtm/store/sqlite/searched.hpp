/// What a search reads of a SQLite file. See store/search.hpp.
/// Needs: SQLite through sql/sqlite_connection.hpp. Threads: any; each step has the reading connection for itself, so that
/// others read in between.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
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

inline std::vector<Transaction> ReadWanted(Reader& reader, const SearchSource::Ids& ids,
                                           const ScanFilter& filter, std::size_t most) {
  const std::string part = StoredPartOf(filter.target);
  sql::Statement& search = reader.search;
  search.Bind(2, filter.type ? static_cast<std::int64_t>(*filter.type) : 0);
  search.Bind(3, filter.status ? static_cast<std::int64_t>(*filter.status) : 0);
  search.Bind(4, Stored(filter.created_from)).Bind(5, Stored(filter.created_to));
  search.Bind(6, filter.stuck ? 2 : filter.unfinished ? 1 : 0);
  search.Bind(7, filter.errors ? 1 : 0).BindBlob(8, part);
  std::vector<Transaction> read;
  for (const std::int64_t id : ids) {
    const Finally reset{search};
    if (search.Bind(1, id).Step()) read.push_back(ReadTransaction(search, reader.steps));
    if (read.size() == most) break;
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
