/// JSON as text: fit for a web page, and valid UTF-8.
#include <nlohmann/json.hpp>

#include "tests/catch.hpp"
#include <dtm/http/wire/json_text.hpp>

using dtm::wire::JsonText;

TEST_CASE("json text: it is fit for a web page, and valid UTF-8") {
  const nlohmann::ordered_json json = {{"<k>&", "</script>&amp;\\u003c\xC3\xBC\xFF"}, {"n", 1}};
  CHECK(JsonText(json) ==
        "{\"\\u003ck\\u003e\\u0026\":\"\\u003c/"
        "script\\u003e\\u0026amp;\\\\u003c\xC3\xBC\xEF\xBF\xBD\","
        "\"n\":1}");
  CHECK(nlohmann::ordered_json::parse(JsonText(json)).items().begin().key() == "<k>&");
}
