#!/usr/bin/env python3
"""Tests of data/fetch.sh and data/read_rdata.py against a server on this machine."""
import bz2
import contextlib
import csv
import fcntl
import hashlib
import http.server
import io
import lzma
import math
import os
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import zipfile
import zlib
from pathlib import Path

import skips

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parent.parent
FETCH = ROOT / "data" / "fetch.sh"
sys.path.insert(0, str(ROOT / "data"))
import read_rdata  # noqa: E402

RATINGS_CSV = b"userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n2,31,4.0,1260759179\n"
RATINGS_DAT = b"1::1193::5::978300760\n"
U_DATA = b"196\t242\t3\t881250949\n"
# Incompressible, so that a cut lands in the middle of a zip of known size.
FILLER = b"".join(hashlib.sha256(bytes([i, j])).digest() for i in range(64) for j in range(64))


def make_zip(entries):
    """entries: (name or ZipInfo, bytes) pairs."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content, compress_type=zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def latest_small_zip():
    return make_zip([("ml-latest-small/", b""), ("ml-latest-small/ratings.csv", RATINGS_CSV),
                     ("ml-latest-small/tags.csv", FILLER)])


def md5(data):
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        name = self.path.lstrip("/")
        asked = self.headers.get("Range")
        log = {"name": name, "range": asked, "sent": 0}
        server.log.append(log)
        self.close_connection = True
        if server.errors.get(name):
            return self.answer(server.errors[name].pop(0), b"busy")
        if name not in server.files:
            return self.answer(404, b"not found")
        body, status, extra = server.files[name], 200, {}
        if asked and server.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if start >= len(body):
                return self.answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
            extra["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            body, status = body[start:], 206
        drops = server.drops.get(name)
        log["sent"] = self.answer(status, body, extra, drops.pop(0) if drops else None)

    def answer(self, status, body, extra=None, drop_after=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for key, value in (extra or {}).items():
            self.send_header(key, value)
        self.end_headers()
        sent = body if drop_after is None else body[:drop_after]
        with contextlib.suppress(ConnectionError):
            self.wfile.write(sent)
        return len(sent)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    """drops: per file, after how many body bytes each answer breaks off;
    errors: per file, the statuses to answer with first."""
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.drops, self.errors, self.log, self.ranges = {}, {}, {}, [], True
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def publish(self, name, data, checksum=None):
        self.files[name] = data
        if checksum:
            self.files[f"{name}.md5"] = f"MD5 ({name}) = {checksum}\n".encode()

    def requests(self, name):
        return [entry for entry in self.log if entry["name"] == name]

    def stop(self):
        self.shutdown()
        self.server_close()


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class FetchCase(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="fetch_test."))
        self.addCleanup(shutil.rmtree, self.folder)
        self.place = self.folder / "place"
        self.out = self.place / "set"
        self.server = Server()
        self.addCleanup(self.server.stop)
        # No test but one may reach the real package by falling back on it unnoticed.
        self.path = self.stub_apt("echo 'E: not in this test' >&2; exit 100")

    def stub_apt(self, script):
        """Puts an apt-get of our own first on PATH."""
        folder = self.folder / "bin"
        folder.mkdir(exist_ok=True)
        (folder / "apt-get").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "apt-get").chmod(0o755)
        return f"{folder}:{os.environ['PATH']}"

    def environment(self, **changes):
        scratch = self.folder / "tmp"
        scratch.mkdir(exist_ok=True)
        clean = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        return clean | {"CURATE_GROUPLENS_URL": self.server.url, "CURATE_GROUPLENS_PINS": "off",
                        "TMPDIR": str(scratch), "PATH": self.path} | changes

    def command(self, *arguments):
        return ["bash", str(FETCH), *arguments]

    def fetch(self, *arguments, **environment):
        return subprocess.run(self.command(*arguments), env=self.environment(**environment), text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=60)

    def fetch_small(self, **environment):
        return self.fetch("ml-latest-small", "--out", str(self.out), **environment)

    def assert_done(self, result, ratings=RATINGS_CSV, file="ratings.csv"):
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stdout, f"{self.out}\n")
        self.assertEqual((self.out / file).read_bytes(), ratings)
        self.assert_tidy([self.out.name])

    def assert_failed(self, result, status, *words, left=()):
        self.assertEqual(result.returncode, status, result.stderr)
        self.assertEqual(result.stdout, "")
        for word in words:
            self.assertIn(word, result.stderr)
        self.assert_tidy(left)

    def assert_tidy(self, left):
        found = [p.name for p in self.place.iterdir()] if self.place.exists() else []
        self.assertEqual(sorted(found), sorted(left))
        self.assertEqual(list((self.folder / "tmp").iterdir()), [], "temporary files left behind")


class DownloadTest(FetchCase):
    def test_plain_download_with_matching_md5(self):
        data = latest_small_zip()
        self.server.publish("ml-latest-small.zip", data, md5(data))
        result = self.fetch_small()
        self.assert_done(result)
        self.assertEqual((self.out / "tags.csv").read_bytes(), FILLER)
        self.assertIn(f"(MD5 {md5(data)} checked)", result.stderr)
        self.assertIn("10.1145/2827872", result.stderr)
        self.assertIn("licence", result.stderr)

    def test_forms_of_the_md5_file(self):
        data = latest_small_zip()
        self.server.publish("ml-latest-small.zip", data)
        self.server.files["ml-latest-small.zip.md5"] = f"{'0' * 32} *x.zip\n".encode()
        self.assert_failed(self.fetch_small(), 1, "wrong MD5", "0" * 32)
        self.server.files["ml-latest-small.zip.md5"] = f"MD5 (x) = {md5(data).upper()}\r\n".encode()
        result = self.fetch_small()
        self.assert_done(result)
        self.assertIn(f"(MD5 {md5(data)} checked)", result.stderr)

    def test_error_page_instead_of_md5_file(self):
        self.server.publish("ml-latest-small.zip", latest_small_zip())
        self.server.files["ml-latest-small.zip.md5"] = f"<p>file={'0' * 32}</p>".encode()
        result = self.fetch_small()
        self.assert_done(result)
        self.assertIn("no readable MD5", result.stderr)

    def test_layouts(self):
        layouts = {"ml-100k": ("ml-100k", "u.data", U_DATA), "ml-1m": ("ml-1m", "ratings.dat", RATINGS_DAT),
                   "ml-10m": ("ml-10M100K", "ratings.dat", RATINGS_DAT)}
        layouts |= {n: (n, "ratings.csv", RATINGS_CSV) for n in ("ml-20m", "ml-25m", "ml-32m")}
        for name, (top, file, ratings) in layouts.items():
            with self.subTest(name):
                data = make_zip([(f"{top}/README.html", b"x"), (f"{top}/{file}", ratings),
                                 ("__MACOSX/._x", b"junk")])
                self.server.publish(f"{name}.zip", data, md5(data))
                self.out = self.place / name
                result = self.fetch(name, "--out", str(self.out))
                self.assertEqual(result.returncode, 0, result.stderr)
                self.assertEqual((self.out / file).read_bytes(), ratings)
                self.assertEqual({p.name for p in self.out.iterdir()}, {file, "README.html", "SOURCE.txt"})

    def test_resume_sends_only_the_rest(self):
        data = latest_small_zip()
        self.server.publish("ml-latest-small.zip", data, md5(data))
        self.place.mkdir()
        cut = len(data) // 2
        (self.place / "set.zip.part").write_bytes(data[:cut])
        self.assert_done(self.fetch_small())
        (request,) = self.server.requests("ml-latest-small.zip")
        self.assertEqual(request["range"], f"bytes={cut}-")
        self.assertEqual(request["sent"], len(data) - cut)

    def test_dropped_connection_is_resumed(self):
        data = latest_small_zip()
        self.server.publish("ml-latest-small.zip", data, md5(data))
        self.server.drops["ml-latest-small.zip"] = [0, 50_000, 20_000]
        self.assert_done(self.fetch_small())
        requests = self.server.requests("ml-latest-small.zip")
        self.assertEqual([r["range"] for r in requests], [None, None, "bytes=50000-", "bytes=70000-"])
        self.assertEqual(sum(r["sent"] for r in requests), len(data))

    def test_server_that_cannot_resume(self):
        data = latest_small_zip()
        self.server.publish("ml-latest-small.zip", data, md5(data))
        self.server.ranges = False
        self.place.mkdir()
        (self.place / "set.zip.part").write_bytes(data[:1000])
        self.assert_done(self.fetch_small())

    def test_server_that_always_breaks_off_is_given_up(self):
        data = latest_small_zip()
        self.server.publish("ml-100k.zip", data)
        self.server.drops["ml-100k.zip"] = [100] + [0] * 50
        result = self.fetch("ml-100k", "--out", str(self.out))
        self.assert_failed(result, 3, "gave up", left=["set.zip.part"])
        self.assertLess(len(self.server.requests("ml-100k.zip")), 8)
        self.assertEqual((self.place / "set.zip.part").read_bytes(), data[:100])

    def test_busy_server_is_asked_again(self):
        self.server.publish("ml-latest-small.zip", latest_small_zip())
        self.server.errors["ml-latest-small.zip"] = [503]
        self.assert_done(self.fetch_small())

    def test_stale_beginning_is_thrown_away_once(self):
        data = latest_small_zip()
        for checksum in (md5(data), None):
            with self.subTest(checksum=checksum):
                self.server.publish("ml-latest-small.zip", data, checksum)
                self.place.mkdir(exist_ok=True)
                (self.place / "set.zip.part").write_bytes(b"?" * 1000)
                self.assert_done(self.fetch_small())
                shutil.rmtree(self.out)
                self.server.files.clear()

    def test_wrong_md5(self):
        self.server.publish("ml-latest-small.zip", latest_small_zip(), "0" * 32)
        self.assert_failed(self.fetch_small(), 1, "wrong MD5", "0" * 32)

    def test_no_md5_published(self):
        self.server.publish("ml-latest-small.zip", latest_small_zip())
        result = self.fetch_small()
        self.assert_done(result)
        self.assertIn("no readable MD5 is published", result.stderr)
        self.assertNotIn("checked)", result.stderr)

    def test_checksum_known_to_the_script(self):
        data = make_zip([("ml-100k/u.data", U_DATA)])
        arguments = ("ml-100k", "--out", str(self.out))
        self.server.publish("ml-100k.zip", data)
        self.assert_failed(self.fetch(*arguments, CURATE_GROUPLENS_PINS="on"), 1, "wrong MD5")
        self.server.publish("ml-100k.zip", data, md5(data))
        self.assert_failed(self.fetch(*arguments, CURATE_GROUPLENS_PINS="on"), 1, "not the one known")
        self.assert_done(self.fetch(*arguments), U_DATA, "u.data")

    def test_missing_on_the_server(self):
        result = self.fetch("ml-1m", "--out", str(self.out))
        self.assert_failed(result, 3, "404", "no source for ml-1m")

    def test_already_there(self):
        self.server.publish("ml-latest-small.zip", latest_small_zip())
        self.assert_done(self.fetch_small())
        before = len(self.server.log)
        result = self.fetch_small()
        self.assert_done(result)
        self.assertIn("already there, fetched earlier from mirror of GroupLens", result.stderr)
        self.assertIn("licence", result.stderr)
        self.assertEqual(len(self.server.log), before)

    def test_default_folder_lies_beside_the_script(self):
        copy = self.folder / "data"
        copy.mkdir()
        shutil.copy(FETCH, copy)
        self.server.publish("ml-latest-small.zip", latest_small_zip())
        result = subprocess.run(["bash", "data/fetch.sh", "ml-latest-small"], cwd=self.folder, text=True,
                                env=self.environment(), capture_output=True, timeout=60)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stdout, f"{copy}/downloads/ml-latest-small\n")
        self.assertEqual((copy / "downloads/ml-latest-small/ratings.csv").read_bytes(), RATINGS_CSV)

    def test_silent_address_fails_fast(self):
        # A listener whose queue is full answers no further connection attempt.
        with socket.socket() as listener, contextlib.ExitStack() as stack:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            for _ in range(4):
                client = stack.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(listener.getsockname())
            start = time.monotonic()
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            result = self.fetch("ml-100k", "--out", str(self.out), CURATE_GROUPLENS_URL=url,
                                CURATE_FETCH_TIMEOUT="2")
            took = time.monotonic() - start
        self.assert_failed(result, 3, "no answer in 2 s")
        self.assertLess(took, 6)


class BadZipTest(FetchCase):
    def assert_refused(self, entries, *words):
        data = make_zip([("set/ratings.csv", RATINGS_CSV), *entries])
        self.server.publish("ml-latest-small.zip", data, md5(data))
        self.assert_failed(self.fetch_small(), 1, "refused", *words)
        self.assertFalse((self.folder / "evil").exists())

    def test_path_that_climbs_out(self):
        self.assert_refused([("../evil", b"x")], "unsafe path")
        self.assert_refused([("set/../../evil", b"x")], "unsafe path")
        self.assert_refused([("set\\..\\evil", b"x")], "unsafe path")

    def test_absolute_path(self):
        self.assert_refused([(str(self.folder / "evil"), b"x")], "unsafe path")

    def test_symbolic_link(self):
        link = zipfile.ZipInfo("set/evil")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        self.assert_refused([(link, str(self.folder).encode())], "link")

    def test_two_entries_with_one_path(self):
        self.assert_refused([("set/./ratings.csv", b"other")], "same path")

    def test_no_ratings(self):
        data = make_zip([("set/README", b"x")])
        self.server.publish("ml-latest-small.zip", data)
        self.assert_failed(self.fetch_small(), 1, "holds no ratings.csv")

    def test_absurd_size(self):
        data = bytearray(make_zip([("set/ratings.csv", RATINGS_CSV), ("set/x", b"x")]))
        # The unpacked size, 24 bytes into the last entry of the central directory.
        struct.pack_into("<I", data, data.rindex(b"PK\x01\x02") + 24, 0xFFFFFFF0)
        self.server.publish("ml-latest-small.zip", bytes(data))
        self.assert_failed(self.fetch_small(), 1, "absurd size")

    def test_damaged_zip(self):
        whole = latest_small_zip()
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 0xFF
        for data in (bytes(flipped), whole[:-100], b"<html>hello</html>"):
            with self.subTest(size=len(data)):
                self.server.publish("ml-latest-small.zip", data)
                self.assert_failed(self.fetch_small(), 1, "damaged")


class InterruptionTest(FetchCase):
    def setUp(self):
        super().setUp()
        # Ratings first, then bytes that take long to unpack and short to send.
        self.data = make_zip([("s/ratings.csv", RATINGS_CSV), ("s/big", bytes(96 << 20))])
        self.server.publish("ml-latest-small.zip", self.data, md5(self.data))
        self.unpacking = self.place / "set.unpacking"

    def interrupt(self, sign):
        """Signals the script and its children while the big file is being unpacked."""
        process = subprocess.Popen(self.command("ml-latest-small", "--out", str(self.out)), text=True,
                                   env=self.environment(), start_new_session=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 20
        while not (self.unpacking / "big").exists() and time.monotonic() < deadline:
            time.sleep(0.002)
        os.killpg(process.pid, sign)
        process.communicate(timeout=20)
        self.assertFalse(self.out.exists())
        return process.returncode

    def assert_repaired(self):
        sent = sum(r["sent"] for r in self.server.requests("ml-latest-small.zip"))
        self.assert_done(self.fetch_small())
        again = sum(r["sent"] for r in self.server.requests("ml-latest-small.zip"))
        self.assertEqual((sent, again), (len(self.data), len(self.data)), "the zip was sent again")

    def test_killed_while_unpacking(self):
        self.assertEqual(self.interrupt(signal.SIGKILL), -signal.SIGKILL)
        self.assertTrue((self.unpacking / "ratings.csv").exists(), "the kill came too early or too late")
        shutil.rmtree(self.folder / "tmp")  # nothing can tidy up after SIGKILL there
        self.assert_repaired()

    def test_terminated_while_unpacking(self):
        self.assertEqual(self.interrupt(signal.SIGTERM), 128 + signal.SIGTERM)
        self.assert_tidy(["set.zip.part"])
        self.assert_repaired()

    def test_second_run_at_the_same_time(self):
        self.place.mkdir()
        with open(self.place / "set.zip.part", "ab") as part:
            fcntl.flock(part, fcntl.LOCK_EX)
            self.assert_failed(self.fetch_small(), 1, "another run", left=["set.zip.part"])
        self.assert_done(self.fetch_small())


class UsageTest(FetchCase):
    def assert_usage(self, *arguments, word, **environment):
        result = self.fetch(*arguments, **environment)
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertEqual((result.stdout, len(result.stderr.splitlines())), ("", 1))
        self.assertIn(word, result.stderr)

    def test_bad_usage(self):
        self.assert_usage(word="ml-latest-small ml-100k ml-1m ml-10m ml-20m ml-25m ml-32m")
        self.assert_usage("ml-5m", word="unknown data set 'ml-5m'")
        self.assert_usage("ml-1m", "ml-100k", word="one data set at a time")
        self.assert_usage("ml-1m", "--out", word="--out needs a folder")
        self.assert_usage("ml-1m", "--ofline", word="--offline")
        self.assert_usage("ml-1m", word="http", CURATE_GROUPLENS_URL="file:///etc")
        self.assert_usage("ml-1m", word="CURATE_FETCH_TIMEOUT", CURATE_FETCH_TIMEOUT="soon")
        self.assertEqual(self.server.log, [])

    def test_help(self):
        result = self.fetch("--help")
        self.assertEqual(result.returncode, 0)
        self.assertIn("CURATE_GROUPLENS_URL", result.stdout)

    def test_folder_with_other_content_is_left_alone(self):
        self.out.mkdir(parents=True)
        (self.out / "thesis.txt").write_text("dear")
        self.assert_usage("ml-1m", "--out", str(self.out), word="move it away")
        self.assertEqual((self.out / "thesis.txt").read_text(), "dear")

    def test_folder_with_another_set(self):
        self.server.publish("ml-1m.zip", make_zip([("ml-1m/ratings.dat", RATINGS_DAT)]))
        self.assertEqual(self.fetch("ml-1m", "--out", str(self.out)).returncode, 0)
        self.assert_usage("ml-10m", "--out", str(self.out), word="already holds ml-1m")


# --- a writer of R's serialisation, as small as the tests allow ---

def word(value):
    return struct.pack(">i", value)


def char(text, encoding="utf-8"):
    if text is None:
        return word(9) + word(-1)
    level = {"utf-8": 8, "latin-1": 4}[encoding]
    data = text.encode(encoding)
    return word(9 | level << 12) + word(len(data)) + data


def symbol(text):
    return word(1) + char(text)


def reference(number):
    return word(255 | number << 8)


NIL = word(254)


def pairlist(*cells, end=NIL):
    """cells: (tag bytes or None, item bytes)."""
    return b"".join(word(2 | (0x400 if tag else 0)) + (tag or b"") + item for tag, item in cells) + end


def vector(kind, body, attributes=b""):
    return word(kind | (0x200 if attributes else 0)) + body + attributes


def integers(values, attributes=b"", kind=13):
    values = [-2**31 if v is None else v for v in values]
    return vector(kind, word(len(values)) + b"".join(map(word, values)), attributes)


def doubles(values):
    na = struct.pack(">Q", 0x7FF0_0000_0000_07A2)
    return vector(14, word(len(values)) + b"".join(na if v is None else struct.pack(">d", v) for v in values))


def strings(values):
    return vector(16, word(len(values)) + b"".join(map(char, values)))


def listing(items, attributes=b""):
    return vector(19, word(len(items)) + b"".join(items), attributes)


def altrep(name, state, attributes=NIL):
    info = pairlist((None, symbol(name)), (None, symbol("base")), (None, integers([13])))
    return word(238) + info + state + attributes


def serialised(item, version=3):
    head = b"X\n" + word(version) + word(0x40301) + word(0x30500)
    return head + (word(5) + b"UTF-8" if version == 3 else b"") + item


def factor(codes, levels):
    return integers(codes, pairlist((symbol("levels"), strings(levels)), (symbol("class"), strings(["factor"]))))


def parse(item, version=3):
    return read_rdata.XdrReader(serialised(item, version)).read()


def movielens_frame():
    columns = {
        "movieId": integers([1029, 31, 1029]), "title": strings(["Amélie, \"La\"", None, "Amélie, \"La\""]),
        "year": integers([2001, None, 2001]), "genres": factor([2, 1, 2], ["Drama", "Comedy|Romance"]),
        "userId": altrep("compact_intseq", doubles([3, 1, 1])), "rating": doubles([2.5, 3, 4]),
        "timestamp": integers([1260759144, 5, 6]),
    }
    # "levels" and "class" were first named in the factor above; then come references.
    attributes = pairlist((symbol("names"), strings(columns)), (symbol("row.names"), integers([None, -3])))
    return listing(list(columns.values()), attributes)


def write_package(folder, compress=zlib.compress, compression=1):
    """A lazy-load database as R keeps it in a package's data folder."""
    data = serialised(movielens_frame())
    record = struct.pack(">I", len(data)) + compress(data)
    folder.mkdir(parents=True)
    (folder / "Rdata.rdb").write_bytes(b"other" + record)
    variables = listing([integers([5, len(record)])], pairlist((symbol("names"), strings(["movielens"]))))
    index = listing([variables, integers([compression])],
                    pairlist((reference(1), strings(["variables", "compressed"]))))
    (folder / "Rdata.rdx").write_bytes(zlib.compress(serialised(index)))


class ReadRdataTest(unittest.TestCase):
    def test_vectors_and_missing_values(self):
        self.assertEqual(parse(integers([1, -2, None])).value, [1, -2, None])
        self.assertEqual(parse(integers([1, None, 0], kind=10)).value, [1, None, 0])
        self.assertEqual(parse(strings(["Amélie", "", None, "日本"])).value, ["Amélie", "", None, "日本"])
        numbers = parse(doubles([0.5, None, math.nan, math.inf])).value
        self.assertEqual((numbers[0], numbers[1], numbers[3]), (0.5, None, math.inf))
        self.assertTrue(math.isnan(numbers[2]), "an ordinary NaN is not NA")

    def test_version_2(self):
        self.assertEqual(parse(integers([7]), version=2).value, [7])

    def test_latin1_string(self):
        self.assertEqual(parse(vector(16, word(1) + char("Misérables", "latin-1"))).value, ["Misérables"])

    def test_factor(self):
        self.assertEqual(read_rdata.column(parse(factor([2, None, 1], ["a", "b"]))), ["b", None, "a"])

    def test_symbols_by_reference(self):
        both = listing([integers([1], pairlist((symbol("names"), strings(["x"])))),
                        integers([2], pairlist((reference(1), strings(["y"]))))])
        self.assertEqual([v.names() for v in parse(both).value], [["x"], ["y"]])

    def test_altrep(self):
        self.assertEqual(parse(altrep("compact_intseq", doubles([4, 7, -1]))).value, [7, 6, 5, 4])
        self.assertEqual(parse(altrep("compact_realseq", doubles([2, 1, 1]))).value, [1.0, 2.0])
        deferred = pairlist((None, integers([12, None])), end=integers([0]))
        self.assertEqual(parse(altrep("deferred_string", deferred)).value, ["12", None])
        wrapped = pairlist((None, factor([1], ["a"])), end=integers([0, 0]))
        self.assertEqual(read_rdata.column(parse(altrep("wrap_integer", wrapped))), ["a"])
        with self.assertRaisesRegex(ValueError, "mmap_real"):
            parse(altrep("mmap_real", NIL))

    def test_data_frame(self):
        frame = read_rdata.data_frame(parse(movielens_frame()))
        self.assertEqual(frame["userId"], [1, 2, 3])
        self.assertEqual(frame["genres"], ["Comedy|Romance", "Drama", "Comedy|Romance"])
        self.assertEqual(frame["year"], [2001, None, 2001])

    def test_what_it_cannot_read(self):
        good = serialised(integers([1, 2]))
        for bad in (good[:-1], b"A\n" + good[2:], serialised(word(4)), serialised(word(13) + word(-1)), b""):
            with self.subTest(bad=bad), self.assertRaises(ValueError):
                read_rdata.XdrReader(bad).read()

    def test_package_folder(self):
        xz = {"format": lzma.FORMAT_RAW, "filters": [{"id": lzma.FILTER_LZMA2, "preset": 9}]}
        ways = {"zlib": (zlib.compress, 1), "bzip2": (lambda d: b"2" + bz2.compress(d), 2),
                "xz": (lambda d: b"Z" + lzma.compress(d, **xz), 3), "stored": (lambda d: b"0" + d, 3)}
        for name, (compress, number) in ways.items():
            with self.subTest(name), tempfile.TemporaryDirectory() as folder:
                out = Path(folder)
                write_package(out / "data", compress, number)
                with contextlib.redirect_stderr(io.StringIO()) as said:
                    self.assertEqual(read_rdata.main([str(out / "data"), folder]), 0)
                self.assertEqual(said.getvalue(), "3 ratings, 2 movies\n")
                self.assertEqual((out / "ratings.csv").read_text(), "userId,movieId,rating,timestamp\n"
                                 "1,1029,2.5,1260759144\n2,31,3.0,5\n3,1029,4.0,6\n")
                self.assertEqual((out / "movies.csv").read_text("utf-8"), "movieId,title,genres\n"
                                 "31,[movie 31: title missing],Drama\n"
                                 '1029,"Amélie, ""La"" (2001)",Comedy|Romance\n')

    def test_damaged_package_folder(self):
        with tempfile.TemporaryDirectory() as folder:
            write_package(Path(folder) / "data")
            rdb = Path(folder) / "data" / "Rdata.rdb"
            rdb.write_bytes(rdb.read_bytes()[:-20])
            with contextlib.redirect_stderr(io.StringIO()):
                self.assertEqual(read_rdata.main([str(Path(folder) / "data"), folder]), 1)
            self.assertFalse((Path(folder) / "ratings.csv").exists())
        with self.assertRaisesRegex(ValueError, "damaged"):
            read_rdata.lazy_load_record(struct.pack(">I", 5) + b"0four", 3)


class DebianPackageTest(FetchCase):
    def built_package(self):
        if not shutil.which("dpkg-deb"):
            skips.missing(self, "no dpkg-deb here")
        root = self.folder / "root"
        write_package(root / "usr/lib/R/site-library/dslabs/data")
        (root / "DEBIAN").mkdir()
        (root / "DEBIAN/control").write_text("Package: r-cran-dslabs\nVersion: 9.9-1\nArchitecture: all\n"
                                             "Maintainer: Nobody <nobody@example.org>\nDescription: test\n")
        file = self.folder / "r-cran-dslabs_9.9-1_all.deb"
        subprocess.run(["dpkg-deb", "--build", root, file], check=True, capture_output=True)
        return file

    def assert_from_package(self, result):
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stdout, f"{self.out}\n")
        self.assertIn("source: Debian/Ubuntu package r-cran-dslabs", result.stderr)
        self.assertIn("GroupLens, for research", result.stderr)
        self.assertIn("10.1145/2827872", (self.out / "README.txt").read_text())
        self.assert_tidy([self.out.name])
        with open(self.out / "ratings.csv", newline="", encoding="utf-8") as file:
            return list(csv.reader(file))

    def test_offline_uses_the_package(self):
        self.stub_apt(f"cp {self.built_package()} .")
        result = self.fetch("ml-latest-small", "--offline", "--out", str(self.out))
        self.assertEqual(len(self.assert_from_package(result)), 4)
        self.assertEqual(self.server.log, [], "--offline contacted the server")

    def test_unreachable_server_falls_back_on_the_package(self):
        self.stub_apt(f"cp {self.built_package()} .")
        self.place.mkdir()
        (self.place / "set.zip.part").write_bytes(b"begun earlier")
        result = self.fetch_small(CURATE_GROUPLENS_URL=f"http://127.0.0.1:{closed_port()}")
        self.assertIn("can't reach", result.stderr)
        self.assertEqual(len(self.assert_from_package(result)), 4)

    def test_fresh_lists_are_read_when_the_system_has_none(self):
        package = self.built_package()
        self.stub_apt(f'case "$*" in *Dir::State::Lists=*download*) cp {package} . ;; '
                             "*update*) ;; *) echo 'E: no lists' >&2; exit 100 ;; esac")
        result = self.fetch("ml-latest-small", "--offline", "--out", str(self.out))
        self.assertIn("missing or stale", result.stderr)
        self.assertEqual(len(self.assert_from_package(result)), 4)

    def test_neither_source(self):
        self.stub_apt("echo 'E: cannot be had' >&2; exit 100")
        result = self.fetch_small(CURATE_GROUPLENS_URL=f"http://127.0.0.1:{closed_port()}")
        self.assert_failed(result, 3, "E: cannot be had", "neither GroupLens nor the package")

    def test_other_sets_have_no_fallback(self):
        result = self.fetch("ml-100k", "--offline", "--out", str(self.out))
        self.assert_failed(result, 3, "without --offline")

    def test_wrong_checksum_is_no_reason_to_fall_back(self):
        self.stub_apt(f"cp {self.built_package()} .")
        self.server.publish("ml-latest-small.zip", latest_small_zip(), "0" * 32)
        self.assert_failed(self.fetch_small(), 1, "wrong MD5")

    def test_real_package(self):
        self.path = os.environ["PATH"]
        result = self.fetch("ml-latest-small", "--offline", "--out", str(self.out))
        if result.returncode == 3 and not self.apt_serves_it():
            self.skipTest(f"apt can't serve r-cran-dslabs here: {result.stderr.splitlines()[-2]}")
        rows = self.assert_from_package(result)
        self.assertEqual(len(rows), 1 + 100_004)
        self.assertEqual(rows[1], ["1", "31", "2.5", "1260759144"])
        with open(self.out / "movies.csv", newline="", encoding="utf-8") as file:
            movies = {movie: (title, genres) for movie, title, genres in csv.reader(file)}
        self.assertEqual(len(movies), 1 + len({row[1] for row in rows[1:]}))
        self.assertEqual(movies["29"][0], "City of Lost Children, The (Cité des enfants perdus, La) (1995)")
        self.assertEqual(movies["1"], ("Toy Story (1995)", "Adventure|Animation|Children|Comedy|Fantasy"))

    def apt_serves_it(self):
        if not shutil.which("apt-get"):
            return False
        probe = ["apt-get", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=0",
                 "-o", "Acquire::http::Timeout=5", "download", "r-cran-dslabs"]
        return subprocess.run(probe, cwd=self.folder, capture_output=True, timeout=60).returncode == 0


if __name__ == "__main__":
    if not shutil.which("curl") or not shutil.which("bash"):
        sys.exit("fetch_test.py needs bash and curl")
    skips.main()
