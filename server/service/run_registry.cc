#include "service/run_registry.h"

namespace thermograd::service {
namespace {

uint64_t Bytes(const metrics::Figures& figures) {
  uint64_t bytes = figures.size() * sizeof(metrics::Figure);
  for (const metrics::Figure& figure : figures) {
    for (const auto& [name, text] : figure.labels) {
      bytes += sizeof(metrics::Label) + name.capacity() + text.capacity();
    }
  }
  return bytes;
}

}  // namespace

uint64_t RunRegistry::Open(const RunId& run, uint32_t rank, uint32_t world_size,
                           std::function<void()> supersede, std::function<void(const Cadence&)> ask,
                           std::vector<LimitValue> limit_uses) {
  const std::lock_guard lock(mutex_);
  if (entries_.size() >= max_runs_ && !entries_.contains({run, rank}) && !DropOldestEndedLocked()) {
    return 0;
  }
  Entry& entry = entries_[{run, rank}];
  // Under the lock, so that the older stream cannot close, and vanish, meanwhile.
  if (entry.supersede) entry.supersede();
  entry = Entry{};
  entry.stream = ++streams_;
  entry.snapshot.run = run;
  entry.snapshot.rank = rank;
  entry.snapshot.world_size = world_size;
  entry.supersede = std::move(supersede);
  entry.snapshot.limit_uses = std::move(limit_uses);
  entry.ask = std::move(ask);
  entry.memory = std::make_unique<Reservation>(admission_);
  return entry.stream;
}

bool RunRegistry::DropOldestEndedLocked() {
  auto oldest = entries_.end();
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    if (entry->second.snapshot.live) continue;
    if (oldest == entries_.end() || entry->second.ended < oldest->second.ended) oldest = entry;
  }
  if (oldest == entries_.end()) return false;
  entries_.erase(oldest);
  ++dropped_;
  return true;
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

RunRegistry::Entry* RunRegistry::FindLocked(uint64_t stream) {
  for (auto& [key, entry] : entries_) {
    if (entry.stream == stream) return &entry;
  }
  return nullptr;
}

// For as long as there are as many figures, their labels are the same.
bool RunRegistry::TakeMemory(Entry* entry) {
  size_t figures = 0;
  uint64_t bytes = 0;
  const RunSnapshot& snapshot = entry->snapshot;
  for (const auto& part : {snapshot.figures, snapshot.run_figures}) {
    if (part != nullptr) figures += part->size();
  }
  if (figures == entry->figures) return true;
  for (const auto& part : {snapshot.figures, snapshot.run_figures}) {
    if (part != nullptr) bytes += Bytes(*part);
  }
  entry->memory->Clear();
  entry->figures = entry->memory->Take(bytes) ? figures : 0;
  return entry->figures == figures;
}

bool RunRegistry::Publish(uint64_t stream, uint64_t step,
                          std::shared_ptr<const metrics::Figures> figures,
                          std::shared_ptr<const metrics::Figures> run_figures,
                          const std::map<std::string, statistics::NonFinite>& non_finite,
                          uint64_t memory_bytes) {
  const std::lock_guard lock(mutex_);
  Entry* entry = FindLocked(stream);
  if (entry == nullptr) return true;
  ++entry->snapshot.steps;
  entry->snapshot.last_step = step;
  entry->snapshot.last_step_time = std::chrono::system_clock::now();
  entry->snapshot.figures = std::move(figures);
  entry->snapshot.run_figures = std::move(run_figures);
  entry->snapshot.non_finite = non_finite;
  entry->snapshot.memory_bytes = memory_bytes;
  if (TakeMemory(entry)) return true;
  entry->snapshot.figures = nullptr;
  entry->snapshot.run_figures = nullptr;
  return false;
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

uint64_t RunRegistry::runs() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

uint64_t RunRegistry::dropped() const {
  const std::lock_guard lock(mutex_);
  return dropped_;
}

void RunRegistry::ExpireLocked(Clock::time_point now) {
  std::erase_if(entries_, [&](const auto& item) {
    return !item.second.snapshot.live && now - item.second.ended > grace_;
  });
}

void RunRegistry::Expire(Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  ExpireLocked(now);
}

std::vector<RunSnapshot> RunRegistry::List(Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  ExpireLocked(now);
  std::vector<RunSnapshot> snapshots;
  snapshots.reserve(entries_.size());
  for (const auto& [key, entry] : entries_) snapshots.push_back(entry.snapshot);
  return snapshots;
}

}  // namespace thermograd::service
