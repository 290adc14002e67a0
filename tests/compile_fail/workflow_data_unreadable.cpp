// error: has to read and to write the data T of RegisterWorkflow
#include <dtm/client/workflow.hpp>
#include <dtm/coordinator/coordinator.hpp>

struct Order {
  int price;
};
#ifdef DTM_RIGHT
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Order, price)
#endif

void Register(dtm::Coordinator& tm) {
  dtm::RegisterWorkflow<Order>(tm, "wf", [](dtm::Workflow&, const Order&) {});
}
