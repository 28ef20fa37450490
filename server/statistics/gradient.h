#ifndef THERMOGRAD_STATISTICS_GRADIENT_H_
#define THERMOGRAD_STATISTICS_GRADIENT_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
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

/// What will be asked of the vector sum_i g_i over the microbatches.
enum class SumUse {
  /// Nothing: the trainer sends the reduced gradient.
  kNone,
  /// Its norm.
  kNorm,
  /// Its norm and itself, or to be merged.
  kVector,
};

/// Memory of a vector, not initialised. Whoever lends it says what becomes of it afterwards.
using VectorMemory = std::unique_ptr<double[], std::function<void(double*)>>;

/// The microbatch gradients of one parameter, or of a shard of it, in one step.
class GradientAccumulator {
 public:
  /// True if the vector must be held between microbatches, or after them.
  static bool NeedsMemory(uint64_t microbatches, SumUse use) {
    return use == SumUse::kVector || (use == SumUse::kNorm && microbatches > 1);
  }

  /// `elements`: size of the parameter. `factor` multiplies every element (the inverse of the loss
  /// scale). `memory`: for as many elements, if NeedsMemory; its own if null.
  GradientAccumulator(size_t elements, uint64_t microbatches, SumUse use, double factor,
                      VectorMemory memory = nullptr);

  /// Adds the elements from index `first` of the current microbatch on. The caller has checked
  /// that they continue it and do not go beyond its end.
  void Add(const kernels::Elements& chunk, size_t first);

  /// Adds the microbatches of another rank that holds the same elements. Both are complete and
  /// have kVector.
  void MergeMicrobatches(const GradientAccumulator& other);

  /// True once every element of every microbatch was added.
  bool complete() const { return microbatch_ == microbatches_; }
  /// Microbatch that the next chunk must belong to.
  uint64_t microbatch() const { return microbatch_; }
  /// Index at which the next chunk must start.
  size_t next_element() const { return next_; }
  const NonFinite& non_finite() const { return non_finite_; }

  /// Valid when complete and finite; the applied norm is 0 where kNone was said.
  GradientSums Sums() const;
  /// sum_i g_i / n, the gradient that a step applies. Empty unless kVector.
  std::vector<double> Mean() const;

 private:
  size_t elements_;
  uint64_t microbatches_;
  SumUse use_;
  double factor_;
  uint64_t microbatch_ = 0;
  size_t next_ = 0;
  kernels::Moments moments_;  // of the current microbatch
  double sum_squared_norm_ = 0;
  NonFinite non_finite_;
  VectorMemory sum_;
  kernels::Lanes sum_squares_;  // |sum_i g_i|^2, of several microbatches
};

}  // namespace thermograd::statistics

#endif  // THERMOGRAD_STATISTICS_GRADIENT_H_
