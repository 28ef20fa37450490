#include "metrics/logit_translation.h"

#include <cmath>
#include <utility>

namespace thermograd::metrics {
namespace {

constexpr const char* kResidual = "thermograd_symmetry_residual_ratio";
constexpr const char* kChargeNorm = "thermograd_symmetry_charge_norm";
constexpr const char* kDriftNorm = "thermograd_symmetry_charge_drift_norm";
constexpr const char* kPredictedNorm = "thermograd_symmetry_charge_drift_predicted_norm";
constexpr const char* kDriftError = "thermograd_symmetry_charge_drift_error_ratio";
constexpr const char* kOptimizerBreakingNorm = "thermograd_symmetry_optimizer_breaking_norm";

double Norm(const std::vector<double>& vector) {
  double squares = 0;
  for (const double entry : vector) squares += entry * entry;
  return std::sqrt(squares);
}

// out += factor * in.
void AddScaled(double factor, const std::vector<double>& in, std::vector<double>* out) {
  for (size_t i = 0; i < in.size(); ++i) (*out)[i] += factor * in[i];
}

}  // namespace

LogitTranslation::LogitTranslation(std::string name, bool sgd)
    : labels_({{"symmetry", std::move(name)}}), sgd_(sgd) {}

void LogitTranslation::AddStep(const SymmetryStepContext& context,
                               const statistics::TranslationSums& sums, Figures* figures) {
  const auto append = [&](const char* name, Result result) {
    figures->push_back({name, labels_, result});
  };
  const double root_rows = std::sqrt(static_cast<double>(sums.rows));
  // |sum_k g_k| / (sqrt(K) |g|), at most 1 by Cauchy's inequality: theory.md section 3.
  append(kResidual, Ratio(Norm(sums.gradient), root_rows * std::sqrt(sums.gradient_squared_norm)));

  const bool has_weights = !sums.weight.empty();
  const bool continues = drift_ && drift_->last_step + 1 == context.step;
  append(kChargeNorm, has_weights ? Finite(Norm(sums.weight)) : Result(Undefined::kMissingTensor));
  std::optional<Undefined> unobserved;
  if (!has_weights) {
    unobserved = Undefined::kMissingTensor;
  } else if (!continues) {
    unobserved = Undefined::kNoEarlierStep;
  }
  const std::optional<Undefined> unpredicted = unobserved ? unobserved : drift_->undefined;
  std::vector<double> observed;
  if (unobserved) {
    append(kDriftNorm, *unobserved);
  } else {
    observed = sums.weight;
    AddScaled(-1, drift_->charge, &observed);
    append(kDriftNorm, Finite(Norm(observed)));
  }
  if (unpredicted) {
    append(kPredictedNorm, *unpredicted);
    append(kDriftError, *unpredicted);
  } else {
    std::vector<double> error = observed;
    AddScaled(-1, drift_->predicted, &error);
    append(kPredictedNorm, Finite(Norm(drift_->predicted)));
    append(kDriftError, Ratio(Norm(error), drift_->scale));
  }

  // Delta Q = sum_k Dw_k, of plain SGD -eta gamma Q since sum_k g_k = 0: theory.md section 3. The
  // scale is the largest norm that an update of this size could give it.
  std::vector<double> first_order(sums.gradient.size());
  std::optional<Undefined> undefined;
  double scale = 0;
  if (!sums.update.empty()) {
    first_order = sums.update;
    scale = root_rows * std::sqrt(sums.update_squared_norm);
  } else if (!sgd_ || !context.is_uniform) {
    undefined = Undefined::kOptimizerNotCovered;
  } else {
    const double shrink = context.learning_rate * context.weight_decay;
    scale = context.learning_rate * root_rows * std::sqrt(sums.gradient_squared_norm);
    if (shrink > 0) {
      if (has_weights) {
        AddScaled(-shrink, sums.weight, &first_order);
      } else if (continues && !drift_->undefined) {
        AddScaled(-shrink, drift_->charge, &first_order);
        AddScaled(-shrink, drift_->predicted, &first_order);
      } else {
        undefined = Undefined::kMissingTensor;
      }
    }
  }
  append(kOptimizerBreakingNorm, undefined ? Result(*undefined) : Finite(Norm(first_order)));

  if (has_weights) {
    drift_ = Drift{};
    drift_->charge = sums.weight;
    drift_->predicted.resize(sums.weight.size());
  } else if (!continues) {
    drift_.reset();
    return;
  }
  if (undefined) {
    drift_->undefined = undefined;
  } else {
    AddScaled(1, first_order, &drift_->predicted);
    drift_->scale += scale;
  }
  drift_->last_step = context.step;
}

void LogitTranslation::SkipStep(Undefined reason, Figures* figures) {
  drift_.reset();
  for (const char* name :
       {kResidual, kChargeNorm, kDriftNorm, kPredictedNorm, kDriftError, kOptimizerBreakingNorm}) {
    figures->push_back({name, labels_, reason});
  }
}

}  // namespace thermograd::metrics
