#include "tests/service/random_run.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>
#include <utility>

#include "service/decode.h"

namespace thermograd::service {
namespace {

constexpr uint32_t kIncoming = 1;
constexpr uint32_t kOutgoing = 2;
constexpr uint32_t kBias = 3;
constexpr uint32_t kHidden = 4;
constexpr uint32_t kProbed = 5;
constexpr uint64_t kProbeSamples = 5;
constexpr uint64_t kSteps = 3;

uint64_t ElementsOf(const v1::Parameter& parameter) {
  const auto& shape = parameter.has_shard() ? parameter.shard().shape() : parameter.shape();
  uint64_t elements = 1;
  for (const uint64_t extent : shape) elements *= extent;
  return elements;
}

uint64_t BytesOf(v1::DataType type) { return *ElementBytes(type); }

v1::Parameter* AddParameter(uint32_t id, const char* name, std::vector<uint64_t> shape,
                            v1::RunSpec* spec) {
  v1::Parameter* parameter = spec->add_parameters();
  parameter->set_id(id);
  parameter->set_name(name);
  parameter->mutable_shape()->Assign(shape.begin(), shape.end());
  return parameter;
}

v1::Layer* AddLayer(uint32_t id, const char* name, uint64_t width, v1::RunSpec* spec) {
  v1::Layer* layer = spec->add_layers();
  layer->set_id(id);
  layer->set_name(name);
  layer->set_width(width);
  return layer;
}

// A chunk cut into pieces of whole elements.
void Cut(const v1::StreamRunRequest& request, std::minstd_rand* random, Messages* pieces) {
  if (!request.has_chunk()) {
    pieces->push_back(request);
    return;
  }
  const std::string& data = request.chunk().data();
  const uint64_t width = BytesOf(request.chunk().data_type());
  const uint64_t elements = data.size() / width;
  for (uint64_t done = 0; done < elements;) {
    const uint64_t count = 1 + (*random)() % (elements - done);
    v1::StreamRunRequest piece = request;
    piece.mutable_chunk()->set_offset(request.chunk().offset() + done);
    piece.mutable_chunk()->set_data(data.substr(done * width, count * width));
    pieces->push_back(std::move(piece));
    done += count;
  }
}

}  // namespace

RandomRun::RandomRun(std::string name, uint32_t ranks, std::minstd_rand* random)
    : random_(*random) {
  specs_.push_back(MakeSpec(std::move(name), ranks));
  if (ranks > 1) Split(ranks);
  for (uint32_t rank = 0; rank < ranks; ++rank) {
    auto& steps = steps_.emplace_back();
    for (uint64_t step = 1; step <= kSteps; ++step) steps.push_back(MakeStep(rank, step));
  }
}

v1::RunSpec RandomRun::MakeSpec(std::string name, uint32_t ranks) {
  v1::RunSpec spec;
  spec.set_world_size(ranks);
  // Two ranks share the hidden neurons.
  const uint64_t hidden = ranks * (1 + Below(4));
  const uint64_t in = 1 + Below(6);
  const uint64_t out = 1 + Below(6);
  AddParameter(kIncoming, "incoming", {hidden, in}, &spec)->set_group("hidden");
  AddParameter(kOutgoing, "outgoing", {out, hidden}, &spec);
  AddParameter(kBias, "bias", {hidden}, &spec);
  for (const v1::TensorKind kind :
       {v1::TENSOR_KIND_UPDATE, v1::TENSOR_KIND_PRECONDITIONER,
        v1::TENSOR_KIND_GRADIENT_AFTER_UPDATE, v1::TENSOR_KIND_REDUCED_GRADIENT}) {
    if (OneIn(2)) spec.add_parameter_kinds(kind);
  }
  spec.mutable_optimizer()->set_kind(OneIn(2) ? v1::OPTIMIZER_KIND_SGD
                                              : v1::OPTIMIZER_KIND_UNSPECIFIED);
  spec.set_gradient_scope(OneIn(2) ? v1::GRADIENT_SCOPE_LOCAL : v1::GRADIENT_SCOPE_REDUCED);

  v1::Reporting* reporting = spec.mutable_reporting();
  reporting->set_window_steps(static_cast<uint32_t>(1 + Below(4)));
  reporting->set_report_every_steps(static_cast<uint32_t>(1 + Below(2)));
  reporting->set_spectrum_every_steps(static_cast<uint32_t>(1 + Below(2)));
  reporting->set_similarity_over_window(OneIn(2));
  for (int similarity = v1::SIMILARITY_CKA; similarity <= v1::SIMILARITY_RSA; ++similarity) {
    if (OneIn(4)) {
      reporting->mutable_similarity()->add_similarities(static_cast<v1::Similarity>(similarity));
    }
  }
  reporting->mutable_similarity()->set_neighbours(2);
  reporting->mutable_similarity()->set_permutations(19);

  const auto add_symmetry = [&](const char* symmetry_name) {
    v1::Symmetry* symmetry = spec.add_symmetries();
    symmetry->set_name(symmetry_name);
    return symmetry;
  };
  if (OneIn(2)) {
    v1::NeuronRescaling* rescaling = add_symmetry("neurons")->mutable_neuron_rescaling();
    rescaling->mutable_incoming()->set_parameter_id(kIncoming);
    rescaling->mutable_incoming_bias()->set_parameter_id(kBias);
    rescaling->mutable_outgoing()->set_parameter_id(kOutgoing);
  }
  if (OneIn(2)) {
    v1::DoubleRotation* rotation = add_symmetry("rotation")->mutable_double_rotation();
    rotation->mutable_first()->set_parameter_id(kIncoming);
    rotation->mutable_second()->set_parameter_id(kOutgoing);
  }
  if (OneIn(2)) {
    v1::LayerRescaling* rescaling = add_symmetry("layers")->mutable_layer_rescaling();
    rescaling->mutable_first()->set_parameter_id(kIncoming);
    rescaling->mutable_second()->set_parameter_id(kOutgoing);
  }
  if (OneIn(2)) {
    v1::ScaleInvariance* invariance = add_symmetry("scale")->mutable_scale_invariance();
    invariance->mutable_weight()->set_parameter_id(kIncoming);
    invariance->set_per_row(OneIn(2));
  }
  if (OneIn(2)) {
    v1::LogitTranslation* translation = add_symmetry("logits")->mutable_logit_translation();
    translation->mutable_weight()->set_parameter_id(kOutgoing);
  }
  if (OneIn(2)) {
    v1::NeuronPermutation* permutation = add_symmetry("order")->mutable_neuron_permutation();
    permutation->mutable_incoming()->set_parameter_id(kIncoming);
    permutation->mutable_outgoing()->set_parameter_id(kOutgoing);
  }

  v1::Layer* layer = AddLayer(kHidden, "hidden", hidden, &spec);
  if (OneIn(2)) layer->set_weight_id(kIncoming);
  if (OneIn(2)) layer->set_reader_weight_id(kOutgoing);
  AddLayer(kProbed, "probed", 1 + Below(3), &spec)->set_probe_set("probes of " + name);
  v1::ProbeSet* probes = spec.add_probe_sets();
  probes->set_name("probes of " + name);
  probes->set_samples(kProbeSamples);
  probes->set_fingerprint("f");
  spec.set_run(std::move(name));
  return spec;
}

void RandomRun::Split(uint32_t ranks) {
  specs_.resize(ranks, specs_[0]);
  const bool splits = OneIn(2);
  for (uint32_t rank = 0; rank < ranks; ++rank) {
    specs_[rank].set_rank(rank);
    if (!splits) continue;
    v1::Parameter* incoming = specs_[rank].mutable_parameters(0);
    const uint64_t rows = incoming->shape(0) / ranks;
    v1::Shard* shard = incoming->mutable_shard();
    shard->add_offset(rank * rows);
    shard->add_offset(0);
    shard->add_shape(rows);
    shard->add_shape(incoming->shape(1));
  }
}

RandomRun::Step RandomRun::MakeStep(uint32_t rank, uint64_t number) {
  Step step;
  v1::StepBegin* begin = step.begin.mutable_step_begin();
  const auto microbatches = static_cast<uint32_t>(1 + Below(3));
  begin->set_step(number);
  begin->set_learning_rate(0.125);
  begin->set_microbatch_size(4);
  begin->set_microbatches(microbatches);
  if (OneIn(2)) begin->set_weight_decay(0.01);
  if (OneIn(2)) begin->set_loss(1);
  if (OneIn(4)) begin->set_loss_scale(1024);
  AddTensors(rank, microbatches, &step.tensors);
  AddActivations(microbatches, &step.tensors);
  step.end.mutable_step_end()->set_step(number);
  return step;
}

void RandomRun::AddTensors(uint32_t rank, uint32_t microbatches, std::vector<Tensor>* tensors) {
  const v1::RunSpec& spec = specs_[rank];
  for (const v1::Parameter& parameter : spec.parameters()) {
    const uint64_t elements = ElementsOf(parameter);
    if (OneIn(8)) {
      v1::ParameterStatistics* sums =
          tensors->emplace_back().emplace_back().mutable_statistics()->add_parameters();
      sums->set_tensor_id(parameter.id());
      sums->set_elements(elements);
      sums->set_gradient_sum_squared_norm(2);
      sums->set_weight_squared_norm(3);
      continue;
    }
    const v1::DataType gradient_type = AnyType();
    Tensor& gradients = tensors->emplace_back();
    for (uint32_t microbatch = 0; microbatch < microbatches; ++microbatch) {
      gradients.push_back(
          MakeChunk(parameter.id(), v1::TENSOR_KIND_GRADIENT, gradient_type, elements, microbatch));
    }
    std::vector<int> kinds(spec.parameter_kinds().begin(), spec.parameter_kinds().end());
    kinds.push_back(v1::TENSOR_KIND_WEIGHT);
    for (const int kind : kinds) {
      if (OneIn(8)) continue;  // it is not known
      tensors->push_back(
          {MakeChunk(parameter.id(), static_cast<v1::TensorKind>(kind), AnyType(), elements, 0)});
    }
  }
}

void RandomRun::AddActivations(uint32_t microbatches, std::vector<Tensor>* tensors) {
  for (const v1::Layer& layer : specs_[0].layers()) {
    const bool is_probed = !layer.probe_set().empty();
    const uint32_t batches = is_probed ? 1 : microbatches;
    std::vector<uint64_t> samples;
    for (uint32_t batch = 0; batch < batches; ++batch) {
      samples.push_back(is_probed ? kProbeSamples : 2 + Below(5));
    }
    for (const v1::TensorKind kind :
         {v1::TENSOR_KIND_ACTIVATION, v1::TENSOR_KIND_ACTIVATION_GRADIENT}) {
      if (OneIn(4)) continue;
      const v1::DataType type = AnyType();
      Tensor& tensor = tensors->emplace_back();
      for (uint32_t batch = 0; batch < batches; ++batch) {
        v1::StreamRunRequest request =
            MakeChunk(layer.id(), kind, type, samples[batch] * layer.width(), batch);
        request.mutable_chunk()->add_shape(samples[batch]);
        request.mutable_chunk()->add_shape(layer.width());
        tensor.push_back(std::move(request));
      }
    }
  }
}

v1::StreamRunRequest RandomRun::MakeChunk(uint32_t id, v1::TensorKind kind, v1::DataType type,
                                          uint64_t elements, uint32_t microbatch) {
  v1::StreamRunRequest request;
  v1::TensorChunk* chunk = request.mutable_chunk();
  chunk->set_tensor_id(id);
  chunk->set_kind(kind);
  chunk->set_data_type(type);
  chunk->set_microbatch(microbatch);
  chunk->set_data(Elements(type, elements));
  return request;
}

v1::DataType RandomRun::AnyType() { return static_cast<v1::DataType>(1 + Below(4)); }

std::string RandomRun::Elements(v1::DataType type, uint64_t count) {
  constexpr float kSpecial[] = {std::numeric_limits<float>::infinity(),
                                std::numeric_limits<float>::quiet_NaN(),
                                std::numeric_limits<float>::max(), 0};
  std::normal_distribution<float> normal;
  std::string bytes;
  for (uint64_t i = 0; i < count; ++i) {
    const float value = OneIn(512) ? kSpecial[Below(4)] : normal(random_);
    char element[sizeof(double)];
    const uint64_t width = BytesOf(type);
    if (type == v1::DATA_TYPE_FP64) {
      const double wide = value;
      std::memcpy(element, &wide, width);
    } else if (type == v1::DATA_TYPE_FP32) {
      std::memcpy(element, &value, width);
    } else {
      // The upper half of a binary32 is a bfloat16, and some number as a binary16.
      uint32_t bits = 0;
      std::memcpy(&bits, &value, sizeof(bits));
      const auto half = static_cast<uint16_t>(bits >> 16);
      std::memcpy(element, &half, width);
    }
    bytes.append(element, width);
  }
  return bytes;
}

Messages RandomRun::InOrder(uint32_t rank) const {
  Messages messages;
  *messages.emplace_back().mutable_run_spec() = specs_[rank];
  for (const Step& step : steps_[rank]) {
    messages.push_back(step.begin);
    for (const Tensor& tensor : step.tensors) {
      messages.insert(messages.end(), tensor.begin(), tensor.end());
    }
    messages.push_back(step.end);
  }
  return messages;
}

Messages RandomRun::Shuffled(uint32_t rank, std::minstd_rand* random) const {
  Messages messages;
  *messages.emplace_back().mutable_run_spec() = specs_[rank];
  for (const Step& step : steps_[rank]) {
    messages.push_back(step.begin);
    // Whose piece comes next.
    std::vector<Messages> pieces;
    std::vector<size_t> turns;
    for (const Tensor& tensor : step.tensors) {
      Messages& of_tensor = pieces.emplace_back();
      for (const v1::StreamRunRequest& request : tensor) Cut(request, random, &of_tensor);
      turns.insert(turns.end(), of_tensor.size(), pieces.size() - 1);
    }
    std::shuffle(turns.begin(), turns.end(), *random);
    std::vector<size_t> next(pieces.size());
    for (const size_t tensor : turns) messages.push_back(pieces[tensor][next[tensor]++]);
    messages.push_back(step.end);
  }
  return messages;
}

void Spoil(Messages* messages, std::minstd_rand* random) {
  const size_t index = (*random)() % messages->size();
  const auto place = messages->begin() + static_cast<ptrdiff_t>(index);
  v1::StreamRunRequest& message = *place;
  const auto number = static_cast<uint32_t>((*random)());
  switch ((*random)() % 12) {
    case 0:
      messages->insert(place, v1::StreamRunRequest(message));
      return;
    case 1:
      messages->erase(place);
      return;
    case 2:
      std::swap(message, (*messages)[(index + 1) % messages->size()]);
      return;
    case 3:
      messages->resize(index);
      return;
    case 4:
      message.Clear();
      return;
    case 5:
      message.mutable_step_begin()->set_step(number % 5);
      return;
    case 6:
      message.mutable_step_end()->set_step(number % 5);
      return;
    case 7:
      message.mutable_run_spec()->set_rank(number % 3);
      return;
    case 8:
      message.mutable_chunk()->set_tensor_id(number % 7);
      return;
    case 9:
      message.mutable_chunk()->set_offset(number);
      return;
    case 10:
      message.mutable_chunk()->mutable_data()->push_back('x');
      return;
    default:
      message.mutable_statistics()->add_parameters()->set_tensor_id(number % 4);
  }
}

}  // namespace thermograd::service
