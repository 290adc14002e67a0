// error: the body takes dtm::Tcc&
#include <dtm/client/tcc.hpp>

void Run(dtm::Endpoint& endpoint) {
#ifndef DTM_RIGHT
  dtm::TccGlobalTransaction(endpoint, "g", [] {});
#else
  dtm::TccGlobalTransaction(endpoint, "g", [](dtm::Tcc&) {});
#endif
}
