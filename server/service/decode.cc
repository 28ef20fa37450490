#include "service/decode.h"

#include <bit>

#include "absl/strings/str_cat.h"

namespace thermograd::service {
namespace {

static_assert(std::endian::native == std::endian::little, "the wire is little-endian");

// Of a type that has ElementBytes.
kernels::ElementType TypeOf(v1::DataType data_type) {
  switch (data_type) {
    case v1::DATA_TYPE_BF16:
      return kernels::ElementType::kBf16;
    case v1::DATA_TYPE_FP16:
      return kernels::ElementType::kFp16;
    case v1::DATA_TYPE_FP32:
      return kernels::ElementType::kFp32;
    default:
      return kernels::ElementType::kFp64;
  }
}

}  // namespace

absl::StatusOr<size_t> ElementBytes(v1::DataType data_type) {
  switch (data_type) {
    case v1::DATA_TYPE_BF16:
    case v1::DATA_TYPE_FP16:
      return 2;
    case v1::DATA_TYPE_FP32:
      return 4;
    case v1::DATA_TYPE_FP64:
      return 8;
    default:
      return absl::InvalidArgumentError(absl::StrCat("data_type: ", static_cast<int>(data_type),
                                                     " is none of BF16, FP16, FP32, FP64"));
  }
}

absl::StatusOr<Elements> Decode(v1::DataType data_type, absl::string_view bytes) {
  const absl::StatusOr<size_t> width = ElementBytes(data_type);
  if (!width.ok()) return width.status();
  if (bytes.size() % *width != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "data: ", bytes.size(), " bytes are not a whole number of elements of ", *width, " bytes"));
  }
  return Elements{TypeOf(data_type), bytes.data(), bytes.size() / *width};
}

}  // namespace thermograd::service
