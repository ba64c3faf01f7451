#include "common/json.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/error.h"
#include "common/file.h"

namespace meshplan::common {
namespace {

constexpr std::size_t kMaxDepth = 64;
constexpr std::size_t kMaxKeys = 100'000;
constexpr std::int64_t kMaxFileBytes = 256ll << 20;

/// A short rendering of a value for messages.
std::string shown(const Json& value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() > 60 ? text.substr(0, 57) + "..." : text;
}

/// Builds the document from the parser's events. The library's own builder looks for each key among
/// all earlier ones of its object, which takes minutes for a hundred thousand, and lets through
/// deep nesting and keys that come twice.
class DocumentBuilder final : public nlohmann::json_sax<Json> {
 public:
  explicit DocumentBuilder(const std::string& where) : where_(where) {}

  Json take() { return std::move(root_); }

  bool null() override { return scalar(nullptr); }
  bool boolean(bool value) override { return scalar(value); }
  bool number_integer(std::int64_t value) override { return scalar(value); }
  bool number_unsigned(std::uint64_t value) override { return scalar(value); }
  bool number_float(double value, const std::string&) override { return scalar(value); }
  bool string(std::string& value) override { return scalar(std::move(value)); }
  bool binary(Json::binary_t&) override { return false; }

  bool start_object(std::size_t) override {
    keys_.emplace_back();
    return open(Json::object());
  }
  bool end_object() override {
    keys_.pop_back();
    return close();
  }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_array() override { return close(); }

  bool key(std::string& name) override {
    if (keys_.back().size() == kMaxKeys) {
      refuse(fmt::format("an object has more than {} keys", kMaxKeys));
    }
    if (!keys_.back().insert(name).second) {
      refuse("key " + shown(name) + " comes twice in one object");
    }
    key_ = std::move(name);
    return true;
  }

  bool parse_error(std::size_t, const std::string&,
                   const nlohmann::detail::exception& error) override {
    // The library's message ends with the last token, which may be as long as the text.
    refuse(fmt::format("not valid JSON: {:.200}", error.what()));
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    throw Error(ErrorCode::kInvalidInput, why, where_);
  }

  /// Puts the value into the innermost open container; the pointer holds until that one closes.
  Json* add(Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& container = *open_.back();
    if (container.is_array()) {
      return &container.get_ref<Json::array_t&>().emplace_back(std::move(value));
    }
    auto& members = container.get_ref<Json::object_t&>();
    return &members.emplace_back(std::move(key_), std::move(value)).second;
  }

  bool scalar(Json value) {
    add(std::move(value));
    return true;
  }

  bool open(Json container) {
    if (open_.size() == kMaxDepth) {
      refuse(fmt::format("nested deeper than {} levels", kMaxDepth));
    }
    open_.push_back(add(std::move(container)));
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  const std::string& where_;
  Json root_;
  std::vector<Json*> open_;
  /// Of the open objects, and the key that waits for its value.
  std::vector<std::set<std::string>> keys_;
  std::string key_;
};

}  // namespace

Json parse_json(std::string_view text, const std::string& where) {
  DocumentBuilder builder(where);
  Json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

Json read_json_file(const std::filesystem::path& path) {
  return parse_json(read_file(path, Bytes(kMaxFileBytes)), path.string());
}

JsonObject::JsonObject(const Json& value, std::string where)
    : value_(&value), where_(std::move(where)) {
  if (!value.is_object()) {
    throw Error(ErrorCode::kInvalidInput, "must be a JSON object, is " + shown(value), where_);
  }
}

void JsonObject::fail(const std::string& key, const std::string& expected) const {
  const auto found = value_->find(key);
  const std::string problem = found == value_->end()
                                  ? "is missing; it must be " + expected
                                  : "must be " + expected + ", is " + shown(*found);
  throw Error(ErrorCode::kInvalidInput, problem, where_ + "." + key);
}

bool JsonObject::has(const std::string& key) const {
  asked_.insert(key);
  return value_->contains(key);
}

bool JsonObject::is_null(const std::string& key) const {
  return !has(key) || value_->at(key).is_null();
}

const Json& JsonObject::at(const std::string& key) const {
  if (!has(key)) fail(key, "set");
  return value_->at(key);
}

std::string JsonObject::text(const std::string& key) const {
  if (!has(key) || !value_->at(key).is_string()) fail(key, "a string");
  return value_->at(key).get<std::string>();
}

bool JsonObject::flag(const std::string& key) const {
  if (!has(key) || !value_->at(key).is_boolean()) fail(key, "true or false");
  return value_->at(key).get<bool>();
}

std::int64_t JsonObject::integer(const std::string& key, std::int64_t min, std::int64_t max) const {
  const std::string expected = max == std::numeric_limits<std::int64_t>::max()
                                   ? fmt::format("an integer of at least {}", min)
                                   : fmt::format("an integer from {} to {}", min, max);
  if (!has(key) || !value_->at(key).is_number_integer()) fail(key, expected);
  const Json& found = value_->at(key);
  constexpr auto kLargest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (found.is_number_unsigned() && found.get<std::uint64_t>() > kLargest) fail(key, expected);
  const auto number = found.get<std::int64_t>();
  if (number < min || number > max) fail(key, expected);
  return number;
}

double JsonObject::number(const std::string& key, double min, double max) const {
  const bool from = min > std::numeric_limits<double>::lowest();
  const bool to = max < std::numeric_limits<double>::max();
  std::string expected = "a finite number";
  if (from && to) {
    expected = fmt::format("a number from {} to {}", min, max);
  } else if (from) {
    expected += fmt::format(" of at least {}", min);
  } else if (to) {
    expected += fmt::format(" of at most {}", max);
  }
  if (!has(key) || !value_->at(key).is_number()) fail(key, expected);
  const auto found = value_->at(key).get<double>();
  if (!std::isfinite(found) || found < min || found > max) fail(key, expected);
  return found;
}

JsonObject JsonObject::object(const std::string& key) const {
  if (!has(key) || !value_->at(key).is_object()) fail(key, "an object");
  return JsonObject(value_->at(key), where_ + "." + key);
}

std::vector<JsonObject> JsonObject::objects(const std::string& key) const {
  if (!has(key) || !value_->at(key).is_array()) fail(key, "an array of objects");
  std::vector<JsonObject> found;
  for (const Json& item : value_->at(key)) {
    found.emplace_back(item, fmt::format("{}.{}[{}]", where_, key, found.size()));
  }
  return found;
}

std::string JsonObject::text_or(const std::string& key, const std::string& fallback) const {
  return is_null(key) ? fallback : text(key);
}

bool JsonObject::flag_or(const std::string& key, bool fallback) const {
  return is_null(key) ? fallback : flag(key);
}

std::int64_t JsonObject::integer_or(const std::string& key, std::int64_t fallback,
                                    std::int64_t min) const {
  return is_null(key) ? fallback : integer(key, min);
}

double JsonObject::number_or(const std::string& key, double fallback, double min) const {
  return is_null(key) ? fallback : number(key, min);
}

void JsonObject::reject_unknown_keys() const {
  std::vector<std::string> unknown;
  for (const auto& [key, value] : value_->items()) {
    if (!asked_.contains(key)) unknown.push_back(key);
  }
  if (unknown.empty()) return;
  std::string others;
  for (std::size_t i = 1; i < std::min<std::size_t>(unknown.size(), 10); ++i)
    others += (i == 1 ? ", and so are " : ", ") + shown(Json(unknown[i]));
  throw Error(ErrorCode::kInvalidInput,
              fmt::format("unknown key{}; known are: {}", others, fmt::join(asked_, ", ")),
              where_ + "." + unknown.front());
}

}  // namespace meshplan::common
