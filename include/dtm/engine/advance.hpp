/// Which machine drives which transaction type. A new type is a new file and a line here.
/// Needs: std. Threads: pure. Protocol: §4.
#pragma once

#include <utility>

#include <dtm/base/error.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/machine.hpp>
#include <dtm/engine/msg_machine.hpp>
#include <dtm/engine/saga_machine.hpp>
#include <dtm/engine/tcc_machine.hpp>
#include <dtm/engine/workflow_machine.hpp>

namespace dtm {
inline namespace v1 {
namespace engine {

/// Pure: the same transaction, event and context always give the same result. `effects` is empty; only its memory is used.
/// @throws LogicError  the type does not exist.
inline Effects Advance(Transaction& transaction, const Event& event, const Context& context,
                       Effects&& effects = {}) {
  switch (transaction.definition->type) {
    case TransType::kSaga:
      return SagaMachine::Advance(transaction, event, context, std::move(effects));
    case TransType::kMsg:
      return MsgMachine::Advance(transaction, event, context, std::move(effects));
    case TransType::kTcc:
    case TransType::kXa:
      return TccMachine::Advance(transaction, event, context, std::move(effects));
    case TransType::kWorkflow:
      return WorkflowMachine::Advance(transaction, event, context, std::move(effects));
  }
  throw LogicError("gid '" + transaction.definition->gid + "' is of a type that does not exist");
}

}  // namespace engine
}  // namespace v1
}  // namespace dtm
