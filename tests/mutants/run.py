#!/usr/bin/env python3
"""Plants the faults of tests/mutants/*.toml, one at a time, and fails where a test that should see one does not.

usage: tests/mutants/run.py [--only NAME,...] [--table FILE] [--no-build | --build-only] [--timeout SECONDS]
                            [--source FOLDER] [--list]

A table holds faults:

    [[fault]]
    name = "best-epoch-without-its-last-tensor"   # unique over all tables: words and hyphens
    file = "host/train/trainer.cpp"
    what = "the best epoch comes back without its last tensor"
    find = '''text that occurs exactly once in the file'''
    replace = '''what stands there instead, right or wrong: mutant("best-epoch-without-its-last-tensor") decides'''
    caught_by = ["train_tests:Trainer.best_epoch_comes_back_whole"]   # program:gtest filter, or a script's ctest

The sources are copied into build/mutants, and all faults of all tables are applied to the copy, in the order of tables
and faults: where two change the same text, the second one's `find` is looked for in what the first one left. One build,
the preset `emulated` of the copy, then serves all faults: mutant("NAME") is true where the environment variable
CURATE_MUTANT is NAME; a call site reads it once. mutant() cannot stand in a constant expression.

Everything in `caught_by` first runs without a fault: it has to pass, and to run a test that is not skipped. Then it runs
with the fault: each entry has to see it, by a failed test, a crash, or a run longer than the timeout, which the fault's
line says. A test that an entry should not depend on is no part of its filter: small and quick.

--only, --table: these faults alone are run (all are still applied). --no-build: with what was built before.
Ends with 1 where a fault survives, a table is wrong, or a test fails without a fault.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
HEADER = "include/curate_mutant.h"  # of the copy; on every target's include path
HEADER_TEXT = """\
#pragma once

#include <cstdio>
#include <cstdlib>
#include <cstring>

/// Whether the fault of that name is planted. Once for a call site.
#define mutant(name) ([] { static const bool planted = ::curate_mutant::is_planted(name); return planted; }())

namespace curate_mutant {

inline bool is_planted(const char* name) {
  const char* chosen = std::getenv("CURATE_MUTANT");
  if (chosen == nullptr || std::strcmp(chosen, name) != 0) {
    return false;
  }
  // Tells that a run came by.
  if (const char* reached = std::getenv("CURATE_MUTANT_REACHED")) {
    if (std::FILE* file = std::fopen(reached, "w")) {
      std::fclose(file);
    }
  }
  return true;
}

}  // namespace curate_mutant
"""
# What scripts among the ctests drive.
PROGRAMS_OF_SCRIPTS = ["curate", "curate-emulated", "curate-counted"]


class TableError(Exception):
    pass


@dataclasses.dataclass(frozen=True)
class Fault:
    name: str
    file: str
    what: str
    find: str
    replace: str
    caught_by: list
    table: pathlib.Path


def read_table(path):
    with open(path, "rb") as file:
        try:
            table = tomllib.load(file)
        except tomllib.TOMLDecodeError as error:
            raise TableError(f"{path}: {error}") from error
    if set(table) - {"fault"}:
        raise TableError(f"{path}: {', '.join(sorted(set(table) - {'fault'}))}: a table holds [[fault]] alone")
    return [read_fault(path, entry) for entry in table.get("fault", [])]


def read_fault(path, entry):
    name = entry.get("name", "")
    where = f"{path}: fault {name!r}"
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise TableError(f"{where}: a name is lower-case words with hyphens between")
    keys = {field.name for field in dataclasses.fields(Fault)} - {"table"}
    if set(entry) != keys:
        raise TableError(f"{where}: has the keys {sorted(entry)}, not {sorted(keys)}")
    fault = Fault(**entry, table=path)
    if f'mutant("{name}")' not in fault.replace:
        raise TableError(f'{where}: replace has no mutant("{name}")')
    if not isinstance(fault.caught_by, list) or not fault.caught_by:
        raise TableError(f"{where}: caught_by names no test")
    return fault


def read_tables(paths):
    faults = [fault for path in paths for fault in read_table(path)]
    first = {}
    for fault in faults:
        if fault.name in first:
            raise TableError(f"{fault.table}: fault {fault.name!r} is in {first[fault.name]} already")
        first[fault.name] = fault.table
    return faults


def apply_fault(text, fault):
    count = text.count(fault.find)
    if count != 1:
        raise TableError(f"{fault.table}: fault {fault.name!r}: its find occurs {count} times in {fault.file}, not once")
    return text.replace(fault.find, fault.replace)


def changed_files(source, faults):
    """{file: text with all of its faults}"""
    texts = {}
    for fault in faults:
        if fault.file not in texts:
            if not (source / fault.file).is_file():
                raise TableError(f"{fault.table}: fault {fault.name!r}: there is no {fault.file}")
            texts[fault.file] = (source / fault.file).read_text(encoding="utf-8")
        texts[fault.file] = apply_fault(texts[fault.file], fault)
    header = f'#include "{pathlib.PurePosixPath(HEADER).name}"\n#line 1\n'  # errors keep their lines
    return {file: header + text for file, text in texts.items()}


def write_if_new(path, content, mode):
    """Files that stay the same keep their times: ninja builds what changed."""
    if not path.is_file() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    if path.stat().st_mode & 0o777 != mode:
        path.chmod(mode)


def copy_sources(source, copy, faults):
    listed = subprocess.run(["git", "-C", str(source), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            capture_output=True, check=True).stdout.decode().split("\0")
    changed = changed_files(source, faults)
    files = {name for name in listed if name and (source / name).is_file()}
    for name in files:
        content = changed[name].encode() if name in changed else (source / name).read_bytes()
        write_if_new(copy / name, content, (source / name).stat().st_mode & 0o777)
    write_if_new(copy / HEADER, HEADER_TEXT.encode(), 0o644)
    for folder, folders, names in os.walk(copy):
        if pathlib.Path(folder) == copy and "build" in folders:
            folders.remove("build")
        for path in (pathlib.Path(folder) / name for name in names):
            if path.relative_to(copy).as_posix() not in files | {HEADER}:
                path.unlink()


def build(copy, programs):
    subprocess.run(["cmake", "--preset", "emulated"], cwd=copy, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", "--preset", "emulated", "--target", *programs], cwd=copy, check=True)


def programs_of(faults):
    programs = set()
    for fault in faults:
        for test in fault.caught_by:
            program, colon, _ = test.partition(":")
            programs.update([program] if colon else PROGRAMS_OF_SCRIPTS)
    return sorted(programs)


@dataclasses.dataclass
class Outcome:
    run: int = 0  # tests that were not skipped
    failed: str = ""  # how, where one did
    trouble: str = ""  # neither passed nor failed
    reached: bool = False


def status_text(status):
    return f"crash: {signal.Signals(-status).name}" if status < 0 else f"ended with {status}"


def run_gtest(command, environment, folder, timeout):
    report = folder / "report.json"
    try:
        done = subprocess.run([*command, f"--gtest_output=json:{report}"], capture_output=True, timeout=timeout,
                              env=environment, cwd=folder, check=False)
    except subprocess.TimeoutExpired:
        return Outcome(failed=f"longer than {timeout} s")
    if done.returncode < 0:
        return Outcome(failed=status_text(done.returncode))
    if not report.exists():
        return Outcome(trouble=status_text(done.returncode))
    tests = [test for suite in json.loads(report.read_text())["testsuites"] for test in suite["testsuite"]]
    ran = [test for test in tests if test["status"] == "RUN" and test["result"] != "SKIPPED"]
    failed = [f"{test['classname']}.{test['name']}" for test in ran if test.get("failures")]
    trouble = status_text(done.returncode) if done.returncode != 0 and not failed else ""
    more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
    return Outcome(len(ran), failed[0] + more if failed else "", trouble)


def run_ctest(name, build_folder, environment, folder, timeout):
    done = subprocess.run(["ctest", "--test-dir", str(build_folder), "-R", f"^{re.escape(name)}$", "--no-tests=error",
                           "--timeout", str(timeout)], capture_output=True, text=True, env=environment, cwd=folder,
                          check=False)
    line = re.search(r"^ *1/1 Test .*?(Passed|\*{3}.*?) +[\d.]+ sec", done.stdout, re.MULTILINE)
    if line is None:
        return Outcome(trouble="ctest knows no such test, or more than one")
    if "Skipped" in line[1] or "Not Run" in line[1]:
        return Outcome()
    return Outcome(1, "" if line[1] == "Passed" else f"{name} {line[1].strip('*').lower()}")


def run_test(test, build_folder, timeout, fault=""):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CURATE_MUTANT")}
    program, colon, tests = test.partition(":")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if fault:
            environment |= {"CURATE_MUTANT": fault, "CURATE_MUTANT_REACHED": str(folder / "reached")}
        if colon:
            command = [str(build_folder / "tests" / program), f"--gtest_filter={tests}"]
            outcome = run_gtest(command, environment, folder, timeout)
        else:
            outcome = run_ctest(test, build_folder, environment, folder, timeout)
        outcome.reached = (folder / "reached").exists()
    return outcome


def passes_without_fault(test, build_folder, timeout):
    outcome = run_test(test, build_folder, timeout)
    wrong = outcome.failed or outcome.trouble or ("" if outcome.run else "no test ran")
    if wrong:
        print(f"WITHOUT A FAULT {test}: {wrong}", flush=True)
    return not wrong


def is_caught(fault, build_folder, timeout):
    caught = []
    for test in fault.caught_by:
        outcome = run_test(test, build_folder, timeout, fault.name)
        if not outcome.failed:
            why = outcome.trouble or ("" if outcome.reached else "never came by the fault")
            print(f"{fault.name}: SURVIVED {test}{f' ({why})' if why else ''}: {fault.what}", flush=True)
            return False
        caught.append(f"{test}" if outcome.failed in test else f"{test} ({outcome.failed})")
    print(f"{fault.name}: caught by {', '.join(caught)}", flush=True)
    return True


def choose(faults, only, table):
    if table is not None:
        faults = [fault for fault in faults if fault.table == table]
    if only is None:
        return faults
    names = only.split(",")
    unknown = set(names) - {fault.name for fault in faults}
    if unknown:
        raise TableError(f"--only {','.join(sorted(unknown))}: no such fault; see --list")
    return [fault for fault in faults if fault.name in names]


def run_faults(faults, build_folder, timeout):
    """The number of faults that survive."""
    tests = sorted({test for fault in faults for test in fault.caught_by})
    good = {test for test in tests if passes_without_fault(test, build_folder, timeout)}
    survivors = 0
    for fault in faults:
        if not set(fault.caught_by) <= good:
            print(f"{fault.name}: NOT RUN: its tests do not pass without it", flush=True)
            survivors += 1
        elif not is_caught(fault, build_folder, timeout):
            survivors += 1
    print(f"{len(faults)} faults, {survivors} not caught")
    return survivors


def parse_arguments():
    parser = argparse.ArgumentParser(usage="run.py [options]", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--only", help="names of faults, with commas between")
    parser.add_argument("--table", type=pathlib.Path, help="faults of this table alone")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--no-build", action="store_true", help="run what was built before")
    what.add_argument("--build-only", action="store_true", help="build and run nothing")
    parser.add_argument("--timeout", type=int, default=120, help="seconds of one run of a test (120)")
    parser.add_argument("--source", type=pathlib.Path, default=ROOT, help="the repository (this one)")
    parser.add_argument("--list", action="store_true", help="print the faults' names, files and meaning")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    source = arguments.source.resolve()
    table = arguments.table.resolve() if arguments.table else None
    tables = sorted({*(source / "tests/mutants").glob("*.toml"), *([table] if table else [])})
    copy = source / "build/mutants"
    # Where a build of the sources themselves lies: seen from there paths are the same, and ccache knows most files.
    build_folder = copy / "build/emulated"
    try:
        faults = read_tables(tables)
        chosen = choose(faults, arguments.only, table)
        if arguments.list:
            for fault in chosen:
                print(f"{fault.name}\t{fault.file}\t{fault.what}")
            return 0
        if not arguments.no_build:
            copy_sources(source, copy, faults)
            build(copy, programs_of(chosen))
    except (TableError, OSError, subprocess.CalledProcessError) as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 1
    if arguments.build_only:
        return 0
    return 1 if run_faults(chosen, build_folder, arguments.timeout) > 0 else 0


if __name__ == "__main__":
    sys.exit(main())
