#ifndef THERMOGRAD_STATISTICS_GRADIENT_H_
#define THERMOGRAD_STATISTICS_GRADIENT_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/reduce.h"
#include "statistics/non_finite.h"

namespace thermograd::statistics {

/// The sums over one step's gradients from which all gradient metrics follow. Sums of disjoint
/// parameters, or of disjoint shards of one, add.
struct GradientSums {
  /// Microbatches n, of all ranks.
  uint64_t microbatches = 0;
  /// sum_i |g_i|^2 over the microbatches.
  double sum_squared_norm = 0;
  /// |g|^2 of the gradient that the step applies: the mean of the microbatch gradients, or the
  /// reduced gradient where the trainer sent it.
  double applied_squared_norm = 0;
  /// Batch of the applied gradient, in microbatches: n, or samples of the reduced gradient over b.
  double applied_microbatches = 0;

  /// Adds the sums of another part of the parameters over the same microbatches.
  void MergeParameters(const GradientSums& other);
};

/// The microbatch gradients of one parameter, or of a shard of it, in one step.
class GradientAccumulator {
 public:
  /// `elements`: size of the parameter. `keep_sum`: the vector sum_i g_i will be asked for, or
  /// merged. `factor` multiplies every element (the inverse of the loss scale).
  GradientAccumulator(size_t elements, uint64_t microbatches, bool keep_sum, double factor);

  /// Adds the elements from index `first` of the current microbatch on. The caller has checked
  /// that they continue it and do not go beyond its end.
  void Add(std::span<const float> chunk, size_t first);
  void Add(std::span<const double> chunk, size_t first);

  /// Adds the microbatches of another rank that holds the same elements. Both are complete and
  /// keep their sums.
  void MergeMicrobatches(const GradientAccumulator& other);

  /// True once every element of every microbatch was added.
  bool complete() const { return microbatch_ == microbatches_; }
  /// Microbatch that the next chunk must belong to.
  uint64_t microbatch() const { return microbatch_; }
  /// Index at which the next chunk must start.
  size_t next_element() const { return next_; }
  const NonFinite& non_finite() const { return non_finite_; }

  /// Valid when complete and finite.
  GradientSums Sums() const;
  /// sum_i g_i / n, the gradient that a step applies. Needs `keep_sum`.
  std::vector<double> Mean() const;

 private:
  template <typename T>
  void AddElements(std::span<const T> chunk, size_t first);

  size_t elements_;
  uint64_t microbatches_;
  double factor_;
  uint64_t microbatch_ = 0;
  size_t next_ = 0;
  kernels::Moments moments_;
  double sum_squared_norm_ = 0;
  NonFinite non_finite_;
  std::vector<double> sum_;
};

}  // namespace thermograd::statistics

#endif  // THERMOGRAD_STATISTICS_GRADIENT_H_
