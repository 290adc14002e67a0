// error: payload type
#include <dtm/client/tcc.hpp>

void Build(dtm::Tcc& tcc, const dtm::LocalBranch<int>& reserve, const dtm::LocalBranch<long>& other,
           const dtm::LocalBranch<int>& cancel) {
#ifndef DTM_RIGHT
  tcc.CallBranch(30, reserve, other, cancel);
#else
  (void)other;
  tcc.CallBranch(30, reserve, reserve, cancel);
#endif
}
