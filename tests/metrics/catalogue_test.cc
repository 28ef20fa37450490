#include "metrics/catalogue.h"

#include <set>
#include <string>

#include "gmock/gmock.h"
#include "metrics/entropic_force.h"

namespace thermograd::metrics {
namespace {

TEST(Catalogue, EntriesAreWholeAndUnique) {
  std::set<std::string> names;
  for (const Definition& definition : Catalogue()) {
    const std::string name = definition.name;
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_THAT(name, testing::StartsWith("thermograd_"));
    // Prometheus reserves these suffixes for counters and histograms.
    EXPECT_THAT(name, testing::Not(testing::EndsWith("_total")));
    for (const char* text : {definition.unit, definition.range, definition.help, definition.formula,
                             definition.inputs, definition.meaning}) {
      EXPECT_STRNE(text, "") << name;
    }
    EXPECT_THAT(definition.help, testing::Not(testing::HasSubstr("\n"))) << name;
    EXPECT_EQ(Find(name), &definition);
  }
  EXPECT_EQ(Find("thermograd_unheard_of"), nullptr);
}

TEST(Catalogue, KnowsEveryFigureOfARun) {
  Figures figures;
  statistics::Window<RunStep> run(1);
  run.Push({});
  statistics::Window<GradientStep> parameter(1);
  parameter.Push({});
  AppendRunFigures(run, &figures);
  AppendParameterFigures("w", parameter, &figures);
  for (const Figure& figure : figures) EXPECT_NE(Find(figure.name), nullptr) << figure.name;
}

}  // namespace
}  // namespace thermograd::metrics
