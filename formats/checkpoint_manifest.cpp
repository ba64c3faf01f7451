#include "formats/checkpoint_manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <tuple>

#include "common/checked.h"
#include "common/error.h"
#include "common/file.h"
#include "common/json.h"

namespace meshplan::formats {
namespace {

using common::Error;
using common::ErrorCode;
using common::Json;
using common::JsonObject;

constexpr std::int64_t kSchemaVersion = 1;
constexpr common::Bytes kMaxManifestBytes{std::int64_t{1} << 30};
constexpr std::array kParts = {CheckpointPart::kWeights, CheckpointPart::kMaster,
                               CheckpointPart::kFirstMoment, CheckpointPart::kSecondMoment};
constexpr std::array kTypes = {TensorType::kF32, TensorType::kBF16, TensorType::kF16};
/// What stands before and after the checksum's digits.
constexpr std::string_view kBeforeChecksum = "{\"checksum\":\"";
constexpr std::string_view kAfterChecksum = "\",\n";
constexpr std::size_t kChecksumDigits = 32;
constexpr std::size_t kLongestName = 512;

[[noreturn]] void corrupt(const std::string& problem, const std::string& where) {
  throw Error(ErrorCode::kCorruptCheckpoint, problem, where);
}

std::int64_t tensor_elements(const std::vector<std::int64_t>& shape, const std::string& where) {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) count = common::checked_multiply(count, size, where);
  return count;
}

/// A path that stays in the checkpoint's folder: a few plain names, separated by slashes.
bool is_safe(const std::string& name) {
  if (name.empty() || name.size() > kLongestName) return false;
  std::size_t begin = 0;
  while (begin <= name.size()) {
    const std::size_t end = std::min(name.find('/', begin), name.size());
    const std::string_view component = std::string_view(name).substr(begin, end - begin);
    if (component.empty() || component == "." || component == "..") return false;
    for (const char c : component) {
      if (static_cast<unsigned char>(c) < 0x20 || c == '\\' || c == 0x7f) return false;
    }
    begin = end + 1;
  }
  return true;
}

Json to_json(const HashedRange& hashed) {
  Json pieces = Json::array();
  for (const Checksum& checksum : hashed.pieces) pieces.push_back(to_string(checksum));
  const TensorRange& range = hashed.range;
  return {{"rank", hashed.rank},
          {"columns", {range.column_begin, range.column_begin + range.columns}},
          {"elements", {range.begin, range.end}},
          {"checksums", std::move(pieces)}};
}

Json to_json(const CheckpointTensor& tensor) {
  Json json = {{"part", to_string(tensor.part)},
               {"name", tensor.name},
               {"dtype", to_string(tensor.type)},
               {"shape", tensor.shape}};
  if (!tensor.file.empty()) json["file"] = tensor.file;
  Json& ranges = json["ranges"] = Json::array();
  for (const HashedRange& range : tensor.ranges) ranges.push_back(to_json(range));
  return json;
}

Json to_json(const CheckpointFile& file) {
  return {{"name", file.name},
          {"bytes", file.bytes.value},
          {"checked_bytes", file.checked_bytes.value},
          {"checksum", to_string(file.checksum)}};
}

template <class Value, class Values>
Value one_of(const Values& values, const std::string& name, const std::string& where) {
  for (const Value value : values) {
    if (name == to_string(value)) return value;
  }
  corrupt(fmt::format("'{:.40}' is not known", name), where);
}

Checksum read_checksum(const Json& json, const std::string& where) {
  const auto checksum =
      json.is_string() ? parse_checksum(json.get<std::string>()) : std::optional<Checksum>();
  if (!checksum) corrupt("must be 32 hexadecimal digits", where);
  return *checksum;
}

/// [begin, end) with 0 <= begin <= end.
std::pair<std::int64_t, std::int64_t> read_span(const JsonObject& json, const char* key) {
  const Json& span = json.at(key);
  if (!span.is_array() || span.size() != 2 || !span[0].is_number_integer() ||
      !span[1].is_number_integer() || span[0].get<std::int64_t>() < 0 ||
      span[1].get<std::int64_t>() < span[0].get<std::int64_t>()) {
    corrupt("must be [begin, end]", json.where() + "." + key);
  }
  return {span[0].get<std::int64_t>(), span[1].get<std::int64_t>()};
}

HashedRange read_range(const JsonObject& json) {
  HashedRange hashed{.rank = json.integer("rank", 0, 1 << 20), .range = {}, .pieces = {}};
  const auto [column_begin, column_end] = read_span(json, "columns");
  const auto [begin, end] = read_span(json, "elements");
  hashed.range = {column_begin, column_end - column_begin, begin, end};
  const Json& pieces = json.at("checksums");
  if (!pieces.is_array()) corrupt("must be an array", json.where() + ".checksums");
  for (const Json& piece : pieces)
    hashed.pieces.push_back(read_checksum(piece, json.where() + ".checksums"));
  json.reject_unknown_keys();
  return hashed;
}

CheckpointTensor read_tensor(const JsonObject& json) {
  CheckpointTensor tensor;
  tensor.part = one_of<CheckpointPart>(kParts, json.text("part"), json.where() + ".part");
  tensor.name = json.text("name");
  tensor.type = one_of<TensorType>(kTypes, json.text("dtype"), json.where() + ".dtype");
  const Json& shape = json.at("shape");
  if (!shape.is_array() || shape.size() > 8) corrupt("must be an array", json.where() + ".shape");
  for (const Json& size : shape) {
    if (!size.is_number_unsigned() || size.get<std::int64_t>() < 1)
      corrupt("must have positive sizes", json.where() + ".shape");
    tensor.shape.push_back(size.get<std::int64_t>());
  }
  tensor.file = json.text_or("file", "");
  for (const JsonObject& range : json.objects("ranges")) tensor.ranges.push_back(read_range(range));
  json.reject_unknown_keys();
  return tensor;
}

CheckpointFile read_file_entry(const JsonObject& json) {
  CheckpointFile file{.name = json.text("name"),
                      .bytes = common::Bytes(json.integer("bytes")),
                      .checked_bytes = common::Bytes(json.integer("checked_bytes")),
                      .checksum = read_checksum(json.at("checksum"), json.where() + ".checksum")};
  if (!is_safe(file.name)) corrupt("must be a path in the checkpoint", json.where() + ".name");
  if (file.checked_bytes > file.bytes)
    corrupt("must be at most bytes", json.where() + ".checked_bytes");
  json.reject_unknown_keys();
  return file;
}

/// The ranges are bands of columns side by side, each filled from its first to its last element.
void check_tiling(const CheckpointTensor& tensor, const std::string& where) {
  const std::int64_t whole = tensor_elements(tensor.shape, where);
  const std::int64_t row = row_length(tensor.shape);
  std::vector<const HashedRange*> sorted;
  for (const HashedRange& range : tensor.ranges) sorted.push_back(&range);
  std::sort(sorted.begin(), sorted.end(), [](const HashedRange* a, const HashedRange* b) {
    return std::tie(a->range.column_begin, a->range.begin) <
           std::tie(b->range.column_begin, b->range.begin);
  });
  std::int64_t column = 0;
  std::int64_t columns = 0;
  std::int64_t element = 0;
  for (const HashedRange* hashed : sorted) {
    const TensorRange& range = hashed->range;
    if (element == whole / row * columns) {
      column += columns;
      columns = range.columns;
      element = 0;
    }
    const bool fits = range.column_begin == column && range.columns == columns && columns > 0 &&
                      columns <= row - column && range.begin == element &&
                      range.end > range.begin && range.end <= whole / row * columns;
    if (!fits) corrupt("its ranges do not tile the tensor", where);
    if (std::ssize(hashed->pieces) !=
        common::ceil_divide(range.elements(), piece_elements(tensor.type)))
      corrupt("a range has another number of pieces than checksums", where);
    element = range.end;
  }
  if (column + columns != row || element != whole / row * columns)
    corrupt("its ranges do not cover the tensor", where);
}

void check_tensors(const CheckpointManifest& manifest, const std::string& where) {
  std::set<std::string> files;
  for (const CheckpointFile& file : manifest.files) {
    if (!files.insert(file.name).second) corrupt("comes twice", where + ": " + file.name);
  }
  std::set<std::pair<CheckpointPart, std::string>> names;
  for (const CheckpointTensor& tensor : manifest.tensors) {
    const std::string name =
        fmt::format("{}: {} {:.200}", where, to_string(tensor.part), tensor.name);
    if (!names.emplace(tensor.part, tensor.name).second) corrupt("comes twice", name);
    check_tiling(tensor, name);
    for (const HashedRange& range : tensor.ranges) {
      const std::string file = tensor.file.empty() ? rank_file(range.rank) : tensor.file;
      if (!files.contains(file)) corrupt(file + " is not among the files", name);
    }
  }
}

std::vector<CheckpointTensor> read_tensors(const JsonObject& json) {
  std::vector<CheckpointTensor> tensors;
  for (const JsonObject& tensor : json.objects("tensors")) tensors.push_back(read_tensor(tensor));
  return tensors;
}

CheckpointManifest read_body(const JsonObject& json) {
  CheckpointManifest manifest;
  json.at("checksum");
  if (json.integer("schema_version") != kSchemaVersion) {
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("is {}; this program reads {}: use a later version",
                            json.integer("schema_version"), kSchemaVersion),
                json.where() + ".schema_version");
  }
  manifest.step = json.integer("step");
  const Json& mesh = json.at("mesh");
  if (!mesh.is_object()) corrupt("must be an object", json.where() + ".mesh");
  for (const auto& [axis, size] : mesh.items())
    manifest.mesh.emplace_back(axis, JsonObject(mesh, json.where() + ".mesh").integer(axis, 1));
  for (const JsonObject& file : json.objects("files"))
    manifest.files.push_back(read_file_entry(file));
  manifest.tensors = read_tensors(json);
  json.reject_unknown_keys();
  check_tensors(manifest, json.where());
  return manifest;
}

/// The text's checksum, its own digits read as zeros.
Checksum checksum_of_manifest(std::string text) {
  std::fill_n(text.begin() + kBeforeChecksum.size(), kChecksumDigits, '0');
  return checksum_of(text);
}

}  // namespace

const char* to_string(CheckpointPart part) {
  switch (part) {
    case CheckpointPart::kWeights:
      return "weights";
    case CheckpointPart::kMaster:
      return "master";
    case CheckpointPart::kFirstMoment:
      return "first_moment";
    case CheckpointPart::kSecondMoment:
      return "second_moment";
  }
  return "weights";
}

std::string folder_of(CheckpointPart part) {
  return part == CheckpointPart::kWeights ? "" : std::string("optimizer/") + to_string(part);
}

std::int64_t piece_elements(TensorType type) { return kPieceBytes / size_of(type); }

std::vector<TensorRange> pieces_of(const TensorRange& range, TensorType type) {
  const std::int64_t step = piece_elements(type);
  std::vector<TensorRange> pieces;
  for (std::int64_t begin = range.begin; begin < range.end; begin += step) {
    TensorRange piece = range;
    piece.begin = begin;
    piece.end = std::min(begin + step, range.end);
    pieces.push_back(piece);
  }
  return pieces;
}

std::string rank_file(std::int64_t rank) {
  return fmt::format("{}/rank-{:05}.safetensors", kRankFolder, rank);
}

std::string rank_tensor(CheckpointPart part, const std::string& name) {
  return fmt::format("{}/{}", to_string(part), name);
}

std::string to_text(const CheckpointManifest& manifest) {
  std::string text(kBeforeChecksum);
  text.append(kChecksumDigits, '0').append(kAfterChecksum);
  Json mesh = Json::object();
  for (const auto& [axis, size] : manifest.mesh) mesh[axis] = size;
  text += fmt::format("\"schema_version\":{},\"step\":{},\"mesh\":{},\n\"files\":[", kSchemaVersion,
                      manifest.step, mesh.dump());
  const char* separator = "\n";
  for (const CheckpointFile& file : manifest.files) {
    text += separator + to_json(file).dump();
    separator = ",\n";
  }
  text += "],\n\"tensors\":[";
  separator = "\n";
  for (const CheckpointTensor& tensor : manifest.tensors) {
    text += separator + to_json(tensor).dump();
    separator = ",\n";
  }
  text += "]}\n";
  text.replace(kBeforeChecksum.size(), kChecksumDigits, to_string(checksum_of(text)));
  return text;
}

CheckpointManifest parse_manifest(const std::string& text, const std::string& where) {
  const std::string_view view = text;
  const std::size_t head = kBeforeChecksum.size() + kChecksumDigits;
  if (!view.starts_with(kBeforeChecksum) ||
      !view.substr(std::min(head, view.size())).starts_with(kAfterChecksum))
    corrupt("does not begin as a manifest does; it is cut or overwritten", where);
  const auto stated = parse_checksum(view.substr(kBeforeChecksum.size(), kChecksumDigits));
  const Checksum actual = checksum_of_manifest(text);
  if (stated != actual) {
    corrupt(fmt::format("states the checksum {}, its content has {}",
                        view.substr(kBeforeChecksum.size(), kChecksumDigits), to_string(actual)),
            where);
  }
  try {
    const Json json = common::parse_json(text, where);
    return read_body(JsonObject(json, where));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kInvalidInput || error.where() == where + ".schema_version")
      throw;
    corrupt(error.message(), error.where());
  }
}

CheckpointManifest read_manifest(const std::filesystem::path& step_folder) {
  const std::filesystem::path path = step_folder / kManifestName;
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(std::filesystem::symlink_status(path, ignored)))
    corrupt("is missing", path.string());
  return parse_manifest(common::read_file(path, kMaxManifestBytes), path.string());
}

std::string to_text(const std::vector<CheckpointTensor>& tensors) {
  Json json = {{"tensors", Json::array()}};
  for (const CheckpointTensor& tensor : tensors) json["tensors"].push_back(to_json(tensor));
  return json.dump();
}

std::vector<CheckpointTensor> parse_tensors(const std::string& text, const std::string& where) {
  const Json json = common::parse_json(text, where);
  return read_tensors(JsonObject(json, where));
}

}  // namespace meshplan::formats
