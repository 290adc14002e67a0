// error: leave out `mutable`
#include <dtm/client/xa.hpp>

void Run(dtm::Endpoint& endpoint) {
  int calls = 0;
#ifndef DTM_RIGHT
  dtm::XaGlobalTransaction(endpoint, "g", [calls](dtm::Xa&) mutable { ++calls; });
#else
  dtm::XaGlobalTransaction(endpoint, "g", [&calls](dtm::Xa&) { ++calls; });
#endif
}
