/// A key and a certificate for 127.0.0.1 that is signed by itself, for servers of tests. Needs: the program openssl.
#pragma once

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace dtm_test {

/// Makes NAME.key and NAME.pem in this folder.
inline void MakeSelfSigned(const std::string& folder, const std::string& name) {
  const std::string at = "'" + folder + "/" + name;
  const std::string command =
      "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext "
      "subjectAltName=IP:127.0.0.1 -keyout " +
      at + ".key' -out " + at + ".pem' 2>/dev/null && chmod 644 " + at + ".pem'";
  if (std::system(command.c_str()) != 0) throw std::runtime_error("openssl made no certificate");
}

}  // namespace dtm_test
