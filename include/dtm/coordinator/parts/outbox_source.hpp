/// Where a coordinator finds transactions that a program wrote into its own database; the interface of <dtm/outbox/...>.
/// Needs: std. Threads: one at a time, that of the relay.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include <dtm/base/time.hpp>
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

  /// The row that waits longest, whoever is to take it up.
  struct Oldest {
    Duration age{};        ///< 0: no row waits
    std::string not_ours;  ///< why this coordinator leaves it alone; empty: it takes it up
  };

  /// Claims up to `limit` rows for the store of that name, the oldest first, and gives them to `take` when that is durable;
  /// then removes or marks them. So a row is only ever given to coordinators of one store, which knows its gid. Returns how
  /// many rows there were. If `take` throws, all of them stay.
  /// @throws Error  the database does not answer. Rows that were taken may come again, to the same store.
  virtual std::size_t Relay(const std::string& store, std::size_t limit, const Take& take) = 0;

  /// @throws Error  the database does not answer.
  virtual Oldest LookAtOldest(const std::string& store) = 0;

  /// For the log: which table of which server; no password.
  virtual std::string Name() const = 0;
};

}  // namespace v1
}  // namespace dtm
