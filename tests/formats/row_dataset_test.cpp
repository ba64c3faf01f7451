#include "formats/row_dataset.h"

#include <gtest/gtest.h>

#include <cstring>

#include "common/file.h"
#include "tests/common/expect_error.h"
#include "tests/common/temporary_folder.h"
#include "tests/formats/safetensors_bytes.h"

namespace meshplan::formats {
namespace {

using common::ErrorCode;

class RowDatasetTest : public testing::Test {
 protected:
  /// A file of one tensor with 24 bytes.
  std::string file_of(const std::string& name, const std::string& type, const std::string& shape) {
    const std::string header = "{\"" + name + "\":{\"dtype\":\"" + type + "\",\"shape\":" + shape +
                               ",\"data_offsets\":[0,24]}}";
    std::string data(24, '\0');
    const float numbers[] = {1, 2, 3, 4, 5, 6};
    std::memcpy(data.data(), numbers, sizeof numbers);
    common::write_file(path_, tests::safetensors_bytes(header, data));
    return path_;
  }

  tests::TemporaryFolder folder_;
  std::string path_ = folder_ / "rows.safetensors";
};

TEST_F(RowDatasetTest, ReadsRowsFromAnywhere) {
  const RowDataset rows(file_of("rows", "F32", "[3,2]"), 2);
  EXPECT_EQ(rows.count(), 3);
  std::vector<float> read(4);
  rows.read(1, read);
  EXPECT_EQ(read, (std::vector<float>{3, 4, 5, 6}));
}

TEST_F(RowDatasetTest, RefusesOtherTensorsWithTheRemedy) {
  const auto refused = [&](const std::string& file, const char* problem) {
    tests::expect_error(
        ErrorCode::kInvalidInput, [&] { const RowDataset rows(file, 2); }, file, problem,
        "use synthetic, or a safetensors file with a float32 tensor rows [N, 2]");
  };
  refused(file_of("columns", "F32", "[3,2]"), "has no tensor rows");
  refused(file_of("rows", "F32", "[2,3]"), "tensor rows is F32 [2, 3]");
  refused(file_of("rows", "F32", "[6]"), "tensor rows is F32 [6]");
  refused(file_of("rows", "BF16", "[6,2]"), "tensor rows is BF16 [6, 2]");
  common::write_file(folder_ / "text.idx", "MMIDIDX");
  refused(folder_ / "text", "is a token dataset");
}

TEST_F(RowDatasetTest, RefusesWhatIsNoSafetensorsFile) {
  common::write_file(path_, "not a header");
  tests::expect_error(
      ErrorCode::kInvalidInput, [&] { const RowDataset rows(path_, 2); }, path_);
  const std::string missing = folder_ / "none";
  tests::expect_error(
      ErrorCode::kIo, [&] { const RowDataset rows(missing, 2); }, missing);
}

}  // namespace
}  // namespace meshplan::formats
