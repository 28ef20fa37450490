#ifndef THERMOGRAD_CLIENT_CLI_RENDER_H_
#define THERMOGRAD_CLIENT_CLI_RENDER_H_

#include <ostream>
#include <string>
#include <vector>

#include "absl/flags/declare.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "thermograd/v1/report.pb.h"

namespace thermograd::cli {

// How an answer is printed.
enum class Format { kText, kJson, kMarkdown };

bool AbslParseFlag(absl::string_view text, Format* format, std::string* error);
std::string AbslUnparseFlag(Format format);

}  // namespace thermograd::cli

// Flag of every command that prints an answer.
ABSL_DECLARE_FLAG(thermograd::cli::Format, format);

namespace thermograd::cli {

// OK if --format is one of the two that every answer can be printed in: text and JSON.
absl::Status CheckTextOrJson();

// Prints rows in columns wide enough for their longest cell; the last column is as long as it is.
void PrintTable(const std::vector<std::vector<std::string>>& rows, absl::string_view indent,
                std::ostream& out);

// Prints one row a figure: the series as Prometheus writes it, then its value or why it has none.
void PrintFigures(const google::protobuf::RepeatedPtrField<v1::MetricValue>& metrics,
                  const google::protobuf::RepeatedPtrField<v1::UndefinedMetric>& undefined,
                  absl::string_view indent, std::ostream& out);

// Prints a message in protobuf's JSON mapping with the field names of the contract, on one line.
absl::Status PrintJson(const google::protobuf::Message& message, std::ostream& out);

}  // namespace thermograd::cli

#endif  // THERMOGRAD_CLIENT_CLI_RENDER_H_
