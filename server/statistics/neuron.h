#ifndef THERMOGRAD_STATISTICS_NEURON_H_
#define THERMOGRAD_STATISTICS_NEURON_H_

#include <cstddef>
#include <span>
#include <vector>

#include "statistics/symmetry.h"

namespace thermograd::statistics {

/// The weights of one side of every hidden neuron, gathered from its members.
class NeuronWeights {
 public:
  /// `neurons`: how many there are.
  explicit NeuronWeights(size_t neurons) : neurons_(neurons) {}

  /// Appends the rows of a matrix to the neurons that they belong to; every neuron gets as many.
  void Append(std::span<const double> weight, const MatrixView& view,
              const InstanceOfBlock& neuron_of_row);

  /// |x_j| of every neuron.
  std::vector<double> Norms() const;

  /// The neurons as rows, each divided by its norm; rows of norm zero stay zero.
  kernels::StridedMatrix Normalise();

 private:
  size_t neurons_;
  size_t width_ = 0;
  std::vector<double> values_;  // neurons x width, row-major
};

/// The number of neurons for which there is another one such that the cosine of the incoming
/// weights and that of the outgoing weights are both above `cosine`. Rows are normalised neurons.
size_t CountNearDuplicates(const kernels::StridedMatrix& incoming,
                           const kernels::StridedMatrix& outgoing, double cosine);

}  // namespace thermograd::statistics

#endif  // THERMOGRAD_STATISTICS_NEURON_H_
