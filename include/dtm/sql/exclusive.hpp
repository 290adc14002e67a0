/// Gives one thread at a time exclusive use of a shared connection.
/// Needs: SQLite 3.35 or newer. Threads: thread-safe; an Exclusive itself belongs to the thread that made it.
#pragma once

#include <map>
#include <mutex>
#include <thread>

#include <dtm/base/error.hpp>
#include <dtm/sql/sqlite_connection.hpp>

namespace dtm {
inline namespace v1 {
namespace sql {

/// As long as it lives no other thread gets a statement into this connection. A thread may have
/// several of one connection.
///
/// A connection as SQLite opens it by default has a mutex of its own, which each sqlite3_ function
/// takes: this holds it in between as well, so other threads wait, also those that know nothing of
/// this class. One that was opened with SQLITE_OPEN_NOMUTEX (or with a SQLite built for one thread)
/// has none: its program promised that one thread at a time uses it, and who breaks that is refused.
class Exclusive {
 public:
  /// @throws LogicError  the connection has no mutex, and another thread is inside.
  explicit Exclusive(sqlite3* db) : db_(db), mutex_(sqlite3_db_mutex(db)) {
    if (mutex_ != nullptr) {
      sqlite3_mutex_enter(mutex_);
      return;
    }
    const std::thread::id me = std::this_thread::get_id();
    Inside& inside = WithoutMutex();
    const std::lock_guard<std::mutex> lock(inside.mutex);
    Inside::Visit& visit = inside.visits[db_];
    if (visit.depth > 0 && visit.thread != me) {
      throw LogicError(
          "the SQLite connection is used by another thread at this moment, and has no mutex to "
          "wait "
          "for; open it without SQLITE_OPEN_NOMUTEX, or give each thread a connection of its own");
    }
    visit.thread = me;
    ++visit.depth;
  }
  ~Exclusive() {
    if (mutex_ != nullptr) {
      sqlite3_mutex_leave(mutex_);
      return;
    }
    Inside& inside = WithoutMutex();
    const std::lock_guard<std::mutex> lock(inside.mutex);
    const auto visit = inside.visits.find(db_);
    if (--visit->second.depth == 0) inside.visits.erase(visit);
  }
  Exclusive(const Exclusive&) = delete;
  Exclusive& operator=(const Exclusive&) = delete;

 private:
  struct Inside {
    struct Visit {
      std::thread::id thread;
      int depth = 0;
    };
    std::mutex mutex;
    std::map<sqlite3*, Visit> visits;
  };
  /// Of the process, because a connection is: nothing else knows both objects that use one. It is
  /// never destroyed, so that threads may still come when the process ends.
  static Inside& WithoutMutex() {
    static Inside& inside = *new Inside;
    return inside;
  }

  sqlite3* const db_;
  sqlite3_mutex* const mutex_;
};

}  // namespace sql
}  // namespace v1
}  // namespace dtm
