#ifndef THERMOGRAD_SERVICE_RUN_DECLARATION_H_
#define THERMOGRAD_SERVICE_RUN_DECLARATION_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "metrics/representation_similarity.h"
#include "statistics/symmetry.h"

namespace thermograd::service {

struct DeclaredParameter {
  std::string name;
  std::vector<uint64_t> shape;
  size_t elements = 0;
  /// A symmetry needs its gradient and weights element by element.
  bool in_symmetry = false;
  /// A layer is compared with its weights element by element.
  bool in_alignment = false;
};

struct DeclaredLayer {
  std::string name;
  size_t width = 0;
  /// Index into RunDeclaration::probe_sets; absent: training batches.
  std::optional<size_t> probe_set;
  /// Indices into RunDeclaration::parameters: width x in and out x width.
  std::optional<size_t> weight;
  std::optional<size_t> reader_weight;
};

struct DeclaredProbeSet {
  std::string name;
  uint64_t samples = 0;
  std::string fingerprint;
};

/// A parameter that takes part in a rescaling, seen as a rows x columns matrix.
struct RescalingMember {
  size_t parameter;
  size_t rows;
  size_t columns;
  statistics::NeuronAxis axis;
};

struct DeclaredSymmetry {
  std::string name;
  bool per_neuron = false;
  std::vector<RescalingMember> first;
  std::vector<RescalingMember> second;
};

/// A RunSpec that was checked, with ids resolved to indices.
struct RunDeclaration {
  std::string run;
  uint32_t rank = 0;
  uint32_t world_size = 1;
  bool sgd = false;
  uint32_t window_steps = 0;
  uint32_t report_every_steps = 1;
  std::optional<uint64_t> resume_after_step;
  metrics::SimilarityOptions similarity;
  bool similarity_over_window = false;
  std::vector<DeclaredParameter> parameters;
  std::vector<DeclaredLayer> layers;
  std::vector<DeclaredProbeSet> probe_sets;
  std::vector<DeclaredSymmetry> symmetries;
  std::unordered_map<uint32_t, size_t> parameter_of_id;
  std::unordered_map<uint32_t, size_t> layer_of_id;
};

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_RUN_DECLARATION_H_
