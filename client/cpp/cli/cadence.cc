#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"
#include "cli/command.h"
#include "cli/connection.h"
#include "google/protobuf/util/json_util.h"
#include "thermograd/client/client.h"

ABSL_FLAG(std::string, file, "", "JSON file of a thermograd.v1.Cadence; other flags go beyond it.");
ABSL_FLAG(absl::optional<uint32_t>, every, absl::nullopt, "Stream every n-th step.");
ABSL_FLAG(absl::optional<uint64_t>, from_step, absl::nullopt, "Stream no step before this one.");
ABSL_FLAG(absl::optional<uint64_t>, to_step, absl::nullopt, "Stream no step after this one.");
ABSL_FLAG(absl::optional<std::string>, include, absl::nullopt,
          "Regular expression: stream only parameters in whose name it is found.");
ABSL_FLAG(absl::optional<std::string>, exclude, absl::nullopt,
          "Regular expression: do not stream parameters in whose name it is found.");
ABSL_FLAG(absl::optional<std::vector<std::string>>, layers, absl::nullopt,
          "Layers whose activations are streamed, comma-separated.");

namespace thermograd::cli {
namespace {

absl::StatusOr<v1::Cadence> CadenceFromFlags() {
  v1::Cadence cadence;
  if (const std::string path = absl::GetFlag(FLAGS_file); !path.empty()) {
    const absl::StatusOr<client::MappedFile> file = client::MappedFile::Open(path);
    if (!file.ok()) return file.status();
    const auto status = google::protobuf::util::JsonStringToMessage(
        google::protobuf::StringPiece(file->bytes().data(), file->bytes().size()), &cadence);
    if (!status.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, " is not a Cadence in JSON: ", status.message().as_string()));
    }
  }
  if (const auto every = absl::GetFlag(FLAGS_every)) cadence.set_every_steps(*every);
  if (const auto step = absl::GetFlag(FLAGS_from_step)) cadence.set_first_step(*step);
  if (const auto step = absl::GetFlag(FLAGS_to_step)) cadence.set_last_step(*step);
  if (const auto pattern = absl::GetFlag(FLAGS_include)) cadence.set_include(*pattern);
  if (const auto pattern = absl::GetFlag(FLAGS_exclude)) cadence.set_exclude(*pattern);
  if (const auto layers = absl::GetFlag(FLAGS_layers)) {
    cadence.mutable_layers()->mutable_names()->Assign(layers->begin(), layers->end());
  }
  return cadence;
}

absl::Status Check(Operands) { return absl::OkStatus(); }

absl::Status Run(Operands operands, Console& console) {
  const absl::StatusOr<v1::Cadence> cadence = CadenceFromFlags();
  if (!cadence.ok()) return cadence.status();
  absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = Connect();
  if (!channel.ok()) return channel.status();
  const absl::StatusOr<uint32_t> streams =
      client::SetCadence(*std::move(channel), operands.front(), *cadence,
                         absl::GetFlag(FLAGS_timeout), absl::GetFlag(FLAGS_affinity));
  if (!streams.ok()) return streams.status();
  console.out << "asked " << *streams << (*streams == 1 ? " stream\n" : " streams\n");
  return absl::OkStatus();
}

}  // namespace

Command CadenceCommand() {
  return {.name = "cadence",
          .operands = "RUN",
          .min_operands = 1,
          .max_operands = 1,
          .summary = "Change what a live run streams.",
          .description =
              "Asks the trainers of a live run to stream other steps, parameters or layers from\n"
              "the next step on. What no flag names stays as it is.",
          .flags = WithConnectionFlags({"file", "every", "from_step", "to_step", "include",
                                        "exclude", "layers", "affinity"}),
          .check = Check,
          .run = Run};
}

}  // namespace thermograd::cli
