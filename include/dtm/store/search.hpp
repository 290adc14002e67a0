/// How every store searches: which records it looks at, how many, and where the next page begins.
/// Needs: std. Threads: those of the source.
///
/// There are two indexes that help: of the unfinished, and of gids. If one of them names few candidates, only those are looked
/// at. If it names many, they are not rare, and are found among the newest records as well. So either way a page costs at
/// most kMostLooked records.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <dtm/base/text.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/store/scan.hpp>

namespace dtm {
inline namespace v1 {

/// What a search reads of a store.
class SearchSource {
 public:
  using Ids = std::vector<std::int64_t>;

  virtual ~SearchSource() = default;

  /// The unfinished in any order; with `stuck`, at least those that are. At most `most`.
  virtual Ids Unfinished(bool stuck, std::size_t most) = 0;
  /// Those whose gid is in [from, to) by its bytes, in any order, and at most `most`. An empty `to` is behind all.
  /// Nothing: there is no such index.
  virtual std::optional<Ids> WithGids(const std::string& from, const std::string& to,
                                      std::size_t most) = 0;
  /// The largest ids below this one, largest first, and at most `most`.
  virtual Ids Below(std::int64_t id, std::size_t most) = 0;
  /// Of these ids, in their order, the first `most` whose records may match the filter: where it is cheap to see that one
  /// does not, it is left out. `in_a_row`: there were no others between them, so they may be read in one go.
  virtual std::vector<Transaction> Read(const Ids& ids, bool in_a_row, const ScanFilter& filter,
                                        std::size_t most) = 0;
};

namespace search {

/// So many records are looked at for a page if they follow each other, and so many if an index names them: each of those may
/// be in another place of the disk. An index of more ids than this does not help.
inline constexpr std::size_t kMostLooked = 10000;
inline constexpr std::size_t kMostSought = 4000;
inline constexpr std::size_t kMostFromIndex = 20000;
/// A page ends beyond so many bytes of definitions that were read.
inline constexpr std::size_t kMostBytes = std::size_t{4} << 20;

/// A valid text behind all that begin with this one, in the order of bytes, and as near as is simple; empty: there is none.
inline std::string BehindPrefix(std::string prefix) {
  while (!prefix.empty()) {
    std::size_t at = prefix.size() - 1;
    while (at > 0 && (static_cast<unsigned char>(prefix[at]) & 0xC0u) == 0x80u) --at;
    // The next character of the same length. The last one of its length goes, and the one before it has a next one.
    for (std::size_t i = prefix.size(); i-- > at;) {
      std::string next = prefix;
      for (auto byte = static_cast<unsigned char>(next[i]); byte < 0xFF;) {
        next[i] = static_cast<char>(++byte);
        for (std::size_t rest = i + 1; rest < next.size(); ++rest) next[rest] = '\x80';
        if (Utf8Length(next, at) == next.size() - at) return next;
      }
    }
    prefix.resize(at);
  }
  return {};
}

inline bool OnlyUnfinished(const ScanFilter& filter) {
  return filter.unfinished || filter.stuck || (filter.status && !IsFinal(*filter.status));
}

/// What is to be looked at, newest first.
struct Candidates {
  SearchSource::Ids ids;
  bool all = false;       ///< there are no others
  bool in_a_row = false;  ///< of all records, not of an index
};

inline Candidates FromIndex(SearchSource::Ids ids, std::int64_t below) {
  ids.erase(std::remove_if(ids.begin(), ids.end(),
                           [below](std::int64_t id) { return id <= 0 || id >= below; }),
            ids.end());
  std::sort(ids.begin(), ids.end(), std::greater<>());
  const bool all = ids.size() <= kMostSought;
  if (!all) ids.resize(kMostSought);
  return {std::move(ids), all, false};
}

inline Candidates CandidatesOf(SearchSource& source, const ScanFilter& filter, std::int64_t below) {
  if (!filter.gid_prefix.empty()) {
    auto ids =
        source.WithGids(filter.gid_prefix, BehindPrefix(filter.gid_prefix), kMostFromIndex + 1);
    if (ids && ids->size() <= kMostFromIndex) return FromIndex(std::move(*ids), below);
  }
  if (OnlyUnfinished(filter)) {
    SearchSource::Ids ids = source.Unfinished(filter.stuck, kMostFromIndex + 1);
    if (ids.size() <= kMostFromIndex) return FromIndex(std::move(ids), below);
  }
  SearchSource::Ids ids = source.Below(below, kMostLooked);
  const bool all = ids.size() < kMostLooked;
  return {std::move(ids), all, true};
}

/// As Store::Scan, for a filter that is a search.
inline ScanPage Search(SearchSource& source, const ScanFilter& filter, std::int64_t position,
                       std::size_t limit) {
  constexpr std::size_t kAtATime = 32;  // a record may be a megabyte
  constexpr std::size_t kSmallest = 64, kLargest = 2048;
  ScanPage page;
  if (limit == 0 || !IsUtf8(filter.gid_prefix) || !IsUtf8(filter.target)) return page;
  const Candidates found = CandidatesOf(source, filter, position > 0 ? position : INT64_MAX);
  const SearchSource::Ids& ids = found.ids;
  std::size_t at = 0, bytes = 0;
  for (std::size_t chunk = kSmallest; at < ids.size() && bytes < kMostBytes;) {
    const std::size_t size = (std::min)(chunk, ids.size() - at);
    const auto begin = ids.begin() + static_cast<std::ptrdiff_t>(at);
    const std::size_t most = (std::min)(kAtATime, limit - page.transactions.size());
    const SearchSource::Ids part(begin, begin + static_cast<std::ptrdiff_t>(size));
    std::vector<Transaction> read = source.Read(part, found.in_a_row, filter, most);
    const bool full = read.size() == most;
    at = full ? static_cast<std::size_t>(
                    std::upper_bound(ids.begin(), ids.end(), read.back().id, std::greater<>()) -
                    ids.begin())
              : at + size;
    if (read.empty()) chunk = (std::min)(2 * chunk, kLargest);
    for (Transaction& transaction : read) {
      bytes += BytesOf(*transaction.definition);
      if (Matches(filter, transaction)) page.transactions.push_back(std::move(transaction));
    }
    if (page.transactions.size() == limit) break;
  }
  if (at < ids.size() || !found.all) page.next = ids.empty() ? 0 : ids[at - 1];
  return page;
}

}  // namespace search
}  // namespace v1
}  // namespace dtm
