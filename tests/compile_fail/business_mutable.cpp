// error: leave out `mutable`
#include <dtm/barrier/sqlite_barrier.hpp>

dtm::Result Serve(dtm::SqliteBarrierTable& table, dtm::Barrier& barrier) {
  int calls = 0;
#ifndef DTM_RIGHT
  return table.CallInTransaction(barrier, [calls](sqlite3*) mutable { ++calls; });
#else
  return table.CallInTransaction(barrier, [&calls](sqlite3*) { ++calls; });
#endif
}
