#include "formats/checkpoint_manifest.h"

#include <gtest/gtest.h>

#include <functional>

#include "tests/common/expect_error.h"

namespace meshplan::formats {
namespace {

using common::ErrorCode;

constexpr const char* kFile = "model-00001-of-00001.safetensors";

HashedRange range(std::int64_t rank, TensorRange elements) {
  return {.rank = rank, .range = elements, .pieces = {Checksum{1, 2}}};
}

/// A matrix in two bands of columns, the second cut in two, and a vector.
CheckpointManifest small_manifest() {
  return {.step = 7,
          .mesh = {{"dp_shard", 2}, {"tp", 2}},
          .files = {{kFile, common::Bytes(1000), common::Bytes(200), Checksum{3, 4}}},
          .tensors = {
              {.part = CheckpointPart::kWeights,
               .name = "matrix",
               .type = TensorType::kBF16,
               .shape = {3, 4},
               .file = kFile,
               .ranges = {range(0, {0, 2, 0, 6}), range(3, {2, 2, 4, 6}), range(1, {2, 2, 0, 4})}},
              {.part = CheckpointPart::kFirstMoment,
               .name = "vector",
               .type = TensorType::kF32,
               .shape = {5},
               .file = kFile,
               .ranges = {range(2, {0, 5, 0, 5})}}}};
}

void expect_refused(const std::function<void(CheckpointManifest&)>& change) {
  CheckpointManifest manifest = small_manifest();
  change(manifest);
  tests::expect_error(
      ErrorCode::kCorruptCheckpoint, [&] { parse_manifest(to_text(manifest), "manifest.json"); },
      std::string("manifest.json"));
}

TEST(CheckpointManifest, ComesBackAsItWasWritten) {
  EXPECT_EQ(parse_manifest(to_text(small_manifest()), "here"), small_manifest());
  EXPECT_EQ(parse_tensors(to_text(small_manifest().tensors), "here"), small_manifest().tensors);
}

TEST(CheckpointManifest, RefusesEveryFlippedBitAndEveryCut) {
  const std::string text = to_text(small_manifest());
  for (std::size_t i = 0; i < text.size(); ++i) {
    for (const int bit : {0, 2, 5, 7}) {
      std::string flipped = text;
      flipped[i] = static_cast<char>(flipped[i] ^ (1 << bit));
      tests::expect_error(ErrorCode::kCorruptCheckpoint, [&] { parse_manifest(flipped, "here"); });
    }
    tests::expect_error(ErrorCode::kCorruptCheckpoint,
                        [&] { parse_manifest(text.substr(0, i), "here"); });
  }
}

TEST(CheckpointManifest, RefusesRangesThatDoNotTileTheirTensor) {
  expect_refused([](auto& m) { m.tensors[0].ranges.pop_back(); });
  expect_refused([](auto& m) { m.tensors[0].ranges.push_back(m.tensors[0].ranges[0]); });
  expect_refused([](auto& m) { m.tensors[0].ranges[0].range.end = 5; });
  expect_refused([](auto& m) { m.tensors[0].ranges[1].range.begin = 3; });
  expect_refused([](auto& m) { m.tensors[0].ranges[0].range.columns = 3; });
  expect_refused([](auto& m) { m.tensors[0].ranges[0].range.column_begin = 1; });
  expect_refused([](auto& m) { m.tensors[1].ranges[0].range.end = 6; });
  expect_refused([](auto& m) { m.tensors[1].ranges.clear(); });
  expect_refused([](auto& m) { m.tensors[0].ranges[0].pieces.clear(); });
  expect_refused([](auto& m) { m.tensors[0].ranges[0].pieces.push_back({}); });
  expect_refused([](auto& m) { m.tensors[0].shape = {std::int64_t{1} << 62, 4}; });
  expect_refused([](auto& m) { m.tensors.push_back(m.tensors[0]); });
}

TEST(CheckpointManifest, RefusesFilesOutsideOfTheCheckpoint) {
  for (const char* name : {"../x", "/etc/passwd", "a/../../x", "a//b", "", ".", "a\\b", "a/"}) {
    expect_refused([name](auto& m) { m.files.push_back({name, {}, {}, {}}); });
  }
  expect_refused([](auto& m) { m.files.push_back(m.files[0]); });
  expect_refused([](auto& m) { m.tensors[0].file = "elsewhere.safetensors"; });
  expect_refused([](auto& m) { m.tensors[0].file.clear(); });
  expect_refused([](auto& m) { m.files[0].checked_bytes = common::Bytes(1001); });
}

TEST(CheckpointManifest, CutsRangesIntoPiecesOf16MiB) {
  const std::int64_t most = (16 << 20) / 4;
  const auto pieces = pieces_of({0, 1 << 30, 5, 5 + 2 * most + 1}, TensorType::kF32);
  ASSERT_EQ(pieces.size(), 3u);
  EXPECT_EQ(pieces[1], (TensorRange{0, 1 << 30, 5 + most, 5 + 2 * most}));
  EXPECT_EQ(pieces[2].elements(), 1);
  EXPECT_EQ(piece_elements(TensorType::kBF16), 2 * most);
}

TEST(Checksum, IsXxh3Of128BitsAsItsAuthorPrintsIt) {
  // xxh128sum of an empty input, and of "meshplan".
  EXPECT_EQ(to_string(checksum_of(std::string_view())), "99aa06d3014798d86001c324468d497f");
  ChecksumStream stream;
  stream.append(std::as_bytes(std::span(std::string_view("mesh"))));
  stream.append(std::as_bytes(std::span(std::string_view("plan"))));
  EXPECT_EQ(stream.finish(), checksum_of(std::string_view("meshplan")));
  EXPECT_EQ(parse_checksum(to_string(Checksum{1, 0xffffffffffffffff})),
            (Checksum{1, 0xffffffffffffffff}));
  EXPECT_EQ(parse_checksum("99aa06d3014798d86001c324468d497"), std::nullopt);
  EXPECT_EQ(parse_checksum("99AA06d3014798d86001c324468d497f"), std::nullopt);
}

}  // namespace
}  // namespace meshplan::formats
