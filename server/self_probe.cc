#include "self_probe.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

namespace thermograd {
namespace {

// The client's preface and an empty SETTINGS frame (RFC 9113, 3.4).
constexpr char kPreface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";

// What a server that listens everywhere is reached at.
std::string Reachable(std::string host) {
  std::erase_if(host, [](char c) { return c == '[' || c == ']'; });
  if (host == "0.0.0.0") return "127.0.0.1";
  if (host == "::" || host.empty()) return "::1";
  return host;
}

bool Await(int socket, short events, std::chrono::steady_clock::time_point deadline) {
  pollfd awaited{.fd = socket, .events = events, .revents = 0};
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    const int ready = poll(&awaited, 1, static_cast<int>(std::max<int64_t>(left.count(), 0)));
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

bool AnswersAt(const addrinfo& address, std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  const int socket = ::socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (socket < 0) return false;
  bool answers = false;
  if (connect(socket, address.ai_addr, address.ai_addrlen) == 0 || errno == EINPROGRESS) {
    answers = Await(socket, POLLOUT, deadline) &&
              send(socket, kPreface, sizeof(kPreface) - 1, MSG_NOSIGNAL) > 0 &&
              Await(socket, POLLIN, deadline);
  }
  close(socket);
  return answers;
}

}  // namespace

bool Answers(const std::string& host, int port, std::chrono::milliseconds timeout) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) return false;
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> addresses(found, freeaddrinfo);
  for (const addrinfo* address = found; address != nullptr; address = address->ai_next) {
    if (AnswersAt(*address, timeout)) return true;
  }
  return false;
}

SelfProbe::SelfProbe(const std::string& host, int port, std::chrono::seconds period,
                     std::function<void()> on_dead)
    : host_(Reachable(host)),
      port_(port),
      period_(period),
      on_dead_(std::move(on_dead)),
      thread_([this] { Run(); }) {}

SelfProbe::~SelfProbe() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stopped_.notify_all();
  thread_.join();
}

void SelfProbe::Run() {
  constexpr int kMostFailures = 3;
  const auto timeout = std::min<std::chrono::milliseconds>(period_, std::chrono::seconds(5));
  int failures = 0;
  std::unique_lock lock(mutex_);
  while (!stopped_.wait_for(lock, period_, [this] { return stopping_; })) {
    lock.unlock();
    failures = Answers(host_, port_, timeout) ? 0 : failures + 1;
    if (failures == kMostFailures) return on_dead_();
    lock.lock();
  }
}

}  // namespace thermograd
