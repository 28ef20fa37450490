#include "cli/python_command.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace thermograd::cli {
namespace {

constexpr PythonCommand kCommands[] = {
    {"report", "Write an HTML page about a run (needs the Python package)."},
    {"watch", "Show live runs in the terminal (needs the Python package)."},
};

// Says in one line what is missing, where Python would show a traceback.
constexpr char kProgram[] = R"(import sys
try:
    from thermograd.command_line import main
except ModuleNotFoundError as error:
    sys.exit(f"thermograd {sys.argv[1]}: {sys.executable} has no module {error.name}: "
             "pip install 'thermograd[seeing]', or let THERMOGRAD_PYTHON name the interpreter "
             "that has it")
sys.exit(main(sys.argv[1:]))
)";

}  // namespace

absl::Span<const PythonCommand> PythonCommands() { return kCommands; }

bool IsPythonCommand(absl::Span<const std::string> arguments) {
  return !arguments.empty() &&
         std::any_of(std::begin(kCommands), std::end(kCommands),
                     [&](const PythonCommand& command) { return command.name == arguments[0]; });
}

int BecomePythonCommand(absl::Span<const std::string> arguments, Console console) {
  const char* const chosen = std::getenv("THERMOGRAD_PYTHON");
  std::vector<std::string> words = {chosen == nullptr ? "python3" : chosen, "-c", kProgram};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  execvp(pointers[0], pointers.data());
  console.err << "thermograd " << arguments[0] << ": cannot start " << words[0] << ": "
              << std::strerror(errno) << "\n";
  return kExitFailure;
}

}  // namespace thermograd::cli
