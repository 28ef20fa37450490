#ifndef THERMOGRAD_SERVICE_LOOPBACK_ADDRESS_H_
#define THERMOGRAD_SERVICE_LOOPBACK_ADDRESS_H_

#include "absl/strings/string_view.h"

namespace thermograd::service {

/// True if what is sent to or received at `address` (host:port, or a Unix socket) cannot leave the
/// machine. What is not understood is taken for a network.
bool IsLoopbackAddress(absl::string_view address);

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_LOOPBACK_ADDRESS_H_
