#ifndef THERMOGRAD_METRICS_CANONICAL_ALIGNMENT_H_
#define THERMOGRAD_METRICS_CANONICAL_ALIGNMENT_H_

#include <cstddef>
#include <span>

#include "metrics/figure.h"

namespace thermograd::metrics {

/// `rows` vectors of one layer's neurons, row-major: its activations, their gradients, or weights
/// (the transpose of the matrix that writes the layer, or the matrix that reads it).
struct NeuronVectors {
  std::span<const double> values;
  size_t rows = 0;
};

/// Cosine of the second moments A'A and B'B, tr(A'A B'B) / (||A'A|| ||B'B||), in [0, 1]: of
/// E[hh'], E[gg'], WW' and W'W the alignments of the canonical representation hypothesis (Liu
/// Ziyin, Chuang, Galanti & Poggio, ICLR 2025, arXiv 2410.03006). Both have `width` columns and are
/// finite.
Result SecondMomentCosine(const NeuronVectors& a, const NeuronVectors& b, size_t width);

}  // namespace thermograd::metrics

#endif  // THERMOGRAD_METRICS_CANONICAL_ALIGNMENT_H_
