#ifndef THERMOGRAD_STATISTICS_SYMMETRY_H_
#define THERMOGRAD_STATISTICS_SYMMETRY_H_

#include <cstddef>
#include <span>
#include <vector>

#include "kernels/matrix_product.h"

namespace thermograd::statistics {

/// The elements of a parameter that make a matrix; element (i, j) has index
/// offset + i * row_stride + j * column_stride, and one of the strides is 1.
struct MatrixView {
  size_t offset = 0;
  size_t rows = 0;
  size_t columns = 0;
  size_t row_stride = 0;
  size_t column_stride = 1;

  /// The same elements with rows and columns exchanged.
  MatrixView Transposed() const;
  /// `count` rows from `first_row` on.
  MatrixView Rows(size_t first_row, size_t count) const;
  /// The view applied to the elements of its parameter.
  kernels::StridedMatrix Of(std::span<const double> elements) const;
};

/// The tensors of one parameter in one step; empty where they were not streamed.
struct ParameterTensors {
  std::span<const double> gradient;
  std::span<const double> weight;
  /// The update that the optimiser applied, theta' - theta.
  std::span<const double> update;
};

/// What one side of a symmetry contributes: for each of its instances (a neuron, a head, a layer)
/// an r x r matrix, row-major, r = 1 for a scaling. With X the instance's weights (r rows), G their
/// gradient and D their update, the columns may be summed in parts: all entries add. Vectors whose
/// tensors were not streamed are empty.
struct SideSums {
  std::vector<double> gradient_gradient;  // G G'
  std::vector<double> weight_weight;      // X X'
  std::vector<double> gradient_weight;    // G X'
  std::vector<double> update_weight;      // D X'
  std::vector<double> update_update;      // D D'

  /// Adds the same instances' sums over other columns.
  void Merge(const SideSums& other);
};

/// The instance that a block of rows belongs to: a rule and no table, for rows are declared before
/// any tensor has come, and may be many.
struct InstanceOfBlock {
  /// Blocks of a head, and its instances: so many `adjacent` blocks make one, the next the next,
  /// and after the last the first again.
  size_t head_blocks = 1;
  size_t head_instances = 1;
  size_t adjacent = 1;
  /// So many consecutive heads have the same instances.
  size_t shared = 1;

  size_t operator()(size_t block) const {
    return block / head_blocks / shared * head_instances +
           block % head_blocks / adjacent % head_instances;
  }
};

/// How the rows of a matrix belong to the instances of a symmetry.
struct InstanceRows {
  /// r, the rows of one instance's matrix.
  size_t dimension = 1;
  size_t instances = 1;
  /// Of each block of `dimension` consecutive rows. Blocks of one instance add.
  InstanceOfBlock instance_of_block;
};

/// Sums over the rows of one matrix.
SideSums SumSide(const ParameterTensors& tensors, const MatrixView& view, const InstanceRows& rows);

/// Both sides of a symmetry in one step; the second is all zeros for a symmetry of one side.
struct SymmetrySums {
  SideSums first;
  SideSums second;
};

/// Sums over the rows w_k of a matrix that are translated together: vectors, one entry a column.
/// Sums over disjoint columns follow one another.
struct TranslationSums {
  size_t rows = 0;
  std::vector<double> gradient;  // sum_k g_k
  std::vector<double> weight;    // sum_k w_k
  std::vector<double> update;    // sum_k Dw_k
  double gradient_squared_norm = 0;
  double update_squared_norm = 0;

  /// Appends the columns of another matrix with the same rows.
  void Append(const TranslationSums& other);
};

TranslationSums SumTranslation(const ParameterTensors& tensors, const MatrixView& view);

}  // namespace thermograd::statistics

#endif  // THERMOGRAD_STATISTICS_SYMMETRY_H_
