// error: leave out `mutable`
#include <dtm/coordinator/coordinator.hpp>

void Register(dtm::Coordinator& tm) {
  int sum = 0;
#ifndef DTM_RIGHT
  tm.Register<int>("Out", [sum](const int& amount) mutable { sum += amount; });
#else
  tm.Register<int>("Out", [&sum](const int& amount) { sum += amount; });
#endif
}
