// Command lines of `thermograd`, one argument a line: they are parsed, refused or explained, and
// every command checks its flags and operands; none is carried out.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include "absl/flags/reflection.h"
#include "absl/strings/str_split.h"
#include "cli/command.h"
#include "cli/python_command.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using thermograd::cli::Command;
  using thermograd::cli::IsPythonCommand;
  using thermograd::cli::kExitSuccess;
  using thermograd::cli::kExitUsage;
  using thermograd::cli::RunCommandLine;
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  const std::vector<std::string> words = absl::StrSplit(text, '\n');
  // Would become another program.
  if (IsPythonCommand(words)) return 0;
  std::vector<std::string> arguments = {"--help"};
  arguments.insert(arguments.end(), words.begin(), words.end());
  const absl::FlagSaver flags_as_they_were;
  std::ostringstream out;
  std::ostringstream err;
  const int code = RunCommandLine(arguments, {.out = out, .err = err});
  // Either it is explained, or said what is wrong.
  if (code != kExitSuccess && code != kExitUsage) std::abort();
  if (out.str().empty() != (code == kExitUsage)) std::abort();
  if (err.str().empty() != (code == kExitSuccess)) std::abort();
  for (const Command& command :
       {thermograd::cli::CadenceCommand(), thermograd::cli::CompareCommand(),
        thermograd::cli::DescribeCommand(), thermograd::cli::ProbeCommand(),
        thermograd::cli::SendCommand()}) {
    // Checks come after the number of operands is right.
    if (words.size() < command.min_operands || words.size() > command.max_operands) continue;
    const absl::Status status = command.check(words);
    if (!status.ok() && !absl::IsInvalidArgument(status)) std::abort();
  }
  return 0;
}
