/// A type that nlohmann can read though it has no default constructor, and cannot write. In a header, since the
/// specialisation does not fit into the namespace that batches of test files are compiled in.
/// Needs: nlohmann/json. Threads: values.
#pragma once

#include <nlohmann/json.hpp>

struct NoDefault {
  explicit NoDefault(int) {}
};

template <>
struct nlohmann::adl_serializer<NoDefault> {
  static NoDefault from_json(const nlohmann::json& value) { return NoDefault(value.get<int>()); }
};
