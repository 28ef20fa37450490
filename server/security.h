#ifndef THERMOGRAD_SECURITY_H_
#define THERMOGRAD_SECURITY_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"
#include "service/access.h"
#include "service/service_counters.h"
#include "tls_certificates.h"

namespace thermograd {

/// Who may talk to the server, and how: what the flags of security.cc say.
class Security {
 public:
  /// Reads the files that the flags name. An error says which flag keeps the server from starting,
  /// such as one that would make it listen to a network in plain text. `counters` outlives this.
  static absl::StatusOr<std::unique_ptr<Security>> FromFlags(const std::string& listen_address,
                                                             const std::string& http_address,
                                                             service::ServiceCounters* counters);

  /// Of the port where trainers connect. Must not outlive this.
  std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials() const;

  /// Offers reflection, by which everybody may list the calls, or not.
  void SetUpReflection(grpc::ServerBuilder* builder) const;

  /// Tokens of the tenants, and who may read /metrics; null: everybody.
  const service::AccessFile* tokens() const { return tokens_.get(); }
  const service::AccessFile* readers() const { return readers_.get(); }

  /// Takes up files that have changed, and logs and counts what of them cannot be used. To be
  /// called about once a second, by one thread.
  void Reload();

 private:
  explicit Security(service::ServiceCounters* counters) : counters_(counters) {}

  absl::Status CheckAddresses(const std::string& listen_address,
                              const std::string& http_address) const;

  service::ServiceCounters* const counters_;
  bool offers_reflection_ = false;
  std::unique_ptr<TlsCertificates> certificates_;  // null: plain text
  std::unique_ptr<service::AccessFile> tokens_;
  std::unique_ptr<service::AccessFile> readers_;
};

}  // namespace thermograd

#endif  // THERMOGRAD_SECURITY_H_
