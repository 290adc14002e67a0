/// The form of the API as JSON-RPC 2.0: a call, and its reply. What the methods do is in api.hpp.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §7.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include <dtm/base/error.hpp>
#include <dtm/base/text.hpp>
#include <dtm/http/api/replies.hpp>
#include <dtm/http/wire/json_input.hpp>
#include <dtm/http/wire/json_rpc.hpp>
#include <dtm/http/wire/json_text.hpp>
#include <dtm/http/wire/names.hpp>

namespace dtm {
inline namespace v1 {
namespace json_rpc_api {

inline ApiReply Reply(int status, const std::string& id, nlohmann::ordered_json error,
                      nlohmann::ordered_json result) {
  return {status, wire::JsonText({{"error", std::move(error)},
                                  {"id", id},
                                  {"jsonrpc", "2.0"},
                                  {"result", std::move(result)}})};
}

inline ApiReply Error(int status, const std::string& id, int code, const std::string& message,
                      nlohmann::ordered_json result = nullptr) {
  return Reply(status, id, {{"code", code}, {"message", message}}, std::move(result));
}

struct Call {  // NOLINT(bugprone-exception-escape): the move of a json does not throw
  std::string id, method;
  nlohmann::json params;  ///< null if there are none
};

/// The reply, if it is no call.
inline std::optional<ApiReply> Read(const std::string& body, Call& call) {
  try {
    nlohmann::json json = wire::json_input::ParseObject(body, "the body");
    const wire::json_input::Fields fields(json, "the request");
    std::string id = fields.Text("id");
    const std::string version = fields.Text("jsonrpc");
    call.method = fields.Text("method");
    call.id = std::move(id);
    if (call.id.empty() || version != "2.0") {
      return Error(200, call.id, -32600, "Bad json request: jsonrpc must be \"2.0\" and id a text");
    }
    const auto params = json.find("params");
    if (params != json.end()) call.params = std::move(*params);
    return std::nullopt;
  } catch (const BadInput& error) {
    return Error(400, "", -32700, std::string("Parse json error: ") + error.what());
  }
}

inline ApiReply NotFound(const Call& call) {
  return Error(200, call.id, -32601, "Method not found: " + Printable(call.method));
}

inline ApiReply OfGid(const std::string& id, const std::string& gid) {
  return Reply(200, id, nullptr, {{wire::kGid, gid}});
}
inline ApiReply Of(const std::string& id, const ApiOutcome& outcome) {
  if (outcome.status == 200) return Reply(200, id, nullptr, nullptr);
  const int code = outcome.status == 409   ? wire::json_rpc::kFailureCode
                   : outcome.status == 425 ? wire::json_rpc::kOngoingCode
                                           : -32603;
  return Error(200, id, code, outcome.message, nlohmann::ordered_json::object());
}

}  // namespace json_rpc_api
}  // namespace v1
}  // namespace dtm
