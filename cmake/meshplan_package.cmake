# Debian packages, one a component: `scripts/package`, or `cpack --config build/release/CPackConfig.cmake`.
set(MESHPLAN_PACKAGE_CONTACT "meshplan maintainers <maintainers@meshplan.invalid>" CACHE STRING
    "Who maintains the packages")

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME meshplan)
set(CPACK_PACKAGE_VENDOR meshplan)
# Each package has a summary of its own.
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "")
set(CPACK_PACKAGE_CONTACT ${MESHPLAN_PACKAGE_CONTACT})
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ
    WORLD_EXECUTE)
# cpack takes what is built; scripts/package builds what it needs, without tests and benchmarks.
set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY ON)

set(CPACK_COMPONENTS_ALL meshplan dev)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(same_version "meshplan (= ${PROJECT_VERSION})")

# meshplan_debian_package(dev NAME meshplan-dev SUMMARY "..." TEXT "..." DEPENDS "..."): what lies in the component, and
# its copyright, as a package. SHLIBDEPS asks the programs in it for the packages of their libraries.
function(meshplan_debian_package component)
  cmake_parse_arguments(ARG "SHLIBDEPS" "NAME;SUMMARY;TEXT;DEPENDS;SECTION" "" ${ARGN})
  string(TOUPPER ${component} key)
  set(CPACK_COMPONENT_${key}_DESCRIPTION "${ARG_SUMMARY}\n${ARG_TEXT}" PARENT_SCOPE)
  set(CPACK_DEBIAN_${key}_PACKAGE_NAME ${ARG_NAME} PARENT_SCOPE)
  set(CPACK_DEBIAN_${key}_PACKAGE_DEPENDS "${ARG_DEPENDS}" PARENT_SCOPE)
  if(ARG_SECTION)
    set(CPACK_DEBIAN_${key}_PACKAGE_SECTION ${ARG_SECTION} PARENT_SCOPE)
  endif()
  if(ARG_SHLIBDEPS)
    set(CPACK_DEBIAN_${key}_PACKAGE_SHLIBDEPS ON PARENT_SCOPE)
  endif()
  install(FILES ${PROJECT_SOURCE_DIR}/cmake/packaging/copyright DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${ARG_NAME}
          COMPONENT ${component})
endfunction()

meshplan_debian_package(meshplan NAME meshplan SHLIBDEPS
  SUMMARY "planner and simulator of transformer training layouts"
  TEXT "meshplan prices every mesh of tensor, sharded data and pipeline parallelism that a training job may take on a
cluster of GPUs, and simulates a step of it event by event. This package has the program meshplan.")
meshplan_debian_package(dev NAME meshplan-dev SECTION libdevel
  DEPENDS "nlohmann-json3-dev (>= 3.11), libfmt-dev (>= 9), zlib1g-dev"
  SUMMARY "planner and simulator of meshplan as libraries"
  TEXT "Headers and static libraries of meshplan's planner and simulator, for CMake's find_package(meshplan) and for
pkg-config.")
if(MESHPLAN_EXECUTOR)
  list(APPEND CPACK_COMPONENTS_ALL executor)
  meshplan_debian_package(executor NAME meshplan-executor SHLIBDEPS DEPENDS "${same_version}, python3"
    SUMMARY "runs trainings as meshplan planned them"
    TEXT "The program of a rank, meshplan-train. It needs PyTorch ${MESHPLAN_TORCH_VERSION} from PyPI, which no Debian package
has: /usr/share/doc/meshplan/docs/installing.md says how it is found.")
  # PyTorch's libraries belong to no package: that of the build stands in for the user's.
  set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${MESHPLAN_TORCH_LIBRARY_DIRS})
endif()
if(MESHPLAN_HAS_GUI)
  list(APPEND CPACK_COMPONENTS_ALL gui)
  meshplan_debian_package(gui NAME meshplan-gui SHLIBDEPS DEPENDS "${same_version}"
    SUMMARY "desktop program of meshplan"
    TEXT "Shows device meshes, trade-offs, memory and the timeline of transformer trainings, and runs them.")
  install(FILES ${PROJECT_SOURCE_DIR}/gui/LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/meshplan-gui COMPONENT gui)
endif()
include(CPack)

# What the packages hold: all that cpack and cmake --install need to have been built.
set(contents meshplan reference meshplan_simulator)
foreach(program meshplan-train meshplan-gui)
  if(TARGET ${program})
    list(APPEND contents ${program})
  endif()
endforeach()
add_custom_target(package_contents DEPENDS ${contents})
