#ifndef THERMOGRAD_SERVICE_DECODE_H_
#define THERMOGRAD_SERVICE_DECODE_H_

#include <cstddef>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/elements.h"
#include "thermograd/v1/tensor.pb.h"

namespace thermograd::service {

using kernels::Elements;

/// Bytes of one element, or INVALID_ARGUMENT naming `data_type`.
absl::StatusOr<size_t> ElementBytes(v1::DataType data_type);

/// A view of the elements of a chunk. `bytes` is a whole number of them, little-endian; else
/// INVALID_ARGUMENT.
absl::StatusOr<Elements> Decode(v1::DataType data_type, absl::string_view bytes);

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_DECODE_H_
