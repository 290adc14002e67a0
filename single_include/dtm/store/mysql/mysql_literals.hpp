/// Generated from include/dtm/store/mysql/mysql_literals.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../../dtm.hpp"

// ---- dtm/store/mysql/mysql_literals.hpp --------------------------------------------------------

/// Values as they stand in the text of a statement for MariaDB or MySQL. Needs: std. Threads: values.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dtm {
inline namespace v1 {
namespace mysql_store {

/// The mode of the session must not be NO_BACKSLASH_ESCAPES. In UTF-8 these bytes are always characters of their own.
inline void AppendBytes(std::string& out, std::string_view bytes) {
  out += "_binary'";
  for (const char byte : bytes) {
    if (byte == '\0') {
      out += "\\0";
      continue;
    }
    if (byte == '\'' || byte == '\\') out += '\\';
    out += byte;
  }
  out += '\'';
}
inline void AppendNumbers(std::string& out, const std::vector<std::int64_t>& numbers) {
  if (numbers.empty()) out += "NULL";
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    if (i > 0) out += ',';
    out += std::to_string(numbers[i]);
  }
}

/// One row of values behind another: (1,'x'),(2,'y'), or SELECT 1 AS a, 'x' AS b UNION ALL SELECT 2, 'y'.
class RowsText {
 public:
  enum class Form { kValues, kSelects };
  RowsText(std::string& out, Form form) : out_(out), form_(form) {}

  void Begin() {
    if (row_ > 0) out_ += form_ == Form::kValues ? "," : " UNION ALL ";
    out_ += form_ == Form::kValues ? "(" : "SELECT ";
    column_ = 0;
  }
  void Number(const char* name, std::int64_t number) {
    Separate();
    out_ += std::to_string(number);
    Name(name);
  }
  void Number(const char* name, const std::optional<std::int64_t>& number) {
    if (number) return Number(name, *number);
    Null(name);
  }
  void Bytes(const char* name, std::string_view bytes) {
    Separate();
    AppendBytes(out_, bytes);
    Name(name);
  }
  /// Null if there is nothing in it.
  void BytesOrNull(const char* name, std::string_view bytes) {
    bytes.empty() ? Null(name) : Bytes(name, bytes);
  }
  void End() {
    if (form_ == Form::kValues) out_ += ')';
    ++row_;
  }

 private:
  void Separate() {
    if (column_++ > 0) out_ += ',';
  }
  void Null(const char* name) {
    Separate();
    out_ += "NULL";
    Name(name);
  }
  void Name(const char* name) {
    if (row_ > 0 || form_ == Form::kValues) return;
    out_ += " AS ";
    out_ += name;
  }

  std::string& out_;
  const Form form_;
  std::size_t row_ = 0, column_ = 0;
};

}  // namespace mysql_store
}  // namespace v1
}  // namespace dtm
