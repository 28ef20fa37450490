#ifndef THERMOGRAD_CLIENT_SRC_LITTLE_ENDIAN_H_
#define THERMOGRAD_CLIENT_SRC_LITTLE_ENDIAN_H_

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace thermograd::client {

// The unsigned integer whose little-endian bytes, 8 at most, are given.
inline uint64_t LoadLittleEndian(absl::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i > 0; --i) {
    value = value << 8 | static_cast<unsigned char>(bytes[i - 1]);
  }
  return value;
}

}  // namespace thermograd::client

#endif  // THERMOGRAD_CLIENT_SRC_LITTLE_ENDIAN_H_
