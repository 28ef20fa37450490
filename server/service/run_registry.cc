#include "service/run_registry.h"

#include <algorithm>

namespace thermograd::service {

uint64_t RunRegistry::Open(const RunId& run, uint32_t rank, uint32_t world_size,
                           std::function<void()> supersede,
                           std::function<void(const Cadence&)> ask) {
  const std::lock_guard lock(mutex_);
  Entry& entry = entries_[{run, rank}];
  // Under the lock, so that the older stream cannot close, and vanish, meanwhile.
  if (entry.supersede) entry.supersede();
  std::erase(ended_, entry.stream);
  entry = Entry{};
  entry.stream = ++streams_;
  entry.snapshot.run = run;
  entry.snapshot.rank = rank;
  entry.snapshot.world_size = world_size;
  entry.supersede = std::move(supersede);
  entry.ask = std::move(ask);
  return entry.stream;
}

uint32_t RunRegistry::Ask(const RunId& run, const Cadence& cadence) {
  const std::lock_guard lock(mutex_);
  uint32_t streams = 0;
  // Under the lock, so that no stream can close, and vanish, meanwhile.
  for (auto& [key, entry] : entries_) {
    if (key.first != run || !entry.ask) continue;
    entry.ask(cadence);
    ++streams;
  }
  return streams;
}

RunRegistry::Entries::iterator RunRegistry::FindLocked(uint64_t stream) {
  return std::find_if(entries_.begin(), entries_.end(),
                      [&](const auto& item) { return item.second.stream == stream; });
}

void RunRegistry::Publish(uint64_t stream, uint64_t step,
                          std::shared_ptr<const metrics::Figures> figures,
                          std::shared_ptr<const metrics::Figures> run_figures,
                          const std::map<std::string, statistics::NonFinite>& non_finite,
                          uint64_t memory_bytes) {
  const std::lock_guard lock(mutex_);
  const auto found = FindLocked(stream);
  if (found == entries_.end()) return;
  RunSnapshot& snapshot = found->second.snapshot;
  ++snapshot.steps;
  snapshot.last_step = step;
  snapshot.figures = std::move(figures);
  snapshot.run_figures = std::move(run_figures);
  snapshot.non_finite = non_finite;
  snapshot.memory_bytes = memory_bytes;
}

void RunRegistry::Close(uint64_t stream) {
  const std::lock_guard lock(mutex_);
  const auto found = FindLocked(stream);
  if (found == entries_.end()) return;
  Entry& entry = found->second;
  entry.snapshot.live = false;
  entry.supersede = nullptr;
  entry.ask = nullptr;
  entry.ended = Clock::now();
  ended_.push_back(stream);
  if (ended_.size() > max_ended_) {
    entries_.erase(FindLocked(ended_.front()));
    ended_.pop_front();
  }
}

std::vector<RunSnapshot> RunRegistry::List(Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  while (!ended_.empty()) {
    const auto oldest = FindLocked(ended_.front());
    if (now - oldest->second.ended <= grace_) break;
    entries_.erase(oldest);
    ended_.pop_front();
  }
  std::vector<RunSnapshot> snapshots;
  snapshots.reserve(entries_.size());
  for (const auto& [key, entry] : entries_) snapshots.push_back(entry.snapshot);
  return snapshots;
}

}  // namespace thermograd::service
