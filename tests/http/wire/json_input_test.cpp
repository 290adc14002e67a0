/// JSON from strangers: depth, syntax, keys in any case, types without conversion, sentences.
#include <climits>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/catch.hpp"
#include "tests/support/nested.hpp"
#include <dtm/http/wire/json_input.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::BadInput;
using dtm::kMaxJsonDepth;
using dtm::wire::json_input::Fields;
using dtm::wire::json_input::Parse;
using dtm::wire::json_input::ParseObject;

namespace {

auto Object(const std::string& text) { return ParseObject(text, "the body"); }

/// What BadInput says; nothing if there was none.
template <typename Function>
std::string Refusal(const Function& function) {
  try {
    function();
  } catch (const BadInput& error) {
    return error.what();
  }
  return {};
}

}  // namespace

TEST_CASE("json_input: an object is parsed, and as deep as it may be") {
  CHECK(Object("{}").empty());
  CHECK(Object(" \r\n\t{\"a\" : [1, \"x\", null]} \n")["a"].size() == 3);
  const std::string deep(kMaxJsonDepth - 1, '[');
  const std::string end(kMaxJsonDepth - 1, ']');
  CHECK(Object("{\"a\":" + deep + end + "}").size() == 1);
  CHECK(Object("{\"a\":\"" + std::string(1000, '[') + "\"}").size() == 1);
  CHECK_THAT(Refusal([&] { Object("{\"a\":[" + deep + end + "]}"); }),
             ContainsSubstring("the body") && ContainsSubstring("64"));
  CHECK_THAT(Refusal([&] { Object(std::string(1000000, '[')); }), ContainsSubstring("64"));
}

TEST_CASE("json_input: any value is parsed; what is none, or nested too deeply, is discarded") {
  CHECK(Parse("[1]") == nlohmann::json{1});
  CHECK(Parse("null").is_null());
  CHECK(Parse(std::string(kMaxJsonDepth, '[') + std::string(kMaxJsonDepth, ']')).is_array());
  for (const std::string& text :
       {std::string(), std::string("x"), std::string("[1,"), std::string("\xFF"),
        std::string(kMaxJsonDepth + 1, '[') + std::string(kMaxJsonDepth + 1, ']'),
        dtm_test::Nested(100000)}) {
    INFO(text.substr(0, 100));
    CHECK(Parse(text).is_discarded());
  }
}

TEST_CASE("json_input: what is no object is refused, with its name") {
  const std::string texts[] = {
      "",
      " ",
      "x",
      "nul",
      "{",
      "}",
      "{]",
      "{}}",
      "{} {}",
      "{}x",
      "{},",
      "{\"a\":1,}",
      "{a:1}",
      "{'a':1}",
      "{\"a\":01}",
      "{\"a\":+1}",
      "{\"a\":.5}",
      "{\"a\":NaN}",
      "{\"a\":1e400}",
      "{\"a\":\"\t\"}",
      "{\"a\":\"\\x41\"}",
      "{\"a\":\"\\ud800\"}",
      "{\"a\":\"\\udc00\"}",
      "/**/{}",
      "{}//",
      "{\"a\":\"\xFF\"}",
      "{\"a\":\"\xC0\xAF\"}",
      "{\"a\":\"\xED\xA0\x80\"}",
      "{\"a\":\"\xF4\x90\x80\x80\"}",
      "{\"\x80\":1}",
      "{}\xFF",
      "[]",
      "[{}]",
      "1",
      "\"{}\"",
      "true",
      "null",
  };
  for (const std::string& text : texts) {
    INFO(text);
    const std::string refusal = Refusal([&] { ParseObject(text, "the thing"); });
    CHECK_THAT(refusal, ContainsSubstring("the thing"));
    CHECK(dtm::IsUtf8(refusal));
    CHECK(dtm::Printable(refusal) == refusal);
  }
}

TEST_CASE("json_input: a NUL is no end of the text") {
  const std::string nul(1, '\0');
  for (const std::string& text : {"{}" + nul, "{}" + nul + "{}", "{}" + nul + "\xFF", nul + "{}",
                                  "{\"a\":1" + nul + "}", "{" + nul + "}"}) {
    INFO(dtm::Printable(text));
    CHECK_FALSE(Refusal([&] { Object(text); }).empty());
  }
}

TEST_CASE("json_input: keys match in any case, of equal ones the last counts, null is absent") {
  const auto json =
      Object(R"({"A":"upper","b_C":"mixed","twice":"1","twice":"2","none":null,"\u00c4":"ae"})");
  const Fields fields(json, "it");
  CHECK(fields.Text("a") == "upper");
  CHECK(fields.Text("b_c") == "mixed");
  CHECK(fields.Text("twice") == "2");
  CHECK(fields.Text("\xC3\x84") == "ae");  // not a letter that has a case here
  CHECK(fields.Find("\xC3\xA4") == nullptr);
  CHECK(fields.Find("none") == nullptr);
  CHECK(fields.Find("other") == nullptr);
  CHECK(Fields(nlohmann::json(nullptr), "nothing").Find("a") == nullptr);
}

TEST_CASE("json_input: a key that comes twice in different case is refused") {
  for (const char* text : {R"({"gid":"first","GID":"last"})", R"({"Gid":null,"gID":"last"})"}) {
    const auto object = Object(text);
    CHECK_THROWS_WITH(Fields(object, "it"), ContainsSubstring("given twice"));
  }
}

TEST_CASE("json_input: each type is read, and nothing is converted") {
  const auto json = Object(
      R"({"text":"t","empty":"","nul":"\u0000","yes":true,"no":false,"one":1,"minus":-1,"half":1.5,)"
      R"("whole":1.0,"list":["a"],"texts":{"a":"b","C":"d","n":null},"object":{"a":1}})");
  const Fields fields(json, "the thing");
  CHECK(fields.Text("text") == "t");
  CHECK(fields.Text("empty").empty());
  CHECK(fields.Text("nul") == std::string(1, '\0'));
  CHECK(fields.Text("absent").empty());
  CHECK(fields.Bool("yes"));
  CHECK_FALSE(fields.Bool("no"));
  CHECK_FALSE(fields.Bool("absent"));
  CHECK(fields.Integer("one", 0, 9) == 1);
  CHECK(fields.Integer("absent", 5, 9) == 0);
  using Texts = std::map<std::string, std::string>;
  CHECK(fields.Texts("texts") == Texts{{"a", "b"}, {"C", "d"}});
  CHECK(fields.Texts("absent").empty());

  const std::vector<const char*> keys = {"text",  "empty", "nul",   "yes",  "no",    "one",
                                         "minus", "half",  "whole", "list", "texts", "object"};
  for (const char* key : keys) {
    CAPTURE(key);
    const auto& value = *fields.Find(key);
    const auto check = [&](bool fits, const std::string& refusal) {
      if (fits) {
        CHECK(refusal.empty());
      } else {
        CHECK_THAT(refusal, ContainsSubstring("the thing: '" + std::string(key) + "' must be"));
      }
    };
    check(value.is_string(), Refusal([&] { (void)fields.Text(key); }));
    check(value.is_boolean(), Refusal([&] { (void)fields.Bool(key); }));
    check(value.is_number_integer(), Refusal([&] { (void)fields.Integer(key, -9, 9); }));
    check(key == std::string("texts"), Refusal([&] { (void)fields.Texts(key); }));
    check(value.is_array(),
          Refusal([&] { fields.Each(key, "a list", [](const auto&) { return true; }); }));
  }
}

TEST_CASE("json_input: integers keep to their range, however large they are") {
  struct Row {
    const char* number;
    std::int64_t smallest;
    std::int64_t largest;
    bool fits;
  };
  const Row rows[] = {
      {"0", 0, 86400, true},
      {"-0", 0, 86400, true},
      {"86400", 0, 86400, true},
      {"86401", 0, 86400, false},
      {"-1", 0, 86400, false},
      {"-5", -5, -3, true},
      {"-6", -5, -3, false},
      {"-2", -5, -3, false},
      {"9223372036854775807", 0, INT64_MAX, true},
      {"9223372036854775808", 0, INT64_MAX, false},
      {"18446744073709551615", 0, INT64_MAX, false},
      {"18446744073709551616", 0, INT64_MAX, false},  // a float by then
      {"18446744073709551615", -1, 5, false},
      {"-9223372036854775808", INT64_MIN, 0, true},
      {"-9223372036854775809", INT64_MIN, 0, false},
      {"1e3", 0, 86400, false},
      {"1.0", 0, 86400, false},
  };
  for (const Row& row : rows) {
    CAPTURE(row.number, row.smallest, row.largest);
    const auto json = Object("{\"n\":" + std::string(row.number) + "}");
    const Fields fields(json, "it");
    const std::string refusal =
        Refusal([&] { (void)fields.Integer("n", row.smallest, row.largest); });
    CHECK(refusal.empty() == row.fits);
    if (row.fits) {
      CHECK(fields.Integer("n", row.smallest, row.largest) == std::stoll(row.number));
    } else {
      CHECK_THAT(refusal, ContainsSubstring("'n'") &&
                              ContainsSubstring(std::to_string(row.smallest)) &&
                              ContainsSubstring(std::to_string(row.largest)));
    }
  }
}

TEST_CASE("json_input: each element is looked at, in order") {
  const auto json = Object(R"({"list":[1,2,3],"empty":[],"none":null})");
  const Fields fields(json, "it");
  std::vector<int> seen;
  const auto until = [&seen](int last) {
    return [&seen, last](const auto& element) {
      seen.push_back(element.template get<int>());
      return seen.back() != last;
    };
  };
  fields.Each("list", "numbers", until(9));
  CHECK(seen == std::vector<int>{1, 2, 3});
  seen.clear();
  fields.Each("empty", "numbers", until(9));
  fields.Each("none", "numbers", until(9));
  CHECK(seen.empty());
  CHECK(Refusal([&] { fields.Each("list", "numbers", until(2)); }) == "it: 'list' must be numbers");
  CHECK(seen == std::vector<int>{1, 2});
}
