#ifndef THERMOGRAD_CLIENT_MAPPED_FILE_H_
#define THERMOGRAD_CLIENT_MAPPED_FILE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace thermograd::client {

/// A regular file mapped into memory for reading. The file must not shrink while it is mapped: the
/// kernel answers a read past its new end with SIGBUS.
class MappedFile {
 public:
  /// Maps the whole file.
  static absl::StatusOr<MappedFile> Open(const std::string& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  /// The content, as long as this object lives.
  absl::string_view bytes() const { return bytes_; }

 private:
  explicit MappedFile(absl::string_view bytes) : bytes_(bytes) {}

  absl::string_view bytes_;
};

}  // namespace thermograd::client

#endif  // THERMOGRAD_CLIENT_MAPPED_FILE_H_
