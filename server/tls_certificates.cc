#include "tls_certificates.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <algorithm>
#include <ctime>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "grpc/grpc.h"

namespace thermograd {
namespace {

constexpr char kCertificateFlag[] = "--tls_certificate_file";
constexpr char kKeyFlag[] = "--tls_key_file";
constexpr char kClientCaFlag[] = "--tls_client_ca_file";

template <typename T, void (*free)(T*)>
struct Free {
  void operator()(T* object) const { free(object); }
};
using Certificate = std::unique_ptr<X509, Free<X509, X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY, EVP_PKEY_free>>;

class Source {
 public:
  explicit Source(const std::string& pem)
      : bio_(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))) {}
  ~Source() {
    BIO_free(bio_);
    // What went wrong is told in our words; left in the queue it would be told of the next
    // handshake.
    ERR_clear_error();
  }
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;

  BIO* get() const { return bio_; }

 private:
  BIO* bio_;
};

// OpenSSL would ask for the passphrase of an encrypted key at the terminal.
int NoPassphrase(char*, int, int, void*) { return -1; }

absl::Status Fail(absl::string_view flag, absl::string_view why) {
  return absl::FailedPreconditionError(absl::StrCat(flag, ": ", why));
}

absl::StatusOr<std::vector<Certificate>> ParseCertificates(const char* flag,
                                                           const std::string& pem) {
  const Source source(pem);
  std::vector<Certificate> certificates;
  while (X509* certificate = PEM_read_bio_X509(source.get(), nullptr, NoPassphrase, nullptr)) {
    certificates.emplace_back(certificate);
  }
  // The end of the text is an error too.
  const bool is_at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  if (certificates.empty() || !is_at_end) return Fail(flag, "not certificates in PEM");
  return certificates;
}

int64_t ExpiryOf(const X509& certificate) {
  std::tm time{};
  if (ASN1_TIME_to_tm(X509_get0_notAfter(&certificate), &time) != 1) return 0;
  return timegm(&time);
}

class ReloadedServerCredentials final : public grpc::ServerCredentials {
 public:
  explicit ReloadedServerCredentials(grpc_server_credentials* credentials)
      : credentials_(credentials) {}
  ~ReloadedServerCredentials() override { grpc_server_credentials_release(credentials_); }

  // Tokens are looked at by the service, where it serves plain text too.
  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {}

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  grpc_server_credentials* const credentials_;
};

}  // namespace

TlsCertificates::TlsCertificates(std::string certificate_file, std::string key_file,
                                 std::string client_ca_file)
    : wants_client_certificates_(!client_ca_file.empty()), files_([&] {
        std::vector<service::ReloadedFiles::File> files = {
            {kCertificateFlag, std::move(certificate_file)}, {kKeyFlag, std::move(key_file), true}};
        if (!client_ca_file.empty()) files.push_back({kClientCaFlag, std::move(client_ca_file)});
        return files;
      }()) {}

absl::StatusOr<std::unique_ptr<TlsCertificates>> TlsCertificates::Open(std::string certificate_file,
                                                                       std::string key_file,
                                                                       std::string client_ca_file) {
  std::unique_ptr<TlsCertificates> certificates(new TlsCertificates(
      std::move(certificate_file), std::move(key_file), std::move(client_ca_file)));
  if (absl::Status status = certificates->TakeUp(certificates->files_.Read()); !status.ok()) {
    return status;
  }
  return certificates;
}

absl::StatusOr<bool> TlsCertificates::Reload() {
  const auto changed = files_.Poll();
  if (!changed) return false;
  if (absl::Status status = TakeUp(*changed); !status.ok()) return status;
  return true;
}

int64_t TlsCertificates::expiry() const {
  const std::lock_guard lock(mutex_);
  return pem_.expiry;
}

absl::StatusOr<TlsCertificates::Pem> TlsCertificates::Check(
    const service::ReloadedFiles::Contents& contents) const {
  Pem pem{.chain = contents[0], .key = contents[1], .client_ca = {}};
  const auto chain = ParseCertificates(kCertificateFlag, pem.chain);
  if (!chain.ok()) return chain.status();
  const Key key([&] {
    const Source source(pem.key);
    return PEM_read_bio_PrivateKey(source.get(), nullptr, NoPassphrase, nullptr);
  }());
  if (key == nullptr) return Fail(kKeyFlag, "not a private key in PEM without a passphrase");
  if (X509_check_private_key(chain->front().get(), key.get()) != 1) {
    ERR_clear_error();
    return Fail(kKeyFlag, "not the key of the first certificate of --tls_certificate_file");
  }
  pem.expiry = ExpiryOf(*chain->front());
  for (const Certificate& certificate : *chain) {
    pem.expiry = std::min(pem.expiry, ExpiryOf(*certificate));
  }
  if (pem.expiry <= std::time(nullptr)) return Fail(kCertificateFlag, "has expired");
  if (wants_client_certificates_) {
    pem.client_ca = contents[2];
    const auto authorities = ParseCertificates(kClientCaFlag, pem.client_ca);
    if (!authorities.ok()) return authorities.status();
  }
  return pem;
}

absl::Status TlsCertificates::TakeUp(
    const absl::StatusOr<service::ReloadedFiles::Contents>& contents) {
  if (!contents.ok()) return contents.status();
  absl::StatusOr<Pem> pem = Check(*contents);
  if (!pem.ok()) return pem.status();
  const std::lock_guard lock(mutex_);
  pem_ = *std::move(pem);
  is_fetched_ = false;
  return absl::OkStatus();
}

std::shared_ptr<grpc::ServerCredentials> TlsCertificates::MakeServerCredentials() {
  const auto request = wants_client_certificates_
                           ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                           : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE;
  return std::make_shared<ReloadedServerCredentials>(
      grpc_ssl_server_credentials_create_with_options(
          grpc_ssl_server_credentials_create_options_using_config_fetcher(request, Fetch, this)));
}

// Called by gRPC before every handshake.
grpc_ssl_certificate_config_reload_status TlsCertificates::Fetch(
    void* certificates, grpc_ssl_server_certificate_config** config) {
  auto* const self = static_cast<TlsCertificates*>(certificates);
  const std::lock_guard lock(self->mutex_);
  if (self->is_fetched_) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
  const grpc_ssl_pem_key_cert_pair pair{.private_key = self->pem_.key.c_str(),
                                        .cert_chain = self->pem_.chain.c_str()};
  // Where no certificate is asked for, gRPC 1.51 wants authorities all the same, and does not look
  // at them.
  const std::string& authorities =
      self->wants_client_certificates_ ? self->pem_.client_ca : self->pem_.chain;
  *config = grpc_ssl_server_certificate_config_create(authorities.c_str(), &pair, 1);
  self->is_fetched_ = true;
  return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
}

}  // namespace thermograd
