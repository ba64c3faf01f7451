# How every target of meshplan is made: one function each for a library, a program and a test.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # Without this sloppiness ccache refuses every unit that uses a precompiled header.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${CCACHE_PROGRAM})
endif()

add_library(meshplan_options INTERFACE)
target_compile_options(meshplan_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # A precompiled header is found by its checksum under ccache only with this.
  target_compile_options(meshplan_options INTERFACE -fpch-preprocess)
endif()
if(MESHPLAN_WERROR)
  target_compile_options(meshplan_options INTERFACE -Werror)
endif()
if(MESHPLAN_SANITIZE)
  target_compile_options(meshplan_options INTERFACE -fsanitize=${MESHPLAN_SANITIZE}
                         -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(meshplan_options INTERFACE -fsanitize=${MESHPLAN_SANITIZE})
endif()
target_include_directories(meshplan_options INTERFACE ${PROJECT_SOURCE_DIR})

# meshplan_library(planner SOURCES a.cpp b.cpp DEPENDS meshplan::common)
function(meshplan_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(meshplan_${name} STATIC ${ARG_SOURCES})
  add_library(meshplan::${name} ALIAS meshplan_${name})
  target_link_libraries(meshplan_${name} PUBLIC ${ARG_DEPENDS} PRIVATE $<BUILD_INTERFACE:meshplan_options>)
  target_include_directories(meshplan_${name} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
                             $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/meshplan>)
endfunction()

# meshplan_program(meshplan SOURCES main.cpp DEPENDS meshplan::planner)
function(meshplan_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPENDS} meshplan_options)
endfunction()

# meshplan_test(planner_test LABEL fast SOURCES a_test.cpp DEPENDS meshplan::planner)
# LABEL is one of fast, slow, gpu, gui. Paths: MESHPLAN_SOURCE_DIR is a macro in every test.
function(meshplan_test name)
  cmake_parse_arguments(ARG "" "LABEL;TIMEOUT" "SOURCES;DEPENDS" ${ARGN})
  meshplan_program(${name} SOURCES ${ARG_SOURCES} DEPENDS ${ARG_DEPENDS} GTest::gtest GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE MESHPLAN_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT})
endfunction()
