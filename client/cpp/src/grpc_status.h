#ifndef THERMOGRAD_CLIENT_SRC_GRPC_STATUS_H_
#define THERMOGRAD_CLIENT_SRC_GRPC_STATUS_H_

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace thermograd::client {

// The same status in Abseil's words; the codes of the two are the same numbers by design.
inline absl::Status FromGrpc(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

}  // namespace thermograd::client

#endif  // THERMOGRAD_CLIENT_SRC_GRPC_STATUS_H_
