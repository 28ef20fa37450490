#include "kernels/reduce.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace thermograd::kernels {
namespace {

// How elements lie in memory, and what they are as numbers. What is stored may be unaligned.
struct Bf16 {
  using Stored __attribute__((aligned(1), may_alias)) = uint16_t;
  static float Widen(uint16_t bits) {
    return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
  }
};
struct Fp16 {
  using Stored __attribute__((aligned(1), may_alias)) = uint16_t;
  static float Widen(uint16_t bits) {
    // Branch-free so that it vectorises: shifting the 15 value bits up gives the binary32 with an
    // exponent too small by 112; a multiplication by 2^112 repairs it and normalises subnormals.
    const uint32_t half = bits;
    const float magnitude = std::bit_cast<float>((half & 0x7fffu) << 13) * 0x1p112f;
    const uint32_t special = (half & 0x7c00u) == 0x7c00u ? 0x7f800000u : 0u;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | special |
                                ((half & 0x8000u) << 16));
  }
};
struct Fp32 {
  using Stored __attribute__((aligned(1), may_alias)) = float;
  static float Widen(float value) { return value; }
};
struct Fp64 {
  using Stored __attribute__((aligned(1), may_alias)) = double;
  static double Widen(double value) { return value; }
};

// What becomes of the vector y.
enum class Use { kNone, kSet, kSum, kLastSum, kSquaredSum };
constexpr bool IsStored(Use use) {
  return use == Use::kSet || use == Use::kSum || use == Use::kLastSum;
}
constexpr bool IsSquared(Use use) { return use == Use::kLastSum || use == Use::kSquaredSum; }

// Asks for the cache lines of a block that is read `kAhead` bytes later. The hardware's own
// prefetching stops at page borders; from memory this is worth a third of the bandwidth. Nothing
// comes of an address beyond the end, but a pointer to it may be made of a number only.
template <size_t bytes>
void Prefetch(const void* block) {
  constexpr size_t kAhead = 2048;
  constexpr size_t kLine = 64;
  for (size_t line = 0; line < bytes; line += kLine) {
    __builtin_prefetch(
        // NOLINTNEXTLINE(performance-no-int-to-ptr)
        reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(block) + kAhead + line));
  }
}

template <typename Format, Use use>
class Sweep {
 public:
  Sweep(double factor, const Lanes& squares, const Lanes& sum_squares)
      : factor_(factor), squares_(squares), sum_squares_(sum_squares) {}

  // `count` elements from lane `lane` on; of a whole block the count is a constant.
  void Add(const typename Format::Stored* x, size_t lane, size_t count, double* y) {
    double wide[kLanes];
    for (size_t i = 0; i < count; ++i) wide[i] = static_cast<double>(Format::Widen(x[i]));
    for (size_t i = 0; i < count; ++i) squares_.sum[lane + i] += wide[i] * wide[i];
    if constexpr (use == Use::kSet) {
      for (size_t i = 0; i < count; ++i) wide[i] *= factor_;
    } else if constexpr (use != Use::kNone) {
      for (size_t i = 0; i < count; ++i) wide[i] += y[i];
    }
    if constexpr (IsStored(use)) {
      for (size_t i = 0; i < count; ++i) y[i] = wide[i];
    }
    if constexpr (IsSquared(use)) {
      for (size_t i = 0; i < count; ++i) sum_squares_.sum[lane + i] += wide[i] * wide[i];
    }
  }

  const Lanes& squares() const { return squares_; }
  const Lanes& sum_squares() const { return sum_squares_; }

 private:
  const double factor_;
  Lanes squares_;
  Lanes sum_squares_;
};

template <typename Format>
void CountNonFinite(const typename Format::Stored* x, size_t count, Moments* moments) {
  for (size_t i = 0; i < count; ++i) {
    const auto value = Format::Widen(x[i]);
    moments->nans += std::isnan(value) ? 1 : 0;
    moments->infinities += std::isinf(value) ? 1 : 0;
  }
}

// Where there is no vector, no pointer into it may be formed either.
template <Use use>
double* At(double* y, size_t index) {
  return use == Use::kNone ? nullptr : y + index;
}

template <typename Format, Use use>
void AddOf(const Elements& elements, size_t first, double factor, Moments* moments, double* y,
           Lanes* sum_squares) {
  const auto* x = static_cast<const typename Format::Stored*>(elements.data);
  const size_t count = elements.count;
  Sweep<Format, use> sweep(factor, moments->squares, IsSquared(use) ? *sum_squares : Lanes{});
  size_t done = 0;
  if (const size_t lane = first % kLanes; lane != 0) {
    done = std::min(count, kLanes - lane);
    sweep.Add(x, lane, done, y);
  }
  for (; done + kLanes <= count; done += kLanes) {
    Prefetch<kLanes * sizeof(typename Format::Stored)>(x + done);
    if constexpr (use != Use::kNone) Prefetch<kLanes * sizeof(double)>(y + done);
    sweep.Add(x + done, 0, kLanes, At<use>(y, done));
  }
  sweep.Add(x + done, 0, count - done, At<use>(y, done));
  moments->squares = sweep.squares();
  if constexpr (IsSquared(use)) *sum_squares = sweep.sum_squares();
  // Squares of finite elements are finite, but for fp64 beyond 1e154: only a tensor of which
  // nothing else is computed is swept twice.
  if (!std::isfinite(Total(moments->squares))) CountNonFinite<Format>(x, count, moments);
}

template <Use use>
void Add(const Elements& x, size_t first, double factor, Moments* moments, double* y,
         Lanes* sum_squares) {
  switch (x.type) {
    case ElementType::kBf16:
      return AddOf<Bf16, use>(x, first, factor, moments, y, sum_squares);
    case ElementType::kFp16:
      return AddOf<Fp16, use>(x, first, factor, moments, y, sum_squares);
    case ElementType::kFp32:
      return AddOf<Fp32, use>(x, first, factor, moments, y, sum_squares);
    case ElementType::kFp64:
      return AddOf<Fp64, use>(x, first, factor, moments, y, sum_squares);
  }
}

}  // namespace

double Total(const Lanes& lanes) {
  double sum[kLanes];
  std::copy_n(lanes.sum, kLanes, sum);
  for (size_t width = kLanes / 2; width > 0; width /= 2) {
    for (size_t lane = 0; lane < width; ++lane) sum[lane] += sum[lane + width];
  }
  return sum[0];
}

void AddMoments(const Elements& x, size_t first, Moments* moments) {
  Add<Use::kNone>(x, first, 1, moments, nullptr, nullptr);
}

void AddMomentsAndSet(const Elements& x, size_t first, double factor, Moments* moments, double* y) {
  Add<Use::kSet>(x, first, factor, moments, y, nullptr);
}

void AddMomentsAndSum(const Elements& x, size_t first, Moments* moments, double* y) {
  Add<Use::kSum>(x, first, 1, moments, y, nullptr);
}

void AddMomentsAndLastSum(const Elements& x, size_t first, Moments* moments, double* y,
                          Lanes* sum_squares) {
  Add<Use::kLastSum>(x, first, 1, moments, y, sum_squares);
}

void AddMomentsAndSquaredSum(const Elements& x, size_t first, Moments* moments, const double* y,
                             Lanes* sum_squares) {
  // Not written to.
  Add<Use::kSquaredSum>(x, first, 1, moments, const_cast<double*>(y), sum_squares);
}

void AddDot(const double* x, const double* y, size_t count, size_t first, Lanes* lanes) {
  double sum[kLanes];
  std::copy_n(lanes->sum, kLanes, sum);
  size_t done = 0;
  if (const size_t lane = first % kLanes; lane != 0) {
    done = std::min(count, kLanes - lane);
    for (size_t i = 0; i < done; ++i) sum[lane + i] += x[i] * y[i];
  }
  for (; done + kLanes <= count; done += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) sum[lane] += x[done + lane] * y[done + lane];
  }
  for (size_t lane = 0; done + lane < count; ++lane) sum[lane] += x[done + lane] * y[done + lane];
  std::copy_n(sum, kLanes, lanes->sum);
}

void AddScaled(double factor, const double* x, size_t count, double* y, Lanes* sum_squares) {
  double sum[kLanes];
  std::copy_n(sum_squares->sum, kLanes, sum);
  for (size_t first = 0; first < count; first += kLanes) {
    double wide[kLanes];
    const size_t width = std::min(kLanes, count - first);
    for (size_t i = 0; i < width; ++i) wide[i] = y[first + i] + factor * x[first + i];
    for (size_t i = 0; i < width; ++i) y[first + i] = wide[i];
    for (size_t i = 0; i < width; ++i) sum[i] += wide[i] * wide[i];
  }
  std::copy_n(sum, kLanes, sum_squares->sum);
}

void AddTo(const double* x, size_t count, double* sum) {
  for (size_t i = 0; i < count; ++i) sum[i] += x[i];
}

void AddRowDots(const double* x, const double* y, size_t rows, size_t columns, double* out) {
  for (size_t row = 0; row < rows; ++row) {
    Lanes lanes;
    AddDot(x + row * columns, y + row * columns, columns, 0, &lanes);
    out[row] += Total(lanes);
  }
}

void AddColumnDots(const double* x, const double* y, size_t rows, size_t columns, double* out) {
  for (size_t row = 0; row < rows; ++row) {
    const double* x_row = x + row * columns;
    const double* y_row = y + row * columns;
    for (size_t column = 0; column < columns; ++column)
      out[column] += x_row[column] * y_row[column];
  }
}

}  // namespace thermograd::kernels
