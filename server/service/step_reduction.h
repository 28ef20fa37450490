#ifndef THERMOGRAD_SERVICE_STEP_REDUCTION_H_
#define THERMOGRAD_SERVICE_STEP_REDUCTION_H_

#include <span>
#include <vector>

#include "service/run_declaration.h"
#include "service/step.h"

// From tensors to the sums that formulas are made of: by the service of what was streamed, by the
// client library of what is not going to be.

namespace thermograd::service {

/// Sets the products of the tensors that are known.
void ReduceParameter(const ParameterElements& elements, MergedParameter* sums);

/// The sums of every symmetry over its members. `parameters`: one entry a declared parameter.
std::vector<SymmetryStep> ReduceSymmetries(const RunDeclaration& declaration,
                                           std::span<const ParameterElements> parameters);

/// Entries of each vector of a side's sums: r x r of every instance.
size_t SideEntries(const DeclaredSymmetry& symmetry);

/// The sums of the side that a symmetry of one side has not: zeros, as far as the other's are
/// known.
statistics::SideSums EmptySide(const statistics::SideSums& other);

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_STEP_REDUCTION_H_
