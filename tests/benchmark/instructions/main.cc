// Runs every scenario once. Under callgrind with --collect-atstart=no, each leaves a dump of its
// own that bears its name.

#include <valgrind/callgrind.h>

#include <cstdio>
#include <cstdlib>

#include "kernels/level.h"
#include "kernels/parallel.h"
#include "tests/benchmark/instructions/scenarios.h"

namespace {

void Count(const thermograd::Scenario& scenario) {
  const std::function<void()> work = scenario.prepare();
  CALLGRIND_ZERO_STATS;
  CALLGRIND_TOGGLE_COLLECT;
  work();
  CALLGRIND_TOGGLE_COLLECT;
  CALLGRIND_DUMP_STATS_AT(scenario.name.c_str());
}

}  // namespace

int main() {
  thermograd::kernels::SetMaxThreads(1);
  for (const auto& scenarios : {thermograd::KernelScenarios(), thermograd::SessionScenarios()}) {
    for (const thermograd::Scenario& scenario : scenarios) Count(scenario);
  }
  std::printf("%s\n", thermograd::kernels::SimdLevel());
  return EXIT_SUCCESS;
}
