#pragma once

namespace curate {

/// Whether the sizes of pieces, buffers and tables are small: in the fuzz targets, whose short inputs would never come
/// to the end of one otherwise.
#ifdef CURATE_SMALL_PIECES
inline constexpr bool kSmallPieces = true;
#else
inline constexpr bool kSmallPieces = false;
#endif

}  // namespace curate
