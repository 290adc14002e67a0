// error: the callback of SubmitAsync takes const dtm::Answer&
#include <dtm/client/saga.hpp>

void Build(dtm::Endpoint& endpoint) {
#ifndef DTM_RIGHT
  dtm::NewSaga(endpoint, "g").SubmitAsync([] {});
#else
  dtm::NewSaga(endpoint, "g").SubmitAsync([](const dtm::Answer&) {});
#endif
}
