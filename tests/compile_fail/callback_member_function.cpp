// error: a member function lacks its object
#include <dtm/client/workflow.hpp>

struct Bank {
  void Undo() {}
};

void Run(dtm::Workflow& workflow, Bank& bank) {
#ifndef DTM_RIGHT
  (void)bank;
  workflow.NewBranch().OnRollback(&Bank::Undo);
#else
  workflow.NewBranch().OnRollback([&bank] { bank.Undo(); });
#endif
}
