/// The connection of the SQLite store that writes and makes checkpoints, with its statements.
/// Needs: SQLite through sql/sqlite_connection.hpp. Threads: one at a time.
/// Document: docs/store_format.md.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <dtm/base/error.hpp>
#include <dtm/core/journal.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/sql/sqlite_connection.hpp>
#include <dtm/sql/user_sql.hpp>
#include <dtm/store/codec.hpp>
#include <dtm/store/journal_codec.hpp>
#include <dtm/store/sqlite/records.hpp>
#include <dtm/store/sqlite/row_journals.hpp>
#include <dtm/store/sqlite/schema.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {
namespace sqlite_store {

struct Writer {
  explicit Writer(std::unique_ptr<sql::Database> configured)
      : owned(std::move(configured)),
        db(*owned),
        begin(db, "BEGIN IMMEDIATE"),
        commit(db, "COMMIT"),
        insert(db,
               "INSERT INTO dtm_trans (gid, type, status, version, created, finished, due, "
               "definition, state, journal) VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6, ?7, ?8, ?9) "
               "ON CONFLICT (gid) DO NOTHING"),
        insert_big(db,
                   "INSERT OR REPLACE INTO dtm_big_definition (id, definition) VALUES (?1, ?2)"),
        redefine(db, "UPDATE dtm_trans SET definition = ?2 WHERE id = ?1"),
        add_step(db, "INSERT INTO dtm_step (trans, nr, step) VALUES (?1, ?2, ?3)"),
        remove_steps(db, "DELETE FROM dtm_step WHERE trans = ?1"),
        steps(db, kSelectSteps),
        update(db, UpdateSet("")),
        update_due(db, UpdateSet(", due = ?6")),
        update_telling(db, UpdateSet(", journal = ?8")),
        update_due_telling(db, UpdateSet(", due = ?6, journal = ?8")),
        in_row(db, "SELECT journal FROM dtm_trans WHERE id = ?1"),
        journal(db, std::string(kSelectJournal) + "WHERE id = ?1"),
        clear_entries(db, "UPDATE dtm_trans SET journal = NULL WHERE id = ?1"),
        put_journal(db, "INSERT OR REPLACE INTO dtm_journal (trans, entries) VALUES (?1, ?2)"),
        remove_journal(db, "DELETE FROM dtm_journal WHERE trans = ?1"),
        // Not as (due, id) > (?1, ?2): SQLite would walk all that are due at the moment ?1 again.
        due(db, Select("WHERE due = ?1 AND id > ?2 AND due <= ?3 UNION ALL ") +
                    Select("WHERE due > ?1 AND due <= ?3 ORDER BY due, id")),
        next_due(db, "SELECT min(due) FROM dtm_trans WHERE due IS NOT NULL AND due > ?1"),
        newest(db, "SELECT created FROM dtm_trans WHERE id = (SELECT max(id) FROM dtm_trans)"),
        look(db, "SELECT id, created, finished FROM dtm_trans WHERE id > ?1 ORDER BY id LIMIT ?2"),
        remove(db, "DELETE FROM dtm_trans WHERE id = ?1"),
        remove_big(db, "DELETE FROM dtm_big_definition WHERE id = ?1"),
        has(db,
            "SELECT 1 FROM dtm_trans WHERE gid = ?1 UNION ALL SELECT 1 FROM dtm_gids WHERE gid = "
            "?1"),
        find_row(db, Select("WHERE id = ?1")),
        kept(db, "SELECT 1 FROM dtm_gids WHERE gid = ?1"),
        keep(db,
             "INSERT OR REPLACE INTO dtm_gids (gid, type, status, finished, content) "
             "VALUES (?1, ?2, ?3, ?4, ?5)"),
        look_kept(db, "SELECT gid, finished FROM dtm_gids WHERE gid > ?1 ORDER BY gid LIMIT ?2"),
        forget(db, "DELETE FROM dtm_gids WHERE gid = ?1"),
        get_value(db, std::string(kSelectValues) + "WHERE cat = ?1 AND k = ?2"),
        put_value(db,
                  "INSERT INTO dtm_kv (cat, k, v, version, created, updated) "
                  "VALUES (?1, ?2, ?3, 1, ?4, ?4) ON CONFLICT (cat, k) DO UPDATE SET "
                  "v = excluded.v, version = version + 1, updated = excluded.updated"),
        remove_value(db, "DELETE FROM dtm_kv WHERE cat = ?1 AND k = ?2"),
        savepoint(db, "SAVEPOINT dtm_work"),
        roll_back(db, "ROLLBACK TO dtm_work"),
        release(db, "RELEASE dtm_work"),
        user_sql(db, sqlite_schema::OwnTables()),
        log(db) {
    sqlite3_wal_hook(db.Handle(), &NoteLog, &log_pages);
    sql::Statement last(db, "SELECT max(gid) FROM dtm_gids");
    if (last.Step()) last_kept = last.Text(0);
    sql::Statement last_told(db, "SELECT max(trans) FROM dtm_journal");
    if (last_told.Step()) last_journal = last_told.Int(0);
    sql::Statement encoding(db, "PRAGMA encoding");
    // Other encodings have another order: then every gid is looked for.
    if (encoding.Step() && encoding.Text(0) != "UTF-8") last_kept = "\xFF";
  }

  /// The gids that this library makes are later than all that are kept, so they are not even looked for.
  bool IsKept(const std::string& gid) {
    if (gid > last_kept) return false;
    const bool found = kept.BindText(1, gid).Step();
    kept.Reset();
    return found;
  }

  /// Removes the record, and keeps its gid. Returns how many bytes that took.
  std::size_t ReplaceByGid(std::int64_t row) {
    KeptGid gid;
    std::size_t bytes = 0;
    {
      const Finally reset{find_row};
      if (!find_row.Bind(1, row).Step()) return 0;
      const Transaction transaction = ReadTransaction(find_row, steps);
      gid = KeptOf(transaction);
      for (const Step& step : transaction.definition->steps) bytes += step.UrlAndPayloadBytes();
      bytes = find_row.Bytes(8) + (std::max)(find_row.Bytes(9), bytes);
    }
    keep.BindText(1, gid.gid).Bind(2, static_cast<std::int64_t>(gid.type));
    keep.Bind(3, static_cast<std::int64_t>(gid.status));
    keep.Bind(
        4,
        std::chrono::duration_cast<std::chrono::seconds>(gid.finished.time_since_epoch()).count());
    keep.Bind(5, static_cast<std::int64_t>(gid.content)).Step();
    if (gid.gid > last_kept) last_kept = gid.gid;
    Remove(row);
    return bytes;
  }
  void Remove(std::int64_t row) {
    remove.Bind(1, row).Step();
    remove_big.Bind(1, row).Step();
    remove_steps.Bind(1, row).Step();
    remove_journal.Bind(1, row).Step();
  }

  /// In place of SQLite's own: the log is copied into the file only after the store has looked whose file it is.
  static int NoteLog(void* log_pages, sqlite3*, const char*, int pages) {
    *static_cast<int*>(log_pages) = pages;
    return SQLITE_OK;
  }

  /// A log above this is copied into the file as far as its readers allow; SQLite's own choice.
  static constexpr int kLogPages = 1000;

  bool LogIsLong() const { return log_pages >= kLogPages; }
  /// What fails now is tried again after the next commit.
  void CopyLogIfFree() {
    log_pages = 0;
    (void)sqlite3_wal_checkpoint_v2(db.Handle(), "main", SQLITE_CHECKPOINT_PASSIVE, nullptr,
                                    nullptr);
  }

  /// False: the gid exists.
  bool Insert(const Change& change, const std::string& state) {
    Transaction& transaction = *change.transaction;
    const Definition& definition = *transaction.definition;
    if (IsKept(definition.gid)) return false;
    const std::string encoded = codec::EncodeDefinition(definition);
    const bool big = encoded.size() > kInlineBytes;
    insert.BindText(1, definition.gid);
    insert.Bind(2, static_cast<std::int64_t>(definition.type));
    insert.Bind(3, static_cast<std::int64_t>(transaction.status));
    insert.Bind(4, Stored(transaction.created));
    insert.Bind(5, Stored(transaction.finished));
    BindDue(insert, 6, transaction);
    big ? insert.BindNull(7) : insert.BindBlob(7, encoded);
    change.journal.empty() ? insert.BindNull(9) : insert.BindBlob(9, change.journal);
    insert.BindBlob(8, state).Step();
    if (db.Changes() == 0) return false;
    transaction.id = db.LastRow();
    row_journals.Keep(transaction.id, 1, change.journal);
    if (big) insert_big.Bind(1, transaction.id).BindBlob(2, encoded).Step();
    // Of a record that somebody removed by SQL, whose number has come again; so is its journal.
    if (RegistersSteps(definition.type)) remove_steps.Bind(1, transaction.id).Step();
    if (transaction.id <= last_journal) remove_journal.Bind(1, transaction.id).Step();
    return true;
  }

  bool Update(const Change& change, const std::string& state) {
    const Transaction& transaction = *change.transaction;
    const bool due_changed = change.due_changed || IsFinal(transaction.status);
    const bool tells = !change.journal.empty();
    sql::Statement& write = tells ? (due_changed ? update_due_telling : update_telling)
                                  : (due_changed ? update_due : update);
    std::string* const told = tells ? &ToldWith(change) : nullptr;
    if (tells) write.BindBlob(8, *told);
    write.Bind(1, transaction.id);
    write.Bind(2, static_cast<std::int64_t>(transaction.version));
    write.Bind(3, static_cast<std::int64_t>(transaction.status));
    write.Bind(4, Stored(transaction.finished));
    write.BindBlob(5, state).Bind(7, Stored(transaction.created));
    if (due_changed) BindDue(write, 6, transaction);
    write.Step();
    const bool applied = db.Changes() > 0;
    NoteJournal(transaction, applied, told);
    if (applied && change.definition_changed) {
      Redefine(transaction);
    } else if (applied) {
      AddSteps(transaction, change.new_steps);
    }
    if (applied && change.history > 0 && transaction.version % kChangesInRow == 0) {
      MoveJournal(transaction, change.history);
    }
    return applied;
  }

  /// What is in the row, and what the change adds to it.
  std::string& ToldWith(const Change& change) {
    const Transaction& transaction = *change.transaction;
    std::string* told = row_journals.Find(transaction.id, transaction.version);
    if (told == nullptr) {
      told = &told_bytes;
      told->clear();
      const Finally reset{in_row};
      if (in_row.Bind(1, transaction.id).Step()) told->assign(in_row.View(0));
    }
    told->append(change.journal);
    return *told;
  }
  void NoteJournal(const Transaction& transaction, bool applied, const std::string* told) {
    if (!applied) {
      row_journals.Forget(transaction.id);
    } else if (told != nullptr) {
      row_journals.Keep(transaction.id, transaction.version + 1, *told);
    } else {
      row_journals.Next(transaction.id, transaction.version);
    }
  }

  /// Out of the row, which every step rewrites.
  void MoveJournal(const Transaction& transaction, unsigned history) {
    const std::int64_t row = transaction.id;
    std::vector<JournalEntry> entries;
    {
      const Finally reset{journal};
      if (!journal.Bind(1, row).Step() || journal.IsNull(1)) return;
      entries = ReadJournal(journal);
    }
    FoldJournal(entries, history);
    std::string folded;
    codec::EncodeJournal(entries, folded);
    put_journal.Bind(1, row).BindBlob(2, folded).Step();
    last_journal = (std::max)(last_journal, row);
    clear_entries.Bind(1, row).Step();
    row_journals.Keep(row, transaction.version + 1, {});
  }

  void AddSteps(const Transaction& transaction, std::size_t count) {
    const std::vector<Step>& all = transaction.definition->steps;
    std::string encoded;
    for (std::size_t nr = all.size() - count; nr < all.size(); ++nr) {
      codec::EncodeStep(all[nr], encoded);
      add_step.Bind(1, transaction.id).Bind(2, static_cast<std::int64_t>(nr));
      add_step.BindBlob(3, encoded).Step();
    }
  }

  void Redefine(const Transaction& transaction) {
    const std::string encoded = codec::EncodeDefinition(*transaction.definition);
    const bool big = encoded.size() > kInlineBytes;
    redefine.Bind(1, transaction.id);
    big ? redefine.BindNull(2) : redefine.BindBlob(2, encoded);
    redefine.Step();
    if (big) {
      insert_big.Bind(1, transaction.id).BindBlob(2, encoded).Step();
    } else {
      remove_big.Bind(1, transaction.id).Step();
    }
    remove_steps.Bind(1, transaction.id).Step();
  }

  /// Only the unfinished have a place in the index of what is due.
  static void BindDue(sql::Statement& statement, int index, const Transaction& transaction) {
    IsFinal(transaction.status) ? statement.BindNull(index)
                                : statement.Bind(index, Stored(transaction.due));
  }

  /// A definition above this moves to a table of its own: every step rewrites the row it is in.
  static constexpr std::size_t kInlineBytes = 2048;
  /// So many changes of a record leave the entries about them in its row.
  static constexpr std::uint64_t kChangesInRow = 8;

  static std::string UpdateSet(const std::string& more) {
    return "UPDATE dtm_trans SET status = ?3, version = version + 1, finished = ?4, state = ?5, "
           "created = ?7" +
           more + " WHERE id = ?1 AND version = ?2";
  }

  std::unique_ptr<sql::Database> owned;
  sql::Database& db;
  sql::Statement begin, commit, insert, insert_big, redefine, add_step, remove_steps, steps, update,
      update_due, update_telling, update_due_telling, in_row, journal, clear_entries, put_journal,
      remove_journal, due, next_due, newest, look, remove, remove_big, has, find_row, kept, keep,
      look_kept, forget, get_value, put_value, remove_value, savepoint, roll_back, release;
  sql::UserSqlRules user_sql;
  sql::LogIndex log;
  RowJournals row_journals;
  std::string told_bytes;         ///< reused, of a row that is not among them
  std::int64_t last_journal = 0;  ///< no later row has one in a table of its own
  std::string last_kept;          ///< no later gid is kept
  int log_pages = 0;              ///< of the log after the last commit
};

}  // namespace sqlite_store
}  // namespace v1
}  // namespace dtm
