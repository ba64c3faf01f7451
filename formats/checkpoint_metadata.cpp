#include "formats/checkpoint_metadata.h"

#include "common/json.h"

namespace meshplan::formats {

std::string to_text(const CheckpointMetadata& metadata) {
  const common::Json json = {
      {"schema_version", 1},
      {"step", metadata.step},
      {"epoch", metadata.epoch},
      {"sampler", {{"samples", metadata.samples}}},
      {"epoch_loss", {{"steps", metadata.epoch_steps}, {"sum", metadata.epoch_loss_sum}}},
      {"loss_scale",
       {{"scale", metadata.loss_scale},
        {"good_steps", metadata.good_steps},
        {"skipped_steps", metadata.skipped_steps}}},
      {"rng", {{"seed", metadata.seed}}}};
  return json.dump(2) + "\n";
}

CheckpointMetadata read_metadata(const std::filesystem::path& path) {
  const common::Json json = common::read_json_file(path);
  const common::JsonObject object(json, path.string());
  object.integer("schema_version", 1, 1);
  const common::JsonObject sampler = object.object("sampler");
  const common::JsonObject epoch_loss = object.object("epoch_loss");
  const common::JsonObject loss_scale = object.object("loss_scale");
  const CheckpointMetadata metadata{
      .step = object.integer("step"),
      .epoch = object.integer("epoch"),
      .samples = sampler.integer("samples"),
      .epoch_steps = epoch_loss.integer("steps"),
      .epoch_loss_sum = epoch_loss.number("sum"),
      .loss_scale = loss_scale.number("scale", 1),
      .good_steps = loss_scale.integer("good_steps"),
      .skipped_steps = loss_scale.integer("skipped_steps"),
      .seed = static_cast<std::uint64_t>(object.object("rng").integer("seed"))};
  sampler.reject_unknown_keys();
  epoch_loss.reject_unknown_keys();
  loss_scale.reject_unknown_keys();
  object.reject_unknown_keys();
  return metadata;
}

}  // namespace meshplan::formats
