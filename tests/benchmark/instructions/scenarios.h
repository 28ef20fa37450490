#ifndef THERMOGRAD_TESTS_BENCHMARK_INSTRUCTIONS_SCENARIOS_H_
#define THERMOGRAD_TESTS_BENCHMARK_INSTRUCTIONS_SCENARIOS_H_

#include <functional>
#include <string>
#include <vector>

namespace thermograd {

/// Fixed work whose instructions are counted.
struct Scenario {
  /// Key of its count in instructions.json.
  std::string name;
  /// Does what is not counted, and returns what is.
  std::function<std::function<void()>()> prepare;
};

/// The kernels alone.
std::vector<Scenario> KernelScenarios();

/// Messages into a RunSession, as the service hands them over.
std::vector<Scenario> SessionScenarios();

}  // namespace thermograd

#endif  // THERMOGRAD_TESTS_BENCHMARK_INSTRUCTIONS_SCENARIOS_H_
