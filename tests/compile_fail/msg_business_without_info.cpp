// error: what DoAndSubmit runs takes const dtm::BranchInfo&
#include <dtm/client/msg.hpp>

void Send(dtm::Msg& message) {
#ifndef DTM_RIGHT
  message.DoAndSubmit("http://bank/WasIt", [] {});
#else
  message.DoAndSubmit("http://bank/WasIt", [](const dtm::BranchInfo&) {});
#endif
}
