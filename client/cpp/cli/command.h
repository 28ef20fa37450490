#ifndef THERMOGRAD_CLIENT_CLI_COMMAND_H_
#define THERMOGRAD_CLIENT_CLI_COMMAND_H_

#include <cstddef>
#include <limits>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace thermograd::cli {

// What the process exits with.
inline constexpr int kExitSuccess = 0;
inline constexpr int kExitFailure = 1;
inline constexpr int kExitUsage = 2;

// Where a command writes.
struct Console {
  std::ostream& out;
  std::ostream& err;
};

using Operands = absl::Span<const std::string>;

// One of the things that `thermograd` can do.
struct Command {
  // Word that selects it.
  absl::string_view name;
  // Its operands, as the synopsis shows them.
  absl::string_view operands;
  size_t min_operands = 0;
  size_t max_operands = std::numeric_limits<size_t>::max();
  // One line for the list of commands.
  absl::string_view summary;
  // Text of its own help page.
  absl::string_view description;
  // Names of the flags it obeys; any other flag is a usage error.
  std::vector<absl::string_view> flags;
  // Finds mistakes in flags and operands before anything is done.
  absl::Status (*check)(Operands);
  // Does the work; the flags are set.
  absl::Status (*run)(Operands, Console&);
};

// The commands; each lives in the file of its name.
Command CadenceCommand();
Command CompareCommand();
Command DescribeCommand();
Command ProbeCommand();
Command SendCommand();

// Does what the arguments (without the program's name) ask for and returns the exit code.
int RunCommandLine(absl::Span<const std::string> arguments, Console console);

}  // namespace thermograd::cli

#endif  // THERMOGRAD_CLIENT_CLI_COMMAND_H_
