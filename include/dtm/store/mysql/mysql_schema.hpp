/// The tables of a store in MariaDB or MySQL: their versions and how they are made. sql/dtm.store.mysql.sql is the same.
/// Needs: libmariadb or libmysqlclient. Threads: one at a time. Document: docs/store_format.md.
#pragma once

#include <string>

#include <dtm/base/error.hpp>
#include <dtm/base/version.hpp>
#include <dtm/sql/mysql_client.hpp>
#include <dtm/sql/session.hpp>

namespace dtm {
inline namespace v1 {
namespace mysql_schema {

/// Counted up with every change of the tables or of the codec.
inline constexpr int kVersion = 1;

/// The version comes last: who does not find it makes what is missing. Texts are bytes: two that differ in a letter's case or
/// in blanks at the end are two.
inline constexpr char kTables[] = R"sql(
CREATE TABLE IF NOT EXISTS dtm_node (
  id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
  name varbinary(255) NOT NULL,
  url varbinary(2048) NOT NULL,
  app varbinary(128) NOT NULL,
  epoch bigint NOT NULL,
  beat bigint NOT NULL,
  heir bigint NOT NULL
) ENGINE = InnoDB;
CREATE TABLE IF NOT EXISTS dtm_fence (
  id bigint NOT NULL PRIMARY KEY,
  epoch bigint NOT NULL,
  turn bigint NOT NULL
) ENGINE = InnoDB;
CREATE TABLE IF NOT EXISTS dtm_trans (
  id bigint NOT NULL PRIMARY KEY,
  gid varbinary(128) NOT NULL UNIQUE,
  type smallint NOT NULL,
  status smallint NOT NULL,
  version bigint NOT NULL,
  created bigint NOT NULL,
  finished bigint NOT NULL,
  due bigint,
  owner bigint NOT NULL,
  app varbinary(128) NOT NULL,
  content bigint,
  definition longblob NOT NULL,
  state longblob NOT NULL,
  journal longblob,
  KEY dtm_trans_due (owner, due, id)
) ENGINE = InnoDB;
CREATE TABLE IF NOT EXISTS dtm_step (
  trans bigint NOT NULL,
  nr bigint NOT NULL,
  step longblob NOT NULL,
  PRIMARY KEY (trans, nr)
) ENGINE = InnoDB;
CREATE TABLE IF NOT EXISTS dtm_journal (
  trans bigint NOT NULL PRIMARY KEY,
  entries longblob NOT NULL
) ENGINE = InnoDB;
CREATE TABLE IF NOT EXISTS dtm_ask (
  id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
  gid varbinary(128) NOT NULL,
  kind smallint NOT NULL,
  reason longblob NOT NULL,
  member bigint NOT NULL,
  taker bigint NOT NULL,
  outcome longblob,
  created timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP
) ENGINE = InnoDB;
CREATE TABLE IF NOT EXISTS dtm_kv (
  id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
  cat varbinary(255) NOT NULL,
  k varbinary(2048) NOT NULL,
  v longblob NOT NULL,
  version bigint NOT NULL,
  created bigint NOT NULL,
  updated bigint NOT NULL,
  UNIQUE KEY (cat, k)
) ENGINE = InnoDB;
CREATE TABLE IF NOT EXISTS dtm_meta (
  name varchar(64) CHARACTER SET ascii NOT NULL PRIMARY KEY,
  value varchar(64) CHARACTER SET ascii NOT NULL
) ENGINE = InnoDB;
INSERT IGNORE INTO dtm_meta (name, value) VALUES ('schema_version', '1');
)sql";

/// 0 = the tables are not there, or not all of them.
/// @throws StoreError  they are of a newer version, or none that dtm has written. SqlError: the database cannot be asked.
inline int StoredVersion(MysqlClient& client) {
  const auto tables = client.Run("SHOW TABLES LIKE 'dtm\\_meta'");
  if (tables.back().Count() == 0) return 0;
  const auto rows = client.Run("SELECT value FROM dtm_meta WHERE name = 'schema_version'");
  if (rows.back().Count() == 0) return 0;
  const std::string text(rows.back().View(0, 0));
  const bool is_number =
      !text.empty() && text.size() < 9 && text.find_first_not_of("0123456789") == std::string::npos;
  const int version = is_number ? std::stoi(text) : 0;
  const std::string which = "the store in MySQL has schema version '" + text + "'";
  if (version < 1) throw StoreError(which + ", which no dtm has written; restore it from a backup");
  if (version > kVersion) {
    throw StoreError(which + ", and dtm " + dtm::kVersion + " knows versions up to " +
                     std::to_string(kVersion) + "; use the newer dtm that wrote it");
  }
  return version;
}

/// Makes the tables unless they are there; several may come at once.
/// @throws StoreError  they are of a newer version, or the user may not make them. SqlError: the database cannot be asked.
inline void Migrate(MysqlClient& client) {
  if (StoredVersion(client) == kVersion) return;
  try {
    std::string tables = kTables;
    tables.erase(tables.find_last_not_of(";\n") + 1);  // an empty statement is an error
    (void)client.Run(tables);
  } catch (const SqlError& error) {
    if (error.Code() != "1142" && error.Code() != "1044") throw;
    throw StoreError(std::string(error.what()) +
                     "; let a user who may create the tables run sql/dtm.store.mysql.sql, and "
                     "grant this one SELECT, INSERT, UPDATE and DELETE on them");
  }
}

}  // namespace mysql_schema
}  // namespace v1
}  // namespace dtm
