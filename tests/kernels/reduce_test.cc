#include "kernels/reduce.h"

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace thermograd::kernels {
namespace {

std::vector<float> Random(size_t count) {
  std::mt19937 generator(3);
  std::normal_distribution<float> normal;
  std::vector<float> x(count);
  for (float& value : x) value = normal(generator);
  return x;
}

TEST(AddMoments, AgreesWithExtendedPrecisionAtEverySmallSize) {
  for (size_t count = 0; count < 200; ++count) {
    const std::vector<float> x = Random(count);
    Moments moments;
    AddMoments(x.data(), count, 0, &moments);
    long double expected = 0;
    for (const float value : x) expected += static_cast<long double>(value) * value;
    EXPECT_NEAR(Total(moments.squares), static_cast<double>(expected),
                1e-13 * (1.0 + static_cast<double>(expected)));
    EXPECT_EQ(moments.elements, count);
  }
}

TEST(AddMoments, BitsDoNotDependOnHowTheTensorWasCut) {
  const std::vector<float> x = Random(1000);
  Moments whole;
  AddMoments(x.data(), x.size(), 0, &whole);
  for (const size_t chunk : {1, 7, 31, 32, 33, 500}) {
    Moments parts;
    for (size_t first = 0; first < x.size(); first += chunk) {
      AddMoments(x.data() + first, std::min(chunk, x.size() - first), first, &parts);
    }
    EXPECT_EQ(Total(parts.squares), Total(whole.squares)) << chunk;
    EXPECT_EQ(parts.max_abs, whole.max_abs);
  }
}

TEST(AddMoments, CountsZerosNanAndInfinity) {
  std::vector<double> x(100, 1.0);
  x[3] = 0.0;
  x[50] = -0.0;
  x[40] = std::numeric_limits<double>::quiet_NaN();
  x[99] = -std::numeric_limits<double>::infinity();
  x[98] = std::numeric_limits<double>::infinity();
  Moments moments;
  AddMoments(x.data(), x.size(), 0, &moments);
  EXPECT_EQ(moments.zeros, 2u);
  EXPECT_EQ(moments.nans, 1u);
  EXPECT_EQ(moments.infinities, 2u);
}

TEST(AddMoments, SubnormalsAreNeitherZeroNorLost) {
  const float tiny = std::numeric_limits<float>::denorm_min();
  Moments moments;
  AddMoments(&tiny, 1, 0, &moments);
  EXPECT_EQ(moments.zeros, 0u);
  EXPECT_EQ(moments.max_abs, static_cast<double>(tiny));
  EXPECT_EQ(Total(moments.squares), static_cast<double>(tiny) * static_cast<double>(tiny));
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
