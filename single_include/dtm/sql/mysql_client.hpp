/// Generated from include/dtm/sql/mysql_client.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../dtm.hpp"
#include "mysql.hpp"
#include "rows.hpp"
#include "session.hpp"

// ---- dtm/sql/mysql_client.hpp ------------------------------------------------------------------

/// A connection of our own to MySQL or MariaDB, for messages of several statements with their values in them.
/// Needs: libmariadb or libmysqlclient. Threads: a client by one thread at a time.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dtm {
inline namespace v1 {

/// Rows in the form of texts.
class MysqlRows : public SqlRows {
 public:
  MysqlRows() = default;
  explicit MysqlRows(MYSQL_RES* result) : result_(result) {
    columns_ = mysql_num_fields(result);
    while (const MYSQL_ROW row = mysql_fetch_row(result)) {
      const unsigned long* const lengths = mysql_fetch_lengths(result);
      for (std::size_t i = 0; i < columns_; ++i) values_.push_back({row[i], lengths[i]});
    }
  }

  std::size_t Count() const override { return columns_ == 0 ? 0 : values_.size() / columns_; }
  bool IsNull(std::size_t row, std::size_t column) const override {
    return At(row, column).text == nullptr;
  }
  std::int64_t Number(std::size_t row, std::size_t column) const override {
    const char* const text = At(row, column).text;
    return text == nullptr ? 0 : std::strtoll(text, nullptr, 10);
  }
  std::string_view View(std::size_t row, std::size_t column) const override {
    const Value& value = At(row, column);
    return value.text == nullptr ? std::string_view() : std::string_view(value.text, value.length);
  }

 private:
  struct Value {
    const char* text;
    std::size_t length;
  };
  struct Free {
    void operator()(MYSQL_RES* result) const { mysql_free_result(result); }
  };

  const Value& At(std::size_t row, std::size_t column) const {
    return values_[row * columns_ + column];
  }

  std::unique_ptr<MYSQL_RES, Free> result_;
  std::size_t columns_ = 0;
  std::vector<Value> values_;
};

class MysqlClient {
 public:
  /// `limit`: as MysqlConnection has it. Locks are waited for a second less.
  /// @throws SqlError  there is no connection.
  MysqlClient(const MysqlAddress& address, std::chrono::seconds limit)
      : connection_(address, limit) {
    MYSQL* const mysql = connection_.Handle();
    if (mysql_set_server_option(mysql, MYSQL_OPTION_MULTI_STATEMENTS_ON) != 0) Fail();
    const std::string seconds = std::to_string(limit.count() - 1);
    // Literals of ours need the mode and the characters; a server may be told not to take those that a client asks for. The
    // rest is what it may have other defaults for; one that closes an idle connection leaves the next commit in doubt.
    std::string settings =
        "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', autocommit = 1, "
        "completion_type = 'NO_CHAIN', unique_checks = 1, sql_safe_updates = 0, sql_big_selects = "
        "1, "
        "sql_select_limit = 18446744073709551615, group_concat_max_len = 4294967295, wait_timeout "
        "= "
        "31536000, innodb_lock_wait_timeout = " +
        seconds +
        "; SET NAMES utf8mb4; SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE";
    const bool is_mariadb = MysqlSession(mysql).IsMariadb();
    if (!is_mariadb && mysql_get_server_version(mysql) < 80000) {
      throw SqlError("the server is older than MySQL 8.0 and MariaDB 10.5, and cannot be used",
                     "1235");
    }
    // A transaction that we cannot even roll back must not stop the others.
    if (is_mariadb) settings += "; SET SESSION idle_transaction_timeout = " + seconds;
    settings += "; SELECT @@max_allowed_packet";
    most_bytes_ = static_cast<std::size_t>(Run(settings).back().Number(0, 0));
    if (!is_mariadb) return;
    const auto galera = Run("SHOW VARIABLES LIKE 'wsrep_on'");
    if (galera.back().Count() == 0 || galera.back().View(0, 1) != "ON") return;
    // What another node of the cluster has committed is to be seen by reads at this one.
    (void)Run("SET SESSION wsrep_sync_wait = 1");
    one_by_one_ = true;
  }

  /// False after an error that ended the connection.
  bool Works() const { return works_; }

  /// The server's max_allowed_packet.
  std::size_t MostBytes() const { return most_bytes_; }

  /// Runs statements in one message; returns the rows of those that have some. After an error the statements behind it do
  /// not run, and what is open is rolled back. To a Galera cluster each goes in a message of its own, and one more behind each that
  /// reads: MariaDB (10.11.19) says nothing of a transaction that another node's commit ended between two statements of a message, or at the
  /// end of a SELECT, and runs what follows without one.
  /// @throws SqlError  the server refused one, or the connection broke, or did not answer in time.
  std::vector<MysqlRows> Run(const std::string& sql) {
    answered_ = 0;
    if (!works_) throw SqlError("the connection to MySQL is broken; open a new one", "2006");
    if (most_bytes_ != 0 && sql.size() + 1 > most_bytes_) {
      throw SqlError("a message of " + std::to_string(sql.size()) +
                         " bytes is larger than the server's max_allowed_packet, " +
                         std::to_string(most_bytes_) + "; raise it",
                     "1153");
    }
    std::vector<MysqlRows> answers;
    if (one_by_one_) {
      for (std::string_view rest = sql; !rest.empty();) {
        const std::size_t before = answers.size();
        Send(NextStatement(rest), answers);
        if (answers.size() != before) CheckStillOpen();
      }
    } else {
      Send(sql, answers);
    }
    return answers;
  }

  /// How many statements of the last message have answered with rows, before one failed.
  std::size_t Answered() const { return answered_; }

 private:
  void Send(std::string_view sql, std::vector<MysqlRows>& answers) {
    MYSQL* const mysql = connection_.Handle();
    if (mysql_real_query(mysql, sql.data(), static_cast<unsigned long>(sql.size())) != 0) Fail();
    for (;;) {
      if (MYSQL_RES* const rows = mysql_store_result(mysql)) {
        answers.emplace_back(rows);
        ++answered_;
      } else if (mysql_errno(mysql) != 0) {
        Fail();
      }
      const int next = mysql_next_result(mysql);
      // libmariadb says -1, as after the last one, also of a connection that broke.
      if (next > 0 || mysql_errno(mysql) != 0) Fail();
      if (next < 0) return;
    }
  }

  void CheckStillOpen() {
    if (!InTransaction()) return;
    if (mysql_query(connection_.Handle(), "DO 0") != 0) Fail();
    if (InTransaction()) return;
    throw SqlError("MySQL: the server rolled the transaction back behind a SELECT (1213)", "1213");
  }
  bool InTransaction() const {
    return (connection_.Handle()->server_status & SERVER_STATUS_IN_TRANS) != 0;
  }

  /// Takes one from the beginning of `rest`. In our literals ' and \ stand behind a \.
  static std::string_view NextStatement(std::string_view& rest) {
    bool in_literal = false;
    std::size_t end = 0;
    for (; end < rest.size() && (in_literal || rest[end] != ';'); ++end) {
      if (rest[end] == '\'') in_literal = !in_literal;
      if (rest[end] == '\\') ++end;
    }
    const std::string_view statement = rest.substr(0, end);
    rest.remove_prefix((std::min)(end + 1, rest.size()));
    return statement;
  }

  [[noreturn]] void Fail() {
    MYSQL* const mysql = connection_.Handle();
    const unsigned code = mysql_errno(mysql);
    const std::string text =
        std::string("MySQL: ") + mysql_error(mysql) + " (" + std::to_string(code) + ")";
    const bool of_client = code < 1000 || (code >= 2000 && code < 3000);
    // A node of a Galera cluster that is without the others takes no statement (1047).
    works_ = !of_client && code != 1047 && mysql_query(mysql, "ROLLBACK") == 0;
    throw SqlError(text, std::to_string(code));
  }

  MysqlConnection connection_;
  bool works_ = true;
  bool one_by_one_ = false;
  std::size_t most_bytes_ = 0;
  std::size_t answered_ = 0;
};

}  // namespace v1
}  // namespace dtm
