#include "formats/safetensors_folder.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/common/expect_error.h"
#include "tests/common/temporary_folder.h"
#include "tests/formats/safetensors_bytes.h"

namespace meshplan::formats {
namespace {

using common::ErrorCode;
using tests::expect_error;

class SafetensorsFolderTest : public testing::Test {
 protected:
  /// A file of one-byte tensors, "a" and "b" for the names "ab", each holding its own name.
  void write_shard(const std::string& file, const std::string& names) {
    std::vector<TensorToWrite> tensors;
    for (const char name : names) tensors.push_back({std::string(1, name), TensorType::kU8, {1}});
    write_safetensors(folder_ / file, tensors, [&names](std::size_t i) {
      return std::as_bytes(std::span(names)).subspan(i, 1);
    });
  }
  void write_index(const std::string& text) {
    tests::write_quickly(folder_ / "model.safetensors.index.json", text);
  }
  template <class... Parts>
  void refused(const Parts&... parts) {
    expect_error(
        ErrorCode::kInvalidInput, [this] { SafetensorsFolder folder(folder_.path()); }, parts...);
  }
  static std::string content(const TensorLocation& location) {
    std::string text(static_cast<std::size_t>(location.entry->bytes.value), '\0');
    location.file->read(*location.entry, 0, std::as_writable_bytes(std::span(text)));
    return text;
  }

  tests::TemporaryFolder folder_;
};

TEST_F(SafetensorsFolderTest, WithoutAnIndexAllFilesTogetherAreTheModel) {
  write_shard("model-2.safetensors", "cd");
  write_shard("model-1.safetensors", "ab");
  tests::write_quickly(folder_ / "config.json", "{}");
  const SafetensorsFolder folder(folder_.path());
  EXPECT_EQ(folder.tensors().size(), 4u);
  EXPECT_EQ(content(folder.locate("c")), "c");
  EXPECT_EQ(folder.locate("a").file->path().filename(), "model-1.safetensors");
}

TEST_F(SafetensorsFolderTest, WithAnIndexOnlyTheFilesItNamesAreRead) {
  write_shard("model-1.safetensors", "ab");
  write_shard("model-2.safetensors", "cx");
  write_shard("consolidated.safetensors", "abc");
  write_index(
      R"({"metadata":{"total_size":3,"more":[{}]},"weight_map":)"
      R"({"a":"model-1.safetensors","b":"model-1.safetensors","c":"model-2.safetensors"}})");
  const SafetensorsFolder folder(folder_.path());
  EXPECT_EQ(folder.tensors().size(), 3u);
  EXPECT_EQ(folder.locate("c").file->path().filename(), "model-2.safetensors");
  EXPECT_EQ(content(folder.locate("b")), "b");
}

TEST_F(SafetensorsFolderTest, LocationsSurviveAMove) {
  write_shard("model.safetensors", "ab");
  SafetensorsFolder first(folder_.path());
  const TensorLocation location = first.locate("b");
  const SafetensorsFolder second = std::move(first);
  EXPECT_EQ(content(location), "b");
  EXPECT_EQ(second.locate("b").entry, location.entry);
}

TEST_F(SafetensorsFolderTest, NamesATensorThatIsMissing) {
  write_shard("model.safetensors", "ab");
  const SafetensorsFolder folder(folder_.path());
  expect_error(
      ErrorCode::kInvalidInput, [&] { folder.locate("lm_head.weight"); }, folder_.path().string(),
      "'lm_head.weight'");
}

TEST_F(SafetensorsFolderTest, RefusesAPathThatIsNoFolder) {
  expect_error(
      ErrorCode::kInvalidInput, [this] { SafetensorsFolder folder(folder_ / "none"); }, "none",
      "is not a folder");
}

TEST_F(SafetensorsFolderTest, RefusesAFolderWithoutWeightsAndSaysWhatToDo) {
  refused("no *.safetensors file", "download");
}

TEST_F(SafetensorsFolderTest, RefusesATensorInTwoFiles) {
  write_shard("one.safetensors", "ab");
  write_shard("two.safetensors", "bc");
  refused("'b'", "one.safetensors", "two.safetensors");
}

TEST_F(SafetensorsFolderTest, RefusesAnIndexThatLeavesTheFolder) {
  for (const char* name : {"../model.safetensors", "/etc/model.safetensors", "a/b.safetensors",
                           "..", "", ".safetensors", "model.bin", "..\\\\model.safetensors"}) {
    write_index(std::string(R"({"weight_map":{"a":")") + name + "\"}}");
    refused("model.safetensors.index.json", "not the plain name");
  }
}

TEST_F(SafetensorsFolderTest, NamesAFileThatTheIndexNamesAndIsMissing) {
  write_shard("model-1.safetensors", "a");
  write_index(R"({"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}})");
  refused("model-2.safetensors", "is missing");
}

TEST_F(SafetensorsFolderTest, NamesATensorThatTheIndexNamesAndIsMissing) {
  write_shard("model-1.safetensors", "a");
  write_index(R"({"weight_map":{"b":"model-1.safetensors"}})");
  refused("weight_map", "model-1.safetensors", "'b'");
}

TEST_F(SafetensorsFolderTest, RefusesAnIndexOfAnotherForm) {
  for (const char* text :
       {"{}", "[]", "1", "{", R"({"weight_map":1})", R"({"weight_map":[]})",
        R"({"weight_map":{"a":1}})", R"({"weight_map":{"a":["x"]}})", R"({"weight_map":{"a":{}}})",
        R"({"weight_map":{},"weight_map":{}})", R"({"weight_map":{"a":"x","a":"y"}})"}) {
    write_index(text);
    refused("model.safetensors.index.json");
  }
}

TEST_F(SafetensorsFolderTest, NamesTheFileThatIsTruncated) {
  write_shard("model-1.safetensors", "ab");
  write_shard("model-2.safetensors", "cd");
  const auto path = folder_ / "model-2.safetensors";
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  refused("model-2.safetensors", "1 bytes of data");
}

}  // namespace
}  // namespace meshplan::formats
