#include "security.h"

#include <atomic>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "log.h"
#include "service/loopback_address.h"

ABSL_FLAG(std::string, tls_certificate_file, "",
          "PEM file of the server's certificate and its chain: trainers connect by TLS");
ABSL_FLAG(std::string, tls_key_file, "", "PEM file of the certificate's private key");
ABSL_FLAG(std::string, tls_client_ca_file, "",
          "PEM file of the authorities that sign clients' certificates, which are then required");
ABSL_FLAG(std::string, token_file, "",
          "Lines TENANT TOKEN: calls need one of the tokens, and see its tenant's runs only");
ABSL_FLAG(std::string, http_credentials_file, "",
          "Lines USER PASSWORD: who may read /metrics, by HTTP's basic authentication");
ABSL_FLAG(bool, allow_insecure, false,
          "Listen beyond loopback in plain text, as behind a proxy or on a private network");
ABSL_FLAG(bool, reflection, false,
          "Let everybody list the calls, as is done anyway on loopback without TLS and tokens");

namespace thermograd {
namespace {

class WithoutReflection final : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    std::erase_if(*plugins,
                  [](const auto& plugin) { return plugin->name() == "proto_server_reflection"; });
  }
};

absl::StatusOr<std::unique_ptr<service::AccessFile>> OpenAccessFile(
    const absl::Flag<std::string>& flag, const char* name) {
  const std::string path = absl::GetFlag(flag);
  if (path.empty()) return nullptr;
  return service::AccessFile::Open(absl::StrCat("--", name), path);
}

template <typename File>
void ReloadFile(const char* flag, File* file, std::atomic<uint64_t>* failures) {
  if (file == nullptr) return;
  const absl::StatusOr<bool> changed = file->Reload();
  if (!changed.ok()) {
    ++*failures;
    Log("reload_failed", {{"reason", std::string(changed.status().message())}});
  } else if (*changed) {
    Log("reloaded", {{"flag", flag}});
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Security>> Security::FromFlags(const std::string& listen_address,
                                                              const std::string& http_address,
                                                              service::ServiceCounters* counters) {
  std::unique_ptr<Security> security(new Security(counters));
  const std::string certificate = absl::GetFlag(FLAGS_tls_certificate_file);
  const std::string key = absl::GetFlag(FLAGS_tls_key_file);
  const std::string client_ca = absl::GetFlag(FLAGS_tls_client_ca_file);
  if (certificate.empty() != key.empty() || (certificate.empty() && !client_ca.empty())) {
    return absl::InvalidArgumentError(
        "--tls_certificate_file and --tls_key_file: TLS needs both of them");
  }
  if (!certificate.empty()) {
    auto certificates = TlsCertificates::Open(certificate, key, client_ca);
    if (!certificates.ok()) return certificates.status();
    security->certificates_ = *std::move(certificates);
    counters->tls_certificate_expiry = security->certificates_->expiry();
  }
  auto tokens = OpenAccessFile(FLAGS_token_file, "token_file");
  if (!tokens.ok()) return tokens.status();
  security->tokens_ = *std::move(tokens);
  auto readers = OpenAccessFile(FLAGS_http_credentials_file, "http_credentials_file");
  if (!readers.ok()) return readers.status();
  security->readers_ = *std::move(readers);
  if (absl::Status status = security->CheckAddresses(listen_address, http_address); !status.ok()) {
    return status;
  }
  const bool is_open = certificate.empty() && security->tokens_ == nullptr &&
                       service::IsLoopbackAddress(listen_address);
  security->offers_reflection_ = is_open || absl::GetFlag(FLAGS_reflection);
  return security;
}

absl::Status Security::CheckAddresses(const std::string& listen_address,
                                      const std::string& http_address) const {
  if (absl::GetFlag(FLAGS_allow_insecure)) return absl::OkStatus();
  if (certificates_ == nullptr && !service::IsLoopbackAddress(listen_address)) {
    return absl::FailedPreconditionError(
        absl::StrCat("--listen_address=", listen_address, ": beyond loopback, where plain text ",
                     tokens_ == nullptr ? "lets everybody in" : "shows the tokens to everybody",
                     "; it needs --tls_certificate_file and --tls_key_file, or --allow_insecure"));
  }
  if (readers_ == nullptr && !service::IsLoopbackAddress(http_address)) {
    return absl::FailedPreconditionError(
        absl::StrCat("--http_address=", http_address,
                     ": beyond loopback, where everybody may read the metrics; it needs "
                     "--http_credentials_file or --allow_insecure"));
  }
  return absl::OkStatus();
}

std::shared_ptr<grpc::ServerCredentials> Security::MakeServerCredentials() const {
  return certificates_ == nullptr ? grpc::InsecureServerCredentials()
                                  : certificates_->MakeServerCredentials();
}

void Security::SetUpReflection(grpc::ServerBuilder* builder) const {
  // Its plugin is registered for every builder, and can only be taken out again.
  if (!offers_reflection_) builder->SetOption(std::make_unique<WithoutReflection>());
}

void Security::Reload() {
  ReloadFile("tls_certificate_file", certificates_.get(), &counters_->tls_reload_failures);
  if (certificates_ != nullptr) counters_->tls_certificate_expiry = certificates_->expiry();
  ReloadFile("token_file", tokens_.get(), &counters_->token_reload_failures);
  ReloadFile("http_credentials_file", readers_.get(), &counters_->http_credentials_reload_failures);
}

}  // namespace thermograd
