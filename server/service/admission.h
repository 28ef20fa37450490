#ifndef THERMOGRAD_SERVICE_ADMISSION_H_
#define THERMOGRAD_SERVICE_ADMISSION_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

#include "statistics/gradient.h"

namespace thermograd::service {

/// The budgets that all streams share.
class Admission {
 public:
  Admission(uint64_t max_streams, uint64_t max_bytes)
      : max_streams_(max_streams), max_bytes_(max_bytes) {}

  /// Takes a stream's place; false: none is free.
  bool TakeStream();
  void ReturnStream();

  /// Takes memory; false: the budget would be exceeded.
  bool TakeBytes(uint64_t bytes);
  void ReturnBytes(uint64_t bytes);

  /// Memory of a vector, for which the caller has taken bytes; one that was given back before if
  /// there is one of that size, because fresh pages cost more than a step's arithmetic. Vectors
  /// that lie idle make way for whatever takes bytes, and are freed when a stream ends. Must not
  /// outlive this.
  statistics::VectorMemory LendVector(size_t elements);

  uint64_t streams() const;
  uint64_t bytes() const;
  uint64_t idle_bytes() const;
  uint64_t max_streams() const { return max_streams_; }
  uint64_t max_bytes() const { return max_bytes_; }

 private:
  using IdleVectors = std::multimap<size_t, std::unique_ptr<double[]>>;  // by elements

  void GiveBack(double* vector, size_t elements);

  const uint64_t max_streams_;
  const uint64_t max_bytes_;
  mutable std::mutex mutex_;
  uint64_t streams_ = 0;
  uint64_t bytes_ = 0;
  IdleVectors idle_;
  uint64_t idle_bytes_ = 0;
};

/// Memory that one stream has taken; returned when it goes.
class Reservation {
 public:
  explicit Reservation(Admission* admission) : admission_(admission) {}
  ~Reservation() { Clear(); }
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;

  bool Take(uint64_t bytes);
  void Clear();
  uint64_t bytes() const { return bytes_; }

 private:
  Admission* admission_;
  uint64_t bytes_ = 0;
};

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_ADMISSION_H_
