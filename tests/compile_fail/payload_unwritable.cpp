// error: nlohmann/json cannot write the payload
#include <dtm/client/saga.hpp>

struct Transfer {
  int amount;
};
#ifdef DTM_RIGHT
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Transfer, amount)
#endif

void Build(dtm::Endpoint& endpoint) {
  dtm::NewSaga(endpoint, "g").Add("http://bank/Out", dtm::kNoBranch, Transfer{30}).Submit();
}
