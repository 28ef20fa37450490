#ifndef THERMOGRAD_SERVICE_RUN_ID_H_
#define THERMOGRAD_SERVICE_RUN_ID_H_

#include <compare>
#include <string>

namespace thermograd::service {

/// What tells a run from all others: names are unique within a tenant only.
struct RunId {
  std::string name;
  /// Empty where the server knows no tenants.
  std::string tenant = {};

  auto operator<=>(const RunId&) const = default;
};

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_RUN_ID_H_
