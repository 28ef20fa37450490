#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/command.h"
#include "cli/connection.h"
#include "cli/render.h"
#include "thermograd/client/client.h"

ABSL_FLAG(std::string, metric, "", "Describe only this metric, in full.");

namespace thermograd::cli {
namespace {

void PrintOverview(const v1::DescribeMetricsResponse& catalogue, std::ostream& out) {
  std::vector<std::vector<std::string>> rows = {{"METRIC", "UNIT", "LABELS", "HELP"}};
  for (const v1::MetricDescription& metric : catalogue.metrics()) {
    rows.push_back(
        {metric.name(), metric.unit(), absl::StrJoin(metric.labels(), ","), metric.help()});
  }
  PrintTable(rows, "", out);
}

void PrintInFull(const v1::MetricDescription& metric, std::ostream& out) {
  out << metric.name() << "\n";
  PrintTable({{"help", metric.help()},
              {"unit", metric.unit()},
              {"range", metric.range()},
              {"labels", absl::StrJoin(metric.labels(), ", ")},
              {"formula", metric.formula()},
              {"citation", metric.citation()},
              {"inputs", metric.inputs()},
              {"meaning", metric.meaning()}},
             "  ", out);
}

absl::Status Check(Operands) { return absl::OkStatus(); }

absl::Status Run(Operands, Console& console) {
  absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = Connect();
  if (!channel.ok()) return channel.status();
  const absl::StatusOr<v1::DescribeMetricsResponse> catalogue =
      client::Describe(*std::move(channel), absl::GetFlag(FLAGS_timeout));
  if (!catalogue.ok()) return catalogue.status();
  const std::string name = absl::GetFlag(FLAGS_metric);
  const bool json = absl::GetFlag(FLAGS_json);
  if (name.empty()) {
    if (json) return PrintJson(*catalogue, console.out);
    PrintOverview(*catalogue, console.out);
    return absl::OkStatus();
  }
  for (const v1::MetricDescription& metric : catalogue->metrics()) {
    if (metric.name() != name) continue;
    if (json) return PrintJson(metric, console.out);
    PrintInFull(metric, console.out);
    return absl::OkStatus();
  }
  return absl::NotFoundError(absl::StrCat("the server knows no metric ", name));
}

}  // namespace

Command DescribeCommand() {
  return {.name = "describe",
          .operands = "",
          .max_operands = 0,
          .summary = "Print the catalogue of metrics.",
          .description =
              "Prints every metric that the server knows, or one in full: unit, range, formula,\n"
              "citation, what must be streamed for it and how to read it.",
          .flags = {"address", "tls_ca_file", "timeout", "json", "metric"},
          .check = Check,
          .run = Run};
}

}  // namespace thermograd::cli
