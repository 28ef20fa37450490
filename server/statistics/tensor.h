#ifndef THERMOGRAD_STATISTICS_TENSOR_H_
#define THERMOGRAD_STATISTICS_TENSOR_H_

#include <cstddef>
#include <utility>
#include <vector>

#include "kernels/reduce.h"
#include "statistics/non_finite.h"

namespace thermograd::statistics {

/// A tensor of one parameter in one step that comes once: weights, updates and the like.
class TensorAccumulator {
 public:
  /// `elements`: size of the tensor. `keep_values`: Values() will be asked for. `factor` multiplies
  /// every element.
  TensorAccumulator(size_t elements, bool keep_values, double factor);

  /// Adds the elements from index `first` on. The caller has checked that they continue the tensor
  /// and do not go beyond its end.
  void Add(const kernels::Elements& chunk, size_t first);

  /// True once every element was added.
  bool complete() const { return next_ == elements_; }
  /// Index at which the next chunk must start.
  size_t next_element() const { return next_; }
  NonFinite non_finite() const;

  /// Valid when complete and finite.
  double SquaredNorm() const;
  /// Empty unless `keep_values`.
  const std::vector<double>& values() const { return values_; }
  /// The same, once.
  std::vector<double> TakeValues() { return std::move(values_); }

 private:
  size_t elements_;
  double factor_;
  size_t next_ = 0;
  kernels::Moments moments_;
  std::vector<double> values_;
};

}  // namespace thermograd::statistics

#endif  // THERMOGRAD_STATISTICS_TENSOR_H_
