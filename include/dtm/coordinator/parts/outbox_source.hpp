/// Where a coordinator finds transactions that a program wrote into its own database; the interface of <dtm/outbox/...>.
/// Needs: std. Threads: one at a time, that of the relay.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include <dtm/core/transaction.hpp>

namespace dtm {
inline namespace v1 {

class OutboxSource {
 public:
  virtual ~OutboxSource() = default;

  /// What became of a transaction.
  struct Verdict {
    enum class Kind {
      kTaken,    ///< the coordinator has it: its row goes
      kRefused,  ///< it cannot be taken: its row is kept and marked with `why`
      kLater     ///< not now: its row stays as it is
    };
    Kind kind = Kind::kLater;
    std::string why{};
  };
  /// One for each of a page, in their order.
  using Take = std::function<std::vector<Verdict>(std::vector<Definition>)>;

  /// Gives up to `limit` transactions to `take`, the oldest first, and removes or marks their rows. Returns how many rows
  /// there were. If `take` throws, all of them stay.
  /// @throws Error  the database does not answer. Rows that were taken may come again.
  virtual std::size_t Relay(std::size_t limit, const Take& take) = 0;

  /// For the log: which table of which server; no password.
  virtual std::string Name() const = 0;
};

}  // namespace v1
}  // namespace dtm
