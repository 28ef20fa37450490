#include "service/symmetry_declaration.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "service/limit_status.h"
#include "service/symmetry_analysis.h"

namespace thermograd::service {
namespace {

using Kind = DeclaredSymmetry::Kind;

// A wrong field, found while the members are gathered.
absl::Status Wrong(const std::string& field, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", what));
}

// The rows and columns of a parameter's own matrix that a view takes.
struct Extent {
  size_t first_row, rows, first_column, columns;
};

Extent StoredExtent(const statistics::MatrixView& view, size_t stored_columns) {
  if (stored_columns == 1) return {view.offset, view.rows * view.columns, 0, 1};
  const size_t row = view.offset / stored_columns;
  const size_t column = view.offset % stored_columns;
  return view.column_stride == 1 ? Extent{row, view.rows, column, view.columns}
                                 : Extent{row, view.columns, column, view.rows};
}

bool Overlap(const Extent& a, const Extent& b) {
  return a.first_row < b.first_row + b.rows && b.first_row < a.first_row + a.rows &&
         a.first_column < b.first_column + b.columns && b.first_column < a.first_column + a.columns;
}

class Checker {
 public:
  Checker(std::string field, const Limits& limits, const RunDeclaration& declaration)
      : field_(std::move(field)), limits_(limits), declaration_(declaration) {}

  absl::StatusOr<DeclaredSymmetry> Check(const v1::Symmetry& symmetry) {
    declared_.name = symmetry.name();
    const absl::Status status = CheckKind(symmetry);
    if (!status.ok()) return status;
    // Of one matrix each; the sum of all would overflow first.
    const size_t matrix_bytes = declared_.dimension * declared_.dimension * sizeof(double);
    if (declared_.instances > limits_.max_symmetry_bytes / matrix_bytes) {
      return LimitExceeded(
          Limit::max_symmetry_bytes, limits_,
          absl::StrCat(field_, ": the windows of ", declared_.instances, " instances"));
    }
    return std::move(declared_);
  }

 private:
  absl::Status CheckKind(const v1::Symmetry& symmetry) {
    switch (symmetry.kind_case()) {
      case v1::Symmetry::kNeuronRescaling:
        declared_.kind = Kind::kNeuronRescaling;
        field_ += ".neuron_rescaling";
        return CheckNeurons(symmetry.neuron_rescaling());
      case v1::Symmetry::kLayerRescaling:
        return CheckLayers(symmetry.layer_rescaling());
      case v1::Symmetry::kDoubleRotation:
        return CheckDoubleRotation(symmetry.double_rotation());
      case v1::Symmetry::kQueryKeyRotation:
        return CheckQueryKey(symmetry.query_key_rotation());
      case v1::Symmetry::kScaleInvariance:
        return CheckScaleInvariance(symmetry.scale_invariance());
      case v1::Symmetry::kLogitTranslation:
        return CheckTranslation(symmetry.logit_translation());
      case v1::Symmetry::kNeuronPermutation:
        declared_.kind = Kind::kNeuronPermutation;
        field_ += ".neuron_permutation";
        return CheckPermutation(symmetry.neuron_permutation());
      case v1::Symmetry::KIND_NOT_SET:
        break;
    }
    return Wrong(field_ + ".kind", "must be set to a kind that this server knows");
  }

  // Finds a member; `side` gets it. Returns its rows as the symmetry sees them.
  absl::StatusOr<SymmetryMember*> Add(absl::string_view name, const v1::Member& member,
                                      std::vector<SymmetryMember>* side, bool by_columns = false) {
    const std::string field = absl::StrCat(field_, ".", name);
    const auto found = declaration_.parameter_of_id.find(member.parameter_id());
    if (found == declaration_.parameter_of_id.end()) {
      return Wrong(field + ".parameter_id",
                   absl::StrCat(member.parameter_id(), " is no id of run_spec.parameters"));
    }
    const DeclaredParameter& parameter = declaration_.parameters[found->second];
    const size_t stored_rows = parameter.shape.empty() ? 1 : parameter.shape[0];
    const size_t stored_columns = parameter.elements / stored_rows;
    statistics::MatrixView view{.offset = 0,
                                .rows = stored_rows,
                                .columns = stored_columns,
                                .row_stride = stored_columns,
                                .column_stride = 1};
    if (member.transposed()) {
      if (parameter.shape.size() != 2) {
        return Wrong(field + ".transposed",
                     absl::StrCat("'", parameter.name, "' has ", parameter.shape.size(),
                                  " dimensions, a transposed member must have 2"));
      }
      view = view.Transposed();
    }
    if (member.first_row() >= view.rows) {
      return Wrong(field + ".first_row", absl::StrCat(member.first_row(), " of '", parameter.name,
                                                      "', which has ", view.rows, " rows"));
    }
    const size_t rows_left = view.rows - member.first_row();
    if (member.rows() > rows_left) {
      return Wrong(field + ".rows",
                   absl::StrCat(member.rows(), " from row ", member.first_row(), " of '",
                                parameter.name, "', which has ", view.rows));
    }
    view = view.Rows(member.first_row(), member.rows() == 0 ? rows_left : member.rows());
    const Extent extent = StoredExtent(view, stored_columns);
    for (const auto* other_side : {&declared_.first, &declared_.second}) {
      for (const SymmetryMember& other : *other_side) {
        if (other.parameter == found->second &&
            Overlap(extent, StoredExtent(other.view, stored_columns))) {
          return Wrong(field, absl::StrCat("takes elements of '", parameter.name,
                                           "' that another member has already"));
        }
      }
    }
    side->push_back({.parameter = found->second,
                     .view = by_columns ? view.Transposed() : view,
                     .instance_of_block = {}});
    return &side->back();
  }

  // Adds a required member.
  absl::StatusOr<SymmetryMember*> AddRequired(absl::string_view name, bool is_set,
                                              const v1::Member& member,
                                              std::vector<SymmetryMember>* side,
                                              bool by_columns = false) {
    if (!is_set) return Wrong(absl::StrCat(field_, ".", name), "must be set");
    return Add(name, member, side, by_columns);
  }

  // Adds a bias with an element for each of `rows` rows, as one more column.
  absl::StatusOr<SymmetryMember*> AddBias(absl::string_view name, const v1::Member& member,
                                          size_t rows, std::vector<SymmetryMember>* side) {
    absl::StatusOr<SymmetryMember*> bias = Add(name, member, side);
    if (!bias.ok()) return bias;
    if ((*bias)->view.rows != rows || (*bias)->view.columns != 1) {
      return Wrong(absl::StrCat(field_, ".", name),
                   absl::StrCat("'", NameOf(**bias), "' is ", (*bias)->view.rows, " x ",
                                (*bias)->view.columns, ", it must have ", rows,
                                " elements, one a row of its weights"));
    }
    return bias;
  }

  template <typename Neurons>
  absl::Status CheckNeurons(const Neurons& neurons) {
    absl::StatusOr<SymmetryMember*> incoming =
        AddRequired("incoming", neurons.has_incoming(), neurons.incoming(), &declared_.first);
    if (!incoming.ok()) return incoming.status();
    const size_t hidden = (*incoming)->view.rows;
    declared_.instances = hidden;
    if (neurons.has_incoming_bias()) {
      absl::StatusOr<SymmetryMember*> bias =
          AddBias("incoming_bias", neurons.incoming_bias(), hidden, &declared_.first);
      if (!bias.ok()) return bias.status();
    }
    absl::StatusOr<SymmetryMember*> outgoing = AddRequired(
        "outgoing", neurons.has_outgoing(), neurons.outgoing(), &declared_.second, true);
    if (!outgoing.ok()) return outgoing.status();
    const size_t columns = (*outgoing)->view.rows;
    if (columns % hidden != 0) {
      return Wrong(field_ + ".outgoing", absl::StrCat("'", NameOf(**outgoing), "' has ", columns,
                                                      " columns, it must have a multiple of the ",
                                                      hidden, " hidden neurons"));
    }
    (*outgoing)->instance_of_block = {.shared = columns / hidden};
    return absl::OkStatus();
  }

  absl::Status CheckPermutation(const v1::NeuronPermutation& neurons) {
    if (absl::Status status = CheckNeurons(neurons); !status.ok()) return status;
    if (declared_.instances <= limits_.max_permutation_neurons) return absl::OkStatus();
    return LimitExceeded(Limit::max_permutation_neurons, limits_,
                         absl::StrCat(field_, ".incoming: ", declared_.instances, " neurons"));
  }

  absl::Status CheckLayers(const v1::LayerRescaling& layers) {
    declared_.kind = Kind::kLayerRescaling;
    field_ += ".layer_rescaling";
    absl::StatusOr<SymmetryMember*> first =
        AddRequired("first", layers.has_first(), layers.first(), &declared_.first);
    if (!first.ok()) return first.status();
    const size_t rows = (*first)->view.rows;
    (*first)->instance_of_block = {.shared = rows};
    if (layers.has_first_bias()) {
      absl::StatusOr<SymmetryMember*> bias =
          AddBias("first_bias", layers.first_bias(), rows, &declared_.first);
      if (!bias.ok()) return bias.status();
      (*bias)->instance_of_block = {.shared = rows};
    }
    absl::StatusOr<SymmetryMember*> second =
        AddRequired("second", layers.has_second(), layers.second(), &declared_.second);
    if (!second.ok()) return second.status();
    (*second)->instance_of_block = {.shared = (*second)->view.rows};
    return absl::OkStatus();
  }

  // `rows` of `name` into heads.
  absl::Status SplitHeads(absl::string_view name, size_t rows, uint32_t heads) {
    declared_.instances = heads == 0 ? 1 : heads;
    if (rows % declared_.instances != 0) {
      return Wrong(field_ + ".heads", absl::StrCat(declared_.instances, " do not divide the ", rows,
                                                   " rows of ", name));
    }
    declared_.dimension = rows / declared_.instances;
    return absl::OkStatus();
  }

  absl::Status CheckRotationRows() {
    if (declared_.dimension <= limits_.max_rotation_rows) return absl::OkStatus();
    return LimitExceeded(Limit::max_rotation_rows, limits_,
                         absl::StrCat(field_, ": ", declared_.dimension, " rows a head"));
  }

  absl::Status CheckDoubleRotation(const v1::DoubleRotation& rotation) {
    declared_.kind = Kind::kRotation;
    field_ += ".double_rotation";
    absl::StatusOr<SymmetryMember*> first =
        AddRequired("first", rotation.has_first(), rotation.first(), &declared_.first);
    if (!first.ok()) return first.status();
    const size_t rows = (*first)->view.rows;
    absl::Status status = SplitHeads("first", rows, rotation.heads());
    if (status.ok()) status = CheckRotationRows();
    if (!status.ok()) return status;
    if (rotation.has_first_bias()) {
      absl::StatusOr<SymmetryMember*> bias =
          AddBias("first_bias", rotation.first_bias(), rows, &declared_.first);
      if (!bias.ok()) return bias.status();
    }
    absl::StatusOr<SymmetryMember*> second =
        AddRequired("second", rotation.has_second(), rotation.second(), &declared_.second, true);
    if (!second.ok()) return second.status();
    const size_t columns = (*second)->view.rows;
    if (columns % rows != 0) {
      return Wrong(field_ + ".second", absl::StrCat("'", NameOf(**second), "' has ", columns,
                                                    " columns, it must have a multiple of the ",
                                                    rows, " rows of first"));
    }
    (*second)->instance_of_block = {.shared = columns / rows};
    return absl::OkStatus();
  }

  absl::Status CheckQueryKey(const v1::QueryKeyRotation& rotation) {
    field_ += ".query_key_rotation";
    absl::StatusOr<SymmetryMember*> key =
        AddRequired("key", rotation.has_key(), rotation.key(), &declared_.second);
    if (!key.ok()) return key.status();
    const size_t key_rows = (*key)->view.rows;
    absl::StatusOr<SymmetryMember*> query =
        AddRequired("query", rotation.has_query(), rotation.query(), &declared_.first);
    if (!query.ok()) return query.status();
    const size_t query_rows = (*query)->view.rows;
    if (absl::Status status = SplitHeads("key", key_rows, rotation.heads()); !status.ok()) {
      return status;
    }
    if (query_rows % key_rows != 0) {
      return Wrong(field_ + ".query", absl::StrCat("'", NameOf(**query), "' has ", query_rows,
                                                   " rows, it must have a multiple of the ",
                                                   key_rows, " rows of key"));
    }
    if (rotation.has_query_bias()) {
      absl::StatusOr<SymmetryMember*> bias =
          AddBias("query_bias", rotation.query_bias(), query_rows, &declared_.first);
      if (!bias.ok()) return bias.status();
    }
    if (rotation.has_key_bias()) {
      absl::StatusOr<SymmetryMember*> bias =
          AddBias("key_bias", rotation.key_bias(), key_rows, &declared_.second);
      if (!bias.ok()) return bias.status();
    }
    const size_t shared = query_rows / key_rows;
    if (rotation.rotary() == v1::ROTARY_LAYOUT_UNSPECIFIED) {
      declared_.kind = Kind::kRotation;
      if (absl::Status status = CheckRotationRows(); !status.ok()) return status;
      for (SymmetryMember& query_member : declared_.first) {
        query_member.instance_of_block = {.shared = shared};
      }
      return absl::OkStatus();
    }
    return CheckRotary(rotation.rotary(), shared);
  }

  // What commutes with the rotation of a pair of rows by any angle is its scaling (and its own
  // rotation, which has no charge): pairs are the instances.
  absl::Status CheckRotary(v1::RotaryLayout layout, size_t shared) {
    if (layout != v1::ROTARY_LAYOUT_INTERLEAVED && layout != v1::ROTARY_LAYOUT_HALVES) {
      return Wrong(field_ + ".rotary", absl::StrCat(layout, " is no layout this server knows"));
    }
    const size_t rows = declared_.dimension;
    if (rows % 2 != 0) {
      return Wrong(field_ + ".rotary",
                   absl::StrCat("a head has ", rows, " rows, which make no pairs"));
    }
    const size_t pairs = rows / 2;
    const size_t adjacent = layout == v1::ROTARY_LAYOUT_INTERLEAVED ? 2 : 1;
    for (auto [side, shared_by] : {std::pair{&declared_.first, shared}, {&declared_.second, 1}}) {
      for (SymmetryMember& member : *side) {
        member.instance_of_block = {.head_blocks = rows,
                                    .head_instances = pairs,
                                    .adjacent = adjacent,
                                    .shared = shared_by};
      }
    }
    declared_.kind = Kind::kRotaryScaling;
    declared_.instances *= pairs;
    declared_.dimension = 1;
    return absl::OkStatus();
  }

  absl::Status CheckScaleInvariance(const v1::ScaleInvariance& invariance) {
    declared_.kind = Kind::kScaleInvariance;
    field_ += ".scale_invariance";
    absl::StatusOr<SymmetryMember*> weight =
        AddRequired("weight", invariance.has_weight(), invariance.weight(), &declared_.first);
    if (!weight.ok()) return weight.status();
    const size_t rows = (*weight)->view.rows;
    declared_.instances = invariance.per_row() ? rows : 1;
    (*weight)->instance_of_block = {.shared = rows / declared_.instances};
    return absl::OkStatus();
  }

  absl::Status CheckTranslation(const v1::LogitTranslation& translation) {
    declared_.kind = Kind::kLogitTranslation;
    field_ += ".logit_translation";
    absl::StatusOr<SymmetryMember*> weight =
        AddRequired("weight", translation.has_weight(), translation.weight(), &declared_.first);
    if (!weight.ok()) return weight.status();
    if (!translation.has_bias()) return absl::OkStatus();
    return AddBias("bias", translation.bias(), (*weight)->view.rows, &declared_.first).status();
  }

  const std::string& NameOf(const SymmetryMember& member) const {
    return declaration_.parameters[member.parameter].name;
  }

  std::string field_;
  const Limits& limits_;
  const RunDeclaration& declaration_;
  DeclaredSymmetry declared_;
};

}  // namespace

absl::StatusOr<DeclaredSymmetry> CheckSymmetry(const v1::Symmetry& symmetry,
                                               const std::string& field, const Limits& limits,
                                               const RunDeclaration& declaration) {
  return Checker(field, limits, declaration).Check(symmetry);
}

uint64_t SymmetryBytes(std::span<const DeclaredSymmetry> symmetries) {
  uint64_t bytes = 0;
  for (const DeclaredSymmetry& symmetry : symmetries) {
    if (const std::optional<metrics::QuadraticForm> form = QuadraticFormOf(symmetry)) {
      bytes += metrics::QuadraticSymmetry::Bytes(*form);
    }
    if (symmetry.kind == Kind::kScaleInvariance) {
      bytes += metrics::AngularStep::Bytes(symmetry.instances);
    }
  }
  return bytes;
}

}  // namespace thermograd::service
