#!/usr/bin/env python3
"""Errors and speed by batch, with the defaults for large batches beside those there were before, as tables.

usage: large_batches.py CURATE DATA_ROOT [--sets NAME,...] [--models "NAME;..."] [--seed 1] [--threads N] [--quick]
                        [--out FILE]
  CURATE: the program. DATA_ROOT: the folder that has the sets' folders. --quick: ml-100k alone, five epochs.
Needs Python 3.9 and nothing else.

Every model is trained with its default epochs at every batch, ml-100k on u1, ml-latest-small-2016 on an 80/20 and ml-1m
on a 90/10 split. "before" is what was the default before: SGD's rate beyond batch 4096 that of 4096, no damping, and Adam
as in small batches. RMSE and MAE are those of the test part.
"""
import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from model_table import SETS

ADAM = ["--lr", "0.005", "--beta1", "0.9", "--beta2", "0.999"]
# Their options, the batches beyond which defaults have changed, and the options that make them what they were, from the
# batch.
MODELS = {
    "mf, sgd": (["--optimizer", "sgd"], 1024, lambda batch: plain_sgd(0.02, batch)),
    "mf, adam": (["--optimizer", "adam"], 4096, lambda batch: ADAM),
    "mf + features": (["--features"], 1024, lambda batch: plain_sgd(0.012, batch)),
    "mlp, adam": (["--model", "mlp", "--optimizer", "adam"], 4096, lambda batch: ADAM),
    "mlp": (["--model", "mlp"], 1024, lambda batch: plain_sgd(0.01, batch)),
    "neumf": (["--model", "neumf"], 1024, lambda batch: plain_sgd(0.01, batch)),
}
BATCHES = {
    "ml-100k": [4096, 16384],
    "ml-latest-small-2016": [4096, 16384],
    "ml-1m": [4096, 16384, 65536, 262144],
}


def plain_sgd(rate, batch):
    return ["--lr", str(rate * min(batch, 4096)), "--damping", "0"]


def train(arguments, name, scratch, options):
    """metrics.json, or nothing where training diverged."""
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
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout)
    if "training diverged" in done.stderr:
        return None
    sys.exit(f"{' '.join(command)}\n{done.stderr}")


def rows_of(arguments, name, title, scratch):
    options, last_small, before = MODELS[title]
    first = None
    for batch in [512 if "mlp" in options or "neumf" in options else 1024, *BATCHES[name]]:
        rules = [("both", [])] if batch <= last_small else [("now", []), ("before", before(batch))]
        for rule, more in rules:
            metrics = train(arguments, name, scratch, [*options, "--batch", str(batch), *more])
            cells = ["diverged", "", "", "", ""]
            steps = ""
            if metrics is not None:
                rmse = metrics["test"]["rmse"]
                first = rmse if first is None else first
                cells = [f"{rmse:.4f}", f"{rmse - first:+.4f}", f"{metrics['test']['mae']:.4f}",
                         f"{metrics['best_epoch']} of {metrics['epochs']}", f"{metrics['seconds'] / metrics['epochs']:.3f}"]
                steps = f"{math.ceil(metrics['train']['ratings'] / batch):,}"
            print(f"{name} {title}, batch {batch}, {rule}: RMSE {cells[0]}", file=sys.stderr, flush=True)
            yield "| " + " | ".join([title, f"{batch:,}", rule, steps, *cells]) + " |"


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
