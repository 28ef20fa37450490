#ifndef THERMOGRAD_SERVICE_GRPC_STATUS_H_
#define THERMOGRAD_SERVICE_GRPC_STATUS_H_

#include "absl/status/status.h"
#include "grpcpp/support/status.h"
#include "service/service_counters.h"

namespace thermograd::service {

/// The wire's form of a failure; counts it.
grpc::Status ToGrpc(const absl::Status& status, ServiceCounters* counters);

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_GRPC_STATUS_H_
