#include "service/run_registry.h"

namespace thermograd::service {

uint64_t RunRegistry::Open(const std::string& run, uint32_t rank, uint32_t world_size,
                           std::function<void()> supersede,
                           std::function<void(const Cadence&)> ask) {
  const std::lock_guard lock(mutex_);
  Entry& entry = entries_[{run, rank}];
  // Under the lock, so that the older stream cannot close, and vanish, meanwhile.
  if (entry.supersede) entry.supersede();
  entry = Entry{};
  entry.stream = ++streams_;
  entry.snapshot.run = run;
  entry.snapshot.rank = rank;
  entry.snapshot.world_size = world_size;
  entry.supersede = std::move(supersede);
  entry.ask = std::move(ask);
  return entry.stream;
}

uint32_t RunRegistry::Ask(const std::string& run, const Cadence& cadence) {
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

RunRegistry::Entry* RunRegistry::FindLocked(uint64_t stream) {
  for (auto& [key, entry] : entries_) {
    if (entry.stream == stream) return &entry;
  }
  return nullptr;
}

void RunRegistry::Publish(uint64_t stream, uint64_t step,
                          std::shared_ptr<const metrics::Figures> figures,
                          std::shared_ptr<const metrics::Figures> run_figures,
                          const std::map<std::string, statistics::NonFinite>& non_finite,
                          uint64_t memory_bytes) {
  const std::lock_guard lock(mutex_);
  Entry* entry = FindLocked(stream);
  if (entry == nullptr) return;
  ++entry->snapshot.steps;
  entry->snapshot.last_step = step;
  entry->snapshot.last_step_time = std::chrono::system_clock::now();
  entry->snapshot.figures = std::move(figures);
  entry->snapshot.run_figures = std::move(run_figures);
  entry->snapshot.non_finite = non_finite;
  entry->snapshot.memory_bytes = memory_bytes;
}

void RunRegistry::Close(uint64_t stream) {
  const std::lock_guard lock(mutex_);
  Entry* entry = FindLocked(stream);
  if (entry == nullptr) return;
  entry->snapshot.live = false;
  entry->supersede = nullptr;
  entry->ask = nullptr;
  entry->ended = Clock::now();
}

std::vector<RunSnapshot> RunRegistry::List(Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  std::erase_if(entries_, [&](const auto& item) {
    return !item.second.snapshot.live && now - item.second.ended > grace_;
  });
  std::vector<RunSnapshot> snapshots;
  snapshots.reserve(entries_.size());
  for (const auto& [key, entry] : entries_) snapshots.push_back(entry.snapshot);
  return snapshots;
}

}  // namespace thermograd::service
