/// Credentials as the value of a header. Base64 itself: tests/text/base64_test.cpp.
#include "tests/catch.hpp"
#include <dtm/core/url.hpp>
#include <dtm/http/wire/base64.hpp>

TEST_CASE("base64: credentials of a URL as a header has them") {
  // RFC 7617 §2
  CHECK(dtm::wire::BasicAuthorization(dtm::ParseUrl("http://Aladdin:open%20sesame@h/")) ==
        "Basic " + dtm::base64::Encode("Aladdin:open sesame"));
  CHECK(dtm::base64::Encode("Aladdin:open sesame") == "QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
}
