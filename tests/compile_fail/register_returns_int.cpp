// error: the function returns nothing or dtm::Result
#include <dtm/dtm.hpp>

dtm::LocalBranch<int> Register(dtm::Coordinator& coordinator) {
#ifndef DTM_RIGHT
  return coordinator.Register<int>("Out", [](const int& amount) { return amount; });
#else
  return coordinator.Register<int>("Out", [](const int&) {});
#endif
}
