#ifndef THERMOGRAD_TESTS_BENCHMARK_SERVER_PROCESS_H_
#define THERMOGRAD_TESTS_BENCHMARK_SERVER_PROCESS_H_

#include <sys/types.h>

#include <string>
#include <vector>

namespace thermograd {

/// Keeps this process, which is the client, off the machine's first core where there are others.
void LeaveFirstCore();

/// A server in a process of its own, pinned to the machine's first core, so that throughput is that
/// of one core and processor time is the server's alone. Aborts if it cannot be started.
class ServerProcess {
 public:
  /// Runs `command` (a program and its arguments) and waits for the log line that says where it
  /// listens: `"grpc":"HOST:PORT"`.
  explicit ServerProcess(std::vector<std::string> command);
  ~ServerProcess();

  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  const std::string& address() const { return address_; }

  /// Processor time that the process has used so far.
  double CpuSeconds() const;

  /// The most physical memory that the process has had.
  double PeakBytes() const;

 private:
  pid_t process_;
  int log_;
  std::string address_;
};

}  // namespace thermograd

#endif  // THERMOGRAD_TESTS_BENCHMARK_SERVER_PROCESS_H_
