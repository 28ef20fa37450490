#include "kernels/reduce.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "tests/kernels/elements_by_definition.h"

namespace thermograd::kernels {
namespace {

std::vector<float> Random(size_t count) {
  std::mt19937 generator(3);
  std::normal_distribution<float> normal;
  std::vector<float> x(count);
  for (float& value : x) value = normal(generator);
  return x;
}

void CheckEveryPattern(ElementType type, double (*by_definition)(uint16_t)) {
  std::vector<uint16_t> all(65536);
  uint64_t nans = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    all[i] = static_cast<uint16_t>(i);
    nans += std::isnan(by_definition(all[i])) ? 1 : 0;
  }
  std::vector<double> wide(all.size());
  Moments moments;
  AddMomentsAndSet({type, all.data(), all.size()}, 0, 1, &moments, wide.data());
  for (size_t i = 0; i < all.size(); ++i) {
    const double expected = by_definition(all[i]);
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(wide[i])) << i;
    } else {
      EXPECT_EQ(wide[i], expected) << i;
      EXPECT_EQ(std::signbit(wide[i]), std::signbit(expected)) << i;
    }
  }
  EXPECT_EQ(moments.infinities, 2u);
  EXPECT_EQ(moments.nans, nans);
}

TEST(Elements, Fp16IsExactForEveryBitPattern) {
  CheckEveryPattern(ElementType::kFp16, HalfByDefinition);
}

TEST(Elements, Bf16IsTheUpperHalfOfBinary32) {
  CheckEveryPattern(ElementType::kBf16, Bf16ByDefinition);
}

TEST(Elements, NeedNotBeAligned) {
  const std::vector<float> x = Random(100);
  std::vector<char> bytes(x.size() * sizeof(float) + 1);
  std::memcpy(bytes.data() + 1, x.data(), x.size() * sizeof(float));
  std::vector<double> wide(x.size());
  Moments moments;
  AddMomentsAndSet({ElementType::kFp32, bytes.data() + 1, x.size()}, 0, 2, &moments, wide.data());
  for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(wide[i], 2 * static_cast<double>(x[i]));
}

TEST(AddMoments, AgreesWithExtendedPrecisionAtEverySmallSize) {
  for (size_t count = 0; count < 200; ++count) {
    const std::vector<float> x = Random(count);
    Moments moments;
    AddMoments(Elements::Of(x), 0, &moments);
    long double expected = 0;
    for (const float value : x) expected += static_cast<long double>(value) * value;
    EXPECT_NEAR(Total(moments.squares), static_cast<double>(expected),
                1e-13 * (1.0 + static_cast<double>(expected)));
  }
}

TEST(AddMoments, BitsDoNotDependOnHowTheTensorWasCut) {
  const std::vector<float> x = Random(1000);
  const auto part = [&](size_t first, size_t count) {
    return Elements::Of(std::span(x).subspan(first, std::min(count, x.size() - first)));
  };
  Moments whole;
  Lanes squares;
  std::vector<double> y(x.begin(), x.end());
  AddMomentsAndLastSum(part(0, x.size()), 0, &whole, y.data(), &squares);
  for (const size_t chunk : {1, 7, 31, 32, 33, 500}) {
    Moments parts;
    Lanes squares_of_parts;
    const std::vector<double> z(x.begin(), x.end());
    for (size_t first = 0; first < x.size(); first += chunk) {
      AddMomentsAndSquaredSum(part(first, chunk), first, &parts, z.data() + first,
                              &squares_of_parts);
    }
    EXPECT_EQ(Total(parts.squares), Total(whole.squares)) << chunk;
    EXPECT_EQ(Total(squares_of_parts), Total(squares)) << chunk;
  }
}

TEST(AddMoments, CountsNanAndInfinityWhereverTheyAre) {
  for (size_t place = 0; place < 70; ++place) {
    std::vector<double> x(70, 1.0);
    x[place] = std::numeric_limits<double>::quiet_NaN();
    x[(place + 13) % 70] = -std::numeric_limits<double>::infinity();
    x[(place + 14) % 70] = std::numeric_limits<double>::infinity();
    const std::vector<float> narrow(x.begin(), x.end());
    for (const Elements& elements : {Elements::Of(x), Elements::Of(narrow)}) {
      Moments moments;
      AddMoments(elements, 3, &moments);
      EXPECT_EQ(moments.nans, 1u) << place;
      EXPECT_EQ(moments.infinities, 2u) << place;
    }
  }
}

TEST(AddMoments, LargeNumbersAreNotInfinite) {
  const std::vector<float> x(40, std::numeric_limits<float>::max());
  Moments moments;
  AddMoments(Elements::Of(x), 0, &moments);
  EXPECT_TRUE(std::isfinite(Total(moments.squares)));
  const std::vector<double> beyond(40, std::numeric_limits<double>::max());
  AddMoments(Elements::Of(beyond), 0, &moments);
  EXPECT_FALSE(std::isfinite(Total(moments.squares)));
  EXPECT_EQ(moments.nans + moments.infinities, 0u);
}

TEST(AddMoments, SubnormalsAreNotLost) {
  const float tiny = std::numeric_limits<float>::denorm_min();
  Moments moments;
  AddMoments(Elements::Of(std::span(&tiny, 1)), 0, &moments);
  EXPECT_EQ(Total(moments.squares), static_cast<double>(tiny) * static_cast<double>(tiny));
}

// 1e9 elements whose blocks lie between 1e-20 and 1e10. A lane adds at most count / kLanes terms,
// Total folds five times, and no term has another sign: the bound is that of the arithmetic.
TEST(AddMoments, OfABillionElementsOfMixedMagnitudeIsExactToTheArithmetic) {
  constexpr size_t kBlock = 1'000'000;
  constexpr size_t kBlocks = 1000;
  constexpr int kMagnitudes = 31;
  std::mt19937_64 generator(11);
  std::normal_distribution<float> normal;
  std::vector<std::vector<float>> blocks(kMagnitudes, std::vector<float>(kBlock));
  std::vector<long double> squares(kMagnitudes);
  for (int m = 0; m < kMagnitudes; ++m) {
    const float scale = std::pow(10.0f, static_cast<float>(m - 20));
    for (float& value : blocks[static_cast<size_t>(m)]) {
      value = scale * normal(generator);
      squares[static_cast<size_t>(m)] += static_cast<long double>(value) * value;
    }
  }
  Moments moments;
  long double expected = 0;
  for (size_t b = 0; b < kBlocks; ++b) {
    // The small ones come after the large ones, where a careless sum would lose them.
    const size_t m = (kMagnitudes - b % kMagnitudes) % kMagnitudes;
    AddMoments(Elements::Of(blocks[m]), b * kBlock, &moments);
    expected += squares[m];
  }
  const double bound = (static_cast<double>(kBlock * kBlocks) / kLanes + 5) * 0x1p-53;
  const double error =
      static_cast<double>((static_cast<long double>(Total(moments.squares)) - expected) / expected);
  EXPECT_LT(std::abs(error), bound);
  EXPECT_LT(bound, 1e-6);
}

TEST(Sums, OverMicrobatchesAreThoseOfTheirDefinition) {
  const std::vector<float> x = Random(77);
  std::vector<double> y(x.size());
  Moments moments;
  AddMomentsAndSet(Elements::Of(x), 0, -0.5, &moments, y.data());
  for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(y[i], -0.5 * static_cast<double>(x[i]));
  AddMomentsAndSum(Elements::Of(x), 0, &moments, y.data());
  Lanes read, written, scaled;
  AddMomentsAndSquaredSum(Elements::Of(x), 0, &moments, y.data(), &read);
  double expected = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_EQ(y[i], 0.5 * static_cast<double>(x[i]));
    expected += 2.25 * static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
  EXPECT_NEAR(Total(read), expected, 1e-13 * expected);
  AddMomentsAndLastSum(Elements::Of(x), 0, &moments, y.data(), &written);
  EXPECT_EQ(Total(written), Total(read));
  for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(y[i], 1.5 * static_cast<double>(x[i]));
  const std::vector<double> ones(x.size(), 1);
  AddScaled(3, ones.data(), ones.size(), y.data(), &scaled);
  expected = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_EQ(y[i], 1.5 * static_cast<double>(x[i]) + 3);
    expected += y[i] * y[i];
  }
  EXPECT_NEAR(Total(scaled), expected, 1e-13 * expected);
  Moments four_times;
  for (int i = 0; i < 4; ++i) AddMoments(Elements::Of(x), 0, &four_times);
  EXPECT_EQ(Total(moments.squares), Total(four_times.squares));
}

TEST(RowAndColumnDots, FollowTheirDefinition) {
  const std::vector<double> x = {1, 2, 3, 4, 5, 6};
  const std::vector<double> y = {1, 1, 2, 2, 3, 3};
  std::vector<double> rows(2);
  AddRowDots(x.data(), y.data(), 2, 3, rows.data());
  EXPECT_EQ(rows, (std::vector<double>{9, 41}));
  std::vector<double> columns(3);
  AddColumnDots(x.data(), y.data(), 2, 3, columns.data());
  EXPECT_EQ(columns, (std::vector<double>{9, 17, 24}));
}

}  // namespace
}  // namespace thermograd::kernels
