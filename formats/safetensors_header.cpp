#include "formats/safetensors_header.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "common/checked.h"
#include "common/error.h"
#include "formats/json_events.h"

namespace meshplan::formats {
namespace {

using common::Error;
using common::ErrorCode;
using common::Json;

struct TypeRow {
  TensorType type;
  const char* name;
  std::int64_t bytes;
};

constexpr std::array kTypes = {
    TypeRow{TensorType::kBool, "BOOL", 1},      TypeRow{TensorType::kU8, "U8", 1},
    TypeRow{TensorType::kI8, "I8", 1},          TypeRow{TensorType::kF8E4M3, "F8_E4M3", 1},
    TypeRow{TensorType::kF8E5M2, "F8_E5M2", 1}, TypeRow{TensorType::kU16, "U16", 2},
    TypeRow{TensorType::kI16, "I16", 2},        TypeRow{TensorType::kF16, "F16", 2},
    TypeRow{TensorType::kBF16, "BF16", 2},      TypeRow{TensorType::kU32, "U32", 4},
    TypeRow{TensorType::kI32, "I32", 4},        TypeRow{TensorType::kF32, "F32", 4},
    TypeRow{TensorType::kU64, "U64", 8},        TypeRow{TensorType::kI64, "I64", 8},
    TypeRow{TensorType::kF64, "F64", 8},
};

static_assert([] {
  for (std::size_t i = 0; i < kTypes.size(); ++i) {
    if (kTypes[i].type != static_cast<TensorType>(i)) return false;
  }
  return true;
}());

const TypeRow& row_of(TensorType type) { return kTypes[static_cast<std::size_t>(type)]; }

/// A name from the file, short enough for a message.
std::string shown(const std::string& name) {
  return name.size() > 100 ? "'" + name.substr(0, 100) + "...'" : "'" + name + "'";
}

/// Builds the header from its JSON: {"__metadata__": {name: text}, tensor: {"dtype", "shape",
/// "data_offsets"}}. Other fields of a tensor are passed over, as the reference reader does.
class HeaderReader final : public JsonEvents {
 public:
  HeaderReader(std::int64_t data_begin, std::int64_t file_size, const std::string& file)
      : data_begin_(data_begin), data_bytes_(file_size - data_begin), file_(file) {}

  void open_object(int depth) override {
    if (depth == 2) expect_skipped();
    if (depth == 3 && in_number_list()) fail("must be a list of integers");
  }

  void open_array(int depth) override {
    if (depth == 0) fail("the header must be a JSON object");
    if (depth == 1) fail("must be an object");
    if (depth == 2 && !in_number_list()) expect_skipped();
    if (depth == 3 && in_number_list()) fail("must be a list of integers");
  }

  void close(int depth) override {
    if (depth == 1 && !in_metadata_) finish_tensor();
  }

  void key(int depth, const std::string& name) override {
    if (depth == 1) begin_member(name);
    if (depth == 2) {
      field_ = name;
      if (!fields_.insert(field_).second) fail("comes twice");
    }
  }

  void scalar(int depth, Json value) override {
    if (depth == 0) fail("the header must be a JSON object");
    if (depth == 1) fail("must be an object");
    if (depth == 2 && in_metadata_) {
      if (!value.is_string()) fail("must be a string");
      header_.metadata.emplace(field_, value.get<std::string>());
    } else if (depth == 2) {
      if (in_number_list()) fail("must be a list of integers");
      if (field_ == "dtype") read_type(value);
    } else if (depth == 3 && in_number_list()) {
      read_number(value);
    }
  }

  SafetensorsHeader finish() {
    check_tiling();
    return std::move(header_);
  }

 private:
  [[noreturn]] void fail(const std::string& problem) const {
    std::string subject;
    if (in_metadata_) {
      subject = "__metadata__";
    } else if (!tensor_.empty()) {
      subject = "tensor " + shown(tensor_);
    }
    if (!field_.empty()) subject += ", " + shown(field_);
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("{}{}{}; the file is damaged: copy or make it again", subject,
                            subject.empty() ? "" : ": ", problem),
                file_);
  }

  /// shape or data_offsets of a tensor.
  bool in_number_list() const {
    return !in_metadata_ && (field_ == "shape" || field_ == "data_offsets");
  }

  /// A container as a field's value is allowed only in fields that nobody reads.
  void expect_skipped() const {
    if (in_metadata_ || field_ == "dtype") fail("must be a string");
    if (in_number_list()) fail("must be a list of integers");
  }

  void begin_member(const std::string& name) {
    in_metadata_ = name == "__metadata__";
    tensor_ = name;
    field_.clear();
    fields_.clear();
    if (in_metadata_ ? std::exchange(has_metadata_, true) : header_.entries.contains(tensor_)) {
      fail("comes twice");
    }
    type_.reset();
    shape_.clear();
    offsets_.clear();
  }

  void read_type(const Json& value) {
    if (!value.is_string()) fail("must be a string");
    const auto& name = value.get_ref<const std::string&>();
    const auto row = std::find_if(kTypes.begin(), kTypes.end(),
                                  [&name](const TypeRow& type) { return type.name == name; });
    if (row == kTypes.end()) {
      std::vector<std::string> known;
      for (const TypeRow& type : kTypes) known.emplace_back(type.name);
      fail(fmt::format("unknown type {}; known are {}", shown(name), fmt::join(known, ", ")));
    }
    type_ = row->type;
  }

  void read_number(const Json& value) {
    constexpr auto kLargest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() > kLargest) {
      fail("must hold integers from 0 to 2^63 - 1");
    }
    (field_ == "shape" ? shape_ : offsets_).push_back(value.get<std::int64_t>());
  }

  void finish_tensor() {
    field_.clear();
    if (!type_) fail("has no dtype");
    if (!fields_.contains("shape")) fail("has no shape");
    if (offsets_.size() != 2) fail("data_offsets must be [begin, end]");
    const auto [begin, end] = std::pair(offsets_[0], offsets_[1]);
    if (begin > end || end > data_bytes_) {
      fail(
          fmt::format("data_offsets [{}, {}] are not within the {} bytes of data that the file has",
                      begin, end, data_bytes_));
    }
    const std::string where = fmt::format("{}: tensor {}, shape", file_, shown(tensor_));
    std::int64_t bytes = 1;
    for (std::int64_t size : shape_) bytes = common::checked_multiply(bytes, size, where);
    bytes = common::checked_multiply(bytes, size_of(*type_), where);
    if (bytes != end - begin) {
      fail(fmt::format("shape [{}] of {} takes {} bytes, data_offsets [{}, {}] hold {}",
                       fmt::join(shape_, ", "), to_string(*type_), bytes, begin, end, end - begin));
    }
    header_.entries.emplace(tensor_, SafetensorsEntry{*type_, std::move(shape_),
                                                      data_begin_ + begin, common::Bytes(bytes)});
    shape_ = {};
  }

  void check_tiling() {
    std::vector<std::pair<const SafetensorsEntry*, const std::string*>> order;
    for (const auto& [name, entry] : header_.entries) order.emplace_back(&entry, &name);
    std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
      return std::tuple(a.first->offset, a.first->bytes) <
             std::tuple(b.first->offset, b.first->bytes);
    });
    in_metadata_ = false;
    std::int64_t filled = 0;
    for (const auto& [entry, name] : order) {
      const std::int64_t begin = entry->offset - data_begin_;
      tensor_ = *name;
      if (begin < filled) {
        fail(fmt::format("begins at {}, inside the tensor before it, which ends at {}", begin,
                         filled));
      }
      if (begin > filled)
        fail(fmt::format("begins at {} and leaves a hole from {}", begin, filled));
      filled = begin + entry->bytes.value;
    }
    tensor_.clear();
    if (filled != data_bytes_) {
      fail(fmt::format("the tensors end at byte {} of the data, the file at byte {}", filled,
                       data_bytes_));
    }
  }

  std::int64_t data_begin_;
  std::int64_t data_bytes_;
  const std::string& file_;
  SafetensorsHeader header_;
  bool has_metadata_ = false;

  // The member and the field being read.
  bool in_metadata_ = false;
  std::string tensor_;
  std::string field_;
  std::set<std::string> fields_;
  std::optional<TensorType> type_;
  std::vector<std::int64_t> shape_;
  std::vector<std::int64_t> offsets_;
};

}  // namespace

std::int64_t size_of(TensorType type) { return row_of(type).bytes; }

const char* to_string(TensorType type) { return row_of(type).name; }

SafetensorsHeader parse_safetensors_header(std::string_view json, std::int64_t data_begin,
                                           std::int64_t file_size, const std::string& file) {
  HeaderReader reader(data_begin, file_size, file);
  read_json_events(json, file, reader);
  return reader.finish();
}

}  // namespace meshplan::formats
