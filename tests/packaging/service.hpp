/// A service with one branch, in this process. It counts requests and answers each with 200.
#pragma once

#include <atomic>
#include <netinet/in.h>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

class Service {
 public:
  Service() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    (void)::bind(fd_, reinterpret_cast<sockaddr*>(&address), size);
    (void)::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    (void)::listen(fd_, 16);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Serve(); });
  }
  ~Service() {
    ::shutdown(fd_, SHUT_RDWR);
    thread_.join();
    ::close(fd_);
  }
  std::string Url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/in"; }

  std::atomic<int> calls{0};

 private:
  /// One request for each connection; it fits into a packet.
  void Serve() {
    for (int one = -1; (one = ::accept(fd_, nullptr, nullptr)) >= 0; ::close(one)) {
      char request[4096];
      if (::recv(one, request, sizeof request, 0) <= 0) continue;
      ++calls;
      const std::string answer =
          "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
      (void)::send(one, answer.data(), answer.size(), MSG_NOSIGNAL);
    }
  }

  int fd_;
  int port_ = 0;
  std::thread thread_;
};
