#ifndef THERMOGRAD_METRICS_LOGIT_TRANSLATION_H_
#define THERMOGRAD_METRICS_LOGIT_TRANSLATION_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "metrics/figure.h"
#include "metrics/symmetry_breaking.h"
#include "statistics/symmetry.h"

// Translation of all logits of a softmax: theory.md section 3. The charge is linear, the vector
// Q = sum_k w_k, so that every optimiser that is linear in the gradients conserves it.

namespace thermograd::metrics {

/// One declared translation over the life of a stream.
class LogitTranslation {
 public:
  /// `sgd`: the update is plain SGD, for which it follows from gradients and weights.
  LogitTranslation(std::string name, bool sgd);

  /// Takes the sums of one step (gradients are means over microbatches) and appends its figures.
  void AddStep(const SymmetryStepContext& context, const statistics::TranslationSums& sums,
               Figures* figures);

  /// A step whose members were not all usable. The drift cannot be followed through it.
  void SkipStep(Undefined reason, Figures* figures);

 private:
  // The charge at the latest step with weights, and what theory adds to it since.
  struct Drift {
    std::vector<double> charge;
    std::vector<double> predicted;
    double scale = 0;
    std::optional<Undefined> undefined;
    uint64_t last_step = 0;
  };

  std::vector<Label> labels_;
  bool sgd_;
  std::optional<Drift> drift_;
};

}  // namespace thermograd::metrics

#endif  // THERMOGRAD_METRICS_LOGIT_TRANSLATION_H_
