/// How the SQLite store reads rows back into records.
/// Needs: SQLite through sql/sqlite_connection.hpp. Threads: those of the statement. Document: docs/store_format.md.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <dtm/base/error.hpp>
#include <dtm/core/journal.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/sql/sqlite_connection.hpp>
#include <dtm/store/codec.hpp>
#include <dtm/store/journal_codec.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {
namespace sqlite_store {

/// Ends the reading of a statement.
struct Finally {
  sql::Statement& statement;
  ~Finally() { statement.Reset(); }
};

inline std::int64_t Stored(Time time) { return time.time_since_epoch().count(); }
inline Time FromStored(std::int64_t micros) { return Time(Duration(micros)); }

/// SELECT of whole records, completed by `rest`; ReadTransaction reads these columns.
inline std::string Select(const std::string& rest) {
  return "SELECT id, gid, type, status, version, created, finished, due, state, "
         "coalesce(definition, "
         "(SELECT b.definition FROM dtm_big_definition b WHERE b.id = dtm_trans.id)) "
         "FROM dtm_trans " +
         rest;
}

inline constexpr char kSelectSteps[] = "SELECT nr, step FROM dtm_step WHERE trans = ?1 ORDER BY nr";

/// Those that were added since the definition was written.
/// @throws StoreError  damaged; SqliteError: they cannot be read now.
inline void ReadAddedSteps(sql::Statement& steps, std::int64_t trans, Definition& definition) {
  const Finally reset{steps};
  steps.Bind(1, trans);
  while (steps.Step()) {
    const auto nr = static_cast<std::int64_t>(definition.steps.size());
    if (steps.Int(0) != nr) codec::Reader::Fail();
    definition.steps.push_back(codec::DecodeStep(steps.View(1)));
  }
}

/// A record that cannot be read comes back `unreadable`, with its gid and the reason: it stops that
/// transaction and no other. `steps`: kSelectSteps on the same connection; as the row is still being read, both are of
/// the same commit.
/// @throws SqliteError  the step rows cannot be read now.
inline Transaction ReadTransaction(const sql::Statement& row, sql::Statement& steps) {
  Transaction transaction;
  transaction.id = row.Int(0);
  const std::string gid = row.Text(1);
  const auto type = static_cast<TransType>(row.Int(2));
  transaction.status = static_cast<Status>(row.Int(3));
  transaction.version = static_cast<std::uint64_t>(row.Int(4));
  transaction.created = FromStored(row.Int(5));
  transaction.finished = FromStored(row.Int(6));
  transaction.due = row.IsNull(7) ? kNever : FromStored(row.Int(7));
  try {
    const auto known = [](std::int64_t number) { return number >= 1 && number <= 5; };
    if (!known(row.Int(2)) || !known(row.Int(3))) codec::Reader::Fail();
    codec::DecodeState(row.View(8), transaction);
    const std::shared_ptr<Definition> definition = codec::DecodeDefinition(gid, type, row.View(9));
    if (RegistersSteps(type)) ReadAddedSteps(steps, transaction.id, *definition);
    transaction.definition = definition;
  } catch (const sql::SqliteError&) {  // of the step rows: they may be read another time
    throw;
  } catch (const StoreError& error) {
    auto unreadable = std::make_shared<Definition>();
    unreadable->gid = gid;
    unreadable->type = type;
    transaction.definition = std::move(unreadable);
    transaction.branches.clear();
    transaction.unreadable = true;
    transaction.last_error = error.what();
  }
  return transaction;
}

/// What was moved out of the row, and what came since.
inline constexpr char kSelectJournal[] =
    "SELECT (SELECT j.entries FROM dtm_journal j WHERE j.trans = dtm_trans.id), journal FROM "
    "dtm_trans ";

/// The same of a file whose version keeps none.
inline constexpr char kSelectNoJournal[] = "SELECT NULL, NULL FROM dtm_trans ";

inline std::vector<JournalEntry> ReadJournal(const sql::Statement& row) {
  std::vector<JournalEntry> entries;
  codec::DecodeJournal(row.View(0), entries);
  codec::DecodeJournal(row.View(1), entries);
  return entries;
}

inline constexpr char kSelectValues[] =
    "SELECT id, cat, k, v, version, created, updated FROM dtm_kv ";

inline KeyValue ReadValue(const sql::Statement& row) {
  KeyValue value;
  value.id = row.Int(0);
  value.category = row.Text(1);
  value.key = row.Text(2);
  value.value = row.Text(3);
  value.version = static_cast<std::uint64_t>(row.Int(4));
  value.created = FromStored(row.Int(5));
  value.updated = FromStored(row.Int(6));
  return value;
}

inline constexpr char kSelectKept[] = "SELECT gid, type, status, finished, content FROM dtm_gids ";

/// Seconds are enough, and half as long.
inline Time FromKept(std::int64_t seconds) { return Time(std::chrono::seconds(seconds)); }

inline Transaction ReadKept(const sql::Statement& row) {
  return RecordOf({row.Text(0), static_cast<TransType>(row.Int(1)), static_cast<Status>(row.Int(2)),
                   FromKept(row.Int(3)), static_cast<std::uint64_t>(row.Int(4))});
}

}  // namespace sqlite_store
}  // namespace v1
}  // namespace dtm
