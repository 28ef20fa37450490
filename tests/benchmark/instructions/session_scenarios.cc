#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "service/run_session.h"
#include "tests/benchmark/instructions/scenarios.h"

namespace thermograd {
namespace {

constexpr uint32_t kSide = 256;

// A session with everything that it needs, and the messages it is about to receive.
class Conversation {
 public:
  explicit Conversation(v1::RunSpec spec)
      : session_(
            environment_, [] {}, [](auto) {}) {
    spec.set_run("run");
    v1::StreamRunRequest request;
    *request.mutable_run_spec() = std::move(spec);
    requests_.push_back(std::move(request));
  }

  void Begin(uint64_t step, uint32_t microbatches) {
    v1::StepBegin* begin = requests_.emplace_back().mutable_step_begin();
    begin->set_step(step);
    begin->set_loss(1);
    begin->set_learning_rate(0.1);
    begin->set_microbatch_size(4);
    begin->set_microbatches(microbatches);
  }
  void End(uint64_t step) { requests_.emplace_back().mutable_step_end()->set_step(step); }

  // A tensor in chunks of 64 KiB.
  void Send(uint32_t id, v1::TensorKind kind, uint64_t rows, uint64_t columns,
            uint32_t microbatch = 0, v1::DataType type = v1::DATA_TYPE_FP32) {
    constexpr size_t kChunkBytes = size_t{64} << 10;
    const size_t element_bytes = type == v1::DATA_TYPE_BF16 ? 2 : 4;
    const std::string bytes = Bytes(rows * columns, id + microbatch, element_bytes);
    for (size_t begin = 0; begin < bytes.size(); begin += kChunkBytes) {
      v1::TensorChunk* chunk = requests_.emplace_back().mutable_chunk();
      chunk->set_tensor_id(id);
      chunk->set_kind(kind);
      chunk->set_data_type(type);
      if (kind == v1::TENSOR_KIND_ACTIVATION) {
        chunk->add_shape(rows);
        chunk->add_shape(columns);
      }
      chunk->set_microbatch(microbatch);
      chunk->set_offset(begin / element_bytes);
      chunk->set_data(bytes.substr(begin, kChunkBytes));
    }
  }

  // Sums in place of the gradients of as many parameters.
  void SendStatistics(uint32_t parameters, uint64_t elements) {
    v1::StepStatistics* statistics = requests_.emplace_back().mutable_statistics();
    for (uint32_t id = 0; id < parameters; ++id) {
      v1::ParameterStatistics* sums = statistics->add_parameters();
      sums->set_tensor_id(id);
      sums->set_elements(elements);
      sums->set_gradient_sum_squared_norm(1);
    }
  }

  // Hands over what was queued since the last time. A refusal is a fault of the scenario.
  void Receive() {
    for (const v1::StreamRunRequest& request : requests_) {
      responses_.clear();
      const absl::Status status = session_.Receive(request, &responses_);
      if (!status.ok()) {
        std::fprintf(stderr, "refused: %s\n", status.ToString().c_str());
        std::abort();
      }
    }
    requests_.clear();
  }

 private:
  // Numbers of both signs; of a float, the upper half is a bfloat16.
  static std::string Bytes(size_t count, uint32_t seed, size_t element_bytes) {
    std::string bytes;
    uint32_t state = seed;
    for (size_t i = 0; i < count; ++i) {
      state = state * 1664525 + 1013904223;
      const float value = static_cast<float>(state >> 8) * 0x1p-23f - 1;
      const char* raw = reinterpret_cast<const char*>(&value);
      bytes.append(raw + sizeof(value) - element_bytes, element_bytes);
    }
    return bytes;
  }

  service::Admission admission_{16, uint64_t{1} << 30};
  service::RunRegistry runs_{std::chrono::minutes(1), 16, &admission_};
  service::ProbeBoard probes_{1 << 20, std::chrono::minutes(1), &admission_};
  service::ServiceCounters counters_;
  service::RankGroups ranks_{&counters_};
  service::Environment environment_{.limits = {},
                                    .admission = &admission_,
                                    .runs = &runs_,
                                    .ranks = &ranks_,
                                    .probes = &probes_,
                                    .counters = &counters_};
  service::RunSession session_;
  std::vector<v1::StreamRunRequest> requests_;
  std::vector<v1::StreamRunResponse> responses_;
};

void AddMatrix(v1::RunSpec* spec, uint32_t id, uint64_t rows, uint64_t columns) {
  v1::Parameter* parameter = spec->add_parameters();
  parameter->set_id(id);
  parameter->set_name("parameter" + std::to_string(id));
  parameter->add_shape(rows);
  parameter->add_shape(columns);
}

v1::RunSpec Matrices(uint32_t count, uint64_t rows, uint64_t columns) {
  v1::RunSpec spec;
  for (uint32_t id = 0; id < count; ++id) AddMatrix(&spec, id, rows, columns);
  return spec;
}

// What is queued but the declaration is counted: a first step warms buffers and window up.
template <typename QueueStep>
std::function<void()> SecondStep(v1::RunSpec spec, QueueStep queue_step) {
  auto conversation = std::make_shared<Conversation>(std::move(spec));
  queue_step(conversation.get(), 0);
  conversation->Receive();
  queue_step(conversation.get(), 1);
  return [conversation] { conversation->Receive(); };
}

std::function<void()> Declaration() {
  auto conversation = std::make_shared<Conversation>(Matrices(500, 4, 4));
  return [conversation] { conversation->Receive(); };
}

std::function<void()> Gradients(uint32_t microbatches, v1::DataType type) {
  return SecondStep(Matrices(4, kSide, kSide), [=](Conversation* conversation, uint64_t step) {
    conversation->Begin(step, microbatches);
    for (uint32_t microbatch = 0; microbatch < microbatches; ++microbatch) {
      for (uint32_t id = 0; id < 4; ++id) {
        conversation->Send(id, v1::TENSOR_KIND_GRADIENT, kSide, kSide, microbatch, type);
      }
    }
    conversation->End(step);
  });
}

std::function<void()> SmallGradients() {
  return SecondStep(Matrices(500, 4, 4), [](Conversation* conversation, uint64_t step) {
    conversation->Begin(step, 1);
    for (uint32_t id = 0; id < 500; ++id) {
      conversation->Send(id, v1::TENSOR_KIND_GRADIENT, 4, 4);
    }
    conversation->End(step);
  });
}

std::function<void()> Statistics() {
  return SecondStep(Matrices(500, kSide, kSide), [](Conversation* conversation, uint64_t step) {
    conversation->Begin(step, 1);
    conversation->SendStatistics(500, uint64_t{kSide} * kSide);
    conversation->End(step);
  });
}

std::function<void()> NeuronRescaling() {
  v1::RunSpec spec = Matrices(2, kSide, kSide);
  spec.mutable_optimizer()->set_kind(v1::OPTIMIZER_KIND_SGD);
  v1::Symmetry* symmetry = spec.add_symmetries();
  symmetry->set_name("symmetry");
  symmetry->mutable_neuron_rescaling()->mutable_incoming()->set_parameter_id(0);
  symmetry->mutable_neuron_rescaling()->mutable_outgoing()->set_parameter_id(1);
  return SecondStep(std::move(spec), [](Conversation* conversation, uint64_t step) {
    conversation->Begin(step, 1);
    for (uint32_t id = 0; id < 2; ++id) {
      conversation->Send(id, v1::TENSOR_KIND_WEIGHT, kSide, kSide);
      conversation->Send(id, v1::TENSOR_KIND_GRADIENT, kSide, kSide);
    }
    conversation->End(step);
  });
}

std::function<void()> Activations() {
  constexpr uint64_t kSamples = 128;
  constexpr uint64_t kWidth = 64;
  v1::RunSpec spec;
  for (uint32_t id = 0; id < 2; ++id) {
    v1::Layer* layer = spec.add_layers();
    layer->set_id(id);
    layer->set_name("layer" + std::to_string(id));
    layer->set_width(kWidth);
  }
  return SecondStep(std::move(spec), [](Conversation* conversation, uint64_t step) {
    conversation->Begin(step, 1);
    for (uint32_t id = 0; id < 2; ++id) {
      conversation->Send(id, v1::TENSOR_KIND_ACTIVATION, kSamples, kWidth);
    }
    conversation->End(step);
  });
}

}  // namespace

std::vector<Scenario> SessionScenarios() {
  return {
      {"session: declaration of 500 parameters", Declaration},
      {"session: gradients of 1 microbatch", [] { return Gradients(1, v1::DATA_TYPE_FP32); }},
      {"session: gradients of 4 microbatches", [] { return Gradients(4, v1::DATA_TYPE_FP32); }},
      {"session: gradients of 4 microbatches in bf16",
       [] { return Gradients(4, v1::DATA_TYPE_BF16); }},
      {"session: gradients of 500 small parameters", SmallGradients},
      {"session: sums of 500 parameters", Statistics},
      {"session: weights and a neuron rescaling", NeuronRescaling},
      {"session: activations of 2 layers", Activations},
  };
}

}  // namespace thermograd
