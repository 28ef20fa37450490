// The reductions of a gradient chunk, beside a sweep that only reads the same bytes.

#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels/level.h"
#include "kernels/reduce.h"

namespace thermograd {
namespace {

constexpr int64_t kInCache = 16 << 10;
constexpr int64_t kChunk = 1 << 20;
constexpr int64_t kInMemory = 256 << 20;

std::vector<float> Elements(const benchmark::State& state) {
  std::vector<float> elements(static_cast<size_t>(state.range(0)) / sizeof(float));
  for (size_t i = 0; i < elements.size(); ++i) elements[i] = static_cast<float>(i % 1013) - 500;
  return elements;
}

void Report(benchmark::State& state) {
  state.SetBytesProcessed(state.iterations() * state.range(0));
  state.SetLabel(kernels::SimdLevel());
}

void ReadOnlySweep(benchmark::State& state) {
  const std::vector<float> elements = Elements(state);
  for (auto _ : state) {
    uint32_t sum[32] = {};
    for (size_t i = 0; i < elements.size(); i += 32) {
      uint32_t block[32];
      std::memcpy(block, elements.data() + i, sizeof(block));
      for (size_t lane = 0; lane < 32; ++lane) sum[lane] ^= block[lane];
    }
    benchmark::DoNotOptimize(sum);
  }
  Report(state);
}

void AddMoments(benchmark::State& state) {
  const std::vector<float> elements = Elements(state);
  kernels::Moments moments;
  for (auto _ : state) {
    kernels::AddMoments(kernels::Elements::Of(elements), 0, &moments);
    benchmark::DoNotOptimize(moments);
  }
  Report(state);
}

void AddMomentsAndSum(benchmark::State& state) {
  const std::vector<float> elements = Elements(state);
  std::vector<double> sum(elements.size());
  kernels::Moments moments;
  for (auto _ : state) {
    kernels::AddMomentsAndSum(kernels::Elements::Of(elements), 0, &moments, sum.data());
    benchmark::DoNotOptimize(moments);
    benchmark::ClobberMemory();
  }
  Report(state);
}

template <kernels::ElementType type>
void AddMomentsOfHalves(benchmark::State& state) {
  const std::vector<uint16_t> halves(static_cast<size_t>(state.range(0)) / sizeof(uint16_t),
                                     0x3c01);
  kernels::Moments moments;
  for (auto _ : state) {
    kernels::AddMoments({type, halves.data(), halves.size()}, 0, &moments);
    benchmark::DoNotOptimize(moments);
  }
  Report(state);
}

BENCHMARK(ReadOnlySweep)->Arg(kInCache)->Arg(kChunk)->Arg(kInMemory);
BENCHMARK(AddMoments)->Arg(kInCache)->Arg(kChunk)->Arg(kInMemory);
BENCHMARK(AddMomentsAndSum)->Arg(kInCache)->Arg(kChunk)->Arg(kInMemory);
BENCHMARK(AddMomentsOfHalves<kernels::ElementType::kBf16>)
    ->Name("AddMomentsOfBf16")
    ->Arg(kInCache)
    ->Arg(kChunk)
    ->Arg(kInMemory);
BENCHMARK(AddMomentsOfHalves<kernels::ElementType::kFp16>)
    ->Name("AddMomentsOfFp16")
    ->Arg(kInCache)
    ->Arg(kChunk)
    ->Arg(kInMemory);

}  // namespace
}  // namespace thermograd
