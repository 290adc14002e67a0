/// Generated from include/dtm/http/tls.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../dtm.hpp"

#include "../http.hpp"

// ---- dtm/http/tls.hpp --------------------------------------------------------------------------

/// https by OpenSSL, for programs that call https: `dtm::HttpBranchOptions options; options.tls = dtm::Tls();`
/// Needs: OpenSSL 1.1.1 or newer (link dtm::tls, or -lssl -lcrypto). Threads: thread-safe; a session belongs to its connection.
///
/// The server's certificate is always verified: by the system's certificates, those of the file that the variable
/// SSL_CERT_FILE names, or only by those of TlsOptions::ca_file.

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <optional>
#include <string>
#include <sys/socket.h>
#include <utility>

namespace dtm {
inline namespace v1 {

/// Whose certificates are trusted, and what this program shows of itself.
struct TlsOptions {
  std::string ca_file;  ///< PEM: trusted instead of the system's certificates; empty = those
  std::string
      certificate_file;  ///< PEM: shown to servers that ask for one, with what leads to its root; empty = none
  std::string key_file;  ///< PEM: its key; empty = it is in certificate_file
};

namespace transport {

/// What OpenSSL says of its last failure on this thread.
inline std::string OpenSslProblem() {
  const unsigned long code = ERR_peek_last_error();
  const char* const reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  return reason == nullptr ? std::string() : reason;
}

/// The socket as OpenSSL reads and writes it; its own would raise SIGPIPE.
class SocketBio {
 public:
  /// @throws Error  OpenSSL fails.
  SocketBio() : method_(BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "dtm socket")) {
    if (method_ == nullptr) throw Error("OpenSSL gives no BIO: " + OpenSslProblem());
    BIO_meth_set_write(method_, [](BIO* bio, const char* from, int size) {
      return Told(bio, SendSome(Fd(bio), from, static_cast<std::size_t>(size)), false);
    });
    BIO_meth_set_read(method_, [](BIO* bio, char* to, int size) {
      return Told(bio, ReceiveSome(Fd(bio), to, static_cast<std::size_t>(size)), true);
    });
    BIO_meth_set_ctrl(method_, [](BIO*, int command, long, void*) -> long {
      return command == BIO_CTRL_FLUSH ? 1 : 0;
    });
  }
  ~SocketBio() { BIO_meth_free(method_); }
  SocketBio(const SocketBio&) = delete;
  SocketBio& operator=(const SocketBio&) = delete;

  BIO* Make(int fd) const {
    BIO* const bio = BIO_new(method_);
    if (bio == nullptr) return nullptr;
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the data of a BIO is a pointer, and never followed
    BIO_set_data(bio, reinterpret_cast<void*>(static_cast<std::intptr_t>(fd)));
    BIO_set_init(bio, 1);
    return bio;
  }

 private:
  static int Fd(BIO* bio) {
    return static_cast<int>(reinterpret_cast<std::intptr_t>(BIO_get_data(bio)));
  }
  static int Told(BIO* bio, const Moved& moved, bool reading) {
    BIO_clear_retry_flags(bio);
    if (moved.kind == Moved::Kind::kSome) return static_cast<int>(moved.size);
    if (moved.kind == Moved::Kind::kEnd) return 0;
    if (moved.kind == Moved::Kind::kWait) {
      reading ? BIO_set_retry_read(bio) : BIO_set_retry_write(bio);
    }
    return -1;
  }

  BIO_METHOD* method_;
};

class OpenSslSession final : public TlsSession {
 public:
  explicit OpenSslSession(SSL* ssl) : ssl_(ssl) {}
  ~OpenSslSession() override { SSL_free(ssl_); }
  OpenSslSession(const OpenSslSession&) = delete;
  OpenSslSession& operator=(const OpenSslSession&) = delete;

  Moved Handshake() override {
    ERR_clear_error();
    return After(SSL_do_handshake(ssl_));
  }
  Moved Receive(char* to, std::size_t size) override {
    ERR_clear_error();
    return After(SSL_read(ssl_, to, Length(size)));
  }
  Moved Send(const char* from, std::size_t size) override {
    ERR_clear_error();
    return After(SSL_write(ssl_, from, Length(size)));
  }
  std::string Problem() const override { return problem_; }

 private:
  static int Length(std::size_t size) {
    return static_cast<int>((std::min)(size, std::size_t{INT_MAX}));
  }

  Moved After(int done) {
    if (done > 0) return Moved::Some(static_cast<std::size_t>(done));
    switch (SSL_get_error(ssl_, done)) {
      case SSL_ERROR_WANT_READ:
      case SSL_ERROR_WANT_WRITE: return {Moved::Kind::kWait, 0};
      case SSL_ERROR_ZERO_RETURN: return {Moved::Kind::kEnd, 0};
      default: break;
    }
    const long verified = SSL_get_verify_result(ssl_);
    if (verified != X509_V_OK) {
      problem_ =
          std::string("its certificate is not trusted: ") + X509_verify_cert_error_string(verified);
    } else {
      problem_ = OpenSslProblem();
    }
    return {Moved::Kind::kBroken, 0};
  }

  SSL* const ssl_;
  std::string problem_;
};

/// What all sessions of a client have in common.
class OpenSslContext {
 public:
  /// @throws Error  OpenSSL fails, or a file that the options name cannot be used.
  explicit OpenSslContext(const TlsOptions& options) : context_(SSL_CTX_new(TLS_client_method())) {
    if (context_ == nullptr) throw Error("OpenSSL cannot be used: " + OpenSslProblem());
    try {
      SetUp(options);
    } catch (...) {
      SSL_CTX_free(context_);
      throw;
    }
  }
  ~OpenSslContext() { SSL_CTX_free(context_); }
  OpenSslContext(const OpenSslContext&) = delete;
  OpenSslContext& operator=(const OpenSslContext&) = delete;

  /// @throws Error  OpenSSL fails.
  std::unique_ptr<TlsSession> Connect(int fd, const std::string& host) const {
    SSL* const ssl = SSL_new(context_);
    BIO* const bio = ssl == nullptr ? nullptr : bio_.Make(fd);
    if (bio == nullptr) {
      SSL_free(ssl);
      throw Error("OpenSSL gives no session: " + OpenSslProblem());
    }
    auto session = std::make_unique<OpenSslSession>(ssl);
    SSL_set_bio(ssl, bio, bio);
    SocketAddress figures;
    const bool is_address = SocketAddress::FromFigures(host, 0, figures);
    const bool set = is_address
                         ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host.c_str()) == 1
                         : SSL_set1_host(ssl, host.c_str()) == 1 &&
                               SSL_set_tlsext_host_name(ssl, host.c_str()) == 1;
    if (!set) throw Error("OpenSSL does not take the name " + host + ": " + OpenSslProblem());
    SSL_set_connect_state(ssl);
    return session;
  }

 private:
  void SetUp(const TlsOptions& options) {
    SSL_CTX_set_min_proto_version(context_, TLS1_2_VERSION);
    SSL_CTX_set_verify(context_, SSL_VERIFY_PEER, nullptr);
    SSL_CTX_set_mode(context_, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                   SSL_MODE_RELEASE_BUFFERS);
    if (options.ca_file.empty()) {
      (void)SSL_CTX_set_default_verify_paths(context_);
    } else if (SSL_CTX_load_verify_locations(context_, options.ca_file.c_str(), nullptr) != 1) {
      throw Error("the file of trusted certificates '" + options.ca_file +
                  "' cannot be used: " + OpenSslProblem());
    }
    if (options.certificate_file.empty()) return;
    const std::string& key = options.key_file.empty() ? options.certificate_file : options.key_file;
    if (SSL_CTX_use_certificate_chain_file(context_, options.certificate_file.c_str()) != 1) {
      throw Error("the certificate file '" + options.certificate_file +
                  "' cannot be used: " + OpenSslProblem());
    }
    if (SSL_CTX_use_PrivateKey_file(context_, key.c_str(), SSL_FILETYPE_PEM) != 1) {
      throw Error("the key file '" + key + "' cannot be used: " + OpenSslProblem());
    }
  }

  SSL_CTX* const context_;
  const SocketBio bio_;
};

class OpenSslClient final : public TlsClient {
 public:
  /// Mistakes in files that were named are said here. Else OpenSSL and the system's certificates take time and memory only of
  /// programs that call by https.
  /// @throws Error  as OpenSslContext.
  explicit OpenSslClient(TlsOptions options) : options_(std::move(options)) {
    if (!options_.ca_file.empty() || !options_.certificate_file.empty()) (void)Context();
  }

  std::unique_ptr<TlsSession> Connect(int fd, const std::string& host) override {
    return Context().Connect(fd, host);
  }

 private:
  const OpenSslContext& Context() {
    std::call_once(made_, [this] { context_.emplace(options_); });
    return *context_;
  }

  const TlsOptions options_;
  std::once_flag made_;
  std::optional<OpenSslContext> context_;
};

}  // namespace transport

/// @throws Error  a file cannot be used.
inline std::shared_ptr<TlsClient> Tls(const TlsOptions& options = {}) {
  return std::make_shared<transport::OpenSslClient>(options);
}

}  // namespace v1
}  // namespace dtm
