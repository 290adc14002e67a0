// error: takes the store's connection first
#include <dtm/coordinator/coordinator.hpp>

void Register(dtm::Coordinator& tm) {
#ifndef DTM_RIGHT
  tm.RegisterInTransaction<int>("Out", [](const int&) {});
#else
  tm.RegisterInTransaction<int>("Out", [](sqlite3*, const int&) {});
#endif
}
