#!/usr/bin/env python3
"""Test errors of every model with its defaults on the data sets of MovieLens, beside what they are to reach.

usage: accuracy.py CURATE DATA [--sets NAME,...] [--models NAME,...] [--ensemble 8] [--seeds 5] [--threads N]
                   [--refit-cost] [--scales] [--check] [--json FILE] [-- OPTION...]
  CURATE: the program. DATA: the folder that has the sets' folders; a set that is not there is said and left out.
  OPTION: further options of curate train.
Needs Python 3.9 and nothing else.

ml-100k is trained and tested on its five parts u1..u5 with seed 1, ml-1m on 90/10 and ml-latest-small on 80/20 splits,
a seed each. RMSE is the mean over the parts or seeds and, after +-, the standard deviation over them; seconds are those
of one training, the median. No figure of a test part chooses anything. "mf x 8" is --ensemble 8 with --model mf.

--refit-cost trains each model a second time with --no-refit: what the refit gains, and how many times as long it takes.
--scales trains on u1 of ml-100k with every rating multiplied and shifted: the errors, divided by the factor, have to be
the same to 1e-3. --check makes the exit status 1 where a target or a scale fails.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from model_table import SETS, spread

# What the means have to be at most: set, model.
TARGETS = {
    ("ml-100k", "mf"): 0.907,
    ("ml-100k", "mlp"): 0.915,
    ("ml-100k", "neumf"): 0.912,
    ("ml-100k", "mf x 8"): 0.902,
    ("ml-1m", "mf"): 0.843,
    ("ml-1m", "mf x 8"): 0.838,
    ("ml-latest-small-2016", "mf"): 0.866,
    ("ml-latest-small-2016", "mf x 8"): 0.861,
}
REFIT_AT_MOST = 2.2
# Factor and shift of every rating.
SCALES = [(1, 0), (0.01, 0), (5, 0), (20, 0), (1000, 0), (1, -3), (1, 100)]
SCALES_AGREE_TO = 1e-3


class Failed(Exception):
    """A training that did not end well: its command and what it said."""


def train(arguments, scratch, data, options):
    """metrics.json of one training, or Failed."""
    command = [arguments.curate, "train", *data, "--device", arguments.device, "--threads", str(arguments.threads),
               "--out", str(Path(scratch) / "run"), "--overwrite", "--quiet", "--json", *options, *arguments.options]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)


def parts_of(arguments, name):
    """(label, what to train on) of every part or seed."""
    folder = Path(arguments.data) / name
    if name == "ml-100k":
        for part in range(1, 6):
            yield f"u{part}", [str(folder / f"u{part}.base"), "--test", str(folder / f"u{part}.test"), "--seed", "1"]
        return
    for seed in range(1, arguments.seeds + 1):
        yield f"seed {seed}", [str(folder), "--split", SETS[name]["split"], "--seed", str(seed)]


def row_of(arguments, name, title, scratch):
    """All trainings of a model on a set."""
    options = ["--model", title.split(" x ")[0]]
    if " x " in title:
        options += ["--ensemble", str(arguments.ensemble)]
    parts = []
    for label, data in parts_of(arguments, name):
        metrics = train(arguments, scratch, data, options)
        part = {"part": label, "rmse": metrics["test"]["rmse"], "seconds": metrics["seconds"], "metrics": metrics}
        if arguments.refit_cost:
            without = train(arguments, scratch, data, [*options, "--no-refit"])
            part["without_refit"] = {"rmse": without["test"]["rmse"], "seconds": without["seconds"]}
        parts.append(part)
        print(f"{name} {label}: {title}: RMSE {part['rmse']:.4f}", file=sys.stderr, flush=True)
    return {"set": name, "model": title, "parts": parts, "rmse": statistics.fmean(part["rmse"] for part in parts),
            "seconds": statistics.median(part["seconds"] for part in parts), "target": TARGETS.get((name, title))}


def refit_cells(row):
    """Difference of the errors, and the ratio of the seconds."""
    parts = row["parts"]
    gain = [part["rmse"] - part["without_refit"]["rmse"] for part in parts]
    ratio = statistics.median(part["seconds"] / part["without_refit"]["seconds"] for part in parts)
    row["refit_ratio"] = ratio
    return [spread(gain), f"{ratio:.2f}"]


def table_of(arguments, rows):
    heads = ["set", "model", "parts", "RMSE", "target", "seconds"]
    heads += ["with refit - without", "seconds with / without"] if arguments.refit_cost else []
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in rows:
        cells = [row["set"], row["model"], str(len(row["parts"])), spread([part["rmse"] for part in row["parts"]]),
                 "" if row["target"] is None else f"{row['target']:.3f}{'' if reached(row) else ', missed'}",
                 f"{row['seconds']:.2f}"]
        cells += refit_cells(row) if arguments.refit_cost else []
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def reached(row):
    return row["target"] is None or row["rmse"] <= row["target"]


def write_scaled(source, target, factor, shift):
    with open(source, encoding="latin-1") as rows, open(target, "w", encoding="utf-8") as scaled:
        for row in rows:
            user, item, rating = row.split("\t")[:3]
            scaled.write(f"{user}\t{item}\t{factor * float(rating) + shift!r}\n")


def scale_rows(arguments, models, scratch):
    """u1 of ml-100k in other units: the errors in stars."""
    folder = Path(arguments.data) / "ml-100k"
    parts = [Path(scratch) / "scaled.base", Path(scratch) / "scaled.test"]
    rows = []
    for factor, shift in SCALES:
        for source, target in zip(("u1.base", "u1.test"), parts):
            write_scaled(folder / source, target, factor, shift)
        for model in models:
            data = [str(parts[0]), "--test", str(parts[1]), "--seed", "1"]
            row = {"model": model, "factor": factor, "shift": shift, "rmse": None}
            try:
                row["rmse"] = train(arguments, scratch, data, ["--model", model])["test"]["rmse"] / factor
            except Failed as failed:
                print(failed, file=sys.stderr)
            rows.append(row)
            print(f"{name_of(row)}: {rmse_of(row)}", file=sys.stderr, flush=True)
    for row in rows:
        plain = next(one["rmse"] for one in rows if one["model"] == row["model"])
        row["same"] = None not in (plain, row["rmse"]) and abs(row["rmse"] - plain) <= SCALES_AGREE_TO
    return rows


def name_of(row):
    return f"u1 x {row['factor']:g} {row['shift']:+g}, {row['model']}"


def rmse_of(row):
    return "failed" if row["rmse"] is None else f"RMSE {row['rmse']:.4f}"


def scale_table(rows, models):
    lines = ["| u1 x factor + shift | " + " | ".join(models) + " |", "|---" * (len(models) + 1) + "|"]
    for factor, shift in SCALES:
        cells = [f"{rmse_of(row)}{'' if row['same'] else ', differs'}" for row in rows
                 if (row["factor"], row["shift"]) == (factor, shift)]
        lines.append(f"| x {factor:g} {shift:+g} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def titles_of(arguments):
    """Models, and mf's ensemble where the program has ensembles."""
    titles = arguments.models.split(",")
    if arguments.ensemble < 2:
        return titles
    has = subprocess.run([arguments.curate, "train", "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout
    if "--ensemble" not in has:
        print(f"{arguments.curate} has no --ensemble: no row of it", file=sys.stderr)
        return titles
    return titles + [f"mf x {arguments.ensemble}"]


def failures(rows, scaled):
    yield from (f"{row['set']}, {row['model']}: RMSE {row['rmse']:.4f}, target {row['target']}"
                for row in rows if not reached(row))
    yield from (f"{row['set']}, {row['model']}: {row['refit_ratio']:.2f} times as long with refit, not {REFIT_AT_MOST}"
                for row in rows if row.get("refit_ratio", 0.0) > REFIT_AT_MOST)
    yield from (f"{name_of(row)}: {rmse_of(row)}, not that of u1" for row in scaled if not row["same"])


def parse():
    parser = argparse.ArgumentParser(description="Test errors of every model with its defaults.")
    parser.add_argument("curate")
    parser.add_argument("data")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--models", default="mf,mlp,neumf")
    parser.add_argument("--ensemble", type=int, default=8, help="models of mf's ensemble; 0: no row of it")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--refit-cost", action="store_true")
    parser.add_argument("--scales", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--json", metavar="FILE")
    own, options = sys.argv[1:], []
    if "--" in own:
        cut = own.index("--")
        own, options = own[:cut], own[cut + 1:]
    arguments = parser.parse_args(own)
    arguments.options = options
    return arguments


def present_sets(arguments):
    for name in arguments.sets.split(","):
        if name not in SETS:
            sys.exit(f"--sets {name}: not one of {', '.join(SETS)}")
        if (Path(arguments.data) / name).is_dir():
            yield name
        else:
            print(f"{arguments.data}: no folder {name} in it; data/fetch.sh gets it: left out", file=sys.stderr)


def main():
    arguments = parse()
    sets = list(present_sets(arguments))
    if not sets:
        sys.exit(f"{arguments.data}: none of {arguments.sets} in it; data/fetch.sh gets them")
    rows, scaled = [], []
    with tempfile.TemporaryDirectory() as scratch:
        titles = titles_of(arguments)
        for name in sets:
            rows += [row_of(arguments, name, title, scratch) for title in titles]
        print(table_of(arguments, rows), end="")
        if arguments.scales and "ml-100k" in sets:
            models = arguments.models.split(",")
            scaled = scale_rows(arguments, models, scratch)
            print("\n" + scale_table(scaled, models), end="")
    if arguments.json:
        text = json.dumps({"options": arguments.options, "rows": rows, "scales": scaled}, indent=2)
        Path(arguments.json).write_text(text + "\n", encoding="utf-8")
    failed = list(failures(rows, scaled))
    if arguments.check and failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    try:
        main()
    except Failed as failed:
        sys.exit(str(failed))
