#include "tests/benchmark/server_process.h"

#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

namespace thermograd {
namespace {

constexpr char kAddressField[] = "\"grpc\":\"";

[[noreturn]] void Fail(const char* what) {
  std::perror(what);
  std::abort();
}

}  // namespace

void LeaveFirstCore() {
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof(cores), &cores) != 0) Fail("sched_getaffinity");
  CPU_CLR(0, &cores);
  if (CPU_COUNT(&cores) > 0) sched_setaffinity(0, sizeof(cores), &cores);
}

ServerProcess::ServerProcess(std::vector<std::string> command) {
  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (std::string& argument : command) arguments.push_back(argument.data());
  arguments.push_back(nullptr);
  int log[2];
  if (pipe(log) != 0) Fail("pipe");
  process_ = fork();
  if (process_ < 0) Fail("fork");
  if (process_ == 0) {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(0, &cores);
    sched_setaffinity(0, sizeof(cores), &cores);
    dup2(log[1], STDERR_FILENO);
    execv(arguments[0], arguments.data());
    _exit(127);
  }
  close(log[1]);
  // Kept open: a server whose log has no reader would fail to write its last line.
  log_ = log[0];
  std::string text;
  char byte;
  while (read(log_, &byte, 1) == 1 && byte != '\n') text += byte;
  const size_t begin = text.find(kAddressField);
  if (begin == std::string::npos) {
    std::fprintf(stderr, "%s did not start: %s\n", arguments[0], text.c_str());
    std::abort();
  }
  const size_t address = begin + sizeof(kAddressField) - 1;
  address_ = text.substr(address, text.find('"', address) - address);
}

ServerProcess::~ServerProcess() {
  kill(process_, SIGTERM);
  waitpid(process_, nullptr, 0);
  close(log_);
}

double ServerProcess::CpuSeconds() const {
  clockid_t clock;
  timespec time;
  if (clock_getcpuclockid(process_, &clock) != 0 || clock_gettime(clock, &time) != 0) {
    Fail("processor time of the server");
  }
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double ServerProcess::PeakBytes() const {
  std::ifstream status("/proc/" + std::to_string(process_) + "/status");
  std::string field;
  double kibibytes = 0;
  while (status >> field) {
    if (field == "VmHWM:" && status >> kibibytes) return kibibytes * 1024;
  }
  Fail("memory of the server");
}

}  // namespace thermograd
