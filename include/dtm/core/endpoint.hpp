/// A coordinator as a client sees it: in this process, or elsewhere.
/// Needs: std. Threads: implementations are thread-safe. Protocol: §2.2.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <string>

#include <dtm/core/result.hpp>
#include <dtm/core/transaction.hpp>

namespace dtm {
inline namespace v1 {

/// The answer to something asked of a coordinator: a result, or the error that Submit would throw.
struct Reply {
  TransResult result;
  std::exception_ptr error;

  /// The result, or throws the error.
  const TransResult& Get() const {
    if (error) std::rethrow_exception(error);
    return result;
  }
};
using ReplyCallback = std::function<void(const Reply&)>;

class Endpoint {
 public:
  virtual ~Endpoint() = default;

  virtual std::string NewGid() = 0;

  /// Hands over a transaction; returns once it is durable, or with `wait_result` once it has ended
  /// or must wait for a timer.
  /// @throws InDoubtError   no answer: it may be stored. Submit the same again.
  /// @throws RejectedError  refused (limits, other content under this gid); nothing was changed.
  /// @throws FailureError   this transaction was rolled back.
  /// @throws StoreError     the coordinator's store failed; nothing was stored.
  virtual TransResult Submit(Definition definition) = 0;

  /// The same, and waits up to `timeout` for the end. Never throws FailureError: look at the
  /// result.
  virtual TransResult SubmitAndWait(Definition definition, Duration timeout) = 0;

  /// Submit, without waiting: `callback` gets what Submit would have returned or thrown.
  /// @throws RejectedError  refused at once; the callback is not called.
  virtual void SubmitAsync(Definition definition, ReplyCallback callback) = 0;

  /// The url by which this coordinator reaches a function of this process.
  /// @throws LogicError  it cannot reach it.
  virtual std::string UrlOfLocal(const std::string& name, std::uint64_t owner) const = 0;
};

/// A new gid of that coordinator. The name is the Go client's; in a C++ program it throws.
inline std::string MustGenGid(Endpoint& endpoint) { return endpoint.NewGid(); }

}  // namespace v1
}  // namespace dtm
