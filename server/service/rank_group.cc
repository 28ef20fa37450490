#include "service/rank_group.h"

#include <algorithm>
#include <utility>

#include "service/shards.h"
#include "service/step_reduction.h"

namespace thermograd::service {
namespace {

// Steps that may wait for slower ranks: each holds its tensors in memory.
constexpr size_t kMaxPendingSteps = 4;

}  // namespace

RankGroup::RankGroup(const RunDeclaration& declaration, ServiceCounters* counters)
    : counters_(counters), analysis_(declaration), members_(declaration.world_size) {}

uint64_t RankGroup::Enter(const RunDeclaration& declaration) {
  const std::lock_guard lock(mutex_);
  // A stream that is superseded ends no more steps.
  if (members_[declaration.rank]) GiveUpAll();
  members_[declaration.rank] = Member{.ticket = ++tickets_, .declaration = declaration};
  covered_.clear();
  return tickets_;
}

std::optional<uint32_t> RankGroup::RankOf(uint64_t ticket) const {
  for (uint32_t rank = 0; rank < members_.size(); ++rank) {
    if (members_[rank] && members_[rank]->ticket == ticket) return rank;
  }
  return std::nullopt;
}

void RankGroup::Leave(uint64_t ticket) {
  const std::lock_guard lock(mutex_);
  for (auto& [step, pending] : pending_) {
    for (auto& part : pending.parts) {
      if (part && part->ticket == ticket) part->deliver = nullptr;
    }
  }
  if (const std::optional<uint32_t> rank = RankOf(ticket)) {
    members_[*rank].reset();
    GiveUpAll();
  }
}

RunFigures RankGroup::EndStep(uint64_t ticket, RankStep rank_step, Deliver deliver) {
  const std::lock_guard lock(mutex_);
  const uint64_t number = rank_step.settings.context.step;
  const std::optional<uint32_t> rank = RankOf(ticket);
  // A superseded stream, or a step that the others have left behind.
  if (!rank || (last_finished_ && number <= *last_finished_)) return Analyze(Incomplete(number));
  Pending& pending = pending_[number];
  if (pending.ended == 0) {
    pending.parts.resize(members_.size());
    pending.since = Clock::now();
  }
  pending.parts[*rank] =
      Part{.ticket = ticket, .step = std::move(rank_step), .deliver = std::move(deliver)};
  const bool complete = ++pending.ended == members_.size();
  // Steps increase on every stream, so nothing more comes of the earlier ones that it left out.
  while (pending_.begin()->first < number && (complete || !pending_.begin()->second.parts[*rank])) {
    Finish(pending_.begin()->first, false, std::nullopt);
  }
  if (complete) return Finish(number, true, ticket);
  while (pending_.size() > kMaxPendingSteps) {
    const uint64_t oldest = pending_.begin()->first;
    if (oldest == number) return Finish(oldest, false, ticket);
    Finish(oldest, false, std::nullopt);
  }
  return nullptr;
}

MergedStep RankGroup::MergePending(Pending* pending) {
  std::vector<RankStep> steps;
  Ranks ranks;
  for (size_t rank = 0; rank < members_.size(); ++rank) {
    ranks.push_back(&members_[rank]->declaration);
    steps.push_back(std::move(pending->parts[rank]->step));
  }
  if (covered_.empty()) covered_ = CoveredParameters(ranks);
  return MergeRanks(ranks, covered_, steps);
}

MergedStep RankGroup::Incomplete(uint64_t number) {
  ++counters_->incomplete_rank_steps;
  const size_t parameters = analysis_.declaration().parameters.size();
  MergedStep step;
  step.settings.context.step = number;
  step.parameters.resize(parameters);
  step.elements.resize(parameters);
  for (size_t p = 0; p < parameters; ++p) {
    step.parameters[p].undefined = metrics::Undefined::kIncompleteShards;
    step.elements[p].gradient.undefined = metrics::Undefined::kIncompleteShards;
  }
  step.symmetries = ReduceSymmetries(analysis_.declaration(), step.elements);
  return step;
}

RunFigures RankGroup::Analyze(const MergedStep& step) {
  auto figures = std::make_shared<metrics::Figures>();
  analysis_.AddStep(step, figures.get());
  CountUndefined(*figures, counters_);
  return figures;
}

RunFigures RankGroup::Finish(uint64_t number, bool complete,
                             std::optional<uint64_t> caller_ticket) {
  Pending pending = std::move(pending_.extract(number).mapped());
  last_finished_ = std::max(last_finished_.value_or(number), number);
  RunFigures figures = Analyze(complete ? MergePending(&pending) : Incomplete(number));
  for (const auto& part : pending.parts) {
    if (part && part->deliver && part->ticket != caller_ticket) part->deliver(figures);
  }
  return figures;
}

void RankGroup::GiveUpAll() {
  while (!pending_.empty()) Finish(pending_.begin()->first, false, std::nullopt);
}

void RankGroup::Expire(Clock::time_point deadline) {
  const std::lock_guard lock(mutex_);
  while (!pending_.empty() && pending_.begin()->second.since < deadline) {
    Finish(pending_.begin()->first, false, std::nullopt);
  }
}

bool RankGroup::live() const {
  const std::lock_guard lock(mutex_);
  return std::any_of(members_.begin(), members_.end(),
                     [](const auto& member) { return member.has_value(); });
}

std::shared_ptr<RankGroup> RankGroups::Find(const RunDeclaration& declaration) {
  const std::lock_guard lock(mutex_);
  std::erase_if(groups_, [](const auto& item) { return item.second.expired(); });
  std::shared_ptr<RankGroup> group;
  if (declaration.world_size > 1) {
    group = groups_[declaration.run].lock();
    if (group != nullptr && group->identity() != declaration.identity) {
      if (group->live()) return nullptr;
      group = nullptr;
    }
  }
  if (group == nullptr) {
    // The only rank of a run that came back begins anew: it must not share windows with the stream
    // that it supersedes.
    group = std::make_shared<RankGroup>(declaration, counters_);
    groups_[declaration.run] = group;
  }
  return group;
}

void RankGroups::Expire(RankGroup::Clock::time_point deadline) {
  std::vector<std::shared_ptr<RankGroup>> groups;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [run, group] : groups_) {
      if (auto live = group.lock()) groups.push_back(std::move(live));
    }
  }
  for (const auto& group : groups) group->Expire(deadline);
}

}  // namespace thermograd::service
