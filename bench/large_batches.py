#!/usr/bin/env python3
"""Errors and speed by batch, with the defaults for large batches beside those there were before, as tables.

usage: large_batches.py CURATE DATA_ROOT [--sets ml-100k,ml-1m] [--models "NAME;..."] [--seed 1] [--threads N] [--quick]
                        [--out FILE]
  CURATE: the program. DATA_ROOT: the folder that has the sets' folders. --quick: ml-100k alone, five epochs.
Needs Python 3.9 and nothing else.

Every model is trained with its default epochs at every batch, ml-100k on u1, ml-1m on a 90/10 split. "before" is what was
the default before: beyond batch 4096, up to which both are the same, SGD has its rate of 4096 and no damping, Adam what it
has in small batches. RMSE and MAE are those of the test part.
"""
import argparse
import math
import os
import sys
import tempfile
from pathlib import Path

from model_table import SETS, run_json

LARGE = 4096
# Their options, the batch that others are compared with, and what was the default of large batches before.
ADAM = ["--lr", "0.005", "--beta1", "0.9", "--beta2", "0.999"]
SGD_ADAM = ["--beta1", "0.9", "--beta2", "0.999", "--damping", "0"]
MODELS = {
    "mf, sgd": (["--optimizer", "sgd"], 1024, [*SGD_ADAM, "--lr", str(0.02 * LARGE)]),
    "mf, adam": (["--optimizer", "adam"], 1024, ADAM),
    "mf + features": (["--features"], 1024, [*SGD_ADAM, "--lr", str(0.012 * LARGE), "--adam-lr", "0.004"]),
    "mlp, adam": (["--model", "mlp", "--optimizer", "adam"], 512, ADAM),
    "mlp": (["--model", "mlp"], 512, [*SGD_ADAM, "--lr", str(0.01 * LARGE), "--adam-lr", "0.005"]),
    "neumf": (["--model", "neumf"], 512, [*SGD_ADAM, "--lr", str(0.01 * LARGE), "--adam-lr", "0.005"]),
}
BATCHES = {"ml-100k": [4096, 16384], "ml-1m": [4096, 16384, 65536, 262144]}


def train(arguments, name, scratch, options):
    folder = Path(arguments.data) / name
    data = [str(folder / "u1.base"), "--test", str(folder / "u1.test")]
    if name != "ml-100k":
        data = [str(folder), "--split", SETS[name]["split"]]
    command = [arguments.curate, "train", *data, "--seed", str(arguments.seed), "--threads", str(arguments.threads),
               "--device", "cpu", "--out", str(Path(scratch) / "run"), "--overwrite", "--quiet", "--json", *options]
    if "--features" in options:
        command.insert(command.index("--features") + 1, SETS[name]["features"])
    if arguments.quick:
        command += ["--epochs", "5"]
    return run_json(command)


def steps_an_epoch(metrics, batch):
    return math.ceil(metrics["train"]["ratings"] / batch)


def rows_of(arguments, name, title, scratch):
    options, small, before = MODELS[title]
    first = None
    for batch in [small, *BATCHES[name]]:
        rules = [("both" if batch <= LARGE else "now", [])] + ([("before", before)] if batch > LARGE else [])
        for rule, more in rules:
            metrics = train(arguments, name, scratch, [*options, "--batch", str(batch), *more])
            rmse = metrics["test"]["rmse"]
            first = rmse if first is None else first
            print(f"{name} {title}, batch {batch}, {rule}: RMSE {rmse:.4f}", file=sys.stderr, flush=True)
            yield (f"| {title} | {batch:,} | {rule} | {steps_an_epoch(metrics, batch):,} | {rmse:.4f} | {rmse - first:+.4f} | "
                   f"{metrics['test']['mae']:.4f} | {metrics['best_epoch']} of {metrics['epochs']} | "
                   f"{metrics['seconds'] / metrics['epochs']:.3f} |")


def main():
    parser = argparse.ArgumentParser(description="Errors and speed by batch.")
    parser.add_argument("curate")
    parser.add_argument("data")
    parser.add_argument("--sets", default=",".join(BATCHES))
    parser.add_argument("--models", default="all", help="separated by semicolons: " + "; ".join(MODELS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out")
    arguments = parser.parse_args()
    sets = ["ml-100k"] if arguments.quick else arguments.sets.split(",")
    models = list(MODELS) if arguments.models == "all" else [title.strip() for title in arguments.models.split(";")]
    for name in sets:
        if name not in BATCHES:
            sys.exit(f"--sets {name}: not one of {', '.join(BATCHES)}")
        if not (Path(arguments.data) / name).is_dir():
            sys.exit(f"{arguments.data}: no folder {name} in it; data/fetch.sh gets it, or leave it out of --sets")
    for title in models:
        if title not in MODELS:
            sys.exit(f"--models {title}: not one of {'; '.join(MODELS)}")
    text = ""
    with tempfile.TemporaryDirectory() as scratch:
        for name in sets:
            text += (f"### {name}\n\n| model | batch | defaults | steps an epoch | RMSE | beside the smallest batch | MAE | "
                     "epoch kept | seconds an epoch |\n|---|---|---|---|---|---|---|---|---|\n")
            for title in models:
                text += "".join(row + "\n" for row in rows_of(arguments, name, title, scratch))
            text += "\n"
    print(text, end="")
    if arguments.out:
        Path(arguments.out).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
