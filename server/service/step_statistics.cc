#include "service/step_statistics.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "service/step_reduction.h"

namespace thermograd::service {
namespace {

using Kind = DeclaredSymmetry::Kind;

constexpr auto kSums = {&ParameterSums::gradient_sum_squared_norm,
                        &ParameterSums::gradient_squared_norm_of_sum,
                        &ParameterSums::reduced_gradient_squared_norm,
                        &ParameterSums::weight_squared_norm,
                        &ParameterSums::update_squared_norm,
                        &ParameterSums::gradient_dot_update,
                        &ParameterSums::preconditioned_squared_norm,
                        &ParameterSums::gradient_after_update_dot_update};

// More than rounding in half precision could explain.
constexpr double kSlack = 1e-2;

absl::Status Undeclared(const char* field, const char* kind) {
  return absl::InvalidArgumentError(absl::StrCat(
      "statistics.parameters.", field, ": run_spec.parameter_kinds does not name ", kind));
}

bool AreFinite(const std::vector<double>& entries) {
  return std::all_of(entries.begin(), entries.end(), [](double x) { return std::isfinite(x); });
}

// Copies a vector that is empty or has `entries` entries, times a factor.
absl::Status Read(const std::string& field, const google::protobuf::RepeatedField<double>& in,
                  size_t entries, double factor, std::vector<double>* out) {
  if (!in.empty() && static_cast<size_t>(in.size()) != entries) {
    return absl::InvalidArgumentError(absl::StrCat("statistics.symmetries.", field, ": ", in.size(),
                                                   " entries, the symmetry has ", entries));
  }
  out->assign(in.begin(), in.end());
  for (double& entry : *out) entry *= factor;
  return absl::OkStatus();
}

absl::Status ReadSide(const std::string& side, const v1::SideStatistics& in, size_t entries,
                      double factor, statistics::SideSums* out) {
  absl::Status status = Read(side + ".gradient_gradient", in.gradient_gradient(), entries,
                             factor * factor, &out->gradient_gradient);
  if (status.ok() && in.gradient_gradient().empty()) {
    status = absl::InvalidArgumentError(
        absl::StrCat("statistics.symmetries.", side, ".gradient_gradient: must not be empty"));
  }
  if (status.ok()) {
    status = Read(side + ".weight_weight", in.weight_weight(), entries, 1, &out->weight_weight);
  }
  if (status.ok()) {
    status = Read(side + ".gradient_weight", in.gradient_weight(), entries, factor,
                  &out->gradient_weight);
  }
  if (status.ok()) {
    status = Read(side + ".update_weight", in.update_weight(), entries, 1, &out->update_weight);
  }
  if (status.ok()) {
    status = Read(side + ".update_update", in.update_update(), entries, 1, &out->update_update);
  }
  if (!status.ok()) return status;
  const bool has_weights = !out->weight_weight.empty();
  const bool has_updates = !out->update_update.empty();
  if (out->gradient_weight.empty() == has_weights ||
      out->update_weight.empty() == (has_weights && has_updates)) {
    return absl::InvalidArgumentError(
        absl::StrCat("statistics.symmetries.", side,
                     ": gradient_weight and weight_weight go together, and update_weight with both "
                     "weight_weight "
                     "and update_update"));
  }
  return absl::OkStatus();
}

bool IsFinite(const statistics::SideSums& side) {
  return AreFinite(side.gradient_gradient) && AreFinite(side.weight_weight) &&
         AreFinite(side.gradient_weight) && AreFinite(side.update_weight) &&
         AreFinite(side.update_update);
}

absl::Status ReadSides(const v1::SymmetryStatistics& in, const DeclaredSymmetry& symmetry,
                       double factor, SymmetryStep* step) {
  if (in.has_translation() || !in.has_first()) {
    return absl::InvalidArgumentError(
        absl::StrCat("statistics.symmetries.first: is what '", symmetry.name, "' has sums of"));
  }
  const size_t entries = SideEntries(symmetry);
  absl::Status status = ReadSide("first", in.first(), entries, factor, &step->sums.first);
  if (!status.ok()) return status;
  if (symmetry.second.empty() == in.has_second()) {
    return absl::InvalidArgumentError(
        absl::StrCat("statistics.symmetries.second: '", symmetry.name, "' has ",
                     symmetry.second.empty() ? "one side" : "two sides"));
  }
  if (symmetry.second.empty()) {
    step->sums.second = EmptySide(step->sums.first);
  } else {
    status = ReadSide("second", in.second(), entries, factor, &step->sums.second);
    if (!status.ok()) return status;
    if (step->sums.first.weight_weight.empty() != step->sums.second.weight_weight.empty() ||
        step->sums.first.update_update.empty() != step->sums.second.update_update.empty()) {
      return absl::InvalidArgumentError(
          "statistics.symmetries.second: has sums of other tensors than the first side");
    }
  }
  if (!IsFinite(step->sums.first) || !IsFinite(step->sums.second)) {
    step->undefined = metrics::Undefined::kNonFiniteInput;
  }
  return absl::OkStatus();
}

absl::Status ReadTranslation(const v1::SymmetryStatistics& in, const DeclaredSymmetry& symmetry,
                             double factor, SymmetryStep* step) {
  if (in.has_first() || in.has_second() || !in.has_translation()) {
    return absl::InvalidArgumentError(absl::StrCat("statistics.symmetries.translation: is what '",
                                                   symmetry.name, "' has sums of"));
  }
  const v1::TranslationStatistics& sums = in.translation();
  size_t columns = 0;
  for (const SymmetryMember& member : symmetry.first) columns += member.view.columns;
  statistics::TranslationSums& out = step->translation;
  out.rows = symmetry.first.front().view.rows;
  absl::Status status =
      Read("translation.gradient", sums.gradient(), columns, factor, &out.gradient);
  if (status.ok() && sums.gradient().empty()) {
    status =
        absl::InvalidArgumentError("statistics.symmetries.translation.gradient: must not be empty");
  }
  if (status.ok()) status = Read("translation.weight", sums.weight(), columns, 1, &out.weight);
  if (status.ok()) status = Read("translation.update", sums.update(), columns, 1, &out.update);
  if (status.ok() && !(sums.gradient_squared_norm() >= 0 && sums.update_squared_norm() >= 0)) {
    if (!std::isnan(sums.gradient_squared_norm()) && !std::isnan(sums.update_squared_norm())) {
      status = absl::InvalidArgumentError(
          "statistics.symmetries.translation: a squared norm is negative");
    }
  }
  if (!status.ok()) return status;
  out.gradient_squared_norm = sums.gradient_squared_norm() * factor * factor;
  out.update_squared_norm = sums.update_squared_norm();
  if (!AreFinite(out.gradient) || !AreFinite(out.weight) || !AreFinite(out.update) ||
      !std::isfinite(out.gradient_squared_norm) || !std::isfinite(out.update_squared_norm)) {
    step->undefined = metrics::Undefined::kNonFiniteInput;
  }
  return absl::OkStatus();
}

void Write(const std::vector<double>& in, google::protobuf::RepeatedField<double>* out) {
  out->Assign(in.begin(), in.end());
}

void WriteSide(const statistics::SideSums& in, v1::SideStatistics* out) {
  Write(in.gradient_gradient, out->mutable_gradient_gradient());
  Write(in.weight_weight, out->mutable_weight_weight());
  Write(in.gradient_weight, out->mutable_gradient_weight());
  Write(in.update_weight, out->mutable_update_weight());
  Write(in.update_update, out->mutable_update_update());
}

}  // namespace

absl::StatusOr<ParameterSums> ReadStatistics(const v1::ParameterStatistics& statistics,
                                             const RunDeclaration& declaration,
                                             uint64_t microbatches, double loss_scale) {
  if (statistics.elements() == 0) {
    return absl::InvalidArgumentError("statistics.parameters.elements: must be at least 1");
  }
  if ((statistics.has_update_squared_norm() || statistics.has_gradient_dot_update()) &&
      !declaration.sends_updates) {
    return Undeclared("update_squared_norm", "UPDATE");
  }
  if (statistics.has_preconditioned_squared_norm() && !declaration.sends_preconditioners) {
    return Undeclared("preconditioned_squared_norm", "PRECONDITIONER");
  }
  if (statistics.has_gradient_after_update_dot_update() &&
      !(declaration.sends_gradients_after_update && declaration.sends_updates)) {
    return Undeclared("gradient_after_update_dot_update", "GRADIENT_AFTER_UPDATE and UPDATE");
  }
  if (statistics.has_reduced_gradient_squared_norm() && !declaration.sends_reduced_gradients) {
    return Undeclared("reduced_gradient_squared_norm", "REDUCED_GRADIENT");
  }
  ParameterSums sums;
  sums.elements = statistics.elements();
  sums.non_finite = {.nans = statistics.nan_elements(),
                     .infinities = statistics.infinite_elements()};
  const double once = 1 / loss_scale;
  const double twice = once * once;
  absl::Status status;
  const auto read = [&](const char* field, bool is_there, double value, double factor,
                        bool is_squared, std::optional<double>* out) {
    if (!is_there) return;
    if (is_squared && value < 0 && status.ok()) {
      status = absl::InvalidArgumentError(
          absl::StrCat("statistics.parameters.", field, ": ", value, " is no squared norm"));
    }
    *out = value * factor;
    // What overflowed in the trainer.
    if (!std::isfinite(**out) && !sums.non_finite.any()) ++sums.non_finite.infinities;
  };
  read("gradient_sum_squared_norm", statistics.has_gradient_sum_squared_norm(),
       statistics.gradient_sum_squared_norm(), twice, true, &sums.gradient_sum_squared_norm);
  read("gradient_squared_norm_of_sum", statistics.has_gradient_squared_norm_of_sum(),
       statistics.gradient_squared_norm_of_sum(), twice, true, &sums.gradient_squared_norm_of_sum);
  read("reduced_gradient_squared_norm", statistics.has_reduced_gradient_squared_norm(),
       statistics.reduced_gradient_squared_norm(), twice, true,
       &sums.reduced_gradient_squared_norm);
  read("weight_squared_norm", statistics.has_weight_squared_norm(),
       statistics.weight_squared_norm(), 1, true, &sums.weight_squared_norm);
  read("update_squared_norm", statistics.has_update_squared_norm(),
       statistics.update_squared_norm(), 1, true, &sums.update_squared_norm);
  read("gradient_dot_update", statistics.has_gradient_dot_update(),
       statistics.gradient_dot_update(), once, false, &sums.gradient_dot_update);
  read("preconditioned_squared_norm", statistics.has_preconditioned_squared_norm(),
       statistics.preconditioned_squared_norm(), twice, false, &sums.preconditioned_squared_norm);
  read("gradient_after_update_dot_update", statistics.has_gradient_after_update_dot_update(),
       statistics.gradient_after_update_dot_update(), once, false,
       &sums.gradient_after_update_dot_update);
  if (!status.ok()) return status;
  if (sums.gradient_squared_norm_of_sum) {
    // |sum_i g_i|^2 <= n sum_i |g_i|^2 (Cauchy's inequality).
    const double most = sums.gradient_sum_squared_norm.value_or(0) *
                        static_cast<double>(microbatches) * (1 + kSlack);
    if (*sums.gradient_squared_norm_of_sum > most) {
      return absl::InvalidArgumentError(
          absl::StrCat("statistics.parameters.gradient_squared_norm_of_sum: ",
                       statistics.gradient_squared_norm_of_sum(), " exceeds the ", microbatches,
                       " microbatches times gradient_sum_squared_norm"));
    }
  }
  return sums;
}

absl::Status AddStatistics(const ParameterSums& part, ParameterSums* sums) {
  // A trainer may leave out what is not finite.
  const bool may_differ = part.non_finite.any() || sums->non_finite.any();
  for (const auto member : kSums) {
    if ((part.*member).has_value() != (sums->*member).has_value() && !may_differ) {
      return absl::InvalidArgumentError(
          "statistics.parameters: parts of one parameter have sums of different tensors");
    }
  }
  for (const auto member : kSums) {
    std::optional<double>& sum = sums->*member;
    const std::optional<double>& other = part.*member;
    sum = sum && other ? std::optional(*sum + *other) : std::nullopt;
  }
  sums->elements += part.elements;
  sums->non_finite.Merge(part.non_finite);
  return absl::OkStatus();
}

absl::StatusOr<SymmetryStep> ReadStatistics(const v1::SymmetryStatistics& statistics,
                                            const DeclaredSymmetry& symmetry,
                                            const RunDeclaration& declaration, double loss_scale) {
  SymmetryStep step;
  absl::Status status;
  switch (symmetry.kind) {
    case Kind::kNeuronPermutation:
      return absl::InvalidArgumentError(absl::StrCat("statistics.symmetries.symmetry: '",
                                                     symmetry.name,
                                                     "' permutes neurons, which has no sums"));
    case Kind::kLogitTranslation:
      status = ReadTranslation(statistics, symmetry, 1 / loss_scale, &step);
      break;
    default:
      status = ReadSides(statistics, symmetry, 1 / loss_scale, &step);
  }
  if (!status.ok()) return status;
  if (!declaration.sends_updates &&
      (!step.sums.first.update_update.empty() || !step.translation.update.empty())) {
    return absl::InvalidArgumentError(
        "statistics.symmetries: run_spec.parameter_kinds does not name UPDATE");
  }
  return step;
}

void WriteStatistics(const MergedParameter& sums, const RunDeclaration& declaration,
                     uint64_t elements, const statistics::NonFinite& non_finite,
                     v1::ParameterStatistics* statistics) {
  statistics->set_elements(elements);
  statistics->set_nan_elements(non_finite.nans);
  statistics->set_infinite_elements(non_finite.infinities);
  if (!sums.undefined) {
    const auto n = static_cast<double>(sums.sums.microbatches);
    statistics->set_gradient_sum_squared_norm(sums.sums.sum_squared_norm);
    if (declaration.sends_reduced_gradients) {
      statistics->set_reduced_gradient_squared_norm(sums.sums.applied_squared_norm);
    } else if (sums.sums.microbatches > 1) {
      statistics->set_gradient_squared_norm_of_sum(sums.sums.applied_squared_norm * n * n);
    }
  }
  if (sums.weight_squared_norm) statistics->set_weight_squared_norm(*sums.weight_squared_norm);
  if (sums.update_squared_norm) statistics->set_update_squared_norm(*sums.update_squared_norm);
  if (sums.gradient_dot_update) statistics->set_gradient_dot_update(*sums.gradient_dot_update);
  if (sums.preconditioned_squared_norm) {
    statistics->set_preconditioned_squared_norm(*sums.preconditioned_squared_norm);
  }
  if (sums.gradient_after_update_dot_update) {
    statistics->set_gradient_after_update_dot_update(*sums.gradient_after_update_dot_update);
  }
}

bool WriteStatistics(const SymmetryStep& step, const DeclaredSymmetry& symmetry,
                     v1::SymmetryStatistics* statistics) {
  if (step.undefined || symmetry.kind == Kind::kNeuronPermutation) return false;
  statistics->set_symmetry(symmetry.name);
  if (symmetry.kind == Kind::kLogitTranslation) {
    v1::TranslationStatistics* out = statistics->mutable_translation();
    Write(step.translation.gradient, out->mutable_gradient());
    Write(step.translation.weight, out->mutable_weight());
    Write(step.translation.update, out->mutable_update());
    out->set_gradient_squared_norm(step.translation.gradient_squared_norm);
    out->set_update_squared_norm(step.translation.update_squared_norm);
    return true;
  }
  WriteSide(step.sums.first, statistics->mutable_first());
  if (!symmetry.second.empty()) WriteSide(step.sums.second, statistics->mutable_second());
  return true;
}

}  // namespace thermograd::service
