#!/usr/bin/env python3
"""Tests of what `cmake --install` puts down: installed, moved elsewhere, used by another project.

usage: install_test.py BUILD [unittest arguments]     BUILD: a build directory in which everything is built
"""
import csv
import math
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import skips

ROOT = Path(__file__).resolve().parent.parent
CONSUMER = ROOT / "tests" / "consumer"
HEADERS = sorted(path.name for path in (ROOT / "include" / "curate").glob("*.h"))
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror"]
# Nothing of these may be needed to compile against cuRate.
PRIVATE = re.compile(r"fmt|nlohmann|toml|random123|cli11|gtest|openblas|cblas|threads::|curate_core|curate_settings",
                     re.IGNORECASE)


def find_build():
    """Takes the build directory out of the arguments, so that unittest does not see it."""
    if len(sys.argv) > 1 and os.path.isfile(os.path.join(sys.argv[1], "CMakeCache.txt")):
        return Path(sys.argv.pop(1)).resolve()
    sys.exit("no build to test: give its directory as the first argument")


def read_cache(build):
    """The entries of a CMakeCache.txt, NAME:TYPE=VALUE."""
    lines = (build / "CMakeCache.txt").read_text(encoding="utf-8").splitlines()
    return dict(re.fullmatch(r"([^:#/]+):[A-Z]+=(.*)", line).groups() for line in lines if re.match(r"[^:#/]+:", line))


def clean_environment():
    """Without what could find another cuRate, or install elsewhere."""
    unwanted = re.compile(r"DESTDIR|LD_LIBRARY_PATH|CPATH|CPLUS_INCLUDE_PATH|LIBRARY_PATH|PKG_CONFIG_.*|CMAKE_.*"
                          r"|CXXFLAGS|LDFLAGS|curate_.*")
    return {name: value for name, value in os.environ.items() if not unwanted.fullmatch(name)}


BUILD = find_build()
CACHE = read_cache(BUILD)
CMAKE = CACHE["CMAKE_COMMAND"]
COMPILER = CACHE["CMAKE_CXX_COMPILER"]
VERSION = CACHE["CMAKE_PROJECT_VERSION"]
ENVIRONMENT = clean_environment()


def run(*command, **options):
    """Runs a command and returns its result, whatever its exit status."""
    environment = ENVIRONMENT | options.pop("env", {})
    return subprocess.run([str(part) for part in command], capture_output=True, timeout=240, encoding="utf-8",
                          env=environment, **options)


def check(*command, **options):
    """Runs a command that must succeed and returns what it printed."""
    result = run(*command, **options)
    if result.returncode != 0:
        raise AssertionError(f"{shlex.join(map(str, command))}\n{result.stdout}{result.stderr}")
    return result.stdout


def configure(source, build, prefix, *arguments):
    return run(CMAKE, "-S", source, "-B", build, "-G", CACHE["CMAKE_GENERATOR"], f"-DCMAKE_PREFIX_PATH={prefix}",
               f"-DCMAKE_CXX_COMPILER={COMPILER}", *arguments)


class InstallCase(unittest.TestCase):
    """One installed prefix, moved, for all tests."""

    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory(prefix="curate-install-")
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = Path(temporary.name).resolve()
        cls.first_prefix = cls.folder / "first"
        cls.prefix = cls.folder / "moved here" / "prefix"
        check(CMAKE, "--install", BUILD, "--prefix", cls.first_prefix)
        cls.prefix.parent.mkdir()
        cls.first_prefix.rename(cls.prefix)
        cls.curate = cls.prefix / CACHE["CMAKE_INSTALL_BINDIR"] / "curate"
        cls.libdir = cls.prefix / CACHE["CMAKE_INSTALL_LIBDIR"]
        cls.include = cls.prefix / CACHE["CMAKE_INSTALL_INCLUDEDIR"]
        cls.shared_object = cls.libdir / "libcurate.so"

    def new_folder(self, name):
        """Emptied where another test has used the name."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder


class ContentTest(InstallCase):
    def test_these_files_and_no_others(self):
        soversion = ".".join(VERSION.split(".")[:2])
        self.assertEqual(
            {str(path.relative_to(self.prefix)) for path in self.prefix.rglob("*") if not path.is_dir()},
            {str(path.relative_to(self.prefix)) for path in [
                self.curate, self.shared_object, self.libdir / f"libcurate.so.{soversion}",
                self.libdir / f"libcurate.so.{VERSION}", self.libdir / "pkgconfig" / "curate.pc",
                *(self.include / "curate" / name for name in HEADERS),
                *(self.libdir / "cmake" / "curate" / f"curate-{name}.cmake" for name in (
                    "config", "config-version", "targets", f"targets-{CACHE['CMAKE_BUILD_TYPE'].lower()}")),
            ]})

    def test_program(self):
        self.assertEqual(check(self.curate, "--version").strip(), VERSION)

    def test_no_places_of_the_build(self):
        texts = [path for path in self.prefix.rglob("*") if path.suffix in (".h", ".cmake", ".pc")]
        self.assertGreater(len(texts), len(HEADERS))
        for path in texts:
            text = path.read_text(encoding="utf-8")
            for place in (self.first_prefix, BUILD, ROOT):
                self.assertNotIn(str(place), text, path)

    def test_nothing_private_in_the_package_files(self):
        for path in [*self.libdir.rglob("*.cmake"), self.libdir / "pkgconfig" / "curate.pc"]:
            self.assertIsNone(PRIVATE.search(path.read_text(encoding="utf-8")), path)
        targets = (self.libdir / "cmake" / "curate" / "curate-targets.cmake").read_text(encoding="utf-8")
        self.assertEqual(re.findall(r"INTERFACE_\w+ .*", targets), [
            'INTERFACE_COMPILE_FEATURES "cxx_std_20"',
            f'INTERFACE_INCLUDE_DIRECTORIES "${{_IMPORT_PREFIX}}/{CACHE["CMAKE_INSTALL_INCLUDEDIR"]}"'])

    def test_package_version(self):
        major, minor = map(int, VERSION.split(".")[:2])
        cases = {f"{major}.{minor}": True, VERSION: True, f"{major}.{minor + 1}": False, f"{major + 1}.0": False}
        if minor > 0:
            # Until 1.0 every minor version may break what the one before promised.
            cases[f"{major}.{minor - 1}"] = False
        for wanted, found in cases.items():
            with self.subTest(wanted):
                folder = self.new_folder("version")
                (folder / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.16)\n"
                                                       "project(version LANGUAGES NONE)\n"
                                                       f"find_package(curate {wanted} CONFIG REQUIRED)\n")
                result = configure(folder, folder / "build", self.prefix)
                self.assertEqual(result.returncode == 0, found, result.stderr)


class HeaderTest(InstallCase):
    def read(self, name):
        return (self.include / "curate" / name).read_text(encoding="utf-8")

    def test_only_public_and_standard_headers_are_included(self):
        for name in HEADERS:
            for line in re.findall(r"^\s*#\s*include\s*(.*)", self.read(name), re.MULTILINE):
                if line.startswith('"'):
                    self.assertIn(line, [f'"curate/{header}"' for header in HEADERS], name)
                else:
                    self.assertRegex(line, r"^<[a-z_]+>$", name)

    def test_umbrella(self):
        included = re.findall(r'#include "curate/(.*)"', self.read("curate.h"))
        self.assertEqual(included, [name for name in HEADERS if name != "curate.h"])

    def test_each_compiles_alone(self):
        folder = self.new_folder("alone")
        for name in HEADERS:
            with self.subTest(name):
                (folder / "alone.cpp").write_text(f"#include <curate/{name}>\n")
                check(COMPILER, "-std=c++20", *WARNINGS, "-I", self.include, "-fsyntax-only", folder / "alone.cpp")

    def test_all_is_marked_for_export(self):
        for name in HEADERS:
            for line in self.read(name).splitlines():
                if re.match(r"(struct|class)\b(?!.*;)", line):
                    self.assertRegex(line, r"^(struct|class) CURATE_API ", name)
                elif re.match(r"\w.*\(", line) and not re.match(r"inline |constexpr |concept |using |template", line):
                    self.assertTrue(line.startswith("CURATE_API "), f"{name}: {line}")


class SymbolTest(InstallCase):
    """What the dynamic linker sees of the shared library."""

    def setUp(self):
        self.symbols = [line.split(maxsplit=2)[2] for line in check("nm", "-DC", "--defined-only",
                                                                    self.shared_object).splitlines()]

    def test_the_public_api_is_exported(self):
        for name in HEADERS:
            text = (self.include / "curate" / name).read_text(encoding="utf-8")
            for function in re.findall(r"^CURATE_API .*?(\w+)\(", text, re.MULTILINE):
                pattern = re.compile(rf"curate::{function}(\[abi:\w+\])?\(")
                self.assertTrue(any(pattern.match(symbol) for symbol in self.symbols), f"{name}: {function}")
            for exception in re.findall(r"^class CURATE_API (\w*Error)\b", text, re.MULTILINE):
                self.assertIn(f"typeinfo for curate::{exception}", self.symbols)
        for method in ("IdMap::find(", "Model::load(", "Model::predict(", "Trainer::Trainer(", "Trainer::train("):
            self.assertTrue(any(symbol.startswith(f"curate::{method}") for symbol in self.symbols), method)

    def test_and_nothing_else(self):
        declared = "\n".join((self.include / "curate" / name).read_text(encoding="utf-8") for name in HEADERS)
        declared = re.sub(r"//.*", "", declared)
        for symbol in self.symbols:
            # Templates of the standard library are instantiated in whoever uses them, and shared. All names of ours in
            # a symbol must be public, those among the parameters too.
            plain = re.sub(r"^(vtable|typeinfo name|typeinfo|guard variable|VTT) for ", "", symbol)
            self.assertRegex(plain, r"^(?:[\w ]+ )?(curate|std|__gnu_cxx)::", symbol)
            for name in re.findall(r"curate::(\w+)", symbol):
                self.assertRegex(declared, rf"\b{name}\b", symbol)


class ConsumerTest(InstallCase):
    """tests/consumer, built against the moved prefix."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.data = cls.folder / "data"
        check(cls.curate, "data", "generate", "--out", cls.data, "--users", 200, "--items", 100, "--ratings", 8000,
              "--rank", 2)
        with open(cls.data / "ratings.csv", newline="", encoding="utf-8") as file:
            cls.deviation = statistics.pstdev(float(row["rating"]) for row in csv.DictReader(file))

    def check_program(self, program, **environment):
        self.assertIn(f"=> {self.libdir}/libcurate.so.", check("ldd", program, env=environment))
        printed = check(program, self.data, env=environment)
        rmse = float(re.fullmatch(r"test RMSE (\d+\.\d{4})\n", printed).group(1))
        self.assertTrue(math.isfinite(rmse))
        # The noise alone has a deviation of 0.8.
        self.assertGreater(rmse, 0.7)
        self.assertLess(rmse, 0.95 * self.deviation)
        for arguments, message in (((self.data, 0), "`dim` 0"), ((self.folder / "nowhere",), "nowhere")):
            result = run(program, *arguments, env=environment)
            self.assertEqual((result.returncode, result.stdout), (2, ""), result.stderr)
            self.assertRegex(result.stderr, r"^bad input: .*" + re.escape(message))

    def test_cmake(self):
        build = self.new_folder("cmake-consumer")
        result = configure(CONSUMER, build, self.prefix, f"-DCMAKE_CXX_FLAGS={' '.join(WARNINGS)}")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertEqual(Path(read_cache(build)["curate_DIR"]), self.libdir / "cmake" / "curate")
        check(CMAKE, "--build", build)
        self.check_program(build / "consumer")

    def test_pkg_config(self):
        if shutil.which("pkg-config") is None:
            skips.missing(self, "no pkg-config here")
        search = {"PKG_CONFIG_PATH": str(self.libdir / "pkgconfig")}
        self.assertEqual(check("pkg-config", "--modversion", "curate", env=search).strip(), VERSION)
        flags = {which: shlex.split(check("pkg-config", which, "curate", env=search))
                 for which in ("--cflags", "--libs")}
        for which, option, folder in (("--cflags", "-I", self.include), ("--libs", "-L", self.libdir)):
            self.assertEqual([Path(flag[2:]).resolve() for flag in flags[which] if flag.startswith(option)], [folder])
        program = self.new_folder("pkg-config-consumer") / "consumer"
        check(COMPILER, "-std=c++20", *WARNINGS, *flags["--cflags"], CONSUMER / "main.cpp", "-o", program,
              *flags["--libs"])
        self.check_program(program, LD_LIBRARY_PATH=str(self.libdir))

    def test_the_library_s_page_shows_the_consumer(self):
        page = (ROOT / "include" / "README.md").read_text(encoding="utf-8")
        blocks = re.findall(r"^```cpp\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        self.assertEqual(blocks, [(CONSUMER / "main.cpp").read_text(encoding="utf-8")])
        for line in (CONSUMER / "CMakeLists.txt").read_text(encoding="utf-8").splitlines():
            if re.match(r"find_package|target_link_libraries", line):
                self.assertIn(re.sub(r"consumer", "my_program", line), page)


if __name__ == "__main__":
    skips.main()
