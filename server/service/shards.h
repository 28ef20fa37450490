#ifndef THERMOGRAD_SERVICE_SHARDS_H_
#define THERMOGRAD_SERVICE_SHARDS_H_

#include <span>
#include <vector>

#include "service/run_declaration.h"
#include "service/step.h"

namespace thermograd::service {

/// What every rank of a run declared, in order of rank; the shared parts are equal.
using Ranks = std::vector<const RunDeclaration*>;

/// For each parameter, whether the shards of all ranks cover it without overlap, each held by as
/// many ranks as it says.
std::vector<bool> CoveredParameters(const Ranks& ranks);

/// Copies a shard's elements, row-major, to their place in the whole parameter.
void Scatter(const Shard& shard, std::span<const double> elements,
             std::span<const uint64_t> whole_shape, std::span<double> whole);

/// Joins the parts of all ranks. Disjoint shards add; ranks that hold the same shard add
/// microbatches, or count once where gradients were reduced before (GradientScope). `covered`: from
/// CoveredParameters; what is not covered has no figure. The ranks' steps are used up.
MergedStep MergeRanks(const Ranks& ranks, const std::vector<bool>& covered,
                      std::span<RankStep> steps);

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_SHARDS_H_
