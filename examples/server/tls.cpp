/// The module of dtm-server that calls https. Needs: OpenSSL. Threads: any.
#include <memory>

#include <dtm/base/version.hpp>
#include <dtm/http/tls.hpp>

extern "C" const char* DtmVersion() { return dtm::kVersion; }

extern "C" void DtmTls(std::shared_ptr<dtm::TlsClient>& client) { client = dtm::Tls(); }
