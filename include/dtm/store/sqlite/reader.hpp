/// The connection of the SQLite store that reads, with its statements. It sees committed records only.
/// Needs: SQLite through sql/sqlite_connection.hpp. Threads: one at a time.
/// Document: docs/store_format.md.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include <dtm/sql/sqlite_connection.hpp>
#include <dtm/store/sqlite/records.hpp>

namespace dtm {
inline namespace v1 {
namespace sqlite_store {

struct Reader {
  explicit Reader(std::unique_ptr<sql::Database> configured)
      : owned(std::move(configured)),
        find(*owned, Select("WHERE gid = ?1")),
        steps(*owned, kSelectSteps),
        journal(*owned, std::string(kSelectJournal) + "WHERE gid = ?1"),
        find_kept(*owned, std::string(kSelectKept) + "WHERE gid = ?1"),
        scan(*owned,
             Select("WHERE id < ?1 AND (?2 = 0 OR type = ?2) AND (?3 = 0 OR status = ?3) AND "
                    "created >= ?4 AND created <= ?5 ORDER BY id DESC LIMIT ?6")),
        scan_values(*owned, std::string(kSelectValues) +
                                "WHERE id > ?1 AND (?2 = '' OR cat = ?2) AND (?3 = '' OR k = ?3) "
                                "ORDER BY id LIMIT ?4"),
        // The same if both are given: by the index, however many values there are.
        find_value(*owned,
                   std::string(kSelectValues) + "WHERE id > ?1 AND cat = ?2 AND k = ?3 LIMIT ?4"),
        // By the index of what is due alone. Ids are in order of creation.
        unfinished(*owned,
                   "SELECT count(*), count(CASE WHEN due > ?1 THEN 1 END), min(id) FROM dtm_trans "
                   "WHERE due IS NOT NULL"),
        created(*owned, "SELECT created FROM dtm_trans WHERE id = ?1"),
        // Among those that nothing will wake: the flag is the lowest bit of the second byte of the state.
        stuck(*owned,
              "SELECT count(*) FROM dtm_trans WHERE due = 9223372036854775807 AND "
              "instr('13579BDF', substr(hex(substr(state, 2, 1)), 2)) > 0") {}

  std::unique_ptr<sql::Database> owned;
  sql::Statement find, steps, journal, find_kept, scan, scan_values, find_value, unfinished,
      created, stuck;
};

}  // namespace sqlite_store
}  // namespace v1
}  // namespace dtm
