#include "statistics/tensor.h"

namespace thermograd::statistics {

TensorAccumulator::TensorAccumulator(size_t elements, bool keep_values, double factor)
    : elements_(elements), factor_(factor) {
  if (keep_values) values_.resize(elements);
}

void TensorAccumulator::Add(const kernels::Elements& chunk, size_t first) {
  if (values_.empty()) {
    kernels::AddMoments(chunk, first, &moments_);
  } else {
    kernels::AddMomentsAndSet(chunk, first, factor_, &moments_, values_.data() + first);
  }
  next_ = first + chunk.count;
}

NonFinite TensorAccumulator::non_finite() const {
  return {.nans = moments_.nans, .infinities = moments_.infinities};
}

double TensorAccumulator::SquaredNorm() const {
  return kernels::Total(moments_.squares) * factor_ * factor_;
}

}  // namespace thermograd::statistics
