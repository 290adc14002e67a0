/// Text of others in a drawing: what is shown, how wide it is, and how it is cut.
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/timeline/drawing/shown_text.hpp>

using dtm::drawing::ColumnsOf;
using dtm::drawing::Fitted;
using dtm::drawing::Shown;
using dtm::drawing::Wrapped;

TEST_CASE("shown text: one line, nothing invisible, nothing that turns the text") {
  const std::vector<std::pair<std::string, std::string>> table{
      {"plain", "plain"},
      {"a\nb\tc", "a b c"},
      {std::string("a\0b", 3), "a?b"},
      {"\x1b[31m", "?[31m"},
      {"\xc2\x9b", "?"},     // a control of two bytes
      {"a\xff\xc3", "a??"},  // no UTF-8
      {"\xe2\x80\xae"
       "x",
       "?x"},  // right to left
      {"\xe2\x81\xa6"
       "x",
       "?x"},                     // an isolate
      {"\xe2\x80\x8b", "?"},      // a blank without width
      {"\xef\xbb\xbf", "?"},      // a byte order mark
      {"\xef\xbf\xbe", "?"},      // no character of XML
      {"\xf3\xa0\x81\x81", "?"},  // a tag
      {"ä日本🚀", "ä日本🚀"}};
  for (const auto& [text, shown] : table) {
    CHECK(Shown(text) == shown);
    CHECK(Shown(shown) == shown);
  }
}

TEST_CASE("shown text: columns of a terminal") {
  CHECK(ColumnsOf("") == 0);
  CHECK(ColumnsOf("abc") == 3);
  CHECK(ColumnsOf("äöü") == 3);
  CHECK(ColumnsOf("日本") == 4);
  CHECK(ColumnsOf("🚀") == 2);
  CHECK(ColumnsOf("a\xcc\x88") == 1);  // a, and two dots on it
}

TEST_CASE("shown text: what does not fit is cut off, between characters") {
  CHECK(Fitted("abc", 3) == "abc");
  CHECK(Fitted("abcd", 3) == "ab…");
  CHECK(Fitted("ab cd", 4) == "ab…");
  CHECK(Fitted("日本語", 4) == "日…");
  CHECK(Fitted("日本語", 5) == "日本…");
  CHECK(Fitted("abc", 1) == "…");
  CHECK(Fitted("abc", 0).empty());
}

TEST_CASE("shown text: lines are broken at blanks") {
  using Lines = std::vector<std::string>;
  CHECK(Wrapped("", 5, 3).empty());
  CHECK(Wrapped("abc", 5, 3) == Lines{"abc"});
  CHECK(Wrapped("one two three", 7, 3) == Lines{"one two", "three"});
  CHECK(Wrapped("one two three", 8, 3) == Lines{"one two", "three"});
  CHECK(Wrapped("onetwothree", 4, 3) == Lines{"onet", "woth", "ree"});
  CHECK(Wrapped("one two three four", 5, 2) == Lines{"one", "two…"});
  CHECK(Wrapped("日本", 1, 3) == Lines{"…"});
}
