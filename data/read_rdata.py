#!/usr/bin/env python3
"""Write the MovieLens ratings kept in an R package as ratings.csv and movies.csv.

usage: read_rdata.py SOURCE OUT_DIR

SOURCE is the data folder of an installed R package (it holds Rdata.rdx and Rdata.rdb).
Only the part of R's XDR serialisation that plain data frames use is read, which is what
lets this work without R.
"""
import bz2
import csv
import lzma
import math
import struct
import sys
import zlib
from dataclasses import dataclass, field
from pathlib import Path

NA_INT = -(2**31)
NA_REAL_LOW_WORD = 1954  # R tells NA from an ordinary NaN by this payload
SYMBOL, PAIRLIST, CHARSXP, LOGICAL, INTEGER, REAL, STRING, LIST = 1, 2, 9, 10, 13, 14, 16, 19
ALTREP, ATTRIBUTE_PAIRLIST, NULL, REFERENCE = 238, 239, 254, 255
# Stand-ins for fixed R objects (the global environment and the like) carry no payload.
FIXED_OBJECTS = {241, 242, 251, 252, 253}
HAS_ATTRIBUTES, HAS_TAG = 1 << 9, 1 << 10
LATIN1_STRING = 1 << 14  # bit 2 of the level bits, which start at bit 12
COLUMNS = ("userId", "movieId", "rating", "timestamp", "title", "year", "genres")


@dataclass
class RObject:
    """An R value: for a vector a list, for a pairlist a list of (tag, RObject)."""
    value: object
    attributes: dict = field(default_factory=dict)

    def names(self):
        return self.attributes["names"].value


class XdrReader:
    """Reads one serialised R object (versions 2 and 3, XDR)."""

    def __init__(self, data):
        self.data, self.position, self.references = data, 0, []

    def take(self, size):
        if size < 0 or self.position + size > len(self.data):
            raise ValueError("R data ends too early")
        self.position += size
        return self.data[self.position - size:self.position]

    def unpack(self, code, count):
        return list(struct.unpack(f">{count}{code}", self.take(struct.calcsize(f">{code}") * count)))

    def integer(self):
        return self.unpack("i", 1)[0]

    def length(self):
        count = self.integer()
        if count < 0:  # R marks vectors past 2^31 - 1 elements this way
            raise ValueError(f"a vector of length {count} is not supported")
        return count

    def read(self):
        if self.take(2) != b"X\n":
            raise ValueError("not R's XDR serialisation")
        version = self.integer()
        if version not in (2, 3):
            raise ValueError(f"R serialisation version {version} is not supported")
        self.take(8)  # the R versions that wrote it and that can read it
        if version == 3:
            self.take(self.integer())  # native encoding; strings name their own below
        return self.item()

    def item(self):
        flags = self.integer()
        kind = flags & 0xFF
        if kind == NULL or kind in FIXED_OBJECTS:
            return RObject(None)
        if kind == REFERENCE:
            return self.references[(flags >> 8 or self.integer()) - 1]
        if kind == SYMBOL:
            self.references.append(self.item())
            return self.references[-1]
        if kind in (PAIRLIST, ATTRIBUTE_PAIRLIST):
            return self.pairlist(flags)
        if kind == ALTREP:
            return self.altrep()
        if kind == CHARSXP:
            return RObject(self.text(flags))
        result = RObject(self.vector(kind))
        if flags & HAS_ATTRIBUTES:
            result.attributes = dict(self.item().value)
        return result

    def text(self, flags):
        size = self.integer()
        if size == -1:
            return None
        return self.take(size).decode("latin-1" if flags & LATIN1_STRING else "utf-8")

    def vector(self, kind):
        if kind in (LOGICAL, INTEGER):
            return [None if v == NA_INT else v for v in self.unpack("i", self.length())]
        if kind == REAL:
            return self.reals()
        if kind in (STRING, LIST):
            items = [self.item() for _ in range(self.length())]
            return items if kind == LIST else [i.value for i in items]
        raise ValueError(f"R type {kind} is not supported")

    def reals(self):
        count = self.length()
        start = self.position
        values = self.unpack("d", count)
        for i, value in enumerate(values):
            if math.isnan(value) and self.low_word(start + 8 * i) == NA_REAL_LOW_WORD:
                values[i] = None
        return values

    def low_word(self, offset):
        return struct.unpack_from(">I", self.data, offset + 4)[0]

    def pairlist(self, flags):
        cells = []
        while flags & 0xFF in (PAIRLIST, ATTRIBUTE_PAIRLIST):
            if flags & HAS_ATTRIBUTES:
                self.item()
            tag = self.item().value if flags & HAS_TAG else None
            cells.append((tag, self.item()))
            flags = self.integer()
        if flags & 0xFF != NULL:
            # A dotted pair (ALTREP wrappers use one): the tail is a value of its own.
            self.position -= 4
            cells.append((None, self.item()))
        return RObject(cells)

    def altrep(self):
        """R 3.5+ may store a vector as a recipe: a:b, numbers as text, or a wrapper."""
        name = self.item().value[0][1].value
        state = self.item()
        attributes = dict(self.item().value or ())
        if name in ("compact_intseq", "compact_realseq"):
            count, first, step = state.value
            number = int if name == "compact_intseq" else float
            value = [number(first + i * step) for i in range(int(count))]
        elif name == "deferred_string":
            value = [None if v is None else format(v, "" if isinstance(v, int) else ".15g")
                     for v in state.value[0][1].value]
        elif name.startswith("wrap_"):
            wrapped = state.value[0][1]
            value, attributes = wrapped.value, {**wrapped.attributes, **attributes}
        else:
            raise ValueError(f"R's ALTREP class {name} is not supported")
        return RObject(value, attributes)


def column(vector):
    """A column's values, a factor as its labels."""
    levels = vector.attributes.get("levels")
    if levels is None:
        return vector.value
    return [None if code is None else levels.value[code - 1] for code in vector.value]


def data_frame(frame):
    return {name: column(v) for name, v in zip(frame.names(), frame.value, strict=True)}


def lazy_load_record(raw, compression):
    """One record of an .rdb file; how it is compressed is said once, in the .rdx file."""
    (size,), body = struct.unpack(">I", raw[:4]), raw[4:]
    if compression == 1:
        data = zlib.decompress(body)
    elif body[:1] == b"0":
        data = body[1:]
    elif body[:1] == b"2":
        data = bz2.decompress(body[1:])
    elif body[:1] == b"Z":
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 6}]
        data = lzma.decompress(body[1:], format=lzma.FORMAT_RAW, filters=filters)
    else:
        raise ValueError("unknown compression in the .rdb file")
    if len(data) != size:
        raise ValueError("a record of the .rdb file is damaged")
    return data


def load_lazy(folder, name):
    """Object `name` of a package's lazy-load database."""
    # wbits 47: R writes the index with gzip or zlib framing, and this accepts both.
    index = XdrReader(zlib.decompress((folder / "Rdata.rdx").read_bytes(), wbits=47)).read()
    index = dict(zip(index.names(), index.value))
    places = dict(zip(index["variables"].names(), index["variables"].value))
    offset, size = places[name].value
    raw = (folder / "Rdata.rdb").read_bytes()[offset:offset + size]
    return XdrReader(lazy_load_record(raw, int(index["compressed"].value[0]))).read()


def full_title(movie, title, year):
    # The R package splits MovieLens's "Heat (1995)" into a title and a year, and lost
    # the few titles that end in no plain year; an empty title would be hard to trace.
    if title is None:
        return f"[movie {movie}: title missing]"
    return title if year is None else f"{title} ({int(year)})"


def write_csv(path, header, rows):
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_movielens(frame, out):
    missing = [name for name in COLUMNS if name not in frame]
    if missing:
        raise ValueError(f"the data frame has no column {', '.join(missing)}")
    columns = [frame[name] for name in COLUMNS]
    ratings, movies = [], {}
    for user, movie, rating, time, title, year, genres in zip(*columns, strict=True):
        ratings.append((int(user), int(movie), float(rating), int(time)))
        movies[int(movie)] = (full_title(int(movie), title, year), genres)
    write_csv(out / "ratings.csv", ("userId", "movieId", "rating", "timestamp"), ratings)
    write_csv(out / "movies.csv", ("movieId", "title", "genres"),
              [(movie, *movies[movie]) for movie in sorted(movies)])
    return len(ratings), len(movies)


def main(arguments):
    if len(arguments) != 2:
        print("usage: read_rdata.py SOURCE OUT_DIR", file=sys.stderr)
        return 2
    source, out = map(Path, arguments)
    try:
        counts = write_movielens(data_frame(load_lazy(source, "movielens")), out)
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, EOFError,
            struct.error, zlib.error, lzma.LZMAError) as problem:
        print(f"read_rdata.py: {source}: {problem!r}", file=sys.stderr)
        return 1
    print(f"{counts[0]} ratings, {counts[1]} movies", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
