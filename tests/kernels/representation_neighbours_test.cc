#include "kernels/representation_neighbours.h"

#include <vector>

#include "gmock/gmock.h"

namespace thermograd::kernels {
namespace {

using testing::ElementsAre;

TEST(NormaliseRows, HoldsAtAnyScaleAndRefusesZeros) {
  std::vector<double> x = {3e200, 4e200, 0, -2e-200};
  ASSERT_TRUE(NormaliseRows(x.data(), 2, 2));
  EXPECT_THAT(x, ElementsAre(0.6, 0.8, 0, -1));
  std::vector<double> zero = {1, 0};
  EXPECT_FALSE(NormaliseRows(zero.data(), 2, 1));
}

TEST(NearestNeighbours, LeavesOutTheSampleAndTakesTheLowerIndexOfTies) {
  // Sample 0 is equally far from 1, 2 and 3, but for rounding.
  const std::vector<double> similarity = {1,   0.5 - 1e-16, 0.5, 0.5,  //
                                          0.5, 1,           0.9, 0.1,  //
                                          0.5, 0.9,         1,   0.2,  //
                                          0.5, 0.1,         0.2, 1};
  std::vector<uint32_t> neighbours(8);
  NearestNeighbours(similarity.data(), 4, 2, neighbours.data());
  EXPECT_THAT(neighbours, ElementsAre(1, 2, 0, 2, 0, 1, 0, 2));
}

}  // namespace
}  // namespace thermograd::kernels
