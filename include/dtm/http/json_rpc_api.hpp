/// The API as JSON-RPC 2.0: each method is the request of that name over HTTP, answered in JSON-RPC's form.
/// Needs: nlohmann/json. Threads: thread-safe. Protocol: §7.
#pragma once

#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include <dtm/http/api_message.hpp>
#include <dtm/http/json_input.hpp>
#include <dtm/http/json_rpc.hpp>
#include <dtm/http/wire.hpp>

namespace dtm {
inline namespace v1 {
namespace json_rpc_api {

inline ApiAnswer Reply(int status, const std::string& id, nlohmann::ordered_json error,
                       nlohmann::ordered_json result) {
  return {status, wire::JsonText({{"error", std::move(error)},
                                  {"id", id},
                                  {"jsonrpc", "2.0"},
                                  {"result", std::move(result)}})};
}

inline ApiAnswer Error(int status, const std::string& id, int code, const std::string& message,
                       nlohmann::ordered_json result = nullptr) {
  return Reply(status, id, {{"code", code}, {"message", message}}, std::move(result));
}

/// `handle` answers requests to the HTTP API.
template <typename HandleHttp>
ApiAnswer Handle(const ApiRequest& request, const HandleHttp& handle) {
  nlohmann::json call;
  std::string id, version, method;
  try {
    call = json_input::ParseObject(request.body, "the body");
    const json_input::Fields fields(call, "the request");
    id = fields.Text("id");
    version = fields.Text("jsonrpc");
    method = fields.Text("method");
  } catch (const BadInput& error) {
    return Error(400, "", -32700, std::string("Parse json error: ") + error.what());
  }
  if (id.empty() || version != "2.0") {
    return Error(200, id, -32600, "Bad json request: jsonrpc must be \"2.0\" and id a text");
  }
  const bool known = method == "newGid" || method == "prepare" || method == "submit" ||
                     method == "abort" || method == "registerBranch";
  if (!known) return Error(200, id, -32601, "Method not found: " + Printable(method));
  ApiRequest inner;
  inner.method = method == "newGid" ? "GET" : "POST";
  inner.path = "/api/dtmsvr/" + method;
  const auto params = call.find("params");
  if (params != call.end()) inner.body = params->dump();
  const ApiAnswer answer = handle(inner);
  const nlohmann::json body = nlohmann::json::parse(answer.body, nullptr, false);
  if (answer.status == 200) {
    const bool gid = body.is_object() && body.contains(wire::kGid);
    return Reply(200, id, nullptr,
                 gid ? nlohmann::ordered_json{{wire::kGid, body[wire::kGid]}} : nullptr);
  }
  const std::string message = body.is_object() ? body.value(wire::kMessage, "") : answer.body;
  const int code = answer.status == 409   ? json_rpc::kFailureCode
                   : answer.status == 425 ? json_rpc::kOngoingCode
                                          : -32603;
  return Error(200, id, code, message, nlohmann::ordered_json::object());
}

}  // namespace json_rpc_api
}  // namespace v1
}  // namespace dtm
