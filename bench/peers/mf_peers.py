#!/usr/bin/env python3
"""Matrix factorization on the same ratings and threads: cuRate beside what a user would otherwise pick.

usage: mf_peers.py --setup VENV                        makes a virtual environment with all peers, AVX build of LIBMF
       mf_peers.py CURATE DATA --venv VENV [options]   measures; CURATE: the program, DATA: what curate data split takes

Prints for every dimension, without and with biases: seconds an epoch, test RMSE, training seconds until a target RMSE,
and how many times as much as cuRate's of the same model that is. --json keeps all of it with every curve of RMSE
against seconds, --plot draws the curves. A peer that cannot be imported is printed as absent, with the reason. This
script needs Python 3.10 and nothing else; the peers are in VENV (default: the Python that runs this), each installed by
itself, so that one that fails does not keep the others out.

What makes it fair
- One split, the same for all, and the same number of threads; Surprise has one thread only, implicit and cmfrec bring
  OpenMP threads of their own, as many. In each round all that still take part run once, in turns, so that a noisy
  machine is noisy for all of them. Seconds an epoch are medians of the rounds, with the fastest and the slowest.
- Only training counts: no reading, no set-up, no evaluation. An epoch takes: of cuRate the mean of the seconds in its
  history.csv; of LIBMF and cmfrec, which train in one call, (T(E epochs) - T(1 epoch)) / (E - 1); of Surprise, PyTorch
  and implicit the median of what lies between the beginning and the end of each. E epochs of the first three take E
  times the median of that over the rounds, E epochs of the others what they took.
- cuRate's learning rate falls to zero over the epochs that are planned, so an epoch in the middle of a long run says
  nothing: cuRate and LIBMF are run for 1, 2, 3, 4, 6, 8, 12, 16, 20, ... epochs, cmfrec for 1, 2, 4, 8, 16, ..., each
  time from the start; each run is a point of the curve, and the time to the target is that of the shortest run that
  reaches it. The others train once, and each epoch is a point. All curves are of the first round. On several threads
  cuRate and LIBMF end at slightly another RMSE in each run (LIBMF on MovieLens 100k: by 0.003).
- The machine has to be quiet: the threads of PyTorch wait for each other in a spin, and a busy core made its epochs
  thirty times as long, cuRate's and LIBMF's twice. Where a row's times differ by more than a factor of 2, or other
  programs used more than 0.2 cores meanwhile (Linux tells), a line under the table says so: measure again.
- Predictions are clipped to the range of the ratings and a rating that a peer cannot predict counts as the mean, for
  all. The best RMSE is the lowest on the test part over the curve: an oracle, but the same for all.
- The target, unless --target-rmse says otherwise: the worse of the best RMSE of cuRate and that of LIBMF, plus 0.0005,
  of all models of the table; so both reach it. LIBMF has no biases: it is in both tables, as the same runs.
- A peer may train for --max-seconds per model, to the end of the epoch then running (cmfrec: its longest run), and for
  --peer-epochs epochs; what is cut off is said. cuRate and LIBMF are not cut. From the second round on the other peers
  train a few epochs only, and are left out where that would take half of --max-seconds, set-up included: "rounds" in
  the table says how often each was measured.

Each has the settings that suit it, chosen on MovieLens 1M (32 factors) and on data generated like MovieLens 20M
- cuRate: per-rating SGD, its default 0.05 falling linearly to zero; L2 of 0.05 per rating (--reg). On many ratings rates
  of each row need fewer epochs, as LIBMF has them: --lr 0.2 --rate-decay 0.015.
- LIBMF: its default eta of 0.1, with its Adagrad, and the same L2, which enters its objective in the same way. Compiled
  with AVX and -march=native (its package is not); it learns deviations from a mean of its own.
- cmfrec: explicit ALS with three steps of conjugate gradients (a Cholesky solve takes six times as long and ends at the
  same RMSE), L2 of 0.07 per rating (scale_lam), no closing Cholesky iteration, so that all iterations cost the same.
- Surprise: SVD, learning rate 0.02, L2 of 0.05 per rating (its defaults 0.005 and 0.02 end at 0.865, these at 0.856).
  Without biases it would leave out the mean too; it is given deviations from the mean there.
- PyTorch: embeddings, Adam 0.005, L2 of 0.05 per rating, batches of 4096 or, from five million ratings on, 16,384,
  sliced from tensors that lie ready (no DataLoader, which is far slower); SparseAdam on a CPU where a batch has
  few of the rows. On a GPU the same with the plain Adam.
- implicit: ALS, time only: its loss is another, over all pairs, so its RMSE is not comparable and printed as -.
"""
import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path

import mf_peers_plot

HERE = Path(__file__).resolve().parent
WORKER = HERE / "mf_peers_worker.py"
SETUP_RECORD = "mf_peers_setup.json"
LIBMF_LIBRARY = "libmf_avx.so"
SWEEP = [1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 48, 64, 96, 128]
SHORT_RUN = 3  # epochs of a later round
BUSY_CORES = 0.2  # of other programs: more makes a measurement doubtful
BASE_PACKAGES = ["numpy", "scipy"]
PACKAGES = {"libmf": "libmf==0.9.2", "cmfrec": "cmfrec==3.5.1.post14", "surprise": "scikit-surprise==1.1.5",
            "pytorch": "torch==2.6.0", "implicit": "implicit==0.7.3"}


class BadInput(Exception):
    """The caller can put it right: exit code 2."""


class Failed(Exception):
    """cuRate or the measuring itself: exit code 1."""


class Peer:
    """whole_fits: trains in one call, of which only the whole can be timed. biases: the classes of models it has."""

    def __init__(self, name, title, recipe, whole_fits=False, biases=(False, True), one_thread=False):
        self.name, self.title, self.recipe = name, title, recipe
        self.whole_fits, self.biases, self.one_thread = whole_fits, biases, one_thread


ADAM = {"lr": 0.005, "reg": 0.05, "batch": 4096, "batch_of_many": 16384, "many": 5_000_000}
CURATE = Peer("curate", "cuRate", {"lr": 0.05, "rate_decay": 0.0, "schedule": "linear"}, whole_fits=True)
PEERS = {peer.name: peer for peer in (
    Peer("libmf", "LIBMF", {"eta": 0.1}, whole_fits=True, biases=(False,)),
    Peer("cmfrec", "cmfrec ALS", {"reg": 0.07}, whole_fits=True),
    Peer("surprise", "Surprise SVD", {"lr": 0.02, "reg": 0.05}, one_thread=True),
    Peer("pytorch", "PyTorch, CPU", ADAM),
    Peer("pytorch-gpu", "PyTorch, GPU", ADAM),
    Peer("implicit", "implicit ALS", {"reg": 0.05}, biases=(False,)))}


def say(text):
    print(text, file=sys.stderr, flush=True)


def last_line(text):
    return ([line.strip() for line in text.splitlines() if line.strip()] or ["no message"])[-1][:300]


# --- Setting up ---

def build_libmf(python, folder):
    """The reason why there is no AVX build, or None."""
    with tempfile.TemporaryDirectory() as scratch:
        download = subprocess.run([python, "-m", "pip", "download", "-q", "--no-binary", ":all:", "--no-deps", "-d",
                                   scratch, PACKAGES["libmf"]], capture_output=True, encoding="utf-8")
        archives = list(Path(scratch).glob("libmf-*.tar.gz"))
        if download.returncode or not archives:
            return f"its source cannot be had: {last_line(download.stderr)}"
        with tarfile.open(archives[0]) as archive:
            archive.extractall(scratch, members=[member for member in archive.getmembers() if member.isreg()
                                                 and ".." not in member.name and not member.name.startswith("/")])
        sources = sorted(map(str, Path(scratch).glob("libmf-*/src_cpp/*.cpp")))
        command = [os.environ.get("CXX", "g++"), "-O3", "-march=native", "-DUSEAVX", "-std=c++11", "-shared", "-fPIC",
                   "-pthread", *sources, "-o", str(folder / LIBMF_LIBRARY)]
        try:
            built = subprocess.run(command, capture_output=True, encoding="utf-8")
        except OSError as problem:
            return f"no compiler: {problem}"
        return f"does not compile: {last_line(built.stderr)}" if built.returncode else None


def setup(folder):
    folder = folder.resolve()
    python = folder / "bin" / "python"
    if not python.exists():
        made = subprocess.run([sys.executable, "-m", "venv", folder], capture_output=True, encoding="utf-8")
        if made.returncode:
            raise Failed(f"{folder}: no virtual environment could be made (Debian: apt-get install python3-venv): "
                         f"{last_line(made.stdout + made.stderr)}")
    reasons = {}
    for name, packages in {"base": BASE_PACKAGES, **{name: [package] for name, package in PACKAGES.items()}}.items():
        say(f"installing {' '.join(packages)} ...")
        result = subprocess.run([python, "-m", "pip", "install", "-q", *packages], stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, encoding="utf-8")
        if result.returncode:
            errors = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
            reasons[name] = f"pip could not install it: {last_line(errors[0] if errors else result.stderr)}"
            say(f"  {reasons[name]}")
    if "libmf" not in reasons:
        say("compiling LIBMF with AVX ...")
        reason = build_libmf(python, folder)
        if reason:
            reasons["libmf-avx"] = f"LIBMF without AVX: {reason}"
            say(f"  {reasons['libmf-avx']}")
    (folder / SETUP_RECORD).write_text(json.dumps(reasons, indent=1) + "\n", encoding="utf-8")
    say(f"{folder}: {len(PACKAGES) - len(set(reasons) & set(PACKAGES))} of {len(PACKAGES)} packages installed; now: "
        f"{Path(__file__).name} CURATE DATA --venv {folder}")
    return 0


# --- Processes ---

class Workers:
    """Starts mf_peers_worker.py in the environment that has the peers."""

    def __init__(self, venv, threads, max_seconds):
        self.python = sys.executable if venv is None else str(venv / "bin" / "python")
        self.limit = 600 + 10 * max_seconds  # For a process that hangs.
        self.setup_reasons, library = {}, None
        if venv is not None:
            record = venv / SETUP_RECORD
            if record.exists():
                self.setup_reasons = json.loads(record.read_text(encoding="utf-8"))
            if (venv / LIBMF_LIBRARY).exists():
                library = str((venv / LIBMF_LIBRARY).resolve())
        self.environment = {**({"LIBMF_OBJ": library} if library else {}), **os.environ}
        # A kernel forced on OpenBLAS for some other program's sake would slow the peers down.
        for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
            self.environment.pop(name, None)
        self.environment |= {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        # BLAS threads beneath OpenMP threads would be more than --threads.
        self.environment |= {"OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}

    def libmf_build(self):
        return "AVX" if "LIBMF_OBJ" in self.environment else "as packaged, no AVX"

    def results(self, *arguments):
        """The objects that a worker reports, as they come. Failed, with its last words, where it fails."""
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
            process = subprocess.Popen([self.python, str(WORKER), *map(str, arguments)], stdout=subprocess.PIPE,
                                       stderr=errors, encoding="utf-8", env=self.environment)
            timer = threading.Timer(self.limit, process.kill)
            timer.start()
            try:
                for line in process.stdout:
                    yield json.loads(line)
                process.wait()
            finally:
                timer.cancel()
                process.kill()
                process.wait()
            if process.returncode:
                errors.seek(0)
                killed = f"killed by signal {-process.returncode}" if process.returncode < 0 else ""
                raise Failed(killed or last_line(errors.read()))


def run_curate(arguments, *command):
    result = subprocess.run([arguments.curate, *map(str, command)], capture_output=True, encoding="utf-8")
    if result.returncode:
        kind = BadInput if result.returncode == 2 else Failed
        raise kind(f"curate {command[0]}: {last_line(result.stderr)}")
    return result.stdout


# --- Measuring ---

class Row:
    """What one peer has done for one model."""

    def __init__(self, peer, dim, biases, threads, recipe):
        self.peer, self.dim, self.biases, self.recipe = peer, dim, biases, recipe
        self.threads = 1 if peer.one_thread else threads
        self.rates = []  # seconds an epoch, of every round
        self.curve = []  # {"epochs", "seconds", "rmse"}
        self.epochs = []  # seconds of each but the first, of peers that train epoch by epoch
        self.others = 0.0  # cores that other programs used, the worst of its measurements
        self.cut = self.failure = None
        self.wall = {}  # whole fits of this round: epochs -> seconds, with the set-up (cuRate: of its epochs alone)
        self.set_up = 0.0  # seconds that a process needs apart from training

    def rate(self):
        return statistics.median(self.rates) if self.rates else None

    def busy(self):
        """What tells that something else kept the cores busy, or None."""
        seconds, signs = self.rates + self.epochs, []
        if seconds and max(seconds) > 2 * min(seconds):
            signs.append(f"an epoch took from {min(seconds):.3g} to {max(seconds):.3g} s")
        if self.others > BUSY_CORES:
            signs.append(f"other programs used up to {self.others:.1f} cores")
        return f"the machine was busy, measure again: {', '.join(signs)}" if signs else None

    def add_epochs(self, results):
        """From a run epoch by epoch; the first epoch warms up, which counts in the curve only."""
        ends = [0.0, *(result["seconds"] for result in results)]
        seconds = [end - start for start, end in zip(ends, ends[1:])]
        self.rates.append(statistics.median(seconds))
        self.epochs += seconds[1:]

    def points(self):
        """The curve with its seconds; whole fits take as much as their epochs at the median rate."""
        if not self.peer.whole_fits:
            return self.curve
        return [{**point, "seconds": point["epochs"] * self.rate() if self.rates else None} for point in self.curve]

    def end(self):
        return max(self.curve, key=lambda point: point["epochs"], default={"epochs": None, "rmse": None})

    def best_rmse(self):
        return min((point["rmse"] for point in self.curve if point["rmse"] is not None), default=None)

    def reached(self, target):
        """The first point of the curve at the target or below."""
        fitting = [point for point in self.points() if target is not None and point["rmse"] is not None
                   and point["rmse"] <= target and point["seconds"] is not None]
        return min(fitting, key=lambda point: point["seconds"], default=None)


def rate_of_fits(seconds):
    """Seconds an epoch, from whole fits {epochs: seconds} with a set-up that is the same; None from one fit alone."""
    first, last = min(seconds), max(seconds)
    return max(seconds[last] - seconds[first], 1e-9) / (last - first) if last > first else None


def seconds_of_others():
    """CPU seconds since the machine started, without this program's and its finished children's; None if unknown."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            ticks = [int(word) for word in file.readline().split()[1:]]
    except (OSError, ValueError):
        return None
    # user, nice, system, (idle, iowait,) irq, softirq, steal
    return sum(ticks[:3] + ticks[5:8]) / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


def sweep(epochs, coarse=False):
    """Numbers of epochs to train for, each from the start."""
    numbers = [2 ** k for k in range(epochs.bit_length())] if coarse else SWEEP
    return sorted({number for number in numbers if number < epochs} | {epochs})


class Measurement:
    def __init__(self, arguments, workers, parts, arrays):
        self.arguments, self.workers, self.parts, self.arrays = arguments, workers, parts, arrays
        self.folder = parts.parent

    def progress(self, row, number, what):
        rmse = what.get("rmse")
        seconds = what.get("fit_seconds", what.get("seconds"))
        say(f"  dim {row.dim}, {'biases' if row.biases else 'no biases'}, round {number}: {row.peer.title}, "
            f"{what['epochs']} epochs, {seconds:.3g} s{'' if rmse is None else f', test RMSE {rmse:.4f}'}")

    def curate_fit(self, row, epochs):
        """Mean seconds an epoch and test RMSE of a run that is planned for so many."""
        run = self.folder / "run"
        output = run_curate(
            self.arguments, "train", self.parts / "ratings.train.csv", "--test", self.parts / "ratings.test.csv",
            "--biases" if row.biases else "--no-biases", "--dim", row.dim, "--epochs", epochs,
            "--reg", row.recipe["reg"], "--lr", row.recipe["lr"], "--rate-decay", row.recipe["rate_decay"],
            "--schedule", row.recipe["schedule"], "--validation",
            "0", "--device", "cpu", "--threads", row.threads, "--json", "--quiet", "--overwrite", "--out", run)
        lines = (run / "history.csv").read_text(encoding="utf-8").splitlines()
        column = lines[0].split(",").index("seconds")
        seconds = sum(float(line.split(",")[column]) for line in lines[1:])
        return {"epochs": epochs, "fit_seconds": seconds, "rmse": json.loads(output)["test"]["rmse"]}

    def fit(self, row, epochs, evaluate=True):
        """The reports of a worker's run."""
        task = {"peer": row.peer.name, "data": str(self.arrays), "dim": row.dim, "biases": row.biases,
                "threads": row.threads, "epochs": epochs, "max_seconds": self.arguments.max_seconds,
                "evaluate": evaluate, "recipe": row.recipe}
        for result in self.workers.results("run", json.dumps(task)):
            if "epochs" in result:
                yield result

    def whole_fit(self, row, epochs):
        return self.curate_fit(row, epochs) if row.peer is CURATE else next(self.fit(row, epochs))

    def guarded(self, row, action):
        """A peer that fails is left out from then on; cuRate must not."""
        if row.failure:
            return
        start, theirs = time.perf_counter(), seconds_of_others()
        try:
            action()
            seconds = time.perf_counter() - start
            if theirs is not None and seconds > 0.5:  # The kernel counts in hundredths.
                row.others = max(row.others, (seconds_of_others() - theirs) / seconds)
        except Failed as problem:
            if row.peer is CURATE:
                raise
            row.failure = str(problem)
            say(f"  {row.peer.title} failed: {row.failure}")

    def sweep_in_turns(self, rows):
        """Round 1 of cuRate and LIBMF: the same numbers of epochs, each from the start, one after the other."""
        for epochs in sweep(self.arguments.epochs):
            for row in rows:
                self.guarded(row, lambda row=row: self.add_fit(row, epochs, 1))
        for row in rows:
            self.guarded(row, lambda row=row: self.close_round(row))

    def add_fit(self, row, epochs, number):
        result = self.whole_fit(row, epochs)
        self.progress(row, number, result)
        row.wall[epochs] = result["fit_seconds"]
        if number == 1:
            row.curve.append({"epochs": epochs, "rmse": result["rmse"]})

    def close_round(self, row):
        last = max(row.wall)
        rate = row.wall[last] / last if row.peer is CURATE else rate_of_fits(row.wall)
        if rate is not None:
            row.rates.append(rate)

    def first_round(self, row):
        """Round 1 of the others."""
        limit = self.arguments.max_seconds
        epochs = min(self.arguments.epochs, self.arguments.peer_epochs)
        if row.peer.whole_fits:
            for planned in sweep(epochs, coarse=True):
                rate = rate_of_fits(row.wall) if row.wall else None
                if rate is not None and planned * rate > limit:
                    row.cut = f"stopped: {planned} iterations would take more than {limit:g} s"
                    break
                self.add_fit(row, planned, 1)
            self.close_round(row)
        else:
            start = time.perf_counter()
            for result in self.fit(row, epochs):
                self.progress(row, 1, result)
                row.curve.append(result)
            row.add_epochs(row.curve)
            row.set_up = max(0.0, time.perf_counter() - start - result["seconds"])
            if result["epochs"] < epochs:
                row.cut = f"stopped after {result['seconds']:.0f} s"
        if row.cut:
            row.cut += f" at RMSE {row.end()['rmse']:.4f}" if row.end()["rmse"] is not None else ""
        elif epochs < self.arguments.epochs:
            row.cut = f"{epochs} epochs, as --peer-epochs has it"

    def later_round(self, row, number):
        if row.peer is CURATE or row.peer.name == "libmf":
            row.wall = {}
            for epochs in ({self.arguments.epochs} if row.peer is CURATE else {1, self.arguments.epochs}):
                self.add_fit(row, epochs, number)
            self.close_round(row)
        elif row.peer.whole_fits:
            last = min(max(row.wall), SHORT_RUN + 1)
            if 2 * row.wall[1] + (last - 1) * row.rate() <= self.arguments.max_seconds / 2:
                row.wall = {}
                for epochs in {1, last}:
                    self.add_fit(row, epochs, number)
                self.close_round(row)
        elif row.set_up + SHORT_RUN * row.rate() <= self.arguments.max_seconds / 2:
            results = list(self.fit(row, SHORT_RUN, evaluate=False))
            self.progress(row, number, results[-1])
            row.add_epochs(results)

    def measure(self, dim, names):
        """The rows of one dimension, {name: {biases: Row}}."""
        threads, rows = self.arguments.threads, {}
        for peer in [CURATE, *(PEERS[name] for name in names)]:
            shared = {"reg": self.arguments.reg} if peer.name in ("curate", "libmf") else {}
            rows[peer.name] = {biases: Row(peer, dim, biases, threads, {**peer.recipe, **shared})
                               for biases in peer.biases}
        flat = [row for of_peer in rows.values() for row in of_peer.values()]
        swept = [row for row in flat if row.peer.name in ("curate", "libmf")]
        others = [row for row in flat if row not in swept]
        self.sweep_in_turns(swept)
        for row in others:
            self.guarded(row, lambda row=row: self.first_round(row))
        for number in range(2, self.arguments.rounds + 1):
            for row in flat:
                self.guarded(row, lambda row=row: self.later_round(row, number))
        return rows


# --- Reporting ---

def ratio(value, base):
    return None if value is None or not base else value / base


def table_of(rows, dim, biases, absent, target):
    """One model's table as a JSON object."""
    chosen = {name: of_peer.get(biases) or (of_peer[False] if name == "libmf" else None)
              for name, of_peer in rows.items()}
    chosen = {name: row for name, row in chosen.items() if row}
    if target is None:
        target = max(best for best in (chosen[name].best_rmse() for name in ("curate", "libmf") if name in chosen)
                     if best is not None) + 0.0005
    ours = chosen["curate"]
    our_reach = ours.reached(target)
    lines = []
    for name, row in chosen.items():
        reach, end = row.reached(target), row.end()
        lines.append({
            "peer": name, "title": row.peer.title, "factors": dim, "biases": row.biases, "threads": row.threads,
            "recipe": row.recipe,
            "seconds_per_epoch": {"median": row.rate(), "fastest": min(row.rates, default=None),
                                  "slowest": max(row.rates, default=None), "rounds": row.rates},
            "epochs": end["epochs"], "rmse": end["rmse"], "best_rmse": row.best_rmse(),
            "seconds_to_target": reach and reach["seconds"], "epochs_to_target": reach and reach["epochs"],
            "ratio_seconds_per_epoch": ratio(row.rate(), ours.rate()),
            "ratio_seconds_to_target": ratio(reach and reach["seconds"], our_reach and our_reach["seconds"]),
            "cut": row.cut, "busy": row.busy(), "failed": row.failure,
            "curve_of": "runs planned for so many epochs" if row.peer.whole_fits else "epochs of one run",
            "curve": [{key: point[key] for key in ("epochs", "seconds", "rmse")} for point in row.points()]})
    lines += [{"peer": name, "title": PEERS[name].title, "absent": reason} for name, reason in absent.items()
              if biases in PEERS[name].biases or name == "libmf"]
    return {"dim": dim, "biases": biases, "target_rmse": target, "rows": lines}


COLUMNS = ["peer", "biases", "threads", "s/epoch", "fastest", "slowest", "rounds", "ratio", "epochs", "RMSE", "best",
           "s to target", "epochs", "ratio"]


def cells(line):
    def number(value, form):
        return "-" if value is None else form.format(value)
    rate, compared = line["seconds_per_epoch"], line["rmse"] is not None
    return [line["title"], "yes" if line["biases"] else "no", str(line["threads"]),
            *(number(rate[key], "{:.4g}") for key in ("median", "fastest", "slowest")),
            str(len(rate["rounds"])), number(line["ratio_seconds_per_epoch"], "{:.1f} x"), number(line["epochs"], "{}"),
            number(line["rmse"], "{:.4f}"), number(line["best_rmse"], "{:.4f}"),
            number(line["seconds_to_target"], "{:.4g}") if line["seconds_to_target"] or not compared else "not reached",
            number(line["epochs_to_target"], "{}"), number(line["ratio_seconds_to_target"], "{:.1f} x")]


def print_table(table):
    print(f"\n{table['dim']} factors, {'with' if table['biases'] else 'no'} biases; target: test RMSE "
          f"{table['target_rmse']:.4f}\n")
    body = [(line, cells(line) if not line.get("absent") and not line["failed"] else None) for line in table["rows"]]
    widths = [max(len(row[column]) for row in [COLUMNS, *(text for _, text in body if text)])
              for column in range(len(COLUMNS))]
    widths[0] = max(widths[0], *(len(line["title"]) for line, _ in body))

    def joined(row):
        return "  ".join([row[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(row[1:], widths[1:]))])
    print(joined(COLUMNS))
    for line, text in body:
        if text:
            print(joined(text))
        elif line.get("absent"):
            print(f"{line['title'].ljust(widths[0])}  absent: {line['absent']}")
        else:
            print(f"{line['title'].ljust(widths[0])}  failed: {line['failed']}")
    for line, text in body:
        for note in ("cut", "busy"):
            if text and line[note]:
                print(f"{line['title']}: {line[note]}")
        if text and line["biases"] != table["biases"]:
            print(f"{line['title']}: has no biases; the same runs as in the table without")
    sys.stdout.flush()


def machine():
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return {"cpu": model, "cores": available_cores(), "system": platform.platform()}


def available_cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def commit():
    """The commit that this script is of, with + after it where the tree differs from it; None without git."""
    try:
        head, changes = (subprocess.run(["git", "-C", str(HERE), *command], capture_output=True, encoding="utf-8")
                         for command in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "-uno"]))
    except OSError:
        return None
    return head.stdout.strip() + ("+" if changes.stdout.strip() else "") if head.returncode == 0 else None


# --- The command line ---

def numbers(text):
    values = [int(word) for word in text.split(",")]
    if not values or not all(1 <= value <= 1024 for value in values):
        raise ValueError
    return values


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     usage="mf_peers.py CURATE DATA [options], or mf_peers.py --setup VENV")
    parser.add_argument("curate", nargs="?", metavar="CURATE")
    parser.add_argument("data", nargs="?", metavar="DATA")
    parser.add_argument("--setup", type=Path, metavar="VENV", help="make this virtual environment with all peers")
    parser.add_argument("--venv", type=Path, help="where the peers are (default: the Python that runs this)")
    parser.add_argument("--dim", default="32,64,128", help="factors, one or more (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=20, help="at most (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of which medians are taken (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=available_cores(), help="default: all cores")
    parser.add_argument("--reg", type=float, default=0.05, help="L2 per rating of cuRate and LIBMF (%(default)s)")
    parser.add_argument("--lr", type=float, default=CURATE.recipe["lr"], help="cuRate's (%(default)s)")
    parser.add_argument("--rate-decay", type=float, default=0.0, help="cuRate's (%(default)s)")
    parser.add_argument("--target-rmse", type=float, help="default: what both cuRate and LIBMF reach, see above")
    parser.add_argument("--peers", default=",".join(PEERS), help="default: %(default)s; none: cuRate alone")
    parser.add_argument("--test-fraction", type=float, default=0.1, help="default: %(default)s")
    parser.add_argument("--peer-epochs", type=int, help="at most, of peers other than LIBMF (default: --epochs)")
    parser.add_argument("--max-seconds", type=float, default=40, help="of a peer's training of one model (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures and curves")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="RMSE against training seconds")
    arguments = parser.parse_args()
    if not arguments.setup:
        check(arguments)
    return arguments


def check(arguments):
    if arguments.curate is None or arguments.data is None:
        raise BadInput("give the program and the data: mf_peers.py build/cpu/bin/curate ml-1m (or --setup VENV)")
    program = shutil.which(arguments.curate)
    if program is None:
        raise BadInput(f"{arguments.curate}: no such program; build it: cmake --preset cpu && cmake --build build/cpu")
    arguments.curate = str(Path(program).resolve())
    if not Path(arguments.data).exists():
        raise BadInput(f"{arguments.data}: no such file or folder; give ratings, or make some: curate data generate "
                       "--like ml-1m --out made1m")
    if arguments.venv is not None and not (arguments.venv / "bin" / "python").exists():
        raise BadInput(f"--venv {arguments.venv}: no such environment; make it: mf_peers.py --setup {arguments.venv}")
    try:
        arguments.dim = numbers(arguments.dim)
    except ValueError:
        raise BadInput(f"--dim {arguments.dim}: give whole numbers from 1 to 1024, like 32,64") from None
    arguments.peers = [] if arguments.peers == "none" else arguments.peers.split(",")
    unknown = [name for name in arguments.peers if name not in PEERS]
    if unknown:
        raise BadInput(f"--peers {','.join(unknown)}: no such peer; there are {', '.join(PEERS)}, and none")
    for name, least in (("epochs", 2), ("rounds", 1), ("threads", 1), ("peer_epochs", 2)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise BadInput(f"--{name.replace('_', '-')} {value}: give {least} or more")
    arguments.peer_epochs = arguments.peer_epochs or arguments.epochs
    if not 0 < arguments.test_fraction < 1:
        raise BadInput(f"--test-fraction {arguments.test_fraction}: give a number between 0 and 1, like 0.1")
    if not arguments.max_seconds > 0:
        raise BadInput(f"--max-seconds {arguments.max_seconds}: give a number above 0")
    if not 0 <= arguments.reg < float("inf"):
        raise BadInput(f"--reg {arguments.reg}: give a number of 0 or more, like 0.05")
    if not (0 < arguments.lr < float("inf") and 0 <= arguments.rate_decay < float("inf")):
        raise BadInput(f"--lr {arguments.lr} --rate-decay {arguments.rate_decay}: "
                       "give numbers above 0, like 0.05 and 0.003")
    CURATE.recipe.update(lr=arguments.lr, rate_decay=arguments.rate_decay)
    for name, path in (("--json", arguments.json), ("--plot", arguments.plot)):
        if path is not None and (path.is_dir() or not path.resolve().parent.is_dir()):
            raise BadInput(f"{name} {path}: give a file in a folder that exists")


def run(arguments):
    names = list(dict.fromkeys(arguments.peers))
    workers = Workers(arguments.venv, arguments.threads, arguments.max_seconds)
    found = next(workers.results("probe", *names)) if names else {}
    absent = {}
    for name in names:
        if found[name]["absent"]:
            note = workers.setup_reasons.get("pytorch" if name == "pytorch-gpu" else name)
            absent[name] = found[name]["absent"] + (f"; {note}" if note else "")
    names = [name for name in names if name not in absent]
    versions = {name: found[name]["version"] for name in names}
    if "libmf" in versions:
        versions["libmf"] += f", {workers.libmf_build()}"
        PEERS["libmf"].title = f"LIBMF ({workers.libmf_build()})"
        if "libmf-avx" in workers.setup_reasons:
            say(workers.setup_reasons["libmf-avx"])
    versions = {"curate": run_curate(arguments, "--version").strip(), **versions}
    with tempfile.TemporaryDirectory(prefix="mf-peers-") as folder:
        parts, arrays = Path(folder) / "parts", Path(folder) / "arrays"
        say("splitting the ratings ...")
        written = json.loads(run_curate(arguments, "data", "split", arguments.data, "--split",
                                        f"random:{arguments.test_fraction}", "--out", parts, "--json"))
        counted = {file["file"]: file["ratings"] for file in written["files"]}
        arrays.mkdir()
        if names:
            say("reading the parts for the peers ...")
            next(workers.results("prepare", parts / "ratings.train.csv", parts / "ratings.test.csv", arrays))
        report = {
            "program": "mf_peers.py", "date": datetime.datetime.now(datetime.timezone.utc).isoformat("T", "seconds"),
            "commit": commit(), "machine": machine(), "versions": {**versions, "python": platform.python_version()},
            "data": {"name": Path(arguments.data).resolve().name, "split": written["split"], "seed": written["seed"],
                     **{part: counted[f"ratings.{part}.csv"] for part in ("train", "test")}},
            "options": {"dim": arguments.dim, "epochs": arguments.epochs, "rounds": arguments.rounds,
                        "threads": arguments.threads, "reg": arguments.reg, "target_rmse": arguments.target_rmse,
                        "test_fraction": arguments.test_fraction, "peer_epochs": arguments.peer_epochs,
                        "max_seconds": arguments.max_seconds, "peers": arguments.peers},
            "absent": absent, "tables": []}
        print(f"{report['machine']['cpu']}, {report['machine']['cores']} cores; {arguments.threads} threads, "
              f"{arguments.rounds} rounds; {report['date']}, commit {report['commit']}")
        print(f"{report['data']['name']}: {counted['ratings.train.csv']:,} ratings to train on, "
              f"{counted['ratings.test.csv']:,} to test on")
        print(", ".join(f"{name} {version}" for name, version in versions.items()))
        measurement = Measurement(arguments, workers, parts, arrays)
        for dim in arguments.dim:
            rows = measurement.measure(dim, names)
            for biases in (False, True):
                table = table_of(rows, dim, biases, absent, arguments.target_rmse)
                report["tables"].append(table)
                print_table(table)
            if arguments.json:
                arguments.json.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
            if arguments.plot:
                arguments.plot.write_text(mf_peers_plot.draw(report), encoding="utf-8")
    return 0


def main():
    try:
        arguments = read_arguments()
        return setup(arguments.setup) if arguments.setup else run(arguments)
    except BadInput as problem:
        say(f"mf_peers.py: {problem}")
        return 2
    except (Failed, OSError) as problem:
        say(f"mf_peers.py: {problem}")
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
