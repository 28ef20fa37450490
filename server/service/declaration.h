#ifndef THERMOGRAD_SERVICE_DECLARATION_H_
#define THERMOGRAD_SERVICE_DECLARATION_H_

#include "absl/status/statusor.h"
#include "service/limits.h"
#include "service/run_declaration.h"
#include "thermograd/v1/run.pb.h"

namespace thermograd::service {

/// Checks a RunSpec. INVALID_ARGUMENT, RESOURCE_EXHAUSTED or UNIMPLEMENTED, naming the field.
absl::StatusOr<RunDeclaration> CheckRunSpec(const v1::RunSpec& spec, const Limits& limits);

/// How much of the limits a declaration uses.
std::vector<LimitValue> LimitUsesOf(const RunDeclaration& declaration);

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_DECLARATION_H_
