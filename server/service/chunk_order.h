#ifndef THERMOGRAD_SERVICE_CHUNK_ORDER_H_
#define THERMOGRAD_SERVICE_CHUNK_ORDER_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "thermograd/v1/tensor.pb.h"

// What every chunk of a tensor must keep to, whatever the tensor is. `name`: the tensor's.

namespace thermograd::service {

/// The error of a chunk that does not continue its tensor at `offset` of `microbatch`.
inline absl::Status OutOfOrder(const std::string& name, const v1::TensorChunk& chunk,
                               uint64_t microbatch, size_t offset) {
  return absl::InvalidArgumentError(absl::StrCat(
      "chunk.offset: '", name, "' continues at element ", offset, " of microbatch ", microbatch,
      ", not at element ", chunk.offset(), " of microbatch ", chunk.microbatch()));
}

/// INVALID_ARGUMENT if `count` elements from `offset` on go beyond the `elements` of the tensor.
inline absl::Status CheckSize(const std::string& name, size_t offset, size_t count,
                              size_t elements) {
  if (count <= elements - offset) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("chunk.data: ends at element ", offset + count,
                                                 " of '", name, "', which has ", elements));
}

/// One element type for all chunks of a tensor in a step: `type` remembers it.
inline absl::Status CheckType(const std::string& name, const v1::TensorChunk& chunk,
                              v1::DataType* type) {
  if (*type == v1::DATA_TYPE_UNSPECIFIED) *type = chunk.data_type();
  if (*type == chunk.data_type()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("chunk.data_type: '", name, "' came as ",
                                                 v1::DataType_Name(*type), " and now as ",
                                                 v1::DataType_Name(chunk.data_type())));
}

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_CHUNK_ORDER_H_
