#!/usr/bin/env -S python3 -S -E
"""Stands for every program of a GPU kit in gpu_kit_test.py: what it is called decides what it does, and faults.json in
the kit's folder what goes wrong. Every call is written to calls.log there."""

import fcntl
import fnmatch
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

KIT = pathlib.Path(os.environ["FAKE_KIT"])
FAULTS = json.loads((KIT / "faults.json").read_text()) if (KIT / "faults.json").exists() else {}
NAME = pathlib.Path(sys.argv[0]).name
# Every part of a name that tools.py asks for, but of the first of them.
SANITIZED = {"All/ScatterAddRowsTest": ["adds/cuda"], "All/BuildSegmentsTest": ["groups/cuda"],
             "All/MfSgdEpochTest": ["matches_for_few/cuda"], "All/DropoutTest": ["works/cuda"],
             "All/DenseForwardTest": ["relu_keeps/cuda"], "All/SumSquaredErrorTest": ["sums/cuda"],
             "All/ContractTest": ["copy_honours/cuda"], "All/RatingErrorsTest": ["sums/cuda"],
             "All/UpdateRowsTest": ["one_step_matches/cuda"], "All/DenseBackwardTest": ["relu_is/cuda"]}
ARGUMENTS = sys.argv[1:]


def say(text):
    print(text, flush=True)


def note(text):
    with open(KIT / "calls.log", "a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(text + "\n")


def option(name, default=None):
    return ARGUMENTS[ARGUMENTS.index(name) + 1] if name in ARGUMENTS else default


def misbehave(fault):
    if fault == "hang":
        # With a child that would hold a pipe open, and deaf for SIGTERM.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import signal, time\nsignal.signal(signal.SIGTERM, "
                                                        "signal.SIG_IGN)\ntime.sleep(300)"])
        note(f"pid {os.getpid()} {child.pid}")
        time.sleep(300)
    if fault == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if fault == "silent":
        sys.exit(0)
    if fault == "flood":
        while True:
            os.write(1, b"x" * (1 << 20))


def tests():
    faults = FAULTS.get("tests", {})
    if faults.get(NAME):
        misbehave(faults[NAME])
    suites = FAULTS.get("suites", {
        "All/FirstTest": ["a/cuda", "b/cuda", "c/cuda"], "All/GatherRowsTest": ["gathers/cuda"],
        "All/DotRowsTest": ["dots/cuda"], **SANITIZED})
    pattern = next(part.split("=", 1)[1] for part in ARGUMENTS if part.startswith("--gtest_filter="))
    names = [f"{suite}.{test}" for suite, own in suites.items() for test in own]
    chosen = [name for name in names if any(fnmatch.fnmatchcase(name, part) for part in pattern.split(":"))]
    say("Running main() from fake")
    if "--gtest_list_tests" in ARGUMENTS:
        for suite in suites:
            own = [name for name in chosen if name.startswith(suite + ".")]
            say("\n".join([suite + ".", *(f"  {name.split('.', 1)[1]}  # GetParam() = \"cuda\"" for name in own)]))
        return 0
    code = 0
    for name in chosen:
        fault = faults.get(name)
        note(f"{NAME} {name}{' blocking' if os.environ.get('CUDA_LAUNCH_BLOCKING') else ''}")
        if fault == "silent":
            misbehave(fault)
        say(f"[ RUN      ] {name}")
        misbehave(fault)
        if fault == "fail":
            say(f"x_test.cpp:1: Failure\nwrong numbers\n[  FAILED  ] {name}, where GetParam() = \"cuda\" (0 ms)")
            code = 1
        elif fault == "poison":
            say(f"an illegal memory access\n[  FAILED  ] {name}, where GetParam() = \"cuda\" (0 ms)")
            say(f"[ POISONED ] {name}")
            return 3
        elif fault == "skip":
            say(f"[  SKIPPED ] {name} (0 ms)")
        else:
            say(f"[       OK ] {name} (0 ms)")
    return code


def curate():
    fault = FAULTS.get("curate", {}).get(ARGUMENTS[0])
    misbehave(fault)
    if ARGUMENTS[0] == "--version":
        say("curate 0.1.0")
        return 1 if fault else 0
    if ARGUMENTS[0] == "doctor":
        say(json.dumps({"cuda": True, "gpu": "Fake H200", "cuda_driver": "13.0", "cuda_toolkit": "13.0"}))
    elif ARGUMENTS[0] == "data":
        out = pathlib.Path(option("--out"))
        out.mkdir(parents=True)
        (out / "ratings.csv").write_text("1,2,3\n" + FAULTS.get("ratings", ""))
    elif ARGUMENTS[0] == "train":
        note(f"train {pathlib.Path(option('--out')).name}")
        out = pathlib.Path(option("--out"))
        name = out.name.rsplit("-", 1)[0]
        fault = FAULTS.get("train", {}).get(name)
        misbehave(fault)
        if fault == "refuse":
            print("gpu_kit_fake: --debug-device was not expected", file=sys.stderr)
            return 2
        out.mkdir(parents=True, exist_ok=True)
        rmse = 0.95 + (fault if isinstance(fault, float) and option("--device") != "cpu" else 0.0)
        (out / "metrics.json").write_text(json.dumps({"test": {"rmse": rmse}}))
    return 0


def gpu_probe():
    what = ARGUMENTS[0]
    note(f"gpu_probe {' '.join(ARGUMENTS)} LD {os.environ.get('LD_LIBRARY_PATH')}")
    faults = FAULTS.get("probe", {})
    if what in faults:
        if faults[what] == "refuse":
            return 2
        misbehave(faults[what])
    lost = False
    say(json.dumps({"probe": "machine", "device": "cuda", "multiprocessors": 132}))
    if faults.get(what) == "only machine":
        return 0
    if what == "epochs":
        lines = [{"probe": "epochs", "dim": int(dim), "precision": precision, "kernel": kernel}
                 for dim in option("--dim").split(",") for precision in option("--precision").split(",")
                 for kernel in option("--kernel").split(",")]
        names = [f"dim {line['dim']} {line['precision']} {line['kernel']}" for line in lines]
    elif what == "train":
        names = [ARGUMENTS[i + 1] for i, part in enumerate(ARGUMENTS) if part == "--set"]
        lines = [{"probe": "train", "set": name} for name in names]
    elif what == "memory":
        lines = [{"probe": "hbm", "how": how, "buffer_bytes": 4096} for how in ("read", "copy")]
        names = [f"hbm {line['how']} buffer_bytes 4096" for line in lines]
    else:
        lines = [{"probe": "product", "inputs": 256, "outputs": 128, "precision": precision, "pass": "weight_gradient",
                  "epilogue": epilogue}
                 for epilogue in ("BGRADB", "none") for precision in option("--precision").split(",")]
        names = [line["precision"] for line in lines]
        say(json.dumps({"probe": "product", "inputs": 64, "outputs": 1, "precision": "bf16", "skipped": "too narrow"}))
    code = 0
    for name, line in zip(names, lines):
        fault = faults.get(name)
        misbehave(fault)
        if lost:
            line["cut"] = True
        elif fault == "error":
            line["error"] = "an illegal memory access was encountered"
            lost, code = True, 1
        elif what in ("epochs", "train"):
            own = 5.0 if "ahead=4" in name else 10.0
            line.update(ratings=100, epoch_ms={"median": own, "min": own, "max": own}, ratings_per_second=1e9,
                        train_rmse=0.8)
        else:
            line.update(bytes=100, us=12.5, gbps=4000.0, tflops=1.5)
            if what == "products":
                # The first one is fast and wrong.
                line["algorithms"] = [{"id": 20, "us": 0.0, "chosen": False, "problem": "wrong sums"},
                                      {"id": 21, "us": 12.0, "chosen": True}, {"id": 22, "us": 8.0, "chosen": False}]
        say(json.dumps(line))
    return code


def compute_sanitizer():
    tool = option("--tool")
    fault = FAULTS.get("sanitizer", {}).get(tool)
    misbehave(fault)
    at = next(i for i, part in enumerate(ARGUMENTS) if "tests" in part and not part.startswith("-"))
    done = subprocess.run(ARGUMENTS[at:], check=False)
    few = "--gtest_filter=All/GatherRowsTest.gathers/cuda" in ARGUMENTS  # it is being tried
    if fault == "error" and not few:
        say("========= Invalid __global__ write of size 4 bytes\n========= ERROR SUMMARY: 1 error")
        return 99
    say("========= ERROR SUMMARY: 0 errors")
    return done.returncode


def ncu():
    fault = FAULTS.get("ncu")
    if fault == "permission":
        print("==ERROR== ERR_NVGPUCTRPERM - The user does not have permission", file=sys.stderr)
        return 1
    misbehave(fault)
    say("==PROF== Connected\nsome words of the program")
    if "--csv" in ARGUMENTS:
        note("ncu " + " ".join(ARGUMENTS))
        # 8.2 ms: by itself ncu chooses a unit in which a figure is short.
        base = option("--print-units", "auto") == "base"
        time_of = ("ns", "8,200,000") if base and fault != "other units" else ("ms", "8.20")
        metrics = option("--metrics").split(",")
        columns = [time_of if "duration" in name else ("%", "1,234.5") for name in metrics]
        say(",".join(f'"{name}"' for name in ["ID", "Kernel Name", *metrics]))
        say(",".join(f'"{name}"' for name in ["", "", *[unit for unit, _ in columns]]))
        for launch in range(2):
            kernel = "void curate::cuda::(anonymous namespace)::mf_sgd_epoch_kernel<4>(int, float)"
            say(",".join(f'"{name}"' for name in [launch, kernel, *[value for _, value in columns]]))
        return 137 if option("--kill") == "yes" else 0  # the program's status, which was killed
    return 0


def nvidia_smi():
    note("nvidia-smi " + ARGUMENTS[0])
    fields = ARGUMENTS[0].split("=", 1)[1].split(",")
    say(", ".join("Fake H200" if field == "name" else f"[{field}]" for field in fields))
    return 0


def worker():
    """For mf_peers_worker.py."""
    note(f"worker {ARGUMENTS[0]} LD {os.environ.get('LD_LIBRARY_PATH')}")
    if ARGUMENTS[0] == "probe":
        say(json.dumps({"pytorch-gpu": {"version": "2.9, Fake H200", "absent": FAULTS.get("torch")}}))
        return 0
    task = json.loads(ARGUMENTS[1])
    misbehave(FAULTS.get("peer", {}).get(str(task["recipe"]["batch"])))
    for epoch in range(task["epochs"]):
        say(json.dumps({"epochs": epoch + 1, "seconds": 2.0 + epoch, "rmse": None}))
    say(json.dumps({"done": True}))
    return 0


def cmake():
    note("cmake " + " ".join(ARGUMENTS))
    if "--build" in ARGUMENTS:
        target = option("--target")
        if target == "library_tests":
            print("ninja: error: unknown target 'library_tests'", file=sys.stderr)
            return 1
        folder = pathlib.Path(option("--build")) / ("tests" if target.endswith("_tests") else "bin")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / target).symlink_to(pathlib.Path(__file__).resolve())
    return 0


PROGRAMS = {"curate": curate, "gpu_probe": gpu_probe, "compute-sanitizer": compute_sanitizer, "ncu": ncu,
            "nvidia-smi": nvidia_smi, "cmake": cmake, "worker.py": worker}
sys.exit(PROGRAMS.get(NAME, tests)())
