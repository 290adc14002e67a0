/// The outbox in PostgreSQL: submits in the program's own transaction, and relays to a coordinator.
/// Needs: libpq; PostgreSQL 9.5 or newer. Threads: an outbox by one thread at a time, as its connection.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <dtm/base/error.hpp>
#include <dtm/coordinator/parts/outbox_source.hpp>
#include <dtm/outbox/outbox.hpp>
#include <dtm/outbox/outbox_table.hpp>
#include <dtm/sql/postgres.hpp>

namespace dtm {
inline namespace v1 {

/// An outbox on a connection of the program, which must outlive it; see SqlOutbox. The base comes first, since the outbox uses it.
class PgOutbox : private PgSession, public SqlOutbox {
 public:
  /// @throws LogicError  the connection is null, or this is no name of a table.
  explicit PgOutbox(PGconn* connection, const std::string& table = outbox::kTable)
      : PgSession(connection), SqlOutbox(static_cast<SqlSession&>(*this), table) {}
  PgOutbox(const PgOutbox&) = delete;
  PgOutbox& operator=(const PgOutbox&) = delete;
};

/// Creates the table unless it is there. @see outbox::Create
inline void CreateOutboxTable(PGconn* connection, const std::string& table = outbox::kTable) {
  PgSession session(connection);
  outbox::Create(session, table);
}

/// Reads an outbox table on a connection of its own, which it opens when it is needed, and again when it broke.
class PgOutboxSource : public OutboxSource {
 public:
  PgOutboxSource(std::string conninfo, std::string table)
      : conninfo_(std::move(conninfo)), table_(std::move(table)) {}

  std::size_t Relay(std::size_t limit, const Take& take) override {
    if (!connection_) Connect();
    try {
      return outbox::RelayPage(*session_, table_, limit, take);
    } catch (const SqlError&) {
      session_.reset();
      connection_.reset();
      throw;
    }
  }
  std::string Name() const override { return "'" + table_ + "' (PostgreSQL)"; }

 private:
  void Connect() {
    auto connection = std::make_unique<PgConnection>(conninfo_);
    connection_ = std::move(connection);
    try {
      session_.emplace(connection_->Handle());
    } catch (const SqlError&) {
      session_.reset();
      connection_.reset();
      throw;
    }
  }

  const std::string conninfo_;
  const std::string table_;
  std::unique_ptr<PgConnection> connection_;
  std::optional<PgSession> session_;
};

/// For Coordinator::Relay: `conninfo` as libpq takes it.
inline std::unique_ptr<OutboxSource> PgRelay(std::string conninfo,
                                             std::string table = outbox::kTable) {
  return std::make_unique<PgOutboxSource>(std::move(conninfo), std::move(table));
}

}  // namespace v1
}  // namespace dtm
