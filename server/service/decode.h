#ifndef THERMOGRAD_SERVICE_DECODE_H_
#define THERMOGRAD_SERVICE_DECODE_H_

#include <cstddef>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "thermograd/v1/tensor.pb.h"

namespace thermograd::service {

/// Bytes of one element, or INVALID_ARGUMENT naming `data_type`.
absl::StatusOr<size_t> ElementBytes(v1::DataType data_type);

/// The elements of a chunk: exactly one of the spans is used, by `is_double`.
struct Elements {
  bool is_double = false;
  std::span<const float> floats;
  std::span<const double> doubles;

  size_t size() const { return is_double ? doubles.size() : floats.size(); }
};

/// Turns bytes into elements. Keeps buffers between calls; the spans live until the next call, and
/// as long as the bytes.
class Decoder {
 public:
  /// `bytes` is a whole number of elements, little-endian; else INVALID_ARGUMENT.
  absl::StatusOr<Elements> Decode(v1::DataType data_type, absl::string_view bytes);

 private:
  std::vector<float> floats_;
  std::vector<double> doubles_;
  std::vector<uint16_t> halves_;
};

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_DECODE_H_
