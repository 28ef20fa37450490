#include "thermograd/client/tensor_file.h"

#include <sys/stat.h>

#include <cerrno>
#include <fstream>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thermograd::client {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Write(const std::string& name, absl::string_view content) {
  std::string path = ::testing::TempDir() + "/tensor_file_test." + name;
  std::ofstream(path, std::ios::binary) << content;
  return path;
}

constexpr absl::string_view kNpy(
    "\x93NUMPY\x01\x00\x38\x00{'descr':'<f4','fortran_order':False,'shape':(1,)}      1234", 70);
constexpr absl::string_view kSafetensors(
    "\x36\0\0\0\0\0\0\0{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}1234", 66);

TEST(OpenTensorFile, TellsTheFormatsApartByTheirContent) {
  const absl::StatusOr<TensorFile> array = OpenTensorFile(Write("array", kNpy));
  ASSERT_TRUE(array.ok()) << array.status();
  ASSERT_EQ(array->contents.tensors.size(), 1u);
  EXPECT_EQ(array->contents.tensors[0].name, "");
  EXPECT_EQ(array->contents.tensors[0].tensor.bytes, "1234");

  const absl::StatusOr<TensorFile> table = OpenTensorFile(Write("table.npy", kSafetensors));
  ASSERT_TRUE(table.ok()) << table.status();
  ASSERT_EQ(table->contents.tensors.size(), 1u);
  EXPECT_EQ(table->contents.tensors[0].name, "w");
  EXPECT_EQ(table->contents.tensors[0].tensor.bytes, "1234");
}

TEST(OpenTensorFile, KeepsItsViewsValidWhenMoved) {
  absl::StatusOr<TensorFile> opened = OpenTensorFile(Write("moved", kNpy));
  ASSERT_TRUE(opened.ok()) << opened.status();
  TensorFile moved = *std::move(opened);
  TensorFile assigned = *OpenTensorFile(Write("other", kSafetensors));
  assigned = std::move(moved);
  EXPECT_EQ(assigned.contents.tensors[0].tensor.bytes, "1234");
}

TEST(OpenTensorFile, NamesTheFileInItsErrors) {
  const std::string broken = Write("broken", "not a tensor");
  const absl::Status status = OpenTensorFile(broken).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), StartsWith(broken + ": "));
  EXPECT_EQ(OpenTensorFile(Write("empty", "")).status().code(), absl::StatusCode::kInvalidArgument);
  const std::string missing = ::testing::TempDir() + "/tensor_file_test.missing";
  EXPECT_EQ(OpenTensorFile(missing).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(OpenTensorFile(missing).status().message()), HasSubstr(missing));
}

TEST(OpenTensorFile, RefusesWhatIsNoRegularFile) {
  EXPECT_EQ(OpenTensorFile(::testing::TempDir()).status().code(),
            absl::StatusCode::kInvalidArgument);
  const std::string fifo = ::testing::TempDir() + "/tensor_file_test.fifo";
  ASSERT_TRUE(mkfifo(fifo.c_str(), 0600) == 0 || errno == EEXIST);
  EXPECT_EQ(OpenTensorFile(fifo).status().code(), absl::StatusCode::kInvalidArgument)
      << "and does not wait for a writer";
}

}  // namespace
}  // namespace thermograd::client
