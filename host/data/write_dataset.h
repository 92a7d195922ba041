#pragma once

#include <string>

#include "curate/dataset.h"

namespace curate {

/// Writes ratings.csv and movies.csv as in MovieLens 20M and later (without the timestamp column if there are no
/// timestamps); read_dataset reads the folder back the same, if the ratings are within 0.5 to 5. Creates the folder.
/// Throws InputError if either file exists already or there are no ratings.
void write_movielens(const Dataset& dataset, const std::string& folder);

}  // namespace curate
