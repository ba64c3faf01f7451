#include "planner/explain/explanation.h"
#include "planner/plan/plan.h"

namespace meshplan::planner {
namespace {

using common::Json;

template <class Value, class Number>
Json by_part(const std::array<Value, kStepParts>& values, const Number& number) {
  Json json;
  for (std::size_t p = 0; p < kStepParts; ++p)
    json[to_string(static_cast<StepPart>(p))] = number(values[p]);
  return json;
}

Json shares_json(const StepShares& shares) {
  return by_part(shares, [](common::Seconds time) { return time.value; });
}

Json loser_json(const Loser& loser) {
  return {{"rank", loser.rank},
          {"layout", to_json(loser.candidate.layout)},
          {"worse", loser.worse},
          {"slower", loser.slower},
          {"slower_by", by_part(loser.slower_by, [](double share) { return share; })},
          {"shares_s", shares_json(loser.shares)}};
}

Json volumes_json(const Volumes& volumes) {
  Json points = Json::array();
  for (const VolumePoint& point : volumes.points) {
    points.push_back(
        {{"seq_length", point.seq_length},
         {"microbatch_size", point.microbatch_size},
         {"tp_wire_bytes", point.tp_wire.value},
         {"dp_shard_wire_bytes", point.dp_shard_wire.value},
         {"first_order_tp_activation_bytes", point.first_order.tp_activations.value},
         {"first_order_fsdp_parameter_bytes", point.first_order.fsdp_parameters.value}});
  }
  return {{"layout", to_json(volumes.layout)},
          {"points", points},
          {"first_order_crossing_tokens", volumes.first_order_crossing_tokens},
          {"crossing_tokens", volumes.crossing_tokens ? Json(*volumes.crossing_tokens) : Json()}};
}

Json crossing_json(const CrossingNodes& crossing) {
  if (!crossing.not_priced.empty()) return {{"not_priced", crossing.not_priced}};
  return {{"not_priced", nullptr},
          {"layout", to_json(crossing.layout)},
          {"fits", crossing.estimate.fits},
          {"step_time_s", crossing.estimate.step_time.value},
          {"slower", crossing.slower},
          {"slower_on_node_links", crossing.slower_on_node_links},
          {"break_even_network_factor", crossing.break_even ? Json(*crossing.break_even) : Json()}};
}

}  // namespace

Json to_json(const Explanation& explanation) {
  Json losers = Json::array();
  for (const Loser& loser : explanation.losers) losers.push_back(loser_json(loser));
  return {{"objective", to_string(explanation.objective)},
          {"bound_by", to_string(largest(explanation.shares))},
          {"shares_s", shares_json(explanation.shares)},
          {"runners_up", losers},
          {"volumes", volumes_json(explanation.volumes)},
          {"tp_across_nodes", crossing_json(explanation.crossing)},
          {"text", explanation_text(explanation)}};
}

}  // namespace meshplan::planner
