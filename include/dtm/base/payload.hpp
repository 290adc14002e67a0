/// Payloads: C++ values as the JSON text that is stored and sent. What JSON cannot hold is refused, never changed.
/// Needs: nlohmann/json. Threads: pure functions.
#pragma once

#include <cmath>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <nlohmann/json.hpp>

#include <dtm/base/error.hpp>

namespace dtm {
inline namespace v1 {
namespace payload {

/// nlohmann/json can write a T.
template <typename T>
inline constexpr bool kWritable = std::is_constructible_v<nlohmann::json, const T&>;

template <typename T, typename = void>
struct Readable : std::false_type {};
template <typename T>
struct Readable<T, std::void_t<decltype(std::declval<const nlohmann::json&>().template get<T>())>>
    : std::true_type {};

/// nlohmann/json can read a T, which then owns what it holds.
template <typename T>
inline constexpr bool kReadable =
    std::conjunction_v<std::negation<std::is_pointer<T>>, std::negation<std::is_reference<T>>,
                       std::negation<std::is_same<T, std::string_view>>, Readable<T>>;

/// The part of a value that JSON cannot hold (nlohmann would write something else), or null. `place`
/// returns where it is, as "/a/0".
inline const char* Unwritable(const nlohmann::json& value, std::string& place) {
  const char* found = nullptr;
  if (value.is_number_float()) {
    if (!std::isfinite(value.get<double>()))
      found = "a number that is not finite (NaN or infinity)";
  } else if (value.is_object()) {
    for (auto entry = value.begin(); entry != value.end() && found == nullptr; ++entry) {
      found = Unwritable(*entry, place);
      if (found != nullptr) place.insert(0, "/" + entry.key());
    }
  } else if (value.is_array()) {
    for (std::size_t i = 0; i < value.size() && found == nullptr; ++i) {
      found = Unwritable(value[i], place);
      if (found != nullptr) place.insert(0, "/" + std::to_string(i));
    }
  } else if (value.is_binary()) {
    found = "binary data";
  } else if (value.is_discarded()) {
    found = "a discarded value (a text that did not parse)";
  }
  return found;
}

/// The JSON text; `what` names it in errors: "gid 'g': the payload of step 0".
/// @throws LogicError  it cannot be written, or only as something else.
inline std::string Text(const std::string& what, const nlohmann::json& value) {
  std::string place;
  if (const char* found = Unwritable(value, place)) {
    throw LogicError(what + " cannot be written as JSON: " +
                     (place.empty() ? "it is " : "at '" + place + "' is ") + found +
                     ", which JSON does not have; check it before, or send a text or null in its "
                     "place");
  }
  try {
    return value.dump();
  } catch (const nlohmann::json::exception& error) {
    throw LogicError(what + " cannot be written as JSON: " + error.what());
  }
}

}  // namespace payload
}  // namespace v1
}  // namespace dtm
