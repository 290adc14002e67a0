// error: nodiscard|unused-result|unused-value
#include <chrono>

#include <dtm/client/saga.hpp>

bool Build(dtm::Endpoint& endpoint) {
#ifndef DTM_RIGHT
  dtm::NewSaga(endpoint, "g").SubmitAndWait(std::chrono::seconds(1));
  return true;
#else
  return dtm::NewSaga(endpoint, "g").SubmitAndWait(std::chrono::seconds(1)).Succeeded();
#endif
}
