// error: a member function lacks its object
#include <dtm/coordinator/coordinator.hpp>

struct Bank {
  void Out(const int&) {}
};

void Register(dtm::Coordinator& tm, Bank& bank) {
#ifndef DTM_RIGHT
  (void)bank;
  tm.Register<int>("Out", &Bank::Out);
#else
  tm.Register<int>("Out", [&bank](const int& amount) { bank.Out(amount); });
#endif
}
