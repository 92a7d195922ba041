#!/usr/bin/env python3
"""Ratings that look like data sets cuRate is not tuned for, made from MovieLens 1M: other scales, other densities.

usage: stand_ins.py ML_1M FOLDER [--sets NAME,...] [--seed 1]
  ML_1M: the folder with ratings.dat. Writes FOLDER/NAME.train.tsv and FOLDER/NAME.test.tsv: user, item, rating.
Needs Python 3.9 and nothing else.

A stand-in is a sample of the ratings with other numbers of ratings a user and an item, and with ratings that are mapped
to another scale and made noisier. Who likes what stays that of MovieLens. A user of MovieLens becomes several where a
set has few ratings a user; a film becomes several, of unlike popularity, where a set has a long tail of items. The
ratings of a set are always the same; --seed chooses which tenth of them is the test part.
"""
import argparse
import math
import random
import zlib
from collections import Counter
from pathlib import Path

TEST_PART = 0.1
TITLES = {
    "jokes": "-10..10, two decimals, 100 items, dense",
    "trust": "1..5, 1.3 ratings a user, long tail of items",
    "film-trust": "0.5..4 in halves, 1,500 users, 24 ratings a user",
    "anime": "1..10, 10 to 50 ratings a user, long tail of items",
    "books": "1..10, 3 ratings a user, most users 1, long tail of items",
    "books-0": "0..10, as books, six of ten ratings a 0 that means none",
    "tweets": "0..10, mostly 7 to 9, 20 ratings a user, some all of 0 or 10",
    "scores": "1..100, 20 ratings a user",
    "reviews": "1..5, mostly 5, 3.3 ratings a user",
    "stars": "1..5, 9 ratings a user",
    "small": "1..5, 1,100 ratings",
}


def read_ratings(folder):
    """Ratings of every user: {user: [(item, stars), ...]}, users and films as in the file."""
    by_user = {}
    with open(Path(folder) / "ratings.dat", encoding="latin-1") as rows:
        for row in rows:
            user, item, stars = row.split("::")[:3]
            by_user.setdefault(user, []).append((item, float(stars)))
    return by_user


def clamp(value, low, high):
    return max(low, min(high, value))


def geometric(rnd, mean):
    """1, 2, ... with this mean."""
    return 1 if mean <= 1 else 1 + int(math.log(1 - rnd.random()) / math.log(1 - 1 / mean))


def one_piece(by_user, rnd, size):
    """Some ratings of every user: (user, item, stars)."""
    for user, ratings in by_user.items():
        for item, stars in rnd.sample(ratings, min(len(ratings), size(rnd))):
            yield user, item, stars


def pieces(by_user, rnd, size, at_most):
    """Users cut into users of so many ratings each, until there are at_most ratings."""
    left = at_most
    for user in rnd.sample(sorted(by_user), len(by_user)):
        ratings = rnd.sample(by_user[user], len(by_user[user]))
        piece = 0
        while ratings and left > 0:
            piece += 1
            length = min(size(rnd), left)
            taken, ratings = ratings[:length], ratings[length:]
            left -= len(taken)
            for item, stars in taken:
                yield f"{user}{piece:04}", item, stars


def long_tail(rows, rnd, copies):
    """Every film becomes so many items; the n-th has 1/n of the first one's ratings."""
    weights = [1 / n for n in range(1, copies + 1)]
    for user, item, stars in rows:
        yield user, f"{item}{rnd.choices(range(copies), weights)[0]:02}", stars


def some_users(by_user, rnd, number, at_least):
    enough = sorted(user for user, ratings in by_user.items() if len(ratings) >= at_least)
    return {user: by_user[user] for user in rnd.sample(enough, number)}


def mapped(rows, stars_to_rating):
    return [(user, item, stars_to_rating(stars)) for user, item, stars in rows]


def make_jokes(by_user, rnd):
    counts = Counter(item for ratings in by_user.values() for item, _ in ratings)
    top = {item for item, _ in counts.most_common(100)}
    dense = {user: [one for one in ratings if one[0] in top] for user, ratings in by_user.items()}
    dense = some_users(dense, rnd, 1200, 40)
    return mapped(one_piece(dense, rnd, lambda _: 100),
                  lambda stars: round(clamp((stars - 3.5) * 4 + rnd.gauss(0, 2), -10, 10), 2))


def make_trust(by_user, rnd):
    rows = long_tail(pieces(by_user, rnd, lambda r: geometric(r, 1.3), 25_000), rnd, 4)
    return mapped(rows, lambda stars: clamp(round(stars + rnd.gauss(0, 0.8)), 1, 5))


def make_film_trust(by_user, rnd):
    rows = one_piece(some_users(by_user, rnd, 1500, 24), rnd, lambda r: geometric(r, 26))
    return mapped(rows, lambda stars: clamp(round(2 * (0.8 * stars + rnd.gauss(0, 0.4))) / 2, 0.5, 4))


def make_anime(by_user, rnd):
    rows = one_piece(some_users(by_user, rnd, 3000, 50), rnd, lambda r: r.randint(10, 50))
    return mapped(long_tail(rows, rnd, 6), lambda stars: clamp(round(1.6 * stars + 2 + rnd.gauss(0, 0.8)), 1, 10))


def make_books(by_user, rnd):
    rows = pieces(by_user, rnd, lambda r: min(300, int(r.paretovariate(1.3))), 40_000)
    return mapped(long_tail(rows, rnd, 6), lambda stars: clamp(round(1.4 * stars + 2.6 + rnd.gauss(0, 1.0)), 1, 10))


def make_books_with_zeros(by_user, rnd):
    return [(user, item, 0 if rnd.random() < 0.6 else rating) for user, item, rating in make_books(by_user, rnd)]


def make_tweets(by_user, rnd):
    rows = list(one_piece(some_users(by_user, rnd, 2500, 20), rnd, lambda r: geometric(r, 22)))
    base = {1: 3.5, 2: 5.5, 3: 7, 4: 8, 5: 9}
    of_one_mind = {user: rnd.choice([0, 10, 10, 10]) for user in by_user if rnd.random() < 0.02}
    return [(user, item, of_one_mind.get(user, clamp(round(base[stars] + rnd.gauss(0, 0.8)), 0, 10)))
            for user, item, stars in rows]


def make_scores(by_user, rnd):
    rows = one_piece(some_users(by_user, rnd, 2500, 20), rnd, lambda r: geometric(r, 22))
    return mapped(rows, lambda stars: clamp(round(20 * stars - 5 + rnd.gauss(0, 8)), 1, 100))


def make_reviews(by_user, rnd):
    rows = pieces(by_user, rnd, lambda r: geometric(r, 3.3), 40_000)
    return mapped(long_tail(rows, rnd, 3), lambda stars: clamp(round(stars + 0.9 + rnd.gauss(0, 0.6)), 1, 5))


def make_stars(by_user, rnd):
    return list(one_piece(by_user, rnd, lambda r: geometric(r, 9)))


def make_small(by_user, rnd):
    return rnd.sample([(user, *one) for user, ratings in by_user.items() for one in ratings], 1100)


MAKERS = {"jokes": make_jokes, "trust": make_trust, "film-trust": make_film_trust, "anime": make_anime,
          "books": make_books, "books-0": make_books_with_zeros, "tweets": make_tweets, "scores": make_scores,
          "reviews": make_reviews, "stars": make_stars, "small": make_small}


def make(name, by_user):
    """The ratings of a stand-in, the same on every run."""
    return MAKERS[name](by_user, random.Random(zlib.crc32(name.encode())))


def write_parts(name, rows, folder, seed):
    """The files of the training and the test part."""
    rows = random.Random(seed).sample(rows, len(rows))
    cut = round(TEST_PART * len(rows))
    paths = []
    for part, chosen in (("train", rows[cut:]), ("test", rows[:cut])):
        paths.append(Path(folder) / f"{name}.{part}.tsv")
        with open(paths[-1], "w", encoding="utf-8") as file:
            file.writelines(f"{user}\t{item}\t{rating:g}\n" for user, item, rating in chosen)
    return paths


def main():
    parser = argparse.ArgumentParser(description="Stand-ins made from MovieLens 1M.")
    parser.add_argument("ml_1m")
    parser.add_argument("folder")
    parser.add_argument("--sets", default=",".join(MAKERS))
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    by_user = read_ratings(arguments.ml_1m)
    Path(arguments.folder).mkdir(parents=True, exist_ok=True)
    for name in arguments.sets.split(","):
        rows = make(name, by_user)
        train, _ = write_parts(name, rows, arguments.folder, arguments.seed)
        print(f"{train}: of {len(rows)} ratings, {len({row[0] for row in rows})} users, "
              f"{len({row[1] for row in rows})} items: {TITLES[name]}")


if __name__ == "__main__":
    main()
