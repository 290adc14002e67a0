/// Where the database of an example is: environment variables, which examples/run.sh sets.
#pragma once

#include <charconv>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <system_error>

inline std::string Setting(const char* name, const char* otherwise) {
  const char* const value = std::getenv(name);
  return value != nullptr ? value : otherwise;
}

/// `what`: where it was set, for the error.
inline unsigned Port(const std::string& what, const std::string& text) {
  unsigned port = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, port);
  if (error == std::errc() && rest == end && port >= 1 && port <= 65535) return port;
  throw std::runtime_error(what + " has the port '" + text +
                           "'; a port is a number from 1 to 65535");
}
