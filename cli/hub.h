#pragma once

#include <string>

namespace meshplan::cli {

/// The folder of a model that the user named: what is in the catalog or on this machine as it is;
/// a name on the Hugging Face hub ("Qwen/Qwen2.5-0.5B") as the folder of the hub's own cache, which
/// huggingface_hub fills where it is missing, with weights only if they are wanted. Throws kIo,
/// naming the folder to fill, where it cannot.
std::string resolve_model(const std::string& model, bool with_weights);

}  // namespace meshplan::cli
