#include <iostream>
#include <string>
#include <vector>

#include "cli/command.h"

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  return thermograd::cli::RunCommandLine(arguments, {std::cout, std::cerr});
}
