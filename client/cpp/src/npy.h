#ifndef THERMOGRAD_CLIENT_SRC_NPY_H_
#define THERMOGRAD_CLIENT_SRC_NPY_H_

#include "absl/strings/string_view.h"

namespace thermograd::client {

// The first bytes of every .npy file.
inline constexpr absl::string_view kNpyMagic = "\x93NUMPY";

}  // namespace thermograd::client

#endif  // THERMOGRAD_CLIENT_SRC_NPY_H_
