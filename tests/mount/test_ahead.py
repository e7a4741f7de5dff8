# SPDX-License-Identifier: MIT
"""Reading ahead: what reading released files costs the store, and that it never costs a wrong byte."""

import errno
import itertools
import os
import random
import subprocess
import threading

import pytest

from pylib import linux, proc

OPTIONS = {"archive_after": "1h", "pack_wait": "0s", "store_timeout": "20s"}
DIR = "cam/2017"
SMALL, LARGE = 1500, 200_000


def content(i, size):
    return bytes([i % 251]) + os.urandom(16) + bytes([(i * 7) % 253]) * (size - 17)


# Whoever reads without what was loaded for him does not get far until it is loaded.
SLOW = "get delay 50ms"


def faults(m, *lines):
    fresh = os.path.join(m.dir, "rules.new")
    with open(fresh, "w", encoding="utf-8") as file:
        file.write("".join(line + "\n" for line in lines))
    os.rename(fresh, os.path.join(m.dir, "rules"))


def released(mount, n, size, **options):
    """A mount with a store that can fail, and n released files that nobody read yet."""
    m = mount(start=False, options={**OPTIONS, **options})
    m.store_url = f"fault:{m.dir}/rules:dir:{m.store}"
    m.start()
    data = {f"{DIR}/f{i:03}.jpg": content(i, size) for i in range(n)}
    for path, text in data.items():
        m.write(path, text)
    m.rest(*data)
    m.archive()
    m.release()
    m.restart()
    assert set(m.states(*data).values()) == {"released"}
    return m, data


def packs(m):
    found = []
    for base, _, names in os.walk(os.path.join(m.store, ".ebb/pack")):
        found += [os.path.join(base, name) for name in names]
    return found


class Cost:
    """What the store did while this was entered."""

    def __init__(self, m):
        self.m, self.before, self.gets, self.bytes, self.reads = m, None, None, None, None

    def __enter__(self):
        self.before = self.m.status()
        return self

    def __exit__(self, *_):
        after = self.m.status()
        self.gets = after["store"]["ops"]["get"] - self.before["store"]["ops"]["get"]
        self.reads = (after["fuse"]["requests"].get("read", 0) -
                      self.before["fuse"]["requests"].get("read", 0))
        self.bytes = after["store"]["bytes_got"] - self.before["store"]["bytes_got"]


def read_or_error(m, path):
    try:
        return m.read(path)
    except OSError as err:
        return err.errno


@pytest.mark.parametrize("pack_below", ["64K", "0"], ids=["packed", "alone"])
def test_one_file_is_one_get(mount, pack_below):
    m, data = released(mount, 20, SMALL, pack_below=pack_below)
    assert len(packs(m)) == (1 if pack_below == "64K" else 0)
    path = f"{DIR}/f007.jpg"
    with Cost(m) as cost:
        assert m.read(path) == data[path]
    assert (cost.gets, cost.bytes) == (1, SMALL)
    assert m.status()["read_ahead"]["loads"] == 0


def test_files_here_and_there_are_one_get_each(mount):
    m, data = released(mount, 200, SMALL, pack_below="0")
    paths = [f"{DIR}/f{i:03}.jpg" for i in (100, 30, 150, 2, 60, 199, 90)]
    with Cost(m) as cost:
        for path in paths:
            assert m.read(path) == data[path]
    assert cost.gets == len(paths)


def copy_of(m, how, to):
    os.mkdir(to)
    if how == "cp":
        proc.run("cp", "-r", m.full(DIR), os.path.join(to, "2017"))
    else:
        subprocess.run(f"tar c -C {m.full('cam')} 2017 | tar x -C {to}", shell=True, check=True)
    return {f"{DIR}/{name}": open(os.path.join(to, "2017", name), "rb").read()
            for name in os.listdir(os.path.join(to, "2017"))}


@pytest.mark.parametrize("how", ["tar", "cp"])
def test_directory_of_packs_is_a_get_a_pack(mount, tmpdir_below, how):
    m, data = released(mount, 500, SMALL, pack_size="128K")
    n = len(packs(m))
    assert n >= 5
    faults(m, SLOW)
    with Cost(m) as cost:
        assert copy_of(m, how, os.path.join(tmpdir_below, "copy")) == data
    # two to see that it is in order, and those that are faster than the thread that loads
    assert n <= cost.gets <= n + 25


def test_directory_of_files_is_a_get_a_file(mount, tmpdir_below):
    m, data = released(mount, 100, LARGE)
    faults(m, "get delay 500ms")
    with Cost(m) as cost:
        assert copy_of(m, "cp", os.path.join(tmpdir_below, "copy")) == data
    assert 100 <= cost.gets <= 104
    ahead = m.status()["read_ahead"]
    assert ahead["loads"] >= 95 and ahead["unused"] == 0
    assert ahead["reads"] >= 95
    # what the reader had asked for himself meanwhile is not read again
    proc.wait_until(lambda: m.status()["read_ahead"]["bytes"] == (cost.gets - 100) * LARGE, 60,
                    "nothing kept")


def test_loads_begin_before_they_are_asked_for(mount):
    m, data = released(mount, 100, LARGE)
    paths = sorted(data)
    assert m.read(paths[0]) == data[paths[0]]
    faults(m, "get hold key */f00[2-9].jpg", "get hold key */f0[1-9]?.jpg")
    with Cost(m) as cost:
        assert m.read(paths[1]) == data[paths[1]]
        # All of them at once: none has its answer.
        proc.wait_until(lambda: m.status()["read_ahead"]["loads"] >= 20, 60, "20 loads")
    assert cost.gets == 1
    faults(m)
    for path in paths[2:]:
        assert m.read(path) == data[path]


def test_memory_is_bounded(mount):
    m, data = released(mount, 100, LARGE, read_cache="2M")
    faults(m, SLOW)
    with Cost(m) as cost:
        for i, path in enumerate(sorted(data)):
            if i > 1:   # two show that it goes on like this
                proc.wait_until(lambda n=i - 1: m.status()["read_ahead"]["loads"] >= n, 60,
                                f"file {i} loaded", every=0.001)
            assert m.read(path) == data[path]
            assert m.status()["read_ahead"]["bytes"] <= 2 << 20
    assert cost.gets == 100
    assert m.status()["read_ahead"]["loads"] == 98


def test_none_is_read_ahead_without_memory_for_it(mount):
    m, data = released(mount, 30, SMALL, read_cache="0")
    with Cost(m) as cost:
        for path in sorted(data):
            assert m.read(path) == data[path]
    assert (cost.gets, cost.bytes) == (30, 30 * SMALL)


def damage(pack, at):
    with open(pack, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 0x10]))


def test_damaged_pack_gives_no_wrong_byte(mount):
    m, data = released(mount, 60, SMALL)
    m.expect_log(r"its bytes are not those that were archived")
    (pack,) = packs(m)
    bad = f"{DIR}/f030.jpg"
    with open(pack, "rb") as file:
        at = file.read().index(data[bad])
    os.chmod(pack, 0o600)
    damage(pack, at + 700)
    for _ in range(2):
        for path in sorted(data):
            assert read_or_error(m, path) == (errno.EIO if path == bad else data[path]), path
    assert m.status()["read_ahead"]["loads"] >= 1
    damage(pack, at + 700)
    m.restart()
    assert m.read(bad) == data[bad]


def test_pack_that_was_cut_off_gives_no_wrong_byte(mount):
    m, data = released(mount, 60, SMALL)
    m.expect_log(r"cannot read object")
    (pack,) = packs(m)
    os.chmod(pack, 0o600)
    os.truncate(pack, 30 * SMALL + 5)
    got = {path: read_or_error(m, path) for path in sorted(data)}
    assert sum(value == errno.EIO for value in got.values()) == 30
    assert all(value in (errno.EIO, data[path]) for path, value in got.items())


@pytest.mark.parametrize("pack_below", ["64K", "0"], ids=["packed", "alone"])
def test_store_that_goes_down_and_comes_back(mount, pack_below):
    m, data = released(mount, 300, SMALL, pack_below=pack_below, pack_size="64K", read_cache="200K")
    m.expect_log(r"no answer within", r"cannot read object", r"is down")
    paths = sorted(data)
    for path in paths[:20]:
        assert m.read(path) == data[path]
    faults(m, "* down now")
    got = [read_or_error(m, path) for path in paths[20:]]
    assert got[-1] == errno.EIO
    assert all(value in (errno.EIO, data[path]) for path, value in zip(paths[20:], got))
    faults(m)
    proc.wait_until(lambda: m.status()["store"]["up"], 60, "the store up")
    faults(m, SLOW)
    with Cost(m) as cost:
        for path in paths:
            assert m.read(path) == data[path]
    # It goes on reading ahead.
    assert cost.gets <= (320 if pack_below == "0" else 20)
    assert m.status()["read_ahead"]["bytes"] <= 200 << 10


# --- what the kernel is given before it asks ------------------------------------------


@pytest.fixture
def caches():
    with linux.caches_kept():
        yield


def drop_pages(m, paths):
    for path in paths:
        fd = os.open(m.full(path), os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


@pytest.mark.parametrize("size, options", [(SMALL, {"pack_size": "128K"}),
                                           (60_000, {"pack_below": "0"})], ids=["packed", "alone"])
def test_directory_is_read_without_asking(mount, tmpdir_below, caches, size, options):
    """Again it costs the store nothing, unless the kernel had to give up what it had."""
    m, data = released(mount, 300, size, **options)
    least = len(packs(m)) or len(data)
    numbers = itertools.count()

    def copied(how):
        return copy_of(m, how, os.path.join(tmpdir_below, str(next(numbers)))) == data

    def most_are_pushed():
        m.restart()
        with Cost(m) as first:
            assert copied("tar")
        pushed = m.status()["read_ahead"]["pushed"]
        assert first.reads <= 4 * (len(data) - pushed) + 8
        return pushed > 150
    # Asked for before they were here: few, or the machine is busy with others.
    proc.wait_until(most_are_pushed, 120)
    with Cost(m) as again:
        assert copied("cp")
    # The machine may want some memory back.
    assert again.gets <= 10 and again.reads <= 40

    def most_are_loaded_again():
        drop_pages(m, data)
        loads = m.status()["read_ahead"]["loads"]
        with Cost(m) as lost:
            assert copied("cp")
        assert lost.reads >= len(data) and lost.gets <= least + 25
        # of packs, some are here still
        return packs(m) or m.status()["read_ahead"]["loads"] - loads > 200
    proc.wait_until(most_are_loaded_again, 120)


def test_nobody_is_given_what_he_does_not_know(mount):
    """Pages are of files that the kernel has looked up, though all are in memory."""
    m, data = released(mount, 200, SMALL)
    for path in sorted(data)[:20]:      # by name: the next one is not known yet
        assert m.read(path) == data[path]
    proc.wait_until(lambda: m.status()["read_ahead"]["bytes"] >= 180 * SMALL, 60, "a pack")
    assert m.status()["read_ahead"]["pushed"] <= 20
    with Cost(m) as cost:
        for path in sorted(data):
            assert m.read(path) == data[path]
    assert cost.gets <= 2 and cost.reads >= 180 - m.status()["read_ahead"]["pushed"]


RECORD = 16


class Versions:
    """Files of which each record says its version, and which versions may be seen."""

    def __init__(self, m, sizes):
        self.m, self.names = m, [f"{DIR}/f{i:03}.jpg" for i in range(len(sizes))]
        self.size = dict(zip(self.names, sizes))
        self.least = dict.fromkeys(self.names, 0)
        self.most = dict.fromkeys(self.names, 0)
        self.bad, self.seen, self.ended = [], 0, threading.Event()
        for name in self.names:
            m.write(name, self.text(name, 0))

    def text(self, name, version):
        return b"%-10d%5s\n" % (version, name[-7:-4].encode()) * (self.size[name] // RECORD)

    def change(self, rng):
        name = rng.choice(self.names)
        path, version = self.m.full(name), self.most[name] + 1
        text = self.text(name, version)
        self.most[name] = version
        how = rng.randrange(4)
        if how == 0:        # in place
            with open(path, "r+b") as file:
                file.write(text)
        elif how == 1:
            with open(path, "wb") as file:
                file.write(text)
        elif how == 2:
            os.truncate(path, 0)
            with open(path, "ab") as file:
                file.write(text)
        else:
            with open(path + ".new", "wb") as file:
                file.write(text)
            os.rename(path + ".new", path)
        self.least[name] = version

    def writer(self, seed):
        rng = random.Random(seed)
        while not self.ended.wait(rng.random() / 12):
            self.change(rng)

    def reader(self):
        while not self.ended.wait(0.5):
            names = sorted(n for n in os.listdir(self.m.full(DIR)) if n.endswith(".jpg"))
            for name in names:
                self.check(f"{DIR}/{name}")

    def check(self, name):
        least = self.least[name]
        with open(self.m.full(name), "rb") as file:
            text = file.read()
        most = self.most[name]
        found = {int(text[i:i + 10]) for i in range(0, len(text) - RECORD + 1, RECORD)}
        right = all(least <= version <= most for version in found)
        if least == most:
            right = right and text == self.text(name, most)
        if not right:
            self.bad.append((name, least, most, sorted(found), len(text)))
        self.seen += 1


def test_pushed_while_they_change(mount):
    """What is read is never older than what was there when it was opened."""
    m = mount(options={"archive_after": "1s", "release_after": "0s", "pack_wait": "0s",
                       "pack_below": "8K"})
    v = Versions(m, [1504, 3008, 40_000, 200_000] * 15)
    threads = [threading.Thread(target=f, args=a) for f, a in
               ((v.writer, (1,)), (v.reader, ()), (v.reader, ()))]
    for thread in threads:
        thread.start()

    def enough():
        status = m.status()
        return v.bad or (v.seen > 100 and status["read_ahead"]["pushed"] > 20 and
                         status["since_start"]["released"] > 100)
    try:
        v.ended.wait(15)
        proc.wait_until(enough, 120, "files pushed and released", every=0.5)
    finally:
        v.ended.set()
        for thread in threads:
            thread.join(120)
    assert not v.bad
    for name in v.names:
        v.check(name)
    assert not v.bad


def test_unmount_while_it_loads(mount):
    """What comes when nobody wants it any more goes nowhere."""
    m, data = released(mount, 60, 20_000, pack_below="0")
    os.listdir(m.full(DIR))     # the kernel knows them all
    faults(m, "get delay 700ms key */f00[2-9].jpg", "get delay 700ms key */f0[1-9]?.jpg")
    for path in sorted(data)[:2]:
        assert m.read(path) == data[path]
    proc.wait_until(lambda: m.status()["read_ahead"]["loads"] >= 20, 60, "20 loads")
    m.restart()
    faults(m)
    assert m.read(path) == data[path]
