/// The outbox in MySQL: submits in the program's own transaction, and relays to a coordinator.
/// Needs: libmariadb or libmysqlclient; MariaDB 10.6 or MySQL 8 or newer for the relay. Threads: an outbox by one thread at a time, as its connection.
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
#include <dtm/sql/mysql.hpp>

namespace dtm {
inline namespace v1 {

/// An outbox on a connection of the program, which must outlive it; see SqlOutbox. The base comes first, since the outbox uses it.
class MysqlOutbox : private MysqlSession, public SqlOutbox {
 public:
  /// @throws LogicError  the connection is null, or this is no name of a table.
  explicit MysqlOutbox(MYSQL* connection, const std::string& table = outbox::kTable)
      : MysqlSession(connection), SqlOutbox(static_cast<SqlSession&>(*this), table) {}
  MysqlOutbox(const MysqlOutbox&) = delete;
  MysqlOutbox& operator=(const MysqlOutbox&) = delete;
};

/// Creates the table unless it is there. @see outbox::Create
inline void CreateOutboxTable(MYSQL* connection, const std::string& table = outbox::kTable) {
  MysqlSession session(connection);
  outbox::Create(session, table);
}

/// Reads an outbox table on a connection of its own, which it opens when it is needed, and again when it broke.
class MysqlOutboxSource : public OutboxSource {
 public:
  MysqlOutboxSource(MysqlAddress address, std::string table)
      : address_(std::move(address)), table_(std::move(table)) {}

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
  std::string Name() const override { return "'" + table_ + "' (MySQL)"; }

 private:
  void Connect() {
    auto connection = std::make_unique<MysqlConnection>(address_);
    connection_ = std::move(connection);
    try {
      session_.emplace(connection_->Handle());
      // Otherwise reading the end of the table would hold up those who add to it.
      session_->Simple("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED");
    } catch (const SqlError&) {
      session_.reset();
      connection_.reset();
      throw;
    }
  }

  const MysqlAddress address_;
  const std::string table_;
  std::unique_ptr<MysqlConnection> connection_;
  std::optional<MysqlSession> session_;
};

/// For Coordinator::Relay: `address` with the database that has the table.
inline std::unique_ptr<OutboxSource> MysqlRelay(MysqlAddress address,
                                                std::string table = outbox::kTable) {
  return std::make_unique<MysqlOutboxSource>(std::move(address), std::move(table));
}

}  // namespace v1
}  // namespace dtm
