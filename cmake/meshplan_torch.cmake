# libtorch, CUDA and NCCL linked by hand from the Python wheels, so that no CUDA toolkit is needed to build.
#
# Which Python: -DMESHPLAN_TORCH_PYTHON, else the environment's MESHPLAN_TORCH_PYTHON, else build/venv.
# Gives: meshplan::torch (headers as SYSTEM, libraries), MESHPLAN_TORCH_CUDA (TRUE where the wheel has CUDA) and
# MESHPLAN_TORCH_VERSION. The build tree's programs have its place as their rpath; installed ones have none.

if(NOT MESHPLAN_TORCH_PYTHON)
  if(DEFINED ENV{MESHPLAN_TORCH_PYTHON})
    set(MESHPLAN_TORCH_PYTHON $ENV{MESHPLAN_TORCH_PYTHON} CACHE FILEPATH "" FORCE)
  else()
    set(MESHPLAN_TORCH_PYTHON ${PROJECT_SOURCE_DIR}/build/venv/bin/python3 CACHE FILEPATH "" FORCE)
  endif()
endif()
execute_process(
  COMMAND ${MESHPLAN_TORCH_PYTHON} -c
          "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
  OUTPUT_VARIABLE torch_dir OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE status)
if(NOT status EQUAL 0 OR NOT EXISTS "${torch_dir}/include/torch/csrc/api/include/torch/torch.h")
  message(FATAL_ERROR
          "No torch package under ${MESHPLAN_TORCH_PYTHON}. Run scripts/bootstrap, name a Python that has torch 2.11 "
          "(-DMESHPLAN_TORCH_PYTHON=/path/to/python), or build without the executor (-DMESHPLAN_EXECUTOR=OFF).")
endif()
get_filename_component(site_packages ${torch_dir} DIRECTORY)
message(STATUS "torch: ${torch_dir}")
file(STRINGS ${torch_dir}/version.py MESHPLAN_TORCH_VERSION REGEX "^__version__ = ")
string(REGEX MATCH "[0-9]+[0-9.]*[0-9]" MESHPLAN_TORCH_VERSION "${MESHPLAN_TORCH_VERSION}")

find_path(GLOO_INCLUDE_DIR gloo/context.h)
if(NOT GLOO_INCLUDE_DIR)
  message(FATAL_ERROR "Gloo's headers are missing: install Debian's libgloo-dev (scripts/bootstrap does).")
endif()

# The wheel's headers bring a newer fmt, which would stand before the fmt that we link (and that spdlog was built with):
# a folder with nothing but ours stands before both.
find_path(MESHPLAN_FMT_INCLUDE_DIR fmt/core.h REQUIRED)
set(first_headers ${PROJECT_BINARY_DIR}/headers_before_torch)
file(MAKE_DIRECTORY ${first_headers})
file(CREATE_LINK ${MESHPLAN_FMT_INCLUDE_DIR}/fmt ${first_headers}/fmt SYMBOLIC)

add_library(meshplan_torch INTERFACE)
add_library(meshplan::torch ALIAS meshplan_torch)
target_include_directories(meshplan_torch SYSTEM INTERFACE ${first_headers} ${torch_dir}/include
                           ${torch_dir}/include/torch/csrc/api/include ${GLOO_INCLUDE_DIR})
# Only Gloo's headers come from Debian: its library defines the symbols of libtorch's own, different, Gloo.
target_compile_definitions(meshplan_torch INTERFACE USE_DISTRIBUTED USE_C10D_GLOO)
target_link_directories(meshplan_torch INTERFACE ${torch_dir}/lib)
# GCC cannot see through c10's intrusive pointers at -O3 and warns inside torch's inline functions.
target_compile_options(meshplan_torch INTERFACE -Wno-interference-size)

set(MESHPLAN_TORCH_CUDA FALSE)
set(torch_libraries torch torch_cpu c10)
set(MESHPLAN_TORCH_LIBRARY_DIRS ${torch_dir}/lib)
if(EXISTS ${torch_dir}/lib/libtorch_cuda.so)
  file(GLOB cuda_runtime ${site_packages}/nvidia/cu13/lib/libcudart.so.13)
  file(GLOB nccl ${site_packages}/nvidia/nccl/lib/libnccl.so.2)
  if(cuda_runtime AND nccl)
    set(MESHPLAN_TORCH_CUDA TRUE)
    target_include_directories(meshplan_torch SYSTEM INTERFACE ${site_packages}/nvidia/cu13/include
                               ${site_packages}/nvidia/nccl/include)
    target_compile_definitions(meshplan_torch INTERFACE USE_C10D_NCCL MESHPLAN_WITH_CUDA)
    list(APPEND torch_libraries torch_cuda c10_cuda ${cuda_runtime} ${nccl})
    file(GLOB nvidia_libraries ${site_packages}/nvidia/*/lib)
    list(APPEND MESHPLAN_TORCH_LIBRARY_DIRS ${nvidia_libraries})
  endif()
endif()
# Without --no-as-needed the linker drops libtorch_cuda and with it the registration of its operators.
target_link_options(meshplan_torch INTERFACE LINKER:--no-as-needed)
# libtorch.so exports pieces of the C++ library that it was built with (std::filesystem::remove_all, which crashes): the
# system's must be loaded first to be found first.
target_link_libraries(meshplan_torch INTERFACE stdc++ ${torch_libraries})
