#include "service/training_analysis_service.h"

#include <chrono>
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
#include "service/limit_status.h"
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

// gRPC's way to tell a client that the same call may succeed after so many milliseconds. A call
// that was admitted ends UNAUTHENTICATED when its token is withdrawn: its client may have another
// one.
void InviteRetry(const absl::Status& status, grpc::CallbackServerContext* context) {
  if (MayBeAdmittedLater(status) || absl::IsUnauthenticated(status)) {
    context->AddTrailingMetadata("grpc-retry-pushback-ms", "5000");
  }
}

// What a client gets that comes, or whose step ends, while the service drains.
absl::Status Draining() { return absl::UnavailableError("draining: this server is about to stop"); }

using Clock = std::chrono::steady_clock;

// Whether more than `seconds` have passed; 0: never.
bool IsOver(uint64_t seconds, Clock::duration passed) {
  return seconds > 0 && passed > std::chrono::seconds(seconds);
}

// How long an ended call may go on writing what its client does not read.
constexpr std::chrono::seconds kFarewell(5);

class StreamRunReactor final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                               public OpenCall {
 public:
  StreamRunReactor(const Environment& environment, WorkerPool* workers,
                   TrainingAnalysisService* service, grpc::CallbackServerContext* context,
                   std::string tenant)
      : environment_(environment),
        workers_(workers),
        service_(service),
        context_(context),
        tenant_(std::move(tenant)),
        queue_memory_(environment.admission),
        session_(
            std::in_place, environment, [this] { Supersede(); },
            [this](const std::vector<v1::StreamRunResponse>& responses) { Deliver(responses); },
            tenant_) {
    const std::optional<LimitValue> refusal =
        environment_.admission->Enter(Admission::Call::kStream);
    has_place_ = !refusal;
    const bool entered = service_->Enter(this);
    const std::lock_guard lock(mutex_);
    if (!entered) {
      EndLocked(Draining());
    } else if (refusal) {
      EndLocked(LimitExceeded(*refusal, "streams: no more are admitted"));
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
    if (!ok) ClearQueueLocked();
    WriteLocked();
  }

  void OnCancel() override {
    const std::lock_guard lock(mutex_);
    ClearQueueLocked();
    EndLocked(absl::CancelledError("cancelled by the client"));
  }

  void OnDone() override {
    service_->Leave(this);
    session_.reset();
    // Whoever called Finish may still hold the lock.
    { const std::lock_guard lock(mutex_); }
    if (has_place_) environment_.admission->Leave(Admission::Call::kStream);
    delete this;
  }

  void Drain() override {
    const std::lock_guard lock(mutex_);
    if (draining_ || end_) return;
    draining_ = true;
    EnqueueLocked(DrainingNotice());
    if (!handling_ && !step_open_) EndLocked(Draining());
    WriteLocked();
  }

  void Expire(Clock::time_point now) override {
    const std::lock_guard lock(mutex_);
    if (finished_) return;
    if (!end_ && !service_->StillAdmits(*context_, tenant_)) {
      EndLocked(absl::UnauthenticatedError("authorization: this token was withdrawn"));
    }
    if (handling_ || finished_) return;
    const Limits& limits = environment_.limits;
    if (end_) {
      if (now - since_ > kFarewell) CancelLocked();
    } else if (is_awaited_ && IsOver(limits.step_seconds, now - since_)) {
      EndLocked(LimitExceeded(Limit::step_seconds, limits,
                              step_open_ ? "step_end: did not come" : "run_spec: did not come"));
    } else if (!is_awaited_ && IsOver(limits.idle_seconds, now - since_)) {
      EndLocked(LimitExceeded(Limit::idle_seconds, limits, "step_begin: did not come"));
    }
  }

 private:
  struct Outgoing {
    grpc::ByteBuffer bytes;
    uint64_t memory = 0;  // taken for it
    bool is_acknowledgement = false;
  };

  void Handle(absl::Status status) {
    std::vector<v1::StreamRunResponse> responses;
    if (status.ok()) status = session_->Receive(request_, &responses);
    const std::lock_guard lock(mutex_);
    handling_ = false;
    const bool step_open = session_->step_open();
    if (!step_open || !step_open_) since_ = Clock::now();
    step_open_ = is_awaited_ = step_open;
    for (const v1::StreamRunResponse& response : responses) EnqueueLocked(response);
    if (!status.ok()) {
      EndLocked(status);
    } else if (draining_ && !step_open_) {
      EndLocked(Draining());
    } else if (!end_) {
      StartRead(&incoming_);
    }
    WriteLocked();
  }

  void EnqueueLocked(const v1::StreamRunResponse& response) {
    Outgoing outgoing{.bytes = Serialize(response),
                      .is_acknowledgement = response.has_acknowledgement()};
    if (outgoing.is_acknowledgement && !queue_.empty() && queue_.back().is_acknowledgement) {
      queue_.back() = std::move(outgoing);
      return;
    }
    // What is written next, and the few bytes of an acknowledgement, are not counted.
    const uint64_t memory = writing_ && !outgoing.is_acknowledgement ? outgoing.bytes.Length() : 0;
    while (!queue_.empty() &&
           (queue_.size() >= kMaxQueuedResponses ||
            memory > environment_.limits.max_queued_bytes - queue_memory_.bytes())) {
      PopLocked();
      CountDroppedLocked();
    }
    if (memory > environment_.limits.max_queued_bytes || !queue_memory_.Take(memory)) {
      CountDroppedLocked();
      return;
    }
    outgoing.memory = memory;
    queue_.push_back(std::move(outgoing));
  }

  void CountDroppedLocked() const {
    ++environment_.counters->reports_dropped;
    CountRefusal(Limit::max_queued_bytes, environment_.counters);
  }

  grpc::ByteBuffer PopLocked() {
    queue_memory_.Return(queue_.front().memory);
    grpc::ByteBuffer bytes;
    bytes.Swap(&queue_.front().bytes);
    queue_.pop_front();
    return bytes;
  }

  void ClearQueueLocked() {
    queue_.clear();
    queue_memory_.Clear();
  }

  void Supersede() {
    const std::lock_guard lock(mutex_);
    EndLocked(absl::AbortedError("run: a newer stream of the same run and rank took over"));
    WriteLocked();
  }

  void Deliver(const std::vector<v1::StreamRunResponse>& responses) {
    const std::lock_guard lock(mutex_);
    for (const v1::StreamRunResponse& response : responses) EnqueueLocked(response);
    WriteLocked();
  }

  // Ends the call once what is queued was written.
  void EndLocked(const absl::Status& status) {
    if (end_) return;
    end_ = status;
    since_ = Clock::now();
    WriteLocked();
  }

  // Ends the call though its client does not read. Not under the lock, because reactions may run
  // within; a call that is being handled is not finished, so `this` lives.
  void CancelLocked() {
    handling_ = true;
    workers_->Submit(WorkerPool::Length::kShort, [this] {
      context_->TryCancel();
      const std::lock_guard lock(mutex_);
      handling_ = false;
      since_ = Clock::now();
      WriteLocked();
    });
  }

  void WriteLocked() {
    if (writing_ || finished_) return;
    if (!queue_.empty()) {
      outgoing_ = PopLocked();
      writing_ = true;
      StartWrite(&outgoing_);
    } else if (end_ && !handling_) {
      finished_ = true;
      InviteRetry(*end_, context_);
      Finish(ToGrpc(*end_, environment_.counters));
    }
  }

  const Environment environment_;
  WorkerPool* const workers_;
  TrainingAnalysisService* const service_;
  grpc::CallbackServerContext* const context_;
  const std::string tenant_;
  bool has_place_ = false;

  // Of the read reaction, or the worker that stands in for it.
  grpc::ByteBuffer incoming_;
  v1::StreamRunRequest request_;

  std::mutex mutex_;
  std::deque<Outgoing> queue_;
  Reservation queue_memory_;
  grpc::ByteBuffer outgoing_;
  bool writing_ = false;
  bool handling_ = false;
  bool step_open_ = false;
  bool draining_ = false;
  bool finished_ = false;
  // The client owes a message that belongs to what it has begun: a run's declaration or a step.
  bool is_awaited_ = true;
  // When that, the pause between steps, or the end of the call began.
  Clock::time_point since_ = Clock::now();
  std::optional<absl::Status> end_;

  std::optional<RunSession> session_;
};

class ComparisonReactor final : public grpc::ServerReadReactor<grpc::ByteBuffer>, public OpenCall {
 public:
  ComparisonReactor(const Environment& environment, WorkerPool* workers,
                    TrainingAnalysisService* service, grpc::CallbackServerContext* context,
                    grpc::ByteBuffer* response)
      : environment_(environment),
        workers_(workers),
        service_(service),
        context_(context),
        response_(response),
        session_(environment.limits, environment.admission) {
    ++environment_.counters->comparisons;
    const std::optional<LimitValue> refusal =
        environment_.admission->Enter(Admission::Call::kComparison);
    has_place_ = !refusal;
    const bool entered = service_->Enter(this);
    const std::lock_guard lock(mutex_);
    if (!entered) {
      EndLocked(Draining());
    } else if (refusal) {
      EndLocked(LimitExceeded(*refusal, "comparisons: no more are admitted"));
    } else {
      StartRead(&incoming_);
    }
  }

  void OnReadDone(bool ok) override {
    {
      const std::lock_guard lock(mutex_);
      if (end_) return;
      // From here to GoOn the call is not finished, so `this` lives.
      handling_ = true;
      awaited_ += Clock::now() - since_;
    }
    // What a client gave up sending is not bad input.
    if (!ok && context_->IsCancelled()) {
      GoOn(absl::CancelledError("cancelled by the client"));
      return;
    }
    if (!ok) {
      workers_->Submit(WorkerPool::Length::kLong, [this] {
        const absl::StatusOr<v1::CompareRepresentationsResponse> result = session_.Finish();
        if (result.ok()) *response_ = Serialize(*result);
        const std::lock_guard lock(mutex_);
        handling_ = false;
        EndLocked(result.status());
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

  void OnDone() override {
    service_->Leave(this);
    // Whoever called Finish may still hold the lock.
    { const std::lock_guard lock(mutex_); }
    if (has_place_) environment_.admission->Leave(Admission::Call::kComparison);
    delete this;
  }

  // A comparison is over soon.
  void Drain() override {}

  void Expire(Clock::time_point now) override {
    const std::lock_guard lock(mutex_);
    if (handling_ || end_) return;
    if (IsOver(environment_.limits.step_seconds, awaited_ + (now - since_))) {
      EndLocked(
          LimitExceeded(Limit::step_seconds, environment_.limits, "chunk.data: did not all come"));
    }
  }

 private:
  void GoOn(const absl::Status& status) {
    const std::lock_guard lock(mutex_);
    handling_ = false;
    if (!status.ok()) return EndLocked(status);
    since_ = Clock::now();
    StartRead(&incoming_);
  }

  void EndLocked(const absl::Status& status) {
    end_ = true;
    InviteRetry(status, context_);
    Finish(ToGrpc(status, environment_.counters));
  }

  const Environment environment_;
  WorkerPool* const workers_;
  TrainingAnalysisService* const service_;
  grpc::CallbackServerContext* const context_;
  grpc::ByteBuffer* const response_;
  bool has_place_ = false;
  ComparisonSession session_;
  grpc::ByteBuffer incoming_;
  v1::CompareRepresentationsRequest request_;

  std::mutex mutex_;
  bool handling_ = false;
  bool end_ = false;
  // How long the client has been awaited in all, and since when it is now.
  Clock::duration awaited_{};
  Clock::time_point since_ = Clock::now();
};

}  // namespace

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* TrainingAnalysisService::StreamRun(
    grpc::CallbackServerContext* context) {
  absl::StatusOr<std::string> tenant = Authenticate(*context);
  if (!tenant.ok()) {
    return new Refused<grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>>(
        ToGrpc(tenant.status(), environment_.counters));
  }
  return new StreamRunReactor(environment_, workers_, this, context, *std::move(tenant));
}

grpc::ServerReadReactor<grpc::ByteBuffer>* TrainingAnalysisService::CompareRepresentations(
    grpc::CallbackServerContext* context, grpc::ByteBuffer* response) {
  if (const auto tenant = Authenticate(*context); !tenant.ok()) {
    return new Refused<grpc::ServerReadReactor<grpc::ByteBuffer>>(
        ToGrpc(tenant.status(), environment_.counters));
  }
  return new ComparisonReactor(environment_, workers_, this, context, response);
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

bool TrainingAnalysisService::StillAdmits(const grpc::CallbackServerContext& context,
                                          const std::string& tenant) const {
  const absl::StatusOr<std::string> found = Authenticate(context);
  return found.ok() && *found == tenant;
}

bool TrainingAnalysisService::Enter(OpenCall* call) {
  const std::lock_guard lock(mutex_);
  if (draining_) return false;
  calls_.insert(call);
  return true;
}

void TrainingAnalysisService::Leave(OpenCall* call) {
  const std::lock_guard lock(mutex_);
  calls_.erase(call);
}

void TrainingAnalysisService::ExpireCalls() {
  const auto now = Clock::now();
  const std::lock_guard lock(mutex_);
  for (OpenCall* call : calls_) call->Expire(now);
}

void TrainingAnalysisService::ExpireSteps(std::chrono::steady_clock::duration age) const {
  environment_.ranks->Expire(std::chrono::steady_clock::now() - age);
}

void TrainingAnalysisService::Drain() {
  const std::lock_guard lock(mutex_);
  draining_ = true;
  for (OpenCall* call : calls_) call->Drain();
}

}  // namespace thermograd::service
