#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace meshplan::common {

/// JSON with its keys in the order of writing, so that equal data gives equal bytes.
using Json = nlohmann::ordered_json;

/// Parses text in time that grows with its length; throws kInvalidInput, naming `where` and the
/// position, on a syntax error, a duplicate key, more than 100,000 keys in one object or more than
/// 64 levels of nesting.
Json parse_json(std::string_view text, const std::string& where);

/// Reads and parses a file of at most 256 MiB; throws kIo where it cannot be read.
Json read_json_file(const std::filesystem::path& path);

/// Reads the fields of one JSON object and says, on any surprise, which field of which file is
/// wrong. Every function throws kInvalidInput with `where.key` when the key is absent or of another
/// type or range.
class JsonObject {
 public:
  /// `where` names the object in messages: "config.json", "plan.json.layout".
  JsonObject(const Json& value, std::string where);

  bool has(const std::string& key) const;
  /// True when the key is absent or null: Hugging Face writes both for "not set".
  bool is_null(const std::string& key) const;

  const Json& at(const std::string& key) const;
  std::string text(const std::string& key) const;
  bool flag(const std::string& key) const;
  std::int64_t integer(const std::string& key, std::int64_t min = 0,
                       std::int64_t max = std::numeric_limits<std::int64_t>::max()) const;
  /// A finite number within [min, max].
  double number(const std::string& key, double min = std::numeric_limits<double>::lowest(),
                double max = std::numeric_limits<double>::max()) const;
  JsonObject object(const std::string& key) const;
  /// An array of objects.
  std::vector<JsonObject> objects(const std::string& key) const;

  /// The same for fields that may be left out or null.
  std::string text_or(const std::string& key, const std::string& fallback) const;
  bool flag_or(const std::string& key, bool fallback) const;
  std::int64_t integer_or(const std::string& key, std::int64_t fallback,
                          std::int64_t min = 0) const;
  double number_or(const std::string& key, double fallback,
                   double min = std::numeric_limits<double>::lowest()) const;

  /// Throws when the object has a key that no call above asked for: our own files are closed sets
  /// of keys.
  void reject_unknown_keys() const;

  const std::string& where() const { return where_; }
  const Json& json() const { return *value_; }

 private:
  [[noreturn]] void fail(const std::string& key, const std::string& expected) const;

  const Json* value_;
  std::string where_;
  mutable std::set<std::string> asked_;
};

}  // namespace meshplan::common
