#include "service/access.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "service/label_text.h"

namespace thermograd::service {
namespace {

// It becomes a label of every series.
constexpr size_t kMaxNameBytes = 128;
constexpr size_t kMinSecretBytes = 16;
// Well below what the transport admits as metadata.
constexpr size_t kMaxSecretBytes = 1024;

bool IsPrintable(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), absl::ascii_isgraph);
}

// What follows the name of a scheme, which is case-insensitive, and blanks.
std::optional<absl::string_view> CredentialsOf(absl::string_view scheme,
                                               absl::string_view authorization) {
  if (!absl::StartsWithIgnoreCase(authorization, scheme)) return std::nullopt;
  authorization.remove_prefix(scheme.size());
  if (!absl::StartsWith(authorization, " ")) return std::nullopt;
  return absl::StripAsciiWhitespace(authorization);
}

}  // namespace

absl::StatusOr<std::unique_ptr<AccessFile>> AccessFile::Open(std::string flag, std::string path) {
  std::unique_ptr<AccessFile> file(new AccessFile(std::move(flag), std::move(path)));
  if (absl::Status status = file->TakeUp(file->files_.Read()); !status.ok()) return status;
  return file;
}

absl::StatusOr<bool> AccessFile::Reload() {
  const auto changed = files_.Poll();
  if (!changed) return false;
  if (absl::Status status = TakeUp(*changed); !status.ok()) return status;
  return true;
}

AccessFile::Digest AccessFile::DigestOf(absl::string_view text) {
  Digest digest;
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  return digest;
}

absl::StatusOr<AccessFile::Entries> AccessFile::Parse(absl::string_view content) const {
  Entries entries;
  size_t number = 0;
  for (absl::string_view line : absl::StrSplit(content, '\n')) {
    ++number;
    const auto fail = [&](absl::string_view why) {
      return absl::FailedPreconditionError(absl::StrCat(name_, ", line ", number, ": ", why));
    };
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line.front() == '#') continue;
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    if (words.size() != 2) return fail("must be a name, a blank and a secret");
    const absl::string_view secret = words[1];
    if (words[0].size() > kMaxNameBytes) {
      return fail(absl::StrCat("a name has at most ", kMaxNameBytes, " bytes"));
    }
    if (absl::Status status = CheckLabelText("name", words[0]); !status.ok()) {
      return fail(status.message());
    }
    if (secret.size() < kMinSecretBytes || secret.size() > kMaxSecretBytes) {
      return fail(absl::StrCat("a secret has ", kMinSecretBytes, " to ", kMaxSecretBytes,
                               " characters, this one ", secret.size()));
    }
    if (!IsPrintable(secret)) return fail("a secret is printable ASCII");
    Entry entry{.name = std::string(words[0]),
                .name_digest = DigestOf(words[0]),
                .secret_digest = DigestOf(secret)};
    const bool is_taken = std::any_of(entries.begin(), entries.end(), [&](const Entry& other) {
      return other.secret_digest == entry.secret_digest && other.name != entry.name;
    });
    if (is_taken) return fail("another name has the same secret");
    entries.push_back(std::move(entry));
  }
  if (entries.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(name_, ": names nobody"));
  }
  return entries;
}

absl::Status AccessFile::TakeUp(const absl::StatusOr<ReloadedFiles::Contents>& contents) {
  if (!contents.ok()) return contents.status();
  absl::StatusOr<Entries> entries = Parse(contents->front());
  if (!entries.ok()) return entries.status();
  auto known = std::make_shared<const Entries>(*std::move(entries));
  const std::lock_guard lock(mutex_);
  entries_ = std::move(known);
  return absl::OkStatus();
}

std::shared_ptr<const AccessFile::Entries> AccessFile::entries() const {
  const std::lock_guard lock(mutex_);
  return entries_;
}

std::optional<std::string> AccessFile::NameOf(absl::string_view secret) const {
  const Digest digest = DigestOf(secret);
  const std::shared_ptr<const Entries> known = entries();
  const Entry* found = nullptr;
  // To the end in any case: where it was found must not show.
  for (const Entry& entry : *known) {
    if (CRYPTO_memcmp(entry.secret_digest.data(), digest.data(), digest.size()) == 0) {
      found = &entry;
    }
  }
  if (found == nullptr) return std::nullopt;
  return found->name;
}

bool AccessFile::Admits(absl::string_view name, absl::string_view secret) const {
  const Digest name_digest = DigestOf(name);
  const Digest secret_digest = DigestOf(secret);
  // Held: a range of the loop's own would be gone, once the file is read anew, before its entries.
  const std::shared_ptr<const Entries> known = entries();
  bool admits = false;
  for (const Entry& entry : *known) {
    const int differ =
        CRYPTO_memcmp(entry.name_digest.data(), name_digest.data(), name_digest.size()) |
        CRYPTO_memcmp(entry.secret_digest.data(), secret_digest.data(), secret_digest.size());
    admits |= differ == 0;
  }
  return admits;
}

absl::StatusOr<std::string> TenantOf(const AccessFile& tokens, absl::string_view authorization) {
  if (authorization.empty()) {
    return absl::UnauthenticatedError(
        "authorization: this server wants 'Bearer' and a token, which the call lacks");
  }
  const std::optional<absl::string_view> token = CredentialsOf("bearer", authorization);
  if (!token) return absl::UnauthenticatedError("authorization: must be 'Bearer' and a token");
  std::optional<std::string> tenant = tokens.NameOf(*token);
  if (!tenant) return absl::UnauthenticatedError("authorization: nobody here has this token");
  return *std::move(tenant);
}

bool AdmitsBasic(const AccessFile& readers, absl::string_view authorization) {
  const std::optional<absl::string_view> credentials = CredentialsOf("basic", authorization);
  std::string plain;
  if (!credentials || !absl::Base64Unescape(*credentials, &plain)) return false;
  const size_t colon = plain.find(':');
  if (colon == std::string::npos) return false;
  const absl::string_view view = plain;
  return readers.Admits(view.substr(0, colon), view.substr(colon + 1));
}

}  // namespace thermograd::service
