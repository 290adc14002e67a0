/// Thin ownership of sqlite3 connections and statements; the only file that includes sqlite3.h.
/// Needs: SQLite 3.35 or newer. Threads: one connection and its statements by one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <sqlite3.h>

#include <dtm/base/error.hpp>

namespace dtm {
inline namespace v1 {
namespace sql {

/// An error of SQLite, with its code. Definite unless the code is an I/O error during COMMIT.
class SqliteError : public StoreError {
 public:
  SqliteError(const std::string& text, int code) : StoreError(text), code_(code) {}
  /// The extended result code.
  int Code() const { return code_; }
  int Primary() const { return code_ & 0xFF; }

 private:
  int code_;
};

/// A connection, opened without a mutex: its owner makes sure that one thread at a time uses it.
class Database {
 public:
  /// `uri`: how SQLite is to open the file, if not by its path.
  /// @throws SqliteError  it cannot be opened.
  Database(const std::string& path, int flags, const std::string& uri = {})
      : path_(path), name_("the store file") {
    const int how = flags | SQLITE_OPEN_NOMUTEX | (uri.empty() ? 0 : SQLITE_OPEN_URI);
    const int code =
        sqlite3_open_v2(uri.empty() ? path.c_str() : uri.c_str(), &handle_, how, nullptr);
    if (code != SQLITE_OK) {
      const std::string why = handle_ != nullptr ? sqlite3_errmsg(handle_) : sqlite3_errstr(code);
      sqlite3_close_v2(handle_);
      throw SqliteError("the store file '" + path + "' cannot be opened: " + why, code);
    }
    sqlite3_extended_result_codes(handle_, 1);
  }
  /// Borrows a connection of the program: it is neither configured nor closed here.
  explicit Database(sqlite3* borrowed) : name_("the database"), handle_(borrowed), owned_(false) {
    const char* path = sqlite3_db_filename(borrowed, "main");
    path_ = path == nullptr || *path == '\0' ? ":memory:" : path;
  }
  ~Database() {
    if (owned_) sqlite3_close_v2(handle_);
  }
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  sqlite3* Handle() const { return handle_; }
  const std::string& Path() const { return path_; }
  int Changes() const { return sqlite3_changes(handle_); }
  std::int64_t LastRow() const { return sqlite3_last_insert_rowid(handle_); }
  bool InTransaction() const { return sqlite3_get_autocommit(handle_) == 0; }

  /// Runs statements that return no rows of interest.
  void Exec(const char* text) {
    const int code = sqlite3_exec(handle_, text, nullptr, nullptr, nullptr);
    if (code != SQLITE_OK) Fail(code, text);
  }

  /// Another file, or none, is at its path now.
  bool HasMoved() const {
    int moved = 0;
    return sqlite3_file_control(handle_, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK &&
           moved != 0;
  }

  /// Copies the whole log into the file.
  /// @throws SqliteError  not all of it could be copied; a part of it does no harm.
  void CopyLog() {
    int frames = 0, copied = 0;
    const int code =
        sqlite3_wal_checkpoint_v2(handle_, "main", SQLITE_CHECKPOINT_FULL, &frames, &copied);
    if (code != SQLITE_OK) Fail(code, "copying the log");
  }

  /// From now on closing the connection leaves the log as it is: neither copied into the file nor removed.
  void KeepLog() { sqlite3_db_config(handle_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr); }

  /// @throws SqliteError  always: what happened, on which file, and what to do where that is known.
  [[noreturn]] void Fail(int code, std::string_view doing) const {
    std::string text = name_ + (" '" + path_ + "': ") + sqlite3_errmsg(handle_);
    const int extended = sqlite3_extended_errcode(handle_);
    if ((extended & 0xFF) == code) code = extended;  // a borrowed connection may say less
    switch (code & 0xFF) {
      case SQLITE_FULL:
        text += " (no space is left on its disk; free some, it goes on by itself)";
        break;
      case SQLITE_READONLY: text += " (make the file and its folder writable)"; break;
      case SQLITE_CORRUPT:
      case SQLITE_NOTADB:
        text += " (the file is damaged or is no SQLite database; restore it from a backup)";
        break;
      case SQLITE_BUSY:
        text += " (another program holds a write transaction on it; end that one)";
        break;
      case SQLITE_IOERR:
        text += " (its disk is full or fails: see that it has space and works)";
        break;
      default: text += " (while: " + std::string(doing.substr(0, 60)) + ")"; break;
    }
    throw SqliteError(text, code);
  }

 private:
  std::string path_;
  const char* name_;  ///< what the file is to its user
  sqlite3* handle_ = nullptr;
  bool owned_ = true;
};

/// How far the log (WAL) of a connection was copied into its file: the index that all connections to the file share,
/// at fixed places. Source: sqlite.org/walformat.html, 2.1 and 2.2.
class LogIndex {
 public:
  struct State {
    bool known = false;
    std::uint32_t salt = 0;    ///< another one whenever the log begins anew
    std::uint32_t frames = 0;  ///< that are committed
    std::uint32_t copied = 0;  ///< of them, at the beginning
    std::uint32_t begun = 0;   ///< that will have been copied when whoever is copying is done

    bool operator!=(const State& other) const {
      return known != other.known || salt != other.salt || copied != other.copied;
    }
    /// Somebody copies at this moment, or died while it did.
    bool Copying() const { return begun != copied; }
  };

  /// The connection has read something, and outlives this.
  explicit LogIndex(const Database& database) {
    sqlite3_file* file = nullptr;
    sqlite3_file_control(database.Handle(), "main", SQLITE_FCNTL_FILE_POINTER, &file);
    if (file == nullptr || file->pMethods == nullptr || file->pMethods->iVersion < 2) return;
    void volatile* mapped = nullptr;
    constexpr int kRegionBytes = 32768;
    if (file->pMethods->xShmMap(file, 0, kRegionBytes, 0, &mapped) != SQLITE_OK) return;
    words_ = static_cast<const volatile std::uint32_t*>(mapped);
  }

  State Now() const {
    if (words_ == nullptr || words_[0] != kVersion) return {};
    return {true, words_[8], words_[4], words_[24], words_[32]};
  }

 private:
  static constexpr std::uint32_t kVersion = 3007000;  ///< of the index; it was never another

  const volatile std::uint32_t* words_ = nullptr;
};

/// A prepared statement. Binding does not copy: what is bound must live until Step returned.
class Statement {
 public:
  Statement(Database& database, std::string text) : database_(&database), text_(std::move(text)) {
    const int code =
        sqlite3_prepare_v3(database.Handle(), text_.data(), static_cast<int>(text_.size()),
                           SQLITE_PREPARE_PERSISTENT, &handle_, nullptr);
    if (code != SQLITE_OK) database.Fail(code, text_);
  }
  ~Statement() { sqlite3_finalize(handle_); }
  Statement(Statement&& other) noexcept
      : database_(other.database_), text_(std::move(other.text_)), handle_(other.handle_) {
    other.handle_ = nullptr;
  }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  Statement& operator=(Statement&&) = delete;

  Statement& Bind(int index, std::int64_t value) {
    return Check(sqlite3_bind_int64(handle_, index, value));
  }
  Statement& BindText(int index, std::string_view value) {
    return Check(sqlite3_bind_text(handle_, index, Data(value), static_cast<int>(value.size()),
                                   SQLITE_STATIC));
  }
  Statement& BindBlob(int index, std::string_view value) {
    return Check(sqlite3_bind_blob(handle_, index, Data(value), static_cast<int>(value.size()),
                                   SQLITE_STATIC));
  }
  Statement& BindNull(int index) { return Check(sqlite3_bind_null(handle_, index)); }

  /// True while there is a row. After false the statement is ready to be bound again.
  bool Step() {
    const int code = sqlite3_step(handle_);
    if (code == SQLITE_ROW) return true;
    // Fail reads the message before Reset could replace it.
    if (code != SQLITE_DONE) {
      Resetter reset{handle_};
      database_->Fail(code, text_);
    }
    sqlite3_reset(handle_);
    return false;
  }
  /// For a statement that returns at most one row: drops the rest.
  void Reset() { sqlite3_reset(handle_); }

  std::int64_t Int(int column) const { return sqlite3_column_int64(handle_, column); }
  std::size_t Bytes(int column) const {
    return static_cast<std::size_t>(sqlite3_column_bytes(handle_, column));
  }
  bool IsNull(int column) const { return sqlite3_column_type(handle_, column) == SQLITE_NULL; }
  /// A text as UTF-8, whatever the encoding of the file; a blob as it is.
  std::string Text(int column) const { return std::string(View(column)); }
  /// The same without a copy, until the next step.
  std::string_view View(int column) const {
    const void* data = sqlite3_column_type(handle_, column) == SQLITE_BLOB
                           ? sqlite3_column_blob(handle_, column)
                           : sqlite3_column_text(handle_, column);
    const auto size = static_cast<std::size_t>(sqlite3_column_bytes(handle_, column));
    return data == nullptr ? std::string_view()
                           : std::string_view(static_cast<const char*>(data), size);
  }

 private:
  struct Resetter {
    sqlite3_stmt* handle;
    ~Resetter() { sqlite3_reset(handle); }
  };
  // A null pointer would bind NULL where an empty value is meant.
  static const char* Data(std::string_view value) { return value.empty() ? "" : value.data(); }
  Statement& Check(int code) {
    if (code != SQLITE_OK) database_->Fail(code, text_);
    return *this;
  }

  Database* database_;
  std::string text_;
  sqlite3_stmt* handle_ = nullptr;
};

}  // namespace sql
}  // namespace v1
}  // namespace dtm
