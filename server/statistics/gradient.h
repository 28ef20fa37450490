#ifndef THERMOGRAD_STATISTICS_GRADIENT_H_
#define THERMOGRAD_STATISTICS_GRADIENT_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/reduce.h"

namespace thermograd::statistics {

/// Elements that spoil arithmetic, counted over tensors.
struct NonFinite {
  uint64_t nans = 0;
  uint64_t infinities = 0;

  bool any() const { return nans + infinities > 0; }
  void Merge(const NonFinite& other);
};

/// The sums over one step's microbatch gradients from which all gradient metrics follow. Sums of
/// disjoint parameters (or disjoint shards) add.
struct GradientSums {
  /// Microbatches M.
  uint64_t microbatches = 0;
  /// sum_i |g_i|^2.
  double sum_squared_norm = 0;
  /// |sum_i g_i|^2.
  double squared_norm_of_sum = 0;

  /// Adds the sums of another part of the parameters over the same microbatches.
  void MergeParameters(const GradientSums& other);
};

/// The gradients of one parameter in one step.
class GradientAccumulator {
 public:
  /// `elements`: size of the parameter. `keep_sum`: the vector sum_i g_i will be asked for.
  /// `factor` multiplies every element (the inverse of the loss scale).
  GradientAccumulator(size_t elements, uint64_t microbatches, bool keep_sum, double factor);

  /// Adds the elements from index `first` of the current microbatch on. The caller has checked
  /// that they continue it and do not go beyond its end.
  void Add(std::span<const float> chunk, size_t first);
  void Add(std::span<const double> chunk, size_t first);

  /// True once every element of every microbatch was added.
  bool complete() const { return microbatch_ == microbatches_; }
  /// Microbatch that the next chunk must belong to.
  uint64_t microbatch() const { return microbatch_; }
  /// Index at which the next chunk must start.
  size_t next_element() const { return next_; }
  const NonFinite& non_finite() const { return non_finite_; }

  /// Valid when complete and finite.
  GradientSums Sums() const;
  /// sum_i g_i / M, the gradient that a step applies. Needs `keep_sum`.
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
