#include "statistics/representation.h"

#include <cmath>
#include <numbers>
#include <random>
#include <set>
#include <vector>

#include "gmock/gmock.h"

namespace thermograd::statistics {
namespace {

std::vector<double> Random(size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal;
  std::vector<double> x(count);
  for (double& value : x) value = normal(generator);
  return x;
}

// HSIC_1 by its definition, an average over all quadruples of distinct samples (Song et al. 2012,
// eq. 5), of uncentred linear kernels: centring must not change it.
double HsicByDefinition(const std::vector<double>& x, const std::vector<double>& y, size_t n) {
  double sum = 0;
  double count = 0;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) {
      for (size_t q = 0; q < n; ++q) {
        for (size_t r = 0; r < n; ++r) {
          if (i == j || i == q || i == r || j == q || j == r || q == r) continue;
          sum += x[i] * x[j] * (y[i] * y[j] + y[q] * y[r] - 2 * y[i] * y[q]);
          ++count;
        }
      }
    }
  }
  return sum / count;
}

TEST(Hsic, UnbiasedIsTheAverageOverDistinctSamples) {
  const size_t n = 7;
  const std::vector<double> x = Random(n, 1);
  const std::vector<double> y = Random(n, 2);
  const Gram k = CentredGram(x, n, 1);
  EXPECT_NEAR(HsicOf(k, CentredGram(y, n, 1)).unbiased, HsicByDefinition(x, y, n), 1e-13);
  EXPECT_NEAR(HsicOf(k, k).unbiased, HsicByDefinition(x, x, n), 1e-13);
}

// More matrices than are multiplied pair by pair, and more elements than a block has.
TEST(Hsic, OfAllPairsIsThatOfEachPair) {
  constexpr size_t kSamples = 90;
  constexpr size_t kMatrices = 15;
  std::vector<Gram> grams;
  for (unsigned i = 0; i < kMatrices; ++i) {
    grams.push_back(CentredGram(Random(kSamples * (i + 1), i), kSamples, i + 1));
  }
  std::vector<const Gram*> all;
  all.reserve(kMatrices);
  for (const Gram& gram : grams) all.push_back(&gram);
  const std::vector<Hsic> hsics = PairwiseHsics(all);
  ASSERT_EQ(hsics.size(), kMatrices * kMatrices);
  for (size_t i = 0; i < kMatrices; ++i) {
    for (size_t j = 0; j < kMatrices; ++j) {
      const double scale =
          std::sqrt(hsics[i * kMatrices + i].biased * hsics[j * kMatrices + j].biased);
      double trace = 0;
      for (size_t e = 0; e < kSamples * kSamples; ++e)
        trace += grams[i].values[e] * grams[j].values[e];
      const Hsic& hsic = hsics[i * kMatrices + j];
      const Hsic pair = HsicOf(grams[i], grams[j]);
      EXPECT_NEAR(hsic.biased / scale, trace / scale, 1e-13);
      EXPECT_NEAR(pair.biased / scale, trace / scale, 1e-13);
      EXPECT_NEAR(hsic.unbiased / scale, pair.unbiased / scale, 1e-13);
    }
  }
}

TEST(Hsic, OfStandardisedSamplesIsThatOfTheSamplesByAPowerOfTwo) {
  constexpr size_t n = 20, p = 3, q = 2;
  std::vector<double> x = Random(n * p, 1);
  const std::vector<double> y = Random(n * q, 2);
  for (double& value : x) value *= 1e-7;
  const Gram k = StandardisedGram(x, n, p);
  const Gram l = StandardisedGram(y, n, q);
  EXPECT_NE(k.exponent, 0);
  EXPECT_EQ(UnscaledHsic(HsicOf(k, l), k, l),
            HsicOf(CentredGram(x, n, p), CentredGram(y, n, q)).unbiased);
}

// The figure in the documentation of pytorch/ignite's HSIC, whose bandwidth is the median; it is
// computed in fp32 there.
TEST(CentredRbfGram, HasTheHsicOfPytorchIgnite) {
  std::vector<double> x(50);
  std::vector<double> y(50);
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = static_cast<double>(i);
    y[i] = std::sin(x[i] * std::numbers::pi * 2 / 50);
  }
  const std::optional<Gram> k = CentredRbfGram(StandardisedGram(x, 10, 5), 1);
  const std::optional<Gram> l = CentredRbfGram(StandardisedGram(y, 10, 5), 1);
  ASSERT_TRUE(k && l);
  EXPECT_NEAR(HsicOf(*k, *l).unbiased, 0.0922664999961853, 1e-6);
}

TEST(CentredRbfGram, HasNoBandwidthWhereMostSamplesAreTheSame) {
  std::vector<double> x(10, 0.1);
  x[0] = 1;
  EXPECT_FALSE(CentredRbfGram(StandardisedGram(x, 10, 1), 0.5));
}

TEST(CentredDistanceRanks, AverageTies) {
  // Distances 1 (0-1), 2 (0-2), 1 (1-2): the two equal ones share the first two ranks.
  const std::vector<double> x = {0, 1, 2};
  EXPECT_THAT(CentredDistanceRanks(StandardisedGram(x, 3, 1)), testing::ElementsAre(-0.5, 1, -0.5));
}

TEST(Permutations, AreAFixedSequenceOfAllSamples) {
  Permutations first(5);
  Permutations second(5);
  std::set<std::vector<uint32_t>> seen;
  for (int i = 0; i < 1000; ++i) {
    const auto order = first.Next();
    const std::vector<uint32_t> copy(order.begin(), order.end());
    EXPECT_THAT(copy, testing::UnorderedElementsAre(0, 1, 2, 3, 4));
    EXPECT_THAT(second.Next(), testing::ElementsAreArray(copy));
    seen.insert(copy);
  }
  EXPECT_EQ(seen.size(), 120u);
}

// Johnson-Lindenstrauss: over many projections the HSICs are those of the unprojected features.
TEST(Hsic, OfProjectedFeaturesIsUnbiased) {
  constexpr size_t n = 12, p = 40, q = 30, k = 6;
  constexpr int kDraws = 20000;
  std::mt19937_64 random(5);
  std::normal_distribution<double> normal;
  std::vector<double> x(n * p), y(n * q);
  for (double& value : x) value = normal(random);
  // A few large directions, and something in common with x.
  for (size_t i = 0; i < n; ++i) {
    x[i * p] *= 6;
    for (size_t j = 0; j < q; ++j) y[i * q + j] = 0.5 * x[i * p + j] + normal(random);
  }
  const auto project = [&](const std::vector<double>& features, size_t width) {
    std::vector<double> projection(width * k);
    for (double& value : projection) value = normal(random) / std::sqrt(static_cast<double>(k));
    std::vector<double> projected(n * k);
    for (size_t i = 0; i < n; ++i) {
      for (size_t f = 0; f < width; ++f) {
        for (size_t c = 0; c < k; ++c) {
          projected[i * k + c] += features[i * width + f] * projection[f * k + c];
        }
      }
    }
    return projected;
  };
  const Gram whole_x = CentredGram(x, n, p);
  const Gram whole_y = CentredGram(y, n, q);
  const std::vector<Hsic> expected = PairwiseHsics(std::vector<const Gram*>{&whole_x, &whole_y});
  struct Mean {
    double sum = 0, squares = 0;
    void Add(double value) {
      sum += value;
      squares += value * value;
    }
    double mean() const { return sum / kDraws; }
    double error() const { return std::sqrt((squares / kDraws - mean() * mean()) / kDraws); }
  };
  std::vector<Mean> biased(4), unbiased(4), uncorrected(4);
  for (int draw = 0; draw < kDraws; ++draw) {
    Gram gx = CentredGram(project(x, p), n, k);
    Gram gy = CentredGram(project(y, q), n, k);
    const std::vector<const Gram*> grams = {&gx, &gy};
    const std::vector<Hsic> raw = PairwiseHsics(grams);
    gx.projected_width = gy.projected_width = k;
    const std::vector<Hsic> hsics = PairwiseHsics(grams);
    for (size_t pair = 0; pair < 4; ++pair) {
      biased[pair].Add(hsics[pair].biased);
      unbiased[pair].Add(hsics[pair].unbiased);
      uncorrected[pair].Add(raw[pair].biased);
    }
  }
  for (size_t pair = 0; pair < 4; ++pair) {
    EXPECT_NEAR(biased[pair].mean(), expected[pair].biased, 4 * biased[pair].error()) << pair;
    EXPECT_NEAR(unbiased[pair].mean(), expected[pair].unbiased, 4 * unbiased[pair].error()) << pair;
  }
  // Without the correction a layer's own HSIC is far too large.
  EXPECT_GT(uncorrected[0].mean(), expected[0].biased + 20 * uncorrected[0].error());
}

}  // namespace
}  // namespace thermograd::statistics
