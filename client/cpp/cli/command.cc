#include "cli/command.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/flags/commandlineflag.h"
#include "absl/flags/reflection.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "cli/python_command.h"

// Abseil's own flag parser knows no commands, takes every flag for every command and exits with 1
// for a mistake as well as for --help. So the arguments are read here, and only the flags
// themselves are Abseil's.

namespace thermograd::cli {
namespace {

struct Arguments {
  bool help = false;
  std::vector<std::string> operands;
  std::vector<std::string> flags;
};

// Sets the flags and collects the rest.
absl::StatusOr<Arguments> Parse(absl::Span<const std::string> arguments) {
  Arguments parsed;
  for (size_t i = 0; i < arguments.size(); ++i) {
    absl::string_view argument = arguments[i];
    if (argument == "--") {
      parsed.operands.insert(parsed.operands.end(),
                             arguments.begin() + static_cast<ptrdiff_t>(i) + 1, arguments.end());
      break;
    }
    if (argument == "-h" || argument == "--help") {
      parsed.help = true;
      continue;
    }
    if (!absl::ConsumePrefix(&argument, "--")) {
      if (argument.size() > 1 && argument.front() == '-') {
        return absl::InvalidArgumentError(absl::StrCat("unknown flag ", argument));
      }
      parsed.operands.emplace_back(argument);
      continue;
    }
    const size_t equals = argument.find('=');
    absl::string_view name = argument.substr(0, equals);
    absl::CommandLineFlag* flag = absl::FindCommandLineFlag(name);
    bool negated = false;
    if (flag == nullptr && equals == absl::string_view::npos && absl::ConsumePrefix(&name, "no")) {
      flag = absl::FindCommandLineFlag(name);
      negated = flag != nullptr && flag->IsOfType<bool>();
      if (!negated) flag = nullptr;
    }
    if (flag == nullptr)
      return absl::InvalidArgumentError(absl::StrCat("unknown flag --", argument));
    absl::string_view value;
    if (equals != absl::string_view::npos) {
      value = argument.substr(equals + 1);
    } else if (flag->IsOfType<bool>()) {
      value = negated ? "false" : "true";
    } else if (++i < arguments.size()) {
      value = arguments[i];
    } else {
      return absl::InvalidArgumentError(absl::StrCat("--", name, " needs a value"));
    }
    std::string error;
    if (!flag->ParseFrom(value, &error)) return absl::InvalidArgumentError(error);
    parsed.flags.emplace_back(flag->Name());
  }
  return parsed;
}

// Text shared by all help pages.
constexpr absl::string_view kExitCodes = "Exit code: 0 success, 1 failure, 2 wrong usage.\n";

void PrintOverview(absl::Span<const Command> commands, std::ostream& out) {
  out << "Usage: thermograd COMMAND [FLAG]... [OPERAND]...\n\n"
         "Talks to a Thermograd server, which analyses the training of neural networks.\n\n"
         "Commands:\n";
  std::map<absl::string_view, absl::string_view> summaries;
  for (const Command& command : commands) summaries.emplace(command.name, command.summary);
  for (const PythonCommand& command : PythonCommands()) {
    summaries.emplace(command.name, command.summary);
  }
  for (const auto& [name, summary] : summaries) {
    out << "  " << name << std::string(10 - std::min<size_t>(name.size(), 9), ' ') << summary
        << "\n";
  }
  out << "\n`thermograd COMMAND --help` tells more about a command.\n" << kExitCodes;
}

void PrintHelp(const Command& command, std::ostream& out) {
  out << "Usage: thermograd " << command.name << " [FLAG]..."
      << (command.operands.empty() ? "" : " ") << command.operands << "\n\n"
      << command.description << "\n\nFlags:\n";
  for (const absl::string_view name : command.flags) {
    const absl::CommandLineFlag* flag = absl::FindCommandLineFlag(name);
    const std::string value = flag->DefaultValue();
    out << "  --" << name;
    if (!flag->IsOfType<bool>()) out << "=" << (value.empty() ? "\"\"" : value);
    out << "\n      " << flag->Help() << "\n";
  }
  out << "\n" << kExitCodes;
}

absl::Status CheckUsage(const Command& command, const Arguments& arguments, Operands operands) {
  for (const std::string& flag : arguments.flags) {
    if (std::find(command.flags.begin(), command.flags.end(), flag) == command.flags.end()) {
      return absl::InvalidArgumentError(absl::StrCat("it has no flag --", flag));
    }
  }
  if (operands.size() < command.min_operands) {
    return absl::InvalidArgumentError(absl::StrCat("operands are missing: ", command.operands));
  }
  if (operands.size() > command.max_operands) {
    return absl::InvalidArgumentError(
        absl::StrCat("unexpected operand ", operands[command.max_operands]));
  }
  return command.check(operands);
}

}  // namespace

int RunCommandLine(absl::Span<const std::string> arguments, Console console) {
  const std::vector<Command> commands = {CadenceCommand(), CompareCommand(), DescribeCommand(),
                                         ProbeCommand(), SendCommand()};
  const auto refuse = [&console](absl::string_view who, absl::string_view why) {
    console.err << who << ": " << why << "\nTry `" << who << " --help`.\n";
    return kExitUsage;
  };
  // Their flags are Python's.
  if (IsPythonCommand(arguments)) return BecomePythonCommand(arguments, console);
  const absl::StatusOr<Arguments> parsed = Parse(arguments);
  if (!parsed.ok()) return refuse("thermograd", parsed.status().message());
  if (parsed->operands.empty()) {
    if (!parsed->help) return refuse("thermograd", "a command is missing");
    PrintOverview(commands, console.out);
    return kExitSuccess;
  }
  const std::string& word = parsed->operands.front();
  const auto command = std::find_if(commands.begin(), commands.end(),
                                    [&word](const Command& c) { return c.name == word; });
  if (command == commands.end()) {
    return refuse("thermograd", absl::StrCat("there is no command ", word));
  }
  if (parsed->help) {
    PrintHelp(*command, console.out);
    return kExitSuccess;
  }
  const std::string program = absl::StrCat("thermograd ", command->name);
  const Operands operands = Operands(parsed->operands).subspan(1);
  if (absl::Status usage = CheckUsage(*command, *parsed, operands); !usage.ok()) {
    return refuse(program, usage.message());
  }
  if (absl::Status status = command->run(operands, console); !status.ok()) {
    console.err << program << ": " << status.message() << " ("
                << absl::StatusCodeToString(status.code()) << ")\n";
    return kExitFailure;
  }
  // A full disk shows only now.
  if (!console.out.flush()) {
    console.err << program << ": cannot write the output\n";
    return kExitFailure;
  }
  return kExitSuccess;
}

}  // namespace thermograd::cli
