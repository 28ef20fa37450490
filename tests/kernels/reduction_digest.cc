// Prints the instruction-set level and the bits of reductions over numbers of mixed magnitude.
#include <cstdio>
#include <random>
#include <vector>

#include "kernels/level.h"
#include "kernels/reduce.h"

namespace thermograd::kernels {
namespace {

void Print(const Lanes& lanes) { std::printf(" %a", Total(lanes)); }

void PrintAll() {
  std::printf("%s", SimdLevel());
  std::mt19937_64 generator(7);
  std::lognormal_distribution<double> magnitudes(0.0, 6.0);
  constexpr size_t kCount = 100003;
  std::vector<float> floats(kCount);
  std::vector<double> doubles(kCount);
  std::vector<uint16_t> halves(kCount);
  for (size_t i = 0; i < kCount; ++i) {
    doubles[i] = (i % 3 == 0 ? -1 : 1) * magnitudes(generator);
    floats[i] = static_cast<float>(doubles[i]);
    // No exponent of ones: finite in both formats.
    halves[i] = static_cast<uint16_t>(generator()) & 0xbbffu;
  }
  for (const Elements& x : {Elements::Of(floats), Elements::Of(doubles),
                            Elements{ElementType::kBf16, halves.data(), kCount},
                            Elements{ElementType::kFp16, halves.data(), kCount}}) {
    std::vector<double> y(kCount);
    Moments moments;
    Lanes squared_sum, last_sum, scaled, dot;
    AddMoments(x, 5, &moments);
    AddMomentsAndSet(x, 5, 0.3, &moments, y.data());
    AddMomentsAndSum(x, 5, &moments, y.data());
    AddMomentsAndSquaredSum(x, 5, &moments, y.data(), &squared_sum);
    AddMomentsAndLastSum(x, 5, &moments, y.data(), &last_sum);
    AddScaled(0.7, doubles.data(), kCount, y.data(), &scaled);
    AddDot(y.data(), doubles.data(), kCount, 5, &dot);
    std::vector<double> columns(1003);
    AddColumnDots(y.data(), doubles.data(), 99, columns.size(), columns.data());
    Lanes column_squares;
    AddDot(columns.data(), columns.data(), columns.size(), 0, &column_squares);
    for (const Lanes& lanes : {moments.squares, squared_sum, last_sum, scaled, dot, column_squares})
      Print(lanes);
  }
  std::printf("\n");
}

}  // namespace
}  // namespace thermograd::kernels

int main() { thermograd::kernels::PrintAll(); }
