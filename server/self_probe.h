#ifndef THERMOGRAD_SELF_PROBE_H_
#define THERMOGRAD_SELF_PROBE_H_

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace thermograd {

/// Whether a gRPC server answers on host:port: it sends anything, or closes the connection, after
/// the beginning of an HTTP/2 conversation. That the connection can be made says nothing: the
/// system makes it for a listener that is dead. A server with TLS refuses what it gets, which is an
/// answer too. Waits for `timeout` at most.
bool Answers(const std::string& host, int port, std::chrono::milliseconds timeout);

/// Looks now and then whether the process' own listener still answers. gRPC 1.51's dies silently
/// when file descriptors run out (CVE-2023-4785), and nothing but a new process brings it back.
class SelfProbe {
 public:
  /// `host`: as the server was told to listen; `on_dead` is called once, from another thread, after
  /// three failures in a row.
  SelfProbe(const std::string& host, int port, std::chrono::seconds period,
            std::function<void()> on_dead);
  ~SelfProbe();
  SelfProbe(const SelfProbe&) = delete;
  SelfProbe& operator=(const SelfProbe&) = delete;

 private:
  void Run();

  const std::string host_;
  const int port_;
  const std::chrono::seconds period_;
  const std::function<void()> on_dead_;
  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace thermograd

#endif  // THERMOGRAD_SELF_PROBE_H_
