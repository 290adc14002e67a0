// error: the query of a message gets no payload
#include <dtm/client/msg.hpp>

void Prepare(dtm::Msg& message, const dtm::LocalBranch<int>& wrong,
             const dtm::LocalBranch<nlohmann::json>& right) {
#ifndef DTM_RIGHT
  (void)right;
  message.Prepare(wrong);
#else
  (void)wrong;
  message.Prepare(right);
#endif
}
