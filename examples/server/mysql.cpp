/// The module of dtm-server that keeps its store in MariaDB or MySQL. Needs: libmariadb. Threads: one.
#include <algorithm>
#include <string>
#include <utility>

#include "../server_store.hpp"
#include <dtm/base/version.hpp>
#include <dtm/store/mysql/mysql_store.hpp>

namespace {

using server_store::RefusePassword;
using server_store::SetTimes;

constexpr const char kMysqlPassword[] = "put it into MYSQL_PWD";

/// user[:password]@host[:port]/database[?socket=/path&defaults_file=/path], what is special in them as %XX.
dtm::MysqlAddress ReadMysqlUrl(const std::string& text) {
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

std::string MysqlHint(const std::string& code, const dtm::MysqlAddress& address) {
  if (code == "1045" || code == "1698") return std::string("; a password: ") + kMysqlPassword;
  if (code == "1049") return "; make it: CREATE DATABASE " + address.database;
  if (code == "2002" || code == "2003" || code == "2005") return "; check host and port in --store";
  return "";
}

SharedDatabase OpenMysql(const StoreSettings& settings) {
  const dtm::MysqlAddress address = ReadMysqlUrl(settings.url);
  if (!address.password.empty()) RefusePassword(settings.is_public, kMysqlPassword);
  if (!settings.schema.empty()) {
    throw BadSetting("Store.Schema is PostgreSQL's; of MySQL name another database in --store");
  }
  dtm::MysqlStoreOptions options;
  SetTimes(settings, options);
  SharedDatabase opened;
  opened.name =
      "MySQL " + address.database + " at " +
      (address.socket.empty() ? address.host + ":" + std::to_string(address.port) : address.socket);
  try {
    opened.store = dtm::MysqlStore(address, options);
  } catch (const dtm::SqlError& error) {
    throw BadSetting("the store cannot be used: " + std::string(error.what()) +
                     MysqlHint(error.Code(), address));
  } catch (const dtm::StoreError& error) {
    throw BadSetting("the store cannot be used: " + std::string(error.what()));
  }
  return opened;
}

}  // namespace

extern "C" const char* DtmVersion() { return dtm::kVersion; }

/// @throws BadSetting
extern "C" void DtmOpenStore(const StoreSettings& settings, SharedDatabase& opened) {
  opened = OpenMysql(settings);
}
