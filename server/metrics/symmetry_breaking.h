#ifndef THERMOGRAD_METRICS_SYMMETRY_BREAKING_H_
#define THERMOGRAD_METRICS_SYMMETRY_BREAKING_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "metrics/figure.h"
#include "statistics/bucketed_window.h"
#include "statistics/symmetry.h"

// Symmetries with a quadratic Noether charge Q_A = theta' A theta: theory.md section 3. Every
// instance (neuron, head, layer) has two sides X1, X2 of r rows each, and the loss does not change
// under X1 -> e^B X1, X2 -> e^-B' X2. The charges of all symmetric generators together are the
// r x r matrix Q = X1 X1' - X2 X2'; a scaling is r = 1, scale invariance is one whose second side
// is empty.

namespace thermograd::metrics {

/// Hyper-parameters of one step that the drift depends on.
struct SymmetryStepContext {
  uint64_t step = 0;
  double learning_rate = 0;
  double weight_decay = 0;
  /// False where members are in parameter groups with different ones: then no single step size
  /// belongs to the symmetry, and only streamed updates tell its drift.
  bool is_uniform = true;
};

/// What kind of quadratic symmetry it is, and how large.
struct QuadraticForm {
  enum class Kind {
    kScaling,          // r = 1; a number for each instance
    kRotation,         // r x r; any invertible matrix
    kScaleInvariance,  // r = 1, the first side alone
  };
  /// What the quantiles over instances are called; none for a symmetry of one instance.
  enum class Instances { kOne, kNeurons, kHeads };

  Kind kind = Kind::kScaling;
  Instances labelled = Instances::kOne;
  size_t instances = 1;
  size_t dimension = 1;

  /// Numbers of one side's matrices together.
  size_t entries() const { return instances * dimension * dimension; }
};

/// One declared symmetry over the life of a stream.
class QuadraticSymmetry {
 public:
  /// `sgd`: the update is plain SGD, for which it follows from gradients and weights.
  QuadraticSymmetry(std::string name, const QuadraticForm& form, bool sgd, size_t window_steps);

  /// Memory that the windows of such a symmetry take at most.
  static uint64_t Bytes(const QuadraticForm& form);

  /// Takes the sums of one step (gradients are means over microbatches) and appends its figures.
  void AddStep(const SymmetryStepContext& context, const statistics::SymmetrySums& sums,
               Figures* figures);

  /// A step whose members were not all usable. The drift cannot be followed through it.
  void SkipStep(Undefined reason, Figures* figures);

 private:
  // Figures whose quantiles over instances are exported.
  enum InstanceFigure { kCharge, kResidual, kGradientBalance, kDriftError };
  // Entries are those of SideSums.
  using Entries = std::vector<double>;

  // Sums over the window.
  struct Balance {
    Entries first;   // G1 G1'
    Entries second;  // G2 G2'
    Entries force;   // (eta / 2) (G1 G1' - G2 G2')
    Entries drive;   // eta g'Ag, g the gradient with decay; steps with weights only
    Entries decay;   // 2 gamma Q; steps with weights only
    size_t force_steps = 0;

    void Merge(const Balance& other);
  };
  // The two terms of Delta Q = 2 Dtheta' A theta + Dtheta' A Dtheta in one step.
  struct Terms {
    std::optional<Undefined> undefined;
    Entries first_order;
    Entries second_order;
    Entries scale;  // |Dtheta|^2 of each instance
  };
  struct Fraction {
    double numerator;
    double denominator;

    Result Value() const { return Ratio(numerator, denominator); }
  };
  // Charges at the latest step with weights, and what theory adds to them since.
  struct Drift {
    Entries charge;
    Entries predicted;
    Entries scale;  // of each instance
    std::optional<Undefined> undefined;
    uint64_t last_step = 0;
  };

  Balance SumBalance(const SymmetryStepContext& context, const statistics::SymmetrySums& sums,
                     const Entries* charge) const;
  Terms SumTerms(const SymmetryStepContext& context, const statistics::SymmetrySums& sums,
                 const Entries* charge) const;
  void AppendResidual(const statistics::SymmetrySums& sums, Figures* figures) const;
  void AppendCharge(const statistics::SymmetrySums& sums, const Entries* charge,
                    Figures* figures) const;
  void AppendDrift(bool continues, const Entries* charge, Figures* figures) const;
  void AppendTerms(const Terms& terms, Figures* figures) const;
  void AppendBalance(const SymmetryStepContext& context, Figures* figures) const;

  void Append(const char* name, Result result, Figures* figures) const;
  // A trace, and the Frobenius norm over all instances under the name with _norm.
  void AppendTraceAndNorm(const char* trace, const char* norm, const Entries& entries,
                          Figures* figures) const;
  void AppendInstances(InstanceFigure figure, std::vector<double> values, Figures* figures) const;

  double InstanceNorm(const Entries& entries, size_t instance) const;
  double InstanceTrace(const Entries& entries, size_t instance) const;
  double Trace(const Entries& entries) const;
  // (first - second) over the sum of their sizes: signed for numbers, of Frobenius norms for
  // matrices.
  Fraction RelativeDifference(const Entries& first, const Entries& second) const;

  std::string name_;
  std::vector<Label> labels_;
  QuadraticForm form_;
  bool sgd_;
  statistics::BucketedWindow<Balance> window_;
  std::optional<Drift> drift_;
};

/// Quantiles 0, 1/4, 1/2, 3/4 and 1 of `values`, none if there are no values.
void AppendQuantiles(const char* name, const std::string& symmetry, std::vector<double> values,
                     Figures* figures);

}  // namespace thermograd::metrics

#endif  // THERMOGRAD_METRICS_SYMMETRY_BREAKING_H_
