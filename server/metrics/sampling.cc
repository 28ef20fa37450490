#include "metrics/sampling.h"

#include <cmath>

namespace thermograd::metrics {

void AppendSampling(const Sampling& sampling, uint64_t streamed_elements, Figures* figures) {
  if (sampling.every_steps > 0) {
    figures->push_back({"thermograd_sampling_interval_steps",
                        {},
                        Finite(static_cast<double>(sampling.every_steps))});
  }
  if (sampling.model_elements > 0) {
    figures->push_back({"thermograd_sampling_parameter_elements_ratio",
                        {},
                        Ratio(static_cast<double>(streamed_elements),
                              static_cast<double>(sampling.model_elements))});
  }
}

void AppendProbeSampling(const std::string& probe_set, uint64_t samples, uint64_t sampled_from,
                         Figures* figures) {
  figures->push_back({"thermograd_sampling_probe_samples_ratio",
                      {{"probe_set", probe_set}},
                      Ratio(static_cast<double>(samples), static_cast<double>(sampled_from))});
}

void AppendProjection(const std::string& layer, uint64_t width, Figures* figures) {
  figures->push_back({"thermograd_sampling_projection_error_ratio",
                      {{"layer", layer}},
                      Finite(std::sqrt(2 / static_cast<double>(width)))});
}

}  // namespace thermograd::metrics
