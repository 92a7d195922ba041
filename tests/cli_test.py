#!/usr/bin/env python3
"""Tests of what the command line does when all goes well.

usage: cli_test.py [CURATE] [unittest arguments]     CURATE: the binary (default: $CURATE_BINARY)
CURATE_TEST_DATA=DIR: folder with ml-100k/ and ml-latest-small-2016/ for the tests on real ratings
"""
import collections
import csv
import io
import json
import math
import os
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import tomllib
import unittest
from pathlib import Path

import skips

RUN_FILES = {"config.toml", "model.safetensors", "users.tsv", "items.tsv", "history.csv", "metrics.json"}
METRICS = ["rmse", "mse", "mae", "mae_whole_stars", "ratings", "cold_ratings", "warm_rmse", "cold_rmse"]
HISTORY_COLUMNS = ["epoch", "seconds", "train_rmse", "validation_rmse", "learning_rate", "ratings_per_second"]
PREDICTION_COLUMNS = ["userId", "movieId", "prediction", "basis", "title"]

Rating = collections.namedtuple("Rating", "user item rating time")


def find_binary():
    """Takes the path of the binary out of the arguments, so that unittest does not see it."""
    if len(sys.argv) > 1 and os.path.isfile(sys.argv[1]):
        return os.path.abspath(sys.argv.pop(1))
    if "CURATE_BINARY" in os.environ:
        return os.path.abspath(os.environ["CURATE_BINARY"])
    sys.exit("no binary to test: give its path as the first argument or in CURATE_BINARY")


CURATE = find_binary()


def strict_json(text):
    """One JSON value and nothing else; NaN and Infinity are no JSON."""
    def reject(constant):
        raise ValueError(f"{constant} in JSON")
    return json.loads(text, parse_constant=reject)


class CliCase(unittest.TestCase):
    """A temporary folder to run the binary in."""

    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="curate-cli-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name).resolve()

    def run_curate(self, *arguments, **options):
        command = [CURATE, *map(str, arguments)]
        return subprocess.run(command, cwd=self.folder, capture_output=True, timeout=120, encoding="utf-8", **options)

    def curate(self, *arguments):
        result = self.run_curate(*arguments)
        self.assertEqual(result.returncode, 0, f"curate {' '.join(map(str, arguments))}\n{result.stderr}")
        return result

    def generate(self, name="data", users=60, items=40, ratings=1500, rank=2, seed=1):
        self.curate("data", "generate", "--out", name, "--users", users, "--items", items, "--ratings", ratings,
                    "--rank", rank, "--seed", seed)
        return self.folder / name

    def train(self, data, *options, out="run"):
        self.curate("train", data, "--quiet", "--out", out, *options)
        return self.folder / out

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def write_ratings(self, name, ratings):
        return self.write(name, "".join(f"{r.user},{r.item},{r.rating},{r.time}\n" for r in ratings))


def read_ratings(folder):
    with open(folder / "ratings.csv", newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        return [Rating(int(r["userId"]), int(r["movieId"]), float(r["rating"]), int(r["timestamp"])) for r in rows]


def read_titles(folder):
    with open(folder / "movies.csv", newline="", encoding="utf-8") as file:
        return {int(row["movieId"]): row["title"] for row in csv.DictReader(file)}


def read_table(path):
    lines = path.read_text(encoding="utf-8").split("\n")
    header = lines[0].split("\t")
    return [dict(zip(header, line.split("\t"), strict=True)) for line in lines[1:] if line]


def read_metrics(run):
    return strict_json((run / "metrics.json").read_text(encoding="utf-8"))


def read_config(run):
    return tomllib.loads((run / "config.toml").read_text(encoding="utf-8"))


def read_history(run):
    with open(run / "history.csv", newline="", encoding="utf-8") as file:
        return [{key: float(value) if value else None for key, value in row.items()} for row in csv.DictReader(file)]


def model_bytes(run):
    return (run / "model.safetensors").read_bytes()


def read_safetensors(run):
    """Metadata, header entries, and values by tensor name."""
    content = model_bytes(run)
    (length,) = struct.unpack_from("<Q", content)
    header = strict_json(content[8:8 + length].decode("utf-8"))
    metadata = header.pop("__metadata__")
    values = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        values[name] = struct.unpack(f"<{(end - begin) // 4}f", content[8 + length + begin:8 + length + end])
    return metadata, header, values


class Reference:
    """Predictions of a run's files, in double precision."""

    def __init__(self, run):
        self.metadata, self.entries, self.values = read_safetensors(run)
        users, items = read_table(run / "users.tsv"), read_table(run / "items.tsv")
        self.users = {int(row["raw_id"]): int(row["dense_id"]) for row in users if int(row["ratings"]) > 0}
        self.items = {int(row["raw_id"]): int(row["dense_id"]) for row in items if int(row["ratings"]) > 0}
        self.unseen = {side: {int(row["raw_id"]): int(row["dense_id"]) for row in rows if int(row["ratings"]) == 0}
                       for side, rows in (("user", users), ("item", items))}
        path = run / "features.json"
        self.features = strict_json(path.read_text(encoding="utf-8"))["features"] if path.exists() else []

    def row(self, side, dense):
        return self.matrix_row(f"{side}.embedding", dense)

    def matrix_row(self, name, row):
        columns = self.entries[name]["shape"][1]
        return self.values[name][row * columns:(row + 1) * columns]

    def values_of(self, feature, dense):
        return feature["ids"][feature["starts"][dense]:feature["starts"][dense + 1]]

    def described(self, side, raw):
        """The dense id of what has no training rating but a feature."""
        dense = self.unseen[side].get(raw)
        known = dense is not None and any(feature["of"] == side and set(self.values_of(feature, dense)) != {0}
                                          for feature in self.features)
        return dense if known else None

    def feature_vector(self, feature, what, dense):
        """The mean over the values of a user or item."""
        name = f"{feature['of']}.{feature['name']}.{what}"
        rows = [self.matrix_row(name, value) if what == "embedding" else self.values[name][value:value + 1]
                for value in self.values_of(feature, dense)]
        return [statistics.fmean(column) for column in zip(*rows, strict=True)]

    def whole(self, side, what, dense):
        """Of mf: a user's or item's own and those of its features."""
        own = self.row(side, dense) if what == "embedding" else self.values[f"{side}.bias"][dense:dense + 1]
        parts = [self.feature_vector(feature, what, dense) for feature in self.features if feature["of"] == side]
        return [sum(column) for column in zip(own, *parts, strict=True)]

    def model(self, u, i):
        rows = {"user": u, "item": i}
        if self.metadata["model"] != "mf":
            inputs = list(self.row("user", u) + self.row("item", i))
            for feature in self.features:
                inputs += self.feature_vector(feature, "embedding", rows[feature["of"]])
            dot = 0.0
            if self.metadata["model"] == "neumf":
                dot = sum(p * q for p, q in zip(self.matrix_row("user.factors", u), self.matrix_row("item.factors", i),
                                                strict=True))
            return self.network(inputs) + dot
        value = self.values["global_mean"][0]
        if "user.bias" in self.values:
            value += sum(self.whole(side, "bias", dense)[0] for side, dense in rows.items())
        return value + sum(p * q for p, q in zip(self.whole("user", "embedding", u), self.whole("item", "embedding", i),
                                                 strict=True))

    def network(self, values):
        """The dense layers of an mlp."""
        low, high = float(self.metadata["output_min"]), float(self.metadata["output_max"])
        activations = self.metadata["activations"].split(",")
        for layer, activation in enumerate(activations):
            biases = self.values[f"dense.{layer}.bias"]
            sums = [bias + sum(w * v for w, v in zip(self.matrix_row(f"dense.{layer}.weight", j), values, strict=True))
                    for j, bias in enumerate(biases)]
            first, last = (low, high) if layer + 1 == len(activations) else (0.0, 1.0)
            values = [{"linear": lambda z: z, "relu": lambda z: max(z, 0.0), "tanh": math.tanh,
                       "sigmoid": lambda z: first + (last - first) / (1.0 + math.exp(-z))}[activation](z) for z in sums]
        return values[0]

    def raw(self, user, item):
        """Before clamping, and what it rests on."""
        u, i = self.users.get(user), self.items.get(item)
        fallback_mean = self.values["fallback.mean"][0]
        described = (self.described("user", user) if u is None else u, self.described("item", item) if i is None else i)
        if None not in described:
            return self.model(*described), "model" if (u, i) == described else "features"
        if u is None and i is None:
            return fallback_mean, "global mean"
        if i is None:
            return fallback_mean + self.values["fallback.user"][u], "user mean"
        return fallback_mean + self.values["fallback.item"][i], "item mean"

    def predict(self, user, item):
        value, basis = self.raw(user, item)
        if self.metadata["clip"] == "true":
            value = min(max(value, float(self.metadata["rating_min"])), float(self.metadata["rating_max"]))
        return value, basis

    def rmse(self, ratings):
        return math.sqrt(statistics.fmean((self.predict(r.user, r.item)[0] - r.rating) ** 2 for r in ratings))


def counts_by(ratings, key):
    return collections.Counter(getattr(rating, key) for rating in ratings)


def trained_counts(run, table):
    """Training ratings by raw id, as the run recorded them."""
    return collections.Counter({int(row["raw_id"]): int(row["ratings"]) for row in read_table(run / table)})


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
        self.assertIn(metrics["best_epoch"], (1, 2, 3))
        self.assertEqual(metrics["device"], "cpu")
        self.assertGreater(metrics["seconds"], 0)
        for part in ("train", "validation", "test"):
            with self.subTest(part):
                self.assertEqual(list(metrics[part]), METRICS)
                self.assertAlmostEqual(metrics[part]["rmse"] ** 2, metrics[part]["mse"], places=9)
                self.assertLess(metrics[part]["mae"], metrics[part]["rmse"])
        self.assertEqual([metrics[part]["ratings"] for part in ("train", "validation", "test")], [1140, 60, 300])

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
        options = ["--epochs", 1, "--split", "none", "--validation", 0]
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
        values = read_safetensors(self.train(data, "--epochs", 3, "--dim", 5, *options, out=out))[2]
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
        self.assertAlmostEqual(self.evaluate(run, "--data", data)["rmse"], read_metrics(run)["train"]["rmse"], places=9)

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


class ReproducibilityTest(CliCase):
    OPTIMIZERS = (["--optimizer", "sgd"], ["--optimizer", "sgd", "--batch", 256], ["--optimizer", "adagrad"],
                  ["--optimizer", "adam", "--batch", 128],
                  ["--model", "mlp", "--batch", 512, "--dropout", "0.2", "--dense-dropout", 0.1])

    def test_seed(self):
        data = self.generate()
        for number, options in enumerate(self.OPTIMIZERS):
            with self.subTest(options):
                models = [model_bytes(self.train(data, "--epochs", 2, *options, "--seed", seed, out=f"run{number}-{k}"))
                          for k, seed in enumerate((5, 5, 6))]
                self.assertEqual(models[0], models[1])
                self.assertNotEqual(models[0], models[2])

    def test_seeds_of_64_bits(self):
        data = self.generate()
        seeds = (2**64 - 1, 2**32 - 1)
        models = [model_bytes(self.train(data, "--epochs", 1, "--seed", seed, out=f"run-{seed}")) for seed in seeds]
        self.assertNotEqual(models[0], models[1])

    def test_number_of_threads(self):
        data = self.generate(users=200, items=100, ratings=8000)
        for number, options in enumerate(self.OPTIMIZERS):
            with self.subTest(options):
                one, two = (self.train(data, "--epochs", 2, *options, "--deterministic", "--threads", threads,
                                       out=f"run{number}-{threads}") for threads in (1, 2))
                self.assertEqual(model_bytes(one), model_bytes(two))
                self.assertEqual(read_metrics(one)["test"], read_metrics(two)["test"])

    def test_config_of_a_run(self):
        data = self.generate()
        variants = (["--split", "time:0.1", "--rating-range", "0.5:5"], ["--optimizer", "adam", "--loss", "mae"],
                    ["--preset", "notebook-mf", "--lr", 1e-5], ["--no-biases", "--no-clip", "--reg", 0],
                    ["--preset", "notebook-mlp", "--layers", "8", "--activations", "tanh"], ["--model", "mlp", "--optimizer", "sgd"])
        for number, options in enumerate(variants):
            with self.subTest(options):
                first = self.train(data, "--epochs", 3, "--seed", 3, *options, out=f"first{number}")
                self.curate("train", "--config", first / "config.toml", "--quiet", "--out", f"second{number}")
                second = self.folder / f"second{number}"
                self.assertEqual(model_bytes(first), model_bytes(second))
                self.assertEqual(read_config(first), read_config(second))
                self.assertEqual(read_metrics(first)["test"], read_metrics(second)["test"])

    def test_config_of_a_run_with_a_test_file(self):
        ratings = read_ratings(self.generate())
        train, test = self.write_ratings("train.csv", ratings[99:]), self.write_ratings("test.csv", ratings[:99])
        first = self.train(train, "--test", test, "--epochs", 2)
        self.curate("train", "--config", first / "config.toml", "--quiet", "--out", "second")
        self.assertEqual(model_bytes(first), model_bytes(self.folder / "second"))
        self.assertEqual(read_metrics(self.folder / "second")["test"]["ratings"], 99)


class PrecedenceTest(CliCase):
    def options_of(self, *arguments, config=None):
        if config is not None:
            arguments += ("--config", self.write("given.toml", config))
        data = self.folder / "data"
        if not data.exists():
            self.generate()
        return read_config(self.train(data, *arguments, "--overwrite"))

    def test_command_line_over_config(self):
        options = self.options_of("--dim", 7, "--biases", config='dim = 5\nepochs = 2\nbiases = false\nreg = 0.25\n')
        self.assertEqual((options["dim"], options["epochs"], options["biases"], options["reg"]), (7, 2, True, 0.25))

    def test_config_over_preset(self):
        options = self.options_of("--preset", "notebook-mf", config="dim = 5\nepochs = 2\n")
        self.assertEqual((options["preset"], options["dim"], options["epochs"], options["batch"]),
                         ("notebook-mf", 5, 2, 32))

    def test_preset_in_the_config(self):
        options = self.options_of("--epochs", 1, config='epochs = 2\npreset = "notebook-mf"\ndim = 4\n')
        self.assertEqual((options["epochs"], options["dim"], options["optimizer"], options["batch"]),
                         (1, 4, "adam", 32))

    def test_command_line_over_preset(self):
        options = self.options_of("--preset", "notebook-mf", "--epochs", 1, "--dim", 6, "--no-non-negative")
        self.assertEqual((options["epochs"], options["dim"], options["non_negative"], options["optimizer"]),
                         (1, 6, False, "adam"))

    def test_an_option_at_its_default_still_counts(self):
        # dim 64 is the default: that it was given must not be told by its value.
        self.assertEqual(self.options_of("--dim", 64, "--epochs", 1, config="dim = 5\n")["dim"], 64)

    def test_split_on_the_command_line_replaces_the_test_file_of_the_config(self):
        ratings = read_ratings(self.generate())
        train, test = self.write_ratings("train.csv", ratings[99:]), self.write_ratings("test.csv", ratings[:99])
        first = self.train(train, "--test", test, "--epochs", 1)
        self.curate("train", "--config", first / "config.toml", "--split", "none", "--quiet", "--out", "second")
        options = read_config(self.folder / "second")
        self.assertEqual((options["test"], options["split"], options["data"]), ("", "none", str(train)))

    def test_folds_on_the_command_line_replace_the_split_of_the_config(self):
        first = self.train(self.generate(), "--epochs", 1)
        self.curate("train", "--config", first / "config.toml", "--folds", 2, "--quiet", "--out", "second")
        self.assertTrue((self.folder / "second" / "fold-2" / "config.toml").exists())

    def test_split_on_the_command_line_replaces_the_folds_of_the_config(self):
        self.train(self.generate(), "--epochs", 1, "--folds", 2)
        config = self.folder / "run" / "fold-1" / "config.toml"
        self.curate("train", "--config", config, "--split", "random:0.2", "--quiet", "--out", "second")
        self.assertEqual(read_metrics(self.folder / "second")["test"]["ratings"], 300)

    def test_data_on_the_command_line_replaces_the_data_of_the_config(self):
        first = self.train(self.generate(), "--epochs", 1)
        other = self.generate("other", ratings=1000)
        self.curate("train", other, "--config", first / "config.toml", "--quiet", "--out", "second")
        self.assertEqual(read_config(self.folder / "second")["data"], str(other))


class OptimizerTest(CliCase):
    VARIANTS = (["--optimizer", "sgd"], ["--optimizer", "sgd", "--batch", 256],
                ["--optimizer", "sgd", "--batch", 256, "--loss", "mae"], ["--optimizer", "adagrad"],
                ["--optimizer", "adagrad", "--loss", "mae"], ["--optimizer", "adam", "--batch", 64],
                ["--optimizer", "adam", "--batch", 64, "--loss", "mae"])

    def test_every_optimizer_and_loss_learns(self):
        data = self.generate(users=150, items=80, ratings=5000)
        deviation = statistics.pstdev(r.rating for r in read_ratings(data))
        for number, options in enumerate(self.VARIANTS):
            with self.subTest(options):
                run = self.train(data, "--dim", 8, "--epochs", 12, "--validation", 0.1, "--split", "none", *options,
                                 out=f"run{number}")
                validation = [row["validation_rmse"] for row in read_history(run)]
                self.assertLess(min(validation), 0.95 * deviation)
                self.assertLess(min(validation), validation[0] - 0.003)
                self.assertLess(read_metrics(run)["train"]["rmse"], 0.92 * deviation)

    def test_large_batches(self):
        """Defaults by batch, warm-up, and runs of before these options."""
        data = self.generate()
        options = read_config(self.train(data, "--optimizer", "sgd", "--batch", 8192, "--epochs", 2))
        self.assertEqual((options["lr"], options["damping"], options["warmup"]), (0.02 * 8192, 0.1, 0.0))
        options = read_config(self.train(data, "--optimizer", "adam", "--batch", 16384, "--epochs", 2, out="adam"))
        self.assertEqual((options["lr"], options["beta1"], options["beta2"]), (0.01, 0.5, 0.9))
        self.assertNotIn("damping", options)

        warm = self.train(data, "--optimizer", "sgd", "--batch", 64, "--epochs", 4, "--warmup", 1.5, "--damping", 0.2,
                          "--no-biases", out="warm")
        options = read_config(warm)
        self.assertEqual((options["warmup"], options["damping"]), (1.5, 0.2))
        rates = [float(row["learning_rate"]) for row in read_history(warm)]
        self.assertLess(rates[0], 0.1 * rates[1])
        self.curate("train", "--config", warm / "config.toml", "--quiet", "--out", "again")
        self.assertEqual(model_bytes(self.folder / "again"), model_bytes(warm))
        for option in ("--warmup", "--damping"):
            self.curate("train", "--config", warm / "config.toml", option, 0, "--quiet", "--out", "without" + option)
            self.assertNotEqual(model_bytes(self.folder / ("without" + option)), model_bytes(warm), option)

        plain = self.train(data, "--optimizer", "sgd", "--batch", 64, "--epochs", 2, out="plain")
        text = (plain / "config.toml").read_text(encoding="utf-8")
        before = self.write("before.toml", "".join(line for line in text.splitlines(keepends=True)
                                                   if not line.startswith(("warmup", "damping"))))
        self.assertNotEqual(before.read_text(encoding="utf-8"), text)
        self.curate("train", "--config", before, "--quiet", "--out", "as-before")
        self.assertEqual(model_bytes(self.folder / "as-before"), model_bytes(plain))
        said = self.run_curate("train", data, "--optimizer", "sgd", "--batch", 8192, "--epochs", 1, "--warmup", 0.5,
                               "--out", "said").stderr
        self.assertIn("learning rate 164 linear, warm-up 0.5 epochs, damping 0.1, L2", said)

    def test_losses_differ(self):
        """MAE wins by the mean error and loses by the squared one."""
        data = self.generate(users=150, items=80, ratings=5000)
        options = ["--optimizer", "adam", "--batch", 64, "--dim", 8, "--reg", 0, "--epochs", 20, "--split", "none",
                   "--validation", 0]
        mse = read_metrics(self.train(data, *options))["train"]
        mae = read_metrics(self.train(data, *options, "--loss", "mae", out="mae"))["train"]
        self.assertLess(mae["mae"], mse["mae"])
        self.assertLess(mse["rmse"], mae["rmse"])

    def test_a_good_fit_comes_near_the_planted_model(self):
        output = self.curate("data", "generate", "--out", "data", "--users", 300, "--items", 150, "--ratings", 20000,
                             "--rank", 2).stdout
        best = float(re.search(r"best reachable RMSE[^\n]*: ([0-9.]+)\n", output)[1])
        run = self.train("data", "--dim", 8, "--reg", 0.05, "--epochs", 20)
        rmse = read_metrics(run)["test"]["rmse"]
        self.assertLess(rmse, 1.15 * best)
        self.assertGreater(rmse, 0.9 * best, "better than the planted model: test ratings leak into training")

    def test_regularization_shrinks_the_factors(self):
        data = self.generate()
        sizes = []
        for reg in (0.01, 1.0):
            values = read_safetensors(self.train(data, "--epochs", 10, "--reg", reg, out=f"run{reg}"))[2]
            sizes.append(sum(v * v for v in values["item.embedding"]))
        self.assertLess(sizes[1], 0.5 * sizes[0])

    def test_notebook_preset(self):
        data = self.generate(users=30, items=20, ratings=300)
        options = read_config(self.train(data, "--preset", "notebook-mf"))
        documented = {"preset": "notebook-mf", "model": "mf", "optimizer": "adam", "loss": "mse", "lr": 0.001,
                      "schedule": "constant", "epsilon": 1e-7, "beta1": 0.9, "beta2": 0.999, "dense_updates": True,
                      "batch": 32, "epochs": 50, "dim": 3, "reg": 0.0, "biases": False, "global_mean": False,
                      "non_negative": True, "init": "uniform", "init_scale": 0.05}
        self.assertEqual({key: options[key] for key in documented}, documented)
        values = read_safetensors(self.folder / "run")[2]
        self.assertGreaterEqual(min(values["user.embedding"] + values["item.embedding"]), 0.0)
        self.assertEqual(values["global_mean"][0], 0.0)
        self.assertNotIn("user.bias", values)


class MlpTest(CliCase):
    NETWORKS = (["--user-dim", 3, "--item-dim", 5, "--layers", "12,6", "--activations", "tanh,relu", "--output",
                 "sigmoid"],
                ["--layers", "none", "--output", "linear"],
                ["--dim", 4, "--layers", "9", "--activations", "sigmoid", "--output", "relu", "--loss", "mae",
                 "--dropout", "0.1,0.2", "--dense-dropout", 0.1, "--optimizer", "adagrad", "--lr", 0.05])

    def test_predictions_are_the_formula_and_evaluate_repeats_the_digits(self):
        data = self.generate()
        for number, options in enumerate(self.NETWORKS):
            with self.subTest(options):
                run = self.train(data, "--model", "mlp", "--split", "random:0.2", "--epochs", 3, "--batch", 64, *options,
                                 out=f"run{number}")
                reference = Reference(run)
                ratings = read_ratings(data)[:200]
                pairs = self.write_ratings(f"pairs{number}.csv", ratings)
                output = self.curate("predict", run, "--pairs", pairs).stdout
                rows = list(csv.DictReader(io.StringIO(output)))
                self.assertEqual(len(rows), 200)
                for row, rating in zip(rows, ratings, strict=True):
                    expected, basis = reference.predict(rating.user, rating.item)
                    self.assertEqual(row["basis"], basis)
                    self.assertAlmostEqual(float(row["prediction"]), expected, delta=2e-4)
                evaluated = strict_json(self.curate("evaluate", run, "--json").stdout)
                self.assertEqual(evaluated["test"], read_metrics(run)["test"])

    def test_shapes_are_those_asked_for(self):
        run = self.train(self.generate(users=30, items=20, ratings=400), "--model", "mlp", "--user-dim", 3,
                         "--item-dim", 5, "--layers", "7,4", "--epochs", 1)
        entries = read_safetensors(run)[1]
        shapes = {name: entry["shape"] for name, entry in entries.items() if not name.startswith("fallback")}
        self.assertEqual(shapes, {"user.embedding": [30, 3], "item.embedding": [20, 5], "dense.0.weight": [7, 8],
                                  "dense.0.bias": [7], "dense.1.weight": [4, 7], "dense.1.bias": [4],
                                  "dense.2.weight": [1, 4], "dense.2.bias": [1]})

    def test_defaults_learn(self):
        data = self.generate(users=300, items=150, ratings=20000, rank=2)
        deviation = statistics.pstdev(r.rating for r in read_ratings(data))
        run = self.train(data, "--model", "mlp")
        self.assertLess(read_metrics(run)["test"]["rmse"], 0.92 * deviation)

    def test_regularization_weight_decay_and_dropout_each_act(self):
        data = self.generate()
        none = {"--reg": 0, "--dense-reg": 0, "--weight-decay": 0, "--dropout": "0", "--dense-dropout": 0}

        def train(**changed):
            options = none | {"--" + key.replace("_", "-"): value for key, value in changed.items()}
            flat = [part for option in options.items() for part in option]
            return self.train(data, "--model", "mlp", "--optimizer", "adam", "--epochs", 5, "--lr", 0.01, *flat, "--overwrite",
                              out=f"run-{changed}")

        def size(run, name):
            return sum(v * v for v in read_safetensors(run)[2][name])

        plain = train()
        for name, changed in (("item.embedding", {"reg": 1}), ("dense.0.weight", {"dense_reg": 0.1}),
                              ("dense.0.weight", {"weight_decay": 3}), ("item.embedding", {"weight_decay": 3})):
            with self.subTest(changed):
                self.assertLess(size(train(**changed), name), 0.8 * size(plain, name))
        models = {model_bytes(run) for run in (plain, train(dropout="0.3"), train(dense_dropout=0.3),
                                               train(dropout="0.3,0"))}
        self.assertEqual(len(models), 4)

    def test_notebook_preset(self):
        data = self.generate(users=30, items=20, ratings=300)
        options = read_config(self.train(data, "--preset", "notebook-mlp", "--epochs", 2))
        documented = {"preset": "notebook-mlp", "model": "mlp", "optimizer": "adam", "loss": "mae", "lr": 0.005,
                      "schedule": "constant", "dense_updates": True, "batch": 32, "user_dim": 5, "item_dim": 8,
                      "layers": "100,50,20", "activations": "linear,linear,relu", "output": "relu", "dropout": "0.2",
                      "reg": 0.0, "init": "uniform", "init_scale": 0.05}
        self.assertEqual({key: options[key] for key in documented}, documented)

    def test_model_files_that_do_not_fit_are_refused(self):
        run = self.train(self.generate(), "--model", "mlp", "--layers", "4", "--epochs", 1)
        path = run / "model.safetensors"
        for spoil in ((b'"activations":"relu,linear"', b'"activations":"relu,swishy"'),
                      (b'"activations":"relu,linear"', b'"activations":"relu       "'),
                      (b'"model":"mlp"', b'"model":"mfx"')):
            with self.subTest(spoil):
                original = path.read_bytes()
                self.assertEqual(original.count(spoil[0]), 1)
                path.write_bytes(original.replace(*spoil))
                result = self.run_curate("predict", run, "--user", 1, "--item", 1)
                self.assertEqual(result.returncode, 2, result.stderr)
                self.assertIn("model.safetensors", result.stderr)
                path.write_bytes(original)


class FeaturesTest(CliCase):
    """Twelve films, the last two without training ratings: 12 has genres, 11 nothing."""
    MODELS = (["--model", "mf"], ["--model", "mlp", "--layers", "8"], ["--model", "neumf", "--layers", "8"])
    OWN = "genres,year,age,sex,occupation"
    USERS, FILMS = range(1, 41), range(1, 13)

    def setUp(self):
        super().setUp()
        self.data = self.folder / "films"
        genres = {item: "|".join(sorted({"War" if item % 2 else "Comedy", "Drama" if item % 3 else "Musical"}))
                  for item in self.FILMS}
        genres[11] = ""
        self.write("films/movies.csv", "movieId,title,genres\n" + "".join(
            f"{item},Film {item}{f' ({1980 + item})' if item != 11 else ''},{genres[item]}\n" for item in self.FILMS))
        self.write("films/users.csv", "userId,age,gender,occupation\n" + "".join(
            f"{user},{15 + user},{'FM'[user % 2]},{('artist', 'doctor', '')[user % 3]}\n" for user in self.USERS[:-1]))
        # Comedies are liked.
        ratings = [Rating(user, item, 2 + 2 * (1 - item % 2) + (user // 2 + item) % 2, 1000 + user + item)
                   for user in self.USERS for item in self.FILMS[:10]]
        self.write("films/ratings.csv", "userId,movieId,rating,timestamp\n" +
                   "".join(f"{r.user},{r.item},{r.rating},{r.time}\n" for r in ratings))
        cold = [Rating(user, item, 4.5 if item == 12 else 3.5, 2000) for user in self.USERS for item in (11, 12)]
        self.test = self.write_ratings("test.csv", ratings[::7] + cold)
        self.table = self.write("tables/table.csv", 'itemId,"the studio",length\n' + "".join(
            f"{item},{'AB'[item % 2]},{60 + item}\n" for item in self.FILMS if item != 11))

    def train_with(self, features, *options, epochs=3, out="run"):
        return self.train(self.data, "--test", self.test, "--features", features, "--epochs", epochs, "--batch", 32,
                          "--dim", 4, *options, out=out)

    def evaluated(self, run, *options):
        return strict_json(self.curate("evaluate", run, "--json", *options).stdout)["test"]

    def predicted(self, run, user, item):
        (entry,) = strict_json(self.curate("predict", run, "--user", user, "--item", item, "--json").stdout)
        return entry["prediction"], entry["basis"]

    def test_saved_models_predict_by_the_formula(self):
        for options in (*self.MODELS, ["--no-biases"], ["--model", "mlp", "--feature-dim", "genres=3,age=2",
                                                        "--feature-dropout", 0.2]):
            with self.subTest(options):
                run = self.train_with(f"{self.OWN},{self.table}:the studio", *options, out="-".join(map(str, options)))
                self.assertEqual({path.name for path in run.iterdir()}, RUN_FILES | {"features.json"})
                metrics = read_metrics(run)
                self.assertEqual(metrics["test"]["cold_ratings"], 80)
                for threads in (1, 2):
                    self.assertEqual(self.evaluated(run, "--threads", threads), metrics["test"])
                reference = Reference(run)
                pairs = self.write("pairs.csv", "".join(f"{u},{i}\n" for u in (1, 8, 40, 99)
                                                        for i in (1, 10, 11, 12, 99)))
                rows = list(csv.DictReader(io.StringIO(self.curate("predict", run, "--pairs", pairs).stdout)))
                self.assertEqual({row["basis"] for row in rows},
                                 {"model", "features", "user mean", "item mean", "global mean"})
                for row in rows:
                    expected, basis = reference.predict(int(row["userId"]), int(row["movieId"]))
                    self.assertEqual(row["basis"], basis, row)
                    self.assertAlmostEqual(float(row["prediction"]), expected, delta=2e-4)

    def test_what_has_no_training_rating_is_predicted_by_its_features(self):
        for options in self.MODELS:
            with self.subTest(options):
                run = self.train_with("genres,sex", *options, "--reg", 1, epochs=60, out=options[1])
                self.assertEqual(self.predicted(run, 2, 12)[1], "features")
                self.assertEqual(self.predicted(run, 2, 11)[1], "user mean")
                self.assertEqual(self.predicted(run, 2, 10)[1], "model")
                self.assertEqual(self.predicted(run, 99, 12)[1], "global mean")
                self.assertGreater(self.predicted(run, 2, 12)[0], self.predicted(run, 2, 11)[0] + 0.2, "a comedy")
                plain = self.train(self.data, "--test", self.test, *options, "--epochs", 3, out=f"plain-{options[1]}")
                self.assertEqual(self.predicted(plain, 2, 12)[1], "user mean")
                self.assertLess(read_metrics(run)["test"]["cold_rmse"], 0.9 * read_metrics(plain)["test"]["cold_rmse"])

    def test_features_json_says_what_is_known(self):
        run = self.train_with(f"{self.OWN},{self.table}:length:number")
        features = {feature["name"]: feature for feature in Reference(run).features}
        self.assertEqual(list(features), [*self.OWN.split(","), "length"])
        self.assertEqual([f["of"] for f in features.values()], ["item", "item", "user", "user", "user", "item"])
        self.assertEqual(features["genres"]["values"], ["(unknown)", "Comedy", "Drama", "Musical", "War"])
        self.assertEqual(len(features["length"]["values"]), 11)
        entries = read_safetensors(run)[1]
        for name, feature in features.items():
            count = len(feature["values"])
            self.assertEqual(entries[f"{feature['of']}.{name}.embedding"]["shape"], [count, 4])
            self.assertEqual(entries[f"{feature['of']}.{name}.bias"]["shape"], [count])
        network = self.train_with("genres,age", "--model", "mlp", "--layers", "5", "--feature-dim", "genres=3",
                                  out="mlp")
        entries = read_safetensors(network)[1]
        self.assertEqual(entries["item.genres.embedding"]["shape"], [5, 3])
        self.assertEqual(entries["dense.0.weight"]["shape"],
                         [5, 4 + 4 + 3 + entries["user.age.embedding"]["shape"][1]])

    def test_factors_of_neumf(self):
        entries = read_safetensors(self.train_with("genres", "--model", "neumf", "--factors", 3))[1]
        self.assertEqual((entries["user.factors"]["shape"], entries["item.factors"]["shape"],
                          entries["user.embedding"]["shape"]), ([40, 3], [12, 3], [40, 4]))
        plain = self.train(self.data, "--model", "neumf", "--epochs", 1, out="plain")
        self.assertEqual(read_config(plain)["factors"], 32)
        self.assertEqual({path.name for path in plain.iterdir()}, RUN_FILES)

    def test_a_run_without_features_takes_the_place_of_one_with(self):
        run = self.train_with("genres")
        self.assertTrue((run / "features.json").exists())
        self.train(self.data, "--test", self.test, "--epochs", 1, "--overwrite")
        self.assertEqual({path.name for path in run.iterdir()}, RUN_FILES)
        self.evaluated(run)
        self.train_with("year", "--overwrite")
        self.assertEqual(Reference(run).features[0]["name"], "year")

    def test_files_of_features_may_go_away_after_training(self):
        run = self.train_with(f"{self.table}:the studio,genres")
        expected = read_metrics(run)["test"]
        self.table.unlink()
        (self.data / "movies.csv").unlink()
        self.assertEqual(self.evaluated(run), expected)
        self.assertEqual(self.predicted(run, 1, 12)[1], "features")
        again = self.run_curate("train", "--config", run / "config.toml", "--out", "second")
        self.assertEqual(again.returncode, 2)
        self.assertIn(str(self.table), again.stderr)

    def test_config_of_a_run(self):
        elsewhere = self.folder / "else where"
        elsewhere.mkdir()
        odd = self.write('tables/a "b" \\ ü.csv', 'movieId,"x ""y"" \\ z",a/../b\n1,p,1\n2,q,2\n')
        for number, (features, options) in enumerate((
                ("tables/table.csv:the studio, genres", []), ("tables/../tables/table.csv:length:number", self.MODELS[1]),
                (f'tables/{odd.name}:x "y" \\ z', self.MODELS[2]), (f"tables/{odd.name}:a/../b:multi", []))):
            with self.subTest(features):
                first = self.train_with(features, *options, "--feature-reg", 0.02, out=f"first{number}")
                second = self.folder / f"second{number}"
                result = subprocess.run([CURATE, "train", "--config", first / "config.toml", "--quiet", "--out", second],
                                        cwd=elsewhere, capture_output=True, timeout=120, encoding="utf-8")
                self.assertEqual(result.returncode, 0, result.stderr)
                self.assertEqual(model_bytes(first), model_bytes(second))
                self.assertEqual(read_config(first), read_config(second))
                self.assertEqual((first / "features.json").read_bytes(), (second / "features.json").read_bytes())
                self.assertEqual(read_config(first)["feature_reg"], 0.02)
        self.assertEqual(read_config(self.folder / "first0")["features"], f"{self.table}:the studio,genres")
        self.assertEqual(read_config(self.folder / "first1")["features"], f"{self.table}:length:number")

    def test_folds(self):
        self.curate("train", self.data, "--folds", 3, "--features", "genres,age", "--epochs", 2, "--quiet", "--out",
                    "cross")
        for fold in (1, 2, 3):
            run = self.folder / "cross" / f"fold-{fold}"
            self.assertTrue((run / "features.json").exists())
            self.assertEqual(self.evaluated(run), read_metrics(run)["test"])

    def test_number_of_threads(self):
        for number, options in enumerate((*self.MODELS, ["--optimizer", "sgd"],
                                          ["--model", "mlp", "--feature-dropout", 0.3])):
            with self.subTest(options):
                one, two = (self.train_with(self.OWN, *options, "--deterministic", "--threads", threads,
                                            out=f"run{number}-{threads}") for threads in (1, 2))
                self.assertEqual(model_bytes(one), model_bytes(two))
                self.assertEqual(read_metrics(one)["test"], read_metrics(two)["test"])

    def test_every_optimizer_takes_features(self):
        for optimizer in ("sgd", "adagrad", "adam"):
            for model in self.MODELS:
                with self.subTest(optimizer=optimizer, model=model[1]):
                    run = self.train_with("genres,age", *model, "--optimizer", optimizer, "--overwrite")
                    history = read_history(run)
                    self.assertLess(history[-1]["train_rmse"], history[0]["train_rmse"])

    def test_each_option_acts(self):
        def train(**changed):
            flat = [part for key, value in changed.items() for part in ("--" + key.replace("_", "-"), value)]
            return self.train_with("genres,age", "--model", "mlp", *flat, "--overwrite", out=f"run-{changed}")

        def size(run):
            return sum(v * v for v in read_safetensors(run)[2]["item.genres.embedding"])

        self.assertLess(size(train(feature_reg=5)), 0.8 * size(train(feature_reg=0)))
        models = {model_bytes(run) for run in (train(), train(feature_dropout=0.3), train(feature_dim=6),
                                               train(feature_dim="age=7"))}
        self.assertEqual(len(models), 4)

    def test_what_is_said(self):
        told = self.curate("train", self.data, "--features", "genres,age", "--epochs", 1, "--out", "told").stderr
        self.assertIn("features  item genres (4 values, 64 columns), user age (10 buckets, 64 columns)\n", told)
        told = self.curate("train", self.data, "--model", "neumf", "--factors", 7, "--epochs", 1, "--out",
                           "more").stderr
        self.assertIn("neumf, 7 factors, embeddings 32 + 32", told)
        self.assertNotIn("features  ", told)
        result = self.curate("train", self.data, "--test", self.test, "--features", "genres", "--epochs", 1, "--json",
                             "--quiet", "--out", "quiet")
        self.assertEqual(result.stderr, "")
        self.assertEqual(strict_json(result.stdout)["test"], read_metrics(self.folder / "quiet")["test"])


class SplitTest(CliCase):
    def test_random_parts_add_up(self):
        data = self.generate()
        ratings = read_ratings(data)
        test_parts = []
        for seed in (1, 2):
            run = self.train(data, "--split", "random:0.2", "--validation", 0, "--epochs", 1, "--seed", seed,
                             out=f"run{seed}")
            metrics = read_metrics(run)
            self.assertEqual((metrics["train"]["ratings"], metrics["test"]["ratings"]), (1200, 300))
            by_user, by_item = trained_counts(run, "users.tsv"), trained_counts(run, "items.tsv")
            for trained, all_of_them in ((by_user, counts_by(ratings, "user")), (by_item, counts_by(ratings, "item"))):
                self.assertEqual(trained.total(), 1200)
                self.assertFalse(trained - all_of_them, "more training ratings than there are ratings")
            test_parts.append(counts_by(ratings, "user") - by_user)
        self.assertNotEqual(test_parts[0], test_parts[1], "another seed gives the same test part")

    def test_validation_part_is_not_trained_on(self):
        data = self.generate()
        run = self.train(data, "--split", "random:0.2", "--validation", 0.1, "--epochs", 1)
        metrics = read_metrics(run)
        self.assertEqual([metrics[part]["ratings"] for part in ("train", "validation", "test")], [1080, 120, 300])
        self.assertEqual(trained_counts(run, "users.tsv").total(), 1080)

    def test_time_split_tests_on_the_latest(self):
        data = self.generate()
        # Stable: of equal times, those later in the file are the later ones.
        ordered = sorted(read_ratings(data), key=lambda r: r.time)
        earlier, latest = ordered[:1200], ordered[1200:]
        run = self.train(data, "--split", "time:0.2", "--validation", 0, "--epochs", 2)
        self.assertEqual(+trained_counts(run, "users.tsv"), counts_by(earlier, "user"))
        self.assertEqual(+trained_counts(run, "items.tsv"), counts_by(earlier, "item"))
        metrics = read_metrics(run)["test"]
        self.assertEqual(metrics["ratings"], 300)
        self.assertAlmostEqual(metrics["rmse"], Reference(run).rmse(latest), delta=1e-4)

    def test_no_split(self):
        run = self.train(self.generate(), "--split", "none", "--epochs", 1)
        self.assertIsNone(read_metrics(run)["test"])
        self.assertEqual(read_metrics(run)["train"]["ratings"], 1425)

    def test_default_split(self):
        run = self.train(self.generate(), "--epochs", 1)
        self.assertEqual(read_config(run)["split"], "random:0.1")
        self.assertEqual(read_metrics(run)["test"]["ratings"], 150)

    def test_rating_range_widens_the_scale(self):
        train = self.write_ratings("train.csv", read_ratings(self.generate()))
        metadata = read_safetensors(self.train(train, "--epochs", 1, "--rating-range", "0:10"))[0]
        self.assertEqual((float(metadata["rating_min"]), float(metadata["rating_max"])), (0.0, 10.0))


class FoldsTest(CliCase):
    def setUp(self):
        super().setUp()
        self.data = self.generate()

    def train_folds(self, *options):
        return self.curate("train", self.data, "--folds", 3, "--epochs", 2, "--validation", 0, "--quiet", "--out",
                           "cross", *options)

    def test_a_run_per_fold(self):
        self.train_folds()
        cross = self.folder / "cross"
        self.assertEqual({path.name for path in cross.iterdir()}, {"fold-1", "fold-2", "fold-3", "metrics.json"})
        for fold in range(1, 4):
            self.assertEqual({path.name for path in (cross / f"fold-{fold}").iterdir()}, RUN_FILES)

    def test_every_rating_is_tested_on_once(self):
        self.train_folds()
        everything = counts_by(read_ratings(self.data), "user")
        tested = collections.Counter()
        for fold in range(1, 4):
            run = self.folder / "cross" / f"fold-{fold}"
            self.assertEqual(read_metrics(run)["test"]["ratings"], 500)
            tested += everything - trained_counts(run, "users.tsv")
        self.assertEqual(tested, everything)

    def test_summary_is_the_mean_of_the_folds(self):
        printed = strict_json(self.train_folds("--json").stdout)
        folds = [read_metrics(self.folder / "cross" / f"fold-{fold}") for fold in range(1, 4)]
        self.assertEqual(printed["folds"], folds)
        self.assertEqual(len({fold["test"]["rmse"] for fold in folds}), 3)
        for key in ("rmse", "mae"):
            values = [fold["test"][key] for fold in folds]
            self.assertAlmostEqual(printed["test"][key], statistics.fmean(values), places=12)
            self.assertAlmostEqual(printed["test"][f"{key}_standard_deviation"], statistics.stdev(values), places=12)
        self.assertEqual(read_metrics(self.folder / "cross"), printed)

    def test_summary_is_printed(self):
        output = self.train_folds().stdout
        mean = read_metrics(self.folder / "cross")["test"]["rmse"]
        self.assertIn(f"3 folds: test RMSE {mean:.5f}", output)

    def test_a_fold_is_a_run_like_any_other(self):
        self.train_folds()
        run = self.folder / "cross" / "fold-2"
        test = strict_json(self.curate("evaluate", run, "--json").stdout)["test"]
        self.assertEqual(test, read_metrics(run)["test"])
        self.curate("train", "--config", run / "config.toml", "--quiet", "--out", "again")
        self.assertEqual(model_bytes(run), model_bytes(self.folder / "again"))


class EpochTest(CliCase):
    # Overfits within a few epochs.
    OPTIONS = ["--dim", 16, "--reg", 0, "--lr", 0.05, "--schedule", "constant"]

    def test_patience(self):
        run = self.train(self.generate(), *self.OPTIONS, "--epochs", 60, "--patience", 3)
        metrics, history = read_metrics(run), read_history(run)
        self.assertLess(len(history), 60)
        self.assertEqual(metrics["epochs"], len(history))
        self.assertEqual(metrics["best_epoch"], len(history) - 3)

    def test_the_epoch_of_the_lowest_validation_rmse_is_kept(self):
        data = self.generate()
        run = self.train(data, *self.OPTIONS, "--epochs", 20)
        metrics, validation = read_metrics(run), [row["validation_rmse"] for row in read_history(run)]
        best = metrics["best_epoch"]
        self.assertLess(best, 20, "this test needs a run that overfits")
        self.assertEqual(min(validation), validation[best - 1])
        self.assertEqual(metrics["validation"]["rmse"], min(validation))
        shorter = self.train(data, *self.OPTIONS, "--epochs", best, out="shorter")
        self.assertEqual(model_bytes(run), model_bytes(shorter), f"not the parameters of epoch {best}")

    def test_without_validation_the_last_epoch_is_kept(self):
        data = self.generate()
        run = self.train(data, *self.OPTIONS, "--epochs", 20, "--validation", 0)
        metrics = read_metrics(run)
        self.assertIsNone(metrics["validation"])
        self.assertEqual(metrics["best_epoch"], 20)
        self.assertEqual({row["validation_rmse"] for row in read_history(run)}, {None})
        shorter = self.train(data, *self.OPTIONS, "--epochs", 19, "--validation", 0, out="shorter")
        self.assertLess(metrics["train"]["rmse"], read_metrics(shorter)["train"]["rmse"])


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

    def test_fallback_is_the_damped_mean(self):
        """Koren 2010: the sum of the item's deviations from the mean, over their number plus 25."""
        run = self.train_with_titles()
        ratings = read_ratings(self.folder / "films")
        # Of a pair that is rated twice, the last rating stays.
        kept = {(r.user, r.item): r.rating for r in ratings}
        mean = statistics.fmean(kept.values())
        deviations = [rating - mean for (_, item), rating in kept.items() if item == 7]
        (row,) = self.predict(run, "--user", 999, "--item", 7)
        self.assertAlmostEqual(float(row["prediction"]), mean + sum(deviations) / (len(deviations) + 25), delta=1e-3)

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


class OutputTest(CliCase):
    def test_results_and_talk_are_kept_apart(self):
        result = self.curate("train", self.generate(), "--epochs", 3, "--out", "run")
        self.assertRegex(result.stdout, r"(?m)^test +\d\.\d+")
        self.assertIn("run written to run", result.stdout)
        for talk in ("1,500 ratings", "epoch", "learning rate", "Trained in"):
            self.assertIn(talk, result.stderr)
            self.assertNotIn(talk, result.stdout)
        self.assertNotIn("\x1b", result.stderr, "control sequences where no terminal is")
        self.assertNotIn("\r", result.stderr, "a live line where no terminal is")

    def test_the_table_and_the_metrics_agree(self):
        result = self.curate("train", self.generate(), "--epochs", 3, "--out", "run")
        metrics = read_metrics(self.folder / "run")
        for part in ("train", "validation", "test"):
            shown = re.search(rf"(?m)^{part} +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+) +([\d,]+) +(\d+)$", result.stdout)
            self.assertIsNotNone(shown, result.stdout)
            for text, key in zip(shown.groups(), METRICS):
                self.assertAlmostEqual(float(text.replace(",", "")), metrics[part][key], delta=6e-6)

    def test_quiet(self):
        self.assertEqual(self.curate("train", self.generate(), "--epochs", 1, "--quiet", "--out", "run").stderr, "")

    def test_train_json(self):
        result = self.curate("train", self.generate(), "--epochs", 2, "--json", "--out", "run")
        printed = strict_json(result.stdout)
        self.assertEqual(printed.pop("run"), "run")
        self.assertEqual(printed, read_metrics(self.folder / "run"))

    def test_evaluate(self):
        run = self.train(self.generate(), "--epochs", 2)
        result = self.curate("evaluate", run)
        self.assertEqual(result.stderr, "")
        self.assertIn(f"{read_metrics(run)['test']['rmse']:.5f}", result.stdout)
        printed = strict_json(self.curate("evaluate", run, "--json").stdout)
        self.assertEqual(set(printed), {"run", "data", "test"})

    def test_samples_have_titles(self):
        data = self.generate()
        talk = self.curate("train", data, "--epochs", 1, "--out", "run").stderr
        titles = set(read_titles(data).values())
        shown = re.findall(r"user \S+ +rated \d\.\d, predicted \d\.\d\d +(\S.*)", talk)
        self.assertEqual(len(shown), 5)
        self.assertTrue(set(shown) <= titles, shown)

    def test_doctor(self):
        result = self.curate("doctor")
        for line in ("curate", "CPU", "memory", "cuBLASLt ", "--device cpu    works", "--device cuda", "--device auto"):
            self.assertIn(line, result.stdout)
        printed = strict_json(self.curate("doctor", "--json").stdout)
        self.assertGreaterEqual(printed["cores"], 1)
        self.assertGreater(printed["memory_bytes"], 0)
        self.assertIn(f"cuBLASLt        {printed['cublaslt']}\n", result.stdout)
        self.assertEqual(printed["cuda"], printed["why_no_cuda"] == "")

    def test_version(self):
        self.assertRegex(self.curate("--version").stdout, r"^(curate )?\d+\.\d+\.\d+\n$")

    def test_help(self):
        flags = {("train",): "--optimizer", ("evaluate",): "--data", ("predict",): "--pairs", ("data",): "generate",
                 ("data", "inspect"): "--json", ("data", "generate"): "--ratings", ("doctor",): "--json", (): "train"}
        for command, flag in flags.items():
            with self.subTest(command):
                self.assertIn(flag, self.curate(*command, "--help").stdout)

    def test_help_of_train_names_every_option_of_the_config(self):
        text = self.curate("train", "--help").stdout
        config = read_config(self.train(self.generate(), "--epochs", 1))
        missing = [key for key in config if key not in ("data", "fold") and f"--{key.replace('_', '-')}" not in text]
        self.assertEqual(missing, [])


class OptionsTest(CliCase):
    """`curate options` is the table that the command line, config.toml and host/cli/README.md are made of."""

    def test_json_has_every_option_of_the_config(self):
        table = strict_json(self.curate("options", "--json").stdout)
        config = read_config(self.train(self.generate(), "--epochs", 1))
        known = [option["key"] for option in table]
        self.assertEqual([key for key in config if key in known], [key for key in known if key in config])
        self.assertEqual(set(config) - set(known),
                         {"data", "test", "split", "folds", "fold", "rating_range", "text_ids"} & set(config))
        lr = next(option for option in table if option["key"] == "lr")
        self.assertEqual(lr, {"key": "lr", "flag": "--lr", "type": "number", "choices": [],
                              "takes": "1e-12 to 1000000", "least": 1e-12, "most": 1e6, "unit": "",
                              "default": "by optimizer and batch", "sentence": "learning rate", "examples": ["0.02"]})

    def test_text_is_for_reading(self):
        text = self.curate("options").stdout
        self.assertIn("--user-dim\n  networks: columns of the embedding of users\n  takes    1 to 1024 (whole number, "
                      "columns)\n  default  --dim\n  example  --user-dim 16\n", text)
        self.assertIn("  example  --no-biases\n", text)
        self.assertNotIn("`", text)

    def test_one_alone(self):
        for name in ("rate-decay", "rate_decay"):
            text = self.curate("options", name).stdout
            self.assertTrue(text.startswith("--rate-decay\n"), text)
            self.assertEqual(text.count("takes"), 1)
        self.assertEqual([option["key"] for option in strict_json(self.curate("options", "lr", "--json").stdout)], ["lr"])
        refused = self.run_curate("options", "learning-rate")
        self.assertEqual(refused.returncode, 2)
        self.assertIn("no option is called learning_rate; `curate options` lists them", refused.stderr)

    def test_help_of_train_says_the_same(self):
        text = " ".join(self.curate("train", "--help").stdout.split())
        for option in strict_json(self.curate("options", "--json").stdout):
            with self.subTest(option["key"]):
                self.assertIn(" ".join(option["sentence"].split()), text)
                self.assertIn(f"default: {option['default']})", text)

    def test_the_document_is_as_the_program_makes_it(self):
        document = Path(__file__).resolve().parent.parent / "host" / "cli" / "README.md"
        self.assertEqual(document.read_text(encoding="utf-8"), self.curate("options", "--markdown").stdout,
                         "make it anew: curate options --markdown > host/cli/README.md")

    def test_one_form_at_a_time(self):
        self.assertEqual(self.run_curate("options", "--json", "--markdown").returncode, 2)


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


LAYOUT_RATINGS = {"ml-csv": ("ratings.csv", ","), "ml-1m": ("ratings.dat", "::"), "ml-100k": ("u.data", "\t"),
                  "csv": ("ratings.csv", ","), "tsv": ("ratings.tsv", "\t")}


def read_layout(folder, layout):
    """The ratings that a folder in a layout holds, in order."""
    name, separator = LAYOUT_RATINGS[layout]
    lines = (folder / name).read_text(encoding="utf-8").splitlines()
    fields = [line.split(separator) for line in lines if line[0].isdigit()]
    return [Rating(int(f[0]), int(f[1]), float(f[2]), int(f[3])) for f in fields]


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
        self.assertEqual(sum(metrics[part]["ratings"] for part in ("train", "validation", "test")), ratings)
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
