#include "statistics/gradient.h"

namespace thermograd::statistics {

void GradientSums::MergeParameters(const GradientSums& other) {
  microbatches = other.microbatches;
  sum_squared_norm += other.sum_squared_norm;
  applied_squared_norm += other.applied_squared_norm;
  applied_microbatches = other.applied_microbatches;
}

GradientAccumulator::GradientAccumulator(size_t elements, uint64_t microbatches, bool keep_sum,
                                         double factor)
    : elements_(elements), microbatches_(microbatches), factor_(factor) {
  // With a single microbatch the norm of the sum is the norm itself.
  if (keep_sum || microbatches > 1) sum_.resize(elements);
}

template <typename T>
void GradientAccumulator::AddElements(std::span<const T> chunk, size_t first) {
  kernels::AddMoments(chunk.data(), chunk.size(), first, &moments_);
  if (!sum_.empty()) kernels::AddTo(chunk.data(), chunk.size(), sum_.data() + first);
  next_ = first + chunk.size();
  if (next_ < elements_) return;
  sum_squared_norm_ += kernels::Total(moments_.squares);
  non_finite_.Merge({.nans = moments_.nans, .infinities = moments_.infinities});
  moments_ = {};
  next_ = 0;
  ++microbatch_;
}

void GradientAccumulator::Add(std::span<const float> chunk, size_t first) {
  AddElements(chunk, first);
}

void GradientAccumulator::Add(std::span<const double> chunk, size_t first) {
  AddElements(chunk, first);
}

void GradientAccumulator::MergeMicrobatches(const GradientAccumulator& other) {
  // Ranks may have scaled their losses differently.
  const double ratio = other.factor_ / factor_;
  microbatches_ += other.microbatches_;
  microbatch_ = microbatches_;
  sum_squared_norm_ += other.sum_squared_norm_ * ratio * ratio;
  non_finite_.Merge(other.non_finite_);
  for (size_t i = 0; i < sum_.size(); ++i) sum_[i] += ratio * other.sum_[i];
}

GradientSums GradientAccumulator::Sums() const {
  const auto n = static_cast<double>(microbatches_);
  double applied_squared_norm = sum_squared_norm_;
  if (microbatches_ > 1) {
    kernels::Lanes lanes;
    kernels::AddDot(sum_.data(), sum_.data(), sum_.size(), 0, &lanes);
    applied_squared_norm = kernels::Total(lanes) / (n * n);
  }
  return {.microbatches = microbatches_,
          .sum_squared_norm = sum_squared_norm_ * factor_ * factor_,
          .applied_squared_norm = applied_squared_norm * factor_ * factor_,
          .applied_microbatches = n};
}

std::vector<double> GradientAccumulator::Mean() const {
  std::vector<double> mean(sum_);
  const double factor = factor_ / static_cast<double>(microbatches_);
  for (double& element : mean) element *= factor;
  return mean;
}

}  // namespace thermograd::statistics
