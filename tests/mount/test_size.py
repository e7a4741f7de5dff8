# SPDX-License-Identifier: MIT
"""A catalogue of many released paths (tools/mkcatalogue.c): all of them are there, and what a
mount, a lookup, a listing cost does not grow with them.

Asserted is what is read and what memory holds, never a time.  bench/size has the times, and larger
sizes.
"""

import os
import re
import sqlite3
import threading
import time

import pytest

from pylib import proc

PATHS, FLAT, CAMERAS, A_DIRECTORY = 200_000, 100_000, 40, 2000
DIRECTORIES = CAMERAS * (4 + 3) + 1     # three hours, as PATHS / CAMERAS / A_DIRECTORY says; flat
MIB = 1 << 20


@pytest.fixture
def filled(mount):
    """factory: filled(**options) -> a started mount of such a catalogue, m.samples: paths in it."""
    def make(**options):
        m = mount(options=options)
        m.stop()
        made = proc.run(os.path.join(m.build, "tests", "mkcatalogue"), m.meta, str(PATHS), "-c",
                        str(CAMERAS), "-p", str(A_DIRECTORY), "-f", str(FLAT), "-s", "500")
        m.samples = made.stdout.splitlines()
        m.start()
        m.wait_log("scanned the cache: 0 entries")
        return m
    return make


def daemon_number(m, file, name):
    """A line of /proc/PID/FILE."""
    with open(f"/proc/{m.processes()[0]}/{file}", encoding="ascii") as text:
        return int(re.search(rf"^{name}:\s+(\d+)", text.read(), re.M)[1])


def find(m, *where):
    """How many files find(1) meets."""
    return len(proc.run("find", *(m.full(w) for w in where or ("",)), "-type", "f", "-printf",
                        ".", deadline=250).stdout)


def consistent(meta):
    """SQLite's own check, and what is kept against what is counted."""
    db = sqlite3.connect(f"file:{meta}?mode=ro", uri=True)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    kept = db.execute("SELECT files,file_bytes,dirs,trash,journalled FROM tally").fetchone()
    files = db.execute("SELECT count(*),sum(size) FROM file").fetchone()
    dirs = db.execute("SELECT count(*) FROM dir").fetchone()[0]
    assert kept[:4] == (*files, dirs, db.execute("SELECT count(*) FROM trash").fetchone()[0])
    assert db.execute("SELECT max(txn)<=? FROM file", kept[4:]).fetchone()[0]
    assert not db.execute(
        "SELECT id FROM pack LEFT JOIN (SELECT pack AS p,count(*) AS n,sum(size) AS s FROM "
        "(SELECT pack,size FROM file UNION ALL SELECT pack,size FROM trash) "
        "WHERE pack IS NOT NULL GROUP BY pack) ON p=id WHERE n IS NOT files OR s IS NOT live"
    ).fetchall()
    packed = db.execute("SELECT count(*) FROM file WHERE pack IS NOT NULL").fetchone()[0]
    assert files[0] / 2 < packed < files[0]
    db.close()
    return files[0], dirs


@pytest.mark.deadline(600)
def test_every_name_is_there(filled):
    m = filled()
    counts = m.status()
    assert counts["released"]["files"] == PATHS + FLAT
    assert counts["archived"]["files"] == counts["local"]["files"] == 0
    assert sorted(os.listdir(m.path)) == [f"3K01E84PAU{i:05d}" for i in range(CAMERAS)] + ["flat"]
    names = os.listdir(m.full("flat"))
    assert len(names) == len(set(names)) == FLAT
    assert find(m, *(name for name in os.listdir(m.path) if name != "flat")) == PATHS
    for path in m.samples[::25]:
        assert os.stat(m.full(path)).st_size >= 1000
        assert m.state(path) == "released"
        assert [line[:2] for line in m.locate(os.path.basename(path))] == [("released", path)]
    assert m.locate("capture_0000000007_1.jpg")[0][:2] == ("released",
                                                           "flat/capture_0000000007_1.jpg")
    assert m.locate("2017_12_15_15_00_00_0001_2.jpg") == []
    assert m.ctl("state", m.full(m.samples[0] + "x")).returncode == 1
    # It is a catalogue like any other: names leave, come, and are counted.
    os.remove(m.full(m.samples[0]))
    os.rename(m.full(m.samples[1]), m.full("flat/renamed"))
    m.write("new/file", b"new")
    m.drain()
    assert m.read("new/file") == b"new"
    m.stop()
    assert consistent(m.meta) == (PATHS + FLAT, DIRECTORIES + 2)


def test_what_is_made_is_consistent(filled):
    m = filled()
    m.stop()
    assert consistent(m.meta) == (PATHS + FLAT, DIRECTORIES + 1)


def test_starting_reads_little(filled):
    m = filled()
    assert os.path.getsize(m.meta) > 40 * MIB
    assert daemon_number(m, "io", "rchar") < 4 * MIB


def test_lookups_and_locate_read_a_few_pages(filled):
    """One statement a lookup, another the first time in a directory; pages as the tree is deep."""
    m = filled()
    directories = {os.path.dirname(path) for path in m.samples}
    for path in directories:
        os.stat(m.full(path))
    begun = time.monotonic()
    before, reads = m.status()["catalogue"]["selects"], daemon_number(m, "io", "syscr")
    for path in m.samples:
        os.stat(m.full(path))
    most = len(m.samples) + len(directories)
    # what asks by itself does so each second: for a checkpoint, for what is to be dropped
    most += int(4 * (time.monotonic() - begun))
    assert m.status()["catalogue"]["selects"] - before <= most
    assert daemon_number(m, "io", "syscr") - reads < 8 * most
    before, reads = m.status()["catalogue"]["selects"], daemon_number(m, "io", "syscr")
    for path in m.samples[:100]:
        assert m.locate(os.path.basename(path))
    # the name's rows, the directory's path, then what each step of the path is
    assert m.status()["catalogue"]["selects"] - before < 20 * 100
    assert daemon_number(m, "io", "syscr") - reads < 60 * 100


class Most(threading.Thread):
    """The most inodes the daemon says it has."""

    def __init__(self, m):
        super().__init__(daemon=True)
        self.m, self.most, self.times, self.end = m, 0, 0, threading.Event()
        self.start()

    def run(self):
        while not self.end.wait(0.02):
            self.most = max(self.most, self.m.status()["fuse"]["inodes"])
            self.times += 1

    def stop(self):
        self.end.set()
        self.join()
        return self.most


def test_memory_is_bounded_by_the_cap(filled):
    """find meets sixty times as many names as inodes may be in memory."""
    m = filled(max_inodes="5000")
    assert find(m, "3K01E84PAU00000") > 1000    # every thread has its connection
    before = daemon_number(m, "status", "VmRSS") * 1024
    watch = Most(m)
    assert find(m) == PATHS + FLAT
    # directories are looked up one by one, and are not asked back
    assert 1000 < watch.stop() <= 5000 + DIRECTORIES + 100
    assert watch.times > 3
    if re.search(r"/(asan|tsan)$", m.build):
        return      # they keep what is freed
    grown = daemon_number(m, "status", "VmHWM") * 1024 - before
    assert grown < 16 * MIB, f"{grown} bytes for {PATHS + FLAT} names"


def test_names_beyond_the_cap_can_be_used(filled):
    """What a listing gave without attributes has them when somebody asks."""
    m = filled(max_inodes="1000")
    with os.scandir(m.full("flat")) as entries:
        for i, entry in enumerate(entries):
            assert entry.is_file(follow_symlinks=False)
            if i % 100 == 0:
                found = entry.stat(follow_symlinks=False)
                assert 5000 <= found.st_size < 50000 and found.st_ino == entry.inode()
    proc.wait_until(lambda: m.status()["fuse"]["inodes"] <= 1000, 60, "what is above is forgotten")
    assert m.status()["fuse"]["inodes_forgotten"] > 0
