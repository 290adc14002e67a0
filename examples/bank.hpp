/// A small bank: one account, kept in a SQLite file, and over HTTP the four branches of a transfer.
/// Needs: cpp-httplib, SQLite. Threads: serves from threads of its own.
///
/// A coordinator may call a branch more than once, and a compensation without its action. So every
/// booking carries whom it is for, and is made by one statement, which does it once or not at all.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <utility>

#include <httplib.h>
#include <nlohmann/json.hpp>

#include <dtm/dtm.hpp>

struct Transfer {
  int amount;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Transfer, amount)

class Account {
 public:
  /// Opened for the first time it holds 100.
  explicit Account(const std::string& file)
      : db_(file, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE) {
    db_.Exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
    db_.Exec(
        "CREATE TABLE IF NOT EXISTS booking (gid TEXT, branch TEXT, op TEXT, change INTEGER,"
        " PRIMARY KEY (gid, branch, op));"
        "CREATE TABLE IF NOT EXISTS port (number INTEGER)");
  }

  std::int64_t Balance() {
    dtm::sql::Statement sum(db_, "SELECT 100 + COALESCE(SUM(change), 0) FROM booking");
    sum.Step();
    return sum.Int(0);
  }

  /// Once, and not if its compensation was faster.
  void Book(const std::string& gid, const std::string& branch, int change) {
    dtm::sql::Statement insert(
        db_,
        "INSERT OR IGNORE INTO booking SELECT ?1, ?2, 'action', ?3 WHERE NOT EXISTS"
        " (SELECT 1 FROM booking WHERE gid = ?1 AND branch = ?2 AND op = 'compensate')");
    insert.BindText(1, gid).BindText(2, branch).Bind(3, change).Step();
  }

  /// Takes back what the action booked: nothing if it never did.
  void Undo(const std::string& gid, const std::string& branch) {
    dtm::sql::Statement insert(
        db_,
        "INSERT OR IGNORE INTO booking SELECT ?1, ?2, 'compensate', -COALESCE(SUM(change), 0)"
        " FROM booking WHERE gid = ?1 AND branch = ?2");
    insert.BindText(1, gid).BindText(2, branch).Step();
  }

  /// 0 if none is known.
  int Port() {
    dtm::sql::Statement select(db_, "SELECT number FROM port");
    return select.Step() ? static_cast<int>(select.Int(0)) : 0;
  }
  void RememberPort(int port) {
    dtm::sql::Statement insert(db_, "INSERT INTO port VALUES (?1)");
    insert.Bind(1, port).Step();
  }

 private:
  dtm::sql::Database db_;
};

class Bank {
 public:
  /// `refuse` is asked before each call is carried out; a reason that is not empty is answered 409.
  using Refuse = std::function<std::string(const std::string& path)>;

  Bank(std::string name, const std::string& file, Refuse refuse)
      : name_(std::move(name)), account_(file), refuse_(std::move(refuse)) {
    Serve("/TransOut",
          [this](auto& gid, auto& id, int amount) { account_.Book(gid, id, -amount); });
    Serve("/TransIn", [this](auto& gid, auto& id, int amount) { account_.Book(gid, id, amount); });
    Serve("/TransOutCom", [this](auto& gid, auto& id, int) { account_.Undo(gid, id); });
    Serve("/TransInCom", [this](auto& gid, auto& id, int) { account_.Undo(gid, id); });
    Configure();
    Bind();
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  ~Bank() {
    server_.stop();
    thread_.join();
  }
  Bank(const Bank&) = delete;
  Bank& operator=(const Bank&) = delete;

  std::string Url(const std::string& path) const {
    return "http://127.0.0.1:" + std::to_string(port_) + path;
  }

 private:
  using Work = std::function<void(const std::string& gid, const std::string& branch, int amount)>;

  void Serve(const std::string& path, const Work& work) {
    server_.Post(path, [this, path, work](const httplib::Request& request, auto& response) {
      const auto transfer = nlohmann::json::parse(request.body).get<Transfer>();
      std::string answer = refuse_(path);
      response.status = answer.empty() ? 200 : 409;
      if (answer.empty()) {
        const std::lock_guard<std::mutex> lock(mutex_);
        work(request.get_param_value("gid"), request.get_param_value("branch_id"), transfer.amount);
        answer = "balance " + std::to_string(account_.Balance());
      }
      response.set_content(answer, "text/plain");
    });
  }

  /// Without these cpp-httplib is slow (40 ms an answer), and two banks could share a port.
  void Configure() {
    server_.set_tcp_nodelay(true);
    server_.set_keep_alive_max_count(1000);
    server_.set_keep_alive_timeout(1);
    server_.set_socket_options([](socket_t socket) {
      const int yes = 1;
      ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    });
  }

  /// Any free port; when started again the same, because sagas know the bank by its URL.
  void Bind() {
    port_ = account_.Port();
    const bool known = port_ != 0;
    if (!known) port_ = server_.bind_to_any_port("127.0.0.1");
    if (known ? !server_.bind_to_port("127.0.0.1", port_) : port_ < 0) {
      throw std::runtime_error(name_ + " cannot listen on port " + std::to_string(port_) +
                               "; has another program taken it? Run this again");
    }
    if (!known) account_.RememberPort(port_);
  }

  const std::string name_;
  std::mutex mutex_;
  Account account_;
  const Refuse refuse_;
  int port_ = 0;
  httplib::Server server_;
  std::thread thread_;
};
