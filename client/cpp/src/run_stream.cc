#include "thermograd/client/run_stream.h"

#include <algorithm>
#include <deque>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/client_context.h"
#include "src/grpc_status.h"
#include "src/run_metadata.h"
#include "src/watchdog.h"
#include "thermograd/v1/training_analysis_service.grpc.pb.h"

namespace thermograd::client {

std::string MetadataValue(absl::string_view name) {
  std::string value;
  for (const char c : name) {
    if (c > ' ' && c <= '~' && c != '%') {
      value.push_back(c);
    } else {
      absl::StrAppendFormat(&value, "%%%02X", static_cast<unsigned char>(c));
    }
  }
  return value;
}

class RunStream::Call {
 public:
  Call(const std::shared_ptr<grpc::Channel>& channel, const std::string& run,
       RunStreamOptions options)
      : options_(std::move(options)), stub_(v1::TrainingAnalysisService::NewStub(channel)) {
    AddRunMetadata(run, options_.affinity, context_);
    stream_ = stub_->StreamRun(&context_);
    reader_ = std::thread([this] { ReadAll(); });
  }

  ~Call() {
    if (!reader_.joinable()) return;
    context_.TryCancel();
    reader_.join();
  }

  absl::Status Declare(const v1::RunSpec& spec) {
    v1::StreamRunRequest request;
    *request.mutable_run_spec() = spec;
    watchdog_.Arm(options_.accept_timeout, "the server did not accept the run");
    // Whether it was written does not matter: if not, the call is over, and the wait with it.
    stream_->Write(request);
    absl::MutexLock lock(&mutex_);
    const auto answered = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return is_accepted_ || status_.has_value();
    };
    mutex_.Await(absl::Condition(&answered));
    if (absl::Status status = watchdog_.Disarm(); !status.ok()) return status;
    if (!is_accepted_) return EndOfCall();
    const uint64_t limit = accepted_.limits().max_chunk_bytes();
    chunk_bytes_ = options_.chunk_bytes;
    if (limit != 0) chunk_bytes_ = std::min<size_t>(chunk_bytes_, limit);
    return absl::OkStatus();
  }

  absl::Status Write(const v1::StreamRunRequest& request) {
    if (finish_status_.has_value()) {
      return absl::FailedPreconditionError("the stream was finished");
    }
    watchdog_.Arm(options_.send_timeout, "the server took no further message");
    const bool written = stream_->Write(request);
    if (absl::Status status = watchdog_.Disarm(); !status.ok()) return status;
    if (written) return absl::OkStatus();
    // A failed write only says that the call is over; the reason arrives at the reader.
    absl::MutexLock lock(&mutex_);
    const auto ended = [this]()
                           ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return status_.has_value(); };
    mutex_.Await(absl::Condition(&ended));
    return EndOfCall();
  }

  absl::Status SendTensor(uint32_t tensor_id, v1::TensorKind kind, const TensorView& tensor,
                          uint32_t microbatch) {
    if (absl::Status status = Validate(tensor); !status.ok()) return status;
    const size_t element_bytes = ElementBytes(tensor.data_type);
    const size_t step_bytes = std::max(chunk_bytes_ / element_bytes, size_t{1}) * element_bytes;
    v1::TensorChunk& chunk = *request_.mutable_chunk();
    chunk.set_tensor_id(tensor_id);
    chunk.set_kind(kind);
    chunk.set_data_type(tensor.data_type);
    chunk.set_microbatch(microbatch);
    chunk.mutable_shape()->Assign(tensor.shape.begin(), tensor.shape.end());
    size_t begin = 0;
    // An empty tensor is one empty chunk: that it was sent is information too.
    do {
      const absl::string_view data = tensor.bytes.substr(begin, step_bytes);
      chunk.set_offset(begin / element_bytes);
      chunk.set_data(data.data(), data.size());
      if (absl::Status status = Write(request_); !status.ok()) return status;
      begin += data.size();
    } while (begin < tensor.bytes.size());
    return absl::OkStatus();
  }

  std::optional<v1::StepReport> NextReport(absl::Duration timeout) {
    absl::MutexLock lock(&mutex_);
    const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return !reports_.empty() || status_.has_value();
    };
    mutex_.AwaitWithTimeout(absl::Condition(&ready), timeout);
    if (reports_.empty()) return std::nullopt;
    v1::StepReport report = std::move(reports_.front());
    reports_.pop_front();
    return report;
  }

  uint64_t dropped_reports() const {
    absl::MutexLock lock(&mutex_);
    return dropped_reports_;
  }

  std::optional<uint64_t> last_acknowledged_step() const {
    absl::MutexLock lock(&mutex_);
    return last_acknowledged_step_;
  }

  // Written once, before Open returns; a server that accepts twice changes nothing.
  const v1::RunAccepted& accepted() const ABSL_NO_THREAD_SAFETY_ANALYSIS { return accepted_; }

  absl::Status Finish(absl::Duration timeout) {
    if (finish_status_.has_value()) return *finish_status_;
    watchdog_.Arm(timeout, "the server did not finish the run");
    stream_->WritesDone();
    reader_.join();
    const absl::Status expiry = watchdog_.Disarm();
    absl::MutexLock lock(&mutex_);
    finish_status_ = expiry.ok() ? *status_ : expiry;
    return *finish_status_;
  }

 private:
  void ReadAll() {
    v1::StreamRunResponse response;
    while (stream_->Read(&response)) Take(response);
    absl::Status status = FromGrpc(stream_->Finish());
    absl::MutexLock lock(&mutex_);
    status_ = std::move(status);
  }

  void Take(const v1::StreamRunResponse& response) {
    switch (response.message_case()) {
      case v1::StreamRunResponse::kRunAccepted: {
        absl::MutexLock lock(&mutex_);
        if (!is_accepted_) accepted_ = response.run_accepted();
        is_accepted_ = true;
        return;
      }
      case v1::StreamRunResponse::kStepReport:
        if (options_.on_report) {
          options_.on_report(response.step_report());
        } else {
          Queue(response.step_report());
        }
        return;
      case v1::StreamRunResponse::kNotice:
        if (options_.on_notice) options_.on_notice(response.notice());
        return;
      case v1::StreamRunResponse::kCadence:
        if (options_.on_cadence) options_.on_cadence(response.cadence());
        return;
      case v1::StreamRunResponse::kAcknowledgement: {
        absl::MutexLock lock(&mutex_);
        last_acknowledged_step_ = response.acknowledgement().step();
        return;
      }
      case v1::StreamRunResponse::MESSAGE_NOT_SET:
        // A kind of answer that a newer server knows and this client does not.
        return;
    }
  }

  void Queue(const v1::StepReport& report) {
    absl::MutexLock lock(&mutex_);
    reports_.push_back(report);
    if (reports_.size() > options_.max_queued_reports) {
      reports_.pop_front();
      ++dropped_reports_;
    }
  }

  // Why the call ended while there was more to send; never OK.
  absl::Status EndOfCall() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!status_->ok()) return *status_;
    return absl::UnavailableError("the server ended the stream before the run was finished");
  }

  const RunStreamOptions options_;
  const std::unique_ptr<v1::TrainingAnalysisService::Stub> stub_;
  grpc::ClientContext context_;
  Watchdog watchdog_{[this] { context_.TryCancel(); }};
  // Read and Finish are the reader thread's, Write and WritesDone the caller's: the only two that
  // gRPC allows side by side.
  std::unique_ptr<grpc::ClientReaderWriter<v1::StreamRunRequest, v1::StreamRunResponse>> stream_;
  std::thread reader_;

  // The sending thread's alone.
  size_t chunk_bytes_ = 0;
  v1::StreamRunRequest request_;  // kept, so that the buffer of its chunk is allocated once
  std::optional<absl::Status> finish_status_;

  mutable absl::Mutex mutex_;
  bool is_accepted_ ABSL_GUARDED_BY(mutex_) = false;
  v1::RunAccepted accepted_ ABSL_GUARDED_BY(mutex_);
  std::deque<v1::StepReport> reports_ ABSL_GUARDED_BY(mutex_);
  uint64_t dropped_reports_ ABSL_GUARDED_BY(mutex_) = 0;
  std::optional<uint64_t> last_acknowledged_step_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Status> status_ ABSL_GUARDED_BY(mutex_);  // set when the call is over
};

absl::StatusOr<std::unique_ptr<RunStream>> RunStream::Open(
    const std::shared_ptr<grpc::Channel>& channel, const v1::RunSpec& spec,
    RunStreamOptions options) {
  auto call = std::make_unique<Call>(channel, spec.run(), std::move(options));
  if (absl::Status status = call->Declare(spec); !status.ok()) return status;
  return std::unique_ptr<RunStream>(new RunStream(std::move(call)));
}

RunStream::RunStream(std::unique_ptr<Call> call) : call_(std::move(call)) {}
RunStream::~RunStream() = default;

absl::Status RunStream::BeginStep(const v1::StepBegin& step) {
  v1::StreamRunRequest request;
  *request.mutable_step_begin() = step;
  return call_->Write(request);
}

absl::Status RunStream::Send(uint32_t tensor_id, v1::TensorKind kind, const TensorView& tensor,
                             uint32_t microbatch) {
  return call_->SendTensor(tensor_id, kind, tensor, microbatch);
}

absl::Status RunStream::SendStatistics(const v1::StepStatistics& statistics) {
  v1::StreamRunRequest request;
  *request.mutable_statistics() = statistics;
  return call_->Write(request);
}

absl::Status RunStream::EndStep(uint64_t step) {
  v1::StreamRunRequest request;
  request.mutable_step_end()->set_step(step);
  return call_->Write(request);
}

std::optional<v1::StepReport> RunStream::NextReport(absl::Duration timeout) {
  return call_->NextReport(timeout);
}

uint64_t RunStream::dropped_reports() const { return call_->dropped_reports(); }

std::optional<uint64_t> RunStream::last_acknowledged_step() const {
  return call_->last_acknowledged_step();
}

const v1::RunAccepted& RunStream::accepted() const { return call_->accepted(); }

absl::Status RunStream::Finish(absl::Duration timeout) { return call_->Finish(timeout); }

}  // namespace thermograd::client
