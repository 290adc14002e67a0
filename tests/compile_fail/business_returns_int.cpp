// error: the function returns nothing or dtm::Result
#include <dtm/barrier/sqlite_barrier.hpp>

dtm::Result Serve(dtm::SqliteBarrierTable& table, dtm::Barrier& barrier) {
#ifndef DTM_RIGHT
  return table.Call(barrier, [](sqlite3*) { return 1; });
#else
  return table.Call(barrier, [](sqlite3*) {});
#endif
}
