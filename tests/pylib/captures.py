# SPDX-License-Identifier: MIT
"""Captures as a camera uploads them, made at this moment from a seed.

    for path, data in captures.files(seed=1, count=10): ...

A capture is three files in <camera>/YYYY/MM/DD/HH/: a big image *_0.jpg
(50-500 KB), a small one *_1.jpg (5-50 KB), and *_0.json (1-2 KB).

The images are baseline JPEGs that any decoder reads: grey, 8x8 blocks, one
restart interval a row of blocks.  Rows are coded once (a strip of a street
scene with noise) and put together anew for each image, so that thousands of
files cost little; a comment with the path makes every file differ.
"""

import functools
import json
import os
import random
import struct
import time
from typing import NamedTuple

START = 1513351800          # 2017-12-15 15:30:00 UTC

# Huffman tables of our own: fixed-length codes, none of them all ones.
# DC: categories 0-11, 4 bits each.  AC: run 0-3 with size 1-5, end of block
# (0x00) and sixteen zeros (0xf0), 5 bits each.
DC_VALUES = list(range(12))
AC_VALUES = [0x00, 0xF0] + [run << 4 | size for run in range(4) for size in range(1, 6)]

ROW_KINDS = 32


class Capture(NamedTuple):
    files: list             # [(path, bytes)]: big image, small image, JSON


def _category_bits(value):
    """JPEG's (size, bits) of a coefficient."""
    size = abs(value).bit_length()
    return size, value if value >= 0 else value + (1 << size) - 1


class _Bits:
    def __init__(self):
        self.value = self.count = 0

    def put(self, bits, count):
        self.value = self.value << count | bits
        self.count += count

    def bytes(self):
        """Padded with ones to a byte, 0xff stuffed."""
        pad = -self.count % 8
        value = self.value << pad | (1 << pad) - 1
        return value.to_bytes((self.count + pad) // 8, "big").replace(b"\xff", b"\xff\x00")


@functools.lru_cache(maxsize=None)
def _row(kind, blocks):
    """The coded bytes of one row of blocks: a strip of the scene."""
    rng = random.Random(f"row {kind} {blocks}")
    bits = _Bits()
    level = 0
    for column in range(blocks):
        road = kind > ROW_KINDS // 2 and abs(column - blocks // 2) < kind * blocks // 80
        target = 60 - 2 * kind + (-35 if road else 0) + rng.randint(-4, 4)
        size, code = _category_bits(target - level)
        level = target
        bits.put(DC_VALUES.index(size), 4)
        bits.put(code, size)
        for position in range(2 if road else rng.randint(3, 9)):
            value = rng.choice((-1, 1)) * rng.randint(1, max(1, 14 // (position + 1)))
            size, code = _category_bits(value)
            bits.put(AC_VALUES.index(rng.randrange(3) << 4 | size), 5)
            bits.put(code, size)
        bits.put(AC_VALUES.index(0), 5)
    return bits.bytes()


def _segment(marker, data):
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def jpeg(seed, size, comment="", width=1280):
    """A JPEG of about `size` bytes (within one row of blocks)."""
    rng = random.Random(f"jpeg {seed}")
    blocks = width // 8
    rows, length = [], 300 + len(comment)
    while length < size or not rows:
        rows.append(_row(min(ROW_KINDS - 1, len(rows) * width * 3 // (size // 2 + 1) // 8
                             + rng.randrange(6)), blocks))
        length += len(rows[-1]) + 2
    scan = b"".join(row + bytes((0xFF, 0xD0 + i % 8)) for i, row in enumerate(rows))[:-2]
    huffman = b"".join(
        bytes([where]) + bytes(len(values) if i == bits else 0 for i in range(1, 17)) + bytes(values)
        for where, bits, values in ((0x00, 4, DC_VALUES), (0x10, 5, AC_VALUES)))
    return b"".join((
        b"\xff\xd8", _segment(0xE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0"),
        _segment(0xFE, f"{comment} {seed}".encode(errors="surrogateescape")),
        _segment(0xDB, b"\0" + bytes([16]) * 64),
        _segment(0xC0, struct.pack(">BHHB3B", 8, len(rows) * 8, width, 1, 1, 0x11, 0)),
        _segment(0xC4, huffman), _segment(0xDD, struct.pack(">H", blocks)),
        _segment(0xDA, b"\x01\x01\x00\x00\x3f\x00"), scan, b"\xff\xd9"))


def capture_json(seed, camera, stamp, names):
    """1-2 KB of what a camera says about its images."""
    rng = random.Random(f"json {seed}")
    doc = {
        "camera": camera, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(stamp)),
        "files": names, "plate": "".join(rng.choices("ABCDEFGHJKLMNPRSTUVWXYZ0123456789", k=7)),
        "speed_kmh": round(rng.uniform(5, 140), 1), "lane": rng.randint(1, 4),
        "objects": [{"class": rng.choice(("car", "truck", "bus", "bicycle")),
                     "box": [rng.randrange(1280) for _ in range(4)],
                     "score": round(rng.random(), 4)} for _ in range(rng.randint(8, 15))],
    }
    return json.dumps(doc, indent=1).encode()


def camera_name(number):
    """A camera's name as the field has them, such as 3K01E84PAU00498."""
    rng = random.Random(f"camera {number}")
    return (f"{rng.randrange(1, 9)}K{rng.randrange(100):02d}E{rng.randrange(100):02d}"
            f"{''.join(rng.choices('ABCPUX', k=3))}{number:05d}")


def directory(camera, stamp):
    return f"{camera}/{time.strftime('%Y/%m/%d/%H', time.gmtime(stamp))}"


def capture(seed, number, cameras=3, start=START, step=7.3, scale=1.0):
    """The number-th capture of a site; the same arguments, the same bytes.

    scale shrinks the images (0.1: a tenth) where a test wants many.
    """
    rng = random.Random(f"capture {seed} {number}")
    camera = camera_name(number % cameras)
    stamp = start + int(number // cameras * step)
    where = directory(camera, stamp)
    stem = time.strftime("%Y_%m_%d_%H_%M_%S", time.gmtime(stamp)) + f"_{number % 10000:04d}"
    big, small, text = f"{stem}_0.jpg", f"{stem}_1.jpg", f"{stem}_0.json"
    return Capture([
        (f"{where}/{big}", jpeg(f"{seed} {number} big", int(rng.randint(52_000, 495_000) * scale),
                                big)),
        (f"{where}/{small}", jpeg(f"{seed} {number} small",
                                  int(rng.randint(5_500, 48_000) * scale), small, 320)),
        (f"{where}/{text}", capture_json(f"{seed} {number}", camera, stamp, [big, small])),
    ])


def captures(seed, count, **more):
    for number in range(count):
        yield capture(seed, number, **more)


def files(seed, count, **more):
    """(path, bytes) of all files of `count` captures."""
    for one in captures(seed, count, **more):
        yield from one.files


def write(root, seed, count, **more):
    """Writes captures below root; returns {path: bytes}."""
    written = {}
    for path, data in files(seed, count, **more):
        target = os.path.join(root, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            file.write(data)
        written[path] = data
    return written
