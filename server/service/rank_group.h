#ifndef THERMOGRAD_SERVICE_RANK_GROUP_H_
#define THERMOGRAD_SERVICE_RANK_GROUP_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "metrics/figure.h"
#include "service/run_analysis.h"
#include "service/service_counters.h"
#include "service/step.h"

namespace thermograd::service {

/// Figures of a run in one step.
using RunFigures = std::shared_ptr<const metrics::Figures>;

/// The ranks of one run, which make a step together: the last rank to end it has it analysed, and
/// every rank is told. A step that a rank leaves out, or does not end in time, has a reason instead
/// of figures. May be used from any thread.
class RankGroup {
 public:
  using Clock = std::chrono::steady_clock;
  /// Gets the figures of a step that the rank has ended before the others. Called from any thread
  /// under the group's lock: it must not call the group.
  using Deliver = std::function<void(const RunFigures&)>;

  /// `declaration`: of any rank. `counters` outlives the group.
  RankGroup(const RunDeclaration& declaration, ServiceCounters* counters);

  /// Enters a rank, in place of an earlier stream of the same rank. Returns its ticket.
  uint64_t Enter(const RunDeclaration& declaration);

  /// The rank goes; steps that wait for it are given up.
  void Leave(uint64_t ticket);

  /// The rank has ended a step. Returns the step's figures if it waits for no other rank, else
  /// null: then `deliver` gets them later, unless the rank leaves before.
  RunFigures EndStep(uint64_t ticket, RankStep rank_step, Deliver deliver);

  /// Gives up steps that have waited since before `deadline`.
  void Expire(Clock::time_point deadline);

  /// True if some rank of the group is live; RunDeclaration::identity of all of them.
  bool live() const;
  const std::string& identity() const { return analysis_.declaration().identity; }

 private:
  struct Member {
    uint64_t ticket;
    RunDeclaration declaration;
  };
  struct Part {
    uint64_t ticket;
    RankStep step;
    Deliver deliver;
  };
  struct Pending {
    std::vector<std::optional<Part>> parts;  // by rank
    size_t ended = 0;
    Clock::time_point since;
  };

  std::optional<uint32_t> RankOf(uint64_t ticket) const;
  // Analyses a step that waits, or gives it up, and tells every rank but the caller.
  RunFigures Finish(uint64_t number, bool complete, std::optional<uint64_t> caller_ticket);
  void GiveUpAll();
  MergedStep MergePending(Pending* pending);
  MergedStep Incomplete(uint64_t number);
  RunFigures Analyze(const MergedStep& step);

  ServiceCounters* const counters_;
  mutable std::mutex mutex_;
  RunAnalysis analysis_;
  std::vector<std::optional<Member>> members_;  // by rank
  std::vector<bool> covered_;                   // of the present members; empty: not known yet
  std::map<uint64_t, Pending> pending_;
  std::optional<uint64_t> last_finished_;
  uint64_t tickets_ = 0;
};

/// The groups of all runs. May be used from any thread.
class RankGroups {
 public:
  explicit RankGroups(ServiceCounters* counters) : counters_(counters) {}

  /// The group that a stream belongs to; null if live ranks of the run declared something else.
  std::shared_ptr<RankGroup> Find(const RunDeclaration& declaration);

  /// Gives up steps that have waited for ranks since before `deadline`.
  void Expire(RankGroup::Clock::time_point deadline);

 private:
  ServiceCounters* const counters_;
  std::mutex mutex_;
  std::map<RunId, std::weak_ptr<RankGroup>> groups_;
};

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_RANK_GROUP_H_
