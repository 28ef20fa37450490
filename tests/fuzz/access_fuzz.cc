// Files of tokens and passwords, and the headers that callers show: the first line of the input is
// the header, what follows the file. Whoever gets in is named by the file, and no message gives a
// secret away.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "service/access.h"
#include "service/loopback_address.h"

namespace {

using thermograd::service::AccessFile;

void Check(bool condition) {
  if (!condition) std::abort();
}

// A file of its own content, without a disk.
class MemoryFile {
 public:
  explicit MemoryFile(absl::string_view content) : descriptor_(memfd_create("access", 0)) {
    Check(descriptor_ >= 0 && fchmod(descriptor_, 0600) == 0);
    Check(write(descriptor_, content.data(), content.size()) ==
          static_cast<ssize_t>(content.size()));
  }
  ~MemoryFile() { close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::string path() const { return absl::StrCat("/proc/self/fd/", descriptor_); }

 private:
  int descriptor_;
};

struct Entry {
  absl::string_view name;
  absl::string_view secret;
};

// What the lines of an accepted file say, read another way.
std::vector<Entry> EntriesOf(absl::string_view content) {
  std::vector<Entry> entries;
  for (absl::string_view line : absl::StrSplit(content, '\n')) {
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line[0] == '#') continue;
    const size_t blank = line.find_first_of(" \t");
    Check(blank != absl::string_view::npos);
    entries.push_back(
        {line.substr(0, blank), absl::StripLeadingAsciiWhitespace(line.substr(blank))});
  }
  return entries;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace thermograd::service;
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t header_end = input.find('\n');
  const absl::string_view header = input.substr(0, header_end);
  const absl::string_view content =
      header_end == absl::string_view::npos ? "" : input.substr(header_end + 1);
  IsLoopbackAddress(header);

  const MemoryFile file(content);
  const auto access = AccessFile::Open("--token_file", file.path());
  if (!access.ok()) {
    Check(absl::IsFailedPrecondition(access.status()));
    return 0;
  }
  const std::vector<Entry> entries = EntriesOf(content);
  Check(!entries.empty());
  for (const Entry& entry : entries) {
    Check((*access)->Admits(entry.name, entry.secret));
    const auto tenant = TenantOf(**access, absl::StrCat("Bearer ", entry.secret));
    Check(tenant.ok() && *tenant == entry.name);
  }
  const auto tenant = TenantOf(**access, header);
  if (tenant.ok()) {
    bool is_known = false;
    for (const Entry& entry : entries) {
      is_known =
          is_known || (*tenant == entry.name &&
                       absl::EndsWith(absl::StripTrailingAsciiWhitespace(header), entry.secret));
    }
    Check(is_known);
  } else {
    Check(absl::IsUnauthenticated(tenant.status()));
  }
  AdmitsBasic(**access, header);
  Check(!*(*access)->Reload());
  return 0;
}
