/// How every store searches: which records it looks at, how many, and where the next page begins.
/// Needs: std. Threads: those of the source.
///
/// There are two indexes that help: of the unfinished, and of gids. If one of them names few candidates, only those are looked
/// at. If it names many, or most of the newest records have such a gid, they are not rare, and are found among the newest records
/// as well. So either way a page costs at most kMostLooked records.
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
  struct Part {
    std::vector<Transaction> records;
    /// False: it ends behind the last of the records, whatever the ids behind it are.
    bool whole = true;
  };
  /// Of these ids, in their order, those whose records may match the filter: where it is cheap to see that one does not, it
  /// is left out. At most `most`, and none behind those that come to `bytes` bytes: each may have megabytes. `in_a_row`:
  /// there were no others between them, so they may be read in one go.
  virtual Part Read(const Ids& ids, bool in_a_row, const ScanFilter& filter, std::size_t most,
                    std::size_t bytes) = 0;
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

/// Newest first.
struct Candidates {
  SearchSource::Ids ids;
  bool all = false;  ///< there are no others
};

inline Candidates Newest(SearchSource::Ids ids, std::int64_t below) {
  ids.erase(std::remove_if(ids.begin(), ids.end(),
                           [below](std::int64_t id) { return id <= 0 || id >= below; }),
            ids.end());
  std::sort(ids.begin(), ids.end(), std::greater<>());
  const bool all = ids.size() <= kMostSought;
  if (!all) ids.resize(kMostSought);
  return {std::move(ids), all};
}

/// Most of the newest records have such a gid: those are found in a row, and the index would name thousands first.
inline bool IsCommon(SearchSource& source, const std::string& prefix, std::int64_t below) {
  constexpr std::size_t kSample = 32;
  const SearchSource::Ids ids = source.Below(below, kSample);
  if (ids.empty()) return false;
  const SearchSource::Part read = source.Read(ids, true, {}, kSample, kMostBytes);
  const auto has = [&prefix](const Transaction& one) {
    return HasPrefix(one.definition->gid, prefix);
  };
  const auto all = read.records.size();
  return 2 * static_cast<std::size_t>(
                 std::count_if(read.records.begin(), read.records.end(), has)) >
         all;
}

/// Nothing: no index helps.
inline std::optional<Candidates> FromIndex(SearchSource& source, const ScanFilter& filter,
                                           std::int64_t below) {
  if (!filter.gid_prefix.empty() && !IsCommon(source, filter.gid_prefix, below)) {
    auto ids =
        source.WithGids(filter.gid_prefix, BehindPrefix(filter.gid_prefix), kMostFromIndex + 1);
    if (ids && ids->size() <= kMostFromIndex) return Newest(std::move(*ids), below);
  }
  if (OnlyUnfinished(filter)) {
    SearchSource::Ids ids = source.Unfinished(filter.stuck, kMostFromIndex + 1);
    if (ids.size() <= kMostFromIndex) return Newest(std::move(ids), below);
  }
  return std::nullopt;
}

/// One page, as far as it has come.
class PageInWork {
 public:
  PageInWork(SearchSource& source, const ScanFilter& filter, std::size_t limit)
      : source_(source), filter_(filter), limit_(limit) {}

  /// Looks at these until the page ends; returns at how many. `in_a_row`: see SearchSource::Read.
  std::size_t LookAt(const SearchSource::Ids& ids, bool in_a_row) {
    constexpr std::size_t kAtATime = 32;
    constexpr std::size_t kLargest = 2048;
    std::size_t at = 0;
    while (at < ids.size() && !Ended()) {
      const std::size_t size = (std::min)(chunk_, ids.size() - at);
      const std::size_t most = (std::min)(kAtATime, limit_ - found_.size());
      const auto begin = ids.begin() + static_cast<std::ptrdiff_t>(at);
      const SearchSource::Ids part(begin, begin + static_cast<std::ptrdiff_t>(size));
      SearchSource::Part read = source_.Read(part, in_a_row, filter_, most, kMostBytes - bytes_);
      if (read.whole) {
        at += size;
      } else {
        const std::int64_t last = read.records.back().id;
        at = static_cast<std::size_t>(
            std::upper_bound(ids.begin(), ids.end(), last, std::greater<>()) - ids.begin());
      }
      if (read.records.empty()) chunk_ = (std::min)(2 * chunk_, kLargest);
      for (Transaction& transaction : read.records) {
        bytes_ += BytesOf(*transaction.definition);
        if (Matches(filter_, transaction)) found_.push_back(std::move(transaction));
      }
    }
    return at;
  }
  bool Ended() const { return found_.size() == limit_ || bytes_ >= kMostBytes; }
  ScanPage Take(std::int64_t next) { return {std::move(found_), next}; }

 private:
  SearchSource& source_;
  const ScanFilter& filter_;
  const std::size_t limit_;
  std::vector<Transaction> found_;
  std::size_t bytes_ = 0, chunk_ = 64;
};

/// As Store::Scan, for a filter that is a search.
inline ScanPage Search(SearchSource& source, const ScanFilter& filter, std::int64_t position,
                       std::size_t limit) {
  if (limit == 0 || !IsUtf8(filter.gid_prefix) || !IsUtf8(filter.target)) return {};
  PageInWork page(source, filter, limit);
  std::int64_t below = position > 0 ? position : INT64_MAX;
  if (const std::optional<Candidates> named = FromIndex(source, filter, below)) {
    const std::size_t looked = page.LookAt(named->ids, false);
    const bool end = named->all && looked == named->ids.size();
    return page.Take(end ? 0 : named->ids[looked - 1]);
  }
  std::size_t looked = 0;
  for (std::size_t piece = 256;; piece *= 4) {  // most pages need few
    const std::size_t most = (std::min)(piece, kMostLooked - looked);
    const SearchSource::Ids ids = source.Below(below, most);
    const std::size_t at = page.LookAt(ids, true);
    if (at == ids.size() && ids.size() < most) return page.Take(0);
    below = ids[at - 1];
    looked += at;
    if (page.Ended() || looked == kMostLooked) return page.Take(below);
  }
}

/// The same for one that is not: a page that is not the last is full.
inline ScanPage FullPage(SearchSource& source, const ScanFilter& filter, std::int64_t position,
                         std::size_t limit) {
  ScanPage all;
  if (limit == 0) return all;
  do {
    ScanPage page = Search(source, filter, position, limit - all.transactions.size());
    for (Transaction& each : page.transactions) all.transactions.push_back(std::move(each));
    position = all.next = page.next;
  } while (position != 0 && all.transactions.size() < limit);
  if (all.transactions.size() == limit) all.next = all.transactions.back().id;
  return all;
}

}  // namespace search
}  // namespace v1
}  // namespace dtm
