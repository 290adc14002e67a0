// error: nullptr is no branch
#include <dtm/client/saga.hpp>

void Build(dtm::Endpoint& endpoint) {
#ifndef DTM_RIGHT
  dtm::NewSaga(endpoint, "g").Add("http://bank/Out", nullptr, 30).Submit();
#else
  dtm::NewSaga(endpoint, "g").Add("http://bank/Out", dtm::kNoBranch, 30).Submit();
#endif
}
