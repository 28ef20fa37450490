#ifndef THERMOGRAD_CLIENT_SRC_LITTLE_ENDIAN_H_
#define THERMOGRAD_CLIENT_SRC_LITTLE_ENDIAN_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace thermograd::client {

// The unsigned integer whose little-endian bytes, 8 at most, are given.
inline uint64_t LoadLittleEndian(absl::string_view bytes) {
  uint64_t value = 0;
  for (auto byte = bytes.rbegin(); byte != bytes.rend(); ++byte) {
    value = value << 8 | static_cast<unsigned char>(*byte);
  }
  return value;
}

}  // namespace thermograd::client

#endif  // THERMOGRAD_CLIENT_SRC_LITTLE_ENDIAN_H_
