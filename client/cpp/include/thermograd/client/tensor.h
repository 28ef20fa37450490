#ifndef THERMOGRAD_CLIENT_TENSOR_H_
#define THERMOGRAD_CLIENT_TENSOR_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "thermograd/v1/tensor.pb.h"

namespace thermograd::client {

// Elements travel as they lie in memory, and the wire is little-endian.
static_assert(std::endian::native == std::endian::little,
              "the client sends the host's bytes and needs a little-endian host");

/// The bits of a bfloat16. A type of its own, so that a span of them cannot be taken for binary16.
enum class BFloat16 : uint16_t {};

/// The bits of an IEEE 754 binary16.
enum class Float16 : uint16_t {};

/// The wire's name for the element type T; declared only for types that the wire knows.
template <typename T>
inline constexpr v1::DataType kDataTypeOf = v1::DATA_TYPE_UNSPECIFIED;
template <>
inline constexpr v1::DataType kDataTypeOf<BFloat16> = v1::DATA_TYPE_BF16;
template <>
inline constexpr v1::DataType kDataTypeOf<Float16> = v1::DATA_TYPE_FP16;
template <>
inline constexpr v1::DataType kDataTypeOf<float> = v1::DATA_TYPE_FP32;
template <>
inline constexpr v1::DataType kDataTypeOf<double> = v1::DATA_TYPE_FP64;

/// A dense row-major tensor in memory that somebody else owns and keeps alive. `bytes` needs no
/// alignment.
struct TensorView {
  /// Element type.
  v1::DataType data_type = v1::DATA_TYPE_UNSPECIFIED;
  /// Extent of every dimension, in elements; no dimension: a scalar.
  std::vector<uint64_t> shape;
  /// The elements, little-endian.
  absl::string_view bytes;
};

/// Views `elements` as a tensor of the given shape.
template <typename T>
TensorView ViewOf(absl::Span<const T> elements, std::vector<uint64_t> shape) {
  static_assert(kDataTypeOf<T> != v1::DATA_TYPE_UNSPECIFIED, "no such element type on the wire");
  return {kDataTypeOf<T>, std::move(shape),
          absl::string_view(reinterpret_cast<const char*>(elements.data()),
                            elements.size() * sizeof(T))};
}

/// Bytes of one element; 0 for a type that is not on the wire.
size_t ElementBytes(v1::DataType data_type);

/// Product of the extents; INVALID_ARGUMENT if it does not fit 64 bits.
absl::StatusOr<uint64_t> ElementCount(absl::Span<const uint64_t> shape);

/// OK if the bytes of `tensor` are exactly the elements that its type and shape call for.
absl::Status Validate(const TensorView& tensor);

}  // namespace thermograd::client

#endif  // THERMOGRAD_CLIENT_TENSOR_H_
