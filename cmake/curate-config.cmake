# Installed as the CMake package's file. The library needs no other package.
include("${CMAKE_CURRENT_LIST_DIR}/curate-targets.cmake")
