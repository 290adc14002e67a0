// error: payload type
#include <string>

#include <dtm/client/msg.hpp>

void Build(dtm::Endpoint& endpoint, const dtm::LocalBranch<int>& in) {
#ifndef DTM_RIGHT
  dtm::NewMsg(endpoint, "g").Add(in, std::string("30")).Submit();
#else
  dtm::NewMsg(endpoint, "g").Add(in, 30).Submit();
#endif
}
