#include "statistics/gradient.h"

namespace thermograd::statistics {

void NonFinite::Merge(const NonFinite& other) {
  nans += other.nans;
  infinities += other.infinities;
}

void GradientSums::MergeParameters(const GradientSums& other) {
  microbatches = other.microbatches;
  sum_squared_norm += other.sum_squared_norm;
  squared_norm_of_sum += other.squared_norm_of_sum;
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

GradientSums GradientAccumulator::Sums() const {
  double squared_norm_of_sum = sum_squared_norm_;
  if (microbatches_ > 1) {
    kernels::Lanes lanes;
    kernels::AddDot(sum_.data(), sum_.data(), sum_.size(), 0, &lanes);
    squared_norm_of_sum = kernels::Total(lanes);
  }
  return {.microbatches = microbatches_,
          .sum_squared_norm = sum_squared_norm_ * factor_ * factor_,
          .squared_norm_of_sum = squared_norm_of_sum * factor_ * factor_};
}

std::vector<double> GradientAccumulator::Mean() const {
  std::vector<double> mean(sum_);
  const double factor = factor_ / static_cast<double>(microbatches_);
  for (double& element : mean) element *= factor;
  return mean;
}

}  // namespace thermograd::statistics
