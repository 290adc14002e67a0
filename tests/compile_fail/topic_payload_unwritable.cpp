// error: nlohmann/json cannot write the payload
#include <dtm/client/msg.hpp>

struct Transfer {
  int amount;
};
#ifdef DTM_RIGHT
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Transfer, amount)
#endif

void Build(dtm::Endpoint& endpoint) {
  dtm::NewMsg(endpoint, "g").AddTopic("transfers", Transfer{30}).Submit();
}
