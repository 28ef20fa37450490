#include "service/symmetry_analysis.h"

#include <algorithm>
#include <utility>

#include "metrics/neuron_permutation.h"
#include "metrics/weight_spectrum.h"
#include "statistics/neuron.h"

namespace thermograd::service {
namespace {

using metrics::QuadraticForm;
using metrics::Undefined;
using Kind = DeclaredSymmetry::Kind;

template <typename... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};
template <typename... Cases>
Overloaded(Cases...) -> Overloaded<Cases...>;

void AppendPermutation(const DeclaredSymmetry& symmetry,
                       std::span<const ParameterElements> parameters, metrics::Figures* figures) {
  statistics::NeuronWeights incoming(symmetry.instances);
  statistics::NeuronWeights outgoing(symmetry.instances);
  for (auto [side, weights] :
       {std::pair{&symmetry.first, &incoming}, {&symmetry.second, &outgoing}}) {
    for (const SymmetryMember& member : *side) {
      const TensorElements& weight = parameters[member.parameter].weight;
      if (weight.undefined) {
        metrics::AppendUndefinedNeuronPermutation(symmetry.name, *weight.undefined, figures);
        return;
      }
      weights->Append(weight.values, member.view, member.instance_of_block);
    }
  }
  metrics::AppendNeuronPermutation(symmetry.name, &incoming, &outgoing, figures);
}

}  // namespace

std::optional<QuadraticForm> QuadraticFormOf(const DeclaredSymmetry& symmetry) {
  QuadraticForm form;
  form.instances = symmetry.instances;
  form.dimension = symmetry.dimension;
  const bool several = symmetry.instances > 1;
  switch (symmetry.kind) {
    case Kind::kNeuronRescaling:
    case Kind::kRotaryScaling:
      form.labelled = QuadraticForm::Instances::kNeurons;
      return form;
    case Kind::kLayerRescaling:
      return form;
    case Kind::kRotation:
      form.kind = QuadraticForm::Kind::kRotation;
      if (several) form.labelled = QuadraticForm::Instances::kHeads;
      return form;
    case Kind::kScaleInvariance:
      form.kind = QuadraticForm::Kind::kScaleInvariance;
      if (several) form.labelled = QuadraticForm::Instances::kNeurons;
      return form;
    case Kind::kLogitTranslation:
    case Kind::kNeuronPermutation:
      return std::nullopt;
  }
  return std::nullopt;
}

size_t SpectrumRows(const DeclaredParameter& parameter) {
  if (!parameter.in_symmetry || parameter.shape.size() < 2) return 0;
  return std::min<size_t>(parameter.shape[0], parameter.elements / parameter.shape[0]);
}

SymmetryAnalysis::SymmetryAnalysis(const RunDeclaration& declaration) : declaration_(declaration) {
  const bool sgd = declaration.optimizer.kind == metrics::Optimizer::Kind::kSgd;
  for (const DeclaredSymmetry& symmetry : declaration.symmetries) {
    const std::optional<QuadraticForm> form = QuadraticFormOf(symmetry);
    if (symmetry.kind == Kind::kLogitTranslation) {
      symmetries_.emplace_back(metrics::LogitTranslation(symmetry.name, sgd));
    } else if (symmetry.kind == Kind::kNeuronPermutation) {
      symmetries_.emplace_back(NeuronPermutation{});
    } else {
      metrics::QuadraticSymmetry charge(symmetry.name, *form, sgd, declaration.window_steps);
      if (symmetry.kind == Kind::kScaleInvariance) {
        symmetries_.emplace_back(ScaleInvariance{
            std::move(charge),
            metrics::AngularStep(symmetry.name, form->instances, sgd, declaration.window_steps)});
      } else {
        symmetries_.emplace_back(std::move(charge));
      }
    }
  }
}

metrics::SymmetryStepContext SymmetryAnalysis::ContextOf(const DeclaredSymmetry& symmetry,
                                                         const StepSettings& settings) const {
  metrics::SymmetryStepContext context;
  bool is_first = true;
  for (const auto* side : {&symmetry.first, &symmetry.second}) {
    for (const SymmetryMember& member : *side) {
      const auto group = settings.groups.find(declaration_.parameters[member.parameter].group);
      const GroupSettings own = group != settings.groups.end()
                                    ? group->second
                                    : GroupSettings{.learning_rate = settings.context.learning_rate,
                                                    .weight_decay = settings.context.weight_decay};
      if (is_first) {
        context = {.step = settings.context.step,
                   .learning_rate = own.learning_rate,
                   .weight_decay = own.weight_decay,
                   .is_uniform = true};
        is_first = false;
      } else if (own.learning_rate != context.learning_rate ||
                 own.weight_decay != context.weight_decay) {
        context.is_uniform = false;
      }
    }
  }
  return context;
}

void SymmetryAnalysis::AddStep(const StepSettings& settings,
                               std::span<const SymmetryStep> symmetries,
                               std::span<const ParameterElements> parameters,
                               metrics::Figures* figures) {
  for (size_t s = 0; s < symmetries_.size(); ++s) {
    const metrics::SymmetryStepContext context = ContextOf(declaration_.symmetries[s], settings);
    const SymmetryStep& step = symmetries[s];
    std::visit(Overloaded{[&](metrics::QuadraticSymmetry& symmetry) {
                            if (step.undefined) return symmetry.SkipStep(*step.undefined, figures);
                            symmetry.AddStep(context, step.sums, figures);
                          },
                          [&](ScaleInvariance& symmetry) {
                            if (step.undefined) {
                              symmetry.charge.SkipStep(*step.undefined, figures);
                              return symmetry.angle.SkipStep(*step.undefined, figures);
                            }
                            symmetry.charge.AddStep(context, step.sums, figures);
                            symmetry.angle.AddStep(context, step.sums.first, figures);
                          },
                          [&](metrics::LogitTranslation& symmetry) {
                            if (step.undefined) return symmetry.SkipStep(*step.undefined, figures);
                            symmetry.AddStep(context, step.translation, figures);
                          },
                          [](NeuronPermutation&) {}},
               symmetries_[s]);
  }

  const bool has_weights =
      std::any_of(parameters.begin(), parameters.end(), [](const ParameterElements& parameter) {
        return parameter.weight.undefined != Undefined::kMissingTensor;
      });
  if (has_weights &&
      (!steps_since_spectra_ || *steps_since_spectra_ + 1 >= declaration_.spectrum_every_steps)) {
    steps_since_spectra_ = 0;
    spectral_figures_.clear();
    AppendSpectra(parameters, &spectral_figures_);
  } else if (steps_since_spectra_) {
    ++*steps_since_spectra_;
  }
  figures->insert(figures->end(), spectral_figures_.begin(), spectral_figures_.end());
}

void SymmetryAnalysis::AppendSpectra(std::span<const ParameterElements> parameters,
                                     metrics::Figures* figures) const {
  for (const DeclaredSymmetry& symmetry : declaration_.symmetries) {
    if (symmetry.kind == Kind::kNeuronPermutation) AppendPermutation(symmetry, parameters, figures);
  }
  for (size_t i = 0; i < parameters.size(); ++i) {
    const DeclaredParameter& parameter = declaration_.parameters[i];
    if (SpectrumRows(parameter) == 0) continue;
    const TensorElements& weight = parameters[i].weight;
    if (weight.undefined) {
      metrics::AppendUndefinedWeightSpectrum(parameter.name, *weight.undefined, figures);
    } else if (SpectrumRows(parameter) > declaration_.max_spectrum_rows) {
      metrics::AppendUndefinedWeightSpectrum(parameter.name, Undefined::kLimit, figures);
    } else {
      const size_t columns = parameter.elements / parameter.shape[0];
      metrics::AppendWeightSpectrum(parameter.name,
                                    {.data = weight.values.data(),
                                     .rows = parameter.shape[0],
                                     .columns = columns,
                                     .row_stride = columns,
                                     .column_stride = 1},
                                    figures);
    }
  }
}

}  // namespace thermograd::service
