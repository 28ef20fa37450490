#include "service/admission.h"

#include <utility>

namespace thermograd::service {
namespace {

// What even a process without room gets: small streams must not suffer from what large ones take.
constexpr uint64_t kSmallBytes = 64 << 10;

uint64_t Soft(uint64_t bytes, double ratio) {
  // The product of the largest bytes need not fit into their type.
  return ratio >= 1 ? bytes : static_cast<uint64_t>(static_cast<double>(bytes) * ratio);
}

Limits Only(uint64_t max_streams, uint64_t max_bytes) {
  Limits limits;
  limits.max_streams = max_streams;
  limits.max_memory_bytes = max_bytes;
  return limits;
}

}  // namespace

Admission::Admission(const Limits& limits, double soft_ratio)
    : max_open_{LimitValue{Limit::max_streams, limits.max_streams},
                LimitValue{Limit::max_comparisons, limits.max_comparisons}},
      max_bytes_(limits.max_memory_bytes),
      soft_bytes_(Soft(limits.max_memory_bytes, soft_ratio)),
      max_resident_bytes_(limits.max_resident_bytes),
      soft_resident_bytes_(Soft(limits.max_resident_bytes, soft_ratio)) {}

Admission::Admission(uint64_t max_streams, uint64_t max_bytes)
    : Admission(Only(max_streams, max_bytes), 1) {}

uint64_t Admission::ResidentLocked() const {
  return resident_bytes_ + (bytes_ > bytes_when_looked_ ? bytes_ - bytes_when_looked_ : 0);
}

bool Admission::IsResidentAboveSoftLocked() const {
  return max_resident_bytes_ > 0 && ResidentLocked() > soft_resident_bytes_;
}

bool Admission::IsBeyondResidentLocked(uint64_t bytes) const {
  return max_resident_bytes_ > 0 && bytes > kSmallBytes &&
         (ResidentLocked() > max_resident_bytes_ || bytes > max_resident_bytes_ - ResidentLocked());
}

LimitValue Admission::memory_limit(uint64_t bytes) const {
  const std::lock_guard lock(mutex_);
  if (IsBeyondResidentLocked(bytes)) return {Limit::max_resident_bytes, max_resident_bytes_};
  return {Limit::max_memory_bytes, max_bytes_};
}

std::optional<LimitValue> Admission::Enter(Call call) {
  const auto index = static_cast<size_t>(call);
  const std::lock_guard lock(mutex_);
  if (open_[index] >= max_open_[index].second) return max_open_[index];
  if (bytes_ > soft_bytes_) return LimitValue{Limit::max_memory_bytes, max_bytes_};
  if (IsResidentAboveSoftLocked()) {
    return LimitValue{Limit::max_resident_bytes, max_resident_bytes_};
  }
  ++open_[index];
  return std::nullopt;
}

void Admission::Leave(Call call) {
  IdleVectors freed;  // after the lock
  const std::lock_guard lock(mutex_);
  --open_[static_cast<size_t>(call)];
  freed.swap(idle_);
  idle_bytes_ = 0;
}

bool Admission::TakeLocked(uint64_t bytes, uint64_t max_bytes, IdleVectors* freed) {
  if (bytes_ > max_bytes || bytes > max_bytes - bytes_) return false;
  bytes_ += bytes;
  while (idle_bytes_ > max_bytes_ - bytes_) {
    idle_bytes_ -= idle_.begin()->first * sizeof(double);
    freed->insert(idle_.extract(idle_.begin()));
  }
  return true;
}

bool Admission::TakeBytes(uint64_t bytes) {
  IdleVectors freed;  // after the lock
  const std::lock_guard lock(mutex_);
  return !IsBeyondResidentLocked(bytes) && TakeLocked(bytes, max_bytes_, &freed);
}

bool Admission::TakeSpareBytes(uint64_t bytes) {
  IdleVectors freed;  // after the lock
  const std::lock_guard lock(mutex_);
  return !IsResidentAboveSoftLocked() && TakeLocked(bytes, soft_bytes_, &freed);
}

void Admission::ReturnBytes(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  bytes_ -= bytes;
}

bool Admission::above_soft_limit() const {
  const std::lock_guard lock(mutex_);
  return bytes_ > soft_bytes_ || IsResidentAboveSoftLocked();
}

bool Admission::SetResidentBytes(uint64_t bytes) {
  IdleVectors freed;  // after the lock
  const std::lock_guard lock(mutex_);
  resident_bytes_ = bytes;
  bytes_when_looked_ = bytes_;
  if (!IsResidentAboveSoftLocked()) return false;
  freed.swap(idle_);
  idle_bytes_ = 0;
  return true;
}

statistics::VectorMemory Admission::LendVector(size_t elements) {
  IdleVectors::node_type found;
  {
    const std::lock_guard lock(mutex_);
    found = idle_.extract(elements);
    if (!found.empty()) idle_bytes_ -= elements * sizeof(double);
  }
  return {found.empty() ? new double[elements] : found.mapped().release(),
          [this, elements](double* vector) { GiveBack(vector, elements); }};
}

void Admission::GiveBack(double* vector, size_t elements) {
  std::unique_ptr<double[]> owned(vector);
  const uint64_t bytes = elements * sizeof(double);
  const std::lock_guard lock(mutex_);
  if (open_[static_cast<size_t>(Call::kStream)] == 0 || IsResidentAboveSoftLocked() ||
      bytes > max_bytes_ - bytes_ - idle_bytes_) {
    return;
  }
  idle_bytes_ += bytes;
  idle_.emplace(elements, std::move(owned));
}

uint64_t Admission::idle_bytes() const {
  const std::lock_guard lock(mutex_);
  return idle_bytes_;
}

uint64_t Admission::open(Call call) const {
  const std::lock_guard lock(mutex_);
  return open_[static_cast<size_t>(call)];
}

uint64_t Admission::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

uint64_t Admission::resident_bytes() const {
  const std::lock_guard lock(mutex_);
  return resident_bytes_;
}

bool Reservation::Take(uint64_t bytes) {
  if (!admission_->TakeBytes(bytes)) return false;
  bytes_ += bytes;
  return true;
}

bool Reservation::TakeSpare(uint64_t bytes) {
  if (!admission_->TakeSpareBytes(bytes)) return false;
  bytes_ += bytes;
  return true;
}

void Reservation::Return(uint64_t bytes) {
  admission_->ReturnBytes(bytes);
  bytes_ -= bytes;
}

}  // namespace thermograd::service
