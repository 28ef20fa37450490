#ifndef THERMOGRAD_SERVICE_RUN_DECLARATION_H_
#define THERMOGRAD_SERVICE_RUN_DECLARATION_H_

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "metrics/optimizer.h"
#include "metrics/representation_similarity.h"
#include "metrics/sampling.h"
#include "service/run_id.h"
#include "statistics/symmetry.h"

namespace thermograd::service {

/// The part of a parameter that one rank holds.
struct Shard {
  std::vector<uint64_t> offset;
  std::vector<uint64_t> shape;

  auto operator<=>(const Shard&) const = default;
};

struct DeclaredParameter {
  std::string name;
  std::string group;
  /// Of the whole parameter.
  std::vector<uint64_t> shape;
  size_t elements = 0;
  /// This rank's part, which is the whole where nothing is split.
  Shard shard;
  size_t shard_elements = 0;
  /// Ranks that hold this same part.
  uint32_t replicas = 1;
  /// A symmetry needs its gradient and weights element by element.
  bool in_symmetry = false;
  /// A layer is compared with its weights element by element.
  bool in_alignment = false;
};

struct DeclaredLayer {
  std::string name;
  size_t width = 0;
  /// Features before a random projection; 0: there was none.
  uint64_t projected_from = 0;
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
  /// Samples that these were drawn from; 0: not declared.
  uint64_t sampled_from = 0;
};

/// Rows of one parameter that belong to a symmetry, and to which of its instances.
struct SymmetryMember {
  size_t parameter = 0;
  statistics::MatrixView view;
  /// Of a symmetry with a quadratic charge: the instance of each block of `dimension` rows. Of
  /// neurons that may change places: the neuron of each row.
  statistics::InstanceOfBlock instance_of_block;
};

/// A symmetry whose members were found and fit together.
struct DeclaredSymmetry {
  enum class Kind {
    kNeuronRescaling,
    kLayerRescaling,
    kRotation,          // double rotations, and queries and keys without rotary embedding
    kRotaryScaling,     // queries and keys with rotary embedding: each pair of rows scales
    kScaleInvariance,   // `second` is empty
    kLogitTranslation,  // `second` is empty
    kNeuronPermutation,
  };

  std::string name;
  Kind kind = Kind::kNeuronRescaling;
  /// Neurons, heads, pairs of rows, rows.
  size_t instances = 1;
  /// r, the rows of one instance's matrix; 1 for scalings.
  size_t dimension = 1;
  std::vector<SymmetryMember> first;
  /// Rows are what the symmetry acts on: outgoing weights are seen transposed.
  std::vector<SymmetryMember> second;
};

/// A RunSpec that was checked, with ids resolved to indices.
struct RunDeclaration {
  RunId run;
  uint32_t rank = 0;
  uint32_t world_size = 1;
  /// Serialised RunSpec without what differs between ranks: equal in all ranks of a run.
  std::string identity;
  metrics::Optimizer optimizer;
  bool gradients_are_reduced = false;
  /// Tensors that the stream will send of every parameter besides gradients and weights.
  bool sends_updates = false;
  bool sends_preconditioners = false;
  bool sends_gradients_after_update = false;
  bool sends_reduced_gradients = false;
  uint32_t window_steps = 0;
  uint32_t spectrum_every_steps = 1;
  /// Shorter side of the largest weight matrix whose singular values are computed.
  uint64_t max_spectrum_rows = 0;
  /// Some steps need singular values, or all pairs of neurons, of matrices so large that they take
  /// long.
  bool has_spectra = false;
  uint32_t report_every_steps = 1;
  std::optional<uint64_t> resume_after_step;
  metrics::Sampling sampling;
  metrics::SimilarityOptions similarity;
  bool similarity_over_window = false;
  std::vector<DeclaredParameter> parameters;
  std::vector<DeclaredLayer> layers;
  std::vector<DeclaredProbeSet> probe_sets;
  std::vector<DeclaredSymmetry> symmetries;
  /// What will not be served in full, a sentence each.
  std::vector<std::string> notices;
  std::unordered_map<uint32_t, size_t> parameter_of_id;
  std::unordered_map<uint32_t, size_t> layer_of_id;
};

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_RUN_DECLARATION_H_
