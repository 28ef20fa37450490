#ifndef THERMOGRAD_SERVICE_TRAINING_ANALYSIS_SERVICE_H_
#define THERMOGRAD_SERVICE_TRAINING_ANALYSIS_SERVICE_H_

#include <chrono>
#include <functional>
#include <mutex>
#include <string>
#include <unordered_set>

#include "absl/status/statusor.h"
#include "grpcpp/grpcpp.h"
#include "service/run_session.h"
#include "service/worker_pool.h"
#include "thermograd/v1/training_analysis_service.grpc.pb.h"

namespace thermograd::service {

/// Calls that may be told to end. A call leaves before it is destroyed, and both happen under one
/// lock, so a caller never meets a dying call.
class OpenCall {
 public:
  virtual ~OpenCall() = default;
  /// Finish the open step, then end the call.
  virtual void Drain() = 0;
  /// End the call if its peer has been awaited for too long at `now`, or is nobody's any more.
  virtual void Expire(std::chrono::steady_clock::time_point now) = 0;
};

// The bulk methods take raw bytes: with the typed stream a message that cannot be parsed looks like
// a clean half-close, and its sender would be told OK.
using RawService = v1::TrainingAnalysisService::WithRawCallbackMethod_StreamRun<
    v1::TrainingAnalysisService::WithRawCallbackMethod_CompareRepresentations<
        v1::TrainingAnalysisService::WithCallbackMethod_DescribeMetrics<
            v1::TrainingAnalysisService::WithCallbackMethod_SetCadence<
                v1::TrainingAnalysisService::Service>>>>;

/// The gRPC face of the service.
class TrainingAnalysisService final : public RawService {
 public:
  TrainingAnalysisService(const Environment& environment, WorkerPool* workers)
      : environment_(environment), workers_(workers) {}

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* StreamRun(
      grpc::CallbackServerContext* context) override;
  grpc::ServerReadReactor<grpc::ByteBuffer>* CompareRepresentations(
      grpc::CallbackServerContext* context, grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* DescribeMetrics(grpc::CallbackServerContext* context,
                                            const v1::DescribeMetricsRequest* request,
                                            v1::DescribeMetricsResponse* response) override;
  grpc::ServerUnaryReactor* SetCadence(grpc::CallbackServerContext* context,
                                       const v1::SetCadenceRequest* request,
                                       v1::SetCadenceResponse* response) override;

  /// Gives up steps that have waited this long for other ranks of their run. To be called now and
  /// then.
  void ExpireSteps(std::chrono::steady_clock::duration age) const;

  /// Ends calls whose peers are silent or too slow, and streams whose token was withdrawn. To be
  /// called now and then.
  void ExpireCalls();

  /// Refuses new calls and lets every open stream finish its open step.
  void Drain();

  /// For the reactors: enters a call unless the service drains; and lets it go.
  bool Enter(OpenCall* call);
  void Leave(OpenCall* call);
  /// True if the token that a call came with is still one of the tenant's.
  bool StillAdmits(const grpc::CallbackServerContext& context, const std::string& tenant) const;

 private:
  /// Who calls: empty where there are no tenants; UNAUTHENTICATED.
  absl::StatusOr<std::string> Authenticate(const grpc::CallbackServerContext& context) const;

  const Environment environment_;
  WorkerPool* const workers_;
  std::mutex mutex_;
  bool draining_ = false;
  std::unordered_set<OpenCall*> calls_;
};

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_TRAINING_ANALYSIS_SERVICE_H_
