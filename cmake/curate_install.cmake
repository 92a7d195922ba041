# What `cmake --install` puts under the prefix: the program and, where it was built, the shared library with its headers
# and the files by which CMake and pkg-config find it. Those know each other's places relative to their own: the prefix
# can be moved as a whole.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS curate RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
if(NOT TARGET curate_library)
  return()
endif()

install(TARGETS curate_library EXPORT curate LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/curate DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h")

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/curate)
install(EXPORT curate FILE curate-targets.cmake NAMESPACE curate:: DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/curate-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_SOURCE_DIR}/cmake/curate-config.cmake ${PROJECT_BINARY_DIR}/curate-config-version.cmake
        DESTINATION ${package_dir})

# Appending an absolute path replaces what is there: an absolute CMAKE_INSTALL_LIBDIR stays what it is.
cmake_path(RELATIVE_PATH CMAKE_INSTALL_PREFIX BASE_DIRECTORY ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig
           OUTPUT_VARIABLE pkgconfig_to_prefix)
cmake_path(APPEND pkgconfig_libdir "\${prefix}" ${CMAKE_INSTALL_LIBDIR})
cmake_path(APPEND pkgconfig_includedir "\${prefix}" ${CMAKE_INSTALL_INCLUDEDIR})
configure_file(${PROJECT_SOURCE_DIR}/cmake/curate.pc.in ${PROJECT_BINARY_DIR}/curate.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/curate.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
