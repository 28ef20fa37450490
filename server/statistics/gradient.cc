#include "statistics/gradient.h"

#include <utility>

namespace thermograd::statistics {

void GradientSums::MergeParameters(const GradientSums& other) {
  microbatches = other.microbatches;
  sum_squared_norm += other.sum_squared_norm;
  applied_squared_norm += other.applied_squared_norm;
  applied_microbatches = other.applied_microbatches;
}

GradientAccumulator::GradientAccumulator(size_t elements, uint64_t microbatches, SumUse use,
                                         double factor, VectorMemory memory)
    : elements_(elements),
      microbatches_(microbatches),
      use_(use),
      factor_(factor),
      sum_(std::move(memory)) {
  if (sum_ == nullptr && NeedsMemory(microbatches, use)) {
    sum_ = VectorMemory(new double[elements], std::default_delete<double[]>());
  }
}

void GradientAccumulator::Add(const kernels::Elements& chunk, size_t first) {
  // The first microbatch writes the vector; the last one need not, where its norm is enough.
  double* sum = sum_ ? sum_.get() + first : nullptr;
  const bool is_last = microbatch_ + 1 == microbatches_;
  if (!NeedsMemory(microbatches_, use_)) {
    kernels::AddMoments(chunk, first, &moments_);
  } else if (microbatch_ == 0) {
    kernels::AddMomentsAndSet(chunk, first, 1, &moments_, sum);
  } else if (!is_last) {
    kernels::AddMomentsAndSum(chunk, first, &moments_, sum);
  } else if (use_ == SumUse::kVector) {
    kernels::AddMomentsAndLastSum(chunk, first, &moments_, sum, &sum_squares_);
  } else {
    kernels::AddMomentsAndSquaredSum(chunk, first, &moments_, sum, &sum_squares_);
  }
  next_ = first + chunk.count;
  if (next_ < elements_) return;
  sum_squared_norm_ += kernels::Total(moments_.squares);
  non_finite_.Merge({.nans = moments_.nans, .infinities = moments_.infinities});
  moments_ = {};
  next_ = 0;
  ++microbatch_;
}

void GradientAccumulator::MergeMicrobatches(const GradientAccumulator& other) {
  // Ranks may have scaled their losses differently.
  const double ratio = other.factor_ / factor_;
  microbatches_ += other.microbatches_;
  microbatch_ = microbatches_;
  sum_squared_norm_ += other.sum_squared_norm_ * ratio * ratio;
  non_finite_.Merge(other.non_finite_);
  sum_squares_ = {};
  kernels::AddScaled(ratio, other.sum_.get(), elements_, sum_.get(), &sum_squares_);
}

GradientSums GradientAccumulator::Sums() const {
  const auto n = static_cast<double>(microbatches_);
  double applied_squared_norm = 0;
  if (use_ != SumUse::kNone) {
    // With a single microbatch the norm of the sum is the norm itself.
    applied_squared_norm =
        microbatches_ > 1 ? kernels::Total(sum_squares_) / (n * n) : sum_squared_norm_;
  }
  return {.microbatches = microbatches_,
          .sum_squared_norm = sum_squared_norm_ * factor_ * factor_,
          .applied_squared_norm = applied_squared_norm * factor_ * factor_,
          .applied_microbatches = n};
}

std::vector<double> GradientAccumulator::Mean() const {
  if (use_ != SumUse::kVector) return {};
  std::vector<double> mean(sum_.get(), sum_.get() + elements_);
  const double factor = factor_ / static_cast<double>(microbatches_);
  for (double& element : mean) element *= factor;
  return mean;
}

}  // namespace thermograd::statistics
