/// Payloads as JSON text: what it cannot hold is refused with its place, and which types can be read and written.
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/catch.hpp"
#include "tests/core/no_default.hpp"
#include <dtm/base/payload.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::payload::kReadable;
using dtm::payload::kWritable;
using nlohmann::json;
namespace payload = dtm::payload;

namespace payload_test {

struct Neither {};
struct Both {
  int amount = 0;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Both, amount)
struct WriteOnly {};
inline void to_json(json&, const WriteOnly&) {}

}  // namespace payload_test

static_assert(!kReadable<payload_test::Neither> && !kWritable<payload_test::Neither>);
static_assert(!kReadable<std::vector<payload_test::Neither>>);
static_assert(!kWritable<std::vector<payload_test::Neither>>);
static_assert(kReadable<payload_test::Both> && kWritable<payload_test::Both>);
static_assert(!kReadable<payload_test::WriteOnly> && kWritable<payload_test::WriteOnly>);
static_assert(kReadable<NoDefault> && !kWritable<NoDefault>);
static_assert(kReadable<int> && kReadable<bool> && kReadable<std::string> && kReadable<json>);
static_assert(kReadable<std::map<std::string, payload_test::Both>>);
static_assert(!kReadable<const char*> && !kReadable<std::string_view>);  // of what is gone
static_assert(kWritable<const char*> && kWritable<char[3]> && kWritable<std::string_view>);

TEST_CASE("payload: numbers that JSON does not have are refused with their place, not made null") {
  const double nan = std::nan("");
  const double infinity = std::numeric_limits<double>::infinity();
  const struct {
    json value;
    const char* place;
  } rows[] = {
      {nan, "it is a number"},
      {-infinity, "it is a number"},
      {static_cast<double>(std::numeric_limits<float>::infinity()), "it is a number"},
      {json{{"amount", nan}}, "at '/amount' is a number"},
      {json{{"a", {1, 2.5, infinity}}}, "at '/a/2' is a number"},
      {json::array({json{{"x", {{"y", nan}}}}}), "at '/0/x/y' is a number"},
      {json{{"a", nan}, {"b", nan}}, "at '/a' is a number"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.place);
    CHECK_THROWS_AS(payload::Text("gid 'g': it", row.value), dtm::LogicError);
    CHECK_THROWS_WITH(payload::Text("gid 'g': it", row.value),
                      ContainsSubstring("gid 'g': it cannot be written as JSON") &&
                          ContainsSubstring(row.place) && ContainsSubstring("NaN or infinity"));
  }
}

TEST_CASE("payload: what nlohmann would write as something else is refused as well") {
  CHECK_THROWS_WITH(payload::Text("it", json{{"a", json::binary({1, 2})}}),
                    ContainsSubstring("at '/a' is binary data"));
  const json discarded = json::parse("{", nullptr, false);
  CHECK_THROWS_WITH(payload::Text("it", discarded), ContainsSubstring("it is a discarded value"));
}

TEST_CASE("payload: every other value is written as it is") {
  const char* const texts[] = {
      "null", "true", "-0.0", "1.7976931348623157e+308", "5e-324", R"({"a":[1,[2.5,{}],"NaN"]})"};
  for (const char* text : texts) CHECK(payload::Text("it", json::parse(text)) == text);
}

TEST_CASE("payload: a text that is not UTF-8 is refused") {
  CHECK_THROWS_AS(payload::Text("it", "\xFF"), dtm::LogicError);
  CHECK_THROWS_WITH(payload::Text("it", "\xFF"), ContainsSubstring("it cannot be written as JSON"));
}
