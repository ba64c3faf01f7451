#pragma once

#include <filesystem>
#include <string>

namespace meshplan::cli {

/// The folder of a model that the user named: what is in the catalog or on this machine as it is;
/// a name on the Hugging Face hub ("Qwen/Qwen2.5-0.5B") as the folder of the hub's own cache, which
/// huggingface_hub fills where it is missing. Throws kIo, naming the folder to fill, where it
/// cannot.
std::string resolve_model(const std::string& model);

/// Whether the text may be a name on the Hugging Face hub: at most one slash, and no other
/// character than letters, digits, '-', '_' and '.'.
bool is_hub_name(const std::string& name);

}  // namespace meshplan::cli
