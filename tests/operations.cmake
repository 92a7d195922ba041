# Tests of the device contract and of every operation. Paths are relative to this folder.
set(CURATE_TEST_SUPPORT support/compare.cpp)

set(CURATE_OPERATION_TESTS
    compare_test.cpp
    device_arguments_test.cpp
    device_capture_test.cpp
    device_supports_test.cpp
    device_test.cpp
    dot_rows_backward_test.cpp
    half_precision_test.cpp
    mf_sgd_block_test.cpp)

# The tests of an operation are called as its file in host/device/cpu: a new one is found by itself.
file(GLOB operations RELATIVE ${PROJECT_SOURCE_DIR}/host/device/cpu CONFIGURE_DEPENDS
     ${PROJECT_SOURCE_DIR}/host/device/cpu/*.cpp)
file(GLOB tests RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} CONFIGURE_DEPENDS *_test.cpp)
foreach(operation IN LISTS operations)
  string(REPLACE ".cpp" "_test.cpp" test ${operation})
  if(test IN_LIST tests)
    list(APPEND CURATE_OPERATION_TESTS ${test})
  endif()
endforeach()
