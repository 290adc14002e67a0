// error: a workflow takes `dtm::Workflow&` and `const T&`
#include <string>

#include <dtm/client/workflow.hpp>
#include <dtm/coordinator/coordinator.hpp>

void Register(dtm::Coordinator& tm) {
#ifndef DTM_RIGHT
  dtm::RegisterWorkflow<int>(tm, "wf", [](dtm::Workflow&, const std::string&) {});
#else
  dtm::RegisterWorkflow<int>(tm, "wf", [](dtm::Workflow&, const int&) {});
#endif
}
