#ifndef THERMOGRAD_TESTS_METRICS_FIND_FIGURE_H_
#define THERMOGRAD_TESTS_METRICS_FIND_FIGURE_H_

#include <stdexcept>
#include <string>

#include "metrics/figure.h"

namespace thermograd::metrics {

/// The result of the first figure of that name; throws if there is none.
inline Result FindFigure(const Figures& figures, const std::string& name) {
  for (const Figure& figure : figures) {
    if (figure.name == name) return figure.result;
  }
  throw std::out_of_range(name);
}

inline double Value(const Figures& figures, const std::string& name) {
  return std::get<double>(FindFigure(figures, name));
}

inline Undefined Reason(const Figures& figures, const std::string& name) {
  return std::get<Undefined>(FindFigure(figures, name));
}

}  // namespace thermograd::metrics

#endif  // THERMOGRAD_TESTS_METRICS_FIND_FIGURE_H_
