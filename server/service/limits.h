#ifndef THERMOGRAD_SERVICE_LIMITS_H_
#define THERMOGRAD_SERVICE_LIMITS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

// Every limit in one table: type, name (of the field and of the server's flag), default, least and
// most that may be set, and what it bounds.
#define THERMOGRAD_LIMITS(X)                                                                       \
  X(uint64_t, max_streams, 256, 1, 1 << 20, "Streams open at a time")                              \
  X(uint64_t, max_comparisons, 64, 1, 1 << 20, "CompareRepresentations calls open at a time")      \
  X(uint64_t, max_runs, 1024, 1, 1 << 20,                                                          \
    "Runs shown, live or in grace, each rank by itself; ended ones make way, the oldest first")    \
  X(uint64_t, max_series, 20000, 0, 1 << 24, "Prometheus series of all runs together")             \
  X(uint64_t, max_chunk_bytes, 4 << 20, 1 << 10, 1 << 30, "Largest TensorChunk.data")              \
  X(uint32_t, max_parameters, 2000, 1, 1 << 20, "Parameters of a run")                             \
  X(uint32_t, max_layers, 64, 1, 1 << 12,                                                          \
    "Layers of a run, and its probe sets; all pairs of layers are compared")                       \
  X(uint32_t, max_symmetries, 1000, 1, 1 << 20, "Symmetries of a run")                             \
  X(uint32_t, max_ranks, 4096, 1, 1 << 20, "Ranks of a run")                                       \
  X(uint32_t, max_label_bytes, 128, 16, 1 << 12, "Name of a run, parameter, layer or symmetry")    \
  X(uint64_t, max_elements, uint64_t{1} << 40, 1, uint64_t{1} << 48,                               \
    "Elements of one declared tensor")                                                             \
  X(uint64_t, max_samples, 2048, 1, 1 << 20, "Samples of one activation matrix")                   \
  X(uint32_t, max_window_steps, 4096, 1, 1 << 20, "Longest window a run may declare, in steps")    \
  X(uint64_t, max_stream_bytes, uint64_t{2} << 30, 1 << 10, uint64_t{1} << 48,                     \
    "Memory of one stream's windows, and of its open step")                                        \
  X(uint64_t, max_memory_bytes, uint64_t{8} << 30, 1 << 10, uint64_t{1} << 48,                     \
    "Memory of all streams, comparisons, shown figures and the probe board together")              \
  X(uint64_t, max_resident_bytes, 0, 0, uint64_t{1} << 48,                                         \
    "Resident memory of the process; 0: its control group's limit, if there is one")               \
  X(uint64_t, max_probe_bytes, uint64_t{1} << 30, 0, uint64_t{1} << 48,                            \
    "Memory of the probe board, by which runs are compared")                                       \
  X(uint64_t, max_queued_bytes, 16 << 20, 1 << 10, 1 << 30,                                        \
    "Reports that wait for a client that does not read; the oldest are dropped")                   \
  X(uint64_t, max_symmetry_bytes, uint64_t{1} << 30, 1 << 10, uint64_t{1} << 48,                   \
    "Memory of the windows of one stream's symmetries")                                            \
  X(uint32_t, max_rotation_rows, 1024, 1, 1 << 14, "r of the r x r charge of a rotation symmetry") \
  X(uint32_t, max_permutation_neurons, 4096, 1, 1 << 20,                                           \
    "Neurons of a NeuronPermutation; all pairs are compared")                                      \
  X(uint32_t, max_spectrum_rows, 2048, 0, 1 << 16,                                                 \
    "Shorter side of a weight matrix whose singular values are computed")                          \
  X(uint32_t, max_cross_run_pairs, 256, 0, 1 << 20,                                                \
    "Layers of other runs that one step of a layer is compared with")                              \
  X(uint32_t, max_permutations, 1000, 19, 1 << 20, "Permutations of a calibrated similarity")      \
  X(uint64_t, max_permutation_products, uint64_t{1} << 33, 0, uint64_t{1} << 50,                   \
    "Products of kernel elements that the permutations of one step may need")                      \
  X(uint64_t, max_request_cpu_seconds, 300, 1, 1 << 20,                                            \
    "CPU time of the similarities of one step or comparison, as estimated beforehand")             \
  X(uint64_t, step_seconds, 300, 0, 1 << 20,                                                       \
    "Time from StepBegin to StepEnd, to the first RunSpec, and of a comparison; 0: no end")        \
  X(uint64_t, idle_seconds, 3600, 0, 1 << 24, "Time between the steps of a stream; 0: no end")

namespace thermograd::service {

/// What clients may use of the service, and what a run gets that declares nothing else. The
/// defaults are the server's defaults.
struct Limits {
#define THERMOGRAD_FIELD(type, name, value, least, most, help) type name = value;
  THERMOGRAD_LIMITS(THERMOGRAD_FIELD)
#undef THERMOGRAD_FIELD
  uint32_t default_window_steps = 64;
  uint32_t default_spectrum_every_steps = 100;
};

/// Names a limit: each has the name of its field and flag.
enum class Limit : uint8_t {
#define THERMOGRAD_ENUMERATOR(type, name, value, least, most, help) name,
  THERMOGRAD_LIMITS(THERMOGRAD_ENUMERATOR)
#undef THERMOGRAD_ENUMERATOR
      kCount
};
inline constexpr size_t kLimits = static_cast<size_t>(Limit::kCount);

/// By Limit: its name.
inline constexpr std::array<const char*, kLimits> kLimitNames = {
#define THERMOGRAD_NAME(type, name, value, least, most, help) #name,
    THERMOGRAD_LIMITS(THERMOGRAD_NAME)
#undef THERMOGRAD_NAME
};

/// A limit and its value, or a limit and how much of it is used.
using LimitValue = std::pair<Limit, uint64_t>;

/// By Limit: its value.
inline std::array<uint64_t, kLimits> ValuesOf(const Limits& limits) {
  return {
#define THERMOGRAD_VALUE(type, name, value, least, most, help) limits.name,
      THERMOGRAD_LIMITS(THERMOGRAD_VALUE)
#undef THERMOGRAD_VALUE
  };
}

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_LIMITS_H_
