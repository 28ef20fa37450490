#include "service/symmetry_analysis.h"

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "service/declaration.h"
#include "service/step_reduction.h"
#include "tests/metrics/find_figure.h"

// Every kind of symmetry against its generators, written out as dense matrices over all parameters.

namespace thermograd::service {
namespace {

using metrics::Figures;
using metrics::Reason;
using metrics::Undefined;
using metrics::Value;

using Vector = std::vector<double>;

constexpr double kEta = 0.1;
constexpr double kGamma = 0.02;

double Dot(const Vector& x, const Vector& y) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
  return sum;
}

double Norm(const Vector& x) { return std::sqrt(Dot(x, x)); }

Vector Plus(const Vector& x, double factor, const Vector& y) {
  Vector sum = x;
  for (size_t i = 0; i < x.size(); ++i) sum[i] += factor * y[i];
  return sum;
}

// A generator over all parameters laid end to end.
class Generator {
 public:
  explicit Generator(size_t size) : size_(size), elements_(size * size) {}

  void Add(size_t i, size_t j, double value) { elements_[i * size_ + j] += value; }

  Vector Times(const Vector& x) const {
    Vector product(size_);
    for (size_t i = 0; i < size_; ++i) {
      for (size_t j = 0; j < size_; ++j) product[i] += elements_[i * size_ + j] * x[j];
    }
    return product;
  }
  double Form(const Vector& x, const Vector& y) const { return Dot(x, Times(y)); }

 private:
  size_t size_;
  Vector elements_;
};

// One instance: r rows of either side, each the indices of its elements among all parameters.
struct Instance {
  std::vector<std::vector<size_t>> first;
  std::vector<std::vector<size_t>> second;
};

// d/dt of X1 -> e^(tB) X1, X2 -> e^(-tB') X2 with B = E_ab.
Generator Elementary(const Instance& instance, size_t a, size_t b, size_t size) {
  Generator generator(size);
  for (size_t c = 0; c < instance.first[a].size(); ++c) {
    generator.Add(instance.first[a][c], instance.first[b][c], 1);
  }
  if (instance.second.empty()) return generator;
  for (size_t c = 0; c < instance.second[a].size(); ++c) {
    generator.Add(instance.second[b][c], instance.second[a][c], -1);
  }
  return generator;
}

// Element (row, column) of a stored row-major matrix whose first element has index `start`.
struct Stored {
  size_t start, columns;
  size_t operator()(size_t row, size_t column) const { return start + row * columns + column; }
};

struct Case {
  std::string name;
  std::string parameters_and_symmetry;  // text of a RunSpec
  std::vector<size_t> sizes;            // elements of the parameters
  std::vector<Instance> instances;
  bool rotation = false;
  bool one_sided = false;
};

std::string Parameters(const std::vector<std::vector<size_t>>& shapes) {
  std::string text;
  for (size_t i = 0; i < shapes.size(); ++i) {
    text += "parameters { id: " + std::to_string(i + 1) + " name: 'p" + std::to_string(i + 1) + "'";
    for (const size_t extent : shapes[i]) text += " shape: " + std::to_string(extent);
    text += " } ";
  }
  return text;
}

std::vector<Case> Cases() {
  std::vector<Case> cases;
  {
    // Neurons with biases; two columns of `outgoing` each; rows 1..3 of a packed incoming matrix.
    Case c{.name = "neurons",
           .parameters_and_symmetry = Parameters({{5, 4}, {3}, {2, 6}}) +
                                      "symmetries { name: 's' neuron_rescaling {"
                                      " incoming { parameter_id: 1 first_row: 1 rows: 3 }"
                                      " incoming_bias { parameter_id: 2 }"
                                      " outgoing { parameter_id: 3 } } }",
           .sizes = {20, 3, 12},
           .instances = {}};
    const Stored in{0, 4}, out{23, 6};
    for (size_t j = 0; j < 3; ++j) {
      Instance neuron{{{20 + j}}, {{}}};
      for (size_t k = 0; k < 4; ++k) neuron.first[0].push_back(in(1 + j, k));
      for (size_t o = 0; o < 2; ++o) {
        for (size_t k = 0; k < 2; ++k) neuron.second[0].push_back(out(o, 2 * j + k));
      }
      c.instances.push_back(neuron);
    }
    cases.push_back(c);
  }
  {
    Case c{.name = "layers",
           .parameters_and_symmetry = Parameters({{3, 2}, {3}, {2, 3}}) +
                                      "symmetries { name: 's' layer_rescaling {"
                                      " first { parameter_id: 1 } first_bias { parameter_id: 2 }"
                                      " second { parameter_id: 3 transposed: true } } }",
           .sizes = {6, 3, 6},
           .instances = {}};
    Instance layer{{{}}, {{}}};
    for (size_t i = 0; i < 9; ++i) layer.first[0].push_back(i);
    for (size_t i = 9; i < 15; ++i) layer.second[0].push_back(i);
    c.instances.push_back(layer);
    cases.push_back(c);
  }
  {
    // Two heads of r = 3; values stored (in x out), with a bias; two query heads share each.
    Case c{.name = "double rotation",
           .parameters_and_symmetry = Parameters({{4, 6}, {6}, {5, 12}}) +
                                      "symmetries { name: 's' double_rotation { heads: 2"
                                      " first { parameter_id: 1 transposed: true }"
                                      " first_bias { parameter_id: 2 }"
                                      " second { parameter_id: 3 } } }",
           .sizes = {24, 6, 60},
           .instances = {},
           .rotation = true};
    const Stored first{0, 6}, second{30, 12};
    for (size_t head = 0; head < 2; ++head) {
      Instance instance{std::vector<std::vector<size_t>>(3), std::vector<std::vector<size_t>>(3)};
      for (size_t row = 0; row < 3; ++row) {
        for (size_t k = 0; k < 4; ++k) instance.first[row].push_back(first(k, head * 3 + row));
        instance.first[row].push_back(24 + head * 3 + row);
        for (size_t query = 2 * head; query < 2 * head + 2; ++query) {
          for (size_t o = 0; o < 5; ++o) {
            instance.second[row].push_back(second(o, query * 3 + row));
          }
        }
      }
      c.instances.push_back(instance);
    }
    cases.push_back(c);
  }
  // Packed queries and keys, 4 query heads and 2 key heads of 4 rows, with biases.
  for (const std::string layout : {"UNSPECIFIED", "INTERLEAVED", "HALVES"}) {
    Case c{.name = "queries and keys, rotary " + layout,
           .parameters_and_symmetry =
               Parameters({{24, 3}, {24}}) +
               "symmetries { name: 's' query_key_rotation { heads: 2"
               " query { parameter_id: 1 rows: 16 } query_bias { parameter_id: 2 rows: 16 }"
               " key { parameter_id: 1 first_row: 16 } key_bias { parameter_id: 2 first_row: 16 }"
               " rotary: ROTARY_LAYOUT_" +
               layout + " } }",
           .sizes = {72, 24},
           .instances = {},
           .rotation = layout == "UNSPECIFIED"};
    const Stored weight{0, 3}, bias{72, 1};
    const auto append = [&](size_t row, std::vector<size_t>* indices) {
      for (size_t k = 0; k < 3; ++k) indices->push_back(weight(row, k));
      indices->push_back(bias(row, 0));
    };
    for (size_t head = 0; head < 2; ++head) {
      const auto query_rows = [&](size_t row) {
        return std::vector<size_t>{2 * head * 4 + row, (2 * head + 1) * 4 + row};
      };
      if (c.rotation) {
        Instance instance{std::vector<std::vector<size_t>>(4), std::vector<std::vector<size_t>>(4)};
        for (size_t row = 0; row < 4; ++row) {
          for (const size_t q : query_rows(row)) append(q, &instance.first[row]);
          append(16 + head * 4 + row, &instance.second[row]);
        }
        c.instances.push_back(instance);
        continue;
      }
      for (size_t pair = 0; pair < 2; ++pair) {
        Instance instance{{{}}, {{}}};
        const std::vector<size_t> rows = layout == "HALVES"
                                             ? std::vector<size_t>{pair, pair + 2}
                                             : std::vector<size_t>{2 * pair, 2 * pair + 1};
        for (const size_t row : rows) {
          for (const size_t q : query_rows(row)) append(q, &instance.first[0]);
          append(16 + head * 4 + row, &instance.second[0]);
        }
        c.instances.push_back(instance);
      }
    }
    cases.push_back(c);
  }
  for (const bool per_row : {false, true}) {
    Case c{.name = per_row ? "scale of each row" : "scale",
           .parameters_and_symmetry = Parameters({{3, 2, 2}}) +
                                      "symmetries { name: 's' scale_invariance {"
                                      " weight { parameter_id: 1 } per_row: " +
                                      (per_row ? "true" : "false") + " } }",
           .sizes = {12},
           .instances = {},
           .one_sided = true};
    for (size_t row = 0; row < 3; ++row) {
      if (row == 0 || per_row) c.instances.push_back({{{}}, {}});
      for (size_t k = 0; k < 4; ++k) c.instances.back().first[0].push_back(4 * row + k);
    }
    cases.push_back(c);
  }
  return cases;
}

StepSettings At(uint64_t step, double weight_decay) {
  StepSettings settings;
  settings.context = {.step = step, .learning_rate = kEta, .weight_decay = weight_decay};
  return settings;
}

RunDeclaration Declare(const std::string& text, v1::OptimizerKind optimizer,
                       const Limits& limits = Limits()) {
  v1::RunSpec spec;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &spec)) << text;
  spec.set_run("run");
  spec.mutable_optimizer()->set_kind(optimizer);
  absl::StatusOr<RunDeclaration> declaration = CheckRunSpec(spec, limits);
  EXPECT_TRUE(declaration.ok()) << declaration.status();
  return declaration.ok() ? *declaration : RunDeclaration();
}

std::vector<ParameterElements> Split(const std::vector<size_t>& sizes, const Vector* gradient,
                                     const Vector* weight, const Vector* update) {
  std::vector<ParameterElements> parameters(sizes.size());
  ptrdiff_t start = 0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    const auto end = start + static_cast<ptrdiff_t>(sizes[i]);
    const auto set = [&](const Vector* all, TensorElements* tensor) {
      if (all == nullptr) return;
      tensor->undefined.reset();
      tensor->values.assign(all->begin() + start, all->begin() + end);
    };
    set(gradient, &parameters[i].gradient);
    set(weight, &parameters[i].weight);
    set(update, &parameters[i].update);
    start = end;
  }
  return parameters;
}

void AddStep(const RunDeclaration& declaration, SymmetryAnalysis* analysis,
             const StepSettings& settings, const std::vector<ParameterElements>& parameters,
             Figures* figures) {
  analysis->AddStep(settings, ReduceSymmetries(declaration, parameters), parameters, figures);
}

class SymmetryAnalysisTest : public testing::Test {
 protected:
  Vector Random(size_t size) {
    Vector values(size);
    for (double& value : values) value = normal_(random_);
    return values;
  }

  std::mt19937_64 random_{1};
  std::normal_distribution<double> normal_;
};

TEST_F(SymmetryAnalysisTest, FiguresAreThoseOfTheGenerators) {
  for (const Case& c : Cases()) {
    SCOPED_TRACE(c.name);
    size_t size = 0;
    for (const size_t part : c.sizes) size += part;
    const Vector theta = Random(size), g = Random(size), update = Random(size);
    const RunDeclaration declaration = Declare(c.parameters_and_symmetry, v1::OPTIMIZER_KIND_ADAM);
    SymmetryAnalysis analysis(declaration);
    Figures figures;
    AddStep(declaration, &analysis, At(1, kGamma), Split(c.sizes, &g, &theta, &update), &figures);

    const Vector next = Plus(theta, 1, update);
    const Vector total = Plus(g, kGamma, theta);
    double charge = 0, squared_charge = 0, first_order = 0, second_order = 0, force = 0;
    double squared_first = 0, squared_second = 0, squared_force = 0, drift = 0, squared_drift = 0;
    double residual = 0, first_residual = 0, second_residual = 0, bound = 0;
    double drive = 0, decay = 0, squared_gap = 0, squared_drive = 0, squared_decay = 0;
    for (const Instance& instance : c.instances) {
      const size_t r = instance.first.size();
      double squared_g = 0, squared_theta = 0;
      for (const auto* side : {&instance.first, &instance.second}) {
        for (const auto& row : *side) {
          for (const size_t i : row) {
            squared_g += g[i] * g[i];
            squared_theta += theta[i] * theta[i];
          }
        }
      }
      bound += squared_g * squared_theta;
      for (size_t a = 0; a < r; ++a) {
        for (size_t b = 0; b < r; ++b) {
          const Generator ab = Elementary(instance, a, b, size);
          const Generator ba = Elementary(instance, b, a, size);
          // Of the symmetric generator (E_ab + E_ba) / 2.
          const auto form = [&](const Vector& x, const Vector& y) {
            return (ab.Form(x, y) + ba.Form(x, y)) / 2;
          };
          residual += std::pow(ab.Form(g, theta), 2);
          Instance first = instance, second = instance;
          for (auto& row : second.first) row.clear();
          for (auto& row : first.second) row.clear();
          first_residual += std::pow(Elementary(first, a, b, size).Form(g, theta), 2);
          second_residual += std::pow(Elementary(second, a, b, size).Form(g, theta), 2);
          const double q = form(theta, theta), one = 2 * form(update, theta);
          const double two = form(update, update), f = kEta / 2 * form(g, g);
          const double observed = form(next, next) - q;
          const double push = kEta * form(total, total), pull = 2 * kGamma * q;
          squared_charge += q * q;
          squared_first += one * one;
          squared_second += two * two;
          squared_force += f * f;
          squared_drift += observed * observed;
          squared_gap += (push - pull) * (push - pull);
          squared_drive += push * push;
          squared_decay += pull * pull;
          if (a != b) continue;
          charge += q;
          first_order += one;
          second_order += two;
          force += f;
          drift += observed;
          drive += push;
          decay += pull;
        }
      }
    }
    const auto expect = [&](const char* name, double expected) {
      EXPECT_NEAR(Value(figures, name), expected, 1e-11 * (1 + std::fabs(expected))) << name;
    };
    expect("thermograd_symmetry_charge", charge);
    expect("thermograd_symmetry_charge_norm", std::sqrt(squared_charge));
    expect("thermograd_symmetry_optimizer_breaking", first_order);
    expect("thermograd_symmetry_optimizer_breaking_norm", std::sqrt(squared_first));
    expect("thermograd_symmetry_entropic_breaking", second_order);
    expect("thermograd_symmetry_entropic_breaking_norm", std::sqrt(squared_second));
    expect("thermograd_symmetry_entropic_force", force);
    expect("thermograd_symmetry_entropic_force_norm", std::sqrt(squared_force));
    expect("thermograd_symmetry_residual_ratio",
           c.rotation
               ? std::sqrt(residual) / (std::sqrt(first_residual) + std::sqrt(second_residual))
               : std::sqrt(residual / bound));
    expect("thermograd_symmetry_equilibrium_gap_ratio",
           c.rotation
               ? std::sqrt(squared_gap) / (std::sqrt(squared_drive) + std::sqrt(squared_decay))
               : (drive - decay) / (std::fabs(drive) + std::fabs(decay)));

    figures.clear();
    AddStep(declaration, &analysis, At(2, kGamma), Split(c.sizes, &g, &next, nullptr), &figures);
    expect("thermograd_symmetry_charge_drift", drift);
    expect("thermograd_symmetry_charge_drift_norm", std::sqrt(squared_drift));
    // For any update whatever, not only for one that descends.
    expect("thermograd_symmetry_charge_drift_predicted", drift);
    expect("thermograd_symmetry_charge_drift_predicted_norm", std::sqrt(squared_drift));
    EXPECT_LT(Value(figures, "thermograd_symmetry_charge_drift_error_ratio"), 1e-12);
    EXPECT_EQ(Reason(figures, "thermograd_symmetry_optimizer_breaking"),
              Undefined::kOptimizerNotCovered);
  }
}

TEST_F(SymmetryAnalysisTest, SgdIsPredictedFromGradientsThatRespectTheSymmetry) {
  for (const Case& c : Cases()) {
    SCOPED_TRACE(c.name);
    size_t size = 0;
    for (const size_t part : c.sizes) size += part;
    Vector theta = Random(size);
    const RunDeclaration declaration = Declare(c.parameters_and_symmetry, v1::OPTIMIZER_KIND_SGD);
    SymmetryAnalysis analysis(declaration);
    Figures figures;
    for (uint64_t step = 1; step <= 4; ++step) {
      Vector g = Random(size);
      // Project out every A theta, over and over: they are not orthogonal to one another.
      for (int sweep = 0; sweep < 3000; ++sweep) {
        for (const Instance& instance : c.instances) {
          for (size_t a = 0; a < instance.first.size(); ++a) {
            for (size_t b = 0; b < instance.first.size(); ++b) {
              if (sweep > 0 && instance.first.size() == 1) continue;
              Vector direction(size);
              for (size_t k = 0; k < instance.first[a].size(); ++k) {
                direction[instance.first[a][k]] += theta[instance.first[b][k]];
              }
              for (size_t k = 0; !instance.second.empty() && k < instance.second[a].size(); ++k) {
                direction[instance.second[b][k]] -= theta[instance.second[a][k]];
              }
              g = Plus(g, -Dot(g, direction) / Dot(direction, direction), direction);
            }
          }
        }
      }
      figures.clear();
      // Weights at the first and the last step only.
      const bool has_weights = step == 1 || step == 4;
      AddStep(declaration, &analysis, At(step, kGamma),
              Split(c.sizes, &g, has_weights ? &theta : nullptr, nullptr), &figures);
      if (has_weights) {
        EXPECT_LT(Value(figures, "thermograd_symmetry_residual_ratio"), 1e-9);
      }
      theta = Plus(theta, -kEta, Plus(g, kGamma, theta));
    }
    EXPECT_LT(Value(figures, "thermograd_symmetry_charge_drift_error_ratio"), 1e-7);
    EXPECT_GT(Value(figures, "thermograd_symmetry_charge_drift_predicted_norm"), 1e-3);
  }
}

TEST_F(SymmetryAnalysisTest, TranslationsAreVectors) {
  const RunDeclaration declaration = Declare(Parameters({{3, 4}, {4}}) +
                                                 "symmetries { name: 's' logit_translation {"
                                                 " weight { parameter_id: 1 transposed: true }"
                                                 " bias { parameter_id: 2 } } }",
                                             v1::OPTIMIZER_KIND_MOMENTUM);
  SymmetryAnalysis analysis(declaration);
  Figures figures;
  const Vector theta = Random(16), g = Random(16), update = Random(16);
  const auto sum_rows = [](const Vector& x) {
    Vector sums(4);
    for (size_t row = 0; row < 4; ++row) {
      for (size_t column = 0; column < 3; ++column) sums[column] += x[column * 4 + row];
      sums[3] += x[12 + row];
    }
    return sums;
  };
  AddStep(declaration, &analysis, At(1, kGamma), Split({12, 4}, &g, &theta, &update), &figures);
  EXPECT_NEAR(Value(figures, "thermograd_symmetry_charge_norm"), Norm(sum_rows(theta)), 1e-12);
  EXPECT_NEAR(Value(figures, "thermograd_symmetry_residual_ratio"),
              Norm(sum_rows(g)) / (2 * Norm(g)), 1e-12);
  EXPECT_NEAR(Value(figures, "thermograd_symmetry_optimizer_breaking_norm"), Norm(sum_rows(update)),
              1e-12);
  figures.clear();
  const Vector next = Plus(theta, 1, update);
  AddStep(declaration, &analysis, At(2, kGamma), Split({12, 4}, &g, &next, nullptr), &figures);
  EXPECT_NEAR(Value(figures, "thermograd_symmetry_charge_drift_norm"), Norm(sum_rows(update)),
              1e-12);
  EXPECT_LT(Value(figures, "thermograd_symmetry_charge_drift_error_ratio"), 1e-12);
}

TEST_F(SymmetryAnalysisTest, NonFiniteAndMissingTensorsHaveReasons) {
  const Case c = Cases().front();
  const RunDeclaration declaration = Declare(c.parameters_and_symmetry, v1::OPTIMIZER_KIND_SGD);
  SymmetryAnalysis analysis(declaration);
  const Vector theta = Random(35), g = Random(35);
  for (const auto reason : {Undefined::kNonFiniteInput, Undefined::kMissingTensor}) {
    std::vector<ParameterElements> parameters = Split(c.sizes, &g, &theta, nullptr);
    parameters[2].gradient = {.undefined = reason, .values = {}};
    Figures figures;
    AddStep(declaration, &analysis, At(1, 0), parameters, &figures);
    EXPECT_EQ(Reason(figures, "thermograd_symmetry_gradient_balance_ratio"), reason);
    EXPECT_EQ(Reason(figures, "thermograd_symmetry_charge"), reason);
  }
}

TEST_F(SymmetryAnalysisTest, MembersOfDifferentGroupsNeedTheirUpdates) {
  Case c = Cases().front();
  const size_t second = c.parameters_and_symmetry.find("'p2'");
  c.parameters_and_symmetry.insert(second + 4, " group: 'no decay'");
  const RunDeclaration declaration = Declare(c.parameters_and_symmetry, v1::OPTIMIZER_KIND_SGD);
  SymmetryAnalysis analysis(declaration);
  const Vector theta = Random(35), g = Random(35), update = Random(35);
  StepSettings settings = At(1, kGamma);
  const auto step = [&](const Vector* d) {
    Figures figures;
    AddStep(declaration, &analysis, settings, Split(c.sizes, &g, &theta, d), &figures);
    return figures;
  };
  EXPECT_NE(Value(step(nullptr), "thermograd_symmetry_optimizer_breaking"), 0);
  settings.groups["no decay"] = {.learning_rate = kEta, .weight_decay = 0};
  for (const char* name :
       {"thermograd_symmetry_optimizer_breaking", "thermograd_symmetry_entropic_force",
        "thermograd_symmetry_equilibrium_gap_ratio"}) {
    EXPECT_EQ(Reason(step(nullptr), name), Undefined::kOptimizerNotCovered) << name;
  }
  EXPECT_NE(Value(step(&update), "thermograd_symmetry_optimizer_breaking"), 0);
  EXPECT_NE(Value(step(nullptr), "thermograd_symmetry_gradient_balance_ratio"), 0);
}

TEST_F(SymmetryAnalysisTest, SpectraComeEveryFewStepsWithWeightsAndStay) {
  RunDeclaration declaration = Declare(Parameters({{3, 2}, {2, 3}}) +
                                           "symmetries { name: 's' neuron_permutation {"
                                           " incoming { parameter_id: 1 }"
                                           " outgoing { parameter_id: 2 } } }"
                                           "reporting { spectrum_every_steps: 2 }",
                                       v1::OPTIMIZER_KIND_OTHER);
  SymmetryAnalysis analysis(declaration);
  // Two equal neurons and another; then none that is equal.
  const Vector equal = {1, 2, 1, 2, 3, -1, 1, 1, 2, 1, 1, 2};
  const Vector other = {1, 2, 2, -1, 3, -1, 1, 1, 2, 1, 1, 2};
  const auto near_duplicates = [&](uint64_t step, const Vector* weight) {
    Figures figures;
    AddStep(declaration, &analysis, At(step, 0), Split({6, 6}, nullptr, weight, nullptr), &figures);
    EXPECT_EQ(figures.empty(), step == 0);
    if (figures.empty()) return -1.0;
    EXPECT_GE(Value(figures, "thermograd_parameter_stable_rank"), 1);
    return Value(figures, "thermograd_near_duplicate_neurons");
  };
  EXPECT_EQ(near_duplicates(0, nullptr), -1);
  EXPECT_EQ(near_duplicates(1, &equal), 2);
  EXPECT_EQ(near_duplicates(2, &other), 2);  // not looked at
  EXPECT_EQ(near_duplicates(3, nullptr), 2);
  EXPECT_EQ(near_duplicates(4, &other), 0);
}

TEST_F(SymmetryAnalysisTest, AMatrixTooLargeForItsSpectrumIsNamed) {
  Limits limits;
  limits.max_spectrum_rows = 2;
  const RunDeclaration declaration =
      Declare(Parameters({{3, 4}}) +
                  "symmetries { name: 's' scale_invariance { weight { parameter_id: 1 } } }",
              v1::OPTIMIZER_KIND_SGD, limits);
  SymmetryAnalysis analysis(declaration);
  Figures figures;
  const Vector theta = Random(12);
  AddStep(declaration, &analysis, At(1, 0), Split({12}, &theta, &theta, nullptr), &figures);
  EXPECT_EQ(Reason(figures, "thermograd_parameter_stable_rank"), Undefined::kLimit);
  ASSERT_EQ(declaration.notices.size(), 1);
  EXPECT_NE(declaration.notices[0].find("max_spectrum_rows"), std::string::npos);
}

}  // namespace
}  // namespace thermograd::service
