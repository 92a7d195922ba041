"""`run OUT`: all stages within a limit, most valuable first, each result kept as soon as it is known."""

import datetime
import json
import os
import pathlib
import shutil
import tarfile
import threading
import time
import traceback

import build
import machine
import peers
import probes
import process
import record
import suites
import table
import tools
import trainings

# Each stage's share of 420 seconds, most valuable first. What a stage leaves goes to those after it; where the time is
# shorter, the last ones are cut.
STAGES = [
    ("machine", 15, machine.stage_machine),
    ("tests", 100, suites.stage_tests),
    ("trainings", 55, trainings.stage_trainings),
    ("memory", 15, probes.stage_memory),
    ("epochs", 75, probes.stage_epochs),
    ("train", 40, probes.stage_train),
    ("products", 15, probes.stage_products),
    ("ncu", 40, tools.stage_ncu),
    ("sanitize", 30, tools.stage_sanitize),
    ("pytorch", 30, peers.stage_pytorch),
]
BUILD = ("build", 230, build.stage_build)  # before all others, where nothing else is there to start
AB = ("ab", 110, probes.stage_ab)  # after all others, on demand
SECONDS = 420
RESERVE = 5.0  # seconds at the end, for ending commands and writing
LEAST = 2.0  # seconds that a stage is begun with

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


class Kit:
    """The programs, and how they are run. Stages take everything from here."""

    def __init__(self, arguments, results, selection, end):
        self.root = ROOT
        self.device = arguments.device
        self.emulated = self.device == "cuda-emulated"
        self.suffix = "-emulated" if self.emulated else ""
        self.patience = 3 if self.emulated else 1  # times the limits of single tests and configurations
        self.folder = None
        self.source_build = arguments.source_build
        self.work = arguments.work
        self.results, self.selection = results, selection
        self.environment = {}
        self.like, self.scale = arguments.like, arguments.scale
        self.dims = arguments.dims.split(",")
        self.trains = arguments.set or probes.TRAINS
        self.test_filter = arguments.test_filter or f"*/{self.device.replace('-', '_')}"
        self.ab, self.ab_dim, self.ab_precision = arguments.ab, arguments.ab_dim, arguments.ab_precision
        self.ab_pairs = arguments.ab_pairs
        self.manifest, self.references = {}, None
        self.tools = tools.Tools(self)
        self.end = end
        self.deadline = end

    def use(self, folder):
        self.folder = folder
        for name, key in (("manifest.json", "manifest"), ("references.json", "references")):
            if (folder / name).exists():
                setattr(self, key, json.loads((folder / name).read_text(encoding="utf-8")))
        if (folder / "fixtures").is_dir():
            self.environment["CURATE_TEST_FIXTURES"] = str(folder / "fixtures")

    @property
    def curate(self):
        return self.folder / "bin" / f"curate{self.suffix}"

    @property
    def gpu_probe(self):
        return self.folder / "bin" / f"gpu_probe{self.suffix}"

    def test_program(self, name):
        return self.folder / "tests" / name

    def left(self):
        """Seconds of this stage."""
        return self.deadline - time.monotonic()

    def command(self, command, seconds, *, environment=None, **options):
        left = self.left()
        if left < 0.2:
            return process.Ended([str(part) for part in command], -9, 0.0, "stage")
        ended = process.run(command, min(seconds, left), environment={**self.environment, **(environment or {})},
                            stage_limit=left < seconds, **options)
        self.results.log(ended)
        return ended


def unpack(archive, folder):
    """The kit's folder, made anew where the archive is another one."""
    stamp = folder / "unpacked-from"
    told = f"{archive.stat().st_size} {archive.stat().st_mtime_ns}"
    if not (stamp.exists() and stamp.read_text(encoding="utf-8") == told):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with tarfile.open(archive) as packed:
            if hasattr(tarfile, "data_filter"):
                packed.extractall(folder, filter="data")
            else:
                packed.extractall(folder)
        stamp.write_text(told, encoding="utf-8")
    return folder


def find_programs(kit, path, unpacked):
    """Makes the programs of an archive or a folder the kit's. Why there are none, or None."""
    if not path.exists():
        return f"{path} is not there"
    try:
        kit.use(path if path.is_dir() else unpack(path, unpacked))
    except (OSError, ValueError, tarfile.TarError, EOFError) as problem:
        return f"{path} cannot be unpacked: {problem}"
    ended = kit.command([kit.curate, "--version"], 10)
    return None if ended.ok else f"{kit.curate.name} --version: {ended.problem()}"


def shares(stages, seconds):
    """Seconds after the start by which each stage has to end. Shares are stretched, never shortened."""
    total = sum(share for _, share, _ in stages)
    stretch = max(1.0, seconds / total)
    ends, at = [], 0.0
    for _, share, _ in stages:
        at += share * stretch
        ends.append(min(at, seconds))
    return ends


def run_stage(kit, name, function):
    """A stage, and the line about the whole of it. Whatever it raises, the next one is run."""
    start = time.monotonic()
    problem = None
    try:
        function(kit)
    except Exception as failure:  # pylint: disable=broad-except
        problem = f"the kit itself failed: {type(failure).__name__}: {failure}"
        kit.results.add(name, "kit", "failed", f"{problem}\n{traceback.format_exc()[-2500:]}")
    counts = {}
    for line in kit.results.of(name):
        counts[line["status"]] = counts.get(line["status"], 0) + 1
    status = next((status for status in ("failed", "cut", "ok", "skipped") if counts.get(status)), "skipped")
    told = ", ".join(f"{count} {status}" for status, count in counts.items()) or "nothing to do"
    kit.results.add(name, "", status, problem or told, time.monotonic() - start, counts, whole=True)


def choose(arguments, before):
    """Selection, and stages in their order. `machine` is always first: later stages need what it finds."""
    wanted = arguments.only.split(",") if arguments.only else []
    names = [name for name, _, _ in STAGES]
    chosen = [part for part in wanted if part in names]
    statuses = [part for part in wanted if part in ("failed", "cut")]
    if not wanted and not arguments.ab:
        chosen = names
    selection = record.Selection(chosen, before, statuses)
    stages = [stage for stage in STAGES if selection.has_stage(stage[0]) or stage[0] == "machine"]
    if arguments.ab:
        stages.append(AB)
    return selection, stages


def summarize(out, results):
    """The summary, after every stage; a fault in it loses no result."""
    try:
        text = table.markdown(results.lines)
    except Exception:  # pylint: disable=broad-except
        text = f"The summary failed; results.jsonl has the results.\n\n```\n{traceback.format_exc()}```\n"
    (out / "summary.md").write_text(text, encoding="utf-8")


def watchdog(seconds, results, out):
    """The limit holds even where something in this program does not come back."""
    def end():
        process.kill_all()
        results.add("run", "watchdog", "failed", "the run did not end by itself", whole=True)
        try:
            summarize(out, results)
        finally:
            os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    return timer


def read_before(arguments):
    """Results of the run before, where --only asks for what failed or was cut there, and a note where they are not
    there: all stages are run then, since a machine that is there for minutes is not asked a second time. A whole run
    begins anew."""
    note = None
    if {"failed", "cut"} & set((arguments.only or "").split(",")):
        before = arguments.since or arguments.state
        if before.is_file():
            return record.read(before), None
        note = (f"everything is run, not --only {arguments.only}: {before} is not there; --since names results.jsonl "
                "of the run before")
        arguments.only = ",".join(name for name, _, _ in STAGES)
    if note or (not arguments.only and not arguments.ab):
        arguments.state.unlink(missing_ok=True)
    return [], note


def run(arguments):
    """Exit status: 0 where nothing failed."""
    start = time.monotonic()
    before, note = read_before(arguments)
    results = record.Results(arguments.out, arguments.state)
    if note:
        results.add("run", "only", "note", note)
    guard = watchdog(arguments.seconds - 1.5, results, arguments.out)
    try:
        return run_stages(arguments, start, results, *choose(arguments, before))
    finally:
        guard.cancel()
        results.close()


def run_stages(arguments, start, results, selection, stages):
    end = start + arguments.seconds - RESERVE
    kit = Kit(arguments, results, selection, end)
    kit.work.mkdir(parents=True, exist_ok=True)
    why = find_programs(kit, arguments.kit, arguments.unpacked)
    if why:
        kit.folder = kit.source_build
        results.add("run", "programs", "note", f"built from source: {why}")
        stages = [BUILD, *stages]
    results.add("run", "pack", "note", figures={**kit.manifest, "device": kit.device, "like": kit.like,
                                                "scale": kit.scale, "date": datetime.date.today().isoformat(),
                                                "seconds": arguments.seconds, "only": arguments.only})
    begun = time.monotonic() - start
    for (name, _, function), at in zip(stages, shares(stages, arguments.seconds - RESERVE - begun)):
        kit.deadline = min(end, start + begun + at)
        if kit.left() < LEAST:
            results.add(name, "", "cut", "no time left for this stage", 0.0, whole=True)
        else:
            run_stage(kit, name, function)
        summarize(arguments.out, results)
    count = {status: sum(line["status"] == status for line in record.latest(results.lines) if not line.get("whole"))
             for status in ("failed", "cut")}
    told = f"{count['failed']} failed, {count['cut']} cut"
    if not_begun := [line["stage"] for line in results.lines if record.not_begun(line)]:
        told += f"; no time for: {', '.join(not_begun)}"
    results.add("run", "", "failed" if count["failed"] else "ok", told, time.monotonic() - start, whole=True)
    summarize(arguments.out, results)
    return 1 if count["failed"] else 0
