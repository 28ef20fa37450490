#include "thermograd/client/channel.h"

#include <algorithm>
#include <cstdlib>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "grpc/grpc.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/support/channel_arguments.h"
#include "grpcpp/support/client_interceptor.h"
#include "service/loopback_address.h"
#include "thermograd/client/mapped_file.h"

namespace thermograd::client {
namespace {

using grpc::experimental::ClientInterceptorFactoryInterface;

grpc::ChannelArguments Arguments() {
  constexpr int kMaxReceiveBytes = 64 << 20;
  // Servers close connections that ping more often than every ten seconds.
  constexpr int kKeepaliveTimeMs = 30'000;
  constexpr int kKeepaliveTimeoutMs = 10'000;
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxReceiveBytes);
  // A peer that vanished without a word would otherwise go unnoticed for two hours.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveTimeMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  // By default gRPC stops pinging a stream that carries no data, such as one that awaits a report.
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  return arguments;
}

// Adds the token to every call: gRPC's own call credentials refuse plain text even to the same
// machine.
class TokenInterceptor final : public grpc::experimental::Interceptor {
 public:
  explicit TokenInterceptor(std::string header) : header_(std::move(header)) {}

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(
            grpc::experimental::InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) {
      methods->GetSendInitialMetadata()->insert({"authorization", header_});
    }
    methods->Proceed();
  }

 private:
  const std::string header_;
};

class TokenInterceptorFactory final : public ClientInterceptorFactoryInterface {
 public:
  explicit TokenInterceptorFactory(const std::string& token)
      : header_(absl::StrCat("Bearer ", token)) {}

  grpc::experimental::Interceptor* CreateClientInterceptor(
      grpc::experimental::ClientRpcInfo*) override {
    return new TokenInterceptor(header_);
  }

 private:
  const std::string header_;
};

absl::StatusOr<std::string> Read(const std::string& path) {
  if (path.empty()) return std::string();
  const absl::StatusOr<MappedFile> file = MappedFile::Open(path);
  if (!file.ok()) return file.status();
  return std::string(file->bytes());
}

absl::StatusOr<std::string> ReadToken(const std::string& path) {
  absl::StatusOr<std::string> token = Read(path);
  if (!token.ok() || path.empty()) return token;
  absl::StripAsciiWhitespace(&*token);
  if (token->empty() || !std::all_of(token->begin(), token->end(), absl::ascii_isgraph)) {
    // Without the token itself: what goes wrong is logged.
    return absl::InvalidArgumentError(absl::StrCat(path, " does not hold a token"));
  }
  return token;
}

}  // namespace

CredentialFiles CredentialFiles::FromEnvironment() {
  const auto value = [](const char* name) -> std::string {
    const char* const text = std::getenv(name);
    return text == nullptr ? "" : text;
  };
  return {.ca_file = value("THERMOGRAD_CA_FILE"),
          .certificate_file = value("THERMOGRAD_CERTIFICATE_FILE"),
          .key_file = value("THERMOGRAD_KEY_FILE"),
          .token_file = value("THERMOGRAD_TOKEN_FILE")};
}

std::shared_ptr<grpc::Channel> NewChannel(
    const std::string& address, const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
  return grpc::CreateCustomChannel(address, credentials, Arguments());
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> NewChannel(const std::string& address,
                                                          const CredentialFiles& files) {
  if (files.certificate_file.empty() != files.key_file.empty()) {
    return absl::InvalidArgumentError("a certificate and its key belong together");
  }
  const bool is_encrypted = !files.ca_file.empty() || !files.certificate_file.empty();
  grpc::SslCredentialsOptions options;
  for (const auto& [content, path] : {std::pair{&options.pem_root_certs, &files.ca_file},
                                      {&options.pem_cert_chain, &files.certificate_file},
                                      {&options.pem_private_key, &files.key_file}}) {
    absl::StatusOr<std::string> read = Read(*path);
    if (!read.ok()) return read.status();
    *content = *std::move(read);
  }
  const absl::StatusOr<std::string> token = ReadToken(files.token_file);
  if (!token.ok()) return token.status();
  if (!token->empty() && !is_encrypted && !service::IsLoopbackAddress(address)) {
    return absl::InvalidArgumentError(
        absl::StrCat(address,
                     " is another machine, to which a token is sent by TLS only: the "
                     "authorities' file is missing"));
  }
  const auto credentials =
      is_encrypted ? grpc::SslCredentials(options) : grpc::InsecureChannelCredentials();
  std::vector<std::unique_ptr<ClientInterceptorFactoryInterface>> interceptors;
  if (!token->empty()) interceptors.push_back(std::make_unique<TokenInterceptorFactory>(*token));
  return grpc::experimental::CreateCustomChannelWithInterceptors(address, credentials, Arguments(),
                                                                 std::move(interceptors));
}

}  // namespace thermograd::client
