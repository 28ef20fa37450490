#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "cli/command.h"
#include "cli/connection.h"
#include "cli/render.h"
#include "thermograd/client/client.h"

ABSL_FLAG(std::string, x_tensor, "", "Tensor of X, if its file holds several.");
ABSL_FLAG(std::string, y_tensor, "", "Tensor of Y, if its file holds several.");

namespace thermograd::cli {
namespace {

// The tensor that `flag` names; of any name if it names none and there is no choice.
absl::StatusOr<client::TensorView> Choose(const client::TensorFile& file, const std::string& path,
                                          const absl::Flag<std::string>& flag) {
  const std::vector<client::NamedTensor>& tensors = file.contents.tensors;
  const std::string name = absl::GetFlag(flag);
  if (name.empty()) {
    if (tensors.size() == 1) return tensors.front().tensor;
    if (tensors.empty()) {
      return absl::NotFoundError(absl::StrCat(path, " holds no floating-point tensor"));
    }
    return absl::InvalidArgumentError(
        absl::StrCat(path, " holds ", tensors.size(), " tensors; name one with --", flag.Name()));
  }
  for (const client::NamedTensor& tensor : tensors) {
    if (tensor.name == name) return tensor.tensor;
  }
  return absl::NotFoundError(absl::StrCat(path, " holds no floating-point tensor ", name));
}

absl::Status Check(Operands) { return CheckTextOrJson(); }

absl::Status Run(Operands operands, Console& console) {
  const absl::StatusOr<client::TensorFile> x_file = client::OpenTensorFile(operands[0]);
  if (!x_file.ok()) return x_file.status();
  const absl::StatusOr<client::TensorFile> y_file = client::OpenTensorFile(operands[1]);
  if (!y_file.ok()) return y_file.status();
  const absl::StatusOr<client::TensorView> x = Choose(*x_file, operands[0], FLAGS_x_tensor);
  if (!x.ok()) return x.status();
  const absl::StatusOr<client::TensorView> y = Choose(*y_file, operands[1], FLAGS_y_tensor);
  if (!y.ok()) return y.status();

  absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = Connect();
  if (!channel.ok()) return channel.status();
  client::CompareOptions options;
  options.timeout = absl::GetFlag(FLAGS_timeout);
  const absl::StatusOr<v1::CompareRepresentationsResponse> response =
      client::Compare(*std::move(channel), {*x, ""}, {*y, ""}, options);
  if (!response.ok()) return response.status();
  if (absl::GetFlag(FLAGS_format) == Format::kJson) return PrintJson(*response, console.out);
  PrintFigures(response->metrics(), response->undefined(), "", console.out);
  return absl::OkStatus();
}

}  // namespace

Command CompareCommand() {
  return {.name = "compare",
          .operands = "X Y",
          .min_operands = 2,
          .max_operands = 2,
          .summary = "Compare two matrices of representations.",
          .description =
              "Sends two matrices of representations, one sample a row, and prints how similar\n"
              "they are. X and Y are .npy or .safetensors files of float16, bfloat16, float32 or\n"
              "float64; dimensions after the first are flattened into features.",
          .flags = {"address", "tls_ca_file", "timeout", "format", "x_tensor", "y_tensor"},
          .check = Check,
          .run = Run};
}

}  // namespace thermograd::cli
