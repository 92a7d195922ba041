"""`pack`: everything that `run` needs on a machine with a GPU, built here without one; `prove`: it starts elsewhere."""

import json
import lzma
import os
import pathlib
import re
import shutil
import subprocess
import tarfile
import tempfile

import process
import suites
import trainings

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MOST_BYTES = 25 << 20
BUILD_SECONDS = 4 * 3600  # a quarter of an hour on two cores that have nothing else to do
RUN_PATH = "$ORIGIN/../lib"
DICTIONARY_BYTES = 192 << 20
PROGRAMS = {"bin": ["curate", "gpu_probe"], "tests": suites.TEST_PROGRAMS}
NEEDED = {"curate", "operation_tests", "train_tests"}
# What every system has, or the driver brings.
FROM_SYSTEM = re.compile(r"^(linux-vdso|ld-linux.*|lib(c|m|dl|rt|pthread|stdc\+\+|gcc_s|cuda|nvidia-.*))\.so")


class Failed(Exception):
    """Why there is no archive."""


def must(command, seconds=3600, **options):
    ended = process.run(command, seconds, **options)
    if not ended.ok:
        raise Failed(f"{' '.join(ended.command)[:300]}\n{ended.out[-3000:]}{ended.err[-3000:]}\n{ended.problem()}")
    return ended


def build(folder):
    """Builds what there is of the programs for the architecture; names of those that this source does not have."""
    # An RPATH, not a RUNPATH: it counts for the libraries that libraries need as well. As when installed, since a
    # build's has room for the other kind: an empty entry, which is the folder that one stands in.
    must(["cmake", "-G", "Ninja", "-S", ROOT, "-B", folder, "-DCMAKE_BUILD_TYPE=Release", "-DCURATE_CUDA=ON",
          "-DCURATE_UNITY=ON", "-DCMAKE_CUDA_ARCHITECTURES=90-real", f"-DCMAKE_INSTALL_RPATH={RUN_PATH}",
          "-DCMAKE_BUILD_WITH_INSTALL_RPATH=ON", "-DCMAKE_EXE_LINKER_FLAGS=-Wl,--disable-new-dtags"])
    known = must(["ninja", "-C", folder, "-t", "targets", "all"]).out
    targets = [name for names in PROGRAMS.values() for name in names]
    absent = [name for name in targets if not re.search(rf"^{name}: phony", known, re.MULTILINE)]
    if NEEDED & set(absent):
        raise Failed(f"this source has no {', '.join(sorted(NEEDED & set(absent)))}")
    for name in absent:
        print(f"gpu_kit: this source has no {name}: packed without it")
    must(["cmake", "--build", folder, "--target", *[name for name in targets if name not in absent]], BUILD_SECONDS)
    return absent


def libraries(programs):
    """{name: file} of the shared libraries that do not come with every system."""
    found = {}
    for program in programs:
        for line in must(["ldd", program]).out.splitlines():
            match = re.match(r"\s*(\S+) => (.+?)( \(0x|$)", line)
            if match is None or FROM_SYSTEM.match(match[1]):
                continue
            if "not found" in match[2]:
                raise Failed(f"{program}: no {match[1]} here")
            found[match[1]] = pathlib.Path(match[2]).resolve()
    return found


def check_run_paths(programs):
    """They look for libraries in the kit alone: an empty entry would be the folder that one stands in."""
    for program in programs:
        found = re.findall(r"\((?:RPATH|RUNPATH)\).*\[(.*)\]", must(["readelf", "-d", program]).out)
        if found != [RUN_PATH]:
            raise Failed(f"{program}: looks for libraries in {found}, not in {RUN_PATH} alone")


def commit():
    def git(*arguments):
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    return {"commit": git("rev-parse", "--short", "HEAD") or "unknown",
            "clean": None if git("rev-parse", "HEAD") is None else git("status", "--porcelain") == ""}


def gather(source, kit):
    """The folder that is packed, from a build."""
    shutil.rmtree(kit, ignore_errors=True)
    programs = []
    for folder, names in PROGRAMS.items():
        (kit / folder).mkdir(parents=True)
        for name in names:
            if (source / folder / name).exists():
                programs.append(kit / folder / name)
                shutil.copy2(source / folder / name, programs[-1])
    (kit / "lib").mkdir()
    for name, path in libraries(programs).items():
        shutil.copyfile(path, kit / "lib" / name)
        (kit / "lib" / name).chmod(0o755)
    must(["strip", *programs])
    shutil.copytree(ROOT / "tests/fixtures", kit / "fixtures")
    return programs


def write_references(kit):
    def command(parts, seconds):
        return process.run(parts, 60 * seconds)

    with tempfile.TemporaryDirectory() as folder:
        try:
            found = trainings.references(command, kit / "bin/curate", pathlib.Path(folder))
        except trainings.NotTrained as failure:
            raise Failed(f"no references: {failure}") from failure
    (kit / "references.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def write_archive(kit, archive, preset=6):
    """Never leaves an archive that is too large."""
    half = archive.with_name(archive.name + ".part")
    # The programs hold the same kernels: a dictionary larger than a program finds them again.
    filters = [{"id": lzma.FILTER_LZMA2, "preset": preset, "dict_size": DICTIONARY_BYTES}]
    with lzma.open(half, "wb", filters=filters) as stream, tarfile.open(fileobj=stream, mode="w") as packed:
        for path in sorted(kit.iterdir()):
            packed.add(path, arcname=path.name)
    size = half.stat().st_size
    if size > MOST_BYTES:
        half.unlink()
        archive.unlink(missing_ok=True)
        raise Failed(f"{size} bytes, more than the {MOST_BYTES} that travel; nothing packed")
    half.replace(archive)
    print(f"gpu_kit: {archive}: {size / (1 << 20):.1f} MiB")
    for folder in sorted(path for path in kit.iterdir() if path.is_dir()):
        for path in sorted(folder.iterdir()):
            print(f"  {path.relative_to(kit)}: {path.stat().st_size / (1 << 20):.1f} MiB")


def pack(arguments):
    source = arguments.build_dir.resolve()
    archive = arguments.archive.resolve()
    archive.parent.mkdir(parents=True, exist_ok=True)
    absent = build(source)
    kit = source / "kit"
    check_run_paths(gather(source, kit))
    write_references(kit)
    nvcc = re.search(r"release (\S+),", process.run(["nvcc", "--version"], 10).out + process.run(
        ["/usr/local/cuda/bin/nvcc", "--version"], 10).out)
    manifest = {**commit(), "architectures": "90-real", "nvcc": nvcc[1] if nvcc else "unknown", "absent": absent}
    (kit / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    write_archive(kit, archive)
    if arguments.prove:
        prove(archive, arguments.prove.resolve())
    return 0


def prove(archive, root):
    """Starts every program of the archive under another system's root. Makes one of Debian 13 where there is none."""
    if os.geteuid() != 0:
        raise Failed("to change the root takes the superuser")
    if not (root / "bin/sh").exists():
        print(f"gpu_kit: Debian 13 into {root}")
        must(["debootstrap", "--variant=minbase", "--include=libstdc++6", "trixie", root])
    place = root / "gpu-kit"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    must(["tar", "-C", place, "-xf", archive])
    release = re.search(r'PRETTY_NAME="(.*)"', (root / "etc/os-release").read_text(encoding="utf-8"))
    libc = must(["chroot", root, "ldd", "--version"]).out.splitlines()[0]
    print(f"gpu_kit: under {release[1] if release else root}, {libc}:")
    commands = [["/gpu-kit/bin/curate", "--version"], ["/gpu-kit/bin/curate", "doctor"]]
    commands += [[f"/gpu-kit/tests/{path.name}", "--gtest_list_tests"] for path in sorted((place / "tests").iterdir())]
    if (place / "bin/gpu_probe").exists():
        commands.append(["/gpu-kit/bin/gpu_probe", "--help"])
    problems = []
    # The loader asks /proc for where a program lies, which its libraries are found from.
    must(["mount", "-t", "proc", "proc", root / "proc"])
    try:
        for command in commands:
            ended = process.run(["chroot", root, *command], 60, environment={"LD_LIBRARY_PATH": ""})
            said = f"{len(ended.out.splitlines())} lines" if ended.ok else ended.problem()
            print(f"  {' '.join(command)}: {'starts' if ended.ok else 'FAILS'}, {said}", flush=True)
            if not ended.ok:
                problems.append(f"{' '.join(command)}: {said}")
    finally:
        must(["umount", root / "proc"])
        shutil.rmtree(place)
    if problems:
        raise Failed("under the newer root: " + "; ".join(problems))
