# SPDX-License-Identifier: MIT
"""Programs must not notice that their files move: suites of others run on the mount while a
loop archives, releases and restores everything, with ages of a second besides.
"""

import os
import random
import threading

import pytest

from pylib import posix, promises

FAST = {"archive_after": "1s", "release_after": "1s", "trash_grace": "0s",
        "trash_grace_unseen": "0s"}


class Mover:
    """Archives, releases and restores all there is, again and again."""

    def __init__(self, m):
        self.m, self.stop, self.rounds = m, threading.Event(), 0
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.stop.is_set():
            for what in ("archive", "release", "restore", "archive", "release"):
                # Files come and go meanwhile: that some fail is no news.
                self.m.ctl(what, self.m.path)
                if self.stop.is_set():
                    break
            self.rounds += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


@pytest.mark.parametrize("passthrough", ["auto", "no"])
def test_pjdfstest(mount, passthrough, tmpdir_below):
    m = mount(options={**FAST, "passthrough": passthrough})
    m.expect_log("cannot (archive|release|restore)")
    os.mkdir(m.full("t"))
    os.chmod(m.dir, 0o755)
    for name in ("native", "w1", "w2"):
        os.mkdir(f"{tmpdir_below}/{name}")
    os.chmod(tmpdir_below, 0o755)
    native = posix.pjdfstest(f"{tmpdir_below}/native", f"{tmpdir_below}/w1")
    with Mover(m):
        have = posix.pjdfstest(m.full("t"), f"{tmpdir_below}/w2")
    odd = {"link::link_count_max"}      # see test_fs_mount.py
    assert {k: v for k, v in have.items() if native[k] == "ok" != v and k not in odd} == {}


@pytest.mark.parametrize("passthrough", ["auto", "no"])
def test_fsx(mount, passthrough):
    m = mount(options={**FAST, "passthrough": passthrough})
    m.expect_log("cannot (archive|release|restore)")
    with Mover(m) as mover:
        for seed in (11, 12):
            posix.fsx(m.full(f"fsx{seed}"), seed, operations=2000, work=m.dir)
    assert mover.rounds > 0


def test_writers_and_readers(mount):
    """Threads rewrite, append, rename, remove and read while everything moves."""
    m = mount(options=FAST)
    m.expect_log("cannot (archive|release|restore)")
    errors, sums = [], {}

    def client(n):
        rng, files = random.Random(n), {}
        try:
            os.makedirs(m.full(f"c{n}"))
            for i in range(150):
                name = f"c{n}/f{rng.randrange(12)}"
                what = rng.randrange(6)
                if what == 0 or name not in files:
                    files[name] = rng.randbytes(rng.randrange(60_000))
                    m.write(name, files[name], mkdirs=False)
                elif what == 1:
                    more = rng.randbytes(100)
                    m.write(name, more, mode="ab", mkdirs=False)
                    files[name] += more
                elif what == 2:
                    other = f"c{n}/f{rng.randrange(12)}"
                    os.rename(m.full(name), m.full(other))
                    files[other] = files.pop(name)
                elif what == 3 and len(files) > 4:
                    os.unlink(m.full(name))
                    del files[name]
                else:
                    assert m.read(name) == files[name], f"{name}, step {i}"
        except BaseException as err:    # pylint: disable=broad-except
            errors.append(err)
        sums.update({p: d for p, d in files.items()})

    with Mover(m):
        threads = [threading.Thread(target=client, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not errors, errors
    promises.check(m, sums, orphans=False)
