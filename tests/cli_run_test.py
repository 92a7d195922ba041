#!/usr/bin/env python3
"""Tests of the files of a run, and of what `curate evaluate` and `curate predict` make of them, when all goes well.

usage: cli_run_test.py [CURATE] [unittest arguments]     CURATE: the binary (default: $CURATE_BINARY)
CURATE_TEST_DATA=DIR: folder with ml-100k/ and ml-latest-small-2016/ for the tests on real ratings
"""
import csv
import io
import math
import os
import statistics
import struct
import subprocess
from pathlib import Path

import skips
from cli_case import (CURATE, METRICS, RUN_FILES, CliCase, Rating, Reference, counts_by, model_bytes, read_config,
                      read_history, read_metrics, read_ratings, read_safetensors, read_table, read_titles, strict_json,
                      trained_counts)

HISTORY_COLUMNS = ["epoch", "seconds", "train_rmse", "validation_rmse", "learning_rate", "ratings_per_second"]
PREDICTION_COLUMNS = ["userId", "movieId", "prediction", "basis", "title"]


class RunDirectoryTest(CliCase):
    def test_all_files_are_there_and_no_others(self):
        run = self.train(self.generate(), "--epochs", 2)
        self.assertEqual({path.name for path in run.iterdir()}, RUN_FILES)

    def test_history(self):
        history = read_history(self.train(self.generate(), "--epochs", 4, "--lr", 0.02))
        self.assertEqual([row["epoch"] for row in history], [1, 2, 3, 4])
        for row in history:
            self.assertEqual(list(row), HISTORY_COLUMNS)
            self.assertTrue(all(math.isfinite(value) and value >= 0 for value in row.values()), row)
            self.assertGreater(row["train_rmse"], 0.1)
        rates = [row["learning_rate"] for row in history]
        for rate, expected in zip(rates, [0.02, 0.015, 0.01, 0.005], strict=True):
            self.assertAlmostEqual(rate, expected, places=6)

    def test_constant_schedule(self):
        history = read_history(self.train(self.generate(), "--epochs", 3, "--lr", 0.03, "--schedule", "constant"))
        for row in history:
            self.assertAlmostEqual(row["learning_rate"], 0.03, places=6)

    def test_metrics(self):
        run = self.train(self.generate(), "--epochs", 3, "--split", "random:0.2")
        metrics = read_metrics(run)
        self.assertEqual(metrics["epochs"], 3)
        self.assertIn(metrics["best_epoch"], (0, 1, 2, 3))
        self.assertEqual(metrics["device"], "cpu")
        self.assertGreater(metrics["seconds"], 0)
        for part in ("train", "validation", "test"):
            with self.subTest(part):
                self.assertEqual(list(metrics[part]), METRICS)
                self.assertAlmostEqual(metrics[part]["rmse"] ** 2, metrics[part]["mse"], places=9)
                self.assertLess(metrics[part]["mae"], metrics[part]["rmse"])
        self.assertEqual([metrics[part]["ratings"] for part in ("train", "validation", "test")], [1200, 60, 300])

    def test_id_tables(self):
        data = self.generate()
        run = self.train(data, "--epochs", 1, "--validation", 0, "--split", "none")
        ratings, titles = read_ratings(data), read_titles(data)
        users, items = read_table(run / "users.tsv"), read_table(run / "items.tsv")
        self.assertEqual(list(users[0]), ["raw_id", "dense_id", "ratings"])
        self.assertEqual(list(items[0]), ["raw_id", "dense_id", "title", "genres", "ratings"])
        for table in (users, items):
            self.assertEqual([int(row["dense_id"]) for row in table], list(range(len(table))))
        self.assertEqual(trained_counts(run, "users.tsv"), counts_by(ratings, "user"))
        self.assertEqual(trained_counts(run, "items.tsv"), counts_by(ratings, "item"))
        self.assertEqual({int(row["raw_id"]): row["title"] for row in items}, titles)

    def test_default_names_do_not_collide(self):
        data = self.generate()
        for _ in range(2):
            self.curate("train", data, "--epochs", 1, "--quiet")
        self.assertEqual({path.name for path in (self.folder / "runs").iterdir()}, {"data-mf", "data-mf-2"})
        for path in (self.folder / "runs").iterdir():
            self.assertEqual({file.name for file in path.iterdir()}, RUN_FILES)

    def test_overwrite_replaces_the_run(self):
        data = self.generate()
        old = model_bytes(self.train(data, "--epochs", 1))
        run = self.train(data, "--epochs", 1, "--seed", 2, "--overwrite")
        self.assertNotEqual(model_bytes(run), old)
        self.assertEqual(read_config(run)["seed"], 2)
        self.assertEqual({path.name for path in run.iterdir()}, RUN_FILES)

    def test_names_that_need_quoting(self):
        data = self.generate('día "x" \\ y')
        run = self.train(data, "--epochs", 1, out="a run/für 'me'")
        self.assertEqual(read_config(run)["data"], str(data))
        test = strict_json(self.curate("evaluate", run, "--json").stdout)["test"]
        self.assertEqual(test, read_metrics(run)["test"])


class ModelFileTest(CliCase):
    def test_layout(self):
        data = self.generate()
        run = self.train(data, "--dim", 6, "--epochs", 1)
        users, items = len(counts_by(read_ratings(data), "user")), len(counts_by(read_ratings(data), "item"))
        metadata, entries, values = read_safetensors(run)
        self.assertEqual(metadata["format"], "curate-1")
        self.assertEqual(metadata["model"], "mf")
        shapes = {"user.embedding": [users, 6], "item.embedding": [items, 6], "user.bias": [users],
                  "item.bias": [items], "global_mean": [1], "fallback.user": [users], "fallback.item": [items],
                  "fallback.mean": [1]}
        self.assertEqual({name: entry["shape"] for name, entry in entries.items()}, shapes)
        self.assertEqual({entry["dtype"] for entry in entries.values()}, {"F32"})
        self.assertTrue(all(math.isfinite(v) for tensor in values.values() for v in tensor))
        self.check_offsets(run, entries)

    def check_offsets(self, run, entries):
        """The format allows neither holes nor overlaps, and readers map what starts on a multiple of 8."""
        content = model_bytes(run)
        (length,) = struct.unpack_from("<Q", content)
        self.assertEqual(length % 8, 0)
        at = 0
        for begin, end in sorted(entry["data_offsets"] for entry in entries.values()):
            self.assertEqual(begin, at)
            at = end
        for name, entry in entries.items():
            begin, end = entry["data_offsets"]
            self.assertEqual(end - begin, 4 * math.prod(entry["shape"]), name)
        self.assertEqual(8 + length + at, len(content))

    def test_predictions_can_be_recomputed_from_the_files(self):
        ratings = read_ratings(self.generate())
        train = self.write_ratings("train.csv", [r for k, r in enumerate(ratings) if k % 5])
        held_out = [r for k, r in enumerate(ratings) if k % 5 == 0] + [Rating(9001, ratings[0].item, 4.0, 1),
                                                                       Rating(ratings[0].user, 9002, 2.0, 1)]
        test = self.write_ratings("test.csv", held_out)
        for number, options in enumerate(([], ["--no-biases", "--dim", 3], ["--no-global-mean"],
                                          ["--no-clip", "--lr", 0.1, "--reg", 0], ["--optimizer", "adam"])):
            with self.subTest(options):
                run = self.train(train, "--test", test, "--epochs", 8, *options, out=f"run{number}")
                reference = Reference(run)
                self.check_predictions(run, reference, held_out, test)
                self.assertAlmostEqual(reference.rmse(held_out), read_metrics(run)["test"]["rmse"], delta=1e-4)

    def check_predictions(self, run, reference, ratings, pairs):
        rows = list(csv.DictReader(io.StringIO(self.curate("predict", run, "--pairs", pairs).stdout)))
        self.assertEqual(len(rows), len(ratings))
        for row, rating in zip(rows, ratings):
            expected, basis = reference.predict(rating.user, rating.item)
            self.assertEqual((int(row["userId"]), int(row["movieId"]), row["basis"]),
                             (rating.user, rating.item, basis))
            self.assertAlmostEqual(float(row["prediction"]), expected, delta=1e-3)

    def test_train_rmse_can_be_recomputed_from_the_files(self):
        data = self.generate()
        run = self.train(data, "--split", "none", "--validation", 0, "--epochs", 5)
        self.assertAlmostEqual(Reference(run).rmse(read_ratings(data)), read_metrics(run)["train"]["rmse"], delta=1e-4)

    def test_predictions_are_clamped_to_the_scale(self):
        data = self.generate()
        options = ["--epochs", 40, "--dim", 16, "--reg", 0, "--lr", 0.1, "--init-scale", 0.3, "--validation", 0]
        clipped = self.train(data, *options)
        unclipped = self.train(data, *options, "--no-clip", out="unclipped")
        highest = {run: self.highest_prediction(run, data) for run in (clipped, unclipped)}
        self.assertEqual(highest[clipped], 5.0)
        self.assertGreater(highest[unclipped], 5.0)

    def highest_prediction(self, run, data):
        output = self.curate("predict", run, "--pairs", data / "ratings.csv").stdout
        return max(float(row["prediction"]) for row in csv.DictReader(io.StringIO(output)))

    def test_biases_can_be_left_out(self):
        data = self.generate()
        with_biases = read_safetensors(self.train(data, "--epochs", 1))[1]
        without = read_safetensors(self.train(data, "--epochs", 1, "--no-biases", out="without"))[1]
        self.assertEqual(set(with_biases) - set(without), {"user.bias", "item.bias"})

    def test_global_mean(self):
        data = self.generate()
        options = ["--epochs", 1, "--split", "none", "--validation", 0, "--no-biases"]
        mean = statistics.fmean(r.rating for r in read_ratings(data))
        with_mean = read_safetensors(self.train(data, *options))[2]
        without = read_safetensors(self.train(data, *options, "--no-global-mean", out="without"))[2]
        self.assertAlmostEqual(with_mean["global_mean"][0], mean, places=5)
        self.assertEqual(without["global_mean"][0], 0.0)

    def test_non_negative_factors(self):
        data = self.generate()
        for number, options in enumerate((["--optimizer", "sgd"], ["--optimizer", "adam", "--batch", 64],
                                          ["--optimizer", "adagrad", "--batch", 64], ["--batch", 64])):
            with self.subTest(options):
                lowest = {flag: self.lowest_factor(data, *options, flag, out=f"run{number}{flag}")
                          for flag in ("--non-negative", "--no-non-negative")}
                self.assertGreaterEqual(lowest["--non-negative"], 0.0)
                self.assertLess(lowest["--no-non-negative"], 0.0)

    def lowest_factor(self, data, *options, out):
        values = read_safetensors(self.train(data, "--epochs", 3, "--dim", 5, "--validation", 0, *options, out=out))[2]
        factors = values["user.embedding"] + values["item.embedding"]
        self.assertGreater(max(factors), 0.0)
        return min(factors)


class EvaluateTest(CliCase):
    def evaluate(self, run, *options):
        return strict_json(self.curate("evaluate", run, "--json", *options).stdout)["test"]

    def test_repeats_the_figures_of_training(self):
        data = self.generate()
        for number, split in enumerate(("random:0.2", "time:0.2")):
            with self.subTest(split):
                run = self.train(data, "--split", split, "--epochs", 3, "--seed", 7, out=f"run{number}")
                expected = read_metrics(run)["test"]
                self.assertEqual(self.evaluate(run), expected)
                self.assertEqual(self.evaluate(run, "--threads", 1), expected)
                self.assertEqual(self.evaluate(run, "--threads", 3), expected)

    def test_a_test_file_with_and_without_data(self):
        ratings = read_ratings(self.generate())
        train = self.write_ratings("train.csv", ratings[200:])
        test = self.write_ratings("test.csv", ratings[:200])
        run = self.train(train, "--test", test, "--epochs", 3)
        expected = read_metrics(run)["test"]
        self.assertEqual(self.evaluate(run), expected)
        self.assertEqual(self.evaluate(run, "--data", test), expected)
        self.assertEqual(self.evaluate(run, "--data", test, "--threads", 1), expected)
        self.assertEqual(expected["ratings"], 200)

    def test_training_ratings(self):
        data = self.generate()
        run = self.train(data, "--split", "none", "--validation", 0, "--epochs", 3)
        self.assertEqual(self.evaluate(run, "--data", data)["ratings"], 1500)
        self.assertAlmostEqual(self.evaluate(run, "--data", data)["rmse"], read_metrics(run)["train"]["rmse"], places=5)

    def test_works_from_another_folder(self):
        self.generate()
        self.curate("train", "data", "--epochs", 1, "--quiet", "--out", "run")
        (self.folder / "elsewhere").mkdir()
        result = subprocess.run([CURATE, "evaluate", "../run", "--json"], cwd=self.folder / "elsewhere",
                                capture_output=True, timeout=120)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(strict_json(result.stdout)["test"], read_metrics(self.folder / "run")["test"])

    def test_whole_stars_and_mae_agree_with_the_predictions(self):
        ratings = read_ratings(self.generate())
        train, test = self.write_ratings("train.csv", ratings[300:]), self.write_ratings("test.csv", ratings[:300])
        run = self.train(train, "--test", test, "--epochs", 3)
        predicted = [Reference(run).predict(r.user, r.item)[0] for r in ratings[:300]]
        pairs = list(zip(predicted, [r.rating for r in ratings[:300]]))
        metrics = read_metrics(run)["test"]
        self.assertAlmostEqual(metrics["mae"], statistics.fmean(abs(p - r) for p, r in pairs), delta=1e-4)
        # Python rounds halves to even, as the metric does.
        self.assertAlmostEqual(metrics["mae_whole_stars"], statistics.fmean(abs(round(p) - r) for p, r in pairs),
                               delta=1e-4)


class ColdRatingsTest(CliCase):
    def train_on_first_users(self):
        ratings = read_ratings(self.generate())
        known = [r for r in ratings if r.user <= 40]
        self.warm = known[::4]
        self.cold = [r for r in ratings if r.user > 40]
        train = self.write_ratings("train.csv", [r for k, r in enumerate(known) if k % 4])
        test = self.write_ratings("test.csv", self.warm + self.cold)
        return self.curate("train", train, "--test", test, "--epochs", 3, "--quiet", "--json", "--out", "run")

    def test_are_counted_and_measured_apart(self):
        test = strict_json(self.train_on_first_users().stdout)["test"]
        self.assertEqual(test["ratings"], len(self.warm) + len(self.cold))
        self.assertEqual(test["cold_ratings"], len(self.cold))
        self.assertTrue(all(math.isfinite(value) for value in test.values()), test)
        reference = Reference(self.folder / "run")
        self.assertAlmostEqual(test["warm_rmse"], reference.rmse(self.warm), delta=1e-4)
        self.assertAlmostEqual(test["cold_rmse"], reference.rmse(self.cold), delta=1e-4)

    def test_are_predicted_by_fallback(self):
        self.train_on_first_users()
        pairs = self.write_ratings("pairs.csv", self.cold)
        output = self.curate("predict", "run", "--pairs", pairs).stdout
        rows = list(csv.DictReader(io.StringIO(output)))
        self.assertEqual({row["basis"] for row in rows}, {"item mean"})
        self.assertTrue(all(0.5 <= float(row["prediction"]) <= 5 for row in rows))

    def test_are_mentioned_in_the_table(self):
        self.train_on_first_users()
        self.assertRegex(self.curate("evaluate", "run").stdout, rf"test: {len(self.cold)} cold ratings .* by features or means")


class WrittenJsonTest(CliCase):
    def test_convert(self):
        data = self.generate()
        output = strict_json(self.curate("data", "convert", data, "--out", "made", "--layout", "csv", "--json").stdout)
        self.assertEqual((output["ratings"], output["layout"]), (1500, "csv"))
        self.assertEqual(sorted(output["files"]), sorted(path.name for path in (self.folder / "made").iterdir()))

    def test_split(self):
        data = self.generate()
        for split, files in (("random:0.1", ["ratings.train.csv", "ratings.test.csv"]),
                             ("folds:2", ["fold1.train.csv", "fold1.test.csv", "fold2.train.csv", "fold2.test.csv"])):
            with self.subTest(split):
                output = strict_json(self.curate("data", "split", data, "--out", split, "--split", split, "--seed", 7,
                                                 "--json").stdout)
                self.assertEqual((output["seed"], [entry["file"] for entry in output["files"]]), (7, files))
                for entry in output["files"]:
                    lines = (self.folder / split / entry["file"]).read_text(encoding="utf-8").count("\n")
                    self.assertEqual(lines, entry["ratings"] + 1)


class PredictTest(CliCase):
    MOVIES = {6: 'Good, the "Bad" and the Ugly, The (1966)', 7: "Amélie (2001)", 8: "Plain (1999)"}

    def train_with_titles(self):
        ratings = [Rating(user, 1 + (user * k) % 12, 1 + (user + k) % 5, 1000 + k)
                   for user in range(1, 13) for k in range(1, 9)]
        self.write("films/ratings.csv", "userId,movieId,rating,timestamp\n" +
                   "".join(f"{r.user},{r.item},{r.rating},{r.time}\n" for r in ratings))
        with io.StringIO(newline="") as text:
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(["movieId", "title", "genres"])
            writer.writerows([item, title, "Drama"] for item, title in self.MOVIES.items())
            self.write("films/movies.csv", text.getvalue())
        return self.train(self.folder / "films", "--split", "none", "--validation", 0, "--epochs", 2)

    def predict(self, run, *arguments):
        result = self.curate("predict", run, *arguments)
        self.assertEqual(result.stderr, "")
        reader = csv.DictReader(io.StringIO(result.stdout, newline=""), strict=True)
        rows = list(reader)
        self.assertEqual(reader.fieldnames, PREDICTION_COLUMNS)
        return rows

    def test_one_pair(self):
        run = self.train_with_titles()
        (row,) = self.predict(run, "--user", 3, "--item", 7)
        expected, basis = Reference(run).predict(3, 7)
        self.assertEqual((row["userId"], row["movieId"], row["basis"], row["title"]), ("3", "7", basis, self.MOVIES[7]))
        self.assertAlmostEqual(float(row["prediction"]), expected, delta=1e-3)

    def test_file_keeps_order_and_repetitions(self):
        run = self.train_with_titles()
        pairs = [(9, 8), (1, 6), (5, 7), (1, 6), (12, 1), (2, 8)]
        file = self.write("pairs.csv", "userId,movieId\n" + "".join(f"{u},{i}\n" for u, i in pairs))
        rows = self.predict(run, "--pairs", file)
        self.assertEqual([(int(row["userId"]), int(row["movieId"])) for row in rows], pairs)
        self.assertEqual(rows[1], rows[3])

    def test_pairs_of_a_ratings_file(self):
        run = self.train_with_titles()
        rows = self.predict(run, "--pairs", "films/ratings.csv")
        expected = [(r.user, r.item) for r in read_ratings(self.folder / "films")]
        self.assertEqual([(int(row["userId"]), int(row["movieId"])) for row in rows], expected)

    def test_titles_are_quoted(self):
        run = self.train_with_titles()
        (row,) = self.predict(run, "--user", 1, "--item", 6)
        self.assertEqual(row["title"], self.MOVIES[6])
        self.assertEqual(self.predict(run, "--user", 1, "--item", 1)[0]["title"], "")

    def test_unknown_ids_fall_back_and_say_so(self):
        run = self.train_with_titles()
        reference = Reference(run)
        pairs = self.write("pairs.csv", "1,7\n999,7\n1,-999\n9223372036854775807,-9223372036854775808\n")
        rows = self.predict(run, "--pairs", pairs)
        self.assertEqual([row["basis"] for row in rows], ["model", "item mean", "user mean", "global mean"])
        for row in rows:
            expected, basis = reference.predict(int(row["userId"]), int(row["movieId"]))
            self.assertEqual(row["basis"], basis)
            self.assertAlmostEqual(float(row["prediction"]), expected, delta=1e-3)

    def test_a_film_without_training_ratings_is_unknown(self):
        ratings = read_ratings(self.generate())
        train = self.write_ratings("train.csv", [r for r in ratings if r.item != 5])
        test = self.write_ratings("test.csv", [r for r in ratings if r.item == 5])
        run = self.train(train, "--test", test, "--epochs", 1)
        (row,) = self.predict(run, "--user", ratings[0].user, "--item", 5)
        self.assertEqual(row["basis"], "user mean")

    def test_fallback_is_the_bias_model(self):
        run = self.train_with_titles()
        bias = self.folder / "bias"
        self.curate("train", self.folder / "films", "--model", "bias", "--split", "none", "--validation", 0,
                    "--out", bias)
        with_bias = self.predict(bias, "--user", 999, "--item", 7)
        (row,) = self.predict(run, "--user", 999, "--item", 7)
        self.assertEqual(row["basis"], "item mean")
        self.assertAlmostEqual(float(row["prediction"]), float(with_bias[0]["prediction"]), delta=1e-3)

    def test_json(self):
        run = self.train_with_titles()
        output = self.curate("predict", run, "--user", 1, "--item", 6, "--json").stdout
        (entry,) = strict_json(output)
        self.assertEqual((entry["user"], entry["item"], entry["basis"]), (1, 6, "model"))
        self.assertEqual(entry["title"], self.MOVIES[6])
        self.assertAlmostEqual(entry["prediction"], Reference(run).predict(1, 6)[0], delta=1e-4)

    def test_threads_do_not_matter(self):
        data = self.generate()
        run = self.train(data, "--epochs", 1)
        outputs = {self.curate("predict", run, "--pairs", data / "ratings.csv", "--threads", threads).stdout
                   for threads in (1, 2, 3)}
        self.assertEqual(len(outputs), 1)


class RealDataTest(CliCase):
    def real(self, name):
        folder = os.environ.get("CURATE_TEST_DATA")
        if not folder:
            skips.missing(self, "no real ratings: set CURATE_TEST_DATA to a folder with ml-100k and ml-latest-small-2016")
        path = Path(folder).resolve() / name
        if not path.exists():
            skips.missing(self, f"no {name} in {folder}")
        return path

    def test_defaults_are_good_on_movielens_100k(self):
        data = self.real("ml-100k")
        run = self.train(data / "u1.base", "--test", data / "u1.test")
        test = read_metrics(run)["test"]
        self.assertEqual(test["ratings"], 20000)
        self.assertLessEqual(test["rmse"], 0.93)

    def check_titles(self, folder, ratings, title):
        data = self.real(folder)
        run = self.train(data, "--epochs", 2)
        metrics = read_metrics(run)
        self.assertEqual(sum(metrics[part]["ratings"] for part in ("train", "test")), ratings)
        self.assertLess(metrics["test"]["rmse"], 1.0)
        (row,) = csv.DictReader(io.StringIO(self.curate("predict", run, "--user", 1, "--item", 1).stdout))
        self.assertEqual((row["title"], row["basis"]), (title, "model"))

    def test_movielens_100k_folder(self):
        self.check_titles("ml-100k", 100000, "Toy Story (1995)")

    def test_conversions_of_movielens(self):
        for name, layout, pattern in (("ml-100k", "ml-1m", r"1::Toy Story \(1995\)::Animation\|Children's\|Comedy"),
                                      ("ml-latest-small-2016", "tsv", r"1\|Toy Story \(1995\)\|01-Jan-1995\|.*")):
            data = self.real(name)
            self.curate("data", "convert", data, "--out", name, "--layout", layout)
            items = self.folder / name / {"ml-1m": "movies.dat", "tsv": "u.item"}[layout]
            self.assertRegex(items.read_text(encoding="utf-8").splitlines()[0], f"^{pattern}$")
            back = self.folder / f"{name}-back"
            source = self.folder / name / ("ratings.tsv" if layout == "tsv" else "")
            self.curate("data", "convert", source, "--out", back, "--layout", "csv")
            direct = self.folder / f"{name}-direct"
            self.curate("data", "convert", data, "--out", direct, "--layout", "csv")
            self.assertEqual((back / "ratings.csv").read_bytes(), (direct / "ratings.csv").read_bytes())
            self.assertEqual(read_titles(back), read_titles(direct))

    def test_movielens_latest_small_folder(self):
        self.check_titles("ml-latest-small-2016", 100004, "Toy Story (1995)")


if __name__ == "__main__":
    skips.main()
