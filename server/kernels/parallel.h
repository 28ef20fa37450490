#ifndef THERMOGRAD_KERNELS_PARALLEL_H_
#define THERMOGRAD_KERNELS_PARALLEL_H_

#include <cstddef>
#include <functional>

#include "kernels/export.h"

namespace thermograd::kernels {

/// Most threads that large products take at a time, of all callers together; 0: one a core, as it
/// is from the start. No result depends on it. A caller's own thread always works.
THERMOGRAD_KERNEL void SetMaxThreads(size_t threads);

/// Calls task(0) to task(count - 1), each once, in any order and on several threads if they are
/// free. Tasks must not share output: a sum that were split would depend on the threads.
void ParallelFor(size_t count, const std::function<void(size_t)>& task);

}  // namespace thermograd::kernels

#endif  // THERMOGRAD_KERNELS_PARALLEL_H_
