#include "service/decode.h"

#include <bit>
#include <cstdint>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "kernels/convert.h"

namespace thermograd::service {
namespace {

static_assert(std::endian::native == std::endian::little, "the wire is little-endian");

// The bytes in place if they are aligned, else a copy.
template <typename T>
std::span<const T> View(absl::string_view bytes, std::vector<T>* copy) {
  const size_t count = bytes.size() / sizeof(T);
  if (reinterpret_cast<uintptr_t>(bytes.data()) % alignof(T) == 0) {
    return {reinterpret_cast<const T*>(bytes.data()), count};
  }
  copy->resize(count);
  std::memcpy(copy->data(), bytes.data(), bytes.size());
  return *copy;
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

absl::StatusOr<Elements> Decoder::Decode(v1::DataType data_type, absl::string_view bytes) {
  const absl::StatusOr<size_t> width = ElementBytes(data_type);
  if (!width.ok()) return width.status();
  if (bytes.size() % *width != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "data: ", bytes.size(), " bytes are not a whole number of elements of ", *width, " bytes"));
  }
  Elements elements;
  switch (data_type) {
    case v1::DATA_TYPE_FP64:
      elements.is_double = true;
      elements.doubles = View(bytes, &doubles_);
      break;
    case v1::DATA_TYPE_FP32:
      elements.floats = View(bytes, &floats_);
      break;
    default: {
      const std::span<const uint16_t> halves = View(bytes, &halves_);
      floats_.resize(halves.size());
      if (data_type == v1::DATA_TYPE_BF16) {
        kernels::WidenBf16(halves.data(), halves.size(), floats_.data());
      } else {
        kernels::WidenFp16(halves.data(), halves.size(), floats_.data());
      }
      elements.floats = floats_;
    }
  }
  return elements;
}

}  // namespace thermograd::service
