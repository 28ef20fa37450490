#include "service/admission.h"

#include <utility>

namespace thermograd::service {

bool Admission::TakeStream() {
  const std::lock_guard lock(mutex_);
  if (streams_ >= max_streams_) return false;
  ++streams_;
  return true;
}

void Admission::ReturnStream() {
  IdleVectors freed;  // after the lock
  const std::lock_guard lock(mutex_);
  --streams_;
  freed.swap(idle_);
  idle_bytes_ = 0;
}

bool Admission::TakeBytes(uint64_t bytes) {
  IdleVectors freed;  // after the lock
  const std::lock_guard lock(mutex_);
  if (bytes > max_bytes_ - bytes_) return false;
  bytes_ += bytes;
  while (idle_bytes_ > max_bytes_ - bytes_) {
    idle_bytes_ -= idle_.begin()->first * sizeof(double);
    freed.insert(idle_.extract(idle_.begin()));
  }
  return true;
}

void Admission::ReturnBytes(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  bytes_ -= bytes;
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
  if (streams_ == 0 || bytes > max_bytes_ - bytes_ - idle_bytes_) return;
  idle_bytes_ += bytes;
  idle_.emplace(elements, std::move(owned));
}

uint64_t Admission::idle_bytes() const {
  const std::lock_guard lock(mutex_);
  return idle_bytes_;
}

uint64_t Admission::streams() const {
  const std::lock_guard lock(mutex_);
  return streams_;
}

uint64_t Admission::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

bool Reservation::Take(uint64_t bytes) {
  if (!admission_->TakeBytes(bytes)) return false;
  bytes_ += bytes;
  return true;
}

void Reservation::Clear() {
  admission_->ReturnBytes(bytes_);
  bytes_ = 0;
}

}  // namespace thermograd::service
