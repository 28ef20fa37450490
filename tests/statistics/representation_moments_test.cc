#include "statistics/representation_moments.h"

#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace thermograd::statistics {
namespace {

struct Samples {
  size_t n, p, q;
  std::vector<double> x, y;
};

// Correlated sides far from the origin, where sums of squares would lose the variance.
Samples Make(size_t n, size_t p, size_t q, double offset, double scale) {
  std::mt19937 generator(3);
  std::normal_distribution<double> normal;
  Samples samples{.n = n, .p = p, .q = q, .x = {}, .y = {}};
  for (size_t i = 0; i < n; ++i) {
    const double common = normal(generator);
    for (size_t j = 0; j < p; ++j) {
      samples.x.push_back(scale * (offset + common + normal(generator)));
    }
    for (size_t j = 0; j < q; ++j) samples.y.push_back(scale * (common + normal(generator)));
  }
  return samples;
}

TEST(CrossMoments, GiveTheHsicsOfTheSamples) {
  for (const double scale : {1.0, 1e20, 1e-20}) {
    for (const double offset : {0.0, 1e4}) {
      const Samples samples = Make(40, 5, 3, offset, scale);
      CrossMoments moments(5, 3);
      // In parts of several sizes: the sums do not see where a chunk ends.
      for (size_t first = 0, rows = 1; first < samples.n; first += rows, ++rows) {
        rows = std::min(rows, samples.n - first);
        moments.Add({samples.x.data() + first * 5, rows * 5},
                    {samples.y.data() + first * 3, rows * 3}, rows);
      }
      EXPECT_EQ(moments.samples(), 40u);
      const Gram k = CentredGram(StandardisedColumns(samples.x, 40, 5), 40, 5);
      const Gram l = CentredGram(StandardisedColumns(samples.y, 40, 3), 40, 3);
      const auto ratio = [](double xy, double xx, double yy) { return xy * xy / xx / yy; };
      const HsicSums biased = moments.Biased();
      EXPECT_NEAR(ratio(biased.xy, biased.xx, biased.yy),
                  ratio(HsicOf(k, l).biased, HsicOf(k, k).biased, HsicOf(l, l).biased), 1e-10);
      const HsicSums unbiased = moments.Unbiased();
      EXPECT_NEAR(ratio(unbiased.xy, unbiased.xx, unbiased.yy),
                  ratio(HsicOf(k, l).unbiased, HsicOf(k, k).unbiased, HsicOf(l, l).unbiased),
                  1e-10);
    }
  }
}

TEST(CrossMoments, GiveTheComponentsOfTheSamples) {
  const Samples samples = Make(40, 5, 3, 10, 1);
  CrossMoments moments(5, 3);
  moments.Add(samples.x, samples.y, 40);
  const auto found = moments.FindComponents();
  ASSERT_TRUE(found);
  const auto x = FindComponents(samples.x, 40, 5);
  const auto y = FindComponents(samples.y, 40, 3);
  ASSERT_TRUE(x && y);
  ASSERT_EQ(found->x.rank(), 5u);
  ASSERT_EQ(found->y.rank(), 3u);
  const ComponentPair pair = PairOf(*x, *y);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_NEAR(found->x.singular_values[i] / found->x.singular_values[0],
                x->singular_values[i] / x->singular_values[0], 1e-12);
    // Up to the signs of the axes.
    for (size_t j = 0; j < 3; ++j) {
      EXPECT_NEAR(std::abs(found->overlap[i * 3 + j]), std::abs(pair.overlap[i * 3 + j]), 1e-10);
    }
  }
}

TEST(CrossMoments, SeeNoVarianceInConstantsAndNoRankInCopies) {
  std::vector<double> constant(30, 0.1);
  std::vector<double> copies;
  for (int i = 0; i < 10; ++i) copies.insert(copies.end(), {0.3 * i, 0.3 * i, 0.3 * i});
  CrossMoments moments(3, 3);
  moments.Add(constant, copies, 10);
  EXPECT_EQ(moments.Biased().xx, 0);
  const auto found = moments.FindComponents();
  ASSERT_TRUE(found);
  EXPECT_EQ(found->x.rank(), 0u);
  EXPECT_EQ(found->y.rank(), 1u);
}

}  // namespace
}  // namespace thermograd::statistics
