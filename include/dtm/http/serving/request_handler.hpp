/// Who handles the requests of a connection: the server, as its connections see it.
/// Needs: std. Threads: that of the loop.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>

#include <dtm/http/api/replies.hpp>
#include <dtm/http/serving/incoming_request.hpp>
#include <dtm/http/serving/limits.hpp>
#include <dtm/http/transport/held_bytes.hpp>

namespace dtm {
inline namespace v1 {
namespace serving {

class ServerConnection;

class RequestHandler {
 public:
  virtual const ServingLimits& Limits() const = 0;
  virtual transport::HeldBytes& Held() = 0;
  virtual std::optional<ApiReply> Refusal(const ApiRequest& head) = 0;
  /// Reply comes later, on the loop; or never, if the connection is gone by then. Returns how many bytes of the
  /// request stay in memory until then.
  virtual std::size_t Handle(ServerConnection& connection, ApiRequest& request) = 0;
  /// Disposes of it.
  virtual void Drop(ServerConnection& connection) = 0;
  virtual std::unique_ptr<IncomingRequest> NewRequest() = 0;
  virtual void UseAgain(std::unique_ptr<IncomingRequest> request) = 0;

 protected:
  ~RequestHandler() = default;
};

}  // namespace serving
}  // namespace v1
}  // namespace dtm
