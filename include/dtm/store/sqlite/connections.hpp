/// The connections of the SQLite store to its file: they are opened, checked, reopened after an error, and closed.
/// Needs: SQLite through sql/sqlite_connection.hpp. Threads: the owner's, but for what has the mutex of the reader.
/// Document: docs/store_format.md, "Files".
#pragma once

#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include <dtm/base/error.hpp>
#include <dtm/base/os.hpp>
#include <dtm/sql/sqlite_connection.hpp>
#include <dtm/store/durability.hpp>
#include <dtm/store/sqlite/files.hpp>
#include <dtm/store/sqlite/reader.hpp>
#include <dtm/store/sqlite/schema.hpp>
#include <dtm/store/sqlite/writer.hpp>

namespace dtm {
inline namespace v1 {
namespace sqlite_store {

class Connections {
 public:
  /// See SqliteStore.
  Connections(const std::string& path, Durability durability, std::function<void(sqlite3*)> on_open,
              std::size_t cache_bytes)
      : path_(FileAt(path)),
        durability_(durability),
        on_open_(std::move(on_open)),
        cache_bytes_(cache_bytes),
        lock_(std::make_unique<os::FileLock>(path_ + "-lock")),
        files_(path_) {
    const std::optional<os::FileStamp> log = os::StampOf(path_ + "-wal");
    if (log && log->bytes > 0 && !os::StampOf(path_)) {
      throw StoreError(
          "the store file '" + path_ + "' is gone, but its log '" + path_ +
          "-wal' is there; put the file back beside it, or remove the log to begin a new store");
    }
    os::EnsurePrivateFile(path_);
    writer_ = OpenWriter();
    reader_ = OpenReader();
  }
  ~Connections() {
    if (generation_ !=
        os::Forking::Generation()) {  // a forked child: the connections are the parent's
      (void)writer_.release();
      (void)reader_.release();
    } else if (Look().state == OpenFiles::State::kLost) {
      KeepLog();
    }
  }
  Connections(const Connections&) = delete;
  Connections& operator=(const Connections&) = delete;

  const std::string& Path() const { return path_; }

  /// @throws StoreError  Recover comes first.
  Writer& Writing() {
    if (writer_ == nullptr) {
      throw StoreError("the store file '" + path_ + "' has to be recovered after an I/O error");
    }
    return *writer_;
  }

  /// The reader is the caller's as long as this lives.
  class Reading {
   public:
    /// @throws StoreError  it is not open now.
    explicit Reading(Connections& all) : lock_(all.reader_mutex_), reader_(all.reader_.get()) {
      if (reader_ != nullptr) return;
      throw StoreError("the store file '" + all.path_ + "' is not open now; try again");
    }
    Reader* operator->() const { return reader_; }
    Reader& operator*() const { return *reader_; }

   private:
    const std::lock_guard<std::mutex> lock_;
    Reader* reader_;
  };

  void Begin() {
    try {
      Writing().begin.Step();
    } catch (const sql::SqliteError& error) {
      if (error.Primary() != SQLITE_BUSY) throw;
      throw StoreBusy(error.what());
    }
    files_.Begun(writer_->log.Now());
  }

  /// After COMMIT has returned: checks that it went into the right file. Only then is the log copied, if it is long.
  /// @throws CommitInDoubt
  void AfterCommit() {
    OpenFiles::Finding found = Look();
    if (found.state == OpenFiles::State::kGood && lock_->Removed()) {
      found.what = "the lock file '" + path_ +
                   "-lock' was removed, so that another coordinator may have opened the store";
    }
    if (!found.what.empty()) throw CommitInDoubt(found.what);
    if (!writer_->LogIsLong()) return;
    writer_->CopyLogIfFree();
    files_.Copied(writer_->log.Now());
  }

  void Rollback() noexcept {
    if (writer_ == nullptr) return;
    writer_->row_journals.Clear();
    if (!writer_->db.InTransaction()) return;
    sqlite3_exec(writer_->db.Handle(), "ROLLBACK", nullptr, nullptr, nullptr);
  }

  /// Reading goes on meanwhile, but where the log has gone.
  /// @throws StoreError  the files are lost or damaged, or still fail.
  void Recover() {
    Rollback();  // a connection whose statements the user keeps stays open, with its transaction
    const OpenFiles::Finding found = Look();
    if (found.state == OpenFiles::State::kLost) throw StoreError(found.what);
    if (!lock_->AtItsPath()) lock_ = std::make_unique<os::FileLock>(path_ + "-lock");
    if (found.state == OpenFiles::State::kReopen) SaveLog();
    writer_.reset();
    auto writer = OpenWriter();
    writer->db.Exec("PRAGMA wal_checkpoint(TRUNCATE)");
    files_.Copied(writer->log.Now());
    const std::string damage = QuickCheck(writer->db);
    if (!damage.empty()) throw StoreError(damage);
    auto reader = OpenReader();
    writer_ = std::move(writer);
    const std::lock_guard<std::mutex> lock(reader_mutex_);
    reader_ = std::move(reader);
  }

  void ConfigureReader(sql::Database& db) const {
    sqlite_schema::ConfigureReader(db, cache_bytes_);
  }

  /// What is wrong with the file, or nothing.
  std::string QuickCheck(sql::Database& db) const {
    const std::string damage = sqlite_schema::Damage(db);
    if (damage.empty()) return {};
    return "the store file '" + path_ + "' is damaged: " + damage + "; restore it from a backup";
  }

 private:
  static std::string FileAt(const std::string& path) {
    if (!path.empty() && path != ":memory:") return os::FullPath(path);
    throw StoreError("the store file '" + path +
                     "' is no file; name one, or use MemoryStore for what need not be kept");
  }

  OpenFiles::Finding Look() { return files_.Look(writer_ != nullptr ? &writer_->log : nullptr); }

  std::unique_ptr<Writer> OpenWriter() {
    auto db = std::make_unique<sql::Database>(path_, SQLITE_OPEN_READWRITE);
    sqlite_schema::ConfigureWriter(*db, durability_ == Durability::kPower, cache_bytes_);
    sqlite_schema::Migrate(*db);
    files_.Opened(*db);
    CallOnOpen(*db);
    sqlite3_busy_timeout(db->Handle(), sqlite_schema::kLockWaitMs);
    auto writer = std::make_unique<Writer>(std::move(db));
    files_.Copied(writer->log.Now());
    return writer;
  }
  /// @throws what on_open threw; StoreError: it is not a std::exception.
  void CallOnOpen(const sql::Database& db) const {
    try {
      if (on_open_) on_open_(db.Handle());
    } catch (const std::exception&) {
      throw;
    } catch (...) {
      throw StoreError("the store file '" + path_ +
                       "' was not opened: on_open failed: " + WhatWasThrown());
    }
  }
  std::unique_ptr<Reader> OpenReader() const {
    auto db = std::make_unique<sql::Database>(path_, SQLITE_OPEN_READWRITE);
    ConfigureReader(*db);
    sqlite3_busy_timeout(db->Handle(), sqlite_schema::kLockWaitMs);
    return std::make_unique<Reader>(std::move(db));
  }

  /// The log was removed and is only in the connections that have it open: it is copied into the file. Then all of them
  /// let go of it, since SQLite shares its index between those of a process.
  void SaveLog() {
    const std::lock_guard<std::mutex> lock(reader_mutex_);
    if (writer_ != nullptr || reader_ != nullptr) {
      (writer_ != nullptr ? writer_->db : *reader_->owned).CopyLog();
    }
    KeepLog();
    writer_.reset();
    reader_.reset();
  }

  /// Closing would copy the log into a file that may be another's, and remove what has its name.
  void KeepLog() {
    if (writer_ != nullptr) writer_->db.KeepLog();
    if (reader_ != nullptr) reader_->owned->KeepLog();
  }

  const unsigned generation_ = os::Forking::Generation();
  const std::string path_;
  const Durability durability_;
  const std::function<void(sqlite3*)> on_open_;
  const std::size_t cache_bytes_;
  std::unique_ptr<os::FileLock> lock_;
  OpenFiles files_;
  std::unique_ptr<Writer> writer_;
  std::mutex reader_mutex_;
  std::unique_ptr<Reader> reader_;
};

}  // namespace sqlite_store
}  // namespace v1
}  // namespace dtm
