#ifndef THERMOGRAD_STATISTICS_NON_FINITE_H_
#define THERMOGRAD_STATISTICS_NON_FINITE_H_

#include <cstdint>

namespace thermograd::statistics {

/// Elements that spoil arithmetic, counted over tensors.
struct NonFinite {
  uint64_t nans = 0;
  uint64_t infinities = 0;

  bool any() const { return nans + infinities > 0; }
  void Merge(const NonFinite& other) {
    nans += other.nans;
    infinities += other.infinities;
  }
};

}  // namespace thermograd::statistics

#endif  // THERMOGRAD_STATISTICS_NON_FINITE_H_
