#ifndef THERMOGRAD_STATISTICS_SYMMETRY_H_
#define THERMOGRAD_STATISTICS_SYMMETRY_H_

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

namespace thermograd::statistics {

/// What one side of a rescaling contributes, one entry a neuron (one entry in all for the rescaling
/// of whole layers). Entries of disjoint elements of the same neurons add.
struct RescalingSide {
  std::vector<double> gradient_squared_norm;
  std::vector<double> weight_squared_norm;
  /// <g, theta>.
  std::vector<double> gradient_dot_weight;

  void Merge(const RescalingSide& other);
};

/// Which elements of a row-major matrix belong to neuron j.
enum class NeuronAxis {
  kRows,     // row j; a bias is a matrix of one column
  kColumns,  // column j
  kWhole,    // one "neuron": the whole tensor
};

/// Sums over one tensor (rows x columns). `weight` is empty when it was not streamed: then the
/// members that need it stay empty.
RescalingSide SumRescalingSide(std::span<const double> gradient, std::span<const double> weight,
                               size_t rows, size_t columns, NeuronAxis axis);

/// Both sides in one step.
struct RescalingSums {
  RescalingSide first;
  RescalingSide second;
};

}  // namespace thermograd::statistics

#endif  // THERMOGRAD_STATISTICS_SYMMETRY_H_
