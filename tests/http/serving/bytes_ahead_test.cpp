/// Bytes that wait for their turn: in their order, and without memory when they are gone.
#include <cstddef>
#include <string>
#include <string_view>

#include "tests/catch.hpp"
#include <dtm/http/serving/bytes_ahead.hpp>

TEST_CASE("bytes_ahead: what is appended comes out in its order, in pieces of any size") {
  for (const std::size_t piece : {1U, 3U, 7U, 100U}) {
    CAPTURE(piece);
    dtm::serving::BytesAhead ahead;
    std::string in, out;
    for (int i = 0; i < 200; ++i) {
      const std::string more = std::to_string(i) + ";";
      in += more;
      ahead.Append(more);
      const std::string_view now = ahead.View();
      const std::size_t some = now.size() < piece ? now.size() : piece;
      out.append(now.substr(0, some));
      ahead.Keep(now.size() - some);
    }
    out.append(ahead.View());
    CHECK(out == in);
    ahead.Keep(0);
    CHECK(ahead.Empty());
    CHECK(ahead.Bytes() == 0);
  }
}

TEST_CASE("bytes_ahead: what was taken is not kept for long") {
  dtm::serving::BytesAhead ahead;
  ahead.Append(std::string(1000, 'x'));
  for (int i = 0; i < 1000; ++i) {
    ahead.Keep(500);
    ahead.Append(std::string(500, 'y'));
  }
  CHECK(ahead.View().size() == 1000);
  CHECK(ahead.Bytes() < 5000);
}
