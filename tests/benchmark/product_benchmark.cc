// Matrix products of the kernels beside OpenBLAS and Eigen, square matrices of doubles, one thread.
// Names are WHAT:WHOSE/ROWS. OpenBLAS chooses its kernel by itself or by OPENBLAS_CORETYPE.

#include <benchmark/benchmark.h>
#include <cblas.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "kernels/level.h"
#include "kernels/parallel.h"
#include "kernels/representation_gram.h"
#include "tests/benchmark/reference.h"

namespace thermograd {
namespace {

std::vector<double> Random(size_t count) {
  std::mt19937_64 generator(1);
  std::uniform_real_distribution<double> distribution(-1, 1);
  std::vector<double> values(count);
  for (double& value : values) value = distribution(generator);
  return values;
}

using Operation = void (*)(const double* a, const double* b, size_t n, double* out);

void Gram(const double* a, const double* /*b*/, size_t n, double* out) {
  kernels::RowGram(a, n, n, out);
}
void GramOfEigen(const double* a, const double* /*b*/, size_t n, double* out) {
  reference::EigenRowGram(a, n, n, out);
}
void GramOfOpenBlas(const double* a, const double* /*b*/, size_t n, double* out) {
  const auto size = static_cast<blasint>(n);
  cblas_dsyrk(CblasRowMajor, CblasLower, CblasNoTrans, size, size, 1, a, size, 0, out, size);
  // The others write both triangles.
  constexpr size_t kBlock = 32;
  for (size_t row = 0; row < n; row += kBlock) {
    for (size_t column = 0; column <= row; column += kBlock) {
      for (size_t i = row; i < std::min(row + kBlock, n); ++i) {
        for (size_t j = column; j < std::min(column + kBlock, i); ++j) {
          out[j * n + i] = out[i * n + j];
        }
      }
    }
  }
}

void Product(const double* a, const double* b, size_t n, double* out) {
  kernels::Product(a, n, n, b, n, out);
}
void ProductOfEigen(const double* a, const double* b, size_t n, double* out) {
  reference::EigenProduct(a, n, n, b, n, out);
}
void ProductOfOpenBlas(const double* a, const double* b, size_t n, double* out) {
  const auto size = static_cast<blasint>(n);
  cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, size, size, size, 1, a, size, b, size, 0,
              out, size);
}

void TransposedProduct(const double* a, const double* b, size_t n, double* out) {
  kernels::AddTransposedProduct(a, n, b, n, n, out);
}
void TransposedProductOfEigen(const double* a, const double* b, size_t n, double* out) {
  reference::EigenAddTransposedProduct(a, n, b, n, n, out);
}
void TransposedProductOfOpenBlas(const double* a, const double* b, size_t n, double* out) {
  const auto size = static_cast<blasint>(n);
  cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, size, size, size, 1, a, size, b, size, 1,
              out, size);
}

void Multiply(benchmark::State& state, Operation operation, double operations_per_element) {
  const auto n = static_cast<size_t>(state.range(0));
  const std::vector<double> a = Random(n * n);
  const std::vector<double> b = Random(n * n);
  std::vector<double> out(n * n);
  for ([[maybe_unused]] auto _ : state) {
    operation(a.data(), b.data(), n, out.data());
    benchmark::ClobberMemory();
  }
  const auto side = static_cast<double>(n);
  state.counters["flops"] = benchmark::Counter(operations_per_element * side * side * side,
                                               benchmark::Counter::kIsIterationInvariantRate);
  state.SetLabel(kernels::SimdLevel());
}

void RegisterAll() {
  constexpr struct {
    const char* name;
    Operation operation;
    // Of the cube of the side: a Gram matrix is symmetric and needs half.
    double operations_per_element;
  } kBenchmarks[] = {
      {"XX':thermograd", Gram, 1},
      {"XX':OpenBLAS", GramOfOpenBlas, 1},
      {"XX':Eigen", GramOfEigen, 1},
      {"AB:thermograd", Product, 2},
      {"AB:OpenBLAS", ProductOfOpenBlas, 2},
      {"AB:Eigen", ProductOfEigen, 2},
      {"A'B:thermograd", TransposedProduct, 2},
      {"A'B:OpenBLAS", TransposedProductOfOpenBlas, 2},
      {"A'B:Eigen", TransposedProductOfEigen, 2},
  };
  for (const int64_t rows : {512, 1024, 2048}) {
    for (const auto& [name, operation, operations] : kBenchmarks) {
      benchmark::RegisterBenchmark(name, Multiply, operation, operations)
          ->Arg(rows)
          ->Unit(benchmark::kMillisecond);
    }
  }
}

}  // namespace
}  // namespace thermograd

int main(int argc, char** argv) {
  thermograd::kernels::SetMaxThreads(1);
  openblas_set_num_threads(1);
  benchmark::AddCustomContext("openblas_core", openblas_get_corename());
  thermograd::RegisterAll();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return EXIT_FAILURE;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return EXIT_SUCCESS;
}
