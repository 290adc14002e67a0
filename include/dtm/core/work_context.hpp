/// What user code that runs inside a commit writes through: the store's connection, of whatever type the store has.
/// Needs: std. Threads: a value; the connection is the batch's.
#pragma once

#include <type_traits>

#include <dtm/base/error.hpp>

namespace dtm {
inline namespace v1 {

/// Becomes a pointer to the connection where one is expected: `sqlite3* db = context` with a SqliteStore. Not to be kept:
/// after a failure of the store the connection is another one.
class WorkContext {
 public:
  WorkContext() = default;  ///< of a store that has none
  template <typename Connection>
  explicit WorkContext(Connection* connection)
      : connection_(connection), type_(&kType<Connection>) {}

  /// @throws LogicError  the store has no such connection.
  template <typename Connection, std::enable_if_t<std::is_class_v<Connection>, int> = 0>
  operator Connection*() const {  // NOLINT(google-explicit-constructor): what it is for
    if (type_ == &kType<Connection>) return static_cast<Connection*>(connection_);
    throw LogicError(connection_ == nullptr
                         ? "the store has no SQL for functions inside a transaction"
                         : "the store's connection has another type than this function takes");
  }

 private:
  template <typename Connection>  // only its address counts
  static inline const char kType = 0;

  void* connection_ = nullptr;
  const void* type_ = nullptr;
};
}  // namespace v1
}  // namespace dtm
