/// Long values of a message that is too large go ahead of it, and stand for what they were.
#include <algorithm>
#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/store/mysql/mysql_large.hpp>
#include <dtm/store/mysql/mysql_literals.hpp>

using dtm::mysql_store::AppendBytes;
using dtm::mysql_store::LongValues;
using dtm::mysql_store::Messages;

namespace {

std::string Literal(const std::string& bytes) {
  std::string text;
  AppendBytes(text, bytes);
  return text;
}

/// What a server makes of the literal that begins here, behind its quote; moves behind it.
std::string TakeValue(std::string_view& text) {
  std::string value;
  while (text.at(0) != '\'') {
    if (text[0] == '\\') text.remove_prefix(1);
    value += text.at(0);
    text.remove_prefix(1);
  }
  text.remove_prefix(1);
  return value;
}

/// The message, with the values in the places of their variables.
std::string Values(const Messages& messages) {
  std::map<std::string, std::string> values;
  for (std::size_t i = 0; i + 1 < messages.texts.size(); ++i) {
    std::string_view rest = messages.texts[i];
    REQUIRE(rest.substr(0, 4) == "SET ");
    while (!rest.empty()) {
      rest.remove_prefix(rest[0] == ',' ? 1 : 4);
      const std::size_t name = rest.find("=_binary'");
      REQUIRE(name != std::string_view::npos);
      const std::string variable(rest.substr(0, name));
      rest.remove_prefix(name + 9);
      values[variable] = TakeValue(rest);
    }
  }
  CHECK(values.size() == messages.variables);
  std::string text = messages.texts.back();
  for (std::size_t number = messages.variables; number > 0; --number) {
    const std::string name = dtm::mysql_store::Variable(number);
    const std::size_t at = text.find(name);
    REQUIRE(at != std::string::npos);
    text.replace(at, name.size(), values.at(name));
  }
  return text;
}

}  // namespace

TEST_CASE("long values go ahead of the message that is too large, and short ones stay") {
  const std::string longer(5000, '\\');
  const std::string text = "INSERT INTO t VALUES (" + Literal("it's \\ _binary'") + ',' +
                           Literal(longer) + ",''," + Literal(std::string(4000, 'x')) + ')';
  const Messages messages = LongValues(20000).TakenFrom(text);
  CHECK(messages.variables == 1);
  CHECK(messages.texts.size() == 2);
  CHECK(messages.texts[0] == "SET @dtm_1=" + Literal(longer));
  CHECK(messages.texts[1] == "INSERT INTO t VALUES (" + Literal("it's \\ _binary'") +
                                 ",@dtm_1,''," + Literal(std::string(4000, 'x')) + ')');
  CHECK(dtm::mysql_store::Forgetting(2) == "SET @dtm_1=NULL,@dtm_2=NULL");
}

TEST_CASE(
    "a value that is too large for a message is put together of several, cut behind escapes") {
  const std::size_t most = 8192;
  for (const char* pattern : {"\\", "a\\", "'", "ab'", "\\'"}) {
    for (std::size_t shift = 0; shift < 3; ++shift) {
      CAPTURE(pattern, shift);
      std::string bytes(shift, 'y');
      while (bytes.size() + 4 < most) bytes += pattern;
      const Messages messages = LongValues(most).TakenFrom("INSERT " + Literal(bytes) + ";COMMIT");
      CHECK(messages.variables >= 2);
      for (const std::string& each : messages.texts) CHECK(each.size() < most);
      std::string values = Values(messages);
      values.erase(std::remove(values.begin(), values.end(), ','), values.end());
      const bool same = values == "INSERT CONCAT(" + bytes + ");COMMIT";
      CHECK(same);
    }
  }
}

TEST_CASE("many values share messages") {
  std::string text = "INSERT ";
  std::string expected = text;
  for (int i = 0; i < 40; ++i) {
    const std::string value = std::string(2500, '\'') + std::to_string(i % 9 + 1);
    text += (i == 0 ? "" : ",") + Literal(value);
    expected += (i == 0 ? "" : ",") + value;
  }
  const Messages messages = LongValues(60000).TakenFrom(text);
  CHECK(messages.variables == 40);
  CHECK(messages.texts.size() == 5);
  for (const std::string& each : messages.texts) CHECK(each.size() < 60000);
  CHECK(Values(messages) == expected);
}

TEST_CASE("a value that the server cannot hold is refused, with what to do") {
  const std::string text = "INSERT " + Literal(std::string(9000, 'x'));
  CHECK_THROWS_WITH(LongValues(8192).TakenFrom(text),
                    Catch::Matchers::ContainsSubstring("9000") &&
                        Catch::Matchers::ContainsSubstring("max_allowed_packet"));
  CHECK_NOTHROW(LongValues(16384).TakenFrom(text));
}
