/// What a barrier call costs on top of the bare transaction with the same business (UPDATE one of 100 accounts; in Redis INCRBY), on
/// PostgreSQL, MariaDB and Redis, beside dtm's Go client on the same server: an action, and its compensation. In rounds in
/// which both take turns; the CPU time of client and server, and the time on the clock, of which the median round counts. Each has
/// one connection, as its library opens it. The server flushes nothing to the disk: waiting for that would hide the cost.
/// Needs: libpq, libmariadb, hiredis; the variables of tools/with_*.sh. Without GO_BANK (tests/interop/go/bank) only ours.
/// Usage: barrier_servers [seconds] [folder, not used] [GO_BANK]
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include "bench.hpp"
#include "process.hpp"
#include <dtm/barrier/mysql_barrier.hpp>
#include <dtm/barrier/postgres_barrier.hpp>
#include <dtm/barrier/redis_barrier.hpp>

namespace {

constexpr int kPerRound = 20;
constexpr int kAccounts = 100;

std::string Variable(const char* name) {
  const char* const value = std::getenv(name);
  if (value == nullptr) {
    throw std::runtime_error(std::string(name) + " is not set; start this by bench/run.sh barrier");
  }
  return value;
}

/// What a round cost: of one call, in microseconds.
struct Cost {
  double cpu = 0;
  double wall = 0;
};

/// Our side of one database.
class Bank {
 public:
  virtual ~Bank() = default;
  virtual void Bare(const std::string& account) = 0;
  virtual dtm::Result Call(dtm::Barrier& barrier, const std::string& account) = 0;

  void Do(const std::string& what, const std::string& gid, int account) {
    const std::string name = "bench" + std::to_string(account);
    if (what == "bare") return Bare(name);
    dtm::Barrier barrier("saga", gid, "01", what);
    const dtm::Result result = Call(barrier, name);
    if (result.kind != dtm::Result::Kind::kSuccess) throw std::runtime_error(result.text);
  }
};

std::string Update(const std::string& account) {
  return "UPDATE dtm_bank.account SET balance = balance + 1 WHERE name = '" + account + "'";
}

class Postgres : public Bank {
 public:
  Postgres() : connection_(Variable("DTM_POSTGRES")), session_(connection_.Handle()) {
    dtm::CreateBarrierTable(connection_.Handle());
    session_.Simple(
        "CREATE SCHEMA dtm_bank; CREATE TABLE dtm_bank.account (name varchar(64) PRIMARY KEY, "
        "balance bigint NOT NULL); INSERT INTO dtm_bank.account SELECT 'bench' || i, 0 FROM "
        "generate_series(0, 99) i");
    barriers_ = std::make_unique<dtm::PgBarrierTable>(connection_.Handle());
  }
  void Bare(const std::string& account) override {
    session_.Simple("BEGIN");
    session_.Simple(Update(account).c_str());
    session_.Simple("COMMIT");
  }
  dtm::Result Call(dtm::Barrier& barrier, const std::string& account) override {
    return barriers_->Call(barrier, [&](PGconn*) { session_.Simple(Update(account).c_str()); });
  }

 private:
  dtm::PgConnection connection_;
  dtm::PgSession session_;
  std::unique_ptr<dtm::PgBarrierTable> barriers_;
};

class Mysql : public Bank {
 public:
  Mysql() : connection_(Address()), session_(connection_.Handle()) {
    dtm::CreateBarrierTable(connection_.Handle());
    session_.Simple("CREATE DATABASE dtm_bank");
    session_.Simple(
        "CREATE TABLE dtm_bank.account (name varchar(64) PRIMARY KEY, balance bigint NOT NULL) "
        "ENGINE = InnoDB");
    for (int i = 0; i < kAccounts; ++i) {
      session_.Simple(
          ("INSERT INTO dtm_bank.account VALUES ('bench" + std::to_string(i) + "', 0)").c_str());
    }
    barriers_ = std::make_unique<dtm::MysqlBarrierTable>(connection_.Handle());
  }
  void Bare(const std::string& account) override {
    session_.Simple("START TRANSACTION");
    session_.Simple(Update(account).c_str());
    session_.Simple("COMMIT");
  }
  dtm::Result Call(dtm::Barrier& barrier, const std::string& account) override {
    return barriers_->Call(barrier, [&](MYSQL*) { session_.Simple(Update(account).c_str()); });
  }

 private:
  static dtm::MysqlAddress Address() {
    dtm::MysqlAddress address;
    address.port = static_cast<unsigned>(std::stoi(Variable("DTM_MYSQL_PORT")));
    address.user = Variable("DTM_MYSQL_USER");
    return address;
  }
  dtm::MysqlConnection connection_;
  dtm::MysqlSession session_;
  std::unique_ptr<dtm::MysqlBarrierTable> barriers_;
};

class Redis : public Bank {
 public:
  Redis()
      : connection_(redisConnect("127.0.0.1", std::stoi(Variable("DTM_REDIS").substr(10))),
                    &redisFree) {
    for (int i = 0; i < kAccounts; ++i) Command("SET bench" + std::to_string(i) + " 0");
    barrier_ = std::make_unique<dtm::RedisBarrier>(connection_.get());
  }
  void Bare(const std::string& account) override { Command("INCRBY " + account + " 1"); }
  dtm::Result Call(dtm::Barrier& barrier, const std::string& account) override {
    return barrier_->CheckAdjustAmount(barrier, account, 1);
  }

 private:
  void Command(const std::string& text) {
    void* const reply = redisCommand(connection_.get(), text.c_str());
    if (reply == nullptr) throw std::runtime_error(connection_->errstr);
    freeReplyObject(reply);
  }
  std::unique_ptr<redisContext, decltype(&redisFree)> connection_;
  std::unique_ptr<dtm::RedisBarrier> barrier_;
};

/// The Go client, as a process that is told what to do.
class Go {
 public:
  explicit Go(const char* program) {
    int in[2];
    int out[2];
    if (::pipe(in) != 0 || ::pipe(out) != 0) throw std::runtime_error("pipe failed");
    pid_ = ::fork();
    if (pid_ < 0) throw std::runtime_error("fork failed");
    if (pid_ == 0) {
      ::dup2(in[0], 0);
      ::dup2(out[1], 1);
      for (const int fd : {in[0], in[1], out[0], out[1]}) ::close(fd);
      ::execl(program, program, nullptr);
      ::_exit(127);
    }
    ::close(in[0]);
    ::close(out[1]);
    to_ = ::fdopen(in[1], "w");
    from_ = ::fdopen(out[0], "r");
    (void)Line();  // ready URL
  }
  ~Go() {
    std::fclose(to_);
    std::fclose(from_);
    ::waitpid(pid_, nullptr, 0);
  }
  Go(const Go&) = delete;
  Go& operator=(const Go&) = delete;

  /// Without what the server used.
  Cost Do(const std::string& db, const std::string& what, const std::string& gid) {
    std::fprintf(to_, "%s %s %s %d\n", db.c_str(), what.c_str(), gid.c_str(), kPerRound);
    std::fflush(to_);
    double wall = 0;
    double cpu = 0;
    if (std::sscanf(Line().c_str(), "%lf %lf", &wall, &cpu) != 2) {
      throw std::runtime_error("the Go client did not answer with two numbers");
    }
    return {cpu / 1e3 / kPerRound, wall / 1e3 / kPerRound};
  }

 private:
  std::string Line() {
    char text[256];
    if (std::fgets(text, sizeof text, from_) == nullptr) {
      throw std::runtime_error("the Go client ended");
    }
    return text;
  }
  pid_t pid_ = 0;
  FILE* to_ = nullptr;
  FILE* from_ = nullptr;
};

/// CPU time of a server so far: of its process, and of those that it has for its connections.
double ServerCpu(const std::string& pid_file) {
  std::ifstream file(pid_file);
  pid_t pid = 0;
  file >> pid;
  double seconds = bench::CpuSeconds(pid);
  std::ifstream children("/proc/" + std::to_string(pid) + "/task/" + std::to_string(pid) +
                         "/children");
  for (pid_t child = 0; children >> child;) seconds += bench::CpuSeconds(child);
  return seconds;
}

Cost Ours(Bank& bank, const std::string& what, const std::string& gid) {
  const bench::Watch watch;
  for (int i = 1; i <= kPerRound; ++i) bank.Do(what, gid + "-" + std::to_string(i), i % kAccounts);
  return {1e6 * watch.CpuUsed() / kPerRound, 1e6 * watch.Wall() / kPerRound};
}

struct Database {
  const char* name;
  std::string pid_file;
  std::unique_ptr<Bank> bank;
};

/// On top of the bare transaction, of each round.
struct OnTop {
  std::vector<double> bare_cpu, cpu, wall;
};

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 3;
  std::signal(SIGPIPE, SIG_IGN);
  try {
    std::vector<Database> databases;
    databases.push_back({"postgres", Variable("DTM_POSTGRES_DATA") + "/postmaster.pid",
                         std::make_unique<Postgres>()});
    databases.push_back({"mysql", Variable("DTM_MYSQL_PID"), std::make_unique<Mysql>()});
    databases.push_back({"redis", Variable("DTM_REDIS_PID"), std::make_unique<Redis>()});
    std::unique_ptr<Go> go;
    if (argc > 3) go = std::make_unique<Go>(argv[3]);

    std::map<std::string, OnTop> results;  // "postgres action ours"
    const auto measure = [&](const Database& db, const std::string& who, const std::string& gid) {
      Cost bare;
      // The first bare ones wake everybody up; the second count.
      for (const std::string what : {"bare", "bare", "action", "compensate"}) {
        const double before = ServerCpu(db.pid_file);
        Cost cost =
            who == "ours" ? Ours(*db.bank, what, gid + who) : go->Do(db.name, what, gid + who);
        cost.cpu += 1e6 * (ServerCpu(db.pid_file) - before) / kPerRound;
        if (what == "bare") {
          bare = cost;
          continue;
        }
        OnTop& result = results[std::string(db.name) + ' ' + what + ' ' + who];
        result.bare_cpu.push_back(bare.cpu);
        result.cpu.push_back(cost.cpu - bare.cpu);
        result.wall.push_back(cost.wall - bare.wall);
      }
    };
    const bench::Watch all;
    for (int round = 0; round < 3 || all.Wall() < seconds; ++round) {
      if (round == 1) results.clear();  // statements are prepared, caches are warm
      for (const Database& db : databases) {
        const std::string gid = std::to_string(round);
        // Whoever is first meets other caches.
        if (round % 2 == 0) measure(db, "ours", gid);
        if (go) measure(db, "go", gid);
        if (round % 2 == 1) measure(db, "ours", gid);
      }
    }
    for (const Database& db : databases) {
      for (const std::string what : {"action", "compensate"}) {
        const std::string key = std::string(db.name) + ' ' + what + ' ';
        const OnTop& ours = results[key + "ours"];
        std::vector<std::pair<std::string, double>> values = {
            {"calls", static_cast<double>(ours.cpu.size()) * kPerRound},
            {"bare_cpu_us", bench::Percentile(ours.bare_cpu, 0.5)},
            {"cpu_us_on_top", bench::Percentile(ours.cpu, 0.5)},
            {"wall_us_on_top", bench::Percentile(ours.wall, 0.5)}};
        if (go) {
          const OnTop& theirs = results[key + "go"];
          values.emplace_back("go_bare_cpu_us", bench::Percentile(theirs.bare_cpu, 0.5));
          values.emplace_back("go_cpu_us_on_top", bench::Percentile(theirs.cpu, 0.5));
          values.emplace_back("go_wall_us_on_top", bench::Percentile(theirs.wall, 0.5));
        }
        bench::Print("barrier_servers", values, {{"database", db.name}, {"what", what}});
      }
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "barrier_servers: %s\n", error.what());
    return 1;
  }
}
