/// A service with one branch, in this process.
#pragma once

#include <atomic>
#include <string>
#include <thread>

#include <httplib.h>

class Service {
 public:
  Service() {
    server_.Post("/in", [this](const httplib::Request&, httplib::Response&) { ++calls; });
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::yield();
  }
  ~Service() {
    server_.stop();
    thread_.join();
  }
  std::string Url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/in"; }

  std::atomic<int> calls{0};

 private:
  httplib::Server server_;
  int port_ = 0;
  std::thread thread_;
};
