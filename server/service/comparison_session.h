#ifndef THERMOGRAD_SERVICE_COMPARISON_SESSION_H_
#define THERMOGRAD_SERVICE_COMPARISON_SESSION_H_

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "service/admission.h"
#include "service/decode.h"
#include "service/limits.h"
#include "thermograd/v1/training_analysis_service.pb.h"

namespace thermograd::service {

/// One CompareRepresentations call, without its transport. Used by one thread at a time.
class ComparisonSession {
 public:
  ComparisonSession(const Limits& limits, Admission* admission)
      : limits_(limits), memory_(admission) {}

  /// Handles one message; an error ends the call.
  absl::Status Receive(const v1::CompareRepresentationsRequest& request);

  /// The similarities, once the client has sent everything.
  absl::StatusOr<v1::CompareRepresentationsResponse> Finish() const;

 private:
  struct Side {
    v1::ComparisonHeader header;
    std::vector<double> values;
    bool finite = true;
  };

  absl::Status ReceiveHeader(const v1::ComparisonHeader& header);
  absl::Status ReceiveChunk(const v1::ComparisonChunk& chunk);

  const Limits limits_;
  Reservation memory_;
  Decoder decoder_;
  std::array<std::optional<Side>, 2> sides_;
};

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_COMPARISON_SESSION_H_
