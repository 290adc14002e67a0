/// Checks that the files that the SQLite store has open are still those at their path, and that nobody else has written to
/// them.
/// Needs: SQLite through sql/sqlite_connection.hpp. Threads: the owner's. Document: docs/store_format.md, "Files".
///
/// SQLite continues in files that were removed, renamed or overwritten, and reports success; such a commit is lost. So the
/// store checks its files after each commit, before the commit counts, and before it copies its log into a file that may
/// be a different one.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include <dtm/base/error.hpp>
#include <dtm/base/os.hpp>
#include <dtm/sql/sqlite_connection.hpp>

namespace dtm {
inline namespace v1 {
namespace sqlite_store {

class OpenFiles {
 public:
  enum class State {
    kGood,
    kReopen,  ///< the file is the same, its log is no longer at its path: what is committed can be saved
    kLost  ///< not the file that was opened; nothing may be written into it, not even the log
  };
  struct Finding {
    State state = State::kGood;
    std::string what;  ///< a sentence
  };

  explicit OpenFiles(std::string path)
      : path_(std::move(path)), wal_path_(path_ + "-wal"), shm_path_(path_ + "-shm") {}

  /// Once a connection that writes is open, with its log.
  /// @throws StoreError  it is not the file that was opened at first, or another connection of this process keeps a log
  ///                     that was removed.
  void Opened(const sql::Database& writer) {
    wal_ = os::StampOf(wal_path_);
    shm_ = os::StampOf(shm_path_);
    // Where SQLite has no log open, the index would be opened here, and closed by nobody.
    const bool log = wal_ && shm_;
    Copied(log ? sql::LogIndex(writer).Now() : sql::LogIndex::State());
    if (!main_ || !main_->SameFile(first_) || writer.HasMoved()) throw StoreError(Another());
    if (log) return;
    throw StoreError("the store file '" + path_ +
                     "': its log was removed, and a connection of this program to the file still "
                     "uses the removed one; close that "
                     "connection, or start the program again");
  }

  /// A batch begins: nobody else writes until it has ended.
  void Begun(const sql::LogIndex::State& log) { at_begin_ = log; }

  /// The log was copied into the file by its owner, or may have been.
  void Copied(const sql::LogIndex::State& log) {
    main_ = os::StampOf(path_);
    if (!first_) first_ = main_;
    at_begin_ = copied_ = log;
  }

  /// Takes a few microseconds. `index`: of the connection that writes, if there is one.
  Finding Look(const sql::LogIndex* index) {
    if (!lost_.empty()) return {State::kLost, lost_};
    // Whoever copies the log says so before it writes and again when it is done: read before the stamp it tells what may
    // still come, behind it what may have come.
    const sql::LogIndex::State before = StateOf(index);
    const std::optional<os::FileStamp> main = os::StampOf(path_);
    if (!main) {
      return {State::kLost,
              File() +
                  " is no longer at its path, it was removed or its folder renamed; put "
                  "it back, or start the program again on the right file"};
    }
    if (!first_ || !main->SameFile(*first_)) {
      return {State::kLost, Another()};
    }
    if (!main_ || (!main->SameContent(*main_) && !CopiedByOthers(StateOf(index)))) {
      lost_ = "another program has written into " + File() +
              ", as a backup that is copied over it would; stop this program, put the right file "
              "there without '" +
              wal_path_ + "' and '" + shm_path_ + "', and start it again";
      return {State::kLost, lost_};
    }
    main_ = main;
    copied_ = at_begin_ = before;
    const std::optional<os::FileStamp> wal = os::StampOf(wal_path_);
    const std::optional<os::FileStamp> shm = os::StampOf(shm_path_);
    // A new log without anything in it is of somebody who only looked.
    const bool gone = !wal || (!wal->SameFile(wal_) && wal->bytes == 0);
    if (!gone && (!wal->SameFile(wal_) || (shm && !shm->SameFile(shm_)))) {
      return {State::kLost,
              File() +
                  " was given another log by somebody, after its own was removed; stop the "
                  "other programs that use it, and start this one again"};
    }
    if (gone || !shm) {
      return {State::kReopen,
              "the log of " + File() + ", '" + (gone ? wal_path_ : shm_path_) +
                  "', is no longer at its path; somebody removed it, or another copy of SQLite "
                  "in this process has opened and closed the file"};
    }
    return {};
  }

 private:
  std::string File() const { return "the store file '" + path_ + "'"; }
  std::string Another() const {
    return "another file has taken the place of the store file '" + path_ +
           "'; start the program again on the right one";
  }

  static sql::LogIndex::State StateOf(const sql::LogIndex* index) {
    return index != nullptr ? index->Now() : sql::LogIndex::State();
  }

  /// Since `main_` was looked at somebody else may have copied the log into the file, as every connection with wal_autocheckpoint
  /// does: that changes the file, and is no harm.
  bool CopiedByOthers(const sql::LogIndex::State& now) const {
    if (!now.known || now.Copying() || at_begin_ != copied_) return true;
    if (now.salt == at_begin_.salt) return now.copied != at_begin_.copied;
    // Our own commit has begun the log anew, which it may once all of it was copied.
    return now.copied > 0 || at_begin_.copied != at_begin_.frames;
  }

  const std::string path_, wal_path_, shm_path_;
  std::optional<os::FileStamp> first_;  ///< the file that was opened at first
  std::optional<os::FileStamp> main_, wal_, shm_;
  sql::LogIndex::State copied_,
      at_begin_;  ///< the log when `main_` was looked at, and when the batch began
  std::string lost_;
};

}  // namespace sqlite_store
}  // namespace v1
}  // namespace dtm
