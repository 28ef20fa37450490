#ifndef THERMOGRAD_SERVICE_STEP_STATISTICS_H_
#define THERMOGRAD_SERVICE_STEP_STATISTICS_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "service/run_declaration.h"
#include "service/step.h"
#include "thermograd/v1/tensor.pb.h"

// The sums that a trainer made, between the wire and the step.

namespace thermograd::service {

/// The sums over one parameter without the loss scale, or INVALID_ARGUMENT naming the field: a
/// squared norm that is negative, sums of tensors that the run did not declare, or a norm of the
/// sum that no gradients could have. Where a sum is not finite, an element counts as infinite.
absl::StatusOr<ParameterSums> ReadStatistics(const v1::ParameterStatistics& statistics,
                                             const RunDeclaration& declaration,
                                             uint64_t microbatches, double loss_scale);

/// Adds the sums over another part of the same parameter. INVALID_ARGUMENT: they are of other
/// tensors.
absl::Status AddStatistics(const ParameterSums& part, ParameterSums* sums);

/// The sums over one symmetry without the loss scale, or INVALID_ARGUMENT naming the field whose
/// size does not fit the declaration.
absl::StatusOr<SymmetryStep> ReadStatistics(const v1::SymmetryStatistics& statistics,
                                            const DeclaredSymmetry& symmetry,
                                            const RunDeclaration& declaration, double loss_scale);

/// What a trainer that is `declaration` sends instead of the tensors of a parameter whose sums are
/// `sums`. `elements` and `non_finite`: of its shard.
void WriteStatistics(const MergedParameter& sums, const RunDeclaration& declaration,
                     uint64_t elements, const statistics::NonFinite& non_finite,
                     v1::ParameterStatistics* statistics);

/// The same of a symmetry; false: there is nothing to send.
bool WriteStatistics(const SymmetryStep& step, const DeclaredSymmetry& symmetry,
                     v1::SymmetryStatistics* statistics);

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_STEP_STATISTICS_H_
