#include "service/run_session.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "service/messages.h"
#include "service/symmetry_declaration.h"

namespace thermograd::service {
namespace {

using metrics::Figures;

absl::Status OutOfOrder(const std::string& name, const v1::TensorChunk& chunk, uint64_t microbatch,
                        size_t offset) {
  return absl::InvalidArgumentError(absl::StrCat(
      "chunk.offset: '", name, "' continues at element ", offset, " of microbatch ", microbatch,
      ", not at element ", chunk.offset(), " of microbatch ", chunk.microbatch()));
}

absl::Status CheckSize(const std::string& name, size_t offset, size_t count, size_t elements) {
  if (count <= elements - offset) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("chunk.data: ends at element ", offset + count,
                                                 " of '", name, "', which has ", elements));
}

// One element type for all chunks of a tensor in a step.
absl::Status CheckType(const std::string& name, const v1::TensorChunk& chunk, v1::DataType* type) {
  if (*type == v1::DATA_TYPE_UNSPECIFIED) *type = chunk.data_type();
  if (*type == chunk.data_type()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("chunk.data_type: '", name, "' came as ",
                                                 v1::DataType_Name(*type), " and now as ",
                                                 v1::DataType_Name(chunk.data_type())));
}

absl::Status CheckNumber(const char* field, double value, bool positive) {
  if (std::isfinite(value) && (positive ? value > 0 : value >= 0)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("step_begin.", field, ": ", value, " is not a ",
                                                 positive ? "positive" : "non-negative",
                                                 " number"));
}

// True for gradients, weights, and what the run declared.
bool IsParameterKind(const RunDeclaration& declaration, v1::TensorKind kind) {
  switch (kind) {
    case v1::TENSOR_KIND_GRADIENT:
    case v1::TENSOR_KIND_WEIGHT:
      return true;
    case v1::TENSOR_KIND_UPDATE:
      return declaration.sends_updates;
    case v1::TENSOR_KIND_PRECONDITIONER:
      return declaration.sends_preconditioners;
    case v1::TENSOR_KIND_GRADIENT_AFTER_UPDATE:
      return declaration.sends_gradients_after_update;
    case v1::TENSOR_KIND_REDUCED_GRADIENT:
      return declaration.sends_reduced_gradients;
    default:
      return false;
  }
}

}  // namespace

RunSession::RunSession(const Environment& environment, std::function<void()> supersede,
                       Deliver deliver)
    : environment_(environment),
      supersede_(std::move(supersede)),
      deliver_(std::move(deliver)),
      run_memory_(environment.admission) {}

RunSession::~RunSession() {
  if (step_) ++environment_.counters->incomplete_steps;
  if (group_ != nullptr) group_->Leave(ticket_);
  if (stream_ != 0) environment_.runs->Close(stream_);
}

bool RunSession::IsHeavy(const v1::StreamRunRequest& request) const {
  return request.has_step_end() && step_ &&
         (step_->has_activations || !declaration_->symmetries.empty() ||
          declaration_->world_size > 1);
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
      return absl::UnimplementedError("statistics: sums made by the trainer are not served yet");
  }
}

absl::Status RunSession::ReceiveRunSpec(const v1::RunSpec& spec,
                                        std::vector<v1::StreamRunResponse>* responses) {
  if (declaration_) {
    return absl::InvalidArgumentError("run_spec: a stream declares its run once");
  }
  absl::StatusOr<RunDeclaration> declaration = CheckRunSpec(spec, environment_.limits);
  if (!declaration.ok()) return declaration.status();
  const uint64_t window_bytes = metrics::EntropicForces::WindowBytes(declaration->parameters.size(),
                                                                     declaration->window_steps) +
                                SymmetryBytes(declaration->symmetries);
  if (window_bytes > environment_.limits.max_stream_bytes || !run_memory_.Take(window_bytes)) {
    return absl::ResourceExhaustedError(
        absl::StrCat("run_spec.reporting.window_steps: windows of ", declaration->window_steps,
                     " steps of ", declaration->parameters.size(), " parameters need ",
                     window_bytes, " bytes, more than max_stream_bytes or max_memory_bytes leave"));
  }
  group_ = environment_.ranks->Find(*declaration);
  if (group_ == nullptr) {
    return absl::InvalidArgumentError(
        "run_spec: differs from what the live ranks of the run declared, in more than rank, "
        "resume_after_step and shards");
  }
  declaration_ = *std::move(declaration);
  last_step_ = declaration_->resume_after_step;
  representations_.emplace(*declaration_, environment_.limits, environment_.admission,
                           environment_.probes);
  ticket_ = group_->Enter(*declaration_);
  stream_ = environment_.runs->Open(declaration_->run, declaration_->rank, declaration_->world_size,
                                    std::move(supersede_));
  responses->push_back(RunAccepted(environment_.limits, declaration_->window_steps));
  for (const std::string& text : declaration_->notices) {
    responses->push_back(Notice({AnalysisNotice::Kind::kDropped, text}, std::nullopt));
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
  Step step;
  step.number = begin.step();
  step.microbatches = std::max(begin.microbatches(), 1u);
  step.loss_scale = begin.loss_scale() == 0 ? 1 : begin.loss_scale();
  StepSettings& settings = step.rank.settings;
  settings.context = {.step = begin.step(),
                      .learning_rate = begin.learning_rate(),
                      .weight_decay = begin.weight_decay()};
  if (begin.has_loss()) settings.loss = begin.loss();
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
  step.rank.parameters.resize(declaration_->parameters.size());
  step.rank.memory = std::make_shared<Reservation>(environment_.admission);
  step.types.resize(declaration_->parameters.size());
  step.layers.resize(declaration_->layers.size());
  step_ = std::move(step);
  return absl::OkStatus();
}

absl::Status RunSession::TakeMemory(uint64_t bytes) {
  Reservation& memory = *step_->rank.memory;
  if (bytes > environment_.limits.max_stream_bytes - memory.bytes()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("chunk: the open step needs more than max_stream_bytes = ",
                     environment_.limits.max_stream_bytes, " bytes"));
  }
  if (memory.Take(bytes)) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("chunk: all streams together need more than max_memory_bytes = ",
                   environment_.admission->max_bytes(), " bytes"));
}

absl::StatusOr<size_t> RunSession::ParameterOf(const v1::TensorChunk& chunk) const {
  const auto found = declaration_->parameter_of_id.find(chunk.tensor_id());
  if (found == declaration_->parameter_of_id.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("chunk.tensor_id: ", chunk.tensor_id(), " is no declared parameter"));
  }
  const DeclaredParameter& parameter = declaration_->parameters[found->second];
  const std::vector<uint64_t>& shape = parameter.shard.shape;
  if (chunk.shape_size() > 0 &&
      !std::equal(chunk.shape().begin(), chunk.shape().end(), shape.begin(), shape.end())) {
    return absl::InvalidArgumentError(
        absl::StrCat("chunk.shape: [", absl::StrJoin(chunk.shape(), ","), "] for '", parameter.name,
                     "', declared as [", absl::StrJoin(shape, ","), "]"));
  }
  return found->second;
}

absl::Status RunSession::ReceiveChunk(const v1::TensorChunk& chunk) {
  if (!step_) return absl::InvalidArgumentError("chunk: no step is open");
  if (chunk.data().size() > environment_.limits.max_chunk_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat("chunk.data: ", chunk.data().size(),
                                                     " bytes, the limit max_chunk_bytes is ",
                                                     environment_.limits.max_chunk_bytes));
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
  if (!IsParameterKind(*declaration_, chunk.kind())) {
    return absl::InvalidArgumentError(absl::StrCat(
        "chunk.kind: ",
        v1::TensorKind_IsValid(chunk.kind()) ? v1::TensorKind_Name(chunk.kind())
                                             : absl::StrCat(static_cast<int>(chunk.kind())),
        " is none of GRADIENT, WEIGHT, ACTIVATION, ACTIVATION_GRADIENT and "
        "run_spec.parameter_kinds"));
  }
  const absl::StatusOr<size_t> parameter = ParameterOf(chunk);
  if (!parameter.ok()) return parameter.status();
  const std::string& name = declaration_->parameters[*parameter].name;
  v1::DataType* type = &step_->types[*parameter][static_cast<size_t>(chunk.kind())];
  if (absl::Status status = CheckType(name, chunk, type); !status.ok()) return status;
  if (chunk.kind() == v1::TENSOR_KIND_GRADIENT) {
    return ReceiveGradient(chunk, *parameter, *elements);
  }
  return ReceiveTensor(chunk, *parameter, *elements);
}

absl::Status RunSession::ReceiveGradient(const v1::TensorChunk& chunk, size_t index,
                                         const Elements& elements) {
  const DeclaredParameter& parameter = declaration_->parameters[index];
  auto& gradient = step_->rank.parameters[index].gradient;
  const uint32_t microbatches = step_->microbatches;
  if (!gradient) {
    using statistics::SumUse;
    SumUse use = SumUse::kNorm;
    if (declaration_->sends_reduced_gradients) {
      use = SumUse::kNone;
    } else if (TensorsToKeep(*declaration_, parameter).gradient ||
               (declaration_->world_size > 1 && !declaration_->gradients_are_reduced)) {
      use = SumUse::kVector;
    }
    statistics::VectorMemory memory;
    if (statistics::GradientAccumulator::NeedsMemory(microbatches, use)) {
      if (absl::Status status = TakeMemory(parameter.shard_elements * sizeof(double));
          !status.ok()) {
        return status;
      }
      memory = environment_.admission->LendVector(parameter.shard_elements);
    }
    gradient.emplace(parameter.shard_elements, microbatches, use, 1 / step_->loss_scale,
                     std::move(memory));
  }
  if (chunk.microbatch() >= microbatches || gradient->complete()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "chunk.microbatch: ", chunk.microbatch(), " of '", parameter.name, "', the step has ",
        microbatches, gradient->complete() ? " and all were sent" : ""));
  }
  if (chunk.microbatch() != gradient->microbatch() || chunk.offset() != gradient->next_element()) {
    return OutOfOrder(parameter.name, chunk, gradient->microbatch(), gradient->next_element());
  }
  if (absl::Status status =
          CheckSize(parameter.name, chunk.offset(), elements.count, parameter.shard_elements);
      !status.ok()) {
    return status;
  }
  gradient->Add(elements, chunk.offset());
  return absl::OkStatus();
}

absl::Status RunSession::ReceiveTensor(const v1::TensorChunk& chunk, size_t index,
                                       const Elements& elements) {
  const DeclaredParameter& parameter = declaration_->parameters[index];
  const KeptTensors keep = TensorsToKeep(*declaration_, parameter);
  ParameterPart& part = step_->rank.parameters[index];
  std::optional<statistics::TensorAccumulator>* tensor = nullptr;
  bool keep_values = true;
  double factor = 1;
  switch (chunk.kind()) {
    case v1::TENSOR_KIND_WEIGHT:
      tensor = &part.weight;
      keep_values = keep.weight;
      break;
    case v1::TENSOR_KIND_UPDATE:
      tensor = &part.update;
      break;
    case v1::TENSOR_KIND_PRECONDITIONER:
      tensor = &part.preconditioner;
      break;
    case v1::TENSOR_KIND_GRADIENT_AFTER_UPDATE:
      tensor = &part.gradient_after_update;
      factor = 1 / step_->loss_scale;
      break;
    default:
      tensor = &part.reduced_gradient;
      keep_values = keep.gradient;
      factor = 1 / step_->loss_scale;
  }
  if (!*tensor) {
    // A layer's analysis works on copies of its weights: as they are, transposed and scaled.
    const bool is_aligned = chunk.kind() == v1::TENSOR_KIND_WEIGHT && parameter.in_alignment;
    const uint64_t copies = (keep_values ? 1u : 0u) + (is_aligned ? 3u : 0u);
    if (absl::Status status = TakeMemory(copies * parameter.shard_elements * sizeof(double));
        !status.ok()) {
      return status;
    }
    tensor->emplace(parameter.shard_elements, keep_values, factor);
  }
  if (chunk.microbatch() != 0) {
    return absl::InvalidArgumentError("chunk.microbatch: must be 0 except for gradients");
  }
  if ((*tensor)->complete() || chunk.offset() != (*tensor)->next_element()) {
    return OutOfOrder(parameter.name, chunk, 0, (*tensor)->next_element());
  }
  if (absl::Status status =
          CheckSize(parameter.name, chunk.offset(), elements.count, parameter.shard_elements);
      !status.ok()) {
    return status;
  }
  (*tensor)->Add(elements, chunk.offset());
  return absl::OkStatus();
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
  const uint32_t batches = layer.probe_set ? 1 : step_->microbatches;
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
      return absl::ResourceExhaustedError(absl::StrCat("chunk.shape: ", rows, " samples of '",
                                                       layer.name, "', the limit max_samples is ",
                                                       environment_.limits.max_samples));
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
    if (absl::Status status = TakeMemory(bytes); !status.ok()) {
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
  AnalyzeRepresentations(figures.get(), responses);
  CountUndefined(*figures, environment_.counters);
  last_step_ = end.step();
  RankStep rank = std::move(step_->rank);
  step_.reset();
  const bool is_reported = steps_++ % declaration_->report_every_steps == 0;
  // Later than now it runs on another thread, so it takes along all that it needs.
  const auto complete = [environment = environment_, stream = stream_, step = end.step(), figures,
                         non_finite = non_finite_, is_reported](const RunFigures& run_figures) {
    std::vector<v1::StreamRunResponse> answers;
    environment.runs->Publish(stream, step, figures, run_figures, non_finite);
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
  for (size_t i = 0; i < step_->rank.parameters.size(); ++i) {
    const ParameterPart& part = step_->rank.parameters[i];
    const std::string& name = declaration_->parameters[i].name;
    if (part.gradient) count(name, "gradients", part.gradient->non_finite());
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

void RunSession::AnalyzeRepresentations(Figures* figures,
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
  std::vector<TensorElements> weights(declaration_->parameters.size());
  for (size_t i = 0; i < weights.size(); ++i) {
    // A shard is not a layer's weight.
    const auto& weight = step_->rank.parameters[i].weight;
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
  for (AnalysisNotice& notice : notices) {
    responses->push_back(Notice(std::move(notice), step_->number));
  }
}

}  // namespace thermograd::service
