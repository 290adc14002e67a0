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

/// While it lives, no other thread can use this connection. A thread may have several for one
/// connection.
///
/// By default SQLite gives a connection its own mutex, which each sqlite3_ function takes. This class
/// also holds it between these calls, so other threads wait, even those that do not use this class.
/// A connection that was opened with SQLITE_OPEN_NOMUTEX (or by a SQLite built for one thread) has no
/// mutex: the program has promised that one thread at a time uses it, and a second thread is refused.
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
  /// One for the process, because only so two objects that use one connection find each other. It is
  /// never destroyed, so that threads may still use it when the process ends.
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
