#!/usr/bin/env python3
"""Registers, shared memory, stack and spills of every CUDA kernel, as the compiler lays them out, as a Markdown table.

usage: bench/kernel_table.py

Compiles kernels/*.cu for sm_80 and sm_90 (about two minutes) and reads what the assembler says. Occupancy is the share
of a multiprocessor's threads that can be there at once by registers and shared memory, for blocks of 256 threads.
"""

import pathlib
import re
import shutil
import struct
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
ARCHITECTURES = ["sm_80", "sm_90"]
BLOCK_THREADS = 256
REGISTERS = 65536
REGISTERS_PER_WARP_UNIT = 256
THREADS = {"sm_80": 2048, "sm_90": 2048}
SHARED_BYTES = {"sm_80": 164 << 10, "sm_90": 228 << 10}
SHARED_RESERVED = 1024


def find_tool(name):
    tool = shutil.which(name) or shutil.which(name, path="/usr/local/cuda/bin")
    if tool is None:
        sys.exit(f"kernel_table.py: no {name} here; it comes with the CUDA toolkit")
    return tool


def demangle(name):
    text = subprocess.run([find_tool("c++filt"), name], capture_output=True, text=True, check=True).stdout
    text = text.replace("curate::cuda::", "").replace("(anonymous namespace)::", "").replace("curate::", "")
    text = re.sub(r"\(OptimizerKind\)(\d)", lambda kind: ["sgd", "adagrad", "adam"][int(kind[1])], text)
    text = re.sub(r"\(ProductPrecision\)(\d)", lambda kind: ["f32", "tf32", "bf16"][int(kind[1])], text)
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


def read_usage(log):
    """(architecture, mangled name, usage) of the kernels of which the assembler speaks with -v."""
    name = None
    usage = {}
    for line in log.splitlines():
        if match := re.search(r"Compiling entry function '(\S+)' for '(sm_\w+)'", line):
            name, architecture = match.groups()
        elif match := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            usage = {"stack": int(match[1]), "spilled": max(int(match[2]), int(match[3]))}
        elif name and (match := re.search(r"Used (\d+) registers(.*)", line)):
            shared = re.search(r"(\d+) bytes smem", match[2])
            yield architecture, name, {"registers": int(match[1]), "shared": int(shared[1]) if shared else 0, **usage}
            name = None


def _symbols(image):
    """(name, name of its section) of every symbol of a program in ELF, of 64 bits and little-endian."""
    start, = struct.unpack_from("<Q", image, 0x28)
    count, names = struct.unpack_from("<HH", image, 0x3c)
    sections = [struct.unpack_from("<IIQQQQIIQQ", image, start + 64 * i) for i in range(count)]

    def text(strings, offset):
        begin = sections[strings][4] + offset
        return image[begin:image.index(b"\0", begin)].decode()

    for _, kind, _, _, offset, size, strings, *_ in sections:
        if kind == 2:  # a table of symbols
            for at in range(offset, offset + size, 24):
                name, _, _, section = struct.unpack_from("<IBBH", image, at)
                if section < count:
                    yield text(strings, name), text(names, sections[section][0])


def long_divisions(code):
    """The mangled kernels of machine code (what nvcc writes with -cubin, or with -fatbin --no-compress) that divide in
    64 bits: the compiler calls a function of some 70 instructions for that."""
    found = set()
    at = code.find(b"\x7fELF")
    while at >= 0:
        found |= {section.removeprefix(".text.") for name, section in _symbols(code[at:])
                  if re.search(r"_(div|rem)_[su]64$", name)}
        at = code.find(b"\x7fELF", at + 4)
    return found


def compile_kernels(source, architecture):
    command = [find_tool("nvcc"), "-std=c++20", f"-arch={architecture}", "-cubin", "-O3", "-Xptxas=-v", f"-I{ROOT}",
               f"-I{ROOT / 'host'}", f"-I{ROOT / 'include'}", "-o", "/dev/null", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"kernel_table.py: {source.name} does not compile:\n{done.stderr}")
    for _, name, usage in read_usage(done.stderr):
        if name := demangle(name):
            yield name, usage


def main():
    if len(sys.argv) > 1:
        sys.exit(__doc__)
    kernels = {}
    for source in sorted((ROOT / "kernels").glob("*.cu")):
        if source.name == "sort.cu":
            continue  # CUB's kernels are not ours
        for architecture in ARCHITECTURES:
            for name, usage in compile_kernels(source, architecture):
                kernels.setdefault((source.name, name), {})[architecture] = usage
    print("| file | kernel | registers sm_80 / sm_90 | shared bytes | stack bytes | spilled bytes | occupancy sm_80 / sm_90 |")
    print("|---|---|---|---|---|---|---|")
    for (file, name), usages in sorted(kernels.items()):
        most = {key: max(usage[key] for usage in usages.values()) for key in ("shared", "stack", "spilled")}
        registers = " / ".join(str(usages[a]["registers"]) for a in ARCHITECTURES)
        share = " / ".join(f"{occupancy(a, usages[a]['registers'], usages[a]['shared']):.0%}" for a in ARCHITECTURES)
        print(f"| {file} | `{name}` | {registers} | {most['shared']} | {most['stack']} | {most['spilled']} | {share} |")
    spilling = sum(any(usage["spilled"] for usage in usages.values()) for usages in kernels.values())
    print(f"\n{len(kernels)} kernels, {spilling} of which spill registers.")


if __name__ == "__main__":
    main()
