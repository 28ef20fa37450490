#include <cstdint>
#include <memory>

#include "kernels/elements.h"
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

template <kernels::ElementType type>
auto Typed() {
  if constexpr (type == kernels::ElementType::kFp64) {
    return Elements<double>(kElements);
  } else if constexpr (type == kernels::ElementType::kFp32) {
    return Elements<float>(kElements);
  } else {
    return std::make_shared<std::vector<uint16_t>>(kElements, 0x3c01);
  }
}

template <kernels::ElementType type>
std::function<void()> Moments() {
  return [x = Typed<type>()] {
    kernels::Moments moments;
    kernels::AddMoments({type, x->data(), x->size()}, 0, &moments);
  };
}

std::function<void()> MomentsAndSet() {
  return [x = Elements<float>(kElements), sum = Elements<double>(kElements)] {
    kernels::Moments moments;
    kernels::AddMomentsAndSet(kernels::Elements::Of(*x), 0, 1, &moments, sum->data());
  };
}

std::function<void()> MomentsAndSum() {
  return [x = Elements<float>(kElements), sum = Elements<double>(kElements)] {
    kernels::Moments moments;
    kernels::AddMomentsAndSum(kernels::Elements::Of(*x), 0, &moments, sum->data());
  };
}

std::function<void()> MomentsAndSquaredSum() {
  return [x = Elements<float>(kElements), sum = Elements<double>(kElements)] {
    kernels::Moments moments;
    kernels::Lanes squares;
    kernels::AddMomentsAndSquaredSum(kernels::Elements::Of(*x), 0, &moments, sum->data(), &squares);
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

std::function<void()> GramProducts() {
  static constexpr size_t kCount = 8;
  return [gram = Elements<double>(kSamples * kSamples),
          off_diagonal = Elements<double>(kCount * kCount),
          diagonal = Elements<double>(kCount * kCount)] {
    const std::vector<const double*> grams(kCount, gram->data());
    kernels::GramProducts(grams.data(), kCount, kSamples, off_diagonal->data(), diagonal->data());
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
  return {{"kernels: moments of fp64", Moments<kernels::ElementType::kFp64>},
          {"kernels: moments of fp32", Moments<kernels::ElementType::kFp32>},
          {"kernels: moments of bf16", Moments<kernels::ElementType::kBf16>},
          {"kernels: moments of fp16", Moments<kernels::ElementType::kFp16>},
          {"kernels: moments, first microbatch", MomentsAndSet},
          {"kernels: moments, further microbatch", MomentsAndSum},
          {"kernels: moments, last microbatch", MomentsAndSquaredSum},
          {"kernels: dot product", Dot},
          {"kernels: dot products of rows", Dots<kernels::AddRowDots>},
          {"kernels: dot products of columns", Dots<kernels::AddColumnDots>},
          {"kernels: Gram matrix", RowGram},
          {"kernels: transposed product", TransposedProduct},
          {"kernels: all pairs of 8 Gram matrices", GramProducts},
          {"kernels: nearest neighbours", NearestNeighbours}};
}

}  // namespace thermograd
