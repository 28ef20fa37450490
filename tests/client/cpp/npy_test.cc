#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "thermograd/client/tensor_file.h"

namespace thermograd::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string Npy(absl::string_view header, absl::string_view data, int version = 1) {
  std::string file = "\x93NUMPY";
  file += static_cast<char>(version);
  file += '\0';
  for (int byte = 0; byte < (version == 1 ? 2 : 4); ++byte) {
    file += static_cast<char>(header.size() >> (8 * byte) & 0xff);
  }
  return absl::StrCat(file, header, data);
}

std::string Header(absl::string_view descr, absl::string_view shape) {
  return absl::StrCat("{'descr': '", descr, "', 'fortran_order': False, 'shape': ", shape, ", }");
}

// Why the file is refused; empty if it is not.
std::string Refusal(absl::string_view file) {
  const absl::StatusOr<TensorView> array = ParseNpy(file);
  if (array.ok()) return "";
  EXPECT_EQ(array.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(array.status().message());
}

TEST(ParseNpy, ReadsWhatNumPyWrites) {
  // numpy.save of numpy.array([[1, 2, 3], [4, 5, 6]], dtype='<f2') by NumPy 1.24.
  const std::string file =
      Npy(absl::StrCat("{'descr': '<f2', 'fortran_order': False, 'shape': (2, 3), }",
                       std::string(58, ' '), "\n"),
          absl::string_view("\x00\x3c\x00\x40\x00\x42\x00\x44\x00\x45\x00\x46", 12));
  const absl::StatusOr<TensorView> array = ParseNpy(file);
  ASSERT_TRUE(array.ok()) << array.status();
  EXPECT_EQ(array->data_type, v1::DATA_TYPE_FP16);
  EXPECT_THAT(array->shape, ElementsAre(2, 3));
  EXPECT_EQ(array->bytes.data(), file.data() + file.size() - 12) << "no copy";
  EXPECT_EQ(array->bytes.size(), 12u);
}

TEST(ParseNpy, ReadsEveryFloatingPointType) {
  EXPECT_EQ(ParseNpy(Npy(Header("<f2", "(1,)"), "12"))->data_type, v1::DATA_TYPE_FP16);
  EXPECT_EQ(ParseNpy(Npy(Header("<f4", "(1,)"), "1234"))->data_type, v1::DATA_TYPE_FP32);
  EXPECT_EQ(ParseNpy(Npy(Header("<f8", "(1,)"), "12345678"))->data_type, v1::DATA_TYPE_FP64);
}

TEST(ParseNpy, ReadsEveryFormatVersion) {
  for (const int version : {1, 2, 3}) {
    EXPECT_EQ(Refusal(Npy(Header("<f4", "(2,)"), "12345678", version)), "") << version;
  }
  EXPECT_THAT(Refusal(Npy(Header("<f4", "(2,)"), "12345678", 0)), HasSubstr("version 0"));
  EXPECT_THAT(Refusal(Npy(Header("<f4", "(2,)"), "12345678", 4)), HasSubstr("version 4"));
}

TEST(ParseNpy, ReadsScalarsAndEmptyArrays) {
  EXPECT_THAT(ParseNpy(Npy(Header("<f4", "()"), "1234"))->shape, IsEmpty());
  EXPECT_THAT(ParseNpy(Npy(Header("<f4", "(0, 7)"), ""))->shape, ElementsAre(0, 7));
}

TEST(ParseNpy, ReadsTheLongIntegersOfPython2) {
  EXPECT_THAT(ParseNpy(Npy(Header("<f4", "(2L, 1L)"), "12345678"))->shape, ElementsAre(2, 1));
}

TEST(ParseNpy, RefusesEveryPrefixOfAFile) {
  const std::string file = Npy(Header("<f4", "(2,)"), "12345678");
  for (size_t size = 0; size < file.size(); ++size) {
    EXPECT_NE(Refusal(file.substr(0, size)), "") << size;
  }
}

TEST(ParseNpy, RefusesDataThatDoNotFitTheShape) {
  EXPECT_THAT(Refusal(Npy(Header("<f4", "(2,)"), "1234567")), HasSubstr("7 bytes are there"));
  EXPECT_THAT(Refusal(Npy(Header("<f4", "(2,)"), "123456789")), HasSubstr("9 bytes are there"));
}

TEST(ParseNpy, RefusesShapesThatOverflow) {
  // Each would call for 0 or 4 bytes if sizes wrapped around.
  for (const char* const shape : {"(4611686018427387904,)", "(4611686018427387905,)",
                                  "(4294967296, 4294967296)", "(18446744073709551616,)"}) {
    EXPECT_NE(Refusal(Npy(Header("<f4", shape), "")), "") << shape;
    EXPECT_NE(Refusal(Npy(Header("<f4", shape), "1234")), "") << shape;
  }
}

TEST(ParseNpy, SaysHowToSaveWhatItDoesNotRead) {
  EXPECT_THAT(Refusal(Npy(Header(">f4", "(1,)"), "1234")), HasSubstr("big-endian"));
  EXPECT_THAT(Refusal(Npy(Header("<i4", "(1,)"), "1234")), HasSubstr("'<i4' is not supported"));
  EXPECT_THAT(Refusal(Npy(Header("|O", "(1,)"), "1234")), HasSubstr("'|O' is not supported"));
  EXPECT_THAT(
      Refusal(Npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", "1234")),
      HasSubstr("structured"));
  EXPECT_THAT(Refusal(Npy("{'descr': '<f4', 'fortran_order': True, 'shape': (1,)}", "1234")),
              HasSubstr("ascontiguousarray"));
}

TEST(ParseNpy, EscapesTheFilesTextInItsErrors) {
  EXPECT_THAT(Refusal(Npy(Header("\x1b[2J", "(1,)"), "1234")), HasSubstr("\\x1b[2J"));
}

TEST(ParseNpy, RefusesOverlongHeaders) {
  EXPECT_THAT(Refusal(Npy(std::string(10001, ' '), "")), HasSubstr("10001 bytes"));
  std::string endless = Npy("", "", 2);
  endless.replace(8, 4, "\xff\xff\xff\xff");
  EXPECT_THAT(Refusal(endless), HasSubstr("4294967295 bytes"));
}

TEST(ParseNpy, RefusesHeadersThatNumPyWouldNotWrite) {
  const std::vector<std::string> headers = {
      "",
      "[]",
      "{",
      "{}",
      "{,}",
      "{'descr': '<f4', 'fortran_order': False}",
      "{'descr': '<f4', 'shape': (1,)}",
      "{'fortran_order': False, 'shape': (1,)}",
      "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 'y'}",
      "{'descr': '<f4' 'fortran_order': False, 'shape': (1,)}",
      "{'descr': '<f4', 'fortran_order': Falsehood, 'shape': (1,)}",
      "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}",
      "{'descr: '<f4', 'fortran_order': False, 'shape': (1,)}",
      "{'descr': '<f4, 'fortran_order': False, 'shape': (1,)}",
      Header("<f4", "(1,)") + "x",
      Header("<f4", "(1)"),
      Header("<f4", "(1,,)"),
      Header("<f4", "(,)"),
      Header("<f4", "(1 1)"),
      Header("<f4", "(1"),
      Header("<f4", "(-1,)"),
      Header("<f4", "(+1,)"),
      Header("<f4", "(1.0,)"),
      Header("<f4", "[1]"),
      Header("<f4", "1"),
  };
  for (const std::string& header : headers) EXPECT_NE(Refusal(Npy(header, "1234")), "") << header;
}

TEST(ParseNpy, RefusesOtherFiles) {
  EXPECT_THAT(Refusal(""), HasSubstr("magic"));
  EXPECT_THAT(Refusal("PK\x03\x04"), HasSubstr("magic"));
}

}  // namespace
}  // namespace thermograd::client
