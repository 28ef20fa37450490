// Flags of the server, one `name=value` a line: what CheckFlags admits lies within the limits'
// table, and what it refuses it names.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/flags/commandlineflag.h"
#include "absl/flags/flag.h"
#include "absl/flags/reflection.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "flags.h"

namespace {

void Check(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  const absl::FlagSaver flags_as_they_were;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const size_t equals = line.find('=');
    if (equals == absl::string_view::npos) continue;
    absl::CommandLineFlag* const flag = absl::FindCommandLineFlag(line.substr(0, equals));
    std::string error;
    // The flags of --help and the like are Abseil's, and some end the process.
    if (flag == nullptr || !absl::EndsWith(flag->Filename(), "server/flags.cc")) continue;
    if (!flag->ParseFrom(line.substr(equals + 1), &error)) Check(!error.empty());
  }
  const auto limits = thermograd::CheckFlags();
  if (!limits.ok()) {
    Check(absl::IsInvalidArgument(limits.status()));
    Check(absl::StartsWith(limits.status().message(), "--"));
    return 0;
  }
#define THERMOGRAD_CHECK_RANGE(type, name, value, least, most, help) \
  Check(limits->name >= static_cast<type>(least) && limits->name <= static_cast<type>(most));
  THERMOGRAD_LIMITS(THERMOGRAD_CHECK_RANGE)
#undef THERMOGRAD_CHECK_RANGE
  Check(limits->default_window_steps >= 1 &&
        limits->default_window_steps <= limits->max_window_steps);
  const double ratio = absl::GetFlag(FLAGS_soft_memory_ratio);
  Check(std::isfinite(ratio) && ratio > 0 && ratio <= 1);
  return 0;
}
