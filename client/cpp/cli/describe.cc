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

// What heads the figures of a family in the Markdown.
absl::string_view Heading(v1::MetricFamily family) {
  switch (family) {
    case v1::METRIC_FAMILY_ENTROPIC_FORCE:
      return "Entropic force";
    case v1::METRIC_FAMILY_SYMMETRY_BREAKING:
      return "Symmetry breaking";
    case v1::METRIC_FAMILY_REPRESENTATION_SIMILARITY:
      return "Representation similarity";
    case v1::METRIC_FAMILY_SAMPLING:
      return "Sampling";
    default:
      return "Other";
  }
}

// Prints a metric as a section of a reference page.
void PrintSection(const v1::MetricDescription& metric, std::ostream& out) {
  out << "### `" << metric.name() << "`\n\n" << metric.help() << "\n\n";
  const auto item = [&out](absl::string_view name, const std::string& text,
                           absl::string_view quote) {
    if (!text.empty()) out << "- " << name << ": " << quote << text << quote << "\n";
  };
  item("Unit", metric.unit(), "`");
  item("Range", metric.range(), "`");
  item("Labels", absl::StrJoin(metric.labels(), "`, `"), "`");
  item("Formula", metric.formula(), "`");
  item("Source", metric.citation(), "");
  item("Streamed input", metric.inputs(), "");
  item("Meaning", metric.meaning(), "");
  if (metric.has_error()) item("Error", metric.error(), "");
}

// Prints the catalogue as a reference page, in its own order.
void PrintPage(const v1::DescribeMetricsResponse& catalogue, std::ostream& out) {
  absl::string_view family;
  absl::string_view separator;
  for (const v1::MetricDescription& metric : catalogue.metrics()) {
    if (Heading(metric.family()) != family) {
      family = Heading(metric.family());
      out << separator << "## " << family << "\n";
    }
    out << "\n";
    PrintSection(metric, out);
    separator = "\n";
  }
}

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
              {"meaning", metric.meaning()},
              {"error", metric.error()}},
             "  ", out);
}

absl::Status Print(const v1::DescribeMetricsResponse& catalogue, Format format, std::ostream& out) {
  switch (format) {
    case Format::kText:
      PrintOverview(catalogue, out);
      break;
    case Format::kJson:
      return PrintJson(catalogue, out);
    case Format::kMarkdown:
      PrintPage(catalogue, out);
      break;
  }
  return absl::OkStatus();
}

absl::Status Print(const v1::MetricDescription& metric, Format format, std::ostream& out) {
  switch (format) {
    case Format::kText:
      PrintInFull(metric, out);
      break;
    case Format::kJson:
      return PrintJson(metric, out);
    case Format::kMarkdown:
      PrintSection(metric, out);
      break;
  }
  return absl::OkStatus();
}

absl::Status Check(Operands) { return absl::OkStatus(); }

absl::Status Run(Operands, Console& console) {
  absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = Connect();
  if (!channel.ok()) return channel.status();
  const absl::StatusOr<v1::DescribeMetricsResponse> catalogue =
      client::Describe(*std::move(channel), absl::GetFlag(FLAGS_timeout));
  if (!catalogue.ok()) return catalogue.status();
  const std::string name = absl::GetFlag(FLAGS_metric);
  const Format format = absl::GetFlag(FLAGS_format);
  if (name.empty()) return Print(*catalogue, format, console.out);
  for (const v1::MetricDescription& metric : catalogue->metrics()) {
    if (metric.name() == name) return Print(metric, format, console.out);
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
          .flags = WithConnectionFlags({"format", "metric"}),
          .check = Check,
          .run = Run};
}

}  // namespace thermograd::cli
