#ifndef THERMOGRAD_SERVICE_RUN_REGISTRY_H_
#define THERMOGRAD_SERVICE_RUN_REGISTRY_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "metrics/figure.h"
#include "service/admission.h"
#include "service/limits.h"
#include "service/run_id.h"
#include "statistics/gradient.h"

namespace thermograd::service {

/// What the outside may know of a run at one moment. Immutable parts are shared, not copied.
struct RunSnapshot {
  RunId run;
  uint32_t rank = 0;
  uint32_t world_size = 1;
  bool live = true;
  /// Steps completed on this stream, and the number of the latest.
  uint64_t steps = 0;
  uint64_t last_step = 0;
  /// When the latest step was complete.
  std::chrono::system_clock::time_point last_step_time;
  /// Defined and undefined figures of the latest step: those of this rank alone, and those of the
  /// whole run. Null before the first step.
  std::shared_ptr<const metrics::Figures> figures;
  std::shared_ptr<const metrics::Figures> run_figures;
  /// Non-finite elements seen by name of parameter or layer.
  std::map<std::string, statistics::NonFinite> non_finite;
  /// Memory of the stream's windows and of its latest step when it ended.
  uint64_t memory_bytes = 0;
  /// How much the run's declaration uses of limits.
  std::vector<LimitValue> limit_uses;
};

/// What a client should stream from now on; what is absent stays as it is.
struct Cadence {
  std::optional<uint32_t> every_steps;
  std::optional<uint64_t> first_step;
  std::optional<uint64_t> last_step;
  std::optional<std::string> include;
  std::optional<std::string> exclude;
  std::optional<std::vector<std::string>> layers;
};

/// The runs that are live or ended a short time ago. All methods may be called from any thread.
class RunRegistry {
 public:
  using Clock = std::chrono::steady_clock;

  /// Ended runs stay listed for `grace`, so that the last figures are scraped, or until a newer one
  /// of at most `max_runs` (each rank by itself) needs the place. `admission` outlives this.
  RunRegistry(Clock::duration grace, uint64_t max_runs, Admission* admission)
      : grace_(grace), max_runs_(max_runs), admission_(admission) {}

  /// Enters a stream. A live stream of the same run and rank is told by its `supersede`, which must
  /// not call the registry: the newer one is the trainer that came back. Returns the stream's
  /// number, or 0 where as many runs are live as may be listed.
  ///
  /// `ask` passes on what Ask is given; it must not call the registry either.
  uint64_t Open(const RunId& run, uint32_t rank, uint32_t world_size,
                std::function<void()> supersede, std::function<void(const Cadence&)> ask = {},
                std::vector<LimitValue> limit_uses = {});

  /// Asks every live stream of the run for another cadence. Returns how many there are.
  uint32_t Ask(const RunId& run, const Cadence& cadence);

  /// Replaces the figures of a stream; ignored if it was superseded. False: there is no memory for
  /// them, and the stream has none to show until the next step.
  bool Publish(uint64_t stream, uint64_t step, std::shared_ptr<const metrics::Figures> figures,
               std::shared_ptr<const metrics::Figures> run_figures,
               const std::map<std::string, statistics::NonFinite>& non_finite,
               uint64_t memory_bytes);

  /// The stream has ended.
  void Close(uint64_t stream);

  /// Every run listed at `now`, ordered by name and rank; drops what ended before the grace period.
  std::vector<RunSnapshot> List(Clock::time_point now = Clock::now());

  /// Drops what ended before the grace period. To be called now and then: nobody may ever list.
  void Expire(Clock::time_point now = Clock::now());

  /// Runs that are listed.
  uint64_t runs() const;
  /// Ended runs that made way for newer ones before their grace period was over.
  uint64_t dropped() const;

 private:
  struct Entry {
    uint64_t stream = 0;
    RunSnapshot snapshot;
    std::function<void()> supersede;
    std::function<void(const Cadence&)> ask;
    Clock::time_point ended;
    std::unique_ptr<Reservation> memory;  // of the figures
    size_t figures = 0;                   // for which it was taken
  };

  void ExpireLocked(Clock::time_point now);
  Entry* FindLocked(uint64_t stream);
  bool DropOldestEndedLocked();
  static bool TakeMemory(Entry* entry);

  const Clock::duration grace_;
  const uint64_t max_runs_;
  Admission* const admission_;
  mutable std::mutex mutex_;
  uint64_t streams_ = 0;
  uint64_t dropped_ = 0;
  std::map<std::pair<RunId, uint32_t>, Entry> entries_;
};

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_RUN_REGISTRY_H_
