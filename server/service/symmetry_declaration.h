#ifndef THERMOGRAD_SERVICE_SYMMETRY_DECLARATION_H_
#define THERMOGRAD_SERVICE_SYMMETRY_DECLARATION_H_

#include <cstdint>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "metrics/symmetry_breaking.h"
#include "service/limits.h"
#include "service/run_declaration.h"
#include "thermograd/v1/run.pb.h"

namespace thermograd::service {

/// Checks one symmetry against the parameters of `declaration`. `field` is its place in the
/// RunSpec. INVALID_ARGUMENT or RESOURCE_EXHAUSTED, naming the field.
absl::StatusOr<DeclaredSymmetry> CheckSymmetry(const v1::Symmetry& symmetry,
                                               const std::string& field, const Limits& limits,
                                               const RunDeclaration& declaration);

/// Memory that the windows of symmetries take at most.
uint64_t SymmetryBytes(std::span<const DeclaredSymmetry> symmetries);

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_SYMMETRY_DECLARATION_H_
