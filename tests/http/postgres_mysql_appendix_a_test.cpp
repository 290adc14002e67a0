/// The protocol's Appendix A at two coordinators that share a real database, each request at one of them by chance, while hours
/// pass.
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "tests/catch.hpp"
#include "tests/http/appendix_a_program.hpp"
#include "tests/support/mysql_server.hpp"
#include "tests/support/postgres_server.hpp"
#include <dtm/store/mysql/mysql_store.hpp>
#include <dtm/store/postgres/postgres_store.hpp>

using dtm_test::ApiNodes;
using dtm_test::MysqlServer;
using dtm_test::PostgresServer;

namespace {

/// A member that lives in virtual time. Its lease is long, so that an hour does not take ten thousand beats.
class Member : public dtm::SharedStore {
 public:
  static constexpr std::chrono::seconds kLease{12};

  Member(std::unique_ptr<dtm::shared_store::Database> database, const ApiNodes::Time& time)
      : SharedStore(std::move(database), kLease,
                    [time] { return time->Now().time_since_epoch(); }) {
    StartBeatingByHand();
    BeatLater(time);
  }
  ~Member() override { *alive_ = false; }

 private:
  void BeatLater(const ApiNodes::Time& time) {
    time->At(time->Now() + kLease / 4, [this, alive = alive_, times = std::weak_ptr(time)] {
      const ApiNodes::Time now = times.lock();
      if (!*alive || now == nullptr) return;
      while (Beat()) {
      }
      BeatLater(now);
    });
  }

  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

/// `ask`: a statement for the database; it tells if the tables are there.
void Play(const std::function<std::string(const std::string& sql)>& ask, const std::string& made,
          const std::function<std::unique_ptr<dtm::shared_store::Database>()>& open) {
  appendix_a::PlayEach(
      [&] {
        if (!ask(made).empty()) {
          for (const char* table : {"trans", "step", "kv", "node"})
            ask(std::string("DELETE FROM dtm_") + table);
        }
        return std::make_unique<ApiNodes>(
            2, [&](const ApiNodes::Time& time) { return std::make_shared<Member>(open(), time); },
            1);
      },
      {false});  // a store does not see which it was
}

}  // namespace

TEST_CASE("Appendix A: every case at two coordinators on PostgreSQL") {
  const std::string& conninfo = PostgresServer::Shared().Conninfo();
  const dtm::PgConnection connection(conninfo);
  dtm::PostgresStoreOptions options;
  options.schema = "appendix_a";
  Play(
      [&](const std::string& sql) {
        return dtm_test::Ask(connection.Handle(), "SET search_path = appendix_a; " + sql);
      },
      "SELECT to_regclass('dtm_trans')",
      [&] { return std::make_unique<dtm::postgres_store::Database>(conninfo, options); });
}

TEST_CASE("Appendix A: every case at two coordinators on MariaDB") {
  dtm::MysqlAddress address = MysqlServer::Shared().Address();
  dtm_test::Ask(dtm::MysqlConnection(address).Handle(), "CREATE DATABASE IF NOT EXISTS appendix_a");
  address.database = "appendix_a";
  const dtm::MysqlConnection connection(address);
  Play([&](const std::string& sql) { return dtm_test::Ask(connection.Handle(), sql); },
       "SHOW TABLES LIKE 'dtm_trans'",
       [&] {
         return std::make_unique<dtm::mysql_store::Database>(address, dtm::MysqlStoreOptions{});
       });
}
