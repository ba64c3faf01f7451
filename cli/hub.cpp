#include "cli/hub.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "cli/child_process.h"
#include "cli/launch.h"
#include "common/error.h"
#include "planner/catalog/catalog.h"

namespace meshplan::cli {
namespace {

namespace fs = std::filesystem;
using common::Error;
using common::ErrorCode;

/// Finds a model's files in the hub's cache, or fetches them; tells the folder on descriptor 3, as
/// "0 FOLDER", else "5 WHY".
constexpr const char* kFetch = R"python(
import os, sys
sys.path[:] = [path for path in sys.path if path]  # no module of the working directory may stand for Python's own
report = os.fdopen(3, "w")
name, weights = sys.argv[1], sys.argv[2] == "weights"
os.environ.setdefault("HF_HUB_VERBOSITY", "error")
try:
    import huggingface_hub
    from huggingface_hub import constants, file_download
except ImportError as error:
    report.write(f"5 {sys.executable}: cannot import huggingface_hub ({error}); run scripts/bootstrap")
    sys.exit(0)
patterns = ["*.json", "tokenizer*", "*.model", "merges.txt", "vocab.*"] + ["*.safetensors"] * weights
def find(**how):
    folder = huggingface_hub.snapshot_download(name, allow_patterns=patterns, **how)
    files = os.listdir(folder)
    if "config.json" not in files or weights and not any(file.endswith(".safetensors") for file in files):
        raise FileNotFoundError("it has no config.json" + " with *.safetensors beside it" * weights)
    return folder
try:
    folder = find(local_files_only=True)
except Exception:
    print(f"meshplan train: fetching {name} from the Hugging Face hub", file=sys.stderr)
    try:
        folder = find()
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        cache = os.path.join(constants.HF_HUB_CACHE, file_download.repo_folder_name(repo_id=name, repo_type="model"))
        report.write(f"5 neither in the catalog, nor a folder here, nor in the Hugging Face cache, and cannot be fetched "
                     f"({reason}). Fill {cache} from a machine that has it, or give a folder with config.json and "
                     f"*.safetensors")
        sys.exit(0)
report.write(f"0 {folder}")
)python";

bool may_stand_in_a_name(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.' ||
         c == '/';
}

/// Owner and name. A name without an owner would be a mistyped catalog name far more often than one
/// of the hub's few old ones.
bool is_hub_name(const std::string& name) {
  return !name.empty() && name.front() != '.' && name.front() != '/' && name.back() != '/' &&
         std::count(name.begin(), name.end(), '/') == 1 &&
         std::all_of(name.begin(), name.end(), may_stand_in_a_name);
}

}  // namespace

std::string resolve_model(const std::string& model, bool with_weights) {
  std::error_code absent;
  if (!is_hub_name(model) || planner::catalog_text("models", model) || fs::exists(model, absent))
    return model;
  const ChildEnd end = run_child(
      {torch_python(), "-c", kFetch, model, with_weights ? "weights" : "configuration"}, {});
  if (end.interrupted_by != 0)
    throw Error(ErrorCode::kInterrupted, "stopped while fetching", model);
  if (end.report.starts_with("0 ")) return end.report.substr(2);
  const std::string reason = end.report.size() > 2
                                 ? end.report.substr(2)
                                 : fmt::format("Python ended with exit code {}", end.exit_code);
  throw Error(ErrorCode::kIo, reason, "model " + model);
}

}  // namespace meshplan::cli
