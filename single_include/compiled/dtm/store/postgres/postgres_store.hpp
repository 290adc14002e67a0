/// Generated from include/dtm/store/postgres/postgres_store.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../../dtm.hpp"
#include "../../sql/postgres_client.hpp"
#include "../../sql/sql_name.hpp"
#include "postgres_schema.hpp"
#include "postgres_statements.hpp"
#include "../shared/database.hpp"
#include "../shared/shared_store.hpp"

// ---- dtm/store/postgres/postgres_store.hpp -----------------------------------------------------

/// A store in PostgreSQL that any number of coordinators share.
/// Needs: libpq. Threads: see store.hpp. Document: docs/store_format.md, "Tables of a shared store".

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dtm {
inline namespace v1 {

/// Durability is the server's: a commit survives a loss of power if synchronous_commit and fsync are on, as they are by default.
struct PostgresStoreOptions {
  /// kPower: a commit is as durable as the server's settings make it, and at least on its disk. kProcess: it survives the
  /// death of a coordinator, but not that of the server.
  Durability durability = Durability::kPower;
  /// For each statement, so also for a commit: 100 ms to 60 s.
  Duration store_timeout = std::chrono::seconds(5);
  /// After so much silence of a coordinator the others take over what it drives; 600 ms to 60 s, all the same. It beats four
  /// times as often, and calls nothing when it could not for nine tenths of it.
  Duration lease = std::chrono::milliseconds(1200);
  /// Where the tables are; it is made if it is missing. Empty: where the user's search_path points.
  std::string schema;
};

namespace postgres_store {

class Connection : public shared_store::Connection {
 public:
  Connection(const std::string& conninfo, Duration limit) : client_(conninfo, limit) {}

  PgClient& Client() { return client_; }
  bool Works() const override { return client_.Works(); }
  std::size_t MostBytes() const override { return std::size_t{64} << 20; }  // PostgreSQL: 1 GiB

  std::unique_ptr<SqlRows> Run(shared_store::Query query,
                               const std::vector<SqlValue>& values) override {
    parameters_.Clear();
    for (const SqlValue& value : values) parameters_.Add(value);
    return std::make_unique<PgRows>(client_.Run(TextOf(query), parameters_));
  }

  bool Write(std::uint64_t member, std::int64_t epoch, shared_store::BatchRows& batch) override {
    const auto any = [&batch](std::string ChangedRow::*bytes) {
      return std::any_of(batch.updates.begin(), batch.updates.end(),
                         [bytes](const ChangedRow& row) { return !(row.*bytes).empty(); });
    };
    const bool folds = any(&ChangedRow::folded);
    const BatchParts parts{!batch.inserts.empty(),
                           !batch.updates.empty(),
                           folds || any(&ChangedRow::told),
                           folds,
                           !batch.steps.empty(),
                           !batch.redefined.empty(),
                           !batch.values.empty()};
    std::string& text = batch_texts_[static_cast<std::size_t>(parts.Number())];
    if (text.empty()) text = BatchText(parts);
    parameters_.Clear();
    parameters_.Number(static_cast<std::int64_t>(member));
    parameters_.Number(epoch);
    if (parts.inserts) AddInserts(batch.inserts);
    if (parts.updates) AddUpdates(batch.updates, parts);
    if (parts.steps) AddSteps(batch.steps);
    if (parts.redefined) {
      parameters_.Array(PgParameters::kNumber, batch.redefined,
                        [this](std::int64_t id) { parameters_.Item(id); });
    }
    if (parts.values) AddValues(batch.values);
    const PgRows rows = Sent(text);
    bool is_member = false;
    for (std::size_t row = 0; row < rows.Count(); ++row) {
      switch (rows.Number(row, 0)) {
        case 0: is_member = true; break;
        case 1: batch.Inserted(std::string(rows.View(row, 2)), rows.Number(row, 1)); break;
        case 2: batch.Updated(rows.Number(row, 1)); break;
        default: break;
      }
    }
    return is_member;
  }

 private:
  using NewRow = shared_store::NewRow;
  using ChangedRow = shared_store::ChangedRow;

  PgRows Sent(const std::string& text) {
    try {
      return client_.Run(text, parameters_);
    } catch (const SqlError& error) {
      if (error.Code() != "22012") throw;
      throw BatchLost("another coordinator has written the same topic meanwhile; try again");
    }
  }

  template <typename Rows, typename Member>
  void Numbers(const Rows& rows, Member member) {
    parameters_.Array(PgParameters::kNumber, rows,
                      [&](const auto& row) { parameters_.Item(row.*member); });
  }
  template <typename Rows>
  void Dues(const Rows& rows) {
    parameters_.Array(PgParameters::kNumber, rows, [this](const auto& row) {
      row.due ? parameters_.Item(*row.due) : parameters_.Null();
    });
  }
  template <typename Rows, typename Member>
  void Blobs(const Rows& rows, Member member) {
    parameters_.Array(PgParameters::kBytes, rows,
                      [&](const auto& row) { parameters_.Item(std::string_view(row.*member)); });
  }
  /// Null if there is nothing in it.
  template <typename Rows, typename Member>
  void BlobsOrNull(const Rows& rows, Member member) {
    parameters_.Array(PgParameters::kBytes, rows, [&](const auto& row) {
      const std::string& bytes = row.*member;
      bytes.empty() ? parameters_.Null() : parameters_.Item(std::string_view(bytes));
    });
  }
  template <typename Rows, typename Member>
  void Texts(const Rows& rows, Member member) {
    parameters_.Array(PgParameters::kText, rows,
                      [&](const auto& row) { parameters_.Item(std::string_view(row.*member)); });
  }

  void AddInserts(const std::vector<NewRow>& rows) {
    parameters_.Array(PgParameters::kText, rows,
                      [this](const NewRow& row) { parameters_.Item(std::string_view(*row.gid)); });
    Numbers(rows, &NewRow::type);
    Numbers(rows, &NewRow::status);
    Numbers(rows, &NewRow::created);
    Numbers(rows, &NewRow::finished);
    Dues(rows);
    parameters_.Array(PgParameters::kText, rows,
                      [this](const NewRow& row) { parameters_.Item(std::string_view(row.app)); });
    Blobs(rows, &NewRow::definition);
    Blobs(rows, &NewRow::state);
    BlobsOrNull(rows, &NewRow::told);
  }
  void AddUpdates(const std::vector<ChangedRow>& rows, const BatchParts& parts) {
    Numbers(rows, &ChangedRow::id);
    Numbers(rows, &ChangedRow::version);
    Numbers(rows, &ChangedRow::status);
    Numbers(rows, &ChangedRow::created);
    Numbers(rows, &ChangedRow::finished);
    Dues(rows);
    Blobs(rows, &ChangedRow::state);
    parameters_.Array(PgParameters::kText, rows, [this](const ChangedRow& row) {
      row.app ? parameters_.Item(std::string_view(*row.app)) : parameters_.Null();
    });
    BlobsOrNull(rows, &ChangedRow::definition);
    if (parts.journals) BlobsOrNull(rows, &ChangedRow::told);
    if (parts.folds) BlobsOrNull(rows, &ChangedRow::folded);
  }
  void AddSteps(const std::vector<shared_store::AddedStep>& rows) {
    Numbers(rows, &shared_store::AddedStep::transaction);
    Numbers(rows, &shared_store::AddedStep::nr);
    Blobs(rows, &shared_store::AddedStep::step);
  }
  void AddValues(const std::vector<shared_store::ChangedValue>& rows) {
    using Value = shared_store::ChangedValue;
    Texts(rows, &Value::category);
    Texts(rows, &Value::key);
    parameters_.Array(PgParameters::kBytes, rows, [this](const Value& row) {
      row.value ? parameters_.Item(std::string_view(*row.value)) : parameters_.Null();
    });
    Numbers(rows, &Value::created);
    Numbers(rows, &Value::updated);
    Numbers(rows, &Value::version);
    Numbers(rows, &Value::before);
  }

  PgClient client_;
  PgParameters parameters_;  // a member for its memory
  std::array<std::string, kBatchForms> batch_texts_;
};

class Database : public shared_store::Database {
 public:
  Database(std::string conninfo, PostgresStoreOptions options)
      : conninfo_(std::move(conninfo)), options_(std::move(options)) {
    PgClient::CheckConninfo(conninfo_);
    if (options_.store_timeout < std::chrono::milliseconds(100) ||
        options_.store_timeout > std::chrono::seconds(60)) {
      throw LogicError("store_timeout is out of its range, 100 ms to 60 s");
    }
    if (options_.lease < std::chrono::milliseconds(600) ||
        options_.lease > std::chrono::seconds(60)) {
      throw LogicError("lease is out of its range, 600 ms to 60 s");
    }
    if (options_.schema.empty()) return;
    schema_ = sql::QuotedName(SqlDialect::kPostgres, options_.schema, "a schema");
    if (options_.schema.find('.') != std::string::npos) {
      throw LogicError("'" + options_.schema + "' is no name of a schema: it has a dot");
    }
  }

  SqlDialect Dialect() const override { return SqlDialect::kPostgres; }

  std::unique_ptr<shared_store::Connection> Connect() override {
    // The server ends a statement first: then it is known that nothing is stored.
    auto connection = std::make_unique<Connection>(
        conninfo_, options_.store_timeout + std::chrono::milliseconds(500));
    PgClient& client = connection->Client();
    client.Simple(Settings());
    if (!schema_.empty()) client.Simple("SET search_path = " + schema_);
    if (!is_checked_.exchange(true)) {
      try {
        postgres_schema::Migrate(client, schema_);
      } catch (...) {
        is_checked_ = false;
        throw;
      }
    }
    return connection;
  }

 private:
  std::string Settings() const {
    const auto limit =
        std::chrono::duration_cast<std::chrono::milliseconds>(options_.store_timeout).count();
    // Plans without parameters, and by indexes: statistics of tables that were empty must not choose anything else.
    std::string text =
        "SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = "
        "off; SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET "
        "enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off; SET "
        "client_min_messages = error; SET statement_timeout = " +
        std::to_string(limit) +
        // A commit on a connection that the server has closed would be in doubt. Before PostgreSQL 14 it closes none.
        "; SELECT set_config(name, '0', false) FROM pg_settings WHERE name = "
        "'idle_session_timeout'; ";
    if (options_.durability == Durability::kProcess) return text + "SET synchronous_commit = off";
    return text +
           "SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit') "
           "WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false)";
  }

  const std::string conninfo_;
  const PostgresStoreOptions options_;
  std::string schema_;  ///< quoted
  std::atomic<bool> is_checked_{false};
};

}  // namespace postgres_store

/// A store in PostgreSQL: `dtm::Coordinator tm(dtm::PostgresStore("host=a,b dbname=x target_session_attrs=read-write"))`.
/// `conninfo`: as libpq takes it. It creates its tables unless they are there.
/// @throws LogicError  the conninfo or an option is wrong. StoreError: there is no connection, or the tables cannot be used.
inline std::unique_ptr<Store> PostgresStore(std::string conninfo,
                                            PostgresStoreOptions options = {}) {
  const Duration lease = options.lease;
  auto store = std::make_unique<SharedStore>(
      std::make_unique<postgres_store::Database>(std::move(conninfo), std::move(options)), lease);
  store->StartBeating();
  return store;
}

}  // namespace v1
}  // namespace dtm
