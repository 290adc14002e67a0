/// A call to a server, again and again, whose connection breaks each time one byte later.
/// Needs: Catch2. Threads: the proxy has one of its own.
///
/// Kit: Connection, made of Through(port), by TCP; ServerPort(); kLooksAfterwards: it may be done before the last request.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>

#include "tests/catch.hpp"
#include "tests/support/cutting_proxy.hpp"
#include "tests/support/sanitized.hpp"
#include <dtm/base/error.hpp>

namespace dtm_test {

enum class Said { kDone, kInDoubt, kNothingStored };

inline Said Told(const std::function<void()>& call) {
  try {
    call();
    return Said::kDone;
  } catch (const dtm::InDoubtError&) {
    return Said::kInDoubt;
  } catch (const dtm::StoreError&) {
    return Said::kNothingStored;
  }
}

/// `call(connection, number, armed)`: one call, of which `armed` is to be run where the bytes are counted from;
/// `check(number, said)` looks at what came of it. `tail`: only so many bytes at the end of either way.
template <typename Kit, typename Call, typename Check>
void CutAtEveryByte(const Call& call, const Check& check, std::size_t tail) {
  CuttingProxy proxy(Kit::ServerPort());
  int number = 1000;  // of four digits, all of them
  std::array<std::size_t, 2> sizes{};
  {
    typename Kit::Connection connection(Kit::Through(proxy.Port()));
    call(connection, number, [&] { proxy.Count(); });
    // Before it says goodbye.
    sizes = {proxy.Answered(), proxy.Passed(CuttingProxy::kAnswer)};
  }
  check(number, Said::kDone);
  bool seen[] = {false, false, false};
  for (const CuttingProxy::Way way : {CuttingProxy::kRequest, CuttingProxy::kAnswer}) {
    REQUIRE(sizes[way] >= 11);  // a COMMIT, or an OK
    for (std::size_t bytes = sizes[way] - (std::min)(sizes[way], tail);;
         bytes = (std::min)(bytes + dtm_test::kStep, sizes[way])) {
      CAPTURE(way, bytes, sizes[way]);
      ++number;
      typename Kit::Connection connection(Kit::Through(proxy.Port()));
      const Said said =
          Told([&] { call(connection, number, [&] { proxy.CutAfter(way, bytes); }); });
      seen[static_cast<int>(said)] = true;
      if (way == CuttingProxy::kRequest && !Kit::kLooksAfterwards) CHECK(said != Said::kDone);
      check(number, said);
      if (bytes == sizes[way]) break;
    }
  }
  CHECK(seen[static_cast<int>(Said::kDone)]);
  CHECK(seen[static_cast<int>(Said::kInDoubt)]);
}

}  // namespace dtm_test
