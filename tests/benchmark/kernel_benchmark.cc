// Bandwidth of the kernels that see every element, beside a sweep that only reads the same bytes.
// Names are WHAT:WHOSE/BYTES.

#include <benchmark/benchmark.h>

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/convert.h"
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

std::vector<uint16_t> Halves(const benchmark::State& state) {
  return std::vector<uint16_t>(static_cast<size_t>(state.range(0)) / sizeof(uint16_t), 0x3c01);
}

void Report(benchmark::State& state) {
  state.SetBytesProcessed(state.iterations() * state.range(0));
  state.SetLabel(kernels::SimdLevel());
}

void ReadOnlySweep(benchmark::State& state) {
  const std::vector<float> elements = Elements<float>(state);
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        reference::ReadOnlySweep(elements.data(), elements.size() * sizeof(float)));
  }
  Report(state);
}

template <typename T>
void Moments(benchmark::State& state) {
  const std::vector<T> elements = Elements<T>(state);
  kernels::Moments moments;
  for (auto _ : state) {
    kernels::AddMoments(elements.data(), elements.size(), 0, &moments);
    benchmark::DoNotOptimize(moments);
  }
  Report(state);
}

void MomentsAndSum(benchmark::State& state) {
  const std::vector<float> elements = Elements<float>(state);
  std::vector<double> sum(elements.size());
  kernels::Moments moments;
  for (auto _ : state) {
    kernels::AddMoments(elements.data(), elements.size(), 0, &moments);
    kernels::AddTo(elements.data(), elements.size(), sum.data());
    benchmark::DoNotOptimize(moments);
    benchmark::ClobberMemory();
  }
  Report(state);
}

template <void (*Widen)(const uint16_t*, size_t, float*)>
void WidenHalves(benchmark::State& state) {
  const std::vector<uint16_t> halves = Halves(state);
  std::vector<float> floats(halves.size());
  for (auto _ : state) {
    Widen(halves.data(), halves.size(), floats.data());
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
      {"moments fp32:thermograd", Moments<float>},
      {"moments fp64:thermograd", Moments<double>},
      {"moments and sum fp32:thermograd", MomentsAndSum},
      {"widen bf16:thermograd", WidenHalves<kernels::WidenBf16>},
      {"widen fp16:thermograd", WidenHalves<kernels::WidenFp16>},
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
