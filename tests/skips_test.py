#!/usr/bin/env python3
"""Tests of skips.py: what is skipped is named.

usage: skips_test.py [unittest arguments]
"""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import skips

TESTS = pathlib.Path(__file__).resolve().parent
SCRIPT = """
import sys, unittest
sys.path.insert(0, {tests!r})
import skips

class Some(unittest.TestCase):
    def test_passes(self):
        pass
    def test_lacks_something(self):
        skips.missing(self, "no\\nsuch thing")
    @unittest.skip("not for this machine")
    def test_is_of_another_machine(self):
        pass
    def test_may_fail(self):
        self.assertFalse({fails})

skips.main()
"""
LOG = """Start testing
----------------------------------------------------------
1/4 Testing: Suite.passes
1/4 Test: Suite.passes
Output:
----------------------------------------------------------
[       OK ] Suite.passes (0 ms)
Test Passed.

2/4 Testing: script_test
2/4 Test: script_test
Output:
----------------------------------------------------------
OK (skipped=2)
skipped: script_test.Some.test_a: no such thing
skipped: script_test.Some.test_b: nor this
Test Passed.

3/4 Testing: Suite.lacks_something/cpu
3/4 Test: Suite.lacks_something/cpu
Output:
----------------------------------------------------------
/somewhere/a_test.cpp:12: Skipped
this machine has none

[  SKIPPED ] Suite.lacks_something/cpu (0 ms)
Test Pass Reason:
Skip regular expression found in output. Regex=[\\[  SKIPPED \\]]

4/4 Testing: Suite.says_nothing
4/4 Test: Suite.says_nothing
Output:
----------------------------------------------------------
/somewhere/a_test.cpp:13: Skipped

[  SKIPPED ] Suite.says_nothing (0 ms)
Test Pass Reason:
Skip regular expression found in output. Regex=[\\[  SKIPPED \\]]
"""


class Scripts(unittest.TestCase):
    def run_script(self, fails=False, ci=None):
        environment = {key: value for key, value in os.environ.items() if key != "CI"}
        if ci:
            environment["CI"] = ci
        with tempfile.TemporaryDirectory() as folder:
            script = pathlib.Path(folder) / "some_test.py"
            script.write_text(SCRIPT.format(tests=str(TESTS), fails=fails))
            return subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60,
                                  env=environment, check=False)

    def test_every_skip_is_a_line(self):
        done = self.run_script()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, "skipped: some_test.Some.test_is_of_another_machine: not for this machine\n"
                                      "skipped: some_test.Some.test_lacks_something: no such thing\n")

    def test_failures_stay_failures(self):
        self.assertEqual(self.run_script(fails=True).returncode, 1)

    def test_what_is_missing_fails_with_ci(self):
        done = self.run_script(ci="true")
        self.assertEqual(done.returncode, 1)
        self.assertIn("with CI=true it has to be here", done.stderr)
        self.assertNotIn("test_lacks_something", done.stdout)
        self.assertIn("test_is_of_another_machine", done.stdout)

    def test_all_scripts_end_in_main(self):
        for script in TESTS.glob("*_test.py"):
            if script.name != "skips_test.py":
                text = script.read_text(encoding="utf-8")
                self.assertIn("\n    skips.main(", text, script.name)
                self.assertNotIn("unittest.main(", text, script.name)


class Log(unittest.TestCase):
    def test_all_that_was_skipped_is_listed(self):
        self.assertEqual(skips.listed(LOG), ["Suite.lacks_something/cpu: this machine has none",
                                             "Suite.says_nothing: it does not say why",
                                             "script_test.Some.test_a: no such thing",
                                             "script_test.Some.test_b: nor this"])
        self.assertEqual(skips.listed(""), [])


if __name__ == "__main__":
    skips.main()
