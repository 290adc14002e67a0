/// The process of cluster_test.py whose store and branches are in MariaDB, see cluster_worker.hpp. An address is host:port/database.
#include <chrono>
#include <memory>
#include <mysql.h>
#include <stdexcept>
#include <string>

#include "cluster_worker.hpp"
#include <dtm/barrier/mysql_barrier.hpp>
#include <dtm/sql/mysql.hpp>
#include <dtm/store/mysql/mysql_store.hpp>

namespace survival {

dtm::MysqlAddress AddressOf(const std::string& text) {
  const std::size_t colon = text.find(':');
  const std::size_t slash = text.find('/');
  dtm::MysqlAddress address;
  address.host = text.substr(0, colon);
  address.port = static_cast<unsigned>(std::stoul(text.substr(colon + 1)));
  address.user = "root";
  address.database = text.substr(slash + 1);
  return address;
}

class MysqlBank {
 public:
  explicit MysqlBank(const std::string& address)
      : connection_(AddressOf(address), std::chrono::seconds(3)) {
    Sql("SET SESSION innodb_lock_wait_timeout = 1");
  }
  /// Galera has none; and MariaDB may lose a prepared transaction out of sight until it is restarted (xa::Astray).
  static constexpr bool kXa = false;
  bool Works() const { return works_; }

  dtm::Result Book(dtm::Barrier& barrier, const std::string& sql, bool fails) {
    works_ = false;  // unless it comes to its end
    const dtm::Result result = barriers_.Call(barrier, [&](MYSQL*) {
      Sql(sql);
      return fails ? dtm::Result::Failure("told to fail") : dtm::Result::Success();
    });
    works_ = result.kind != dtm::Result::Kind::kError;
    return result;
  }
  dtm::Result Asked(const dtm::Barrier& barrier) {
    works_ = false;
    dtm::Result result = barriers_.QueryPrepared(barrier);
    works_ = true;
    return result;
  }

 private:
  void Sql(const std::string& sql) {
    if (mysql_query(connection_.Handle(), sql.c_str()) != 0) {
      throw std::runtime_error(mysql_error(connection_.Handle()));
    }
  }

  dtm::MysqlConnection connection_;
  dtm::MysqlBarrierTable barriers_{connection_.Handle()};
  bool works_ = true;
};

}  // namespace survival

int main(int count, char** argument) {
  return survival::RunClusterWorker<survival::MysqlBank>(count, argument, [](const char* at) {
    dtm::MysqlStoreOptions options;
    options.store_timeout = std::chrono::seconds(1);  // so that what is cut off is found soon
    return dtm::MysqlStore(survival::AddressOf(at), options);
  });
}
