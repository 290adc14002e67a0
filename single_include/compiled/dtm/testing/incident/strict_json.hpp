/// Generated from include/dtm/testing/incident/strict_json.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../../dtm.hpp"

// ---- dtm/testing/incident/strict_json.hpp ------------------------------------------------------

/// JSON in which nothing is overlooked: what is missing, of another kind or unknown is an error that names the place.
/// Needs: nlohmann/json. Threads: values only. Document: docs/export_format.md.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>

namespace dtm {
inline namespace v1 {
namespace testing {
namespace strict_json {

using Json = nlohmann::json;

/// An object of which each key has to be asked for.
class Object {
 public:
  /// `where`: the file and the keys that lead here. @throws BadInput
  Object(const Json& json, std::string where) : json_(json), where_(std::move(where)) {
    if (!json.is_object()) throw BadInput(where_ + " must be an object");
  }

  [[noreturn]] void Wrong(const std::string& key, const std::string& wanted) const {
    throw BadInput(where_ + ": '" + key + "' must be " + wanted);
  }

  const Json* Find(const char* key) {
    asked_.insert(key);
    const auto found = json_.find(key);
    return found == json_.end() ? nullptr : &*found;
  }
  /// @throws BadInput  it is missing.
  const Json& At(const char* key) {
    if (const Json* value = Find(key)) return *value;
    throw BadInput(where_ + ": '" + std::string(key) + "' is missing");
  }

  /// Bytes that were redacted are as many x, as JSON text if that has room for it.
  std::string Bytes(const char* key) {
    const Json* value = Find(key);
    if (value == nullptr) return {};
    if (value->is_string()) return value->get<std::string>();
    if (value->is_object() && value->size() == 1 && value->contains("base64")) {
      const Json& text = value->at("base64");
      if (text.is_string()) {
        if (auto bytes = base64::Decode(text.get<std::string>())) return *bytes;
      }
    } else if (value->is_object() && value->size() == 1 && value->contains("bytes")) {
      const Json& count = value->at("bytes");
      if (count.is_number_unsigned() && count <= kMaxWorkflowBytes) {
        const auto size = count.get<std::size_t>();
        return size < 2 ? std::string(size, '0') : '"' + std::string(size - 2, 'x') + '"';
      }
    }
    Wrong(key, R"(a text, {"base64":"..."}, or {"bytes":number} where it is redacted)");
  }

  bool Flag(const char* key) {
    const Json* value = Find(key);
    if (value == nullptr) return false;
    if (!value->is_boolean()) Wrong(key, "true or false");
    return value->get<bool>();
  }

  std::int64_t Number(const char* key, std::int64_t largest) {
    const Json* value = Find(key);
    if (value == nullptr) return 0;
    const bool fits = value->is_number_unsigned() &&
                      value->get<std::uint64_t>() <= static_cast<std::uint64_t>(largest);
    if (!fits) Wrong(key, "a number from 0 to " + std::to_string(largest));
    return value->get<std::int64_t>();
  }

  Time TimeOf(const char* key, Time otherwise = {}) {
    const Json* value = Find(key);
    if (value == nullptr) return otherwise;
    if (value->is_string()) {
      if (const auto time = ParseTime(value->get<std::string>())) return *time;
    }
    Wrong(key, "a time such as 2026-11-22T07:08:07.0045Z");
  }

  /// The value whose Name it is; `values` have no gaps.
  template <typename Enum>
  Enum Named(const char* key, Enum first, Enum last) {
    const Json& value = At(key);
    std::string all;
    for (int i = static_cast<int>(first); i <= static_cast<int>(last); ++i) {
      const char* const name = Name(static_cast<Enum>(i));
      if (value == name) return static_cast<Enum>(i);
      all += (all.empty() ? "" : ", ") + std::string(name);
    }
    Wrong(key, "one of: " + all);
  }

  /// Calls `each` with every element, and the place of each.
  template <typename Each>
  void Elements(const char* key, std::size_t most, const Each& each) {
    const Json& array = At(key);
    if (!array.is_array() || array.size() > most) {
      Wrong(key, "an array of at most " + std::to_string(most));
    }
    for (std::size_t i = 0; i < array.size(); ++i) {
      Object element(array[i], where_ + ": " + key + "[" + std::to_string(i) + "]");
      each(element, i);
      element.CheckAllAsked();
    }
  }

  Object Child(const char* key) { return {At(key), where_ + ": " + key}; }

  /// @throws BadInput  there is a key that nobody asked for.
  void CheckAllAsked() const {
    for (const auto& item : json_.items()) {
      if (asked_.count(item.key()) > 0) continue;
      throw BadInput(where_ + ": '" + Printable(item.key()) + "' is no key of this format");
    }
  }

  const std::string& Where() const { return where_; }

 private:
  const Json& json_;
  std::string where_;
  std::set<std::string> asked_;
};

}  // namespace strict_json
}  // namespace testing
}  // namespace v1
}  // namespace dtm
