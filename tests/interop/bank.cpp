/// A bank whose branches are written in C++, for banks.py, which puts banks of other languages beside it on the same databases.
/// It prints `ready URL` and serves until its input ends. Needs: cpp-httplib, libpq, libmariadb, hiredis; the variables of tools/with_*.sh.
///
///   /barrier/DB?account=A&change=N&how=H,...   a branch: one barrier call for each H. H: ok; no: refused after it wrote; error: fails
///                                              after it wrote; slow: ok, and takes 5 ms. Where the balance is too small it is refused
///   /asked/DB                                  was the local step of a message committed there
///   /xa/DB?account=A&change=N&how=H            the branch of an xa
///   /start?server=URL&type=T&gid=G&branch=URL...  begins a transaction: saga (each branch is followed by its compensation), tcc
///                                              (its confirm and cancel), xa, msg (the first is where to ask for the local step, which
///                                              is the barrier call of the parameters db, account, change and how)
///   /open/DB?account=A&balance=N               for the test itself: makes the account,
///   /look/DB?account=A&gid=G                   says what is there: lines `balance N` and `row OP BARRIER_ID REASON`,
///   /prepared/DB                               and the names of prepared transactions
#include <chrono>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <httplib.h>

#include <dtm/barrier/mysql_barrier.hpp>
#include <dtm/barrier/postgres_barrier.hpp>
#include <dtm/barrier/redis_barrier.hpp>
#include <dtm/barrier/xa/mysql_xa.hpp>
#include <dtm/barrier/xa/postgres_xa.hpp>
#include <dtm/client/msg.hpp>
#include <dtm/client/saga.hpp>
#include <dtm/client/tcc.hpp>
#include <dtm/client/xa.hpp>
#include <dtm/http/httplib/branch_service.hpp>
#include <dtm/http/remote_coordinator.hpp>

namespace {

using dtm::Result;

std::string Variable(const char* name) {
  const char* const value = std::getenv(name);
  if (value == nullptr) {
    throw std::runtime_error(std::string(name) + " is missing; run banks.py");
  }
  return value;
}

dtm::MysqlAddress MysqlAddress() {
  dtm::MysqlAddress address;
  address.port = static_cast<unsigned>(std::stoi(Variable("DTM_MYSQL_PORT")));
  address.user = Variable("DTM_MYSQL_USER");
  return address;
}

std::vector<std::string> Split(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

/// What the business of a branch does.
struct Booking {
  std::string account;
  long long change;

  std::string Sql() const {
    const std::string number = std::to_string(change);
    return "UPDATE dtm_bank.account SET balance = balance + (" + number + ") WHERE name = '" +
           account + "' AND balance + (" + number + ") >= 0";
  }
  static Result After(const std::string& how, bool booked) {
    if (!booked) return Result::Failure("the balance is too small");
    if (how == "slow" || how == "late") std::this_thread::sleep_for(std::chrono::milliseconds(5));
    if (how == "no" || how == "late") return Result::Failure("not today");
    if (how == "error") throw std::runtime_error("out of order");
    return Result::Success();
  }
  Result In(PGconn* db, const std::string& how) const {
    const std::unique_ptr<PGresult, decltype(&PQclear)> done(PQexec(db, Sql().c_str()), &PQclear);
    if (PQresultStatus(done.get()) != PGRES_COMMAND_OK) {
      throw std::runtime_error(PQerrorMessage(db));
    }
    return After(how, PQcmdTuples(done.get()) == std::string("1"));
  }
  Result In(MYSQL* db, const std::string& how) const {
    if (mysql_query(db, Sql().c_str()) != 0) throw std::runtime_error(mysql_error(db));
    return After(how, mysql_affected_rows(db) == 1);
  }
};

/// The connections of one thread.
struct Databases {
  dtm::PgConnection postgres{Variable("DTM_POSTGRES")};
  dtm::PgBarrierTable pg_barriers{postgres.Handle()};
  dtm::MysqlConnection mysql{MysqlAddress()};
  dtm::MysqlBarrierTable mysql_barriers{mysql.Handle()};
  std::unique_ptr<redisContext, decltype(&redisFree)> redis{
      redisConnect("127.0.0.1", std::stoi(Variable("DTM_REDIS").substr(10))), &redisFree};
  dtm::RedisBarrier redis_barrier{redis.get()};

  static Databases& Mine() {
    thread_local Databases databases;
    return databases;
  }
};

Result Call(const std::string& db, dtm::Barrier& barrier, const Booking& booking,
            const std::string& how) {
  Databases& mine = Databases::Mine();
  if (db == "postgres") {
    return mine.pg_barriers.Call(barrier, [&](PGconn* pg) { return booking.In(pg, how); });
  }
  if (db == "mysql") {
    return mine.mysql_barriers.Call(barrier, [&](MYSQL* sql) { return booking.In(sql, how); });
  }
  return mine.redis_barrier.CheckAdjustAmount(barrier, booking.account, booking.change);
}

Result Book(const std::string& db, dtm::Barrier& barrier, const Booking& booking,
            const std::string& hows) {
  for (const std::string& how : Split(hows)) {
    const Result result = Call(db, barrier, booking, how);
    if (result.kind != Result::Kind::kSuccess) return result;
  }
  return Result::Success();
}

Booking BookingOf(const httplib::Request& request) {
  return {request.get_param_value("account"), std::stoll(request.get_param_value("change"))};
}

Result Xa(const std::string& db, const httplib::Request& request) {
  const dtm::XaCall call = dtm::XaFromQuery({request.params.begin(), request.params.end()});
  const std::string how = request.get_param_value("how");
  const Booking booking = BookingOf(request);
  dtm::RemoteCoordinator coordinator(call.coordinator.empty() ? "http://127.0.0.1:1"
                                                              : call.coordinator);
  if (db == "postgres") {
    return dtm::PgXaBranch(Databases::Mine().postgres.Handle())
        .Handle(call, coordinator, [&](PGconn* pg) { return booking.In(pg, how); });
  }
  return dtm::MysqlXaBranch(MysqlAddress()).Handle(call, coordinator, [&](MYSQL* sql) {
    return booking.In(sql, how);
  });
}

// --- for the test ---

/// The first column of what a statement returns, a line each.
std::string Lines(PGconn* db, const std::string& sql) {
  const std::unique_ptr<PGresult, decltype(&PQclear)> rows(PQexec(db, sql.c_str()), &PQclear);
  if (PQresultStatus(rows.get()) != PGRES_COMMAND_OK &&
      PQresultStatus(rows.get()) != PGRES_TUPLES_OK) {
    throw std::runtime_error(PQerrorMessage(db));
  }
  std::string lines;
  for (int i = 0; i < PQntuples(rows.get()); ++i)
    lines += PQgetvalue(rows.get(), i, 0) + std::string("\n");
  return lines;
}
std::string Lines(MYSQL* db, const std::string& sql) {
  if (mysql_query(db, sql.c_str()) != 0) throw std::runtime_error(mysql_error(db));
  const std::unique_ptr<MYSQL_RES, decltype(&mysql_free_result)> rows(mysql_store_result(db),
                                                                      &mysql_free_result);
  std::string lines;
  while (rows) {
    const MYSQL_ROW row = mysql_fetch_row(rows.get());
    if (row == nullptr) break;
    lines += row[0] + std::string("\n");
  }
  return lines;
}
std::string Lines(const std::string& db, const std::string& sql) {
  return db == "postgres" ? Lines(Databases::Mine().postgres.Handle(), sql)
                          : Lines(Databases::Mine().mysql.Handle(), sql);
}

std::string Redis(const std::vector<std::string>& words) {
  std::vector<const char*> data;
  for (const std::string& word : words) data.push_back(word.c_str());
  const std::unique_ptr<redisReply, decltype(&freeReplyObject)> reply(
      static_cast<redisReply*>(redisCommandArgv(
          Databases::Mine().redis.get(), static_cast<int>(data.size()), data.data(), nullptr)),
      &freeReplyObject);
  if (!reply || reply->type == REDIS_REPLY_ERROR) throw std::runtime_error("Redis said no");
  if (reply->str != nullptr) return std::string(reply->str, reply->len) + '\n';
  std::string lines;
  for (std::size_t i = 0; i < reply->elements; ++i) {
    lines += std::string(reply->element[i]->str, reply->element[i]->len) + '\n';
  }
  return lines;
}

void Open(const std::string& db, const std::string& account, const std::string& balance) {
  if (db == "redis") {
    Redis({"SET", account, balance});
  } else {
    Lines(db, "INSERT INTO dtm_bank.account VALUES ('" + account + "', " + balance + ")");
  }
}

std::string Look(const std::string& db, const std::string& account, const std::string& gid) {
  if (db != "redis") {
    return Lines(db, "SELECT CONCAT('balance ', balance) FROM dtm_bank.account WHERE name = '" +
                         account + "'") +
           Lines(db,
                 "SELECT CONCAT('row ', op, ' ', barrier_id, ' ', reason) FROM dtm_barrier.barrier "
                 "WHERE gid = '" +
                     gid + "'");
  }
  std::string lines = "balance " + Redis({"GET", account});
  std::istringstream keys(Redis({"KEYS", gid + "-*"}));
  for (std::string key; std::getline(keys, key);) {
    const std::size_t number = key.rfind('-');
    const std::size_t op = key.rfind('-', number - 1);
    lines += "row " + key.substr(op + 1, number - op - 1) + ' ' + key.substr(number + 1) + ' ' +
             Redis({"GET", key});
  }
  return lines;
}

std::string Prepared(const std::string& db) {
  if (db == "postgres") return Lines(db, "SELECT gid FROM pg_prepared_xacts");
  std::string lines;
  for (const std::string& xid : dtm::xa::Recover(Databases::Mine().mysql.Handle()))
    lines += xid + '\n';
  return lines;
}

/// The tables, unless they are there.
void MakeTables() {
  const dtm::PgConnection postgres(Variable("DTM_POSTGRES"));
  dtm::CreateBarrierTable(postgres.Handle());
  Lines(postgres.Handle(),
        "CREATE SCHEMA IF NOT EXISTS dtm_bank; CREATE TABLE IF NOT EXISTS dtm_bank.account (name "
        "varchar(64) PRIMARY KEY, balance bigint NOT NULL)");
  const dtm::MysqlConnection mysql(MysqlAddress());
  dtm::CreateBarrierTable(mysql.Handle());
  Lines(mysql.Handle(), "CREATE DATABASE IF NOT EXISTS dtm_bank");
  Lines(mysql.Handle(),
        "CREATE TABLE IF NOT EXISTS dtm_bank.account (name varchar(64) PRIMARY KEY, balance bigint "
        "NOT NULL) ENGINE = InnoDB");
}

// --- the initiator ---

void Start(const httplib::Request& request) {
  dtm::RemoteCoordinator server(request.get_param_value("server"));
  const std::string type = request.get_param_value("type");
  const std::string gid = request.get_param_value("gid");
  std::vector<std::string> urls;
  for (std::size_t i = 0; i < request.get_param_value_count("branch"); ++i) {
    urls.push_back(request.get_param_value("branch", i));
  }
  const std::string payload = "pay";
  dtm::TransOptions options;
  options.retry_interval = std::chrono::seconds(1);
  if (type == "saga") {
    dtm::Saga saga = dtm::NewSaga(server, gid);
    for (std::size_t i = 0; i < urls.size(); i += 2) saga.Add(urls[i], urls[i + 1], payload);
    saga.SetRetryInterval(std::chrono::seconds(1));
    (void)saga.Submit();
  } else if (type == "tcc") {
    (void)dtm::TccGlobalTransaction(server, gid, options, [&](dtm::Tcc& tcc) {
      for (std::size_t i = 0; i < urls.size(); i += 3) {
        tcc.CallBranch(payload, urls[i], urls[i + 1], urls[i + 2]);
      }
    });
  } else if (type == "xa") {
    (void)dtm::XaGlobalTransaction(server, gid, options, [&](dtm::Xa& xa) {
      for (const std::string& url : urls) xa.CallBranch(payload, url);
    });
  } else {
    dtm::Msg msg = dtm::NewMsg(server, gid);
    for (std::size_t i = 1; i < urls.size(); ++i) msg.Add(urls[i], payload);
    msg.SetRetryInterval(std::chrono::seconds(1));
    (void)msg.DoAndSubmit(urls[0], [&](const dtm::BranchInfo& who) {
      dtm::Barrier barrier = dtm::BarrierFrom(who);
      return Book(request.get_param_value("db"), barrier, BookingOf(request),
                  request.get_param_value("how"));
    });
  }
}

}  // namespace

int main() {
  try {
    MakeTables();
    httplib::Server server;
    server.new_task_queue = [] { return new httplib::ThreadPool(32); };
    server.set_tcp_nodelay(true);
    const auto serve = [&server](const std::string& path, const auto& what) {
      const auto handler = [what](const httplib::Request& request, httplib::Response& response) {
        dtm::AnswerBranch(response, [&] { return what(request); });
      };
      server.Post(path, handler);
      server.Get(path, handler);
    };
    serve("/start", [](const httplib::Request& request) {
      Start(request);
      return Result::Success();
    });
    for (const std::string db : {"postgres", "mysql", "redis"}) {
      serve("/barrier/" + db, [db](const httplib::Request& request) {
        dtm::Barrier barrier = dtm::BarrierFromRequest(request);
        return Book(db, barrier, BookingOf(request), request.get_param_value("how"));
      });
      serve("/asked/" + db, [db](const httplib::Request& request) {
        const dtm::Barrier barrier = dtm::BarrierFromRequest(request);
        Databases& mine = Databases::Mine();
        if (db == "postgres") return mine.pg_barriers.QueryPrepared(barrier);
        if (db == "mysql") return mine.mysql_barriers.QueryPrepared(barrier);
        return mine.redis_barrier.QueryPrepared(barrier);
      });
      serve("/xa/" + db, [db](const httplib::Request& request) { return Xa(db, request); });
      server.Get("/open/" + db, [db](const httplib::Request& request, httplib::Response&) {
        Open(db, request.get_param_value("account"), request.get_param_value("balance"));
      });
      server.Get("/look/" + db, [db](const httplib::Request& request, httplib::Response& response) {
        response.set_content(
            Look(db, request.get_param_value("account"), request.get_param_value("gid")),
            "text/plain");
      });
      server.Get("/prepared/" + db, [db](const httplib::Request&, httplib::Response& response) {
        response.set_content(Prepared(db), "text/plain");
      });
    }
    const int port = server.bind_to_any_port("127.0.0.1");
    std::thread serving([&] { server.listen_after_bind(); });
    std::cout << "ready http://127.0.0.1:" << port << std::endl;
    std::string line;
    while (std::getline(std::cin, line)) {
    }
    server.stop();
    serving.join();
  } catch (const std::exception& error) {
    std::cerr << "bank: " << error.what() << std::endl;
    return 1;
  }
}
