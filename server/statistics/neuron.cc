#include "statistics/neuron.h"

#include <algorithm>
#include <cmath>

#include "kernels/reduce.h"

namespace thermograd::statistics {
namespace {

// Neurons whose cosines with all others are held at a time: the memory of all pairs at once would
// grow with the square of the width.
constexpr size_t kPanelRows = 64;

kernels::StridedMatrix Panel(const kernels::StridedMatrix& x, size_t first_row, size_t rows) {
  kernels::StridedMatrix panel = x;
  panel.data += first_row * x.row_stride;
  panel.rows = rows;
  return panel;
}

}  // namespace

void NeuronWeights::Append(std::span<const double> weight, const MatrixView& view,
                           const InstanceOfBlock& neuron_of_row) {
  const size_t added = view.rows / neurons_ * view.columns;
  const size_t width = width_ + added;
  std::vector<double> values(neurons_ * width);
  std::vector<size_t> filled(neurons_);
  for (size_t neuron = 0; neuron < neurons_; ++neuron) {
    std::copy_n(values_.data() + neuron * width_, width_, values.data() + neuron * width);
    filled[neuron] = neuron * width + width_;
  }
  for (size_t row = 0; row < view.rows; ++row) {
    size_t& next = filled[neuron_of_row(row)];
    const double* source = weight.data() + view.offset + row * view.row_stride;
    for (size_t column = 0; column < view.columns; ++column) {
      values[next++] = source[column * view.column_stride];
    }
  }
  values_ = std::move(values);
  width_ = width;
}

std::vector<double> NeuronWeights::Norms() const {
  std::vector<double> norms(neurons_);
  kernels::AddRowDots(values_.data(), values_.data(), neurons_, width_, norms.data());
  for (double& norm : norms) norm = std::sqrt(norm);
  return norms;
}

kernels::StridedMatrix NeuronWeights::Normalise() {
  const std::vector<double> norms = Norms();
  for (size_t neuron = 0; neuron < neurons_; ++neuron) {
    if (!(norms[neuron] > 0)) continue;
    for (size_t i = 0; i < width_; ++i) values_[neuron * width_ + i] /= norms[neuron];
  }
  return {.data = values_.data(),
          .rows = neurons_,
          .columns = width_,
          .row_stride = width_,
          .column_stride = 1};
}

size_t CountNearDuplicates(const kernels::StridedMatrix& incoming,
                           const kernels::StridedMatrix& outgoing, double cosine) {
  const size_t neurons = incoming.rows;
  std::vector<double> incoming_cosines;
  std::vector<double> outgoing_cosines;
  size_t count = 0;
  for (size_t first = 0; first < neurons; first += kPanelRows) {
    const size_t rows = std::min(kPanelRows, neurons - first);
    incoming_cosines.assign(rows * neurons, 0);
    outgoing_cosines.assign(rows * neurons, 0);
    kernels::AddProduct(Panel(incoming, first, rows), incoming, incoming_cosines.data());
    kernels::AddProduct(Panel(outgoing, first, rows), outgoing, outgoing_cosines.data());
    for (size_t row = 0; row < rows; ++row) {
      for (size_t other = 0; other < neurons; ++other) {
        const size_t pair = row * neurons + other;
        if (other != first + row && incoming_cosines[pair] > cosine &&
            outgoing_cosines[pair] > cosine) {
          ++count;
          break;
        }
      }
    }
  }
  return count;
}

}  // namespace thermograd::statistics
