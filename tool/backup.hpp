/// The command backup: a copy of a store file as it is at one moment.
/// Needs: source.hpp, SQLite. Threads: one. Source: sqlite.org/lang_vacuum.html, VACUUM INTO.
#pragma once

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

#include "source.hpp"
#include <dtm/sql/sqlite_connection.hpp>
#include <dtm/store/sqlite/read_only_store.hpp>

namespace tool {

inline void SyncPath(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0 || ::fsync(file) != 0) {
    const std::string why = std::strerror(errno);
    if (file >= 0) ::close(file);
    throw Failed(3, Safe("'" + path + "' could not be brought to the disk: " + why));
  }
  ::close(file);
}

inline void CopyInto(const std::string& from, const std::string& to) {
  const std::string path = dtm::os::FullPath(from);
  const dtm::sqlite_store::Look look =
      dtm::sqlite_store::OpenToLook(path, dtm::sqlite_store::FindHowToLook(path));
  dtm::sql::Database& db = *look.reader.owned;
  db.Exec(
      "PRAGMA query_only = OFF");  // it would refuse the copy as well; the connection itself can only read
  dtm::sql::Statement copy(db, "VACUUM INTO ?1");
  copy.BindText(1, to);
  (void)copy.Step();
}

inline std::string CheckedCopy(const std::string& path) {
  const dtm::ReadOnlySqliteStore opens(path);
  dtm::sql::Database db(path, SQLITE_OPEN_READONLY, dtm::sqlite_store::FindHowToLook(path).uri);
  dtm::sql::Statement check(db, "PRAGMA integrity_check(1)");
  const std::string verdict = check.Step() ? check.Text(0) : "it gave no answer";
  if (verdict != "ok")
    throw Failed(1, Safe("the copy is damaged, so it was removed: " + verdict +
                         "; is the file itself? dtm doctor looks"));
  dtm::sql::Statement count(db, "SELECT count(*) FROM dtm_trans");
  return count.Step() ? count.Text(0) : "0";
}

inline int Backup(Source& source, const Arguments& arguments) {
  if (source.File() == nullptr)
    throw UsageError(
        "backup needs --file: it copies the file on the machine where it is; a database server has "
        "its own tools");
  const std::string& to = arguments.values[0];
  const int made = ::open(to.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (made < 0)
    throw Failed(1, Safe("'" + to + "' was not made: " + std::strerror(errno) +
                         (errno == EEXIST ? "; name a file that is not there" : "")));
  ::close(made);
  try {
    CopyInto(arguments.Get("file"), to);
    const std::string count = CheckedCopy(to);
    SyncPath(to);
    const std::string full = dtm::os::FullPath(to);
    SyncPath(full.substr(0, full.rfind('/') + 1));
    struct stat info {};
    (void)::stat(to.c_str(), &info);
    if (arguments.Has("json"))
      return PrintJson({{"copy", to},
                        {"bytes", info.st_size},
                        {"transactions", dtm::ParseNumber<std::int64_t>(count).value_or(0)}}),
             0;
    std::printf("copied to %s: %s, %s transactions; it opens, and is not damaged\n",
                Safe(to).c_str(), Bytes(static_cast<std::uint64_t>(info.st_size)).c_str(),
                count.c_str());
    return 0;
  } catch (const dtm::StoreError& error) {
    (void)::unlink(to.c_str());
    throw Failed(1, Safe("no copy was made: " + std::string(error.what())));
  } catch (const Failed&) {
    (void)::unlink(to.c_str());
    throw;
  }
}

}  // namespace tool
