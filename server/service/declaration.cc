#include "service/declaration.h"

#include <algorithm>
#include <optional>
#include <unordered_set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "service/label_text.h"
#include "service/limit_status.h"
#include "service/similarity_options.h"
#include "service/symmetry_analysis.h"
#include "service/symmetry_declaration.h"

namespace thermograd::service {
namespace {

// Some milliseconds.
constexpr uint64_t kQuickSpectrumRows = 256;

class Checker {
 public:
  Checker(const v1::RunSpec& spec, const Limits& limits) : spec_(spec), limits_(limits) {}

  absl::StatusOr<RunDeclaration> Check() {
    for (const auto step :
         {&Checker::CheckHeader, &Checker::CheckParameters, &Checker::CheckProbeSets,
          &Checker::CheckLayers, &Checker::CheckSymmetries}) {
      if (absl::Status status = (this->*step)(); !status.ok()) return status;
    }
    return std::move(declaration_);
  }

 private:
  absl::Status CheckCount(absl::string_view field, int count, Limit limit) const {
    if (static_cast<uint64_t>(count) <= ValuesOf(limits_)[static_cast<size_t>(limit)]) {
      return absl::OkStatus();
    }
    return LimitExceeded(limit, limits_, absl::StrCat("run_spec.", field, ": ", count, " entries"));
  }

  absl::Status CheckText(absl::string_view field, const std::string& text) const {
    if (text.size() > limits_.max_label_bytes) {
      return LimitExceeded(Limit::max_label_bytes, limits_,
                           absl::StrCat(field, ": ", text.size(), " bytes"));
    }
    return CheckLabelText(field, text);
  }

  absl::Status CheckName(const std::string& field, const std::string& name,
                         std::unordered_set<std::string>* names) const {
    if (absl::Status status = CheckText(field, name); !status.ok()) return status;
    if (!names->insert(name).second) {
      return absl::InvalidArgumentError(absl::StrCat(field, ": '", name, "' is declared twice"));
    }
    return absl::OkStatus();
  }

  absl::Status CheckId(const std::string& field, uint32_t id) {
    if (ids_.insert(id).second) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(field, ": ", id, " is used twice among parameters and layers"));
  }

  absl::Status CheckHeader() {
    if (absl::Status status = CheckText("run_spec.run", spec_.run()); !status.ok()) return status;
    declaration_.run.name = spec_.run();
    declaration_.rank = spec_.rank();
    declaration_.world_size = spec_.world_size() == 0 ? 1 : spec_.world_size();
    if (declaration_.world_size > limits_.max_ranks) {
      return LimitExceeded(Limit::max_ranks, limits_,
                           absl::StrCat("run_spec.world_size: ", declaration_.world_size));
    }
    if (declaration_.rank >= declaration_.world_size) {
      return absl::InvalidArgumentError(absl::StrCat(
          "run_spec.rank: ", spec_.rank(), " is not below world_size ", declaration_.world_size));
    }
    v1::RunSpec shared = spec_;
    shared.clear_rank();
    shared.clear_resume_after_step();
    for (v1::Parameter& parameter : *shared.mutable_parameters()) parameter.clear_shard();
    declaration_.identity = shared.SerializeAsString();
    if (absl::Status status = CheckOptimizer(); !status.ok()) return status;
    if (!v1::GradientScope_IsValid(spec_.gradient_scope())) {
      return absl::InvalidArgumentError(absl::StrCat(
          "run_spec.gradient_scope: ", spec_.gradient_scope(), " is no scope this server knows"));
    }
    declaration_.gradients_are_reduced = spec_.gradient_scope() == v1::GRADIENT_SCOPE_REDUCED;
    for (const int kind : spec_.parameter_kinds()) {
      switch (kind) {
        case v1::TENSOR_KIND_GRADIENT:
        case v1::TENSOR_KIND_WEIGHT:
          break;
        case v1::TENSOR_KIND_UPDATE:
          declaration_.sends_updates = true;
          break;
        case v1::TENSOR_KIND_PRECONDITIONER:
          declaration_.sends_preconditioners = true;
          break;
        case v1::TENSOR_KIND_GRADIENT_AFTER_UPDATE:
          declaration_.sends_gradients_after_update = true;
          break;
        case v1::TENSOR_KIND_REDUCED_GRADIENT:
          declaration_.sends_reduced_gradients = true;
          break;
        default:
          return absl::InvalidArgumentError(
              absl::StrCat("run_spec.parameter_kinds: ", kind, " is no kind of parameters"));
      }
    }
    const uint32_t window = spec_.reporting().window_steps();
    if (window > limits_.max_window_steps) {
      return LimitExceeded(Limit::max_window_steps, limits_,
                           absl::StrCat("run_spec.reporting.window_steps: ", window));
    }
    declaration_.window_steps = window == 0 ? limits_.default_window_steps : window;
    const uint32_t spectrum = spec_.reporting().spectrum_every_steps();
    declaration_.max_spectrum_rows = limits_.max_spectrum_rows;
    declaration_.spectrum_every_steps =
        spectrum == 0 ? limits_.default_spectrum_every_steps : spectrum;
    const uint32_t every = spec_.reporting().report_every_steps();
    declaration_.report_every_steps = every == 0 ? 1 : every;
    absl::StatusOr<metrics::SimilarityOptions> similarity =
        CheckSimilarityOptions("run_spec.reporting.similarity", spec_.reporting().similarity(),
                               DefaultSimilaritiesOfRuns(), limits_);
    if (!similarity.ok()) return similarity.status();
    declaration_.similarity = *std::move(similarity);
    declaration_.similarity_over_window = spec_.reporting().similarity_over_window();
    if (spec_.has_sampling()) {
      declaration_.sampling = {.every_steps = std::max(spec_.sampling().every_steps(), 1u),
                               .model_elements = spec_.sampling().model_elements()};
    }
    if (spec_.has_resume_after_step()) {
      declaration_.resume_after_step = spec_.resume_after_step();
    }
    return absl::OkStatus();
  }

  absl::Status CheckOptimizer() {
    const v1::Optimizer& optimizer = spec_.optimizer();
    for (const auto& [field, value] : {std::pair{"momentum", optimizer.momentum()},
                                       {"second_moment_decay", optimizer.second_moment_decay()}}) {
      if (!(value >= 0 && value < 1)) {
        return absl::InvalidArgumentError(
            absl::StrCat("run_spec.optimizer.", field, ": ", value, " is not in [0, 1)"));
      }
    }
    declaration_.optimizer.momentum = optimizer.momentum();
    declaration_.optimizer.nesterov = optimizer.nesterov();
    switch (optimizer.kind()) {
      case v1::OPTIMIZER_KIND_UNSPECIFIED:
        declaration_.optimizer.kind = metrics::Optimizer::Kind::kUnknown;
        break;
      case v1::OPTIMIZER_KIND_SGD:
        if (optimizer.momentum() != 0) {
          return absl::InvalidArgumentError(
              "run_spec.optimizer.momentum: must be 0 for SGD; with momentum the kind is MOMENTUM");
        }
        declaration_.optimizer.kind = metrics::Optimizer::Kind::kSgd;
        break;
      case v1::OPTIMIZER_KIND_MOMENTUM:
        declaration_.optimizer.kind = metrics::Optimizer::Kind::kMomentum;
        break;
      default:
        declaration_.optimizer.kind = metrics::Optimizer::Kind::kOther;
    }
    return absl::OkStatus();
  }

  // Where this rank's part lies. That the parts of all ranks cover the parameter is seen when all
  // ranks are there.
  absl::Status CheckShard(const std::string& field, const v1::Parameter& parameter,
                          DeclaredParameter* declared) const {
    if (!parameter.has_shard()) {
      declared->shard = {.offset = std::vector<uint64_t>(declared->shape.size()),
                         .shape = declared->shape};
      declared->shard_elements = declared->elements;
      declared->replicas = declaration_.world_size;
      return absl::OkStatus();
    }
    const v1::Shard& shard = parameter.shard();
    const auto dimensions = static_cast<int>(declared->shape.size());
    if (shard.offset_size() != dimensions || shard.shape_size() != dimensions) {
      return absl::InvalidArgumentError(absl::StrCat(
          field, ".shard: offset and shape must have the parameter's ", dimensions, " dimensions"));
    }
    declared->shard = {.offset = {shard.offset().begin(), shard.offset().end()},
                       .shape = {shard.shape().begin(), shard.shape().end()}};
    declared->shard_elements = 1;
    for (int d = 0; d < dimensions; ++d) {
      const uint64_t extent = declared->shape[static_cast<size_t>(d)];
      if (shard.shape(d) == 0 || shard.shape(d) > extent ||
          shard.offset(d) > extent - shard.shape(d)) {
        return absl::InvalidArgumentError(
            absl::StrCat(field, ".shard: dimension ", d, " does not lie within ", extent));
      }
      declared->shard_elements *= shard.shape(d);
    }
    declared->replicas = shard.replicas() == 0 ? 1 : shard.replicas();
    if (declared->replicas > declaration_.world_size) {
      return absl::InvalidArgumentError(absl::StrCat(field, ".shard.replicas: ", shard.replicas(),
                                                     " exceeds the world size ",
                                                     declaration_.world_size));
    }
    return absl::OkStatus();
  }

  absl::Status CheckParameters() {
    if (absl::Status status =
            CheckCount("parameters", spec_.parameters_size(), Limit::max_parameters);
        !status.ok()) {
      return status;
    }
    std::unordered_set<std::string> names;
    for (int i = 0; i < spec_.parameters_size(); ++i) {
      const v1::Parameter& parameter = spec_.parameters(i);
      const std::string field = absl::StrCat("run_spec.parameters[", i, "]");
      absl::Status status = CheckId(field + ".id", parameter.id());
      if (status.ok()) status = CheckName(field + ".name", parameter.name(), &names);
      if (!status.ok()) return status;
      if (!parameter.group().empty()) {
        status = CheckText(field + ".group", parameter.group());
        if (!status.ok()) return status;
      }
      uint64_t elements = 1;
      for (const uint64_t extent : parameter.shape()) {
        if (extent == 0) {
          return absl::InvalidArgumentError(absl::StrCat(field, ".shape: has no elements"));
        }
        if (extent > limits_.max_elements / elements) {
          return LimitExceeded(Limit::max_elements, limits_,
                               absl::StrCat(field, ".shape: more elements"));
        }
        elements *= extent;
      }
      declaration_.parameter_of_id[parameter.id()] = declaration_.parameters.size();
      DeclaredParameter declared;
      declared.name = parameter.name();
      declared.group = parameter.group();
      declared.shape = {parameter.shape().begin(), parameter.shape().end()};
      declared.elements = elements;
      if (status = CheckShard(field, parameter, &declared); !status.ok()) return status;
      declaration_.parameters.push_back(std::move(declared));
    }
    return absl::OkStatus();
  }

  absl::Status CheckProbeSets() {
    if (absl::Status status = CheckCount("probe_sets", spec_.probe_sets_size(), Limit::max_layers);
        !status.ok()) {
      return status;
    }
    std::unordered_set<std::string> names;
    for (int i = 0; i < spec_.probe_sets_size(); ++i) {
      const v1::ProbeSet& set = spec_.probe_sets(i);
      const std::string field = absl::StrCat("run_spec.probe_sets[", i, "]");
      if (absl::Status status = CheckName(field + ".name", set.name(), &names); !status.ok()) {
        return status;
      }
      if (set.samples() == 0) {
        return absl::InvalidArgumentError(absl::StrCat(field, ".samples: must be at least 1"));
      }
      if (set.samples() > limits_.max_samples) {
        return LimitExceeded(Limit::max_samples, limits_,
                             absl::StrCat(field, ".samples: ", set.samples()));
      }
      if (set.fingerprint().size() > 64) {
        return absl::InvalidArgumentError(absl::StrCat(
            field, ".fingerprint: ", set.fingerprint().size(), " bytes, the limit is 64"));
      }
      if (set.sampled_from() != 0 && set.sampled_from() < set.samples()) {
        return absl::InvalidArgumentError(absl::StrCat(field, ".sampled_from: ", set.sampled_from(),
                                                       ", fewer than its ", set.samples(),
                                                       " samples"));
      }
      declaration_.probe_sets.push_back({.name = set.name(),
                                         .samples = set.samples(),
                                         .fingerprint = set.fingerprint(),
                                         .sampled_from = set.sampled_from()});
    }
    return absl::OkStatus();
  }

  // A matrix with one row (dimension 0) or column (dimension 1) a feature of the layer.
  absl::Status CheckLayerWeight(const std::string& field, uint32_t id, uint64_t width,
                                size_t dimension, std::optional<size_t>* weight) {
    const auto found = declaration_.parameter_of_id.find(id);
    if (found == declaration_.parameter_of_id.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat(field, ": ", id, " is no id of run_spec.parameters"));
    }
    DeclaredParameter& parameter = declaration_.parameters[found->second];
    if (parameter.shape.size() != 2 || parameter.shape[dimension] != width) {
      return absl::InvalidArgumentError(
          absl::StrCat(field, ": '", parameter.name, "' must be a matrix with ", width,
                       dimension == 0 ? " rows" : " columns", ", one a feature of the layer"));
    }
    parameter.in_alignment = true;
    *weight = found->second;
    return absl::OkStatus();
  }

  absl::Status CheckLayers() {
    if (absl::Status status = CheckCount("layers", spec_.layers_size(), Limit::max_layers);
        !status.ok()) {
      return status;
    }
    std::unordered_set<std::string> names;
    for (int i = 0; i < spec_.layers_size(); ++i) {
      const v1::Layer& layer = spec_.layers(i);
      const std::string field = absl::StrCat("run_spec.layers[", i, "]");
      absl::Status status = CheckId(field + ".id", layer.id());
      if (status.ok()) status = CheckName(field + ".name", layer.name(), &names);
      if (!status.ok()) return status;
      if (layer.width() == 0) {
        return absl::InvalidArgumentError(absl::StrCat(field, ".width: must be at least 1"));
      }
      if (layer.width() > limits_.max_elements) {
        return LimitExceeded(Limit::max_elements, limits_,
                             absl::StrCat(field, ".width: ", layer.width()));
      }
      DeclaredLayer declared;
      declared.name = layer.name();
      declared.width = layer.width();
      declared.projected_from = layer.projected_from();
      if (layer.projected_from() != 0) {
        // With one column the moments that the estimates are solved from depend on each other.
        if (layer.width() < 2 || layer.width() >= layer.projected_from()) {
          return absl::InvalidArgumentError(
              absl::StrCat(field, ".projected_from: ", layer.projected_from(), " features to ",
                           layer.width(), ", which must be 2 at least and fewer"));
        }
        if (declaration_.similarity_over_window && layer.probe_set().empty()) {
          return absl::InvalidArgumentError(absl::StrCat(
              field,
              ".projected_from: similarity_over_window adds features over steps, and each "
              "step has another projection"));
        }
        if (layer.has_weight_id() || layer.has_reader_weight_id()) {
          return absl::InvalidArgumentError(absl::StrCat(
              field, ".projected_from: projected features cannot be compared with weights"));
        }
      }
      if (!layer.probe_set().empty()) {
        for (size_t s = 0; s < declaration_.probe_sets.size(); ++s) {
          if (declaration_.probe_sets[s].name == layer.probe_set()) declared.probe_set = s;
        }
        if (!declared.probe_set) {
          return absl::InvalidArgumentError(
              absl::StrCat(field, ".probe_set: names no entry of run_spec.probe_sets"));
        }
      }
      if (layer.has_weight_id()) {
        status = CheckLayerWeight(field + ".weight_id", layer.weight_id(), layer.width(), 0,
                                  &declared.weight);
      }
      if (status.ok() && layer.has_reader_weight_id()) {
        status = CheckLayerWeight(field + ".reader_weight_id", layer.reader_weight_id(),
                                  layer.width(), 1, &declared.reader_weight);
      }
      if (!status.ok()) return status;
      declaration_.layer_of_id[layer.id()] = declaration_.layers.size();
      declaration_.layers.push_back(std::move(declared));
    }
    return absl::OkStatus();
  }

  absl::Status CheckSymmetries() {
    if (absl::Status status =
            CheckCount("symmetries", spec_.symmetries_size(), Limit::max_symmetries);
        !status.ok()) {
      return status;
    }
    std::unordered_set<std::string> names;
    for (int i = 0; i < spec_.symmetries_size(); ++i) {
      const v1::Symmetry& symmetry = spec_.symmetries(i);
      const std::string field = absl::StrCat("run_spec.symmetries[", i, "]");
      if (absl::Status status = CheckName(field + ".name", symmetry.name(), &names); !status.ok()) {
        return status;
      }
      absl::StatusOr<DeclaredSymmetry> declared =
          CheckSymmetry(symmetry, field, limits_, declaration_);
      if (!declared.ok()) return declared.status();
      for (const auto* side : {&declared->first, &declared->second}) {
        for (const SymmetryMember& member : *side) {
          declaration_.parameters[member.parameter].in_symmetry = true;
        }
      }
      if (declared->kind == DeclaredSymmetry::Kind::kNeuronPermutation &&
          declared->instances > kQuickSpectrumRows) {
        declaration_.has_spectra = true;
      }
      declaration_.symmetries.push_back(*std::move(declared));
      const uint64_t bytes = SymmetryBytes(declaration_.symmetries);
      if (bytes > limits_.max_symmetry_bytes) {
        return LimitExceeded(
            Limit::max_symmetry_bytes, limits_,
            absl::StrCat(field, ": the windows of the symmetries up to this one take ", bytes,
                         " bytes"));
      }
    }
    for (const DeclaredParameter& parameter : declaration_.parameters) {
      const uint64_t rows = SpectrumRows(parameter);
      if (rows > kQuickSpectrumRows) declaration_.has_spectra = true;
      if (rows <= limits_.max_spectrum_rows) continue;
      declaration_.notices.push_back(
          absl::StrCat("No singular values of '", parameter.name, "': its shorter side has ", rows,
                       " rows, the limit max_spectrum_rows is ", limits_.max_spectrum_rows, "."));
    }
    return absl::OkStatus();
  }

  const v1::RunSpec& spec_;
  const Limits& limits_;
  RunDeclaration declaration_;
  std::unordered_set<uint32_t> ids_;
};

}  // namespace

absl::StatusOr<RunDeclaration> CheckRunSpec(const v1::RunSpec& spec, const Limits& limits) {
  return Checker(spec, limits).Check();
}

std::vector<LimitValue> LimitUsesOf(const RunDeclaration& declaration) {
  uint64_t samples = 0;
  for (const DeclaredProbeSet& set : declaration.probe_sets) {
    samples = std::max(samples, set.samples);
  }
  uint64_t elements = 0;
  for (const DeclaredParameter& parameter : declaration.parameters) {
    elements = std::max<uint64_t>(elements, parameter.elements);
  }
  uint64_t rotation_rows = 0;
  uint64_t permutation_neurons = 0;
  for (const DeclaredSymmetry& symmetry : declaration.symmetries) {
    rotation_rows = std::max<uint64_t>(rotation_rows, symmetry.dimension);
    if (symmetry.kind == DeclaredSymmetry::Kind::kNeuronPermutation) {
      permutation_neurons = std::max<uint64_t>(permutation_neurons, symmetry.instances);
    }
  }
  return {{Limit::max_parameters, declaration.parameters.size()},
          {Limit::max_layers, std::max(declaration.layers.size(), declaration.probe_sets.size())},
          {Limit::max_symmetries, declaration.symmetries.size()},
          {Limit::max_ranks, declaration.world_size},
          {Limit::max_elements, elements},
          {Limit::max_samples, samples},
          {Limit::max_window_steps, declaration.window_steps},
          {Limit::max_symmetry_bytes, SymmetryBytes(declaration.symmetries)},
          {Limit::max_rotation_rows, rotation_rows},
          {Limit::max_permutation_neurons, permutation_neurons}};
}

}  // namespace thermograd::service
