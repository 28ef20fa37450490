#ifndef THERMOGRAD_SERVICE_ACCESS_H_
#define THERMOGRAD_SERVICE_ACCESS_H_

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "service/reloaded_files.h"

namespace thermograd::service {

/// Who may come in: a file of lines `NAME SECRET`, in which a name may have several secrets. Empty
/// lines and those that begin with # do not count. Secrets are kept as SHA-256, and all of them are
/// compared in constant time, so that neither length nor place of a secret shows in the time that
/// an answer takes. No message names a secret. All methods but Reload may be called from any
/// thread.
class AccessFile {
 public:
  /// Reads the file, which `flag` names.
  static absl::StatusOr<std::unique_ptr<AccessFile>> Open(std::string flag, std::string path);

  /// Takes up what the file holds now: true if that is new. After an error, which is told once,
  /// what was known before stays. To be called now and then, by one thread.
  absl::StatusOr<bool> Reload();

  /// Name of whoever has the secret.
  std::optional<std::string> NameOf(absl::string_view secret) const;

  /// True if the secret is one of the name's.
  bool Admits(absl::string_view name, absl::string_view secret) const;

 private:
  using Digest = std::array<unsigned char, 32>;  // SHA-256
  struct Entry {
    std::string name;
    Digest name_digest;
    Digest secret_digest;
  };
  using Entries = std::vector<Entry>;

  AccessFile(std::string flag, std::string path)
      : name_(flag + "=" + path), files_({{std::move(flag), std::move(path), true}}) {}

  static Digest DigestOf(absl::string_view text);
  absl::StatusOr<Entries> Parse(absl::string_view content) const;
  absl::Status TakeUp(const absl::StatusOr<ReloadedFiles::Contents>& contents);
  std::shared_ptr<const Entries> entries() const;

  const std::string name_;
  ReloadedFiles files_;
  mutable std::mutex mutex_;
  std::shared_ptr<const Entries> entries_;
};

/// The tenant whose bearer token (RFC 6750) an `authorization` header holds, or UNAUTHENTICATED.
absl::StatusOr<std::string> TenantOf(const AccessFile& tokens, absl::string_view authorization);

/// True if an Authorization header of HTTP's basic scheme (RFC 7617) names somebody of the file.
bool AdmitsBasic(const AccessFile& readers, absl::string_view authorization);

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_ACCESS_H_
