#include "service/limit_status.h"

#include <algorithm>
#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"

namespace thermograd::service {
namespace {

constexpr absl::string_view kPayload = "thermograd/limit";

}  // namespace

absl::Status LimitExceeded(LimitValue limit, absl::string_view what) {
  const char* const name = kLimitNames[static_cast<size_t>(limit.first)];
  const bool is_of_time = limit.first == Limit::step_seconds || limit.first == Limit::idle_seconds;
  absl::Status status(
      is_of_time ? absl::StatusCode::kDeadlineExceeded : absl::StatusCode::kResourceExhausted,
      absl::StrCat(what, ": the limit --", name, " is ", limit.second));
  status.SetPayload(kPayload, absl::Cord(name));
  return status;
}

absl::Status LimitExceeded(Limit limit, const Limits& limits, absl::string_view what) {
  return LimitExceeded({limit, ValuesOf(limits)[static_cast<size_t>(limit)]}, what);
}

std::optional<Limit> ExceededLimit(const absl::Status& status) {
  const auto payload = status.GetPayload(kPayload);
  if (!payload) return std::nullopt;
  const auto found = std::find(kLimitNames.begin(), kLimitNames.end(), std::string(*payload));
  return static_cast<Limit>(found - kLimitNames.begin());
}

bool MayBeAdmittedLater(const absl::Status& status) {
  const std::optional<Limit> limit = ExceededLimit(status);
  return limit == Limit::max_streams || limit == Limit::max_comparisons ||
         limit == Limit::max_runs || limit == Limit::max_memory_bytes ||
         limit == Limit::max_resident_bytes;
}

}  // namespace thermograd::service
