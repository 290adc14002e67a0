/// Our parser and cpp-httplib's over the same bytes; parsers.py sends them, and compares both with llhttp.
/// Needs: httplib. Each line of the input is `request HEX` or `reply HEX`, the bytes of one connection; the answer is a
/// line of JSON, `{"ours": {...}, "httplib": {...}}`, in which all texts are in hex. cpp-httplib is asked about what we
/// take.
#include <chrono>
#include <cstddef>
#include <iostream>
#include <memory>
#include <netinet/in.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <utility>

#include <httplib.h>
#include <nlohmann/json.hpp>

#include "tests/http/http1/parsed_message.hpp"

namespace {

using Json = nlohmann::json;
using Kind = dtm::http1::HeadParser::Kind;

std::string ToHex(std::string_view bytes) {
  std::string hex;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    hex += "0123456789abcdef"[byte / 16];
    hex += "0123456789abcdef"[byte % 16];
  }
  return hex;
}

std::string FromHex(std::string_view hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  return bytes;
}

Json Ours(Kind kind, std::string_view bytes) {
  const dtm_test::ParsedMessage message = dtm_test::Parse(kind, bytes);
  Json headers = Json::array();
  for (const auto& [name, value] : message.fields) headers.push_back({ToHex(name), ToHex(value)});
  return {{"whole", message.Whole()},      {"why", message.why},
          {"first", ToHex(message.first)}, {"headers", std::move(headers)},
          {"body", ToHex(message.body)},   {"rest", message.rest.size()}};
}

/// A socket of the loopback that listens.
struct Listener {
  Listener() : fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    (void)::bind(fd, reinterpret_cast<sockaddr*>(&address), size);
    (void)::listen(fd, 8);
    (void)::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  }
  ~Listener() { ::close(fd); }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  int Port() const { return ntohs(address.sin_port); }
  int fd;
  sockaddr_in address{};
};

/// Sends the bytes, perhaps the end behind them, and reads until the other side ends.
std::string Exchange(int fd, std::string_view bytes, bool end) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) break;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  if (end) (void)::shutdown(fd, SHUT_WR);
  std::string got;
  char buffer[4096];
  for (ssize_t size = 0; (size = ::recv(fd, buffer, sizeof buffer, 0)) > 0;)
    got.append(buffer, static_cast<std::size_t>(size));
  ::close(fd);
  return got;
}

/// cpp-httplib's server, which answers with what it has understood.
class Server {
 public:
  Server() {
    const auto tell = [](const httplib::Request& request, httplib::Response& response) {
      response.set_content(Json{{"whole", true},
                                {"first", ToHex(request.method + " " + request.target)},
                                {"body", ToHex(request.body)}}
                               .dump(),
                           "application/json");
      response.set_header("X-Understood", "yes");
    };
    server_.Get(".*", tell);
    server_.Post(".*", tell);
    server_.Put(".*", tell);
    server_.Patch(".*", tell);
    server_.Delete(".*", tell);
    server_.Options(".*", tell);
    server_.set_keep_alive_max_count(1);
    server_.set_tcp_nodelay(true);
    server_.set_read_timeout(std::chrono::milliseconds(200));
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
  }
  ~Server() {
    server_.stop();
    thread_.join();
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  Json Understands(std::string_view bytes) const {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(static_cast<std::uint16_t>(port_));
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to);
    const std::string answer = Exchange(fd, bytes, false);
    const std::size_t at = answer.find("\r\n\r\n{");
    if (answer.find("X-Understood: yes\r\n") > at || at == std::string::npos)
      return {{"whole", false}};
    return Json::parse(answer.substr(at + 4), nullptr, false);
  }

 private:
  httplib::Server server_;
  int port_ = 0;
  std::thread thread_;
};

/// cpp-httplib's client, which is answered with the bytes.
Json ClientUnderstands(std::string_view bytes) {
  const Listener listener;
  std::thread answerer([&] {
    const int fd = ::accept4(listener.fd, nullptr, nullptr, SOCK_CLOEXEC);
    std::string request;
    char buffer[4096];
    while (request.find("\r\n\r\n") == std::string::npos) {
      const ssize_t size = ::recv(fd, buffer, sizeof buffer, 0);
      if (size <= 0) break;
      request.append(buffer, static_cast<std::size_t>(size));
    }
    (void)Exchange(fd, bytes, true);
  });
  Json told{{"whole", false}};
  {
    httplib::Client client("127.0.0.1", listener.Port());
    client.set_decompress(false);
    const httplib::Result result = client.Get("/");
    if (result) {
      told = {{"whole", true},
              {"first", ToHex(std::to_string(result->status))},
              {"body", ToHex(result->body)}};
    }
  }
  answerer.join();
  return told;
}

}  // namespace

int main() {
  const Server server;
  for (std::string line; std::getline(std::cin, line);) {
    const bool request = line.rfind("request ", 0) == 0;
    const std::string bytes = FromHex(std::string_view(line).substr(line.find(' ') + 1));
    Json told{{"ours", Ours(request ? Kind::kRequest : Kind::kReply, bytes)},
              {"httplib", Json{{"whole", false}}}};
    if (told["ours"]["whole"]) {
      told["httplib"] = request ? server.Understands(bytes) : ClientUnderstands(bytes);
    }
    std::cout << told.dump() << std::endl;
  }
}
