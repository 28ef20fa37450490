#include <cstdint>
#include <memory>

#include "kernels/convert.h"
#include "kernels/reduce.h"
#include "kernels/representation_gram.h"
#include "kernels/representation_neighbours.h"
#include "tests/benchmark/instructions/scenarios.h"

namespace thermograd {
namespace {

constexpr size_t kElements = size_t{1} << 18;
constexpr size_t kSamples = 128;
constexpr size_t kWidth = 128;

template <typename T>
std::shared_ptr<std::vector<T>> Elements(size_t count) {
  auto elements = std::make_shared<std::vector<T>>(count);
  for (size_t i = 0; i < count; ++i) (*elements)[i] = static_cast<T>(i * 7919 % 1013) - T{500};
  return elements;
}

template <typename T>
std::function<void()> Moments() {
  return [x = Elements<T>(kElements)] {
    kernels::Moments moments;
    kernels::AddMoments(x->data(), x->size(), 0, &moments);
  };
}

std::function<void()> Sum() {
  return [x = Elements<float>(kElements), sum = Elements<double>(kElements)] {
    kernels::AddTo(x->data(), x->size(), sum->data());
  };
}

std::function<void()> Dot() {
  return [x = Elements<double>(kElements)] {
    kernels::Lanes lanes;
    kernels::AddDot(x->data(), x->data(), x->size(), 0, &lanes);
  };
}

template <void (*AddDots)(const double*, const double*, size_t, size_t, double*)>
std::function<void()> Dots() {
  constexpr size_t kSide = 512;
  return [x = Elements<double>(kSide * kSide), out = Elements<double>(kSide)] {
    AddDots(x->data(), x->data(), kSide, kSide, out->data());
  };
}

template <void (*Widen)(const uint16_t*, size_t, float*)>
std::function<void()> WidenHalves() {
  return [halves = std::make_shared<std::vector<uint16_t>>(kElements, 0x3c01),
          floats = Elements<float>(kElements)] {
    Widen(halves->data(), halves->size(), floats->data());
  };
}

std::function<void()> RowGram() {
  return [x = Elements<double>(kSamples * kWidth), gram = Elements<double>(kSamples * kSamples)] {
    kernels::RowGram(x->data(), kSamples, kWidth, gram->data());
  };
}

std::function<void()> TransposedProduct() {
  return [x = Elements<double>(kSamples * kWidth), sum = Elements<double>(kWidth * kWidth)] {
    kernels::AddTransposedProduct(x->data(), kWidth, x->data(), kWidth, kSamples, sum->data());
  };
}

std::function<void()> SumGrams() {
  return [gram = Elements<double>(kSamples * kSamples)] {
    (void)kernels::SumGrams(gram->data(), gram->data(), kSamples);
  };
}

std::function<void()> NearestNeighbours() {
  constexpr size_t kNeighbours = 10;
  return [similarity = Elements<double>(kSamples * kSamples),
          neighbours = std::make_shared<std::vector<uint32_t>>(kSamples * kNeighbours)] {
    kernels::NearestNeighbours(similarity->data(), kSamples, kNeighbours, neighbours->data());
  };
}

}  // namespace

std::vector<Scenario> KernelScenarios() {
  return {{"kernels: moments of fp32", Moments<float>},
          {"kernels: moments of fp64", Moments<double>},
          {"kernels: sum over microbatches", Sum},
          {"kernels: dot product", Dot},
          {"kernels: dot products of rows", Dots<kernels::AddRowDots>},
          {"kernels: dot products of columns", Dots<kernels::AddColumnDots>},
          {"kernels: widening of bf16", WidenHalves<kernels::WidenBf16>},
          {"kernels: widening of fp16", WidenHalves<kernels::WidenFp16>},
          {"kernels: Gram matrix", RowGram},
          {"kernels: transposed product", TransposedProduct},
          {"kernels: sums over Gram matrices", SumGrams},
          {"kernels: nearest neighbours", NearestNeighbours}};
}

}  // namespace thermograd
