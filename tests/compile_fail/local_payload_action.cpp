// error: payload type
#include <string>

#include <dtm/client/saga.hpp>

void Build(dtm::Endpoint& endpoint, const dtm::LocalBranch<int>& out) {
#ifndef DTM_RIGHT
  dtm::NewSaga(endpoint, "g").Add(out, dtm::kNoBranch, std::string("30")).Submit();
#else
  dtm::NewSaga(endpoint, "g").Add(out, dtm::kNoBranch, 30).Submit();
#endif
}
