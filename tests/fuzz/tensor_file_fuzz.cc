// Feeds arbitrary bytes to the readers of .npy and .safetensors files. The first byte picks the
// reader. Whatever is read must be consistent: every tensor within the file and as large as its
// shape says.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "thermograd/client/tensor.h"
#include "thermograd/client/tensor_file.h"

namespace {

using thermograd::client::NamedTensor;
using thermograd::client::Safetensors;
using thermograd::client::TensorView;

void Check(bool condition) {
  if (!condition) std::abort();
}

void CheckTensor(const TensorView& tensor, absl::string_view file) {
  Check(thermograd::client::Validate(tensor).ok());
  const std::less_equal<const char*> not_after;
  Check(not_after(file.data(), tensor.bytes.data()));
  Check(not_after(tensor.bytes.data() + tensor.bytes.size(), file.data() + file.size()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const absl::string_view file(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 2 == 0) {
    const absl::StatusOr<TensorView> array = thermograd::client::ParseNpy(file);
    if (array.ok()) CheckTensor(*array, file);
  } else {
    const absl::StatusOr<Safetensors> contents = thermograd::client::ParseSafetensors(file);
    if (!contents.ok()) return 0;
    size_t bytes = 0;
    for (const NamedTensor& named : contents->tensors) {
      CheckTensor(named.tensor, file);
      bytes += named.tensor.bytes.size();
    }
    Check(bytes <= file.size());
  }
  return 0;
}
