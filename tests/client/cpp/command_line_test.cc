#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/reflection.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "cli/command.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cpp/fake_server.h"

namespace thermograd::cli {
namespace {

using client::Accepted;
using client::FakeHandlers;
using client::FakeServer;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::StartsWith;
using Transport = FakeHandlers::RunStreamTransport;

struct Outcome {
  int exit_code;
  std::string out;
  std::string err;
};

Outcome Execute(const std::vector<std::string>& arguments) {
  // Flags are the process's; a real one parses them once.
  const absl::FlagSaver saver;
  std::ostringstream out;
  std::ostringstream err;
  const int exit_code = RunCommandLine(arguments, {out, err});
  return {exit_code, out.str(), err.str()};
}

std::string Write(const std::string& name, absl::string_view content) {
  std::string path = absl::StrCat(::testing::TempDir(), "/command_line_test.", name);
  std::ofstream(path, std::ios::binary) << content;
  return path;
}

std::string WriteNpy(const std::string& name, const std::string& shape,
                     const std::vector<float>& elements) {
  const std::string header =
      absl::StrCat("{'descr': '<f4', 'fortran_order': False, 'shape': ", shape, ", }\n");
  std::string file("\x93NUMPY\x01\x00", 8);
  file += static_cast<char>(header.size());
  file += '\0';
  file += header;
  file.append(reinterpret_cast<const char*>(elements.data()), elements.size() * sizeof(float));
  return Write(name, file);
}

// A .safetensors file of two vectors, "a" of one float and "b" of two, and a counter.
std::string WriteSafetensors(const std::string& name) {
  const std::string header = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                             R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]},)"
                             R"("steps":{"dtype":"I64","shape":[1],"data_offsets":[12,20]}})";
  std::string file(8, '\0');
  file[0] = static_cast<char>(header.size());
  return Write(name, absl::StrCat(file, header, "AAAABBBBBBBBCCCCCCCC"));
}

TEST(CommandLine, SaysThatPythonIsMissing) {
  // Where there is an interpreter the process becomes it: tests/client/python/test_seeing.py.
  setenv("THERMOGRAD_PYTHON", "/nowhere/python", 1);
  const Outcome outcome = Execute({"watch", "--once"});
  unsetenv("THERMOGRAD_PYTHON");
  EXPECT_EQ(outcome.exit_code, kExitFailure);
  EXPECT_EQ(outcome.err,
            "thermograd watch: cannot start /nowhere/python: No such file or directory\n");
}

TEST(CommandLine, ExplainsItself) {
  const Outcome overview = Execute({"--help"});
  EXPECT_EQ(overview.exit_code, kExitSuccess);
  EXPECT_THAT(overview.out, AllOf(HasSubstr("compare"), HasSubstr("describe"), HasSubstr("probe"),
                                  HasSubstr("report"), HasSubstr("send"), HasSubstr("watch")));
  for (const char* const command : {"compare", "describe", "probe", "send"}) {
    const Outcome help = Execute({command, "--help"});
    EXPECT_EQ(help.exit_code, kExitSuccess);
    EXPECT_THAT(help.out, AllOf(HasSubstr(absl::StrCat("Usage: thermograd ", command)),
                                HasSubstr("--address=127.0.0.1:50051")));
    EXPECT_EQ(help.err, "");
  }
}

TEST(CommandLine, AnswersMistakesWithTheirReasonAndExitCode2) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> mistakes = {
      {{}, "a command is missing"},
      {{"fly"}, "there is no command fly"},
      {{"describe", "--colour"}, "unknown flag --colour"},
      {{"describe", "--=1"}, "unknown flag --=1"},
      {{"describe", "-x"}, "unknown flag -x"},
      {{"describe", "--address"}, "--address needs a value"},
      {{"describe", "--timeout=soon"}, "'soon'"},
      {{"describe", "--format=xml"}, "text, json and markdown"},
      {{"describe", "everything"}, "unexpected operand everything"},
      {{"describe", "--run=r"}, "it has no flag --run"},
      {{"probe", "--format=json"}, "it has no flag --format"},
      {{"compare", "x.npy"}, "operands are missing: X Y"},
      {{"compare", "x.npy", "y.npy", "z.npy"}, "unexpected operand z.npy"},
      {{"compare", "x.npy", "y.npy", "--format=markdown"}, "no Markdown"},
      {{"compare", "x.npy", "y.npy", "--similarities=cka,likeness"}, "there is no likeness"},
      {{"send"}, "operands are missing: FILE..."},
      {{"send", "g.npy"}, "--run or --spec must name the run"},
      {{"send", "g.npy", "--run=r", "--kind=loss"}, "--kind=loss is none of"},
      {{"send", "g.npy", "--run=r", "--microbatches=2"}, "do not make whole steps"},
      {{"send", "g.npy", "--run=r", "--microbatches=0"}, "do not make whole steps"},
      {{"send", "g.npy", "--run=r", "--microbatches=-1"}, "'-1'"},
      {{"send", "g.npy", "h.npy", "--run=r", "--microbatches=2", "--kind=update"},
       "have no microbatches"},
      {{"send", "g.npy", "--run=r", "--weights=a.npy,b.npy"}, "names 2 files for 1 steps"},
      {{"send", "g.npy", "--run=r", "--kind=weight", "--weights=a.npy"}, "exclude each other"},
  };
  for (const auto& [arguments, reason] : mistakes) {
    const Outcome outcome = Execute(arguments);
    EXPECT_EQ(outcome.exit_code, kExitUsage) << reason;
    EXPECT_THAT(outcome.err,
                AllOf(StartsWith("thermograd"), HasSubstr(reason), HasSubstr("--help`.\n")));
    EXPECT_EQ(outcome.out, "");
  }
}

TEST(CommandLine, TakesWhatFollowsTwoDashesForOperands) {
  const Outcome outcome = Execute({"compare", "--", "--x.npy", "--y.npy"});
  EXPECT_EQ(outcome.exit_code, kExitFailure);
  EXPECT_THAT(outcome.err, HasSubstr("cannot open --x.npy"));
}

TEST(CommandLine, FailsWhenItsOutputCannotBeWritten) {
  FakeServer server({});
  const absl::FlagSaver saver;
  std::ofstream full("/dev/full");
  std::ostringstream err;
  const std::vector<std::string> arguments = {"probe", "--address", server.address()};
  EXPECT_EQ(RunCommandLine(arguments, {full, err}), kExitFailure);
  EXPECT_THAT(err.str(), HasSubstr("cannot write"));
}

FakeHandlers Catalogue() {
  return {.describe = [](v1::DescribeMetricsResponse& response) {
    v1::MetricDescription& loss = *response.add_metrics();
    loss.set_name("thermograd_loss");
    loss.set_family(v1::METRIC_FAMILY_ENTROPIC_FORCE);
    loss.set_unit("loss");
    loss.set_help("Mean loss.");
    v1::MetricDescription& cka = *response.add_metrics();
    cka.set_name("thermograd_cka_ratio");
    cka.set_family(v1::METRIC_FAMILY_REPRESENTATION_SIMILARITY);
    cka.set_help("Linear CKA.");
    cka.add_labels("layer");
    cka.add_labels("other");
    return grpc::Status::OK;
  }};
}

TEST(DescribeCommand, PrintsTheCatalogue) {
  FakeServer server(Catalogue());
  const Outcome outcome = Execute({"describe", "--address", server.address()});
  EXPECT_EQ(outcome.exit_code, kExitSuccess) << outcome.err;
  EXPECT_EQ(outcome.out,
            "METRIC                UNIT  LABELS       HELP\n"
            "thermograd_loss       loss               Mean loss.\n"
            "thermograd_cka_ratio        layer,other  Linear CKA.\n");
}

TEST(DescribeCommand, PrintsTheCatalogueAsMarkdown) {
  FakeServer server(Catalogue());
  const Outcome outcome = Execute({"describe", "--address", server.address(), "--format=markdown"});
  EXPECT_EQ(outcome.out,
            "## Entropic force\n\n"
            "### `thermograd_loss`\n\n"
            "Mean loss.\n\n"
            "- Unit: `loss`\n\n"
            "## Representation similarity\n\n"
            "### `thermograd_cka_ratio`\n\n"
            "Linear CKA.\n\n"
            "- Labels: `layer`, `other`\n");
}

TEST(DescribeCommand, PrintsOneMetric) {
  FakeServer server(Catalogue());
  const std::string address = absl::StrCat("--address=", server.address());
  EXPECT_THAT(Execute({"describe", address, "--metric=thermograd_cka_ratio"}).out,
              AllOf(StartsWith("thermograd_cka_ratio\n"), HasSubstr("labels    layer, other\n")));
  EXPECT_THAT(Execute({"describe", address, "--metric=thermograd_loss", "--format=json"}).out,
              StartsWith("{\"name\":\"thermograd_loss\""));
  EXPECT_THAT(Execute({"describe", address, "--metric=thermograd_loss", "--format=markdown"}).out,
              StartsWith("### `thermograd_loss`\n"));
  const Outcome unknown = Execute({"describe", address, "--metric=thermograd_joy"});
  EXPECT_EQ(unknown.exit_code, kExitFailure);
  EXPECT_THAT(unknown.err, HasSubstr("the server knows no metric thermograd_joy (NOT_FOUND)"));
}

TEST(ProbeCommand, TellsByItsExitCodeWhetherTheServerServes) {
  FakeServer server({});
  const Outcome serving = Execute({"probe", "--address", server.address()});
  EXPECT_EQ(serving.exit_code, kExitSuccess);
  EXPECT_EQ(serving.out, "serving\n");
  server.SetServing(false);
  const Outcome draining = Execute({"probe", "--address", server.address()});
  EXPECT_EQ(draining.exit_code, kExitFailure);
  EXPECT_EQ(draining.out, "");
  EXPECT_THAT(draining.err, HasSubstr("(UNAVAILABLE)"));
}

class CompareTest : public ::testing::Test {
 protected:
  Outcome Compare(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"compare", "--address", server_.address()});
    return Execute(arguments);
  }

  std::string bytes_;
  FakeServer server_{
      {.compare = [this](grpc::ServerContext&, FakeHandlers::ComparisonReader& reader,
                         v1::CompareRepresentationsResponse& response) {
        v1::CompareRepresentationsRequest request;
        while (reader.Read(&request)) bytes_ += request.chunk().data();
        v1::MetricValue& cka = *response.add_metrics();
        cka.set_name("thermograd_cka_ratio");
        cka.set_value(0.25);
        v1::UndefinedMetric& rank = *response.add_undefined();
        rank.set_name("thermograd_effective_rank");
        rank.set_reason(v1::UNDEFINED_REASON_ZERO_DENOMINATOR);
        v1::Label& label = *rank.add_labels();
        label.set_name("layer");
        label.set_value("x\n\"");
        return grpc::Status::OK;
      }}};
};

TEST_F(CompareTest, SendsTwoFilesAndPrintsTheFigures) {
  const Outcome outcome =
      Compare({WriteNpy("x.npy", "(2, 1)", {1, 2}), WriteSafetensors("y"), "--y_tensor=b"});
  EXPECT_EQ(outcome.exit_code, kExitSuccess) << outcome.err;
  EXPECT_EQ(bytes_, std::string("\x00\x00\x80\x3f\x00\x00\x00\x40"
                                "BBBBBBBB",
                                16));
  EXPECT_EQ(outcome.out,
            "thermograd_cka_ratio                      0.25\n"
            "thermograd_effective_rank{layer=\"x\\n\\\"\"}  undefined: zero denominator\n");
}

TEST_F(CompareTest, PrintsJson) {
  const std::string x = WriteNpy("x.npy", "(2, 1)", {1, 2});
  EXPECT_THAT(Compare({x, x, "--format=json"}).out,
              AllOf(StartsWith("{\"metrics\":[{\"name\":\"thermograd_cka_ratio\""),
                    HasSubstr("\"reason\":\"UNDEFINED_REASON_ZERO_DENOMINATOR\"")));
}

TEST_F(CompareTest, AsksWhichTensorIsMeant) {
  const std::string x = WriteNpy("x.npy", "(2, 1)", {1, 2});
  const std::string y = WriteSafetensors("y");
  const Outcome ambiguous = Compare({x, y});
  EXPECT_EQ(ambiguous.exit_code, kExitFailure);
  EXPECT_THAT(ambiguous.err, HasSubstr("holds 2 tensors; name one with --y_tensor"));
  EXPECT_THAT(Compare({y, x}).err, HasSubstr("name one with --x_tensor"));
  EXPECT_THAT(Compare({x, y, "--y_tensor=steps"}).err,
              HasSubstr("holds no floating-point tensor steps"));
}

TEST_F(CompareTest, FailsOnFilesThatItCannotRead) {
  const Outcome outcome = Compare({Write("text", "not a tensor"), "y.npy"});
  EXPECT_EQ(outcome.exit_code, kExitFailure);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("command_line_test.text: not a readable"),
                                 HasSubstr("(INVALID_ARGUMENT)\n")));
}

class SendTest : public ::testing::Test {
 protected:
  Outcome Send(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"send", "--address", server_.address()});
    return Execute(arguments);
  }

  // A line a message after the first.
  std::vector<std::string> Messages() const {
    std::vector<std::string> lines;
    for (const v1::StreamRunRequest& request : requests_) {
      if (request.has_step_begin()) {
        lines.push_back(absl::StrCat("begin ", request.step_begin().step()));
      } else if (request.has_chunk()) {
        const v1::TensorChunk& chunk = request.chunk();
        lines.push_back(absl::StrCat(v1::TensorKind_Name(chunk.kind()), " ", chunk.tensor_id(), " ",
                                     chunk.microbatch(), " ", chunk.data().size(), " bytes"));
      } else if (request.has_statistics()) {
        lines.push_back(absl::StrCat("statistics of ", request.statistics().parameters_size()));
      } else if (request.has_step_end()) {
        lines.push_back(absl::StrCat("end ", request.step_end().step()));
      }
    }
    return lines;
  }

  const v1::RunSpec& spec() const { return requests_.front().run_spec(); }

  std::vector<v1::StreamRunRequest> requests_;
  grpc::Status status_;
  FakeServer server_{{.stream_run = [this](grpc::ServerContext&, Transport& transport) {
    transport.Write(Accepted());
    v1::StreamRunRequest request;
    while (transport.Read(&request)) {
      requests_.push_back(request);
      if (!request.has_step_end()) continue;
      v1::StreamRunResponse response;
      response.mutable_step_report()->set_step(request.step_end().step());
      v1::MetricValue& loss = *response.mutable_step_report()->add_metrics();
      loss.set_name("thermograd_loss");
      loss.set_value(0);
      transport.Write(response);
      response.mutable_notice()->set_text("take care");
      transport.Write(response);
    }
    return status_;
  }}};
};

TEST_F(SendTest, MakesStepsOfMicrobatchesAndWeights) {
  const std::string gradients = WriteSafetensors("g.safetensors");
  const std::string weights = WriteSafetensors("w.safetensors");
  const Outcome outcome = Send({"--run=r", "--microbatches=2", "--first_step=5",
                                "--microbatch_size=8", "--learning_rate=0.1", "--weight_decay=0.01",
                                absl::StrCat("--weights=", weights, ",", weights), gradients,
                                gradients, gradients, gradients});
  EXPECT_EQ(outcome.exit_code, kExitSuccess) << outcome.err;
  EXPECT_EQ(outcome.out,
            "step 5\n  thermograd_loss  0\n"
            "step 6\n  thermograd_loss  0\n");
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("left out, not floating-point: steps"),
                                 HasSubstr("notice: take care\n")));
  EXPECT_EQ(spec().run(), "r");
  ASSERT_THAT(spec().parameters(), SizeIs(2));
  EXPECT_EQ(spec().parameters(0).name(), "a");
  EXPECT_EQ(spec().parameters(1).name(), "b");
  EXPECT_THAT(spec().parameters(1).shape(), ElementsAre(2));
  EXPECT_THAT(
      Messages(),
      ElementsAre("begin 5", "TENSOR_KIND_WEIGHT 1 0 4 bytes", "TENSOR_KIND_WEIGHT 2 0 8 bytes",
                  "TENSOR_KIND_GRADIENT 1 0 4 bytes", "TENSOR_KIND_GRADIENT 2 0 8 bytes",
                  "TENSOR_KIND_GRADIENT 1 1 4 bytes", "TENSOR_KIND_GRADIENT 2 1 8 bytes", "end 5",
                  "begin 6", "TENSOR_KIND_WEIGHT 1 0 4 bytes", "TENSOR_KIND_WEIGHT 2 0 8 bytes",
                  "TENSOR_KIND_GRADIENT 1 0 4 bytes", "TENSOR_KIND_GRADIENT 2 0 8 bytes",
                  "TENSOR_KIND_GRADIENT 1 1 4 bytes", "TENSOR_KIND_GRADIENT 2 1 8 bytes", "end 6"));
  EXPECT_EQ(requests_[1].step_begin().learning_rate(), 0.1);
  EXPECT_EQ(requests_[1].step_begin().weight_decay(), 0.01);
  EXPECT_EQ(requests_[1].step_begin().microbatch_size(), 8u);
  EXPECT_EQ(requests_[1].step_begin().microbatches(), 2u);
}

TEST_F(SendTest, ReducesToStatistics) {
  const std::string gradients = WriteSafetensors("g.safetensors");
  const Outcome outcome = Send({"--run=r", "--statistics", "--microbatches=2",
                                absl::StrCat("--weights=", gradients, ",", gradients), gradients,
                                gradients, gradients, gradients});
  EXPECT_EQ(outcome.exit_code, kExitSuccess) << outcome.err;
  // The weights of the first step go whole, for the figures that need them so.
  EXPECT_THAT(Messages(), ElementsAre("begin 1", "TENSOR_KIND_WEIGHT 1 0 4 bytes",
                                      "TENSOR_KIND_WEIGHT 2 0 8 bytes", "statistics of 2", "end 1",
                                      "begin 2", "statistics of 2", "end 2"));
  const v1::ParameterStatistics& first = requests_[4].statistics().parameters(1);
  EXPECT_EQ(first.elements(), 2u);
  EXPECT_FALSE(first.has_weight_squared_norm());
  EXPECT_GT(first.gradient_sum_squared_norm(), 0);
  EXPECT_EQ(first.gradient_squared_norm_of_sum(), 2 * first.gradient_sum_squared_norm());
  EXPECT_TRUE(requests_[7].statistics().parameters(1).has_weight_squared_norm());
}

TEST_F(SendTest, DeclaresActivationsAsLayers) {
  const Outcome outcome = Send({"--run=r", "--kind=activation", "--tensor_name=fc1",
                                WriteNpy("a.npy", "(2, 3, 1)", {1, 2, 3, 4, 5, 6})});
  EXPECT_EQ(outcome.exit_code, kExitSuccess) << outcome.err;
  ASSERT_THAT(spec().layers(), SizeIs(1));
  EXPECT_EQ(spec().layers(0).name(), "fc1");
  EXPECT_EQ(spec().layers(0).width(), 3u);
  EXPECT_THAT(Messages(), ElementsAre("begin 1", "TENSOR_KIND_ACTIVATION 1 0 24 bytes", "end 1"));
  const Outcome scalar = Send({"--run=r", "--kind=activation", WriteNpy("s.npy", "()", {1})});
  EXPECT_EQ(scalar.exit_code, kExitFailure);
  EXPECT_THAT(scalar.err, HasSubstr("is a scalar"));
}

TEST_F(SendTest, CompletesTheSpecOfAFile) {
  const std::string spec_file = Write("spec.json", R"({"run": "r", "optimizer":
      {"kind": "OPTIMIZER_KIND_SGD"}, "parameters": [{"id": 9, "name": "b", "shape": [2]}]})");
  const Outcome outcome = Send({"--spec", spec_file, WriteSafetensors("g.safetensors")});
  EXPECT_EQ(outcome.exit_code, kExitSuccess) << outcome.err;
  EXPECT_EQ(spec().optimizer().kind(), v1::OPTIMIZER_KIND_SGD);
  ASSERT_THAT(spec().parameters(), SizeIs(2));
  EXPECT_EQ(spec().parameters(0).id(), 9u);
  EXPECT_EQ(spec().parameters(1).name(), "a");
  EXPECT_EQ(spec().parameters(1).id(), 10u);
}

TEST_F(SendTest, RefusesASpecThatIsNoRunSpec) {
  const std::string gradients = WriteSafetensors("g.safetensors");
  for (const char* const text : {"", "{", "[]", "{\"runn\": 1}"}) {
    const Outcome outcome = Send({"--spec", Write("spec.json", text), gradients});
    EXPECT_EQ(outcome.exit_code, kExitFailure) << text;
    EXPECT_THAT(outcome.err, HasSubstr("is not a RunSpec in JSON")) << text;
  }
}

TEST_F(SendTest, PrintsReportsAsJsonLines) {
  const std::string gradients = WriteSafetensors("g.safetensors");
  EXPECT_EQ(Send({"--run=r", "--format=json", gradients, gradients}).out,
            R"({"step":"1","metrics":[{"name":"thermograd_loss","labels":[],"value":0}],)"
            "\"undefined\":[]}\n"
            R"({"step":"2","metrics":[{"name":"thermograd_loss","labels":[],"value":0}],)"
            "\"undefined\":[]}\n");
}

TEST_F(SendTest, FailsWithTheServersReason) {
  status_ = {grpc::StatusCode::RESOURCE_EXHAUSTED, "max_parameters is 1"};
  const Outcome outcome = Send({"--run=r", WriteSafetensors("g.safetensors")});
  EXPECT_EQ(outcome.exit_code, kExitFailure);
  EXPECT_THAT(outcome.err,
              HasSubstr("thermograd send: max_parameters is 1 (RESOURCE_EXHAUSTED)\n"));
}

}  // namespace
}  // namespace thermograd::cli
