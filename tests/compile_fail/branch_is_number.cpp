// error: a branch is a URL, a registered function, or dtm::kNoBranch
#include <dtm/client/saga.hpp>

void Build(dtm::Endpoint& endpoint) {
#ifndef DTM_RIGHT
  dtm::NewSaga(endpoint, "g").Add(7, dtm::kNoBranch, 30).Submit();
#else
  dtm::NewSaga(endpoint, "g").Add("http://bank/Out", dtm::kNoBranch, 30).Submit();
#endif
}
