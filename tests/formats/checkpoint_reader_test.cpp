#include "formats/checkpoint_reader.h"

#include <gtest/gtest.h>

#include <fstream>
#include <numeric>

#include "common/file.h"
#include "common/json.h"
#include "formats/checkpoint_files.h"
#include "tests/common/expect_error.h"
#include "tests/common/temporary_folder.h"

namespace meshplan::formats {
namespace {

namespace fs = std::filesystem;
using common::ErrorCode;

constexpr std::int64_t kRows = 2100;
constexpr std::int64_t kColumns = 4096;

/// A matrix of over 32 MiB, written by two ranks that each hold a half of its columns, so that a
/// rank's range has two pieces; and its moments.
class CheckpointReaderTest : public testing::Test {
 protected:
  void SetUp() override {
    values_.resize(kRows * kColumns);
    std::iota(values_.begin(), values_.end(), 0.5f);
    const std::vector<TensorToWrite> tensors = {{"matrix", TensorType::kF32, {kRows, kColumns}}};
    const std::vector<CheckpointPart> parts = {CheckpointPart::kWeights};
    const CheckpointFiles files = plan_whole_files(tensors, TensorType::kF32, parts);
    const PlannedFile& planned = files.files.front();
    const auto file = PositionedFile::create(folder_ / planned.name, planned.prefix, planned.bytes);
    CheckpointTensor tensor{.part = CheckpointPart::kWeights,
                            .name = "matrix",
                            .type = TensorType::kF32,
                            .shape = {kRows, kColumns},
                            .file = planned.name,
                            .ranges = {}};
    for (const std::int64_t rank : {0, 1}) {
      const TensorRange half{rank * kColumns / 2, kColumns / 2, 0, kRows * kColumns / 2};
      const std::vector<float> own = part_of(half);
      tensor.ranges.push_back(
          store_range(rank, half, own.data(), TensorType::kF32,
                      [&](std::int64_t element, std::span<const std::byte> bytes) {
                        write_elements(file, files.tensors.front(), half, element, bytes);
                      }));
    }
    file_ = folder_ / planned.name;
    const CheckpointManifest manifest{
        .step = 1,
        .mesh = {{"tp", 2}},
        .files = {{planned.name, common::Bytes(planned.bytes),
                   common::Bytes(static_cast<std::int64_t>(planned.prefix.size())),
                   checksum_of(planned.prefix)}},
        .tensors = {tensor}};
    common::write_file(folder_ / kManifestName, to_text(manifest));
  }

  std::vector<float> part_of(const TensorRange& range) const {
    std::vector<float> part;
    for_each_segment(range, kColumns, [&](const TensorSegment& segment) {
      part.insert(part.end(), values_.begin() + segment.first,
                  values_.begin() + segment.first + segment.count);
    });
    return part;
  }

  std::vector<float> read(const TensorRange& range) const {
    const CheckpointReader reader(folder_.path());
    std::vector<float> out(static_cast<std::size_t>(range.elements()));
    reader.read(*reader.find(CheckpointPart::kWeights, "matrix"), range, out);
    return out;
  }

  void flip_at(std::int64_t row, std::int64_t column) const {
    const CheckpointReader reader(folder_.path());
    const std::int64_t header = reader.manifest().files.front().checked_bytes.value;
    std::fstream stream(file_, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(header + 4 * (row * kColumns + column));
    const auto byte = static_cast<char>(stream.get() ^ 1);
    stream.seekp(header + 4 * (row * kColumns + column));
    stream.put(byte);
  }

  tests::TemporaryFolder folder_;
  std::vector<float> values_;
  fs::path file_;
};

TEST_F(CheckpointReaderTest, ReadsAnyRangeWhateverRanksWrote) {
  for (const TensorRange& range :
       {TensorRange{0, kColumns, 0, kRows * kColumns}, TensorRange{0, kColumns, 12345, 7777777},
        TensorRange{1024, 1024, 3, kRows * 1024 - 3}, TensorRange{2040, 20, 0, 20 * kRows},
        TensorRange{0, kColumns, 5, 6}})
    EXPECT_TRUE(read(range) == part_of(range));
}

TEST_F(CheckpointReaderTest, ChecksThePiecesThatItTouchesAndNoOthers) {
  // Rank 1's second piece: 16 MiB are 2048 of its rows.
  flip_at(2050, 3000);
  EXPECT_TRUE(read({0, kColumns, 0, kColumns}) == part_of({0, kColumns, 0, kColumns}));
  const TensorRange left{0, kColumns / 2, 0, kRows * kColumns / 2};
  EXPECT_TRUE(read(left) == part_of(left));
  tests::expect_error(
      ErrorCode::kCorruptCheckpoint,
      [&] {
        read({4095, 1, kRows - 1, kRows});
      },
      file_.string(), std::string("piece 1 of what rank 1 wrote of matrix"));
  tests::expect_error(
      ErrorCode::kCorruptCheckpoint, [&] { verify_checkpoint(folder_.path()); }, file_.string());
}

TEST_F(CheckpointReaderTest, RefusesFilesThatAreCutMissingOrLinks) {
  const auto refused = [&](const std::string& why) {
    tests::expect_error(
        ErrorCode::kCorruptCheckpoint, [&] { CheckpointReader reader(folder_.path()); },
        file_.string(), why);
  };
  const fs::path away = folder_ / "away";
  fs::rename(file_, away);
  refused("is missing");
  fs::create_symlink(away, file_);
  refused("symbolic link");
  fs::remove(file_);
  fs::rename(away, file_);
  fs::resize_file(file_, fs::file_size(file_) - 1);
  refused("bytes");
  fs::remove(folder_ / kManifestName);
  tests::expect_error(
      ErrorCode::kCorruptCheckpoint, [&] { CheckpointReader reader(folder_.path()); },
      std::string("manifest.json"));
}

TEST_F(CheckpointReaderTest, SplitsALargeModelIntoFilesThatItsIndexNames) {
  const std::vector<TensorToWrite> tensors = {{"a", TensorType::kF32, {10}},
                                              {"b", TensorType::kF32, {10}},
                                              {"c", TensorType::kF32, {100}},
                                              {"d", TensorType::kF32, {1}}};
  const CheckpointFiles files = plan_whole_files(
      tensors, TensorType::kBF16, {CheckpointPart::kWeights, CheckpointPart::kMaster}, 80);
  ASSERT_EQ(files.files.size(), 6u);
  EXPECT_EQ(files.files[0].name, "model-00001-of-00003.safetensors");
  EXPECT_EQ(files.files[5].name, "optimizer/master/model-00003-of-00003.safetensors");
  EXPECT_EQ(files.find(CheckpointPart::kMaster, "d").type, TensorType::kF32);
  const auto indices = index_files(files);
  const common::Json index =
      common::parse_json(indices.at("model.safetensors.index.json"), "index");
  EXPECT_EQ(index["weight_map"]["c"], "model-00002-of-00003.safetensors");
  EXPECT_EQ(index["metadata"]["total_size"], 242);
  EXPECT_EQ(indices.count("optimizer/master/model.safetensors.index.json"), 1u);
}

}  // namespace
}  // namespace meshplan::formats
