#!/usr/bin/env python3
"""What an epoch of per-rating SGD (mf_sgd_epoch) should take on an H100, from the machine code of its inner loop and the
bytes that it moves, as a Markdown table; and fused stacks of dense layers, for which predicted_stacks.py counts. Nothing
is run: every time is predicted.

usage: bench/predicted_h100.py [--nvdisasm PROGRAM] [--traffic PROGRAM] [--ratings N] [--heaviest N] [--users N]

Compiles the kernels for sm_90 and reads the loop over a user's ratings as nvdisasm prints it (it comes with the CUDA
toolkit, or with Python's package nvidia-cuda-nvdisasm). Bytes are those that the emulator counted in the kernel's own
accesses (cmake --preset emulated && cmake --build build/emulated --target mf_traffic).

Three bounds, of which the largest is the prediction:
- issue: warp instructions of the loop's body, all branches taken (those for rates of each row and for an item rated
  twice are not, as a rule: an upper bound) but for the taking of the next user, over what the schedulers can issue;
- L2: what is read and reduced, rows in whole sectors of 32 bytes, biases in sectors of their own, over the L2's rate.
  Reductions are counted like reads; what they really cost there is not published;
- latency: a group of lanes has one rating in work at a time. Its chain is the shared sum and the update; the item's row
  is on its way meanwhile, so a rating takes the longer of both.
"""

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import predicted_stacks

ROOT = pathlib.Path(__file__).resolve().parent.parent

MULTIPROCESSORS = 132
SCHEDULERS = 4
CLOCK = 1.755e9  # Hz, an H100 SXM under load
L2_BYTES_PER_SECOND = 5.5e12  # reads that hit; published microbenchmarks of H100s lie between 5 and 7
WARPS = 64  # of a multiprocessor, at most
REGISTERS = 65536
BLOCK_WARPS = 8

# Cycles.
L2_LATENCY = 270
SHUFFLE = 23
ARITHMETIC = 4
DIMS = [32, 64, 128]
TYPES = {"f32": ("f", 4), "f16": (r"NS\d_3F16E", 8), "bf16": (r"NS\d_4Bf16E", 8)}  # mangled, elements of a pack
AHEAD = 2  # rows on their way, as the kernel has it by default


def fail(problem):
    sys.exit(f"predicted_h100.py: {problem}")


def run(command, what):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        fail(f"{what}:\n{done.stderr}")
    return done.stdout + done.stderr


def tool(name, given, remedy):
    found = given or shutil.which(name) or shutil.which(name, path="/usr/local/cuda/bin")
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


def predict(precision, dim, loop, registers, moved, ratings):
    lanes = min(32, dim // TYPES[precision][1])
    shuffles = max(1, (lanes - 1).bit_length())
    instructions = len(loop[0]) + (shuffles - 1) * loop[1]
    resident = min(WARPS, REGISTERS // (-(-registers * 32 // 256) * 256) // BLOCK_WARPS * BLOCK_WARPS)
    groups = MULTIPROCESSORS * resident * 32 // lanes
    issue = instructions * lanes / 32 / (MULTIPROCESSORS * SCHEDULERS * CLOCK)
    chain = shuffles * (SHUFFLE + ARITHMETIC) + 8 * ARITHMETIC
    latency = max(chain, L2_LATENCY / AHEAD) / CLOCK
    return {"precision": precision, "dim": dim, "lanes": lanes, "instructions": instructions, "registers": registers,
            "per_rating": instructions * lanes / 32, "bytes": moved, "groups": groups, "issue": ratings * issue,
            "l2": ratings * moved[0] / L2_BYTES_PER_SECOND, "latency": ratings * latency / groups, "one": latency}


def main():
    parser = argparse.ArgumentParser(usage="predicted_h100.py [options]", description="Predicts an epoch on an H100.")
    parser.add_argument("--nvdisasm", help="the program, where it is not on the PATH")
    parser.add_argument("--traffic", default=str(ROOT / "build/emulated/bin/mf_traffic"))
    parser.add_argument("--ratings", type=int, default=20_000_263)
    parser.add_argument("--users", type=int, default=138_493)
    parser.add_argument("--heaviest", type=int, default=9254, help="ratings of the most active user")
    arguments = parser.parse_args()
    nvcc = tool("nvcc", None, "it comes with the CUDA toolkit")
    nvdisasm = tool("nvdisasm", arguments.nvdisasm, "pip install nvidia-cuda-nvdisasm, then --nvdisasm PROGRAM")
    traffic = tool(arguments.traffic, None, "cmake --preset emulated && cmake --build build/emulated --target mf_traffic")
    counted = json.loads(run([traffic], "mf_traffic failed"))
    kernels, registers = disassemble(nvcc, nvdisasm)
    rows = []
    for precision in TYPES:
        for dim in DIMS:
            moved = bytes_of(counted, precision, dim, arguments.users / arguments.ratings)
            rows.append(predict(precision, dim, rating_loop(kernels[precision]), registers[precision], moved,
                                arguments.ratings))

    print(f"An epoch of {arguments.ratings:,} ratings with biases on an H100 SXM; every time is *predicted*.\n")
    print("| stored | dim | lanes a rating | instructions of the loop | warp instructions a rating | registers "
          "| bytes a rating, counted | through the L2 | groups at once | issue | L2 | latency | **epoch** | ratings/s |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        epoch = max(row["issue"], row["l2"], row["latency"])
        print(f"| {row['precision']} | {row['dim']} | {row['lanes']} | {row['instructions']} | {row['per_rating']:.1f} "
              f"| {row['registers']} | {row['bytes'][1]:.0f} | {row['bytes'][0]:.0f} | {row['groups']:,} "
              f"| {1e3 * row['issue']:.2f} ms | {1e3 * row['l2']:.2f} ms | {1e3 * row['latency']:.2f} ms "
              f"| **{1e3 * epoch:.2f} ms** | {arguments.ratings / epoch / 1e9:.1f} G |")
    one = max(row["one"] for row in rows)
    print(f"\nOne after the other the most active user's {arguments.heaviest:,} ratings would take "
          f"{1e3 * arguments.heaviest * one:.2f} ms: users of more than 2,048 are learnt in pieces, and the longest start "
          "first.")
    for precision in ("f32", "f16"):
        counts = {}
        for name in rating_loop(kernels[precision])[0]:
            kind = name.split(".")[0]
            counts[kind] = counts.get(kind, 0) + 1
        print(f"\nThe loop's instructions, {precision}: " + ", ".join(
            f"{count} {kind}" for kind, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))) + ".")
    print()
    report_stacks(nvcc, nvdisasm, arguments.ratings)


def report_stacks(nvcc, nvdisasm, rows):
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
    predicted_stacks.report(text, registers, source, rows)


if __name__ == "__main__":
    main()
