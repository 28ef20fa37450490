#include "service/run_analysis.h"

#include <cmath>
#include <utility>
#include <vector>

namespace thermograd::service {
namespace {

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
      symmetries_(declaration_) {
  for (const DeclaredParameter& parameter : declaration_.parameters) {
    streamed_elements_ += parameter.elements;
  }
}

void RunAnalysis::AddStep(const MergedStep& step, metrics::Figures* figures) {
  const StepSettings& settings = step.settings;
  metrics::EntropicStep entropic{.microbatch_size = settings.microbatch_size,
                                 .learning_rate = settings.context.learning_rate,
                                 .loss = settings.loss,
                                 .parameters = {}};
  if (entropic.loss && !std::isfinite(*entropic.loss)) entropic.loss.reset();
  for (size_t p = 0; p < step.parameters.size(); ++p) {
    const MergedParameter& merged = step.parameters[p];
    metrics::ParameterGradient parameter;
    parameter.undefined = merged.undefined;
    parameter.sums = merged.sums;
    const auto group = settings.groups.find(declaration_.parameters[p].group);
    const bool has_own = group != settings.groups.end();
    parameter.learning_rate =
        has_own ? group->second.learning_rate : settings.context.learning_rate;
    parameter.weight_decay = has_own ? group->second.weight_decay : settings.context.weight_decay;
    parameter.weight_squared_norm = merged.weight_squared_norm;
    parameter.preconditioned_squared_norm = merged.preconditioned_squared_norm;
    parameter.gradient_dot_update = merged.gradient_dot_update;
    parameter.update_squared_norm = merged.update_squared_norm;
    if (merged.gradient_after_update_dot_update && merged.gradient_dot_update) {
      parameter.gradient_change_dot_update =
          *merged.gradient_after_update_dot_update - *merged.gradient_dot_update;
    }
    entropic.parameters.push_back(parameter);
  }
  metrics::AppendSampling(declaration_.sampling, streamed_elements_, figures);
  forces_.AddStep(entropic, figures);
  symmetries_.AddStep(settings, step.symmetries, step.elements, figures);
}

}  // namespace thermograd::service
