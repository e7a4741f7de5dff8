# SPDX-License-Identifier: MIT
"""Local files are as on the native file system.

Each scenario is a function of a directory; it is run in a plain directory and in the
mount, with passthrough and without, and must return (or raise) the same.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import shutil
import socket
import stat
import subprocess
import threading

import pytest

from pylib import ebb, linux, proc

libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture(scope="module", params=["auto", "no"])
def m(request):
    one = ebb.Mount(options={"passthrough": request.param, "archive_after": "1h"}, name="fslocal")
    one.start()
    yield one
    one.close()


@pytest.fixture
def native(tmpdir_below):
    return tmpdir_below


def put(path, data=b"", mode=0o644):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def get(path):
    with open(path, "rb") as file:
        return file.read()


def error(call, *args, **more):
    try:
        call(*args, **more)
    except OSError as err:
        return errno.errorcode[err.errno]
    return None


def shape(path):
    st = os.lstat(path)
    return oct(st.st_mode), st.st_nlink, st.st_uid, st.st_gid, \
        st.st_size if not stat.S_ISDIR(st.st_mode) else None


def fallocate(fd, mode, off, length):
    if libc.fallocate(fd, mode, ctypes.c_long(off), ctypes.c_long(length)) < 0:
        err = ctypes.get_errno()
        raise OSError(err, os.strerror(err))


# --- reading and writing ---------------------------------------------------------

def write_read(d):
    put(f"{d}/a", b"x" * 100_000)
    with open(f"{d}/a", "r+b") as f:
        f.seek(50_000)
        f.write(b"middle")
        f.seek(200_000)
        f.write(b"end")
    return get(f"{d}/a"), shape(f"{d}/a")


def empty_file(d):
    put(f"{d}/a")
    return get(f"{d}/a"), shape(f"{d}/a")


def reader_sees_writer(d):
    """A descriptor opened before reads what another writes later, and its size."""
    put(f"{d}/a", b"one")
    with open(f"{d}/a", "rb", buffering=0) as r, open(f"{d}/a", "r+b", buffering=0) as w:
        before = r.read()
        w.seek(0, os.SEEK_END)
        w.write(b"two")
        return before, r.read(), os.fstat(r.fileno()).st_size, os.stat(f"{d}/a").st_size


def writer_after_reader(d):
    """Opened for reading first, then for writing: both are one file."""
    put(f"{d}/a", b"0123456789")
    r = os.open(f"{d}/a", os.O_RDONLY)
    w = os.open(f"{d}/a", os.O_RDWR)
    os.pwrite(w, b"AB", 4)
    seen = os.pread(r, 100, 0), os.pread(w, 3, 3)
    os.close(w)
    last = os.pread(r, 100, 0)
    os.close(r)
    return seen, last


def append(d):
    fds = [os.open(f"{d}/a", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) for _ in range(2)]
    for i in range(20):
        os.write(fds[i % 2], b"%03d" % i)
    for fd in fds:
        os.close(fd)
    return get(f"{d}/a")


def append_mapped(d):
    """What is stored through a mapping is not appended."""
    put(f"{d}/a", b"." * 8192)
    fd = os.open(f"{d}/a", os.O_RDWR | os.O_APPEND)
    with mmap.mmap(fd, 8192) as mapping:
        mapping[100:103] = b"map"
        os.write(fd, b"tail")
        mapping.flush()
    os.close(fd)
    return get(f"{d}/a")


def mapped(d):
    put(f"{d}/a", bytes(range(256)) * 64)
    with open(f"{d}/a", "r+b") as f:
        with mmap.mmap(f.fileno(), 0) as shared, \
                mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as second:
            shared[5000:5004] = b"mmap"
            same = second[5000:5004]
            f.seek(5000)
            return same, f.read(4), get(f"{d}/a")[4998:5006]


def mapped_after_close(d):
    put(f"{d}/a", b"-" * 4096)
    fd = os.open(f"{d}/a", os.O_RDWR)
    mapping = mmap.mmap(fd, 4096)
    os.close(fd)
    mapping[0:4] = b"late"
    mapping.flush()
    seen = get(f"{d}/a")[:6]
    mapping.close()
    return seen, get(f"{d}/a")[:6]


def private_mapping(d):
    put(f"{d}/a", b"p" * 4096)
    with open(f"{d}/a", "rb") as f, mmap.mmap(f.fileno(), 0, flags=mmap.MAP_PRIVATE,
                                              prot=mmap.PROT_READ | mmap.PROT_WRITE) as mapping:
        mapping[0:1] = b"X"
        return mapping[:2], get(f"{d}/a")[:2]


def sendfile(d):
    put(f"{d}/a", os.urandom(1) * 300_000)
    left, right = socket.socketpair()
    got = []
    reader = threading.Thread(target=lambda: got.append(b"".join(iter(lambda: right.recv(65536),
                                                                     b""))))
    reader.start()
    with open(f"{d}/a", "rb") as f:
        sent = 0
        while sent < 300_000:
            sent += os.sendfile(left.fileno(), f.fileno(), sent, 300_000 - sent)
    left.close()
    reader.join()
    right.close()
    return sent, got[0] == get(f"{d}/a")


def direct_io(d):
    put(f"{d}/a", b"d" * 16384)
    page = mmap.mmap(-1, 8192)
    page[:] = b"D" * 8192
    fd = os.open(f"{d}/a", os.O_RDWR | os.O_DIRECT)
    os.pwritev(fd, [page], 4096)
    back = mmap.mmap(-1, 4096)
    n = os.preadv(fd, [back], 8192)
    os.close(fd)
    return n, back[:4], get(f"{d}/a")


def truncations(d):
    put(f"{d}/a", b"t" * 10_000)
    out = []
    for size in (5000, 20_000, 0, 4096, 4096):
        os.truncate(f"{d}/a", size)
        out.append((os.stat(f"{d}/a").st_size, get(f"{d}/a").strip(b"\0")[:3]))
    with open(f"{d}/a", "r+b") as f:
        f.truncate(7)
        out.append(os.fstat(f.fileno()).st_size)
    put(f"{d}/a", b"again")
    fd = os.open(f"{d}/a", os.O_RDONLY | os.O_TRUNC)
    os.close(fd)
    out.append(get(f"{d}/a"))
    out.append(error(os.truncate, f"{d}/a", -1))
    return out


def truncate_while_open(d):
    put(f"{d}/a", b"T" * 9000)
    with open(f"{d}/a", "rb", buffering=0) as r:
        first = r.read(4)
        os.truncate(f"{d}/a", 6)
        return first, r.read(100), os.fstat(r.fileno()).st_size


def holes(d):
    """Asked as blocks of 64 KiB, which any file system has."""
    fd = os.open(f"{d}/a", os.O_RDWR | os.O_CREAT, 0o600)
    os.pwrite(fd, b"x", 1 << 20)
    os.ftruncate(fd, 3 << 20)
    found = [os.lseek(fd, 0, os.SEEK_DATA) >> 16, os.lseek(fd, 0, os.SEEK_HOLE),
             os.lseek(fd, 1 << 20, os.SEEK_HOLE) >> 16]
    found.append(error(os.lseek, fd, 2 << 20, os.SEEK_DATA))
    found.append(error(os.lseek, fd, 5 << 20, os.SEEK_HOLE))
    os.close(fd)
    return found, os.stat(f"{d}/a").st_blocks * 512 < 1 << 20


def allocated(d):
    fd = os.open(f"{d}/a", os.O_RDWR | os.O_CREAT, 0o600)
    os.posix_fallocate(fd, 0, 1 << 20)
    sizes = [os.fstat(fd).st_size]
    fallocate(fd, 1, 1 << 20, 4096)     # KEEP_SIZE
    sizes.append(os.fstat(fd).st_size)
    os.pwrite(fd, b"z" * 65536, 0)
    fallocate(fd, 3, 4096, 8192)        # PUNCH_HOLE | KEEP_SIZE
    os.close(fd)
    readonly = os.open(f"{d}/a", os.O_RDONLY)
    refused = error(fallocate, readonly, 0, 0, 10)
    os.close(readonly)
    return sizes, get(f"{d}/a")[:16384], refused


def copy_range(d):
    put(f"{d}/a", bytes(range(256)) * 1024)
    with open(f"{d}/a", "rb") as src, open(f"{d}/b", "w+b") as dst:
        n = os.copy_file_range(src.fileno(), dst.fileno(), 100_000, 1000, 50)
        rest = os.copy_file_range(src.fileno(), dst.fileno(), 1 << 20, 200_000, 50 + n)
        end = os.copy_file_range(src.fileno(), dst.fileno(), 10, 1 << 20, 0)
    return n, rest, end, get(f"{d}/b"), shape(f"{d}/b")


def copied_tree(d):
    os.makedirs(f"{d}/t/u")
    put(f"{d}/t/u/f", b"f" * 5000, 0o640)
    os.symlink("u/f", f"{d}/t/l")
    os.utime(f"{d}/t/u/f", ns=(1, 1_500_000_000_123_456_789))
    subprocess.run(["cp", "-a", f"{d}/t", f"{d}/c"], check=True)
    return shape(f"{d}/c/u/f"), os.readlink(f"{d}/c/l"), os.stat(f"{d}/c/u/f").st_mtime_ns, \
        get(f"{d}/c/u/f")


def synced(d):
    with open(f"{d}/a", "wb", buffering=0) as f:
        f.write(b"s")
        os.fsync(f.fileno())
        os.fdatasync(f.fileno())
    fd = os.open(d, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)
    return get(f"{d}/a")


def executed(d):
    shutil.copy(shutil.which("true"), f"{d}/prog")
    os.chmod(f"{d}/prog", 0o755)
    code = subprocess.run([f"{d}/prog"], check=False).returncode
    shutil.copy(shutil.which("sleep"), f"{d}/prog2")
    os.chmod(f"{d}/prog2", 0o755)
    with subprocess.Popen([f"{d}/prog2", "60"]) as running:
        busy = error(os.open, f"{d}/prog2", os.O_WRONLY)
        running.kill()
    return code, busy


# --- without a name -----------------------------------------------------------------

def unlinked_while_open(d):
    put(f"{d}/a", b"still here")
    fd = os.open(f"{d}/a", os.O_RDWR)
    os.unlink(f"{d}/a")
    put(f"{d}/a", b"another")
    os.fchmod(fd, 0o604)
    os.fchown(fd, 123, 456)
    os.utime(fd, ns=(5, 1_000_000_007))
    os.ftruncate(fd, 12)
    os.pwrite(fd, b"!", 11)
    os.fsync(fd)
    st = os.fstat(fd)
    data = os.pread(fd, 100, 0)
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
    same = os.pread(again, 100, 0)
    os.close(again)
    os.close(fd)
    return data, same, oct(st.st_mode), st.st_nlink, st.st_uid, st.st_gid, st.st_size, \
        st.st_atime_ns, get(f"{d}/a")


def replaced_while_open(d):
    put(f"{d}/a", b"old")
    put(f"{d}/b", b"new")
    with open(f"{d}/a", "rb") as f:
        os.rename(f"{d}/b", f"{d}/a")
        return f.read(), os.fstat(f.fileno()).st_nlink, get(f"{d}/a"), os.listdir(d)


def renamed_while_open(d):
    os.mkdir(f"{d}/sub")
    fd = os.open(f"{d}/a", os.O_RDWR | os.O_CREAT, 0o644)
    os.write(fd, b"one")
    os.rename(f"{d}/a", f"{d}/sub/b")
    os.rename(f"{d}/sub", f"{d}/sub2")
    os.write(fd, b"two")
    os.fchmod(fd, 0o600)
    os.close(fd)
    return get(f"{d}/sub2/b"), shape(f"{d}/sub2/b")


def created_twice(d):
    fd = os.open(f"{d}/a", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.close(fd)
    return error(os.open, f"{d}/a", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), shape(f"{d}/a")


def created_readonly(d):
    fd = os.open(f"{d}/a", os.O_RDONLY | os.O_CREAT, 0o444)
    bad = error(os.write, fd, b"x")
    os.close(fd)
    return bad, shape(f"{d}/a")


def removed_directory(d):
    os.mkdir(f"{d}/x")
    fd = os.open(f"{d}/x", os.O_RDONLY | os.O_DIRECTORY)
    os.rmdir(f"{d}/x")
    made = error(os.open, "f", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=fd)
    names = os.listdir(fd)
    os.close(fd)
    return made, names


# --- names ------------------------------------------------------------------------

def renames(d):
    for name in "abcd":
        put(f"{d}/{name}", name.encode())
    os.mkdir(f"{d}/e")
    os.mkdir(f"{d}/full")
    put(f"{d}/full/x")
    out = [error(linux.renameat2, f"{d}/a", f"{d}/b", linux.RENAME_NOREPLACE)]
    out.append(error(linux.renameat2, f"{d}/a", f"{d}/new", linux.RENAME_NOREPLACE))
    out.append(error(linux.renameat2, f"{d}/b", f"{d}/c", linux.RENAME_EXCHANGE))
    out.append((get(f"{d}/b"), get(f"{d}/c")))
    out.append(error(linux.renameat2, f"{d}/b", f"{d}/e", linux.RENAME_EXCHANGE))
    out.append(sorted((n, stat.S_ISDIR(os.stat(f"{d}/{n}").st_mode)) for n in os.listdir(d)))
    out.append(error(linux.renameat2, f"{d}/b", f"{d}/absent", linux.RENAME_EXCHANGE))
    out.append(error(os.rename, f"{d}/d", f"{d}/full"))
    out.append(error(os.rename, f"{d}/b", f"{d}/full"))
    out.append(error(os.rename, f"{d}/full", f"{d}/full/x/y"))
    out.append(error(os.rename, f"{d}/full", f"{d}/full/inside"))
    out.append(error(os.rename, f"{d}/absent", f"{d}/z"))
    out.append(error(os.rename, f"{d}/d", f"{d}/d"))
    return out


def renamed_directory(d):
    os.makedirs(f"{d}/a/b/c")
    put(f"{d}/a/b/c/f", b"deep")
    fd = os.open(f"{d}/a/b", os.O_RDONLY | os.O_DIRECTORY)
    os.rename(f"{d}/a", f"{d}/z")
    inner = os.open("c/f", os.O_RDONLY, dir_fd=fd)
    data = os.read(inner, 10)
    os.close(inner)
    os.close(fd)
    os.mkdir(f"{d}/a")
    return data, get(f"{d}/z/b/c/f"), os.listdir(f"{d}/a"), error(os.stat, f"{d}/a/b")


def links(d):
    put(f"{d}/a", b"linked")
    os.mkdir(f"{d}/s")
    os.link(f"{d}/a", f"{d}/s/b")
    with open(f"{d}/s/b", "ab") as f:
        f.write(b"+")
    ino = os.stat(f"{d}/a").st_ino == os.stat(f"{d}/s/b").st_ino
    both = get(f"{d}/a"), shape(f"{d}/a")
    refused = error(os.link, f"{d}/s", f"{d}/t"), error(os.link, f"{d}/a", f"{d}/s/b")
    os.unlink(f"{d}/a")
    return ino, both, refused, get(f"{d}/s/b"), shape(f"{d}/s/b")


def symlinks(d):
    put(f"{d}/a", b"target")
    os.symlink("a", f"{d}/l")
    os.symlink("l2", f"{d}/l1")
    os.symlink("l1", f"{d}/l2")
    os.symlink("t" * 4095, f"{d}/long")
    out = [get(f"{d}/l"), os.readlink(f"{d}/l"), shape(f"{d}/l"), len(os.readlink(f"{d}/long"))]
    out.append(error(os.open, f"{d}/l1", os.O_RDONLY))
    out.append(error(os.open, f"{d}/l", os.O_RDONLY | os.O_NOFOLLOW))
    out.append(error(os.symlink, "t" * 4096, f"{d}/longer"))
    os.chown(f"{d}/l", 12, 34, follow_symlinks=False)
    out.append(shape(f"{d}/l"))
    os.unlink(f"{d}/l")
    return out, get(f"{d}/a")


def special_files(d):
    os.mkfifo(f"{d}/fifo", 0o640)
    os.mknod(f"{d}/null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(f"{d}/plain", 0o600 | stat.S_IFREG)
    sock = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(d)
    sock.bind("sock")
    os.chdir(here)
    sock.close()
    shapes = [shape(f"{d}/{n}") for n in ("fifo", "null", "plain", "sock")]
    return shapes, os.stat(f"{d}/null").st_rdev


def directories(d):
    os.mkdir(f"{d}/a", 0o750)
    os.mkdir(f"{d}/a/b")
    out = [shape(d)[1], shape(f"{d}/a"), error(os.rmdir, f"{d}/a"), error(os.mkdir, f"{d}/a")]
    out.append(error(os.unlink, f"{d}/a"))
    put(f"{d}/f")
    out += [error(os.rmdir, f"{d}/f"), error(os.mkdir, f"{d}/f/g"), error(os.open, f"{d}/f/g", 0)]
    out.append(error(os.open, f"{d}/a", os.O_WRONLY))
    os.rmdir(f"{d}/a/b")
    os.rmdir(f"{d}/a")
    return out, os.listdir(d)


def bad_names(d):
    long = "n" * 255
    put(f"{d}/{long}", b"ok")
    out = [error(os.stat, f"{d}/{long}n"), error(os.open, f"{d}/{long}n", os.O_CREAT | os.O_RDWR)]
    out += [error(os.mkdir, f"{d}/{long}n"), error(os.rename, f"{d}/{long}", f"{d}/{long}n")]
    out += [error(os.stat, d + "/x" * 3000), error(os.stat, f"{d}/{long}/x")]
    return out, get(f"{d}/{long}"), os.listdir(d) == [long]


def any_bytes(d):
    names = [bytes([b]) for b in range(1, 256) if b not in b"/."]
    names += [b"\xff\xfe\x80", "Kamera \u00e4\u00f6 \u6f22".encode(), b" lead", b"trail ", b"new\nline",
              b"-rf", b"*?[", b"a'b\"c", b"%41%", b".hidden", b"..." ]
    for name in names:
        put(os.path.join(os.fsencode(d), name), name)
    listed = sorted(os.listdir(os.fsencode(d)))
    same = all(get(os.path.join(os.fsencode(d), name)) == name for name in names)
    for name in names:
        os.unlink(os.path.join(os.fsencode(d), name))
    return listed == sorted(names), same, os.listdir(d)


# --- attributes ---------------------------------------------------------------------

def modes(d):
    put(f"{d}/a", b"m", 0o600)
    out = []
    for mode in (0o777, 0o4755, 0o2755, 0o1644, 0o000, 0o644):
        os.chmod(f"{d}/a", mode)
        out.append(shape(f"{d}/a"))
    os.chmod(f"{d}/a", 0o6755)
    os.chown(f"{d}/a", 1000, 1001)      # takes suid and sgid away
    out.append(shape(f"{d}/a"))
    os.chown(f"{d}/a", -1, 55)
    out.append(shape(f"{d}/a"))
    return out


def umasks(d):
    old = os.umask(0o027)
    try:
        put(f"{d}/f", mode=0o666)
        os.mkdir(f"{d}/d", 0o777)
        os.mkfifo(f"{d}/p", 0o666)
    finally:
        os.umask(old)
    return [shape(f"{d}/{n}") for n in "fdp"]


def times(d):
    put(f"{d}/a", b"t")
    os.utime(f"{d}/a", ns=(1_400_000_000_000_000_001, 1_500_000_000_987_654_321))
    st = os.stat(f"{d}/a")
    first = st.st_atime_ns, st.st_mtime_ns
    os.utime(f"{d}/a", ns=(-1_000_000_000, 0))
    st = os.stat(f"{d}/a")
    second = st.st_atime_ns, st.st_mtime_ns
    with open(f"{d}/a", "ab") as f:
        f.write(b"x")
    written = os.stat(f"{d}/a").st_mtime_ns > 1_000_000_000_000_000_000
    os.utime(f"{d}", ns=(1, 2))
    return first, second, written, os.stat(d).st_mtime_ns


def times_move(d):
    """ctime and mtime change when they must."""
    put(f"{d}/a", b"t")
    os.utime(d, ns=(0, 0))
    put(f"{d}/b")
    moved = [os.stat(d).st_mtime_ns > 0]
    os.utime(d, ns=(0, 0))
    os.unlink(f"{d}/b")
    moved.append(os.stat(d).st_mtime_ns > 0)
    os.utime(f"{d}/a", ns=(0, 0))
    before = os.stat(f"{d}/a").st_ctime_ns
    os.chmod(f"{d}/a", 0o600)
    after = os.stat(f"{d}/a")
    return moved, after.st_ctime_ns >= before, after.st_mtime_ns


# --- locks ---------------------------------------------------------------------------

def locks(d):
    put(f"{d}/a", b"l" * 100)
    with open(f"{d}/a", "r+b") as f:
        fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 0)
        pid = os.fork()
        if pid == 0:
            with open(f"{d}/a", "r+b") as g:
                taken = error(fcntl.lockf, g, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 5)
                free = error(fcntl.lockf, g, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 50)
            os._exit((taken == "EAGAIN") + 2 * (free is None))
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with open(f"{d}/a", "rb") as g:
            fcntl.flock(f, fcntl.LOCK_EX)
            second = error(fcntl.flock, g, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(f, fcntl.LOCK_UN)
    return status, second


SCENARIOS = [
    write_read, empty_file, reader_sees_writer, writer_after_reader, append, append_mapped, mapped,
    mapped_after_close, private_mapping, sendfile, direct_io, truncations, truncate_while_open,
    holes, allocated, copy_range, copied_tree, synced, executed, unlinked_while_open,
    replaced_while_open, renamed_while_open, created_twice, created_readonly, removed_directory,
    renames, renamed_directory, links, symlinks, special_files, directories, bad_names, any_bytes,
    modes, umasks, times, times_move, locks,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.__name__)
def test_as_native(m, native, scenario):
    here = m.full(scenario.__name__)
    os.mkdir(here)
    want = scenario(native)
    assert scenario(here) == want
    shutil.rmtree(here)
    assert not os.path.exists(here)


def test_other_file_systems(m, native):
    put(m.full("x"), b"x")
    assert error(os.rename, m.full("x"), f"{native}/x") == "EXDEV"
    assert error(os.link, m.full("x"), f"{native}/x") == "EXDEV"
    os.unlink(m.full("x"))


def test_cache_is_plain(m):
    """The cache holds the same tree, readable without ebbfs."""
    os.makedirs(m.full("cam/2017"))
    put(m.full("cam/2017/a.jpg"), b"bytes", 0o640)
    assert get(m.local("cam/2017/a.jpg")) == b"bytes"
    assert shape(m.local("cam/2017/a.jpg")) == shape(m.full("cam/2017/a.jpg"))
    shutil.rmtree(m.full("cam"))


def test_many_opens_of_one_file(m):
    """Readers and writers come and go at once: the kernel's rules of modes are never broken."""
    path = m.full("shared")
    put(path, b"s" * 4096)
    bad = []

    def work(seed):
        for i in range(150):
            flags = (os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND)[(i * 7 + seed) % 3]
            try:
                fd = os.open(path, flags)
                if flags == os.O_RDONLY:
                    os.pread(fd, 10, 0)
                else:
                    os.write(fd, b"s")
                os.close(fd)
            except OSError as err:
                bad.append(err)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not bad
    assert set(get(path)) == {ord("s")}
    os.unlink(path)


def test_many_files(m):
    """Parallel creation, listing and removal."""
    os.mkdir(m.full("many"))

    def work(n):
        for i in range(200):
            put(m.full(f"many/{n}-{i}"), b"%d" % i)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    names = os.listdir(m.full("many"))
    assert len(names) == len(set(names)) == 1200
    assert proc.run("sh", "-c", f"cat {m.full('many')}/3-* | wc -c").stdout.strip() == "490"
    proc.run("rm", "-r", m.full("many"))
