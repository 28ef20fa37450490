#include "tests/client/cpp/fake_server.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"
#include "thermograd/client/channel.h"

namespace thermograd::client {

class FakeServer::Service final : public v1::TrainingAnalysisService::Service {
 public:
  explicit Service(FakeHandlers handlers) : handlers_(std::move(handlers)) {}

  grpc::Status StreamRun(grpc::ServerContext* context,
                         FakeHandlers::RunStreamTransport* stream) override {
    if (!handlers_.stream_run) return {grpc::StatusCode::UNIMPLEMENTED, "StreamRun"};
    return handlers_.stream_run(*context, *stream);
  }

  grpc::Status CompareRepresentations(grpc::ServerContext* context,
                                      FakeHandlers::ComparisonReader* reader,
                                      v1::CompareRepresentationsResponse* response) override {
    if (!handlers_.compare) return {grpc::StatusCode::UNIMPLEMENTED, "CompareRepresentations"};
    return handlers_.compare(*context, *reader, *response);
  }

  grpc::Status DescribeMetrics(grpc::ServerContext*, const v1::DescribeMetricsRequest*,
                               v1::DescribeMetricsResponse* response) override {
    if (!handlers_.describe) return {grpc::StatusCode::UNIMPLEMENTED, "DescribeMetrics"};
    return handlers_.describe(*response);
  }

  grpc::Status SetCadence(grpc::ServerContext*, const v1::SetCadenceRequest* request,
                          v1::SetCadenceResponse* response) override {
    if (!handlers_.set_cadence) return {grpc::StatusCode::UNIMPLEMENTED, "SetCadence"};
    return handlers_.set_cadence(*request, *response);
  }

 private:
  const FakeHandlers handlers_;
};

FakeServer::FakeServer(FakeHandlers handlers)
    : service_(std::make_unique<Service>(std::move(handlers))) {
  grpc::EnableDefaultHealthCheckService(true);
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(service_.get());
  server_ = builder.BuildAndStart();
  address_ = absl::StrCat("127.0.0.1:", port);
  channel_ = NewChannel(address_, grpc::InsecureChannelCredentials());
}

FakeServer::~FakeServer() {
  // Cancels the calls that a test left open.
  server_->Shutdown(std::chrono::system_clock::now());
}

void FakeServer::SetServing(bool serving) {
  server_->GetHealthCheckService()->SetServingStatus(serving);
}

std::shared_ptr<grpc::Channel> ChannelToNobody() {
  // The port of a server that is gone.
  const std::string address = FakeServer({}).address();
  return NewChannel(address, grpc::InsecureChannelCredentials());
}

v1::StreamRunResponse Accepted(uint64_t max_chunk_bytes) {
  v1::StreamRunResponse response;
  response.mutable_run_accepted()->mutable_limits()->set_max_chunk_bytes(max_chunk_bytes);
  return response;
}

v1::StreamRunResponse Report(uint64_t step) {
  v1::StreamRunResponse response;
  response.mutable_step_report()->set_step(step);
  return response;
}

}  // namespace thermograd::client
