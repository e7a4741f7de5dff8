# SPDX-License-Identifier: MIT
"""What meets what: changes of names that wait for one another, changes the kernel has
cached another truth of, and a power cut after fsync.
"""

import os
import random
import threading

import pytest

from pylib import linux, proc

NAMES = 8       # of the top: half of them files, half directories of released files
BELOW = 4


def exchange(top, rng, rounds):
    for _ in range(rounds):
        a, b = rng.sample(range(NAMES), 2)
        linux.renameat2(f"{top}/{a}", f"{top}/{b}", linux.RENAME_EXCHANGE)


def write_below(top, rng, rounds):
    for _ in range(rounds):
        path = f"{top}/{rng.randrange(NAMES)}"
        try:
            if rng.random() < 0.7:
                path += f"/{rng.randrange(BELOW)}"
            with open(path, "r+b") as file:
                file.write(b"again")
        except (NotADirectoryError, IsADirectoryError):
            pass        # it changed its place


def test_exchange_of_files_and_directories(mount):
    """A restore has a file's claim and wants its directory's, an exchange wants both."""
    m = mount(options={"archive_after": "1s", "release_after": "0s"})
    top = m.full("top")
    for n in range(NAMES):
        for below in range(BELOW) if n % 2 else ("",):
            m.write(f"top/{n}/{below}".rstrip("/"), b"bytes of %d" % n)
    for seed in range(4):
        m.archive()
        m.release()
        proc.wait_until(lambda: not any(os.path.isdir(m.local(f"top/{n}")) for n in range(NAMES)),
                        60, "directories released")
        rng = [random.Random(100 * seed + i) for i in range(12)]
        threads = [threading.Thread(target=exchange if i % 2 else write_below,
                                    args=(top, rng[i], 60), daemon=True) for i in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(proc.scaled(60))
            assert not thread.is_alive(), "stuck:\n" + m.stacks()
    kinds = [os.path.isdir(f"{top}/{n}") for n in range(NAMES)]
    assert kinds.count(True) == NAMES // 2


# --- fsync ------------------------------------------------------------------------

def fsync(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def power_cut(m):
    """The cache and the catalogue lose what was not synced."""
    m.disk.cut_power()
    m.kill()
    m.disk.umount()
    m.disk.mount()
    m.start()
    m.expect_log("cannot ")     # of the run whose disk went away


@pytest.fixture(name="on_disk", params=["ext4", "xfs"])
def fixture_on_disk(request, mount):
    m = mount(start=False, cache_fs=request.param, options={"archive_after": "1h"})
    m.meta = os.path.join(m.disk.path, "catalogue.db")
    return m.start()


def test_power_cut_after_fsync(on_disk):
    """What was fsynced is there after a power cut, also where only the catalogue has it."""
    m = on_disk
    names = ("renamed", "replaces", "removed", "moved", "chmod", "rewritten", "restored")
    for name in names:
        m.write(f"d/{name}", name.encode())
    m.write("d/local", b"old")
    os.mkdir(m.full("e"))
    m.archive(*(f"d/{name}" for name in names))
    m.release(*(f"d/{name}" for name in names))
    os.sync()

    os.rename(m.full("d/renamed"), m.full("d/new"))
    os.rename(m.full("d/replaces"), m.full("d/local"))
    os.unlink(m.full("d/removed"))
    os.rename(m.full("d/moved"), m.full("e/moved"))
    os.mkdir(m.full("d/sub"))
    fsync(m.full("d"))
    os.chmod(m.full("d/chmod"), 0o640)
    fsync(m.full("d/chmod"))
    m.restore("d/restored")
    with open(m.full("d/rewritten"), "r+b", buffering=0) as file:
        file.write(b"REWR")
        os.fsync(file.fileno())
    fsync(m.full("d/restored"))
    power_cut(m)

    assert sorted(os.listdir(m.full("d"))) == ["chmod", "local", "new", "restored", "rewritten",
                                               "sub"]
    assert m.read("d/new") == b"renamed"
    assert m.read("d/local") == b"replaces"
    assert m.read("e/moved") == b"moved"
    assert m.read("d/rewritten") == b"REWRitten"
    assert m.read("d/restored") == b"restored"
    assert os.stat(m.full("d/chmod")).st_mode & 0o777 == 0o640
    assert m.state("d/new") == "released"
    assert m.state("d/restored") == "archived"


def test_power_cut_after_replacing(on_disk):
    """A name that a released file took over from a local one is never lost."""
    m = on_disk
    m.write("d/released", b"released")
    m.archive("d/released")
    m.release("d/released")
    m.write("d/local", b"local")
    os.sync()
    os.rename(m.full("d/released"), m.full("d/local"))
    fsync(m.local("d"))         # as the cache's file system does by itself, now and then
    power_cut(m)
    assert m.read("d/local") == b"released"

