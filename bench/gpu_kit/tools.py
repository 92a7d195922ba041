"""Stages by NVIDIA's tools: Nsight Compute's figures of the hot kernels, compute-sanitizer on small cases. A tool is
tried on one small test first: where it does not work, that costs seconds."""

import concurrent.futures
import csv
import re
import shutil
import statistics

import suites
import trainings

TRY_SECONDS = 2
TRY_AGAIN_SECONDS = 20  # of a tool that was only slow: its first start reads much
SANITIZE_SECONDS = 60
NCU_SECONDS = 30
PROFILED_SCALE = 0.2  # of the ratings, where one step is like another: to make them up takes most of the time
# In base units, of which those of a time are nanoseconds.
METRICS = {
    "us": "gpu__time_duration.sum",
    "HBM %": "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed",
    "L2 %": "lts__t_sectors.avg.pct_of_peak_sustained_elapsed",
    "SM %": "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    "registers": "launch__registers_per_thread",
    "occupancy %": "sm__warps_active.avg.pct_of_peak_sustained_active",
}
# Parts of names of tests, by program. A sanitized kernel is a hundred times slower: small cases, all of which have the
# device as a parameter.
SANITIZED = [
    ("memcheck", "operation_tests",
     ["GatherRows", "ScatterAddRowsTest.adds", "DotRows", "BuildSegments", "MfSgdEpochTest.matches_for_few",
      "DropoutTest.works", "DenseForwardTest.relu_keeps", "SumSquaredError", "ContractTest.copy_honours"]),
    ("racecheck", "operation_tests",
     ["RatingErrors", "UpdateRowsTest.one_step_", "DenseBackwardTest.relu_is", "MfSgdEpochTest.matches_for_few"]),
    ("memcheck", "library_tests", ["LibraryDense.bf16_rounds"]),
]


class Tools:
    """ncu and compute-sanitizer, each tried once."""

    def __init__(self, kit):
        self.kit = kit
        self.tried = {}

    def path(self, name):
        found = shutil.which(name)
        if found is None:
            for folder in ("/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer", "/opt/nvidia/nsight-compute"):
                found = found or shutil.which(name, path=folder)
        return found

    def why_not(self, name):
        """None where the tool works on a small test, else the reason."""
        if name not in self.tried:
            self.tried[name] = self._try(name)
        return self.tried[name]

    def _try(self, name):
        path = self.path(name)
        if path is None:
            return f"no {name} here"
        program = self.kit.test_program(suites.TEST_PROGRAMS[0])
        listed = self.kit.command([program, "--gtest_list_tests",
                                   f"--gtest_filter=*GatherRows{self.kit.test_filter}"], 10)
        tests = [test for names in suites.parse_list(listed.out).values() for test in names]
        if not tests:
            return f"no small test to try {name} on: {listed.problem() if not listed.ok else 'none by that name'}"
        options = {"ncu": ["--clock-control", "none", "--metrics", METRICS["us"], "--launch-count", "1"],
                   "compute-sanitizer": ["--tool", "memcheck", "--error-exitcode", "99"]}[name]
        for seconds in (TRY_SECONDS, TRY_AGAIN_SECONDS):
            ended = self.kit.command([path, *options, program, f"--gtest_filter={tests[0]}"], seconds)
            if ended.stopped != "limit":
                break
        text = ended.out + ended.err
        if "ERR_NVGPUCTRPERM" in text:
            return f"{name} may not read the GPU's counters here (ERR_NVGPUCTRPERM)"
        if not ended.ok:
            errors = [line for line in text.splitlines() if re.match(r"==(ERROR|WARNING)==|=+ (Error|Internal)", line)]
            return f"{name} does not work on a small test: {errors[0] if errors else ended.problem()}"[:500]
        return None


class Profile:
    """What ncu is asked for. `launches`: of the kernels in all, from what is known of an epoch."""

    def __init__(self, name, command, kernels, launches, skip, count):
        self.name, self.command, self.kernels = name, command, kernels
        self.launches, self.skip, self.count = launches, skip, count


def _profiles(kit):
    probe = [kit.gpu_probe]
    data = ["--device", kit.device, "--like", kit.like, "--scale", str(kit.scale)]
    ratings = int(20e6 * kit.scale) if kit.like == "ml-20m" else int(1e6 * kit.scale)
    few = ["--device", kit.device, "--like", kit.like, "--scale", f"{PROFILED_SCALE * kit.scale:g}"]
    steps = max(1, int(0.8 * PROFILED_SCALE * ratings) // 65536)
    small_steps = int(0.8 * 1e6 * trainings.DATA["scale"]) // 4096
    wide = [kit.curate, "train", kit.work / "data", "--device", kit.device, "--out", kit.work / "ncu-run",
            "--overwrite", "--quiet", *trainings.WIDE[:-2], "--epochs", "2", "--products", "bf16"]

    def skipped(launches, count):
        return max(0, min(20, (launches - count) // 2))

    def profile(name, command, kernels, launches, count):
        return Profile(name, command, kernels, launches, skipped(launches, count), count)

    return [
        # An epoch is one launch of it.
        profile("mf_sgd_epoch", [*probe, "epochs", *data, "--dim", "128", "--precision", "f32", "--kernel", "default",
                                 "--epochs", "3", "--warmup", "1", "--seconds", "25"], "mf_sgd_epoch_kernel", 4, 2),
        # Three products forward, five backward and the head's kernels in each step; the library's names are its own.
        profile("wide_stack", wide, "stack_head_.*|round_layer_kernel|.*gemm.*|.*nvjet.*|.*cutlass.*|.*sm90.*",
                2 * 8 * small_steps, 16),
        # A step scatters into two tables and updates two; with biases into four.
        profile("adam", [*probe, "train", *few, "--set", "optimizer=adam,dim=64,batch=65536", "--epochs", "1",
                         "--seconds", "25"], "(scatter_add|update)_(rows|segments|dense)_kernel", 4 * steps, 8),
        profile("dense_stack", [*probe, "train", *few, "--set", "model=mlp,batch=65536", "--epochs", "1", "--seconds",
                                "25"], "dense_stack_(forward|backward)_kernel", 2 * steps, 4),
    ]


def parse_ncu(text):
    """[{"Kernel Name": ..., metric: value}] of `ncu --csv --page raw`, whatever the program printed in between; and
    {metric: unit}."""
    rows = list(csv.reader(line for line in text.splitlines() if line.startswith('"')))
    if len(rows) < 2:
        return [], {}
    header, units = rows[:2]
    launches = [dict(zip(header, row)) for row in rows[2:] if len(row) == len(header) and row[0].strip().isdigit()]
    return launches, dict(zip(header, units))


def _figures(rows, units):
    """Medians over the launches of each kernel. A time in another unit than was asked for is none."""
    kernels = {}
    for row in rows:
        name = row.get("Kernel Name", "?")
        ours = re.search(r"\w+_kernel", name)
        kernels.setdefault(ours[0] if ours else name[:100], []).append(row)
    figures = {}
    for kernel, launches in kernels.items():
        figures[kernel] = {"profiled": len(launches)}
        for label, metric in METRICS.items():
            try:
                values = [float(row[metric].replace(",", "")) for row in launches]
            except (KeyError, ValueError):
                continue
            if label != "us":
                figures[kernel][label] = statistics.median(values)
            elif units.get(metric) in ("ns", "nsecond"):
                figures[kernel][label] = statistics.median(values) / 1000
    return figures


def stage_ncu(kit):
    reason = kit.tools.why_not("ncu")
    if reason:
        kit.results.add("ncu", "ncu", "skipped", reason)
        return
    for profile in _profiles(kit):
        if not kit.selection.has("ncu", profile.name):
            continue
        if kit.left() < 5:
            kit.results.add("ncu", profile.name, "cut", "no time left")
            continue
        if profile.name == "wide_stack" and not (kit.work / "data").exists():
            try:
                trainings.generate(kit.command, kit.curate, kit.work / "data")
            except trainings.NotTrained as failure:
                kit.results.add("ncu", profile.name, "failed", f"no ratings: {failure}")
                continue
        ended = kit.command([kit.tools.path("ncu"), "--csv", "--page", "raw", "--print-units", "base",
                             "--print-kernel-base", "function", "--clock-control", "none", "--metrics",
                             ",".join(METRICS.values()), "--kernel-name", f"regex:{profile.kernels}", "--launch-skip",
                             profile.skip, "--launch-count", profile.count, "--kill", "yes", *profile.command],
                            NCU_SECONDS)
        rows, units = parse_ncu(ended.out)
        figures = {"launches expected": profile.launches, "skipped": profile.skip, "asked": profile.count,
                   "profiled": len(rows), "kernels": _figures(rows, units)}
        if rows:  # however a program ended that was killed
            few = f"{len(rows)} of {profile.count} launches were there" if len(rows) < profile.count else None
            kit.results.add("ncu", profile.name, "ok", few, ended.seconds, figures)
        else:
            status = "cut" if ended.cut else "failed"
            problem = ended.problem() if not ended.ok else "ncu printed no figures"
            kit.results.add("ncu", profile.name, status, problem, ended.seconds, {**figures, "said": ended.tail(2000)})


def matches(parts, listed):
    """{part: [test]} of the tests of {suite: [test]} that have the part in their name."""
    return {part: [test for tests in listed.values() for test in tests if part in test] for part in parts}


def stage_sanitize(kit):
    reason = kit.tools.why_not("compute-sanitizer")
    if reason:
        kit.results.add("sanitize", "compute-sanitizer", "skipped", reason)
        return

    def sanitize(tool, program, parts):
        name = f"{tool} {program}"
        path = kit.test_program(program)
        if not path.exists():
            kit.results.add("sanitize", name, "skipped", "this program is not in the kit")
            return
        listed = kit.command([path, "--gtest_list_tests", f"--gtest_filter={kit.test_filter}"], 10)
        if not listed.ok:
            kit.results.add("sanitize", name, "cut" if listed.cut else "failed",
                            f"its tests cannot be listed: {listed.problem()}")
            return
        chosen = matches(parts, suites.parse_list(listed.out))
        for part in parts:
            if not chosen[part]:
                kit.results.add("sanitize", f"{name} {part}", "failed", "no test has this in its name")
        tests = ":".join(dict.fromkeys(test for names in chosen.values() for test in names))
        if not tests:
            return
        ended = kit.command([kit.tools.path("compute-sanitizer"), "--tool", tool, "--error-exitcode", "99", path,
                             f"--gtest_filter={tests}"], SANITIZE_SECONDS)
        output = suites.GtestOutput(ended.out)
        found = [line for line in (ended.out + ended.err).splitlines() if line.startswith("=========")]
        figures = {"passed": len(output.passed), "failed": list(output.failed)}
        problem = None
        if not ended.ok:
            problem = "\n".join([ended.problem(), *found[:60]])
        elif not output.passed:
            problem = "no test ran"
        status = "ok" if problem is None else "cut" if ended.cut else "failed"
        kit.results.add("sanitize", name, status, problem, ended.seconds, figures)

    def chosen_before(tool, program, parts):
        names = [f"{tool} {program}", *(f"{tool} {program} {part}" for part in parts)]
        return any(kit.selection.has("sanitize", name) for name in names)

    with concurrent.futures.ThreadPoolExecutor(len(SANITIZED)) as pool:
        for future in [pool.submit(sanitize, *each) for each in SANITIZED if chosen_before(*each)]:
            future.result()
