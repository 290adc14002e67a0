/// What a statement of ours takes and what comes back, whichever server runs it: values of a few types, by their place.
/// Needs: std. Threads: values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace dtm {
inline namespace v1 {

/// Rows that a server answered. What View returns lives as long as they.
class SqlRows {
 public:
  virtual ~SqlRows() = default;
  virtual std::size_t Count() const = 0;
  virtual bool IsNull(std::size_t row, std::size_t column) const = 0;
  /// A whole number of 64 bits; 0 if it is null.
  virtual std::int64_t Number(std::size_t row, std::size_t column) const = 0;
  /// The bytes of a text or blob; empty if it is null.
  virtual std::string_view View(std::size_t row, std::size_t column) const = 0;
};

/// Bytes, as opposed to text.
struct SqlBytes {
  std::string_view bytes;
};

/// A parameter: a number, a text, bytes, a list of numbers or of texts. What it views lives as long as the call.
using SqlValue = std::variant<std::int64_t, std::string_view, SqlBytes,
                              const std::vector<std::int64_t>*, const std::vector<std::string>*>;

}  // namespace v1
}  // namespace dtm
