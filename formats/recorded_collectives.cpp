#include "formats/recorded_collectives.h"

#include "common/error.h"
#include "common/file.h"
#include "common/json.h"
#include "formats/json_lines.h"

namespace meshplan::formats {

using common::Error;
using common::ErrorCode;
using common::Json;
using common::JsonObject;

void write_recorded_collectives(const std::filesystem::path& path,
                                std::span<const RecordedCollective> collectives) {
  std::string text;
  for (const RecordedCollective& collective : collectives) {
    const Json line = {
        {"kind", collective.kind}, {"axis", collective.axis}, {"bytes", collective.bytes.value}};
    text += line.dump() + "\n";
  }
  common::write_file(path, text);
}

std::vector<RecordedCollective> read_recorded_collectives(const std::filesystem::path& path) {
  std::vector<RecordedCollective> collectives;
  read_json_lines(path, [&collectives](const JsonObject& line) {
    RecordedCollective collective{line.text("kind"), line.text("axis"),
                                  common::Bytes(line.integer("bytes"))};
    line.reject_unknown_keys();
    if (collective.kind != "all_reduce" && collective.kind != "all_gather" &&
        collective.kind != "reduce_scatter") {
      throw Error(ErrorCode::kInvalidInput,
                  "must be all_reduce, all_gather or reduce_scatter, is '" + collective.kind + "'",
                  line.where() + ".kind");
    }
    collectives.push_back(std::move(collective));
  });
  return collectives;
}

}  // namespace meshplan::formats
