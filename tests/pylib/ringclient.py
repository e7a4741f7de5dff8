# SPDX-License-Identifier: MIT
"""usage: ringclient.py DIR CPU SECONDS PROGRESS SLOT

A client of tests/mount/test_rings.py: stays on one core, so that the kernel gives its requests to
that core's ring, and does what is parked mixed with what is answered inline, in DIR alone.  Counts
each step in 8 bytes at SLOT of the file PROGRESS; says at the end, in JSON, how often it did what.

    DIR/keep-N      released; what their bytes are, content() says
    DIR/gone-N      released, to be unlinked
"""

import json
import mmap
import os
import random
import struct
import sys
import time

KEEP, GONE = 24, 60


def content(directory, n):
    """1 to 200,000 bytes that follow from the name."""
    rng = random.Random(f"{os.path.basename(directory)}/{n}")
    return rng.randbytes(rng.choice((1, 1500, 20_000, 70_000, 200_000)))


class Client:
    def __init__(self, directory):
        self.dir, self.rng = directory, random.Random(directory)
        self.bytes = [content(directory, n) for n in range(KEEP)]
        self.names = [f"keep-{n}" for n in range(KEEP)]
        self.gone = [f"gone-{n}" for n in range(GONE)]
        self.local = 0

    def path(self, name):
        return os.path.join(self.dir, name)

    # --- parked: others than the ring's thread reply ---

    def read(self):
        """The store replies: the kernel's pages are dropped before."""
        n = self.rng.randrange(KEEP)
        with open(self.path(self.names[n]), "rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            found = b"".join(iter(lambda: file.read(1 << 17), b""))
        assert found == self.bytes[n], f"{self.names[n]}: wrong bytes"

    def rename(self):
        """A commit is waited for."""
        n = self.rng.randrange(KEEP)
        name = f"keep-{n}" if self.names[n].endswith("x") else f"keep-{n}x"
        os.rename(self.path(self.names[n]), self.path(name))
        self.names[n] = name

    def chmod(self):
        os.chmod(self.path(self.rng.choice(self.names)), self.rng.choice((0o600, 0o644)))

    def unlink(self):
        if not self.gone:
            self.chmod()
            return
        path = self.path(self.gone.pop())
        os.unlink(path)
        assert not os.path.lexists(path)

    def fsync(self):
        """The disk."""
        with open(self.path("synced"), "wb", buffering=0) as file:
            file.write(b"x" * self.rng.randrange(5000))
            os.fsync(file.fileno())

    # --- inline ---

    def create(self):
        self.local += 1
        path = self.path(f"local-{self.local % 8}")
        with open(path, "wb", buffering=0) as file:
            file.write(b"y" * (self.local % 3000))
        assert os.stat(path).st_size == self.local % 3000
        if self.local % 3 == 0:
            os.unlink(path)

    def missing(self):
        assert not os.path.lexists(self.path(f"missing-{self.rng.randrange(1 << 30)}"))

    def listing(self):
        assert set(self.names) <= set(os.listdir(self.dir))


WEIGHTS = {"read": 30, "rename": 6, "chmod": 4, "unlink": 1, "fsync": 1, "create": 20,
           "missing": 30, "listing": 1}


def main():
    directory, cpu, seconds, progress, slot = sys.argv[1:]
    os.sched_setaffinity(0, {int(cpu)})
    client, done = Client(directory), dict.fromkeys(WEIGHTS, 0)
    with open(progress, "r+b") as file:
        shared = mmap.mmap(file.fileno(), 0)
    end, count = time.monotonic() + float(seconds), 0
    while time.monotonic() < end:
        for what in client.rng.choices(list(WEIGHTS), list(WEIGHTS.values()), k=50):
            getattr(client, what)()
            done[what] += 1
            count += 1
            struct.pack_into("q", shared, 8 * int(slot), count)
    print(json.dumps(done))


if __name__ == "__main__":
    main()
