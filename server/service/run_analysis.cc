#include "service/run_analysis.h"

#include <cmath>
#include <utility>
#include <vector>

#include "kernels/reduce.h"

namespace thermograd::service {
namespace {

using metrics::Undefined;

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

std::vector<metrics::ParameterName> Names(const RunDeclaration& declaration) {
  std::vector<metrics::ParameterName> names;
  for (const DeclaredParameter& parameter : declaration.parameters) {
    names.push_back(
        {.name = parameter.name, .group = parameter.group, .elements = parameter.elements});
  }
  return names;
}

}  // namespace

KeptTensors TensorsToKeep(const RunDeclaration& declaration, const DeclaredParameter& parameter) {
  // Every kind of the later tensors is multiplied with the gradient.
  const bool gradient = parameter.in_symmetry || declaration.sends_updates ||
                        declaration.sends_preconditioners ||
                        declaration.sends_gradients_after_update;
  return {.gradient = gradient,
          .weight = parameter.in_symmetry || parameter.in_alignment,
          .update = declaration.sends_updates};
}

RunAnalysis::RunAnalysis(RunDeclaration declaration)
    : declaration_(std::move(declaration)),
      forces_(Names(declaration_), declaration_.optimizer, declaration_.window_steps,
              declaration_.sends_gradients_after_update),
      symmetries_(declaration_) {}

void RunAnalysis::AddStep(const MergedStep& step, metrics::Figures* figures) {
  const StepSettings& settings = step.settings;
  metrics::EntropicStep entropic{.microbatch_size = settings.microbatch_size,
                                 .learning_rate = settings.context.learning_rate,
                                 .loss = settings.loss,
                                 .parameters = {}};
  if (entropic.loss && !std::isfinite(*entropic.loss)) entropic.loss.reset();
  for (size_t p = 0; p < step.parameters.size(); ++p) {
    const MergedParameter& merged = step.parameters[p];
    const ParameterElements& elements = step.elements[p];
    metrics::ParameterGradient parameter;
    parameter.undefined = merged.undefined;
    parameter.sums = merged.sums;
    const auto group = settings.groups.find(declaration_.parameters[p].group);
    const bool has_own = group != settings.groups.end();
    parameter.learning_rate =
        has_own ? group->second.learning_rate : settings.context.learning_rate;
    parameter.weight_decay = has_own ? group->second.weight_decay : settings.context.weight_decay;
    parameter.weight_squared_norm = merged.weight_squared_norm;
    parameter.preconditioned_squared_norm =
        WeightedNorm(elements.gradient, elements.preconditioner);
    parameter.gradient_dot_update = DotIfKnown(elements.gradient, elements.update);
    parameter.update_squared_norm = DotIfKnown(elements.update, elements.update);
    const std::optional<double> after_dot_update =
        DotIfKnown(elements.gradient_after_update, elements.update);
    if (after_dot_update && parameter.gradient_dot_update) {
      parameter.gradient_change_dot_update = *after_dot_update - *parameter.gradient_dot_update;
    }
    entropic.parameters.push_back(std::move(parameter));
  }
  forces_.AddStep(entropic, figures);
  symmetries_.AddStep(settings, step.elements, figures);
}

}  // namespace thermograd::service
