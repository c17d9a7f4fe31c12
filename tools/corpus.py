#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A corpus: pages of 4 KiB as a machine has them in memory, for the benchmarks.

usage: corpus.py KIND MIB FILE [SEED]

  binaries  programs and libraries of /usr, pieces of 1 MiB of them
  text      /usr/share/doc, /usr/include, /usr/lib/python3, one file after the other
  sqlite    a database of generated rows with two indexes
  narrow    pages that a compressor makes 1000 +- 60 bytes of: noise, then zeroes
  mix       half binaries, a quarter text, a quarter sqlite

The pages come in random order.  With the same files and the same seed the corpus is
the same.  Where the files hold less than was asked for, pages are cut out of them again
some bytes further on, so that no page is there twice, and a line says so.
"""
import mmap
import os
import random
import sqlite3
import sys
import tempfile

PAGE = 4096
PIECE = 1 << 20
PASSES = 64
DATABASE_MIB = 192
MIX = (("binaries", 2), ("text", 1), ("sqlite", 1))
WORDS = ("order invoice delivery paid open returned customer street north south red blue "
         "monday friday urgent standard parcel letter box shelf store online partial total ")


def files_below(*folders):
    for folder in folders:
        for where, names, files in os.walk(folder):
            names.sort()
            for name in sorted(files):
                path = os.path.join(where, name)
                if os.path.isfile(path) and not os.path.islink(path):
                    yield path


def is_program(path):
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False


class Source:
    """Chunks of bytes, in an order that the seed decides."""

    def __init__(self, seed, mib):
        self.random = random.Random(seed)
        self.mib = mib

    def whole_pages(self, shift):
        """Bytes of one pass that begins `shift` bytes into the data: multiples of a page."""
        rest = b""
        for chunk in self.chunks():
            rest += chunk
            if shift:
                cut = min(shift, len(rest))
                rest, shift = rest[cut:], shift - cut
            end = len(rest) // PAGE * PAGE
            yield rest[:end]
            rest = rest[end:]


class Binaries(Source):
    def __init__(self, seed, mib):
        super().__init__(seed, mib)
        self.pieces = []
        for path in files_below("/usr/bin", "/usr/lib", "/usr/libexec"):
            size = os.path.getsize(path)
            if size >= 4 * PAGE and is_program(path):
                self.pieces += [(path, at) for at in range(0, size, PIECE)]
        self.random.shuffle(self.pieces)

    def whole_pages(self, shift):
        for path, at in self.pieces:
            with open(path, "rb") as file:
                data = os.pread(file.fileno(), PIECE, at + shift)
            yield data[:len(data) // PAGE * PAGE]


class Text(Source):
    def __init__(self, seed, mib):
        super().__init__(seed, mib)
        self.paths = list(files_below("/usr/share/doc", "/usr/include", "/usr/lib/python3"))
        self.paths = [path for path in self.paths if not path.endswith((".gz", ".pyc", ".so"))]
        self.random.shuffle(self.paths)

    def chunks(self):
        for path in self.paths:
            with open(path, "rb") as file:
                data = file.read(4 * PIECE)
            if b"\0" not in data[:PAGE]:
                yield data


class Sqlite(Source):
    def __init__(self, seed, mib):
        super().__init__(seed, mib)
        self.salt = self.random.getrandbits(20) | 1

    def chunks(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "corpus.db")
            self.fill(path)
            with open(path, "rb") as file:
                while data := file.read(PIECE):
                    yield data

    def fill(self, path):
        base = sqlite3.connect(path)
        base.executescript("""
            PRAGMA journal_mode = off;
            PRAGMA synchronous = off;
            CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, day TEXT,
                                 state TEXT, amount REAL, note TEXT);
            CREATE INDEX by_customer ON orders (customer);
            CREATE INDEX by_day ON orders (day, state);""")
        wanted = min(self.mib, DATABASE_MIB) << 20
        rows = 0
        while base.execute("PRAGMA page_count").fetchone()[0] * PAGE < wanted:
            self.insert(base, rows, 20000)
            rows += 20000
        base.commit()
        base.close()

    def insert(self, base, first, rows):
        base.execute("""
            WITH RECURSIVE n (i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n LIMIT ?2),
            h (i, a, b) AS (SELECT i, (i * 2654435761 + ?3) % 4294967291,
                                   (i * 40503 * ?3 + 7) % 2147483647 FROM n)
            INSERT INTO orders SELECT i, a % 50000, date('2021-01-01', (i / 400) || ' days'),
                substr('open paid sent back', 1 + 5 * (b % 4), 4), (a % 1000000) / 100.0,
                substr(?4, 1 + a % 90, 10 + b % 60) || ' ' || b
            FROM h""", (first, rows, self.salt, WORDS))


class Narrow(Source):
    def whole_pages(self, shift):
        while True:
            size = min(max(round(self.random.gauss(1000, 60)) - 20, 1), PAGE)
            yield self.random.randbytes(size).ljust(PAGE, b"\0")


SOURCES = {"binaries": Binaries, "text": Text, "sqlite": Sqlite, "narrow": Narrow}


def pages_of(kind, count, seed):
    """Yields exactly count pages."""
    source = SOURCES[kind](seed, (count * PAGE >> 20) + 1)
    given = 0
    for turn in range(PASSES):
        before = given
        for data in source.whole_pages((turn * 512 + turn // 8 * 64) % PAGE):
            for at in range(0, len(data), PAGE):
                yield data[at:at + PAGE]
                given += 1
                if given == count:
                    if turn:
                        print(f"corpus: {kind} of {count * PAGE >> 20} MiB: the files hold less; "
                              f"cut {turn + 1} times at different offsets", file=sys.stderr)
                    return
        if given == before:
            break
    sys.exit(f"corpus.py: this machine has not enough files for {kind}")


def parts_of(kind, count):
    if kind != "mix":
        return [(kind, count)]
    total = sum(weight for _, weight in MIX)
    parts = [[name, count * weight // total] for name, weight in MIX]
    parts[0][1] += count - sum(part[1] for part in parts)
    return parts


def write(kind, mib, path, seed):
    count = (mib << 20) // PAGE
    order = list(range(count))
    random.Random(seed).shuffle(order)
    with open(path, "w+b") as file:
        file.truncate(count * PAGE)
        with mmap.mmap(file.fileno(), count * PAGE) as out:
            places = iter(order)
            for name, pages in parts_of(kind, count):
                for page in pages_of(name, pages, seed) if pages else ():
                    at = next(places) * PAGE
                    out[at:at + PAGE] = page


def main():
    args = sys.argv[1:]
    if len(args) not in (3, 4) or args[0] not in [*SOURCES, "mix"] or \
            not all(number.isdigit() and int(number) for number in args[1::2]):
        sys.exit(__doc__.split("\n\n")[1])
    write(args[0], int(args[1]), args[2], int(args[3]) if len(args) == 4 else 1)


if __name__ == "__main__":
    main()
