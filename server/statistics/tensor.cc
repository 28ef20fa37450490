#include "statistics/tensor.h"

namespace thermograd::statistics {

TensorAccumulator::TensorAccumulator(size_t elements, bool keep_values, double factor)
    : elements_(elements), factor_(factor) {
  if (keep_values) values_.resize(elements);
}

template <typename T>
void TensorAccumulator::AddElements(std::span<const T> chunk, size_t first) {
  kernels::AddMoments(chunk.data(), chunk.size(), first, &moments_);
  if (!values_.empty()) {
    for (size_t i = 0; i < chunk.size(); ++i) {
      values_[first + i] = factor_ * static_cast<double>(chunk[i]);
    }
  }
  next_ = first + chunk.size();
}

void TensorAccumulator::Add(std::span<const float> chunk, size_t first) {
  AddElements(chunk, first);
}

void TensorAccumulator::Add(std::span<const double> chunk, size_t first) {
  AddElements(chunk, first);
}

NonFinite TensorAccumulator::non_finite() const {
  return {.nans = moments_.nans, .infinities = moments_.infinities};
}

double TensorAccumulator::SquaredNorm() const {
  return kernels::Total(moments_.squares) * factor_ * factor_;
}

}  // namespace thermograd::statistics
