#include "thermograd/client/tensor_file.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "src/npy.h"

namespace thermograd::client {
namespace {

absl::StatusOr<Safetensors> Parse(absl::string_view bytes) {
  if (!absl::StartsWith(bytes, kNpyMagic)) return ParseSafetensors(bytes);
  absl::StatusOr<TensorView> array = ParseNpy(bytes);
  if (!array.ok()) return array.status();
  Safetensors contents;
  contents.tensors.push_back({"", *std::move(array)});
  return contents;
}

}  // namespace

absl::StatusOr<TensorFile> OpenTensorFile(const std::string& path) {
  absl::StatusOr<MappedFile> file = MappedFile::Open(path);
  if (!file.ok()) return file.status();
  absl::StatusOr<Safetensors> contents = Parse(file->bytes());
  if (!contents.ok()) {
    return absl::Status(contents.status().code(),
                        absl::StrCat(path, ": ", contents.status().message()));
  }
  return TensorFile{*std::move(file), *std::move(contents)};
}

}  // namespace thermograd::client
