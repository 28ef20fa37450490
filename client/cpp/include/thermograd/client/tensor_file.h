#ifndef THERMOGRAD_CLIENT_TENSOR_FILE_H_
#define THERMOGRAD_CLIENT_TENSOR_FILE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "thermograd/client/mapped_file.h"
#include "thermograd/client/tensor.h"

namespace thermograd::client {

/// A tensor of a file, under its name there.
struct NamedTensor {
  /// Name; empty in a format that has none.
  std::string name;
  /// The elements, inside the file's bytes.
  TensorView tensor;
};

/// What a .safetensors file holds.
struct Safetensors {
  /// The tensors, in the order in which their data lie in the file.
  std::vector<NamedTensor> tensors;
  /// Names of the tensors left out because their element type is not a floating-point type that the
  /// wire knows (counters and masks of a checkpoint, for example).
  std::vector<std::string> unsupported;
};

/// Reads a NumPy array file, format version 1, 2 or 3: '<f2', '<f4' or '<f8', C order. Anything
/// else is INVALID_ARGUMENT. The view points into `file`.
absl::StatusOr<TensorView> ParseNpy(absl::string_view file);

/// Reads a .safetensors file: F16, BF16, F32 and F64 tensors whose data fill the rest of the file
/// without gap or overlap. Anything else is INVALID_ARGUMENT. The views point into `file`.
absl::StatusOr<Safetensors> ParseSafetensors(absl::string_view file);

/// A tensor file, mapped and parsed.
struct TensorFile {
  /// The bytes that `contents` points into.
  MappedFile file;
  /// The tensors. A .npy file holds one, without a name.
  Safetensors contents;
};

/// Opens a .npy or .safetensors file; its first bytes tell which it is. Errors name the file.
absl::StatusOr<TensorFile> OpenTensorFile(const std::string& path);

}  // namespace thermograd::client

#endif  // THERMOGRAD_CLIENT_TENSOR_FILE_H_
