// error: payload type
#include <dtm/client/tcc.hpp>

void Build(dtm::Tcc& tcc, const dtm::LocalBranch<int>& reserve,
           const dtm::LocalBranch<long>& other) {
#ifndef DTM_RIGHT
  tcc.CallBranch(30, other, reserve, other);
#else
  tcc.CallBranch(30, reserve, reserve, other);  // confirm and cancel may take another type
#endif
}
