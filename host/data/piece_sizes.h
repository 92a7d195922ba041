#pragma once

namespace curate {

/// Whether pieces, buffers and tables are small. They are in the fuzz targets, whose short inputs would not fill a
/// large one.
#ifdef CURATE_SMALL_PIECES
inline constexpr bool kSmallPieces = true;
#else
inline constexpr bool kSmallPieces = false;
#endif

}  // namespace curate
