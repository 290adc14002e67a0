/// Numbers and texts as bytes, of which the stored form of a record consists.
/// Needs: std. Threads: values only. Document: docs/store_format.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <dtm/base/error.hpp>

namespace dtm {
inline namespace v1 {
namespace codec {

inline constexpr std::size_t kMostNumberBytes = 10;

/// Puts a number there as LEB128 (7 bits a byte, low bits first). Returns its end.
inline char* PutNumber(char* at, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) *at++ = static_cast<char>(value | 0x80);
  *at++ = static_cast<char>(value);
  return at;
}

/// Appends numbers as LEB128 and texts as length and bytes.
class Writer {
 public:
  explicit Writer(std::string& out) : out_(out) {}
  void Byte(std::uint8_t value) { out_.push_back(static_cast<char>(value)); }
  void Number(std::uint64_t value) {
    if (value < 0x80) return Byte(static_cast<std::uint8_t>(value));
    char bytes[kMostNumberBytes];
    out_.append(bytes, static_cast<std::size_t>(PutNumber(bytes, value) - bytes));
  }
  void Text(std::string_view text) {
    Number(text.size());
    out_.append(text);
  }

 private:
  std::string& out_;
};

/// Reads the same, and never beyond the end.
/// @throws StoreError  the bytes are not of this format.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  std::uint8_t Byte() {
    if (rest_.empty()) Fail();
    const auto value = static_cast<std::uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    return value;
  }
  std::uint64_t Number() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const std::uint8_t byte = Byte();
      value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    Fail();
  }
  std::string Text() {
    const std::uint64_t size = Number();
    if (size > rest_.size()) Fail();
    std::string text(rest_.substr(0, static_cast<std::size_t>(size)));
    rest_.remove_prefix(static_cast<std::size_t>(size));
    return text;
  }
  /// A count of things that take at least one byte each, so a damaged count cannot request much
  /// memory.
  std::size_t Count() {
    const std::uint64_t count = Number();
    if (count > rest_.size()) Fail();
    return static_cast<std::size_t>(count);
  }
  bool AtEnd() const { return rest_.empty(); }
  void ExpectEnd() const {
    if (!AtEnd()) Fail();
  }
  [[noreturn]] static void Fail() {
    throw StoreError("a stored record is damaged or was written by a newer version");
  }

 private:
  std::string_view rest_;
};

}  // namespace codec
}  // namespace v1
}  // namespace dtm
