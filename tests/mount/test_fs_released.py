# SPDX-License-Identifier: MIT
"""Open files and the state of their bytes: opened while released, then written, truncated,
removed, restored; opened while local, then archived.

What is read is what was written last, whoever reads; the rules of passthrough are
never broken (a broken one is an EIO here).
"""

import errno
import mmap
import os
import socket
import subprocess
import threading

import pytest

from pylib import ebb, linux, proc

SIZES = {"small": 1500, "big": 6 << 20}       # one object fetched whole; read by range


@pytest.fixture(scope="module", params=["auto", "no"])
def m(request):
    one = ebb.Mount(options={"passthrough": request.param, "archive_after": "1h"}, name="fsrel")
    one.start()
    yield one
    one.close()


def release(m, *names):
    """The last close is asynchronous to close(2): the command is given until it succeeds."""
    paths = [m.full(name) for name in names]
    proc.wait_until(lambda: m.ctl("archive", *paths).returncode == 0, 60, "archived")
    m.release(*paths)


def content(size, seed=b"r"):
    return (seed * 31 + bytes(range(256)))[:size] if size < 256 else \
        b"".join(b"%s%015d" % (seed, i) for i in range(size // 16 + 1))[:size]


@pytest.fixture(params=SIZES)
def released(m, request):
    """(path, bytes) of a released file in a directory of its own."""
    name = f"{request.node.name.translate(str.maketrans('[]-', '___'))}/f"
    data = content(SIZES[request.param])
    m.write(name, data)
    release(m, name)
    assert m.state(name) == "released"
    yield m.full(name), data
    proc.run("rm", "-rf", os.path.dirname(m.full(name)))


def pread_all(fd, size=1 << 25):
    parts, off = [], 0
    while part := os.pread(fd, min(1 << 20, size), off):
        parts.append(part)
        off += len(part)
    return b"".join(parts)


def get(path):
    with open(path, "rb") as file:
        return file.read()


def error(call, *args):
    try:
        call(*args)
    except OSError as err:
        return errno.errorcode[err.errno]
    return None


def test_read(m, released):
    path, data = released
    fd = os.open(path, os.O_RDONLY)
    assert os.pread(fd, 10, 1000) == data[1000:1010]
    assert pread_all(fd) == data
    assert os.pread(fd, 10, len(data)) == b""
    assert os.fstat(fd).st_size == len(data)
    assert os.lseek(fd, 0, os.SEEK_HOLE) == len(data)
    assert os.lseek(fd, 7, os.SEEK_DATA) == 7
    assert error(os.lseek, fd, len(data), os.SEEK_DATA) == "ENXIO"
    os.fsync(fd)
    os.close(fd)
    assert m.state(path) == "released"


def test_mmap_and_sendfile(m, released):
    path, data = released
    with open(path, "rb") as f:
        with mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as mapping:
            assert mapping[:] == data
        left, right = socket.socketpair()
        got = []
        reader = threading.Thread(
            target=lambda: got.append(b"".join(iter(lambda: right.recv(1 << 16), b""))))
        reader.start()
        off = 0
        while off < len(data):
            off += os.sendfile(left.fileno(), f.fileno(), off, len(data) - off)
        left.close()
        reader.join()
        right.close()
        assert got[0] == data
    assert m.state(path) == "released"


def test_direct_read(m, released):
    path, data = released
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    page = mmap.mmap(-1, 4096)
    n = os.preadv(fd, [page], 0)
    os.close(fd)
    assert page[:n] == data[:4096]


def test_copy_out(m, released):
    path, data = released
    with open(path, "rb") as src, open(path + ".copy", "wb") as dst:
        off = 0
        while n := os.copy_file_range(src.fileno(), dst.fileno(), 1 << 20, off, off):
            off += n
    assert get(path + ".copy") == data
    assert m.state(path) == "released"


def test_writer_joins_readers(m, released):
    """Readers opened before the restore see what is written after it."""
    path, data = released
    readers = [os.open(path, os.O_RDONLY) for _ in range(3)]
    assert os.pread(readers[0], 100, 0) == data[:100]
    writer = os.open(path, os.O_RDWR)
    os.pwrite(writer, b"WRITTEN", 50)
    want = data[:50] + b"WRITTEN" + data[57:]
    for fd in readers:
        assert os.pread(fd, 20, 45) == want[45:65]
    late = os.open(path, os.O_RDONLY)
    assert pread_all(late) == want
    assert os.fstat(readers[1]).st_size == len(data)
    os.ftruncate(writer, 60)
    os.close(writer)
    assert [pread_all(fd) for fd in readers] == [want[:60]] * 3
    for fd in (*readers, late):
        os.close(fd)
    assert get(path) == want[:60]
    m.wait_state(path, "local")     # the last close is told of when it is over


def test_writer_first(m, released):
    path, data = released
    writer = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(writer, b"tail")
    reader = os.open(path, os.O_RDONLY)
    os.close(writer)
    assert pread_all(reader) == data + b"tail"
    os.close(reader)


def test_o_trunc(m, released):
    path, data = released
    reader = os.open(path, os.O_RDONLY)
    assert os.pread(reader, 5, 0) == data[:5]
    with open(path, "wb") as f:
        f.write(b"new")
        f.flush()
        assert pread_all(reader) == b"new"
    os.close(reader)
    assert get(path) == b"new"


@pytest.mark.parametrize("size", [0, 10, 7 << 20])
def test_truncate_by_path(m, released, size):
    path, data = released
    reader = os.open(path, os.O_RDONLY)
    assert os.pread(reader, 5, 0) == data[:5]
    os.truncate(path, size)
    want = data[:size] + bytes(max(0, size - len(data)))
    assert os.fstat(reader).st_size == size
    assert pread_all(reader) == want
    with open(path, "r+b") as f:
        f.write(b"xy")
    assert pread_all(reader) == (b"xy" + want[2:] if size else b"xy")
    os.close(reader)
    assert get(path) == (b"xy" + want[2:] if size else b"xy")


def test_unlinked_while_open(m, released):
    path, data = released
    fd = os.open(path, os.O_RDONLY)
    os.unlink(path)
    st = os.fstat(fd)
    assert (st.st_nlink, st.st_size) == (0, len(data))
    os.fchmod(fd, 0o604)
    os.fchown(fd, 77, 88)
    os.utime(fd, ns=(1, 2_000_000_003))
    st = os.fstat(fd)
    assert (st.st_mode & 0o7777, st.st_uid, st.st_gid, st.st_mtime_ns) == \
        (0o604, 77, 88, 2_000_000_003)
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
    os.close(fd)
    assert pread_all(again) == data
    assert os.fstat(again).st_nlink == 0
    os.close(again)
    assert not os.path.exists(path)


def test_replaced_while_open(m, released):
    path, data = released
    fd = os.open(path, os.O_RDONLY)
    with open(path + ".new", "wb") as f:
        f.write(b"replacement")
    os.rename(path + ".new", path)
    assert pread_all(fd) == data
    assert os.fstat(fd).st_nlink == 0
    assert get(path) == b"replacement"
    os.close(fd)


def test_renamed_while_open(m, released):
    path, data = released
    fd = os.open(path, os.O_RDONLY)
    os.rename(path, path + "2")
    assert pread_all(fd) == data
    writer = os.open(path + "2", os.O_WRONLY)
    os.pwrite(writer, b"!", 0)
    os.close(writer)
    assert pread_all(fd) == b"!" + data[1:]
    os.close(fd)


def test_restored_while_open(m, released):
    path, data = released
    fd = os.open(path, os.O_RDONLY)
    assert os.pread(fd, 5, 0) == data[:5]
    m.restore(path)
    assert m.state(path) == "archived"
    second = os.open(path, os.O_RDONLY)
    assert pread_all(second) == pread_all(fd) == data
    os.close(second)
    os.close(fd)
    assert get(path) == data


def test_archived_while_open_stays(m, released):
    """A file that is open is not released; one that is open for writing is not archived."""
    path, data = released
    m.restore(path)
    fd = os.open(path, os.O_RDONLY)
    assert m.ctl("release", path).returncode == 1
    assert pread_all(fd) == data
    os.close(fd)
    m.release(path)
    assert get(path) == data


def test_versions(m, released):
    """What the kernel has read of one is not shown of the next, though its attributes are the same."""
    path, data = released
    name = os.path.relpath(path, m.path)
    stamp = (1_500_000_000_000_000_000, 1_500_000_000_000_000_000)
    for i in range(2):
        os.utime(path, ns=stamp)
        assert get(path) == get(path) == data
        m.restore(path)
        data = content(len(data), b"%d" % i)
        with open(os.path.join(m.cache, name), "r+b") as file:      # unseen
            file.write(data)
        os.utime(os.path.join(m.cache, name), ns=stamp)
        release(m, name)
        assert get(path) == get(path) == data


def test_replaced_before_it_counts_as_open(mount):
    """Who opens a file after it was written and closed reads what was written."""
    m = mount(start=False, options={"archive_after": "1h", "io_uring": "no"})
    go = os.path.join(m.dir, "go")
    m.failpoints = f"read.row=wait:{go}"
    m.start()
    m.write("d/f", b"what it was before")
    release(m, "d/f")
    with subprocess.Popen(["cat", m.full("d/f")], stdout=subprocess.PIPE) as reader:
        assert m.wait_log("failpoint read.row: waiting")
        m.write("d/f", b"new")
        with open(go, "w", encoding="ascii"):
            pass
        assert reader.communicate(timeout=proc.scaled(60))[0] == b"new"
    assert get(m.full("d/f")) == b"new"


def test_pages_of_a_file_that_came_back(mount):
    """The kernel read other bytes ahead while the file was local; as it is archived it has those of
    before again, and is the same object as before."""
    m = mount(options={"archive_after": "1h"})
    path, old, new = m.full("d/f"), b"a" * 300_000, b"b" * 300_000
    m.write("d/f", old)
    release(m, "d/f")
    assert get(path) == old
    with open(path, "r+b", buffering=0) as file:
        file.write(new)
        st = os.fstat(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
        os.pwrite(file.fileno(), old, 0)
        os.utime(file.fileno(), ns=(st.st_atime_ns, st.st_mtime_ns))
    release(m, "d/f")
    assert get(path) == old


def test_readers_and_a_writer_at_once(m, released):
    path, data = released
    bad = []

    def read():
        for _ in range(10):
            try:
                seen = get(path)
                if seen[:5] not in (data[:5], b"W" + data[1:5]) or len(seen) != len(data):
                    bad.append(seen[:20])
            except OSError as err:
                bad.append(err)

    threads = [threading.Thread(target=read) for _ in range(6)]
    for t in threads:
        t.start()
    fd = os.open(path, os.O_RDWR)
    os.pwrite(fd, b"W", 0)
    os.close(fd)
    for t in threads:
        t.join()
    assert not bad
    assert get(path) == b"W" + data[1:]


def rules(m, text):
    with open(m.dir + "/rules.new", "w", encoding="ascii") as file:
        file.write(text)
    os.rename(m.dir + "/rules.new", m.dir + "/rules")


def faulty(mount, **options):
    m = mount(start=False, options={"archive_after": "1h", **options})
    m.store_url = f"fault:{m.dir}/rules:dir:{m.store}"
    rules(m, "")
    return m.start()


def test_store_down(mount):
    """EIO, soon, for what is only in the store; everything else goes on."""
    m = faulty(mount)
    m.write("d/f", b"x" * 100)
    release(m, "d/f")
    m.restart(store_timeout="2s")   # which release would have for the journal, too
    m.write("d/local", b"here")
    m.expect_log(r"d/f", r"fault:")
    rules(m, "* down")
    assert error(get, m.full("d/f")) == "EIO"
    assert error(os.open, m.full("d/f"), os.O_RDWR) == "EIO"
    assert os.stat(m.full("d/f")).st_size == 100
    assert m.read("d/local") == b"here"
    m.write("d/more", b"m")
    rules(m, "")
    proc.wait_until(lambda: m.read("d/f") == b"x" * 100, 60, "the store again", ignoring=(OSError,))


def cores():
    return os.sysconf("SC_NPROCESSORS_CONF")


@pytest.mark.parametrize("io_uring,least,most", [
    ("no", 256, 448),           # half of 512; 7/8 while the store answers
    ("auto", 4, cores() * 7)])  # of 8 a core, whoever asks on which
def test_too_many_wait_for_the_store(mount, io_uring, least, most):
    """Past half of what the kernel may have in flight a request fails at once; whoever
    waits gets the bytes in the end, and what is local, or in memory, goes on meanwhile."""
    m = faulty(mount, store_timeout="60s", io_uring=io_uring, queue_depth="8", read_cache="0")
    m.expect_log(r"refusing requests with EIO")
    if "io_uring: yes" not in m.log_text():
        least, most = 256, 448
    names = [f"d/f{i}" for i in range(most + 20)]
    for name in names:
        m.write(name, name.encode())
    release(m, "d")
    large = os.urandom(1 << 20)
    m.write("large", large)
    release(m, "large")
    begun = os.open(m.full("large"), os.O_RDONLY)
    os.posix_fadvise(begun, 0, 0, os.POSIX_FADV_RANDOM)
    assert os.pread(begun, 100, 0) == large[:100]
    fds = [os.open(m.full(name), os.O_RDONLY) for name in names]
    rules(m, "get hold")
    results = [None] * len(fds)

    def read(i):
        try:
            results[i] = os.pread(fds[i], 100, 0)
        except OSError as err:
            results[i] = err.errno

    threads = [threading.Thread(target=read, args=(i,)) for i in range(len(fds))]
    for t in threads:
        t.start()
    proc.wait_until(lambda: results.count(errno.EIO) >= len(fds) - most, 60, "reads refused")
    m.write("d/local", b"goes on")
    assert m.read("d/local") == b"goes on"
    assert len(os.listdir(m.full("d"))) == len(names) + 1
    assert os.pread(begun, 100, 500_000) == large[500_000:500_100]
    os.close(begun)
    rules(m, "")
    for t in threads:
        t.join()
    waited = sum(r == n.encode() for r, n in zip(results, names))
    assert least <= waited <= most and waited + results.count(errno.EIO) == len(names)
    for fd in fds:
        os.close(fd)
    assert all(m.read(name) == name.encode() for name in names)


LET_GO = ("EIO", "ENOTCONN", "ECONNABORTED")     # the kernel may ask once more, at the end


def waiting_reader(mount, **options):
    """(mount, thread, answer): a read that waits for a store that hangs."""
    m = faulty(mount, **options)
    m.write("d/f", b"x" * 10)
    release(m, "d/f")
    m.restart(store_timeout="6s")
    rules(m, "get hold")
    m.expect_log(r"cannot", r"d/f", r"no answer within")
    answer = []
    reader = threading.Thread(target=lambda: answer.append(error(get, m.full("d/f"))))
    reader.start()
    proc.wait_until(lambda: m.status()["fuse"]["parked"]["store"] > 0, 60, "the read waits")
    return m, reader, answer


@pytest.mark.parametrize("io_uring", ["auto", "no"])
def test_unmount_while_reads_wait(mount, io_uring):
    """SIGTERM does not lose the answer to who waits; the daemon ends."""
    m, reader, answer = waiting_reader(mount, io_uring=io_uring)
    m.terminate()
    reader.join()
    assert answer[0] in LET_GO


@pytest.mark.parametrize("io_uring", ["auto", "no"])
def test_aborted_while_reads_wait(mount, io_uring):
    """As `umount -f` does it: who waits is let go at once, and the daemon ends well."""
    m, reader, answer = waiting_reader(mount, io_uring=io_uring)
    linux.umount_force(m.path)
    reader.join()
    assert answer[0] in LET_GO
    m.wait_exit(want=0)
