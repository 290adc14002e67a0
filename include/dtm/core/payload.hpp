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

#include <dtm/core/error.hpp>

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
    std::conjunction_v<std::negation<std::is_pointer<T>>,
                       std::negation<std::is_same<T, std::string_view>>, Readable<T>>;

/// Where a number is that JSON does not have (NaN, infinity), as "/a/0"; nlohmann would write null.
inline bool FindNotFinite(const nlohmann::json& value, std::string& place) {
  if (value.is_number_float()) return !std::isfinite(value.get<double>());
  if (value.is_object()) {
    for (auto entry = value.begin(); entry != value.end(); ++entry) {
      if (!FindNotFinite(*entry, place)) continue;
      place.insert(0, "/" + entry.key());
      return true;
    }
  } else if (value.is_array()) {
    for (std::size_t i = 0; i < value.size(); ++i) {
      if (!FindNotFinite(value[i], place)) continue;
      place.insert(0, "/" + std::to_string(i));
      return true;
    }
  }
  return false;
}

/// The JSON text; `what` names it in errors: "gid 'g': the payload of step 0".
/// @throws LogicError  it cannot be written, or only as something else.
inline std::string Text(const std::string& what, const nlohmann::json& value) {
  std::string place;
  if (FindNotFinite(value, place)) {
    throw LogicError(what + " cannot be written as JSON: " +
                     (place.empty() ? "it is" : "at '" + place + "' is") +
                     " a number that is not finite (NaN or infinity); check it before, or send a "
                     "text or null in its place");
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
