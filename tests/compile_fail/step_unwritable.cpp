// error: nlohmann/json cannot write what the step returns
#include <dtm/client/workflow.hpp>

struct Place {
  int shelf;
};
#ifdef DTM_RIGHT
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Place, shelf)
#endif

void Run(dtm::Workflow& wf) {
  wf.NewBranch().Do([] { return Place{7}; });
}
