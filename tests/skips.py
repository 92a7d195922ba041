#!/usr/bin/env python3
"""What tests skip, and why.

usage: skips.py LOG     LOG: LastTest.log of ctest; prints a line for every test of it that was skipped, with its reason

Tests that are scripts end in main() of this module, since ctest takes a script that skips some of its tests for one
that passed them all.
"""
import os
import pathlib
import re
import sys
import unittest

MARK = "skipped: "


def missing(test, reason):
    """Skips `test` for want of what a machine of one's own may lack and CI (CI=true) may not: there it fails."""
    if os.environ.get("CI") == "true":
        test.fail(f"{reason}; with CI=true it has to be here")
    test.skipTest(reason)


def main(**options):
    """unittest.main(), and at the end a line for every test that was skipped."""
    result = unittest.main(exit=False, **options).result
    script = pathlib.Path(sys.argv[0]).stem
    for test, reason in result.skipped:
        name = test.id().removeprefix("__main__.")
        print(f"{MARK}{script}.{name}: {' '.join(reason.split())}", flush=True)
    sys.exit(0 if result.wasSuccessful() else 1)


def listed(log):
    """The lines for a log of ctest. A test of a program of googletest is one of ctest's."""
    lines = []
    for part in re.split(r"^\d+/\d+ Testing: ", log, flags=re.MULTILINE)[1:]:
        name, _, rest = part.partition("\n")
        lines += [line.removeprefix(MARK) for line in rest.splitlines() if line.startswith(MARK)]
        if "Skip regular expression found in output" in rest:
            reason = re.search(r"^\S+:\d+: Skipped\n(.*)$", rest, re.MULTILINE)
            lines.append(f"{name}: {reason[1].strip() if reason and reason[1].strip() else 'it does not say why'}")
        elif "Skip return code" in rest:
            lines.append(f"{name}: it does not say why")
    return sorted(set(lines))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for one in listed(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8", errors="replace")):
        print(one)
