# SPDX-License-Identifier: MIT
"""What each thing costs in requests of the kernel, exactly: ARCHITECTURE.md, "What each thing costs"."""

import contextlib
import os

import pytest

from pylib import linux, proc

OPTIONS = {"archive_after": "1h", "pack_wait": "0s"}
SIZE = 1500


@pytest.fixture(autouse=True)
def caches():
    with linux.caches_kept():
        yield


class Meter:
    """The daemon's own count of requests.  Forgets are left out: memory decides when they come."""

    def __init__(self, m):
        self.m, self.last = m, None
        self.passthrough = m.status()["fuse"]["passthrough"]

    def counts(self):
        requests = self.m.status()["fuse"]["requests"]
        return {name: n for name, n in requests.items() if not name.startswith("forget")}

    def all_closed(self):
        now = self.counts()
        return now["release"] == now["open"] + now["create"]

    @contextlib.contextmanager
    def costs(self, what, local_read=0, local_write=0, **want):
        """want: how often each request comes, a range where others have a say in it.
        local_*: what passthrough saves."""
        if not self.passthrough:
            saved = {"read": local_read, "write": local_write}
            want.update({name: n for name, n in saved.items() if n})
        if self.last is None:       # closed before, and told of later
            proc.wait_until(self.all_closed, 30, f"what came before '{what}': closed")
        before = self.counts()
        assert self.last in (None, before), f"late, before '{what}'"
        yield
        # The last close is told of when it is over.
        closed = {name: before[name] + want.get(name, 0) for name in ("release", "releasedir")}
        ranges = {name: want.pop(name) for name in list(want) if isinstance(want[name], range)}
        proc.wait_until(lambda: all(self.counts()[name] >= n for name, n in closed.items()), 30,
                        f"{what}: closed")
        after = self.counts()
        found = {name: n - before[name] for name, n in after.items() if n != before[name]}
        assert all(found.pop(name, 0) in ranges[name] for name in ranges), (what, found)
        assert found == want, what
        self.last = after


def meter_of(mount, io_uring, **options):
    m = mount(options={**OPTIONS, "io_uring": io_uring, **options})
    if io_uring == "no":
        assert not m.status()["fuse"]["io_uring"]
    os.makedirs(m.full("cam/d"))
    return m, Meter(m), m.full("cam/d")


def create(path, size=SIZE):
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    os.write(fd, b"x" * size)
    os.close(fd)


def read(path):
    fd = os.open(path, os.O_RDONLY)
    size = 0
    while got := os.read(fd, 128 << 10):
        size += len(got)
    os.close(fd)
    return size


def missing(path):
    with pytest.raises(FileNotFoundError):
        os.stat(path)


over = pytest.mark.parametrize("io_uring", ["auto", "no"], ids=["rings", "dev-fuse"])


@over
def test_writing(mount, io_uring):
    _, meter, d = meter_of(mount, io_uring)
    create(f"{d}/first")
    # The kernel forgets all of a directory's attributes when a name is made in it.
    new = {"lookup": 1, "getattr": 1, "create": 1, "release": 1, "local_write": 1}
    for name in ("a", "b", "c"):
        with meter.costs("a new file", **new):
            create(f"{d}/{name}")
    with meter.costs("a new file, another way", **new), open(f"{d}/e", "wb") as file:
        file.write(b"x" * SIZE)
    with meter.costs("stat of what was written", getattr=2):    # and of its directory
        os.stat(f"{d}/a")
    for _ in range(3):
        with meter.costs("stat again"):
            os.stat(f"{d}/a")
    with meter.costs("appending", open=1, local_write=1, release=1):
        fd = os.open(f"{d}/a", os.O_WRONLY | os.O_APPEND)
        os.write(fd, b"y")
        os.close(fd)
    with meter.costs("chmod", setattr=1):
        os.chmod(f"{d}/a", 0o600)
    with meter.costs("utime", setattr=1):
        os.utime(f"{d}/a", (1, 1))
    with meter.costs("truncation", setattr=1):
        os.truncate(f"{d}/a", 10)


def descriptors(m, path):
    """Access modes of the daemon's own descriptors of a file of the cache."""
    found = []
    for fd in os.listdir(f"/proc/{m.pid}/fd"):
        with contextlib.suppress(FileNotFoundError):    # closed meanwhile
            if os.readlink(f"/proc/{m.pid}/fd/{fd}") == m.local(path):
                with open(f"/proc/{m.pid}/fdinfo/{fd}", encoding="ascii") as info:
                    flags = next(line for line in info if line.startswith("flags:"))
                found.append(int(flags.split()[1], 8) & os.O_ACCMODE)
    return found


@over
def test_descriptors_of_a_new_file(mount, io_uring):
    """One while it is written, which is no writer's: a lease must be possible once it is closed."""
    m, meter, d = meter_of(mount, io_uring)
    fd = os.open(f"{d}/a", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o400)
    assert descriptors(m, "cam/d/a") == [os.O_RDONLY if meter.passthrough else os.O_RDWR]
    os.write(fd, b"written")
    os.close(fd)
    assert m.read("cam/d/a") == b"written"
    fd = os.open(f"{d}/suid", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o4755)   # never passed through
    assert descriptors(m, "cam/d/suid") == [os.O_RDWR]
    os.write(fd, b"written")
    os.close(fd)
    assert m.read("cam/d/suid") == b"written"


@over
def test_reading_local(mount, io_uring):
    _, meter, d = meter_of(mount, io_uring)
    create(f"{d}/a")
    os.stat(f"{d}/a")
    for _ in range(2):
        with meter.costs("reading", open=1, local_read=1, release=1):
            assert read(f"{d}/a") == SIZE
    with meter.costs("stat of what was read", getattr=1):       # its atime
        os.stat(f"{d}/a")


@over
def test_names(mount, io_uring):
    _, meter, d = meter_of(mount, io_uring)
    for name in ("a", "b", "c"):
        create(f"{d}/{name}")
    for _ in range(2):
        os.stat(d)
        with meter.costs("a name that is not there", lookup=1):
            missing(f"{d}/none")
    with meter.costs("rename", lookup=1, rename=1):
        os.rename(f"{d}/a", f"{d}/a2")
    with meter.costs("stat of what was renamed", getattr=2):
        os.stat(f"{d}/a2")
    # The kernel asks for the target anew, whatever it knows of it.
    with meter.costs("rename over another", lookup=1, rename=1):
        os.rename(f"{d}/a2", f"{d}/b")
    with meter.costs("unlink", getattr=1, unlink=1):
        os.unlink(f"{d}/b")
    with meter.costs("unlink of the next", getattr=1, unlink=1):
        os.unlink(f"{d}/c")
    with meter.costs("mkdir", getattr=1, lookup=1, mkdir=1):
        os.mkdir(f"{d}/sub")
    with meter.costs("rmdir", getattr=1, rmdir=1):
        os.rmdir(f"{d}/sub")


@over
def test_upload(mount, io_uring):
    """As FTP servers do: under a temporary name, renamed when it is whole."""
    _, meter, d = meter_of(mount, io_uring)
    create(f"{d}/first")
    for i in range(3):
        with meter.costs("an upload", lookup=2, getattr=3, create=1, local_write=1, release=1, rename=1):
            fd = os.open(f"{d}/.in.{i}.", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            os.write(fd, b"x" * SIZE)
            os.fstat(fd)
            os.close(fd)
            os.rename(f"{d}/.in.{i}.", f"{d}/{i}.jpg")


def list_long(path):
    return proc.run("ls", "-l", path).stdout.count("\n") - 1


@over
def test_listing(mount, io_uring):
    m, meter, d = meter_of(mount, io_uring)
    for i in range(1000):
        create(f"{d}/f{i:04}", 10)
    os.stat(d)
    # 32 KiB each: libc's buffer.
    with meter.costs("ls -l", opendir=1, readdirplus=6, releasedir=1):
        assert list_long(d) == 1000
    # Its atime was moved by the listing.
    with meter.costs("ls -l again", opendir=1, releasedir=1, getattr=1):
        assert list_long(d) == 1000
    with meter.costs("and again", opendir=1, releasedir=1):
        assert list_long(d) == 1000
    m.archive()
    m.release()
    with meter.costs("of what was released since", opendir=1, releasedir=1):
        assert list_long(d) == 1000
    m.restart()
    os.stat(d)
    meter = Meter(m)
    with meter.costs("of what is released", opendir=1, readdirplus=6, releasedir=1):
        assert list_long(d) == 1000


@over
def test_released(mount, io_uring, tmpdir_below):
    m, meter, d = meter_of(mount, io_uring)
    for i in range(20):
        create(f"{d}/{i:02}")
    create(f"{d}/large", 300_000)
    m.archive()
    m.release()
    m.restart()
    meter = Meter(m)
    os.stat(d)
    with meter.costs("the first stat", lookup=1):
        os.stat(f"{d}/05")
    with meter.costs("stat again"):
        os.stat(f"{d}/05")
    with meter.costs("reading", open=1, read=1, release=1):
        assert read(f"{d}/05") == SIZE
    with meter.costs("reading again", open=1, release=1):
        assert read(f"{d}/05") == SIZE
    with meter.costs("cp", lookup=1, open=1, read=1, release=1):
        proc.run("cp", f"{d}/09", tmpdir_below)
    with meter.costs("stat of a larger one", lookup=1):
        os.stat(f"{d}/large")
    with meter.costs("reading a larger one", open=1, read=3, release=1):    # 128 KiB each
        assert read(f"{d}/large") == 300_000
    with meter.costs("reading it again", open=1, release=1):
        assert read(f"{d}/large") == 300_000
    with meter.costs("rename", lookup=2, rename=1):     # of both names
        os.rename(f"{d}/07", f"{d}/seven")
    with meter.costs("unlink", getattr=1, unlink=1):
        os.unlink(f"{d}/seven")


@over
def test_copy_of_a_directory(mount, io_uring, tmpdir_below):
    m, _, d = meter_of(mount, io_uring)
    for i in range(200):
        create(f"{d}/{i:03}")
    m.archive()
    m.release()

    def reads():
        m.restart()
        meter = Meter(m)
        os.stat(d)
        with meter.costs("cp -r", opendir=1, readdirplus=2, releasedir=1, open=200,
                         read=range(2, 201), release=200):
            proc.run("cp", "-r", d, tmpdir_below)
        return meter.last["read"]
    # Names and attributes come with the listing, and bytes before they are asked for, but for
    # the first ones: more of those where who loads has to wait for a processor.
    proc.wait_until(lambda: reads() < 100, 60, "few reads")


# --- statements of the catalogue ----------------------------------------------------

class Statements:
    """What the catalogue is asked and told.  The journal and the reaper have their own of it."""

    def __init__(self, m):
        self.m, self.rounds = m, 0

    def one_round(self, act, want):
        self.m.status()     # counts what is new in the directory, by asking the catalogue
        before = self.m.status()["catalogue"]
        act(self.rounds)
        self.rounds += 1
        after = self.m.status()["catalogue"]
        assert {key: after[key] - before[key] for key in after} == want
        return True

    def cost(self, what, act, selects=0, commits=0):
        """Exactly so many, once nothing else happens."""
        want = {"selects": selects, "commits": commits}
        proc.wait_until(lambda: self.one_round(act, want), 60, what, ignoring=AssertionError)


@over
def test_statements_for_new_files(mount, io_uring):
    m, _, d = meter_of(mount, io_uring)
    create(f"{d}/first")
    statements = Statements(m)

    def hundred(turn):
        for i in range(100):
            create(f"{d}/{turn}-{i}")
    # Where nothing was archived yet there is nothing to ask for.
    statements.cost("new files", hundred)
    m.archive()
    os.stat(d)
    # The look-up of each: is it a released file, or directory?
    statements.cost("new files in a directory that has rows", hundred, selects=100)


@over
def test_statements_of_a_listing(mount, io_uring):
    m, _, d = meter_of(mount, io_uring)
    for i in range(1000):
        create(f"{d}/f{i:04}", 10)
    m.archive()
    m.release()
    m.restart()
    os.stat(f"{d}/f0000")
    statements = Statements(m)

    def ls(turn):
        read(f"{d}/f0000")      # else the kernel would not ask again
        assert list_long(d) == 1000
    # Rows are read 128 at a time, files and directories; the rest is the file that is read.
    reading = 1
    statements.cost("ls -l of released files", ls, selects=1000 // 128 + 2 + reading)
