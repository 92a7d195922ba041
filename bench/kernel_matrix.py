#!/usr/bin/env python3
"""Compiles kernels/*.cu for every GPU that cuRate is for, to machine code alone, and fails on a warning, where a kernel
of ours spills registers, or where one divides in 64 bits that is not known to. A line an architecture.

usage: bench/kernel_matrix.py [--architectures 80,86,89,90,100,120] [--built FOLDER] [--jobs N] [--kernels NAME,...]
                              [--source FOLDER]

--built: a build with CURATE_WERROR, where a spill is an error; what it was compiled for is not compiled once more.
Architectures that the toolkit does not know (sm_100 and sm_120 before CUDA 12.8) are named and left out. Without nvcc it
ends with 77, skipped; with CI=true in the environment it fails.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import kernel_table

ARCHITECTURES = ["80", "86", "89", "90", "100", "120"]
SAME_PTX = {"86": "80", "89": "80", "120": "100"}
# The longest first, so that none is left alone at the end.
LONGEST = ["dense_stack", "mf_sgd_epoch", "mf_sgd_blocks", "sort", "update_rows"]
NOT_OURS = {"sort"}  # some of CUB's kernels spill, and CUB has other ones for 12.0 than for 10.0
# Kernels that divide in 64 bits: once in a block, or once in a thread that does much besides.
DIVIDING = {"bag_rows_slices", "bag_rows_add_slices", "bias_gradient", "check_trial", "clamp_rows", "dense_forward",
            "dense_grad_in", "dense_grad_weight", "dense_stack_add_slices", "dropout", "fill_trial", "mf_sgd_blocks",
            "rating_errors", "rating_loss", "round_layer", "segment_keys", "write_segments"}
SKIPPED = 77


def asked_for(source):
    """Architectures that a source or a header asks for: 90 for __CUDA_ARCH__ >= 900 or < 900."""
    if source.stem in NOT_OURS:
        return {120}
    root = source.parent.parent
    headers = [path for folder in ("kernels", "host", "include") for path in (root / folder).rglob("*.*h")]
    return {int(number) // 10 for path in [source, *headers]
            for number in re.findall(r"__CUDA_ARCH__\s*[<>=]+\s*(\d+)", path.read_text(encoding="utf-8"))}


def code_of(architecture, asked):
    """Machine code from the PTX of an older architecture, where no source asks for one after that: the first two thirds of
    the compiler would do the same thing once more."""
    older = SAME_PTX.get(architecture, architecture)
    same = not any(int(older) < number <= int(architecture) for number in asked)
    return f"-gencode=arch=compute_{older if same else architecture},code=sm_{architecture}"


def compile_one(nvcc, source, architectures):
    """(file, exit status, what was said, kernels that divide in 64 bits)"""
    root = source.parent.parent
    asked = asked_for(source)
    with tempfile.TemporaryDirectory() as folder:
        command = [nvcc, "-std=c++20", "-O3", "-DNDEBUG", "-DCCCL_DISABLE_NVTX", "-DNVTX_DISABLE", "-Xptxas=-v",
                   "-fatbin", "--no-compress", *[code_of(architecture, asked) for architecture in architectures],
                   f"-I{root}", f"-I{root / 'host'}", f"-I{root / 'include'}", "-o",
                   f"{folder}/{source.stem}.fatbin", str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        dividing = set()
        if done.returncode == 0 and source.stem not in NOT_OURS:
            code = pathlib.Path(folder, f"{source.stem}.fatbin").read_bytes()
            dividing = {kernel_table.demangle(name).split("<")[0] for name in kernel_table.long_divisions(code)}
        return source, done.returncode, done.stderr, dividing


def known_to(nvcc):
    listed = subprocess.run([nvcc, "--list-gpu-code"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"sm_(\d+)\b", listed))


def compiled_in(folder):
    """Names of the kernels' files of which that build has objects, one by one or, with CURATE_UNITY, several in one."""
    commands = folder / "compile_commands.json"
    names = set()
    for command in json.loads(commands.read_text(encoding="utf-8")) if commands.exists() else []:
        source = pathlib.Path(command["file"])
        object_file = re.search(r" -o (\S+/curate_cuda\.dir/\S+\.cu\.o)(?: |$)", command["command"])
        if object_file and (folder / object_file[1]).exists():
            names |= {source.name, *re.findall(r'^#include "kernels/(\w+\.cu)"$', source.read_text(encoding="utf-8"),
                                               re.MULTILINE)}
    return names


def built_for(folder):
    """Architectures whose machine code that build has, all of it compiled with CURATE_WERROR."""
    cache = folder / "CMakeCache.txt"
    text = cache.read_text(encoding="utf-8") if cache.exists() else ""
    found = re.search(r"^CMAKE_CUDA_ARCHITECTURES:\w+=(.+)$", text, re.MULTILINE)
    wanted = {path.name for path in (kernel_table.ROOT / "kernels").glob("*.cu")}
    if found is None or not wanted <= compiled_in(folder) or not re.search(r"^CURATE_WERROR:BOOL=ON$", text, re.MULTILINE):
        return set()
    return {name.removesuffix("-real") for name in found[1].split(";") if name.endswith("-real")}


def longest_first(source):
    return (LONGEST.index(source.stem) if source.stem in LONGEST else len(LONGEST), source.stem)


def main():
    parser = argparse.ArgumentParser(usage="kernel_matrix.py [options]", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--architectures", default=",".join(ARCHITECTURES))
    parser.add_argument("--built", type=pathlib.Path, help="a build with CURATE_WERROR")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--kernels", help="names of files, without .cu: these alone")
    parser.add_argument("--source", type=pathlib.Path, default=kernel_table.ROOT,
                        help="folder with kernels/, host/, include/")
    arguments = parser.parse_args()
    try:
        nvcc = kernel_table.find_tool("nvcc")
    except SystemExit as problem:
        if os.environ.get("CI") == "true":
            raise
        print(f"skipped: {problem}")
        sys.exit(SKIPPED)
    wanted = arguments.architectures.split(",")
    known = known_to(nvcc)
    built = built_for(arguments.built) if arguments.built else set()
    architectures = [architecture for architecture in wanted if architecture in known - built]
    sources = sorted((arguments.source / "kernels").glob("*.cu"), key=longest_first)
    if arguments.kernels:
        sources = [source for source in sources if source.stem in arguments.kernels.split(",")]
    if not sources or not set(wanted) & known:
        sys.exit("kernel_matrix.py: nothing to compile")
    if not architectures:
        sources = []

    problems = []
    dividing = set()
    of = collections.defaultdict(list)
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for source, status, log, divides in pool.map(lambda source: compile_one(nvcc, source, architectures), sources):
            warnings = [line for line in log.splitlines() if re.search(r"\b(warning|error)\b", line)]
            problems += [f"{source.name}: {line}" for line in warnings]
            if status != 0 and not warnings:
                problems.append(f"{source.name}: nvcc ended with {status}\n{log}")
            problems += [f"{source.name}: {name}_kernel divides in 64 bits" for name in sorted(divides - DIVIDING)]
            dividing |= divides
            for code, name, usage in kernel_table.read_usage(log):
                if source.stem not in NOT_OURS:
                    of[code].append((source, name, usage))

    for architecture in wanted:
        if architecture not in known:
            print(f"sm_{architecture:4} unknown to this toolkit: left out")
            continue
        if architecture in built:
            print(f"sm_{architecture:4} compiled in {arguments.built}, without a spill or a warning")
            continue
        kernels = of[f"sm_{architecture}"]
        spilling = [entry for entry in kernels if entry[2]["spilled"] > 0]
        problems += [f"{source.name}, sm_{architecture}: {kernel_table.demangle(name)} spills {usage['spilled']} bytes"
                     for source, name, usage in spilling]
        most = max((usage["registers"] for _, _, usage in kernels), default=0)
        stacks = sum(usage["stack"] > 0 for _, _, usage in kernels)
        print(f"sm_{architecture:4} {len(kernels)} kernels, {len(spilling)} spill, {stacks} have a stack; at most {most} "
              "registers")
        if not kernels:
            problems.append(f"sm_{architecture}: no kernel was compiled")
    if sources and not arguments.kernels:
        problems += [f"DIVIDING names {name}, which does not divide" for name in sorted(DIVIDING - dividing)]
    print(f"{len(sources)} files in {time.monotonic() - start:.0f} s; {len(dividing)} kernels divide in 64 bits")
    if problems:
        sys.exit("\n".join(["kernel_matrix.py:", *problems]))


if __name__ == "__main__":
    main()
