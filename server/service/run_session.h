#ifndef THERMOGRAD_SERVICE_RUN_SESSION_H_
#define THERMOGRAD_SERVICE_RUN_SESSION_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "service/access.h"
#include "service/admission.h"
#include "service/declaration.h"
#include "service/decode.h"
#include "service/limits.h"
#include "service/probe_board.h"
#include "service/rank_group.h"
#include "service/representation_analysis.h"
#include "service/run_registry.h"
#include "service/service_counters.h"
#include "service/step.h"
#include "service/step_intake.h"
#include "service/worker_pool.h"
#include "thermograd/v1/training_analysis_service.pb.h"

namespace thermograd::service {

/// What all streams share. The pointees outlive every stream.
struct Environment {
  Limits limits;
  Admission* admission;
  RunRegistry* runs;
  RankGroups* ranks;
  ProbeBoard* probes;
  ServiceCounters* counters;
  /// Tokens of the tenants; null: there are no tenants, and whoever can connect may call.
  const AccessFile* tokens = nullptr;
};

/// One stream's conversation, without its transport: messages in, messages out. Used by one thread
/// at a time.
class RunSession {
 public:
  /// Takes answers that come after Receive has returned.
  using Deliver = std::function<void(std::vector<v1::StreamRunResponse>)>;

  /// `tenant`: whose run it is; empty where there are no tenants.
  ///
  /// Both are called from any thread: `supersede` when a newer stream of the same run and rank
  /// arrives, `deliver` with the answers to a step that had to wait for other ranks.
  RunSession(const Environment& environment, std::function<void()> supersede, Deliver deliver,
             std::string tenant = {});
  ~RunSession();

  /// Handles one message and appends the answers. An error ends the stream.
  absl::Status Receive(const v1::StreamRunRequest& request,
                       std::vector<v1::StreamRunResponse>* responses);

  /// How long Receive(request) may take, if it is for a worker: the end of a step with more than
  /// gradient sums.
  std::optional<WorkerPool::Length> WorkOf(const v1::StreamRunRequest& request) const;

  bool step_open() const { return step_.has_value(); }

 private:
  struct LayerTensor {
    std::optional<LayerActivations> received;
    size_t next_element = 0;  // of the microbatch that is being received
    v1::DataType type = v1::DATA_TYPE_UNSPECIFIED;
  };
  struct LayerStep {
    LayerTensor activations;
    LayerTensor gradient;
  };
  struct Step {
    uint64_t number = 0;
    StepIntake intake;
    std::vector<LayerStep> layers;
    bool has_activations = false;
  };

  absl::Status ReceiveRunSpec(const v1::RunSpec& spec,
                              std::vector<v1::StreamRunResponse>* responses);
  absl::Status ReceiveStepBegin(const v1::StepBegin& begin);
  absl::Status ReceiveChunk(const v1::TensorChunk& chunk);
  absl::Status ReceiveActivations(const v1::TensorChunk& chunk, const Elements& elements);
  absl::Status ReceiveStepEnd(const v1::StepEnd& end,
                              std::vector<v1::StreamRunResponse>* responses);

  absl::Status AnalyzeRepresentations(metrics::Figures* figures,
                                      std::vector<v1::StreamRunResponse>* responses);
  void Tell(AnalysisNotice notice, std::optional<uint64_t> step,
            std::vector<v1::StreamRunResponse>* responses) const;
  void CountNonFinite(std::vector<v1::StreamRunResponse>* responses);

  const Environment environment_;
  const std::string tenant_;
  std::function<void()> supersede_;
  const Deliver deliver_;
  std::optional<RunDeclaration> declaration_;
  Reservation run_memory_;  // of the declaration and the windows
  uint64_t stream_ = 0;
  std::shared_ptr<RankGroup> group_;
  uint64_t ticket_ = 0;
  std::optional<uint64_t> last_step_;
  uint64_t steps_ = 0;
  std::optional<Step> step_;
  std::optional<RepresentationAnalysis> representations_;
  std::map<std::string, statistics::NonFinite> non_finite_;
};

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_RUN_SESSION_H_
