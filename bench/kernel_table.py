#!/usr/bin/env python3
"""Registers, shared memory and stack of every CUDA kernel, as the compiler laid them out, as a Markdown table.

usage: bench/kernel_table.py [BUILD]     BUILD: a build folder with the CUDA engine (default: build/ci or build/cuda)

Reads the objects with the toolkit's cuobjdump. Occupancy is the share of a multiprocessor's threads that can be there
at once by registers and shared memory, for blocks of 256 threads.
"""

import pathlib
import re
import shutil
import subprocess
import sys

BLOCK_THREADS = 256
REGISTERS = 65536
REGISTERS_PER_WARP_UNIT = 256
THREADS = {"sm_80": 2048, "sm_90": 2048}
SHARED_BYTES = {"sm_80": 164 << 10, "sm_90": 228 << 10}
SHARED_RESERVED = 1024


def find_build(arguments):
    root = pathlib.Path(__file__).resolve().parent.parent
    candidates = [pathlib.Path(arguments[0])] if arguments else [root / "build/cuda", root / "build/ci"]
    for build in candidates:
        objects = sorted((build / "kernels/CMakeFiles/curate_cuda.dir").glob("*.cu.o"))
        if objects:
            return objects
    sys.exit(f"kernel_table.py: no objects of the CUDA engine in {', '.join(map(str, candidates))}; "
             "build it first: cmake/build.sh cuda")


def find_tool(name):
    tool = shutil.which(name) or shutil.which(name, path="/usr/local/cuda/bin")
    if tool is None:
        sys.exit(f"kernel_table.py: no {name} here; it comes with the CUDA toolkit")
    return tool


def demangle(name):
    text = subprocess.run([find_tool("c++filt"), name], capture_output=True, text=True, check=True).stdout
    text = text.replace("curate::cuda::", "").replace("(anonymous namespace)::", "").replace("curate::", "")
    text = re.sub(r"\(OptimizerKind\)(\d)", lambda kind: ["sgd", "adagrad", "adam"][int(kind[1])], text)
    match = re.search(r"(\w+)_kernel(?:<([^()]*)>)?", text)
    if match is None:
        return None
    arguments = re.sub(r"\((?:int|bool)\)", "", match[2] or "")
    return match[1] + (f"<{arguments}>" if arguments else "")


def occupancy(architecture, registers, shared):
    warps = BLOCK_THREADS // 32
    per_warp = -(-registers * 32 // REGISTERS_PER_WARP_UNIT) * REGISTERS_PER_WARP_UNIT
    blocks = min(THREADS[architecture] // BLOCK_THREADS, REGISTERS // (per_warp * warps),
                 SHARED_BYTES[architecture] // (shared + SHARED_RESERVED))
    return blocks * BLOCK_THREADS / THREADS[architecture]


def read_object(path):
    text = subprocess.run([find_tool("cuobjdump"), "--dump-resource-usage", str(path)], capture_output=True, text=True,
                          check=True).stdout
    architecture = None
    function = None
    for line in text.splitlines():
        if match := re.search(r"arch = (sm_\d+)", line):
            architecture = match[1]
        elif match := re.search(r"Function (\S+):", line):
            function = match[1]
        elif function and (match := re.search(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", line)):
            name = demangle(function)
            if name is not None and architecture in THREADS:
                yield name, architecture, tuple(map(int, match.groups()))
            function = None


def main():
    kernels = {}
    for path in find_build(sys.argv[1:]):
        if path.name == "sort.cu.o":
            continue  # CUB's kernels are not ours
        for name, architecture, usage in read_object(path):
            kernels.setdefault((path.name.removesuffix(".o"), name), {})[architecture] = usage
    print("| file | kernel | registers sm_80 / sm_90 | shared bytes | stack bytes | occupancy sm_80 / sm_90 |")
    print("|---|---|---|---|---|---|")
    with_stack = 0
    for (file, name), usages in sorted(kernels.items()):
        order = [architecture for architecture in THREADS if architecture in usages]
        registers = " / ".join(str(usages[a][0]) for a in order)
        shared = max(usages[a][2] for a in order)
        stack = max(usages[a][1] + usages[a][3] for a in order)
        with_stack += stack > 0
        share = " / ".join(f"{occupancy(a, usages[a][0], usages[a][2]):.0%}" for a in order)
        print(f"| {file} | `{name}` | {registers} | {shared} | {stack} | {share} |")
    print(f"\n{len(kernels)} kernels; {with_stack} use the stack, where spilled registers would go.")


if __name__ == "__main__":
    main()
