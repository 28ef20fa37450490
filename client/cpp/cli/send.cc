#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "cli/command.h"
#include "cli/connection.h"
#include "cli/render.h"
#include "google/protobuf/util/json_util.h"
#include "thermograd/client/client.h"

ABSL_FLAG(std::string, run, "", "Name of the run; overrides the one in --spec.");
ABSL_FLAG(
    std::string, spec, "",
    "JSON file of a thermograd.v1.RunSpec: optimiser, symmetries, probe sets. Tensors that it "
    "does not declare are declared from the files.");
ABSL_FLAG(std::string, kind, "gradient",
          "What the files hold: gradient, weight, update, preconditioner or activation.");
ABSL_FLAG(uint32_t, microbatches, 1, "Files in a step, one for each microbatch.");
ABSL_FLAG(
    std::vector<std::string>, weights, {},
    "Files of weights, comma-separated, one for each step: the parameters before its update.");
ABSL_FLAG(std::string, tensor_name, "tensor",
          "Name of the tensor in a .npy file, which holds none.");
ABSL_FLAG(uint64_t, first_step, 1, "Number of the first step.");
ABSL_FLAG(uint64_t, microbatch_size, 1, "Samples in a microbatch.");
ABSL_FLAG(double, learning_rate, 0, "Learning rate of every step.");
ABSL_FLAG(double, weight_decay, 0, "Weight decay of every step.");
ABSL_FLAG(bool, statistics, false,
          "Reduce each step's parameters here and send their sums; weights also go whole every "
          "reporting.spectrum_every_steps (100) of --spec.");

namespace thermograd::cli {
namespace {

const std::map<absl::string_view, v1::TensorKind>& Kinds() {
  static const auto* const kinds = new std::map<absl::string_view, v1::TensorKind>{
      {"gradient", v1::TENSOR_KIND_GRADIENT},
      {"weight", v1::TENSOR_KIND_WEIGHT},
      {"update", v1::TENSOR_KIND_UPDATE},
      {"preconditioner", v1::TENSOR_KIND_PRECONDITIONER},
      {"activation", v1::TENSOR_KIND_ACTIVATION}};
  return *kinds;
}

// The table of tensors of a run, grown from the files that will be sent.
class Declarations {
 public:
  explicit Declarations(v1::RunSpec spec) : spec_(std::move(spec)) {
    for (const v1::Parameter& parameter : spec_.parameters()) {
      Remember(parameter_ids_, parameter.name(), parameter.id());
    }
    for (const v1::Layer& layer : spec_.layers()) Remember(layer_ids_, layer.name(), layer.id());
  }

  absl::Status Declare(const std::string& name, v1::TensorKind kind,
                       const client::TensorView& tensor) {
    if (kind != v1::TENSOR_KIND_ACTIVATION) {
      const auto& kinds = spec_.parameter_kinds();
      if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end()) {
        spec_.add_parameter_kinds(kind);
      }
      if (parameter_ids_.contains(name)) return absl::OkStatus();
      v1::Parameter& parameter = *spec_.add_parameters();
      parameter.set_name(name);
      parameter.mutable_shape()->Assign(tensor.shape.begin(), tensor.shape.end());
      parameter.set_id(next_id_);
      Remember(parameter_ids_, name, next_id_);
      return absl::OkStatus();
    }
    if (layer_ids_.contains(name)) return absl::OkStatus();
    if (tensor.shape.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", name, " is a scalar; an activation has one row a sample"));
    }
    const absl::StatusOr<uint64_t> width =
        client::ElementCount(absl::MakeConstSpan(tensor.shape).subspan(1));
    if (!width.ok()) return width.status();
    v1::Layer& layer = *spec_.add_layers();
    layer.set_name(name);
    layer.set_width(*width);
    layer.set_id(next_id_);
    Remember(layer_ids_, name, next_id_);
    return absl::OkStatus();
  }

  // The id of a tensor that was declared; nullopt if none was under this name.
  std::optional<uint32_t> IdOf(const std::string& name, v1::TensorKind kind) const {
    const auto& ids = kind == v1::TENSOR_KIND_ACTIVATION ? layer_ids_ : parameter_ids_;
    const auto id = ids.find(name);
    if (id == ids.end()) return std::nullopt;
    return id->second;
  }

  const v1::RunSpec& spec() const { return spec_; }

 private:
  void Remember(std::map<std::string, uint32_t>& ids, const std::string& name, uint32_t id) {
    ids.emplace(name, id);
    next_id_ = std::max(next_id_, id + 1);
  }

  v1::RunSpec spec_;
  std::map<std::string, uint32_t> parameter_ids_;
  std::map<std::string, uint32_t> layer_ids_;
  uint32_t next_id_ = 1;
};

absl::StatusOr<v1::RunSpec> SpecFromFlags() {
  v1::RunSpec spec;
  if (const std::string path = absl::GetFlag(FLAGS_spec); !path.empty()) {
    const absl::StatusOr<client::MappedFile> file = client::MappedFile::Open(path);
    if (!file.ok()) return file.status();
    const auto status = google::protobuf::util::JsonStringToMessage(
        google::protobuf::StringPiece(file->bytes().data(), file->bytes().size()), &spec);
    if (!status.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, " is not a RunSpec in JSON: ", status.message().as_string()));
    }
  }
  if (const std::string run = absl::GetFlag(FLAGS_run); !run.empty()) spec.set_run(run);
  return spec;
}

std::string NameOf(const client::NamedTensor& tensor) {
  return tensor.name.empty() ? absl::GetFlag(FLAGS_tensor_name) : tensor.name;
}

absl::Status DeclareFile(const std::string& path, v1::TensorKind kind, Declarations& declarations,
                         Console& console) {
  const absl::StatusOr<client::TensorFile> file = client::OpenTensorFile(path);
  if (!file.ok()) return file.status();
  for (const client::NamedTensor& tensor : file->contents.tensors) {
    if (absl::Status status = declarations.Declare(NameOf(tensor), kind, tensor.tensor);
        !status.ok()) {
      return absl::Status(status.code(), absl::StrCat(path, ": ", status.message()));
    }
  }
  if (!file->contents.unsupported.empty()) {
    console.err << path << ": left out, not floating-point: "
                << absl::StrJoin(file->contents.unsupported, ", ") << "\n";
  }
  return absl::OkStatus();
}

// Where the tensors of a step go: to the server, into sums, or both.
struct Outlets {
  client::RunStream* stream = nullptr;
  client::StepReducer* reducer = nullptr;
};

absl::Status SendFile(const std::string& path, v1::TensorKind kind, uint32_t microbatch,
                      const Declarations& declarations, const Outlets& outlets) {
  const absl::StatusOr<client::TensorFile> file = client::OpenTensorFile(path);
  if (!file.ok()) return file.status();
  for (const client::NamedTensor& tensor : file->contents.tensors) {
    const std::optional<uint32_t> id = declarations.IdOf(NameOf(tensor), kind);
    if (!id.has_value()) {
      return absl::AbortedError(absl::StrCat(path, " was changed while it was being sent"));
    }
    absl::Status status;
    if (outlets.reducer != nullptr) {
      status = outlets.reducer->Add(*id, kind, tensor.tensor, microbatch);
    }
    if (status.ok() && outlets.stream != nullptr) {
      status = outlets.stream->Send(*id, kind, tensor.tensor, microbatch);
    }
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status SendSums(bool with_weight_norms, client::StepReducer& reducer,
                      client::RunStream& stream) {
  constexpr uint64_t kMessageBytes = 1 << 20;
  const uint64_t limit = stream.accepted().limits().max_chunk_bytes();
  const absl::StatusOr<std::vector<v1::StepStatistics>> messages =
      reducer.EndStep(limit == 0 ? kMessageBytes : limit, with_weight_norms);
  if (!messages.ok()) return messages.status();
  for (const v1::StepStatistics& message : *messages) {
    if (absl::Status status = stream.SendStatistics(message); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// Counts the steps on a terminal's standard error, where the reports go elsewhere and so show no
// progress themselves.
class Progress {
 public:
  Progress(size_t steps, std::ostream& out)
      : steps_(steps),
        is_shown_(isatty(STDERR_FILENO) == 1 && isatty(STDOUT_FILENO) == 0),
        out_(out) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  // Leaves the line empty, for what is said next.
  ~Progress() {
    if (is_shown_) out_ << "\r\033[K" << std::flush;
  }

  void Show(size_t step) {
    if (is_shown_) out_ << "\r\033[Kstep " << step << " of " << steps_ << std::flush;
  }

 private:
  const size_t steps_;
  const bool is_shown_;
  std::ostream& out_;
};

absl::Status SendSteps(Operands files, v1::TensorKind kind, const Declarations& declarations,
                       client::StepReducer* reducer, client::RunStream& stream,
                       Progress& progress) {
  constexpr uint32_t kWeightsEverySteps = 100;
  const uint32_t declared = declarations.spec().reporting().spectrum_every_steps();
  const uint32_t weights_every = declared == 0 ? kWeightsEverySteps : declared;
  const uint32_t microbatches = absl::GetFlag(FLAGS_microbatches);
  const std::vector<std::string> weights = absl::GetFlag(FLAGS_weights);
  v1::StepBegin begin;
  begin.set_learning_rate(absl::GetFlag(FLAGS_learning_rate));
  begin.set_weight_decay(absl::GetFlag(FLAGS_weight_decay));
  begin.set_microbatch_size(absl::GetFlag(FLAGS_microbatch_size));
  begin.set_microbatches(microbatches);
  // Layers have no sums.
  const bool reduces = reducer != nullptr && kind != v1::TENSOR_KIND_ACTIVATION;
  const Outlets outlets = reduces ? Outlets{.stream = nullptr, .reducer = reducer}
                                  : Outlets{.stream = &stream, .reducer = nullptr};
  for (size_t index = 0; index < files.size() / microbatches; ++index) {
    const uint64_t step = absl::GetFlag(FLAGS_first_step) + index;
    const bool sends_weights = !reduces || index % weights_every == 0;
    progress.Show(index + 1);
    begin.set_step(step);
    absl::Status status = stream.BeginStep(begin);
    if (status.ok() && reducer != nullptr) status = reducer->BeginStep(begin);
    if (status.ok() && !weights.empty()) {
      status = SendFile(
          weights[index], v1::TENSOR_KIND_WEIGHT, 0, declarations,
          {.stream = sends_weights ? &stream : nullptr, .reducer = reduces ? reducer : nullptr});
    }
    for (uint32_t microbatch = 0; microbatch < microbatches && status.ok(); ++microbatch) {
      status = SendFile(files[index * microbatches + microbatch], kind, microbatch, declarations,
                        outlets);
    }
    if (status.ok() && reduces) status = SendSums(!sends_weights, *reducer, stream);
    if (status.ok()) status = stream.EndStep(step);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

void PrintReport(const v1::StepReport& report, Format format, std::ostream& out) {
  if (format == Format::kJson) {
    PrintJson(report, out).IgnoreError();
  } else {
    out << "step " << report.step() << "\n";
    PrintFigures(report.metrics(), report.undefined(), "  ", out);
  }
  // A step at a time, for whoever watches through a pipe.
  out.flush();
}

absl::Status Check(Operands files) {
  const uint32_t microbatches = absl::GetFlag(FLAGS_microbatches);
  if (absl::GetFlag(FLAGS_run).empty() && absl::GetFlag(FLAGS_spec).empty()) {
    return absl::InvalidArgumentError("--run or --spec must name the run");
  }
  const auto kind = Kinds().find(absl::GetFlag(FLAGS_kind));
  if (kind == Kinds().end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--kind=", absl::GetFlag(FLAGS_kind),
                     " is none of gradient, weight, update and activation"));
  }
  if (microbatches == 0 || files.size() % microbatches != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        files.size(), " files do not make whole steps of ", microbatches, " microbatches"));
  }
  if (microbatches != 1 &&
      (kind->second == v1::TENSOR_KIND_WEIGHT || kind->second == v1::TENSOR_KIND_UPDATE)) {
    return absl::InvalidArgumentError("weights and updates have no microbatches");
  }
  const size_t steps = files.size() / microbatches;
  const size_t weights = absl::GetFlag(FLAGS_weights).size();
  if (weights != 0 && weights != steps) {
    return absl::InvalidArgumentError(
        absl::StrCat("--weights names ", weights, " files for ", steps, " steps"));
  }
  if (weights != 0 && kind->second == v1::TENSOR_KIND_WEIGHT) {
    return absl::InvalidArgumentError("--weights and --kind=weight exclude each other");
  }
  return CheckTextOrJson();
}

absl::Status Run(Operands files, Console& console) {
  const v1::TensorKind kind = Kinds().at(absl::GetFlag(FLAGS_kind));
  absl::StatusOr<v1::RunSpec> spec = SpecFromFlags();
  if (!spec.ok()) return spec.status();
  Declarations declarations(*std::move(spec));
  for (const std::string& path : files) {
    if (absl::Status status = DeclareFile(path, kind, declarations, console); !status.ok()) {
      return status;
    }
  }
  for (const std::string& path : absl::GetFlag(FLAGS_weights)) {
    if (absl::Status status = DeclareFile(path, v1::TENSOR_KIND_WEIGHT, declarations, console);
        !status.ok()) {
      return status;
    }
  }

  std::unique_ptr<client::StepReducer> reducer;
  if (absl::GetFlag(FLAGS_statistics)) {
    auto created = client::StepReducer::Create(declarations.spec());
    if (!created.ok()) return created.status();
    reducer = *std::move(created);
  }

  absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = Connect();
  if (!channel.ok()) return channel.status();
  const absl::Duration timeout = absl::GetFlag(FLAGS_timeout);
  client::RunStreamOptions options;
  options.accept_timeout = timeout;
  options.send_timeout = timeout;
  options.affinity = absl::GetFlag(FLAGS_affinity);
  options.on_report = [&console,
                       format = absl::GetFlag(FLAGS_format)](const v1::StepReport& report) {
    PrintReport(report, format, console.out);
  };
  options.on_notice = [&console](const v1::Notice& notice) {
    console.err << "notice: " << notice.text() << "\n";
  };
  absl::StatusOr<std::unique_ptr<client::RunStream>> stream =
      client::RunStream::Open(*std::move(channel), declarations.spec(), std::move(options));
  if (!stream.ok()) return stream.status();
  Progress progress(files.size() / absl::GetFlag(FLAGS_microbatches), console.err);
  if (absl::Status status = SendSteps(files, kind, declarations, reducer.get(), **stream, progress);
      !status.ok()) {
    return status;
  }
  return (*stream)->Finish(timeout);
}

}  // namespace

Command SendCommand() {
  return {
      .name = "send",
      .operands = "FILE...",
      .min_operands = 1,
      .summary = "Replay tensors from files as the steps of a run.",
      .description =
          "Replays a run from files and prints the report of every step. Each .npy or\n"
          ".safetensors file holds the tensors of one microbatch; with --microbatches=M every\n"
          "M files in a row make a step: files 1 to M the microbatches 0 to M-1 of the first\n"
          "step, and so on. A tensor's name in its .safetensors file is the name of its\n"
          "parameter, or with --kind=activation of its layer.",
      .flags = WithConnectionFlags({"run", "spec", "kind", "microbatches", "weights", "tensor_name",
                                    "first_step", "microbatch_size", "learning_rate",
                                    "weight_decay", "statistics", "affinity", "format"}),
      .check = Check,
      .run = Run};
}

}  // namespace thermograd::cli
