#include "service/training_analysis_service.h"

#include <deque>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "service/access.h"
#include "service/comparison_session.h"
#include "service/grpc_status.h"
#include "service/messages.h"

namespace thermograd::service {
namespace {

// Reports that wait for a client that does not read. Beyond it the oldest is dropped and counted:
// reading must not wait for writing, or a client that only writes would hang with us.
constexpr size_t kMaxQueuedResponses = 256;

template <typename Message>
absl::Status Parse(grpc::ByteBuffer* bytes, Message* message) {
  const grpc::Status status = grpc::SerializationTraits<Message>::Deserialize(bytes, message);
  if (status.ok()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("message: not a valid ", message->GetTypeName(),
                   " (malformed bytes, or text that is not valid UTF-8)"));
}

template <typename Message>
grpc::ByteBuffer Serialize(const Message& message) {
  grpc::ByteBuffer bytes;
  bool own_buffer = false;
  // Cannot fail: the message fits in memory and has no required fields.
  (void)grpc::SerializationTraits<Message>::Serialize(message, &bytes, &own_buffer);
  return bytes;
}

// A call that is over before it begins.
template <typename Reactor>
class Refused final : public Reactor {
 public:
  explicit Refused(const grpc::Status& status) { this->Finish(status); }
  void OnDone() override { delete this; }
};

class StreamRunReactor final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                               public Drainable {
 public:
  StreamRunReactor(const Environment& environment, WorkerPool* workers,
                   TrainingAnalysisService* service, std::string tenant)
      : environment_(environment),
        workers_(workers),
        service_(service),
        session_(
            std::in_place, environment, [this] { Supersede(); },
            [this](std::vector<v1::StreamRunResponse> responses) { Deliver(std::move(responses)); },
            std::move(tenant)) {
    has_place_ = environment_.admission->TakeStream();
    const bool entered = service_->Enter(this);
    const std::lock_guard lock(mutex_);
    if (!entered) {
      EndLocked(absl::UnavailableError("draining: this server is about to stop"));
    } else if (!has_place_) {
      EndLocked(absl::ResourceExhaustedError(absl::StrCat("streams: the limit max_streams is ",
                                                          environment_.admission->max_streams())));
    } else if (!end_) {
      ++environment_.counters->streams;
      StartRead(&incoming_);
    }
  }

  void OnReadDone(bool ok) override {
    {
      const std::lock_guard lock(mutex_);
      if (!ok) return EndLocked(absl::OkStatus());
      if (end_) return;
      // From here to the end of Handle the call is not finished, so `this` lives.
      handling_ = true;
    }
    environment_.counters->received_bytes += incoming_.Length();
    const absl::Status status = Parse(&incoming_, &request_);
    incoming_.Clear();
    const std::optional<WorkerPool::Length> length =
        status.ok() ? session_->WorkOf(request_) : std::nullopt;
    if (length) {
      // The stream is not read on before the task is done: back-pressure, one task a stream.
      workers_->Submit(*length, [this] { Handle(absl::OkStatus()); });
    } else {
      Handle(status);
    }
  }

  void OnWriteDone(bool ok) override {
    const std::lock_guard lock(mutex_);
    writing_ = false;
    if (!ok) queue_.clear();
    WriteLocked();
  }

  void OnCancel() override {
    const std::lock_guard lock(mutex_);
    queue_.clear();
    EndLocked(absl::CancelledError("cancelled by the client"));
  }

  void OnDone() override {
    service_->Leave(this);
    session_.reset();
    // Whoever called Finish may still hold the lock.
    { const std::lock_guard lock(mutex_); }
    if (has_place_) environment_.admission->ReturnStream();
    delete this;
  }

  void Drain() override {
    const std::lock_guard lock(mutex_);
    if (draining_ || end_) return;
    draining_ = true;
    queue_.push_back(DrainingNotice());
    if (!handling_ && !step_open_) EndDrainedLocked();
    WriteLocked();
  }

 private:
  void Handle(absl::Status status) {
    std::vector<v1::StreamRunResponse> responses;
    if (status.ok()) status = session_->Receive(request_, &responses);
    const std::lock_guard lock(mutex_);
    handling_ = false;
    step_open_ = session_->step_open();
    for (v1::StreamRunResponse& response : responses) EnqueueLocked(std::move(response));
    if (!status.ok()) {
      EndLocked(status);
    } else if (draining_ && !step_open_) {
      EndDrainedLocked();
    } else if (!end_) {
      StartRead(&incoming_);
    }
    WriteLocked();
  }

  void EnqueueLocked(v1::StreamRunResponse response) {
    if (response.has_acknowledgement() && !queue_.empty() && queue_.back().has_acknowledgement()) {
      queue_.back() = std::move(response);
      return;
    }
    if (queue_.size() >= kMaxQueuedResponses) {
      queue_.pop_front();
      ++environment_.counters->reports_dropped;
    }
    queue_.push_back(std::move(response));
  }

  void Supersede() {
    const std::lock_guard lock(mutex_);
    EndLocked(absl::AbortedError("run: a newer stream of the same run and rank took over"));
    WriteLocked();
  }

  void Deliver(std::vector<v1::StreamRunResponse> responses) {
    const std::lock_guard lock(mutex_);
    for (v1::StreamRunResponse& response : responses) EnqueueLocked(std::move(response));
    WriteLocked();
  }

  void EndDrainedLocked() {
    EndLocked(absl::UnavailableError("draining: this server is about to stop"));
  }

  // Ends the call once what is queued was written.
  void EndLocked(const absl::Status& status) {
    if (end_) return;
    end_ = status;
    WriteLocked();
  }

  void WriteLocked() {
    if (writing_ || finished_) return;
    if (!queue_.empty()) {
      outgoing_ = Serialize(queue_.front());
      queue_.pop_front();
      writing_ = true;
      StartWrite(&outgoing_);
    } else if (end_ && !handling_) {
      finished_ = true;
      Finish(ToGrpc(*end_, environment_.counters));
    }
  }

  const Environment environment_;
  WorkerPool* const workers_;
  TrainingAnalysisService* const service_;
  bool has_place_ = false;

  // Of the read reaction, or the worker that stands in for it.
  grpc::ByteBuffer incoming_;
  v1::StreamRunRequest request_;

  std::mutex mutex_;
  std::deque<v1::StreamRunResponse> queue_;
  grpc::ByteBuffer outgoing_;
  bool writing_ = false;
  bool handling_ = false;
  bool step_open_ = false;
  bool draining_ = false;
  bool finished_ = false;
  std::optional<absl::Status> end_;

  std::optional<RunSession> session_;
};

class ComparisonReactor final : public grpc::ServerReadReactor<grpc::ByteBuffer> {
 public:
  ComparisonReactor(const Environment& environment, WorkerPool* workers, grpc::ByteBuffer* response)
      : environment_(environment),
        workers_(workers),
        response_(response),
        session_(environment.limits, environment.admission) {
    ++environment_.counters->comparisons;
    StartRead(&incoming_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      workers_->Submit(WorkerPool::Length::kLong, [this] {
        const absl::StatusOr<v1::CompareRepresentationsResponse> result = session_.Finish();
        if (result.ok()) *response_ = Serialize(*result);
        Finish(ToGrpc(result.status(), environment_.counters));
      });
      return;
    }
    environment_.counters->received_bytes += incoming_.Length();
    absl::Status status = Parse(&incoming_, &request_);
    incoming_.Clear();
    if (status.ok() && session_.IsHeavy(request_)) {
      workers_->Submit(WorkerPool::Length::kLong, [this] { GoOn(session_.Receive(request_)); });
      return;
    }
    if (status.ok()) status = session_.Receive(request_);
    GoOn(status);
  }

  void OnDone() override { delete this; }

 private:
  void GoOn(const absl::Status& status) {
    if (status.ok()) {
      StartRead(&incoming_);
    } else {
      Finish(ToGrpc(status, environment_.counters));
    }
  }

  const Environment environment_;
  WorkerPool* const workers_;
  grpc::ByteBuffer* const response_;
  ComparisonSession session_;
  grpc::ByteBuffer incoming_;
  v1::CompareRepresentationsRequest request_;
};

}  // namespace

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* TrainingAnalysisService::StreamRun(
    grpc::CallbackServerContext* context) {
  absl::StatusOr<std::string> tenant = Authenticate(*context);
  if (!tenant.ok()) {
    return new Refused<grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>>(
        ToGrpc(tenant.status(), environment_.counters));
  }
  return new StreamRunReactor(environment_, workers_, this, *std::move(tenant));
}

grpc::ServerReadReactor<grpc::ByteBuffer>* TrainingAnalysisService::CompareRepresentations(
    grpc::CallbackServerContext* context, grpc::ByteBuffer* response) {
  if (const auto tenant = Authenticate(*context); !tenant.ok()) {
    return new Refused<grpc::ServerReadReactor<grpc::ByteBuffer>>(
        ToGrpc(tenant.status(), environment_.counters));
  }
  return new ComparisonReactor(environment_, workers_, response);
}

grpc::ServerUnaryReactor* TrainingAnalysisService::DescribeMetrics(
    grpc::CallbackServerContext* context, const v1::DescribeMetricsRequest* /*request*/,
    v1::DescribeMetricsResponse* response) {
  const absl::Status status = Authenticate(*context).status();
  if (status.ok()) *response = DescribeCatalogue();
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status, environment_.counters));
  return reactor;
}

grpc::ServerUnaryReactor* TrainingAnalysisService::SetCadence(grpc::CallbackServerContext* context,
                                                              const v1::SetCadenceRequest* request,
                                                              v1::SetCadenceResponse* response) {
  const absl::Status status = [&]() -> absl::Status {
    const absl::StatusOr<std::string> tenant = Authenticate(*context);
    if (!tenant.ok()) return tenant.status();
    const absl::StatusOr<Cadence> cadence = CheckCadence(request->cadence(), environment_.limits);
    if (!cadence.ok()) return cadence.status();
    response->set_streams(environment_.runs->Ask({request->run(), *tenant}, *cadence));
    if (response->streams() == 0) {
      return absl::NotFoundError("run: no stream of this run is open on this server");
    }
    return absl::OkStatus();
  }();
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status, environment_.counters));
  return reactor;
}

absl::StatusOr<std::string> TrainingAnalysisService::Authenticate(
    const grpc::CallbackServerContext& context) const {
  if (environment_.tokens == nullptr) return std::string();
  const auto [begin, end] = context.client_metadata().equal_range("authorization");
  // Of several, none is better than the others.
  if (begin == end || std::next(begin) != end) return TenantOf(*environment_.tokens, "");
  return TenantOf(*environment_.tokens, {begin->second.data(), begin->second.size()});
}

bool TrainingAnalysisService::Enter(Drainable* stream) {
  const std::lock_guard lock(mutex_);
  if (draining_) return false;
  streams_.insert(stream);
  return true;
}

void TrainingAnalysisService::Leave(Drainable* stream) {
  const std::lock_guard lock(mutex_);
  streams_.erase(stream);
}

void TrainingAnalysisService::ExpireSteps(std::chrono::steady_clock::duration age) {
  environment_.ranks->Expire(std::chrono::steady_clock::now() - age);
}

void TrainingAnalysisService::Drain() {
  const std::lock_guard lock(mutex_);
  draining_ = true;
  for (Drainable* stream : streams_) stream->Drain();
}

}  // namespace thermograd::service
