// Bandwidth of the kernels that see every element, beside a sweep that only reads the same bytes.
// Names are WHAT:WHOSE/BYTES.

#include <benchmark/benchmark.h>

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/elements.h"
#include "kernels/level.h"
#include "kernels/reduce.h"
#include "tests/benchmark/reference.h"

namespace thermograd {
namespace {

template <typename T>
std::vector<T> Elements(const benchmark::State& state) {
  std::vector<T> elements(static_cast<size_t>(state.range(0)) / sizeof(T));
  for (size_t i = 0; i < elements.size(); ++i) elements[i] = static_cast<T>(i % 1013) - T{500};
  return elements;
}

void Report(benchmark::State& state) {
  state.SetBytesProcessed(state.iterations() * state.range(0));
  state.SetLabel(kernels::SimdLevel());
}

void ReadOnlySweep(benchmark::State& state) {
  const std::vector<float> elements = Elements<float>(state);
  for ([[maybe_unused]] auto _ : state) {
    benchmark::DoNotOptimize(
        reference::ReadOnlySweep(elements.data(), elements.size() * sizeof(float)));
  }
  Report(state);
}

// Elements of any type; a half's bits as they come.
template <kernels::ElementType type>
auto Typed(const benchmark::State& state) {
  if constexpr (type == kernels::ElementType::kFp64) {
    return Elements<double>(state);
  } else if constexpr (type == kernels::ElementType::kFp32) {
    return Elements<float>(state);
  } else {
    return std::vector<uint16_t>(static_cast<size_t>(state.range(0)) / sizeof(uint16_t), 0x3c01);
  }
}

template <kernels::ElementType type>
void Moments(benchmark::State& state) {
  const auto elements = Typed<type>(state);
  kernels::Moments moments;
  for ([[maybe_unused]] auto _ : state) {
    kernels::AddMoments({type, elements.data(), elements.size()}, 0, &moments);
    benchmark::DoNotOptimize(moments);
  }
  Report(state);
}

template <kernels::ElementType type>
void MomentsAndSum(benchmark::State& state) {
  const auto elements = Typed<type>(state);
  std::vector<double> sum(elements.size());
  kernels::Moments moments;
  for ([[maybe_unused]] auto _ : state) {
    kernels::AddMomentsAndSum({type, elements.data(), elements.size()}, 0, &moments, sum.data());
    benchmark::DoNotOptimize(moments);
    benchmark::ClobberMemory();
  }
  Report(state);
}

// Those of one size follow each other, so that what disturbs one disturbs its sweep.
void RegisterAll() {
  constexpr struct {
    const char* name;
    void (*run)(benchmark::State&);
  } kBenchmarks[] = {
      {"sweep:read-only sweep", ReadOnlySweep},
      {"moments fp64:thermograd", Moments<kernels::ElementType::kFp64>},
      {"moments fp32:thermograd", Moments<kernels::ElementType::kFp32>},
      {"moments bf16:thermograd", Moments<kernels::ElementType::kBf16>},
      {"moments fp16:thermograd", Moments<kernels::ElementType::kFp16>},
      {"moments and sum fp32:thermograd", MomentsAndSum<kernels::ElementType::kFp32>},
      {"moments and sum bf16:thermograd", MomentsAndSum<kernels::ElementType::kBf16>},
  };
  for (const int64_t bytes : {int64_t{16} << 10, int64_t{1} << 20, int64_t{256} << 20}) {
    for (const auto& [name, run] : kBenchmarks) benchmark::RegisterBenchmark(name, run)->Arg(bytes);
  }
}

}  // namespace
}  // namespace thermograd

int main(int argc, char** argv) {
  thermograd::RegisterAll();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return EXIT_FAILURE;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return EXIT_SUCCESS;
}
