/// The store of dtm-server that several servers may share: what --store names, opened, or a sentence that says what is
/// wrong and what to do. No password is in any text that is made here.
/// Needs: dtm/http.hpp; the stores themselves are modules (server/postgres.cpp, server/mysql.cpp). Threads: one.
#pragma once

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>

#include "server_module.hpp"
#include <dtm/http.hpp>

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
