#ifndef THERMOGRAD_SERVICE_SERVICE_COUNTERS_H_
#define THERMOGRAD_SERVICE_SERVICE_COUNTERS_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "metrics/figure.h"
#include "service/limits.h"

namespace thermograd::service {

/// Why a stream or call was ended by the service.
enum class Rejection {
  kInvalidArgument,
  kResourceExhausted,
  kDeadlineExceeded,
  kUnimplemented,
  kSuperseded,
  kDraining,
  kNotFound,
  kUnauthenticated,
  kCount
};

/// What the service did since it started. Nothing is dropped or refused without moving one of
/// these.
struct ServiceCounters {
  std::atomic<uint64_t> received_bytes{0};
  std::atomic<uint64_t> chunks{0};
  std::atomic<uint64_t> steps{0};
  std::atomic<uint64_t> incomplete_steps{0};
  /// Steps given up because not all ranks of a run ended them.
  std::atomic<uint64_t> incomplete_rank_steps{0};
  std::atomic<uint64_t> streams{0};
  std::atomic<uint64_t> comparisons{0};
  std::atomic<uint64_t> reports_dropped{0};
  std::atomic<uint64_t> analysis_nanoseconds{0};
  std::array<std::atomic<uint64_t>, static_cast<size_t>(Rejection::kCount)> rejected{};
  /// What was refused or left out because of a limit, by Limit.
  std::array<std::atomic<uint64_t>, kLimits> refusals{};
  /// Times that changed files could not be taken up, so that those before stayed in use.
  std::atomic<uint64_t> tls_reload_failures{0};
  std::atomic<uint64_t> token_reload_failures{0};
  std::atomic<uint64_t> http_credentials_reload_failures{0};
  /// Until when the certificate in use is valid, in seconds since 1970; 0: there is none.
  std::atomic<int64_t> tls_certificate_expiry{0};
  /// Figures withheld, by metrics::Undefined.
  std::array<std::atomic<uint64_t>, metrics::kUndefinedReasons> undefined{};
};

inline void CountRefusal(Limit limit, ServiceCounters* counters, uint64_t count = 1) {
  counters->refusals[static_cast<size_t>(limit)] += count;
}

inline void CountUndefined(const metrics::Figures& figures, ServiceCounters* counters) {
  for (const metrics::Figure& figure : figures) {
    if (const auto* reason = std::get_if<metrics::Undefined>(&figure.result)) {
      ++counters->undefined[static_cast<size_t>(*reason)];
    }
  }
}

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_SERVICE_COUNTERS_H_
