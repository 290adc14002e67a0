/// A lease that a test ends and gives back.
/// Needs: store. Threads: any.
#pragma once

#include <atomic>

#include <dtm/store/store.hpp>

namespace dtm_test {

struct TestLease : dtm::Lease {
  bool Holds() const override {
    if (holds && asks_left > 0 && --asks_left == 0) holds = false;
    return holds;
  }
  mutable std::atomic<bool> holds{true};
  mutable std::atomic<int> asks_left{0};  ///< it ends when it is asked this often; 0: it does not
};

}  // namespace dtm_test
