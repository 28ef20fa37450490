#include "statistics/symmetry.h"

#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "statistics/neuron.h"

namespace thermograd::statistics {
namespace {

class SymmetryTest : public testing::Test {
 protected:
  static constexpr size_t kRows = 6;
  static constexpr size_t kColumns = 10;

  SymmetryTest() {
    std::mt19937_64 random(1);
    std::normal_distribution<double> normal;
    for (auto* tensor : {&gradient_, &weight_, &update_}) {
      tensor->resize(kRows * kColumns);
      for (double& value : *tensor) value = normal(random);
    }
  }

  ParameterTensors Tensors() const { return {gradient_, weight_, update_}; }

  static MatrixView Whole() {
    return {.offset = 0,
            .rows = kRows,
            .columns = kColumns,
            .row_stride = kColumns,
            .column_stride = 1};
  }
  static MatrixView Columns(size_t first, size_t count) {
    MatrixView view = Whole();
    view.offset = first;
    view.columns = count;
    return view;
  }

  static void ExpectNear(const std::vector<double>& a, const std::vector<double>& b) {
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-13);
  }
  static void ExpectNear(const SideSums& a, const SideSums& b) {
    ExpectNear(a.gradient_gradient, b.gradient_gradient);
    ExpectNear(a.weight_weight, b.weight_weight);
    ExpectNear(a.gradient_weight, b.gradient_weight);
    ExpectNear(a.update_weight, b.update_weight);
    ExpectNear(a.update_update, b.update_update);
  }

  std::vector<double> gradient_, weight_, update_;
};

std::vector<size_t> Instances(const InstanceOfBlock& instance_of_block) {
  std::vector<size_t> instances(12);
  for (size_t block = 0; block < instances.size(); ++block) {
    instances[block] = instance_of_block(block);
  }
  return instances;
}

TEST(InstanceOfBlock, CountsBlocksHeadsAndPairs) {
  using testing::ElementsAre;
  EXPECT_THAT(Instances({}), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11));
  EXPECT_THAT(Instances({.shared = 3}), ElementsAre(0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3));
  InstanceOfBlock pairs{.head_blocks = 4, .head_instances = 2, .adjacent = 2};
  EXPECT_THAT(Instances(pairs), ElementsAre(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5));
  pairs.adjacent = 1;
  EXPECT_THAT(Instances(pairs), ElementsAre(0, 1, 0, 1, 2, 3, 2, 3, 4, 5, 4, 5));
  pairs.shared = 2;
  EXPECT_THAT(Instances(pairs), ElementsAre(0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 2, 3));
}

TEST_F(SymmetryTest, PartsOfTheColumnsAddToTheWhole) {
  for (const InstanceRows& rows :
       {InstanceRows{1, 6, {}}, InstanceRows{1, 2, {.head_blocks = 6, .head_instances = 2}},
        InstanceRows{3, 2, {}}, InstanceRows{2, 1, {.shared = 3}}}) {
    SideSums parts = SumSide(Tensors(), Columns(0, 3), rows);
    parts.Merge(SumSide(Tensors(), Columns(3, 7), rows));
    ExpectNear(parts, SumSide(Tensors(), Whole(), rows));
  }
}

TEST_F(SymmetryTest, MatricesAreProductsOfRows) {
  const SideSums sums = SumSide(Tensors(), Whole(), {3, 2, {}});
  for (size_t head = 0; head < 2; ++head) {
    for (size_t i = 0; i < 3; ++i) {
      for (size_t j = 0; j < 3; ++j) {
        double expected = 0;
        for (size_t c = 0; c < kColumns; ++c) {
          expected +=
              gradient_[(head * 3 + i) * kColumns + c] * weight_[(head * 3 + j) * kColumns + c];
        }
        EXPECT_NEAR(sums.gradient_weight[head * 9 + i * 3 + j], expected, 1e-13);
      }
    }
  }
}

TEST_F(SymmetryTest, ATransposedViewSumsItsRows) {
  const InstanceRows rows{1, 5, {.shared = 2}};
  const SideSums sums = SumSide(Tensors(), Whole().Transposed(), rows);
  for (size_t neuron = 0; neuron < 5; ++neuron) {
    double expected = 0;
    for (size_t row = 0; row < kRows; ++row) {
      for (size_t column : {2 * neuron, 2 * neuron + 1}) {
        expected += weight_[row * kColumns + column] * weight_[row * kColumns + column];
      }
    }
    EXPECT_NEAR(sums.weight_weight[neuron], expected, 1e-13);
  }
}

TEST_F(SymmetryTest, WhatWasNotStreamedStaysEmpty) {
  const SideSums no_weight = SumSide({gradient_, {}, update_}, Whole(), {1, 1, {.shared = 6}});
  EXPECT_TRUE(no_weight.weight_weight.empty());
  EXPECT_TRUE(no_weight.gradient_weight.empty());
  EXPECT_TRUE(no_weight.update_weight.empty());
  EXPECT_EQ(no_weight.update_update.size(), 1);
}

TEST_F(SymmetryTest, TranslationSumsRowsHoweverTheyAreStored) {
  const TranslationSums stored = SumTranslation(Tensors(), Whole());
  EXPECT_EQ(stored.rows, kRows);
  std::vector<double> transposed(weight_.size());
  for (size_t i = 0; i < kRows; ++i) {
    for (size_t j = 0; j < kColumns; ++j) transposed[j * kRows + i] = weight_[i * kColumns + j];
  }
  MatrixView view{
      .offset = 0, .rows = kRows, .columns = kColumns, .row_stride = 1, .column_stride = kRows};
  const TranslationSums other = SumTranslation({transposed, transposed, {}}, view);
  ExpectNear(stored.weight, other.weight);
  double first = 0;
  for (size_t i = 0; i < kRows; ++i) first += weight_[i * kColumns];
  EXPECT_NEAR(stored.weight[0], first, 1e-13);
  TranslationSums parts = SumTranslation(Tensors(), Columns(0, 4));
  parts.Append(SumTranslation(Tensors(), Columns(4, 6)));
  ExpectNear(parts.update, stored.update);
  EXPECT_NEAR(parts.gradient_squared_norm, stored.gradient_squared_norm, 1e-12);
}

TEST(Neuron, NearDuplicatesNeedBothSides) {
  // Neurons 0 and 1 agree on both sides, 2 on the incoming alone, 3 is the opposite of 0, 4 is
  // zero.
  const std::vector<double> in = {1, 0, 2, 0, 1, 0, -1, 0, 0, 0};
  const std::vector<double> bias = {1, 2, 1, -1, 0};
  const std::vector<double> out = {1, 3, 0, -1, 0, 1, 3, 1, -1, 0};
  NeuronWeights incoming(5);
  incoming.Append(in, {0, 5, 2, 2, 1}, {});
  incoming.Append(bias, {0, 5, 1, 1, 1}, {});
  NeuronWeights outgoing(5);
  outgoing.Append(out, {0, 5, 2, 1, 5}, {});
  EXPECT_DOUBLE_EQ(incoming.Norms()[1], std::sqrt(8));
  EXPECT_DOUBLE_EQ(outgoing.Norms()[1], std::sqrt(18));
  EXPECT_EQ(CountNearDuplicates(incoming.Normalise(), outgoing.Normalise(), 0.99), 2);
}

TEST(Neuron, DuplicatesAreFoundAcrossPanels) {
  constexpr size_t kNeurons = 200, kInputs = 8;
  std::mt19937_64 random(2);
  std::normal_distribution<double> normal;
  std::vector<double> values(kNeurons * kInputs);
  for (double& value : values) value = normal(random);
  for (size_t i = 0; i < kInputs; ++i) {
    values[199 * kInputs + i] = 2 * values[3 * kInputs + i];
  }
  NeuronWeights incoming(kNeurons);
  incoming.Append(values, {0, kNeurons, kInputs, kInputs, 1}, {});
  NeuronWeights outgoing = incoming;
  EXPECT_EQ(CountNearDuplicates(incoming.Normalise(), outgoing.Normalise(), 0.9999), 2);
}

}  // namespace
}  // namespace thermograd::statistics
