#include "service/reloaded_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace thermograd::service {
namespace {

constexpr size_t kMaxBytes = 1 << 20;

absl::Status Fail(const ReloadedFiles::File& file, absl::string_view why) {
  return absl::FailedPreconditionError(absl::StrCat(file.flag, "=", file.path, ": ", why));
}

absl::StatusOr<std::string> ReadDescriptor(const ReloadedFiles::File& file, int descriptor) {
  struct stat status {};
  if (fstat(descriptor, &status) != 0) return Fail(file, std::strerror(errno));
  if (!S_ISREG(status.st_mode)) return Fail(file, "not a regular file");
  if (file.is_secret && (status.st_mode & S_IRWXO) != 0) {
    return Fail(file, "everybody on this machine may read it (chmod o= makes it private)");
  }
  std::string content;
  char buffer[4096];
  while (true) {
    const ssize_t size = read(descriptor, buffer, sizeof(buffer));
    if (size < 0) return Fail(file, std::strerror(errno));
    if (size == 0) return content;
    content.append(buffer, static_cast<size_t>(size));
    if (content.size() > kMaxBytes) return Fail(file, "larger than 1 MiB");
  }
}

absl::StatusOr<std::string> ReadFile(const ReloadedFiles::File& file) {
  // Without O_NONBLOCK a FIFO would hold up the server.
  const int descriptor = open(file.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return Fail(file, std::strerror(errno));
  absl::StatusOr<std::string> content = ReadDescriptor(file, descriptor);
  close(descriptor);
  return content;
}

}  // namespace

absl::StatusOr<ReloadedFiles::Contents> ReloadedFiles::ReadAll() const {
  Contents contents;
  for (const File& file : files_) {
    absl::StatusOr<std::string> content = ReadFile(file);
    if (!content.ok()) return content.status();
    contents.push_back(*std::move(content));
  }
  return contents;
}

absl::StatusOr<ReloadedFiles::Contents> ReloadedFiles::Read() {
  told_ = latest_ = ReadAll();
  return told_;
}

std::optional<absl::StatusOr<ReloadedFiles::Contents>> ReloadedFiles::Poll() {
  absl::StatusOr<Contents> now = ReadAll();
  const bool is_settled = now == latest_;
  latest_ = std::move(now);
  if (!is_settled || latest_ == told_) return std::nullopt;
  told_ = latest_;
  return told_;
}

}  // namespace thermograd::service
