#!/usr/bin/env python3
"""Samples per second of the notebook's network, cuRate against PyTorch, on the CPU.

usage: mlp_speed.py CURATE DATA [--batch 32,4096,65536] [--rounds 3] [--threads N] [--seconds 5] [--no-torch]
  CURATE: the program, DATA: anything that curate train takes. Needs PyTorch unless --no-torch is given.

Both train embeddings of 5 and 8, dropout 0.2, dense layers of 100, 50, 20 and 1, mean absolute error, Adam on every row
at every step (the notebook's recipe); cuRate also with the optimizer on the batch's rows alone (lazy). The two take
turns, so that a noisy machine is noisy for both; the table shows medians over the rounds, and the ratio to PyTorch's.
cuRate's figure covers whole epochs, their shuffling included; PyTorch's covers steps alone, on batches that are ready.
"""
import argparse
import csv
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RECIPE = ["--model", "mlp", "--optimizer", "adam", "--loss", "mae", "--user-dim", "5", "--item-dim", "8", "--layers",
          "100,50,20", "--activations", "linear,linear,relu", "--output", "relu", "--dropout", "0.2", "--reg", "0",
          "--lr", "0.001", "--schedule", "constant", "--split", "none", "--validation", "0"]


def curate_rate(arguments, batch, lazy):
    """Ratings per second of the best-warmed half of a run's epochs."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [arguments.curate, "train", arguments.data, *RECIPE, "--batch", str(batch), "--epochs", "4",
                   "--threads", str(arguments.threads), "--quiet", "--out", str(run)]
        subprocess.run(command + ([] if lazy else ["--dense-updates"]), check=True, stdout=subprocess.DEVNULL)
        with open(run / "history.csv", newline="", encoding="utf-8") as file:
            rates = [float(row["ratings_per_second"]) for row in csv.DictReader(file)]
    return statistics.median(rates[1:])


def counts(arguments):
    output = subprocess.run([arguments.curate, "data", "inspect", arguments.data, "--json"], check=True,
                            capture_output=True, encoding="utf-8").stdout
    found = json.loads(output)
    return found["users"], found["items"], found["ratings"]


def torch_rate(arguments, batch, users, items):
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.user, self.item = nn.Embedding(users, 5), nn.Embedding(items, 8)
            self.dropout = nn.Dropout(0.2)
            self.stack = nn.Sequential(nn.Linear(13, 100), nn.Linear(100, 50), nn.Linear(50, 20), nn.ReLU(),
                                       nn.Linear(20, 1), nn.ReLU())

        def forward(self, user, item):
            rows = torch.cat([self.dropout(self.user(user)), self.dropout(self.item(item))], dim=1)
            return self.stack(rows).squeeze(1)

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    network = Network()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.001)
    loss_of = nn.L1Loss()
    # The rows that a step touches are drawn as films are: a few often, most rarely.
    draw = random.Random(1)
    batches = [(torch.tensor([draw.randrange(users) for _ in range(batch)]),
                torch.tensor([int(items * draw.random() ** 2) for _ in range(batch)]), torch.rand(batch) * 4.5 + 0.5)
               for _ in range(4)]
    done, start = 0, None
    warm = time.perf_counter() + 0.2 * arguments.seconds
    while True:
        user, item, rating = batches[done // batch % len(batches)]
        optimizer.zero_grad()
        loss_of(network(user, item), rating).backward()
        optimizer.step()
        now = time.perf_counter()
        if start is None and now < warm:
            continue
        if start is None:
            start = now
            continue
        done += batch
        if now - start >= arguments.seconds:
            return done / (now - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("curate")
    parser.add_argument("data")
    parser.add_argument("--batch", default="32,4096,65536")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=5.0, help="of each of PyTorch's measurements")
    parser.add_argument("--no-torch", action="store_true")
    arguments = parser.parse_args()
    users, items, ratings = counts(arguments)
    print(f"{ratings:,} ratings, {users:,} users, {items:,} items; {arguments.threads} threads; "
          f"medians of {arguments.rounds} rounds, samples per second\n")
    print(f"{'batch':>7} {'cuRate':>12} {'cuRate, lazy':>14} {'PyTorch':>12} {'ratio':>7}")
    for batch in map(int, arguments.batch.split(",")):
        figures = {"dense": [], "lazy": [], "torch": []}
        for number in range(arguments.rounds):
            print(f"batch {batch}, round {number + 1} of {arguments.rounds} ...", end="\r", file=sys.stderr, flush=True)
            figures["dense"].append(curate_rate(arguments, batch, lazy=False))
            figures["lazy"].append(curate_rate(arguments, batch, lazy=True))
            if not arguments.no_torch:
                figures["torch"].append(torch_rate(arguments, batch, users, items))
        medians = {name: statistics.median(rates) for name, rates in figures.items() if rates}
        torch_columns = "" if arguments.no_torch else (f" {medians['torch']:>12,.0f} "
                                                        f"{medians['dense'] / medians['torch']:>6.1f}x")
        print(f"{batch:>7} {medians['dense']:>12,.0f} {medians['lazy']:>14,.0f}{torch_columns}", flush=True)


if __name__ == "__main__":
    main()
