#include "cli/connection.h"

#include <utility>

#include "absl/flags/flag.h"
#include "thermograd/client/client.h"

ABSL_FLAG(std::string, address, "127.0.0.1:50051", "Server to talk to, host:port.");
ABSL_FLAG(std::string, tls_ca_file, "",
          "PEM file of the certificate authorities that may have signed the server's certificate; "
          "without it the connection is not encrypted. Default: $THERMOGRAD_CA_FILE.");
ABSL_FLAG(std::string, tls_certificate_file, "",
          "PEM file of the client's own certificate, where the server asks for one. Default: "
          "$THERMOGRAD_CERTIFICATE_FILE.");
ABSL_FLAG(std::string, tls_key_file, "",
          "PEM file of that certificate's key. Default: $THERMOGRAD_KEY_FILE.");
ABSL_FLAG(std::string, token_file, "",
          "File of the token by which the server knows the tenant. Default: "
          "$THERMOGRAD_TOKEN_FILE.");
ABSL_FLAG(absl::Duration, timeout, absl::Seconds(30), "How long to wait for the server.");
ABSL_FLAG(std::string, affinity, "",
          "What load balancers choose the server by: runs that are to be compared with one another "
          "need the same; empty: the run's name.");

namespace thermograd::cli {

std::vector<absl::string_view> WithConnectionFlags(std::vector<absl::string_view> flags) {
  flags.insert(flags.end(), {"address", "tls_ca_file", "tls_certificate_file", "tls_key_file",
                             "token_file", "timeout"});
  return flags;
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect() {
  client::CredentialFiles files = client::CredentialFiles::FromEnvironment();
  const auto override_by = [](const absl::Flag<std::string>& flag, std::string* file) {
    if (std::string value = absl::GetFlag(flag); !value.empty()) *file = std::move(value);
  };
  override_by(FLAGS_tls_ca_file, &files.ca_file);
  override_by(FLAGS_tls_certificate_file, &files.certificate_file);
  override_by(FLAGS_tls_key_file, &files.key_file);
  override_by(FLAGS_token_file, &files.token_file);
  return client::NewChannel(absl::GetFlag(FLAGS_address), files);
}

}  // namespace thermograd::cli
