#include "thermograd/client/tensor.h"

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thermograd::client {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kHalf = uint64_t{1} << 63;

TEST(ElementCount, IsTheProductOfTheExtents) {
  EXPECT_EQ(*ElementCount({2, 3, 5}), 30u);
  EXPECT_EQ(*ElementCount({}), 1u) << "a scalar";
  EXPECT_EQ(*ElementCount({std::numeric_limits<uint64_t>::max()}),
            std::numeric_limits<uint64_t>::max());
}

TEST(ElementCount, RefusesAProductBeyond64Bits) {
  EXPECT_EQ(ElementCount({kHalf, 2}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ElementCount({2, kHalf}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ElementCount({uint64_t{1} << 32, uint64_t{1} << 32}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(ElementCount, OfAnEmptyTensorIsZeroWhereverTheZeroStands) {
  EXPECT_EQ(*ElementCount({0, kHalf, 4}), 0u);
  EXPECT_EQ(*ElementCount({kHalf, 4, 0}), 0u);
}

TEST(Validate, AdmitsExactlyTheBytesThatTypeAndShapeCallFor) {
  const std::string bytes(24, '\0');
  EXPECT_TRUE(Validate({v1::DATA_TYPE_FP64, {3}, bytes}).ok());
  EXPECT_TRUE(Validate({v1::DATA_TYPE_FP32, {2, 3}, bytes}).ok());
  EXPECT_TRUE(Validate({v1::DATA_TYPE_BF16, {12, 1}, bytes}).ok());
  EXPECT_TRUE(Validate({v1::DATA_TYPE_FP16, {0}, ""}).ok());
  EXPECT_THAT(std::string(Validate({v1::DATA_TYPE_FP32, {7}, bytes}).message()),
              HasSubstr("shape (7) of DATA_TYPE_FP32 calls for 7 elements of 4 bytes, but 24"));
  EXPECT_FALSE(Validate({v1::DATA_TYPE_FP32, {5}, bytes}).ok());
  EXPECT_FALSE(Validate({v1::DATA_TYPE_FP64, {2}, bytes.substr(0, 23)}).ok()) << "part of one";
}

TEST(Validate, RefusesATypeThatIsNotOnTheWire) {
  EXPECT_FALSE(Validate({v1::DATA_TYPE_UNSPECIFIED, {}, ""}).ok());
  EXPECT_FALSE(Validate({static_cast<v1::DataType>(99), {}, "1234"}).ok());
}

TEST(Validate, RefusesAShapeWhoseBytesWrapAround) {
  // 2^61 doubles are 2^64 bytes, which is 0 modulo 2^64.
  EXPECT_FALSE(Validate({v1::DATA_TYPE_FP64, {uint64_t{1} << 61}, ""}).ok());
  EXPECT_FALSE(Validate({v1::DATA_TYPE_FP64, {(uint64_t{1} << 61) + 1}, "12345678"}).ok());
}

TEST(ViewOf, NamesTheElementTypeAndSeesTheBytes) {
  const std::vector<float> floats = {1.0f, -2.0f};
  const TensorView view = ViewOf(absl::MakeConstSpan(floats), {2, 1});
  EXPECT_EQ(view.data_type, v1::DATA_TYPE_FP32);
  EXPECT_EQ(view.shape, (std::vector<uint64_t>{2, 1}));
  EXPECT_EQ(view.bytes, absl::string_view("\x00\x00\x80\x3f\x00\x00\x00\xc0", 8));
  const std::vector<BFloat16> brains = {BFloat16{0x3f80}};
  EXPECT_EQ(ViewOf(absl::MakeConstSpan(brains), {1}).data_type, v1::DATA_TYPE_BF16);
  EXPECT_EQ(ViewOf(absl::MakeConstSpan(brains), {1}).bytes, "\x80\x3f");
  const std::vector<Float16> halves = {Float16{0x3c00}};
  EXPECT_EQ(ViewOf(absl::MakeConstSpan(halves), {1}).data_type, v1::DATA_TYPE_FP16);
  const std::vector<double> doubles = {1.0};
  EXPECT_EQ(ViewOf(absl::MakeConstSpan(doubles), {}).data_type, v1::DATA_TYPE_FP64);
}

}  // namespace
}  // namespace thermograd::client
