# cmake -P tests/cuda_architectures_test.cmake: which GPUs are built for, by toolkit and by what GPUs are here.
cmake_minimum_required(VERSION 3.25)
include("${CMAKE_CURRENT_LIST_DIR}/../cmake/cuda_architectures.cmake")

function(expect toolkit every capabilities expected)
  curate_cuda_architectures(got ${toolkit} ${every} "${capabilities}")
  if(NOT got STREQUAL expected)
    message(SEND_ERROR "CUDA ${toolkit}, every GPU ${every}, GPUs '${capabilities}': '${got}', not '${expected}'")
  endif()
endfunction()

# No GPU here.
expect(12.4 ON "" "80-real;90-real;90-virtual")
expect(12.7 ON "" "80-real;90-real;90-virtual")
expect(12.8 ON "" "80-real;90-real;100-real;120-real;90-virtual")
expect(13.0 ON "" "80-real;90-real;100-real;120-real;90-virtual")
expect(13.0 OFF "" "90-real")
expect(12.4 OFF "" "90-real")
# GPUs of this machine alone.
foreach(every ON OFF)
  expect(12.4 ${every} "8.0" "80-real")
  expect(12.4 ${every} "8.6" "86-real")
  expect(12.4 ${every} "8.9;8.9" "89-real")
  expect(12.4 ${every} "9.0" "90-real")
  expect(12.8 ${every} "10.0" "100-real")
  expect(12.8 ${every} "12.0" "120-real")
  expect(12.8 ${every} "8.6;12.0" "86-real;120-real")
endforeach()
# GPUs that the toolkit knows by their family alone, or not at all.
expect(12.4 ON "8.8" "80-real")
expect(12.8 ON "10.3" "100-real")
expect(12.8 ON "12.1" "120-real")
expect(13.0 ON "11.0" "90-virtual")
expect(12.4 ON "12.0" "90-virtual")
expect(12.4 ON "8.6;12.0" "86-real;90-virtual")
expect(13.0 ON "15.0" "90-virtual")
# Those that are too old for the engine.
expect(12.4 ON "7.5;8.6" "86-real")
expect(12.4 ON "7.5" "80-real;90-real;90-virtual")
# A driver that does not tell.
foreach(every ON OFF)
  expect(13.0 ${every} "unknown" "80-real;90-real;100-real;120-real;90-virtual")
endforeach()

# nvcc's version.
set(folder "${CMAKE_CURRENT_BINARY_DIR}/cuda_architectures_test")
file(WRITE "${folder}/nvcc" "#!/bin/sh\necho 'Cuda compilation tools, release 12.8, V12.8.93'\n")
file(CHMOD "${folder}/nvcc" PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
curate_nvcc_version(version "${folder}/nvcc")
file(REMOVE_RECURSE "${folder}")
if(NOT version STREQUAL "12.8")
  message(SEND_ERROR "nvcc's version: '${version}'")
endif()
