#ifndef THERMOGRAD_SERVICE_LIMIT_STATUS_H_
#define THERMOGRAD_SERVICE_LIMIT_STATUS_H_

#include <optional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "service/limits.h"

namespace thermograd::service {

/// "`what`: the limit --max_streams is 256", with the limit's flag and value: RESOURCE_EXHAUSTED,
/// or DEADLINE_EXCEEDED of a limit of time. ToGrpc counts it by the limit.
absl::Status LimitExceeded(LimitValue limit, absl::string_view what);
absl::Status LimitExceeded(Limit limit, const Limits& limits, absl::string_view what);

/// The limit that a status made by LimitExceeded names.
std::optional<Limit> ExceededLimit(const absl::Status& status);

/// Whether what was refused for want of room may be admitted once others have left.
bool MayBeAdmittedLater(const absl::Status& status);

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_LIMIT_STATUS_H_
