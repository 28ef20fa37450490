#include "service/run_session.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "service/messages.h"

namespace thermograd::service {
namespace {

using metrics::Figures;
using metrics::Undefined;

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

template <typename T>
void CountNonFiniteOf(std::span<const T> values, statistics::NonFinite* counts) {
  kernels::Moments moments;
  kernels::AddMoments(values.data(), values.size(), 0, &moments);
  counts->Merge({.nans = moments.nans, .infinities = moments.infinities});
}

std::optional<Undefined> UndefinedIf(const statistics::NonFinite& counts) {
  if (counts.any()) return Undefined::kNonFiniteInput;
  return std::nullopt;
}

}  // namespace

RunSession::RunSession(const Environment& environment, std::function<void()> supersede)
    : environment_(environment),
      supersede_(std::move(supersede)),
      step_memory_(environment.admission) {}

RunSession::~RunSession() {
  if (step_) ++environment_.counters->incomplete_steps;
  if (stream_ != 0) environment_.runs->Close(stream_);
}

bool RunSession::IsHeavy(const v1::StreamRunRequest& request) const {
  return request.has_step_end() && step_ && step_->has_activations;
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
      return absl::UnimplementedError(
          "statistics: sums made by the trainer are served from protocol revision 2 on");
  }
}

absl::Status RunSession::ReceiveRunSpec(const v1::RunSpec& spec,
                                        std::vector<v1::StreamRunResponse>* responses) {
  if (declaration_) {
    return absl::InvalidArgumentError("run_spec: a stream declares its run once");
  }
  absl::StatusOr<RunDeclaration> declaration = CheckRunSpec(spec, environment_.limits);
  if (!declaration.ok()) return declaration.status();
  declaration_ = *std::move(declaration);
  last_step_ = declaration_->resume_after_step;
  parameter_windows_.assign(declaration_->parameters.size(),
                            statistics::Window<metrics::GradientStep>(declaration_->window_steps));
  run_window_.emplace(declaration_->window_steps);
  symmetries_.emplace(*declaration_);
  representations_.emplace(*declaration_, environment_.limits, environment_.admission,
                           environment_.probes);
  stream_ = environment_.runs->Open(declaration_->run, declaration_->rank, declaration_->world_size,
                                    std::move(supersede_));
  responses->push_back(RunAccepted(environment_.limits, declaration_->window_steps));
  return absl::OkStatus();
}

absl::Status RunSession::ReceiveStepBegin(const v1::StepBegin& begin) {
  if (step_) {
    return absl::InvalidArgumentError(
        absl::StrCat("step_begin: step ", step_->begin.step(), " is still open"));
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
  step.begin = begin;
  if (begin.microbatches() == 0) step.begin.set_microbatches(1);
  if (begin.loss_scale() == 0) step.begin.set_loss_scale(1);
  step.parameters.resize(declaration_->parameters.size());
  step.layers.resize(declaration_->layers.size());
  step_ = std::move(step);
  return absl::OkStatus();
}

absl::Status RunSession::TakeMemory(uint64_t bytes) {
  if (bytes > environment_.limits.max_stream_bytes - step_memory_.bytes()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("chunk: the open step needs more than max_stream_bytes = ",
                     environment_.limits.max_stream_bytes, " bytes"));
  }
  if (step_memory_.Take(bytes)) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("chunk: the server's memory budget of ",
                                                   environment_.admission->max_bytes(),
                                                   " bytes for all streams is used up"));
}

absl::StatusOr<size_t> RunSession::ParameterOf(const v1::TensorChunk& chunk) const {
  const auto found = declaration_->parameter_of_id.find(chunk.tensor_id());
  if (found == declaration_->parameter_of_id.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("chunk.tensor_id: ", chunk.tensor_id(), " is no declared parameter"));
  }
  const DeclaredParameter& parameter = declaration_->parameters[found->second];
  if (chunk.shape_size() > 0 && !std::equal(chunk.shape().begin(), chunk.shape().end(),
                                            parameter.shape.begin(), parameter.shape.end())) {
    return absl::InvalidArgumentError(
        absl::StrCat("chunk.shape: [", absl::StrJoin(chunk.shape(), ","), "] for '", parameter.name,
                     "', declared as [", absl::StrJoin(parameter.shape, ","), "]"));
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
  absl::StatusOr<Elements> elements = decoder_.Decode(chunk.data_type(), chunk.data());
  if (!elements.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("chunk.", elements.status().message()));
  }
  if (elements->size() == 0) return absl::InvalidArgumentError("chunk.data: must not be empty");
  ++environment_.counters->chunks;
  switch (chunk.kind()) {
    case v1::TENSOR_KIND_GRADIENT:
      return ReceiveGradient(chunk, *elements);
    case v1::TENSOR_KIND_WEIGHT:
      return ReceiveWeight(chunk, *elements);
    case v1::TENSOR_KIND_ACTIVATION:
    case v1::TENSOR_KIND_ACTIVATION_GRADIENT:
      return ReceiveActivations(chunk, *elements);
    default:
      return absl::InvalidArgumentError(absl::StrCat("chunk.kind: ", chunk.kind(),
                                                     " is none of GRADIENT, WEIGHT, ACTIVATION, ",
                                                     "ACTIVATION_GRADIENT"));
  }
}

absl::Status RunSession::ReceiveGradient(const v1::TensorChunk& chunk, const Elements& elements) {
  const absl::StatusOr<size_t> index = ParameterOf(chunk);
  if (!index.ok()) return index.status();
  const DeclaredParameter& parameter = declaration_->parameters[*index];
  ParameterStep& state = step_->parameters[*index];
  if (absl::Status status = CheckType(parameter.name, chunk, &state.gradient_type); !status.ok()) {
    return status;
  }
  const uint32_t microbatches = step_->begin.microbatches();
  if (!state.gradient) {
    const bool keep_sum = parameter.in_symmetry || microbatches > 1;
    if (absl::Status status = TakeMemory(keep_sum ? parameter.elements * sizeof(double) : 0);
        !status.ok()) {
      return status;
    }
    state.gradient.emplace(parameter.elements, microbatches, parameter.in_symmetry,
                           1 / step_->begin.loss_scale());
  }
  if (chunk.microbatch() >= microbatches || state.gradient->complete()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "chunk.microbatch: ", chunk.microbatch(), " of '", parameter.name, "', the step has ",
        microbatches, state.gradient->complete() ? " and all were sent" : ""));
  }
  if (chunk.microbatch() != state.gradient->microbatch() ||
      chunk.offset() != state.gradient->next_element()) {
    return OutOfOrder(parameter.name, chunk, state.gradient->microbatch(),
                      state.gradient->next_element());
  }
  if (absl::Status status =
          CheckSize(parameter.name, chunk.offset(), elements.size(), parameter.elements);
      !status.ok()) {
    return status;
  }
  if (elements.is_double) {
    state.gradient->Add(elements.doubles, chunk.offset());
  } else {
    state.gradient->Add(elements.floats, chunk.offset());
  }
  return absl::OkStatus();
}

absl::Status RunSession::ReceiveWeight(const v1::TensorChunk& chunk, const Elements& elements) {
  const absl::StatusOr<size_t> index = ParameterOf(chunk);
  if (!index.ok()) return index.status();
  const DeclaredParameter& parameter = declaration_->parameters[*index];
  ParameterStep& state = step_->parameters[*index];
  if (absl::Status status = CheckType(parameter.name, chunk, &state.weight_type); !status.ok()) {
    return status;
  }
  if (!state.weight) {
    const bool keep = parameter.in_symmetry || parameter.in_alignment;
    // A layer's analysis works on copies: as it is, transposed and scaled.
    const uint64_t copies = (keep ? 1 : 0) + (parameter.in_alignment ? 3 : 0);
    if (absl::Status status = TakeMemory(copies * parameter.elements * sizeof(double));
        !status.ok()) {
      return status;
    }
    state.weight = Weight{};
    if (keep) state.weight->values.resize(parameter.elements);
  }
  Weight& weight = *state.weight;
  if (chunk.microbatch() != 0) {
    return absl::InvalidArgumentError("chunk.microbatch: must be 0 for weights");
  }
  if (weight.complete || chunk.offset() != weight.next_element) {
    return OutOfOrder(parameter.name, chunk, 0, weight.next_element);
  }
  if (absl::Status status =
          CheckSize(parameter.name, chunk.offset(), elements.size(), parameter.elements);
      !status.ok()) {
    return status;
  }
  const auto add = [&](auto values) {
    kernels::AddMoments(values.data(), values.size(), chunk.offset(), &weight.moments);
    if (!weight.values.empty()) {
      std::copy(values.begin(), values.end(),
                weight.values.begin() + static_cast<ptrdiff_t>(chunk.offset()));
    }
  };
  if (elements.is_double) {
    add(elements.doubles);
  } else {
    add(elements.floats);
  }
  weight.next_element += elements.size();
  weight.complete = weight.next_element == parameter.elements;
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
  const uint32_t batches = layer.probe_set ? 1 : step_->begin.microbatches();
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
  if (absl::Status status = CheckSize(layer.name, chunk.offset(), elements.size(), batch_elements);
      !status.ok()) {
    return status;
  }
  const auto add = [&](auto values) {
    CountNonFiniteOf(values, &activations.non_finite);
    activations.values.insert(activations.values.end(), values.begin(), values.end());
  };
  if (elements.is_double) {
    add(elements.doubles);
  } else {
    add(elements.floats);
  }
  state.next_element += elements.size();
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
  if (end.step() != step_->begin.step()) {
    return absl::InvalidArgumentError(absl::StrCat("step_end.step: ", end.step(), ", but step ",
                                                   step_->begin.step(), " is open"));
  }
  const auto start = std::chrono::steady_clock::now();
  auto figures = std::make_shared<Figures>();
  CountNonFinite(responses);
  AnalyzeGradients(figures.get());
  // First: the analysis of symmetries takes the weights away.
  AnalyzeRepresentations(figures.get(), responses);
  AnalyzeSymmetries(figures.get());
  for (const metrics::Figure& figure : *figures) {
    if (const Undefined* reason = std::get_if<Undefined>(&figure.result)) {
      ++environment_.counters->undefined[static_cast<size_t>(*reason)];
    }
  }
  last_step_ = end.step();
  step_.reset();
  step_memory_.Clear();
  environment_.runs->Publish(stream_, end.step(), figures, non_finite_);
  if (steps_++ % declaration_->report_every_steps == 0) {
    v1::StepReport* report = responses->emplace_back().mutable_step_report();
    report->set_step(end.step());
    WriteFigures(*figures, report);
  }
  responses->push_back(Acknowledgement(end.step()));
  ++environment_.counters->steps;
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
               step_->begin.step()));
  };
  for (size_t i = 0; i < step_->parameters.size(); ++i) {
    const ParameterStep& state = step_->parameters[i];
    const std::string& name = declaration_->parameters[i].name;
    if (state.gradient) count(name, "gradients", state.gradient->non_finite());
    if (state.weight) {
      count(name, "weights",
            {.nans = state.weight->moments.nans, .infinities = state.weight->moments.infinities});
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

void RunSession::AnalyzeGradients(Figures* figures) {
  const v1::StepBegin& begin = step_->begin;
  std::optional<Undefined> run_undefined;
  metrics::RunStep run{.gradient = {},
                       .learning_rate = begin.learning_rate(),
                       .weight_decay = begin.weight_decay(),
                       .loss = {},
                       .weight_squared_norm = 0};
  run.gradient.microbatch_size = static_cast<double>(begin.microbatch_size());
  if (begin.has_loss()) run.loss = begin.loss();
  for (size_t i = 0; i < step_->parameters.size(); ++i) {
    const ParameterStep& state = step_->parameters[i];
    const std::string& name = declaration_->parameters[i].name;
    if (!state.weight || !state.weight->complete) {
      run.weight_squared_norm.reset();
    } else if (run.weight_squared_norm) {
      *run.weight_squared_norm += kernels::Total(state.weight->moments.squares);
    }
    std::optional<Undefined> undefined;
    if (!state.gradient || !state.gradient->complete()) {
      undefined = Undefined::kMissingTensor;
    } else if (state.gradient->non_finite().any()) {
      undefined = Undefined::kNonFiniteInput;
    }
    if (undefined) {
      run_undefined = undefined;
      metrics::AppendUndefinedParameterFigures(name, *undefined, figures);
      continue;
    }
    const statistics::GradientSums sums = state.gradient->Sums();
    run.gradient.sums.MergeParameters(sums);
    parameter_windows_[i].Push({.sums = sums, .microbatch_size = run.gradient.microbatch_size});
    metrics::AppendParameterFigures(name, parameter_windows_[i], figures);
  }
  if (step_->parameters.empty()) return;
  if (run_undefined) {
    metrics::AppendUndefinedRunFigures(*run_undefined, figures);
    return;
  }
  if (run.loss && !std::isfinite(*run.loss)) run.loss.reset();
  run_window_->Push(run);
  metrics::AppendRunFigures(*run_window_, figures);
}

void RunSession::AnalyzeSymmetries(Figures* figures) {
  std::vector<ParameterElements> parameters(step_->parameters.size());
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (!declaration_->parameters[i].in_symmetry) continue;
    ParameterStep& state = step_->parameters[i];
    if (state.gradient && state.gradient->complete()) {
      parameters[i].gradient.undefined = UndefinedIf(state.gradient->non_finite());
      parameters[i].gradient.values = state.gradient->Mean();
    }
    if (state.weight && state.weight->complete) {
      parameters[i].weight.undefined = UndefinedIf(
          {.nans = state.weight->moments.nans, .infinities = state.weight->moments.infinities});
      parameters[i].weight.values = std::move(state.weight->values);
    }
  }
  symmetries_->AddStep({.step = step_->begin.step(),
                        .learning_rate = step_->begin.learning_rate(),
                        .weight_decay = step_->begin.weight_decay()},
                       parameters, figures);
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
  std::vector<TensorElements> weights(step_->parameters.size());
  for (size_t i = 0; i < weights.size(); ++i) {
    const std::optional<Weight>& weight = step_->parameters[i].weight;
    if (!declaration_->parameters[i].in_alignment || !weight || !weight->complete) continue;
    weights[i].undefined =
        UndefinedIf({.nans = weight->moments.nans, .infinities = weight->moments.infinities});
    weights[i].values = weight->values;
  }
  std::vector<AnalysisNotice> notices;
  representations_->AddStep(layers, weights, figures, &notices);
  for (AnalysisNotice& notice : notices) {
    responses->push_back(Notice(notice, step_->begin.step()));
  }
}

}  // namespace thermograd::service
