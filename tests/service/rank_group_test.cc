#include "service/rank_group.h"

#include <cmath>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "service/shards.h"

namespace thermograd::service {
namespace {

using metrics::Undefined;

// A run of one hidden layer: two matrices tied by the rescaling of their neurons, and a parameter
// that stands alone.
RunDeclaration OneRank(uint32_t window_steps = 4) {
  RunDeclaration run;
  run.run.name = "run";
  run.identity = "identity";
  run.optimizer.kind = metrics::Optimizer::Kind::kSgd;
  run.window_steps = window_steps;
  for (const auto& [name, group, rows, columns] :
       {std::tuple{"incoming", "in", 6, 8}, {"outgoing", "out", 4, 6}, {"embedding", "in", 5, 3}}) {
    DeclaredParameter parameter;
    parameter.name = name;
    parameter.group = group;
    parameter.shape = {static_cast<uint64_t>(rows), static_cast<uint64_t>(columns)};
    parameter.elements = parameter.shard_elements = parameter.shape[0] * parameter.shape[1];
    parameter.in_symmetry = parameter.name != "embedding";
    parameter.shard = {.offset = {0, 0}, .shape = parameter.shape};
    run.parameters.push_back(parameter);
  }
  run.max_spectrum_rows = 8;
  const statistics::MatrixView incoming{
      .offset = 0, .rows = 6, .columns = 8, .row_stride = 8, .column_stride = 1};
  const statistics::MatrixView outgoing{
      .offset = 0, .rows = 6, .columns = 4, .row_stride = 1, .column_stride = 6};
  run.symmetries.push_back(
      {.name = "hidden",
       .kind = DeclaredSymmetry::Kind::kNeuronRescaling,
       .instances = 6,
       .dimension = 1,
       .first = {{.parameter = 0, .view = incoming, .instance_of_block = {}}},
       .second = {{.parameter = 1, .view = outgoing, .instance_of_block = {}}}});
  return run;
}

// All tensors of one step of the whole run.
struct WholeStep {
  uint64_t number;
  std::vector<std::vector<std::vector<double>>> gradients;  // by parameter and microbatch
  std::vector<std::vector<double>> weights;
};

class Trainer {
 public:
  explicit Trainer(unsigned seed) : random_(seed) {}

  double Normal() { return std::normal_distribution<>()(random_); }
  size_t Below(size_t bound) {
    return std::uniform_int_distribution<size_t>(0, bound - 1)(random_);
  }
  std::mt19937& random() { return random_; }

  WholeStep Step(uint64_t number, const RunDeclaration& run, size_t microbatches) {
    WholeStep step{.number = number, .gradients = {}, .weights = {}};
    for (const DeclaredParameter& parameter : run.parameters) {
      auto& gradients = step.gradients.emplace_back(microbatches);
      for (auto& gradient : gradients) gradient = Vector(parameter.elements);
      step.weights.push_back(Vector(parameter.elements));
    }
    return step;
  }

 private:
  std::vector<double> Vector(size_t elements) {
    std::vector<double> values(elements);
    for (double& value : values) value = Normal();
    return values;
  }

  std::mt19937 random_;
};

std::vector<double> Cut(const std::vector<double>& matrix, uint64_t columns, const Shard& shard) {
  std::vector<double> part;
  for (uint64_t r = 0; r < shard.shape[0]; ++r) {
    for (uint64_t c = 0; c < shard.shape[1]; ++c) {
      part.push_back(matrix[(shard.offset[0] + r) * columns + shard.offset[1] + c]);
    }
  }
  return part;
}

// What a rank sends of a step, for the microbatches that it saw.
RankStep Part(const RunDeclaration& rank, const WholeStep& step,
              const std::vector<size_t>& microbatches) {
  RankStep part;
  part.settings.context = {.step = step.number, .learning_rate = 0.1, .weight_decay = 0.01};
  part.settings.loss = 1.5;
  part.settings.microbatch_size = 4;
  for (size_t p = 0; p < rank.parameters.size(); ++p) {
    const DeclaredParameter& parameter = rank.parameters[p];
    ParameterPart& out = part.parameters.emplace_back();
    out.gradient.emplace(
        parameter.shard_elements, microbatches.size(),
        rank.sends_reduced_gradients ? statistics::SumUse::kNone : statistics::SumUse::kVector,
        1.0);
    const auto cut = [&](const std::vector<double>& matrix) {
      return Cut(matrix, parameter.shape[1], parameter.shard);
    };
    for (const size_t m : microbatches) {
      out.gradient->Add(kernels::Elements::Of(cut(step.gradients[p][m])), 0);
    }
    out.weight.emplace(parameter.shard_elements, true, 1.0);
    out.weight->Add(kernels::Elements::Of(cut(step.weights[p])), 0);
  }
  return part;
}

std::vector<size_t> AllMicrobatches(const WholeStep& step) {
  std::vector<size_t> all(step.gradients[0].size());
  std::iota(all.begin(), all.end(), size_t{0});
  return all;
}

// Extents into which a random number of cuts divides `extent`.
std::vector<std::pair<uint64_t, uint64_t>> Divide(uint64_t extent, Trainer* trainer) {
  std::set<uint64_t> cuts = {0, extent};
  for (size_t i = trainer->Below(3); i > 0; --i) cuts.insert(trainer->Below(extent));
  std::vector<std::pair<uint64_t, uint64_t>> parts;
  for (auto cut = cuts.begin(); std::next(cut) != cuts.end(); ++cut) {
    parts.emplace_back(*cut, *std::next(cut) - *cut);
  }
  return parts;
}

// The ranks of a run whose parameters are split at random, every part held `replicas` times.
std::vector<RunDeclaration> SplitAtRandom(uint32_t replicas, bool reduced, Trainer* trainer) {
  // Every parameter is cut into as many tiles as there are groups of replicas.
  const RunDeclaration whole = OneRank();
  std::vector<std::vector<Shard>> tiles;
  size_t groups = 0;
  while (true) {
    tiles.clear();
    std::set<size_t> counts;
    for (const DeclaredParameter& parameter : whole.parameters) {
      auto& own = tiles.emplace_back();
      const auto columns = Divide(parameter.shape[1], trainer);
      for (const auto& [row, height] : Divide(parameter.shape[0], trainer)) {
        for (const auto& [column, width] : columns) {
          own.push_back({.offset = {row, column}, .shape = {height, width}});
        }
      }
      counts.insert(own.size());
    }
    if (counts.size() == 1) {
      groups = *counts.begin();
      break;
    }
  }
  std::vector<RunDeclaration> ranks;
  for (uint32_t rank = 0; rank < groups * replicas; ++rank) {
    RunDeclaration declaration = OneRank();
    declaration.rank = rank;
    declaration.world_size = static_cast<uint32_t>(groups) * replicas;
    declaration.gradients_are_reduced = reduced;
    for (size_t p = 0; p < tiles.size(); ++p) {
      DeclaredParameter& parameter = declaration.parameters[p];
      parameter.shard = tiles[p][rank / replicas];
      parameter.shard_elements = parameter.shard.shape[0] * parameter.shard.shape[1];
      parameter.replicas = replicas;
    }
    ranks.push_back(declaration);
  }
  return ranks;
}

using Named = std::map<std::string, metrics::Result>;
Named ByName(const metrics::Figures& figures) {
  Named named;
  for (const metrics::Figure& figure : figures) {
    std::string key = figure.name;
    for (const auto& [name, value] : figure.labels) {
      key.append(" ").append(name).append("=").append(value);
    }
    EXPECT_TRUE(named.emplace(key, figure.result).second) << key;
  }
  return named;
}

void ExpectEqual(const metrics::Figures& figures, const metrics::Figures& expected) {
  const Named found = ByName(figures);
  const Named wanted = ByName(expected);
  ASSERT_EQ(found.size(), wanted.size());
  for (const auto& [key, result] : wanted) {
    ASSERT_TRUE(found.contains(key)) << key;
    const double* value = std::get_if<double>(&result);
    if (value == nullptr) {
      EXPECT_EQ(found.at(key), result) << key;
      continue;
    }
    ASSERT_TRUE(std::holds_alternative<double>(found.at(key))) << key;
    EXPECT_NEAR(std::get<double>(found.at(key)), *value, 1e-9 * (1 + std::fabs(*value))) << key;
  }
}

class Group {
 public:
  explicit Group(const std::vector<RunDeclaration>& ranks)
      : ranks_(ranks), group_(ranks[0], &counters_) {
    for (const RunDeclaration& rank : ranks) tickets_.push_back(group_.Enter(rank));
    heard_.resize(ranks.size());
  }

  RunFigures End(size_t rank, const WholeStep& step, const std::vector<size_t>& microbatches) {
    return group_.EndStep(
        tickets_[rank], Part(ranks_[rank], step, microbatches),
        [this, rank](const RunFigures& figures) { heard_[rank].push_back(figures); });
  }
  void Leave(size_t rank) { group_.Leave(tickets_[rank]); }

  RankGroup& group() { return group_; }
  const std::vector<RunFigures>& heard(size_t rank) const { return heard_[rank]; }
  const ServiceCounters& counters() const { return counters_; }

 private:
  std::vector<RunDeclaration> ranks_;
  ServiceCounters counters_;
  RankGroup group_;
  std::vector<uint64_t> tickets_;
  std::vector<std::vector<RunFigures>> heard_;
};

Undefined ReasonOf(const RunFigures& figures, const std::string& key) {
  return std::get<Undefined>(ByName(*figures).at(key));
}

// Theory.md section 1: everything is a function of additive sums.
TEST(RankGroup, AnySplitOfAStreamGivesTheSameFigures) {
  for (unsigned seed = 0; seed < 30; ++seed) {
    SCOPED_TRACE(seed);
    Trainer trainer(seed);
    const auto replicas = static_cast<uint32_t>(1 + trainer.Below(3));
    const bool reduced = trainer.Below(2) == 0;
    const std::vector<RunDeclaration> ranks = SplitAtRandom(replicas, reduced, &trainer);
    Group whole({OneRank()});
    Group split(ranks);
    for (uint64_t number = 1; number <= 3; ++number) {
      // Where gradients are local, the ranks that hold a shard share the microbatches out.
      const WholeStep step = trainer.Step(number, OneRank(), 3 + trainer.Below(4));
      std::vector<size_t> shuffled = AllMicrobatches(step);
      std::shuffle(shuffled.begin(), shuffled.end(), trainer.random());
      std::vector<std::vector<size_t>> shares(replicas);
      for (size_t i = 0; i < shuffled.size(); ++i) shares[i % replicas].push_back(shuffled[i]);
      const RunFigures expected = whole.End(0, step, AllMicrobatches(step));
      RunFigures figures;
      for (size_t rank = 0; rank < ranks.size(); ++rank) {
        EXPECT_EQ(figures, nullptr);
        figures = split.End(rank, step, reduced ? AllMicrobatches(step) : shares[rank % replicas]);
      }
      ASSERT_NE(figures, nullptr);
      ExpectEqual(*figures, *expected);
      for (size_t rank = 0; rank + 1 < ranks.size(); ++rank) {
        EXPECT_EQ(split.heard(rank).back(), figures);
      }
    }
  }
}

std::vector<RunDeclaration> TwoReplicas() {
  std::vector<RunDeclaration> ranks(2, OneRank());
  for (uint32_t rank = 0; rank < 2; ++rank) {
    ranks[rank].rank = rank;
    ranks[rank].world_size = 2;
    for (DeclaredParameter& parameter : ranks[rank].parameters) parameter.replicas = 2;
  }
  return ranks;
}

TEST(RankGroup, TheReducedGradientGivesWhatTheRanksVectorsGive) {
  Trainer trainer(1);
  std::vector<RunDeclaration> ranks = TwoReplicas();
  ServiceCounters counters;
  RankGroup group(ranks[0], &counters);
  std::vector<uint64_t> tickets;
  for (RunDeclaration& rank : ranks) {
    rank.sends_reduced_gradients = true;
    tickets.push_back(group.Enter(rank));
  }
  const WholeStep step = trainer.Step(1, OneRank(), 4);
  RunFigures figures;
  for (const size_t rank : {0u, 1u}) {
    RankStep part = Part(ranks[rank], step, {2 * rank, 2 * rank + 1});
    for (size_t p = 0; p < part.parameters.size(); ++p) {
      std::vector<double> mean(ranks[0].parameters[p].elements);
      for (const auto& gradient : step.gradients[p]) {
        for (size_t i = 0; i < mean.size(); ++i) mean[i] += gradient[i] / 4;
      }
      part.parameters[p].reduced_gradient.emplace(mean.size(), true, 1.0);
      part.parameters[p].reduced_gradient->Add(kernels::Elements::Of(mean), 0);
    }
    figures = group.EndStep(tickets[rank], std::move(part), [](const RunFigures&) {});
  }
  ASSERT_NE(figures, nullptr);
  Group whole({OneRank()});
  ExpectEqual(*figures, *whole.End(0, step, {0, 1, 2, 3}));
}

// The same part with sums instead of tensors, as a trainer makes them. `reduced`: it knows the mean
// over all ranks too.
RankStep Reduced(const RunDeclaration& rank, const WholeStep& step,
                 const std::vector<size_t>& microbatches, bool reduced) {
  RankStep part = Part(rank, step, microbatches);
  part.settings.microbatches = microbatches.size();
  for (size_t p = 0; p < part.parameters.size(); ++p) {
    ParameterPart& parameter = part.parameters[p];
    const statistics::GradientSums sums = parameter.gradient->Sums();
    const auto n = static_cast<double>(sums.microbatches);
    parameter.sums.emplace().elements = rank.parameters[p].shard_elements;
    parameter.sums->gradient_sum_squared_norm = sums.sum_squared_norm;
    parameter.sums->gradient_squared_norm_of_sum = sums.applied_squared_norm * n * n;
    parameter.sums->weight_squared_norm = parameter.weight->SquaredNorm();
    if (reduced) {
      std::vector<double> mean(rank.parameters[p].elements);
      for (const auto& gradient : step.gradients[p]) {
        for (size_t i = 0; i < mean.size(); ++i) {
          mean[i] += gradient[i] / static_cast<double>(step.gradients[p].size());
        }
      }
      statistics::TensorAccumulator accumulator(mean.size(), false, 1);
      accumulator.Add(kernels::Elements::Of(mean), 0);
      parameter.sums->reduced_gradient_squared_norm = accumulator.SquaredNorm();
    }
    parameter.gradient.reset();
    parameter.weight.reset();
  }
  return part;
}

// All that does not need a symmetry's members element by element.
void ExpectEqualForces(const RunFigures& figures, const RunFigures& expected) {
  ASSERT_NE(figures, nullptr);
  const Named found = ByName(*figures);
  size_t compared = 0;
  for (const auto& [key, result] : ByName(*expected)) {
    if (key.find("symmetry=") != std::string::npos || key.find("_rank") != std::string::npos) {
      continue;
    }
    ASSERT_TRUE(found.contains(key)) << key;
    const double* value = std::get_if<double>(&result);
    if (value == nullptr) {
      EXPECT_EQ(found.at(key), result) << key;
      continue;
    }
    ASSERT_TRUE(std::holds_alternative<double>(found.at(key))) << key;
    EXPECT_NEAR(std::get<double>(found.at(key)), *value, 1e-9 * (1 + std::fabs(*value))) << key;
    ++compared;
  }
  EXPECT_GT(compared, 30u);
}

TEST(RankGroup, ShardsMayComeAsSumsBesideTensors) {
  for (unsigned seed = 0; seed < 10; ++seed) {
    SCOPED_TRACE(seed);
    Trainer trainer(seed);
    const std::vector<RunDeclaration> ranks = SplitAtRandom(1, false, &trainer);
    const WholeStep step = trainer.Step(1, OneRank(), 3);
    ServiceCounters counters;
    RankGroup group(ranks[0], &counters);
    std::vector<uint64_t> tickets;
    tickets.reserve(ranks.size());
    for (const RunDeclaration& rank : ranks) tickets.push_back(group.Enter(rank));
    RunFigures figures;
    for (size_t rank = 0; rank < ranks.size(); ++rank) {
      figures = group.EndStep(tickets[rank],
                              rank % 2 == 0 ? Reduced(ranks[rank], step, {0, 1, 2}, false)
                                            : Part(ranks[rank], step, {0, 1, 2}),
                              [](const RunFigures&) {});
    }
    Group whole({OneRank()});
    ExpectEqualForces(figures, whole.End(0, step, {0, 1, 2}));
    EXPECT_EQ(ReasonOf(figures, "thermograd_symmetry_gradient_balance_ratio symmetry=hidden"),
              Undefined::kMissingTensor);
  }
}

TEST(RankGroup, SumsOfReplicasNeedTheReducedGradients) {
  Trainer trainer(11);
  const WholeStep step = trainer.Step(1, OneRank(), 4);
  for (const bool sends_reduced : {false, true}) {
    std::vector<RunDeclaration> ranks = TwoReplicas();
    ServiceCounters counters;
    RankGroup group(ranks[0], &counters);
    std::vector<uint64_t> tickets;
    for (RunDeclaration& rank : ranks) {
      rank.sends_reduced_gradients = sends_reduced;
      tickets.push_back(group.Enter(rank));
    }
    RunFigures figures;
    for (const size_t rank : {0u, 1u}) {
      figures = group.EndStep(tickets[rank],
                              Reduced(ranks[rank], step, {2 * rank, 2 * rank + 1}, sends_reduced),
                              [](const RunFigures&) {});
    }
    if (sends_reduced) {
      Group whole({OneRank()});
      ExpectEqualForces(figures, whole.End(0, step, {0, 1, 2, 3}));
    } else {
      // The norm of the common mean does not follow from the ranks' norms.
      EXPECT_EQ(ReasonOf(figures, "thermograd_gradient_second_moment"), Undefined::kMissingTensor);
    }
  }
}

TEST(RankGroup, SumsOfASymmetryCountOnlyWhereTheyAreOfTheWholeGradient) {
  Trainer trainer(12);
  const WholeStep step = trainer.Step(1, OneRank(), 2);
  const std::string residual = "thermograd_symmetry_residual_ratio symmetry=hidden";
  for (const bool reduced : {false, true}) {
    std::vector<RunDeclaration> ranks = TwoReplicas();
    ServiceCounters counters;
    RankGroup group(ranks[0], &counters);
    std::vector<uint64_t> tickets;
    for (RunDeclaration& rank : ranks) {
      rank.gradients_are_reduced = reduced;
      tickets.push_back(group.Enter(rank));
    }
    RunFigures figures;
    for (const size_t rank : {0u, 1u}) {
      RankStep part = Reduced(ranks[rank], step, {0, 1}, false);
      const std::vector<double> ones(6, 1);
      const statistics::SideSums side{.gradient_gradient = ones,
                                      .weight_weight = ones,
                                      .gradient_weight = ones,
                                      .update_weight = {},
                                      .update_update = {}};
      part.symmetries[0] = {
          .undefined = {}, .sums = {.first = side, .second = side}, .translation = {}};
      figures = group.EndStep(tickets[rank], std::move(part), [](const RunFigures&) {});
    }
    if (reduced) {
      EXPECT_EQ(std::get<double>(ByName(*figures).at(residual)), 0);
    } else {
      EXPECT_EQ(ReasonOf(figures, residual), Undefined::kIncompleteShards);
    }
  }
}

TEST(RankGroup, AnIncompleteShardSetGivesTheReasonAndNoFigure) {
  Trainer trainer(2);
  std::vector<RunDeclaration> ranks(2, OneRank());
  for (uint32_t rank = 0; rank < 2; ++rank) {
    ranks[rank].rank = rank;
    ranks[rank].world_size = 2;
    ranks[rank].gradients_are_reduced = true;
    for (DeclaredParameter& parameter : ranks[rank].parameters) {
      // Half of the rows are on nobody.
      parameter.shard.shape[0] = 1;
      parameter.shard.offset[0] = rank;
      parameter.shard_elements = parameter.shape[1];
    }
  }
  Group group(ranks);
  const WholeStep step = trainer.Step(1, OneRank(), 2);
  EXPECT_EQ(group.End(0, step, {0, 1}), nullptr);
  const RunFigures figures = group.End(1, step, {0, 1});
  for (const auto& [key, result] : ByName(*figures)) {
    if (key == "thermograd_loss") continue;
    EXPECT_TRUE(std::holds_alternative<Undefined>(result)) << key;
  }
  EXPECT_EQ(ReasonOf(figures, "thermograd_gradient_second_moment"), Undefined::kIncompleteShards);
}

TEST(RankGroup, ARankThatLeavesGivesUpTheStepsThatWaitForIt) {
  Trainer trainer(3);
  Group group(TwoReplicas());
  EXPECT_EQ(group.End(0, trainer.Step(1, OneRank(), 2), {0}), nullptr);
  group.Leave(1);
  ASSERT_EQ(group.heard(0).size(), 1u);
  EXPECT_EQ(ReasonOf(group.heard(0)[0], "thermograd_entropic_loss"), Undefined::kIncompleteShards);
  EXPECT_EQ(group.counters().incomplete_rank_steps, 1u);
}

TEST(RankGroup, ARankThatLeftHearsNothing) {
  Trainer trainer(4);
  Group group(TwoReplicas());
  EXPECT_EQ(group.End(0, trainer.Step(1, OneRank(), 2), {0}), nullptr);
  group.Leave(0);
  EXPECT_TRUE(group.heard(0).empty());
}

TEST(RankGroup, AStepThatARankLeavesOutIsGivenUp) {
  Trainer trainer(5);
  Group group(TwoReplicas());
  EXPECT_EQ(group.End(0, trainer.Step(1, OneRank(), 2), {0}), nullptr);
  const WholeStep second = trainer.Step(2, OneRank(), 2);
  EXPECT_EQ(group.End(1, second, {1}), nullptr);
  ASSERT_EQ(group.heard(0).size(), 1u);
  const RunFigures figures = group.End(0, second, {0});
  ASSERT_NE(figures, nullptr);
  EXPECT_TRUE(
      std::holds_alternative<double>(ByName(*figures).at("thermograd_gradient_second_moment")));
}

TEST(RankGroup, AStepWaitsNoLongerThanTold) {
  Trainer trainer(6);
  Group group(TwoReplicas());
  EXPECT_EQ(group.End(0, trainer.Step(1, OneRank(), 2), {0}), nullptr);
  group.group().Expire(RankGroup::Clock::now() - std::chrono::hours(1));
  EXPECT_TRUE(group.heard(0).empty());
  group.group().Expire(RankGroup::Clock::now() + std::chrono::hours(1));
  EXPECT_EQ(group.heard(0).size(), 1u);
}

TEST(RankGroup, ARankFarAheadGivesUpTheOldest) {
  Trainer trainer(7);
  Group group(TwoReplicas());
  for (uint64_t number = 1; number <= 6; ++number) {
    EXPECT_EQ(group.End(0, trainer.Step(number, OneRank(), 2), {0}), nullptr);
  }
  EXPECT_EQ(group.heard(0).size(), 2u);
}

TEST(RankGroup, RanksMayEndTheirStepsAtOnce) {
  Group group(TwoReplicas());
  std::vector<std::thread> threads;
  for (const size_t rank : {0u, 1u}) {
    threads.emplace_back([&group, rank] {
      Trainer trainer(8);
      for (uint64_t number = 1; number <= 50; ++number) {
        group.End(rank, trainer.Step(number, OneRank(), 2), {rank});
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  group.Leave(0);
  group.Leave(1);
  EXPECT_FALSE(group.group().live());
}

TEST(RankGroups, RanksOfOneRunMeetAndOthersAreRefused) {
  ServiceCounters counters;
  RankGroups groups(&counters);
  std::vector<RunDeclaration> ranks = TwoReplicas();
  const auto group = groups.Find(ranks[0]);
  const uint64_t ticket = group->Enter(ranks[0]);
  EXPECT_EQ(groups.Find(ranks[1]), group);
  ranks[1].identity = "another";
  EXPECT_EQ(groups.Find(ranks[1]), nullptr);
  group->Leave(ticket);
  EXPECT_NE(groups.Find(ranks[1]), nullptr);
}

TEST(RankGroups, RanksOfTwoTenantsDoNotMeet) {
  ServiceCounters counters;
  RankGroups groups(&counters);
  std::vector<RunDeclaration> ranks = TwoReplicas();
  ranks[1].run.tenant = "another";
  const auto group = groups.Find(ranks[0]);
  const uint64_t ticket = group->Enter(ranks[0]);
  EXPECT_NE(groups.Find(ranks[1]), group);
  // Nor does it matter that they declare something else.
  ranks[1].identity = "another";
  EXPECT_NE(groups.Find(ranks[1]), nullptr);
  group->Leave(ticket);
}

TEST(Shards, ScatterPutsEveryElementInItsPlace) {
  std::vector<double> whole(size_t{2} * 3 * 4, -1);
  const Shard shard{.offset = {1, 0, 2}, .shape = {1, 2, 2}};
  const std::vector<double> elements = {1, 2, 3, 4};
  const std::vector<uint64_t> shape = {2, 3, 4};
  Scatter(shard, elements, shape, whole);
  EXPECT_EQ(whole[12 + 0 + 2], 1);
  EXPECT_EQ(whole[12 + 0 + 3], 2);
  EXPECT_EQ(whole[12 + 4 + 2], 3);
  EXPECT_EQ(whole[12 + 4 + 3], 4);
  EXPECT_EQ(std::count(whole.begin(), whole.end(), -1), 20);
}

}  // namespace
}  // namespace thermograd::service
