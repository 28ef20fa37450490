#include "service/admission.h"

namespace thermograd::service {

bool Admission::TakeStream() {
  const std::lock_guard lock(mutex_);
  if (streams_ >= max_streams_) return false;
  ++streams_;
  return true;
}

void Admission::ReturnStream() {
  const std::lock_guard lock(mutex_);
  --streams_;
}

bool Admission::TakeBytes(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (bytes > max_bytes_ - bytes_) return false;
  bytes_ += bytes;
  return true;
}

void Admission::ReturnBytes(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  bytes_ -= bytes;
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
