#ifndef THERMOGRAD_TESTS_CLIENT_CPP_FAKE_SERVER_H_
#define THERMOGRAD_TESTS_CLIENT_CPP_FAKE_SERVER_H_

#include <functional>
#include <memory>
#include <string>

#include "grpcpp/channel.h"
#include "grpcpp/server.h"
#include "grpcpp/server_context.h"
#include "thermograd/v1/training_analysis_service.grpc.pb.h"

namespace thermograd::client {

// What a FakeServer does with a call; a call without a function is UNIMPLEMENTED.
struct FakeHandlers {
  using RunStreamTransport = grpc::ServerReaderWriter<v1::StreamRunResponse, v1::StreamRunRequest>;
  using ComparisonReader = grpc::ServerReader<v1::CompareRepresentationsRequest>;

  std::function<grpc::Status(grpc::ServerContext&, RunStreamTransport&)> stream_run = nullptr;
  std::function<grpc::Status(grpc::ServerContext&, ComparisonReader&,
                             v1::CompareRepresentationsResponse&)>
      compare = nullptr;
  std::function<grpc::Status(v1::DescribeMetricsResponse&)> describe = nullptr;
  std::function<grpc::Status(const v1::SetCadenceRequest&, v1::SetCadenceResponse&)> set_cadence =
      nullptr;
};

// A server in this process, with gRPC's own health service, on a free port of the loopback.
class FakeServer {
 public:
  explicit FakeServer(FakeHandlers handlers);
  ~FakeServer();

  // host:port.
  const std::string& address() const { return address_; }
  // A channel to it, as a client would make it.
  std::shared_ptr<grpc::Channel> channel() const { return channel_; }
  // What its health service says of the server as a whole.
  void SetServing(bool serving);

 private:
  class Service;

  std::unique_ptr<Service> service_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
  std::shared_ptr<grpc::Channel> channel_;
};

// A channel to a port on which nobody listens.
std::shared_ptr<grpc::Channel> ChannelToNobody();

// The answer that accepts a run whose chunks have at most this many bytes.
v1::StreamRunResponse Accepted(uint64_t max_chunk_bytes = 0);

// The answer that reports a step without figures.
v1::StreamRunResponse Report(uint64_t step);

}  // namespace thermograd::client

#endif  // THERMOGRAD_TESTS_CLIENT_CPP_FAKE_SERVER_H_
