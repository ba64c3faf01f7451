#include "formats/json_events.h"

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "common/error.h"

namespace meshplan::formats {
namespace {

using common::Error;
using common::ErrorCode;
using common::Json;

constexpr int kMaxDepth = 64;

/// nlohmann's thirteen events as the five of JsonEvents.
class SaxAdapter final : public nlohmann::json_sax<Json> {
 public:
  SaxAdapter(const std::string& where, JsonEvents& events) : where_(where), events_(events) {}

  bool null() override { return scalar(nullptr); }
  bool boolean(bool value) override { return scalar(value); }
  bool number_integer(std::int64_t value) override { return scalar(value); }
  bool number_unsigned(std::uint64_t value) override { return scalar(value); }
  bool number_float(double value, const std::string&) override { return scalar(value); }
  bool string(std::string& value) override { return scalar(std::move(value)); }
  bool binary(Json::binary_t&) override { return false; }

  bool start_object(std::size_t) override {
    events_.open_object(enter());
    return true;
  }
  bool start_array(std::size_t) override {
    events_.open_array(enter());
    return true;
  }
  bool end_object() override { return leave(); }
  bool end_array() override { return leave(); }
  bool key(std::string& name) override {
    events_.key(depth_, name);
    return true;
  }

  bool parse_error(std::size_t, const std::string&,
                   const nlohmann::detail::exception& error) override {
    // The library's message ends with the last token, which may be as long as the text.
    throw Error(ErrorCode::kInvalidInput, fmt::format("not valid JSON: {:.200}", error.what()),
                where_);
  }

 private:
  bool scalar(Json value) {
    events_.scalar(depth_, std::move(value));
    return true;
  }
  int enter() {
    if (depth_ == kMaxDepth) {
      throw Error(ErrorCode::kInvalidInput,
                  fmt::format("JSON is nested deeper than {} levels", kMaxDepth), where_);
    }
    return depth_++;
  }
  bool leave() {
    events_.close(--depth_);
    return true;
  }

  const std::string& where_;
  JsonEvents& events_;
  int depth_ = 0;
};

}  // namespace

void read_json_events(std::string_view text, const std::string& where, JsonEvents& events) {
  SaxAdapter adapter(where, events);
  Json::sax_parse(text.begin(), text.end(), &adapter);
}

}  // namespace meshplan::formats
