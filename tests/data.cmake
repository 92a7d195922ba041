set(CURATE_DATA_TESTS archive_test.cpp data_reader_test.cpp features_test.cpp movielens_like_test.cpp movielens_test.cpp
                      rating_reader_test.cpp split_test.cpp synthetic_test.cpp write_layouts_test.cpp)
