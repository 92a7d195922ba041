set(CURATE_DATA_TESTS data_reader_test.cpp features_test.cpp movielens_test.cpp split_test.cpp synthetic_test.cpp
    write_layouts_test.cpp)
