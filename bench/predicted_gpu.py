#!/usr/bin/env python3
"""What training should take on the GPU that gpu_model.toml describes, as Markdown: an epoch of per-rating SGD (mf_sgd_epoch)
from the machine code of its inner loop and the bytes that it moves, trainings in mini-batches (predicted_steps.py), fused
stacks of dense layers (predicted_stacks.py). Nothing is run: every time is predicted.

usage: bench/predicted_gpu.py [--json FILE] [--counted FILE] [--model FILE] [--nvdisasm PROGRAM] [--traffic PROGRAM]
                              [--ratings N] [--heaviest N] [--users N]

Compiles the kernels for sm_90 and reads the loop over a user's ratings as nvdisasm prints it (it comes with the CUDA
toolkit, or with Python's package nvidia-cuda-nvdisasm). Bytes are those that the emulator counted in the kernel's own
accesses (cmake --preset emulated && cmake --build build/emulated --target mf_traffic). --counted takes both from what
--json has written before, where only the model has changed.

Three bounds of per-rating SGD, of which the largest is the prediction, besides the launches of an epoch:
- issue: warp instructions of the loop's body, all branches taken (those for rates of each row and for an item rated
  twice are not, as a rule: an upper bound) but for the taking of the next user, over the share of the schedulers' slots
  in which a warp issues;
- L2: what is read and reduced, rows in whole sectors of 32 bytes, biases in sectors of their own, over the L2's rate
  (HBM's where the items' rows do not fit). Reductions are counted like reads; what they really cost there is not
  published;
- latency: a group of lanes has one rating in work at a time. Its chain is the shared sum and the update; the item's row
  is on its way meanwhile, so a rating takes the longer of both.
"""

import argparse
import collections
import glob
import json
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile

import gpu_model
import predicted_stacks
import predicted_steps

ROOT = pathlib.Path(__file__).resolve().parent.parent

BLOCK_WARPS = 8
LAUNCHES = 13  # of an epoch: pieces' keys, their radix sort, a counter set to 0, the epoch itself
DIMS = [32, 64, 128]
TYPES = {"f32": ("f", 4), "f16": (r"NS\d_3F16E", 8), "bf16": (r"NS\d_4Bf16E", 8)}  # mangled, elements of a pack
AHEAD = 2  # rows on their way, as the kernel has it by default


def fail(problem):
    sys.exit(f"predicted_gpu.py: {problem}")


def run(command, what):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        fail(f"{what}:\n{done.stderr}")
    return done.stdout + done.stderr


def tool(name, given, remedy):
    packages = glob.glob(f"{sysconfig.get_path('purelib')}/nvidia/*/bin")
    found = given or shutil.which(name) or shutil.which(name, path=":".join(["/usr/local/cuda/bin", *packages]))
    if found is None:
        fail(f"no {name} here: {remedy}")
    return found


def compile_kernel(nvcc, nvdisasm, name, options=(), replaced=None):
    """What nvdisasm prints of kernels/NAME.cu, with `replaced` {header: text} in place of headers, and what the assembler
    said."""
    with tempfile.TemporaryDirectory() as folder:
        for header, text in (replaced or {}).items():
            path = pathlib.Path(folder) / header
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        cubin = pathlib.Path(folder) / f"{name}.cubin"
        log = run([nvcc, "-std=c++20", "-arch=sm_90", "-cubin", "-O3", "-lineinfo", "-Xptxas=-v", f"-I{folder}",
                   f"-I{ROOT}", f"-I{ROOT / 'host'}", f"-I{ROOT / 'include'}", "-o", str(cubin),
                   str(ROOT / "kernels" / f"{name}.cu")], f"kernels/{name}.cu does not compile")
        return run([nvdisasm, *options, "-c", str(cubin)], "nvdisasm failed"), log


def disassemble(nvcc, nvdisasm):
    """The instructions, and labels as (None, name), of {type: [...]} with a pack to a lane, and registers."""
    text, log = compile_kernel(nvcc, nvdisasm, "mf_sgd_epoch")

    def variant(text):
        for name, (mangled, elements) in TYPES.items():
            if re.search(rf"mf_sgd_epoch_kernelI{mangled}Li{elements}ELi1ELi{AHEAD}ELb0ELb0ELb0E", text):
                return name
        return None

    registers = {}
    current = None
    for line in log.splitlines():
        if match := re.search(r"Compiling entry function '(\S+)'", line):
            current = variant(match[1])
        elif current and (match := re.search(r"Used (\d+) registers", line)):
            registers[current] = int(match[1])
    kernels = {}
    for line in text.splitlines():
        if line.lstrip().startswith(".section"):
            current = variant(line) if ".text." in line else None
        elif current:
            if match := re.match(r"\s*(\.L_\w+):", line):
                kernels.setdefault(current, []).append((None, match[1]))
            elif match := re.match(r"\s*/\*[0-9a-f]+\*/\s+(?:@!?\w+\s+)?([A-Z][\w.]*)(.*)", line):
                kernels.setdefault(current, []).append((match[1], match[2]))
    return kernels, registers


def loops_of(instructions):
    """(first, last) of every backward branch's stretch of code, the smallest first."""
    labels = {name: place for place, (operation, name) in enumerate(instructions) if operation is None}
    loops = []
    for place, (operation, rest) in enumerate(instructions):
        target = re.search(r"\.L_\w+", rest) if operation and operation.startswith("BRA") else None
        if target and labels.get(target[0], place) < place:
            loops.append((labels[target[0]], place))
    return sorted(loops, key=lambda loop: loop[1] - loop[0])


def smallest_with(instructions, *patterns):
    for first, last in loops_of(instructions):
        names = [name for name, _ in instructions[first:last + 1] if name]
        if all(any(re.match(pattern, name) for name in names) for pattern in patterns):
            return first, last
    return fail(f"no loop with {' and '.join(patterns)} in the disassembly: was the kernel changed?")


def rating_loop(instructions):
    """The instructions for a rating, without those that take the next user, and those for each step of the shared sum."""
    first, last = smallest_with(instructions, r"SHFL\.BFLY", r"RED")
    step = smallest_with(instructions, r"SHFL\.BFLY")
    taking = smallest_with(instructions, r"ATOMG\.")
    names = [name for place, (name, _) in enumerate(instructions) if name and first <= place <= last and not
             (first < taking[0] and taking[0] <= place <= taking[1])]
    return names, sum(1 for name, _ in instructions[step[0]:step[1] + 1] if name)


def sectors(size):
    return -(-size // 32) * 32


def bytes_of(counted, precision, dim, users_per_rating):
    """Bytes through the L2 for a rating, and that of them which the emulator counted for it."""
    (row,) = [row for row in counted if row["precision"] == precision and row["dim"] == dim]
    lanes = min(32, dim // TYPES[precision][1])
    size = 4 if precision == "f32" else 2
    plan = row["plan"] / lanes / row["ratings"]
    reduced = row["reduced"] / row["ratings"]
    read = row["read"] / (row["ratings"] + row["users"])
    written = row["written"] / row["users"]
    exact = plan + read + reduced + users_per_rating * (read + written)
    # A bias of four bytes takes a sector.
    padding = sectors(size * dim) - size * dim + 28
    return exact + padding * (2 + 2 * users_per_rating), exact


def count_ratings(nvcc, nvdisasm, traffic, users_per_rating):
    """{precision: {"registers", "kinds", dim: {"instructions", "bytes"}}} of per-rating SGD's kernel."""
    moved = json.loads(run([traffic], "mf_traffic failed"))
    kernels, registers = disassemble(nvcc, nvdisasm)
    counted = {}
    for precision in TYPES:
        names, shuffle_step = rating_loop(kernels[precision])
        kinds = collections.Counter(name.split(".")[0] for name in names)
        of = counted[precision] = {"registers": registers[precision],
                                   "kinds": dict(sorted(kinds.items(), key=lambda item: (-item[1], item[0])))}
        for dim in DIMS:
            shuffles = max(1, (lanes_of(precision, dim) - 1).bit_length())
            of[str(dim)] = {"instructions": len(names) + (shuffles - 1) * shuffle_step,
                            "bytes": bytes_of(moved, precision, dim, users_per_rating)}
    return counted


def lanes_of(precision, dim):
    return min(32, dim // TYPES[precision][1])


def predict(model, counted, precision, dim, ratings):
    """Figures of an epoch, times in seconds. counted: of the precision."""
    lanes = lanes_of(precision, dim)
    registers, (through_l2, exact) = counted["registers"], counted[str(dim)]["bytes"]
    instructions = counted[str(dim)]["instructions"]
    resident = min(model.warps, model.registers // (-(-registers * 32 // 256) * 256) // BLOCK_WARPS * BLOCK_WARPS)
    groups = model.multiprocessors * resident * 32 // lanes
    issue = instructions * lanes / 32 / (model.multiprocessors * model.schedulers * model.clock * model.issue_share)
    chain = max(1, (lanes - 1).bit_length()) * (model.shuffle_latency + model.arithmetic_latency)
    latency = max(chain + 8 * model.arithmetic_latency, model.l2_latency / AHEAD) / model.clock
    items_fit = predicted_steps.ITEMS * dim * (4 if precision == "f32" else 2) <= model.l2_bytes
    rate = model.l2_rate if items_fit else model.hbm_rate
    bounds = {"issue": ratings * issue, "l2": ratings * through_l2 / rate, "latency": ratings * latency / groups}
    return {"lanes": lanes, "instructions": instructions, "registers": registers, "per_rating": instructions * lanes / 32,
            "exact": exact, "through_l2": through_l2, "groups": groups, "bounds": bounds, "one": latency,
            "epoch": max(bounds.values()) + LAUNCHES * model.launch}


def count_stacks(nvcc, nvdisasm):
    log = compile_kernel(nvcc, nvdisasm, "dense_stack")[1]
    activations = (ROOT / "kernels" / "activations.cuh").read_text()
    text = compile_kernel(nvcc, nvdisasm, "dense_stack", ["-gi"],
                          {"kernels/activations.cuh": predicted_stacks.relu_alone(activations)})[0]
    registers = {}
    current = None
    for line in log.splitlines():
        if match := re.search(r"Compiling entry function '\S*dense_stack_(forward|backward)_kernelILNS_16"
                              r"ProductPrecisionE(\d)ELi2E", line):
            current = (match[1], predicted_stacks.PRECISIONS[int(match[2])])
        elif "Compiling entry function" in line:
            current = None
        elif current and (match := re.search(r"Used (\d+) registers", line)):
            registers[current] = int(match[1])
    source = (ROOT / "kernels" / "dense_stack.cu").read_text()
    return predicted_stacks.count_stacks(text, registers, source, [(predicted_stacks.NARROW, predicted_stacks.PRECISIONS),
                                                                   (predicted_stacks.DEFAULT, ["f32"])])


def count(arguments):
    """What the predictions are made of, besides the model: from the compiler and the emulator."""
    nvcc = tool("nvcc", None, "it comes with the CUDA toolkit")
    nvdisasm = tool("nvdisasm", arguments.nvdisasm, "pip install nvidia-cuda-nvdisasm, then --nvdisasm PROGRAM")
    traffic = tool(arguments.traffic, None, "cmake --preset emulated && cmake --build build/emulated --target mf_traffic")
    return {"ratings": count_ratings(nvcc, nvdisasm, traffic, arguments.users / arguments.ratings),
            "stacks": count_stacks(nvcc, nvdisasm)}


def report_epochs(model, counted, epochs, ratings, heaviest):
    print(f"## Per-rating SGD\n\nAn epoch of {ratings:,} ratings with biases; every time is *predicted*.\n")
    print("| stored | dim | lanes a rating | instructions of the loop | warp instructions a rating | registers "
          "| bytes a rating, counted | through the L2 | groups at once | issue | L2 | latency | **epoch** | ratings/s |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
    for (precision, dim), row in epochs.items():
        bounds = " | ".join(f"{1e3 * row['bounds'][bound]:.2f} ms" for bound in ("issue", "l2", "latency"))
        print(f"| {precision} | {dim} | {row['lanes']} | {row['instructions']} | {row['per_rating']:.1f} "
              f"| {row['registers']} | {row['exact']:.0f} | {row['through_l2']:.0f} | {row['groups']:,} "
              f"| {bounds} | **{1e3 * row['epoch']:.2f} ms** | {ratings / row['epoch'] / 1e9:.1f} G |")
    one = max(row["one"] for row in epochs.values())
    print(f"\nOne after the other the most active user's {heaviest:,} ratings would take {1e3 * heaviest * one:.2f} ms: "
          "users of more than 2,048 are learnt in pieces, and the longest start first.")
    for precision in ("f32", "f16"):
        kinds = ", ".join(f"{number} {kind}" for kind, number in counted[precision]["kinds"].items())
        print(f"\nThe loop's instructions, {precision}: {kinds}.")


def main():
    parser = argparse.ArgumentParser(usage="predicted_gpu.py [options]", description="Predicts times of training on a GPU.")
    parser.add_argument("--json", type=pathlib.Path, help="file for all predictions")
    parser.add_argument("--counted", type=pathlib.Path, help="such a file, whose counts are taken: nothing is compiled")
    parser.add_argument("--model", type=pathlib.Path, default=gpu_model.PATH)
    parser.add_argument("--nvdisasm", help="the program, where it is not on the PATH")
    parser.add_argument("--traffic", default=str(ROOT / "build/emulated/bin/mf_traffic"))
    parser.add_argument("--ratings", type=int, default=20_000_263)
    parser.add_argument("--users", type=int, default=138_493)
    parser.add_argument("--heaviest", type=int, default=9254, help="ratings of the most active user")
    arguments = parser.parse_args()
    model = gpu_model.load(arguments.model)
    counted = json.loads(arguments.counted.read_text())["counted"] if arguments.counted else count(arguments)
    ratings = arguments.ratings
    epochs = {(precision, dim): predict(model, counted["ratings"][precision], precision, dim, ratings)
              for precision in TYPES for dim in DIMS}
    trainings = predicted_steps.trainings(model, counted["stacks"], ratings)
    products = predicted_steps.products(model, predicted_stacks.WIDE, 65536)

    report_epochs(model, counted["ratings"], epochs, ratings, arguments.heaviest)
    print()
    predicted_steps.report(model, trainings, products)
    print()
    predicted_stacks.report(model, counted["stacks"], ratings)
    if arguments.json:
        figures = {f"dim {dim} {precision} default":
                   {"ms": 1e3 * row["epoch"],
                    **{f"{bound}_ms": 1e3 * seconds for bound, seconds in row["bounds"].items()}}
                   for (precision, dim), row in epochs.items()}
        text = json.dumps({"epochs": figures, "train": trainings, "products": products, "assumptions": model.values(),
                           "ratings": ratings, "counted": counted}, indent=1)
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
