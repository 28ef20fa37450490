#ifndef THERMOGRAD_METRICS_ERROR_BOUNDS_H_
#define THERMOGRAD_METRICS_ERROR_BOUNDS_H_

#include <string_view>

namespace thermograd::metrics {

/// How far rounding (and sampling, where that is more) may move the metric of that name from its
/// formula for the elements as they were streamed, or why no bound is given; empty for a name that
/// belongs to no class of errors.
const char* ErrorBoundOf(std::string_view name);

}  // namespace thermograd::metrics

#endif  // THERMOGRAD_METRICS_ERROR_BOUNDS_H_
