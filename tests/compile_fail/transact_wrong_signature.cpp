// error: what Transact runs takes dtm::Tx&
#include <dtm/coordinator/coordinator.hpp>

void Work(dtm::Coordinator& tm) {
#ifndef DTM_RIGHT
  tm.Transact([](sqlite3*) {});
#else
  tm.Transact([](dtm::Tx&) {});
#endif
}
