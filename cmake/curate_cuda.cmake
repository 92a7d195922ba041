# CURATE_CUDA decides whether the CUDA engine is built. There is none in this version: ON says so at once instead of
# building something that fails later.

if(CURATE_CUDA STREQUAL "ON" OR CURATE_EMULATED)
  message(FATAL_ERROR "This version of cuRate has no CUDA engine yet: configure with CURATE_CUDA=AUTO or OFF and "
                      "without CURATE_EMULATED.")
elseif(NOT CURATE_CUDA MATCHES "^(AUTO|OFF)$")
  message(FATAL_ERROR "CURATE_CUDA is '${CURATE_CUDA}'; it takes AUTO, ON or OFF.")
endif()
