#include "statistics/symmetry.h"

#include "kernels/reduce.h"

namespace thermograd::statistics {
namespace {

void AddEntries(const std::vector<double>& in, std::vector<double>* out) {
  for (size_t i = 0; i < in.size(); ++i) (*out)[i] += in[i];
}

std::vector<double> Dots(std::span<const double> x, std::span<const double> y, size_t rows,
                         size_t columns, NeuronAxis axis) {
  std::vector<double> out;
  switch (axis) {
    case NeuronAxis::kRows:
      out.resize(rows);
      kernels::AddRowDots(x.data(), y.data(), rows, columns, out.data());
      break;
    case NeuronAxis::kColumns:
      out.resize(columns);
      kernels::AddColumnDots(x.data(), y.data(), rows, columns, out.data());
      break;
    case NeuronAxis::kWhole:
      out.resize(1);
      kernels::AddRowDots(x.data(), y.data(), 1, rows * columns, out.data());
      break;
  }
  return out;
}

}  // namespace

void RescalingSide::Merge(const RescalingSide& other) {
  AddEntries(other.gradient_squared_norm, &gradient_squared_norm);
  AddEntries(other.weight_squared_norm, &weight_squared_norm);
  AddEntries(other.gradient_dot_weight, &gradient_dot_weight);
}

RescalingSide SumRescalingSide(std::span<const double> gradient, std::span<const double> weight,
                               size_t rows, size_t columns, NeuronAxis axis) {
  RescalingSide side;
  side.gradient_squared_norm = Dots(gradient, gradient, rows, columns, axis);
  if (!weight.empty()) {
    side.weight_squared_norm = Dots(weight, weight, rows, columns, axis);
    side.gradient_dot_weight = Dots(gradient, weight, rows, columns, axis);
  }
  return side;
}

}  // namespace thermograd::statistics
