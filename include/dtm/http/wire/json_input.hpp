/// JSON of requests and replies: parsed with limits, read without conversions, refused with a sentence.
/// Needs: nlohmann/json. Threads: values only. Protocol: §2.1 (coercions: none), §12 W13.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <dtm/base/error.hpp>
#include <dtm/base/text.hpp>
#include <dtm/core/limits.hpp>

namespace dtm {
inline namespace v1 {
namespace wire {

namespace json_input {

/// Any value; discarded if the text is not JSON, or is nested too deeply to be copied or dumped.
inline nlohmann::json Parse(const std::string& text) {
  if (JsonDepth(text) > kMaxJsonDepth) return nlohmann::json::value_t::discarded;
  return nlohmann::json::parse(text, nullptr, false);
}

/// @throws BadInput
inline void CheckObject(const nlohmann::json& json, const std::string& what) {
  if (!json.is_object()) throw BadInput(what + " must be a JSON object");
}

/// @throws BadInput  with what and where.
inline nlohmann::json ParseObject(const std::string& text, const std::string& what) {
  if (JsonDepth(text) > kMaxJsonDepth) {
    throw BadInput(what + " is nested more than " + std::to_string(kMaxJsonDepth) + " levels deep");
  }
  if (text.find('\0') != std::string::npos) throw BadInput(what + " contains a NUL byte");
  nlohmann::json json;
  try {
    json = nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    throw BadInput(what + " is not valid JSON: " + Printable(error.what()));
  }
  CheckObject(json, what);
  return json;
}

/// An object whose keys match without regard to case; null is the same as absent.
class Fields {
 public:
  /// `what` names the object in error messages.
  /// @throws BadInput  a key is there twice.
  Fields(const nlohmann::json& object, std::string what) : what_(std::move(what)) {
    fields_.reserve(object.size());
    for (const auto& item : object.items()) {
      fields_.emplace_back(Lowered(item.key()), item.value().is_null() ? nullptr : &item.value());
    }
    std::sort(fields_.begin(), fields_.end(),
              [](const Field& a, const Field& b) { return a.first < b.first; });
    const auto twice =
        std::adjacent_find(fields_.begin(), fields_.end(),
                           [](const Field& a, const Field& b) { return a.first == b.first; });
    if (twice != fields_.end()) {
      throw BadInput(what_ + ": the key '" + Printable(twice->first) +
                     "' is given twice, in different case");
    }
  }

  const nlohmann::json* Find(const char* key) const {
    const auto found = std::lower_bound(
        fields_.begin(), fields_.end(), key,
        [](const Field& field, const char* wanted) { return field.first < wanted; });
    return found == fields_.end() || found->first != key ? nullptr : found->second;
  }

  std::string Text(const char* key) const {
    const nlohmann::json* value = Find(key);
    if (value == nullptr) return {};
    if (!value->is_string()) Wrong(key, "a string");
    return value->get_ref<const std::string&>();
  }

  bool Bool(const char* key) const {
    const nlohmann::json* value = Find(key);
    if (value == nullptr) return false;
    if (!value->is_boolean()) Wrong(key, "true or false");
    return value->get<bool>();
  }

  std::int64_t Integer(const char* key, std::int64_t smallest, std::int64_t largest) const {
    const nlohmann::json* value = Find(key);
    if (value == nullptr) return 0;
    const std::string range =
        "an integer from " + std::to_string(smallest) + " to " + std::to_string(largest);
    if (!value->is_number_integer()) Wrong(key, range);
    const bool huge = value->is_number_unsigned() &&
                      value->get<std::uint64_t>() > static_cast<std::uint64_t>(largest);
    if (huge || value->get<std::int64_t>() < smallest || value->get<std::int64_t>() > largest) {
      Wrong(key, range);
    }
    return value->get<std::int64_t>();
  }

  std::map<std::string, std::string> Texts(const char* key) const {
    std::map<std::string, std::string> texts;
    const nlohmann::json* value = Find(key);
    if (value == nullptr) return texts;
    if (!value->is_object()) Wrong(key, "an object of strings");
    for (const auto& item : value->items()) {
      if (item.value().is_null()) continue;
      if (!item.value().is_string()) Wrong(key, "an object of strings");
      texts[item.key()] = item.value().get_ref<const std::string&>();
    }
    return texts;
  }

  /// Calls `each` with every element; `wanted` says in errors what they must be.
  void Each(const char* key, const char* wanted,
            const std::function<bool(const nlohmann::json&)>& each) const {
    const nlohmann::json* value = Find(key);
    if (value == nullptr) return;
    if (!value->is_array()) Wrong(key, wanted);
    for (const nlohmann::json& element : *value) {
      if (!each(element)) Wrong(key, wanted);
    }
  }

  [[noreturn]] void Wrong(const char* key, const std::string& wanted) const {
    throw BadInput(what_ + ": '" + key + "' must be " + wanted);
  }

 private:
  using Field = std::pair<std::string, const nlohmann::json*>;

  std::string what_;
  std::vector<Field> fields_;  ///< in the order of their names
};

}  // namespace json_input
}  // namespace wire
}  // namespace v1
}  // namespace dtm
