#ifndef THERMOGRAD_METRICS_SAMPLING_H_
#define THERMOGRAD_METRICS_SAMPLING_H_

#include <cstdint>
#include <string>

#include "metrics/figure.h"

// What part of a training job the figures are made of, and what that costs in accuracy.

namespace thermograd::metrics {

/// What a run declared its stream to be a sample of.
struct Sampling {
  /// Every n-th step is streamed; 0: not declared.
  uint32_t every_steps = 0;
  /// Elements of all trainable parameters; 0: not declared.
  uint64_t model_elements = 0;
};

/// Appends the interval and the part of the model that is streamed, as far as they are declared.
void AppendSampling(const Sampling& sampling, uint64_t streamed_elements, Figures* figures);

/// Appends the part of a probe set that is streamed.
void AppendProbeSampling(const std::string& probe_set, uint64_t samples, uint64_t sampled_from,
                         Figures* figures);

/// Appends the error of distances in a layer that was projected to `width` features: the relative
/// standard deviation of a squared distance, sqrt(2 / width) (|P'x|^2 / |x|^2 is chi-squared over
/// its `width` degrees of freedom; Dasgupta & Gupta 2003).
void AppendProjection(const std::string& layer, uint64_t width, Figures* figures);

}  // namespace thermograd::metrics

#endif  // THERMOGRAD_METRICS_SAMPLING_H_
