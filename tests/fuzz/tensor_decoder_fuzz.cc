// The bytes of a tensor of any type, cut into chunks anywhere and lying anywhere in memory:
// decoded, and reduced as by definition, element by element, to the bit.

#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/reduce.h"
#include "service/decode.h"
#include "tests/kernels/elements_by_definition.h"

namespace {

using thermograd::kernels::Elements;
using thermograd::kernels::ElementType;
using thermograd::kernels::kLanes;
using thermograd::kernels::Lanes;
using thermograd::kernels::Moments;
using thermograd::v1::DataType;

void Check(bool condition) {
  if (!condition) std::abort();
}

// Equal to the bit; the payload of a NaN is anybody's.
bool IsSame(double x, double y) {
  return std::bit_cast<uint64_t>(x) == std::bit_cast<uint64_t>(y) ||
         (std::isnan(x) && std::isnan(y));
}

template <typename Number>
Number Load(const char* bytes) {
  Number number;
  std::memcpy(&number, bytes, sizeof(number));
  return number;
}

double ByDefinition(ElementType type, const char* bytes) {
  switch (type) {
    case ElementType::kBf16:
      return thermograd::kernels::Bf16ByDefinition(Load<uint16_t>(bytes));
    case ElementType::kFp16:
      return thermograd::kernels::HalfByDefinition(Load<uint16_t>(bytes));
    case ElementType::kFp32:
      return static_cast<double>(Load<float>(bytes));
    case ElementType::kFp64:
      return Load<double>(bytes);
  }
  std::abort();
}

std::vector<double> ByDefinition(const Elements& elements, size_t width) {
  std::vector<double> x;
  const char* bytes = static_cast<const char*>(elements.data);
  for (size_t i = 0; i < elements.count; ++i) {
    x.push_back(ByDefinition(elements.type, bytes + i * width));
  }
  return x;
}

// All sweeps over one tensor, in chunks.
struct Sums {
  Moments moments;
  Moments set_moments;
  Moments sum_moments;
  Moments last_sum_moments;
  Moments squared_sum_moments;
  Lanes last_sum;
  Lanes squared_sum;
};

void AddChunk(const Elements& chunk, size_t first, double factor, double* set, double* sum,
              double* last_sum, Sums* sums) {
  AddMoments(chunk, first, &sums->moments);
  AddMomentsAndSquaredSum(chunk, first, &sums->squared_sum_moments, last_sum + first,
                          &sums->squared_sum);
  AddMomentsAndSet(chunk, first, factor, &sums->set_moments, set + first);
  AddMomentsAndSum(chunk, first, &sums->sum_moments, sum + first);
  AddMomentsAndLastSum(chunk, first, &sums->last_sum_moments, last_sum + first, &sums->last_sum);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzedDataProvider input(data, size);
  const auto type = static_cast<DataType>(input.ConsumeIntegralInRange(-1, 6));
  const double factor = input.ConsumeFloatingPoint<double>();
  const auto misalignment = input.ConsumeIntegralInRange<size_t>(0, 7);
  const std::vector<uint8_t> cuts =
      input.ConsumeBytes<uint8_t>(input.ConsumeIntegralInRange<size_t>(0, 8));
  // Its own memory, so that a byte too many is seen.
  const std::string rest = input.ConsumeRemainingBytesAsString();
  std::vector<char> memory(misalignment + rest.size());
  std::copy(rest.begin(), rest.end(), memory.begin() + static_cast<ptrdiff_t>(misalignment));
  const absl::string_view bytes(memory.data() + misalignment, rest.size());

  const auto width = thermograd::service::ElementBytes(type);
  const auto elements = thermograd::service::Decode(type, bytes);
  Check(elements.ok() == (width.ok() && bytes.size() % *width == 0));
  if (!elements.ok()) {
    Check(absl::IsInvalidArgument(elements.status()));
    return 0;
  }
  const size_t count = elements->count;
  Check(count * *width == bytes.size());
  const std::vector<double> x = ByDefinition(*elements, *width);

  Sums sums;
  std::vector<double> set(count, 1);
  std::vector<double> sum(count, 0.5);
  std::vector<double> last_sum(count, -0.25);
  size_t first = 0;
  size_t cut = 0;
  while (first < count) {
    const size_t length =
        cut < cuts.size() ? std::min<size_t>(cuts[cut++], count - first) : count - first;
    const auto chunk =
        thermograd::service::Decode(type, bytes.substr(first * *width, length * *width));
    Check(chunk.ok() && chunk->count == length);
    AddChunk(*chunk, first, factor, set.data(), sum.data(), last_sum.data(), &sums);
    first += length;
  }

  Lanes squares;
  Lanes sum_squares;
  uint64_t nans = 0;
  uint64_t infinities = 0;
  for (size_t i = 0; i < count; ++i) {
    const double y = -0.25 + x[i];
    squares.sum[i % kLanes] += x[i] * x[i];
    sum_squares.sum[i % kLanes] += y * y;
    nans += std::isnan(x[i]) ? 1 : 0;
    infinities += std::isinf(x[i]) ? 1 : 0;
    Check(IsSame(set[i], factor * x[i]));
    Check(IsSame(sum[i], 0.5 + x[i]));
    Check(IsSame(last_sum[i], y));
  }
  for (const Moments* moments : {&sums.moments, &sums.set_moments, &sums.sum_moments,
                                 &sums.last_sum_moments, &sums.squared_sum_moments}) {
    Check(moments->nans == nans && moments->infinities == infinities);
    for (size_t lane = 0; lane < kLanes; ++lane) {
      Check(IsSame(moments->squares.sum[lane], squares.sum[lane]));
    }
  }
  for (size_t lane = 0; lane < kLanes; ++lane) {
    Check(IsSame(sums.last_sum.sum[lane], sum_squares.sum[lane]));
    Check(IsSame(sums.squared_sum.sum[lane], sum_squares.sum[lane]));
  }
  return 0;
}
