#include "service/symmetry_analysis.h"

#include <optional>
#include <utility>

namespace thermograd::service {
namespace {

using metrics::Undefined;

statistics::RescalingSide SumSide(const std::vector<RescalingMember>& side, bool has_weights,
                                  std::span<const ParameterElements> parameters) {
  std::optional<statistics::RescalingSide> total;
  for (const RescalingMember& member : side) {
    const ParameterElements& parameter = parameters[member.parameter];
    statistics::RescalingSide part = statistics::SumRescalingSide(
        parameter.gradient.values,
        has_weights ? std::span<const double>(parameter.weight.values) : std::span<const double>(),
        member.rows, member.columns, member.axis);
    if (total) {
      total->Merge(part);
    } else {
      total = std::move(part);
    }
  }
  return *std::move(total);
}

}  // namespace

SymmetryAnalysis::SymmetryAnalysis(const RunDeclaration& declaration) : declaration_(declaration) {
  for (const DeclaredSymmetry& symmetry : declaration.symmetries) {
    symmetries_.emplace_back(symmetry.name, symmetry.per_neuron, declaration.sgd,
                             declaration.window_steps);
  }
}

void SymmetryAnalysis::AddStep(const StepContext& context,
                               std::span<const ParameterElements> parameters,
                               metrics::Figures* figures) {
  for (size_t s = 0; s < symmetries_.size(); ++s) {
    const DeclaredSymmetry& symmetry = declaration_.symmetries[s];
    std::optional<Undefined> undefined;
    bool has_weights = true;
    for (const auto* side : {&symmetry.first, &symmetry.second}) {
      for (const RescalingMember& member : *side) {
        const ParameterElements& parameter = parameters[member.parameter];
        if (parameter.gradient.undefined) undefined = parameter.gradient.undefined;
        if (parameter.weight.undefined == Undefined::kMissingTensor) {
          has_weights = false;
        } else if (parameter.weight.undefined) {
          undefined = parameter.weight.undefined;
        }
      }
    }
    if (undefined) {
      symmetries_[s].SkipStep(*undefined, figures);
      continue;
    }
    symmetries_[s].AddStep({.step = context.step,
                            .learning_rate = context.learning_rate,
                            .weight_decay = context.weight_decay},
                           {.first = SumSide(symmetry.first, has_weights, parameters),
                            .second = SumSide(symmetry.second, has_weights, parameters)},
                           figures);
  }
}

}  // namespace thermograd::service
