"""Checks and measures the CUDA engine on a machine with an NVIDIA GPU, in minutes and without a network.

usage: gpu_kit.sh pack [--prove DIR] [--archive FILE]    here, with nvcc and no GPU
       gpu_kit.sh run OUT [options]                      there
       gpu_kit.sh table RESULTS.jsonl...                 Markdown for bench/results/gpu-DATE-COMMIT.md

pack  builds curate, gpu_probe and the test programs for sm_90, computes test RMSEs of the CPU engine to compare with,
      and packs them with their shared libraries into build/gpu-kit.tar.xz (25 MiB at most).
      --prove DIR: starts them under a root of Debian 13 in DIR (made by debootstrap if it is not there).
run   unpacks that (or, if no program starts, builds from source) and runs, most valuable first: machine, tests,
      trainings, memory, epochs, train, products, ncu, sanitize, pytorch. Whatever fails or hangs, the rest runs.
      OUT gets results.jsonl (a line for each result, as soon as it is known), summary.md and log.txt.
  --seconds N       ends by itself within N seconds (420); what there is no time for is cut, and said to be
  --only WHAT,...   stages by name; failed: what failed in the run before; cut: what it had no time for
  --since FILE      results.jsonl of the run before (default: that of the last run in this folder); where it is not
                    there, --only failed runs everything
  --ab A B          pairs of epochs with kernels A and B of gpu_probe (default, ahead=1, hot=32, ...), or with the
                    default of two unpacked kits; --ab-dim 128, --ab-precision f32, --ab-pairs 20 (at most)
  --kit PATH        archive or unpacked folder (build/gpu-kit.tar.xz)
  --like, --scale   what made-up ratings are like (ml-20m, 1); --dims 32,64,128; --set OPTIONS for the stage train
  --device cuda-emulated   a dry run without a GPU; --kit is then a build folder
Exit status: 0 nothing failed, 1 something did, 2 bad usage. Settings of the GPU are never changed.
"""

import argparse
import pathlib
import sys

import pack
import record
import run
import table

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


class Parser(argparse.ArgumentParser):
    def format_help(self):
        return __doc__

    def error(self, message):
        self.exit(2, f"gpu_kit.sh: {message}; see gpu_kit.sh --help\n")


def parse(arguments):
    parser = Parser(prog="gpu_kit.sh")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)
    packs = commands.add_parser("pack")
    packs.add_argument("--prove", type=pathlib.Path)
    packs.add_argument("--archive", type=pathlib.Path, default=ROOT / "build/gpu-kit.tar.xz")
    packs.add_argument("--build-dir", type=pathlib.Path, default=ROOT / "build/gpu-kit")
    runs = commands.add_parser("run")
    runs.add_argument("out", type=pathlib.Path)
    runs.add_argument("--seconds", type=float, default=run.SECONDS)
    runs.add_argument("--only")
    runs.add_argument("--since", type=pathlib.Path)
    runs.add_argument("--ab", nargs=2)
    runs.add_argument("--ab-dim", default="128")
    runs.add_argument("--ab-precision", default="f32")
    runs.add_argument("--ab-pairs", type=int, default=20)
    runs.add_argument("--kit", type=pathlib.Path, default=ROOT / "build/gpu-kit.tar.xz")
    runs.add_argument("--like", default="ml-20m")
    runs.add_argument("--scale", type=float, default=1.0)
    runs.add_argument("--dims", default=",".join(run.probes.DIMS))
    runs.add_argument("--set", action="append")
    # For the kit's own test, on the emulated GPU.
    runs.add_argument("--device", default="cuda", choices=["cuda", "cuda-emulated"])
    runs.add_argument("--test-filter")
    runs.add_argument("--state-dir", type=pathlib.Path, default=ROOT / "build/gpu-kit-run")
    tables = commands.add_parser("table")
    tables.add_argument("results", type=pathlib.Path, nargs="+")
    parsed = parser.parse_args(arguments)
    if parsed.command == "run":
        check(parser, parsed)
    for path in getattr(parsed, "results", []):
        if not path.is_file():
            parser.error(f"{path} is not there; give results.jsonl of a run")
    return parsed


def check(parser, arguments):
    known = [name for name, _, _ in run.STAGES] + ["failed", "cut"]
    for part in arguments.only.split(",") if arguments.only is not None else []:
        if part not in known:
            parser.error(f"--only {part}: there are {', '.join(known)}")
    if not arguments.seconds >= 20:
        parser.error(f"--seconds {arguments.seconds:g}: must be 20 or more")
    arguments.state_dir = arguments.state_dir.resolve()
    arguments.out = arguments.out.resolve()
    arguments.kit = arguments.kit.resolve()
    arguments.work = arguments.state_dir / "work"
    arguments.unpacked = arguments.state_dir / "kit"
    arguments.state = arguments.state_dir / "results.jsonl"
    arguments.source_build = ROOT / "build/gpu" if arguments.device == "cuda" else arguments.state_dir / "build"


def main():
    arguments = parse(sys.argv[1:])
    if arguments.command == "table":
        lines = [line for path in arguments.results for line in record.read(path)]
        print(table.markdown(lines), end="")
        return 0
    if arguments.command == "run":
        return run.run(arguments)
    try:
        return pack.pack(arguments)
    except (pack.Failed, OSError) as failure:
        print(f"gpu_kit.sh pack: {failure}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
