// error: the business of a barrier takes the connection
#include <dtm/barrier/sqlite_barrier.hpp>

dtm::Result Serve(dtm::SqliteBarrierTable& table, dtm::Barrier& barrier) {
#ifndef DTM_RIGHT
  return table.Call(barrier, [] {});
#else
  return table.Call(barrier, [](sqlite3*) {});
#endif
}
