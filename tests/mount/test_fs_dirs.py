# SPDX-License-Identifier: MIT
"""Listing directories through the kernel: each name once, right attributes, few requests."""

import ctypes
import os
import shutil
import struct
import threading

import pytest

from pylib import ebb, linux, proc


@pytest.fixture(scope="module")
def m():
    one = ebb.Mount(options={"archive_after": "1h"}, name="fsdirs")
    one.start()
    yield one
    one.close()


@pytest.fixture
def d(m, request):
    path = m.full(request.node.name.translate(str.maketrans("[]-", "___")))
    os.mkdir(path)
    yield path
    shutil.rmtree(path)


def put(path, data=b""):
    with open(path, "wb") as file:
        file.write(data)


def release(m, path):
    proc.wait_until(lambda: m.ctl("archive", path).returncode == 0, 60, "archived")
    m.release(path)


def test_dots(d):
    os.mkdir(f"{d}/sub")
    names = proc.run("ls", "-a", d).stdout.split()
    assert names == [".", "..", "sub"]
    lines = proc.run("ls", "-aid", f"{d}/.", f"{d}/sub/..", d).stdout.split()
    assert lines[0] == lines[2] == lines[4]


@pytest.mark.parametrize("state", ["local", "released", "mixed"])
def test_large(m, d, state):
    """Longer than any one reply, names of all lengths; types and sizes are right."""
    names = [f"{i:05d}{'n' * (i % 240)}" for i in range(6000)]
    for i, name in enumerate(names):
        put(f"{d}/{name}", b"x" * (i % 7))
        if state == "mixed" and i == 3000:
            release(m, d)
    if state == "released":
        release(m, d)
    listed = os.listdir(d)
    assert len(listed) == len(names)
    assert set(listed) == set(names)
    entries = {e.name: e for e in os.scandir(d)}
    for i, name in enumerate(names):
        assert entries[name].is_file()
        assert entries[name].stat().st_size == i % 7
        assert entries[name].inode() == os.stat(f"{d}/{name}").st_ino


def test_inode_numbers_stay(m, d):
    put(f"{d}/f", b"bytes")
    ino = os.stat(f"{d}/f").st_ino
    assert [e.inode() for e in os.scandir(d)] == [ino]
    release(m, f"{d}/f")
    assert os.stat(f"{d}/f").st_ino == ino
    assert [e.inode() for e in os.scandir(d)] == [ino]


def test_attributes_after_writing(d):
    """A listing that the kernel kept does not keep sizes."""
    for i in range(50):
        put(f"{d}/{i}", b"1")
    for size in (1, 2, 3):
        assert {e.stat().st_size for e in os.scandir(d)} == {size}
        for i in range(50):
            with open(f"{d}/{i}", "ab") as file:
                file.write(b"+")


def test_kept_listing_follows_changes(d):
    put(f"{d}/a")
    for i in range(5):
        assert len(os.listdir(d)) == 1 + i
        put(f"{d}/n{i}")
        assert len(os.listdir(d)) == 2 + i
    os.rename(f"{d}/n0", f"{d}/m0")
    assert sorted(os.listdir(d)) == ["a", "m0", "n1", "n2", "n3", "n4"]
    os.unlink(f"{d}/a")
    assert "a" not in os.listdir(d)


def test_removed_while_listed(d):
    """rm -r of much more than one reply."""
    for i in range(5000):
        put(f"{d}/{i}")
    fd = os.open(d, os.O_RDONLY)
    with os.scandir(fd) as entries:
        for n, entry in enumerate(entries):
            os.unlink(entry.name, dir_fd=fd)
    assert n == 4999
    os.close(fd)
    assert not os.listdir(d)


def test_rewind_and_seek(d):
    for i in range(300):
        put(f"{d}/{i}")
    fd = os.open(d, os.O_RDONLY | os.O_DIRECTORY)
    first = sorted(os.listdir(fd))
    put(f"{d}/late")
    os.lseek(fd, 0, os.SEEK_SET)
    assert sorted(os.listdir(fd)) == sorted([*first, "late"])
    os.close(fd)


def test_listed_while_changed(d):
    """What is there all the time is listed exactly once, whatever comes and goes beside it."""
    stay = {f"stay{i}" for i in range(800)}
    for name in stay:
        put(f"{d}/{name}")
    stop = threading.Event()

    def churn(k):
        i = 0
        while not stop.is_set():
            i += 1
            put(f"{d}/go{k}-{i % 50}")
            os.rename(f"{d}/go{k}-{i % 50}", f"{d}/went{k}-{i % 50}")
            os.unlink(f"{d}/went{k}-{i % 50}")

    threads = [threading.Thread(target=churn, args=(k,)) for k in range(2)]
    for t in threads:
        t.start()
    try:
        for _ in range(20):
            names = [n for n in os.listdir(d) if n.startswith("stay")]
            assert len(names) == len(set(names)) == len(stay)
    finally:
        stop.set()
        for t in threads:
            t.join()


def test_listed_while_archived_and_released(m, d):
    names = {f"f{i}" for i in range(500)}
    for name in names:
        put(f"{d}/{name}", name.encode())
    bad = []
    stop = threading.Event()

    def watch():
        while not stop.is_set():
            seen = os.listdir(d)
            if len(seen) != len(names) or set(seen) != names:
                bad.append((len(seen), len(set(seen)), sorted(names ^ set(seen))[:5]))

    threads = [threading.Thread(target=watch) for _ in range(2)]
    for t in threads:
        t.start()
    try:
        for _ in range(2):
            release(m, d)
            m.restore(d)
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert not bad


def test_nested_walk(m, d):
    want = set()
    for i in range(20):
        os.makedirs(f"{d}/{i}/x/y")
        for j in range(10):
            put(f"{d}/{i}/x/y/{j}")
            want.add(f"{i}/x/y/{j}")
    release(m, d)
    found = {os.path.relpath(os.path.join(base, f), d) for base, _, files in os.walk(d)
             for f in files}
    assert found == want
    assert int(proc.run("sh", "-c", f"find {d} -type f | wc -l").stdout) == len(want)
    copy = d + ".tar"
    proc.run("tar", "-C", d, "-cf", copy, ".")
    assert int(proc.run("sh", "-c", f"tar tf {copy} | grep -vc '/$'").stdout) == len(want)
    os.unlink(copy)


# --- the kernel's own pages of a listing -----------------------------------------


LIBC = ctypes.CDLL(None, use_errno=True)


def getdents(fd, size=2000):
    """The next few names; [] at the end."""
    buf = ctypes.create_string_buffer(size)
    n = LIBC.syscall(217, fd, buf, size)        # getdents64 of x86-64
    if n < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    names, at = [], 0
    while at < n:
        length, = struct.unpack_from("=H", buf.raw, at + 16)
        names.append(os.fsdecode(buf.raw[at + 19:at + length].split(b"\0", 1)[0]))
        at += length
    return names


def drop_pages(m, names):
    linux.drop_caches()


def list_it_anew(m, names):
    """Somebody else opens the directory after one of its files was opened."""
    m.read(f"d/{names[5]}")
    fd = os.open(m.full("d"), os.O_RDONLY)
    getdents(fd)
    os.close(fd)


def archive_and_remove(m, names):
    """The order of the names changes, and what was given is removed: as rm -r does it."""
    m.archive(*[f"d/{name}" for name in names[100:700:3]])
    drop_pages(m, names)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the number of getdents64")
@pytest.mark.parametrize("disturb", [drop_pages, list_it_anew, archive_and_remove])
@pytest.mark.parametrize("remove", [False, True])
def test_listing_goes_on_without_the_kernels_pages(mount, disturb, remove):
    """A handle that was given names from the kernel's pages gets the others, each once."""
    m = mount(options={"archive_after": "1h"})
    names = [f"f{i:04}" for i in range(1000)]
    for name in names:
        m.write(f"d/{name}", b"x")
    for _ in range(2):
        assert len(os.listdir(m.full("d"))) == 1000     # the kernel has it all
    fd = os.open(m.full("d"), os.O_RDONLY)
    try:
        given = []
        for _ in range(4):
            given += getdents(fd)
        if remove:
            for name in given[2:]:
                os.unlink(m.full(f"d/{name}"))
        disturb(m, sorted(set(names) - set(given if remove else [])))
        while more := getdents(fd):
            given += more
    finally:
        os.close(fd)
    assert sorted(given) == sorted([".", "..", *names])
