// error: payload type
#include <dtm/client/saga.hpp>

void Build(dtm::Endpoint& endpoint, const dtm::LocalBranch<int>& out,
           const dtm::LocalBranch<long>& other, const dtm::LocalBranch<int>& back) {
#ifndef DTM_RIGHT
  dtm::NewSaga(endpoint, "g").Add(out, other, 30).Submit();
#else
  (void)other;
  dtm::NewSaga(endpoint, "g").Add(out, back, 30).Submit();
#endif
}
