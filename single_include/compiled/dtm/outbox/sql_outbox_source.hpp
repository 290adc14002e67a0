/// Generated from include/dtm/outbox/sql_outbox_source.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../dtm.hpp"
#include "outbox_table.hpp"
#include "../sql/session.hpp"

// ---- dtm/outbox/sql_outbox_source.hpp ----------------------------------------------------------

/// Takes rows of an outbox table up for a coordinator, so that each is given to one store only, whatever crashes when.
/// Needs: std. Threads: by one thread at a time. Format: docs/store_format.md.
///
/// A look that finds nothing is one statement. A row is claimed first (its `owner` is the name of the coordinator's store), in
/// a transaction of its own, and only then submitted: from there on it is that store's, which knows the gid.

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace dtm {
inline namespace v1 {

/// The algorithm; who connects is PgOutboxSource or MysqlOutboxSource.
class SqlOutboxSource : public OutboxSource {
 public:
  std::size_t Relay(const std::string& store, std::size_t limit, const Take& take) override {
    return Connected([&] { return Page(store, limit, take); });
  }

  Oldest LookAtOldest(const std::string& store) override {
    return Connected([&] { return ReadOldest(store); });
  }

 protected:
  /// @throws LogicError  this is no name of a table.
  SqlOutboxSource(SqlDialect dialect, const std::string& table)
      : postgres_(dialect == SqlDialect::kPostgres), quoted_(outbox::Quoted(dialect, table)) {
    const std::string mine = postgres_ ? "owner = $1" : "owner = ?";
    // Rows in a format that this version does not know wait for a coordinator that does.
    const std::string readable = " AND SUBSTRING(definition, 1, 1) <= " + NewestFormat();
    look_ =
        (postgres_
             ? "SELECT id || CASE WHEN owner IS NULL THEN ' 0 ' ELSE ' 1 ' END || type || ' ' || "
               "encode(definition, 'hex') || ' ' || encode(convert_to(gid, 'UTF8'), 'hex')"
             : "SELECT CONCAT_WS(' ', id, owner IS NOT NULL, type, HEX(definition), HEX(gid))") +
        (" FROM " + quoted_) + " WHERE problem IS NULL AND (owner IS NULL OR " + mine + ")" +
        readable + " ORDER BY id LIMIT ";
    mine_ = "SELECT id FROM " + quoted_ + " WHERE problem IS NULL AND " + mine + readable +
            " ORDER BY id LIMIT ";
    mark_ =
        "UPDATE " + quoted_ +
        (postgres_ ? " SET problem = $1 WHERE id = $2::bigint" : " SET problem = ? WHERE id = ?");
    oldest_ =
        (postgres_
             ? "SELECT greatest(0, floor(extract(epoch FROM clock_timestamp() - created)))::bigint "
               "|| ' ' || "
             : "SELECT CONCAT(GREATEST(0, UNIX_TIMESTAMP() - UNIX_TIMESTAMP(created)), ' ', ") +
        std::string("CASE WHEN SUBSTRING(definition, 1, 1) > ") + NewestFormat() +
        " THEN '!' ELSE COALESCE(owner, '') END" + (postgres_ ? "" : ")") + " FROM " + quoted_ +
        " WHERE problem IS NULL ORDER BY id LIMIT 1";
  }

  /// A connection of its own, on which every statement commits by itself, durably, and no answer is waited for without end.
  virtual std::unique_ptr<SqlSession> Connect() = 0;

 private:
  /// With a connection, which goes if `use` throws: what it did is not known then.
  template <typename Use>
  std::invoke_result_t<Use> Connected(const Use& use) {
    if (!session_) session_ = Connect();
    try {
      return use();
    } catch (...) {
      session_.reset();
      throw;
    }
  }

  std::size_t Page(const std::string& store, std::size_t limit, const Take& take) {
    std::vector<outbox::Row> rows;
    const std::string count = std::to_string(limit);
    for (const std::string& text : session_->Run(look_ + count, {store}).first_column) {
      rows.push_back(outbox::ReadRow(text));
    }
    const std::size_t found = rows.size();
    if (Claim(rows, store)) {
      // Another coordinator may have been faster. Ours are among the oldest of all that are ours.
      std::vector<std::string> ours = session_->Run(mine_ + count, {store}).first_column;
      std::sort(ours.begin(), ours.end());
      const auto lost = [&](const outbox::Row& row) {
        return !std::binary_search(ours.begin(), ours.end(), row.id);
      };
      rows.erase(std::remove_if(rows.begin(), rows.end(), lost), rows.end());
    }
    Settle(rows, take);
    return found;
  }

  /// False: all of them are ours already.
  bool Claim(const std::vector<outbox::Row>& rows, const std::string& store) {
    std::string ids;
    for (const outbox::Row& row : rows) {
      if (!row.claimed) AddId(ids, row.id);
    }
    if (ids.empty()) return false;
    // Row by row by the key: a scan would wait for rows that programs have not committed.
    const std::string owner = "'" + store + "'";
    session_->Simple((postgres_ ? "UPDATE " + quoted_ + " o SET owner = " + owner + " FROM (" +
                                      ids + ") d WHERE o.id = d.id AND o.owner IS NULL"
                                : "UPDATE (" + ids + ") d STRAIGHT_JOIN " + quoted_ +
                                      " o ON o.id = d.id SET o.owner = " + owner +
                                      " WHERE o.owner IS NULL")
                         .c_str());
    return true;
  }

  void Settle(std::vector<outbox::Row>& rows, const Take& take) {
    std::vector<Definition> page;
    for (outbox::Row& row : rows) {
      if (row.problem.empty()) page.push_back(std::move(row.definition));
    }
    std::vector<Verdict> verdicts;
    if (!page.empty()) verdicts = take(std::move(page));
    std::string done;
    std::size_t next = 0;
    for (const outbox::Row& row : rows) {
      const Verdict verdict = row.problem.empty() ? std::move(verdicts.at(next++))
                                                  : Verdict{Verdict::Kind::kRefused, row.problem};
      if (verdict.kind == Verdict::Kind::kTaken) AddId(done, row.id);
      if (verdict.kind == Verdict::Kind::kRefused) {
        session_->Run(mark_, {Truncated(Printable(verdict.why), 1000), row.id});
      }
    }
    if (done.empty()) return;
    session_->Simple(
        (postgres_
             ? "DELETE FROM " + quoted_ + " o USING (" + done + ") d WHERE o.id = d.id"
             : "DELETE o FROM (" + done + ") d STRAIGHT_JOIN " + quoted_ + " o ON o.id = d.id")
            .c_str());
  }

  Oldest ReadOldest(const std::string& store) {
    Oldest oldest;
    const std::vector<std::string> rows = session_->Run(oldest_, {}).first_column;
    if (rows.empty()) return oldest;
    const std::size_t blank = (std::min)(rows[0].find(' '), rows[0].size());
    const std::string owner = rows[0].substr((std::min)(blank + 1, rows[0].size()));
    oldest.age = std::chrono::seconds(ParseNumber<long>(rows[0].substr(0, blank)).value_or(0));
    if (owner == "!") {
      oldest.not_ours = "it was written by a newer version; update this coordinator";
    } else if (!owner.empty() && owner != store) {
      oldest.not_ours =
          "it belongs to the store '" + Printable(owner) +
          "' of another coordinator, which may have run it; let that one relay this table, or see "
          "\"Whose row\" in docs/store_format.md";
    }
    return oldest;
  }

  std::string NewestFormat() const {
    const std::string hex = outbox::Hex(std::string(1, static_cast<char>(codec::kFormat)));
    return postgres_ ? "decode('" + hex + "', 'hex')" : "x'" + hex + "'";
  }

  static void AddId(std::string& ids, const std::string& id) {
    ids += ids.empty() ? "SELECT " + id + " AS id" : " UNION ALL SELECT " + id;
  }

  const bool postgres_;
  const std::string quoted_;
  std::string look_, mine_, mark_, oldest_;
  std::unique_ptr<SqlSession> session_;
};

}  // namespace v1
}  // namespace dtm
