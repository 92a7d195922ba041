#!/usr/bin/env python3
"""Whether two builds of cuRate compute the same bits: both train, evaluate and predict, and all results are compared.

usage: same_bits.sh OLD NEW [--quick] [--only SUBSTRING] [--jobs N] [--json FILE] [--keep DIR]
  OLD, NEW: build folders, with bin/curate and, in both or in neither, bin/curate-emulated; or git revisions, which are
  built once, in build/same_bits/COMMIT, by preset ci
  --quick           8 configurations on the CPU with 2 threads and on the emulated GPU
  --only SUBSTRING  the cases with that in their name, like "mlp" or "adam, cpu 3 threads"
  --jobs N          configurations at a time (1)
  --json FILE       every case with its differences
  --keep DIR        a new or empty folder for the runs of cases that are not the same
Exit status: 0 all the same, 1 something differs or failed, 2 bad usage. Needs Python 3.9 and nothing else.

A case is a configuration in a variant: on the CPU with 1, 2 and 3 threads, and on the emulated GPU with and without
--deterministic. OLD and NEW run the same commands on the same ratings, which OLD makes up. Not compared: seconds,
ratings per second, and keys of config.toml that NEW alone has. If host/cli/GUIDE.md promises the same model for any
number of threads (all but per-rating SGD without --deterministic), each side's models of 1, 2 and 3 threads are
compared, too.
A case that both refuse with the same message is the same; the table counts it apart, too.
"""

import argparse
import collections
import concurrent.futures
import csv
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

from same_bits_compare import compare_folders

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAMS = ("curate", "curate-emulated")
LIMIT_SECONDS = 300  # of one command
FEATURES = "--features genres,made/items.csv:mood:multi,made/items.csv:country:category,made/users.csv:age:number"

# Name, options of `curate train`, and whether --quick has it. --epochs is 3, on the emulated GPU 2, unless it is there.
CONFIGURATIONS = [
    ("mf per-rating sgd", "", True),
    ("mf per-rating sgd, no biases, no mean", "--no-biases --no-global-mean --dim 20", False),
    ("mf per-rating sgd, non-negative, uniform", "--non-negative --init uniform --init-scale 0.3 --dim 7", False),
    ("mf per-rating sgd, rate decay, constant", "--rate-decay 0.015 --lr 0.1 --schedule constant", False),
    ("mf per-rating sgd, deterministic", "--deterministic --dim 33", True),
    ("mf per-rating sgd, early stopping", "--patience 2 --epochs 30 --lr 0.1 --reg 0.001 --dim 16", False),
    ("mf per-rating sgd, no validation, no clip", "--validation 0 --no-clip --split time:0.2 --dim 16", False),
    ("mf per-rating sgd, folds", "--folds 3 --deterministic --dim 16", False),
    ("mf per-rating sgd, no test part", "--split none --seed 7 --dim 16", False),
    ("mf mini-batch sgd", "--optimizer sgd --batch 256 --reg 0.02", False),
    ("mf mini-batch sgd, damping, short last batch", "--optimizer sgd --batch 1000 --damping 0.1", True),
    ("mf mini-batch sgd, batch above the data", "--optimizer sgd --batch 8192", False),
    ("mf mini-batch sgd, mae, folds, early stopping", "--optimizer sgd --batch 256 --loss mae --lr 20 --reg 0.001 "
     "--schedule constant --folds 3 --patience 1 --epochs 6 --dim 16", False),
    ("mf adagrad", "--optimizer adagrad --batch 500", False),
    ("mf adagrad, mae, non-negative", "--optimizer adagrad --loss mae --non-negative --epsilon 1e-6", False),
    ("mf adam", "--optimizer adam", True),
    ("mf adam, batch above 4096", "--optimizer adam --batch 5000 --schedule constant", False),
    ("mf adam, warm-up, weight decay", "--optimizer adam --batch 300 --warmup 0.5 --weight-decay 0.01", False),
    ("mf adam, dense updates, betas", "--optimizer adam --dense-updates --beta1 0.8 --beta2 0.99", False),
    ("mf adam, mae, early stopping", "--optimizer adam --loss mae --lr 0.05 --patience 1 --epochs 12", False),
    ("mf adam, no validation, no clip", "--optimizer adam --validation 0 --no-clip --no-biases", False),
    ("mf sgd+adam, features", FEATURES, True),
    ("mf adam, features, mae", f"{FEATURES} --optimizer adam --loss mae --feature-reg 0.1", False),
    ("mf preset notebook-mf", "--preset notebook-mf --epochs 2", False),
    ("mlp sgd+adam", "--model mlp", True),
    ("mlp sgd, constant", "--model mlp --optimizer sgd --lr 0.5 --schedule constant --dropout 0", False),
    ("mlp adagrad, dropout of either side", "--model mlp --optimizer adagrad --dropout 0.1,0.5 --user-dim 8 "
     "--item-dim 12", False),
    ("mlp adam, dense dropout, no clip", "--model mlp --optimizer adam --dense-dropout 0.2 --no-clip", False),
    ("mlp adam, no hidden layer, no validation", "--model mlp --optimizer adam --layers none --validation 0 --dim 8",
     False),
    ("mlp sgd+adam, activations, damping", "--model mlp --layers 24,16,8 --activations tanh,sigmoid,linear --output "
     "sigmoid --batch 1000 --damping 0.1", False),
    ("mlp sgd+adam, decay, warm-up, mae", "--model mlp --dense-reg 0.01 --weight-decay 0.01 --warmup 0.5 --loss mae",
     False),
    ("mlp adam, folds, early stopping", "--model mlp --optimizer adam --lr 0.03 --reg 0.001 --folds 2 --patience 1 "
     "--epochs 5 --layers 12 --dim 8 --dropout 0 --init uniform", False),
    ("mlp features, feature dropout", f"--model mlp {FEATURES} --feature-dim 6 --feature-dropout 0.3", False),
    ("mlp preset notebook-mlp", "--preset notebook-mlp --epochs 1", False),
    ("neumf sgd+adam", "--model neumf --factors 12 --dim 8", True),
    ("neumf adam, features, dense rows", f"--model neumf --optimizer adam --dense-updates --dim 8 {FEATURES}", False),
    # The CPU engine refuses these: with which message is compared, too.
    ("mf per-rating sgd, bf16", "--precision bf16 --dim 20", True),
    ("mf adam, f16", "--precision f16 --optimizer adam", False),
    ("mlp bf16, products bf16", "--model mlp --precision bf16 --products bf16 --layers 64,64 --epochs 1", False),
    ("mlp products tf32", "--model mlp --products tf32 --epochs 1", False),
]
CPU_THREADS = (1, 2, 3)
# Program, options of every command, options of the training.
VARIANTS = {f"cpu {n} thread{'s' * (n > 1)}": ("curate", ["--device", "cpu", "--threads", str(n)], [])
            for n in CPU_THREADS}
VARIANTS["emulated"] = ("curate-emulated", ["--device", "cuda-emulated"], [])
VARIANTS["emulated deterministic"] = ("curate-emulated", ["--device", "cuda-emulated"], ["--deterministic"])
QUICK_VARIANTS = ("cpu 2 threads", "emulated")
PROMISE = "any number of threads"
DATA = "made-up data"

Side = collections.namedtuple("Side", "name bin environment")


class UsageError(Exception):
    """What was asked for cannot be done; the text says what to do."""


# Running both programs.

class Failure(Exception):
    """A program crashed, hung, or refused what follows a training."""


def call(side, program, folder, name, arguments):
    """Runs it in `folder`, where what it says goes to NAME.stdout and NAME.stderr. Returns the exit status."""
    with open(folder / f"{name}.stdout", "wb") as out, open(folder / f"{name}.stderr", "wb") as err:
        try:
            code = subprocess.run([str(side.bin / program), *arguments], cwd=folder, env=side.environment, stdout=out,
                                  stderr=err, stdin=subprocess.DEVNULL, timeout=LIMIT_SECONDS, check=False).returncode
        except subprocess.TimeoutExpired:
            raise Failure(f"{name} takes more than {LIMIT_SECONDS} s") from None
        except OSError as error:
            raise Failure(f"{name} does not start: {error}") from None
    if code < 0 or code > 2:
        raise Failure(f"{name} ends by signal {-code}" if code < 0 else f"{name} ends with status {code}")
    return code


def train_and_use(side, variant, options, made, folder):
    """Trains, evaluates and predicts in `folder` with the data in `made`. Returns the exit status of the training."""
    program, device, more = VARIANTS[variant]
    folder.mkdir(parents=True)
    given = options.replace("made/", f"{made}/").split()
    given += [option for option in more if option not in given]
    if "--epochs" not in given:
        given += ["--epochs", "3" if program == "curate" else "2"]  # the emulated GPU is slow
    given += ["--out", "run", "--quiet", "--json", *device]
    code = call(side, program, folder, "train", ["train", str(made), *given])
    for model in sorted((folder / "run").rglob("model.safetensors")) if code == 0 else []:
        for name, arguments in (("evaluate", ["--json"]), ("predict", ["--pairs", str(made / "pairs.csv")])):
            refused = call(side, program, model.parent, name, [name, ".", *arguments, *device]) != 0
            if refused and not (name == "evaluate" and "--split none" in options):
                raise Failure(f"{name}: {(model.parent / f'{name}.stderr').read_text(errors='replace').strip()}")
    return code


def run_case(sides, variant, options, made, folder, new_first):
    """A case's status, differences, and whether either failed."""
    codes, failures = {}, {}
    for side in reversed(sides) if new_first else sides:
        try:
            codes[side.name] = train_and_use(side, variant, options, made, folder / side.name)
        except Failure as failure:
            failures[side.name] = str(failure)
    result = {"failed": sorted(failures), "found": [f"{name} failed: {failures[name]}" for name in sorted(failures)]}
    if failures:
        return {**result, "status": "failed"}
    if codes["OLD"] != codes["NEW"]:
        for side in sides:
            if codes[side.name]:
                said = (folder / side.name / "train.stderr").read_text(errors="replace").strip()
                result["found"].append(f"{side.name} failed: train ends with status {codes[side.name]}: {said}")
                result["failed"].append(side.name)
        result["status"] = "failed" if result["failed"] else "different"
        return result
    result["found"] = compare_folders(folder / "OLD", folder / "NEW")
    result["status"] = "different" if result["found"] else "refused" if codes["OLD"] else "same"
    return result


def run_configuration(sides, name, options, variants, work, keep, number):
    """Results of all its variants, and of the promise that the number of threads does not matter."""
    results, folder = [], work / f"{number:02}"
    for at, variant in enumerate(variants):
        begin = time.monotonic()
        result = run_case(sides, variant, options, work / "made", folder / variant, (number + at) % 2 == 1)
        results.append({"configuration": name, "variant": variant, **result,
                        "seconds": round(time.monotonic() - begin, 3)})
    per_rating = name.startswith("mf per-rating") and "--deterministic" not in options
    on_cpu = [result["variant"] for result in results
              if result["variant"].startswith("cpu") and result["status"] in ("same", "different")]
    if len(on_cpu) > 1 and not per_rating:
        found = [f"{side.name}, {on_cpu[0]} and {other}: {line}" for side in sides for other in on_cpu[1:]
                 for line in compare_folders(*(folder / variant / side.name for variant in (on_cpu[0], other)),
                                             only="model.safetensors")]
        results.append({"configuration": name, "variant": PROMISE, "failed": [], "found": found,
                        "status": "different" if found else "same", "seconds": 0.0})
    for result in results:
        if keep and result["found"]:
            for variant in on_cpu if result["variant"] == PROMISE else [result["variant"]]:
                to = keep / re.sub(r"[^a-z0-9+.]+", "-", name) / re.sub(" ", "-", variant)
                if not to.exists():
                    shutil.copytree(folder / variant, to)
    shutil.rmtree(folder, ignore_errors=True)
    return results


# What is run.

def build_revision(revision):
    """The build folder of a git revision of this repository, made unless it is there."""
    named = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--verify", "--quiet", revision + "^{commit}"],
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    if named.returncode != 0:
        raise UsageError(f"{revision}: neither a folder nor a revision of {ROOT}; give a build folder, like build/ci, "
                         "or a commit")
    commit = named.stdout.strip()
    source = ROOT / "build/same_bits" / commit
    done = source / "built"  # the last thing written
    if not done.exists():
        print(f"same_bits.sh: builds {revision} in {source}", file=sys.stderr, flush=True)
        source.mkdir(parents=True, exist_ok=True)
        archive = subprocess.run(["git", "-C", str(ROOT), "archive", commit], stdout=subprocess.PIPE, check=True)
        subprocess.run(["tar", "-C", str(source), "-xf", "-"], input=archive.stdout, check=True)
        build = [str(source / "cmake/build.sh"), "ci", *PROGRAMS]
        if subprocess.run(build, stdout=sys.stderr, check=False).returncode != 0:
            raise UsageError(f"{revision} does not build; see above")
        done.touch()
    return source / "build/ci"


def side_of(name, given):
    folder = pathlib.Path(given)
    if not folder.is_dir():
        folder = build_revision(given)
    folder = folder.resolve()
    if not (folder / "bin/curate").is_file():
        raise UsageError(f"{name} {given}: no bin/curate in it; build it: cmake/build.sh ci {' '.join(PROGRAMS)}")
    # CURATE_TIME_PRODUCTS changes bits from run to run.
    return Side(name, folder / "bin", {key: text for key, text in os.environ.items() if not key.startswith("CURATE_")})


def make_data(sides, work):
    """Ratings and tables beside them, and the difference between what OLD and NEW make up."""
    result = {"configuration": DATA, "variant": "generate", "failed": [], "found": [], "status": "same", "seconds": 0.0}
    for side in sides:
        try:
            (work / "data" / side.name).mkdir(parents=True)
            code = call(side, "curate", work / "data" / side.name, "generate",
                        "data generate --out made --users 300 --items 200 --ratings 6000 --seed 5".split())
        except Failure as failure:
            code = failure
        if code != 0:
            if side.name == "OLD":
                raise UsageError(f"OLD makes up no data: {code}")
            result.update(failed=["NEW"], found=[f"NEW failed: data generate: {code}"], status="failed")
            break
    else:
        result["found"] = compare_folders(work / "data/OLD", work / "data/NEW")
        result["status"] = "different" if result["found"] else "same"
    made = work / "made"
    shutil.copytree(work / "data/OLD/made", made)
    with open(made / "movies.csv", encoding="utf-8") as file:
        items = [int(row["movieId"]) for row in csv.DictReader(file)]
    moods = ("slow", "loud", "warm", "dark", "odd")
    with open(made / "items.csv", "w", encoding="utf-8") as file:
        print("movieId,mood,country", file=file)
        for item in items:
            own = "|".join(mood for bit, mood in enumerate(moods, 7) if item * 2654435761 >> bit & 1)
            if item % 13 != 0:  # of some nothing is known
                print(f"{item},{own},{'' if item % 11 == 0 else 'ABCDE'[item % 5]}", file=file)
    ages = [f"{user},{'' if user % 17 == 0 else 12 + user * 37 % 61}" for user in range(1, 301)]
    (made / "users.csv").write_text("\n".join(["userId,age", *ages, ""]))
    # Known pairs, an unknown user, an unknown item, both.
    pairs = [(user, items[user * 7 % len(items)]) for user in (1, 2, 50, 151, 299, 300)]
    pairs += [(999999, items[3]), (4, 999999), (999999, 999998)]
    (made / "pairs.csv").write_text("".join(f"{user},{item}\n" for user, item in pairs))
    return result


def instructions(side):
    done = subprocess.run([str(side.bin / "curate"), "doctor", "--json"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, check=False)
    try:
        return json.loads(done.stdout)["vector_instructions"]
    except (ValueError, KeyError):
        return "unknown vector instructions"


def select(arguments, sides):
    """[(name, options, variants)] of what is to be run."""
    there = [(side.bin / PROGRAMS[1]).is_file() for side in sides]
    if there[0] != there[1]:
        raise UsageError(f"{sides[there[0]].name} has no bin/curate-emulated and the other has one; "
                         "build it (cmake/build.sh ci curate-emulated), or take it away from both")
    if not there[0]:
        print("no bin/curate-emulated on either side: nothing is run on the emulated GPU")
    chosen = []
    for name, options, quick in CONFIGURATIONS:
        if arguments.quick and not quick:
            continue
        variants = [variant for variant, (program, _, more) in VARIANTS.items()
                    if (not arguments.quick or variant in QUICK_VARIANTS) and (program == "curate" or there[0])
                    and not (more and more[0] in options) and arguments.only in f"{name}, {variant}"]
        if variants:
            chosen.append((name, options, variants))
    if not chosen:
        raise UsageError(f"--only {arguments.only}: in no case's name; names are like \"mf adam, cpu 2 threads\"")
    return chosen


def run_all(arguments, sides, work):
    """All results, with a line of progress for each configuration and differences as they are found."""
    def tell(results):
        for result in results:
            for line in result["found"]:
                print(f"{result['configuration']}, {result['variant']}: {line}", flush=True)

    chosen = select(arguments, sides)
    results = [make_data(sides, work)]
    tell(results)
    in_place = sys.stderr.isatty()
    clear = "\r\033[K" if in_place else ""
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        running = {pool.submit(run_configuration, sides, *what, work, arguments.keep, number): what[0]
                   for number, what in enumerate(chosen, 1)}
        try:
            for number, future in enumerate(concurrent.futures.as_completed(running), 1):
                own = future.result()
                said = {result["status"] for result in own}
                worst = "failed" if "failed" in said else "different" if "different" in said else "same"
                seconds = sum(result["seconds"] for result in own)
                print(f"{clear}[{number}/{len(chosen)}] {running[future]}: {worst}, {seconds:.1f} s",
                      end="" if in_place else "\n", file=sys.stderr, flush=True)
                if in_place and worst != "same":
                    print(file=sys.stderr)
                tell(own)
                results += own
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if in_place:
        print(file=sys.stderr)
    return results


def print_table(results):
    heads = ["", "configurations", "same", "refused by both", "different", "OLD failed", "NEW failed"]
    rows = [heads]
    for variant in dict.fromkeys(result["variant"] for result in results):
        own = [result for result in results if result["variant"] == variant]
        count = [sum(r["status"] == word for r in own) for word in ("same", "refused", "different")]
        rows.append([DATA if variant == "generate" else variant, len(own), count[0] + count[1], *count[1:],
                     *(sum(side in r["failed"] for r in own) for side in ("OLD", "NEW"))])
    rows.append(["all", *(sum(row[at] for row in rows[1:]) for at in range(1, len(heads)))])
    widths = [max(len(str(row[at])) for row in rows) for at in range(len(heads))]
    for row in rows:
        print("  ".join(str(cell).ljust(width) if at == 0 else str(cell).rjust(width)
                        for at, (cell, width) in enumerate(zip(row, widths))))


class Parser(argparse.ArgumentParser):
    def format_help(self):
        return __doc__

    def error(self, message):
        self.exit(2, f"same_bits.sh: {message}; see same_bits.sh --help\n")


def main():
    parser = Parser(prog="same_bits.sh")
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--keep", type=pathlib.Path)
    arguments = parser.parse_args()
    begin = time.monotonic()
    try:
        if arguments.jobs < 1:
            raise UsageError(f"--jobs {arguments.jobs}: must be 1 or more")
        keep = arguments.keep
        if keep and keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
            raise UsageError(f"--keep {keep}: exists and is not an empty folder; give another")
        if arguments.json and not arguments.json.resolve().parent.is_dir():
            raise UsageError(f"--json {arguments.json}: its folder does not exist; make it first")
        sides = [side_of("OLD", arguments.old), side_of("NEW", arguments.new)]
        print(f"CPU: {instructions(sides[0])}, which programs choose by themselves", flush=True)
        with tempfile.TemporaryDirectory(prefix="same_bits") as work:
            results = run_all(arguments, sides, pathlib.Path(work))
    except UsageError as error:
        parser.exit(2, f"same_bits.sh: {error}\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    print_table(results)
    for name in dict.fromkeys(result["configuration"] for result in results):
        if all(result["status"] == "refused" for result in results if result["configuration"] == name):
            print(f"{name}: both refuse it wherever they were asked, so no bits are compared")
    same = all(result["status"] in ("same", "refused") for result in results)
    print(f"{'all the same' if same else 'NOT the same'}, {time.monotonic() - begin:.0f} s")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
