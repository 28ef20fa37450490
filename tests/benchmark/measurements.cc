#include "tests/benchmark/measurements.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <utility>

namespace thermograd {
namespace {

// The texts are our own and need no escapes.
std::string Quoted(const std::string& text) { return '"' + text + '"'; }

std::string Number(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.9g", value);
  return text;
}

std::string List(const std::vector<double>& values) {
  std::string text;
  for (const double value : values) text += (text.empty() ? "" : ", ") + Number(value);
  return '[' + text + ']';
}

}  // namespace

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
}

double Exponent(const std::vector<double>& x, const std::vector<double>& y) {
  double mean_x = 0;
  double mean_y = 0;
  const auto count = static_cast<double>(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    mean_x += std::log(x[i]) / count;
    mean_y += std::log(y[i]) / count;
  }
  double covariance = 0;
  double variance = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    covariance += (std::log(x[i]) - mean_x) * (std::log(y[i]) - mean_y);
    variance += (std::log(x[i]) - mean_x) * (std::log(x[i]) - mean_x);
  }
  return covariance / variance;
}

MeasurementFile::MeasurementFile(const std::string& path, std::string group)
    : file_(std::fopen(path.c_str(), "a")), group_(std::move(group)) {
  if (file_ == nullptr) {
    std::perror(path.c_str());
    std::abort();
  }
}

MeasurementFile::~MeasurementFile() { std::fclose(file_); }

void MeasurementFile::Write(const Measurement& measurement, const Measurement* reference) {
  std::string line =
      "{\"group\": " + Quoted(group_) + ", \"case\": " + Quoted(measurement.test_case) +
      ", \"peer\": " + Quoted(measurement.peer) + ", \"unit\": " + Quoted(measurement.unit) +
      ", \"value\": " + Number(Median(measurement.repetitions)) +
      ", \"repetitions\": " + List(measurement.repetitions);
  if (!measurement.series.empty()) {
    line += ", \"series\": " + Quoted(measurement.series) + ", \"x\": " + Number(measurement.x) +
            ", \"x_name\": " + Quoted(measurement.x_name);
  }
  if (reference != nullptr) {
    std::vector<double> ratios;
    for (size_t i = 0; i < measurement.repetitions.size(); ++i) {
      ratios.push_back(measurement.repetitions[i] / reference->repetitions[i]);
    }
    line += ", \"ratio_to\": " + Quoted(reference->peer) +
            ", \"ratio\": " + Number(Median(ratios)) + ", \"ratios\": " + List(ratios);
  }
  std::fprintf(file_, "%s}\n", line.c_str());
  std::fflush(file_);
}

}  // namespace thermograd
