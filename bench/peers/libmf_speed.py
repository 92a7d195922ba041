#!/usr/bin/env python3
"""Per-rating SGD without biases, cuRate against LIBMF (Chin et al. 2015), on the CPU: seconds an epoch and test RMSE.

usage: libmf_speed.py CURATE DATA [--dim 32,64,128] [--epochs 10] [--rounds 3] [--threads N] [--reg 0.05]
  CURATE: the program, DATA: anything that curate data split takes. Needs numpy and libmf; the build that counts is
  that with AVX, which the binding loads where LIBMF_OBJ names it:

      pip install libmf==0.9.2 && pip download --no-binary :all: --no-deps libmf==0.9.2 && tar xf libmf-0.9.2.tar.gz
      g++ -O3 -march=native -DUSEAVX -std=c++11 -shared -fPIC -pthread libmf-0.9.2/src_cpp/*.cpp -o libmf_avx.so
      export LIBMF_OBJ=$PWD/libmf_avx.so

Both train on the same 90 % of the ratings with the same dimension, threads and number of epochs, in turns, so that a
noisy machine is noisy for both. LIBMF's seconds an epoch are the difference between that many epochs and one, over
their number less one: its set-up does not count, nor does cuRate's. Each has the learning rate that suits it (LIBMF its
default with its Adagrad, cuRate its own falling linearly). LIBMF learns deviations from a mean of its own.
"""
import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def curate_run(arguments, parts, dim, folder):
    """Median seconds an epoch, test RMSE."""
    run = Path(folder) / "run"
    output = subprocess.run(
        [arguments.curate, "train", parts / "ratings.train.csv", "--test", parts / "ratings.test.csv", "--no-biases",
         "--dim", str(dim), "--epochs", str(arguments.epochs), "--reg", str(arguments.reg), "--validation", "0",
         "--threads", str(arguments.threads), "--json", "--quiet", "--overwrite", "--out", run],
        check=True, capture_output=True, encoding="utf-8").stdout
    with open(run / "history.csv", newline="", encoding="utf-8") as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    return statistics.median(seconds), json.loads(output)["test"]["rmse"]


def column_by_column(table):
    """The binding's predict takes an array of rows that its C++ side reads column by column (fit does not)."""
    import numpy
    return numpy.ascontiguousarray(table.T).reshape(table.shape)


def libmf_run(arguments, train, test, dim):
    import numpy
    from libmf import mf

    def fit(epochs):
        # Enough bins for the threads, as LIBMF's own program chooses them.
        model = mf.MF(k=dim, nr_threads=arguments.threads, nr_bins=max(20, 2 * arguments.threads + 1),
                      nr_iters=epochs, lambda_p2=arguments.reg, lambda_q2=arguments.reg, lambda_p1=0.0, lambda_q1=0.0,
                      eta=0.1, quiet=True)
        start = time.perf_counter()
        model.fit(train)
        return model, time.perf_counter() - start

    _, one = fit(1)
    model, all_epochs = fit(arguments.epochs)
    errors = model.predict(column_by_column(test[:, :2])) - test[:, 2]
    return (all_epochs - one) / (arguments.epochs - 1), float(numpy.sqrt(numpy.mean(errors.astype(float) ** 2)))


def read_ratings(path, ids):
    """[ratings, 3] float32, ids numbered from 0: LIBMF makes a row for every number up to the largest."""
    import numpy
    table = numpy.loadtxt(path, delimiter=",", skiprows=1, usecols=(0, 1, 2), dtype=numpy.float64)
    result = numpy.empty(table.shape, dtype=numpy.float32)
    for side in (0, 1):
        for raw in numpy.unique(table[:, side]):
            ids[side].setdefault(raw, len(ids[side]))
        raw_ids = numpy.array(list(ids[side]))
        order = numpy.argsort(raw_ids)
        result[:, side] = order[numpy.searchsorted(raw_ids[order], table[:, side])]
    result[:, 2] = table[:, 2]
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curate")
    parser.add_argument("data")
    parser.add_argument("--dim", default="32,64,128")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--reg", type=float, default=0.05)
    arguments = parser.parse_args()
    arguments.curate = str(Path(arguments.curate).resolve())
    if arguments.epochs < 2:
        parser.error("--epochs: give 2 or more")
    with tempfile.TemporaryDirectory() as folder:
        parts = Path(folder) / "parts"
        subprocess.run([arguments.curate, "data", "split", arguments.data, "--split", "random:0.1", "--out", parts],
                       check=True, stdout=subprocess.DEVNULL)
        ids = ({}, {})
        print("reading the parts", file=sys.stderr)
        train, test = (read_ratings(parts / f"ratings.{part}.csv", ids) for part in ("train", "test"))
        print(f"{len(train):,} ratings to train on, {arguments.threads} threads, {arguments.epochs} epochs, medians of "
              f"{arguments.rounds} rounds\n")
        print(f"{'dim':>4}  {'curate s/epoch':>14}  {'LIBMF s/epoch':>13}  {'ratio':>6}  {'curate RMSE':>11}  "
              f"{'LIBMF RMSE':>10}")
        for dim in map(int, arguments.dim.split(",")):
            rounds = [(curate_run(arguments, parts, dim, folder), libmf_run(arguments, train, test, dim))
                      for _ in range(arguments.rounds)]
            ours, theirs = (statistics.median(r[side][0] for r in rounds) for side in (0, 1))
            our_rmse, their_rmse = (statistics.median(r[side][1] for r in rounds) for side in (0, 1))
            print(f"{dim:>4}  {ours:>14.3f}  {theirs:>13.3f}  {theirs / ours:>6.1f}  {our_rmse:>11.4f}  "
                  f"{their_rmse:>10.4f}", flush=True)


if __name__ == "__main__":
    main()
