// Files made to break a reader: each is refused with a message that names the file and what is
// wrong, and none makes the reader crash, hang or take memory that the file does not have.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <array>
#include <string>
#include <vector>

#include "formats/safetensors.h"
#include "tests/common/expect_error.h"
#include "tests/common/temporary_folder.h"
#include "tests/formats/safetensors_bytes.h"

namespace meshplan::formats {
namespace {

using common::ErrorCode;
using tests::safetensors_bytes;

class SafetensorsAttack : public testing::Test {
 protected:
  /// A file with these bytes must be refused with the file's name and all of `parts`.
  template <class... Parts>
  void refused(const std::string& bytes, const Parts&... parts) {
    tests::write_quickly(path_, bytes);
    tests::expect_error(
        ErrorCode::kInvalidInput, [this] { SafetensorsFile file(path_); }, "evil.safetensors",
        parts...);
  }
  template <class... Parts>
  void header_refused(const std::string& header, const std::string& data, const Parts&... parts) {
    refused(safetensors_bytes(header, data), parts...);
  }
  /// A file that begins with this header length and has `size` bytes, nearly all of them a hole on
  /// the disk.
  void write_sparse(std::uint64_t header_length, std::uintmax_t size) {
    tests::write_quickly(path_, {reinterpret_cast<const char*>(&header_length), 8});
    std::filesystem::resize_file(path_, size);
  }

  tests::TemporaryFolder folder_;
  std::filesystem::path path_ = folder_ / "evil.safetensors";
};

TEST_F(SafetensorsAttack, EmptyFile) { refused("", "0 bytes", "truncated"); }

TEST_F(SafetensorsAttack, ShorterThanTheHeaderLength) { refused("1234567", "7 bytes"); }

TEST_F(SafetensorsAttack, HeaderOfNoBytes) { header_refused("", "", "not valid JSON"); }

TEST_F(SafetensorsAttack, HeaderLengthOf2To63) {
  write_sparse(std::uint64_t{1} << 63, 64);
  tests::expect_error(
      ErrorCode::kInvalidInput, [this] { SafetensorsFile file(path_); }, "9223372036854775808");
}

TEST_F(SafetensorsAttack, HeaderLengthThatWrapsAround) {
  write_sparse(~std::uint64_t{0}, 64);
  tests::expect_error(
      ErrorCode::kInvalidInput, [this] { SafetensorsFile file(path_); }, "limit of 100000000");
}

TEST_F(SafetensorsAttack, HeaderOneByteOverTheLimit) {
  write_sparse(100'000'001, 200'000'000);
  tests::expect_error(
      ErrorCode::kInvalidInput, [this] { SafetensorsFile file(path_); },
      "header of 100000001 bytes", "limit of 100000000");
}

TEST_F(SafetensorsAttack, HeaderLongerThanTheFile) {
  write_sparse(57, 64);
  tests::expect_error(
      ErrorCode::kInvalidInput, [this] { SafetensorsFile file(path_); }, "header takes 65 bytes",
      "has 64", "truncated");
}

TEST_F(SafetensorsAttack, HeaderThatIsNoObject) {
  header_refused("[]", "", "must be a JSON object");
  header_refused("1", "", "must be a JSON object");
}

TEST_F(SafetensorsAttack, HeaderWithTextBehindIt) {
  header_refused(tests::kOneTensor + "x", "data", "not valid JSON");
}

TEST_F(SafetensorsAttack, NestingWithoutEnd) {
  header_refused("{\"t\":{\"x\":" + std::string(1'000'000, '['), "", "deeper than 64");
}

TEST_F(SafetensorsAttack, TensorNameThatComesTwice) {
  header_refused(R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                 R"("t":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                 "ab", "'t'", "twice");
}

TEST_F(SafetensorsAttack, FieldThatComesTwice) {
  header_refused(R"({"t":{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]}})", "a", "'t'",
                 "'shape'", "twice");
}

TEST_F(SafetensorsAttack, MetadataThatComesTwice) {
  header_refused(R"({"__metadata__":{},"__metadata__":{}})", "", "__metadata__", "twice");
}

TEST_F(SafetensorsAttack, MetadataThatIsNotText) {
  header_refused(R"({"__metadata__":{"step":1}})", "", "__metadata__", "'step'", "string");
  header_refused(R"({"__metadata__":{"step":["1"]}})", "", "'step'", "string");
  header_refused(R"({"__metadata__":"pt"})", "", "__metadata__", "object");
}

TEST_F(SafetensorsAttack, NameThatIsNotUtf8) {
  header_refused("{\"\xff\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", "a",
                 "UTF-8");
}

TEST_F(SafetensorsAttack, UnknownType) {
  header_refused(R"({"t":{"dtype":"F7","shape":[1],"data_offsets":[0,1]}})", "a", "'t'", "'F7'",
                 "BF16");
}

TEST_F(SafetensorsAttack, MissingFields) {
  header_refused(R"({"t":{}})", "", "'t'", "no dtype");
  header_refused(R"({"t":{"dtype":"U8","data_offsets":[0,1]}})", "a", "no shape");
  header_refused(R"({"t":{"dtype":"U8","shape":[1]}})", "a", "data_offsets");
}

TEST_F(SafetensorsAttack, FieldsOfAnotherType) {
  header_refused(R"({"t":[1]})", "", "'t'", "object");
  header_refused(R"({"t":{"dtype":8,"shape":[1],"data_offsets":[0,1]}})", "a", "'dtype'", "string");
  header_refused(R"({"t":{"dtype":["U8"],"shape":[1],"data_offsets":[0,1]}})", "a", "'dtype'");
  header_refused(R"({"t":{"dtype":"U8","shape":1,"data_offsets":[0,1]}})", "a", "'shape'", "list");
  header_refused(R"({"t":{"dtype":"U8","shape":{},"data_offsets":[0,1]}})", "a", "'shape'", "list");
  header_refused(R"({"t":{"dtype":"U8","shape":[[1]],"data_offsets":[0,1]}})", "a", "list");
  header_refused(R"({"t":{"dtype":"U8","shape":[{}],"data_offsets":[0,1]}})", "a", "list");
  header_refused(R"({"t":{"dtype":"U8","shape":["1"],"data_offsets":[0,1]}})", "a", "integers");
}

TEST_F(SafetensorsAttack, OffsetsThatAreNotTwo) {
  header_refused(R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0]}})", "a", "[begin, end]");
  header_refused(R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}})", "a", "[begin, end]");
}

TEST_F(SafetensorsAttack, NegativeOffsets) {
  header_refused(R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[-1,0]}})", "a", "'data_offsets'",
                 "integers from 0");
}

TEST_F(SafetensorsAttack, FractionalAndHugeNumbers) {
  header_refused(R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1.0]}})", "a", "integers");
  header_refused(R"({"t":{"dtype":"U8","shape":[1e0],"data_offsets":[0,1]}})", "a", "integers");
  header_refused(R"({"t":{"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,1]}})", "a",
                 "2^63 - 1");
  header_refused(R"({"t":{"dtype":"U8","shape":[99999999999999999999],"data_offsets":[0,1]}})", "a",
                 "2^63 - 1");
}

TEST_F(SafetensorsAttack, OffsetsInReverse) {
  header_refused(R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}})", "a", "[1, 0]");
}

TEST_F(SafetensorsAttack, OffsetsBehindTheEnd) {
  header_refused(R"({"t":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}})", "12345678", "[0, 9]",
                 "8 bytes of data");
  header_refused(
      R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[9223372036854775806,9223372036854775807]}})",
      "a", "1 bytes of data");
}

TEST_F(SafetensorsAttack, OverlappingTensors) {
  header_refused(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                 R"("b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
                 "123456", "'b'", "begins at 2", "ends at 4");
}

TEST_F(SafetensorsAttack, TwoTensorsAtOnePlace) {
  header_refused(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                 R"("b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
                 "1234", "begins at 0", "ends at 4");
}

TEST_F(SafetensorsAttack, HoleBetweenTensors) {
  header_refused(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                 R"("b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}})",
                 "123456", "'b'", "hole from 2");
}

TEST_F(SafetensorsAttack, HoleBeforeTheFirstTensor) {
  header_refused(R"({"t":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})", "1234", "hole from 0");
}

TEST_F(SafetensorsAttack, BytesBehindTheLastTensor) {
  header_refused(tests::kOneTensor, "12345", "end at byte 4", "file at byte 5");
}

TEST_F(SafetensorsAttack, TruncatedData) {
  header_refused(tests::kOneTensor, "123", "'t'", "3 bytes of data");
}

TEST_F(SafetensorsAttack, SizeThatIsNotTheShapes) {
  header_refused(R"({"t":{"dtype":"F32","shape":[2,3],"data_offsets":[0,20]}})",
                 std::string(20, 'x'), "shape [2, 3] of F32 takes 24 bytes", "hold 20");
}

TEST_F(SafetensorsAttack, ShapeWhoseProductOverflows) {
  header_refused(R"({"t":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", "",
                 "'t'", "4294967296 x 4294967296");
  header_refused(R"({"t":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}})", "",
                 "'t'", "2305843009213693952 x 8");
}

TEST_F(SafetensorsAttack, LongNamesAreCutInMessages) {
  const std::string name(1'000'000, 'n');
  tests::write_quickly(path_, safetensors_bytes("{\"" + name + "\":1}", ""));
  try {
    SafetensorsFile file(path_);
    FAIL() << "was accepted";
  } catch (const common::Error& error) {
    EXPECT_LT(std::string(error.what()).size(), 1000u);
  }
}

TEST_F(SafetensorsAttack, FolderInPlaceOfTheFile) {
  std::filesystem::create_directory(path_);
  tests::expect_error(
      ErrorCode::kIo, [this] { SafetensorsFile file(path_); }, "not a regular file");
}

TEST_F(SafetensorsAttack, AFileThatShrinksAfterOpeningIsAnErrorAtTheRead) {
  tests::write_quickly(path_, safetensors_bytes(tests::kOneTensor, "data"));
  const SafetensorsFile file(path_);
  std::filesystem::resize_file(path_, std::filesystem::file_size(path_) - 2);
  std::array<std::byte, 4> bytes{};
  tests::expect_error(
      ErrorCode::kInvalidInput, [&] { file.read(*file.find("t"), 0, bytes); }, "evil.safetensors",
      "2 bytes early", "truncated");
}

TEST_F(SafetensorsAttack, ManyTensorsAreReadInTimeLinearInTheHeader) {
  std::string header = "{";
  for (int i = 0; i < 200'000; ++i) {
    header += (i > 0 ? ",\"t" : "\"t") + std::to_string(i) +
              R"(":{"dtype":"F32","shape":[0],"data_offsets":[0,0]})";
  }
  tests::write_quickly(path_, safetensors_bytes(header + "}", ""));
  EXPECT_EQ(SafetensorsFile(path_).entries().size(), 200'000u);
}

RC_GTEST_PROP(SafetensorsProperty, AnyChangedByteIsAcceptedOrRefusedAndNothingElse, ()) {
  const tests::TemporaryFolder folder;
  std::string bytes = safetensors_bytes(
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
      R"("b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}})",
      "0123456789a");
  const int changes = *rc::gen::inRange(1, 4);
  for (int i = 0; i < changes; ++i) {
    bytes[*rc::gen::inRange<std::size_t>(0, bytes.size())] = *rc::gen::arbitrary<char>();
  }
  bytes.resize(*rc::gen::inRange<std::size_t>(bytes.size() - 3, bytes.size() + 3), ' ');
  tests::write_quickly(folder / "file", bytes);
  try {
    const SafetensorsFile file(folder / "file");
    for (const auto& [name, entry] : file.entries()) {
      std::vector<std::byte> data(static_cast<std::size_t>(entry.bytes.value));
      file.read(entry, 0, data);
      RC_ASSERT(entry.offset + entry.bytes.value <= static_cast<std::int64_t>(bytes.size()));
    }
  } catch (const common::Error& error) {
    RC_ASSERT(error.code() == ErrorCode::kInvalidInput);
  }
}

}  // namespace
}  // namespace meshplan::formats
