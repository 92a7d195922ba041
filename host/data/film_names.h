#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "support/philox.h"

namespace curate {

/// A genre of made-up films.
struct FilmGenre {
  std::string_view name;
  double share;  ///< of the films that have it first, by which genres are drawn
  std::array<std::string_view, 8> adjectives;
  std::array<std::string_view, 8> nouns;
};

inline constexpr std::size_t kFilmGenres = 18;

/// In alphabetical order, as MovieLens lists those of a film.
const std::array<FilmGenre, kFilmGenres>& film_genres();

/// One to three different genres, as indices in ascending order.
std::vector<std::size_t> draw_genres(const PhiloxWords& words);

/// A title without a year, of words of the genres.
std::string film_title(const std::vector<std::size_t>& genres, const PhiloxWords& words);

}  // namespace curate
