#include "cli/render.h"

#include <algorithm>
#include <cstddef>

#include "absl/flags/flag.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "google/protobuf/util/json_util.h"

ABSL_FLAG(thermograd::cli::Format, format, thermograd::cli::Format::kText,
          "text, json (one object a line) or markdown (the catalogue of metrics only).");

namespace thermograd::cli {
namespace {

std::string Series(absl::string_view name,
                   const google::protobuf::RepeatedPtrField<v1::Label>& labels) {
  std::string series(name);
  absl::string_view separator = "{";
  for (const v1::Label& label : labels) {
    // Escaped for the terminal too: label values are somebody else's text.
    absl::StrAppend(&series, separator, label.name(), "=\"", absl::Utf8SafeCEscape(label.value()),
                    "\"");
    separator = ",";
  }
  if (!labels.empty()) series += '}';
  return series;
}

std::string Explain(v1::UndefinedReason reason) {
  std::string name = v1::UndefinedReason_Name(reason);
  if (name.empty()) return absl::StrCat("undefined: reason ", static_cast<int>(reason));
  const absl::string_view words = absl::StripPrefix(name, "UNDEFINED_REASON_");
  return absl::StrCat("undefined: ",
                      absl::StrReplaceAll(absl::AsciiStrToLower(words), {{"_", " "}}));
}

}  // namespace

bool AbslParseFlag(absl::string_view text, Format* format, std::string* error) {
  for (const Format candidate : {Format::kText, Format::kJson, Format::kMarkdown}) {
    if (text != AbslUnparseFlag(candidate)) continue;
    *format = candidate;
    return true;
  }
  *error = "it is one of text, json and markdown";
  return false;
}

std::string AbslUnparseFlag(Format format) {
  switch (format) {
    case Format::kText:
      return "text";
    case Format::kJson:
      return "json";
    case Format::kMarkdown:
      return "markdown";
  }
  return "";
}

absl::Status CheckTextOrJson() {
  if (absl::GetFlag(FLAGS_format) != Format::kMarkdown) return absl::OkStatus();
  return absl::InvalidArgumentError("it prints text or JSON, no Markdown");
}

void PrintTable(const std::vector<std::vector<std::string>>& rows, absl::string_view indent,
                std::ostream& out) {
  std::vector<size_t> widths;
  for (const std::vector<std::string>& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const std::vector<std::string>& row : rows) {
    std::string line(indent);
    for (size_t i = 0; i + 1 < row.size(); ++i) {
      absl::StrAppendFormat(&line, "%-*s  ", static_cast<int>(widths[i]), row[i]);
    }
    if (!row.empty()) line += row.back();
    out << line << "\n";
  }
}

void PrintFigures(const google::protobuf::RepeatedPtrField<v1::MetricValue>& metrics,
                  const google::protobuf::RepeatedPtrField<v1::UndefinedMetric>& undefined,
                  absl::string_view indent, std::ostream& out) {
  std::vector<std::vector<std::string>> rows;
  for (const v1::MetricValue& metric : metrics) {
    rows.push_back(
        {Series(metric.name(), metric.labels()), absl::StrFormat("%.6g", metric.value())});
  }
  for (const v1::UndefinedMetric& metric : undefined) {
    rows.push_back({Series(metric.name(), metric.labels()), Explain(metric.reason())});
  }
  PrintTable(rows, indent, out);
}

absl::Status PrintJson(const google::protobuf::Message& message, std::ostream& out) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  // A figure of zero is a figure.
  options.always_print_primitive_fields = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  if (!status.ok()) return absl::InternalError(status.message().as_string());
  out << json << "\n";
  return absl::OkStatus();
}

}  // namespace thermograd::cli
