#include "process_resources.h"

#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace thermograd {
namespace {

constexpr rlim_t kLeastOpenFiles = 1024;

// The least of the limits in the files named `name` of the group `path` under `root` and of the
// groups above it. "max", and what is beyond any memory, are no limits.
uint64_t LeastLimit(const std::string& root, std::string path, const char* name) {
  constexpr uint64_t kNone = uint64_t{1} << 60;
  uint64_t least = kNone;
  for (;;) {
    std::ifstream file(absl::StrCat(root, path, "/", name));
    std::string text;
    uint64_t limit = 0;
    if (file >> text && absl::SimpleAtoi(text, &limit)) least = std::min(least, limit);
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos) break;
    path.resize(slash);
  }
  return least == kNone ? 0 : least;
}

}  // namespace

uint64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  uint64_t total = 0;
  uint64_t resident = 0;
  if (!(file >> total >> resident)) return 0;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

uint64_t ControlGroupMemoryBytes() {
  std::ifstream groups("/proc/self/cgroup");
  std::string line;
  uint64_t least = 0;
  const auto add = [&least](uint64_t limit) {
    if (limit > 0 && (least == 0 || limit < least)) least = limit;
  };
  while (std::getline(groups, line)) {
    absl::string_view path = line;
    if (absl::ConsumePrefix(&path, "0::")) {
      add(LeastLimit("/sys/fs/cgroup", std::string(path), "memory.max"));
    } else if (const size_t memory = line.find(":memory:"); memory != std::string::npos) {
      add(LeastLimit("/sys/fs/cgroup/memory", line.substr(memory + 8), "memory.limit_in_bytes"));
    }
  }
  return least;
}

void ReleaseFreedMemory() { malloc_trim(0); }

absl::Status RaiseOpenFileLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return absl::InternalError("RLIMIT_NOFILE: cannot be read");
  }
  limit.rlim_cur = limit.rlim_max;
  if (limit.rlim_max < kLeastOpenFiles || setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("RLIMIT_NOFILE: the hard limit of open files is ", limit.rlim_max,
                     ", at least ", kLeastOpenFiles, " are needed (ulimit -Hn, LimitNOFILE=)"));
  }
  return absl::OkStatus();
}

}  // namespace thermograd
