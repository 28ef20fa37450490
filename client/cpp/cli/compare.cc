#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "cli/command.h"
#include "cli/connection.h"
#include "cli/render.h"
#include "thermograd/client/client.h"

ABSL_FLAG(std::string, x_tensor, "", "Tensor of X, if its file holds several.");
ABSL_FLAG(std::string, y_tensor, "", "Tensor of Y, if its file holds several.");
ABSL_FLAG(std::vector<std::string>, similarities, {},
          "What to compute, separated by commas: cka, cka_unbiased, cka_rbf, cka_rbf_unbiased, "
          "cka_calibrated, mutual_neighbours, cknna, cca, svcca, pwcca, procrustes, rsa, or all. "
          "None: those that are cheap.");
ABSL_FLAG(uint32_t, neighbours, 0, "k of mutual_neighbours and cknna; 0: 10.");
ABSL_FLAG(uint32_t, permutations, 0, "Permutations of cka_calibrated; 0: 199.");
ABSL_FLAG(double, rbf_bandwidth_fraction, 0,
          "Bandwidth of cka_rbf as a part of the median distance; 0: 0.5.");
ABSL_FLAG(double, svcca_variance_fraction, 0, "Part of the variance that svcca keeps; 0: 0.99.");
ABSL_FLAG(double, cca_ridge, 0, "Ridge of cca as a part of the largest variance.");

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

absl::StatusOr<v1::SimilarityOptions> Similarity() {
  v1::SimilarityOptions options;
  for (const std::string& name : absl::GetFlag(FLAGS_similarities)) {
    v1::Similarity similarity = v1::SIMILARITY_UNSPECIFIED;
    if (name == "all") {
      for (int value = v1::Similarity_MIN; value <= v1::Similarity_MAX; ++value) {
        if (v1::Similarity_IsValid(value) && value != v1::SIMILARITY_UNSPECIFIED) {
          options.add_similarities(static_cast<v1::Similarity>(value));
        }
      }
    } else if (v1::Similarity_Parse(absl::StrCat("SIMILARITY_", absl::AsciiStrToUpper(name)),
                                    &similarity) &&
               similarity != v1::SIMILARITY_UNSPECIFIED) {
      options.add_similarities(similarity);
    } else {
      return absl::InvalidArgumentError(absl::StrCat("--similarities: there is no ", name));
    }
  }
  options.set_neighbours(absl::GetFlag(FLAGS_neighbours));
  options.set_permutations(absl::GetFlag(FLAGS_permutations));
  options.set_rbf_bandwidth_fraction(absl::GetFlag(FLAGS_rbf_bandwidth_fraction));
  options.set_svcca_variance_fraction(absl::GetFlag(FLAGS_svcca_variance_fraction));
  options.set_cca_ridge(absl::GetFlag(FLAGS_cca_ridge));
  return options;
}

absl::Status Check(Operands) {
  if (absl::Status status = Similarity().status(); !status.ok()) return status;
  return CheckTextOrJson();
}

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
  options.similarity = *Similarity();
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
          .flags = WithConnectionFlags({"format", "x_tensor", "y_tensor", "similarities",
                                        "neighbours", "permutations", "rbf_bandwidth_fraction",
                                        "svcca_variance_fraction", "cca_ridge"}),
          .check = Check,
          .run = Run};
}

}  // namespace thermograd::cli
