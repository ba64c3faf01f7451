#include "formats/checkpoint_metadata.h"

#include "common/json.h"

namespace meshplan::formats {

std::string to_text(const CheckpointMetadata& metadata) {
  const common::Json json = {{"schema_version", 1},
                             {"step", metadata.step},
                             {"epoch", metadata.epoch},
                             {"sampler", {{"samples", metadata.samples}}},
                             {"rng", {{"seed", metadata.seed}}}};
  return json.dump(2) + "\n";
}

CheckpointMetadata read_metadata(const std::filesystem::path& path) {
  const common::Json json = common::read_json_file(path);
  const common::JsonObject object(json, path.string());
  object.integer("schema_version", 1, 1);
  const common::JsonObject sampler = object.object("sampler");
  const CheckpointMetadata metadata{
      .step = object.integer("step"),
      .epoch = object.integer("epoch"),
      .samples = sampler.integer("samples"),
      .seed = static_cast<std::uint64_t>(object.object("rng").integer("seed"))};
  sampler.reject_unknown_keys();
  object.reject_unknown_keys();
  return metadata;
}

}  // namespace meshplan::formats
