#include "common/error.h"
#include "planner/cost/estimate.h"

namespace meshplan::planner {
namespace {

using common::Bytes;
using common::Json;
using common::JsonObject;
using common::Seconds;

constexpr std::int64_t kSchemaVersion = 1;

Json memory_json(const MemoryEstimate& memory) {
  Json breakdown;
  for (std::size_t c = 0; c < kMemoryClasses; ++c) {
    breakdown[to_string(static_cast<MemoryClass>(c))] = memory.breakdown[c].value;
  }
  return {{"peak_allocated_bytes", memory.peak_allocated.value},
          {"peak_reserved_bytes", memory.peak_reserved.value},
          {"peak_device_bytes", memory.peak_device.value},
          {"capacity_bytes", memory.capacity.value},
          {"peak_instruction", memory.peak_instruction},
          {"peak_stage", memory.peak_stage},
          {"host_memory_bytes", memory.host.value},
          {"breakdown", breakdown}};
}

MemoryEstimate read_memory(const JsonObject& json) {
  MemoryEstimate memory;
  const JsonObject breakdown = json.object("breakdown");
  for (std::size_t c = 0; c < kMemoryClasses; ++c) {
    memory.breakdown[c] = Bytes(breakdown.integer(to_string(static_cast<MemoryClass>(c))));
  }
  memory.peak_allocated = Bytes(json.integer("peak_allocated_bytes"));
  memory.peak_reserved = Bytes(json.integer("peak_reserved_bytes"));
  memory.peak_device = Bytes(json.integer("peak_device_bytes"));
  memory.capacity = Bytes(json.integer("capacity_bytes"));
  memory.peak_instruction = json.text("peak_instruction");
  memory.peak_stage = json.integer_or("peak_stage", 0, 0);
  memory.host = Bytes(json.integer_or("host_memory_bytes", 0, 0));
  breakdown.reject_unknown_keys();
  json.reject_unknown_keys();
  return memory;
}

Json traffic_json(const Traffic& traffic) {
  Json json;
  for (Axis axis : kShownAxes) {
    const AxisTraffic& entry = traffic[static_cast<std::size_t>(axis)];
    if (is_of_experts(axis) && entry.operations == 0) continue;
    json[to_string(axis)] = {{"bytes_per_rank", entry.bytes.value},
                             {"wire_bytes_per_rank", entry.wire_bytes.value},
                             {"operations", entry.operations},
                             {"time_s", entry.time.value},
                             {"exposed_s", entry.exposed.value}};
  }
  return json;
}

Traffic read_traffic(const JsonObject& json) {
  Traffic traffic{};
  for (Axis axis : kAxes) {
    if (is_of_experts(axis) && json.is_null(to_string(axis))) continue;
    const JsonObject entry = json.object(to_string(axis));
    traffic[static_cast<std::size_t>(axis)] = {
        .bytes = Bytes(entry.integer("bytes_per_rank")),
        .wire_bytes = Bytes(entry.integer("wire_bytes_per_rank")),
        .operations = entry.integer("operations"),
        .time = Seconds(entry.number("time_s", 0)),
        .exposed = Seconds(entry.number("exposed_s", 0))};
    entry.reject_unknown_keys();
  }
  json.reject_unknown_keys();
  return traffic;
}

FirstOrderVolumes read_first_order(const JsonObject& json) {
  json.text("counts");
  const FirstOrderVolumes volumes = {Bytes(json.integer("tp_activation_bytes")),
                                     Bytes(json.integer("fsdp_parameter_bytes"))};
  json.reject_unknown_keys();
  return volumes;
}

constexpr const char* kPrice = "price_per_million_tokens";
constexpr const char* kEnergy = "kwh_per_million_tokens";

TokenCost read_cost(const JsonObject& json) {
  TokenCost cost;
  if (json.has(kPrice)) cost.price = json.number(kPrice, 0);
  if (json.has(kEnergy)) cost.kilowatt_hours = json.number(kEnergy, 0);
  json.reject_unknown_keys();
  return cost;
}

}  // namespace

Json to_json(const TokenCost& cost) {
  Json json = Json::object();
  if (cost.price) json[kPrice] = *cost.price;
  if (cost.kilowatt_hours) json[kEnergy] = *cost.kilowatt_hours;
  return json;
}

Json to_json(const std::vector<Violation>& violations) {
  Json json = Json::array();
  for (const Violation& violation : violations)
    json.push_back({{"code", violation.code}, {"message", violation.message}});
  return json;
}

Json to_json(const FirstOrderVolumes& volumes) {
  return {{"counts",
           "one forward pass for tp, one gather for fsdp, of the whole model in 2-byte elements"},
          {"tp_activation_bytes", volumes.tp_activations.value},
          {"fsdp_parameter_bytes", volumes.fsdp_parameters.value}};
}

Json to_json(const Estimate& estimate) {
  Json json = {{"schema_version", kSchemaVersion},
               {"valid", estimate.violations.empty()},
               {"violations", to_json(estimate.violations)},
               {"fits", estimate.fits},
               {"memory", memory_json(estimate.memory)},
               {"communication", traffic_json(estimate.traffic)},
               {"first_order", to_json(estimate.first_order)},
               {"compute",
                {{"model_flops_per_rank", estimate.model_flops.value},
                 {"hardware_flops_per_rank", estimate.hardware_flops.value},
                 {"time_s", estimate.compute_time.value}}},
               {"step_time_s", estimate.step_time.value},
               {"tokens_per_second_per_gpu", estimate.tokens_per_second_per_gpu},
               {"mfu", estimate.mfu}};
  if (const Json cost = to_json(estimate.cost); !cost.empty()) json["cost"] = cost;
  return json;
}

Estimate read_estimate(const JsonObject& json) {
  json.integer("schema_version", kSchemaVersion, kSchemaVersion);
  Estimate estimate;
  for (const JsonObject& violation : json.objects("violations")) {
    estimate.violations.push_back({violation.text("code"), violation.text("message")});
    violation.reject_unknown_keys();
  }
  if (json.flag("valid") != estimate.violations.empty()) {
    throw common::Error(common::ErrorCode::kInvalidInput,
                        "must be true where there are no violations, and false where there are",
                        json.where() + ".valid");
  }
  estimate.fits = json.flag("fits");
  estimate.memory = read_memory(json.object("memory"));
  estimate.traffic = read_traffic(json.object("communication"));
  estimate.first_order = read_first_order(json.object("first_order"));
  const JsonObject compute = json.object("compute");
  estimate.model_flops = common::Flops(compute.number("model_flops_per_rank", 0));
  estimate.hardware_flops = common::Flops(compute.number("hardware_flops_per_rank", 0));
  estimate.compute_time = Seconds(compute.number("time_s", 0));
  compute.reject_unknown_keys();
  estimate.step_time = Seconds(json.number("step_time_s", 0));
  estimate.tokens_per_second_per_gpu = json.number("tokens_per_second_per_gpu", 0);
  estimate.mfu = json.number("mfu", 0);
  if (json.has("cost")) estimate.cost = read_cost(json.object("cost"));
  json.reject_unknown_keys();
  return estimate;
}

}  // namespace meshplan::planner
