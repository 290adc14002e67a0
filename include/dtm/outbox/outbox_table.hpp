/// The table between a program that submits in its own transaction and the coordinator that takes it up: its rows and SQL.
/// Needs: std. Threads: pure functions; statements as their session. Format: docs/store_format.md.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dtm/base/error.hpp>
#include <dtm/coordinator/parts/outbox_source.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/types.hpp>
#include <dtm/sql/session.hpp>
#include <dtm/sql/sql_name.hpp>
#include <dtm/store/codec.hpp>

namespace dtm {
inline namespace v1 {
namespace outbox {

inline constexpr const char kTable[] = "dtm_outbox";

/// The definition as the stores encode it, in hexadecimal digits.
inline std::string Hex(const Definition& definition) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (const char byte : codec::EncodeDefinition(definition)) {
    const auto value = static_cast<unsigned char>(byte);
    hex += kDigits[value >> 4];
    hex += kDigits[value & 15];
  }
  return hex;
}

/// @throws StoreError  these are no hexadecimal digits.
inline std::string FromHex(std::string_view hex) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return 16;
  };
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    const int high = digit(hex[i]);
    const int low = digit(hex[i + 1]);
    if (high > 15 || low > 15) throw StoreError("the definition is not readable");
    bytes += static_cast<char>(high * 16 + low);
  }
  return bytes;
}

inline std::string InsertSql(SqlDialect dialect, const std::string& table) {
  const std::string into = "INSERT INTO " + sql::QuotedName(dialect, table, "an outbox table") +
                           " (gid, type, definition) VALUES ";
  return dialect == SqlDialect::kPostgres ? into + "($1, $2, decode($3, 'hex'))"
                                          : into + "(?, ?, UNHEX(?))";
}

/// Creates the table unless it is there (sql/dtm.outbox.postgres.sql and sql/dtm.outbox.mysql.sql are the same).
/// @throws SqlError    the user may not create it.
/// @throws LogicError  the connection is in a transaction, or this is no name of a table.
inline void Create(SqlSession& session, const std::string& table) {
  const std::string quoted = sql::QuotedName(session.Dialect(), table, "an outbox table");
  if (session.Transaction() != SqlTransaction::kNone) {
    throw LogicError(
        "the connection is in a transaction; end it before the outbox table is created");
  }
  const bool postgres = session.Dialect() == SqlDialect::kPostgres;
  const std::string columns =
      postgres ? "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, gid text COLLATE \"C\" NOT "
                 "NULL UNIQUE, "
                 "type text NOT NULL, definition bytea NOT NULL, created timestamp with time zone "
                 "NOT NULL DEFAULT now(), problem text)"
               : "id bigint PRIMARY KEY AUTO_INCREMENT, gid varchar(128) COLLATE utf8mb4_bin NOT "
                 "NULL UNIQUE, "
                 "type varchar(16) NOT NULL, definition longblob NOT NULL, created datetime NOT "
                 "NULL DEFAULT CURRENT_TIMESTAMP, problem text) ENGINE = InnoDB DEFAULT CHARACTER "
                 "SET utf8mb4";
  try {
    session.Simple(("CREATE TABLE IF NOT EXISTS " + quoted + " (" + columns).c_str());
  } catch (const SqlError& error) {
    throw SqlError("the outbox table '" + table + "' cannot be created: " + error.what(),
                   error.Code());
  }
}

struct Row {
  std::string id;
  Definition definition;
  OutboxSource::Verdict verdict;
};

/// Of "ID TYPE HEX GID".
inline Row ReadRow(const std::string& text) {
  Row row;
  std::string_view rest = text;
  const auto next = [&rest] {
    const std::size_t end = (std::min)(rest.find(' '), rest.size());
    const std::string_view word = rest.substr(0, end);
    rest.remove_prefix((std::min)(end + 1, rest.size()));
    return word;
  };
  row.id = next();
  try {
    const std::string type(next());
    const std::string_view hex = next();
    if (type != Name(TransType::kSaga) && type != Name(TransType::kMsg)) {
      throw StoreError("its type '" + type + "' is neither saga nor msg");
    }
    row.definition = *codec::DecodeDefinition(
        std::string(rest), type == Name(TransType::kSaga) ? TransType::kSaga : TransType::kMsg,
        FromHex(hex));
  } catch (const Error& error) {
    row.verdict = {OutboxSource::Verdict::Kind::kRefused, error.what()};
  }
  return row;
}

/// One page: reads and locks rows, gives what can be read to `take`, then removes or marks them and commits. Rows that
/// another relay has are left out.
inline std::size_t RelayPage(SqlSession& session, const std::string& table, std::size_t limit,
                             const OutboxSource::Take& take) {
  const bool postgres = session.Dialect() == SqlDialect::kPostgres;
  const std::string quoted = sql::QuotedName(session.Dialect(), table, "an outbox table");
  session.Simple(postgres ? "BEGIN" : "START TRANSACTION");
  try {
    const SqlAnswer found = session.Run(
        (postgres
             ? "SELECT id || ' ' || type || ' ' || encode(definition, 'hex') || ' ' || gid FROM "
             : "SELECT CONCAT_WS(' ', id, type, HEX(definition), gid) FROM ") +
            quoted + " WHERE problem IS NULL ORDER BY id LIMIT " + std::to_string(limit) +
            " FOR UPDATE SKIP LOCKED",
        {});
    using Kind = OutboxSource::Verdict::Kind;
    std::vector<Row> rows;
    std::vector<Definition> page;
    for (const std::string& text : found.first_column) {
      rows.push_back(ReadRow(text));
      if (rows.back().verdict.kind == Kind::kLater) {
        page.push_back(std::move(rows.back().definition));
      }
    }
    std::vector<OutboxSource::Verdict> verdicts;
    if (!page.empty()) verdicts = take(std::move(page));
    std::string done;
    std::size_t next = 0;
    for (Row& row : rows) {
      if (row.verdict.kind == Kind::kLater) row.verdict = std::move(verdicts.at(next++));
      if (row.verdict.kind == Kind::kTaken) {
        done += done.empty() ? "SELECT " + row.id + " AS id" : " UNION ALL SELECT " + row.id;
      } else if (row.verdict.kind == Kind::kRefused) {
        session.Run("UPDATE " + quoted +
                        (postgres ? " SET problem = $1 WHERE id = $2::bigint"
                                  : " SET problem = ? WHERE id = ?"),
                    {row.verdict.why, row.id});
      }
    }
    if (!done.empty()) {
      // Row by row by the key: a scan would meet the locks of another relay.
      session.Simple(
          (postgres
               ? "DELETE FROM " + quoted + " o USING (" + done + ") d WHERE o.id = d.id"
               : "DELETE o FROM (" + done + ") d STRAIGHT_JOIN " + quoted + " o ON o.id = d.id")
              .c_str());
    }
    session.Simple("COMMIT");
    return rows.size();
  } catch (...) {
    try {
      if (session.Transaction() != SqlTransaction::kNone) session.Simple("ROLLBACK");
    } catch (...) {  // NOLINT(bugprone-empty-catch): the server does it
    }
    throw;
  }
}

}  // namespace outbox
}  // namespace v1
}  // namespace dtm
