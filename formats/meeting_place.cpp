#include "formats/meeting_place.h"

#include "common/error.h"
#include "common/file.h"
#include "common/json.h"

namespace meshplan::formats {
namespace {

using common::Json;

constexpr common::Bytes kLargest(64 << 10);

}  // namespace

void write_meeting_place(const std::filesystem::path& file, const MeetingPlace& place) {
  common::write_file(
      file,
      Json{{"addresses", place.addresses}, {"port", place.port}, {"nonce", place.nonce}}.dump(2) +
          "\n");
}

std::optional<MeetingPlace> read_meeting_place(const std::filesystem::path& file) {
  std::error_code unknown;
  if (!std::filesystem::is_regular_file(file, unknown)) return std::nullopt;
  try {
    const Json json = common::parse_json(common::read_file(file, kLargest), file.string());
    const common::JsonObject object(json, file.string());
    MeetingPlace place;
    place.port = static_cast<std::uint16_t>(object.integer("port", 1, 65535));
    place.nonce = object.text("nonce");
    for (const Json& address : object.at("addresses")) {
      if (!address.is_string()) return std::nullopt;
      place.addresses.push_back(address.get<std::string>());
    }
    return place;
  } catch (const common::Error&) {
    return std::nullopt;
  }
}

}  // namespace meshplan::formats
