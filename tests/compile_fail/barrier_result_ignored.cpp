// error: nodiscard|unused-result|unused-value
#include <dtm/barrier/sqlite_barrier.hpp>

void Serve(dtm::SqliteBarrierTable& table, dtm::Barrier& barrier) {
#ifndef DTM_RIGHT
  table.Call(barrier, [](sqlite3*) {});
#else
  (void)table.Call(barrier, [](sqlite3*) {});
#endif
}
