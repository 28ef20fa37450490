#ifndef THERMOGRAD_TLS_CERTIFICATES_H_
#define THERMOGRAD_TLS_CERTIFICATES_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "grpc/grpc_security.h"
#include "grpcpp/security/server_credentials.h"
#include "service/reloaded_files.h"

namespace thermograd {

/// The server's certificate, its key and the authorities that sign clients' certificates, in PEM
/// files that may change while the server runs. What cannot be used is refused before it is handed
/// on, because gRPC's own file watcher would let a broken file end every new connection.
class TlsCertificates {
 public:
  /// Reads the files. `client_ca_file` empty: clients need no certificate.
  static absl::StatusOr<std::unique_ptr<TlsCertificates>> Open(std::string certificate_file,
                                                               std::string key_file,
                                                               std::string client_ca_file);

  /// Credentials of a port, whose new connections use the latest certificates. Must not outlive
  /// this.
  std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials();

  /// Takes up what the files hold now: true if that is new. After an error, which is told once,
  /// what was in use stays so. To be called now and then, by one thread.
  absl::StatusOr<bool> Reload();

  /// When the certificate in use, or one of its chain, expires first: seconds since 1970.
  int64_t expiry() const;

 private:
  struct Pem {
    std::string chain;
    std::string key;
    std::string client_ca;
    int64_t expiry = 0;
  };

  TlsCertificates(std::string certificate_file, std::string key_file, std::string client_ca_file);

  absl::StatusOr<Pem> Check(const service::ReloadedFiles::Contents& contents) const;
  absl::Status TakeUp(const absl::StatusOr<service::ReloadedFiles::Contents>& contents);
  static grpc_ssl_certificate_config_reload_status Fetch(
      void* certificates, grpc_ssl_server_certificate_config** config);

  const bool wants_client_certificates_;
  service::ReloadedFiles files_;
  mutable std::mutex mutex_;
  Pem pem_;
  bool is_fetched_ = false;
};

}  // namespace thermograd

#endif  // THERMOGRAD_TLS_CERTIFICATES_H_
