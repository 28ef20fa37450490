#ifndef THERMOGRAD_SERVICE_RELOADED_FILES_H_
#define THERMOGRAD_SERVICE_RELOADED_FILES_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace thermograd::service {

/// Small files that are read again and again, so that what they hold can change without a restart.
/// Used by one thread at a time.
class ReloadedFiles {
 public:
  struct File {
    /// Names it in errors.
    std::string flag;
    std::string path;
    /// Refused if everybody on the machine may read it.
    bool is_secret = false;
  };
  /// Of every file, in their order.
  using Contents = std::vector<std::string>;

  explicit ReloadedFiles(std::vector<File> files) : files_(std::move(files)) {}

  /// What they hold now. Comes before Poll.
  absl::StatusOr<Contents> Read();

  /// What they hold now, or why they cannot be read, if that is new; else nothing. A change is
  /// told once two calls in a row have found it: of files that belong together, one may have been
  /// written and not yet the other.
  std::optional<absl::StatusOr<Contents>> Poll();

 private:
  absl::StatusOr<Contents> ReadAll() const;

  std::vector<File> files_;
  absl::StatusOr<Contents> told_;
  absl::StatusOr<Contents> latest_;
};

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_RELOADED_FILES_H_
