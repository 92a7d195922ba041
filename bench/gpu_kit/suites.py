"""The test programs on the GPU: a process for each suite, several side by side.

A suite's process may end early: a test crashes it, hangs, or leaves the CUDA context unusable (the program prints
"[ POISONED ] NAME" and exits with 3). What it has not run yet then runs in a new process without that test.
"""

import concurrent.futures
import re

TEST_PROGRAMS = ["operation_tests", "train_tests", "library_tests"]
SIDE_BY_SIDE = 4
SUITE_SECONDS = 60
IDLE_SECONDS = 20  # of one test
ALONE_SECONDS = 10
MEMCHECK_SECONDS = 45
MOST_ALONE = 8  # failing tests that are run again by themselves
POISONED = 3  # exit status


class GtestOutput:
    """What a test program has told so far."""

    def __init__(self, text):
        self.passed, self.failed, self.skipped, self.poisoned = [], {}, [], None
        self.running = None
        said = []
        for line in text.splitlines():
            mark = re.match(r"\[ *(RUN|OK|FAILED|SKIPPED|POISONED) *\] (\S+)", line)
            if mark is None:
                said.append(line)
                continue
            what, name = mark[1], mark[2].rstrip(",")
            if what == "RUN":
                self.running, said = name, []
            elif what == "POISONED":
                self.poisoned = name
            elif name == self.running:
                self.running = None
                if what == "OK":
                    self.passed.append(name)
                elif what == "SKIPPED":
                    self.skipped.append(name)
                else:
                    self.failed[name] = "\n".join(said).strip()[:1500] or "it says nothing"
        self.said = "\n".join(said).strip()[-1500:]

    def done(self):
        return {*self.passed, *self.failed, *self.skipped}


def parse_list(text):
    """{suite: [test]} of --gtest_list_tests, names in full."""
    suites, suite = {}, None
    for line in text.splitlines():
        if line.startswith("  ") and suite is not None:
            suites[suite].append(f"{suite}.{line.strip().split()[0]}")
        elif re.fullmatch(r"\S+\.", line.split("  #")[0].strip()):
            suite = line.split("  #")[0].strip()[:-1]
            suites.setdefault(suite, [])
    return {suite: tests for suite, tests in suites.items() if tests}


class Suite:
    """One suite of one program, to its end whatever its tests do."""

    def __init__(self, kit, program, name, tests):
        self.kit, self.program, self.name, self.left = kit, program, name, list(tests)
        self.passed, self.skipped, self.failed = 0, 0, {}
        self.seconds = 0.0
        self.problem = None
        self.cut = False

    def run(self):
        while self.left and not self.cut and self._process():
            pass
        self._record()

    def _process(self):
        """Runs what is left, to the first test that ends the process. False: it got nowhere."""
        ended = self.kit.command([self.kit.test_program(self.program), "--gtest_color=no",
                                  f"--gtest_filter={':'.join(self.left)}"], SUITE_SECONDS,
                                 idle=self.kit.patience * IDLE_SECONDS)
        self.seconds += ended.seconds
        self.cut = ended.cut
        output = GtestOutput(ended.out)
        done = output.done() & set(self.left)
        self.passed += len(output.passed)
        self.skipped += len(output.skipped)
        for test, said in output.failed.items():
            if test != output.poisoned:
                self._fail(test, said)
        blamed = output.running
        if output.poisoned in self.left:
            blamed = output.poisoned
            said = output.failed.get(blamed, output.said)
            self._fail(blamed, f"leaves the CUDA context unusable, ended with {ended.returncode}: {said}")
        elif blamed not in self.left or self.cut or (ended.stopped == "limit" and done):
            # A test that was only under way when the time was up is to blame for nothing.
            blamed = None
        else:
            self._fail(blamed, f"{ended.problem()}\n{output.said}")
        before = len(self.left)
        self.left = [test for test in self.left if test not in done and test != blamed]
        got_on = len(self.left) < before
        expected = ended.ok or blamed is not None or ended.stopped or (ended.returncode == 1 and output.failed)
        if not got_on or not expected:
            self.problem = f"{ended.problem()}, with {len(self.left)} tests not run"
        return got_on

    def _fail(self, test, said):
        self.failed[test] = said
        self.kit.results.add("tests", f"{self.program} {test}", "failed", said,
                             figures={"program": self.program, "test": test})

    def _record(self):
        status, problem = "ok", self.problem
        if self.cut:
            status, problem = "cut", f"the stage's time is up, with {len(self.left)} tests not run"
        elif self.problem or self.failed:
            status = "failed"
            problem = problem or f"{len(self.failed)} failed: {', '.join(list(self.failed)[:5])}"
        elif self.passed == 0:
            status, problem = "skipped", "every test of it skips itself"
        figures = {"program": self.program, "suite": self.name, "passed": self.passed, "failed": len(self.failed),
                   "skipped": self.skipped}
        self.kit.results.add("tests", f"{self.program} {self.name}", status, problem, self.seconds, figures)


def _list(kit, program):
    """{suite: [test]} of what is to be run of a program; None where it cannot be told."""
    path = kit.test_program(program)
    if not path.exists():
        kit.results.add("tests", program, "skipped", "this program is not in the kit")
        return None
    ended = kit.command([path, "--gtest_list_tests", f"--gtest_filter={kit.test_filter}"], 30)
    if not ended.ok:
        kit.results.add("tests", program, "cut" if ended.cut else "failed",
                        f"its tests cannot be listed: {ended.problem()}", figures={"program": program})
        return None
    suites = parse_list(ended.out)
    if not suites:
        kit.results.add("tests", program, "failed", f"it has no test by the filter {kit.test_filter}",
                        figures={"program": program})
        return None
    return suites


def _chosen(lines, program, suites):
    """What of the suites ran into trouble before."""
    mine = [line["figures"] for line in lines if line.get("figures", {}).get("program") == program]
    tests = {figures["test"] for figures in mine if "test" in figures}
    # A suite's line repeats what its tests' lines say; without them all of it counts.
    whole = {figures["suite"] for figures in mine if "suite" in figures
             and not any(test.startswith(figures["suite"] + ".") for test in tests)}
    everything = any(set(figures) == {"program"} for figures in mine)
    kept = {suite: [test for test in names if everything or suite in whole or test in tests]
            for suite, names in suites.items()}
    return {suite: names for suite, names in kept.items() if names}


def stage_tests(kit):
    work = []
    lines = kit.selection.lines("tests")
    for program in TEST_PROGRAMS:
        if lines is not None and not any(line.get("figures", {}).get("program") == program for line in lines):
            continue
        suites = _list(kit, program)
        if suites is not None and lines is not None:
            suites = _chosen(lines, program, suites)
        work += [Suite(kit, program, name, tests) for name, tests in (suites or {}).items()]
    with concurrent.futures.ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        for future in [pool.submit(suite.run) for suite in work]:
            future.result()
    failed = [(suite.program, test) for suite in work for test in suite.failed]
    _again_alone(kit, failed)


def _again_alone(kit, failed):
    """Failing tests by themselves, every launch waited for, and under memcheck."""
    for program, test in failed[MOST_ALONE:]:
        kit.results.add("tests", f"{program} {test} alone", "cut", f"only {MOST_ALONE} failing tests are run again")
    failed = failed[:MOST_ALONE]
    memcheck = kit.tools.why_not("compute-sanitizer") is None if failed else False

    def again(program, test):
        command = [kit.test_program(program), "--gtest_color=no", f"--gtest_filter={test}"]
        figures = {}
        ended = kit.command(command, kit.patience * ALONE_SECONDS, environment={"CUDA_LAUNCH_BLOCKING": "1"})
        output = GtestOutput(ended.out)
        if ended.cut:
            kit.results.add("tests", f"{program} {test} alone", "cut", ended.problem())
            return
        verdict = "passes" if ended.ok and output.passed else "fails, too"
        figures["alone"] = {"verdict": verdict, "ended": "ok" if ended.ok else ended.problem(),
                            "said": output.failed.get(test, output.said)}
        if ended.stopped:
            figures["memcheck"] = {"absent": "it hangs without"}
        elif memcheck:
            ended = kit.command([kit.tools.path("compute-sanitizer"), "--tool", "memcheck", "--error-exitcode", "99",
                                 *command], MEMCHECK_SECONDS)
            found = "\n".join(line for line in (ended.out + ended.err).splitlines() if line.startswith("========="))
            figures["memcheck"] = {"ended": "ok" if ended.ok else ended.problem(), "said": found[:3000]}
        else:
            figures["memcheck"] = {"absent": kit.tools.why_not("compute-sanitizer")}
        kit.results.add("tests", f"{program} {test} alone", "note", f"alone it {verdict}", figures=figures)

    with concurrent.futures.ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        for future in [pool.submit(again, program, test) for program, test in failed]:
            future.result()
