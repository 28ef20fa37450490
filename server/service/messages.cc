#include "service/messages.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "metrics/catalogue.h"
#include "service/limit_status.h"

namespace thermograd::service {
namespace {

// Of a regular expression that a client is asked to use.
constexpr size_t kMaxPatternBytes = 1024;

}  // namespace

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
    metric->set_error(definition.error);
  }
  return response;
}

v1::StreamRunResponse CadenceResponse(const Cadence& cadence) {
  v1::StreamRunResponse response;
  v1::Cadence* out = response.mutable_cadence();
  if (cadence.every_steps) out->set_every_steps(*cadence.every_steps);
  if (cadence.first_step) out->set_first_step(*cadence.first_step);
  if (cadence.last_step) out->set_last_step(*cadence.last_step);
  if (cadence.include) out->set_include(*cadence.include);
  if (cadence.exclude) out->set_exclude(*cadence.exclude);
  if (cadence.layers) {
    out->mutable_layers()->mutable_names()->Assign(cadence.layers->begin(), cadence.layers->end());
  }
  return response;
}

absl::StatusOr<Cadence> CheckCadence(const v1::Cadence& cadence, const Limits& limits) {
  Cadence checked;
  if (cadence.has_every_steps()) {
    if (cadence.every_steps() == 0) {
      return absl::InvalidArgumentError("cadence.every_steps: must be at least 1");
    }
    checked.every_steps = cadence.every_steps();
  }
  if (cadence.has_first_step()) checked.first_step = cadence.first_step();
  if (cadence.has_last_step()) checked.last_step = cadence.last_step();
  if (checked.first_step && checked.last_step && *checked.first_step > *checked.last_step) {
    return absl::InvalidArgumentError("cadence.last_step: comes before first_step");
  }
  const auto is_long = [&](const std::string& text) { return text.size() > kMaxPatternBytes; };
  if (cadence.has_include()) checked.include = cadence.include();
  if (cadence.has_exclude()) checked.exclude = cadence.exclude();
  if (is_long(cadence.include()) || is_long(cadence.exclude())) {
    return absl::InvalidArgumentError(
        absl::StrCat("cadence.include, cadence.exclude: at most ", kMaxPatternBytes, " bytes"));
  }
  if (cadence.has_layers()) {
    if (static_cast<uint32_t>(cadence.layers().names_size()) > limits.max_layers) {
      return LimitExceeded(Limit::max_layers, limits,
                           absl::StrCat("cadence.layers: ", cadence.layers().names_size()));
    }
    for (const std::string& name : cadence.layers().names()) {
      if (name.empty()) {
        return absl::InvalidArgumentError("cadence.layers.names: must not be empty");
      }
      if (name.size() > limits.max_label_bytes) {
        return LimitExceeded(Limit::max_label_bytes, limits,
                             absl::StrCat("cadence.layers.names: ", name.size(), " bytes"));
      }
    }
    checked.layers.emplace(cadence.layers().names().begin(), cadence.layers().names().end());
  }
  if (cadence.ByteSizeLong() == 0) {
    return absl::InvalidArgumentError("cadence: at least one field must be set");
  }
  return checked;
}

}  // namespace thermograd::service
