/// The schema files of sql/, statement by statement, beside what our functions create.
/// Needs: std. Threads: pure functions.
#pragma once

#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#ifndef DTM_SOURCE_DIR
#define DTM_SOURCE_DIR "."
#endif

namespace dtm_test {

/// `name`: "dtm.outbox.postgres.sql". A statement ends with the semicolon at the end of its line; comments are lines of their own.
inline std::vector<std::string> SchemaFile(const std::string& name) {
  std::ifstream file(std::string(DTM_SOURCE_DIR) + "/sql/" + name);
  std::vector<std::string> statements;
  std::string statement;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line.compare(0, 2, "--") == 0) continue;
    statement += line + "\n";
    if (line.back() == ';') {
      statement.resize(statement.size() - 2);
      statements.push_back(statement);
      statement.clear();
    }
  }
  if (statements.empty() || !statement.empty()) {
    throw std::runtime_error("sql/" + name + " is not there, or does not end with a semicolon");
  }
  return statements;
}

/// What is to be known of a table in PostgreSQL: columns, constraints, indexes; "" if there is none. The answer to this
/// question is one text.
inline std::string ShapeInPostgres(const std::string& table) {
  const std::string of = "to_regclass('" + table + "')";
  return "SELECT concat_ws(E'\\n', (SELECT string_agg(concat_ws(' ', attname, "
         "format_type(atttypid, "
         "atttypmod), attnotnull, attidentity, collname, pg_get_expr(adbin, adrelid)), E'\\n' "
         "ORDER "
         "BY attnum) FROM pg_attribute LEFT JOIN pg_collation c ON c.oid = attcollation LEFT JOIN "
         "pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attnum > 0 AND NOT "
         "attisdropped "
         "AND attrelid = " +
         of +
         "), (SELECT string_agg(conname || ' ' || pg_get_constraintdef(oid), E'\\n' ORDER BY "
         "conname) "
         "FROM pg_constraint WHERE conrelid = " +
         of +
         "), (SELECT string_agg(pg_get_indexdef(indexrelid), E'\\n' ORDER BY "
         "indexrelid::regclass::text) "
         "FROM pg_index WHERE indrelid = " +
         of + "))";
}

/// The same in MariaDB and MySQL.
inline std::string ShapeInMysql(const std::string& schema, const std::string& table) {
  const std::string of = " WHERE TABLE_SCHEMA = '" + schema + "' AND TABLE_NAME = '" + table + "'";
  return "SELECT CONCAT_WS('\\n', (SELECT CONCAT_WS(' ', ENGINE, TABLE_COLLATION) FROM "
         "information_schema.TABLES" +
         of +
         "), (SELECT GROUP_CONCAT(CONCAT_WS(' ', COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, EXTRA, "
         "COLLATION_NAME, COLUMN_DEFAULT) ORDER BY ORDINAL_POSITION SEPARATOR '\\n') FROM "
         "information_schema.COLUMNS" +
         of +
         "), (SELECT GROUP_CONCAT(CONCAT_WS(' ', INDEX_NAME, NON_UNIQUE, SEQ_IN_INDEX, "
         "COLUMN_NAME) "
         "ORDER BY INDEX_NAME, SEQ_IN_INDEX SEPARATOR '\\n') FROM information_schema.STATISTICS" +
         of + "))";
}

}  // namespace dtm_test
