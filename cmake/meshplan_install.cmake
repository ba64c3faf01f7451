# What `cmake --install` puts where. Components, each a Debian package of its own but for the last:
#   meshplan   program, manual pages, completion, catalog, docs
#   dev        headers and libraries of common, formats, planner and simulator; find_package(meshplan), pkg-config
#   executor   meshplan-train, and what makes datasets
#   gui        meshplan-gui (see gui/CMakeLists.txt)
#   local      what makes sense only on the machine that built it
include(CMakePackageConfigHelpers)

set(docs ${CMAKE_INSTALL_DOCDIR})
set(data ${CMAKE_INSTALL_DATADIR}/meshplan)

install(FILES LICENSE README.md DESTINATION ${docs} COMPONENT meshplan)
install(DIRECTORY docs DESTINATION ${docs} COMPONENT meshplan
        FILES_MATCHING PATTERN *.md PATTERN *.json PATTERN *.png)
install(DIRECTORY catalog DESTINATION ${data} COMPONENT meshplan)

# Libraries and their headers, which include each other by full path from the root.
set(rooms common formats planner simulator)
foreach(room IN LISTS rooms)
  set_target_properties(meshplan_${room} PROPERTIES EXPORT_NAME ${room})
  target_compile_features(meshplan_${room} INTERFACE cxx_std_20)
  install(TARGETS meshplan_${room} EXPORT meshplan DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT dev)
  install(DIRECTORY ${room} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/meshplan COMPONENT dev FILES_MATCHING PATTERN *.h)
endforeach()
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/meshplan)
install(EXPORT meshplan NAMESPACE meshplan:: FILE meshplan-targets.cmake DESTINATION ${package} COMPONENT dev)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/packaging/meshplan-config.cmake.in
                              ${PROJECT_BINARY_DIR}/packaging/meshplan-config.cmake INSTALL_DESTINATION ${package}
                              NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
# Before 1.0 a minor version may change the interface.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/packaging/meshplan-config-version.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/packaging/meshplan-config.cmake
              ${PROJECT_BINARY_DIR}/packaging/meshplan-config-version.cmake
        DESTINATION ${package} COMPONENT dev)
# Relative to itself, so that an installation can be moved.
file(RELATIVE_PATH up_to_prefix /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix/here)
cmake_path(GET up_to_prefix PARENT_PATH up_to_prefix)
configure_file(cmake/packaging/meshplan.pc.in ${PROJECT_BINARY_DIR}/packaging/meshplan.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/packaging/meshplan.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT dev)

# Programs look for these in ../share/meshplan, in the build tree as in an installation.
set(beside ${PROJECT_BINARY_DIR}/share/meshplan)
file(MAKE_DIRECTORY ${beside})
file(CREATE_LINK ${PROJECT_SOURCE_DIR}/scripts/prepare_data ${beside}/prepare_data SYMBOLIC)
file(REMOVE ${beside}/torch_python)
if(MESHPLAN_EXECUTOR)
  file(WRITE ${beside}/torch_python ${MESHPLAN_TORCH_PYTHON}\n)
  install(FILES ${beside}/torch_python DESTINATION ${data} COMPONENT local)
  install(PROGRAMS scripts/prepare_data DESTINATION ${data} COMPONENT executor)
  install(FILES scripts/requirements.txt DESTINATION ${data} COMPONENT executor)
  file(RELATIVE_PATH libexec_from_bin /prefix/${CMAKE_INSTALL_BINDIR} /prefix/${CMAKE_INSTALL_LIBEXECDIR}/meshplan)
  file(RELATIVE_PATH data_from_bin /prefix/${CMAKE_INSTALL_BINDIR} /prefix/${data})
  configure_file(cmake/packaging/meshplan-train.in ${PROJECT_BINARY_DIR}/packaging/meshplan-train @ONLY)
  install(PROGRAMS ${PROJECT_BINARY_DIR}/packaging/meshplan-train DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT executor)
endif()

add_custom_target(uninstall
  COMMAND ${CMAKE_COMMAND} -DMANIFEST=${PROJECT_BINARY_DIR}/install_manifest.txt
          -P ${PROJECT_SOURCE_DIR}/cmake/uninstall.cmake
  COMMENT "Removing what cmake --install has put"
  VERBATIM)
