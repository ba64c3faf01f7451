#pragma once

#include <filesystem>

namespace meshplan::cli {

/// The folder of this program, links resolved.
std::filesystem::path program_folder();

/// ../share/meshplan from there: what programs need beside themselves, in an installation and in
/// the build tree alike. It holds `prepare_data` and, where one was recorded, `torch_python`.
std::filesystem::path data_folder();

/// The Python that has torch where the environment names none: the one that data_folder() records
/// (by the build, or by `cmake --install`), else the python3 that PATH has first, so that an
/// activated environment is found. Empty where there is neither.
std::filesystem::path default_torch_python();

}  // namespace meshplan::cli
