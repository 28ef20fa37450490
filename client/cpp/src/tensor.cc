#include "thermograd/client/tensor.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace thermograd::client {

size_t ElementBytes(v1::DataType data_type) {
  switch (data_type) {
    case v1::DATA_TYPE_BF16:
    case v1::DATA_TYPE_FP16:
      return 2;
    case v1::DATA_TYPE_FP32:
      return 4;
    case v1::DATA_TYPE_FP64:
      return 8;
    default:
      return 0;
  }
}

absl::StatusOr<uint64_t> ElementCount(absl::Span<const uint64_t> shape) {
  // Whatever the other extents are: no order of them may make an empty tensor overflow.
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
  uint64_t count = 1;
  for (const uint64_t extent : shape) {
    if (count > std::numeric_limits<uint64_t>::max() / extent) {
      return absl::InvalidArgumentError(
          absl::StrCat("shape (", absl::StrJoin(shape, ", "), ") has 2^64 elements or more"));
    }
    count *= extent;
  }
  return count;
}

absl::Status Validate(const TensorView& tensor) {
  const size_t element_bytes = ElementBytes(tensor.data_type);
  if (element_bytes == 0) return absl::InvalidArgumentError("the tensor has no element type");
  const absl::StatusOr<uint64_t> elements = ElementCount(tensor.shape);
  if (!elements.ok()) return elements.status();
  // Compared as elements: the shape's size in bytes may not fit 64 bits.
  if (tensor.bytes.size() % element_bytes != 0 ||
      tensor.bytes.size() / element_bytes != *elements) {
    return absl::InvalidArgumentError(
        absl::StrCat("shape (", absl::StrJoin(tensor.shape, ", "), ") of ",
                     v1::DataType_Name(tensor.data_type), " calls for ", *elements, " elements of ",
                     element_bytes, " bytes, but ", tensor.bytes.size(), " bytes are there"));
  }
  return absl::OkStatus();
}

}  // namespace thermograd::client
