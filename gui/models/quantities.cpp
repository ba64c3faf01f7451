// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/models/quantities.h"

#include <QLocale>
#include <QStringList>
#include <cmath>
#include <limits>

#include "common/text.h"
#include "planner/cost/token_cost.h"

namespace meshplan::gui {
namespace {

using planner::Axis;

constexpr double kGiB = 1024.0 * 1024 * 1024;

constexpr std::array<QuantityInfo, kQuantities> kInfos = {{
    {Quantity::kTimePerToken, "Time per token",
     "Step time over the tokens of a step, on the whole cluster: compares layouts of any batch.",
     "ns", 1e-9, true},
    {Quantity::kStepTime, "Step time", "From one update of the parameters to the next.", "s", 1,
     true},
    {Quantity::kTokensPerSecond, "Tokens/s/GPU", "Tokens of a step over its time and GPUs.",
     "tokens/s", 1, false},
    {Quantity::kMemory, "Memory",
     "What a GPU needs at its peak, with the allocator's slack, contexts and the communication "
     "library.",
     "GiB", kGiB, true},
    {Quantity::kMfu, "MFU",
     "Model FLOPs utilisation: what the model needs over what the GPU could do in that time.", "%",
     0.01, false},
    {Quantity::kTpTraffic, "tp traffic", "Wire bytes that a rank sends for tensor parallelism.",
     "GiB", kGiB, true},
    {Quantity::kDpTraffic, "dp traffic",
     "Wire bytes that a rank sends for parameters and gradients, over dp_shard and dp_replicate.",
     "GiB", kGiB, true},
    {Quantity::kPrice, "Price/Mtoken", "Price of a million tokens, in the cluster's currency.", "",
     1, true},
    {Quantity::kEnergy, "kWh/Mtoken", "Energy of a million tokens.", "kWh", 1, true},
}};

QString threeDigits(double value) {
  const double size = std::abs(value);
  if (size == 0) return "0";
  if (size >= 100) return QString::number(value, 'f', 0);
  if (size >= 10) return QString::number(value, 'f', 1);
  if (size >= 1) return QString::number(value, 'f', 2);
  return QString::number(value, 'g', 3);
}

double wireBytes(const planner::Traffic& traffic, Axis axis) {
  return static_cast<double>(traffic[static_cast<std::size_t>(axis)].wire_bytes.value);
}

}  // namespace

const std::array<QuantityInfo, kQuantities>& allQuantities() { return kInfos; }
const QuantityInfo& infoOf(Quantity quantity) { return kInfos[static_cast<std::size_t>(quantity)]; }

QString textOf(Quantity quantity, double value) {
  if (!std::isfinite(value)) return "-";
  switch (quantity) {
    case Quantity::kStepTime:
      return textOf(common::Seconds(value));
    case Quantity::kMemory:
    case Quantity::kTpTraffic:
    case Quantity::kDpTraffic:
      return textOf(common::Bytes(static_cast<std::int64_t>(value)));
    case Quantity::kMfu:
      return percentText(value);
    case Quantity::kTimePerToken:
      return threeDigits(value * 1e9) + " ns";
    case Quantity::kTokensPerSecond:
    case Quantity::kPrice:
      return threeDigits(value);
    case Quantity::kEnergy:
      return threeDigits(value) + " kWh";
  }
  return {};
}

Quantities quantitiesOf(const planner::Layout& layout, const planner::QuickEstimate& estimate,
                        const QuantityScale& scale) {
  const double tokens = static_cast<double>(planner::global_batch_size(layout)) *
                        static_cast<double>(scale.job->seq_length);
  const double ranks = static_cast<double>(planner::world_size(layout.mesh));
  const double rate = tokens / estimate.step_time.value / ranks;
  const planner::TokenCost cost = planner::token_cost(*scale.cluster, rate);
  const double unknown = std::numeric_limits<double>::quiet_NaN();
  Quantities values;
  const auto set = [&](Quantity quantity, double value) {
    values[static_cast<std::size_t>(quantity)] = value;
  };
  set(Quantity::kTimePerToken, estimate.step_time.value / tokens);
  set(Quantity::kStepTime, estimate.step_time.value);
  set(Quantity::kTokensPerSecond, rate);
  set(Quantity::kMemory,
      static_cast<double>(planner::device_memory(*scale.cluster, estimate.peak_allocated).value));
  set(Quantity::kMfu, rate * scale.mfuPerToken);
  set(Quantity::kTpTraffic, wireBytes(estimate.traffic, Axis::kTp));
  set(Quantity::kDpTraffic, wireBytes(estimate.traffic, Axis::kDpShard) +
                                wireBytes(estimate.traffic, Axis::kDpReplicate) +
                                wireBytes(estimate.traffic, Axis::kExpertShard));
  set(Quantity::kPrice, cost.price.value_or(unknown));
  set(Quantity::kEnergy, cost.kilowatt_hours.value_or(unknown));
  return values;
}

QString textOf(common::Bytes size) { return QString::fromStdString(common::human(size)); }
QString textOf(common::Seconds time) {
  return QString::fromStdString(common::human(time)).replace(" us", " µs");
}
QString percentText(double fraction) {
  const double percent = 100 * fraction;
  constexpr double kSmall = 0.1;
  const bool small = percent != 0 && std::abs(percent) < kSmall;
  return QString::number(percent, small ? 'g' : 'f', small ? 2 : 1) + " %";
}
QString countText(std::int64_t count) { return QLocale(QLocale::English).toString(count); }

QString titleOf(const planner::Layout& layout) {
  const auto& sizes = layout.mesh.sizes;
  QStringList parts = {QString("tp %1").arg(sizes[Axis::kTp]),
                       QString("shard %1").arg(sizes[Axis::kDpShard])};
  const auto more = [&](Axis axis, const char* name) {
    if (sizes[axis] > 1) parts.append(QString("%1 %2").arg(name).arg(sizes[axis]));
  };
  more(Axis::kDpReplicate, "replicas");
  more(Axis::kCp, "cp");
  more(Axis::kPp, "pp");
  QString microbatch = QString("microbatch %1").arg(layout.microbatch_size);
  if (layout.accumulation > 1) microbatch += QString(" × %1").arg(layout.accumulation);
  parts.append(microbatch);
  return parts.join(" · ");
}

QString choicesOf(const planner::Layout& layout) {
  QStringList parts = {to_string(layout.sharding)};
  if (layout.activation_checkpointing != planner::ActivationCheckpointing::kNone) {
    QString text = QString("%1 checkpointing").arg(to_string(layout.activation_checkpointing));
    if (layout.checkpointed_blocks)
      text += QString(" of %1 blocks").arg(*layout.checkpointed_blocks);
    parts.append(text);
  }
  if (layout.mesh.sizes[Axis::kTp] > 1)
    parts.append(layout.sequence_parallel ? "sequence parallel" : "no sequence parallel");
  if (planner::accumulates_whole_gradients(layout) && layout.accumulation > 1)
    parts.append("whole gradients");
  if (layout.mesh.expert_parallel > 1)
    parts.append(QString("ep %1").arg(layout.mesh.expert_parallel));
  if (layout.virtual_stages > 1)
    parts.append(QString("%1 virtual stages").arg(layout.virtual_stages));
  if (layout.async_tp) parts.append("async tp");
  if (layout.blocks_kept_gathered > 1)
    parts.append(QString("%1 blocks kept").arg(layout.blocks_kept_gathered));
  if (layout.optimizer_offload) parts.append("optimizer on host");
  return parts.join(", ");
}

}  // namespace meshplan::gui
