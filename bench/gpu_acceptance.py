#!/usr/bin/env python3
"""Builds, checks and measures the CUDA engine on a machine with an NVIDIA GPU and no network.

usage: bench/gpu_acceptance.sh [build|test|sanitize|bench|ncu|all]... [--out DIR]

  build     from the packages in .deps/deps.tar.xz (bench/pack_deps.sh made it elsewhere), for this GPU alone
  test      the operations' and models' tests on the GPU, and trainings beside the CPU engine
  sanitize  compute-sanitizer: memcheck and racecheck on small cases
  variants  ways of the per-rating SGD kernel, stored in f32, f16 and bf16, to choose the defaults by
  bench     ratings/s by model and optimizer, beside the roof and the CPU
  peers     matrix factorization by PyTorch on the GPU and on the CPU, where Python has torch
  ncu       Nsight Compute's figures for the hot kernels

A stage that has passed for this commit is not run again unless it is named. Every stage has eight minutes. A table of
all stages comes last, and goes to DIR (bench/results) as JSON and Markdown.
"""

import argparse
import datetime
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
STAGES = ["build", "test", "sanitize", "variants", "bench", "peers", "ncu"]
STAGE_SECONDS = 480
HOT_KERNELS = ["mf_sgd_epoch", "gather_rows", "dot_rows", "scatter_add_rows", "scatter_add_segments", "update_rows",
               "dense_forward", "dense_grad_weight", "dense_stack_forward", "dense_stack_backward", "stack_head_forward",
               "stack_head_backward", "sum_squared_error"]
WIDE_NETWORK = ["--model", "mlp", "--user-dim", "128", "--item-dim", "128", "--layers", "256,128,64", "--batch", "65536",
                "--products", "bf16"]
NCU_METRICS = {
    "us": "gpu__time_duration.sum",
    "HBM %": "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed",
    "L2 %": "lts__t_sectors.avg.pct_of_peak_sustained_elapsed",
    "SM %": "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    "registers": "launch__registers_per_thread",
    "occupancy %": "sm__warps_active.avg.pct_of_peak_sustained_active",
}


class Failed(Exception):
    """A stage's failure, in words for the table."""


class Machine:
    """What is run, and where: another one in the tests of this program."""

    def __init__(self, arguments):
        self.device = arguments.device
        self.build = pathlib.Path(arguments.build_dir).resolve()
        self.curate = self.build / "bin" / arguments.program
        self.filter = arguments.test_filter or f"*/{self.device.replace('-', '_')}"
        self.scale = arguments.scale
        self.like = arguments.like
        self.dims = [int(dim) for dim in arguments.dims.split(",")]
        self.deadline = 0.0

    def run(self, command, **options):
        """Output of a command, which has what is left of the stage's time."""
        left = max(5.0, self.deadline - time.monotonic())
        command = [str(part) for part in command]
        print("+ " + " ".join(command), flush=True)
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=left, cwd=ROOT, check=False,
                                  **{"stderr": subprocess.STDOUT, **options})
        except subprocess.TimeoutExpired as timeout:
            raise Failed(f"{pathlib.Path(command[0]).name}: not done after {left:.0f} s") from timeout
        if done.returncode != 0:
            print(done.stdout[-4000:])
            last = done.stdout.strip().splitlines()[-1:] or ["no output"]
            raise Failed(f"{pathlib.Path(command[0]).name} ends with {done.returncode}: {last[0][:200]}")
        return done.stdout


def stage_build(machine):
    deps = ROOT / ".deps"
    archive = deps / "deps.tar.xz"
    prefix = []
    if archive.exists():
        unpacked = deps / "root"
        if not unpacked.exists():
            unpacked.mkdir()
            machine.run(["tar", "-C", unpacked, "-xf", archive])
        usr = unpacked / "usr"
        libraries = next((usr / "lib").glob("*-linux-gnu"))
        prefix = [f"-DCMAKE_PREFIX_PATH={usr}", f"-DCMAKE_BUILD_RPATH={libraries}",
                  f"-DCMAKE_INCLUDE_PATH={usr / 'include'}", f"-DCMAKE_LIBRARY_PATH={libraries}",
                  f"-DCMAKE_EXE_LINKER_FLAGS=-Wl,-rpath-link,{libraries}",
                  f"-DCMAKE_SHARED_LINKER_FLAGS=-Wl,-rpath-link,{libraries}",
                  f"-DCMAKE_CXX_FLAGS=-isystem {usr / 'include'}"]
    machine.run(["cmake", "-G", "Ninja", "-S", ROOT, "-B", machine.build, "-DCMAKE_BUILD_TYPE=Release",
                 "-DCURATE_CUDA=ON", "-DCURATE_WERROR=OFF", *prefix])
    machine.run(["cmake", "--build", machine.build, "--target", "curate", "operation_tests", "train_tests"])
    machine.run([machine.curate, "doctor"])
    return {"built": str(machine.build)}


def gtest_counts(text):
    passed = re.search(r"\[  PASSED  \] (\d+) test", text)
    if passed is None or int(passed[1]) == 0:
        raise Failed("no test was run")
    return int(passed[1])


def train(machine, data, device, *options, test=None):
    out = machine.build / "acceptance-run"
    shutil.rmtree(out, ignore_errors=True)
    machine.run([machine.curate, "train", data, "--device", device, "--out", out, *options,
                 *(["--test", test] if test else [])])
    metrics = json.loads((out / "metrics.json").read_text())
    lines = (out / "history.csv").read_text().splitlines()
    column = lines[0].split(",").index("ratings_per_second")
    rates = [float(line.split(",")[column]) for line in lines[1:]]
    return metrics["test"]["rmse"], statistics.median(rates[1:] or rates)


def without_precision(options):
    """The CPU stores and multiplies f32 alone."""
    kept = list(options)
    for name in ("--precision", "--products"):
        if name in kept:
            at = kept.index(name)
            del kept[at:at + 2]
    return kept


def made_up(machine, like, scale):
    folder = machine.build / f"made-up-{like}-{scale}"
    if not folder.exists():
        machine.run([machine.curate, "data", "generate", "--like", like, "--scale", scale, "--out", folder])
    return folder


def stage_test(machine):
    counts = {}
    for program in ("operation_tests", "train_tests"):
        text = machine.run([machine.build / "tests" / program, f"--gtest_filter={machine.filter}", "--gtest_brief=1"])
        counts[program] = gtest_counts(text)
    data = made_up(machine, "ml-1m", max(0.01, 0.1 * machine.scale))
    differences = {}
    for name, options, allowed in [("mf adam", ["--optimizer", "adam"], 0.002), ("mf sgd", [], 0.005),
                                   ("mlp", ["--model", "mlp"], 0.005)]:
        shared = ["--epochs", "5", *options]
        cpu, _ = train(machine, data, "cpu", *shared)
        gpu, _ = train(machine, data, machine.device, *shared)
        differences[name] = round(gpu - cpu, 5)
        if not abs(gpu - cpu) <= allowed:
            raise Failed(f"{name}: test RMSE {gpu:.4f}, the CPU engine's {cpu:.4f}")
    return {"tests": counts, "RMSE beside the CPU's": differences}


def stage_sanitize(machine):
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        return {"absent": "no compute-sanitizer here"}
    program = machine.build / "tests/operation_tests"
    # Small cases: a sanitized kernel is a hundred times slower.
    memcheck = ":".join(f"*{suite}*{machine.filter.lstrip('*')}" for suite in
                        ("GatherRows", "ScatterAddRowsTest.adds", "DotRows", "BuildSegments", "MfSgdEpochTest.matches_for_few",
                         "DropoutTest.keeps", "DenseForwardTest.hand", "SumSquaredError"))
    racecheck = ":".join(f"*{suite}*{machine.filter.lstrip('*')}" for suite in
                         ("RatingErrors", "UpdateRowsTest.step", "DenseBackwardTest.hand", "MfSgdEpochTest.matches_for_few"))
    result = {}
    for name, tests in (("memcheck", memcheck), ("racecheck", racecheck)):
        text = machine.run([tool, "--tool", name, "--error-exitcode", "1", program, f"--gtest_filter={tests}",
                            "--gtest_brief=1"])
        result[name] = f"{gtest_counts(text)} tests clean"
    return result


def stage_variants(machine):
    """M ratings/s and RMSE of every --sgd-kernel, by precision and dim; the fastest is named. Ends before its time."""
    data = made_up(machine, machine.like, machine.scale)
    rates = {}
    for dim in sorted(machine.dims, reverse=True):
        for precision in ("f32", "f16", "bf16"):
            packs = dim // (4 if precision == "f32" else 8)
            kernels = ["", "ahead=1", "ahead=4", f"lanes={packs // 2}", "hot=32", "hot=64", "split=512",
                       "reductions=scalar"]
            row = {}
            for kernel in kernels:
                if machine.deadline - time.monotonic() < 60:
                    return {"kernels": rates, "cut off": f"at dim {dim}, {precision}"}
                options = ["--sgd-kernel", kernel] if kernel else []
                rmse, rate = train(machine, data, machine.device, "--dim", dim, "--epochs", "4", "--precision", precision,
                                   *options)
                row[kernel or "default"] = {"M ratings/s": round(rate / 1e6, 3), "test RMSE": round(rmse, 5)}
            rmse, rate = train(machine, data, machine.device, "--dim", dim, "--epochs", "2", "--precision", precision,
                               "--deterministic")
            row["deterministic"] = {"M ratings/s": round(rate / 1e6, 3), "test RMSE": round(rmse, 5)}
            row["fastest"] = max((kernel for kernel in row), key=lambda kernel: row[kernel]["M ratings/s"])
            rates[f"dim {dim}, {precision}"] = row
    return {"kernels": rates}


def stage_bench(machine):
    data = made_up(machine, machine.like, machine.scale)
    rates = {}
    for name, options in [
        *[(f"mf sgd, dim {dim}", ["--dim", str(dim)]) for dim in (32, 64, 128)],
        *[(f"mf sgd, dim 128, {precision}", ["--dim", "128", "--precision", precision]) for precision in ("f16", "bf16")],
        *[(f"mf adam, dim 64, batch {batch}", ["--optimizer", "adam", "--batch", str(batch)])
          for batch in (4096, 65536, 1 << 20)],
        ("mf adam, dim 64, batch 65536, deterministic", ["--optimizer", "adam", "--batch", "65536", "--deterministic"]),
        ("mlp, batch 65536", ["--model", "mlp", "--batch", "65536"]),
        # What bench/results/predicted-h200.md has of it.
        ("mlp 256-256-128-64-1, batch 65536, bf16", WIDE_NETWORK),
    ]:
        row = {}
        for device in (machine.device, "cpu"):
            epochs = "4" if device != "cpu" else "2"
            own = without_precision(options) if device == "cpu" else options
            rmse, rate = train(machine, data, device, "--epochs", epochs, *own)
            row[device] = {"ratings_per_second": rate, "test_rmse": rmse}
        row["times the CPU"] = round(row[machine.device]["ratings_per_second"] / row["cpu"]["ratings_per_second"], 2)
        rates[name] = row
    result = {"ratings/s": rates}
    if machine.device == "cuda":
        text = machine.run([machine.curate, "bench", "--device", "cuda", "--scale", machine.scale, "--rounds", "1",
                            "--json"], stderr=subprocess.DEVNULL)
        result["curate bench"] = json.loads(text)["configurations"]
    return result


def stage_peers(machine):
    if subprocess.run([sys.executable, "-c", "import torch"], capture_output=True, check=False).returncode != 0:
        return {"absent": "no torch for this Python"}
    data = made_up(machine, machine.like, machine.scale)
    peers = "pytorch-gpu,pytorch" if machine.device == "cuda" else "pytorch"
    results = machine.build / "peers.json"
    text = machine.run([sys.executable, ROOT / "bench/peers/mf_peers.py", machine.curate, data, "--peers", peers, "--dim", "64",
                        "--epochs", "4", "--rounds", "1", "--max-seconds", "60", "--json", results],
                       stderr=subprocess.DEVNULL)
    return {"table": [line for line in text.splitlines() if line.strip()]}


def stage_ncu(machine):
    tool = shutil.which("ncu")
    if tool is None:
        return {"absent": "no ncu here"}
    data = made_up(machine, machine.like, machine.scale)
    figures = {}
    for options in (["--dim", "64"], ["--optimizer", "adam", "--batch", "65536"],
                    ["--model", "mlp", "--batch", "65536"], WIDE_NETWORK):
        text = machine.run([tool, "--csv", "--page", "raw", "--clock-control", "none", "--metrics",
                            ",".join(NCU_METRICS.values()), "--kernel-name", "regex:" + "|".join(HOT_KERNELS),
                            "--launch-skip", "20", "--launch-count", "40", machine.curate, "train", data, "--device",
                            machine.device, "--epochs", "1", "--out", machine.build / "ncu-run", *options])
        lines = [line for line in text.splitlines() if line.startswith('"')]
        if len(lines) < 3:
            raise Failed("ncu printed no figures")
        header = [cell.strip('"') for cell in lines[0].split('","')]
        for line in lines[2:]:
            cells = dict(zip(header, (cell.strip('"') for cell in line.split('","'))))
            name = re.search("|".join(sorted(HOT_KERNELS, key=len, reverse=True)), cells.get("Kernel Name", ""))
            if name is not None:
                figures[name[0]] = {label: cells.get(metric) for label, metric in NCU_METRICS.items()}
    return figures


def commit():
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def gpu_name():
    try:
        done = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"],
                              capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "no GPU"
    return done.stdout.strip() or "no GPU"


def markdown(report):
    lines = [f"# GPU acceptance: {report['gpu']}", "",
             f"{report['date']}, commit {report['commit']}, device `{report['device']}`. By `bench/gpu_acceptance.sh`.", "",
             "| stage | result | seconds |", "|---|---|---|"]
    for stage in STAGES:
        entry = report["stages"].get(stage)
        if entry is None:
            lines.append(f"| {stage} | not run | |")
            continue
        lines.append(f"| {stage} | {entry['status']}{': ' + entry['problem'] if entry.get('problem') else ''} "
                     f"| {entry['seconds']:.0f} |")
    rates = report["stages"].get("bench", {}).get("figures", {}).get("ratings/s", {})
    if rates:
        lines += ["", "| training | M ratings/s | CPU, M ratings/s | times | test RMSE (CPU) |", "|---|---|---|---|---|"]
        for name, row in rates.items():
            own, cpu = row[report["device"]], row["cpu"]
            lines.append(f"| {name} | {own['ratings_per_second'] / 1e6:.3f} | {cpu['ratings_per_second'] / 1e6:.3f} "
                         f"| {row['times the CPU']} | {own['test_rmse']:.4f} ({cpu['test_rmse']:.4f}) |")
    for stage in ("test", "sanitize", "variants", "peers", "ncu"):
        figures = report["stages"].get(stage, {}).get("figures")
        if figures:
            lines += ["", f"{stage}:", "", "```", json.dumps(figures, indent=2), "```"]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help="default: all")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "bench/results", help="default: bench/results")
    parser.add_argument("--build-dir", default=ROOT / "build/gpu", help="default: build/gpu")
    parser.add_argument("--scale", type=float, default=1.0, help="of made-up data (default: 1)")
    parser.add_argument("--like", default="ml-20m", help="the release that made-up data are like (default: ml-20m)")
    # For this program's own test, on the emulated GPU.
    parser.add_argument("--device", default="cuda", help=argparse.SUPPRESS)
    parser.add_argument("--program", default="curate", help=argparse.SUPPRESS)
    parser.add_argument("--test-filter", help=argparse.SUPPRESS)
    parser.add_argument("--dims", default="32,64,128", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    wanted = arguments.stages or ["all"]
    for stage in wanted:
        if stage not in [*STAGES, "all"]:
            parser.error(f"no such stage: {stage}; there are {', '.join(STAGES)} and all")
    if arguments.device != "cuda" and arguments.out == ROOT / "bench/results":
        parser.error("results of an emulated device do not go into bench/results; give --out")

    machine = Machine(arguments)
    machine.build.mkdir(parents=True, exist_ok=True)
    state = machine.build / "acceptance.json"
    report = json.loads(state.read_text()) if state.exists() else {}
    now = commit()
    if report.get("commit") != now or report.get("device") != machine.device:
        report = {"commit": now, "device": machine.device, "gpu": gpu_name(),
                  "date": datetime.date.today().isoformat(), "stages": {}}
    for stage in STAGES:
        passed = report["stages"].get(stage, {}).get("status") == "passed"
        if stage not in wanted and ("all" not in wanted or passed):
            continue
        print(f"\n== {stage}", flush=True)
        start = time.monotonic()
        machine.deadline = start + STAGE_SECONDS
        entry = {"status": "passed"}
        try:
            entry["figures"] = globals()[f"stage_{stage}"](machine)
            if "absent" in entry["figures"]:
                entry["status"] = "skipped"
                entry["problem"] = entry["figures"]["absent"]
        except Failed as failure:
            entry["status"] = "failed"
            entry["problem"] = str(failure)
        entry["seconds"] = time.monotonic() - start
        report["stages"][stage] = entry
        # After every stage: whoever is cut off goes on from here.
        state.write_text(json.dumps(report, indent=2))
    arguments.out.mkdir(parents=True, exist_ok=True)
    name = f"gpu-{report['date']}-{report['commit']}"
    (arguments.out / f"{name}.json").write_text(json.dumps(report, indent=2) + "\n")
    (arguments.out / f"{name}.md").write_text(markdown(report))
    print("\n" + markdown(report))
    print(f"written to {arguments.out / name}.json and .md")
    if any(entry["status"] == "failed" for entry in report["stages"].values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
