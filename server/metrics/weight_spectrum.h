#ifndef THERMOGRAD_METRICS_WEIGHT_SPECTRUM_H_
#define THERMOGRAD_METRICS_WEIGHT_SPECTRUM_H_

#include <string>

#include "kernels/matrix_product.h"
#include "metrics/figure.h"

namespace thermograd::metrics {

/// Appends stable and effective rank of one weight matrix, from its singular values. Time grows
/// with the cube of the shorter side.
void AppendWeightSpectrum(const std::string& parameter, const kernels::StridedMatrix& weight,
                          Figures* figures);

/// The same where they cannot be computed.
void AppendUndefinedWeightSpectrum(const std::string& parameter, Undefined reason,
                                   Figures* figures);

}  // namespace thermograd::metrics

#endif  // THERMOGRAD_METRICS_WEIGHT_SPECTRUM_H_
