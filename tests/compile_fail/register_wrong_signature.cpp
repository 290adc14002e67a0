// error: a branch function takes `const T&`
#include <string>

#include <dtm/coordinator/coordinator.hpp>

void Register(dtm::Coordinator& tm) {
#ifndef DTM_RIGHT
  tm.Register<int>("Out", [](const std::string&) {});
#else
  tm.Register<int>("Out", [](const int&) {});
#endif
}
