#include "kernels/representation_neighbours.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

namespace thermograd::kernels {

bool NormaliseRows(double* x, size_t n, size_t p) {
  for (size_t i = 0; i < n; ++i) {
    double* row = x + i * p;
    double largest = 0;
    for (size_t j = 0; j < p; ++j) largest = std::max(largest, std::fabs(row[j]));
    if (largest == 0) return false;
    double squares = 0;
    for (size_t j = 0; j < p; ++j) {
      row[j] /= largest;
      squares += row[j] * row[j];
    }
    const double norm = std::sqrt(squares);
    for (size_t j = 0; j < p; ++j) row[j] /= norm;
  }
  return true;
}

void NearestNeighbours(const double* similarity, size_t n, size_t k, uint32_t* neighbours) {
  std::vector<std::pair<double, uint32_t>> others;
  for (size_t i = 0; i < n; ++i) {
    others.clear();
    for (size_t j = 0; j < n; ++j) {
      if (j == i) continue;
      others.emplace_back(-std::nearbyint(similarity[i * n + j] / kTieResolution),
                          static_cast<uint32_t>(j));
    }
    std::nth_element(others.begin(), others.begin() + static_cast<ptrdiff_t>(k) - 1, others.end());
    uint32_t* out = neighbours + i * k;
    for (size_t j = 0; j < k; ++j) out[j] = others[j].second;
    std::sort(out, out + k);
  }
}

}  // namespace thermograd::kernels
