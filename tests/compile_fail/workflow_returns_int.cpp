// error: a workflow returns nothing or a text
#include <dtm/client/workflow.hpp>
#include <dtm/coordinator/coordinator.hpp>

void Register(dtm::Coordinator& tm) {
#ifndef DTM_RIGHT
  dtm::RegisterWorkflow<int>(tm, "wf", [](dtm::Workflow&, const int& order) { return order; });
#else
  dtm::RegisterWorkflow<int>(tm, "wf", [](dtm::Workflow&, const int&) { return "sent"; });
#endif
}
