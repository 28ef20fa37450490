#ifndef THERMOGRAD_CLIENT_CHANNEL_H_
#define THERMOGRAD_CLIENT_CHANNEL_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "grpcpp/channel.h"
#include "grpcpp/security/credentials.h"

namespace thermograd::client {

/// Files with which a connection is encrypted and a caller known; an empty name: there is none.
/// Without `ca_file` and `certificate_file` the connection is not encrypted.
struct CredentialFiles {
  /// The files that THERMOGRAD_CA_FILE, ..._CERTIFICATE_FILE, ..._KEY_FILE and ..._TOKEN_FILE name.
  static CredentialFiles FromEnvironment();

  /// PEM file of the authorities that may have signed the server's certificate.
  std::string ca_file = {};
  /// PEM files of the client's own certificate and its key, where the server asks for them.
  std::string certificate_file = {};
  std::string key_file = {};
  /// The token by which the server knows the tenant.
  std::string token_file = {};
};

/// A channel to `address` (host:port, or any name that gRPC resolves) that takes reports of runs
/// with many thousands of parameters, for which gRPC's default of 4 MiB a message is too small, and
/// that notices within a minute when the server's machine is gone.
std::shared_ptr<grpc::Channel> NewChannel(
    const std::string& address, const std::shared_ptr<grpc::ChannelCredentials>& credentials);

/// The same with what the files hold now. Fails if one cannot be read, if they do not fit together,
/// or if a token would go over the network in plain text.
absl::StatusOr<std::shared_ptr<grpc::Channel>> NewChannel(const std::string& address,
                                                          const CredentialFiles& files);

}  // namespace thermograd::client

#endif  // THERMOGRAD_CLIENT_CHANNEL_H_
