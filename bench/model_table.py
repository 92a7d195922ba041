#!/usr/bin/env python3
"""Every model with and without features on the data sets of MovieLens, as a table of errors.

usage: model_table.py CURATE DATA [--sets ml-100k,ml-1m,ml-latest-small-2016] [--models mf,mlp,neumf] [--seeds 3]
                      [--threads N] [--plot FOLDER] [--out FILE] [-- OPTION...]
  CURATE: the program. DATA: the folder that has the sets' folders. OPTION: further options of curate train.
Needs Python 3.9 and nothing else.

ml-100k is trained and tested on its five parts u1..u5, ml-1m on 90/10 and ml-latest-small on 80/20 splits, a seed each.
All models of a part or seed have the same training ratings, validation slice and test ratings. The table has means over
the parts or seeds and, after +-, the standard deviation over them; "with features" are paired with the same model
without: the difference of each part or seed, its mean, and how many of them are improvements. "few" are the test ratings of
films with fewer than five training ratings, films without any included; in brackets how many there are in all.
"""
import argparse
import csv
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

FEW = 5
SETS = {
    "ml-100k": {"features": "genres,year,age,sex,occupation"},
    "ml-1m": {"features": "genres,year,age_group,sex,occupation", "split": "random:0.1"},
    "ml-latest-small-2016": {"features": "genres,year,tags", "split": "random:0.2"},
}


def run_json(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)


def delimited_rows(path):
    """user, item, rating of u1.test (tabs, no header) or of what curate data split writes."""
    with open(path, newline="", encoding="latin-1") as file:
        first = file.readline()
        file.seek(0)
        rows = csv.reader(file, delimiter="\t" if "\t" in first else ",")
        if "userId" in first:
            next(rows)
        return [(row[0], row[1], float(row[2])) for row in rows]


def parts_of(arguments, name, scratch):
    """(label, what to train on, file of the test ratings) of every part or seed."""
    folder = Path(arguments.data) / name
    if name == "ml-100k":
        for part in range(1, 6):
            test = folder / f"u{part}.test"
            yield f"u{part}", [str(folder / f"u{part}.base"), "--test", str(test)], test
        return
    split = SETS[name]["split"]
    for seed in range(1, arguments.seeds + 1):
        written = Path(scratch) / f"{name}-{seed}"
        # The same parts as train makes from the same seed.
        subprocess.run([arguments.curate, "data", "split", str(folder), "--split", split, "--seed", str(seed), "--out",
                        str(written)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        yield f"seed {seed}", [str(folder), "--split", split, "--seed", str(seed)], written / "ratings.test.csv"


def training_counts(run):
    with open(run / "items.tsv", newline="", encoding="utf-8") as file:
        return {row["raw_id"]: int(row["ratings"]) for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)}


def squared_errors_of_few(arguments, run, test):
    """Of the test ratings of films with few training ratings."""
    counts = training_counts(run)
    few = [row for row in delimited_rows(test) if counts.get(row[1], 0) < FEW]
    if not few:
        return []
    pairs = run / "few.csv"
    with open(pairs, "w", encoding="utf-8") as file:
        file.write("userId,movieId\n" + "".join(f"{user},{item}\n" for user, item, _ in few))
    predicted = run_json([arguments.curate, "predict", str(run), "--pairs", str(pairs), "--device", "cpu", "--json"])
    return [(one["prediction"] - rating) ** 2 for one, (_, _, rating) in zip(predicted, few)]


class Results:
    """Of one model over the parts or seeds of a set."""

    def __init__(self):
        self.rmse, self.mae, self.seconds, self.few_rmse = [], [], [], []
        self.few = 0
        self.parameters = 0

    def add_few(self, squared_errors):
        self.few += len(squared_errors)
        if squared_errors:
            self.few_rmse.append(math.sqrt(statistics.fmean(squared_errors)))


def spread(values):
    if not values:
        return ""
    return f"{statistics.fmean(values):.4f}" + (f" +- {statistics.stdev(values):.4f}" if len(values) > 1 else "")


def improvement(values, plain):
    differences = [a - b for a, b in zip(values, plain)]
    return f"{spread(differences)} ({sum(d < 0 for d in differences)} of {len(differences)})"


def train_set(arguments, name, scratch):
    results = {}
    for label, data, test in parts_of(arguments, name, scratch):
        runs = []
        for model in arguments.models.split(","):
            for features in (False, True):
                title = model + (" + features" if features else "")
                run = Path(scratch) / "runs" / name / label.replace(" ", "-") / title.replace(" + ", "-")
                command = [arguments.curate, "train", *data, "--model", model, "--device", arguments.device, "--threads",
                           str(arguments.threads), "--out", str(run), "--quiet", "--json", *arguments.options]
                metrics = run_json(command + (["--features", SETS[name]["features"]] if features else []))
                one = results.setdefault(title, Results())
                one.rmse.append(metrics["test"]["rmse"])
                one.mae.append(metrics["test"]["mae"])
                one.seconds.append(metrics["seconds"] / metrics["epochs"])
                one.add_few(squared_errors_of_few(arguments, run, test))
                one.parameters = run_json([arguments.curate, "compare", str(run), "--json"])["runs"][0]["parameters"]
                runs.append(str(run))
                print(f"{name} {label}: {title}: RMSE {metrics['test']['rmse']:.4f}", file=sys.stderr, flush=True)
        if arguments.plot:
            Path(arguments.plot).mkdir(parents=True, exist_ok=True)
            picture = Path(arguments.plot) / f"{name}-{label.replace(' ', '-')}.svg"
            picture.unlink(missing_ok=True)
            subprocess.run([arguments.curate, "compare", *runs, "--plot", str(picture)], check=True,
                           stdout=subprocess.DEVNULL)
    return results


def table_of(name, results):
    lines = [f"### {name}, features {SETS[name]['features']}", "",
             "| model | parameters | seconds an epoch | RMSE | MAE | with features - without (improved) | RMSE, few | few, with - "
             "without (improved) |",
             "|---|---|---|---|---|---|---|---|"]
    for title, one in results.items():
        plain = results.get(title.removesuffix(" + features"))
        paired = plain is not one
        difference = improvement(one.rmse, plain.rmse) if paired else ""
        few_difference = improvement(one.few_rmse, plain.few_rmse) if paired else ""
        lines.append(f"| {title} | {one.parameters:,} | {statistics.median(one.seconds):.3f} | {spread(one.rmse)} | "
                     f"{spread(one.mae)} | {difference} | {spread(one.few_rmse)} ({one.few:,}) | {few_difference} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description="Errors of every model with and without features.")
    parser.add_argument("curate")
    parser.add_argument("data")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--models", default="mf,mlp,neumf")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--plot")
    parser.add_argument("--out")
    own, options = sys.argv[1:], []
    if "--" in own:
        cut = own.index("--")
        own, options = own[:cut], own[cut + 1:]
    arguments = parser.parse_args(own)
    arguments.options = options
    for name in arguments.sets.split(","):
        if name not in SETS:
            sys.exit(f"--sets {name}: not one of {', '.join(SETS)}")
        if not (Path(arguments.data) / name).is_dir():
            sys.exit(f"{arguments.data}: no folder {name} in it; data/fetch.sh gets it, or leave it out of --sets")
    text = ""
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.sets.split(","):
            text += table_of(name, train_set(arguments, name, scratch)) + "\n"
    print(text, end="")
    if arguments.out:
        Path(arguments.out).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
