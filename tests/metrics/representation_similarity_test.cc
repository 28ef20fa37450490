#include "metrics/representation_similarity.h"

#include <cmath>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "Eigen/Dense"
#include "gtest/gtest.h"
#include "metrics/catalogue.h"
#include "metrics/representation_catalogue.h"
#include "tests/metrics/random_samples.h"

namespace thermograd::metrics {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

std::vector<Similarity> All() {
  std::vector<Similarity> all;
  for (size_t i = 0; i < kSimilarities; ++i) all.push_back(static_cast<Similarity>(i));
  return all;
}

SimilarityOptions Options(size_t neighbours = 3) {
  SimilarityOptions options;
  options.chosen = All();
  options.neighbours = neighbours;
  options.permutations = 19;
  return options;
}

Matrix RandomMatrix(Eigen::Index n, Eigen::Index p, unsigned seed) {
  const std::vector<double> values = Random(static_cast<size_t>(n * p), seed);
  return Eigen::Map<const Matrix>(values.data(), n, p);
}

Matrix Orthogonal(Eigen::Index p, unsigned seed) {
  return Eigen::HouseholderQR<Matrix>(RandomMatrix(p, p, seed)).householderQ();
}

// Sides that have something, but not all, in common.
std::pair<Matrix, Matrix> Related(Eigen::Index n, Eigen::Index p, Eigen::Index q) {
  const Matrix x = RandomMatrix(n, p, 1);
  return {x, x * RandomMatrix(p, q, 2) + 0.7 * RandomMatrix(n, q, 3)};
}

Representation Prepared(const Matrix& x, const SimilarityOptions& options) {
  const auto n = static_cast<size_t>(x.rows());
  const auto p = static_cast<size_t>(x.cols());
  return Prepare({x.data(), n * p}, n, p, options);
}

std::map<std::string, Result> Compare(const Matrix& x, const Matrix& y,
                                      const SimilarityOptions& options = Options()) {
  Figures figures;
  AppendSimilarities(Prepared(x, options), Prepared(y, options), options, SimilarityScope::kLayers,
                     {}, &figures);
  std::map<std::string, Result> results;
  for (const Figure& figure : figures) {
    const std::string name = figure.name;
    results[name.substr(sizeof("thermograd_") - 1)] = figure.result;
  }
  return results;
}

bool IsPValue(const std::string& name) { return name == "cka_p_value_ratio"; }

void ExpectSame(const std::map<std::string, Result>& a, const std::map<std::string, Result>& b,
                const std::string& except = "") {
  for (const auto& [name, result] : a) {
    if (name == except) continue;
    ASSERT_EQ(result.index(), b.at(name).index()) << name;
    if (const double* value = std::get_if<double>(&result)) {
      EXPECT_NEAR(*value, std::get<double>(b.at(name)), 1e-9) << name;
    } else {
      EXPECT_EQ(result, b.at(name)) << name;
    }
  }
}

// The representations of every shape that a network may have.
std::map<std::string, Matrix> Shapes() {
  std::map<std::string, Matrix> shapes;
  shapes["tall"] = RandomMatrix(20, 3, 1);
  shapes["wide"] = RandomMatrix(12, 30, 1);
  shapes["one feature"] = RandomMatrix(20, 1, 1);
  shapes["four samples"] = RandomMatrix(4, 2, 1);
  shapes["rank two"] = RandomMatrix(20, 2, 1) * RandomMatrix(2, 6, 2);
  shapes["constant column"] = RandomMatrix(20, 3, 1);
  shapes["constant column"].col(1).setConstant(0.1);
  shapes["duplicate rows"] = RandomMatrix(20, 3, 1);
  shapes["duplicate rows"].bottomRows(5) = shapes["duplicate rows"].topRows(5);
  shapes["far away"] = RandomMatrix(20, 3, 1).array() + 1e5;
  return shapes;
}

TEST(Similarities, AreOneForTheSame) {
  for (const auto& [shape, x] : Shapes()) {
    for (const double scale : {1.0, 1e20, 1e-20}) {
      size_t defined = 0;
      for (const auto& [name, result] : Compare(scale * x, x, Options(2))) {
        const double* value = std::get_if<double>(&result);
        if (value == nullptr) continue;
        ++defined;
        if (IsPValue(name) || (shape == "four samples" && name == "cka_calibrated_ratio")) {
          EXPECT_GE(*value, 0) << shape << " " << name;
        } else {
          EXPECT_NEAR(*value, 1, 1e-6) << shape << " " << name << " at " << scale;
        }
      }
      EXPECT_GE(defined, 8u) << shape;
    }
  }
}

TEST(Similarities, DoNotSeeRotationsAndScales) {
  for (const auto& [p, q] : {std::pair{4, 6}, std::pair{30, 2}, std::pair{1, 5}}) {
    const auto [x, y] = Related(24, p, q);
    const std::map<std::string, Result> before = Compare(x, y);
    // The weights of PWCCA are absolute values of single neurons.
    const char* const depends_on_neurons = "pwcca_ratio";
    ExpectSame(before, Compare(x * Orthogonal(p, 8), y * Orthogonal(q, 9)), depends_on_neurons);
    for (const double scale : {1e20, 1e-20, 1e120, 1e-120}) {
      ExpectSame(before, Compare(x * scale, y / scale));
    }
  }
}

TEST(Similarities, CcaSeesTheSpanOnly) {
  const auto [x, y] = Related(40, 4, 5);
  const auto before = Compare(x, y);
  const auto after = Compare(x * RandomMatrix(4, 4, 8), (y * RandomMatrix(5, 5, 9)).array() + 3);
  for (const char* name : {"cca_mean_ratio", "cca_mean_squared_ratio"}) {
    EXPECT_NEAR(std::get<double>(before.at(name)), std::get<double>(after.at(name)), 1e-9);
  }
  EXPECT_LT(std::get<double>(before.at("cca_mean_ratio")), 0.999);
  EXPECT_GT(
      std::fabs(std::get<double>(before.at("cka_ratio")) - std::get<double>(after.at("cka_ratio"))),
      1e-3);
}

TEST(Similarities, AreSymmetric) {
  for (const auto& [p, q] : {std::pair{4, 6}, std::pair{5, 5}, std::pair{30, 2}}) {
    const auto [x, y] = Related(24, p, q);
    const auto xy = Compare(x, y);
    const auto yx = Compare(y, x);
    for (const auto& [name, result] : xy) {
      // Other permutations, in effect.
      if (IsPValue(name) || name == "cka_calibrated_ratio") continue;
      ASSERT_EQ(result.index(), yx.at(name).index()) << name;
      if (const double* value = std::get_if<double>(&result)) {
        EXPECT_NEAR(*value, std::get<double>(yx.at(name)), 1e-9) << name;
      }
    }
  }
}

TEST(Similarities, DoNotSeeTheOrderOfSamples) {
  const auto [x, y] = Related(24, 4, 6);
  std::vector<int> order(24);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937(5));
  auto before = Compare(x, y);
  auto after = Compare(x(order, Eigen::all), y(order, Eigen::all));
  for (const char* name : {"cka_p_value_ratio", "cka_calibrated_ratio"}) {
    before.erase(name);
    after.erase(name);
  }
  ExpectSame(before, after);
  // They do see one side's order.
  const auto shuffled = Compare(x, y(order, Eigen::all));
  EXPECT_LT(std::get<double>(shuffled.at("cka_unbiased_ratio")),
            std::get<double>(before.at("cka_unbiased_ratio")) - 0.1);
}

TEST(Similarities, LieInTheirRange) {
  for (const auto& [p, q] : {std::pair{4, 6}, std::pair{40, 50}, std::pair{1, 1}}) {
    const auto results = Compare(RandomMatrix(24, p, 1), RandomMatrix(24, q, 2));
    for (const auto& [name, result] : results) {
      const double* value = std::get_if<double>(&result);
      if (value == nullptr) continue;
      EXPECT_LE(*value, 1) << name;
      EXPECT_GE(*value, -1) << name;
    }
  }
}

TEST(Similarities, SayWhyTheyAreUndefined) {
  const Matrix x = RandomMatrix(12, 3, 1);
  const auto reason = [](const std::map<std::string, Result>& results, const char* name) {
    return std::get<Undefined>(results.at(name));
  };
  // Constants have no variance, and no figure at all.
  for (const auto& [name, result] : Compare(x, Matrix::Constant(12, 2, 0.1))) {
    EXPECT_EQ(std::get<Undefined>(result), Undefined::kZeroDenominator) << name;
  }
  const auto three = Compare(x.topRows(3), x.topRows(3), Options(2));
  for (const char* name : {"cka_unbiased_ratio", "cka_rbf_unbiased_ratio", "cka_p_value_ratio",
                           "cka_calibrated_ratio", "cknna_ratio", "cca_mean_ratio"}) {
    EXPECT_EQ(reason(three, name), Undefined::kTooFewSamples) << name;
  }
  const auto one = Compare(x.topRows(1), x.topRows(1), Options(1));
  for (const char* name : {"cka_ratio", "mutual_neighbours_ratio", "rsa_ratio"}) {
    EXPECT_EQ(reason(one, name), Undefined::kTooFewSamples) << name;
  }
  const auto far = Compare(x, x, Options(12));
  EXPECT_EQ(reason(far, "mutual_neighbours_ratio"), Undefined::kTooFewSamples);
  EXPECT_EQ(reason(far, "cknna_ratio"), Undefined::kTooFewSamples);
  EXPECT_EQ(reason(Compare(x, x, Options(1)), "cknna_ratio"), Undefined::kTooFewSamples);
  Matrix zero_row = x;
  zero_row.row(3).setZero();
  EXPECT_EQ(reason(Compare(x, zero_row), "mutual_neighbours_ratio"), Undefined::kZeroDenominator);
  // As many features as samples explain anything.
  const auto wide = Compare(x, RandomMatrix(12, 40, 2));
  for (const char* name : {"cca_mean_ratio", "cca_mean_squared_ratio", "pwcca_ratio"}) {
    EXPECT_EQ(reason(wide, name), Undefined::kTooFewSamples) << name;
  }
  SimilarityOptions ridge = Options();
  ridge.cca_ridge = 0.1;
  const double with_ridge =
      std::get<double>(Compare(x, RandomMatrix(12, 40, 2), ridge).at("cca_mean_ratio"));
  EXPECT_GT(with_ridge, 0);
  EXPECT_LT(with_ridge, 1);
}

TEST(Similarities, OfOtherOptionsAreNotCompared) {
  const Matrix x = RandomMatrix(12, 3, 1);
  SimilarityOptions few = Options();
  few.chosen = {Similarity::kCka};
  SimilarityOptions other = Options(4);
  other.rbf_bandwidth_fraction = 1;
  for (const SimilarityOptions& options : {few, other}) {
    Figures figures;
    AppendSimilarities(Prepared(x, Options()), Prepared(x, options), Options(),
                       SimilarityScope::kRuns, {}, &figures);
    for (const Figure& figure : figures) {
      const std::string name = figure.name;
      if (name == "thermograd_cross_run_cka_rbf_ratio" ||
          name == "thermograd_cross_run_mutual_neighbours_ratio") {
        EXPECT_EQ(std::get<Undefined>(figure.result), Undefined::kDifferentOptions) << name;
      }
      if (name == "thermograd_cross_run_cka_ratio") {
        EXPECT_NEAR(std::get<double>(figure.result), 1, 1e-12);
      }
    }
  }
}

// The same figures from sums over samples, which serve any number of them.
TEST(Similarities, FollowFromMoments) {
  for (const auto& [p, q] : {std::pair{4, 6}, std::pair{5, 5}, std::pair{1, 3}}) {
    auto [x, y] = Related(40, p, q);
    x.array() += 10;
    const SimilarityOptions options = Options();
    statistics::CrossMoments moments(static_cast<size_t>(p), static_cast<size_t>(q));
    moments.Add({x.data(), static_cast<size_t>(x.size())},
                {y.data(), static_cast<size_t>(y.size())}, 40);
    Figures figures;
    AppendSimilarities(moments, options, SimilarityScope::kLayers, {}, &figures);
    const auto expected = Compare(x, y);
    size_t defined = 0;
    for (const Figure& figure : figures) {
      const double* value = std::get_if<double>(&figure.result);
      if (value == nullptr) {
        EXPECT_EQ(std::get<Undefined>(figure.result), Undefined::kLimit) << figure.name;
        continue;
      }
      ++defined;
      const std::string name = std::string(figure.name).substr(sizeof("thermograd_") - 1);
      EXPECT_NEAR(*value, std::get<double>(expected.at(name)), 1e-9) << name;
    }
    EXPECT_EQ(defined, 7u);
  }
}

TEST(Similarities, TakeNoMoreThanTheyReserve) {
  for (const auto& [n, p] : {std::pair{24, 4}, std::pair{24, 60}, std::pair{24, 1}}) {
    const SimilarityOptions options = Options();
    EXPECT_LE(Prepared(RandomMatrix(n, p, 1), options).Bytes(),
              PreparationBytes(static_cast<uint64_t>(n), static_cast<uint64_t>(p), options));
  }
}

TEST(Similarities, AreAllInTheCatalogue) {
  for (const SimilarityScope scope :
       {SimilarityScope::kLayers, SimilarityScope::kEarlierStep, SimilarityScope::kRuns}) {
    Figures figures;
    AppendUndefinedSimilarities(Options(), Undefined::kLimit, scope, {}, &figures);
    EXPECT_EQ(figures.size(), 14u);
    for (const Figure& figure : figures) EXPECT_NE(Find(figure.name), nullptr) << figure.name;
  }
}

}  // namespace
}  // namespace thermograd::metrics
