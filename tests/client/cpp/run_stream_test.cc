#include "thermograd/client/run_stream.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cpp/fake_server.h"

namespace thermograd::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using Transport = FakeHandlers::RunStreamTransport;
using Requests = std::vector<v1::StreamRunRequest>;

constexpr absl::Duration kShort = absl::Milliseconds(100);
// Far longer than anything here takes; a test that waits so long has failed.
constexpr absl::Duration kLong = absl::Seconds(4);

v1::RunSpec Spec() {
  v1::RunSpec spec;
  spec.set_run("run 1");
  return spec;
}

std::unique_ptr<RunStream> OpenOrDie(const FakeServer& server, RunStreamOptions options = {}) {
  absl::StatusOr<std::unique_ptr<RunStream>> stream =
      RunStream::Open(server.channel(), Spec(), std::move(options));
  if (!stream.ok()) ADD_FAILURE() << stream.status();
  return *std::move(stream);
}

// Accepts the run, then reads until the client has finished.
FakeHandlers Recording(Requests& requests, uint64_t max_chunk_bytes = 0) {
  return {.stream_run = [&requests, max_chunk_bytes](grpc::ServerContext&, Transport& transport) {
    transport.Write(Accepted(max_chunk_bytes));
    v1::StreamRunRequest request;
    while (transport.Read(&request)) requests.push_back(request);
    return grpc::Status::OK;
  }};
}

// Accepts the run and then does `more`.
template <typename More>
FakeHandlers Accepting(More more) {
  return {.stream_run = [more](grpc::ServerContext& context, Transport& transport) -> grpc::Status {
    v1::StreamRunRequest request;
    transport.Read(&request);
    transport.Write(Accepted());
    return more(context, transport);
  }};
}

void AwaitCancellation(const grpc::ServerContext& context) {
  while (!context.IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
}

TEST(MetadataValue, EncodesWhatMetadataDoesNotAdmit) {
  EXPECT_EQ(MetadataValue("gpt-2/seed=1~!"), "gpt-2/seed=1~!");
  EXPECT_EQ(MetadataValue("a b%\n\x7f"), "a%20b%25%0A%7F");
  EXPECT_EQ(MetadataValue("\xc3\xa9"), "%C3%A9");
  EXPECT_EQ(MetadataValue(""), "");
}

TEST(RunStream, SendsARunInTheOrderOfTheCalls) {
  Requests requests;
  std::string metadata;
  FakeServer server({.stream_run = [&](grpc::ServerContext& context, Transport& transport) {
    for (const char* key : {kRunMetadataKey, kAffinityMetadataKey}) {
      const auto range = context.client_metadata().equal_range(key);
      for (auto entry = range.first; entry != range.second; ++entry) {
        absl::StrAppend(&metadata, key, "=",
                        absl::string_view(entry->second.data(), entry->second.size()), ";");
      }
    }
    return Recording(requests).stream_run(context, transport);
  }});
  RunStreamOptions options;
  options.affinity = "probe set";
  const std::unique_ptr<RunStream> stream = OpenOrDie(server, options);
  v1::StepBegin begin;
  begin.set_step(7);
  ASSERT_TRUE(stream->BeginStep(begin).ok());
  const std::vector<float> gradient = {1, 2};
  ASSERT_TRUE(stream->Send<float>(3, v1::TENSOR_KIND_GRADIENT, gradient, {1, 2}, 5).ok());
  v1::StepStatistics statistics;
  statistics.add_parameters()->set_tensor_id(4);
  ASSERT_TRUE(stream->SendStatistics(statistics).ok());
  ASSERT_TRUE(stream->EndStep(7).ok());
  ASSERT_TRUE(stream->Finish(kLong).ok());

  EXPECT_EQ(metadata, "x-thermograd-run=run%201;x-thermograd-affinity=probe%20set;");
  ASSERT_THAT(requests, SizeIs(5));
  EXPECT_EQ(requests[0].run_spec().run(), "run 1");
  EXPECT_EQ(requests[1].step_begin().step(), 7u);
  const v1::TensorChunk& chunk = requests[2].chunk();
  EXPECT_EQ(chunk.tensor_id(), 3u);
  EXPECT_EQ(chunk.kind(), v1::TENSOR_KIND_GRADIENT);
  EXPECT_EQ(chunk.data_type(), v1::DATA_TYPE_FP32);
  EXPECT_THAT(chunk.shape(), ElementsAre(1, 2));
  EXPECT_EQ(chunk.offset(), 0u);
  EXPECT_EQ(chunk.microbatch(), 5u);
  EXPECT_EQ(chunk.data(), std::string("\x00\x00\x80\x3f\x00\x00\x00\x40", 8));
  EXPECT_EQ(requests[3].statistics().parameters(0).tensor_id(), 4u);
  EXPECT_EQ(requests[4].step_end().step(), 7u);
}

TEST(RunStream, CutsTensorsIntoChunksOfWholeElementsWithinTheServersLimit) {
  Requests requests;
  FakeServer server(Recording(requests, /*max_chunk_bytes=*/20));
  const std::unique_ptr<RunStream> stream = OpenOrDie(server);
  EXPECT_EQ(stream->accepted().limits().max_chunk_bytes(), 20u);
  const std::vector<double> weights = {0, 1, 2, 3, 4};
  ASSERT_TRUE(stream->Send<double>(1, v1::TENSOR_KIND_WEIGHT, weights, {5}).ok());
  ASSERT_TRUE(stream->Finish(kLong).ok());

  ASSERT_THAT(requests, SizeIs(4));
  std::string bytes;
  for (size_t i = 1; i < requests.size(); ++i) {
    EXPECT_EQ(requests[i].chunk().offset(), bytes.size() / sizeof(double));
    EXPECT_THAT(requests[i].chunk().shape(), ElementsAre(5));
    bytes += requests[i].chunk().data();
  }
  EXPECT_EQ(requests[1].chunk().data().size(), 16u);
  EXPECT_EQ(bytes, ViewOf<double>(weights, {5}).bytes);
}

TEST(RunStream, SendsSingleElementsWhereTheChunkIsSmallerThanOne) {
  Requests requests;
  FakeServer server(Recording(requests));
  RunStreamOptions options;
  options.chunk_bytes = 0;
  const std::unique_ptr<RunStream> stream = OpenOrDie(server, options);
  const std::vector<double> weights = {0, 1};
  ASSERT_TRUE(stream->Send<double>(1, v1::TENSOR_KIND_WEIGHT, weights, {2}).ok());
  ASSERT_TRUE(stream->Finish(kLong).ok());
  EXPECT_THAT(requests, SizeIs(3));
}

TEST(RunStream, SendsAnEmptyTensorAsOneEmptyChunk) {
  Requests requests;
  FakeServer server(Recording(requests));
  const std::unique_ptr<RunStream> stream = OpenOrDie(server);
  const std::vector<float> first = {1};
  ASSERT_TRUE(stream->Send<float>(1, v1::TENSOR_KIND_ACTIVATION, first, {1, 1}).ok());
  ASSERT_TRUE(stream->Send<float>(2, v1::TENSOR_KIND_ACTIVATION, {}, {0, 8}).ok());
  ASSERT_TRUE(stream->Finish(kLong).ok());
  ASSERT_THAT(requests, SizeIs(3));
  EXPECT_EQ(requests[2].chunk().tensor_id(), 2u);
  EXPECT_EQ(requests[2].chunk().data(), "");
  EXPECT_THAT(requests[2].chunk().shape(), ElementsAre(0, 8));
}

TEST(RunStream, RefusesAMalformedTensorAndGoesOn) {
  Requests requests;
  FakeServer server(Recording(requests));
  const std::unique_ptr<RunStream> stream = OpenOrDie(server);
  const std::vector<float> gradient = {1, 2};
  EXPECT_EQ(stream->Send<float>(1, v1::TENSOR_KIND_GRADIENT, gradient, {3}).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(stream->Send<float>(1, v1::TENSOR_KIND_GRADIENT, gradient, {2}).ok());
  EXPECT_TRUE(stream->Finish(kLong).ok());
  EXPECT_THAT(requests, SizeIs(2));
}

TEST(RunStream, QueuesReportsInOrderAndDropsTheOldest) {
  FakeServer server(Accepting([](grpc::ServerContext&, Transport& transport) {
    for (uint64_t step = 1; step <= 5; ++step) transport.Write(Report(step));
    return grpc::Status::OK;
  }));
  RunStreamOptions options;
  options.max_queued_reports = 3;
  const std::unique_ptr<RunStream> stream = OpenOrDie(server, options);
  ASSERT_TRUE(stream->Finish(kLong).ok());
  std::vector<uint64_t> steps;
  while (std::optional<v1::StepReport> report = stream->NextReport(kLong)) {
    steps.push_back(report->step());
  }
  EXPECT_THAT(steps, ElementsAre(3, 4, 5));
  EXPECT_EQ(stream->dropped_reports(), 2u);
}

TEST(RunStream, NextReportGivesUpAfterItsTimeout) {
  FakeServer server(Accepting([](grpc::ServerContext& context, Transport&) {
    AwaitCancellation(context);
    return grpc::Status::OK;
  }));
  const std::unique_ptr<RunStream> stream = OpenOrDie(server);
  EXPECT_EQ(stream->NextReport(kShort), std::nullopt);
}

TEST(RunStream, HandsReportsAndNoticesToTheCallbacks) {
  FakeServer server(Accepting([](grpc::ServerContext&, Transport& transport) {
    v1::StreamRunResponse notice;
    notice.mutable_notice()->set_text("draining");
    transport.Write(Report(1));
    transport.Write(notice);
    transport.Write(Report(2));
    return grpc::Status::OK;
  }));
  std::vector<std::string> seen;
  RunStreamOptions options;
  options.on_report = [&seen](const v1::StepReport& report) {
    seen.push_back(std::to_string(report.step()));
  };
  options.on_notice = [&seen](const v1::Notice& notice) { seen.push_back(notice.text()); };
  const std::unique_ptr<RunStream> stream = OpenOrDie(server, options);
  ASSERT_TRUE(stream->Finish(kLong).ok());
  EXPECT_THAT(seen, ElementsAre("1", "draining", "2"));
  EXPECT_EQ(stream->NextReport(kLong), std::nullopt);
}

TEST(RunStream, RemembersTheLastAcknowledgementAndIgnoresAnswersItDoesNotKnow) {
  FakeServer server(Accepting([](grpc::ServerContext&, Transport& transport) {
    transport.Write(v1::StreamRunResponse());
    for (const uint64_t step : {4, 9}) {
      v1::StreamRunResponse response;
      response.mutable_acknowledgement()->set_step(step);
      transport.Write(response);
    }
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "draining");
  }));
  const std::unique_ptr<RunStream> stream = OpenOrDie(server);
  EXPECT_EQ(stream->Finish(kLong), absl::UnavailableError("draining"));
  EXPECT_EQ(stream->last_acknowledged_step(), 9u);
}

TEST(RunStream, HasNoAcknowledgedStepBeforeTheFirstAcknowledgement) {
  Requests requests;
  FakeServer server(Recording(requests));
  EXPECT_EQ(OpenOrDie(server)->last_acknowledged_step(), std::nullopt);
}

TEST(RunStreamOpen, ReturnsTheServersRefusal) {
  FakeServer server({.stream_run = [](grpc::ServerContext&, Transport&) {
    return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "run: must not be empty");
  }});
  EXPECT_EQ(RunStream::Open(server.channel(), Spec()).status(),
            absl::InvalidArgumentError("run: must not be empty"));
}

TEST(RunStreamOpen, FailsWhenTheServerEndsTheCallWithoutAWord) {
  FakeServer server(
      {.stream_run = [](grpc::ServerContext&, Transport&) { return grpc::Status::OK; }});
  EXPECT_EQ(RunStream::Open(server.channel(), Spec()).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST(RunStreamOpen, GivesUpOnASilentServer) {
  FakeServer server({.stream_run = [](grpc::ServerContext& context, Transport&) {
    AwaitCancellation(context);
    return grpc::Status::OK;
  }});
  RunStreamOptions options;
  options.accept_timeout = kShort;
  const absl::Status status = RunStream::Open(server.channel(), Spec(), options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(status.message()), HasSubstr("did not accept the run within 100ms"));
}

TEST(RunStreamOpen, FailsWhenNobodyListens) {
  EXPECT_EQ(RunStream::Open(ChannelToNobody(), Spec()).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST(RunStream, ReturnsTheReasonWhenTheServerEndsTheStreamMidway) {
  FakeServer server(Accepting([](grpc::ServerContext&, Transport& transport) {
    v1::StreamRunRequest request;
    transport.Read(&request);
    return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "max_stream_bytes");
  }));
  const std::unique_ptr<RunStream> stream = OpenOrDie(server);
  const std::vector<float> gradient(1 << 20);
  const absl::Time give_up = absl::Now() + kLong;
  absl::Status status;
  while (status.ok() && absl::Now() < give_up) {
    status = stream->Send<float>(1, v1::TENSOR_KIND_GRADIENT, gradient, {gradient.size()});
  }
  EXPECT_EQ(status, absl::ResourceExhaustedError("max_stream_bytes"));
  EXPECT_EQ(stream->EndStep(1), status) << "and again for every later call";
  EXPECT_EQ(stream->NextReport(), std::nullopt) << "without waiting";
  EXPECT_EQ(stream->Finish(kLong), status);
}

TEST(RunStream, DoesNotMistakeAnEarlyOkForSuccess) {
  FakeServer server(Accepting([](grpc::ServerContext&, Transport&) { return grpc::Status::OK; }));
  const std::unique_ptr<RunStream> stream = OpenOrDie(server);
  EXPECT_EQ(stream->NextReport(kLong), std::nullopt);
  const absl::Time give_up = absl::Now() + kLong;
  absl::Status status;
  while (status.ok() && absl::Now() < give_up) status = stream->EndStep(1);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
}

TEST(RunStream, WaitsWhileTheServerExertsBackPressure) {
  constexpr size_t kChunks = 32;
  size_t bytes = 0;
  FakeServer server(Accepting([&bytes](grpc::ServerContext&, Transport& transport) {
    v1::StreamRunRequest request;
    while (transport.Read(&request)) {
      bytes += request.chunk().data().size();
      absl::SleepFor(absl::Milliseconds(10));
    }
    return grpc::Status::OK;
  }));
  RunStreamOptions options;
  options.chunk_bytes = 1 << 20;
  const std::unique_ptr<RunStream> stream = OpenOrDie(server, options);
  const std::vector<float> gradient(kChunks << 18);
  EXPECT_TRUE(stream->Send<float>(1, v1::TENSOR_KIND_GRADIENT, gradient, {gradient.size()}).ok());
  EXPECT_TRUE(stream->Finish(kLong).ok());
  EXPECT_EQ(bytes, kChunks << 20);
}

TEST(RunStream, GivesUpOnAServerThatStopsReading) {
  FakeServer server(Accepting([](grpc::ServerContext& context, Transport&) {
    AwaitCancellation(context);
    return grpc::Status::OK;
  }));
  RunStreamOptions options;
  options.send_timeout = kShort;
  const std::unique_ptr<RunStream> stream = OpenOrDie(server, options);
  const std::vector<float> gradient(16 << 20);
  const absl::Status status =
      stream->Send<float>(1, v1::TENSOR_KIND_GRADIENT, gradient, {gradient.size()});
  EXPECT_EQ(status, absl::DeadlineExceededError("the server took no further message within 100ms"));
  EXPECT_EQ(stream->EndStep(1), status);
  EXPECT_EQ(stream->Finish(kLong), status);
}

TEST(RunStream, FinishGivesUpOnAServerThatDoesNotEndTheCall) {
  FakeServer server(Accepting([](grpc::ServerContext& context, Transport&) {
    AwaitCancellation(context);
    return grpc::Status::OK;
  }));
  const std::unique_ptr<RunStream> stream = OpenOrDie(server);
  const absl::Status status = stream->Finish(kShort);
  EXPECT_EQ(status, absl::DeadlineExceededError("the server did not finish the run within 100ms"));
  EXPECT_EQ(stream->Finish(), status);
}

TEST(RunStream, SendsNothingAfterFinish) {
  Requests requests;
  FakeServer server(Recording(requests));
  const std::unique_ptr<RunStream> stream = OpenOrDie(server);
  EXPECT_TRUE(stream->Finish(kLong).ok());
  EXPECT_TRUE(stream->Finish(kLong).ok());
  EXPECT_EQ(stream->EndStep(1).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(stream->Send<float>(1, v1::TENSOR_KIND_GRADIENT, {}, {0}).code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(RunStream, CancelsTheCallWhenDestroyedUnfinished) {
  absl::Notification cancelled;
  FakeServer server(Accepting([&cancelled](grpc::ServerContext& context, Transport&) {
    AwaitCancellation(context);
    cancelled.Notify();
    return grpc::Status::OK;
  }));
  OpenOrDie(server).reset();
  EXPECT_TRUE(cancelled.WaitForNotificationWithTimeout(kLong));
}

}  // namespace
}  // namespace thermograd::client
