// Sums of a step, made by the client, give the figures of its tensors.

#include "thermograd/client/step_reducer.h"

#include <cmath>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "service/run_session.h"

namespace thermograd::client {
namespace {

using testing::Contains;
using testing::Key;
using testing::SizeIs;

constexpr char kSpec[] = R"(
  run: "run"
  optimizer { kind: OPTIMIZER_KIND_SGD }
  parameters { id: 1 name: "in" shape: 6 shape: 4 group: "a" }
  parameters { id: 2 name: "bias" shape: 6 group: "a" }
  parameters { id: 3 name: "out" shape: 4 shape: 6 group: "b" }
  parameters { id: 4 name: "query" shape: 8 shape: 5 }
  parameters { id: 5 name: "key" shape: 4 shape: 5 }
  parameters { id: 6 name: "logits" shape: 3 shape: 5 }
  parameters { id: 7 name: "logits_bias" shape: 3 }
  parameters { id: 8 name: "alone" shape: 7 }
  symmetries { name: "neurons" neuron_rescaling {
    incoming { parameter_id: 1 } incoming_bias { parameter_id: 2 } outgoing { parameter_id: 3 } } }
  symmetries { name: "layers" layer_rescaling {
    first { parameter_id: 1 } first_bias { parameter_id: 2 } second { parameter_id: 3 } } }
  symmetries { name: "rotation" double_rotation {
    first { parameter_id: 1 } second { parameter_id: 3 } heads: 2 } }
  symmetries { name: "attention" query_key_rotation {
    query { parameter_id: 4 } key { parameter_id: 5 } heads: 2 } }
  symmetries { name: "rotary" query_key_rotation {
    query { parameter_id: 4 } key { parameter_id: 5 } heads: 2 rotary: ROTARY_LAYOUT_HALVES } }
  symmetries { name: "scale" scale_invariance { weight { parameter_id: 4 } per_row: true } }
  symmetries { name: "translation" logit_translation {
    weight { parameter_id: 6 } bias { parameter_id: 7 } } }
  symmetries { name: "permutation" neuron_permutation {
    incoming { parameter_id: 1 } incoming_bias { parameter_id: 2 } outgoing { parameter_id: 3 } } }
  reporting { window_steps: 3 spectrum_every_steps: 2 }
)";

v1::RunSpec Spec(bool with_later_tensors) {
  v1::RunSpec spec;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(kSpec, &spec));
  if (with_later_tensors) {
    spec.mutable_optimizer()->set_kind(v1::OPTIMIZER_KIND_OTHER);
    spec.add_parameter_kinds(v1::TENSOR_KIND_UPDATE);
    spec.add_parameter_kinds(v1::TENSOR_KIND_PRECONDITIONER);
    spec.add_parameter_kinds(v1::TENSOR_KIND_GRADIENT_AFTER_UPDATE);
  }
  return spec;
}

// A server without its transport.
class Server {
 public:
  explicit Server(const v1::RunSpec& spec) {
    v1::StreamRunRequest request;
    *request.mutable_run_spec() = spec;
    Receive(request);
  }

  void Receive(const v1::StreamRunRequest& request) {
    std::vector<v1::StreamRunResponse> responses;
    const absl::Status status = session_.Receive(request, &responses);
    ASSERT_TRUE(status.ok()) << status;
    for (const v1::StreamRunResponse& response : responses) {
      if (response.has_step_report()) report_ = response.step_report();
    }
  }

  const v1::StepReport& report() const { return report_; }

 private:
  service::Admission admission_{16, uint64_t{1} << 30};
  service::RunRegistry runs_{std::chrono::seconds(60), 16, &admission_};
  service::ProbeBoard probes_{uint64_t{1} << 20, std::chrono::seconds(60), &admission_};
  service::ServiceCounters counters_;
  service::RankGroups ranks_{&counters_};
  v1::StepReport report_;
  service::RunSession session_{{.limits = {},
                                .admission = &admission_,
                                .runs = &runs_,
                                .ranks = &ranks_,
                                .probes = &probes_,
                                .counters = &counters_},
                               [] {},
                               [](auto) {}};
};

using Figures = std::map<std::string, double>;

// Values by name and labels; reasons as negative powers of ten that no figure takes.
Figures FiguresOf(const v1::StepReport& report) {
  Figures figures;
  const auto key = [](const auto& metric) {
    std::string text = metric.name();
    for (const v1::Label& label : metric.labels()) text += "," + label.name() + "=" + label.value();
    return text;
  };
  for (const v1::MetricValue& metric : report.metrics()) figures[key(metric)] = metric.value();
  for (const v1::UndefinedMetric& metric : report.undefined()) {
    figures[key(metric)] = -1e300 * static_cast<double>(metric.reason());
  }
  return figures;
}

struct Tensor {
  uint32_t id;
  v1::TensorKind kind;
  std::vector<float> values;
  uint32_t microbatch;
};

// The tensors of every parameter in one step.
std::vector<Tensor> Step(const v1::RunSpec& spec, uint32_t microbatches, std::mt19937* random) {
  std::normal_distribution<float> normal;
  std::vector<Tensor> tensors;
  const auto add = [&](const v1::Parameter& parameter, v1::TensorKind kind, uint32_t microbatch) {
    size_t elements = 1;
    for (const uint64_t extent : parameter.shape()) elements *= extent;
    Tensor& tensor = tensors.emplace_back(Tensor{parameter.id(), kind, {}, microbatch});
    for (size_t i = 0; i < elements; ++i) tensor.values.push_back(normal(*random));
  };
  for (const v1::Parameter& parameter : spec.parameters()) {
    add(parameter, v1::TENSOR_KIND_WEIGHT, 0);
    for (const int kind : spec.parameter_kinds()) {
      add(parameter, static_cast<v1::TensorKind>(kind), 0);
    }
    for (uint32_t microbatch = 0; microbatch < microbatches; ++microbatch) {
      add(parameter, v1::TENSOR_KIND_GRADIENT, microbatch);
    }
  }
  return tensors;
}

v1::StreamRunRequest Begin(uint64_t step, uint32_t microbatches) {
  v1::StreamRunRequest request;
  v1::StepBegin* begin = request.mutable_step_begin();
  begin->set_step(step);
  begin->set_learning_rate(0.1);
  begin->set_weight_decay(0.01);
  begin->set_microbatch_size(4);
  begin->set_microbatches(microbatches);
  begin->set_loss_scale(8);
  begin->set_loss(1);
  return request;
}

v1::StreamRunRequest Chunk(const Tensor& tensor) {
  v1::StreamRunRequest request;
  v1::TensorChunk* chunk = request.mutable_chunk();
  chunk->set_tensor_id(tensor.id);
  chunk->set_kind(tensor.kind);
  chunk->set_data_type(v1::DATA_TYPE_FP32);
  chunk->set_microbatch(tensor.microbatch);
  chunk->set_data(reinterpret_cast<const char*>(tensor.values.data()),
                  tensor.values.size() * sizeof(float));
  return request;
}

v1::StreamRunRequest End(uint64_t step) {
  v1::StreamRunRequest request;
  request.mutable_step_end()->set_step(step);
  return request;
}

class StepReducerTest : public testing::TestWithParam<std::tuple<uint32_t, bool>> {};

TEST_P(StepReducerTest, SumsGiveTheFiguresOfTensors) {
  const auto [microbatches, with_later_tensors] = GetParam();
  const v1::RunSpec spec = Spec(with_later_tensors);
  Server of_tensors(spec);
  Server of_sums(spec);
  auto reducer = StepReducer::Create(spec);
  ASSERT_TRUE(reducer.ok()) << reducer.status();
  std::mt19937 random(7);
  for (uint64_t step = 0; step < 5; ++step) {
    const std::vector<Tensor> tensors = Step(spec, microbatches, &random);
    const v1::StreamRunRequest begin = Begin(step, microbatches);
    of_tensors.Receive(begin);
    of_sums.Receive(begin);
    ASSERT_TRUE((*reducer)->BeginStep(begin.step_begin()).ok());
    const bool sends_weights = step % 2 == 0;
    for (const Tensor& tensor : tensors) {
      of_tensors.Receive(Chunk(tensor));
      if (sends_weights && tensor.kind == v1::TENSOR_KIND_WEIGHT) of_sums.Receive(Chunk(tensor));
      const auto& shape = spec.parameters(static_cast<int>(tensor.id) - 1).shape();
      const absl::Status status =
          (*reducer)->Add(tensor.id, tensor.kind, absl::MakeConstSpan(tensor.values),
                          {shape.begin(), shape.end()}, tensor.microbatch);
      ASSERT_TRUE(status.ok()) << status;
    }
    // So small that the sums need several messages.
    const size_t max_bytes = with_later_tensors ? 2000 : 1024;
    const auto messages = (*reducer)->EndStep(max_bytes, !sends_weights);
    ASSERT_TRUE(messages.ok()) << messages.status();
    EXPECT_GT(messages->size(), 1u);
    for (const v1::StepStatistics& message : *messages) {
      EXPECT_LE(message.ByteSizeLong(), max_bytes);
      v1::StreamRunRequest request;
      *request.mutable_statistics() = message;
      of_sums.Receive(request);
    }
    of_tensors.Receive(End(step));
    of_sums.Receive(End(step));
    const Figures expected = FiguresOf(of_tensors.report());
    const Figures figures = FiguresOf(of_sums.report());
    ASSERT_GT(expected.size(), 100u);
    for (const auto& [name, value] : expected) {
      ASSERT_THAT(figures, Contains(Key(name)));
      EXPECT_NEAR(figures.at(name), value, 1e-11 * std::max(1.0, std::fabs(value)))
          << name << " of step " << step;
    }
    EXPECT_EQ(figures.size(), expected.size());
  }
}

INSTANTIATE_TEST_SUITE_P(Steps, StepReducerTest,
                         testing::Combine(testing::Values(1u, 3u), testing::Bool()));

TEST(StepReducer, NonFiniteTensorsAreCountedAndWithheld) {
  const v1::RunSpec spec = Spec(false);
  auto reducer = StepReducer::Create(spec);
  ASSERT_TRUE(reducer.ok());
  v1::StepBegin begin;
  ASSERT_TRUE((*reducer)->BeginStep(begin).ok());
  const std::vector<float> gradient = {1, NAN, INFINITY, NAN, 0, 0, 0};
  ASSERT_TRUE(
      (*reducer)->Add(8, v1::TENSOR_KIND_GRADIENT, absl::MakeConstSpan(gradient), {7}).ok());
  const auto messages = (*reducer)->EndStep(1 << 20);
  ASSERT_TRUE(messages.ok());
  ASSERT_THAT(*messages, SizeIs(1));
  const v1::ParameterStatistics& sums = messages->front().parameters(0);
  EXPECT_EQ(sums.nan_elements(), 2u);
  EXPECT_EQ(sums.infinite_elements(), 1u);
  EXPECT_FALSE(sums.has_gradient_sum_squared_norm());
}

TEST(StepReducer, ShardsAreReducedAloneAndSplitSymmetriesLeftOut) {
  v1::RunSpec spec = Spec(false);
  spec.set_world_size(2);
  v1::Shard* shard = spec.mutable_parameters(0)->mutable_shard();
  shard->add_offset(3);
  shard->add_offset(0);
  shard->add_shape(3);
  shard->add_shape(4);
  auto reducer = StepReducer::Create(spec);
  ASSERT_TRUE(reducer.ok()) << reducer.status();
  ASSERT_TRUE((*reducer)->BeginStep({}).ok());
  const std::vector<float> part(12, 2.0f);
  ASSERT_TRUE((*reducer)->Add(1, v1::TENSOR_KIND_GRADIENT, absl::MakeConstSpan(part), {3, 4}).ok());
  const std::vector<float> query(40, 1.0f);
  ASSERT_TRUE(
      (*reducer)->Add(4, v1::TENSOR_KIND_GRADIENT, absl::MakeConstSpan(query), {8, 5}).ok());
  const auto messages = (*reducer)->EndStep(1 << 20);
  ASSERT_TRUE(messages.ok());
  ASSERT_THAT(messages->front().parameters(), SizeIs(2));
  EXPECT_EQ(messages->front().parameters(0).elements(), 12u);
  EXPECT_EQ(messages->front().parameters(0).gradient_sum_squared_norm(), 48);
  std::vector<std::string> names;
  for (const v1::SymmetryStatistics& s : messages->front().symmetries()) {
    names.push_back(s.symmetry());
  }
  EXPECT_EQ(names, std::vector<std::string>{"scale"});
}

TEST(StepReducer, MistakesAreErrorsOfTheCaller) {
  auto reducer = StepReducer::Create(Spec(false));
  ASSERT_TRUE(reducer.ok());
  const std::vector<float> gradient(7);
  EXPECT_FALSE((*reducer)->EndStep(1 << 20).ok());
  EXPECT_FALSE(
      (*reducer)->Add(8, v1::TENSOR_KIND_GRADIENT, absl::MakeConstSpan(gradient), {7}).ok());
  ASSERT_TRUE((*reducer)->BeginStep({}).ok());
  EXPECT_FALSE(
      (*reducer)->Add(9, v1::TENSOR_KIND_GRADIENT, absl::MakeConstSpan(gradient), {7}).ok());
  EXPECT_FALSE((*reducer)->Add(8, v1::TENSOR_KIND_UPDATE, absl::MakeConstSpan(gradient), {7}).ok());
  v1::RunSpec spec = Spec(false);
  spec.mutable_parameters(1)->set_id(1);
  EXPECT_FALSE(StepReducer::Create(spec).ok());
  ASSERT_TRUE((*reducer)->BeginStep({}).ok());
  ASSERT_TRUE(
      (*reducer)->Add(8, v1::TENSOR_KIND_GRADIENT, absl::MakeConstSpan(gradient), {7}).ok());
  EXPECT_EQ((*reducer)->EndStep(8).status().code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace thermograd::client
