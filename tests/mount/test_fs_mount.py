# SPDX-License-Identifier: MIT
"""ebbfs as a command: how it is started, what it says when it cannot, how it ends; and the
options of the mount."""

import errno
import os
import re
import signal
import stat
import subprocess
import sys

import pytest

from pylib import posix, proc


def run(m, *args, **more):
    return proc.run(m.program("ebbfs"), *args, check=False, **more)


def options(m, **more):
    pairs = {"cache": m.cache, "meta": m.meta, "store": m.store_url, **more}
    return ",".join(f"{k}={v}" for k, v in pairs.items())


def mount_line(m):
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        lines = [line for line in file if line.split()[4] == m.path]
    assert len(lines) == 1, lines
    return lines[0]


def error(call, *args, **more):
    try:
        call(*args, **more)
    except OSError as err:
        return errno.errorcode[err.errno]
    return None


# --- the command line ---------------------------------------------------------------

def test_help_and_version(mount):
    m = mount(start=False)
    done = run(m, "--help")
    assert done.returncode == 0 and "usage: ebbfs MOUNTPOINT" in done.stdout
    assert "attr_timeout" in done.stdout
    done = run(m, "--version")
    assert done.returncode == 0 and re.fullmatch(r"ebbfs \d+\.\d+\.\d+\n", done.stdout)
    done = run(m, "--print-options-mdoc")
    assert done.returncode == 0 and ".It" in done.stdout


@pytest.mark.parametrize("args, says", [
    ([], "no mount point"),
    (["/mnt"], "no cache"),
    (["/mnt", "-o", "cache=/x"], "no catalogue"),
    (["/mnt", "-o", "nonsense=1"], "nonsense"),
    (["/mnt", "-o", "cache=/x,meta=/y/z,store=dir:/w,high=200"], "high"),
    (["/mnt", "-o", "cache=/x,meta=/y/z,store=dir:/w,passthrough=maybe"], "auto, yes, no"),
    (["/mnt", "-o", "cache=/x,meta=/y/z,store=dir:/w,durability=full"], "none, close"),
    (["--what"], "--what"),
    (["a", "b", "c"], "too many"),
    (["--config", "/nonexistent/ebbfs.conf"], "/nonexistent/ebbfs.conf"),
], ids=lambda a: "-".join(a)[-30:] if isinstance(a, list) else "")
def test_usage(mount, args, says):
    """What was typed wrong: exit status 2, one sentence, then how it is used."""
    done = run(mount(start=False), *args)
    assert done.returncode == 2
    assert says in done.stderr.splitlines()[0]
    assert "usage:" in done.stderr


def test_cannot(mount, tmpdir_below):
    """What is wrong on the machine: exit status 1, one sentence that says what to do."""
    m = mount(start=False)
    t = tmpdir_below
    for name in ("mnt", "cache/sub", "store/sub", "m"):
        os.makedirs(f"{t}/{name}")
    with open(f"{t}/file", "w", encoding="ascii"):
        pass

    def says(text, mnt=f"{t}/mnt", **pairs):
        pairs = {"cache": f"{t}/cache", "meta": f"{t}/m/c.db", "store": f"dir:{t}/store", **pairs}
        for more in ([], ["-f"]):
            done = run(m, mnt, "-o", ",".join(f"{k}={v}" for k, v in pairs.items()), *more)
            assert done.returncode == 1, done
            assert text in done.stderr, done.stderr
            assert len(done.stderr.splitlines()) == 1, done.stderr
        assert not proc.mounts_below(t)

    says("make the directory", mnt=f"{t}/absent")
    says("no directory", mnt=f"{t}/file")
    says("make the directory", cache=f"{t}/absent")
    says("no directory", cache=f"{t}/file")
    says("inside the cache", mnt=f"{t}/cache/sub")
    says("below the mount point", mnt=f"{t}", meta=f"{m.meta}", store=f"dir:{m.store}")
    says("hold one another", store=f"dir:{t}/cache/sub")
    says("hold one another", cache=f"{t}/store/sub")
    says("catalogue", meta=f"{t}/mnt/c.db")
    says("catalogue", meta=f"{t}/store/c.db")
    says("catalogue", meta=f"{t}/absent/c.db")
    os.symlink(f"{t}/cache/sub", f"{t}/link")
    says("hold one another", store=f"dir:{t}/link")
    says("absolute path", store="dir:store")


def test_mounted_twice(mount):
    m = mount()
    done = run(m, m.path, "-o", options(m))
    assert done.returncode == 1 and "already" in done.stderr
    other = mount(start=False)
    done = run(m, other.path, "-o", options(m))
    assert done.returncode == 1, "a second daemon on one cache"
    assert m.mounted() and not other.mounted()


def test_dead_mount_is_named(mount):
    m = mount()
    m.kill(umount=False)
    done = run(m, m.path, "-o", options(m))
    assert done.returncode == 1 and "umount -l" in done.stderr
    m.unmount_lazily()
    m.start()


def test_background(mount):
    """The command returns when the mount is there; the daemon has left the terminal."""
    m = mount(start=False)
    m.start_background()
    m.write("a", b"1")
    assert m.read("a") == b"1"
    assert os.getsid(m.pid) == m.pid
    assert os.readlink(f"/proc/{m.pid}/cwd") == "/"
    assert {os.readlink(f"/proc/{m.pid}/fd/{n}") for n in (0, 1, 2)} == {"/dev/null"}
    m.terminate()
    assert not m.processes()


@pytest.mark.parametrize("option", ["es_password_file", "es_api_key_file", "es_ca"])
def test_relative_paths(mount, option):
    """They mean where ebbfs was started, also when they are read again later."""
    user = {"es_user": "u"} if option == "es_password_file" else {}
    m = mount(start=False, es=f"http://127.0.0.1:{proc.free_port()}/caps",
              options={**user, option: "secrets/file"})
    m.cwd = m.dir
    assert "cannot read 'secrets/file'" in m.start_fails()
    os.mkdir(f"{m.dir}/secrets")
    assert f"cannot read '{m.dir}/secrets/file'" in m.start_fails()
    with open(f"{m.dir}/secrets/file", "w", encoding="ascii") as file:
        file.write("c2VjcmV0\n")
    m.cache, m.meta = os.path.relpath(m.cache, m.dir), os.path.relpath(m.meta, m.dir)
    m.start()
    assert os.readlink(f"/proc/{m.pid}/cwd") == "/"
    done = m.ctl("lost")
    assert done.returncode == 1 and "cannot reach" in done.stderr, done.stderr


def test_configuration_file(mount):
    m = mount(start=False)
    config = f"{m.dir}/ebb.conf"
    with open(config, "w", encoding="utf-8") as file:
        file.write(f"# a comment\nmountpoint = {m.path}\ncache = {m.cache}\nmeta = {m.meta}\n"
                   f"store = {m.store_url}\nattr_timeout = 5s\n")
    m.argv = lambda *more: [m.program("ebbfs"), "--config", config, *more]
    m.start()
    m.write("a", b"1")
    m.stop()


@pytest.mark.parametrize("pattern, name", [(r"a\ b*", "a b1"), (r"a\ b\,*", "a b,1")])
def test_backslashes_of_a_pattern(mount, pattern, name):
    """-o leaves them to the pattern, but before a comma or another backslash."""
    m = mount(options={"rule": f"{pattern} never-archive"})
    m.write(name, b"1")
    m.write("another", b"2")
    m.archive()
    assert m.states(name, "another") == {name: "local", "another": "archived"}


@pytest.mark.parametrize("source", ["ebbfs", "config"])
def test_as_mount_runs_it(mount, source):
    """SOURCE MOUNTPOINT -o OPTIONS, with words that are mount(8)'s, fstab's and systemd's."""
    m = mount(start=False)
    config = f"{m.dir}/ebb.conf"
    with open(config, "w", encoding="utf-8") as file:
        file.write(f"cache = {m.cache}\nmeta = {m.meta}\nstore = {m.store_url}\n")
    words = "rw,noatime,_netdev,noauto,nofail,user,x-systemd.automount,nodev,suid,relatime," \
            "default_permissions,allow_other,comment=hello,defaults"
    if source == "ebbfs":
        words += "," + options(m)
    m.argv = lambda *more: [m.program("ebbfs"), config if source == "config" else source, m.path,
                            "-o", words, *more]
    m.start()
    flags = mount_line(m).split()[5].split(",")
    assert "nodev" in flags and "noatime" in flags and "nosuid" not in flags
    m.stop()


def test_read_only(mount):
    m = mount()
    m.write("a", b"1")
    m.stop()
    m.argv = lambda *more: [m.program("ebbfs"), m.path, "-o", "ro," + options(m), *more]
    m.start()
    assert m.read("a") == b"1"
    assert error(m.write, "b", b"2") == "EROFS"
    assert error(os.unlink, m.full("a")) == "EROFS"
    m.stop()


# --- the mount -----------------------------------------------------------------------

def test_type_and_options(mount):
    m = mount()
    fields = mount_line(m).partition(" - ")[2].split()
    assert fields[:2] == ["fuse.ebbfs", "ebbfs"]
    assert {"default_permissions", "allow_other"} <= set(fields[2].split(","))
    assert stat.S_ISDIR(os.stat(m.path).st_mode)
    assert os.stat(m.path).st_ino == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_end_it(mount, number):
    m = mount()
    m.write("a", b"1")
    os.kill(m.pid, number)
    m.wait_exit(want=0)
    assert not m.mounted()
    m.start()
    assert m.read("a") == b"1"


def test_signals_that_do_not(mount):
    m = mount()
    for number in (signal.SIGIO, signal.SIGPIPE):
        os.kill(m.pid, number)
    m.write("a", b"1")
    assert m.running() and m.read("a") == b"1"


def test_busy_at_the_end(mount):
    """SIGTERM with open files: the mount goes away, the files give errors, nothing hangs."""
    m = mount()
    m.write("a", b"1")
    held = open(m.full("a"), "r+b", buffering=0)
    m.terminate()
    assert error(os.stat, m.full("a")) == "ENOENT"
    held.close()
    m.start()
    assert m.read("a") == b"1"


def test_passthrough_is_logged_and_used(mount):
    m = mount(options={"passthrough": "auto"})
    if "passthrough: yes" not in m.log_text():
        pytest.skip("this kernel does not offer passthrough")
    m.write("a", b"x" * 10)
    with open(m.full("a"), "r+b", buffering=0) as file:
        os.kill(m.pid, signal.SIGSTOP)      # nobody answers; data goes on
        try:
            assert file.read(4) == b"xxxx"
            os.pwrite(file.fileno(), b"yy", 0)
        finally:
            os.kill(m.pid, signal.SIGCONT)
    assert m.read("a") == b"yy" + b"x" * 8
    m.restart(passthrough="no")
    assert "passthrough: no, as configured" in m.log_text()
    assert m.read("a") == b"yy" + b"x" * 8


def test_descriptors_are_not_kept(mount):
    """No descriptor per file or inode; none is left when all is closed.

    Threads that begin late have some of their own (/dev/fuse, the catalogue).
    """
    m = mount()

    def count():
        return len(os.listdir(f"/proc/{m.pid}/fd"))
    m.write("d/0", b"0")
    before = count()
    for i in range(1000):
        m.write(f"d/{i}", b"%d" % i)
    assert sum(len(m.read(f"d/{i}")) for i in range(1000)) == 2890
    proc.wait_until(lambda: count() <= before + 20, 60, "descriptors given back")
    files = [open(m.full(f"d/{i}"), "r+b") for i in range(300)]
    assert count() <= before + 320
    for file in files:
        file.close()
    proc.wait_until(lambda: count() <= before + 20, 60, "descriptors given back")


def test_inode_cap(mount):
    """Above max_inodes the kernel is asked to forget; what is used stays."""
    m = mount(options={"max_inodes": "1000", "log_level": "debug"})
    for i in range(3000):
        m.write(f"d/{i}", b"%d" % i)
    with open(m.full("d/7"), "rb") as held:
        m.wait_log("asking the kernel to forget some")
        m.wait_log("inodes in memory, max_inodes=1000: enough forgotten")
        assert held.read() == b"7"
    assert sorted(os.listdir(m.full("d")), key=int) == [str(i) for i in range(3000)]
    assert all(m.read(f"d/{i}") == b"%d" % i for i in range(0, 3000, 7))


def test_statfs(mount):
    """Free space is that of the cache or of the store, whichever has more; inodes the cache's."""
    m = mount(cache_fs="tmpfs", disk_mib=64)
    st, store = os.statvfs(m.path), os.statvfs(m.store)
    cache = os.statvfs(m.cache)
    assert st.f_namemax == 255
    assert abs(st.f_bavail * st.f_frsize - store.f_bavail * store.f_frsize) < 2 << 30
    assert st.f_blocks >= st.f_bfree >= st.f_bavail > cache.f_blocks
    assert st.f_files == cache.f_files
    m.write("fill", b"x" * (40 << 20))
    assert os.statvfs(m.path).f_bavail * st.f_frsize > 1 << 30
    assert proc.run("df", m.path).stdout.count("%") == 2


def test_durable_close(mount):
    """With durability=close a FLUSH syncs file and directory; an error of it is close()'s."""
    m = mount(options={"durability": "close"})
    trace = f"{m.dir}/trace"
    with subprocess.Popen(["strace", "-f", "-y", "-qq", "-o", trace, "-e", "trace=fsync,fdatasync",
                           "-p", str(m.pid)], stderr=subprocess.DEVNULL) as tracer:
        proc.wait_traced(m.pid)
        m.write("d/a", b"1")
        with open(m.full("d/a"), "rb") as file:
            assert file.read() == b"1"
        tracer.terminate()
    with open(trace, encoding="utf-8") as file:
        calls = re.findall(rf"(fsync|fdatasync)\(\d+<{re.escape(m.cache)}/(\S+)>", file.read())
    assert calls == [("fdatasync", "d/a"), ("fsync", "d")]


def test_changes_under_the_cover(mount):
    """A process inside before the mount: it is named, and nothing is kept for long."""
    m = mount(start=False, in_place=True)
    with open(f"{m.path}/old", "w", encoding="ascii") as file:
        file.write("adopted")
    inside = subprocess.Popen([sys.executable, "-c", "import sys\n"
                               "for line in sys.stdin: open('late', 'w').write(line.strip())"],
                              cwd=m.path, stdin=subprocess.PIPE, text=True)
    try:
        m.start()
        m.wait_log(rf"process {inside.pid} \(.*\) is still inside the covered directory")
        m.expect_log("still inside")
        assert m.read("old") == b"adopted"
        assert not os.path.exists(m.full("late"))
        inside.stdin.write("unseen\n")
        inside.stdin.flush()
        proc.wait_until(lambda: os.path.exists(m.full("late")) and m.read("late") == b"unseen", 60,
                        "what was written under the cover")
    finally:
        inside.stdin.close()
        inside.wait()
    m.wait_log("no process is inside the covered directory any more", 40)
    m.write("new", b"n")
    m.stop()
    assert sorted(os.listdir(m.path)) == ["late", "new", "old"]


# --- extended attributes --------------------------------------------------------------

def test_no_xattrs(mount):
    m = mount()
    m.write("a", b"1")
    assert error(os.getxattr, m.full("a"), "user.x") == "ENOTSUP"
    assert error(os.setxattr, m.full("a"), "user.x", b"1") == "ENOTSUP"
    assert error(os.listxattr, m.full("a")) in (None, "ENOTSUP")


def test_xattrs(mount):
    m = mount(options={"xattr": True, "archive_after": "1h"})
    m.write("d/a", b"bytes")
    a, d = m.full("d/a"), m.full("d")
    for path in (a, d):
        os.setxattr(path, "user.one", b"1")
        os.setxattr(path, "user.two", b"2" * 1000)
        assert sorted(os.listxattr(path)) == ["user.one", "user.two"]
        assert os.getxattr(path, "user.two") == b"2" * 1000
        assert error(os.setxattr, path, "user.one", b"3", os.XATTR_CREATE) == "EEXIST"
        assert error(os.setxattr, path, "user.three", b"3", os.XATTR_REPLACE) == "ENODATA"
        os.removexattr(path, "user.one")
        os.removexattr(path, "user.two")
        assert error(os.getxattr, path, "user.two") == "ENODATA"
        assert error(os.removexattr, path, "user.two") == "ENODATA"
        assert not os.listxattr(path)
    os.symlink("a", m.full("d/l"))
    assert error(os.setxattr, m.full("d/l"), "user.x", b"1", follow_symlinks=False) == "EPERM"
    assert error(os.setxattr, a, "trusted.x", b"1") == "ENOTSUP"
    assert error(os.getxattr, a, "security.capability") == "ENODATA"


def test_made_up_xattrs(mount):
    m = mount(options={"xattr": True, "archive_after": "1h"})
    m.write("d/a", b"bytes")
    a = m.full("d/a")

    def ebb_attr(name):
        return os.getxattr(a, f"user.ebb.{name}").decode()
    with open(a, "r+b"):
        assert ebb_attr("state") == "writing"
    proc.wait_until(lambda: ebb_attr("state") == "local", 60, "local")
    assert error(ebb_attr, "object") == error(ebb_attr, "crc32c") == "ENODATA"
    assert ebb_attr("url") == f"file://{m.path}/d/a"
    proc.wait_until(lambda: m.ctl("archive", a).returncode == 0, 60, "archived")
    for state in ("archived", "released"):
        if state == "released":
            m.release("d/a")
        info = m.info("d/a")
        assert ebb_attr("state") == state
        assert ebb_attr("object") == "d/a"
        assert ebb_attr("crc32c") == f"{crc32c(b'bytes'):08x}"
        assert ebb_attr("url") == info["url"]
    assert not os.listxattr(a)
    assert error(os.setxattr, a, "user.ebb.state", b"local") == "EPERM"
    assert error(os.removexattr, a, "user.ebb.state") == "EPERM"
    assert error(os.getxattr, a, "user.ebb.nonsense") == "ENODATA"
    assert error(os.getxattr, a, "user.x") == "ENODATA"
    os.setxattr(a, "user.x", b"kept")       # restores it
    assert os.getxattr(a, "user.x") == b"kept"
    assert m.read("d/a") == b"bytes"


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


# --- test suites of others --------------------------------------------------------------

@pytest.mark.parametrize("passthrough", ["auto", "no"])
def test_pjdfstest(mount, passthrough, tmpdir_below):
    m = mount(options={"passthrough": passthrough, "archive_after": "1h"})
    os.mkdir(m.full("t"))
    os.chmod(m.dir, 0o755)
    for name in ("native", "w1", "w2"):
        os.mkdir(f"{tmpdir_below}/{name}")
    os.chmod(tmpdir_below, 0o755)
    native = posix.pjdfstest(f"{tmpdir_below}/native", f"{tmpdir_below}/w1")
    have = posix.pjdfstest(m.full("t"), f"{tmpdir_below}/w2")
    odd = {"link::link_count_max"}      # LINK_MAX of a FUSE mount is not known
    assert {k: v for k, v in have.items() if native[k] == "ok" != v and k not in odd} == {}
    assert list(have.values()).count("ok") >= 380


@pytest.mark.parametrize("passthrough", ["auto", "no"])
def test_fsx(mount, passthrough):
    m = mount(options={"passthrough": passthrough, "archive_after": "1h"})
    for seed in (1, 2, 3):
        posix.fsx(m.full(f"fsx{seed}"), seed, operations=3000, work=m.dir)
