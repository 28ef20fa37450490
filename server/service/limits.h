#ifndef THERMOGRAD_SERVICE_LIMITS_H_
#define THERMOGRAD_SERVICE_LIMITS_H_

#include <cstdint>

namespace thermograd::service {

/// What one stream may ask for. The defaults are the server's defaults.
struct Limits {
  uint64_t max_chunk_bytes = uint64_t{4} << 20;
  uint32_t max_parameters = 2000;
  uint32_t max_layers = 64;
  uint32_t max_symmetries = 1000;
  /// Ranks of one run.
  uint32_t max_ranks = 4096;
  uint32_t max_label_bytes = 128;
  uint64_t max_stream_bytes = uint64_t{2} << 30;
  uint64_t max_samples = 2048;
  uint32_t max_window_steps = 4096;
  uint32_t default_window_steps = 64;
  /// Elements of one declared tensor.
  uint64_t max_elements = uint64_t{1} << 40;
  /// r of the r x r charge of a rotation symmetry.
  uint32_t max_rotation_rows = 1024;
  /// Memory of the windows of one stream's symmetries: it grows with their rows, and with heads
  /// times r x r.
  uint64_t max_symmetry_bytes = uint64_t{1} << 30;
  /// Neurons of one NeuronPermutation: all pairs are compared.
  uint32_t max_permutation_neurons = 4096;
  /// Shorter side of a weight matrix whose singular values are computed.
  uint32_t max_spectrum_rows = 2048;
  uint32_t default_spectrum_every_steps = 100;
  /// Other runs' layers that one step of a layer is compared with.
  uint32_t max_cross_run_pairs = 256;
  /// Permutations of one calibrated similarity.
  uint32_t max_permutations = 1000;
  /// Products of kernel elements that the permutations of one step may need: some seconds of one
  /// core.
  uint64_t max_permutation_products = uint64_t{1} << 33;
};

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_LIMITS_H_
