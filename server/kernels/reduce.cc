#include "kernels/reduce.h"

#include <algorithm>
#include <bit>

namespace thermograd::kernels {
namespace {

template <typename T>
struct Bits;
template <>
struct Bits<float> {
  using Word = uint32_t;
  static constexpr Word kMagnitude = 0x7fffffffu;
  static constexpr Word kInfinity = 0x7f800000u;
};
template <>
struct Bits<double> {
  using Word = uint64_t;
  static constexpr Word kMagnitude = 0x7fffffffffffffffu;
  static constexpr Word kInfinity = 0x7ff0000000000000u;
};

// Accumulators of a sweep, a lane each; what Moments holds, in a form that stays in registers.
template <typename T>
struct Sweep {
  using Word = typename Bits<T>::Word;
  double sum[kLanes];
  // The magnitude bits of IEEE numbers order like the numbers, and classify them without the
  // floating-point comparisons that NaN would spoil.
  Word largest[kLanes] = {};
  Word zeros[kLanes] = {};

  void AddLane(T value, size_t lane) {
    const double wide = static_cast<double>(value);
    sum[lane] += wide * wide;
    const Word magnitude = std::bit_cast<Word>(value) & Bits<T>::kMagnitude;
    largest[lane] = std::max(largest[lane], magnitude);
    zeros[lane] += magnitude == 0 ? 1u : 0u;
  }
};

template <typename T>
void AddMomentsOf(const T* x, size_t count, size_t first, Moments* moments) {
  using Word = typename Bits<T>::Word;
  Sweep<T> sweep;
  std::copy_n(moments->squares.sum, kLanes, sweep.sum);
  size_t done = 0;
  if (const size_t lane = first % kLanes; lane != 0) {
    done = std::min(count, kLanes - lane);
    for (size_t i = 0; i < done; ++i) sweep.AddLane(x[i], lane + i);
  }
  // One loop an accumulator array: g++ vectorises these, and not their union.
  for (; done + kLanes <= count; done += kLanes) {
    const T* block = x + done;
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const double wide = static_cast<double>(block[lane]);
      sweep.sum[lane] += wide * wide;
    }
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const Word magnitude = std::bit_cast<Word>(block[lane]) & Bits<T>::kMagnitude;
      sweep.largest[lane] = std::max(sweep.largest[lane], magnitude);
    }
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const Word magnitude = std::bit_cast<Word>(block[lane]) & Bits<T>::kMagnitude;
      sweep.zeros[lane] += magnitude == 0 ? 1u : 0u;
    }
  }
  for (size_t lane = 0; done + lane < count; ++lane) sweep.AddLane(x[done + lane], lane);

  std::copy_n(sweep.sum, kLanes, moments->squares.sum);
  Word greatest = 0;
  for (size_t lane = 0; lane < kLanes; ++lane) {
    greatest = std::max(greatest, sweep.largest[lane]);
    moments->zeros += sweep.zeros[lane];
  }
  moments->elements += count;
  if (greatest >= Bits<T>::kInfinity) {
    // Rare, and worth a second sweep: nothing else is computed from this tensor.
    for (size_t i = 0; i < count; ++i) {
      const Word magnitude = std::bit_cast<Word>(x[i]) & Bits<T>::kMagnitude;
      moments->infinities += magnitude == Bits<T>::kInfinity ? 1 : 0;
      moments->nans += magnitude > Bits<T>::kInfinity ? 1 : 0;
    }
    return;
  }
  moments->max_abs = std::max(moments->max_abs, static_cast<double>(std::bit_cast<T>(greatest)));
}

template <typename T>
void AddToOf(const T* x, size_t count, double* sum) {
  for (size_t i = 0; i < count; ++i) sum[i] += static_cast<double>(x[i]);
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

void AddMoments(const float* x, size_t count, size_t first, Moments* moments) {
  AddMomentsOf(x, count, first, moments);
}

void AddMoments(const double* x, size_t count, size_t first, Moments* moments) {
  AddMomentsOf(x, count, first, moments);
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

void AddTo(const float* x, size_t count, double* sum) { AddToOf(x, count, sum); }
void AddTo(const double* x, size_t count, double* sum) { AddToOf(x, count, sum); }

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
