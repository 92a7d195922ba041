"""What the tests of the command line share: a folder to run the binary in, and readers of what it writes.

The binary is the first argument of the script that imports this (default: $CURATE_BINARY).
"""
import collections
import csv
import json
import math
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import tomllib
import unittest
from pathlib import Path

RUN_FILES = {"config.toml", "model.safetensors", "users.tsv", "items.tsv", "history.csv", "metrics.json"}
METRICS = ["rmse", "mse", "mae", "mae_whole_stars", "ratings", "cold_ratings", "warm_rmse", "cold_rmse"]

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
        if self.metadata["model"] == "bias":
            return sum(self.values[name][row] for name, row in (("global_mean", 0), ("user.bias", u), ("item.bias", i)))
        if self.metadata["model"] != "mf":
            inputs = list(self.row("user", u) + self.row("item", i))
            for feature in self.features:
                inputs += self.feature_vector(feature, "embedding", rows[feature["of"]])
            dot = 0.0
            if self.metadata.get("product") == "true":
                dot = sum(p * q for p, q in zip(self.row("user", u), self.row("item", i), strict=True))
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
        floor = float(self.metadata.get("output_floor", "0"))
        activations = self.metadata["activations"].split(",")
        for layer, activation in enumerate(activations):
            biases = self.values[f"dense.{layer}.bias"]
            sums = [bias + sum(w * v for w, v in zip(self.matrix_row(f"dense.{layer}.weight", j), values, strict=True))
                    for j, bias in enumerate(biases)]
            first, last, least = (low, high, floor) if layer + 1 == len(activations) else (0.0, 1.0, 0.0)
            values = [{"linear": lambda z: z, "relu": lambda z: max(z, least), "tanh": math.tanh,
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
