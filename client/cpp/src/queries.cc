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
#include "src/run_metadata.h"
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

// A matrix of which part is sent.
struct Outgoing {
  v1::ComparisonSide side;
  const TensorView* matrix;
  size_t sent_bytes = 0;

  bool done() const { return sent_bytes == matrix->bytes.size(); }
  double share() const {
    return done() ? 1 : static_cast<double>(sent_bytes) / static_cast<double>(matrix->bytes.size());
  }
};

// False if the call is over.
bool WriteChunk(size_t chunk_bytes, Outgoing& outgoing, Writer& writer) {
  const TensorView& matrix = *outgoing.matrix;
  const size_t element_bytes = ElementBytes(matrix.data_type);
  const size_t step_bytes = std::max(chunk_bytes / element_bytes, size_t{1}) * element_bytes;
  const absl::string_view data = matrix.bytes.substr(outgoing.sent_bytes, step_bytes);
  v1::CompareRepresentationsRequest request;
  v1::ComparisonChunk& chunk = *request.mutable_chunk();
  chunk.set_side(outgoing.side);
  chunk.set_offset(outgoing.sent_bytes / element_bytes);
  chunk.set_data(data.data(), data.size());
  outgoing.sent_bytes += data.size();
  return writer.Write(request);
}

// Always the side that is behind: of many samples the server keeps only those that it has seen one
// side of. False if the call is over.
bool WriteMatrices(const TensorView& x, const TensorView& y, size_t chunk_bytes, Writer& writer) {
  Outgoing x_outgoing{.side = v1::COMPARISON_SIDE_X, .matrix = &x};
  Outgoing y_outgoing{.side = v1::COMPARISON_SIDE_Y, .matrix = &y};
  while (!x_outgoing.done() || !y_outgoing.done()) {
    const bool x_is_next =
        !x_outgoing.done() && (y_outgoing.done() || x_outgoing.share() <= y_outgoing.share());
    if (!WriteChunk(chunk_bytes, x_is_next ? x_outgoing : y_outgoing, writer)) return false;
  }
  return true;
}

}  // namespace

absl::StatusOr<v1::CompareRepresentationsResponse> Compare(
    const std::shared_ptr<grpc::Channel>& channel, const Representation& x, const Representation& y,
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
  v1::CompareRepresentationsRequest options_request;
  *options_request.mutable_options() = options.similarity;
  const bool has_options = options.similarity.ByteSizeLong() > 0;
  const bool all_written =
      (!has_options || writer->Write(options_request)) && writer->Write(x_request) &&
      writer->Write(y_request) &&
      WriteMatrices(x.activations, y.activations, options.chunk_bytes, *writer);
  // After a failed write the call is over already, and Finish tells why.
  if (all_written) writer->WritesDone();
  if (grpc::Status status = writer->Finish(); !status.ok()) return FromGrpc(status);
  return response;
}

absl::StatusOr<v1::DescribeMetricsResponse> Describe(const std::shared_ptr<grpc::Channel>& channel,
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

absl::StatusOr<uint32_t> SetCadence(const std::shared_ptr<grpc::Channel>& channel,
                                    const std::string& run, const v1::Cadence& cadence,
                                    absl::Duration timeout, const std::string& affinity) {
  const auto stub = v1::TrainingAnalysisService::NewStub(channel);
  grpc::ClientContext context;
  AddRunMetadata(run, affinity, context);
  SetTimeout(timeout, context);
  v1::SetCadenceRequest request;
  request.set_run(run);
  *request.mutable_cadence() = cadence;
  v1::SetCadenceResponse response;
  const grpc::Status status = stub->SetCadence(&context, request, &response);
  if (!status.ok()) return FromGrpc(status);
  return response.streams();
}

absl::Status CheckHealth(const std::shared_ptr<grpc::Channel>& channel, const std::string& service,
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
