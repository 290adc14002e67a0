// error: is registered with RegisterInTransaction
#include <dtm/coordinator/coordinator.hpp>

void Register(dtm::Coordinator& tm) {
  const auto out = [](sqlite3*, const int&) {};
#ifndef DTM_RIGHT
  tm.Register<int>("Out", out);
#else
  tm.RegisterInTransaction<int>("Out", out);
#endif
}
