#!/usr/bin/env python3
"""Tests of `curate data` and of how ratings are read when all goes well.

usage: cli_data_test.py [CURATE] [unittest arguments]     CURATE: the binary (default: $CURATE_BINARY)
"""
import collections
import csv
import io
import math
import re
import statistics

import skips
from cli_case import (CliCase, Rating, counts_by, model_bytes, read_config, read_metrics, read_ratings, read_table,
                      read_titles, strict_json, trained_counts)

LAYOUT_RATINGS = {"ml-csv": ("ratings.csv", ","), "ml-1m": ("ratings.dat", "::"), "ml-100k": ("u.data", "\t"),
                  "csv": ("ratings.csv", ","), "tsv": ("ratings.tsv", "\t")}


def read_layout(folder, layout):
    """The ratings that a folder in a layout holds, in order."""
    name, separator = LAYOUT_RATINGS[layout]
    lines = (folder / name).read_text(encoding="utf-8").splitlines()
    fields = [line.split(separator) for line in lines if line[0].isdigit()]
    return [Rating(int(f[0]), int(f[1]), float(f[2]), int(f[3])) for f in fields]


class TextIdsTest(CliCase):
    """Users and items that are called by names, from the data to the prediction."""

    def write_names(self, folder="."):
        rows = [(f"user {u}", f'the "{i}", again' if i % 2 else f"film{i}", 1 + (u * i) % 5) for u in range(1, 13)
                for i in range(1, 11) if (u + i) % 3]
        with io.StringIO(newline="") as text:
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(["user", "item", "rating"])
            writer.writerows(rows)
            return self.write(f"{folder}/names.csv", text.getvalue()), rows

    def test_train_evaluate_and_predict(self):
        data, rows = self.write_names()
        run = self.train(data, "--epochs", 2, "--split", "random:0.2")
        tested = strict_json(self.curate("evaluate", run, "--json").stdout)["test"]
        self.assertEqual(tested["rmse"], read_metrics(run)["test"]["rmse"])
        self.assertEqual({row["raw_id"] for row in read_table(run / "users.tsv")}, {user for user, _, _ in rows})
        everything = strict_json(self.curate("evaluate", run, "--data", data, "--json").stdout)["test"]
        self.assertEqual(everything["ratings"], len(rows))
        user, item, _ = rows[0]
        one = next(csv.DictReader(io.StringIO(self.curate("predict", run, "--user", user, "--item", item).stdout)))
        self.assertEqual((one["userId"], one["movieId"]), (user, item))
        all_rows = list(csv.DictReader(io.StringIO(self.curate("predict", run, "--pairs", data).stdout)))
        self.assertEqual([(r["userId"], r["movieId"]) for r in all_rows], [(u, i) for u, i, _ in rows])
        self.assertEqual(all_rows[0], one)
        (entry,) = strict_json(self.curate("predict", run, "--user", "nobody", "--item", item, "--json").stdout)
        self.assertEqual((entry["user"], entry["basis"]), ("nobody", "item mean"))

    def test_convert_and_split_keep_them(self):
        data, rows = self.write_names()
        self.curate("data", "convert", data, "--out", "made", "--layout", "csv")
        with open(self.folder / "made/ratings.csv", newline="", encoding="utf-8") as file:
            self.assertEqual([(r["user"], r["item"], int(r["rating"])) for r in csv.DictReader(file)], rows)
        self.curate("data", "convert", data, "--out", "tabs", "--layout", "tsv")
        self.curate("data", "convert", self.folder / "tabs/ratings.tsv", "--out", "back", "--layout", "csv")
        self.assertEqual((self.folder / "back/ratings.csv").read_bytes(),
                         (self.folder / "made/ratings.csv").read_bytes())
        self.curate("data", "split", data, "--split", "random:0.5", "--out", "parts")
        pairs = []
        for part in ("train", "test"):
            with open(self.folder / "parts" / f"ratings.{part}.csv", newline="", encoding="utf-8") as file:
                pairs += [(r["userId"], r["movieId"]) for r in csv.DictReader(file)]
        self.assertEqual(sorted(pairs), sorted((u, i) for u, i, _ in rows))

    def test_numbers_as_texts(self):
        data = self.write("codes.csv", "".join(f"{u:03},{i:02},{1 + (u + i) % 5}\n" for u in range(9)
                                               for i in range(9)))
        run = self.train(data, "--epochs", 1)
        self.assertEqual(read_table(run / "users.tsv")[7]["raw_id"], "7")
        run = self.train(data, "--epochs", 1, "--text-ids", out="texts")
        self.assertEqual(read_table(run / "users.tsv")[7]["raw_id"], "007")
        self.assertTrue(read_config(run)["text_ids"])
        self.curate("evaluate", run)
        (entry,) = strict_json(self.curate("predict", run, "--user", "007", "--item", "03", "--json").stdout)
        self.assertEqual((entry["user"], entry["basis"]), ("007", "model"))
        (entry,) = strict_json(self.curate("predict", run, "--user", 7, "--item", "03", "--json").stdout)
        self.assertEqual(entry["basis"], "item mean")


class CacheTest(CliCase):
    def test_is_beside_large_files_and_changes_nothing(self):
        data = self.generate(users=4000, items=2000, ratings=800000)
        cache = data / ".ratings.csv.curate-cache"
        first = self.train(data, "--epochs", 1, "--dim", 4, "--no-cache", out="first")
        self.assertFalse(cache.exists())
        second = self.train(data, "--epochs", 1, "--dim", 4, out="second")
        self.assertTrue(cache.exists())
        result = self.curate("train", data, "--epochs", 1, "--dim", 4, "--out", "third")
        self.assertIn("from its cache", result.stderr)
        for run in (second, self.folder / "third"):
            self.assertEqual(model_bytes(run), model_bytes(first))
        inspected = [self.curate("data", "inspect", data, "--json", *options).stdout for options in ([], ["--no-cache"])]
        self.assertEqual(*inspected)

    def test_small_files_have_none(self):
        data = self.generate()
        self.train(data, "--epochs", 1)
        self.assertEqual({path.name for path in data.iterdir()}, {"ratings.csv", "movies.csv"})


class DataTest(CliCase):
    def test_inspect_agrees_with_the_files(self):
        data = self.generate()
        ratings = read_ratings(data)
        values = [r.rating for r in ratings]
        shown = strict_json(self.curate("data", "inspect", data, "--json").stdout)
        users, items = counts_by(ratings, "user"), counts_by(ratings, "item")
        self.assertEqual((shown["ratings"], shown["users"], shown["items"]), (1500, len(users), len(items)))
        self.assertEqual((shown["source"], shown["layout"], shown["duplicates"]), (str(data), "ml-csv", 0))
        self.assertEqual((shown["first_time"], shown["last_time"]),
                         (min(r.time for r in ratings), max(r.time for r in ratings)))
        self.assertAlmostEqual(shown["density"], 1500 / len(users) / len(items), places=9)
        self.assertAlmostEqual(shown["mean"], statistics.fmean(values), places=6)
        self.assertAlmostEqual(shown["standard_deviation"], statistics.pstdev(values), places=2)
        self.assertEqual({row["rating"]: row["count"] for row in shown["histogram"]}, collections.Counter(values))
        for key, counts in (("ratings_per_user", users), ("ratings_per_item", items)):
            self.assertEqual(shown[key]["q0"], min(counts.values()))
            self.assertEqual(shown[key]["q100"], max(counts.values()))
            self.assertAlmostEqual(shown[key]["mean"], 1500 / len(counts), places=9)

    def test_inspect_prints_the_same(self):
        data = self.generate()
        shown = strict_json(self.curate("data", "inspect", data, "--json").stdout)
        text = self.curate("data", "inspect", data).stdout
        self.assertRegex(text, r"(?m)^ratings +1,500$")
        self.assertRegex(text, rf"(?m)^users +{shown['users']}$")
        self.assertRegex(text, rf"(?m)^items +{shown['items']}$")
        self.assertIn(f"{shown['mean']:.4f}, {shown['standard_deviation']:.4f}", text)

    def test_inspect_counts_repeated_pairs(self):
        file = self.write("ratings.csv", "1,1,3,10\n1,2,4,11\n1,1,5,12\n2,1,1,13\n")
        shown = strict_json(self.curate("data", "inspect", file, "--json").stdout)
        self.assertEqual((shown["ratings"], shown["duplicates"], shown["layout"]), (3, 1, "delimited"))
        self.assertEqual(shown["mean"], (4 + 5 + 1) / 3)

    def test_inspect_warns_of_heavy_tails(self):
        lines = [f"{user},{item},{1 + (user * item) % 5}" for user in range(60) for item in range(40)]
        lines[1234] = lines[1234].rsplit(",", 1)[0] + ",500"
        file = self.write("ratings.csv", "user,item,rating\n\n" + "\n".join(lines) + "\n")
        result = self.curate("data", "inspect", file, "--json")
        self.assertRegex(result.stderr, rf"^warning: {file}:1237: the rating 500 lies 4\d.* standard deviations above "
                                        r"the mean .*; mend or remove it .* --transform log\n$")
        tails = strict_json(result.stdout)["heavy_tails"]
        self.assertEqual((tails["user"], tails["item"], tails["rating"], tails["far_ratings"], tails["file"],
                          tails["line"]), ("30", "34", 500, 1, str(file), 1237))
        self.assertGreater(tails["deviations"], 40)
        lines[2000] = lines[2000].rsplit(",", 1)[0] + ",-700"
        self.write("ratings.csv", "user,item,rating\n\n" + "\n".join(lines) + "\n")
        warning = self.curate("data", "inspect", file).stderr
        self.assertRegex(warning, rf"^warning: {file}:2003: the rating -700 lies .* below the mean .*, the farthest of "
                                  r"2 that lie more than 10 from it; mend or remove it if it is a mistake\n$")
        self.assertNotIn("--transform", warning)

    def test_inspect_warns_of_no_scale_of_grades(self):
        data = self.generate()
        result = self.curate("data", "inspect", data, "--json")
        self.assertEqual(result.stderr, "")
        self.assertIsNone(strict_json(result.stdout)["heavy_tails"])

    def test_inspect_shows_what_is_known_beside_the_ratings(self):
        data = self.write_side_files()
        shown = strict_json(self.curate("data", "inspect", data, "--json").stdout)
        known = {(row["side"], row["name"]): row for row in shown["side_information"]}
        self.assertEqual(list(known), [("user", "sex"), ("user", "age"), ("user", "age_group"),
                                       ("user", "occupation"), ("item", "genres"), ("item", "year"),
                                       ("item", "tags"), ("item", "genome")])
        for key, kind, values, rows, ratings in ((("user", "sex"), "category", 2, 2, 3),
                                                 (("user", "age_group"), "category", 7, 1, 2),
                                                 (("item", "genres"), "multi", 3, 2, 3),
                                                 (("item", "tags"), "multi", 2, 1, 2),
                                                 (("item", "genome"), "vector", 2, 1, 1)):
            with self.subTest(key):
                row = known[key]
                self.assertEqual((row["kind"], row["values"], row["rows"], row["ratings"]),
                                 (kind, values, rows, ratings))
                self.assertAlmostEqual(row["share_of_rows"], rows / 3)
                self.assertAlmostEqual(row["share_of_ratings"], ratings / 4)
        self.assertEqual((known["item", "year"]["min"], known["item", "year"]["max"]), (1985, 1995))
        text = self.curate("data", "inspect", data).stdout
        self.assertRegex(text, r"(?m)^item genres +3 values +2 items +66\.7 % +75\.0 %$")
        self.assertRegex(text, r"(?m)^item year +1985 to 1995 +2 items ")
        self.assertRegex(text, r"(?m)^item genome +2 numbers +1 items +33\.3 % +25\.0 %$")

    def write_side_files(self):
        self.write("data/ratings.csv", "userId,movieId,rating\n1,10,3\n1,20,4\n2,10,5\n3,30,2\n")
        self.write("data/movies.csv", "movieId,title,genres\n10,Ran (1985),War|Drama\n20,Toy Story (1995),Comedy\n")
        self.write("data/users.csv", "userId,gender,age,occupation\n1,F,30,writer\n2,M,,\n")
        self.write("data/tags.csv", "userId,movieId,tag,timestamp\n1,10,slow,5\n2,10,Slow,6\n2,10,dark,7\n")
        self.write("data/genome-tags.csv", "tagId,tag\n1,slow\n2,dark\n")
        self.write("data/genome-scores.csv", "movieId,tagId,relevance\n20,1,0.5\n20,2,0.25\n99,1,1\n")
        return self.folder / "data"

    def test_inspect_says_where_nothing_is_known(self):
        file = self.write("plain/ratings.csv", "1,1,3\n1,2,4\n")
        self.assertEqual(strict_json(self.curate("data", "inspect", file, "--json").stdout)["side_information"], [])
        self.assertIn("none beside the ratings", self.curate("data", "inspect", file).stdout)

    def test_inspect_shows_the_memory_to_train(self):
        data = self.generate()
        shown = strict_json(self.curate("data", "inspect", data, "--json").stdout)
        models = {(row["model"], row["optimizer"]): row for row in shown["memory"]}
        self.assertEqual(set(models), {("mf", "sgd"), ("mf", "adam"), ("mlp", "sgd+adam")})
        for row in models.values():
            self.assertEqual(row["gpu_host_bytes"], row["gpu"]["host"])
            self.assertEqual(row["cpu_bytes"], sum(row["cpu"].values()))
            self.assertEqual(row["gpu_bytes"], sum(row["gpu"].values()) - row["gpu"]["host"])
        sgd, adam = models["mf", "sgd"], models["mf", "adam"]
        self.assertEqual((sgd["dim"], sgd["batch"], adam["batch"]), (64, 1, 1024))
        for engine in ("cpu", "gpu"):
            parts = adam[engine]
            self.assertEqual(parts["gradients"], parts["parameters"] - 4)
            self.assertEqual(parts["optimizer"], 2 * (parts["parameters"] - 4))
            self.assertEqual(parts["parameters"], 4 * (shown["users"] + shown["items"]) * 68 + 4)
        text = self.curate("data", "inspect", data).stdout
        self.assertRegex(text, r"(?m)^mf, dim 64, per-rating sgd ( +\d[\d.]* MB){4} \+ \d[\d.]* MB$")
        self.assertRegex(text, r"(?m)^mlp, dim 32 \+ 32, layers 64,32, sgd\+adam ")

    def test_generate_makes_what_was_asked_for(self):
        data = self.generate(users=70, items=30, ratings=1234)
        self.assertEqual({path.name for path in data.iterdir()}, {"ratings.csv", "movies.csv"})
        ratings = read_ratings(data)
        self.assertEqual(len(ratings), 1234)
        self.assertEqual(len({(r.user, r.item) for r in ratings}), 1234)
        self.assertEqual({r.user for r in ratings}, set(range(1, 71)))
        self.assertEqual({r.item for r in ratings}, set(range(1, 31)))
        self.assertTrue(all(r.rating in [k / 2 for k in range(1, 11)] for r in ratings))
        self.assertEqual(set(read_titles(data)), set(range(1, 31)))

    def test_generate_is_a_function_of_the_seed(self):
        first, same, other = self.generate("first"), self.generate("same"), self.generate("other", seed=2)
        for name in ("ratings.csv", "movies.csv"):
            self.assertEqual((first / name).read_bytes(), (same / name).read_bytes())
        self.assertNotEqual((first / "ratings.csv").read_bytes(), (other / "ratings.csv").read_bytes())

    def test_generate_prints_the_planted_rmse(self):
        values = []
        for noise in (0, 0.5, 1.0):
            output = self.curate("data", "generate", "--out", f"noise{noise}", "--users", 100, "--items", 60,
                                 "--ratings", 3000, "--noise", noise).stdout
            self.assertIn("3,000 ratings", output)
            values.append(float(re.search(r"best reachable RMSE[^\n]*: (\S+)\n", output)[1]))
        self.assertEqual(values[0], 0.0)
        self.assertTrue(all(map(math.isfinite, values)))
        self.assertLess(0.3, values[1])
        self.assertLess(values[1] + 0.2, values[2])
        self.assertLess(values[2], 1.0)

    def like(self, name, *options, out="like"):
        return strict_json(self.curate("data", "generate", "--like", name, "--out", out, "--json", *options).stdout)

    def test_generate_like_a_release(self):
        shown = self.like("ml-20m", "--scale", 0.01)
        self.assertEqual((shown["users"], shown["items"], shown["ratings"]), (1385, 5762, 200003))
        self.assertEqual((shown["files"], shown["most_active_user"]), (["movies.csv", "ratings.csv"], 1994))
        ratings = read_ratings(self.folder / "like")
        self.assertEqual(len({(r.user, r.item) for r in ratings}), 200003)
        self.assertEqual([(r.user, r.item) for r in ratings], sorted((r.user, r.item) for r in ratings))
        by_user = collections.Counter(r.user for r in ratings)
        by_item = collections.Counter(r.item for r in ratings)
        self.assertEqual((len(by_user), min(by_user.values()), max(by_user.values())), (1385, 20, 1994))
        self.assertEqual((len(by_item), max(by_item.values())), (5762, shown["most_rated_item"]))
        self.assertEqual(set(read_titles(self.folder / "like")), set(by_item))
        self.assertAlmostEqual(sum(r.rating for r in ratings) / len(ratings), shown["mean"], places=9)
        for row in shown["histogram"]:
            self.assertEqual(row["count"], sum(r.rating == row["rating"] for r in ratings))
        self.assertLess(abs(shown["best_rmse"] - 0.78), 0.02)
        self.assertEqual(shown["ratings_bytes"], (self.folder / "like" / "ratings.csv").stat().st_size)

    def test_generate_like_every_release_can_be_inspected(self):
        for name, side in (("ml-1m", {"sex", "age_group", "occupation", "genres", "year"}),
                           ("ml-10m", {"genres", "year"}), ("ml-25m", {"genres", "year"}),
                           ("ml-32m", {"genres", "year"})):
            with self.subTest(name):
                made = self.like(name, "--scale", 0.01, out=name)
                shown = strict_json(self.curate("data", "inspect", name, "--json").stdout)
                for count in ("ratings", "users", "items"):
                    self.assertEqual(shown[count], made[count])
                self.assertEqual(shown["duplicates"], 0)
                self.assertEqual(shown["scale"]["step"], 1 if name == "ml-1m" else 0.5)
                self.assertEqual({row["name"] for row in shown["side_information"]}, side)
                self.assertTrue(all(row["share_of_rows"] == 1 for row in shown["side_information"]))

    def test_generate_like_depends_on_the_seed_alone(self):
        first = self.like("ml-10m", "--scale", 0.03, "--threads", 1, out="first")
        self.like("ml-10m", "--scale", 0.03, "--threads", 3, out="same")
        self.like("ml-10m", "--scale", 0.03, "--seed", 2, out="other")
        for name in first["files"]:
            read = [(self.folder / out / name).read_bytes() for out in ("first", "same", "other")]
            self.assertEqual(read[0], read[1])
            self.assertNotEqual(read[0], read[2])

    def test_generate_like_takes_rank_and_noise(self):
        shown = self.like("ml-1m", "--scale", 0.01, "--rank", 3, "--noise", 0)
        self.assertEqual((shown["rank"], shown["noise"], shown["best_rmse"]), (3, 0, 0))
        self.assertEqual(self.like("ml-1m", "--scale", 0.01, out="usual")["rank"], 8)

    def test_generate_like_says_what_was_made(self):
        result = self.curate("data", "generate", "--like", "ml-1m", "--scale", 0.01, "--out", "like")
        self.assertIn("10,002 ratings of 798 items by 60 users written to like\n", result.stdout)
        self.assertRegex(result.stdout, r"best reachable RMSE[^\n]*: 0\.[78]\d+\n")
        self.assertRegex(result.stderr, r"^movies.dat, users.dat, ratings.dat: \d+ MB of ratings in [^\n]* ratings/s\n$")

    def test_generate_like_overwrites_when_asked_to(self):
        self.like("ml-1m", "--scale", 0.01)
        (self.folder / "like" / "notes").write_text("mine")
        self.like("ml-20m", "--scale", 0.01, "--overwrite")
        self.assertEqual({path.name for path in (self.folder / "like").iterdir()},
                         {"ratings.csv", "movies.csv", "notes"})

    def test_training_comes_near_the_model_of_a_release(self):
        best = self.like("ml-20m", "--scale", 0.01)["best_rmse"]
        rmse = read_metrics(self.train("like", "--dim", 8, "--epochs", 15))["test"]["rmse"]
        self.assertGreater(rmse, best)
        self.assertLess(rmse, 1.15 * best)

    def test_generate_as_json(self):
        shown = strict_json(self.curate("data", "generate", "--out", "made", "--users", 50, "--items", 30, "--ratings",
                                        400, "--json").stdout)
        self.assertEqual((shown["ratings"], shown["users"], shown["items"]), (400, 50, 30))
        self.assertEqual(len(read_ratings(self.folder / "made")), 400)


class ConvertTest(CliCase):
    def whole_stars(self):
        data = self.generate()
        ratings = [r._replace(rating=max(1, round(r.rating))) for r in read_ratings(data)]
        rows = "".join(f"{r.user},{r.item},{r.rating},{r.time}\n" for r in ratings)
        self.write("data/ratings.csv", "userId,movieId,rating,timestamp\n" + rows)
        self.write("data/users.csv", "userId,gender,age,occupation,zip\n1,F,30,writer,12345\n2,M,18-24,artist,\n")
        return data

    def test_all_layouts_from_all_layouts(self):
        data = self.whole_stars()
        ratings, titles = read_ratings(data), read_titles(data)
        for layout in LAYOUT_RATINGS:
            output = self.curate("data", "convert", data, "--out", layout, "--layout", layout).stdout
            self.assertIn(f"1,500 ratings of {len({r.item for r in ratings})} items", output)
            self.assertEqual(read_layout(self.folder / layout, layout), ratings)
        for first in LAYOUT_RATINGS:
            source = self.folder / first / (LAYOUT_RATINGS[first][0] if first in ("csv", "tsv") else "")
            for second in LAYOUT_RATINGS:
                with self.subTest(first=first, second=second):
                    out = self.folder / f"{first}-to-{second}"
                    self.curate("data", "convert", source, "--out", out, "--layout", second)
                    self.assertEqual(read_layout(out, second), ratings)
                    back = self.folder / f"{first}-to-{second}-back"
                    again = out / (LAYOUT_RATINGS[second][0] if second in ("csv", "tsv") else "")
                    self.curate("data", "convert", again, "--out", back, "--layout", "ml-csv")
                    self.assertEqual(read_ratings(back), ratings)
                    self.assertEqual(read_titles(back), {item: titles[item] for item in {r.item for r in ratings}})
                    users = (back / "users.csv").read_text(encoding="utf-8").splitlines()
                    self.assertRegex(users[1], "^1,F,(30|25|25-34),writer,12345$")
                    self.assertRegex(users[2], "^2,M,(18|18-24),artist,$")

    def test_half_stars_stay_where_they_may(self):
        data = self.generate()
        for layout in ("ml-csv", "csv", "tsv"):
            self.curate("data", "convert", data, "--out", layout, "--layout", layout)
            self.assertEqual(read_layout(self.folder / layout, layout), read_ratings(data))

    def test_trains_to_the_same_digits(self):
        data = self.whole_stars()
        first = self.train(data, out="first")
        for layout in ("ml-100k", "ml-1m"):
            self.curate("data", "convert", data, "--out", layout, "--layout", layout)
            self.assertEqual(read_metrics(self.train(layout, out=f"run-{layout}"))["test"]["mse"],
                             read_metrics(first)["test"]["mse"])

    def test_overwrite_replaces_the_data_set(self):
        data = self.whole_stars()
        self.curate("data", "convert", data, "--out", "to", "--layout", "ml-100k")
        (self.folder / "to" / "notes").write_text("mine")
        self.curate("data", "convert", data, "--out", "to", "--layout", "ml-1m", "--overwrite")
        self.assertEqual({path.name for path in (self.folder / "to").iterdir()},
                         {"ratings.dat", "movies.dat", "users.dat", "notes"})

    def test_says_what_is_lost(self):
        data = self.whole_stars()
        self.write("data/tags.csv", "userId,movieId,tag,timestamp\n1,1,x,1\n")
        result = self.curate("data", "convert", data, "--out", "to", "--layout", "ml-1m")
        self.assertIn("ages that became groups of ages: 1\n", result.stderr)
        self.assertIn(f"not converted: {data}/tags.csv\n", result.stderr)


class DataSplitTest(CliCase):
    def part(self, name):
        with open(self.folder / "parts" / name, newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            return [Rating(int(r["userId"]), int(r["movieId"]), float(r["rating"]), int(r["timestamp"]))
                    for r in rows]

    def split(self, data, *options):
        return self.curate("data", "split", data, "--out", "parts", *options)

    def check_as_trained(self, data, train, test, *options):
        """Training counts of users and items, and errors on the test part, of a run on `data` with `options`."""
        run = self.train(data, "--validation", 0, "--epochs", 3, "--seed", 5, *options)
        self.assertEqual(trained_counts(run, "users.tsv"), counts_by(train, "user"))
        self.assertEqual(trained_counts(run, "items.tsv"), counts_by(train, "item"))
        file = self.write_ratings("test.csv", test)
        shown = strict_json(self.curate("evaluate", run, "--data", file, "--json").stdout)["test"]
        expected = read_metrics(run)["test"]
        self.assertEqual(shown["ratings"], expected["ratings"])
        self.assertAlmostEqual(shown["mse"], expected["mse"], places=9)

    def test_parts_are_those_of_training(self):
        data = self.generate()
        ratings = read_ratings(data)
        for split in ("random:0.2", "time:0.1"):
            with self.subTest(split):
                self.split(data, "--split", split, "--seed", 5, "--overwrite")
                train, test = self.part("ratings.train.csv"), self.part("ratings.test.csv")
                self.assertEqual(sorted(train + test), sorted(ratings))
                self.check_as_trained(data, train, test, "--split", split, "--overwrite")

    def test_folds_are_those_of_training(self):
        data = self.generate()
        ratings = read_ratings(data)
        self.split(data, "--split", "folds:3", "--seed", 5)
        self.assertEqual({path.name for path in (self.folder / "parts").iterdir()},
                         {f"fold{fold}.{part}.csv" for fold in (1, 2, 3) for part in ("train", "test")})
        tested = []
        self.train(data, "--validation", 0, "--epochs", 3, "--seed", 5, "--folds", 3)
        for fold in (1, 2, 3):
            train, test = self.part(f"fold{fold}.train.csv"), self.part(f"fold{fold}.test.csv")
            self.assertEqual(sorted(train + test), sorted(ratings))
            self.assertEqual(trained_counts(self.folder / "run" / f"fold-{fold}", "users.tsv"),
                             counts_by(train, "user"))
            tested += test
        self.assertEqual(sorted(tested), sorted(ratings))

    def test_keep_the_order_and_can_be_trained_on(self):
        data = self.generate()
        self.split(data, "--split", "random:0.2")
        test = self.part("ratings.test.csv")
        self.assertEqual([r for r in read_ratings(data) if r in set(test)], test)
        run = self.train("parts/ratings.train.csv", "--test", "parts/ratings.test.csv")
        self.assertEqual(read_metrics(run)["test"]["ratings"], 300)

    def test_seed(self):
        data = self.generate()
        parts = []
        for options in ([], ["--seed", 1], ["--seed", 2]):
            self.split(data, "--split", "random:0.2", "--overwrite", *options)
            parts.append(self.part("ratings.test.csv"))
        self.assertEqual(parts[0], parts[1])
        self.assertNotEqual(parts[0], parts[2])

    def test_overwrite_replaces_other_parts(self):
        data = self.generate()
        self.split(data, "--split", "folds:4")
        self.split(data, "--split", "random:0.2", "--overwrite")
        self.assertEqual({path.name for path in (self.folder / "parts").iterdir()},
                         {"ratings.train.csv", "ratings.test.csv"})


if __name__ == "__main__":
    skips.main()
