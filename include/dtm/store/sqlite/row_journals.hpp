/// What is told of a transaction since its journal was moved out of its row, remembered for the rows that were written last,
/// so that the next change appends to it without reading it: SQLite needs some mallocs to concatenate.
/// Needs: std. Threads: one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dtm {
inline namespace v1 {
namespace sqlite_store {

class RowJournals {
 public:
  /// What this version of the row has; null: not known. The caller may append to it, and then keeps it.
  std::string* Find(std::int64_t row, std::uint64_t version) {
    Place& place = At(row);
    return place.row == row && place.version == version ? &place.bytes : nullptr;
  }
  /// This version of the row has that, if it is committed.
  void Keep(std::int64_t row, std::uint64_t version, std::string_view bytes) {
    Place& place = At(row);
    place.row = bytes.size() <= kMostBytes ? row : 0;
    place.version = version;
    if (place.row != 0 && place.bytes.data() != bytes.data()) place.bytes.assign(bytes);
    if (place.bytes.size() > kMostBytes) place.bytes = {};
  }
  /// The row was changed, but not its journal.
  void Next(std::int64_t row, std::uint64_t version) {
    Place& place = At(row);
    if (place.row != row) return;
    if (place.version++ != version) place.row = 0;
  }
  void Forget(std::int64_t row) {
    if (At(row).row == row) At(row).row = 0;
  }
  /// What was written is lost.
  void Clear() noexcept {
    for (Place& place : places_) place.row = 0;
  }

 private:
  struct Place {
    std::int64_t row = 0;  ///< 0: none
    std::uint64_t version = 0;
    std::string bytes;
  };
  static constexpr std::size_t kPlaces = 4096;  // new rows come one after the other
  static constexpr std::size_t kMostBytes = 512;

  Place& At(std::int64_t row) { return places_[static_cast<std::uint64_t>(row) % kPlaces]; }

  std::vector<Place> places_{kPlaces};
};

}  // namespace sqlite_store
}  // namespace v1
}  // namespace dtm
