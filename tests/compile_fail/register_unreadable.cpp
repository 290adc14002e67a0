// error: nlohmann/json cannot read the payload type T of Register
#include <dtm/coordinator/coordinator.hpp>

struct Transfer {
  int amount;
};
#ifdef DTM_RIGHT
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Transfer, amount)
#endif

void Register(dtm::Coordinator& tm) {
  tm.Register<Transfer>("Out", [](const Transfer&) {});
}
