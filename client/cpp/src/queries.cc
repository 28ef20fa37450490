#include "thermograd/client/queries.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/notification.h"
#include "google/protobuf/wrappers.pb.h"
#include "grpcpp/client_context.h"
#include "grpcpp/generic/generic_stub.h"
#include "src/grpc_status.h"
#include "thermograd/v1/training_analysis_service.grpc.pb.h"

namespace thermograd::client {
namespace {

void SetTimeout(absl::Duration timeout, grpc::ClientContext& context) {
  context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
}

absl::StatusOr<v1::ComparisonHeader> HeaderOf(v1::ComparisonSide side,
                                              const Representation& representation) {
  const TensorView& activations = representation.activations;
  if (absl::Status status = Validate(activations); !status.ok()) return status;
  if (activations.shape.empty()) {
    return absl::InvalidArgumentError("a scalar is not a matrix of representations");
  }
  const absl::StatusOr<uint64_t> features =
      ElementCount(absl::MakeConstSpan(activations.shape).subspan(1));
  if (!features.ok()) return features.status();
  v1::ComparisonHeader header;
  header.set_side(side);
  header.set_samples(activations.shape.front());
  header.set_features(*features);
  header.set_data_type(activations.data_type);
  header.set_fingerprint(representation.fingerprint);
  return header;
}

using Writer = grpc::ClientWriter<v1::CompareRepresentationsRequest>;

// False if the call is over.
bool WriteMatrix(v1::ComparisonSide side, const TensorView& matrix, size_t chunk_bytes,
                 Writer& writer) {
  const size_t element_bytes = ElementBytes(matrix.data_type);
  const size_t step_bytes = std::max(chunk_bytes / element_bytes, size_t{1}) * element_bytes;
  v1::CompareRepresentationsRequest request;
  v1::ComparisonChunk& chunk = *request.mutable_chunk();
  chunk.set_side(side);
  for (size_t begin = 0; begin < matrix.bytes.size(); begin += step_bytes) {
    const absl::string_view data = matrix.bytes.substr(begin, step_bytes);
    chunk.set_offset(begin / element_bytes);
    chunk.set_data(data.data(), data.size());
    if (!writer.Write(request)) return false;
  }
  return true;
}

}  // namespace

absl::StatusOr<v1::CompareRepresentationsResponse> Compare(std::shared_ptr<grpc::Channel> channel,
                                                           const Representation& x,
                                                           const Representation& y,
                                                           const CompareOptions& options) {
  absl::StatusOr<v1::ComparisonHeader> x_header = HeaderOf(v1::COMPARISON_SIDE_X, x);
  if (!x_header.ok()) return x_header.status();
  absl::StatusOr<v1::ComparisonHeader> y_header = HeaderOf(v1::COMPARISON_SIDE_Y, y);
  if (!y_header.ok()) return y_header.status();

  const auto stub = v1::TrainingAnalysisService::NewStub(channel);
  grpc::ClientContext context;
  SetTimeout(options.timeout, context);
  v1::CompareRepresentationsResponse response;
  const std::unique_ptr<Writer> writer = stub->CompareRepresentations(&context, &response);
  v1::CompareRepresentationsRequest x_request;
  *x_request.mutable_header() = *std::move(x_header);
  v1::CompareRepresentationsRequest y_request;
  *y_request.mutable_header() = *std::move(y_header);
  const bool all_written =
      writer->Write(x_request) && writer->Write(y_request) &&
      WriteMatrix(v1::COMPARISON_SIDE_X, x.activations, options.chunk_bytes, *writer) &&
      WriteMatrix(v1::COMPARISON_SIDE_Y, y.activations, options.chunk_bytes, *writer);
  // After a failed write the call is over already, and Finish tells why.
  if (all_written) writer->WritesDone();
  if (grpc::Status status = writer->Finish(); !status.ok()) return FromGrpc(status);
  return response;
}

absl::StatusOr<v1::DescribeMetricsResponse> Describe(std::shared_ptr<grpc::Channel> channel,
                                                     absl::Duration timeout) {
  const auto stub = v1::TrainingAnalysisService::NewStub(channel);
  grpc::ClientContext context;
  SetTimeout(timeout, context);
  v1::DescribeMetricsResponse response;
  const grpc::Status status =
      stub->DescribeMetrics(&context, v1::DescribeMetricsRequest(), &response);
  if (!status.ok()) return FromGrpc(status);
  return response;
}

absl::Status CheckHealth(std::shared_ptr<grpc::Channel> channel, const std::string& service,
                         absl::Duration timeout) {
  // grpc.health.v1 messages are a string and an enum, each in field 1: on the wire the same as
  // these wrappers, which saves a copy of the health contract.
  using Request = google::protobuf::StringValue;
  using Response = google::protobuf::Int32Value;
  constexpr int kServing = 1;

  grpc::TemplatedGenericStub<Request, Response> stub(channel);
  grpc::ClientContext context;
  SetTimeout(timeout, context);
  Request request;
  request.set_value(service);
  Response response;
  grpc::Status status;
  // Unlike a std::promise, it may be destroyed as soon as the wait for it is over.
  absl::Notification done;
  stub.UnaryCall(&context, "/grpc.health.v1.Health/Check", grpc::StubOptions(), &request, &response,
                 [&status, &done](grpc::Status result) {
                   status = std::move(result);
                   done.Notify();
                 });
  done.WaitForNotification();
  if (!status.ok()) return FromGrpc(status);
  if (response.value() != kServing) {
    return absl::UnavailableError(
        absl::StrCat("not serving (health status ", response.value(), ")"));
  }
  return absl::OkStatus();
}

}  // namespace thermograd::client
