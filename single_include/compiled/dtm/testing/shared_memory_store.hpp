/// Generated from include/dtm/testing/shared_memory_store.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../dtm.hpp"
#include "../sql/rows.hpp"
#include "../sql/session.hpp"
#include "../store/shared/batch.hpp"
#include "../store/shared/database.hpp"
#include "../store/shared/shared_store.hpp"
#include "shared_memory_statements.hpp"
#include "shared_memory_tables.hpp"
#include "virtual_time.hpp"

// ---- dtm/testing/shared_memory_store.hpp -------------------------------------------------------

/// Several coordinators on one store, in one thread and in virtual time: the stores of PostgreSQL and MySQL with their members,
/// leases and takeovers, on tables in memory instead of a server.
/// Needs: store/shared. Threads: as store.hpp says; the time, and what sees the statements, belong to one thread.

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace dtm {
inline namespace v1 {
namespace testing {

/// A batch that is still on its way when its sender has given it up.
class LateBatch {
 public:
  explicit LateBatch(const shared_store::BatchRows& rows) : rows_(rows) {
    for (shared_store::NewRow& row : rows_.inserts) {
      gids_.push_back(*row.gid);
      row.gid = &gids_.back();
      row.place = NewPlace();
    }
    for (shared_store::ChangedRow& row : rows_.updates) row.place = NewPlace();
  }
  LateBatch(const LateBatch&) = delete;
  LateBatch& operator=(const LateBatch&) = delete;

  shared_store::BatchRows& Rows() { return rows_; }

 private:
  /// For an outcome that nobody reads.
  Change* NewPlace() {
    changes_.emplace_back();
    changes_.back().transaction = &nobody_;
    return &changes_.back();
  }

  shared_store::BatchRows rows_;
  std::deque<std::string> gids_;
  std::deque<Change> changes_;
  Transaction nobody_;
};

/// The values of a statement that outlive it.
struct KeptValues {
  explicit KeptValues(const std::vector<SqlValue>& from) {
    for (const SqlValue& value : from) {
      if (const auto* text = std::get_if<std::string_view>(&value)) {
        texts.emplace_back(*text);
        values.emplace_back(std::string_view(texts.back()));
      } else if (const auto* list = std::get_if<const std::vector<std::string>*>(&value)) {
        lists.push_back(**list);
        values.emplace_back(&std::as_const(lists.back()));
      } else if (const auto* ids = std::get_if<const std::vector<std::int64_t>*>(&value)) {
        numbers.push_back(**ids);
        values.emplace_back(&std::as_const(numbers.back()));
      } else {
        values.push_back(value);
      }
    }
  }
  KeptValues(const KeptValues&) = delete;
  KeptValues& operator=(const KeptValues&) = delete;

  std::deque<std::string> texts;
  std::deque<std::vector<std::string>> lists;
  std::deque<std::vector<std::int64_t>> numbers;
  std::vector<SqlValue> values;
};

/// What a connection sends to the tables.
struct SharedMemoryStatement {
  /// kConnect: a new connection; kQuery: reads, or one statement; kBatch: a commit.
  enum class Kind { kConnect, kQuery, kBatch };
  Kind kind = Kind::kConnect;
  shared_store::Query query{};  ///< of kQuery
  bool done = false;            ///< the tables have done it, and the answer is on its way
  /// For a statement that is done later than its sender believes: a copy. Empty if it changes no members and no transactions.
  std::function<std::function<void()>()> copy;
};

/// Sees each statement twice, before and after the tables do it. If it throws an SqlError the statement fails so; without a code
/// its connection is lost. Meanwhile it may let time pass, and others go on.
using SharedMemoryWire = std::function<void(const SharedMemoryStatement&)>;

class SharedMemoryDatabase : public shared_store::Database {
 public:
  explicit SharedMemoryDatabase(std::shared_ptr<SharedMemoryTables> tables,
                                SharedMemoryWire wire = {})
      : tables_(std::move(tables)), wire_(std::move(wire)) {}

  SqlDialect Dialect() const override { return SqlDialect::kPostgres; }

  std::unique_ptr<shared_store::Connection> Connect() override {
    if (wire_) wire_(SharedMemoryStatement{});
    return std::make_unique<Connection>(tables_, wire_);
  }

 private:
  using Query = shared_store::Query;
  using Kind = SharedMemoryStatement::Kind;

  class Connection : public shared_store::Connection {
   public:
    Connection(std::shared_ptr<SharedMemoryTables> tables, SharedMemoryWire wire)
        : tables_(std::move(tables)), wire_(std::move(wire)) {}

    bool Works() const override { return works_; }

    std::unique_ptr<SqlRows> Run(Query query, const std::vector<SqlValue>& values) override {
      SharedMemoryStatement statement{Kind::kQuery, query, false, {}};
      if (query >= Query::kJoin) {
        statement.copy = [&] {
          return [tables = tables_, query, kept = std::make_shared<KeptValues>(values)] {
            (void)SharedMemoryStatements(*tables).Run(query, kept->values);
          };
        };
      }
      Pass(statement);
      auto answer = SharedMemoryStatements(*tables_).Run(query, values);
      statement.done = true;
      Pass(statement);
      return answer;
    }

    bool Write(std::uint64_t member, std::int64_t epoch, shared_store::BatchRows& batch) override {
      const auto me = static_cast<std::int64_t>(member);
      SharedMemoryStatement statement{Kind::kBatch, {}, false, [&] {
                                        const auto late = std::make_shared<LateBatch>(batch);
                                        return [tables = tables_, me, epoch, late] {
                                          try {
                                            (void)tables->Write(me, epoch, late->Rows());
                                          } catch (const BatchLost&) {
                                          }
                                        };
                                      }};
      Pass(statement);
      const bool is_member = tables_->Write(me, epoch, batch);
      statement.done = true;
      Pass(statement);
      return is_member;
    }

   private:
    void Pass(const SharedMemoryStatement& statement) {
      if (!wire_) return;
      try {
        wire_(statement);
      } catch (const SqlError& error) {
        if (error.Code().empty()) works_ = false;
        throw;
      }
    }

    const std::shared_ptr<SharedMemoryTables> tables_;
    const SharedMemoryWire wire_;
    bool works_ = true;
  };

  const std::shared_ptr<SharedMemoryTables> tables_;
  const SharedMemoryWire wire_;
};

/// The store of one coordinator, a member like a new one, which beats as `time` passes:
///
///   const auto tables = std::make_shared<SharedMemoryTables>();
///   const auto time = std::make_shared<VirtualTime>();
///   const auto open = [&] { return SharedMemoryStore(tables, time); };
///   TestCoordinator one(setup, {}, open, time), two(setup, {}, open, time);
///   one->Submit(saga);
///   one.Crash();                                        // what it drove waits for a lease
///   TestCoordinator::AdvanceAll({&one, &two}, seconds(2));  // and goes on at the other one
///
/// To destroy it is a crash of its coordinator; Stop leaves, and then nobody waits for its lease.
inline std::shared_ptr<SharedStore> SharedMemoryStore(
    std::shared_ptr<SharedMemoryTables> tables, const std::shared_ptr<VirtualTime>& time,
    Duration lease = std::chrono::milliseconds(1200)) {
  struct Member : SharedStore {
    Member(std::shared_ptr<SharedMemoryTables> shared, const std::shared_ptr<VirtualTime>& time,
           Duration lease, const std::shared_ptr<bool>& alive)
        : SharedStore(std::make_unique<SharedMemoryDatabase>(std::move(shared),
                                                             [alive](const SharedMemoryStatement&) {
                                                               if (!*alive)
                                                                 throw SqlError(
                                                                     "the process is dead", "");
                                                             }),
                      lease, [time] { return time->Now().time_since_epoch(); }),
          alive_(alive) {
      StartBeatingByHand();
      BeatLater(time, lease / 4);
    }
    ~Member() override { *alive_ = false; }

    void BeatLater(const std::shared_ptr<VirtualTime>& time, Duration after) {
      time->At(time->Now() + after, [this, alive = alive_, times = std::weak_ptr(time), after] {
        const std::shared_ptr<VirtualTime> now = times.lock();
        if (!*alive || now == nullptr) return;
        while (Beat()) {
        }
        BeatLater(now, after);
      });
    }

    const std::shared_ptr<bool> alive_;
  };
  return std::make_shared<Member>(std::move(tables), time, lease, std::make_shared<bool>(true));
}

}  // namespace testing
}  // namespace v1
}  // namespace dtm
