#include "formats/metrics.h"

#include <limits>
#include <string>
#include <utility>

#include "common/json.h"
#include "formats/json_lines.h"

namespace meshplan::formats {
namespace {

using common::Json;
using common::JsonObject;

double number_or_nan(const JsonObject& object, const std::string& key) {
  return object.at(key).is_null() ? std::numeric_limits<double>::quiet_NaN() : object.number(key);
}

}  // namespace

Json to_json(const StepMetrics& metrics) {
  Json line = {{"step", metrics.step},
               {"epoch", metrics.epoch},
               {"loss", metrics.loss},
               {"grad_norm", metrics.grad_norm},
               {"learning_rate", metrics.learning_rate},
               {"step_time_s", metrics.step_time.value},
               {"tokens_per_second", metrics.tokens_per_second},
               {"mfu", metrics.mfu},
               {"data_wait_share", metrics.data_wait_share},
               {"peak_memory_bytes", metrics.peak_memory.value},
               {"memory_active_bytes", metrics.active_memory.value},
               {"memory_reserved_bytes", metrics.reserved_memory.value}};
  if (metrics.validation_loss) line["validation_loss"] = *metrics.validation_loss;
  return line;
}

Json to_json(const EpochMetrics& metrics) {
  return {{"epoch", metrics.epoch},
          {"steps", metrics.steps},
          {"loss", metrics.loss},
          {"time_s", metrics.time.value}};
}

std::vector<StepMetrics> read_metrics(const std::filesystem::path& path) {
  std::vector<StepMetrics> steps;
  read_json_lines(path, [&steps](const JsonObject& line) {
    StepMetrics metrics;
    metrics.step = line.integer("step");
    metrics.epoch = line.integer("epoch");
    metrics.loss = number_or_nan(line, "loss");
    metrics.grad_norm = number_or_nan(line, "grad_norm");
    metrics.learning_rate = number_or_nan(line, "learning_rate");
    metrics.step_time = common::Seconds(number_or_nan(line, "step_time_s"));
    metrics.tokens_per_second = number_or_nan(line, "tokens_per_second");
    metrics.mfu = number_or_nan(line, "mfu");
    metrics.data_wait_share = number_or_nan(line, "data_wait_share");
    metrics.peak_memory = common::Bytes(line.integer("peak_memory_bytes"));
    metrics.active_memory = common::Bytes(line.integer("memory_active_bytes"));
    metrics.reserved_memory = common::Bytes(line.integer("memory_reserved_bytes"));
    if (line.has("validation_loss"))
      metrics.validation_loss = number_or_nan(line, "validation_loss");
    line.reject_unknown_keys();
    steps.push_back(metrics);
  });
  return steps;
}

}  // namespace meshplan::formats
