# The desktop program, where what it needs is installed. QCustomPlot's package names Qt's targets without looking for
# them, so Qt goes first; the package QCustomPlot without Qt6 in its name is the one for Qt 5.
find_package(Qt6 6.4 QUIET COMPONENTS Widgets PrintSupport Svg Test)
if(Qt6_FOUND)
  find_package(QCustomPlotQt6 QUIET)
endif()
if(Qt6_FOUND AND QCustomPlotQt6_FOUND)
  set(MESHPLAN_HAS_GUI ON)
  add_subdirectory(${PROJECT_SOURCE_DIR}/gui)
else()
  message(STATUS "without the desktop program: it needs Qt 6.4 or newer and QCustomPlot for Qt 6; scripts/bootstrap "
                 "installs them")
endif()
