#include "data/film_names.h"

#include <fmt/format.h>

#include <algorithm>

namespace curate {

const std::array<FilmGenre, kFilmGenres>& film_genres() {
  static constexpr std::array<FilmGenre, kFilmGenres> kGenres = {{
      {"Action",
       0.10,
       {"Lethal", "Burning", "Final", "Hard", "Furious", "Deadly", "Relentless", "Maximum"},
       {"Impact", "Pursuit", "Strike", "Vengeance", "Fist", "Showdown", "Bullet", "Force"}},
      {"Adventure",
       0.06,
       {"Lost", "Uncharted", "Golden", "Forbidden", "Daring", "Distant", "Endless", "Wild"},
       {"Expedition", "Treasure", "Island", "Voyage", "Quest", "Jungle", "Passage", "Horizon"}},
      {"Animation",
       0.03,
       {"Animated", "Painted", "Tiny", "Bouncing", "Colorful", "Talking", "Wooden", "Paper"},
       {"Penguin", "Toy", "Mouse", "Teapot", "Robot", "Fox", "Crayon", "Balloon"}},
      {"Children",
       0.03,
       {"Little", "Brave", "Curious", "Happy", "Muddy", "Sleepy", "Clever", "Friendly"},
       {"Puppy", "Schoolhouse", "Playground", "Bear", "Birthday", "Pony", "Sandbox", "Holiday"}},
      {"Comedy",
       0.20,
       {"Awkward", "Crazy", "Foolish", "Unlikely", "Merry", "Hopeless", "Silly", "Lucky"},
       {"Roommates", "Uncle", "Wedding", "Mix-Up", "Neighbors", "Vacation", "Clown", "Party"}},
      {"Crime",
       0.06,
       {"Crooked", "Guilty", "Dirty", "Stolen", "Wanted", "Ruthless", "Corrupt", "Perfect"},
       {"Heist", "Gangster", "Alibi", "Ransom", "Syndicate", "Detective", "Verdict", "Getaway"}},
      {"Documentary",
       0.06,
       {"True", "Untold", "Living", "Inside", "Everyday", "Forgotten", "Unseen", "Real"},
       {"Story", "Archive", "Planet", "Century", "Portrait", "Witness", "Election", "Reef"}},
      {"Drama",
       0.26,
       {"Broken", "Quiet", "Bitter", "Tender", "Fragile", "Fading", "Silent", "Distant"},
       {"Family", "Promise", "Daughter", "Winter", "Secret", "Letters", "Autumn", "Confession"}},
      {"Fantasy",
       0.03,
       {"Enchanted", "Magic", "Mythic", "Cursed", "Eternal", "Crystal", "Hidden", "Elven"},
       {"Dragon", "Wizard", "Kingdom", "Sword", "Unicorn", "Prophecy", "Crown", "Spell"}},
      {"Film-Noir",
       0.01,
       {"Shadowed", "Midnight", "Smoky", "Doomed", "Faithless", "Rainy", "Velvet", "Cynical"},
       {"Alley", "Stranger", "Cigarette", "Double-Cross", "Streetlight", "Widow", "Harbor", "Staircase"}},
      {"Horror",
       0.06,
       {"Haunted", "Bloody", "Screaming", "Rotting", "Unholy", "Crawling", "Pale", "Ghastly"},
       {"Cellar", "Grave", "Vampire", "Scarecrow", "Asylum", "Demon", "Zombie", "Séance"}},
      {"Musical",
       0.02,
       {"Singing", "Dancing", "Swinging", "Dazzling", "Melodious", "Tapping", "Velvety", "Glittering"},
       {"Melody", "Chorus", "Cabaret", "Ballroom", "Serenade", "Follies", "Piano", "Rhapsody"}},
      {"Mystery",
       0.03,
       {"Vanishing", "Unsolved", "Cryptic", "Locked", "Missing", "Veiled", "Secretive", "Puzzling"},
       {"Riddle", "Mansion", "Cipher", "Footprint", "Clue", "Portrait", "Inspector", "Key"}},
      {"Romance",
       0.08,
       {"Loving", "Sweet", "Passionate", "Starlit", "Moonlit", "Yearning", "Charming", "Wistful"},
       {"Kiss", "Honeymoon", "Valentine", "Sweetheart", "Embrace", "Rose", "Affair", "Bride"}},
      {"Sci-Fi",
       0.05,
       {"Cosmic", "Atomic", "Quantum", "Galactic", "Synthetic", "Orbital", "Robotic", "Interstellar"},
       {"Android", "Starship", "Mutation", "Nebula", "Reactor", "Colony", "Paradox", "Saucer"}},
      {"Thriller",
       0.08,
       {"Sudden", "Hunted", "Double", "Deceptive", "Trapped", "Paranoid", "Icy", "Fatal"},
       {"Suspicion", "Hostage", "Conspiracy", "Countdown", "Informer", "Obsession", "Trap", "Deadline"}},
      {"War",
       0.03,
       {"Fallen", "Besieged", "Heroic", "Marching", "Wounded", "Occupied", "Scorched", "Last"},
       {"Battalion", "Trench", "Soldier", "Bridge", "Armistice", "Squadron", "Siege", "Convoy"}},
      {"Western",
       0.02,
       {"Dusty", "Lonesome", "Outlawed", "Saddled", "Untamed", "Frontier", "Galloping", "Rugged"},
       {"Sheriff", "Canyon", "Stagecoach", "Rustler", "Prairie", "Gunslinger", "Saloon", "Stallion"}},
  }};
  return kGenres;
}

std::vector<std::size_t> draw_genres(const PhiloxWords& words) {
  const auto& genres = film_genres();
  std::vector<std::size_t> drawn;
  const std::uint32_t count = 1 + words.word[3] % 3;
  for (std::uint32_t k = 0; k < count; ++k) {
    double left = 0.0;
    for (std::size_t genre = 0; genre < genres.size(); ++genre) {
      left += std::find(drawn.begin(), drawn.end(), genre) == drawn.end() ? genres[genre].share : 0.0;
    }
    left *= static_cast<double>(uniform_float(words.word[k]));
    std::size_t last = 0;
    for (std::size_t genre = 0; genre < genres.size() && left >= 0.0; ++genre) {
      if (std::find(drawn.begin(), drawn.end(), genre) == drawn.end()) {
        left -= genres[genre].share;
        last = genre;
      }
    }
    drawn.push_back(last);
  }
  std::sort(drawn.begin(), drawn.end());
  return drawn;
}

std::string film_title(const std::vector<std::size_t>& genres, const PhiloxWords& words) {
  const auto& all = film_genres();
  const FilmGenre& first = all[genres[words.word[0] % genres.size()]];
  const FilmGenre& second = all[genres[words.word[1] % genres.size()]];
  const std::string_view adjective = first.adjectives[words.word[2] % first.adjectives.size()];
  const std::string_view noun = second.nouns[(words.word[2] >> 8U) % second.nouns.size()];
  const std::string_view other = first.nouns[(words.word[2] >> 16U) % first.nouns.size()];
  switch (words.word[3] % 8) {
    case 0:
    case 1:
      return fmt::format("{} {}, The", adjective, noun);  // as MovieLens puts articles
    case 2:
      return noun == other ? fmt::format("{} and {}", adjective, noun) : fmt::format("{} of the {}", noun, other);
    case 3:
      return noun == other ? fmt::format("My {} {}", adjective, noun)
                           : fmt::format("{} {}: The {}", adjective, noun, other);
    default:
      return fmt::format("{} {}", adjective, noun);
  }
}

}  // namespace curate
