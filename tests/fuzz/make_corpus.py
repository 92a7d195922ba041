#!/usr/bin/env python3
"""Writes the seeds in corpus/TARGET/: made-up files, each one case of interest. Run it after changing it, and commit
what it writes; inputs that came from findings (corpus/TARGET/found-*) stay as they are."""

import gzip
import json
import pathlib
import struct
import zlib

ROOT = pathlib.Path(__file__).parent / "corpus"


def put(target, name, content):
    if isinstance(content, str):
        content = content.encode()
    path = ROOT / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


# ratings: a byte of flags (see ratings.cpp), then the text.

NO_TIMESTAMPS, RANGE, PAIRS, ONE_THREAD, STREAM, SHRINKS, TEXT_IDS, CACHED = 1, 2, 4, 8, 16, 32, 64, 128
ROWS = [(1, 31, "2.5", 1260759144), (1, 1029, "3.0", 1260759179), (2, 31, "4", 835355493), (15, 1, "0.5", 1)]


def lines(separator, rows=ROWS, end="\n"):
    return "".join(separator.join(str(field) for field in row) + end for row in rows)


def many(separator, count):
    rows = [(k // 7 + 1, k * 37 % 50 + 1, f"{k % 5}.{5 * (k % 2)}", 1000000000 + k) for k in range(count)]
    return lines(separator, rows)


RATINGS = {
    "tab": (0, lines("\t")),
    "double-colon": (0, lines("::")),
    "comma-header": (RANGE, "userId,movieId,rating,timestamp\n" + lines(",")),
    "semicolon": (STREAM, lines(";")),
    "pipe": (ONE_THREAD, lines("|")),
    "spaces": (STREAM, "1  10 3.5   100\n  -2 11 4 -5  \n"),
    "crlf": (0, lines(",", end="\r\n")),
    "byte-order-mark": (0, "\ufeffuserId,movieId,rating\r\n1,2,3\r\n"),
    "other-order": (0, "timestamp,rating,movieId,more,userId\n100,3.5,10,x,1\n101,4,11,,2\n"),
    "capitals": (0, "TIMESTAMP,Rating,Comment,MOVIEID,userid\n100,3.5,\"so, so\",10,1\n"),
    "quotes": (0, '"1","10","3.5","100"\n-2,"11" , 4,"-5"\n'),
    "quotes-doubled": (0, 'user,item,rating,note\n1,2,3,"a ""b"" c"\n1,3,4,"\n'),
    "scientific": (0, "1,10,.35e1,100\n-2,11,4E+0,-5\n1,2,1e-60,0\n"),
    "signs-and-zeros": (0, "+1,+10,+3.5,+100\n0002,011,35e-1,0100\n-2,11,4.,-5\n"),
    "wide-ids": (0, "9223372036854775807,-9223372036854775808,3,1\n1234567890123,4095,3,1\n4096,4097,3,1\n"),
    "too-wide-id": (0, "1,2,3\n9223372036854775808,2,3\n"),
    "no-final-line-end": (STREAM, "1,2,3\n1,3,4"),
    "truncated": (0, "1::2::3::4\n1::3::4::5\n1::4:"),
    "blank-lines": (0, "\n\n1,2,3\n\n  \t\n2,3,4\n\n \r\n\n"),
    "only-header": (0, "userId,movieId,rating\n"),
    "mixed-separators": (0, "1,2,3\n1;2;3\n"),
    "not-finite": (0, "1,2,3\n1,4,nan\n1,5,inf\n1,6,1e39\n"),
    "decimal-comma": (0, "1;2;3,5\n"),
    "bad-timestamp": (NO_TIMESTAMPS, "1,2,3,100\n1,3,3,1.5\n1,4,3,x"),
    "no-timestamps": (NO_TIMESTAMPS, many("\t", 12)),
    "repeated": (0, "1,1,5,200\n1,2,4,100\n1,1,3,100\n1,1,2,200\n"),
    "repeated-untimed": (NO_TIMESTAMPS, "1,1,5,200\n1,2,4,100\n1,1,3,100\n"),
    "out-of-range": (RANGE, "1,2,5\n1,3,5.5\n"),
    "pieces": (0, many(",", 20)),
    "pieces-stream": (STREAM, "userId\tmovieId\trating\ttimestamp\n" + many("\t", 20)),
    "shrinks": (SHRINKS, many(",", 20)),
    "pieces-bad": (0, many("::", 16) + "1::x::3::4\n" + many("::", 3)),
    "long-line": (0, lines(",") + "1,1," + "5" * 1200 + "\n"),
    "long-line-stream": (STREAM, lines(",") + "1,1," + "5" * 1200),
    "latin-1": (0, b"user,item,rating,title\n1,2,3,Mis\xe9rables\n"),
    "utf-16": (0, "\ufeff1,2,3\n".encode("utf-16-le")),
    "binary": (0, b"1,2,3\n\x00\x01\x02,2,3\n"),
    "nothing": (0, ""),
    "empty-timestamps": (NO_TIMESTAMPS, "1,2,3,4\n" + "1,2,3,\n" * 60),
    "text-ids": (0, 'userId,movieId,rating\nann,tt0114709,3\n"b ""q"" c",tt1,4\nann,7,5\n007,7,5\n7,tt1,1\n'),
    "text-ids-late": (0, "1,2,3\n2,b,4\n"),
    "text-ids-asked-for": (TEXT_IDS, "1,2,3,4\n+1,02,3,4\n9223372036854775808,2,3,5\n" + many(",", 12)),
    "text-ids-control": (TEXT_IDS, "1,2,3\na\x01b,2,3\n"),
    "text-ids-long": (TEXT_IDS, "1,2,3\n" + "a" * 1100 + ",2,3\n"),
    "text-ids-stream": (STREAM, "".join(f"u{k % 5}::i{k % 7}::{k % 5}::1\n" for k in range(40))),
    "cached": (CACHED, many("\t", 20)),
    "cached-text": (CACHED | TEXT_IDS, many("\t", 20) + "x\ty\t-3.25\t-5\n"),
    "cached-many-ratings": (CACHED, "".join(f"1,{k * 4001},{k}.125,{k ** 7}\n" for k in range(30))),
    "cached-untimed": (CACHED | NO_TIMESTAMPS, many("\t", 20)),
    "pairs-text": (PAIRS, "user,item\nann,tt1\n007,7\n"),
    "pairs": (PAIRS, "userId,movieId\n1,2\n3,4\n"),
    "pairs-plain": (PAIRS, "1\t2\t3\n3\t4\t5\n"),
}


def ratings():
    for name, (flags, text) in RATINGS.items():
        put("ratings", name, bytes([flags]) + (text.encode() if isinstance(text, str) else text))


# row_scanner: separator, fields - 3, columns of user, item, rating, timestamp and whether it is wanted; then the text.

def row_scanner():
    def layout(separator, fields, user, item, rating, timestamp, wide=True):
        last = 0 if timestamp is None else timestamp * 16 + 1
        return bytes([separator, fields - 3, user, item, rating, last + (4 if wide else 0)])

    put("row_scanner", "usual", layout(2, 4, 0, 1, 2, 3) + lines(",").encode())
    put("row_scanner", "usual-untimed", layout(0, 4, 0, 1, 2, None) + lines("\t").encode())
    put("row_scanner", "double-colon", layout(1, 4, 0, 1, 2, 3) + lines("::", end="\r\n").encode())
    put("row_scanner", "three-fields", layout(3, 3, 0, 1, 2, None, False) + b"1;2;3.5\n2;3;9\n")
    put("row_scanner", "other-order", layout(4, 5, 4, 2, 1, 0) + b"100|3.5|10|x|1\n101|4|11||2\n")
    put("row_scanner", "wide", layout(2, 4, 0, 1, 2, 3) + b"1234567890123456,0000000000000001,12345678,978300760\n"
        b"12345678901234567,1,1,1\n")
    put("row_scanner", "odd-ratings", layout(2, 3, 0, 1, 2, None) + b"1,2,.5\n1,2,10.5\n1,2,4.\n1,2,123456789\n")
    put("row_scanner", "quote", layout(2, 4, 0, 1, 2, None) + b'1,2,3,x\n1,2,3,"x\n')
    put("row_scanner", "half-separator", layout(1, 4, 0, 1, 2, None) + b"1::2::3::a:b\n1:::2::3::4\n")
    put("row_scanner", "no-line-end", layout(2, 3, 0, 1, 2, None) + b"1,2,3\n1,2,4")


# Zip archives, made by hand so that they can lie. The target takes the last byte as flags.

def member(name, content=b"userId,movieId,rating\n1,2,3\n", method=8, **lies):
    data = content
    if method == 8:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        data = packer.compress(content) + packer.flush()
    return {"name": name if isinstance(name, bytes) else name.encode(), "data": data, "method": method,
            "size": len(content), "crc": zlib.crc32(content), "flags": 0, "extra": b"", **lies}


def make_zip(members, comment=b""):
    body = directory = b""
    for m in members:
        packed = m.get("packed", len(m["data"]))
        common = struct.pack("<HHHHHIIIHH", 20, m["flags"], m["method"], 0x5821, 0x5821, m["crc"], packed, m["size"],
                             len(m["name"]), len(m["extra"]))
        directory += (b"PK\1\2" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, len(body))
                      + m["name"] + m["extra"])
        body += b"PK\3\4" + common + m["name"] + m["extra"] + m["data"]
    count = len(members)
    return body + directory + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(body),
                                                      len(comment)) + comment


def make_zip64(members):
    """Sizes and the end of the directory in 64 bits."""
    def wide(m):
        return {**m, "size": 0xFFFFFFFF, "packed": 0xFFFFFFFF,
                "extra": struct.pack("<HHQQ", 1, 16, m["size"], len(m["data"]))}
    plain = make_zip([wide(m) for m in members])
    count, _, length, offset, _ = struct.unpack("<HHIIH", plain[-14:])
    end = plain[:-22]
    record = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, length, offset)
    locator = b"PK\6\7" + struct.pack("<IQI", 0, len(end), 1)
    return end + record + locator + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)


def archive():
    movies = member("set/movies.csv", b"movieId,title,genres\n2,Two (2002),War\n")
    good = make_zip([member("set/ratings.csv"), movies])
    aes = struct.pack("<HHH2sBH", 0x9901, 7, 2, b"AE", 3, 8)
    seeds = {
        "deflated": good,
        "stored": make_zip([member("ratings.csv", method=0), member("empty", b"", method=0)]),
        "folder-and-comment": make_zip([member("set/", b"", method=0), member("set/a/b.csv"), movies], b"a comment"),
        "zip64": make_zip64([member("ratings.csv"), movies]),
        "no-members": make_zip([]),
        "traversal": make_zip([member("a"), member("../ratings.csv")]),
        "absolute": make_zip([member("/etc/ratings.csv")]),
        "backslash": make_zip([member("..\\ratings.csv")]),
        "nul": make_zip([member(b"ratings.csv\0.exe")]),
        "same-name-twice": make_zip([member("ratings.csv"), member("ratings.csv", b"other")]),
        "code-page-437": make_zip([member(b"a\x82")]),
        "utf-8-name": make_zip([member("caf\u00e9", flags=1 << 11)]),
        "utf-8-name-broken": make_zip([member(b"caf\xc3", flags=1 << 11)]),
        "macos": make_zip([member("a/x"), member("__MACOSX/a/._x"), member("a/.DS_Store")]),
        "encrypted": make_zip([member("old.csv", flags=1), member("aes.csv", method=99, flags=1, extra=aes)]),
        "other-method": make_zip([member("a.csv", b"x", method=9), member("b.csv", b"x", method=1234)]),
        "wrong-checksum": make_zip([member("a.csv", crc=12345)]),
        "too-small-size": make_zip([member("a.csv", size=3)]),
        "too-large-size": make_zip([member("a.csv", size=1000)]),
        "bomb": make_zip([member("a.csv", b"\0" * 100000), member("lie.csv", size=0xFFFFFFFE)]),
        "in-archive": make_zip([member("inner.zip", make_zip([member("a")]), method=0)]),
        "cut-off": good[:-30],
        "split": good[:-18] + struct.pack("<HH", 1, 1) + good[-14:],
        "shrinks": good,
    }
    for name, content in seeds.items():
        put("archive", name + ".zip", content + (b"1" if name == "shrinks" else b"0"))


# byte_source: the last byte is flags: 1 named .gz, 2 shrinks, 4 a pipe, 8 small pieces, 16 and 32 limits.

def byte_source():
    text = lines(",").encode() * 3
    packed = gzip.compress(text, mtime=0)
    named = b"\x1f\x8b\x08\x1f" + b"\0" * 4 + b"\0\xff" + struct.pack("<H", 3) + b"abc" + b"name\0comment\0"
    named += struct.pack("<H", zlib.crc32(named) & 0xFFFF) + packed[10:]
    seeds = {
        "plain": (text, 8),
        "plain-limit": (text, 8 + 48),
        "plain-shrinks": (text, 2 + 8),
        "plain-pipe": (text, 4 + 8),
        "empty": (b"", 0),
        "empty-gz": (b"", 1),
        "one-byte": (b"\x1f", 4),
        "gzip": (packed, 1),
        "gzip-small-pieces": (packed, 8),
        "gzip-stored": (gzip.compress(text, 0, mtime=0), 8),
        "gzip-pipe": (packed, 4 + 8),
        "gzip-shrinks": (packed, 2 + 8),
        "gzip-exact-limit": (packed, 32),
        "gzip-limit": (packed, 48),
        "gzip-small-limit": (packed, 16),
        "gzip-members": (packed + gzip.compress(b"", mtime=0) + packed, 8),
        "gzip-padding": (packed + b"\0" * 100, 0),
        "gzip-garbage": (packed + b"\0\0garbage", 0),
        "gzip-header-fields": (named, 0),
        "gzip-cut-off": (packed[:-5], 8),
        "gzip-cut-header": (packed[:5], 0),
        "gzip-wrong-checksum": (packed[:-8] + b"\0\0\0\0" + packed[-4:], 0),
        "gzip-bomb": (gzip.compress(b"\0" * 300000, mtime=0), 0),
        "zip": (b"PK\3\4 and so on", 0),
        "web-page": (b"\xef\xbb\xbf\n <!DOCTYPE html><html>", 1),
    }
    for name, (content, flags) in seeds.items():
        put("byte_source", name, content + bytes([flags]))


# item_files: a digit that chooses the file, then its text.

def item_files():
    flags = "|".join("0" * 19)
    seeds = {
        "u-item": f"01|Made Up (1995)|01-Jan-1995||http://x/?a|{flags}\n2|Other|4-Feb-1996|||{flags[:-1]}1\r\n",
        "u-item-latin-1": f"03|Mis\u00e9rables, Les (1995)|||x|{flags}\n".encode("latin-1"),
        "u-item-short": "11|A (1990)|||x|0|1|1\n2|B|||x|1|0|0\n",
        "u-item-bad-flag": "11|A|||x|0|1|2\n",
        "u-item-fields": "11|A|x\n",
        "movies-dat": "21::Toy: The Story (1995)::Animation|Comedy\n73::A :: B::(no genres listed)\n",
        "movies-dat-fields": "21::A\n",
        "movies-csv": '3movieId,title,genres\r\n31,"Sling, The (1993)",Comedy|Drama\r\n7,"11\'09""01",(no genres listed)\r\n',
        "movies-csv-other-order": '3\ufeffGenres, year ,Title,"movieId"\n\nWar,1990," two\nlines ", 5\nWar,1,b , 6',
        "movies-csv-open-quote": '3movieId,title,genres\n1,"A,War\n',
        "movies-csv-after-quote": '3movieId,title,genres\n1,"A"b,War\n',
        "movies-csv-fields": "3movieId,title,genres\n1,A\n",
        "movies-csv-no-title": "3movieId,genres\n1,A\n",
        "movies-csv-latin-1": "3movieId,title,genres\n1,Caf\u00e9 (2001),War\n".encode("latin-1"),
        "movies-csv-twice": "3movieId,title,genres\n1,A,War\n1,B (1999),\n",
        "u-genre": "4unknown|0\nKurz|1\nMärchen|2\n\n1|A (1999)|||http://x|0|1|1\r\n",
        "u-genre-number": "4unknown|0\nKurz|2\n",
        "title-series": "5Fawlty Doors (1975-1979)",
        "title-dash": "5Series (2006\u20132007) ",
        "title-odd": "5Blade (2049 AD) (1066) (19955) ()",
        "surrogate": b"21::\xed\xa0\x80::Drama\n",
        "four-bytes": b"21::\xf0\x90\x80\x80 (1987)::Drama\n",
    }
    for name, text in seeds.items():
        put("item_files", name, text)


# side_tables: a digit that chooses the file, then its text.

def side_tables():
    seeds = {
        "users-dat": "01::F::1::10::48067\r\n2::M::56::16::70072-1234\n\n3::::::::\n",
        "users-dat-occupation": "01::F::1::21::48067\n",
        "users-dat-sex": "01::X::1::2::48067\n",
        "u-user": "11|24|M|technician|85711\n2|53|F|other|T8H1N\n3||||\n",
        "u-user-age": "11|151|M|technician|85711\n",
        "u-user-latin-1": "11|24|M|m\u00e9decin|85711\n".encode("latin-1"),
        "users-csv": "2userId,gender,age,occupation,zip\n1,F,25-34,\"a, b\",1\n2,M,40,,\n",
        "users-csv-id-alone": "2zip, USERID\n1,5\n",
        "users-csv-no-id": "2gender,age\nF,1\n",
        "tags-csv": "3userId,movieId,tag,timestamp\n1,1,Funny,5\n2,1,funny,6\n2,2,\"a, \"\"b\"\"\",7\n3,99,x,8\n",
        "tags-csv-columns": "3tag,movieId\nA,1\nb,1\nb,2\n ,3\n",
        "tags-csv-bad-id": "3userId,movieId,tag,timestamp\n1,x,Funny,5\n",
        "tags-dat": "415::1::excellent!::1215184630\n20::2::a::b::1188263867\n20::2::A::1\n",
        "tags-dat-fields": "415::1::excellent!\n",
        "genome": "5tagId,tag\n1,007\n2,\"a,b\"\n\nmovieId,tagId,relevance\n1,1,0.025\n1,2,0.5\n7,2,1e-3\n9,1,0.5\n",
        "genome-unknown-tag": "5tagId,tag\n1,007\n\nmovieId,tagId,relevance\n1,3,0.025\n",
        "genome-tag-twice": "5tagId,tag\n1,007\n1,008\n\nmovieId,tagId,relevance\n",
        "scores": "6\ufeffmovieId, tagId ,Relevance\r\n1,1,0.025\r\n1,2,0.5\n\n3,-5,-1.5\n1,1,0.75",
        "scores-bad": "6movieId,tagId,relevance\n1,1,nan\n",
        "scores-fields": "6movieId,tagId,relevance\n1,1\n",
        "scores-header": "6movieId,relevance\n",
        "scores-empty": "6",
    }
    for name, text in seeds.items():
        put("side_tables", name, text)


# model: lengths of users.tsv and items.tsv, these, then model.safetensors.

def safetensors(tensors, metadata, **lies):
    header, data = {"__metadata__": metadata}, b""
    for name, (shape, values) in tensors.items():
        packed = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(packed)]}
        header[name].update(lies.get(name.replace(".", "_"), {}))
        data += packed
    text = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + data


def model():
    users = "raw_id\tdense_id\tratings\n1\t0\t3\n-7\t1\t2\n"
    items = "raw_id\tdense_id\ttitle\tgenres\tratings\n10\t0\tMade Up (1995)\tWar|Kurz\t4\n11\t1\t\t\t0\n"
    metadata = {"format": "curate-1", "model": "mf", "rating_min": "0.5", "rating_max": "5", "rating_step": "0.5",
                "clip": "true"}
    fallback = {"fallback.user": ([2], [0.1, -0.1]), "fallback.item": ([2], [0.2, 0]), "fallback.mean": ([1], [3.5])}
    embeddings = {"user.embedding": ([2, 2], [.1, .2, .3, .4]), "item.embedding": ([2, 2], [1, -1, 2, 0.5])}
    biases = {"user.bias": ([2], [0, 0.1]), "item.bias": ([2], [0.3, 0]), "global_mean": ([1], [3.5])}
    mf = {**fallback, **embeddings, **biases}
    dense = {"dense.0.weight": ([3, 4], [0.1] * 12), "dense.0.bias": ([3], [0] * 3),
             "dense.1.weight": ([1, 3], [0.5] * 3), "dense.1.bias": ([1], [1])}
    of_network = {**metadata, "model": "mlp", "activations": "relu,sigmoid", "output_min": "0", "output_max": "5.5"}

    def put_model(name, tensors, user_table=users, item_table=items, features=None):
        u, i = user_table.encode(), item_table.encode()
        f = b"" if features is None else json.dumps({"features": features}).encode()
        put("model", name, struct.pack("<HHH", len(u), len(i), len(f)) + u + i + f + tensors)

    put_model("mf", safetensors(mf, metadata))
    put_model("mf-no-biases", safetensors({**fallback, **embeddings, "global_mean": ([1], [0])},
                                          {**metadata, "clip": "false"}))
    put_model("mlp", safetensors({**fallback, **embeddings, **dense}, of_network))
    put_model("mlp-widths", safetensors({**fallback, **embeddings, **dense, "dense.1.weight": ([1, 2], [1, 1])},
                                        of_network))
    nobody = {**fallback, "fallback.user": ([0], []), "fallback.item": ([0], []),
              "user.embedding": ([0, 1 << 62], []), "item.embedding": ([0, 1 << 62], [])}
    titles = items.split("\n")[0] + "\n"
    put_model("nobody-mf", safetensors({**nobody, "global_mean": ([1], [3])}, metadata), users[:24], titles)
    put_model("nobody-mlp", safetensors({**nobody, "dense.0.weight": ([1, (1 << 63) - 1], [])}, of_network), users[:24],
              titles)
    genres = {"name": "genres", "of": "item", "kind": "multi", "values": ["(unknown)", "War"], "starts": [0, 2, 3],
              "ids": [1, 0, 1]}
    age = {"name": "a/ge", "of": "user", "kind": "number", "values": ["(unknown)", "1-3"], "starts": [0, 1, 2],
           "ids": [0, 1]}
    of_features = {"item.genres.embedding": ([2, 2], [1, 0.5, -1, 0.25]), "item.genres.bias": ([2], [0.1, 0.2]),
                   "user.a/ge.embedding": ([2, 2], [1, 2, 3, 4]), "user.a/ge.bias": ([2], [0, 1])}
    described = safetensors({**mf, **of_features}, metadata)
    put_model("features-mf", described, features=[genres, age])
    put_model("features-gone", described)
    put_model("features-twice", described, features=[genres, age, genres])
    put_model("features-rows", described, features=[{**genres, "starts": [0, 3]}, age])
    put_model("features-ids", described, features=[{**genres, "ids": [1, 0, 2]}, age])
    put_model("features-fractions", described, features=[{**genres, "ids": [1, 0.5, 1]}, age])
    put_model("features-values", described, features=[{**genres, "values": ["(unknown)"]}, age])
    put_model("features-name", described, features=[{**genres, "name": "gen\nres"}, age])
    put_model("features-none", safetensors(mf, metadata), features=[])
    wide = {**dense, "dense.0.weight": ([3, 8], [0.1] * 24)}
    factors = {"user.factors": ([2, 1], [1, 2]), "item.factors": ([2, 1], [3, 4])}
    put_model("features-neumf", safetensors({**fallback, **embeddings, **wide, **of_features, **factors},
                                            {**of_network, "model": "neumf", "activations": "relu,linear"}),
              features=[genres, age])
    # An mf and an mlp.
    members = {**{f"member.1.{name}": tensor for name, tensor in mf.items() if name not in fallback},
               **{f"member.2.{name}": tensor for name, tensor in {**embeddings, **dense}.items()}}
    of_members = {**metadata, "format": "curate-ensemble-1", "model": "ensemble", "members": "2", "member.1.model": "mf",
                  **{f"member.2.{key}": of_network[key] for key in ("model", "activations", "output_min", "output_max")}}
    put_model("ensemble", safetensors({**fallback, **members}, of_members))
    put_model("ensemble-more-members", safetensors({**fallback, **members}, {**of_members, "members": "64"}))
    put_model("ensemble-no-members", safetensors(fallback, {**of_members, "members": "0"}))
    put_model("not-finite", safetensors({**mf, "global_mean": ([1], [float("nan")])}, metadata))
    put_model("other-dtype", safetensors(mf, metadata, user_bias={"dtype": "F16"}))
    put_model("shape-overflow", safetensors(mf, metadata, user_embedding={"shape": [1 << 62, 4]}))
    put_model("negative-shape", safetensors(mf, metadata, user_embedding={"shape": [-2, -2]}))
    put_model("offsets", safetensors(mf, metadata, user_bias={"data_offsets": [8, 4]}))
    put_model("header-length", struct.pack("<Q", (1 << 64) - 1) + b"{}")
    put_model("other-format", safetensors(mf, {**metadata, "format": "curate-9"}))
    put_model("fewer-users", safetensors(mf, metadata), user_table=users[:-6])
    put_model("repeated-id", safetensors(mf, metadata), user_table=users.replace("-7\t1", "1\t0"))
    put_model("cut-table", safetensors(mf, metadata), item_table=items[:-1])
    put_model("control-characters", safetensors({**mf, "a\u001b[2Jb\nc": ([1], [float("inf")])}, metadata))


# rating_cache: a byte of flags, then the cache. Its hashes are put right by the target. Blocks are of 8 rows.

def rating_cache():
    text_ids, timestamps, threads, as_it_is = 1, 2, 4, 8

    def packed(numbers, width):
        return b"".join((number % (1 << 64)).to_bytes(8, "little")[:width] for number in numbers)

    def ids(raw):
        return b"".join(struct.pack("<q", one) if isinstance(one, int) else struct.pack("<I", len(one)) + one
                        for one in raw)

    def cache(table, users, items, wanted_text=False, coded=True, times=True, item_bytes=1, time_bytes=2, **lies):
        ratings = sorted({rating for _, _, rating, _ in table})
        first = min(time for *_, time in table)
        blocks = []
        for begin in range(0, len(table), 8):
            part = table[begin:begin + 8]
            runs = []
            for user, *_ in part:
                if not runs or runs[-1][0] != user:
                    runs.append([user, 0])
                runs[-1][1] += 1
            blocks.append(struct.pack("<Q", len(runs)) + b"".join(struct.pack("<ii", *run) for run in runs)
                          + packed([item for _, item, _, _ in part], item_bytes)
                          + (bytes(ratings.index(rating) for _, _, rating, _ in part) if coded else
                             b"".join(struct.pack("<f", rating) for _, _, rating, _ in part)))
        if times:
            blocks += [packed([time - first for *_, time in table[begin:begin + 8]], time_bytes)
                       for begin in range(0, len(table), 8)]
        blocks += [ids(users), ids(items)]
        body, index = b"", b""
        for block in blocks:
            index += struct.pack("<qqQ", 1168 + len(body), len(block), 0)
            body += block
        flags = ((1 if wanted_text else 0) | (2 if times else 0) | (4 if isinstance(users[0], bytes) else 0)
                 | (8 if isinstance(items[0], bytes) else 0) | (16 if coded else 0))
        has = {"rows": len(table), "user_count": len(users), "items": len(items), "codes": len(ratings) if coded else 0,
               "index": 1168 + len(body), "entries": len(blocks), **lies}
        header = b"curateR\n" + struct.pack("<IIqqQqqqqqqIIIfff", 1, flags, 0, 0, 0, 0, has["rows"], has["user_count"],
                                            has["items"], 0, first, item_bytes, time_bytes, has["codes"], ratings[0],
                                            ratings[-1], 0.5)
        values = ratings if coded else []
        header += struct.pack("<256f", *values, *[0.0] * (256 - len(values)))
        return header + struct.pack("<qqQQ", has["index"], has["entries"], 0, 0) + body + index

    rows = [(k // 3, k % 4, 0.5 * (k % 9 + 1), 1000000000 + 7 * k) for k in range(20)]
    users, items = list(range(1, 8)), [10, 1 << 40, -3, 4095]
    names, titles = [b"u%d" % k for k in range(7)], [b"a", b"tt0114709", b"007", b"\xc3\xa9"]
    seeds = {
        "usual": (timestamps, cache(rows, users, items)),
        "usual-untimed": (threads, cache(rows, users, items)),
        "no-timestamps": (0, cache(rows, users, items, times=False)),
        "floats": (timestamps, cache(rows, users, items, coded=False)),
        "texts": (timestamps, cache(rows, names, titles)),
        "texts-asked-for": (text_ids | threads, cache(rows, names, titles, wanted_text=True)),
        "one-row": (timestamps, cache(rows[:1], [5], [6], item_bytes=0, time_bytes=0)),
        "as-it-is": (as_it_is, cache(rows, users, items)),
        "item-out-of-range": (0, cache(rows, users, items[:3])),
        "user-out-of-range": (0, cache(rows, users[:6], items)),
        "id-twice": (0, cache(rows, [1, 1] + users[2:], items)),
        "empty-text": (0, cache(rows, names, [b""] + titles[1:])),
        "text-with-tab": (0, cache(rows, [b"a\tb"] + names[1:], titles)),
        "more-rows": (0, cache(rows, users, items, rows=1 << 39)),
        "more-users": (0, cache(rows, users, items, user_count=1 << 30)),
        "more-codes": (0, cache(rows, users, items, codes=1 << 31)),
        "other-index": (0, cache(rows, users, items, index=-1)),
        "cut-off": (0, cache(rows, users, items)[:1200]),
    }
    for name, (flags, content) in seeds.items():
        put("rating_cache", name, bytes([flags]) + content)


def config():
    seeds = {
        "all": 'data = "/data/made-up"\nsplit = "random:0.1"\nfolds = 5\nfold = 1\nrating_range = "0.5:5"\n'
               'model = "mf"\ndim = 8\nlr = 0.05\nreg = 1\nbiases = true\nseed = "18446744073709551615"\n',
        "preset": 'preset = "notebook-mlp"\nlayers = "10,5"\nactivations = "relu"\ndropout = "0.1,0.2"\n',
        "preset-unknown": 'preset = "none such"\n',
        "strings": 'data = """\nmany\nlines"""\ntest = \'C:\\x\'\nsplit = "\\u00e9\\t\\"\\\\"\n',
        "table": "[model]\ndim = 1\n",
        "arrays": "layers = [[1, 2], { a = 1 }]\n",
        "numbers": "dim = 0x10\nlr = 1e-7\nreg = inf\nbatch = 1_000\nepochs = -1\n",
        "dates": "seed = 1979-05-27T07:32:00Z\n",
        "unknown": "width = 3\n",
        "features": 'model = "neumf"\nfactors = 4\nfeatures = "genres,/a \\"b\\"/c.csv:x y:multi"\nfeature_dim = "8,x y=3"\n'
                    'feature_dropout = 0.1\nfeature_reg = 1e-3\n',
        "broken": "dim = = 8\n",
        "twice": "dim = 1\ndim = 2\n",
        "comments": "# a\r\ndim = 3 # b\r\n\r\n",
        "byte-order-mark": "\ufeffdim = 3\n",
    }
    for name, text in seeds.items():
        put("config", name + ".toml", text)


if __name__ == "__main__":
    for target in (archive, byte_source, config, item_files, model, rating_cache, ratings, row_scanner, side_tables):
        target()
