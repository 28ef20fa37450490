#include "flags.h"

#include <tuple>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

ABSL_FLAG(std::string, listen_address, "127.0.0.1:50051",
          "Where trainers connect (host:port; port 0: any)");
ABSL_FLAG(std::string, http_address, "127.0.0.1:9464",
          "Where Prometheus reads /metrics (host:port; port 0: any)");
ABSL_FLAG(double, soft_memory_ratio, 0.8,
          "Part of max_memory_bytes and of max_resident_bytes above which new calls and probe data "
          "are refused");
ABSL_FLAG(uint32_t, default_window_steps, thermograd::service::Limits().default_window_steps,
          "Steps of a window when a run declares none");
ABSL_FLAG(uint32_t, default_spectrum_every_steps,
          thermograd::service::Limits().default_spectrum_every_steps,
          "Steps between two singular value decompositions when a run declares none");
ABSL_FLAG(uint32_t, run_grace_seconds, 900, "How long an ended run's series stay");
ABSL_FLAG(uint32_t, probe_seconds, 600, "How long a probe set's representations stay comparable");
ABSL_FLAG(uint32_t, rank_seconds, 30, "How long a step waits for the other ranks of its run");
ABSL_FLAG(uint32_t, drain_seconds, 30, "After SIGTERM: time for open steps to finish");
ABSL_FLAG(uint32_t, keepalive_seconds, 30, "A connection so long silent is pinged");
ABSL_FLAG(uint32_t, keepalive_timeout_seconds, 10,
          "A connection is closed that does not answer a ping for so long");
ABSL_FLAG(uint32_t, handshake_seconds, 10, "A new connection must begin to speak HTTP/2 by then");
ABSL_FLAG(uint32_t, self_probe_seconds, 10,
          "How often the process connects to itself; after three failures in a row it ends; 0: "
          "never");
ABSL_FLAG(uint32_t, workers, 0,
          "Long tasks (representations, large spectra) at a time; 0: one a core");

#define THERMOGRAD_FLAG(type, name, value, least, most, help) \
  ABSL_FLAG(type, name, thermograd::service::Limits().name, help);
THERMOGRAD_LIMITS(THERMOGRAD_FLAG)
#undef THERMOGRAD_FLAG

namespace thermograd {
namespace {

absl::Status CheckRange(absl::string_view name, uint64_t value, uint64_t least, uint64_t most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--", name, "=", value, ": must be ", least, " to ", most));
}

// Some two weeks: in milliseconds it fits into an int.
constexpr uint32_t kMostSeconds = 1 << 20;

}  // namespace

void ParseFlags(int argc, char** argv) {
  absl::FlagsUsageConfig usage;
  usage.contains_help_flags = [](absl::string_view file) {
    return absl::EndsWith(file, "server/flags.cc") || absl::EndsWith(file, "server/security.cc");
  };
  usage.version_string = [] { return std::string("thermograd-server " THERMOGRAD_VERSION "\n"); };
  absl::SetFlagsUsageConfig(usage);
  absl::SetProgramUsageMessage("Live thermodynamics of neural-network training, over gRPC.");
  absl::ParseCommandLine(argc, argv);
}

absl::StatusOr<service::Limits> CheckFlags() {
  service::Limits limits;
  absl::Status status;
#define THERMOGRAD_READ(type, name, value, least, most, help) \
  limits.name = absl::GetFlag(FLAGS_##name);                  \
  status.Update(CheckRange(#name, limits.name, least, most));
  THERMOGRAD_LIMITS(THERMOGRAD_READ)
#undef THERMOGRAD_READ
  limits.default_window_steps = absl::GetFlag(FLAGS_default_window_steps);
  limits.default_spectrum_every_steps = absl::GetFlag(FLAGS_default_spectrum_every_steps);
  status.Update(
      CheckRange("default_window_steps", limits.default_window_steps, 1, limits.max_window_steps));
  status.Update(CheckRange("default_spectrum_every_steps", limits.default_spectrum_every_steps, 1,
                           UINT32_MAX));
  const double ratio = absl::GetFlag(FLAGS_soft_memory_ratio);
  if (!(ratio > 0 && ratio <= 1)) {
    status.Update(absl::InvalidArgumentError(
        absl::StrCat("--soft_memory_ratio=", ratio, ": must be above 0 and at most 1")));
  }
  for (const auto& [name, flag, least] :
       {std::tuple{"run_grace_seconds", &FLAGS_run_grace_seconds, 0u},
        {"probe_seconds", &FLAGS_probe_seconds, 0u},
        {"rank_seconds", &FLAGS_rank_seconds, 0u},
        {"drain_seconds", &FLAGS_drain_seconds, 0u},
        {"keepalive_seconds", &FLAGS_keepalive_seconds, 1u},
        {"keepalive_timeout_seconds", &FLAGS_keepalive_timeout_seconds, 1u},
        {"handshake_seconds", &FLAGS_handshake_seconds, 1u},
        {"self_probe_seconds", &FLAGS_self_probe_seconds, 0u}}) {
    status.Update(CheckRange(name, absl::GetFlag(*flag), least, kMostSeconds));
  }
  status.Update(CheckRange("workers", absl::GetFlag(FLAGS_workers), 0, 1024));
  if (!status.ok()) return status;
  return limits;
}

}  // namespace thermograd
