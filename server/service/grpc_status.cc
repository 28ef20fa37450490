#include "service/grpc_status.h"

#include <string>

#include "service/limit_status.h"

namespace thermograd::service {
namespace {

void Count(Rejection rejection, ServiceCounters* counters) {
  ++counters->rejected[static_cast<size_t>(rejection)];
}

}  // namespace

grpc::Status ToGrpc(const absl::Status& status, ServiceCounters* counters) {
  if (const std::optional<Limit> limit = ExceededLimit(status)) CountRefusal(*limit, counters);
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return grpc::Status::OK;
    case absl::StatusCode::kInvalidArgument:
      Count(Rejection::kInvalidArgument, counters);
      break;
    case absl::StatusCode::kResourceExhausted:
      Count(Rejection::kResourceExhausted, counters);
      break;
    case absl::StatusCode::kDeadlineExceeded:
      Count(Rejection::kDeadlineExceeded, counters);
      break;
    case absl::StatusCode::kUnimplemented:
      Count(Rejection::kUnimplemented, counters);
      break;
    case absl::StatusCode::kAborted:
      Count(Rejection::kSuperseded, counters);
      break;
    case absl::StatusCode::kUnavailable:
      Count(Rejection::kDraining, counters);
      break;
    case absl::StatusCode::kNotFound:
      Count(Rejection::kNotFound, counters);
      break;
    case absl::StatusCode::kUnauthenticated:
      Count(Rejection::kUnauthenticated, counters);
      break;
    default:
      break;
  }
  // absl and gRPC number the codes alike.
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

}  // namespace thermograd::service
