/// Generated from include/dtm/sql/sql_name.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../dtm.hpp"
#include "session.hpp"

// ---- dtm/sql/sql_name.hpp ----------------------------------------------------------------------

/// Names of tables that programs give, quoted.
/// Needs: std. Threads: pure functions.

#include <cstddef>
#include <string>

namespace dtm {
inline namespace v1 {
namespace sql {

/// The name of a table in SQL; `what` it is, for the error. @throws LogicError  it is not NAME or SCHEMA.NAME of letters, digits and _.
inline std::string QuotedName(SqlDialect dialect, const std::string& table, const char* what) {
  const char quote = dialect == SqlDialect::kPostgres ? '"' : '`';
  std::string quoted(1, quote);
  std::size_t length = 0;
  bool dot = false;
  bool plain = true;
  for (const char c : table) {
    if (c == '.') {
      plain = plain && !dot && length > 0;
      dot = true;
      length = 0;
      quoted += {quote, '.', quote};
      continue;
    }
    plain = plain && ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '_');
    ++length;
    plain = plain && length <= 63;
    quoted += c;
  }
  if (!plain || length == 0) {
    throw LogicError("'" + Printable(Truncated(table, 200)) + "' is no name for " + what +
                     "; use up to 63 letters, digits and _, after "
                     "a schema and a dot if it is not in the current one");
  }
  return quoted + quote;
}

/// MariaDB and MySQL: the condition for rows of information_schema that are about this table. `table`: a name that QuotedName took.
inline std::string IsMysqlTable(const std::string& table) {
  const std::size_t dot = table.find('.');
  if (dot == std::string::npos) return "TABLE_SCHEMA = DATABASE() AND TABLE_NAME = '" + table + "'";
  return "TABLE_SCHEMA = '" + table.substr(0, dot) + "' AND TABLE_NAME = '" +
         table.substr(dot + 1) + "'";
}

}  // namespace sql
}  // namespace v1
}  // namespace dtm
