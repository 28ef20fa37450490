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
                             definition.inputs, definition.meaning, definition.error}) {
      EXPECT_STRNE(text, "") << name;
    }
    EXPECT_THAT(definition.help, testing::Not(testing::HasSubstr("\n"))) << name;
    EXPECT_EQ(Find(name), &definition);
  }
  EXPECT_EQ(Find("thermograd_unheard_of"), nullptr);
}

TEST(Catalogue, KnowsEveryFigureOfARun) {
  Figures figures;
  EntropicForces forces(
      {{.name = "a", .group = "group", .elements = 1}, {.name = "b", .group = "", .elements = 1}},
      {}, 1, true);
  forces.AddStep({.microbatch_size = 1, .learning_rate = 1, .loss = {}, .parameters = {{}, {}}},
                 &figures);
  for (const Figure& figure : figures) EXPECT_NE(Find(figure.name), nullptr) << figure.name;
}

}  // namespace
}  // namespace thermograd::metrics
