# Compiler settings that every target of the project shares, as the interface target curate_settings.

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Debug, Release, RelWithDebInfo or MinSizeRel" FORCE)
endif()
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
# The shared library exports what CURATE_API marks (include/curate/export.h).
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)

add_library(curate_settings INTERFACE)
target_compile_features(curate_settings INTERFACE cxx_std_20)
# -fopenmp-simd: the simd pragmas alone, no OpenMP run-time. -fno-math-errno: sqrt as an instruction.
target_compile_options(curate_settings INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wconversion -Wshadow -fopenmp-simd -fno-math-errno>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC 12 warns of overlapping copies in every "text" + std::string (GCC bug 105651).
  target_compile_options(curate_settings INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict>)
endif()
if(CURATE_WERROR)
  target_compile_options(curate_settings INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
endif()
if(CURATE_SANITIZE)
  # Of targets with CURATE_ADDRESSES_ALONE no undefined behaviour is looked for: tests would take half as long again to
  # compile, and the command line, for code that is not what is tested.
  string(REGEX REPLACE ",undefined|undefined,|^undefined$" "" without_undefined "${CURATE_SANITIZE}")
  set(alone $<BOOL:$<TARGET_PROPERTY:CURATE_ADDRESSES_ALONE>>)
  target_compile_options(curate_settings INTERFACE
    $<$<NOT:${alone}>:-fsanitize=${CURATE_SANITIZE}>
    $<$<AND:${alone},$<BOOL:${without_undefined}>>:-fsanitize=${without_undefined}>
    -fno-omit-frame-pointer -fno-sanitize-recover=all)
  # -no-pie: with addresses that are known, no start of a test has to write 700,000 of them.
  target_link_options(curate_settings INTERFACE -fsanitize=${CURATE_SANITIZE} -no-pie)
endif()
if(CURATE_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "CURATE_FUZZ needs clang (libFuzzer); configure with the preset fuzz.")
  endif()
  # Every target is instrumented; tests/fuzz adds the driver to its own.
  target_compile_options(curate_settings INTERFACE -fsanitize=fuzzer-no-link,address,undefined,float-cast-overflow
                                                   -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_compile_definitions(curate_settings INTERFACE CURATE_SMALL_PIECES)
endif()

# curate_precompile(TARGET HEADER...): headers that its sources take from others, read once for all of them.
# curate_precompile(TARGET REUSE_FROM OTHER): those that were read for another target.
function(curate_precompile target)
  if(ARGV1 STREQUAL "REUSE_FROM")
    target_precompile_headers(${target} ${ARGN})
  else()
    target_precompile_headers(${target} PRIVATE ${ARGN})
  endif()
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    # Warnings that GCC 12 hides in the library's own headers, but not where they were compiled before.
    target_compile_options(${target} PRIVATE -Wno-stringop-overflow -Wno-stringop-overread -Wno-array-bounds)
  endif()
endfunction()

# For code that has no need to be fast, of which the libraries that it takes from headers would be most of the build.
function(curate_quick_to_compile target)
  target_compile_options(${target} PRIVATE $<$<AND:$<CONFIG:Release>,$<COMPILE_LANGUAGE:CXX>>:-O1>)
  set_target_properties(${target} PROPERTIES CURATE_ADDRESSES_ALONE ON)
endfunction()

# curate_unity(TARGET FILES): with CURATE_UNITY, so many of its sources are compiled as one. Most of the time goes to what
# they include and to the templates that all of them need.
function(curate_unity target files)
  if(CURATE_UNITY)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE ${files})
  endif()
endfunction()
