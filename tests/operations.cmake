# Tests of the device contract and of every operation. Paths are relative to this folder.
set(CURATE_TEST_SUPPORT support/compare.cpp)

set(CURATE_OPERATION_TESTS
    compare_test.cpp
    device_test.cpp
    step_state_test.cpp
    permute_test.cpp
    build_segments_test.cpp
    gather_rows_test.cpp
    bag_rows_test.cpp
    dot_rows_test.cpp
    dot_rows_backward_test.cpp
    rating_loss_test.cpp
    rating_errors_test.cpp
    scatter_add_rows_test.cpp
    add_l2_rows_test.cpp
    update_rows_test.cpp
    update_dense_test.cpp
    dense_forward_test.cpp
    dense_backward_test.cpp
    dense_stack_test.cpp
    dropout_test.cpp
    half_precision_test.cpp
    mf_sgd_block_test.cpp
    mf_sgd_epoch_test.cpp
    sum_squared_error_test.cpp)
