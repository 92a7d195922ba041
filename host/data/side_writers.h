#pragma once

#include <cstdint>

#include "curate/dataset.h"
#include "data/user_info.h"
#include "data/write_layouts.h"
#include "support/output_folder.h"

namespace curate {

/// The files of items and users that a layout has.
enum class SideFormat : std::uint8_t {
  csv,  ///< movies.csv, users.csv
  dat,  ///< movies.dat, users.dat
  u,    ///< u.item, u.genre, u.user, u.occupation
};

/// Stages the files of items; none if none is to be listed. Adds to `losses`.
void write_item_files(const Dataset& dataset, ListedItems listed, SideFormat format, OutputFolder& folder,
                      LayoutLosses& losses);

/// Stages the files of the users that `table` has; none if it has none of them. Adds to `losses`.
void write_user_files(const Dataset& dataset, const UserTable& table, SideFormat format, OutputFolder& folder,
                      LayoutLosses& losses);

}  // namespace curate
