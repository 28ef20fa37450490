#ifndef THERMOGRAD_PROCESS_RESOURCES_H_
#define THERMOGRAD_PROCESS_RESOURCES_H_

#include <cstdint>

#include "absl/status/status.h"

// What the operating system grants the process.

namespace thermograd {

/// Resident memory of the process; 0 where the system does not tell.
uint64_t ResidentBytes();

/// The smallest memory limit of the process' control group and of those above it; 0: none.
uint64_t ControlGroupMemoryBytes();

/// Returns freed memory to the system, as far as the allocator can.
void ReleaseFreedMemory();

/// Raises the limit of open files to the most that is allowed. An error where that is too few: out
/// of file descriptors, gRPC's listener dies.
absl::Status RaiseOpenFileLimit();

}  // namespace thermograd

#endif  // THERMOGRAD_PROCESS_RESOURCES_H_
