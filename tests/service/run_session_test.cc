#include "service/run_session.h"

#include <chrono>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "service/limit_status.h"

namespace thermograd::service {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

std::string Bytes(const std::vector<float>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

class RunSessionTest : public testing::Test {
 protected:
  RunSessionTest()
      : session_(
            environment_, [] {}, [](auto) {}) {}

  static v1::StreamRunRequest Spec() {
    v1::StreamRunRequest request;
    v1::RunSpec* spec = request.mutable_run_spec();
    spec->set_run("run");
    spec->mutable_optimizer()->set_kind(v1::OPTIMIZER_KIND_SGD);
    v1::Parameter* u = spec->add_parameters();
    u->set_id(1);
    u->set_name("u");
    u->add_shape(1);
    u->add_shape(2);
    v1::Parameter* w = spec->add_parameters();
    w->set_id(2);
    w->set_name("w");
    w->add_shape(2);
    w->add_shape(1);
    v1::Symmetry* symmetry = spec->add_symmetries();
    symmetry->set_name("s");
    symmetry->mutable_neuron_rescaling()->mutable_incoming()->set_parameter_id(1);
    symmetry->mutable_neuron_rescaling()->mutable_outgoing()->set_parameter_id(2);
    v1::Layer* layer = spec->add_layers();
    layer->set_id(3);
    layer->set_name("h");
    layer->set_width(2);
    return request;
  }
  static v1::StreamRunRequest Begin(uint64_t step) {
    v1::StreamRunRequest request;
    request.mutable_step_begin()->set_step(step);
    request.mutable_step_begin()->set_learning_rate(0.1);
    request.mutable_step_begin()->set_microbatch_size(4);
    request.mutable_step_begin()->set_loss(1);
    return request;
  }
  static v1::StreamRunRequest End(uint64_t step) {
    v1::StreamRunRequest request;
    request.mutable_step_end()->set_step(step);
    return request;
  }
  static v1::StreamRunRequest Chunk(uint32_t id, v1::TensorKind kind,
                                    const std::vector<float>& values, uint64_t offset = 0) {
    v1::StreamRunRequest request;
    v1::TensorChunk* chunk = request.mutable_chunk();
    chunk->set_tensor_id(id);
    chunk->set_kind(kind);
    chunk->set_data_type(v1::DATA_TYPE_FP32);
    chunk->set_offset(offset);
    chunk->set_data(Bytes(values));
    return request;
  }

  absl::Status Receive(const v1::StreamRunRequest& request) {
    responses_.clear();
    return session_.Receive(request, &responses_);
  }
  void Open(uint64_t step) {
    ASSERT_TRUE(Receive(Spec()).ok());
    window_bytes_ = admission_.bytes();
    ASSERT_TRUE(Receive(Begin(step)).ok());
  }
  void ExpectRefused(const v1::StreamRunRequest& request, const std::string& text) {
    const absl::Status status = Receive(request);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(text));
  }
  const v1::StepReport* Report() const {
    for (const v1::StreamRunResponse& response : responses_) {
      if (response.has_step_report()) return &response.step_report();
    }
    return nullptr;
  }
  double Value(const std::string& name) const {
    for (const v1::MetricValue& metric : Report()->metrics()) {
      if (metric.name() == name) return metric.value();
    }
    return std::numeric_limits<double>::quiet_NaN();
  }
  v1::UndefinedReason Reason(const std::string& name) const {
    for (const v1::UndefinedMetric& metric : Report()->undefined()) {
      if (metric.name() == name) return metric.reason();
    }
    return v1::UNDEFINED_REASON_UNSPECIFIED;
  }

  Admission admission_{16, uint64_t{1} << 30};
  // What is shown takes memory of its own, so that a test sees what a step gives back.
  Admission shown_{16, uint64_t{1} << 20};
  RunRegistry runs_{std::chrono::minutes(1), 16, &shown_};
  ProbeBoard probes_{1 << 20, std::chrono::minutes(1), &admission_};
  ServiceCounters counters_;
  RankGroups ranks_{&counters_};
  Environment environment_{.limits = {},
                           .admission = &admission_,
                           .runs = &runs_,
                           .ranks = &ranks_,
                           .probes = &probes_,
                           .counters = &counters_};
  RunSession session_;
  uint64_t window_bytes_ = 0;
  std::vector<v1::StreamRunResponse> responses_;
};

TEST_F(RunSessionTest, AStepGivesItsReportThenItsAcknowledgement) {
  Open(1);
  ASSERT_TRUE(Receive(Chunk(1, v1::TENSOR_KIND_GRADIENT, {1}, 0)).ok());
  ASSERT_TRUE(Receive(Chunk(1, v1::TENSOR_KIND_GRADIENT, {2}, 1)).ok());
  ASSERT_TRUE(Receive(Chunk(2, v1::TENSOR_KIND_GRADIENT, {2, 0})).ok());
  ASSERT_TRUE(Receive(End(1)).ok());
  ASSERT_EQ(responses_.size(), 2u);
  EXPECT_EQ(Value("thermograd_gradient_second_moment"), 9);
  EXPECT_DOUBLE_EQ(Value("thermograd_entropic_loss"), 1 + 0.1 * 9 / 4);
  EXPECT_EQ(Reason("thermograd_symmetry_charge"), v1::UNDEFINED_REASON_MISSING_TENSOR);
  EXPECT_EQ(responses_[1].acknowledgement().step(), 1u);
  EXPECT_EQ(admission_.bytes(), window_bytes_);
}

TEST_F(RunSessionTest, EveryElementTypeIsReadAsTheNumberThatItIs) {
  // 1.5 and -2.
  const std::pair<v1::DataType, std::string> encodings[] = {
      {v1::DATA_TYPE_BF16, std::string("\xc0\x3f\x00\xc0", 4)},
      {v1::DATA_TYPE_FP16, std::string("\x00\x3e\x00\xc0", 4)},
      {v1::DATA_TYPE_FP32, std::string("\x00\x00\xc0\x3f\x00\x00\x00\xc0", 8)},
      {v1::DATA_TYPE_FP64,
       std::string("\x00\x00\x00\x00\x00\x00\xf8\x3f\x00\x00\x00\x00\x00\x00\x00\xc0", 16)}};
  ASSERT_TRUE(Receive(Spec()).ok());
  uint64_t step = 0;
  for (const auto& [type, data] : encodings) {
    ASSERT_TRUE(Receive(Begin(++step)).ok());
    for (const uint32_t id : {1u, 2u}) {
      v1::StreamRunRequest request = Chunk(id, v1::TENSOR_KIND_GRADIENT, {});
      request.mutable_chunk()->set_data_type(type);
      request.mutable_chunk()->set_data(data);
      ASSERT_TRUE(Receive(request).ok());
    }
    ASSERT_TRUE(Receive(End(step)).ok());
    EXPECT_EQ(Value("thermograd_gradient_second_moment"), 2 * 6.25) << v1::DataType_Name(type);
  }
}

TEST_F(RunSessionTest, MicrobatchesTakeNoVectorWhereTheReducedGradientComesBesides) {
  for (const bool sends_reduced : {false, true}) {
    RunSession session(
        environment_, [] {}, [](auto) {});
    v1::StreamRunRequest spec = Spec();
    spec.mutable_run_spec()->clear_symmetries();
    if (sends_reduced)
      spec.mutable_run_spec()->add_parameter_kinds(v1::TENSOR_KIND_REDUCED_GRADIENT);
    v1::StreamRunRequest begin = Begin(1);
    begin.mutable_step_begin()->set_microbatches(3);
    ASSERT_TRUE(session.Receive(spec, &responses_).ok());
    ASSERT_TRUE(session.Receive(begin, &responses_).ok());
    const uint64_t before = admission_.bytes();
    for (const uint32_t microbatch : {0u, 1u, 2u}) {
      for (const uint32_t id : {1u, 2u}) {
        v1::StreamRunRequest request = Chunk(id, v1::TENSOR_KIND_GRADIENT, {3, 4});
        request.mutable_chunk()->set_microbatch(microbatch);
        ASSERT_TRUE(session.Receive(request, &responses_).ok());
      }
    }
    EXPECT_EQ(admission_.bytes() - before, sends_reduced ? 0u : 4 * sizeof(double));
    for (const uint32_t id : {1u, 2u}) {
      if (!sends_reduced) break;
      ASSERT_TRUE(
          session.Receive(Chunk(id, v1::TENSOR_KIND_REDUCED_GRADIENT, {3, 4}), &responses_).ok());
    }
    responses_.clear();
    ASSERT_TRUE(session.Receive(End(1), &responses_).ok());
    EXPECT_EQ(Value("thermograd_gradient_second_moment"), 50);
  }
}

v1::StreamRunRequest Sums(uint32_t id, uint64_t elements, double squared_norm) {
  v1::StreamRunRequest request;
  v1::ParameterStatistics* sums = request.mutable_statistics()->add_parameters();
  sums->set_tensor_id(id);
  sums->set_elements(elements);
  sums->set_gradient_sum_squared_norm(squared_norm);
  return request;
}

TEST_F(RunSessionTest, SumsStandForTensorsAndPartsAdd) {
  Open(1);
  ASSERT_TRUE(Receive(Sums(1, 1, 1)).ok());
  ASSERT_TRUE(Receive(Sums(1, 1, 4)).ok());
  ASSERT_TRUE(Receive(Chunk(2, v1::TENSOR_KIND_GRADIENT, {2, 0})).ok());
  ASSERT_TRUE(Receive(End(1)).ok());
  EXPECT_EQ(Value("thermograd_gradient_second_moment"), 9);
  EXPECT_EQ(Reason("thermograd_symmetry_residual_ratio"), v1::UNDEFINED_REASON_MISSING_TENSOR);
}

TEST_F(RunSessionTest, SumsOfAPartOfAParameterAreNotItsGradient) {
  Open(1);
  ASSERT_TRUE(Receive(Sums(1, 1, 1)).ok());
  ASSERT_TRUE(Receive(Sums(2, 2, 1)).ok());
  ASSERT_TRUE(Receive(End(1)).ok());
  EXPECT_EQ(Reason("thermograd_gradient_second_moment"), v1::UNDEFINED_REASON_MISSING_TENSOR);
}

TEST_F(RunSessionTest, SumsThatCannotBeAreRefused) {
  Open(1);
  ExpectRefused(Sums(9, 2, 1), "statistics.parameters.tensor_id");
  ExpectRefused(Sums(1, 0, 1), "statistics.parameters.elements");
  ExpectRefused(Sums(1, 3, 1), "statistics.parameters.elements");
  ExpectRefused(Sums(1, 2, -1), "statistics.parameters.gradient_sum_squared_norm");
  v1::StreamRunRequest request = Sums(1, 2, 1);
  request.mutable_statistics()->mutable_parameters(0)->set_gradient_squared_norm_of_sum(2);
  ExpectRefused(request, "statistics.parameters.gradient_squared_norm_of_sum");
  request = Sums(1, 2, 1);
  request.mutable_statistics()->mutable_parameters(0)->set_update_squared_norm(2);
  ExpectRefused(request, "run_spec.parameter_kinds");
  ASSERT_TRUE(Receive(Chunk(1, v1::TENSOR_KIND_GRADIENT, {1, 2})).ok());
  ExpectRefused(Sums(1, 2, 1), "came as a tensor and as a sum");
  ASSERT_TRUE(Receive(Sums(2, 1, 1)).ok());
  request = Sums(2, 1, 1);
  request.mutable_statistics()->mutable_parameters(0)->set_weight_squared_norm(1);
  ExpectRefused(request, "sums of different tensors");
  ExpectRefused(Chunk(2, v1::TENSOR_KIND_GRADIENT, {1, 2}), "came as a tensor and as a sum");
}

TEST_F(RunSessionTest, SumsOfSymmetriesMustFitTheDeclaration) {
  Open(1);
  v1::StreamRunRequest request;
  v1::SymmetryStatistics* sums = request.mutable_statistics()->add_symmetries();
  ExpectRefused(request, "statistics.symmetries.symmetry");
  sums->set_symmetry("s");
  ExpectRefused(request, "statistics.symmetries.first");
  sums->mutable_first()->add_gradient_gradient(1);
  ExpectRefused(request, "statistics.symmetries.second");
  sums->mutable_second();
  ExpectRefused(request, "statistics.symmetries.second.gradient_gradient");
  sums->mutable_second()->add_gradient_gradient(1);
  sums->mutable_second()->add_gradient_gradient(1);
  ExpectRefused(request, "2 entries, the symmetry has 1");
  sums->mutable_second()->mutable_gradient_gradient()->RemoveLast();
  sums->mutable_second()->add_weight_weight(1);
  ExpectRefused(request, "gradient_weight and weight_weight go together");
  sums->mutable_second()->add_gradient_weight(1);
  ExpectRefused(request, "other tensors than the first side");
  sums->mutable_first()->add_gradient_weight(1);
  sums->mutable_first()->add_weight_weight(3);
  ASSERT_TRUE(Receive(request).ok());
  ExpectRefused(request, "came twice");
  ASSERT_TRUE(Receive(End(1)).ok());
  EXPECT_EQ(Value("thermograd_symmetry_residual_ratio"), 0);
  EXPECT_EQ(Value("thermograd_symmetry_relative_charge_ratio"), 0.5);
}

TEST_F(RunSessionTest, NonFiniteSumsAreCountedAndWithheld) {
  Open(1);
  v1::StreamRunRequest request = Sums(1, 2, std::numeric_limits<double>::infinity());
  ASSERT_TRUE(Receive(request).ok());
  request = Sums(2, 2, 1);
  request.mutable_statistics()->mutable_parameters(0)->set_nan_elements(3);
  ASSERT_TRUE(Receive(request).ok());
  ASSERT_TRUE(Receive(End(1)).ok());
  EXPECT_EQ(Reason("thermograd_gradient_second_moment"), v1::UNDEFINED_REASON_NON_FINITE_INPUT);
  EXPECT_EQ(runs_.List()[0].non_finite.at("u").infinities, 1u);
  EXPECT_EQ(runs_.List()[0].non_finite.at("w").nans, 3u);
}

TEST_F(RunSessionTest, TheReportSaysWhatWasSampled) {
  v1::StreamRunRequest spec = Spec();
  spec.mutable_run_spec()->mutable_sampling()->set_every_steps(10);
  spec.mutable_run_spec()->mutable_sampling()->set_model_elements(40);
  v1::ProbeSet* set = spec.mutable_run_spec()->add_probe_sets();
  set->set_name("probes");
  set->set_samples(2);
  set->set_sampled_from(8);
  v1::Layer* layer = spec.mutable_run_spec()->mutable_layers(0);
  layer->set_probe_set("probes");
  layer->set_projected_from(100);
  ASSERT_TRUE(Receive(spec).ok());
  ASSERT_TRUE(Receive(Begin(1)).ok());
  v1::StreamRunRequest activations = Chunk(3, v1::TENSOR_KIND_ACTIVATION, {1, 2, 3, 5});
  activations.mutable_chunk()->add_shape(2);
  activations.mutable_chunk()->add_shape(2);
  ASSERT_TRUE(Receive(activations).ok());
  ASSERT_TRUE(Receive(End(1)).ok());
  EXPECT_EQ(Value("thermograd_sampling_interval_steps"), 10);
  EXPECT_EQ(Value("thermograd_sampling_parameter_elements_ratio"), 0.1);
  EXPECT_EQ(Value("thermograd_sampling_probe_samples_ratio"), 0.25);
  EXPECT_EQ(Value("thermograd_sampling_projection_error_ratio"), 1);
}

TEST_F(RunSessionTest, SamplesThatCannotBeAreRefused) {
  v1::StreamRunRequest spec = Spec();
  v1::Layer* layer = spec.mutable_run_spec()->mutable_layers(0);
  layer->set_projected_from(2);
  ExpectRefused(spec, "layers[0].projected_from");
  layer->set_projected_from(3);
  layer->set_weight_id(1);
  ExpectRefused(spec, "layers[0].projected_from");
  layer->clear_weight_id();
  v1::ProbeSet* set = spec.mutable_run_spec()->add_probe_sets();
  set->set_name("probes");
  set->set_samples(3);
  set->set_sampled_from(2);
  ExpectRefused(spec, "probe_sets[0].sampled_from");
}

TEST_F(RunSessionTest, AMissingGradientWithholdsTheRunsFigures) {
  Open(1);
  ASSERT_TRUE(Receive(Chunk(1, v1::TENSOR_KIND_GRADIENT, {1, 2})).ok());
  ASSERT_TRUE(Receive(End(1)).ok());
  EXPECT_EQ(Reason("thermograd_gradient_second_moment"), v1::UNDEFINED_REASON_MISSING_TENSOR);
  EXPECT_EQ(Value("thermograd_parameter_gradient_second_moment"), 5);
}

TEST_F(RunSessionTest, NanIsCountedAndNeverSpreads) {
  Open(1);
  ASSERT_TRUE(
      Receive(Chunk(1, v1::TENSOR_KIND_GRADIENT, {std::numeric_limits<float>::quiet_NaN(), 2}))
          .ok());
  ASSERT_TRUE(Receive(Chunk(2, v1::TENSOR_KIND_GRADIENT, {1, 1})).ok());
  ASSERT_TRUE(Receive(End(1)).ok());
  EXPECT_EQ(responses_[0].notice().kind(), v1::NOTICE_KIND_NON_FINITE);
  EXPECT_EQ(Reason("thermograd_gradient_second_moment"), v1::UNDEFINED_REASON_NON_FINITE_INPUT);
  EXPECT_EQ(Reason("thermograd_symmetry_gradient_balance_ratio"),
            v1::UNDEFINED_REASON_NON_FINITE_INPUT);
  EXPECT_EQ(runs_.List()[0].non_finite.at("u").nans, 1u);
  // The next, clean step has its figures.
  ASSERT_TRUE(Receive(Begin(2)).ok());
  ASSERT_TRUE(Receive(Chunk(1, v1::TENSOR_KIND_GRADIENT, {1, 2})).ok());
  ASSERT_TRUE(Receive(Chunk(2, v1::TENSOR_KIND_GRADIENT, {1, 1})).ok());
  ASSERT_TRUE(Receive(End(2)).ok());
  EXPECT_EQ(Value("thermograd_gradient_second_moment"), 7);
}

TEST_F(RunSessionTest, RefusesWhatDoesNotFitTheDeclaration) {
  ExpectRefused(Begin(1), "run_spec");
  Open(5);
  ExpectRefused(Spec(), "run_spec");
  ExpectRefused(Begin(6), "step_begin");
  ExpectRefused(Chunk(9, v1::TENSOR_KIND_GRADIENT, {1}), "chunk.tensor_id");
  ExpectRefused(Chunk(1, v1::TENSOR_KIND_UPDATE, {1}), "chunk.kind");
  ExpectRefused(Chunk(1, v1::TENSOR_KIND_GRADIENT, {1}, 1), "chunk.offset");
  ExpectRefused(Chunk(1, v1::TENSOR_KIND_GRADIENT, {1, 2, 3}), "chunk.data");
  ExpectRefused(Chunk(1, v1::TENSOR_KIND_GRADIENT, {}), "chunk.data");
  v1::StreamRunRequest chunk = Chunk(1, v1::TENSOR_KIND_GRADIENT, {1, 2});
  chunk.mutable_chunk()->add_shape(2);
  ExpectRefused(chunk, "chunk.shape");
  chunk = Chunk(1, v1::TENSOR_KIND_GRADIENT, {1});
  chunk.mutable_chunk()->mutable_data()->pop_back();
  ExpectRefused(chunk, "chunk.data");
  chunk = Chunk(1, v1::TENSOR_KIND_GRADIENT, {1});
  chunk.mutable_chunk()->set_microbatch(1);
  ExpectRefused(chunk, "chunk.microbatch");
  ExpectRefused(End(6), "step_end.step");
  ASSERT_TRUE(Receive(End(5)).ok());
  ExpectRefused(Begin(5), "step_begin.step");
  ExpectRefused(End(5), "step_end");
}

TEST_F(RunSessionTest, RefusesBrokenDeclarations) {
  const auto refuse = [&](auto change, const std::string& text) {
    v1::StreamRunRequest request = Spec();
    change(request.mutable_run_spec());
    ExpectRefused(request, text);
  };
  refuse([](v1::RunSpec* spec) { spec->clear_run(); }, "run_spec.run");
  refuse([](v1::RunSpec* spec) { spec->set_rank(1); }, "run_spec.rank");
  refuse([](v1::RunSpec* spec) { spec->mutable_parameters(1)->set_id(1); }, "parameters[1].id");
  refuse([](v1::RunSpec* spec) { spec->mutable_parameters(1)->set_name("u"); },
         "parameters[1].name");
  refuse([](v1::RunSpec* spec) { spec->mutable_parameters(0)->set_shape(0, 0); },
         "parameters[0].shape");
  refuse([](v1::RunSpec* spec) { spec->mutable_layers(0)->set_probe_set("unknown"); },
         "layers[0].probe_set");
  refuse(
      [](v1::RunSpec* spec) {
        spec->mutable_symmetries(0)
            ->mutable_neuron_rescaling()
            ->mutable_incoming()
            ->set_parameter_id(8);
      },
      "symmetries[0].neuron_rescaling.incoming");
  refuse(
      [](v1::RunSpec* spec) {
        spec->mutable_symmetries(0)
            ->mutable_neuron_rescaling()
            ->mutable_outgoing()
            ->set_parameter_id(1);
      },
      "symmetries[0].neuron_rescaling.outgoing");
  v1::StreamRunRequest huge = Spec();
  huge.mutable_run_spec()->mutable_parameters(0)->set_shape(0, 1ull << 63);
  EXPECT_EQ(ExceededLimit(Receive(huge)), Limit::max_elements);
  EXPECT_THAT(runs_.List(), IsEmpty());
  EXPECT_TRUE(Receive(Spec()).ok());
}

TEST_F(RunSessionTest, ActivationsOfOneStepMakeARepresentation) {
  Open(1);
  v1::StreamRunRequest chunk = Chunk(3, v1::TENSOR_KIND_ACTIVATION, {1, 0, -1, 0, 0, 1, 0, -1});
  chunk.mutable_chunk()->add_shape(4);
  chunk.mutable_chunk()->add_shape(2);
  ASSERT_TRUE(Receive(chunk).ok());
  EXPECT_EQ(session_.WorkOf(End(1)), WorkerPool::Length::kLong);
  ASSERT_TRUE(Receive(End(1)).ok());
  EXPECT_NEAR(Value("thermograd_effective_rank"), 2, 1e-12);
  EXPECT_EQ(admission_.bytes(), window_bytes_);
}

TEST_F(RunSessionTest, LayersAreAlignedWithTheirGradientsAndWeights) {
  v1::StreamRunRequest spec = Spec();
  spec.mutable_run_spec()->mutable_layers(0)->set_weight_id(2);
  spec.mutable_run_spec()->mutable_layers(0)->set_reader_weight_id(1);
  const auto refuse = [&](auto change, const std::string& text) {
    v1::StreamRunRequest request = spec;
    change(request.mutable_run_spec()->mutable_layers(0));
    ExpectRefused(request, text);
  };
  refuse([](v1::Layer* layer) { layer->set_weight_id(9); }, "layers[0].weight_id");
  refuse([](v1::Layer* layer) { layer->set_weight_id(1); }, "layers[0].weight_id");
  refuse([](v1::Layer* layer) { layer->set_reader_weight_id(2); }, "layers[0].reader_weight_id");
  ASSERT_TRUE(Receive(spec).ok());
  window_bytes_ = admission_.bytes();
  ASSERT_TRUE(Receive(Begin(1)).ok());
  const auto send = [&](v1::TensorKind kind, const std::vector<float>& values) {
    v1::StreamRunRequest chunk = Chunk(3, kind, values);
    chunk.mutable_chunk()->add_shape(2);
    chunk.mutable_chunk()->add_shape(2);
    ASSERT_TRUE(Receive(chunk).ok());
  };
  send(v1::TENSOR_KIND_ACTIVATION_GRADIENT, {3, 0, 0, 0});
  send(v1::TENSOR_KIND_ACTIVATION, {1, 0, 0, 1});
  ASSERT_TRUE(Receive(Chunk(1, v1::TENSOR_KIND_WEIGHT, {5, 0})).ok());
  ASSERT_TRUE(Receive(Chunk(2, v1::TENSOR_KIND_WEIGHT, {5, 0})).ok());
  ASSERT_TRUE(Receive(End(1)).ok());
  EXPECT_DOUBLE_EQ(Value("thermograd_alignment_representation_gradient_ratio"), std::sqrt(0.5));
  EXPECT_DOUBLE_EQ(Value("thermograd_alignment_representation_weight_ratio"), std::sqrt(0.5));
  EXPECT_DOUBLE_EQ(Value("thermograd_alignment_gradient_weight_ratio"), 1);
  EXPECT_EQ(admission_.bytes(), window_bytes_);

  // Gradients alone are not passed over in silence.
  ASSERT_TRUE(Receive(Begin(2)).ok());
  send(v1::TENSOR_KIND_ACTIVATION_GRADIENT, {3, 0, 0, 0});
  ASSERT_TRUE(Receive(End(2)).ok());
  EXPECT_EQ(Reason("thermograd_alignment_representation_gradient_ratio"),
            v1::UNDEFINED_REASON_MISSING_TENSOR);
  EXPECT_EQ(Reason("thermograd_effective_rank"), v1::UNDEFINED_REASON_MISSING_TENSOR);
}

TEST_F(RunSessionTest, DeclaredSimilaritiesAreChecked) {
  v1::StreamRunRequest spec = Spec();
  spec.mutable_run_spec()->mutable_reporting()->mutable_similarity()->set_permutations(3);
  ExpectRefused(spec, "run_spec.reporting.similarity.permutations");
}

}  // namespace
}  // namespace thermograd::service
