/// Looks into the file of a SQLite store without changing anything, also while a coordinator has it: for tools.
/// Needs: SQLite through sql/sqlite_connection.hpp. Threads: any. Document: docs/store_format.md.
///
/// Nothing is created, migrated or repaired, and no lock is taken that a coordinator would notice. What a process that
/// crashed has left in the log is read, too, and files of older schema versions as they are. Source: sqlite.org/wal.html,
/// "Read-Only Databases"; uri.html.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <dtm/base/error.hpp>
#include <dtm/base/os.hpp>
#include <dtm/base/text.hpp>
#include <dtm/sql/sqlite_connection.hpp>
#include <dtm/store/sqlite/reader.hpp>
#include <dtm/store/sqlite/reads.hpp>
#include <dtm/store/sqlite/schema.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {
namespace sqlite_store {

/// How a file may be opened without a change.
struct HowToLook {
  std::string uri;
  bool in_use = false;  ///< it has a log: a coordinator has it open, or has crashed
};

/// @throws StoreError  it cannot be opened so; says what to do.
inline HowToLook FindHowToLook(const std::string& path) {
  const std::string name = "the store file '" + path + "'";
  const std::optional<os::FileStamp> file = os::StampOf(path);
  if (!file) throw StoreError(name + " is not there, or its folder cannot be read; check the path");
  if (!file->plain) {  // the log of a link's target is not beside the link, and a pipe never answers
    throw StoreError(name + " is a link or no plain file, which is refused; name the file itself");
  }
  const std::optional<os::FileStamp> journal = os::StampOf(path + "-journal");
  if (journal && journal->bytes > 0) {
    throw StoreError(name + " has a journal of a write that was broken off, '" + path +
                     "-journal'; start a coordinator on it, which puts it right");
  }
  const std::optional<os::FileStamp> log = os::StampOf(path + "-wal");
  const bool index = os::StampOf(path + "-shm").has_value();
  if (log && log->bytes > 0 && !index) {
    throw StoreError(name + " has a log, but '" + path +
                     "-shm' beside it is missing, without which nobody can read it and change "
                     "nothing; start a coordinator on it, or look into a copy of both files");
  }
  std::string uri = "file:";
  for (const char c : path) uri += c == '/' ? "/" : PercentEncoded(std::string_view(&c, 1));
  const bool in_use = log && index;
  return {uri + (in_use ? "?mode=ro&readonly_shm=1" : "?mode=ro&immutable=1"), in_use};
}

/// A store file that is open to be read.
struct Look {
  int version;  ///< of the schema of the file
  Reader reader;
};

/// Over a connection that can only read.
/// @throws StoreError  it is no store, or one of a newer version; says what to do.
inline Look OpenToLook(const std::string& path, const HowToLook& how) {
  auto db = std::make_unique<sql::Database>(path, SQLITE_OPEN_READONLY, how.uri);
  db->KeepLog();
  sqlite_schema::ConfigureReader(*db);
  const int version = sqlite_schema::StoredVersion(*db);
  if (version == 0) {
    throw StoreError("the store file '" + path +
                     "' has no tables of dtm: it is another database, or empty");
  }
  sqlite_schema::StandInForNewer(*db, version);
  return {version, Reader(std::move(db), version >= sqlite_schema::kWithJournals)};
}

}  // namespace sqlite_store

/// What only reads of a Store; every call that would change something throws, and nothing is ever due.
class ReadOnlySqliteStore : public Store {
 public:
  /// @throws StoreError  the file is not there, is no store, is damaged, or is of a newer version.
  explicit ReadOnlySqliteStore(const std::string& path) : gate_(os::FullPath(path)) {}

  /// A coordinator has the file open, or has crashed and left its log.
  bool InUse() const { return gate_.how.in_use; }

  /// Of its schema, docs/store_format.md; one below sqlite_schema::kVersion lacks what came later.
  int SchemaVersion() const { return gate_.look.version; }

  /// What was read of a file without a log may be of two moments if a coordinator has opened it meanwhile, and a newer one may
  /// have brought it to its schema version: read it again, with another ReadOnlySqliteStore.
  /// @throws StoreError  it cannot be read.
  bool Changed() {
    const std::optional<os::FileStamp> now = os::StampOf(gate_.path);
    if (!now || !now->SameFile(gate_.stamp)) return true;
    if (InUse()) return VersionNow() != gate_.look.version;
    return !now->SameContent(*gate_.stamp) || os::StampOf(gate_.path + "-wal");
  }

  const char* Kind() const override { return "sqlite"; }
  std::string Check(const std::atomic<bool>&) override {
    const Gate::Reading reader(gate_);
    return sqlite_schema::Damage(*reader->owned);
  }
  std::optional<Transaction> Load(const std::string& gid) override { return reads_.Load(gid); }
  std::vector<JournalEntry> ReadJournal(const std::string& gid) override {
    return reads_.ReadJournal(gid);
  }
  ScanPage Scan(const ScanFilter& filter, std::int64_t position, std::size_t limit) override {
    return reads_.Scan(filter, position, limit);
  }
  KeyValuePage ScanValues(const std::string& category, const std::string& key,
                          std::int64_t position, std::size_t limit) override {
    return reads_.ScanValues(category, key, position, limit);
  }
  Backlog CountUnfinished(Time now) override { return reads_.CountUnfinished(now); }
  void Due(Time, DuePosition, const DueVisitor&) override {}
  Time NextDue(Time) override { return kNever; }

  void Begin() override { Refuse(); }
  Result Run(const Work&) override { Refuse(); }
  bool Has(const std::string&) override { Refuse(); }
  std::optional<KeyValue> GetValue(const std::string&, const std::string&) override { Refuse(); }
  void PutValue(const KeyValue&) override { Refuse(); }
  bool RemoveValue(const std::string&, const std::string&) override { Refuse(); }
  void Apply(std::vector<Change>&) override { Refuse(); }
  void Commit() override { Refuse(); }
  void Rollback() noexcept override {}
  void Recover() override { Refuse(); }
  std::int64_t Expire(Time, std::int64_t, std::size_t, bool) override { Refuse(); }
  std::string ForgetGids(Time, const std::string&, std::size_t) override { Refuse(); }

 private:
  /// See sqlite_store::Searched.
  struct Gate {
    explicit Gate(std::string file)
        : path(std::move(file)),
          stamp(os::StampOf(path)),
          how(sqlite_store::FindHowToLook(path)),
          look(sqlite_store::OpenToLook(path, how)) {}

    class Reading {
     public:
      explicit Reading(Gate& gate) : lock_(gate.mutex), reader_(gate.look.reader) {}
      sqlite_store::Reader* operator->() const { return &reader_; }
      sqlite_store::Reader& operator*() const { return reader_; }

     private:
      const std::lock_guard<std::mutex> lock_;
      sqlite_store::Reader& reader_;
    };

    const std::string path;
    const std::optional<os::FileStamp> stamp;
    const sqlite_store::HowToLook how;
    std::mutex mutex;
    sqlite_store::Look look;
  };

  int VersionNow() {
    const Gate::Reading reader(gate_);
    return sqlite_schema::StoredVersion(*reader->owned);
  }
  [[noreturn]] void Refuse() const {
    throw StoreError("the store file '" + gate_.path +
                     "' is open for looking only; what changes something is done through the "
                     "coordinator that has it");
  }

  Gate gate_;
  sqlite_store::Reads<Gate> reads_{gate_};
};

}  // namespace v1
}  // namespace dtm
