/// The tables of requests at two dtm-server on one database: see tests/support/two_servers.hpp. What the branches of a table
/// say by their url, a service says here.
/// Needs: POSIX sockets. Threads: those of RawServer; the rest by one thread.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "tests/http/raw_server.hpp"
#include "tests/support/two_servers.hpp"

namespace dtm_test {

class TwoNodes {
 public:
  explicit TwoNodes(const std::string& token) : servers_(token) {}

  int Port() const { return servers_.Port(); }

  /// A whole request as it is sent: its branches are at the service.
  std::string ToServers(std::string request) const {
    std::size_t more = 0;
    for (const auto& [word, reply] : Replies()) {
      const std::string scripted = "http://b/" + word + "\"";
      const std::string served = service_.Url("/" + word) + "\"";
      for (std::size_t at = 0; (at = request.find(scripted, at)) != std::string::npos;) {
        request.replace(at, scripted.size(), served);
        more += served.size() - scripted.size();
        at += served.size();
      }
    }
    const std::string name = "Content-Length: ";
    const std::size_t at = request.find(name);
    if (more == 0 || at == std::string::npos) return request;
    const std::size_t end = request.find("\r\n", at);
    const std::size_t length = std::stoul(request.substr(at + name.size(), end - at));
    return request.replace(at, end - at, name + std::to_string(length + more));
  }
  /// The body of a reply as a table expects it.
  std::string FromServers(std::string body) const {
    const std::string served = service_.Url("/");
    for (std::size_t at = 0; (at = body.find(served, at)) != std::string::npos;) {
      body.replace(at, served.size(), "http://b/");
    }
    return body;
  }

 private:
  static const std::vector<std::pair<std::string, std::string>>& Replies() {
    static const std::vector<std::pair<std::string, std::string>> replies = {
        {"ok", RawServer::Ok()},
        {"fail", Says(409, "no money")},
        {"wait", Says(425, "later")},
        {"error", Says(500, "boom")}};
    return replies;
  }
  static std::string Says(int status, const std::string& body) {
    return "HTTP/1.1 " + std::to_string(status) +
           " Said\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }
  static void Serve(int fd) {
    for (std::string request; !(request = RawServer::ReadRequest(fd)).empty();) {
      const std::string target = request.substr(0, request.find('?'));
      const std::string word = target.substr(target.rfind('/') + 1);
      for (const auto& [name, reply] : Replies()) {
        if (name == word && !RawServer::Write(fd, reply)) return;
      }
    }
  }

  RawServer service_{[](int fd, int) { Serve(fd); }};
  TwoServers servers_;
};

}  // namespace dtm_test
