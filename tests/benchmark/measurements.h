#ifndef THERMOGRAD_TESTS_BENCHMARK_MEASUREMENTS_H_
#define THERMOGRAD_TESTS_BENCHMARK_MEASUREMENTS_H_

#include <cstdio>
#include <string>
#include <vector>

namespace thermograd {

/// One figure of one peer in one case, once a round.
struct Measurement {
  /// What is measured on whom, as people read it.
  std::string test_case = {};
  std::string peer = {};
  std::string unit = {};
  std::vector<double> repetitions = {};
  /// Curve that the case belongs to, its place on the axis and the axis' name; no curve if empty.
  std::string series = {};
  double x = 0;
  std::string x_name = {};
};

double Median(std::vector<double> values);

/// Slope of the straight line through the logarithms: b of y = a x^b.
double Exponent(const std::vector<double>& x, const std::vector<double>& y);

/// Writes measurements as JSON, one object a line; tests/benchmark/report.py reads them.
class MeasurementFile {
 public:
  /// Appends to the file; aborts if it cannot be opened.
  MeasurementFile(const std::string& path, std::string group);
  ~MeasurementFile();

  MeasurementFile(const MeasurementFile&) = delete;
  MeasurementFile& operator=(const MeasurementFile&) = delete;

  void Write(const Measurement& measurement) { Write(measurement, nullptr); }

  /// Also the median of the ratios to `reference` (this divided by that), round by round.
  void Write(const Measurement& measurement, const Measurement& reference) {
    Write(measurement, &reference);
  }

 private:
  void Write(const Measurement& measurement, const Measurement* reference);

  std::FILE* file_;
  const std::string group_;
};

}  // namespace thermograd

#endif  // THERMOGRAD_TESTS_BENCHMARK_MEASUREMENTS_H_
