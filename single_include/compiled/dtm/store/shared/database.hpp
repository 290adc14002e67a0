/// Generated from include/dtm/store/shared/database.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../../dtm.hpp"
#include "../../sql/rows.hpp"
#include "../../sql/session.hpp"
#include "batch.hpp"

// ---- dtm/store/shared/database.hpp -------------------------------------------------------------

/// What a store that several coordinators share needs of a database server: the seam between its algorithm and the SQL and
/// client of one server.
/// Needs: std. Threads: a connection by one thread at a time.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace dtm {
inline namespace v1 {
namespace shared_store {

/// One statement each. Parameters are listed in their order; numbers unless said.
enum class Query {
  kFind,        ///< gid (text): one record, see Column
  kUnfinished,  ///< owner, from this due on, limit: ids
  kGids,        ///< from this gid, to (texts; to may be empty), limit: ids, of kept gids too
  kBelow,       ///< below this id, limit: ids, largest first
  kSearch,  ///< type or 0, status or 0, created from, to, 1: unfinished or 2: stuck, 1: errors, part of the definition
  ///< (bytes, may be empty), limit, bytes, ids (list): records that may match, largest id first; see Bounded
  kSearchRange,  ///< the same, but instead of ids the smallest and the largest
  kDue,  ///< owner, after due, id, until due, limit, bytes: records in the order of (due, id); see Bounded
  kNextDue,   ///< owner, after: the smallest due
  kCount,     ///< now, owner: of its own, unfinished, waiting, stuck, smallest created
  kJournal,   ///< gid (text): what left the row, what is in it
  kJournals,  ///< ids (list): id, what left the row, what is in it
  kValues,    ///< after this id, category, key (texts, empty = any), limit: see ReadValue
  kNewest,    ///< (nothing): created of the last record
  kLook,      ///< after this id, limit: id, created, finished, bytes of the blobs
  kRecords,   ///< ids (list): records
  kRemove,    ///< ids (list): removes these, as far as they have ended
  kKeep,      ///< id, type, content: leaves only the gid
  kLookKept,  ///< after this number, limit: number, finished; of kept gids, the oldest first
  kForget,    ///< numbers (list): removes these kept gids
  kTime,      ///< (nothing): of the server
  // What others know of it, and ask.
  kIntroduce,    ///< id, name, url, app (texts)
  kPeer,         ///< id: name, url, app, heir
  kPeers,        ///< limit: id, name, url, app, heir; in the order of the ids
  kProgress,     ///< gids (texts): gid, due
  kWaiting,      ///< after, limit: gid; the earliest due first
  kDriven,       ///< owner: number of its unfinished transactions
  kAsk,          ///< gid (text), kind, reason (bytes), member or 0: id; removes old ones
  kAsked,        ///< me: id, gid, kind, reason; of what has no reply
  kTakeUp,       ///< id, me: a row if it is still asked
  kReply,        ///< id, outcome (bytes)
  kReplies,      ///< ids (list): id, outcome; of those that have one
  kWithdraw,     ///< id: a row if nobody had taken it up
  kDropAsked,    ///< ids (list)
  kNewValue,     ///< category, key (texts), value (bytes), time: a row if it is new
  kChangeValue,  ///< id, version, value (bytes), time: a row if it had this version
  kRemoveValue,  ///< id, version: the same
  // Who is a member, and takes over.
  kJoin,  ///< name, url, app (texts), first epoch: id of a new member
  kRejoin,  ///< id, epoch: its new epoch, behind all batches of the old one; no row if it is a member no more
  kBeat,  ///< id, owner of what waits for its app, first epoch, last beat: counts its beat; all members: see Beat
  kInherit,  ///< dead, beat as it was seen, heir as it was seen, me: a row if I am the heir now
  kClaim,    ///< owner, me, limit, apps (texts), new owner: rows that are of the new owner now
  kFree,  ///< owner (0 or below), limit, apps (texts): ids of such rows, the first due first; it waits for no lock
  kTakeFree,  ///< me, owner, ids (list): those of them that are mine now
  kBury,      ///< dead, me: removes a member of which nothing is left
  kApps,      ///< owner: app, number of its unfinished transactions
  kOrphans,  ///< after this owner, limit: owners, in order; 1 if it is no member, dead or alive, and has unfinished rows
  kLeave     ///< id, epoch: the member goes, and needs no lease to run out
};

/// A member is known by its id and the epoch it began with: with a backup that was restored, ids come again. Its epoch is
/// counted up within this range.
constexpr std::int64_t kEpochs = std::int64_t{1} << 20;

/// A statement with a limit and a number of bytes answers with the first records, at most `limit`, and with none behind those
/// whose blobs and steps come to so many bytes together: each may have megabytes.
struct Bounded {
  std::size_t limit;
  std::size_t bytes;
};

/// The columns of kBeat. From kCounted on they are the same in each row.
enum Beat : std::size_t {
  kMember,   ///< id
  kBeats,    ///< as it stands
  kHeir,     ///< 0: it is a member
  kEpoch,    ///< of its range
  kCounted,  ///< the beat that was counted; 0: none was
  kAskedOf,  ///< how much it is asked
  kForApp,   ///< 0: nothing waits for its app
  kNobodys,  ///< 0: there are no rows that are nobody's
  kTime      ///< of the server, in microseconds since 1970
};

/// One connection.
class Connection {
 public:
  virtual ~Connection() = default;

  /// False after an error that ended it.
  virtual bool Works() const = 0;

  /// How many bytes of a batch a message may have, see BytesOf.
  virtual std::size_t MostBytes() const { return SIZE_MAX; }

  /// @throws SqlError  nothing was done or, without a code, perhaps.
  virtual std::unique_ptr<SqlRows> Run(Query query, const std::vector<SqlValue>& values) = 0;

  /// Writes the batch in one message, as this member in this epoch, and tells the places of its changes; false: it is a
  /// member no more, and nothing was written. Of values that another has written meanwhile nothing is written, and of the
  /// whole batch nothing either.
  /// @throws BatchLost  such a value. SqlError: as Run.
  virtual bool Write(std::uint64_t member, std::int64_t epoch, BatchRows& batch) = 0;
};

/// Opens connections to one database, and creates or checks its tables with the first.
class Database {
 public:
  virtual ~Database() = default;
  virtual SqlDialect Dialect() const = 0;
  /// @throws SqlError    there is no connection.
  /// @throws StoreError  the tables are of a newer version, or cannot be made.
  virtual std::unique_ptr<Connection> Connect() = 0;
};

}  // namespace shared_store
}  // namespace v1
}  // namespace dtm
