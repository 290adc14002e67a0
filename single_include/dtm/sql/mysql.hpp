/// Generated from include/dtm/sql/mysql.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../dtm.hpp"
#include "session.hpp"

// ---- dtm/sql/mysql.hpp -------------------------------------------------------------------------

/// Connections to MySQL and MariaDB; the only file that includes mysql.h.
/// Needs: libmariadb or libmysqlclient. Threads: a connection, and what was made for it, by one thread at a time.

#include <chrono>
#include <cstdint>
#include <fstream>
#include <map>
#include <memory>
#include <mysql.h>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace dtm {
inline namespace v1 {

/// A session on a connection of the program, which must outlive it and is not changed. It keeps its statements prepared, so
/// keep it as long as the connection.
class MysqlSession : public SqlSession {
 public:
  /// @throws LogicError  it is null.
  explicit MysqlSession(MYSQL* connection) : connection_(connection) {
    if (connection == nullptr) {
      throw LogicError("the connection to MySQL is null; open it first");
    }
  }

  /// The connection.
  MYSQL* Handle() const { return connection_; }
  SqlDialect Dialect() const override { return SqlDialect::kMysql; }
  bool IsMariadb() const override {
    const char* const version = mysql_get_server_info(connection_);
    return version != nullptr &&
           std::string_view(version).find("MariaDB") != std::string_view::npos &&
           mysql_get_server_version(connection_) >= 100500;
  }
  /// @throws SqlError  the connection broke while this session used it.
  SqlTransaction Transaction() override {
    if (broken_ && mysql_thread_id(connection_) == broken_thread_) {
      throw SqlError("the connection to MySQL is broken; open a new one", "2006");
    }
    return (connection_->server_status & SERVER_STATUS_IN_TRANS) != 0 ? SqlTransaction::kOpen
                                                                      : SqlTransaction::kNone;
  }

  SqlAnswer Run(const std::string& sql, const std::vector<std::string_view>& parameters) override {
    CheckRead();
    MYSQL_STMT* const statement = Prepared(sql);
    std::vector<unsigned long> lengths;
    lengths.reserve(parameters.size());
    std::vector<MYSQL_BIND> values(parameters.size(), MYSQL_BIND{});
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      lengths.push_back(static_cast<unsigned long>(parameters[i].size()));
      values[i].buffer_type = MYSQL_TYPE_STRING;
      values[i].buffer = const_cast<char*>(parameters[i].data());  // it is only read
      values[i].buffer_length = lengths[i];
      values[i].length = &lengths[i];
    }
    const bool bound = mysql_stmt_param_count(statement) == parameters.size() &&
                       (parameters.empty() || !mysql_stmt_bind_param(statement, values.data()));
    if (!bound || mysql_stmt_execute(statement) != 0) Fail(sql, statement);
    SqlAnswer answer;
    if (mysql_stmt_field_count(statement) > 0) {
      Read(sql, statement, answer);
    } else {
      answer.affected = static_cast<std::int64_t>(mysql_stmt_affected_rows(statement));
    }
    return answer;
  }

  std::string Simple(const char* sql) override {
    CheckRead();
    if (mysql_query(connection_, sql) != 0) Fail();
    MYSQL_RES* const rows = mysql_store_result(connection_);
    if (rows != nullptr) mysql_free_result(rows);
    if (mysql_errno(connection_) != 0) Fail();
    return {};
  }

 private:
  struct Close {
    void operator()(MYSQL_STMT* statement) const { mysql_stmt_close(statement); }
  };
  using Statement = std::unique_ptr<MYSQL_STMT, Close>;

  /// Of clients, when there is no connection any more: the server did not say it.
  static bool IsLost(unsigned code) { return code == 2006 || code == 2013 || code == 2055; }

  void Broken(unsigned code) {
    broken_ = IsLost(code);
    broken_thread_ = mysql_thread_id(connection_);
  }

  /// Rows that the program left unread: libmariadb would wait for them without end when a statement is closed.
  void CheckRead() {
    if (broken_) return;  // there is nothing to read
    if (connection_->status == MYSQL_STATUS_READY && !mysql_more_results(connection_)) return;
    do {
      MYSQL_RES* const rows = mysql_use_result(connection_);
      if (rows != nullptr) mysql_free_result(rows);
    } while (mysql_more_results(connection_) && mysql_next_result(connection_) == 0);
    throw SqlError("MySQL: an answer on the connection was not read to its end (2014)", "2014");
  }

  [[noreturn]] void Fail() {
    Broken(mysql_errno(connection_));
    throw SqlError(std::string("MySQL: ") + mysql_error(connection_) + " (" +
                       std::to_string(mysql_errno(connection_)) + ")",
                   std::to_string(mysql_errno(connection_)));
  }
  [[noreturn]] void Fail(const std::string& sql, MYSQL_STMT* statement) {
    const unsigned code = mysql_stmt_errno(statement);
    if (IsLost(code) && !IsLost(mysql_errno(connection_))) {  // it has not left the library
      prepared_.erase(sql);
      throw SqlError("MySQL: the connection was reset, and its statements were closed (2056)",
                     "2056");
    }
    const std::string text =
        std::string("MySQL: ") + mysql_stmt_error(statement) + " (" + std::to_string(code) + ")";
    Broken(code);
    // unknown to the server (it was reset), to be prepared again
    if (IsLost(code) || code == 1243 || code == 2056) prepared_.erase(sql);
    throw SqlError(text, std::to_string(code));
  }

  /// The first column of all rows, as text.
  void Read(const std::string& sql, MYSQL_STMT* statement, SqlAnswer& answer) {
    std::string text(1024, '\0');
    unsigned long length = 0;
    std::remove_pointer_t<decltype(MYSQL_BIND::is_null)> null{};
    std::vector<MYSQL_BIND> columns(mysql_stmt_field_count(statement), MYSQL_BIND{});
    columns[0].buffer_type = MYSQL_TYPE_STRING;
    columns[0].buffer = text.data();
    columns[0].buffer_length = static_cast<unsigned long>(text.size());
    columns[0].length = &length;
    columns[0].is_null = &null;
    for (std::size_t i = 1; i < columns.size(); ++i) columns[i].buffer_type = MYSQL_TYPE_NULL;
    if (mysql_stmt_bind_result(statement, columns.data()) ||
        mysql_stmt_store_result(statement) != 0) {
      Fail(sql, statement);
    }
    for (;;) {
      const int got = mysql_stmt_fetch(statement);
      if (got == MYSQL_NO_DATA) break;
      if (got != 0 && got != MYSQL_DATA_TRUNCATED) Fail(sql, statement);
      if (null) {
        answer.first_column.emplace_back();
      } else if (length <= text.size()) {
        answer.first_column.emplace_back(text, 0, length);
      } else {
        std::string whole(length, '\0');
        MYSQL_BIND column = columns[0];
        column.buffer = whole.data();
        column.buffer_length = length;
        if (mysql_stmt_fetch_column(statement, &column, 0, 0) != 0) Fail(sql, statement);
        answer.first_column.push_back(std::move(whole));
      }
    }
    answer.affected = static_cast<std::int64_t>(answer.first_column.size());
    mysql_stmt_free_result(statement);
  }

  MYSQL_STMT* Prepared(const std::string& sql) {
    if (mysql_thread_id(connection_) != server_thread_) {  // it was connected again
      prepared_.clear();
      server_thread_ = mysql_thread_id(connection_);
    }
    const auto known = prepared_.find(sql);
    if (known != prepared_.end()) return known->second.get();
    Statement statement(mysql_stmt_init(connection_));
    if (!statement) throw SqlError("MySQL: out of memory for a statement", "2008");
    if (mysql_stmt_prepare(statement.get(), sql.data(), static_cast<unsigned long>(sql.size())) !=
        0) {
      Fail(sql, statement.get());
    }
    MYSQL_STMT* const made = prepared_.emplace(sql, std::move(statement)).first->second.get();
    if ((connection_->server_status & SERVER_STATUS_IN_TRANS) != 0) CheckStillOpen();
    return made;
  }

  /// In a Galera cluster a transaction that another node's commit ends while a statement is being prepared ends silently (seen with
  /// MariaDB 10.11.19): what is executed next would commit by itself. The answer to a statement that does nothing tells.
  void CheckStillOpen() {
    if (mysql_query(connection_, "DO 0") != 0) Fail();
    if ((connection_->server_status & SERVER_STATUS_IN_TRANS) != 0) return;
    throw SqlError(
        "MySQL: the server rolled the transaction back while a statement was being prepared (1213)",
        "1213");
  }

  MYSQL* connection_;
  unsigned long server_thread_ = 0;  ///< which has the statements
  bool broken_ = false;
  unsigned long broken_thread_ = 0;
  std::map<std::string, Statement> prepared_;
};

/// Where a server is, and who connects.
struct MysqlAddress {
  std::string host = "127.0.0.1";
  unsigned port = 3306;
  std::string user;
  std::string password;
  std::string database;
  std::string socket{};  ///< if not empty: instead of host and port
  /// For TLS: an option file of the client library, with `ssl-ca=/path` and `ssl-verify-server-cert` (libmysqlclient:
  /// `ssl-mode=VERIFY_IDENTITY`) in its group [client]. Then there is no connection without TLS. Empty: none.
  std::string defaults_file{};
};

/// A connection of its own.
class MysqlConnection {
 public:
  /// With a `limit` (0: none) a connection or an answer that takes longer is an SqlError (libmysqlclient: three times as long).
  /// @throws LogicError  the defaults_file cannot be read. SqlError: there is no connection.
  explicit MysqlConnection(const MysqlAddress& address,
                           std::chrono::seconds limit = std::chrono::seconds(0))
      : connection_(mysql_init(nullptr)) {
    if (!connection_) throw SqlError("MySQL: out of memory for a connection", "2008");
    mysql_options(connection_.get(), MYSQL_SET_CHARSET_NAME, "utf8mb4");
    if (!address.defaults_file.empty()) {
      // The library says nothing of a file that is not there, and would connect without TLS.
      if (!std::ifstream(address.defaults_file)) {
        throw LogicError("the defaults_file '" + address.defaults_file +
                         "' cannot be read; check its path and who may read it");
      }
      mysql_options(connection_.get(), MYSQL_READ_DEFAULT_FILE, address.defaults_file.c_str());
    }
    if (limit.count() > 0) {
      const auto seconds = static_cast<unsigned>(limit.count());
      for (const auto option :
           {MYSQL_OPT_CONNECT_TIMEOUT, MYSQL_OPT_READ_TIMEOUT, MYSQL_OPT_WRITE_TIMEOUT}) {
        mysql_options(connection_.get(), option, &seconds);
      }
    }
    const auto text = [](const std::string& value) {
      return value.empty() ? nullptr : value.c_str();
    };
    // With a host libmariadb would not look at the socket.
    const char* const host = address.socket.empty() ? address.host.c_str() : nullptr;
    if (mysql_real_connect(connection_.get(), host, text(address.user), text(address.password),
                           text(address.database), address.port, text(address.socket),
                           0) == nullptr) {
      const std::string at = address.socket.empty()
                                 ? address.host + ", port " + std::to_string(address.port)
                                 : address.socket;
      throw SqlError("no connection to MySQL at " + at + ": " + mysql_error(connection_.get()),
                     std::to_string(mysql_errno(connection_.get())));
    }
    // libmariadb goes on without TLS where the server has none, whatever the file says.
    if (!address.defaults_file.empty() && mysql_get_ssl_cipher(connection_.get()) == nullptr) {
      throw SqlError("no connection to MySQL: the server at " + address.host + " has no TLS, or '" +
                         address.defaults_file + "' has no ssl-ca in its group [client]",
                     "2026");
    }
  }

  /// The connection.
  MYSQL* Handle() const { return connection_.get(); }

 private:
  struct Close {
    void operator()(MYSQL* connection) const { mysql_close(connection); }
  };
  std::unique_ptr<MYSQL, Close> connection_;
};

}  // namespace v1
}  // namespace dtm
