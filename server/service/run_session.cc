#include "service/run_session.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "service/chunk_order.h"
#include "service/limit_status.h"
#include "service/messages.h"
#include "service/symmetry_declaration.h"

namespace thermograd::service {
namespace {

using metrics::Figures;

absl::Status CheckNumber(const char* field, double value, bool positive) {
  if (std::isfinite(value) && (positive ? value > 0 : value >= 0)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("step_begin.", field, ": ", value, " is not a ",
                                                 positive ? "positive" : "non-negative",
                                                 " number"));
}

// The windows, and what is kept of the declaration: checked, in the group's analysis, by rank, and
// serialised.
uint64_t RunBytes(const v1::RunSpec& spec, const RunDeclaration& declaration) {
  constexpr uint64_t kCopies = 4;
  uint64_t layers = 0;
  for (const DeclaredLayer& layer : declaration.layers) layers += layer.probe_set ? 0 : 1;
  const uint64_t pairs = layers * (layers - std::min<uint64_t>(layers, 1)) / 2;
  return metrics::EntropicForces::WindowBytes(declaration.parameters.size(),
                                              declaration.window_steps) +
         SymmetryBytes(declaration.symmetries) +
         pairs * declaration.window_steps * sizeof(statistics::HsicSums) +
         kCopies * spec.SpaceUsedLong();
}

}  // namespace

RunSession::RunSession(const Environment& environment, std::function<void()> supersede,
                       Deliver deliver, std::string tenant)
    : environment_(environment),
      tenant_(std::move(tenant)),
      supersede_(std::move(supersede)),
      deliver_(std::move(deliver)),
      run_memory_(environment.admission) {}

RunSession::~RunSession() {
  if (step_) ++environment_.counters->incomplete_steps;
  if (group_ != nullptr) group_->Leave(ticket_);
  if (stream_ != 0) environment_.runs->Close(stream_);
}

std::optional<WorkerPool::Length> RunSession::WorkOf(const v1::StreamRunRequest& request) const {
  if (!request.has_step_end() || !step_) return std::nullopt;
  if (step_->has_activations || declaration_->has_spectra) return WorkerPool::Length::kLong;
  if (!declaration_->symmetries.empty() || declaration_->world_size > 1) {
    return WorkerPool::Length::kShort;
  }
  return std::nullopt;
}

absl::Status RunSession::Receive(const v1::StreamRunRequest& request,
                                 std::vector<v1::StreamRunResponse>* responses) {
  if (request.message_case() == v1::StreamRunRequest::MESSAGE_NOT_SET) {
    return absl::InvalidArgumentError("message: must be set");
  }
  if (request.has_run_spec()) return ReceiveRunSpec(request.run_spec(), responses);
  if (!declaration_) {
    return absl::InvalidArgumentError("run_spec: must be the first message of a stream");
  }
  switch (request.message_case()) {
    case v1::StreamRunRequest::kStepBegin:
      return ReceiveStepBegin(request.step_begin());
    case v1::StreamRunRequest::kChunk:
      return ReceiveChunk(request.chunk());
    case v1::StreamRunRequest::kStepEnd:
      return ReceiveStepEnd(request.step_end(), responses);
    default:
      if (!step_) return absl::InvalidArgumentError("statistics: no step is open");
      return step_->intake.AddStatistics(request.statistics());
  }
}

absl::Status RunSession::ReceiveRunSpec(const v1::RunSpec& spec,
                                        std::vector<v1::StreamRunResponse>* responses) {
  if (declaration_) {
    return absl::InvalidArgumentError("run_spec: a stream declares its run once");
  }
  absl::StatusOr<RunDeclaration> declaration = CheckRunSpec(spec, environment_.limits);
  if (!declaration.ok()) return declaration.status();
  declaration->run.tenant = tenant_;
  const uint64_t bytes = RunBytes(spec, *declaration);
  const std::string need = absl::StrCat(
      "run_spec.reporting.window_steps: windows of ", declaration->window_steps, " steps of ",
      declaration->parameters.size(), " parameters need ", bytes, " bytes");
  if (bytes > environment_.limits.max_stream_bytes) {
    return LimitExceeded(Limit::max_stream_bytes, environment_.limits, need);
  }
  if (!run_memory_.Take(bytes)) {
    return LimitExceeded(environment_.admission->memory_limit(bytes), need);
  }
  group_ = environment_.ranks->Find(*declaration);
  if (group_ == nullptr) {
    return absl::InvalidArgumentError(
        "run_spec: differs from what the live ranks of the run declared, in more than rank, "
        "resume_after_step and shards");
  }
  stream_ = environment_.runs->Open(
      declaration->run, declaration->rank, declaration->world_size, std::move(supersede_),
      [deliver = deliver_](const Cadence& c) { deliver({CadenceResponse(c)}); },
      LimitUsesOf(*declaration));
  if (stream_ == 0) {
    return LimitExceeded(Limit::max_runs, environment_.limits, "run_spec.run: so many are live");
  }
  declaration_ = *std::move(declaration);
  last_step_ = declaration_->resume_after_step;
  representations_.emplace(*declaration_, environment_.limits, environment_.admission,
                           environment_.probes);
  ticket_ = group_->Enter(*declaration_);
  responses->push_back(RunAccepted(environment_.limits, declaration_->window_steps));
  for (const std::string& text : declaration_->notices) {
    Tell({AnalysisNotice::Kind::kDropped, text, Limit::max_spectrum_rows}, std::nullopt, responses);
  }
  return absl::OkStatus();
}

absl::Status RunSession::ReceiveStepBegin(const v1::StepBegin& begin) {
  if (step_) {
    return absl::InvalidArgumentError(
        absl::StrCat("step_begin: step ", step_->number, " is still open"));
  }
  if (last_step_ && begin.step() <= *last_step_) {
    return absl::InvalidArgumentError(
        absl::StrCat("step_begin.step: ", begin.step(), " does not come after ", *last_step_));
  }
  absl::Status status = CheckNumber("learning_rate", begin.learning_rate(), false);
  if (status.ok()) status = CheckNumber("weight_decay", begin.weight_decay(), false);
  if (status.ok()) status = CheckNumber("loss_scale", begin.loss_scale(), false);
  if (!status.ok()) return status;
  if (begin.microbatch_size() == 0) {
    return absl::InvalidArgumentError("step_begin.microbatch_size: must be at least 1");
  }
  StepSettings settings;
  settings.context = {.step = begin.step(),
                      .learning_rate = begin.learning_rate(),
                      .weight_decay = begin.weight_decay()};
  if (begin.has_loss()) settings.loss = begin.loss();
  settings.microbatches = std::max(begin.microbatches(), 1u);
  settings.microbatch_size = static_cast<double>(begin.microbatch_size());
  settings.reduced_batch_size = static_cast<double>(begin.reduced_batch_size());
  for (const v1::GroupStep& group : begin.groups()) {
    const bool is_declared =
        std::any_of(declaration_->parameters.begin(), declaration_->parameters.end(),
                    [&](const DeclaredParameter& p) { return p.group == group.group(); });
    if (group.group().empty() || !is_declared) {
      return absl::InvalidArgumentError("step_begin.groups: names no group of run_spec.parameters");
    }
    status = CheckNumber("groups.learning_rate", group.learning_rate(), false);
    if (status.ok()) status = CheckNumber("groups.weight_decay", group.weight_decay(), false);
    if (!status.ok()) return status;
    settings.groups[group.group()] = {.learning_rate = group.learning_rate(),
                                      .weight_decay = group.weight_decay()};
  }
  const double loss_scale = begin.loss_scale() == 0 ? 1 : begin.loss_scale();
  step_.emplace(Step{.number = begin.step(),
                     .intake = StepIntake(*declaration_, environment_.limits,
                                          environment_.admission, std::move(settings), loss_scale),
                     .layers = std::vector<LayerStep>(declaration_->layers.size())});
  return absl::OkStatus();
}

absl::Status RunSession::ReceiveChunk(const v1::TensorChunk& chunk) {
  if (!step_) return absl::InvalidArgumentError("chunk: no step is open");
  if (chunk.data().size() > environment_.limits.max_chunk_bytes) {
    return LimitExceeded(Limit::max_chunk_bytes, environment_.limits,
                         absl::StrCat("chunk.data: ", chunk.data().size(), " bytes"));
  }
  absl::StatusOr<Elements> elements = Decode(chunk.data_type(), chunk.data());
  if (!elements.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("chunk.", elements.status().message()));
  }
  if (elements->count == 0) return absl::InvalidArgumentError("chunk.data: must not be empty");
  ++environment_.counters->chunks;
  if (chunk.kind() == v1::TENSOR_KIND_ACTIVATION ||
      chunk.kind() == v1::TENSOR_KIND_ACTIVATION_GRADIENT) {
    return ReceiveActivations(chunk, *elements);
  }
  return step_->intake.AddTensor(chunk, *elements);
}

absl::Status RunSession::ReceiveActivations(const v1::TensorChunk& chunk,
                                            const Elements& elements) {
  const auto found = declaration_->layer_of_id.find(chunk.tensor_id());
  if (found == declaration_->layer_of_id.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("chunk.tensor_id: ", chunk.tensor_id(), " is no declared layer"));
  }
  const DeclaredLayer& layer = declaration_->layers[found->second];
  const bool is_gradient = chunk.kind() == v1::TENSOR_KIND_ACTIVATION_GRADIENT;
  LayerStep& layer_step = step_->layers[found->second];
  LayerTensor& state = is_gradient ? layer_step.gradient : layer_step.activations;
  if (absl::Status status = CheckType(layer.name, chunk, &state.type); !status.ok()) return status;
  if (chunk.shape_size() == 0) {
    return absl::InvalidArgumentError("chunk.shape: required for activations, samples first");
  }
  const uint64_t samples = chunk.shape(0);
  uint64_t width = 1;
  for (int i = 1; i < chunk.shape_size(); ++i) {
    const uint64_t extent = chunk.shape(i);
    width = extent == 0 || width > layer.width / extent ? 0 : width * extent;
  }
  if (width != layer.width || samples == 0) {
    return absl::InvalidArgumentError(absl::StrCat("chunk.shape: [",
                                                   absl::StrJoin(chunk.shape(), ","), "] for '",
                                                   layer.name, "' of width ", layer.width));
  }
  if (!state.received) {
    state.received = LayerActivations{};
    state.received->layer = found->second;
  }
  LayerActivations& activations = *state.received;
  const uint64_t batches = layer.probe_set ? 1 : step_->intake.rank().settings.microbatches;
  const bool starts = state.next_element == 0;
  const size_t batch = activations.batch_rows.size() - (starts ? 0 : 1);
  if (chunk.microbatch() >= batches || activations.complete) {
    return absl::InvalidArgumentError(absl::StrCat("chunk.microbatch: ", chunk.microbatch(),
                                                   " of '", layer.name, "', which has ", batches));
  }
  if (chunk.microbatch() != batch || chunk.offset() != state.next_element) {
    return OutOfOrder(layer.name, chunk, batch, state.next_element);
  }
  if (starts) {
    const uint64_t rows = activations.values.size() / layer.width + samples;
    if (layer.probe_set && samples != declaration_->probe_sets[*layer.probe_set].samples) {
      return absl::InvalidArgumentError(absl::StrCat(
          "chunk.shape: ", samples, " samples of '", layer.name, "', its probe set has ",
          declaration_->probe_sets[*layer.probe_set].samples));
    }
    if (samples > environment_.limits.max_samples || rows > environment_.limits.max_samples) {
      return LimitExceeded(Limit::max_samples, environment_.limits,
                           absl::StrCat("chunk.shape: ", rows, " samples of '", layer.name, "'"));
    }
    // The values and what will be made of them, the microbatches' Gram matrices included.
    uint64_t bytes = samples * layer.width * sizeof(double);
    if (!is_gradient) {
      bytes += samples * samples * sizeof(double);
      const uint64_t taken =
          rows == samples
              ? 0
              : metrics::PreparationBytes(rows - samples, layer.width, declaration_->similarity);
      bytes += metrics::PreparationBytes(rows, layer.width, declaration_->similarity) - taken;
    }
    if (absl::Status status = step_->intake.TakeMemory(bytes); !status.ok()) {
      return status;
    }
    activations.batch_rows.push_back(samples);
    activations.values.reserve(rows * layer.width);
  } else if (samples != activations.batch_rows.back()) {
    return absl::InvalidArgumentError(absl::StrCat("chunk.shape: ", samples, " samples of '",
                                                   layer.name, "', the chunk before had ",
                                                   activations.batch_rows.back()));
  }
  const size_t batch_elements = activations.batch_rows.back() * layer.width;
  if (absl::Status status = CheckSize(layer.name, chunk.offset(), elements.count, batch_elements);
      !status.ok()) {
    return status;
  }
  const size_t end = activations.values.size();
  activations.values.resize(end + elements.count);
  kernels::Moments moments;
  kernels::AddMomentsAndSet(elements, 0, 1, &moments, activations.values.data() + end);
  activations.non_finite.Merge({.nans = moments.nans, .infinities = moments.infinities});
  state.next_element += elements.count;
  if (state.next_element == batch_elements) {
    state.next_element = 0;
    activations.complete = activations.batch_rows.size() == batches;
  }
  step_->has_activations = true;
  return absl::OkStatus();
}

absl::Status RunSession::ReceiveStepEnd(const v1::StepEnd& end,
                                        std::vector<v1::StreamRunResponse>* responses) {
  if (!step_) return absl::InvalidArgumentError("step_end: no step is open");
  if (end.step() != step_->number) {
    return absl::InvalidArgumentError(
        absl::StrCat("step_end.step: ", end.step(), ", but step ", step_->number, " is open"));
  }
  const auto start = std::chrono::steady_clock::now();
  const auto figures = std::make_shared<Figures>();
  CountNonFinite(responses);
  if (absl::Status status = AnalyzeRepresentations(figures.get(), responses); !status.ok()) {
    return status;
  }
  CountUndefined(*figures, environment_.counters);
  last_step_ = end.step();
  RankStep rank = step_->intake.TakeRank();
  const uint64_t memory_bytes = run_memory_.bytes() + rank.memory->bytes();
  step_.reset();
  const bool is_reported = steps_++ % declaration_->report_every_steps == 0;
  // Later than now it runs on another thread, so it takes along all that it needs.
  const auto complete = [environment = environment_, stream = stream_, step = end.step(), figures,
                         non_finite = non_finite_, is_reported,
                         memory_bytes](const RunFigures& run_figures) {
    std::vector<v1::StreamRunResponse> answers;
    if (!environment.runs->Publish(stream, step, figures, run_figures, non_finite, memory_bytes)) {
      CountRefusal(environment.admission->memory_limit(0).first, environment.counters);
    }
    ++environment.counters->steps;
    if (is_reported) {
      v1::StepReport* report = answers.emplace_back().mutable_step_report();
      report->set_step(step);
      WriteFigures(*run_figures, report);
      WriteFigures(*figures, report);
    }
    answers.push_back(Acknowledgement(step));
    return answers;
  };
  const RunFigures run_figures = group_->EndStep(
      ticket_, std::move(rank), [complete, deliver = deliver_](const RunFigures& run_figures) {
        deliver(complete(run_figures));
      });
  if (run_figures != nullptr) {
    for (v1::StreamRunResponse& answer : complete(run_figures)) {
      responses->push_back(std::move(answer));
    }
  }
  environment_.counters->analysis_nanoseconds += static_cast<uint64_t>(
      std::chrono::nanoseconds(std::chrono::steady_clock::now() - start).count());
  return absl::OkStatus();
}

void RunSession::CountNonFinite(std::vector<v1::StreamRunResponse>* responses) {
  const auto count = [&](const std::string& name, const char* what,
                         const statistics::NonFinite& found) {
    if (!found.any()) return;
    non_finite_[name].Merge(found);
    responses->push_back(
        Notice({AnalysisNotice::Kind::kNonFinite,
                absl::StrCat("The ", what, " of '", name, "' hold ", found.nans, " NaN and ",
                             found.infinities, " infinite elements.")},
               step_->number));
  };
  for (size_t i = 0; i < step_->intake.rank().parameters.size(); ++i) {
    const ParameterPart& part = step_->intake.rank().parameters[i];
    const std::string& name = declaration_->parameters[i].name;
    if (part.gradient) count(name, "gradients", part.gradient->non_finite());
    if (part.sums) count(name, "tensors behind the sums", part.sums->non_finite);
    for (const auto& [what, tensor] :
         {std::pair{"weights", &part.weight}, std::pair{"updates", &part.update},
          std::pair{"preconditioners", &part.preconditioner},
          std::pair{"gradients after the update", &part.gradient_after_update},
          std::pair{"reduced gradients", &part.reduced_gradient}}) {
      if (*tensor) count(name, what, (*tensor)->non_finite());
    }
  }
  for (size_t i = 0; i < step_->layers.size(); ++i) {
    const LayerStep& state = step_->layers[i];
    const std::string& name = declaration_->layers[i].name;
    if (state.activations.received) {
      count(name, "activations", state.activations.received->non_finite);
    }
    if (state.gradient.received) {
      count(name, "activation gradients", state.gradient.received->non_finite);
    }
  }
}

absl::Status RunSession::AnalyzeRepresentations(Figures* figures,
                                                std::vector<v1::StreamRunResponse>* responses) {
  std::vector<LayerActivations> layers;
  for (size_t i = 0; i < step_->layers.size(); ++i) {
    LayerStep& state = step_->layers[i];
    if (!state.activations.received && !state.gradient.received) continue;
    // Gradients alone make a layer whose activations are missing.
    LayerActivations& layer = layers.emplace_back();
    layer.layer = i;
    if (state.activations.received) layer = *std::move(state.activations.received);
    if (state.gradient.received) {
      layer.gradient =
          std::make_shared<const LayerActivations>(*std::move(state.gradient.received));
    }
  }
  const double seconds = representations_->CpuSeconds(layers);
  if (seconds > static_cast<double>(environment_.limits.max_request_cpu_seconds)) {
    return LimitExceeded(
        Limit::max_request_cpu_seconds, environment_.limits,
        absl::StrCat("step_end: the similarities of ", layers.size(), " layers would take about ",
                     std::ceil(seconds), " s of CPU time"));
  }
  std::vector<TensorElements> weights(declaration_->parameters.size());
  for (size_t i = 0; i < weights.size(); ++i) {
    // A shard is not a layer's weight.
    const auto& weight = step_->intake.rank().parameters[i].weight;
    const DeclaredParameter& parameter = declaration_->parameters[i];
    if (!parameter.in_alignment || parameter.shard_elements != parameter.elements || !weight ||
        !weight->complete()) {
      continue;
    }
    weights[i].undefined = std::nullopt;
    if (weight->non_finite().any()) weights[i].undefined = metrics::Undefined::kNonFiniteInput;
    weights[i].values = weight->values();
  }
  std::vector<AnalysisNotice> notices;
  representations_->AddStep(layers, weights, figures, &notices);
  for (AnalysisNotice& notice : notices) Tell(std::move(notice), step_->number, responses);
  return absl::OkStatus();
}

void RunSession::Tell(AnalysisNotice notice, std::optional<uint64_t> step,
                      std::vector<v1::StreamRunResponse>* responses) const {
  if (notice.limit) CountRefusal(*notice.limit, environment_.counters);
  responses->push_back(Notice(std::move(notice), step));
}

}  // namespace thermograd::service
