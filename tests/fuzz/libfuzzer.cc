// libFuzzer's entrance to one target; DTM_FUZZ is its name. Compiled by tests/fuzz/run.sh only.
#include "tests/fuzz/targets.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  dtm_fuzz::DTM_FUZZ({reinterpret_cast<const char*>(data), size});
  return 0;
}
