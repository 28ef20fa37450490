#include "service/messages.h"

#include <utility>

#include "absl/strings/str_split.h"
#include "metrics/catalogue.h"

namespace thermograd::service {

v1::UndefinedReason ToProto(metrics::Undefined reason) {
  switch (reason) {
    case metrics::Undefined::kTooFewMicrobatches:
      return v1::UNDEFINED_REASON_TOO_FEW_MICROBATCHES;
    case metrics::Undefined::kTooFewSamples:
      return v1::UNDEFINED_REASON_TOO_FEW_SAMPLES;
    case metrics::Undefined::kZeroDenominator:
      return v1::UNDEFINED_REASON_ZERO_DENOMINATOR;
    case metrics::Undefined::kNonFiniteInput:
      return v1::UNDEFINED_REASON_NON_FINITE_INPUT;
    case metrics::Undefined::kMissingTensor:
      return v1::UNDEFINED_REASON_MISSING_TENSOR;
    case metrics::Undefined::kNoEarlierStep:
      return v1::UNDEFINED_REASON_NO_EARLIER_STEP;
    case metrics::Undefined::kOptimizerNotCovered:
      return v1::UNDEFINED_REASON_OPTIMIZER_NOT_COVERED;
    case metrics::Undefined::kDifferentSamples:
      return v1::UNDEFINED_REASON_DIFFERENT_SAMPLES;
    case metrics::Undefined::kLimit:
      return v1::UNDEFINED_REASON_LIMIT;
    case metrics::Undefined::kOverflow:
      return v1::UNDEFINED_REASON_OVERFLOW;
    case metrics::Undefined::kIncompleteShards:
      return v1::UNDEFINED_REASON_INCOMPLETE_SHARDS;
    case metrics::Undefined::kNoWeightDecay:
      return v1::UNDEFINED_REASON_NO_WEIGHT_DECAY;
    case metrics::Undefined::kNotConverged:
      return v1::UNDEFINED_REASON_NOT_CONVERGED;
    case metrics::Undefined::kDifferentOptions:
      return v1::UNDEFINED_REASON_DIFFERENT_OPTIONS;
  }
  return v1::UNDEFINED_REASON_UNSPECIFIED;
}

v1::StreamRunResponse RunAccepted(const Limits& limits, uint32_t window_steps) {
  v1::StreamRunResponse response;
  v1::RunAccepted* accepted = response.mutable_run_accepted();
  accepted->set_window_steps(window_steps);
  v1::StreamLimits* out = accepted->mutable_limits();
  out->set_max_chunk_bytes(limits.max_chunk_bytes);
  out->set_max_parameters(limits.max_parameters);
  out->set_max_layers(limits.max_layers);
  out->set_max_symmetries(limits.max_symmetries);
  out->set_max_label_bytes(limits.max_label_bytes);
  out->set_max_stream_bytes(limits.max_stream_bytes);
  out->set_max_samples(limits.max_samples);
  out->set_max_window_steps(limits.max_window_steps);
  return response;
}

v1::StreamRunResponse Notice(AnalysisNotice notice, std::optional<uint64_t> step) {
  v1::StreamRunResponse response;
  v1::Notice* out = response.mutable_notice();
  switch (notice.kind) {
    case AnalysisNotice::Kind::kDropped:
      out->set_kind(v1::NOTICE_KIND_DROPPED);
      break;
    case AnalysisNotice::Kind::kNotComparable:
      out->set_kind(v1::NOTICE_KIND_NOT_COMPARABLE);
      break;
    case AnalysisNotice::Kind::kNonFinite:
      out->set_kind(v1::NOTICE_KIND_NON_FINITE);
      break;
  }
  out->set_text(std::move(notice.text));
  if (step) out->set_step(*step);
  return response;
}

v1::StreamRunResponse DrainingNotice() {
  v1::StreamRunResponse response;
  response.mutable_notice()->set_kind(v1::NOTICE_KIND_DRAINING);
  response.mutable_notice()->set_text("The server is about to stop: it finishes the open step.");
  return response;
}

v1::StreamRunResponse Acknowledgement(uint64_t step) {
  v1::StreamRunResponse response;
  response.mutable_acknowledgement()->set_step(step);
  return response;
}

v1::DescribeMetricsResponse DescribeCatalogue() {
  v1::DescribeMetricsResponse response;
  for (const metrics::Definition& definition : metrics::Catalogue()) {
    v1::MetricDescription* metric = response.add_metrics();
    metric->set_name(definition.name);
    switch (definition.family) {
      case metrics::Family::kEntropicForce:
        metric->set_family(v1::METRIC_FAMILY_ENTROPIC_FORCE);
        break;
      case metrics::Family::kSymmetryBreaking:
        metric->set_family(v1::METRIC_FAMILY_SYMMETRY_BREAKING);
        break;
      case metrics::Family::kRepresentationSimilarity:
        metric->set_family(v1::METRIC_FAMILY_REPRESENTATION_SIMILARITY);
        break;
      case metrics::Family::kSampling:
        metric->set_family(v1::METRIC_FAMILY_SAMPLING);
        break;
    }
    metric->set_unit(definition.unit);
    metric->set_range(definition.range);
    metric->set_help(definition.help);
    metric->set_formula(definition.formula);
    metric->set_citation(definition.citation);
    for (const absl::string_view label :
         absl::StrSplit(definition.labels, ',', absl::SkipEmpty())) {
      metric->add_labels(std::string(label));
    }
    metric->set_inputs(definition.inputs);
    metric->set_meaning(definition.meaning);
  }
  return response;
}

}  // namespace thermograd::service
