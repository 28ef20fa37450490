#include "service/comparison_session.h"

#include <limits>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"

namespace thermograd::service {
namespace {

using testing::HasSubstr;

class ComparisonSessionTest : public testing::Test {
 protected:
  static v1::CompareRepresentationsRequest Header(v1::ComparisonSide side, uint64_t samples,
                                                  uint64_t features) {
    v1::CompareRepresentationsRequest request;
    request.mutable_header()->set_side(side);
    request.mutable_header()->set_samples(samples);
    request.mutable_header()->set_features(features);
    request.mutable_header()->set_data_type(v1::DATA_TYPE_FP64);
    return request;
  }
  static v1::CompareRepresentationsRequest Chunk(v1::ComparisonSide side,
                                                 const std::vector<double>& values, size_t first,
                                                 size_t count) {
    v1::CompareRepresentationsRequest request;
    request.mutable_chunk()->set_side(side);
    request.mutable_chunk()->set_offset(first);
    request.mutable_chunk()->set_data(reinterpret_cast<const char*>(values.data() + first),
                                      count * sizeof(double));
    return request;
  }
  static v1::CompareRepresentationsRequest AllSimilarities() {
    v1::CompareRepresentationsRequest request;
    for (int value = v1::Similarity_MIN + 1; value <= v1::Similarity_MAX; ++value) {
      request.mutable_options()->add_similarities(static_cast<v1::Similarity>(value));
    }
    request.mutable_options()->set_neighbours(3);
    request.mutable_options()->set_permutations(19);
    return request;
  }
  static std::vector<double> Random(size_t count, unsigned seed) {
    std::mt19937 generator(seed);
    std::normal_distribution<double> normal;
    std::vector<double> x(count);
    for (double& value : x) value = normal(generator);
    return x;
  }

  // Sends both matrices by turns, `step` rows at a time.
  v1::CompareRepresentationsResponse Compare(const std::vector<double>& x,
                                             const std::vector<double>& y, size_t samples,
                                             size_t step) {
    ComparisonSession session(limits_, &admission_);
    const size_t p = x.size() / samples, q = y.size() / samples;
    EXPECT_TRUE(session.Receive(AllSimilarities()).ok());
    EXPECT_TRUE(session.Receive(Header(v1::COMPARISON_SIDE_X, samples, p)).ok());
    EXPECT_TRUE(session.Receive(Header(v1::COMPARISON_SIDE_Y, samples, q)).ok());
    for (size_t row = 0; row < samples; row += step) {
      const size_t rows = std::min(step, samples - row);
      EXPECT_TRUE(session.Receive(Chunk(v1::COMPARISON_SIDE_X, x, row * p, rows * p)).ok());
      EXPECT_TRUE(session.Receive(Chunk(v1::COMPARISON_SIDE_Y, y, row * q, rows * q)).ok());
    }
    const absl::StatusOr<v1::CompareRepresentationsResponse> response = session.Finish();
    EXPECT_TRUE(response.ok()) << response.status();
    return response.ok() ? *response : v1::CompareRepresentationsResponse();
  }
  static std::map<std::string, double> Values(const v1::CompareRepresentationsResponse& response) {
    std::map<std::string, double> values;
    for (const v1::MetricValue& metric : response.metrics()) {
      if (metric.labels_size() == 0) values[metric.name()] = metric.value();
    }
    return values;
  }
  void ExpectRefused(absl::StatusCode code, const std::string& text, const absl::Status& status) {
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(text));
  }

  Limits limits_;
  Admission admission_{16, uint64_t{1} << 30};
};

TEST_F(ComparisonSessionTest, BeyondMaxSamplesTheSameFiguresFollowFromMoments) {
  constexpr size_t kSamples = 50, kFeatures = 4;
  const std::vector<double> x = Random(kSamples * kFeatures, 1);
  std::vector<double> y = Random(kSamples * kFeatures, 2);
  for (size_t i = 0; i < x.size(); ++i) y[i] += x[i];
  const std::map<std::string, double> all = Values(Compare(x, y, kSamples, 7));
  EXPECT_EQ(all.size(), 14u);
  limits_.max_samples = kSamples - 1;
  const v1::CompareRepresentationsResponse response = Compare(x, y, kSamples, 7);
  const std::map<std::string, double> streamed = Values(response);
  for (const char* name :
       {"thermograd_cka_ratio", "thermograd_cka_unbiased_ratio", "thermograd_cca_mean_ratio",
        "thermograd_cca_mean_squared_ratio", "thermograd_svcca_ratio", "thermograd_pwcca_ratio",
        "thermograd_procrustes_ratio"}) {
    ASSERT_TRUE(streamed.contains(name)) << name;
    EXPECT_NEAR(streamed.at(name), all.at(name), 1e-10) << name;
  }
  EXPECT_EQ(streamed.size(), 7u);
  for (const v1::UndefinedMetric& metric : response.undefined()) {
    EXPECT_EQ(metric.reason(), v1::UNDEFINED_REASON_LIMIT) << metric.name();
  }
  EXPECT_EQ(admission_.bytes(), 0u);
}

TEST_F(ComparisonSessionTest, BeyondMaxSamplesMemoryDoesNotGrowWithSamples) {
  limits_.max_samples = 10;
  ComparisonSession session(limits_, &admission_);
  ASSERT_TRUE(session.Receive(Header(v1::COMPARISON_SIDE_X, uint64_t{1} << 30, 8)).ok());
  ASSERT_TRUE(session.Receive(Header(v1::COMPARISON_SIDE_Y, uint64_t{1} << 30, 8)).ok());
  EXPECT_LT(admission_.bytes(), uint64_t{128} << 20);
}

TEST_F(ComparisonSessionTest, BeyondMaxSamplesTheSidesMustAlternate) {
  limits_.max_samples = 10;
  limits_.max_chunk_bytes = 1 << 10;
  ComparisonSession session(limits_, &admission_);
  const std::vector<double> x(10000);
  ASSERT_TRUE(session.Receive(Header(v1::COMPARISON_SIDE_X, 10000, 1)).ok());
  ASSERT_TRUE(session.Receive(Header(v1::COMPARISON_SIDE_Y, 10000, 1)).ok());
  absl::Status status;
  for (size_t first = 0; first < x.size() && status.ok(); first += 100) {
    status = session.Receive(Chunk(v1::COMPARISON_SIDE_X, x, first, 100));
  }
  ExpectRefused(absl::StatusCode::kInvalidArgument, "alternate", status);
}

TEST_F(ComparisonSessionTest, NonFiniteInputLeavesNoFigure) {
  constexpr size_t kSamples = 20, kFeatures = 2;
  for (const uint64_t max_samples : {2048, 10}) {
    limits_.max_samples = max_samples;
    std::vector<double> x = Random(kSamples * kFeatures, 1);
    x[5] = std::numeric_limits<double>::infinity();
    const v1::CompareRepresentationsResponse response =
        Compare(x, Random(kSamples * kFeatures, 2), kSamples, 3);
    EXPECT_TRUE(Values(response).empty());
    for (const v1::UndefinedMetric& metric : response.undefined()) {
      if (metric.labels_size() > 0 && metric.labels(0).value() == "y") continue;
      EXPECT_EQ(metric.reason(), v1::UNDEFINED_REASON_NON_FINITE_INPUT) << metric.name();
    }
  }
}

TEST_F(ComparisonSessionTest, RefusesOptionsThatAreNoneOrTooMuch) {
  const auto refuse = [&](auto change, absl::StatusCode code, const std::string& text) {
    ComparisonSession session(limits_, &admission_);
    v1::CompareRepresentationsRequest request = AllSimilarities();
    change(request.mutable_options());
    ExpectRefused(code, text, session.Receive(request));
  };
  using Options = v1::SimilarityOptions*;
  const auto invalid = absl::StatusCode::kInvalidArgument;
  const auto exhausted = absl::StatusCode::kResourceExhausted;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  refuse([](Options o) { o->add_similarities(static_cast<v1::Similarity>(99)); }, invalid,
         "options.similarities[12]");
  refuse([](Options o) { o->set_neighbours(2049); }, exhausted, "options.neighbours");
  refuse([](Options o) { o->set_permutations(1001); }, exhausted, "options.permutations");
  refuse([](Options o) { o->set_permutations(18); }, invalid, "options.permutations");
  refuse([&](Options o) { o->set_rbf_bandwidth_fraction(nan); }, invalid,
         "options.rbf_bandwidth_fraction");
  refuse([](Options o) { o->set_rbf_bandwidth_fraction(-1); }, invalid,
         "options.rbf_bandwidth_fraction");
  refuse([](Options o) { o->set_svcca_variance_fraction(1.01); }, invalid,
         "options.svcca_variance_fraction");
  refuse([](Options o) { o->set_cca_ridge(-0.1); }, invalid, "options.cca_ridge");
}

TEST_F(ComparisonSessionTest, OptionsComeOnceAndFirst) {
  ComparisonSession session(limits_, &admission_);
  ASSERT_TRUE(session.Receive(AllSimilarities()).ok());
  ExpectRefused(absl::StatusCode::kInvalidArgument, "options", session.Receive(AllSimilarities()));
  ComparisonSession late(limits_, &admission_);
  ASSERT_TRUE(late.Receive(Header(v1::COMPARISON_SIDE_X, 4, 1)).ok());
  ASSERT_TRUE(late.Receive(Header(v1::COMPARISON_SIDE_Y, 4, 1)).ok());
  ExpectRefused(absl::StatusCode::kInvalidArgument, "options", late.Receive(AllSimilarities()));
}

TEST_F(ComparisonSessionTest, RefusesMoreMemoryThanAStreamMayTake) {
  limits_.max_stream_bytes = 1 << 20;
  ComparisonSession session(limits_, &admission_);
  ASSERT_TRUE(session.Receive(Header(v1::COMPARISON_SIDE_X, 2000, 100)).ok());
  ExpectRefused(absl::StatusCode::kResourceExhausted, "max_stream_bytes",
                session.Receive(Header(v1::COMPARISON_SIDE_Y, 2000, 100)));
  EXPECT_EQ(admission_.bytes(), 0u);
}

}  // namespace
}  // namespace thermograd::service
