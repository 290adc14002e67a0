/// Which machine drives which transaction type. A new type is a new file and a line here.
/// Needs: std. Threads: pure. Protocol: §4.
#pragma once

#include <string>

#include <dtm/core/error.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/machine.hpp>
#include <dtm/engine/saga.hpp>

namespace dtm {
inline namespace v1 {
namespace engine {

inline bool IsDriven(TransType type) { return type == TransType::kSaga; }

/// Why a transaction of this type is refused at the edge; empty if it is not.
inline std::string NotDriven(const Definition& definition) {
  if (IsDriven(definition.type)) return {};
  return "gid '" + definition.gid + "': transactions of type " + Name(definition.type) +
         " are not driven by this version; it drives sagas";
}

/// Pure: the same transaction, event and context always give the same result.
/// @throws LogicError  no machine drives this type; such a transaction is refused at the edge.
inline Effects Step(Transaction& transaction, const Event& event, const Context& context) {
  if (transaction.definition->type == TransType::kSaga) {
    return SagaMachine::Step(transaction, event, context);
  }
  throw LogicError(std::string("no machine drives transactions of type ") +
                   Name(transaction.definition->type));
}

}  // namespace engine
}  // namespace v1
}  // namespace dtm
