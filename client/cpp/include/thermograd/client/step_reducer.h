#ifndef THERMOGRAD_CLIENT_STEP_REDUCER_H_
#define THERMOGRAD_CLIENT_STEP_REDUCER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "thermograd/client/tensor.h"
#include "thermograd/v1/run.pb.h"

namespace thermograd::client {

/// Reduces the parameters' tensors of a step to the sums that RunStream::SendStatistics takes in
/// their place, with the service's own kernels: the figures are the same to rounding, for a
/// thousandth of the bytes. Used by one thread at a time.
class StepReducer {
 public:
  /// `spec`: as it is declared to the server. INVALID_ARGUMENT: what the server would refuse.
  static absl::StatusOr<std::unique_ptr<StepReducer>> Create(const v1::RunSpec& spec);
  ~StepReducer();

  StepReducer(const StepReducer&) = delete;
  StepReducer& operator=(const StepReducer&) = delete;

  /// Opens a step, before the same is sent. A step that is open already is thrown away.
  absl::Status BeginStep(const v1::StepBegin& step);

  /// Adds one whole tensor of a parameter to the open step.
  absl::Status Add(uint32_t tensor_id, v1::TensorKind kind, const TensorView& tensor,
                   uint32_t microbatch = 0);

  /// The same for elements in memory.
  template <typename T>
  absl::Status Add(uint32_t tensor_id, v1::TensorKind kind, absl::Span<const T> elements,
                   std::vector<uint64_t> shape, uint32_t microbatch = 0) {
    return Add(tensor_id, kind, ViewOf(elements, std::move(shape)), microbatch);
  }

  /// Closes the step and returns its sums, in messages of at most `max_bytes` each
  /// (StreamLimits.max_chunk_bytes). Of tensors that did not come whole there are none.
  /// RESOURCE_EXHAUSTED: the sums of one symmetry exceed `max_bytes`.
  ///
  /// Singular values of weights and near-duplicate neurons follow from no sums, and not from every
  /// step either: send the weights as tensors every Reporting.spectrum_every_steps, and reduce that
  /// step with `with_weight_norms` off, because a tensor comes either as such or as sums.
  absl::StatusOr<std::vector<v1::StepStatistics>> EndStep(size_t max_bytes,
                                                          bool with_weight_norms = true);

 private:
  class Implementation;

  explicit StepReducer(std::unique_ptr<Implementation> implementation);

  // Keeps the service's headers out of this one.
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace thermograd::client

#endif  // THERMOGRAD_CLIENT_STEP_REDUCER_H_
