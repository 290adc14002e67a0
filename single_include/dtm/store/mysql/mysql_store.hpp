/// Generated from include/dtm/store/mysql/mysql_store.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../../dtm.hpp"
#include "../../sql/mysql_client.hpp"
#include "mysql_batch.hpp"
#include "mysql_large.hpp"
#include "mysql_schema.hpp"
#include "mysql_statements.hpp"
#include "../shared/database.hpp"
#include "../shared/shared_store.hpp"

// ---- dtm/store/mysql/mysql_store.hpp -----------------------------------------------------------

/// A store in MariaDB or MySQL that any number of coordinators share.
/// Needs: libmariadb or libmysqlclient. Threads: see store.hpp. Document: docs/store_format.md, "Tables of a shared store".

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

namespace dtm {
inline namespace v1 {

/// Durability is the server's: a commit survives a loss of power if innodb_flush_log_at_trx_commit is 1 (and, with a binlog,
/// sync_binlog too), which only the server's owner can set.
struct MysqlStoreOptions {
  /// For each message, so also for a commit; whole seconds, 1 s to 60 s. The server waits so long for a lock; a server that
  /// does not answer is given up a second later (libmysqlclient: after three times as long).
  std::chrono::seconds store_timeout{5};
  /// After so much silence of a coordinator the others take over what it drives; 600 ms to 60 s, all the same. It beats four
  /// times as often, and calls nothing when it could not for nine tenths of it.
  Duration lease = std::chrono::milliseconds(1200);
};

namespace mysql_store {

/// Ids of transactions: ascending, of one member never twice, of two members never the same unless their numbers are 4096
/// apart. The server's own would be known only after the insert. Threads: any.
class Ids {
 public:
  /// `created`: of the transaction, in the time that all members agree on.
  std::int64_t Next(std::uint64_t member, std::int64_t created) {
    constexpr std::int64_t kMembers = 4096;
    constexpr std::int64_t k2020 = 1577836800000000;  // µs; so they last until 2091
    const std::lock_guard<std::mutex> lock(mutex_);
    last_ = (std::max)(last_ + 1, created - k2020);
    return last_ * kMembers + static_cast<std::int64_t>(member % kMembers);
  }

 private:
  std::mutex mutex_;
  std::int64_t last_ = 0;
};

class Connection : public shared_store::Connection {
 public:
  Connection(const MysqlAddress& address, std::chrono::seconds limit, std::shared_ptr<Ids> ids)
      : client_(address, limit), ids_(std::move(ids)) {
    if (client_.MostBytes() >= kLeastPacket) return;
    throw StoreError("max_allowed_packet of the server is " + std::to_string(client_.MostBytes()) +
                     " bytes, and a transaction may need " + std::to_string(kLeastPacket) +
                     "; set it to 64M");
  }

  MysqlClient& Client() { return client_; }
  bool Works() const override { return client_.Works(); }
  std::size_t MostBytes() const override { return client_.MostBytes() / 2; }  // all escaped

  std::unique_ptr<SqlRows> Run(shared_store::Query query,
                               const std::vector<SqlValue>& values) override {
    try {
      std::vector<MysqlRows> answers = client_.Run(TextOf(query, values));
      if (answers.empty()) return std::make_unique<MysqlRows>();
      return std::make_unique<MysqlRows>(std::move(answers.back()));
    } catch (const SqlError& error) {
      if (error.Code() != kNotOne) throw;
      return std::make_unique<MysqlRows>();  // no member any more: nothing was done
    }
  }

  bool Write(std::uint64_t member, std::int64_t epoch, shared_store::BatchRows& batch) override {
    std::vector<std::int64_t> ids;
    for (const shared_store::NewRow& row : batch.inserts) {
      ids.push_back(ids_->Next(member, row.created));
    }
    std::vector<MysqlRows> answers;
    try {
      answers = Send(BatchText(member, epoch, batch, ids));
    } catch (const SqlError& error) {
      const std::size_t answered = client_.Answered();
      if (error.Code() == kNotOne && answered == 0) return false;
      const bool in_values = answered >= 1 && answered <= batch.values.size();
      if (!in_values || (error.Code() != kNotOne && error.Code() != kDuplicate)) throw;
      throw BatchLost("another coordinator has written the same topic meanwhile; try again");
    }
    auto rows = answers.begin() + 1 + static_cast<std::ptrdiff_t>(batch.values.size());
    if (!batch.inserts.empty()) {
      for (std::size_t row = 0; row < rows->Count(); ++row) {
        batch.Inserted(std::string(rows->View(row, 1)), rows->Number(row, 0));
      }
      ++rows;
    }
    if (!batch.updates.empty()) NoteUpdated(*rows, batch);
    return true;
  }

 private:
  static constexpr char kDuplicate[] = "1062";
  /// For a workflow of kMaxWorkflowBytes, and its state.
  static constexpr std::size_t kLeastPacket = std::size_t{16} << 20;

  /// What is too large for one message has its long values sent ahead; until the last message nothing is locked.
  std::vector<MysqlRows> Send(const std::string& text) {
    if (text.size() < client_.MostBytes()) return client_.Run(text);
    const Messages messages = LongValues(client_.MostBytes()).TakenFrom(text);
    std::vector<MysqlRows> answers;
    for (const std::string& message : messages.texts) answers = client_.Run(message);
    try {
      (void)client_.Run(Forgetting(messages.variables));
    } catch (const SqlError&) {  // they end with the connection
    }
    return answers;
  }

  /// `rows`: what was stored before.
  static void NoteUpdated(const MysqlRows& rows, shared_store::BatchRows& batch) {
    auto row = batch.updates.begin();
    for (std::size_t i = 0; i < rows.Count(); ++i) {  // both in the order of the ids
      while (row != batch.updates.end() && row->id < rows.Number(i, 0)) ++row;
      if (row == batch.updates.end()) return;
      if (row->id == rows.Number(i, 0)) row->place->applied = row->version == rows.Number(i, 1);
    }
  }

  MysqlClient client_;
  const std::shared_ptr<Ids> ids_;
};

/// One address for each host, which may have a port: "a,b:3307".
/// @throws LogicError  what follows the colon of a host is no port.
inline std::vector<MysqlAddress> EachHost(const MysqlAddress& address) {
  std::vector<MysqlAddress> each;
  std::string_view hosts = address.host;
  for (;;) {
    const std::size_t end = hosts.find(',');
    const std::string_view host = hosts.substr(0, end);
    const std::size_t colon = host.rfind(':');
    each.push_back(address);
    each.back().host = host;
    // An address of IPv6 has more colons.
    if (colon != std::string_view::npos && host.find(':') == colon) {
      each.back().host = host.substr(0, colon);
      const std::string_view port = host.substr(colon + 1);
      const auto read = std::from_chars(port.data(), port.data() + port.size(), each.back().port);
      if (read.ec != std::errc() || read.ptr != port.data() + port.size()) {
        throw LogicError("'" + std::string(host) + "' is no host with a port");
      }
    }
    if (end == std::string_view::npos) return each;
    hosts.remove_prefix(end + 1);
  }
}

class Database : public shared_store::Database {
 public:
  Database(const MysqlAddress& address, MysqlStoreOptions options)
      : addresses_(EachHost(address)), options_(options) {
    if (options_.store_timeout < std::chrono::seconds(1) ||
        options_.store_timeout > std::chrono::seconds(60)) {
      throw LogicError("store_timeout is out of its range, 1 s to 60 s");
    }
    if (options_.lease < std::chrono::milliseconds(600) ||
        options_.lease > std::chrono::seconds(60)) {
      throw LogicError("lease is out of its range, 600 ms to 60 s");
    }
    if (address.database.empty()) {
      throw LogicError("the address names no database; make one for the store, and name it");
    }
  }

  SqlDialect Dialect() const override { return SqlDialect::kMysql; }

  std::unique_ptr<shared_store::Connection> Connect() override {
    auto connection = ConnectAnywhere();
    if (!is_checked_.exchange(true)) {
      try {
        mysql_schema::Migrate(connection->Client());
      } catch (...) {
        is_checked_ = false;
        throw;
      }
    }
    return connection;
  }

 private:
  /// To the server where the last connection succeeded, else to the next one.
  std::unique_ptr<Connection> ConnectAnywhere() {
    for (std::size_t left = addresses_.size();; --left) {
      const std::size_t place = place_;
      try {
        // The server gives a lock up first: then it is known that nothing is stored.
        return std::make_unique<Connection>(addresses_[place],
                                            options_.store_timeout + std::chrono::seconds(1), ids_);
      } catch (const SqlError&) {
        place_ = (place + 1) % addresses_.size();
        if (left == 1) throw;
      }
    }
  }

  std::vector<MysqlAddress> addresses_;
  std::atomic<std::size_t> place_{0};  ///< among them
  const MysqlStoreOptions options_;
  const std::shared_ptr<Ids> ids_ = std::make_shared<Ids>();
  std::atomic<bool> is_checked_{false};
};

}  // namespace mysql_store

/// A store in MariaDB or MySQL: `dtm::Coordinator tm(dtm::MysqlStore({"db.local", 3306, "user", password, "dtm"}))`. The
/// database must be there; the tables are made unless they are. `host` may be several, "a,b:3307", such as the nodes of a Galera
/// cluster: the first that can be used is, and the next one if it is lost.
/// @throws LogicError  an option is wrong, or no database is named. StoreError: there is no connection, or the tables cannot be
/// used.
inline std::unique_ptr<Store> MysqlStore(const MysqlAddress& address,
                                         MysqlStoreOptions options = {}) {
  auto store = std::make_unique<SharedStore>(
      std::make_unique<mysql_store::Database>(address, options), options.lease);
  store->StartBeating();
  return store;
}

}  // namespace v1
}  // namespace dtm
