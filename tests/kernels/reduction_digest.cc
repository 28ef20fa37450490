// Prints the instruction-set level and the bits of reductions over numbers of mixed magnitude.
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "kernels/level.h"
#include "kernels/reduce.h"

int main() {
  std::mt19937_64 generator(7);
  std::lognormal_distribution<float> magnitudes(0.0f, 6.0f);
  std::vector<float> x(100003);
  std::vector<double> sum(x.size());
  for (size_t i = 0; i < x.size(); ++i) x[i] = (i % 3 == 0 ? -1.0f : 1.0f) * magnitudes(generator);
  thermograd::kernels::Moments moments;
  thermograd::kernels::AddMoments(x.data(), x.size(), 5, &moments);
  thermograd::kernels::AddTo(x.data(), x.size(), sum.data());
  thermograd::kernels::Lanes lanes;
  // fp32 values held as fp64: their products are exact, as those of streamed gradients are.
  thermograd::kernels::AddDot(sum.data(), sum.data(), sum.size(), 5, &lanes);
  std::printf("%s %a %a %a\n", thermograd::kernels::SimdLevel(),
              thermograd::kernels::Total(moments.squares), moments.max_abs,
              thermograd::kernels::Total(lanes));
}
