#ifndef THERMOGRAD_CLIENT_QUERIES_H_
#define THERMOGRAD_CLIENT_QUERIES_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/channel.h"
#include "thermograd/client/tensor.h"
#include "thermograd/v1/representation.pb.h"
#include "thermograd/v1/training_analysis_service.pb.h"

namespace thermograd::client {

/// One matrix of representations: a sample a row; all dimensions but the first are flattened into
/// features.
struct Representation {
  /// The activations; at least one dimension.
  TensorView activations;
  /// Fingerprint of the samples' ids in their order; empty if unknown. Matrices whose fingerprints
  /// differ are not comparable.
  std::string fingerprint;
};

/// How Compare behaves.
struct CompareOptions {
  /// Bytes of matrix data in one message.
  size_t chunk_bytes = size_t{1} << 20;
  /// Which similarities; unset fields: the server's defaults.
  v1::SimilarityOptions similarity;
  /// Deadline of the whole call.
  absl::Duration timeout = absl::Minutes(5);
};

/// Sends both matrices, by turns and in step, and returns their similarities.
absl::StatusOr<v1::CompareRepresentationsResponse> Compare(
    const std::shared_ptr<grpc::Channel>& channel, const Representation& x, const Representation& y,
    const CompareOptions& options = {});

/// The catalogue of every metric that the server knows.
absl::StatusOr<v1::DescribeMetricsResponse> Describe(const std::shared_ptr<grpc::Channel>& channel,
                                                     absl::Duration timeout = absl::Seconds(10));

/// Asks the clients of a live run to change what they stream. Returns how many of its streams were
/// asked; NOT_FOUND: none is open on this server. `affinity` is that of the run's streams, by which
/// a load balancer finds their server; empty: the run's name.
absl::StatusOr<uint32_t> SetCadence(const std::shared_ptr<grpc::Channel>& channel,
                                    const std::string& run, const v1::Cadence& cadence,
                                    absl::Duration timeout = absl::Seconds(10),
                                    const std::string& affinity = "");

/// OK if the server says that it serves (grpc.health.v1), UNAVAILABLE if it says that it does not,
/// and the call's own error otherwise. `service` empty: the server as a whole.
absl::Status CheckHealth(const std::shared_ptr<grpc::Channel>& channel,
                         const std::string& service = "",
                         absl::Duration timeout = absl::Seconds(10));

}  // namespace thermograd::client

#endif  // THERMOGRAD_CLIENT_QUERIES_H_
