/// The settings of dtm-server: the command line, then a file, then the environment.
/// Needs: dtm/http.hpp. Threads: one.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "server_module.hpp"
#include "server_store.hpp"
#include <dtm/http.hpp>
#include <dtm/observe/json_line.hpp>

struct ServerConfig {
  std::string db = "dtm.db";
  StoreSettings store;
  std::string host = "127.0.0.1";
  int port = 36789;
  bool desk = true;
  dtm::LogLevel least_logged = dtm::LogLevel::kInfo;
  bool json_log = false, log_events = false;
  bool help = false, version = false;
  dtm::Options coordinator = [] {
    dtm::Options options;
    options.app = "dtm-server";  // it has no functions
    return options;
  }();
  dtm::ServerOptions server;
};

/// For https; null if this program was built without OpenSSL.
inline std::shared_ptr<dtm::TlsClient> ServerTls() {
#ifdef DTM_SERVER_TLS
  return std::make_shared<LateTls>();
#else
  return nullptr;
#endif
}

inline constexpr const char kHelp[] =
    "dtm-server: a coordinator for distributed transactions with the HTTP API of dtm.\n"
    "\n"
    "  dtm-server [--db FILE | --store URL] [--listen HOST:PORT] [--token TOKEN]\n"
    "             [--history N] [-c FILE]\n"
    "\n"
    "  --db FILE           the SQLite file; made if it is not there (dtm.db)\n"
    "  --store URL         a database that several servers share, on any machine: when one dies,\n"
    "                      another drives what it drove. The tables are made if they are missing\n"
    "                        postgres://user@host:port/database, or a conninfo: 'host=a,b "
    "dbname=x'\n"
    "                        mysql://user@host:port/database[?socket=/path]  (MariaDB, MySQL)\n"
    "                      A password comes from PGPASSWORD or ~/.pgpass, or from MYSQL_PWD; in "
    "the\n"
    "                      command line, which everybody can read, it is refused\n"
    "  --listen HOST:PORT  where to listen; port 0: any (127.0.0.1:36789)\n"
    "  --token TOKEN       what every request must carry; an address that other machines can\n"
    "                      reach needs one. Better in the environment: DTM_TOKEN\n"
    "  --history N         how many attempts of a branch are kept with a transaction, for its\n"
    "                      timeline (20); 0: nothing is kept of what happened\n"
    "  -c FILE             settings as `Name: value` lines, as dtm's own file has them\n"
    "  --help, --version\n"
    "\n"
    "Settings, in the file or (as in brackets) in the environment; times in seconds:\n"
    "  HttpPort [HTTP_PORT]               the port\n"
    "  TimeoutToFail [TIMEOUT_TO_FAIL]    how long a prepared msg, tcc, xa waits (35)\n"
    "  RetryInterval [RETRY_INTERVAL]     the first wait after an error (10)\n"
    "  RequestTimeout [REQUEST_TIMEOUT]   of a branch call (3)\n"
    "  AlertWebHook [ALERT_WEB_HOOK]      a URL that is told of branches that keep failing:\n"
    "                                     POST {gid, status, branch, error, retry_count}\n"
    "  AlertRetryLimit [ALERT_RETRY_LIMIT]\n"
    "                                     from which error in a row on (3)\n"
    "  LogLevel [LOG_LEVEL]               debug, info, warn or error (info)\n"
    "  LogFormat [LOG_FORMAT]             text; json: an object a line; events: json, and what\n"
    "                                     happens to each transaction (text)\n"
    "  Desk [DTM_DESK]                    on or off: a page for people at /desk (on)\n"
    "  Store.FinishedDataExpire [STORE_FINISHED_DATA_EXPIRE]\n"
    "                                     how long finished transactions are kept (86400)\n"
    "  Store.FinishedGidExpire [STORE_FINISHED_GID_EXPIRE]\n"
    "                                     how long their gids are, so that none runs again "
    "(604800)\n"
    "  Store.History [STORE_HISTORY]      as --history\n"
    "  NodeName [NODE_NAME]               what people call this server (its machine and process)\n"
    "  Store.Url [STORE_URL]              as --store; a password may be in it\n"
    "  Store.Lease [STORE_LEASE]          of --store: after so much silence of a server the "
    "others\n"
    "                                     take over; the same for all: 0.6 to 60 (1.2)\n"
    "  Store.Timeout [STORE_TIMEOUT]      of --store: how long the database may take for an "
    "answer,\n"
    "                                     1 to 60 (5)\n"
    "  Store.Schema [STORE_SCHEMA]        of --store, PostgreSQL: where the tables are\n"
    "The command line counts before the file, the file before the environment.\n";

namespace server_config {

inline const std::map<std::string, std::string> kEnvironment = {
    {"HttpPort", "HTTP_PORT"},
    {"TimeoutToFail", "TIMEOUT_TO_FAIL"},
    {"RetryInterval", "RETRY_INTERVAL"},
    {"RequestTimeout", "REQUEST_TIMEOUT"},
    {"AlertWebHook", "ALERT_WEB_HOOK"},
    {"AlertRetryLimit", "ALERT_RETRY_LIMIT"},
    {"Store.History", "STORE_HISTORY"},
    {"NodeName", "NODE_NAME"},
    {"LogLevel", "LOG_LEVEL"},
    {"LogFormat", "LOG_FORMAT"},
    {"Desk", "DTM_DESK"},
    {"Store.Driver", "STORE_DRIVER"},
    {"Store.Url", "STORE_URL"},
    {"Store.Lease", "STORE_LEASE"},
    {"Store.Timeout", "STORE_TIMEOUT"},
    {"Store.Schema", "STORE_SCHEMA"},
    {"Store.FinishedDataExpire", "STORE_FINISHED_DATA_EXPIRE"},
    {"Store.FinishedGidExpire", "STORE_FINISHED_GID_EXPIRE"}};

inline int Number(const std::string& name, const std::string& text, int smallest, int largest) {
  const bool digits = !text.empty() && text.size() <= 9 &&
                      text.find_first_not_of("0123456789") == std::string::npos;
  const int value = digits ? std::stoi(text) : -1;
  if (value < smallest || value > largest) {
    throw BadSetting(name + " is '" + text + "'; it must be a number from " +
                     std::to_string(smallest) + " to " + std::to_string(largest));
  }
  return value;
}

/// Of seconds with up to three decimals.
inline std::chrono::milliseconds Lease(const std::string& name, const std::string& text) {
  const std::size_t point = text.find('.');
  std::string digits = text;
  if (point == std::string::npos) {
    digits += "000";
  } else {
    digits.erase(point, 1).append("000").resize(point + 3);
    if (text.size() > point + 4) digits.clear();
  }
  const bool good = !digits.empty() && digits.size() <= 5 &&
                    digits.find_first_not_of("0123456789") == std::string::npos;
  const int value = good ? std::stoi(digits) : 0;
  if (value < 600 || value > 60000) {
    throw BadSetting(name + " is '" + text + "'; it must be a time in seconds from 0.6 to 60");
  }
  return std::chrono::milliseconds(value);
}

inline void Set(ServerConfig& config, const std::string& name, const std::string& value) {
  const auto seconds = [&] { return std::chrono::seconds(Number(name, value, 1, 86400)); };
  if (name == "HttpPort") {
    config.port = Number(name, value, 0, 65535);
  } else if (name == "RetryInterval") {
    config.coordinator.retry_interval = seconds();
  } else if (name == "TimeoutToFail") {
    config.coordinator.timeout_to_fail = seconds();
  } else if (name == "RequestTimeout") {
    config.coordinator.request_timeout = seconds();
  } else if (name == "AlertWebHook") {
    try {
      config.coordinator.on_alert = dtm::AlertWebHook(value, ServerTls());
    } catch (const dtm::Error& error) {
      throw BadSetting("AlertWebHook: " + std::string(error.what()));
    }
  } else if (name == "AlertRetryLimit") {
    config.coordinator.alert_retry_limit =
        static_cast<std::uint32_t>(Number(name, value, 0, 1000000));
  } else if (name == "Store.History" || name == "--history") {
    config.coordinator.history =
        static_cast<unsigned>(Number(name, value, 0, static_cast<int>(dtm::kLastAttempts)));
  } else if (name == "NodeName") {
    config.coordinator.node_name = value;
  } else if (name == "Store.FinishedDataExpire") {
    config.coordinator.keep_finished = std::chrono::seconds(Number(name, value, 1, 100000000));
  } else if (name == "Store.FinishedGidExpire") {
    config.coordinator.keep_gids = std::chrono::seconds(Number(name, value, 0, 999999999));
  } else if (name == "Store.Driver") {
    if (value != "sqlite" && value != "sqlite3") {
      throw BadSetting("Store.Driver is '" + value +
                       "'; this server stores in SQLite (--db FILE) or where --store URL says, and "
                       "never in the tables of the Go server");
    }
  } else if (name == "Store.Url") {
    config.store.url = value;
  } else if (name == "Store.Lease") {
    config.store.lease = Lease(name, value);
  } else if (name == "Store.Timeout") {
    config.store.timeout = std::chrono::seconds(Number(name, value, 1, 60));
  } else if (name == "Store.Schema") {
    config.store.schema = value;
  } else if (name == "Desk") {
    config.desk = dtm::Lowered(value) == "on";
    if (!config.desk && dtm::Lowered(value) != "off") {
      throw BadSetting("Desk is '" + value + "'; it must be on or off");
    }
  } else if (name == "LogLevel") {
    const std::string level = dtm::Lowered(value);
    config.least_logged = level == "error"  ? dtm::LogLevel::kError
                          : level == "warn" ? dtm::LogLevel::kWarning
                                            : dtm::LogLevel::kInfo;
    if (level != "debug" && level != "info" && level != "warn" && level != "error") {
      throw BadSetting("LogLevel is '" + value + "'; it must be debug, info, warn or error");
    }
  } else if (name == "LogFormat") {
    const std::string format = dtm::Lowered(value);
    if (format != "text" && format != "json" && format != "events") {
      throw BadSetting("LogFormat is '" + value + "'; it must be text, json or events");
    }
    config.json_log = format != "text";
    config.log_events = format == "events";
  } else {
    std::fprintf(stderr, "dtm-server: the setting %s is not known here; it is ignored\n",
                 name.c_str());
  }
}

/// `Name: value` lines; what is indented below `Store:` is Store.Name. Quotes and # comments go, and so do the marks
/// of a YAML document: a byte order mark, `---` at its begin and `...` at its end.
inline void ReadFile(ServerConfig& config, const std::string& path) {
  std::ifstream file(path);
  if (!file) throw BadSetting("the settings file '" + path + "' cannot be read; check the path");
  std::string section;
  bool first = true, any = false;
  for (std::string line; std::getline(file, line); first = false) {
    if (first && line.compare(0, 3, "\xEF\xBB\xBF") == 0) line.erase(0, 3);
    const std::string bare = line.substr(0, line.find('#'));
    const auto trimmed = [](const std::string& text) {
      const char* blanks = " \t\r'\"";
      const std::size_t begin = text.find_first_not_of(blanks);
      if (begin == std::string::npos) return std::string();
      return text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
    };
    const std::string text = trimmed(bare);
    if (text == "..." || (text == "---" && any)) return;  // only the first document counts
    if (text.empty() || text == "---") continue;
    any = true;
    const std::size_t colon = bare.find(':');
    if (colon == std::string::npos) {
      throw BadSetting(path + ": the line '" + line + "' is not `Name: value`");
    }
    const bool indented = bare[0] == ' ' || bare[0] == '\t';
    if (!indented) section.clear();
    const std::string name = section + trimmed(bare.substr(0, colon));
    const std::string value = trimmed(bare.substr(colon + 1));
    if (!indented && value.empty()) {
      section = name + ".";
    } else {
      Set(config, name, value);
    }
  }
}

inline void Listen(ServerConfig& config, const std::string& where) {
  const std::size_t colon = where.rfind(':');
  if (colon == std::string::npos || colon == 0) {
    throw BadSetting("--listen is '" + where + "'; it must be HOST:PORT, such as 127.0.0.1:36789");
  }
  config.host = where.substr(0, colon);
  if (config.host.front() == '[' && config.host.back() == ']') {
    config.host = config.host.substr(1, config.host.size() - 2);
  }
  config.port = Number("the port of --listen", where.substr(colon + 1), 0, 65535);
}

}  // namespace server_config

/// To stderr, as LogLevel and LogFormat say.
inline void SetLog(ServerConfig& config) {
  config.coordinator.log = [least = config.least_logged,
                            json = config.json_log](const dtm::LogLine& line) {
    if (line.level < least) return;
    json ? dtm::LogAsJson(line) : dtm::LogToStderr(line.level, line.text);
  };
  if (!config.log_events) return;
  config.coordinator.on_event = [](const dtm::Event& event) {
    std::fputs((JsonLine(event) + "\n").c_str(), stderr);
  };
}

/// @throws BadSetting
inline ServerConfig ReadConfig(const std::vector<std::string>& arguments) {
  ServerConfig config;
  std::map<std::string, std::string> flags;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& flag = arguments[i];
    if (flag == "--help" || flag == "-h") {
      config.help = true;
    } else if (flag == "--version" || flag == "-v") {
      config.version = true;
    } else if (flag == "--db" || flag == "--store" || flag == "--listen" || flag == "--token" ||
               flag == "--history" || flag == "-c") {
      if (i + 1 == arguments.size()) throw BadSetting(flag + " needs a value; see --help");
      flags[flag] = arguments[++i];
    } else {
      throw BadSetting("'" + flag + "' is not known; see --help");
    }
  }
  for (const auto& [name, variable] : server_config::kEnvironment) {
    const char* value = std::getenv(variable.c_str());
    if (value != nullptr && *value != '\0') server_config::Set(config, name, value);
  }
  if (const char* token = std::getenv("DTM_TOKEN")) config.server.token = token;
  if (flags.count("-c") > 0) server_config::ReadFile(config, flags["-c"]);
  if (flags.count("--db") > 0 && flags.count("--store") > 0) {
    throw BadSetting("--db and --store are two stores; give one of them");
  }
  if (flags.count("--db") > 0) {
    config.db = flags["--db"];
    config.store.url.clear();
  }
  if (flags.count("--store") > 0) {
    config.store.url = flags["--store"];
    config.store.is_public = true;
    if (config.store.url.empty()) throw BadSetting("--store is empty; see --help");
  }
  if (flags.count("--listen") > 0) server_config::Listen(config, flags["--listen"]);
  if (flags.count("--token") > 0) config.server.token = flags["--token"];
  if (flags.count("--history") > 0) server_config::Set(config, "--history", flags["--history"]);
  SetLog(config);
  return config;
}
