#include "statistics/symmetry.h"

#include "kernels/reduce.h"

namespace thermograd::statistics {
namespace {

void AddEntries(const std::vector<double>& in, std::vector<double>* out) {
  for (size_t i = 0; i < in.size(); ++i) (*out)[i] += in[i];
}

// <x_i, y_i> for every row i.
std::vector<double> RowDots(const kernels::StridedMatrix& x, const kernels::StridedMatrix& y) {
  std::vector<double> dots(x.rows);
  if (x.row_stride == 1 && x.rows > 1) {
    for (size_t column = 0; column < x.columns; ++column) {
      const size_t start = column * x.column_stride;
      kernels::AddColumnDots(x.data + start, y.data + start, 1, x.rows, dots.data());
    }
  } else {
    for (size_t row = 0; row < x.rows; ++row) {
      const size_t start = row * x.row_stride;
      kernels::AddRowDots(x.data + start, y.data + start, 1, x.columns, &dots[row]);
    }
  }
  return dots;
}

// X Y' of every instance.
std::vector<double> Products(std::span<const double> x, std::span<const double> y,
                             const MatrixView& view, const InstanceRows& rows) {
  const size_t r = rows.dimension;
  std::vector<double> products(rows.instances * r * r);
  if (r == 1) {
    const std::vector<double> dots = RowDots(view.Of(x), view.Of(y));
    for (size_t row = 0; row < dots.size(); ++row) {
      products[rows.instance_of_block(row)] += dots[row];
    }
    return products;
  }
  for (size_t block = 0; block < view.rows / r; ++block) {
    const MatrixView part = view.Rows(block * r, r);
    kernels::AddProduct(part.Of(x), part.Of(y),
                        products.data() + rows.instance_of_block(block) * r * r);
  }
  return products;
}

// sum_k x_k over the rows x_k.
std::vector<double> SumRows(const kernels::StridedMatrix& x) {
  std::vector<double> sums(x.columns);
  if (x.column_stride == 1) {
    for (size_t row = 0; row < x.rows; ++row) {
      kernels::AddTo(x.data + row * x.row_stride, x.columns, sums.data());
    }
  } else {
    for (size_t column = 0; column < x.columns; ++column) {
      for (size_t row = 0; row < x.rows; ++row) {
        sums[column] += x.data[column * x.column_stride + row];
      }
    }
  }
  return sums;
}

double SquaredNorm(const kernels::StridedMatrix& x) {
  double sum = 0;
  for (const double dot : RowDots(x, x)) sum += dot;
  return sum;
}

}  // namespace

MatrixView MatrixView::Transposed() const {
  return {.offset = offset,
          .rows = columns,
          .columns = rows,
          .row_stride = column_stride,
          .column_stride = row_stride};
}

MatrixView MatrixView::Rows(size_t first_row, size_t count) const {
  MatrixView part = *this;
  part.offset += first_row * row_stride;
  part.rows = count;
  return part;
}

kernels::StridedMatrix MatrixView::Of(std::span<const double> elements) const {
  return {.data = elements.data() + offset,
          .rows = rows,
          .columns = columns,
          .row_stride = row_stride,
          .column_stride = column_stride};
}

void SideSums::Merge(const SideSums& other) {
  AddEntries(other.gradient_gradient, &gradient_gradient);
  AddEntries(other.weight_weight, &weight_weight);
  AddEntries(other.gradient_weight, &gradient_weight);
  AddEntries(other.update_weight, &update_weight);
  AddEntries(other.update_update, &update_update);
}

SideSums SumSide(const ParameterTensors& tensors, const MatrixView& view,
                 const InstanceRows& rows) {
  SideSums side;
  side.gradient_gradient = Products(tensors.gradient, tensors.gradient, view, rows);
  if (!tensors.weight.empty()) {
    side.weight_weight = Products(tensors.weight, tensors.weight, view, rows);
    side.gradient_weight = Products(tensors.gradient, tensors.weight, view, rows);
  }
  if (!tensors.update.empty()) {
    side.update_update = Products(tensors.update, tensors.update, view, rows);
    if (!tensors.weight.empty()) {
      side.update_weight = Products(tensors.update, tensors.weight, view, rows);
    }
  }
  return side;
}

void TranslationSums::Append(const TranslationSums& other) {
  gradient.insert(gradient.end(), other.gradient.begin(), other.gradient.end());
  weight.insert(weight.end(), other.weight.begin(), other.weight.end());
  update.insert(update.end(), other.update.begin(), other.update.end());
  gradient_squared_norm += other.gradient_squared_norm;
  update_squared_norm += other.update_squared_norm;
}

TranslationSums SumTranslation(const ParameterTensors& tensors, const MatrixView& view) {
  TranslationSums sums;
  sums.rows = view.rows;
  sums.gradient = SumRows(view.Of(tensors.gradient));
  sums.gradient_squared_norm = SquaredNorm(view.Of(tensors.gradient));
  if (!tensors.weight.empty()) sums.weight = SumRows(view.Of(tensors.weight));
  if (!tensors.update.empty()) {
    sums.update = SumRows(view.Of(tensors.update));
    sums.update_squared_norm = SquaredNorm(view.Of(tensors.update));
  }
  return sums;
}

}  // namespace thermograd::statistics
