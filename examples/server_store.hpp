/// The store of dtm-server that several servers may share: what --store names, opened, or a sentence that says what is
/// wrong and what to do. No password is in any text that is made here.
/// Needs: dtm/store/store.hpp; the stores themselves are modules (server/postgres.cpp, server/mysql.cpp). Threads: one.
#pragma once

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>

#include "server_module.hpp"
#include <dtm/base/error.hpp>
#include <dtm/store/store.hpp>

/// What is wrong with the settings, and what to do.
struct BadSetting : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct StoreSettings {
  std::string url;         ///< empty: a file
  bool is_public = false;  ///< it is on the command line, which every user of the machine can read
  std::string schema;      ///< PostgreSQL's
  std::chrono::milliseconds lease{0};  ///< 0: the library's default
  std::chrono::seconds timeout{0};     ///< the same
};

struct SharedDatabase {
  std::unique_ptr<dtm::Store> store;
  std::string name;  ///< for people: without user and password
};

namespace server_store {

inline constexpr const char kForms[] =
    "'postgres://user@host:port/database', 'host=... dbname=...' or "
    "'mysql://user@host:port/database'";

inline void RefusePassword(bool is_public, const std::string& place) {
  if (!is_public) return;
  throw BadSetting(
      "there is a password in --store, and every user of this machine can read a command line; " +
      place);
}

template <typename Options>
void SetTimes(const StoreSettings& settings, Options& options) {
  if (settings.lease.count() > 0) options.lease = settings.lease;
  if (settings.timeout.count() > 0) options.store_timeout = settings.timeout;
}

inline SharedDatabase FromDriver(const StoreSettings& settings, const char* module,
                                 const char* database, const char* library) {
  void (*open)(const StoreSettings&, SharedDatabase&) = nullptr;
  try {
    open = FromModule<void(const StoreSettings&, SharedDatabase&)>(module, "DtmOpenStore");
  } catch (const dtm::Error& error) {
    throw BadSetting("--store names " + std::string(database) + ", and " + error.what() +
                     "; build and install dtm-server where CMake finds " + library);
  }
<<<<<<< HEAD
  return opened;
}
#endif

#ifdef DTM_SERVER_MYSQL
inline constexpr const char kMysqlPassword[] = "put it into MYSQL_PWD";

/// user[:password]@host[:port]/database[?socket=/path&defaults_file=/path], what is special in them as %XX.
inline dtm::MysqlAddress ReadMysqlUrl(const std::string& text) {
  const auto wrong = [](const std::string& what) {
    return BadSetting("--store: " + what + "; write mysql://user@host:port/database");
  };
  dtm::MysqlAddress address;
  std::string rest = text.substr(text.find("://") + 3);
  const auto cut = [&rest](char mark) {  // what is behind the mark
    const std::size_t at = rest.find(mark);
    std::string behind = at == std::string::npos ? "" : rest.substr(at + 1);
    rest.erase((std::min)(at, rest.size()));
    return behind;
  };
  const std::string query = cut('?');
  const std::string database = cut('/');
  if (database.find('@') != std::string::npos) {  // a part of the password would be the port
    throw wrong("a / or @ in the user, the password or the database is written as %2F or %40");
  }
  address.database = dtm::PercentDecoded(database);
  if (const std::size_t at = rest.rfind('@'); at != std::string::npos) {
    const std::string user = rest.substr(0, at);
    const std::size_t colon = user.find(':');
    address.user = dtm::PercentDecoded(user.substr(0, colon));
    if (colon != std::string::npos) address.password = dtm::PercentDecoded(user.substr(colon + 1));
    rest.erase(0, at + 1);
  }
  if (const std::size_t colon = rest.rfind(':');
      colon != std::string::npos && rest.find(']', colon) == std::string::npos) {
    const std::string port = rest.substr(colon + 1);
    const bool digits = !port.empty() && port.size() <= 5 &&
                        port.find_first_not_of("0123456789") == std::string::npos;
    if (!digits || std::stoi(port) < 1 || std::stoi(port) > 65535) {
      throw wrong("what stands behind the ':' of the host is no port");  // perhaps a password
    }
    address.port = static_cast<unsigned>(std::stoi(port));
    rest.erase(colon);
  }
  if (rest.size() > 2 && rest.front() == '[') rest = rest.substr(1, rest.size() - 2);
  if (!rest.empty()) address.host = dtm::PercentDecoded(rest);
  if (address.user.empty()) throw wrong("it names no user");
  if (address.database.empty()) throw wrong("it names no database");
  for (std::size_t at = 0; at < query.size();) {
    const std::size_t end = (std::min)(query.find('&', at), query.size());
    const std::string part = query.substr(at, end - at);
    const std::size_t equal = (std::min)(part.find('='), part.size());
    const std::string name = part.substr(0, equal);
    if (equal == part.size() || (name != "socket" && name != "defaults_file")) {
      throw wrong("of what may stand behind ? there is only socket=/path and defaults_file=/path");
    }
    (name == "socket" ? address.socket : address.defaults_file) =
        dtm::PercentDecoded(part.substr(equal + 1));
    at = end + 1;
  }
  return address;
}

inline std::string MysqlHint(const std::string& code, const dtm::MysqlAddress& address) {
  if (code == "1045" || code == "1698") return std::string("; a password: ") + kMysqlPassword;
  if (code == "1049") return "; make it: CREATE DATABASE " + address.database;
  if (code == "2002" || code == "2003" || code == "2005") return "; check host and port in --store";
  return "";
}

inline SharedDatabase OpenMysql(const StoreSettings& settings) {
  const dtm::MysqlAddress address = ReadMysqlUrl(settings.url);
  if (!address.password.empty()) RefusePassword(settings.is_public, kMysqlPassword);
  if (!settings.schema.empty()) {
    throw BadSetting("Store.Schema is PostgreSQL's; of MySQL name another database in --store");
  }
  dtm::MysqlStoreOptions options;
  SetTimes(settings, options);
=======
>>>>>>> 43de922 (dtm-server loads PostgreSQL, MariaDB and https when they are needed, each from a module: idle it takes 6.8 MB instead of 12.5)
  SharedDatabase opened;
  open(settings, opened);
  return opened;
}

}  // namespace server_store

/// @throws BadSetting
inline SharedDatabase OpenSharedDatabase(const StoreSettings& settings) {
  const std::size_t end = settings.url.find("://");
  const std::string scheme = settings.url.substr(0, end == std::string::npos ? 0 : end);
  const bool is_conninfo = scheme.empty() && settings.url.find('=') != std::string::npos;
  try {
    if (is_conninfo || scheme == "postgres" || scheme == "postgresql") {
      return server_store::FromDriver(settings, "postgres", "PostgreSQL",
                                      "libpq (Debian: libpq-dev, pkg-config)");
    }
    if (scheme == "mysql" || scheme == "mariadb") {
      return server_store::FromDriver(settings, "mysql", "MySQL",
                                      "libmariadb (Debian: libmariadb-dev, pkg-config)");
    }
  } catch (const dtm::LogicError& error) {
    throw BadSetting("--store: " + std::string(error.what()));
  }
  // It may be anything, so a password too: only a scheme is repeated.
  const bool has_name = !scheme.empty() && scheme.size() < 20 &&
                        scheme.find_first_not_of("abcdefghijklmnopqrstuvwxyz") == std::string::npos;
  throw BadSetting((has_name ? "--store begins with '" + scheme + "://', which is not known here"
                             : std::string("--store is no address of a database")) +
                   "; write " + server_store::kForms + ", or --db FILE for a file");
}
