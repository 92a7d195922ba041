#!/usr/bin/env python3
"""What the defaults promise besides errors on MovieLens's sets: small data, high rates, heavy tails, the bias model's
row, the refit and ensembles in the JSON, runs of earlier versions. One line of each check; exit status 1 if one fails.

usage: defaults_check.py CURATE DATA [--old-runs FOLDER] [--threads N] [--only NAME,...]
  CURATE: the program. DATA: the folder that has ml-100k. FOLDER: runs of an earlier version, tests/fixtures/runs-of-*.
Needs Python 3.9 and nothing else. The errors themselves: accuracy.py with --refit-cost --scales --check.
"""
import argparse
import json
import math
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODELS = ("mf", "mlp", "neumf")
SMALL = (20, 30, 50, 100)
SEEDS = 6
# Test parts of a few ratings: the mean over all of them is compared.
NOT_ABOVE_MEAN = 1.02


class Checks:
    def __init__(self, arguments, scratch):
        self.curate = arguments.curate
        self.threads = arguments.threads
        self.old_runs = Path(arguments.old_runs)
        self.scratch = Path(scratch)
        self.base = Path(arguments.data) / "ml-100k" / "u1.base"
        self.test = Path(arguments.data) / "ml-100k" / "u1.test"

    def run(self, *command):
        return subprocess.run([self.curate, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, check=False)

    def train(self, *options, out="run"):
        """(metrics.json, what was said) of a training that has to end well."""
        done = self.run("train", *options, "--device", "cpu", "--threads", self.threads, "--out", self.scratch / out,
                        "--overwrite", "--json")
        if done.returncode != 0:
            raise AssertionError(f"exit status {done.returncode}: {done.stderr.strip()[-300:]}")
        return json.loads(done.stdout), done.stderr

    def rows(self):
        return [line.split("\t")[:3] for line in self.base.read_text(encoding="latin-1").splitlines()]

    def write(self, name, rows, head="user,item,rating"):
        path = self.scratch / name
        path.write_text("\n".join([head, *(",".join(map(str, row)) for row in rows)]) + "\n", encoding="utf-8")
        return path

    def small(self):
        """20 to 100 ratings with features, and batches of more ratings than there are: never worse than the mean."""
        rows = self.rows()
        lines = []
        for model in MODELS:
            for options in ([], ["--batch", "4096"]):
                own, means, diverged = [], [], 0
                for count in SMALL:
                    for seed in range(1, SEEDS + 1):
                        metrics, said = self.small_training(rows, count, seed, ["--model", model, *options])
                        own.append(metrics["test"]["rmse"])
                        means.append(self.error_of_mean)
                        diverged += "diverged" in said
                ratio = statistics.fmean(own) / statistics.fmean(means)
                lines.append(f"{' '.join([model, *options])} {ratio:.3f}")
                assert ratio <= NOT_ABOVE_MEAN, f"{lines[-1]} of the mean's error"
                assert diverged == 0, f"{model}: {diverged} trainings diverged"
        return "errors over the mean's: " + ", ".join(lines)

    def small_training(self, rows, count, seed, options):
        chosen = random.Random(seed).sample(rows, count)
        cut = count - count // 5
        users = {row[0] for row in chosen}
        train = self.write("small.csv", chosen[:cut])
        test = self.write("small_test.csv", chosen[cut:])
        kinds = self.write("kinds.csv", [(user, "young" if int(user) % 2 else "old") for user in sorted(users)],
                           "userId,age")
        mean = statistics.fmean(float(row[2]) for row in chosen[:cut])
        self.error_of_mean = math.sqrt(statistics.fmean((float(row[2]) - mean) ** 2 for row in chosen[cut:]))
        return self.train(train, "--test", test, "--features", f"{kinds}:age", "--seed", seed, *options)

    def high_rates(self):
        """Learning rates that are far too high: told, at most three restarts, no worse than the mean."""
        lines = []
        for model, rates in (("mf", ["--lr", "40"]), ("mlp", ["--adam-lr", "1000"]), ("neumf", ["--adam-lr", "1000"])):
            metrics, said = self.train(self.base, "--test", self.test, "--model", model, "--epochs", "4", *rates)
            told = [line for line in said.splitlines() if "diverged" in line]
            assert told, f"{model}: nothing is said of the divergence"
            restarts = sum("starts over" in line for line in told)
            assert restarts <= 3, f"{model}: {restarts} restarts"
            rmse = metrics["test"]["rmse"]
            assert rmse < 1.16, f"{model}: RMSE {rmse:.4f}, the mean's is 1.15"
            lines.append(f"{model} {restarts} restarts, RMSE {rmse:.4f}")
        return "; ".join(lines)

    def heavy_tails(self):
        """A rating of 500 among 80,000 is named with its line; counts are learnt better as logarithms."""
        rows = self.rows()
        rows[40000][2] = "500"
        path = self.write("tail.csv", rows)
        said = self.train(path, "--epochs", "1")[1]
        assert f"{path}:40002: the rating 500 lies" in said, said[-300:]
        chance = random.Random(3)
        counts = [(user, item, int(math.exp(2 * float(rating) - 4 + chance.gauss(0, 0.7))) + 1)
                  for user, item, rating in self.rows()]
        data = self.write("counts.csv", counts)
        plain = self.train(data, "--split", "random:0.1", "--seed", "1", out="plain")[0]["test"]
        learnt = self.train(data, "--split", "random:0.1", "--seed", "1", "--transform", "log", out="log")[0]["test"]
        assert learnt["mae"] < plain["mae"], f"MAE {learnt['mae']:.3f} with --transform log, {plain['mae']:.3f} without"
        return f"line named; counts: MAE {plain['mae']:.2f}, with --transform log {learnt['mae']:.2f}"

    def baseline(self):
        """The bias model's row is in the table and the JSON; a model that is worse says so."""
        metrics, _ = self.train(self.base, "--test", self.test, "--model", "mf")
        bias, _ = self.train(self.base, "--test", self.test, "--model", "bias")
        assert abs(metrics["baseline"]["test"]["rmse"] - bias["test"]["rmse"]) < 1e-9, "the row and --model bias differ"
        # A rate at which nothing is learnt.
        options = ["--model", "mlp", "--adam-lr", "1e-7", "--lr", "1e-7", "--epochs", "1"]
        done = self.run("train", self.base, "--test", self.test, *options, "--device", "cpu", "--out",
                        self.scratch / "worse", "--overwrite")
        assert "bias model" in done.stderr + done.stdout, done.stderr[-300:]
        return f"bias {bias['test']['rmse']:.4f}, mf {metrics['test']['rmse']:.4f}"

    def refit_and_ensemble(self):
        """Both are in the JSON; predict shows the spread of an ensemble's members, compare takes it."""
        options = ["--ensemble", "mf:2,neumf:1", "--epochs", "3"]
        metrics, _ = self.train(self.base, "--test", self.test, *options, out="all")
        assert metrics["refit"] and len(metrics["ensemble"]["members"]) == 3, sorted(metrics)
        single, _ = self.train(self.base, "--test", self.test, "--no-refit", "--epochs", "3", out="one")
        assert single.get("refit") is None, "a refit in spite of --no-refit"
        pairs = self.write("pairs.csv", [row[:2] for row in self.rows()[:3]], "user,item")
        predicted = self.run("predict", self.scratch / "all", "--pairs", pairs)
        assert "spread" in predicted.stdout.splitlines()[0], predicted.stdout[:200]
        compared = self.run("compare", self.scratch / "all", self.scratch / "one")
        assert compared.returncode == 0, compared.stderr[-300:]
        return f"ensemble {metrics['test']['rmse']:.4f}, one mf without refit {single['test']['rmse']:.4f}"

    def earlier_runs(self):
        """Runs of an earlier version predict what they predicted."""
        recorded = sorted(self.old_runs.rglob("predictions.csv"))
        assert recorded, f"{self.old_runs}: no run in it"
        for predictions in recorded:
            done = self.run("predict", predictions.parent, "--pairs", self.old_runs / "pairs.csv")
            assert done.stdout == predictions.read_text(encoding="utf-8"), f"{predictions.parent}: {done.stderr[-300:]}"
        return f"{len(recorded)} runs"


NAMES = ("small", "high_rates", "heavy_tails", "baseline", "refit_and_ensemble", "earlier_runs")


def main():
    parser = argparse.ArgumentParser(description="What the defaults promise, check by check.")
    parser.add_argument("curate")
    parser.add_argument("data")
    parser.add_argument("--old-runs", default=str(next(HERE.parent.glob("tests/fixtures/runs-of-*"), "")))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default=",".join(NAMES))
    arguments = parser.parse_args()
    failed = 0
    for name in arguments.only.split(","):
        if name not in NAMES:
            sys.exit(f"--only {name}: not one of {', '.join(NAMES)}")
        with tempfile.TemporaryDirectory() as scratch:
            try:
                print(f"ok      {name}: {getattr(Checks(arguments, scratch), name)()}", flush=True)
            except AssertionError as fault:
                failed += 1
                print(f"FAILED  {name}: {fault}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
