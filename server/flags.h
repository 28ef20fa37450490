#ifndef THERMOGRAD_FLAGS_H_
#define THERMOGRAD_FLAGS_H_

#include <cstdint>
#include <string>

#include "absl/flags/declare.h"
#include "absl/status/statusor.h"
#include "service/limits.h"

// The server's flags besides those of its limits, each of which is a flag of its name.
ABSL_DECLARE_FLAG(std::string, listen_address);
ABSL_DECLARE_FLAG(std::string, http_address);
ABSL_DECLARE_FLAG(double, soft_memory_ratio);
ABSL_DECLARE_FLAG(uint32_t, run_grace_seconds);
ABSL_DECLARE_FLAG(uint32_t, probe_seconds);
ABSL_DECLARE_FLAG(uint32_t, rank_seconds);
ABSL_DECLARE_FLAG(uint32_t, drain_seconds);
ABSL_DECLARE_FLAG(uint32_t, keepalive_seconds);
ABSL_DECLARE_FLAG(uint32_t, keepalive_timeout_seconds);
ABSL_DECLARE_FLAG(uint32_t, handshake_seconds);
ABSL_DECLARE_FLAG(uint32_t, self_probe_seconds);
ABSL_DECLARE_FLAG(uint32_t, workers);

namespace thermograd {

/// Reads the flags; --help lists those of flags.cc.
void ParseFlags(int argc, char** argv);

/// The limits that the flags set. INVALID_ARGUMENT, naming the flag, where any flag is out of its
/// range.
absl::StatusOr<service::Limits> CheckFlags();

}  // namespace thermograd

#endif  // THERMOGRAD_FLAGS_H_
