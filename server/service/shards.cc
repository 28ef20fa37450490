#include "service/shards.h"

#include <algorithm>
#include <map>
#include <utility>

#include "service/step_reduction.h"

namespace thermograd::service {
namespace {

using metrics::Undefined;

// Ranks by the shard of one parameter that they hold, lowest rank first.
std::map<Shard, std::vector<size_t>> Holders(const Ranks& ranks, size_t parameter) {
  std::map<Shard, std::vector<size_t>> holders;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    holders[ranks[rank]->parameters[parameter].shard].push_back(rank);
  }
  return holders;
}

bool Overlap(const Shard& x, const Shard& y) {
  for (size_t d = 0; d < x.offset.size(); ++d) {
    if (x.offset[d] + x.shape[d] <= y.offset[d] || y.offset[d] + y.shape[d] <= x.offset[d]) {
      return false;
    }
  }
  return true;
}

bool IsCovered(const Ranks& ranks, size_t parameter) {
  const auto holders = Holders(ranks, parameter);
  uint64_t elements = 0;
  for (auto shard = holders.begin(); shard != holders.end(); ++shard) {
    for (const size_t rank : shard->second) {
      if (ranks[rank]->parameters[parameter].replicas != shard->second.size()) return false;
    }
    elements += ranks[shard->second[0]]->parameters[parameter].shard_elements;
    for (auto other = std::next(shard); other != holders.end(); ++other) {
      if (Overlap(shard->first, other->first)) return false;
    }
  }
  return elements == ranks[0]->parameters[parameter].elements;
}

// Why a tensor of one shard cannot be used, if so.
std::optional<Undefined> UndefinedOf(const std::optional<statistics::TensorAccumulator>& tensor) {
  if (!tensor || !tensor->complete()) return Undefined::kMissingTensor;
  if (tensor->non_finite().any()) return Undefined::kNonFiniteInput;
  return std::nullopt;
}

TensorElements TakeElements(std::optional<statistics::TensorAccumulator>* tensor) {
  TensorElements elements;
  elements.undefined = UndefinedOf(*tensor);
  if (!elements.undefined) elements.values = (*tensor)->TakeValues();
  return elements;
}

// The sums that a trainer made of one shard, if they are of all of it and finite.
const ParameterSums* UsableSums(const ParameterPart& part, size_t shard_elements) {
  return part.sums && part.sums->elements == shard_elements && !part.sums->non_finite.any()
             ? &*part.sums
             : nullptr;
}

// Whether a rank's gradients of one shard can be used.
std::optional<Undefined> UndefinedGradient(const ParameterPart& part, size_t shard_elements) {
  if (part.gradient) {
    if (!part.gradient->complete()) return Undefined::kMissingTensor;
    if (part.gradient->non_finite().any()) return Undefined::kNonFiniteInput;
    return std::nullopt;
  }
  if (part.sums && part.sums->non_finite.any()) return Undefined::kNonFiniteInput;
  if (!part.sums || !part.sums->gradient_sum_squared_norm ||
      part.sums->elements != shard_elements) {
    return Undefined::kMissingTensor;
  }
  return std::nullopt;
}

// Sums of the microbatches of one rank that made them itself; |g|^2 is that of their mean.
std::optional<statistics::GradientSums> SumsOf(const ParameterSums& sums, uint64_t microbatches) {
  const auto n = static_cast<double>(microbatches);
  statistics::GradientSums result{.microbatches = microbatches,
                                  .sum_squared_norm = *sums.gradient_sum_squared_norm,
                                  .applied_squared_norm = 0,
                                  .applied_microbatches = n};
  if (sums.gradient_squared_norm_of_sum) {
    result.applied_squared_norm = *sums.gradient_squared_norm_of_sum / (n * n);
  } else if (microbatches == 1) {
    result.applied_squared_norm = result.sum_squared_norm;
  } else {
    return std::nullopt;
  }
  return result;
}

// What one shard of a parameter contributes.
struct ShardStep {
  MergedParameter sums;
  ParameterElements elements;
};

class Merger {
 public:
  Merger(const Ranks& ranks, std::span<RankStep> steps) : ranks_(ranks), steps_(steps) {}

  void Merge(size_t parameter, MergedParameter* merged, ParameterElements* elements) {
    const DeclaredParameter& declared = ranks_[0]->parameters[parameter];
    bool is_first = true;
    for (const auto& [shard, ranks] : Holders(ranks_, parameter)) {
      ShardStep step = MergeShard(parameter, ranks);
      Add(step.sums, is_first, merged);
      if (declared.in_symmetry) Place(shard, declared, is_first, &step.elements, elements);
      is_first = false;
    }
    if (merged->undefined) elements->gradient = {merged->undefined, {}};
  }

 private:
  using PartTensor = std::optional<statistics::TensorAccumulator> ParameterPart::*;

  ShardStep MergeShard(size_t parameter, const std::vector<size_t>& ranks) {
    ParameterPart& part = steps_[ranks[0]].parameters[parameter];
    ShardStep shard;
    shard.sums.undefined = MergeGradients(parameter, ranks, &shard);
    if (shard.sums.undefined) shard.elements.gradient = {shard.sums.undefined, {}};
    if (!UndefinedOf(part.weight)) shard.sums.weight_squared_norm = part.weight->SquaredNorm();
    shard.elements.weight = TakeElements(&part.weight);
    shard.elements.update = TakeElements(&part.update);
    shard.elements.preconditioner = TakeElements(&part.preconditioner);
    shard.elements.gradient_after_update = TakeElements(&part.gradient_after_update);
    ReduceParameter(shard.elements, &shard.sums);
    if (const ParameterSums* sums = UsableSums(part, ShardElements(parameter, ranks[0]))) {
      const auto fill = [](const std::optional<double>& sum, std::optional<double>* out) {
        if (!*out) *out = sum;
      };
      fill(sums->weight_squared_norm, &shard.sums.weight_squared_norm);
      fill(sums->update_squared_norm, &shard.sums.update_squared_norm);
      fill(sums->gradient_dot_update, &shard.sums.gradient_dot_update);
      fill(sums->preconditioned_squared_norm, &shard.sums.preconditioned_squared_norm);
      fill(sums->gradient_after_update_dot_update, &shard.sums.gradient_after_update_dot_update);
    }
    return shard;
  }

  // Joins the gradients of the ranks that hold one shard; if it cannot, says why.
  std::optional<Undefined> MergeGradients(size_t parameter, const std::vector<size_t>& ranks,
                                          ShardStep* shard) {
    const size_t shard_elements = ShardElements(parameter, ranks[0]);
    for (const size_t rank : ranks) {
      if (const auto undefined =
              UndefinedGradient(steps_[rank].parameters[parameter], shard_elements)) {
        return undefined;
      }
    }
    ParameterPart& part = steps_[ranks[0]].parameters[parameter];
    // The same on all ranks, which count once.
    const bool is_reduced = ranks_[0]->gradients_are_reduced || ranks.size() == 1;
    if (ranks_[0]->sends_reduced_gradients) {
      // The sum vectors of the ranks need not be kept, let alone added.
      statistics::GradientSums& sums = shard->sums.sums;
      for (const size_t rank : ranks) {
        const ParameterPart& other = steps_[rank].parameters[parameter];
        if (other.gradient) {
          const statistics::GradientSums of_rank = other.gradient->Sums();
          sums.microbatches += of_rank.microbatches;
          sums.sum_squared_norm += of_rank.sum_squared_norm;
        } else {
          sums.microbatches += steps_[rank].settings.microbatches;
          sums.sum_squared_norm += *other.sums->gradient_sum_squared_norm;
        }
        if (is_reduced) break;
      }
      if (part.reduced_gradient) {
        shard->elements.gradient.undefined = UndefinedOf(part.reduced_gradient);
        if (shard->elements.gradient.undefined) return shard->elements.gradient.undefined;
        sums.applied_squared_norm = part.reduced_gradient->SquaredNorm();
        shard->elements.gradient.values = part.reduced_gradient->TakeValues();
      } else if (const ParameterSums* own = UsableSums(part, shard_elements);
                 own != nullptr && own->reduced_gradient_squared_norm) {
        sums.applied_squared_norm = *own->reduced_gradient_squared_norm;
      } else {
        return Undefined::kMissingTensor;
      }
      const StepSettings& settings = steps_[0].settings;
      sums.applied_microbatches = settings.reduced_batch_size > 0
                                      ? settings.reduced_batch_size / settings.microbatch_size
                                      : static_cast<double>(sums.microbatches);
      return std::nullopt;
    }
    if (part.gradient) {
      for (size_t i = 1; i < ranks.size() && !is_reduced; ++i) {
        const ParameterPart& other = steps_[ranks[i]].parameters[parameter];
        // The norm of a common mean does not follow from norms.
        if (!other.gradient) return Undefined::kMissingTensor;
        part.gradient->MergeMicrobatches(*other.gradient);
      }
      shard->sums.sums = part.gradient->Sums();
      shard->elements.gradient = {std::nullopt, part.gradient->Mean()};
      return std::nullopt;
    }
    if (!is_reduced) return Undefined::kMissingTensor;
    const auto sums = SumsOf(*part.sums, steps_[ranks[0]].settings.microbatches);
    if (!sums) return Undefined::kMissingTensor;
    shard->sums.sums = *sums;
    return std::nullopt;
  }

  size_t ShardElements(size_t parameter, size_t rank) const {
    return ranks_[rank]->parameters[parameter].shard_elements;
  }

  static void Add(const MergedParameter& shard, bool is_first, MergedParameter* merged) {
    if (is_first) {
      *merged = shard;
      return;
    }
    if (!merged->undefined) merged->undefined = shard.undefined;
    if (!merged->undefined && merged->sums.microbatches != shard.sums.microbatches) {
      // Shards of different batches have no common gradient.
      merged->undefined = Undefined::kIncompleteShards;
    }
    merged->sums.MergeParameters(shard.sums);
    for (const auto member :
         {&MergedParameter::weight_squared_norm, &MergedParameter::update_squared_norm,
          &MergedParameter::gradient_dot_update, &MergedParameter::preconditioned_squared_norm,
          &MergedParameter::gradient_after_update_dot_update}) {
      std::optional<double>& sum = merged->*member;
      const std::optional<double>& part = shard.*member;
      sum = sum && part ? std::optional(*sum + *part) : std::nullopt;
    }
  }

  static void Place(const Shard& shard, const DeclaredParameter& declared, bool is_first,
                    ParameterElements* part, ParameterElements* whole) {
    for (const auto member :
         {&ParameterElements::gradient, &ParameterElements::weight, &ParameterElements::update}) {
      TensorElements& from = part->*member;
      TensorElements& to = whole->*member;
      if (is_first) to.undefined.reset();
      if (from.undefined && !to.undefined) to = {from.undefined, {}};
      // Sums came in its place.
      if (!from.undefined && from.values.empty()) to.undefined = Undefined::kMissingTensor;
      if (to.undefined) continue;
      if (from.values.size() == declared.elements) {
        to.values = std::move(from.values);
      } else {
        to.values.resize(declared.elements);
        Scatter(shard, from.values, declared.shape, to.values);
      }
    }
  }

  const Ranks& ranks_;
  std::span<RankStep> steps_;
};

// Whether what one rank knows of a symmetry holds for all: it has all of the members, and their
// gradient is the step's.
bool SpeaksForAll(const Ranks& ranks, const DeclaredSymmetry& symmetry) {
  if (ranks.size() == 1) return true;
  const RunDeclaration& run = *ranks[0];
  bool is_whole = run.gradients_are_reduced || run.sends_reduced_gradients;
  for (const auto* side : {&symmetry.first, &symmetry.second}) {
    for (const SymmetryMember& member : *side) {
      is_whole = is_whole && run.parameters[member.parameter].replicas == ranks.size();
    }
  }
  return is_whole;
}

}  // namespace

std::vector<bool> CoveredParameters(const Ranks& ranks) {
  std::vector<bool> covered;
  for (size_t p = 0; p < ranks[0]->parameters.size(); ++p) covered.push_back(IsCovered(ranks, p));
  return covered;
}

void Scatter(const Shard& shard, std::span<const double> elements,
             std::span<const uint64_t> whole_shape, std::span<double> whole) {
  const size_t dimensions = whole_shape.size();
  // Rows of the last dimension are contiguous in both.
  const uint64_t row = dimensions == 0 ? 1 : shard.shape[dimensions - 1];
  std::vector<uint64_t> index(dimensions);
  for (size_t from = 0; from < elements.size(); from += row) {
    uint64_t to = 0;
    for (size_t d = 0; d < dimensions; ++d) {
      to = to * whole_shape[d] + shard.offset[d] + index[d];
    }
    std::copy_n(elements.begin() + static_cast<ptrdiff_t>(from), row,
                whole.begin() + static_cast<ptrdiff_t>(to));
    for (size_t d = dimensions - (dimensions == 0 ? 0 : 1); d-- > 0;) {
      if (++index[d] < shard.shape[d]) break;
      index[d] = 0;
    }
  }
}

MergedStep MergeRanks(const Ranks& ranks, const std::vector<bool>& covered,
                      std::span<RankStep> steps) {
  MergedStep merged;
  merged.settings = steps[0].settings;
  // The mean loss of the step's whole batch.
  double loss = 0;
  for (const RankStep& step : steps) {
    if (!step.settings.loss || !merged.settings.loss) {
      merged.settings.loss.reset();
    } else {
      loss += *step.settings.loss;
    }
  }
  if (merged.settings.loss) merged.settings.loss = loss / static_cast<double>(steps.size());
  const size_t parameters = ranks[0]->parameters.size();
  merged.parameters.resize(parameters);
  merged.elements.resize(parameters);
  Merger merger(ranks, steps);
  for (size_t p = 0; p < parameters; ++p) {
    if (covered[p]) {
      merger.Merge(p, &merged.parameters[p], &merged.elements[p]);
    } else {
      merged.parameters[p].undefined = Undefined::kIncompleteShards;
      merged.elements[p].gradient.undefined = Undefined::kIncompleteShards;
      merged.elements[p].weight.undefined = Undefined::kIncompleteShards;
    }
  }
  merged.symmetries = ReduceSymmetries(*ranks[0], merged.elements);
  for (auto& [symmetry, reduced] : steps[0].symmetries) {
    if (SpeaksForAll(ranks, ranks[0]->symmetries[symmetry])) {
      merged.symmetries[symmetry] = std::move(reduced);
    } else {
      merged.symmetries[symmetry].undefined = Undefined::kIncompleteShards;
    }
  }
  return merged;
}

}  // namespace thermograd::service
