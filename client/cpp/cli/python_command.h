#ifndef THERMOGRAD_CLIENT_CLI_PYTHON_COMMAND_H_
#define THERMOGRAD_CLIENT_CLI_PYTHON_COMMAND_H_

#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "cli/command.h"

namespace thermograd::cli {

// A command that the Python package has.
struct PythonCommand {
  // Word that selects it.
  absl::string_view name;
  // One line for the list of commands.
  absl::string_view summary;
};

// Those commands, in the order of the list.
absl::Span<const PythonCommand> PythonCommands();

// True where the first argument is one of them.
bool IsPythonCommand(absl::Span<const std::string> arguments);

// Becomes the Python package's command of these arguments, in the interpreter that the
// environment's THERMOGRAD_PYTHON names, or python3. Returns, with the exit code, only where there
// is none.
int BecomePythonCommand(absl::Span<const std::string> arguments, Console console);

}  // namespace thermograd::cli

#endif  // THERMOGRAD_CLIENT_CLI_PYTHON_COMMAND_H_
