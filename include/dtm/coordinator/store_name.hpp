/// A name for a store that no other has: it is made when it is first asked for, and stays in the store.
/// Needs: std. Threads: any. Format: docs/store_format.md.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <dtm/base/error.hpp>
#include <dtm/coordinator/loop/driver.hpp>
#include <dtm/coordinator/state/inbox.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/gid.hpp>
#include <dtm/core/result.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

namespace store_name {

inline constexpr const char kCategory[] = "coordinator";
inline constexpr const char kKey[] = "store";

}  // namespace store_name

/// Calls back once with the name (22 letters and digits) when it is durable, or with the error: at once, or on the loop's
/// thread.
/// @throws StoreError  the store cannot be read. BusyError: too much is waiting, or the coordinator was stopped. Then the
/// callback is not called.
inline void AskStoreName(
    Driver& driver, std::function<void(const std::string&, const std::exception_ptr&)> callback) {
  const KeyValuePage stored =
      driver.store->ScanValues(store_name::kCategory, store_name::kKey, 0, 1);
  if (!stored.values.empty()) return callback(stored.values[0].value, nullptr);
  const auto name = std::make_shared<std::string>();
  QueuedWork work;
  work.work = [&driver, name](TransactContext&) {
    const std::optional<KeyValue> now =
        driver.store->GetValue(store_name::kCategory, store_name::kKey);
    if (now) {
      *name = now->value;
      return Result::Success();
    }
    KeyValue value;
    value.category = store_name::kCategory;
    value.key = store_name::kKey;
    value.updated = driver.clock->Now();
    value.value = *name = GidGenerator().Make(value.updated);
    driver.store->PutValue(value);
    return Result::Success();
  };
  work.result = std::make_shared<Result>();
  work.promise = [name, result = work.result,
                  callback = std::move(callback)](const Answer& answer) {
    const bool failed = !answer.error && result->kind != Result::Kind::kSuccess;
    callback(*name, failed ? std::make_exception_ptr(StoreError(result->text)) : answer.error);
  };
  if (!driver.inbox.Push(std::move(work))) {
    throw BusyError("the name of the store: too much is waiting to be stored, or it was stopped");
  }
}

}  // namespace v1
}  // namespace dtm
