#!/usr/bin/env python3
"""tests/mutants/run.py: what it takes for a table of faults, and what it makes of one. Builds nothing.

usage: tests/mutants/run_test.py
"""

import pathlib
import tempfile
import unittest

import run

FAULT = """
[[fault]]
name = "{name}"
file = "a.cpp"
what = "one is two"
find = '''{find}'''
replace = '''(mutant("{name}") ? 2 : 1)'''
caught_by = ["program:Suite.test"]
"""


class RunTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / "a.cpp").write_text("int a = 1; int b = 3;\n")

    def read(self, text):
        (self.folder / "table.toml").write_text(text)
        return run.read_tables([self.folder / "table.toml"])

    def assert_refused(self, text, words):
        with self.assertRaisesRegex(run.TableError, words):
            run.changed_files(self.folder, self.read(text))

    def test_a_fault_is_applied_behind_its_switch(self):
        changed = run.changed_files(self.folder, self.read(FAULT.format(name="a-fault", find="1")))
        header, line, text = changed["a.cpp"].split("\n", 2)
        self.assertEqual((header, line), ('#include "curate_mutant.h"', "#line 1"))
        self.assertEqual(text, 'int a = (mutant("a-fault") ? 2 : 1); int b = 3;\n')

    def test_a_later_fault_finds_what_an_earlier_one_left(self):
        faults = FAULT.format(name="first", find="= 1") + FAULT.format(name="second", find=" : 1")
        self.assertIn('(mutant("first") ? 2(mutant("second") ? 2 : 1))',
                      run.changed_files(self.folder, self.read(faults))["a.cpp"])

    def test_what_is_no_table_is_refused(self):
        fault = FAULT.format(name="a-fault", find="1")
        for text, words in [
            ("[[fault]", "table.toml"),
            ("[[fault]]\nname = 'a'\n", "has the keys"),
            ("[[faults]]\nname = 'a'\n", r"faults: a table holds \[\[fault\]\] alone"),
            (FAULT.format(name="A fault", find="1"), "lower-case words with hyphens"),
            (fault + fault, "is in .* already"),
            (fault.replace("mutant(", "other("), r'replace has no mutant\("a-fault"\)'),
            (fault.replace('["program:Suite.test"]', "[]"), "caught_by names no test"),
            (fault.replace("a.cpp", "b.cpp"), "there is no b.cpp"),
            (FAULT.format(name="a-fault", find="int"), "occurs 2 times in a.cpp, not once"),
            (FAULT.format(name="a-fault", find="int c"), "occurs 0 times in a.cpp, not once"),
        ]:
            with self.subTest(words):
                self.assert_refused(text, words)

    def test_files_that_stay_the_same_keep_their_time(self):
        path = self.folder / "a.cpp"
        before = path.stat().st_mtime_ns
        run.write_if_new(path, path.read_bytes(), path.stat().st_mode & 0o777)
        self.assertEqual(path.stat().st_mtime_ns, before)
        run.write_if_new(path, b"int a = 2;\n", 0o644)
        self.assertEqual(path.read_bytes(), b"int a = 2;\n")

    def test_programs_to_build(self):
        faults = self.read(FAULT.format(name="a-fault", find="1"))
        self.assertEqual(run.programs_of(faults), ["program"])
        faults[0].caught_by.append("cli_test")
        self.assertEqual(run.programs_of(faults), ["curate", "curate-counted", "curate-emulated", "program"])


if __name__ == "__main__":
    unittest.main()
