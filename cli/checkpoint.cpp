#include <fmt/format.h>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>

#include "cli/command.h"
#include "cli/options.h"
#include "common/error.h"
#include "common/text.h"
#include "formats/checkpoint_export.h"
#include "formats/checkpoint_folder.h"
#include "formats/checkpoint_reader.h"

namespace meshplan::cli {
namespace {

namespace fs = std::filesystem;
using common::Error;
using common::ErrorCode;
using common::Json;

struct CheckpointArguments {
  std::string folder;
  std::string output;
  std::optional<formats::TensorType> type;
  bool json = false;
};

/// A checkpoint, or the checkpoints of a run or of a folder of them; oldest first. Throws
/// kInvalidInput where there is none.
std::vector<formats::FinishedCheckpoint> checkpoints_in(const std::string& folder) {
  const fs::path path = (fs::absolute(folder) / "").lexically_normal().parent_path();
  if (!fs::is_directory(path)) throw Error(ErrorCode::kInvalidInput, "is no folder", path.string());
  if (const auto step = formats::step_of(path.filename().string())) return {{*step, path}};
  for (const fs::path& candidate : {path, formats::checkpoints_path(path)}) {
    auto found = formats::list_checkpoints(candidate);
    if (!found.empty()) return found;
  }
  throw Error(ErrorCode::kInvalidInput,
              "holds no finished checkpoint; give a checkpoint (.../checkpoints/step-N), or the "
              "run's folder (STORAGE_PATH/EXPERIMENT_NAME)",
              path.string());
}

std::string mesh_text(const formats::CheckpointManifest& manifest) {
  std::string text;
  for (const auto& [axis, size] : manifest.mesh) {
    if (size > 1) text += fmt::format("{}{} {}", text.empty() ? "" : " x ", axis, size);
  }
  return text.empty() ? "1 rank" : text;
}

/// What is known of a checkpoint from its manifest; the error where it has none that can be used.
struct Listed {
  formats::FinishedCheckpoint checkpoint;
  std::optional<formats::CheckpointManifest> manifest;
  formats::CheckpointMetadata metadata;
  common::Bytes size;
  std::string problem;
};

Listed look_at(const formats::FinishedCheckpoint& checkpoint) {
  Listed listed{
      .checkpoint = checkpoint, .manifest = {}, .metadata = {}, .size = {}, .problem = {}};
  try {
    const formats::CheckpointReader reader(checkpoint.path);
    listed.metadata = reader.metadata();
    listed.manifest = reader.manifest();
    for (const formats::CheckpointFile& file : reader.manifest().files) listed.size += file.bytes;
  } catch (const Error& error) {
    listed.problem = error.what();
  }
  return listed;
}

Json to_json(const Listed& listed) {
  Json json = {{"step", listed.checkpoint.step}, {"path", listed.checkpoint.path.string()}};
  if (!listed.manifest) {
    json["problem"] = listed.problem;
    return json;
  }
  Json& mesh = json["mesh"] = Json::object();
  for (const auto& [axis, size] : listed.manifest->mesh) mesh[axis] = size;
  json["epoch"] = listed.metadata.epoch;
  json["samples"] = listed.metadata.samples;
  json["bytes"] = listed.size.value;
  return json;
}

int run_list(const CheckpointArguments& arguments) {
  Json all = Json::array();
  std::vector<std::vector<std::string>> rows = {{"step", "epoch", "size", "written by", "path"}};
  for (const formats::FinishedCheckpoint& checkpoint : checkpoints_in(arguments.folder)) {
    const Listed listed = look_at(checkpoint);
    all.push_back(to_json(listed));
    const std::string step = std::to_string(checkpoint.step);
    if (listed.manifest) {
      rows.push_back({step, std::to_string(listed.metadata.epoch), common::human(listed.size),
                      mesh_text(*listed.manifest), checkpoint.path.string()});
    } else {
      rows.push_back({step, "-", "-", "damaged", listed.problem});
    }
  }
  if (arguments.json) {
    print_json({{"schema_version", 1}, {"checkpoints", all}});
  } else {
    fmt::print("{}", common::format_table(rows));
  }
  return 0;
}

int run_verify(const CheckpointArguments& arguments) {
  Json all = Json::array();
  bool damaged = false;
  for (const formats::FinishedCheckpoint& checkpoint : checkpoints_in(arguments.folder)) {
    Json json = {{"step", checkpoint.step}, {"path", checkpoint.path.string()}, {"valid", true}};
    std::string problem;
    try {
      formats::verify_checkpoint(checkpoint.path);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kCorruptCheckpoint) throw;
      problem = error.what();
      damaged = true;
      json["valid"] = false;
      json["problem"] = problem;
    }
    all.push_back(json);
    if (!arguments.json) {
      fmt::print("{}: {}\n", checkpoint.path.string(),
                 problem.empty() ? "every byte is as it was written" : "DAMAGED: " + problem);
    }
  }
  if (arguments.json) print_json({{"schema_version", 1}, {"checkpoints", all}});
  return damaged ? static_cast<int>(ErrorCode::kCorruptCheckpoint) : 0;
}

int run_export(const CheckpointArguments& arguments) {
  const auto found = checkpoints_in(arguments.folder);
  const fs::path out = fs::absolute(arguments.output);
  formats::export_checkpoint(found.back().path, out, arguments.type);
  if (arguments.json) {
    print_json({{"schema_version", 1},
                {"step", found.back().step},
                {"checkpoint", found.back().path.string()},
                {"output", out.string()}});
  } else {
    fmt::print(stderr, "meshplan checkpoint: step {} is now a model folder: {}\n",
               found.back().step, out.string());
  }
  return 0;
}

CLI::App* add_verb(CLI::App& app, const char* name, const char* description,
                   CheckpointArguments& arguments) {
  CLI::App* verb = app.add_subcommand(name, description);
  verb->add_option("folder", arguments.folder,
                   "A checkpoint (.../checkpoints/step-N), or a run's folder")
      ->required();
  add_json_flag(*verb, arguments.json);
  return verb;
}

}  // namespace

Action define_checkpoint(CLI::App& app) {
  app.description(
      "List, verify or export the checkpoints of a run\n\n"
      "Examples:\n"
      "  meshplan checkpoint list runs/my-run\n"
      "  meshplan checkpoint verify runs/my-run/checkpoints/step-500\n"
      "  meshplan checkpoint export runs/my-run -o my-model --dtype bfloat16");
  app.require_subcommand(1);
  const auto arguments = std::make_shared<CheckpointArguments>();
  add_verb(app, "list",
           "Show step, size and mesh of each checkpoint\n\n"
           "Examples:\n"
           "  meshplan checkpoint list runs/my-run\n"
           "  meshplan checkpoint list runs/my-run --json",
           *arguments);
  add_verb(app, "verify",
           "Read checkpoints to the last byte; exit code 6 where one is damaged\n\n"
           "Examples:\n"
           "  meshplan checkpoint verify runs/my-run\n"
           "  meshplan checkpoint verify runs/my-run/checkpoints/step-500 --json",
           *arguments);
  CLI::App* exporting =
      add_verb(app, "export",
               "Write the model of a checkpoint (of a run: the newest) as a Hugging Face folder\n\n"
               "Examples:\n"
               "  meshplan checkpoint export runs/my-run -o my-model\n"
               "  meshplan checkpoint export runs/my-run/checkpoints/step-500 -o my-model --dtype "
               "bfloat16",
               *arguments);
  exporting->add_option("-o,--output", arguments->output, "A folder that is new or empty")
      ->required()
      ->type_name("DIR");
  const std::map<std::string, formats::TensorType> types = {
      {"float32", formats::TensorType::kF32},
      {"bfloat16", formats::TensorType::kBF16},
      {"float16", formats::TensorType::kF16}};
  exporting
      ->add_option_function<std::string>(
          "--dtype",
          [arguments, types](const std::string& name) { arguments->type = types.at(name); },
          "float32, bfloat16 or float16 (default: that of the checkpoint's weights)")
      ->check(CLI::IsMember({"float32", "bfloat16", "float16"}))
      ->type_name("");
  return [&app, arguments] {
    const std::string verb = app.get_subcommands().front()->get_name();
    if (verb == "list") return run_list(*arguments);
    return verb == "verify" ? run_verify(*arguments) : run_export(*arguments);
  };
}

}  // namespace meshplan::cli
