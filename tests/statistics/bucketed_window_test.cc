#include "statistics/bucketed_window.h"

#include <algorithm>

#include "gtest/gtest.h"

namespace thermograd::statistics {
namespace {

struct Count {
  size_t steps = 0;
  size_t first = ~size_t{0};

  void Merge(const Count& other) {
    steps += other.steps;
    first = std::min(first, other.first);
  }
};

TEST(BucketedWindow, IsExactUpToEightSteps) {
  for (size_t steps = 1; steps <= 8; ++steps) {
    BucketedWindow<Count> window(steps);
    for (size_t step = 0; step < 30; ++step) {
      window.Push({.steps = 1, .first = step});
      const Count total = window.Total();
      EXPECT_EQ(total.steps, std::min(step + 1, steps));
      EXPECT_EQ(total.steps, window.steps());
      EXPECT_EQ(total.first, step + 1 - total.steps);
    }
  }
}

TEST(BucketedWindow, CoversBetweenThreeQuartersOfALongWindowAndAll) {
  for (size_t steps = 9; steps <= 700; ++steps) {
    BucketedWindow<Count> window(steps);
    for (size_t step = 0; step < 3 * steps; ++step) {
      window.Push({.steps = 1, .first = step});
      const Count total = window.Total();
      // The latest steps without a gap.
      ASSERT_EQ(total.first, step + 1 - total.steps);
      ASSERT_EQ(total.steps, window.steps());
      ASSERT_LE(total.steps, steps);
      if (step >= steps) {
        ASSERT_GE(4 * total.steps, 3 * steps) << steps;
      }
    }
  }
}

}  // namespace
}  // namespace thermograd::statistics
