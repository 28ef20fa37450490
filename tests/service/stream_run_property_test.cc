// Random streams through the transport: whatever a client sends, its call ends once, with a status
// that the service has counted once, and gives its place and its memory back.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "service/training_analysis_service.h"
#include "tests/service/random_run.h"
#include "tests/service/session_environment.h"
#include "thermograd/v1/training_analysis_service.grpc.pb.h"

namespace thermograd::service {
namespace {

class StreamRunProperties : public testing::Test {
 protected:
  StreamRunProperties() {
    grpc::ServerBuilder builder;
    // Not the channel within the process, on which a client that writes to a call that has ended
    // waits for ever.
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    stub_ = v1::TrainingAnalysisService::NewStub(
        grpc::CreateChannel(absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials()));
  }

  // Sends all messages, whether or not the service has had enough of them, and reads to the end.
  grpc::Status Call(const Messages& messages, std::vector<v1::StreamRunResponse>* responses) {
    grpc::ClientContext context;
    const auto stream = stub_->StreamRun(&context);
    for (const v1::StreamRunRequest& message : messages) {
      if (!stream->Write(message)) break;
    }
    stream->WritesDone();
    v1::StreamRunResponse response;
    while (stream->Read(&response)) responses->push_back(response);
    return stream->Finish();
  }

  uint64_t rejected() const {
    const auto& rejected = environment_.counters().rejected;
    return std::accumulate(rejected.begin(), rejected.end(), uint64_t{0});
  }

  // The call's object goes a moment after the client has its status.
  bool IsIdleSoon() {
    const absl::Time deadline = absl::Now() + absl::Seconds(30);
    while (environment_.admission().open(Admission::Call::kStream) > 0) {
      if (absl::Now() > deadline) return false;
      absl::SleepFor(absl::Milliseconds(1));
    }
    return true;
  }

  SessionEnvironment environment_{{}, uint64_t{1} << 28};
  WorkerPool workers_{1};
  TrainingAnalysisService service_{environment_.Get(), &workers_};
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::TrainingAnalysisService::Stub> stub_;
};

TEST_F(StreamRunProperties, ACallEndsOnceWithAStatusThatIsCounted) {
  std::minstd_rand random(5);
  uint64_t refused = 0;
  for (int i = 0; i < 300; ++i) {
    const RandomRun run("run", 1, &random);
    Messages messages = run.Shuffled(0, &random);
    for (size_t n = random() % 3; n < 2; ++n) {
      if (!messages.empty()) Spoil(&messages, &random);
    }
    std::vector<v1::StreamRunResponse> responses;
    const grpc::Status status = Call(messages, &responses);
    ASSERT_TRUE(status.ok() || status.error_code() == grpc::StatusCode::INVALID_ARGUMENT ||
                status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED)
        << i << ": " << status.error_message();
    refused += status.ok() ? 0 : 1;
    ASSERT_EQ(rejected(), refused) << i;
    ASSERT_EQ(environment_.counters().streams, static_cast<uint64_t>(i) + 1);
    uint64_t last_acknowledged = 0;
    for (const v1::StreamRunResponse& response : responses) {
      if (!response.has_acknowledgement()) continue;
      ASSERT_GT(response.acknowledgement().step(), last_acknowledged) << i;
      last_acknowledged = response.acknowledgement().step();
    }
    ASSERT_TRUE(IsIdleSoon()) << i;
    environment_.ForgetEnded();
    ASSERT_EQ(environment_.admission().bytes(), 0u) << i;
  }
  EXPECT_GT(refused, 100u);
}

}  // namespace
}  // namespace thermograd::service
