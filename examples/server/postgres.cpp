/// The module of dtm-server that keeps its store in PostgreSQL. Needs: libpq. Threads: one.
#include <map>
#include <string>

#include "../server_store.hpp"
#include <dtm/base/version.hpp>
#include <dtm/store/postgres/postgres_store.hpp>

namespace {

using server_store::RefusePassword;
using server_store::SetTimes;

constexpr const char kPgPassword[] =
    "put it into ~/.pgpass (host:port:database:user:password, mode 0600) or into PGPASSWORD";

/// What libpq would use: its defaults, from the environment too, and over them what was given.
std::map<std::string, std::string> PostgresParts(const std::string& conninfo) {
  std::map<std::string, std::string> parts;
  const auto take = [&parts](PQconninfoOption* options) {
    for (const PQconninfoOption* each = options; each != nullptr && each->keyword != nullptr;
         ++each) {
      if (each->val != nullptr && *each->val != '\0') parts[each->keyword] = each->val;
    }
    PQconninfoFree(options);
  };
  take(PQconndefaults());
  parts.erase("password");  // of the environment, which is the place for it
  take(PQconninfoParse(conninfo.c_str(), nullptr));
  return parts;
}

/// PostgreSQL says what is wrong, but not what to do about it.
std::string PostgresHint(const std::string& problem) {
  const auto says = [&problem](const char* text) {
    return problem.find(text) != std::string::npos;
  };
  if (says("password")) return std::string("; ") + kPgPassword;
  if (says("database \"") && says("does not exist")) {
    return "; make it: CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0";
  }
  if (says("role \"") && says("does not exist")) return "; name the user in --store, or create it";
  if (says("no connection")) return "; check host and port in --store";
  return "";
}

SharedDatabase OpenPostgres(const StoreSettings& settings) {
  dtm::PgClient::CheckConninfo(settings.url);
  std::map<std::string, std::string> parts = PostgresParts(settings.url);
  if (parts.count("password") > 0) RefusePassword(settings.is_public, kPgPassword);
  dtm::PostgresStoreOptions options;
  SetTimes(settings, options);
  options.schema = settings.schema;
  SharedDatabase opened;
  const std::string database = parts.count("dbname") > 0 ? parts["dbname"] : parts["user"];
  const std::string host = parts.count("hostaddr") > 0 ? parts["hostaddr"] : parts["host"];
  opened.name =
      "PostgreSQL " + database + (host.empty() ? "" : " at " + host + ":" + parts["port"]);
  try {
    opened.store = dtm::PostgresStore(settings.url, options);
  } catch (const dtm::StoreError& error) {
    throw BadSetting("the store cannot be used: " + std::string(error.what()) +
                     PostgresHint(error.what()));
  }
  return opened;
}

}  // namespace

extern "C" const char* DtmVersion() { return dtm::kVersion; }

/// @throws BadSetting
extern "C" void DtmOpenStore(const StoreSettings& settings, SharedDatabase& opened) {
  opened = OpenPostgres(settings);
}
