// error: a step of a workflow takes nothing
#include <dtm/client/workflow.hpp>

void Run(dtm::Workflow& wf) {
#ifndef DTM_RIGHT
  wf.NewBranch().Do([](int) {});
#else
  wf.NewBranch().Do([] {});
#endif
}
