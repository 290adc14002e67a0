/// Generated from include/dtm/outbox/postgres_outbox.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../dtm.hpp"
#include "outbox.hpp"
#include "outbox_table.hpp"
#include "sql_outbox_source.hpp"
#include "../sql/postgres.hpp"

// ---- dtm/outbox/postgres_outbox.hpp ------------------------------------------------------------

/// The outbox in PostgreSQL: submits in the program's own transaction, and relays to a coordinator.
/// Needs: libpq 12; PostgreSQL 10 or newer. Threads: an outbox by one thread at a time, as its connection.

#include <chrono>
#include <memory>
#include <string>
#include <utility>

namespace dtm {
inline namespace v1 {

/// An outbox on a connection of the program, which must outlive it; see SqlOutbox. The base comes first, since the outbox uses it.
class PgOutbox : private PgSession, public SqlOutbox {
 public:
  /// @throws LogicError  the connection is null, or this is no name of a table.
  explicit PgOutbox(PGconn* connection, const std::string& table = outbox::kTable)
      : PgSession(connection), SqlOutbox(static_cast<SqlSession&>(*this), table) {}
  /// In the coordinators' store. @throws LogicError  the connection is null, or this is no name of a schema.
  PgOutbox(PGconn* connection, const InStore& store)
      : PgSession(connection), SqlOutbox(static_cast<SqlSession&>(*this), store) {}
  PgOutbox(const PgOutbox&) = delete;
  PgOutbox& operator=(const PgOutbox&) = delete;
};

/// Creates the table unless it is there. @see outbox::Create
inline void CreateOutboxTable(PGconn* connection, const std::string& table = outbox::kTable) {
  PgSession session(connection);
  outbox::Create(session, table);
}

/// Reads an outbox table on a connection of its own, which it opens when it is needed, and again when it broke. No answer is
/// waited for longer than `limit`. A pooler between must give it the same server process all the time.
class PgOutboxSource : public SqlOutboxSource {
 public:
  /// @throws LogicError  this is no name of a table.
  PgOutboxSource(std::string conninfo, const std::string& table,
                 std::chrono::seconds limit = std::chrono::seconds(5))
      : SqlOutboxSource(SqlDialect::kPostgres, table),
        conninfo_(std::move(conninfo)),
        name_("'" + table + "' (PostgreSQL)"),
        limit_(limit) {}
  std::string Name() const override { return name_; }

 private:
  struct Session : private PgConnection, public PgSession {
    Session(const std::string& conninfo, std::chrono::seconds limit)
        : PgConnection(conninfo, limit),
          PgSession(PgConnection::Handle(), limit + std::chrono::seconds(1)) {}
  };

 protected:
  std::unique_ptr<SqlSession> Connect() override {
    auto session = std::make_unique<Session>(conninfo_, limit_);
    // The server gives up first, else it would go on waiting for a lock after we have gone. A claim must survive what the
    // submission survives, whatever the user's settings are.
    session->Simple(
        ("SET statement_timeout = " + std::to_string(std::chrono::milliseconds(limit_).count()) +
         "; SET default_transaction_isolation = 'read committed'; SELECT "
         "set_config('synchronous_commit', 'on', false) WHERE "
         "current_setting('synchronous_commit') = 'off'")
            .c_str());
    return session;
  }

 private:
  const std::string conninfo_;
  const std::string name_;
  const std::chrono::seconds limit_;
};

/// For Coordinator::Relay: `conninfo` as libpq takes it. @throws LogicError  this is no name of a table.
inline std::unique_ptr<OutboxSource> PgRelay(std::string conninfo,
                                             const std::string& table = outbox::kTable) {
  return std::make_unique<PgOutboxSource>(std::move(conninfo), table);
}

}  // namespace v1
}  // namespace dtm
