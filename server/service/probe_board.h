#ifndef THERMOGRAD_SERVICE_PROBE_BOARD_H_
#define THERMOGRAD_SERVICE_PROBE_BOARD_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "metrics/representation_similarity.h"
#include "service/admission.h"
#include "service/run_id.h"

namespace thermograd::service {

/// What one run last saw of one layer on a probe set.
struct ProbeEntry {
  std::string probe_set;
  std::string fingerprint;
  RunId run;
  std::string layer;
  std::shared_ptr<const metrics::Representation> representation;
};

/// The latest representations of probe sets, by which runs are compared while they train. Soft
/// state: bounded by bytes and age, the first to go where memory becomes scarce, rebuilt by the
/// next steps. May be used from any thread.
class ProbeBoard {
 public:
  using Clock = std::chrono::steady_clock;

  /// `admission` outlives this.
  ProbeBoard(uint64_t max_bytes, Clock::duration time_to_live, Admission* admission)
      : max_bytes_(max_bytes),
        time_to_live_(time_to_live),
        admission_(admission),
        memory_(admission) {}

  /// Replaces the entry of the same probe set, run and layer. Evicts the oldest entries beyond the
  /// byte budget and the soft limit of all memory; an entry for which that leaves no room is not
  /// kept (and counts as evicted).
  void Put(ProbeEntry entry, Clock::time_point now = Clock::now());

  /// Entries of the tenant's other runs on the probe set, whatever their fingerprint.
  std::vector<ProbeEntry> Others(const std::string& probe_set, const RunId& run,
                                 Clock::time_point now = Clock::now());

  /// Drops entries that are too old, and evicts the oldest while the soft limit of all memory is
  /// exceeded. To be called now and then.
  void Shed(Clock::time_point now = Clock::now());

  uint64_t bytes() const;
  /// Entries that gave way to either.
  uint64_t evicted() const;

 private:
  struct Item {
    ProbeEntry entry;
    uint64_t bytes;
    Clock::time_point time;
  };

  void Erase(std::list<Item>::iterator item);
  void ExpireLocked(Clock::time_point now);
  void EvictOldest();

  const uint64_t max_bytes_;
  const Clock::duration time_to_live_;
  Admission* const admission_;
  mutable std::mutex mutex_;
  Reservation memory_;
  std::list<Item> items_;  // oldest first
  uint64_t evicted_ = 0;
};

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_PROBE_BOARD_H_
