#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "cli/command.h"
#include "cli/options.h"
#include "common/file.h"
#include "common/text.h"
#include "planner/plan/exporters/exporter.h"

namespace meshplan::cli {
namespace {

using common::Json;
using planner::ExportTarget;

struct ExportFlags {
  std::string plan;
  std::string output;
  const ExportTarget* target = nullptr;
  bool list = false;
  bool json = false;
};

/// Names of what the target can say, in the order of the rules.
std::vector<std::string> choice_names(const ExportTarget& target) {
  std::vector<std::string> names;
  for (const planner::ChoiceRule& rule : planner::choice_rules()) {
    for (const planner::Choice choice : target.choices) {
      if (choice == rule.choice) names.emplace_back(rule.name);
    }
  }
  return names;
}

int list_targets(bool json) {
  Json targets = Json::array();
  std::vector<std::vector<std::string>> rows = {{"target", "version"}};
  for (const ExportTarget& target : planner::export_targets()) {
    rows.push_back({target.name, target.version});
    targets.push_back({{"name", target.name},
                       {"version", target.version},
                       {"format", target.format},
                       {"expresses", choice_names(target)}});
  }
  if (json)
    print_json({{"schema_version", 1}, {"targets", targets}});
  else
    fmt::print("{}", common::format_table(rows));
  return 0;
}

[[noreturn]] void missing(const char* what) {
  throw common::Error(common::ErrorCode::kUsage,
                      fmt::format("{} is required; see meshplan export --help", what));
}

int run_export(const ExportFlags& flags) {
  if (flags.list) return list_targets(flags.json);
  if (flags.plan.empty()) missing("plan");
  if (flags.target == nullptr) missing("--to");
  if (flags.output.empty()) missing("--output");
  const planner::Plan plan = planner::load_plan(flags.plan);
  const planner::Export exported = planner::export_plan(plan, *flags.target);
  common::write_file(flags.output, exported.text);
  if (flags.json) {
    print_json({{"schema_version", 1},
                {"target", flags.target->name},
                {"version", flags.target->version},
                {"output", flags.output},
                {"for_the_script", exported.for_the_script}});
    return 0;
  }
  fmt::print("{} for {}\n", flags.output, flags.target->version);
  if (!exported.for_the_script.empty()) fmt::print("Not said by this file:\n");
  for (const std::string& line : exported.for_the_script) fmt::print("  {}\n", line);
  return 0;
}

}  // namespace

Action define_export(CLI::App& app) {
  app.description(
      "Write a plan in the words of another trainer\n\n"
      "What the trainer cannot express is refused, all of it at once; docs/exports.md says which "
      "can what. meshplan plan --for TARGET plans what it can.\n\n"
      "Examples:\n"
      "  meshplan export --list\n"
      "  meshplan plan --model llama-3.1-8b --cluster h100-sxm --nodes 4 --seq-length 8192 --for "
      "torchtitan -o plan.json\n"
      "  meshplan export plan.json --to torchtitan -o llama3_8b.toml\n"
      "  meshplan export plan.json --to megatron -o pretrain.sh\n"
      "  meshplan export plan.json --to ray-train -o train.py --json");
  const auto flags = std::make_shared<ExportFlags>();
  app.add_option("plan", flags->plan, "The plan.json that meshplan plan writes");
  const auto parse = [](const std::string& name, const std::string& flag) {
    return &planner::find_export_target(name, flag);
  };
  add_choice(app, "--to", flags->target, parse,
             "torchtitan, torchtitan-0.3, torchtitan-main, lightning, ray-train, megatron, "
             "accelerate, deepspeed or "
             "nanotron");
  app.add_option("-o,--output", flags->output, "The file to write")->type_name("FILE");
  app.add_flag("--list", flags->list, "List the targets; with --json what each can express");
  add_json_flag(app, flags->json);
  return [flags] { return run_export(*flags); };
}

}  // namespace meshplan::cli
