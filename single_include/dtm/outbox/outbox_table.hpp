/// Generated from include/dtm/outbox/outbox_table.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../dtm.hpp"
#include "../sql/session.hpp"
#include "../sql/sql_name.hpp"

// ---- dtm/outbox/outbox_table.hpp ---------------------------------------------------------------

/// The table between a program that submits in its own transaction and the coordinator that takes it up: its columns and rows.
/// Needs: std. Threads: pure functions; Create as its session. Format: docs/store_format.md.

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace dtm {
inline namespace v1 {
namespace outbox {

inline constexpr const char kTable[] = "dtm_outbox";

/// The name of the table in SQL. @throws LogicError  it is no name of a table.
inline std::string Quoted(SqlDialect dialect, const std::string& table) {
  return sql::QuotedName(dialect, table, "an outbox table");
}

/// In hexadecimal digits: what goes through a statement so is the same with every character set of a connection.
inline std::string Hex(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(2 * bytes.size());
  for (const char byte : bytes) {
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

/// Parameters: gid and definition in hexadecimal digits, the type between them.
inline std::string InsertSql(SqlDialect dialect, const std::string& table) {
  const std::string into =
      "INSERT INTO " + Quoted(dialect, table) + " (gid, type, definition) VALUES ";
  return dialect == SqlDialect::kPostgres
             ? into + "(convert_from(decode($1, 'hex'), 'UTF8'), $2, decode($3, 'hex'))"
             : into + "(CONVERT(UNHEX(?) USING utf8mb4), ?, UNHEX(?))";
}

/// Its columns, as sql/dtm.outbox.postgres.sql and sql/dtm.outbox.mysql.sql have them (tests compare).
inline const char* Columns(SqlDialect dialect) {
  return dialect == SqlDialect::kPostgres ? R"sql( (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  gid text COLLATE "C" NOT NULL UNIQUE,
  type text NOT NULL,
  definition bytea NOT NULL,
  created timestamp with time zone NOT NULL DEFAULT now(),
  owner text,
  problem text
))sql"
                                          : R"sql( (
  id bigint PRIMARY KEY AUTO_INCREMENT,
  gid varchar(128) COLLATE utf8mb4_bin NOT NULL UNIQUE,
  type varchar(16) NOT NULL,
  definition longblob NOT NULL,
  created timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
  owner varchar(64) CHARACTER SET ascii COLLATE ascii_bin,
  problem text
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4)sql";
}

/// The table is there, and has the column that older ones have not.
inline bool HasOwner(SqlSession& session, const std::string& table) {
  if (session.Dialect() == SqlDialect::kPostgres) {
    return !session
                .Run(
                    "SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = "
                    "'owner' AND NOT attisdropped",
                    {Quoted(session.Dialect(), table)})
                .first_column.empty();
  }
  return !session
              .Run("SELECT 1 FROM information_schema.COLUMNS WHERE COLUMN_NAME = 'owner' AND " +
                       sql::IsMysqlTable(table),
                   {})
              .first_column.empty();
}

/// Creates the table unless it is there; one that was made before rows had an owner gets that column.
/// @throws SqlError    the user may not create it.
/// @throws LogicError  the connection is in a transaction, or this is no name of a table.
inline void Create(SqlSession& session, const std::string& table) {
  const bool postgres = session.Dialect() == SqlDialect::kPostgres;
  const std::string quoted = Quoted(session.Dialect(), table);
  if (session.Transaction() != SqlTransaction::kNone) {
    throw LogicError(
        "the connection is in a transaction; end it before the outbox table is created");
  }
  const std::string create = "CREATE TABLE IF NOT EXISTS " + quoted + Columns(session.Dialect());
  try {
    if (HasOwner(session, table)) return;  // IF NOT EXISTS asks for the right to create, too
    if (postgres) {
      session.Simple(
          ("BEGIN; SET LOCAL client_min_messages = warning; "
           "SELECT pg_advisory_xact_lock(7237105);" +  // of several creators one goes first
           create +
           "; ALTER TABLE " + quoted + " ADD COLUMN IF NOT EXISTS owner text; COMMIT")
              .c_str());
      return;
    }
    session.Simple(create.c_str());
    if (!HasOwner(session, table)) {
      session.Simple(("ALTER TABLE " + quoted +
                      " ADD COLUMN owner varchar(64) CHARACTER SET ascii COLLATE ascii_bin "
                      "AFTER created")
                         .c_str());
    }
  } catch (const SqlError& error) {
    sql::RollBack(session);
    throw SqlError("the outbox table '" + table + "' cannot be created: " + error.what(),
                   error.Code());
  }
}

/// A row that is to be taken up.
struct Row {
  std::string id;
  bool claimed = false;  ///< it has an owner
  Definition definition;
  std::string problem;  ///< not empty: it cannot be read
};

/// Of "ID CLAIMED TYPE HEX HEX": definition, gid.
inline Row ReadRow(std::string_view text) {
  Row row;
  const auto next = [&text] {
    const std::size_t end = (std::min)(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix((std::min)(end + 1, text.size()));
    return word;
  };
  row.id = next();
  row.claimed = next() == "1";
  try {
    const std::string type(next());
    const std::string_view definition = next();
    if (type != Name(TransType::kSaga) && type != Name(TransType::kMsg)) {
      throw StoreError("its type '" + type + "' is neither saga nor msg");
    }
    row.definition = *codec::DecodeDefinition(
        FromHex(text), type == Name(TransType::kSaga) ? TransType::kSaga : TransType::kMsg,
        FromHex(definition));
  } catch (const Error& error) {
    row.problem = error.what();
  }
  return row;
}

}  // namespace outbox
}  // namespace v1
}  // namespace dtm
