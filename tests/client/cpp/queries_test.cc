#include "thermograd/client/queries.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cpp/fake_server.h"

namespace thermograd::client {
namespace {

using ::testing::SizeIs;
using Reader = FakeHandlers::ComparisonReader;

constexpr absl::Duration kShort = absl::Milliseconds(100);

Representation Matrix(const std::vector<float>& elements, std::vector<uint64_t> shape) {
  return {ViewOf(absl::MakeConstSpan(elements), std::move(shape)), ""};
}

TEST(Compare, SendsOptionsThenBothHeadersThenTheMatricesByTurns) {
  std::vector<v1::CompareRepresentationsRequest> requests;
  FakeServer server({.compare = [&requests](grpc::ServerContext&, Reader& reader,
                                            v1::CompareRepresentationsResponse& response) {
    v1::CompareRepresentationsRequest request;
    while (reader.Read(&request)) requests.push_back(request);
    response.add_metrics()->set_value(0.5);
    return grpc::Status::OK;
  }});
  const std::vector<float> x = {1, 2, 3, 4, 5, 6, 7, 8};
  const std::vector<float> y = {1, 2};
  Representation left = Matrix(x, {2, 2, 2});
  left.fingerprint = std::string("\x00\xff", 2);
  CompareOptions options;
  options.chunk_bytes = 14;  // three elements and a part of one
  options.similarity.add_similarities(v1::SIMILARITY_RSA);
  const absl::StatusOr<v1::CompareRepresentationsResponse> response =
      Compare(server.channel(), left, Matrix(y, {2}), options);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->metrics(0).value(), 0.5);

  ASSERT_THAT(requests, SizeIs(7));
  EXPECT_EQ(requests[0].options().similarities(0), v1::SIMILARITY_RSA);
  requests.erase(requests.begin());
  EXPECT_EQ(requests[0].header().side(), v1::COMPARISON_SIDE_X);
  EXPECT_EQ(requests[0].header().samples(), 2u);
  EXPECT_EQ(requests[0].header().features(), 4u);
  EXPECT_EQ(requests[0].header().data_type(), v1::DATA_TYPE_FP32);
  EXPECT_EQ(requests[0].header().fingerprint(), left.fingerprint);
  EXPECT_EQ(requests[1].header().side(), v1::COMPARISON_SIDE_Y);
  EXPECT_EQ(requests[1].header().features(), 1u) << "a vector is one feature";
  std::string x_bytes;
  for (const size_t i : {2, 4, 5}) {
    EXPECT_EQ(requests[i].chunk().side(), v1::COMPARISON_SIDE_X);
    EXPECT_EQ(requests[i].chunk().offset(), x_bytes.size() / sizeof(float));
    x_bytes += requests[i].chunk().data();
  }
  EXPECT_EQ(x_bytes, left.activations.bytes);
  EXPECT_EQ(requests[3].chunk().side(), v1::COMPARISON_SIDE_Y);
  EXPECT_EQ(requests[3].chunk().offset(), 0u);
}

TEST(Compare, RefusesWhatIsNoMatrixWithoutACall) {
  const std::vector<float> one = {1};
  const auto channel = ChannelToNobody();
  EXPECT_EQ(Compare(channel, Matrix(one, {}), Matrix(one, {1})).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Compare(channel, Matrix(one, {1}), Matrix(one, {2})).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(Compare, RefusesFeaturesThatOverflowBehindNoSamples) {
  EXPECT_EQ(Compare(ChannelToNobody(), Matrix({}, {0, uint64_t{1} << 63, 2}), Matrix({}, {0}))
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(Compare, ReturnsTheServersErrorEvenInTheMiddleOfAMatrix) {
  FakeServer server(
      {.compare = [](grpc::ServerContext&, Reader& reader, v1::CompareRepresentationsResponse&) {
        v1::CompareRepresentationsRequest request;
        reader.Read(&request);
        return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "samples differ");
      }});
  const std::vector<float> x(4 << 20);
  EXPECT_EQ(Compare(server.channel(), Matrix(x, {1, x.size()}), Matrix(x, {x.size()})).status(),
            absl::InvalidArgumentError("samples differ"));
}

TEST(Compare, GivesUpAfterItsTimeout) {
  FakeServer server(
      {.compare = [](grpc::ServerContext& context, Reader&, v1::CompareRepresentationsResponse&) {
        while (!context.IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
        return grpc::Status::OK;
      }});
  const std::vector<float> x(4 << 20);
  CompareOptions options;
  options.timeout = kShort;
  EXPECT_EQ(Compare(server.channel(), Matrix(x, {x.size()}), Matrix(x, {x.size()}), options)
                .status()
                .code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST(Describe, ReturnsTheCatalogue) {
  FakeServer server({.describe = [](v1::DescribeMetricsResponse& response) {
    response.add_metrics()->set_name("thermograd_loss");
    return grpc::Status::OK;
  }});
  const absl::StatusOr<v1::DescribeMetricsResponse> catalogue = Describe(server.channel());
  ASSERT_TRUE(catalogue.ok()) << catalogue.status();
  ASSERT_THAT(catalogue->metrics(), SizeIs(1));
  EXPECT_EQ(catalogue->metrics(0).name(), "thermograd_loss");
}

TEST(Describe, ReturnsTheServersError) {
  FakeServer server({});
  EXPECT_EQ(Describe(server.channel()).status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(Describe(ChannelToNobody()).status().code(), absl::StatusCode::kUnavailable);
}

TEST(CheckHealth, TellsServingFromNotServingFromUnreachable) {
  FakeServer server({});
  EXPECT_TRUE(CheckHealth(server.channel()).ok());
  EXPECT_EQ(CheckHealth(server.channel(), "no.such.Service").code(), absl::StatusCode::kNotFound);
  server.SetServing(false);
  EXPECT_EQ(CheckHealth(server.channel()).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(CheckHealth(ChannelToNobody()).code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace thermograd::client
