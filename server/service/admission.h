#ifndef THERMOGRAD_SERVICE_ADMISSION_H_
#define THERMOGRAD_SERVICE_ADMISSION_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "service/limits.h"
#include "statistics/gradient.h"

namespace thermograd::service {

/// The budgets that all calls share. Above the soft limit of memory new calls and what can be done
/// without are refused, while what is open goes on up to the hard one.
class Admission {
 public:
  enum class Call : uint8_t { kStream, kComparison };

  /// `soft_ratio`: where the soft limit lies, as a part of max_memory_bytes and of
  /// max_resident_bytes.
  Admission(const Limits& limits, double soft_ratio);
  /// With the default limits but for these two, and no soft limit.
  Admission(uint64_t max_streams, uint64_t max_bytes);

  /// Takes a call's place, or returns the limit that stands against it.
  std::optional<LimitValue> Enter(Call call);
  /// Gives back a place that was taken.
  void Leave(Call call);

  /// Takes memory; false: memory_limit(bytes) would be exceeded.
  bool TakeBytes(uint64_t bytes);
  /// Takes memory for what can be done without; false: the soft limit would be exceeded.
  bool TakeSpareBytes(uint64_t bytes);
  void ReturnBytes(uint64_t bytes);

  /// The limit of memory that stands against so many bytes more: the accounted memory's, unless the
  /// resident memory is what has run out.
  LimitValue memory_limit(uint64_t bytes) const;

  /// True where the memory taken, or the resident memory, exceeds its soft limit.
  bool above_soft_limit() const;

  /// Tells how much memory the process really has, which is looked at now and then; what has been
  /// taken since then is added. Idle vectors are freed above the soft limit. Returns whether that
  /// is where it is.
  bool SetResidentBytes(uint64_t bytes);

  /// Memory of a vector, for which the caller has taken bytes; one that was given back before if
  /// there is one of that size, because fresh pages cost more than a step's arithmetic. Vectors
  /// that lie idle make way for whatever takes bytes, and are freed when a stream ends. Must not
  /// outlive this.
  statistics::VectorMemory LendVector(size_t elements);

  uint64_t open(Call call) const;
  uint64_t bytes() const;
  uint64_t idle_bytes() const;
  uint64_t resident_bytes() const;

 private:
  using IdleVectors = std::multimap<size_t, std::unique_ptr<double[]>>;  // by elements

  void GiveBack(double* vector, size_t elements);
  bool TakeLocked(uint64_t bytes, uint64_t max_bytes, IdleVectors* freed);
  uint64_t ResidentLocked() const;
  bool IsResidentAboveSoftLocked() const;
  bool IsBeyondResidentLocked(uint64_t bytes) const;

  const std::array<LimitValue, 2> max_open_;  // by Call
  const uint64_t max_bytes_;
  const uint64_t soft_bytes_;
  const uint64_t max_resident_bytes_;
  const uint64_t soft_resident_bytes_;
  mutable std::mutex mutex_;
  std::array<uint64_t, 2> open_{};  // by Call
  uint64_t bytes_ = 0;
  uint64_t resident_bytes_ = 0;  // when it was looked at, and bytes_ then
  uint64_t bytes_when_looked_ = 0;
  IdleVectors idle_;
  uint64_t idle_bytes_ = 0;
};

/// Memory that one holder has taken; returned when it goes.
class Reservation {
 public:
  explicit Reservation(Admission* admission) : admission_(admission) {}
  ~Reservation() { Clear(); }
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;

  bool Take(uint64_t bytes);
  bool TakeSpare(uint64_t bytes);
  /// Returns a part of what was taken.
  void Return(uint64_t bytes);
  void Clear() { Return(bytes_); }
  uint64_t bytes() const { return bytes_; }

 private:
  Admission* admission_;
  uint64_t bytes_ = 0;
};

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_ADMISSION_H_
