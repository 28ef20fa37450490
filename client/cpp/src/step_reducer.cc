#include "thermograd/client/step_reducer.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"
#include "service/declaration.h"
#include "service/shards.h"
#include "service/step_intake.h"
#include "service/step_statistics.h"

namespace thermograd::client {
namespace {

// The server has limits of its own, and says so when the run is declared.
service::Limits NoLimits() {
  constexpr auto kMost = std::numeric_limits<uint32_t>::max();
  service::Limits limits;
  limits.max_parameters = limits.max_layers = limits.max_symmetries = kMost;
  limits.max_ranks = limits.max_label_bytes = limits.max_window_steps = kMost;
  limits.max_rotation_rows = limits.max_permutation_neurons = limits.max_permutations = kMost;
  limits.max_samples = limits.max_elements = uint64_t{1} << 48;
  limits.max_stream_bytes = limits.max_symmetry_bytes = std::numeric_limits<uint64_t>::max();
  return limits;
}

// The run as if this rank's part of it were all.
service::RunDeclaration Alone(service::RunDeclaration declaration) {
  const auto is_split = [&](const service::SymmetryMember& member) {
    const service::DeclaredParameter& parameter = declaration.parameters[member.parameter];
    return parameter.shard_elements != parameter.elements;
  };
  std::erase_if(declaration.symmetries, [&](const service::DeclaredSymmetry& symmetry) {
    return std::any_of(symmetry.first.begin(), symmetry.first.end(), is_split) ||
           std::any_of(symmetry.second.begin(), symmetry.second.end(), is_split);
  });
  declaration.rank = 0;
  declaration.world_size = 1;
  for (service::DeclaredParameter& parameter : declaration.parameters) {
    parameter.shape = parameter.shard.shape;
    parameter.elements = parameter.shard_elements;
    parameter.shard.offset.assign(parameter.shape.size(), 0);
    parameter.replicas = 1;
  }
  return declaration;
}

struct Received {
  bool any = false;
  statistics::NonFinite non_finite;
};

Received Look(const service::ParameterPart& part) {
  Received received;
  const auto look = [&](const auto& tensor) {
    if (!tensor) return;
    received.any = true;
    received.non_finite.Merge(tensor->non_finite());
  };
  look(part.gradient);
  look(part.weight);
  look(part.update);
  look(part.preconditioner);
  look(part.gradient_after_update);
  look(part.reduced_gradient);
  return received;
}

// Messages filled up to a size.
class Messages {
 public:
  explicit Messages(size_t max_bytes) : max_bytes_(max_bytes) {}

  bool Add(v1::ParameterStatistics statistics) {
    return Place(statistics.ByteSizeLong()) &&
           (*messages_.back().add_parameters() = std::move(statistics), true);
  }
  bool Add(v1::SymmetryStatistics statistics) {
    return Place(statistics.ByteSizeLong()) &&
           (*messages_.back().add_symmetries() = std::move(statistics), true);
  }
  std::vector<v1::StepStatistics> Take() { return std::move(messages_); }

 private:
  // Makes room in the last message.
  bool Place(size_t bytes) {
    // Tag and length.
    bytes += 16;
    if (bytes > max_bytes_) return false;
    if (messages_.empty() || bytes > max_bytes_ - bytes_) {
      messages_.emplace_back();
      bytes_ = 0;
    }
    bytes_ += bytes;
    return true;
  }

  size_t max_bytes_;
  size_t bytes_ = 0;
  std::vector<v1::StepStatistics> messages_;
};

}  // namespace

class StepReducer::Implementation {
 public:
  explicit Implementation(service::RunDeclaration declaration)
      : declaration_(std::move(declaration)), covered_(declaration_.parameters.size(), true) {
    for (const auto& [id, index] : declaration_.parameter_of_id) ids_[index] = id;
  }

  absl::Status BeginStep(const v1::StepBegin& step) {
    service::StepSettings settings;
    settings.context.step = step.step();
    settings.microbatches = std::max(step.microbatches(), 1u);
    settings.microbatch_size = std::max<double>(1, static_cast<double>(step.microbatch_size()));
    // Sums travel with the scale of the gradients.
    intake_.emplace(declaration_, limits_, &admission_, std::move(settings), 1);
    return absl::OkStatus();
  }

  absl::Status Add(uint32_t tensor_id, v1::TensorKind kind, const TensorView& tensor,
                   uint32_t microbatch) {
    if (!intake_) return absl::InvalidArgumentError("no step is open");
    if (absl::Status status = Validate(tensor); !status.ok()) return status;
    const absl::StatusOr<service::Elements> elements =
        service::Decode(tensor.data_type, tensor.bytes);
    if (!elements.ok()) return elements.status();
    v1::TensorChunk chunk;
    chunk.set_tensor_id(tensor_id);
    chunk.set_kind(kind);
    chunk.set_data_type(tensor.data_type);
    chunk.mutable_shape()->Assign(tensor.shape.begin(), tensor.shape.end());
    chunk.set_microbatch(microbatch);
    return intake_->AddTensor(chunk, *elements);
  }

  absl::StatusOr<std::vector<v1::StepStatistics>> EndStep(size_t max_bytes,
                                                          bool with_weight_norms) {
    if (!intake_) return absl::InvalidArgumentError("no step is open");
    service::RankStep step = intake_->TakeRank();
    intake_.reset();
    std::vector<Received> received;
    for (const service::ParameterPart& part : step.parameters) received.push_back(Look(part));
    const service::MergedStep merged = service::MergeRanks({&declaration_}, covered_, {&step, 1});
    Messages messages(max_bytes);
    for (size_t p = 0; p < merged.parameters.size(); ++p) {
      if (!received[p].any) continue;
      v1::ParameterStatistics statistics;
      statistics.set_tensor_id(ids_[p]);
      service::WriteStatistics(merged.parameters[p], declaration_,
                               declaration_.parameters[p].elements, received[p].non_finite,
                               &statistics);
      if (!with_weight_norms) statistics.clear_weight_squared_norm();
      if (!messages.Add(std::move(statistics))) {
        return absl::ResourceExhaustedError(
            absl::StrCat("the sums of a parameter exceed ", max_bytes, " bytes"));
      }
    }
    for (size_t s = 0; s < merged.symmetries.size(); ++s) {
      const service::DeclaredSymmetry& symmetry = declaration_.symmetries[s];
      v1::SymmetryStatistics statistics;
      if (!service::WriteStatistics(merged.symmetries[s], symmetry, &statistics)) continue;
      if (!messages.Add(std::move(statistics))) {
        return absl::ResourceExhaustedError(absl::StrCat("the sums of symmetry '", symmetry.name,
                                                         "' exceed ", max_bytes, " bytes"));
      }
    }
    return messages.Take();
  }

 private:
  const service::Limits limits_ = NoLimits();
  service::Admission admission_{1, std::numeric_limits<uint64_t>::max()};
  const service::RunDeclaration declaration_;
  const std::vector<bool> covered_;
  std::unordered_map<size_t, uint32_t> ids_;
  std::optional<service::StepIntake> intake_;
};

absl::StatusOr<std::unique_ptr<StepReducer>> StepReducer::Create(const v1::RunSpec& spec) {
  absl::StatusOr<service::RunDeclaration> declaration = service::CheckRunSpec(spec, NoLimits());
  if (!declaration.ok()) return declaration.status();
  return std::unique_ptr<StepReducer>(
      new StepReducer(std::make_unique<Implementation>(Alone(*std::move(declaration)))));
}

StepReducer::StepReducer(std::unique_ptr<Implementation> implementation)
    : implementation_(std::move(implementation)) {}
StepReducer::~StepReducer() = default;

absl::Status StepReducer::BeginStep(const v1::StepBegin& step) {
  return implementation_->BeginStep(step);
}

absl::Status StepReducer::Add(uint32_t tensor_id, v1::TensorKind kind, const TensorView& tensor,
                              uint32_t microbatch) {
  return implementation_->Add(tensor_id, kind, tensor, microbatch);
}

absl::StatusOr<std::vector<v1::StepStatistics>> StepReducer::EndStep(size_t max_bytes,
                                                                     bool with_weight_norms) {
  return implementation_->EndStep(max_bytes, with_weight_norms);
}

}  // namespace thermograd::client
