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

/// Nothing will wake it, and the lowest bit of the second byte of its state is set.
inline constexpr char kStuck[] =
    "due = 9223372036854775807 AND instr('13579BDF', substr(hex(substr(state, 2, 1)), 2)) > 0";

/// What of a search is cheap to see before a record is decoded: type, status, created from, to, 1: unfinished or 2: stuck, 1:
/// errors. Without a reason and an error the first two texts of the state, behind the number of errors, are empty.
inline std::string Wanted() {
  return " AND (?3 = 0 OR type = ?3) AND (?4 = 0 OR status = ?4) AND created >= ?5 AND created <= "
         "?6 AND (?7 = 0 OR due IS NOT NULL) AND (?7 < 2 OR (" +
         std::string(kStuck) + ")) AND (?8 = 0 OR substr(state, 4, 2) <> x'0000')";
}

struct Reader {
  /// `journals`: the file keeps them; false of older versions.
  explicit Reader(std::unique_ptr<sql::Database> configured, bool journals = true)
      : owned(std::move(configured)),
        find(*owned, Select("WHERE gid = ?1")),
        steps(*owned, kSelectSteps),
        journal(*owned,
                std::string(journals ? kSelectJournal : kSelectNoJournal) + "WHERE gid = ?1"),
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
        unfinished_ids(*owned,
                       "SELECT id FROM dtm_trans INDEXED BY dtm_trans_due WHERE due IS NOT NULL "
                       "AND due >= ?1 LIMIT ?2"),
        gid_ids(*owned,
                "SELECT id FROM dtm_trans WHERE gid >= ?1 AND (?2 = '' OR gid < ?2) LIMIT ?3"),
        below(*owned, "SELECT id FROM dtm_trans WHERE id < ?1 ORDER BY id DESC LIMIT ?2"),
        search(*owned, Select("WHERE id = ?1 AND ?2 = ?2" + Wanted())),
        search_range(*owned,
                     Select("WHERE id <= ?1 AND id >= ?2" + Wanted() + " ORDER BY id DESC")),
        // By the index of what is due alone. Ids are in order of creation.
        unfinished(*owned,
                   "SELECT count(*), count(CASE WHEN due > ?1 THEN 1 END), min(id) FROM dtm_trans "
                   "WHERE due IS NOT NULL"),
        created(*owned, "SELECT created FROM dtm_trans WHERE id = ?1"),
        stuck(*owned, std::string("SELECT count(*) FROM dtm_trans WHERE ") + kStuck) {}

  std::unique_ptr<sql::Database> owned;
  sql::Statement find, steps, journal, find_kept, scan, scan_values, find_value, unfinished_ids,
      gid_ids, below, search, search_range, unfinished, created, stuck;
};

}  // namespace sqlite_store
}  // namespace v1
}  // namespace dtm
