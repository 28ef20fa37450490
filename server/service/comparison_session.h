#ifndef THERMOGRAD_SERVICE_COMPARISON_SESSION_H_
#define THERMOGRAD_SERVICE_COMPARISON_SESSION_H_

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "metrics/representation_similarity.h"
#include "service/admission.h"
#include "service/limits.h"
#include "statistics/representation_moments.h"
#include "thermograd/v1/training_analysis_service.pb.h"

namespace thermograd::service {

/// One CompareRepresentations call, without its transport. Used by one thread at a time.
class ComparisonSession {
 public:
  ComparisonSession(const Limits& limits, Admission* admission)
      : limits_(limits), admission_(admission), memory_(admission) {}

  /// Handles one message; an error ends the call.
  absl::Status Receive(const v1::CompareRepresentationsRequest& request);

  /// True if Receive(request) may take long: a chunk of which moments are summed.
  bool IsHeavy(const v1::CompareRepresentationsRequest& request) const {
    return moments_.has_value() && request.has_chunk();
  }

  /// The similarities, once the client has sent everything.
  absl::StatusOr<v1::CompareRepresentationsResponse> Finish();

 private:
  struct Side {
    v1::ComparisonHeader header;
    uint64_t received = 0;
    /// The elements that were received; only those that await the other side's where moments are
    /// summed.
    std::vector<double> values;
    bool finite = true;
  };

  absl::Status ReceiveOptions(const v1::SimilarityOptions& options);
  absl::Status ReceiveHeader(const v1::ComparisonHeader& header);
  absl::Status ReceiveChunk(const v1::ComparisonChunk& chunk);
  /// Once both headers are known: decides what is kept, and takes the memory for it.
  absl::Status Start();
  /// Most bytes of rows that await the other side's.
  uint64_t PendingBytes() const;
  /// Adds to the moments the rows that both sides have.
  void AddRows();

  const Limits limits_;
  Admission* const admission_;
  Reservation memory_;
  bool has_options_ = false;
  bool has_choice_ = false;  // of similarities
  metrics::SimilarityOptions options_;
  std::array<std::optional<Side>, 2> sides_;
  std::optional<statistics::CrossMoments> moments_;  // where sums over samples are all that is kept
};

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_COMPARISON_SESSION_H_
