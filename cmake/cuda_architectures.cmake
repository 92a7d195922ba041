# Which GPUs to build for. A function of its own, so that tests/cuda_architectures_test.cmake can call it.

# curate_cuda_architectures(OUT TOOLKIT EVERY CAPABILITIES): what CMAKE_CUDA_ARCHITECTURES should be.
# TOOLKIT: nvcc's version. EVERY: whether the build has to run on every GPU, where there is none here to build for.
# CAPABILITIES: compute capabilities of this machine's GPUs, like 8.6;12.0, or "unknown", or nothing.
# "native" is not used: where the driver does not tell which GPU there is, as in a container without one, nvcc takes the
# oldest that it knows, which is too old for the engine.
function(curate_cuda_architectures out toolkit every capabilities)
  if(capabilities STREQUAL "unknown")
    set(capabilities "")
    set(every ON)
  endif()
  # A GPU runs code for its own major version and a minor one up to its own: code for 8.0 runs on 8.6, 8.7 and 8.9, for
  # 10.0 on 10.3, for 12.0 on 12.1. The driver compiles PTX for a GPU as old as the PTX or newer: that of 9.0, the
  # oldest in which kernels may reduce vectors in memory, serves 11.0 and all GPUs to come, and with toolkits before 12.8,
  # which know no newer GPU than 9.0, also 10.x and 12.x.
  set(ptx 90-virtual)
  set(code 80 90)
  if(toolkit VERSION_GREATER_EQUAL 12.8)
    list(APPEND code 100 120)
  endif()

  set(known 86 87 89)  # besides, by every toolkit
  set(own)
  foreach(capability IN LISTS capabilities)
    if(capability VERSION_LESS 8.0)
      continue()  # the engine needs 8.0
    endif()
    string(REPLACE "." "" number "${capability}")
    string(REGEX REPLACE "\\.[0-9]+$" "" major "${capability}")
    if(number IN_LIST code OR number IN_LIST known)
      list(APPEND own ${number}-real)
    elseif("${major}0" IN_LIST code)
      list(APPEND own ${major}0-real)  # toolkits learn of 10.3 and 12.1 later than of 10.0 and 12.0, whose code they run
    else()
      list(APPEND own ${ptx})
    endif()
  endforeach()
  list(REMOVE_DUPLICATES own)
  if(own)
    set(${out} "${own}" PARENT_SCOPE)
  elseif(every)
    list(TRANSFORM code APPEND -real)
    set(${out} "${code};${ptx}" PARENT_SCOPE)
  else()
    set(${out} 90-real PARENT_SCOPE)
  endif()
endfunction()

# curate_gpu_capabilities(OUT): compute capabilities of this machine's GPUs; nothing where there is no driver, "unknown"
# where the driver does not tell.
function(curate_gpu_capabilities out)
  set(${out} "" PARENT_SCOPE)
  if(NOT EXISTS /proc/driver/nvidia/version)
    return()
  endif()
  set(${out} unknown PARENT_SCOPE)
  find_program(CURATE_NVIDIA_SMI nvidia-smi)
  mark_as_advanced(CURATE_NVIDIA_SMI)
  if(CURATE_NVIDIA_SMI)
    execute_process(COMMAND ${CURATE_NVIDIA_SMI} --query-gpu=compute_cap --format=csv,noheader
                    OUTPUT_VARIABLE text RESULT_VARIABLE result ERROR_QUIET)
    string(REGEX MATCHALL "[0-9]+\\.[0-9]+" capabilities "${text}")
    if(result EQUAL 0 AND capabilities)
      set(${out} "${capabilities}" PARENT_SCOPE)
    endif()
  endif()
endfunction()

# curate_nvcc_version(OUT NVCC)
function(curate_nvcc_version out nvcc)
  execute_process(COMMAND ${nvcc} --version OUTPUT_VARIABLE text ERROR_QUIET)
  if(NOT text MATCHES "release [0-9.]+, V([0-9]+\\.[0-9]+)")
    message(FATAL_ERROR "${nvcc} --version does not say which version it is:\n${text}")
  endif()
  set(${out} ${CMAKE_MATCH_1} PARENT_SCOPE)
endfunction()
