#!/usr/bin/env python3
"""What the tests ran on the emulated GPU: kernels, schedules, launches.

usage: tests/emulator/coverage.py LOG     LOG: what CURATE_EMULATOR_LOG named while the tests ran

Fails where a kernel that kernels/*.cu launches did not run in some schedule.
"""

import collections
import pathlib
import re
import sys

SCHEDULES = ["forward", "reverse", "random", "run-ahead", "resident"]


def launched_kernels():
    folder = pathlib.Path(__file__).resolve().parents[2] / "kernels"
    names = set()
    for source in folder.glob("*.cu"):
        names.update(re.findall(r'\blaunch\(\s*"([^"]+)"', source.read_text()))
    return names


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    launches = collections.Counter()
    for line in pathlib.Path(sys.argv[1]).read_text().splitlines():
        kernel, schedule, count = line.split("\t")
        launches[kernel, schedule] += int(count)
    kernels = launched_kernels()
    missing = [f"{kernel} ({schedule})" for kernel in sorted(kernels) for schedule in SCHEDULES
               if not launches[kernel, schedule]]
    print(f"{'kernel':24}" + "".join(f"{schedule:>12}" for schedule in SCHEDULES))
    for kernel in sorted(kernels):
        print(f"{kernel:24}" + "".join(f"{launches[kernel, schedule]:12,}" for schedule in SCHEDULES))
    total = sum(launches[kernel, schedule] for kernel in kernels for schedule in SCHEDULES)
    print(f"{len(kernels)} kernels in {len(SCHEDULES)} schedules, {total:,} launches")
    if missing:
        sys.exit("not run: " + ", ".join(missing))


if __name__ == "__main__":
    main()
