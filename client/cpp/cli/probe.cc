#include <string>
#include <utility>

#include "absl/flags/flag.h"
#include "absl/status/statusor.h"
#include "cli/command.h"
#include "cli/connection.h"
#include "thermograd/client/client.h"

ABSL_FLAG(std::string, service, "", "Service to ask for; empty: the server as a whole.");

namespace thermograd::cli {
namespace {

absl::Status Check(Operands) { return absl::OkStatus(); }

absl::Status Run(Operands, Console& console) {
  absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = Connect();
  if (!channel.ok()) return channel.status();
  absl::Status status = client::CheckHealth(*std::move(channel), absl::GetFlag(FLAGS_service),
                                            absl::GetFlag(FLAGS_timeout));
  if (status.ok()) console.out << "serving\n";
  return status;
}

}  // namespace

Command ProbeCommand() {
  return {.name = "probe",
          .operands = "",
          .max_operands = 0,
          .summary = "Ask whether the server serves (grpc.health.v1).",
          .description =
              "Asks the server's health service. Exits with 0 if it serves and 1 if it does not\n"
              "or cannot be reached, as a container's health check wants it.",
          .flags = WithConnectionFlags({"service"}),
          .check = Check,
          .run = Run};
}

}  // namespace thermograd::cli
