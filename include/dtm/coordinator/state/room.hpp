/// How much room is left in memory for transactions: by number (max_in_memory) and by bytes.
/// Needs: std. Threads: the thread that drives the loop.
#pragma once

#include <cstddef>

#include <dtm/coordinator/parts/options.hpp>
#include <dtm/coordinator/state/active_table.hpp>

namespace dtm {
inline namespace v1 {

class Room {
 public:
  Room(const ActiveTable& table, const Options& options) : table_(table), options_(options) {}

  std::size_t Count() const { return Full() ? 0 : options_.max_in_memory - table_.Count(); }
  std::size_t Bytes() const { return Full() ? 0 : ActiveBytes(options_) - table_.Bytes(); }

  bool Full() const {
    return table_.Count() >= options_.max_in_memory || table_.Bytes() >= ActiveBytes(options_);
  }
  /// More are in memory than fit: one that was just added should not begin.
  bool Overfull() const {
    return table_.Count() > options_.max_in_memory || table_.Bytes() > ActiveBytes(options_);
  }
  /// Transactions that only wait for a time may take half of the room.
  bool HalfFull() const {
    return table_.Count() >= options_.max_in_memory / 2 ||
           table_.Bytes() >= ActiveBytes(options_) / 2;
  }

 private:
  const ActiveTable& table_;
  const Options& options_;
};

}  // namespace v1
}  // namespace dtm
