/// The modules of dtm-server: what needs libraries that most servers never use. Each is a file that is loaded when it is needed,
/// so a server that keeps a file and calls http has a third less memory.
/// Needs: dlopen. Threads: any.
#pragma once

#include <dlfcn.h>
#include <memory>
#include <mutex>
#include <string>

#include <dtm/http.hpp>

/// The function `name` of dtm-server-`module`.so, which is where the program's RPATH leads to. It stays loaded.
/// @throws dtm::Error  there is no such file, or it is not of this program.
template <typename Function>
Function* FromModule(const char* module, const char* name) {
  const std::string file = std::string("dtm-server-") + module + ".so";
  void* const loaded = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (loaded == nullptr) {
    const char* const reason = ::dlerror();
    throw dtm::Error("its module cannot be loaded: " +
                     std::string(reason == nullptr ? file : reason));
  }
  const auto version = reinterpret_cast<const char* (*)()>(::dlsym(loaded, "DtmVersion"));
  const auto function = reinterpret_cast<Function*>(::dlsym(loaded, name));
  if (version == nullptr || function == nullptr || std::string(version()) != dtm::kVersion) {
    throw dtm::Error("the file " + file + " belongs to another version than this program, " +
                     dtm::kVersion);
  }
  return function;
}

/// TLS that is loaded when the first https URL is called, which takes a few milliseconds.
class LateTls : public dtm::TlsClient {
 public:
  std::unique_ptr<dtm::transport::TlsSession> Connect(int fd, const std::string& host) override {
    std::call_once(loaded_, [this] {
      try {
        FromModule<void(std::shared_ptr<dtm::TlsClient>&)>("tls", "DtmTls")(client_);
      } catch (const dtm::Error& error) {
        throw dtm::Error("https is not possible: " + std::string(error.what()));
      }
    });
    return client_->Connect(fd, host);
  }

 private:
  std::once_flag loaded_;
  std::shared_ptr<dtm::TlsClient> client_;
};
