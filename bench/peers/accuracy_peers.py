#!/usr/bin/env python3
"""Test errors of cuRate and of its peers, each with its defaults, on ratings unlike those that defaults are chosen on.

usage: accuracy_peers.py CURATE ML_1M [--venv VENV] [--sets NAME,...] [--systems NAME,...] [--seeds 3]
                         [--threads 1] [--check] [--json FILE] [-- OPTION...]
  CURATE: the program. ML_1M: the folder of MovieLens 1M, of which stand_ins.py makes the sets. VENV: a virtual
  environment with the peers (default: the Python that runs this). OPTION: further options of curate train.
Needs Python 3.9 and nothing else; the peers are
  pip install "numpy<2" scikit-surprise==1.1.5 libmf==0.9.2 cmfrec==3.5.1.post14 pandas threadpoolctl

Each system trains on the same files, a split into 90/10 per seed, and is tested on the same ratings:
- cuRate: curate train with its defaults: --model bias, mf, mlp and neumf.
- Surprise: SVD, BaselineOnly and KNNBaseline; SVD++ where a set has at most 50,000 ratings, as it is slow.
- cmfrec: CMF, the explicit one. LIBMF: the defaults of its program mf-train.

Predictions of all peers are clipped to the range of the training ratings, those of cuRate to its rating scale. A pair
whose user or item has no training rating counts as what the peer itself predicts: Surprise and cmfrec add the known
bias to the mean, LIBMF predicts the mean. What a peer has no prediction of counts as the mean; a line below says how
often.

Each training is a process of its own: a peer that is not installed or fails is said and left out. The table has the
mean RMSE over the seeds. "mf - bias" and "mf - best peer" are means of differences, with the number of seeds in which
mf is worse; they are bold where mf is the worse one in the mean. A difference of a hundred-thousandth of the RMSE is
none. The best peer of a set is the one with the lowest mean.
--check makes the exit status 1 where mf is worse than bias or than the best peer, or where one of them is missing.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import stand_ins

WORKER = Path(__file__).resolve().parent / "accuracy_peers_worker.py"
MODELS = ["bias", "mf", "mlp", "neumf"]
PEERS = {"svd": "Surprise SVD", "svdpp": "Surprise SVD++", "baseline": "Surprise BaselineOnly",
         "knn": "Surprise KNNBaseline", "cmfrec": "cmfrec CMF", "libmf": "LIBMF"}
SVDPP_AT_MOST = 50_000  # ratings
SECONDS_AT_MOST = 900  # of one training
SAME_TO = 1e-5  # of the RMSE: mf that is left at the bias model predicts in float32 what that has in double


class Failed(Exception):
    """A training that did not end well, and what it said last."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(command, environment=None):
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", env=environment,
                              timeout=SECONDS_AT_MOST, check=False)
    except subprocess.TimeoutExpired:
        raise Failed(f"not done after {SECONDS_AT_MOST} s") from None
    if done.returncode < 0:
        raise Failed(f"killed by signal {-done.returncode}")
    if done.returncode:
        raise Failed(([line.strip() for line in done.stderr.splitlines() if line.strip()] or ["no message"])[-1])
    return json.loads(done.stdout)


def train_curate(arguments, model, train, test, seed, scratch):
    metrics = run([arguments.curate, "train", str(train), "--test", str(test), "--model", model, "--seed", str(seed),
                   "--threads", str(arguments.threads), "--device", "cpu", "--out", str(scratch / "run"), "--overwrite",
                   "--no-cache", "--quiet", "--json", *arguments.options])
    return {"rmse": metrics["test"]["rmse"], "cold": metrics["test"]["cold_ratings"] / metrics["test"]["ratings"],
            "cold_rmse": metrics["test"]["cold_rmse"], "warm_rmse": metrics["test"]["warm_rmse"]}


def train_peer(arguments, peer, train, test, seed):
    python = sys.executable if arguments.venv is None else str(arguments.venv / "bin" / "python")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    result = run([python, str(WORKER), peer, str(train), str(test), str(seed)], environment)
    if "absent" in result:
        raise Failed(result["absent"])
    return result


def measure_set(arguments, name, rows, scratch, left_out):
    """{system: a result for each seed}; what fails once is left out of the set."""
    results = {system: [] for system in arguments.systems}
    if len(rows) > SVDPP_AT_MOST:
        results.pop("svdpp", None)
    for seed in range(1, arguments.seeds + 1):
        train, test = stand_ins.write_parts(name, rows, scratch, seed)
        for system in list(results):
            try:
                results[system].append(train_curate(arguments, system, train, test, seed, scratch) if system in MODELS
                                       else train_peer(arguments, system, train, test, seed))
                say(f"{name}, seed {seed}: {system}: RMSE {results[system][-1]['rmse']:.4f}")
            except Failed as failed:
                left_out.append(f"{name}, seed {seed}: {PEERS.get(system, system)} is left out: {failed}")
                say(left_out[-1])
                del results[system]
    return {"set": name, "ratings": len(rows), "users": len({row[0] for row in rows}),
            "items": len({row[1] for row in rows}), "results": results}


def mean_rmse(row, system):
    return statistics.fmean(result["rmse"] for result in row["results"][system])


def best_peer(row):
    return min((peer for peer in PEERS if peer in row["results"]), key=lambda peer: mean_rmse(row, peer), default=None)


def differences(row, system, other):
    """RMSE of a system less that of another, of every seed; None where one of them is missing."""
    if system not in row["results"] or other not in row["results"]:
        return None
    return [mine["rmse"] - its["rmse"] for mine, its in zip(row["results"][system], row["results"][other])]


def none_below(row, other):
    """The largest difference that is none."""
    return SAME_TO * mean_rmse(row, other)


def is_worse(row, system, other):
    found = differences(row, system, other)
    return found is not None and statistics.fmean(found) > none_below(row, other)


def difference_cell(row, system, other):
    found = differences(row, system, other)
    if found is None:
        return ""
    text = f"{statistics.fmean(found):+.4f} ({sum(one > none_below(row, other) for one in found)} of {len(found)})"
    return f"**{text}**" if is_worse(row, system, other) else text


def table_of(arguments, rows):
    heads = ["set", "ratings", "cold", *(PEERS.get(system, system) for system in arguments.systems),
             "mf - bias", "mf - best peer"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in rows:
        shares = [result["cold"] for model in MODELS for result in row["results"].get(model, [])]
        peer = best_peer(row)
        cells = [row["set"], f"{row['ratings']:,}", f"{statistics.fmean(shares):.0%}" if shares else ""]
        cells += [f"{mean_rmse(row, system):.4f}" if system in row["results"] else "" for system in arguments.systems]
        cells += [difference_cell(row, "mf", "bias"),
                  difference_cell(row, "mf", peer) + (f" {PEERS[peer]}" if peer else "")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def notes_of(rows, left_out):
    versions = {result["version"] for row in rows for peer, results in row["results"].items() if peer in PEERS
                for result in results}
    yield "Sets: " + "; ".join(f"{row['set']}: {stand_ins.TITLES[row['set']]} ({row['users']:,} users, "
                               f"{row['items']:,} items)" for row in rows) + "."
    yield "cold: the part of the test ratings whose user or item has no training rating."
    if versions:
        yield "Versions: " + ", ".join(sorted(versions)) + "."
    unpredicted = [f"{row['set']}: {PEERS[peer]} {sum(result['unpredicted'] for result in results)}" for row in rows
                   for peer, results in row["results"].items()
                   if peer in PEERS and any(result["unpredicted"] for result in results)]
    if unpredicted:
        yield "Test ratings that a peer has no prediction of, of all seeds: " + ", ".join(unpredicted) + "."
    yield from left_out


def failures(rows):
    """What --check finds: mf is worse, or there is nothing to compare."""
    for row in rows:
        for other in ("bias", best_peer(row)):
            if differences(row, "mf", other) is None:
                yield f"{row['set']}: mf cannot be compared with {'any peer' if other is None else other}"
            elif is_worse(row, "mf", other):
                yield (f"{row['set']}: mf {mean_rmse(row, 'mf'):.4f}, "
                       f"{PEERS.get(other, other)} {mean_rmse(row, other):.4f}")


def names(text, known, option):
    for name in text.split(","):
        if name not in known:
            sys.exit(f"{option} {name}: not one of {', '.join(known)}")
    return text.split(",")


def parse():
    parser = argparse.ArgumentParser(description="Test errors of cuRate and its peers with their defaults.")
    parser.add_argument("curate")
    parser.add_argument("ml_1m")
    parser.add_argument("--venv", type=Path)
    parser.add_argument("--sets", default=",".join(stand_ins.MAKERS))
    parser.add_argument("--systems", default=",".join([*MODELS, *PEERS]))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of cuRate; peers have one")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--json", metavar="FILE")
    own, options = sys.argv[1:], []
    if "--" in own:
        cut = own.index("--")
        own, options = own[:cut], own[cut + 1:]
    arguments = parser.parse_args(own)
    arguments.options = options
    arguments.sets = names(arguments.sets, stand_ins.MAKERS, "--sets")
    arguments.systems = names(arguments.systems, [*MODELS, *PEERS], "--systems")
    if arguments.seeds < 1:
        sys.exit(f"--seeds {arguments.seeds}: at least 1")
    if not (Path(arguments.ml_1m) / "ratings.dat").is_file():
        sys.exit(f"{arguments.ml_1m}: no ratings.dat in it; data/fetch.sh gets MovieLens 1M")
    return arguments


def main():
    arguments = parse()
    by_user = stand_ins.read_ratings(arguments.ml_1m)
    rows, left_out = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.sets:
            rows.append(measure_set(arguments, name, stand_ins.make(name, by_user), Path(scratch), left_out))
            if arguments.json:  # after every set: what is measured stays, whatever happens to the rest
                text = json.dumps({"options": arguments.options, "rows": rows, "left_out": left_out}, indent=2)
                Path(arguments.json).write_text(text + "\n", encoding="utf-8")
    print(table_of(arguments, rows))
    print("\n".join(notes_of(rows, left_out)))
    failed = list(failures(rows))
    if arguments.check and failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
