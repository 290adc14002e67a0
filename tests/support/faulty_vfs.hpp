/// A disk that fails on command: SQLite's own file system, with the n-th operation failing.
/// Needs: SQLite through <dtm/sql/sqlite_connection.hpp>. Threads: one; it is the default for every connection
/// opened while it lives, and no connection may outlive it.
#pragma once

#include <cstddef>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include <dtm/sql/sqlite_connection.hpp>

namespace dtm_test {

class FaultyVfs {
 public:
  enum class Op { kOpen, kRead, kWrite, kTruncate, kSync, kFileSize, kDelete, kAccess, kShmMap };
  enum class Kind { kMain, kWal, kOther };
  /// What the failing operation does before it reports the error. Operations that cannot be done
  /// half do nothing.
  enum class Effect { kNothing, kHalf, kDone };

  struct Plan {
    int fail_at = 0;  ///< the how many-th matching operation from Arm on; 0 = none
    bool sticky = false;
    Effect effect = Effect::kNothing;
    int write_code = SQLITE_IOERR_WRITE;
    std::function<bool(Op, Kind)> matches;  ///< none = all
  };

  FaultyVfs() : original_(sqlite3_vfs_find(nullptr)), vfs_(*original_) {
    vfs_.zName = "dtm_faulty";
    vfs_.pNext = nullptr;
    vfs_.pAppData = this;
    vfs_.szOsFile = static_cast<int>(sizeof(File)) + original_->szOsFile;
    vfs_.xOpen = Open;
    vfs_.xDelete = Delete;
    vfs_.xAccess = Access;
    sqlite3_vfs_register(&vfs_, 1);
  }
  ~FaultyVfs() { sqlite3_vfs_unregister(&vfs_); }
  FaultyVfs(const FaultyVfs&) = delete;
  FaultyVfs& operator=(const FaultyVfs&) = delete;

  void Arm(const Plan& plan) {
    plan_ = plan;
    seen_ = 0;
    fired_ = 0;
  }
  void Disarm() { plan_.fail_at = 0; }
  bool Armed() const { return plan_.fail_at != 0; }
  int Fired() const { return fired_; }
  int Calls(Op op, Kind kind) const {
    const auto found = calls_.find({op, kind});
    return found == calls_.end() ? 0 : found->second;
  }
  /// Something was written to the log and not flushed since.
  bool WalDirty() const { return wal_dirty_; }

  /// While it lives, nothing fails: the eyes of the test.
  class Healthy {
   public:
    explicit Healthy(FaultyVfs& vfs) : vfs_(vfs), kept_(vfs.plan_.fail_at) { vfs.Disarm(); }
    ~Healthy() { vfs_.plan_.fail_at = kept_; }
    Healthy(const Healthy&) = delete;
    Healthy& operator=(const Healthy&) = delete;

   private:
    FaultyVfs& vfs_;
    int kept_;
  };

 private:
  /// The real file follows in memory.
  struct File {
    sqlite3_file base;
    FaultyVfs* vfs;
    Kind kind;
    sqlite3_file* Real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
  };
  static File& Of(sqlite3_file* file) { return *reinterpret_cast<File*>(file); }
  static FaultyVfs& Self(sqlite3_vfs* vfs) { return *static_cast<FaultyVfs*>(vfs->pAppData); }

  /// Counts the operation; true: it is to fail.
  bool Fails(Op op, Kind kind) {
    ++calls_[{op, kind}];
    if (plan_.fail_at == 0 || (plan_.matches != nullptr && !plan_.matches(op, kind))) return false;
    ++seen_;
    if (seen_ != plan_.fail_at && !(plan_.sticky && seen_ > plan_.fail_at)) return false;
    ++fired_;
    return true;
  }

  static int Open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out) {
    FaultyVfs& self = Self(vfs);
    const Kind kind = (flags & SQLITE_OPEN_MAIN_DB) != 0 ? Kind::kMain
                      : (flags & SQLITE_OPEN_WAL) != 0   ? Kind::kWal
                                                         : Kind::kOther;
    File& mine = Of(file);
    mine.base.pMethods = nullptr;
    if (self.Fails(Op::kOpen, kind)) return SQLITE_CANTOPEN;
    mine.vfs = &self;
    mine.kind = kind;
    std::memset(mine.Real(), 0, static_cast<std::size_t>(self.original_->szOsFile));
    const int code = self.original_->xOpen(self.original_, name, mine.Real(), flags, out);
    if (code == SQLITE_OK) mine.base.pMethods = Methods();
    return code;
  }
  static int Delete(sqlite3_vfs* vfs, const char* name, int sync) {
    FaultyVfs& self = Self(vfs);
    const bool fails = self.Fails(Op::kDelete, Kind::kOther);
    int code = SQLITE_OK;
    if (!fails || self.plan_.effect == Effect::kDone) {
      code = self.original_->xDelete(self.original_, name, sync);
    }
    return fails ? SQLITE_IOERR_DELETE : code;
  }
  static int Access(sqlite3_vfs* vfs, const char* name, int flags, int* out) {
    FaultyVfs& self = Self(vfs);
    if (self.Fails(Op::kAccess, Kind::kOther)) return SQLITE_IOERR_ACCESS;
    return self.original_->xAccess(self.original_, name, flags, out);
  }

  static int Close(sqlite3_file* file) {
    return Of(file).Real()->pMethods->xClose(Of(file).Real());
  }
  static int Read(sqlite3_file* file, void* to, int size, sqlite3_int64 at) {
    File& mine = Of(file);
    if (mine.vfs->Fails(Op::kRead, mine.kind)) return SQLITE_IOERR_READ;
    return mine.Real()->pMethods->xRead(mine.Real(), to, size, at);
  }
  static int Write(sqlite3_file* file, const void* from, int size, sqlite3_int64 at) {
    File& mine = Of(file);
    const Plan& plan = mine.vfs->plan_;
    if (mine.kind == Kind::kWal) mine.vfs->wal_dirty_ = true;
    if (!mine.vfs->Fails(Op::kWrite, mine.kind)) {
      return mine.Real()->pMethods->xWrite(mine.Real(), from, size, at);
    }
    if (plan.effect != Effect::kNothing) {
      const int part = plan.effect == Effect::kHalf ? size / 2 : size;
      mine.Real()->pMethods->xWrite(mine.Real(), from, part, at);
    }
    return plan.write_code;
  }
  static int Truncate(sqlite3_file* file, sqlite3_int64 size) {
    File& mine = Of(file);
    const bool fails = mine.vfs->Fails(Op::kTruncate, mine.kind);
    int code = SQLITE_OK;
    if (!fails || mine.vfs->plan_.effect == Effect::kDone) {
      code = mine.Real()->pMethods->xTruncate(mine.Real(), size);
    }
    return fails ? SQLITE_IOERR_TRUNCATE : code;
  }
  static int Sync(sqlite3_file* file, int flags) {
    File& mine = Of(file);
    if (mine.vfs->Fails(Op::kSync, mine.kind)) return SQLITE_IOERR_FSYNC;
    if (mine.kind == Kind::kWal) mine.vfs->wal_dirty_ = false;
    return mine.Real()->pMethods->xSync(mine.Real(), flags);
  }
  static int FileSize(sqlite3_file* file, sqlite3_int64* size) {
    File& mine = Of(file);
    if (mine.vfs->Fails(Op::kFileSize, mine.kind)) return SQLITE_IOERR_FSTAT;
    return mine.Real()->pMethods->xFileSize(mine.Real(), size);
  }
  static int ShmMap(sqlite3_file* file, int page, int size, int extend, void volatile** out) {
    File& mine = Of(file);
    if (mine.vfs->Fails(Op::kShmMap, mine.kind)) return SQLITE_IOERR_SHMMAP;
    return mine.Real()->pMethods->xShmMap(mine.Real(), page, size, extend, out);
  }

  // What is only passed on. Version 2: with shared memory for the log, without memory mapping.
  static const sqlite3_io_methods* Methods() {
    static const sqlite3_io_methods methods = [] {
      sqlite3_io_methods m{};
      m.iVersion = 2;
      m.xClose = Close;
      m.xRead = Read;
      m.xWrite = Write;
      m.xTruncate = Truncate;
      m.xSync = Sync;
      m.xFileSize = FileSize;
      m.xLock = [](sqlite3_file* f, int level) {
        return Of(f).Real()->pMethods->xLock(Of(f).Real(), level);
      };
      m.xUnlock = [](sqlite3_file* f, int level) {
        return Of(f).Real()->pMethods->xUnlock(Of(f).Real(), level);
      };
      m.xCheckReservedLock = [](sqlite3_file* f, int* out) {
        return Of(f).Real()->pMethods->xCheckReservedLock(Of(f).Real(), out);
      };
      m.xFileControl = [](sqlite3_file* f, int op, void* argument) {
        return Of(f).Real()->pMethods->xFileControl(Of(f).Real(), op, argument);
      };
      m.xSectorSize = [](sqlite3_file* f) {
        return Of(f).Real()->pMethods->xSectorSize(Of(f).Real());
      };
      m.xDeviceCharacteristics = [](sqlite3_file* f) {
        return Of(f).Real()->pMethods->xDeviceCharacteristics(Of(f).Real());
      };
      m.xShmMap = ShmMap;
      m.xShmLock = [](sqlite3_file* f, int offset, int n, int flags) {
        return Of(f).Real()->pMethods->xShmLock(Of(f).Real(), offset, n, flags);
      };
      m.xShmBarrier = [](sqlite3_file* f) { Of(f).Real()->pMethods->xShmBarrier(Of(f).Real()); };
      m.xShmUnmap = [](sqlite3_file* f, int remove) {
        return Of(f).Real()->pMethods->xShmUnmap(Of(f).Real(), remove);
      };
      return m;
    }();
    return &methods;
  }

  sqlite3_vfs* original_;
  sqlite3_vfs vfs_;
  Plan plan_;
  int seen_ = 0;
  int fired_ = 0;
  bool wal_dirty_ = false;
  std::map<std::pair<Op, Kind>, int> calls_;
};

}  // namespace dtm_test
