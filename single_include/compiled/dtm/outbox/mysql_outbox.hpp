/// Generated from include/dtm/outbox/mysql_outbox.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../dtm.hpp"
#include "outbox.hpp"
#include "outbox_table.hpp"
#include "sql_outbox_source.hpp"
#include "../sql/mysql.hpp"

// ---- dtm/outbox/mysql_outbox.hpp ---------------------------------------------------------------

/// The outbox in MariaDB or MySQL: submits in the program's own transaction, and relays to a coordinator.
/// Needs: libmariadb or libmysqlclient; InnoDB. Threads: an outbox by one thread at a time, as its connection.

#include <chrono>
#include <memory>
#include <string>
#include <utility>

namespace dtm {
inline namespace v1 {

/// An outbox on a connection of the program, which must outlive it; see SqlOutbox. On a Galera cluster begin the transaction with SET
/// autocommit = 0: MariaDB (10.11.19) may end it and not say so at the end of a SELECT that is sent as text, and what comes next would commit
/// by itself. The base comes first, since the outbox uses it.
class MysqlOutbox : private MysqlSession, public SqlOutbox {
 public:
  /// @throws LogicError  the connection is null, or this is no name of a table.
  explicit MysqlOutbox(MYSQL* connection, const std::string& table = outbox::kTable)
      : MysqlSession(connection), SqlOutbox(static_cast<SqlSession&>(*this), table) {}
  /// In the coordinators' store. @throws LogicError  the connection is null, or this is no name of a schema.
  MysqlOutbox(MYSQL* connection, const InStore& store)
      : MysqlSession(connection), SqlOutbox(static_cast<SqlSession&>(*this), store) {}
  MysqlOutbox(const MysqlOutbox&) = delete;
  MysqlOutbox& operator=(const MysqlOutbox&) = delete;
};

/// Creates the table unless it is there. @see outbox::Create
inline void CreateOutboxTable(MYSQL* connection, const std::string& table = outbox::kTable) {
  MysqlSession session(connection);
  outbox::Create(session, table);
}

/// Reads an outbox table on a connection of its own, which it opens when it is needed, and again when it broke. No answer is
/// waited for longer than `limit` (libmysqlclient: three times as long).
class MysqlOutboxSource : public SqlOutboxSource {
 public:
  /// @throws LogicError  this is no name of a table.
  MysqlOutboxSource(MysqlAddress address, const std::string& table,
                    std::chrono::seconds limit = std::chrono::seconds(5))
      : SqlOutboxSource(SqlDialect::kMysql, table),
        address_(std::move(address)),
        name_("'" + table + "' (MySQL)"),
        limit_(limit) {}
  std::string Name() const override { return name_; }

 private:
  struct Session : private MysqlConnection, public MysqlSession {
    Session(const MysqlAddress& address, std::chrono::seconds limit)
        : MysqlConnection(address, limit), MysqlSession(MysqlConnection::Handle()) {}
  };

 protected:
  std::unique_ptr<SqlSession> Connect() override {
    auto session = std::make_unique<Session>(address_, limit_);
    const std::string seconds = std::to_string(limit_.count());
    session->Simple(("SET SESSION autocommit = 1, innodb_lock_wait_timeout = " + seconds +
                     ", lock_wait_timeout = " + seconds)
                        .c_str());
    // Otherwise reading the end of the table would hold up those who add to it.
    session->Simple("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED");
    return session;
  }

 private:
  const MysqlAddress address_;
  const std::string name_;
  const std::chrono::seconds limit_;
};

/// For Coordinator::Relay: `address` with the database that has the table. @throws LogicError  this is no name of a table.
inline std::unique_ptr<OutboxSource> MysqlRelay(MysqlAddress address,
                                                const std::string& table = outbox::kTable) {
  return std::make_unique<MysqlOutboxSource>(std::move(address), table);
}

}  // namespace v1
}  // namespace dtm
