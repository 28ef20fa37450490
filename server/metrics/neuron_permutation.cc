#include "metrics/neuron_permutation.h"

#include <vector>

namespace thermograd::metrics {
namespace {

constexpr const char* kNearDuplicates = "thermograd_near_duplicate_neurons";
constexpr const char* kCollapsed = "thermograd_collapsed_neurons";
constexpr const char* kEffectiveNumber = "thermograd_effective_neurons";

double Mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

}  // namespace

void AppendNeuronPermutation(const std::string& symmetry, statistics::NeuronWeights* incoming,
                             statistics::NeuronWeights* outgoing, Figures* figures) {
  const std::vector<Label> labels = {{"symmetry", symmetry}};
  const std::vector<double> u = incoming->Norms();
  const std::vector<double> w = outgoing->Norms();
  const double u_limit = kCollapsedEpsilon * Mean(u);
  const double w_limit = kCollapsedEpsilon * Mean(w);
  size_t collapsed = 0;
  double sum = 0;
  double squares = 0;
  for (size_t j = 0; j < u.size(); ++j) {
    // A layer that vanished as a whole has means of zero.
    if ((u[j] < u_limit || u[j] == 0) && (w[j] < w_limit || w[j] == 0)) ++collapsed;
    sum += u[j] * w[j];
    squares += u[j] * u[j] * w[j] * w[j];
  }
  const size_t near_duplicates = statistics::CountNearDuplicates(
      incoming->Normalise(), outgoing->Normalise(), 1 - kNearDuplicateEpsilon);
  figures->push_back({kNearDuplicates, labels, static_cast<double>(near_duplicates)});
  figures->push_back({kCollapsed, labels, static_cast<double>(collapsed)});
  // Participation ratio of |u_j| |w_j|.
  figures->push_back({kEffectiveNumber, labels, Ratio(sum * sum, squares)});
}

void AppendUndefinedNeuronPermutation(const std::string& symmetry, Undefined reason,
                                      Figures* figures) {
  for (const char* name : {kNearDuplicates, kCollapsed, kEffectiveNumber}) {
    figures->push_back({name, {{"symmetry", symmetry}}, reason});
  }
}

}  // namespace thermograd::metrics
