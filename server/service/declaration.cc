#include "service/declaration.h"

#include <optional>
#include <unordered_set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "service/label_text.h"
#include "service/similarity_options.h"

namespace thermograd::service {
namespace {

using statistics::NeuronAxis;

absl::Status CheckCount(absl::string_view field, int count, uint32_t limit) {
  if (static_cast<uint32_t>(count) <= limit) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("run_spec.", field, ": ", count, " entries, the limit is ", limit));
}

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
  absl::Status CheckName(const std::string& field, const std::string& name,
                         std::unordered_set<std::string>* names) {
    if (absl::Status status = CheckLabelText(field, name, limits_.max_label_bytes); !status.ok()) {
      return status;
    }
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
    if (absl::Status status = CheckLabelText("run_spec.run", spec_.run(), limits_.max_label_bytes);
        !status.ok()) {
      return status;
    }
    declaration_.run = spec_.run();
    declaration_.rank = spec_.rank();
    declaration_.world_size = spec_.world_size() == 0 ? 1 : spec_.world_size();
    if (declaration_.rank >= declaration_.world_size) {
      return absl::InvalidArgumentError(absl::StrCat(
          "run_spec.rank: ", spec_.rank(), " is not below world_size ", declaration_.world_size));
    }
    declaration_.sgd = spec_.optimizer().kind() == v1::OPTIMIZER_KIND_SGD;
    const uint32_t window = spec_.reporting().window_steps();
    if (window > limits_.max_window_steps) {
      return absl::ResourceExhaustedError(absl::StrCat("run_spec.reporting.window_steps: ", window,
                                                       ", the limit is ",
                                                       limits_.max_window_steps));
    }
    declaration_.window_steps = window == 0 ? limits_.default_window_steps : window;
    const uint32_t every = spec_.reporting().report_every_steps();
    declaration_.report_every_steps = every == 0 ? 1 : every;
    absl::StatusOr<metrics::SimilarityOptions> similarity =
        CheckSimilarityOptions("run_spec.reporting.similarity", spec_.reporting().similarity(),
                               DefaultSimilaritiesOfRuns(), limits_);
    if (!similarity.ok()) return similarity.status();
    declaration_.similarity = *std::move(similarity);
    declaration_.similarity_over_window = spec_.reporting().similarity_over_window();
    if (spec_.has_resume_after_step()) {
      declaration_.resume_after_step = spec_.resume_after_step();
    }
    return absl::OkStatus();
  }

  absl::Status CheckParameters() {
    if (absl::Status status =
            CheckCount("parameters", spec_.parameters_size(), limits_.max_parameters);
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
      if (parameter.has_shard()) {
        return absl::UnimplementedError(
            absl::StrCat(field, ".shard: merging split parameters over ranks is not served yet"));
      }
      uint64_t elements = 1;
      for (const uint64_t extent : parameter.shape()) {
        if (extent == 0 || extent > limits_.max_elements / elements) {
          return absl::InvalidArgumentError(absl::StrCat(
              field, ".shape: has no elements, or more than the limit of ", limits_.max_elements));
        }
        elements *= extent;
      }
      declaration_.parameter_of_id[parameter.id()] = declaration_.parameters.size();
      declaration_.parameters.push_back(
          {.name = parameter.name(),
           .shape = {parameter.shape().begin(), parameter.shape().end()},
           .elements = elements});
    }
    return absl::OkStatus();
  }

  absl::Status CheckProbeSets() {
    if (absl::Status status = CheckCount("probe_sets", spec_.probe_sets_size(), limits_.max_layers);
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
      if (set.samples() == 0 || set.samples() > limits_.max_samples) {
        return absl::InvalidArgumentError(absl::StrCat(field, ".samples: ", set.samples(),
                                                       ", must be 1 to ", limits_.max_samples));
      }
      if (set.fingerprint().size() > 64) {
        return absl::InvalidArgumentError(absl::StrCat(
            field, ".fingerprint: ", set.fingerprint().size(), " bytes, the limit is 64"));
      }
      declaration_.probe_sets.push_back(
          {.name = set.name(), .samples = set.samples(), .fingerprint = set.fingerprint()});
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
    if (absl::Status status = CheckCount("layers", spec_.layers_size(), limits_.max_layers);
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
      if (layer.width() == 0 || layer.width() > limits_.max_elements) {
        return absl::InvalidArgumentError(absl::StrCat(field, ".width: ", layer.width(),
                                                       ", must be 1 to ", limits_.max_elements));
      }
      DeclaredLayer declared;
      declared.name = layer.name();
      declared.width = layer.width();
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

  absl::StatusOr<RescalingMember> Member(const std::string& field, const v1::Member& member,
                                         NeuronAxis axis) {
    const auto found = declaration_.parameter_of_id.find(member.parameter_id());
    if (found == declaration_.parameter_of_id.end()) {
      return absl::InvalidArgumentError(absl::StrCat(
          field, ".parameter_id: ", member.parameter_id(), " is no id of run_spec.parameters"));
    }
    if (member.first_row() != 0 || member.rows() != 0 || member.transposed()) {
      return absl::UnimplementedError(absl::StrCat(field, ": must be a whole parameter"));
    }
    DeclaredParameter& parameter = declaration_.parameters[found->second];
    parameter.in_symmetry = true;
    const size_t rows = parameter.shape.empty() ? 1 : parameter.shape[0];
    return RescalingMember{.parameter = found->second,
                           .rows = rows,
                           .columns = parameter.elements / rows,
                           .axis = axis};
  }

  // A neuron reads and is read through matrices; a convolution's kernel is flattened so that
  // `incoming` has one row a neuron. Columns of `outgoing` are only meaningful for two dimensions.
  absl::Status CheckNeurons(const std::string& field, const DeclaredSymmetry& symmetry) {
    const size_t hidden = symmetry.first[0].rows;
    for (const RescalingMember& member : symmetry.first) {
      if (member.rows != hidden) {
        return absl::InvalidArgumentError(absl::StrCat(field, ".incoming_bias: '", NameOf(member),
                                                       "' has ", member.rows, " elements for ",
                                                       hidden, " neurons"));
      }
    }
    const DeclaredParameter& outgoing = declaration_.parameters[symmetry.second[0].parameter];
    if (outgoing.shape.size() != 2 || outgoing.shape[1] != hidden) {
      return absl::InvalidArgumentError(absl::StrCat(field, ".outgoing: '", outgoing.name,
                                                     "' must be a matrix with ", hidden,
                                                     " columns, one a hidden neuron"));
    }
    return absl::OkStatus();
  }

  const std::string& NameOf(const RescalingMember& member) const {
    return declaration_.parameters[member.parameter].name;
  }

  absl::Status CheckSymmetries() {
    if (absl::Status status =
            CheckCount("symmetries", spec_.symmetries_size(), limits_.max_symmetries);
        !status.ok()) {
      return status;
    }
    std::unordered_set<std::string> names;
    for (int i = 0; i < spec_.symmetries_size(); ++i) {
      const v1::Symmetry& symmetry = spec_.symmetries(i);
      std::string field = absl::StrCat("run_spec.symmetries[", i, "]");
      if (absl::Status status = CheckName(field + ".name", symmetry.name(), &names); !status.ok()) {
        return status;
      }
      DeclaredSymmetry declared{
          .name = symmetry.name(), .per_neuron = false, .first = {}, .second = {}};
      const auto add = [&](const char* name, const v1::Member& member, NeuronAxis axis,
                           std::vector<RescalingMember>* side) {
        absl::StatusOr<RescalingMember> checked = Member(absl::StrCat(field, name), member, axis);
        if (checked.ok()) side->push_back(*checked);
        return checked.status();
      };
      absl::Status status;
      if (symmetry.has_neuron_rescaling()) {
        const v1::NeuronRescaling& neurons = symmetry.neuron_rescaling();
        field += ".neuron_rescaling";
        declared.per_neuron = true;
        status = add(".incoming", neurons.incoming(), NeuronAxis::kRows, &declared.first);
        if (status.ok() && neurons.has_incoming_bias()) {
          status =
              add(".incoming_bias", neurons.incoming_bias(), NeuronAxis::kRows, &declared.first);
        }
        if (status.ok()) {
          status = add(".outgoing", neurons.outgoing(), NeuronAxis::kColumns, &declared.second);
        }
        if (status.ok()) status = CheckNeurons(field, declared);
      } else if (symmetry.has_layer_rescaling()) {
        const v1::LayerRescaling& layers = symmetry.layer_rescaling();
        field += ".layer_rescaling";
        status = add(".first", layers.first(), NeuronAxis::kWhole, &declared.first);
        if (status.ok() && layers.has_first_bias()) {
          status = add(".first_bias", layers.first_bias(), NeuronAxis::kWhole, &declared.first);
        }
        if (status.ok()) {
          status = add(".second", layers.second(), NeuronAxis::kWhole, &declared.second);
        }
      } else {
        status = absl::InvalidArgumentError(field + ".kind: must be set to a kind that is served");
      }
      if (!status.ok()) return status;
      declaration_.symmetries.push_back(std::move(declared));
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

}  // namespace thermograd::service
