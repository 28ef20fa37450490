#include "service/shards.h"

#include <algorithm>
#include <map>
#include <utility>

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

using PartTensor = std::optional<statistics::TensorAccumulator> ParameterPart::*;

// Why a tensor of one shard cannot be used, if so.
std::optional<Undefined> UndefinedOf(const std::optional<statistics::TensorAccumulator>& tensor) {
  if (!tensor || !tensor->complete()) return Undefined::kMissingTensor;
  if (tensor->non_finite().any()) return Undefined::kNonFiniteInput;
  return std::nullopt;
}

// A tensor that is the same on all ranks that hold a shard.
struct Whole {
  std::optional<Undefined> undefined;
  double squared_norm = 0;
  std::vector<double> values;
};

class Merger {
 public:
  Merger(const Ranks& ranks, std::span<RankStep> steps) : ranks_(ranks), steps_(steps) {}

  void Merge(size_t parameter, MergedParameter* merged, ParameterElements* elements) {
    const DeclaredParameter& declared = ranks_[0]->parameters[parameter];
    holders_ = Holders(ranks_, parameter);
    MergeGradients(parameter, declared, merged, &elements->gradient);

    Whole weight = Join(parameter, declared, &ParameterPart::weight);
    if (!weight.undefined) merged->weight_squared_norm = weight.squared_norm;
    elements->weight = {weight.undefined, std::move(weight.values)};
    for (const auto& [part, tensor] :
         {std::pair{&ParameterPart::update, &elements->update},
          std::pair{&ParameterPart::preconditioner, &elements->preconditioner},
          std::pair{&ParameterPart::gradient_after_update, &elements->gradient_after_update}}) {
      Whole whole = Join(parameter, declared, part);
      *tensor = {whole.undefined, std::move(whole.values)};
    }
  }

 private:
  Whole Join(size_t parameter, const DeclaredParameter& declared, PartTensor member) const {
    Whole whole;
    for (const auto& [shard, ranks] : holders_) {
      auto& tensor = steps_[ranks[0]].parameters[parameter].*member;
      if (const auto undefined = UndefinedOf(tensor)) {
        whole.undefined = undefined;
        whole.values.clear();
        return whole;
      }
      whole.squared_norm += tensor->SquaredNorm();
      Place(shard, declared, tensor->TakeValues(), &whole.values);
    }
    return whole;
  }

  static void Place(const Shard& shard, const DeclaredParameter& declared,
                    std::vector<double> values, std::vector<double>* whole) {
    if (values.empty()) return;
    if (values.size() == declared.elements) {
      *whole = std::move(values);
      return;
    }
    whole->resize(declared.elements);
    Scatter(shard, values, declared.shape, *whole);
  }

  void MergeGradients(size_t parameter, const DeclaredParameter& declared, MergedParameter* merged,
                      TensorElements* mean) {
    const bool is_reduced = ranks_[0]->gradients_are_reduced;
    bool is_first = true;
    mean->undefined.reset();
    for (const auto& [shard, ranks] : holders_) {
      for (const size_t rank : ranks) {
        const auto& gradient = steps_[rank].parameters[parameter].gradient;
        if (!gradient || !gradient->complete()) {
          merged->undefined = Undefined::kMissingTensor;
        } else if (gradient->non_finite().any()) {
          merged->undefined = Undefined::kNonFiniteInput;
        }
        if (merged->undefined) {
          *mean = {merged->undefined, {}};
          return;
        }
      }
      statistics::GradientSums sums;
      std::vector<double> values;
      statistics::GradientAccumulator& first = *steps_[ranks[0]].parameters[parameter].gradient;
      if (ranks_[0]->sends_reduced_gradients) {
        // The sum vectors of the ranks need not be kept, let alone added.
        auto& reduced = steps_[ranks[0]].parameters[parameter].reduced_gradient;
        if (const auto undefined = UndefinedOf(reduced)) {
          merged->undefined = undefined;
          *mean = {undefined, {}};
          return;
        }
        sums = first.Sums();
        for (size_t i = 1; i < ranks.size() && !is_reduced; ++i) {
          const statistics::GradientSums other =
              steps_[ranks[i]].parameters[parameter].gradient->Sums();
          sums.sum_squared_norm += other.sum_squared_norm;
          sums.microbatches += other.microbatches;
        }
        const StepSettings& settings = steps_[0].settings;
        sums.applied_squared_norm = reduced->SquaredNorm();
        sums.applied_microbatches = settings.reduced_batch_size > 0
                                        ? settings.reduced_batch_size / settings.microbatch_size
                                        : static_cast<double>(sums.microbatches);
        values = reduced->TakeValues();
      } else {
        for (size_t i = 1; i < ranks.size() && !is_reduced; ++i) {
          first.MergeMicrobatches(*steps_[ranks[i]].parameters[parameter].gradient);
        }
        sums = first.Sums();
        values = first.Mean();
      }
      if (is_first) {
        merged->sums = sums;
      } else if (merged->sums.microbatches != sums.microbatches) {
        // Shards of different batches have no common gradient.
        merged->undefined = Undefined::kIncompleteShards;
        *mean = {merged->undefined, {}};
        return;
      } else {
        merged->sums.MergeParameters(sums);
      }
      is_first = false;
      Place(shard, declared, std::move(values), &mean->values);
    }
  }

  const Ranks& ranks_;
  std::span<RankStep> steps_;
  std::map<Shard, std::vector<size_t>> holders_;
};

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
  return merged;
}

}  // namespace thermograd::service
