#ifndef THERMOGRAD_TESTS_METRICS_RANDOM_SAMPLES_H_
#define THERMOGRAD_TESTS_METRICS_RANDOM_SAMPLES_H_

#include <cstddef>
#include <random>
#include <vector>

namespace thermograd::metrics {

/// Standard normal numbers, the same for the same seed.
inline std::vector<double> Random(size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal;
  std::vector<double> x(count);
  for (double& value : x) value = normal(generator);
  return x;
}

}  // namespace thermograd::metrics

#endif  // THERMOGRAD_TESTS_METRICS_RANDOM_SAMPLES_H_
