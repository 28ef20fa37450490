#include "cli/connection.h"

#include "absl/flags/flag.h"
#include "grpcpp/security/credentials.h"
#include "thermograd/client/client.h"

ABSL_FLAG(std::string, address, "127.0.0.1:50051", "Server to talk to, host:port.");
ABSL_FLAG(std::string, tls_ca_file, "",
          "PEM file of the certificate authorities that may have signed the server's certificate; "
          "without it the connection is not encrypted.");
ABSL_FLAG(absl::Duration, timeout, absl::Seconds(30), "How long to wait for the server.");
ABSL_FLAG(std::string, affinity, "",
          "What load balancers choose the server by: runs that are to be compared with one another "
          "need the same; empty: the run's name.");

namespace thermograd::cli {

absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect() {
  const std::string ca_file = absl::GetFlag(FLAGS_tls_ca_file);
  if (ca_file.empty()) {
    return client::NewChannel(absl::GetFlag(FLAGS_address), grpc::InsecureChannelCredentials());
  }
  const absl::StatusOr<client::MappedFile> file = client::MappedFile::Open(ca_file);
  if (!file.ok()) return file.status();
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = std::string(file->bytes());
  return client::NewChannel(absl::GetFlag(FLAGS_address), grpc::SslCredentials(options));
}

}  // namespace thermograd::cli
