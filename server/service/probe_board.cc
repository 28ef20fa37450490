#include "service/probe_board.h"

#include <algorithm>
#include <utility>

namespace thermograd::service {

void ProbeBoard::Erase(std::list<Item>::iterator item) {
  memory_.Return(item->bytes);
  items_.erase(item);
}

void ProbeBoard::EvictOldest() {
  Erase(items_.begin());
  ++evicted_;
}

void ProbeBoard::Put(ProbeEntry entry, Clock::time_point now) {
  const uint64_t bytes = entry.representation->Bytes();
  const std::lock_guard lock(mutex_);
  const auto same = std::find_if(items_.begin(), items_.end(), [&](const Item& item) {
    return item.entry.probe_set == entry.probe_set && item.entry.run == entry.run &&
           item.entry.layer == entry.layer;
  });
  if (same != items_.end()) Erase(same);
  while (!items_.empty() && memory_.bytes() + bytes > max_bytes_) EvictOldest();
  bool is_kept = bytes <= max_bytes_ && memory_.TakeSpare(bytes);
  while (!is_kept && !items_.empty()) {
    EvictOldest();
    is_kept = memory_.TakeSpare(bytes);
  }
  if (is_kept) {
    items_.push_back({.entry = std::move(entry), .bytes = bytes, .time = now});
  } else {
    ++evicted_;
  }
}

void ProbeBoard::ExpireLocked(Clock::time_point now) {
  while (!items_.empty() && now - items_.front().time > time_to_live_) Erase(items_.begin());
}

void ProbeBoard::Shed(Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  ExpireLocked(now);
  while (!items_.empty() && admission_->above_soft_limit()) EvictOldest();
}

std::vector<ProbeEntry> ProbeBoard::Others(const std::string& probe_set, const RunId& run,
                                           Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  ExpireLocked(now);
  std::vector<ProbeEntry> others;
  for (const Item& item : items_) {
    const ProbeEntry& entry = item.entry;
    if (entry.probe_set == probe_set && entry.run.tenant == run.tenant && entry.run != run) {
      others.push_back(entry);
    }
  }
  return others;
}

uint64_t ProbeBoard::bytes() const {
  const std::lock_guard lock(mutex_);
  return memory_.bytes();
}

uint64_t ProbeBoard::evicted() const {
  const std::lock_guard lock(mutex_);
  return evicted_;
}

}  // namespace thermograd::service
