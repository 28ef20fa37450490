#ifndef THERMOGRAD_CLIENT_RUN_STREAM_H_
#define THERMOGRAD_CLIENT_RUN_STREAM_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "grpcpp/channel.h"
#include "thermograd/client/tensor.h"
#include "thermograd/v1/report.pb.h"
#include "thermograd/v1/run.pb.h"

namespace thermograd::client {

/// Metadata key that carries the run's name.
inline constexpr char kRunMetadataKey[] = "x-thermograd-run";

/// Metadata key of what load balancers hash on: calls of equal affinity meet at one server.
inline constexpr char kAffinityMetadataKey[] = "x-thermograd-affinity";

/// A name as a metadata value. Metadata admits printable ASCII only, so every other byte, the blank
/// and '%' are percent-encoded.
std::string MetadataValue(absl::string_view name);

/// How a RunStream behaves.
struct RunStreamOptions {
  /// Bytes of tensor data in one message. The server's own limit is used where it is smaller.
  size_t chunk_bytes = size_t{1} << 20;
  /// What load balancers choose the server by: runs that are to be compared with one another need
  /// the same. Empty: the run's name.
  std::string affinity = {};
  /// How long Open waits for the server to accept the run.
  absl::Duration accept_timeout = absl::Seconds(10);
  /// How long one message may be held up by the server's back-pressure before the call is given up,
  /// so that a server that hangs does not take the training with it.
  absl::Duration send_timeout = absl::Minutes(1);
  /// Called for every report, in order, on the stream's reader thread: while it runs no other
  /// answer is read. Absent: reports queue for NextReport.
  std::function<void(const v1::StepReport&)> on_report;
  /// Called for every notice, likewise. Absent: notices are ignored.
  std::function<void(const v1::Notice&)> on_notice;
  /// Called when somebody asks for another cadence, likewise. Absent: it is not followed.
  std::function<void(const v1::Cadence&)> on_cadence;
  /// Reports kept for NextReport; beyond it the oldest is dropped, so that a trainer that never
  /// asks neither grows nor stalls.
  size_t max_queued_reports = 256;
};

/// A live run: one StreamRun call. The methods that send (BeginStep, Send, SendStatistics, EndStep,
/// Finish) belong to one thread at a time; they block while the server exerts back-pressure, but no
/// longer than RunStreamOptions.send_timeout. All others may be called from any thread. A thread of
/// the stream's own drains the answers, so the server never waits for the caller to read.
///
/// When a method that sends fails, the stream is over and the error is the server's reason, or
/// DEADLINE_EXCEEDED if the server took too long. After that or UNAVAILABLE, and after UNKNOWN,
/// INTERNAL or CANCELLED, which load balancers make of a server that died, the run can be resumed
/// by another stream whose RunSpec.resume_after_step is last_acknowledged_step(). INVALID_ARGUMENT
/// about a tensor that never left the process leaves the stream as it was.
class RunStream {
 public:
  /// Starts the call, declares the run and waits until the server accepts it.
  static absl::StatusOr<std::unique_ptr<RunStream>> Open(
      const std::shared_ptr<grpc::Channel>& channel, const v1::RunSpec& spec,
      RunStreamOptions options = {});

  /// Cancels the call unless Finish came first.
  ~RunStream();

  RunStream(const RunStream&) = delete;
  RunStream& operator=(const RunStream&) = delete;

  /// Opens a step.
  absl::Status BeginStep(const v1::StepBegin& step);

  /// Sends one tensor of the open step, in chunks. `tensor_id` is the id of a declared parameter or
  /// layer; `microbatch` counts from 0 within the step.
  absl::Status Send(uint32_t tensor_id, v1::TensorKind kind, const TensorView& tensor,
                    uint32_t microbatch = 0);

  /// The same for elements in memory.
  template <typename T>
  absl::Status Send(uint32_t tensor_id, v1::TensorKind kind, absl::Span<const T> elements,
                    std::vector<uint64_t> shape, uint32_t microbatch = 0) {
    return Send(tensor_id, kind, ViewOf(elements, std::move(shape)), microbatch);
  }

  /// Sends sums of the open step that the trainer made itself.
  absl::Status SendStatistics(const v1::StepStatistics& statistics);

  /// Closes the open step. Its report follows when the server has computed it.
  absl::Status EndStep(uint64_t step);

  /// The oldest report not yet taken. Waits for one; nullopt when none came within `timeout` or the
  /// stream is over and every report was taken.
  std::optional<v1::StepReport> NextReport(absl::Duration timeout = absl::InfiniteDuration());

  /// Reports that NextReport will never return because the queue was full.
  uint64_t dropped_reports() const;

  /// The last step whose figures the server has completed.
  std::optional<uint64_t> last_acknowledged_step() const;

  /// Window and limits that the server announced.
  const v1::RunAccepted& accepted() const;

  /// Says that nothing more will be sent, waits for the remaining answers and returns the status of
  /// the call; cancels it and returns DEADLINE_EXCEEDED when they take longer than `timeout`.
  /// Further calls return the same status.
  absl::Status Finish(absl::Duration timeout = absl::InfiniteDuration());

 private:
  class Call;

  explicit RunStream(std::unique_ptr<Call> call);

  // The call lives behind a pointer to keep the generated service out of this header.
  std::unique_ptr<Call> call_;
};

}  // namespace thermograd::client

#endif  // THERMOGRAD_CLIENT_RUN_STREAM_H_
