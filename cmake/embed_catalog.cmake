# meshplan_embed_catalog(OUTPUT): compiles the files of catalog/models, clusters, gpus and networks into the program as
# string literals. Writes the source file of that name in the build tree, again whenever a file of the catalog comes, goes or
# changes, and sets OUTPUT to its path.
function(meshplan_embed_catalog output)
  set(entries "")
  foreach(kind models clusters gpus networks)
    file(GLOB files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/catalog/${kind}/*.json)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${files})
    set(names "")
    foreach(file IN LISTS files)
      cmake_path(GET file STEM LAST_ONLY name)
      list(APPEND names ${name})
    endforeach()
    list(SORT names)
    foreach(name IN LISTS names)
      file(READ ${PROJECT_SOURCE_DIR}/catalog/${kind}/${name}.json text)
      string(APPEND entries "    {\"${kind}\", \"${name}\", R\"catalog(${text})catalog\"},\n")
    endforeach()
  endforeach()
  set(path ${CMAKE_CURRENT_BINARY_DIR}/catalog_entries.cpp)
  set(source "#include \"planner/catalog/catalog_entries.h\"

namespace meshplan::planner {
namespace {

constexpr CatalogEntry kEntries[] = {
${entries}};

}  // namespace

std::span<const CatalogEntry> catalog_entries() { return kEntries; }

}  // namespace meshplan::planner
")
  file(CONFIGURE OUTPUT ${path} CONTENT "@source@" @ONLY)
  set(${output} ${path} PARENT_SCOPE)
endfunction()
