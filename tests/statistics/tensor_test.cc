#include "statistics/tensor.h"

#include <limits>
#include <vector>

#include "gtest/gtest.h"

namespace thermograd::statistics {
namespace {

using kernels::Elements;

TEST(TensorAccumulator, JoinsChunksAndUndoesTheScale) {
  TensorAccumulator tensor(3, true, 0.5);
  tensor.Add(Elements::Of(std::vector<float>{2}), 0);
  EXPECT_EQ(tensor.next_element(), 1u);
  EXPECT_FALSE(tensor.complete());
  tensor.Add(Elements::Of(std::vector<float>{4, -4}), 1);
  EXPECT_TRUE(tensor.complete());
  EXPECT_EQ(tensor.SquaredNorm(), 1 + 4 + 4);
  EXPECT_EQ(tensor.TakeValues(), (std::vector<double>{1, 2, -2}));
}

TEST(TensorAccumulator, KeepsNoValuesUnlessAsked) {
  TensorAccumulator tensor(2, false, 1);
  tensor.Add(Elements::Of(std::vector<double>{3, 4}), 0);
  EXPECT_EQ(tensor.SquaredNorm(), 25);
  EXPECT_TRUE(tensor.TakeValues().empty());
}

TEST(TensorAccumulator, CountsWhatIsNotFinite) {
  TensorAccumulator tensor(2, false, 1);
  tensor.Add(Elements::Of(std::vector<double>{std::numeric_limits<double>::quiet_NaN(),
                                              -std::numeric_limits<double>::infinity()}),
             0);
  EXPECT_EQ(tensor.non_finite().nans, 1u);
  EXPECT_EQ(tensor.non_finite().infinities, 1u);
}

}  // namespace
}  // namespace thermograd::statistics
