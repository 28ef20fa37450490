#include "service/step_reduction.h"

#include <optional>

#include "kernels/reduce.h"

namespace thermograd::service {
namespace {

using metrics::Undefined;
using Kind = DeclaredSymmetry::Kind;

double Dot(const std::vector<double>& x, const std::vector<double>& y) {
  kernels::Lanes lanes;
  kernels::AddDot(x.data(), y.data(), x.size(), 0, &lanes);
  return kernels::Total(lanes);
}

std::optional<double> DotIfKnown(const TensorElements& x, const TensorElements& y) {
  if (x.undefined || y.undefined || x.values.empty() || x.values.size() != y.values.size()) {
    return std::nullopt;
  }
  return Dot(x.values, y.values);
}

// g' Lambda g.
std::optional<double> WeightedNorm(const TensorElements& gradient, const TensorElements& weights) {
  if (gradient.undefined || weights.undefined || gradient.values.size() != weights.values.size()) {
    return std::nullopt;
  }
  std::vector<double> product(gradient.values);
  for (size_t i = 0; i < product.size(); ++i) product[i] *= weights.values[i];
  return Dot(product, gradient.values);
}

// What of the members' tensors a step brought.
struct Available {
  std::optional<Undefined> undefined;
  bool weights = true;
  bool updates = true;
};

Available Look(const DeclaredSymmetry& symmetry, std::span<const ParameterElements> parameters) {
  Available available;
  const auto look = [&](const TensorElements& tensor, bool* is_there) {
    if (tensor.undefined == Undefined::kMissingTensor) {
      *is_there = false;
    } else if (tensor.undefined) {
      available.undefined = tensor.undefined;
    }
  };
  for (const auto* side : {&symmetry.first, &symmetry.second}) {
    for (const SymmetryMember& member : *side) {
      const ParameterElements& parameter = parameters[member.parameter];
      look(parameter.weight, &available.weights);
      look(parameter.update, &available.updates);
      if (parameter.gradient.undefined) available.undefined = parameter.gradient.undefined;
    }
  }
  return available;
}

statistics::ParameterTensors Tensors(const ParameterElements& parameter,
                                     const Available& available) {
  statistics::ParameterTensors tensors;
  tensors.gradient = parameter.gradient.values;
  if (available.weights) tensors.weight = parameter.weight.values;
  if (available.updates) tensors.update = parameter.update.values;
  return tensors;
}

statistics::SideSums SumMembers(const DeclaredSymmetry& symmetry,
                                const std::vector<SymmetryMember>& side, const Available& available,
                                std::span<const ParameterElements> parameters) {
  const size_t entries = SideEntries(symmetry);
  statistics::SideSums total;
  total.gradient_gradient.resize(entries);
  if (available.weights) {
    total.weight_weight.resize(entries);
    total.gradient_weight.resize(entries);
  }
  if (available.updates) total.update_update.resize(entries);
  if (available.updates && available.weights) total.update_weight.resize(entries);
  for (const SymmetryMember& member : side) {
    total.Merge(statistics::SumSide(Tensors(parameters[member.parameter], available), member.view,
                                    {.dimension = symmetry.dimension,
                                     .instances = symmetry.instances,
                                     .instance_of_block = member.instance_of_block}));
  }
  return total;
}

statistics::SymmetrySums SumSides(const DeclaredSymmetry& symmetry, const Available& available,
                                  std::span<const ParameterElements> parameters) {
  return {.first = SumMembers(symmetry, symmetry.first, available, parameters),
          .second = SumMembers(symmetry, symmetry.second, available, parameters)};
}

statistics::TranslationSums SumTranslations(const DeclaredSymmetry& symmetry,
                                            const Available& available,
                                            std::span<const ParameterElements> parameters) {
  statistics::TranslationSums total;
  for (const SymmetryMember& member : symmetry.first) {
    const statistics::TranslationSums part =
        statistics::SumTranslation(Tensors(parameters[member.parameter], available), member.view);
    total.rows = part.rows;
    total.Append(part);
  }
  return total;
}

SymmetryStep Reduce(const DeclaredSymmetry& symmetry,
                    std::span<const ParameterElements> parameters) {
  SymmetryStep step;
  // Its figures need the weights themselves, and not in every step.
  if (symmetry.kind == Kind::kNeuronPermutation) return step;
  const Available available = Look(symmetry, parameters);
  step.undefined = available.undefined;
  if (step.undefined) return step;
  if (symmetry.kind == Kind::kLogitTranslation) {
    step.translation = SumTranslations(symmetry, available, parameters);
  } else {
    step.sums = SumSides(symmetry, available, parameters);
  }
  return step;
}

}  // namespace

size_t SideEntries(const DeclaredSymmetry& symmetry) {
  return symmetry.instances * symmetry.dimension * symmetry.dimension;
}

statistics::SideSums EmptySide(const statistics::SideSums& other) {
  const auto zeros = [](const std::vector<double>& entries) {
    return std::vector<double>(entries.size());
  };
  return {.gradient_gradient = zeros(other.gradient_gradient),
          .weight_weight = zeros(other.weight_weight),
          .gradient_weight = zeros(other.gradient_weight),
          .update_weight = zeros(other.update_weight),
          .update_update = zeros(other.update_update)};
}

void ReduceParameter(const ParameterElements& elements, MergedParameter* sums) {
  sums->update_squared_norm = DotIfKnown(elements.update, elements.update);
  sums->gradient_dot_update = DotIfKnown(elements.gradient, elements.update);
  sums->preconditioned_squared_norm = WeightedNorm(elements.gradient, elements.preconditioner);
  sums->gradient_after_update_dot_update =
      DotIfKnown(elements.gradient_after_update, elements.update);
}

std::vector<SymmetryStep> ReduceSymmetries(const RunDeclaration& declaration,
                                           std::span<const ParameterElements> parameters) {
  std::vector<SymmetryStep> steps;
  for (const DeclaredSymmetry& symmetry : declaration.symmetries) {
    steps.push_back(Reduce(symmetry, parameters));
  }
  return steps;
}

}  // namespace thermograd::service
