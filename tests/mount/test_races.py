# SPDX-License-Identifier: MIT
"""What meets what: changes of names that wait for one another, changes the kernel has
cached another truth of, and a power cut after fsync.
"""

import collections
import errno
import os
import random
import shutil
import subprocess
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
        errors = []

        def run(act, *args, errors=errors):
            try:
                act(*args)
            except OSError as err:
                errors.append(err)
        threads = [threading.Thread(target=run, args=(exchange if i % 2 else write_below, top,
                                                      rng[i], 60), daemon=True)
                   for i in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(proc.scaled(150))
            assert not thread.is_alive(), "stuck:\n" + m.stacks()
        assert not errors
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


@pytest.mark.parametrize("how", ["fdatasync", "close"])
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_power_cut_after_overwriting(mount, kind, how):
    """Bytes of an archived file that were replaced by as many others, and are durable, are not
    taken for those in the store, whatever became of the file's times."""
    m = mount(start=False, cache_fs=kind, options={
        "archive_after": "1h", **({"durability": "close"} if how == "close" else {})})
    m.meta = os.path.join(m.disk.path, "catalogue.db")
    m.start()
    m.write("d/a", b"a" * 9000)
    m.archive("d/a")
    os.sync()
    with open(m.full("d/a"), "r+b", buffering=0) as file:
        file.write(b"b" * 9000)
        if how == "fdatasync":
            os.fdatasync(file.fileno())
    power_cut(m)
    assert m.state("d/a") == "local"
    m.archive("d/a")
    m.release("d/a")
    assert m.read("d/a") == b"b" * 9000


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


def test_power_cut_after_an_upload_replaced(on_disk):
    """The only row of a released file leaves for bytes that are on the disk."""
    m = on_disk
    m.write("d/f", b"old" * 1000)
    m.archive("d/f")
    m.release("d/f")
    os.sync()
    m.write("d/.in.f.", b"new" * 2000)
    os.rename(m.full("d/.in.f."), m.full("d/f"))
    fsync(m.local("d"))
    power_cut(m)
    assert m.read("d/f") == b"new" * 2000


@pytest.mark.parametrize("what", ["file", "directory"])
def test_power_cut_after_a_rotation(on_disk, what):
    """What was released is where it was moved to when another has its name."""
    m = on_disk
    name = "log" if what == "file" else "log/part"
    m.write(f"d/{name}", b"old")
    m.archive(f"d/{name}")
    m.release(f"d/{name}")
    os.sync()
    os.rename(m.full("d/log"), m.full("d/old"))
    m.write(f"d/{name}", b"new")
    fsync(m.local(f"d/{name}"))
    fsync(m.local("d"))
    power_cut(m)
    assert m.read(f"d/{name}") == b"new"
    assert m.read(f"d/{name.replace('log', 'old')}") == b"old"


@pytest.mark.parametrize("released", ["a", "b"])
def test_power_cut_after_an_exchange(on_disk, released):
    m = on_disk
    for name in "ab":
        m.write(f"d/{name}", name.encode())
    m.archive("d/a", "d/b")
    m.release(f"d/{released}")
    os.sync()
    linux.renameat2(m.full("d/a"), m.full("d/b"), linux.RENAME_EXCHANGE)
    fsync(m.local("d"))
    power_cut(m)
    assert sorted(m.read(f"d/{name}") for name in "ab") == [b"a", b"b"]


def test_power_cut_after_a_removal_and_a_move(on_disk):
    """What was removed does not hide what has its name now."""
    m = on_disk
    m.write("d/a", b"a")
    m.archive("d/a")
    m.release("d/a")
    m.write("d/b", b"b")
    os.sync()
    os.unlink(m.full("d/b"))
    os.rename(m.full("d/a"), m.full("d/b"))
    power_cut(m)
    assert m.read("d/b") == b"a" or (m.read("d/a"), m.read("d/b")) == (b"a", b"b")



# --- what the kernel keeps --------------------------------------------------------

@pytest.fixture(name="quiet")
def fixture_quiet(mount):
    return mount(options={"archive_after": "1d", "release_after": "30d", "trash_grace": "1d"})


@pytest.mark.parametrize("reason", ["removed", "replaced"])
def test_brought_back_shows_at_once(quiet, reason):
    """From the trash, by its row or as a copy: neither a kept listing nor a kept absence, of a
    path or of an open directory, hides it."""
    m = quiet
    for name in "abc":
        m.write(f"d/{name}", name.encode())
    m.archive()
    m.release()
    if reason == "removed":
        os.unlink(m.full("d/a"))
    else:
        m.write("d/a", b"new")
        os.unlink(m.full("d/a"))
    fd = os.open(m.full("d"), os.O_RDONLY | os.O_DIRECTORY)
    try:
        for _ in range(2):
            assert sorted(os.listdir(m.full("d"))) == sorted(os.listdir(fd)) == ["b", "c"]
            assert not os.path.exists(m.full("d/a"))
        before = os.stat(m.full("d"))
        m.ctl("trash", "restore", m.full("d/a"), check=True)
        assert sorted(os.listdir(fd)) == ["a", "b", "c"]
        assert sorted(os.listdir(m.full("d"))) == ["a", "b", "c"]
        assert os.stat("a", dir_fd=fd).st_size == 1
        assert os.stat(m.full("d")).st_mtime_ns > before.st_mtime_ns
        assert m.read("d/a") == b"a"
    finally:
        os.close(fd)


def shown(path):
    """All that stat(2) says but the access time, which reading may move."""
    st = os.stat(path)
    return {name: getattr(st, name) for name in dir(st)
            if name.startswith("st_") and "atime" not in name}


def test_moving_bytes_shows_nothing(mount):
    """What ebbctl moves changes no attribute of the file or of its directory, so that nothing
    the kernel keeps of them is wrong."""
    m = mount(options={"archive_after": "1d", "release_after": "30d", "attr_timeout": "0s"})
    m.write("d/f", bytes(range(256)) * 33)
    os.utime(m.full("d/f"), ns=(10**18, 10**18))
    m.archive()     # from now on it has its number
    seen = [(shown(m.full("d/f")), shown(m.full("d")))]
    for command in ("release", "restore", "release"):
        m.ctl(command, m.full("d/f"), check=True)
        seen.append((shown(m.full("d/f")), shown(m.full("d"))))
    assert all(one == seen[0] for one in seen), seen


def create(directory, name):
    with open(f"{directory}/{name}", "xb"):
        pass


@pytest.mark.parametrize("act", ["nothing", "create", "utimens", "chmod"])
@pytest.mark.parametrize("point, busy", [("release.unlink", "d/e"), ("release.dir", "d"),
                                         ("mkdir.cache", "d"), ("restore.link", "d/e")])
def test_times_while_bytes_move(mount, point, busy, act):
    """Not even in between do they move: tar would say of a directory that it changed while it
    was read.  What a user changes there meanwhile does move them."""
    m = mount(options={"archive_after": "1d", "release_after": "0s", "attr_timeout": "0s"},
              start=False)
    go = os.path.join(m.dir, "go")
    m.failpoints = f"{point}=wait:{go}"
    m.start()

    def times(path):
        st = os.stat(m.full(path))
        return st.st_mtime_ns, st.st_ctime_ns
    m.write("d/e/f", b"x" * 3000)
    m.write("d/stays", b"x")
    os.utime(m.full("d"), ns=(10**18, 10**18))
    before = {path: times(path) for path in ("d", "d/e")}
    m.archive("d/e")    # and is released at once
    argv, restoring = ["true"], point in ("mkdir.cache", "restore.link")
    if restoring:
        proc.wait_until(lambda: not os.path.exists(m.local("d/e")), 60, "directory released")
        argv = [m.program("ebbctl"), "-m", m.path, "restore", m.full("d/e/f")]
    with subprocess.Popen(argv):
        assert m.wait_log(f"failpoint {point}: waiting")
        assert {path: times(path) for path in before} == before
        wanted = before.pop(busy)
        if act == "create":
            create(m.full(busy), "new")
        elif act == "utimens":
            os.utime(m.full(busy), ns=(10**18, 2 * 10**18))
        elif act == "chmod":
            os.chmod(m.full(busy), 0o751)
        create(m.dir, "go")
    proc.wait_until(lambda: os.path.exists(m.local("d/e/f")) == restoring, 60, "bytes moved")
    assert {path: times(path) for path in before} == before
    mtime, ctime = times(busy)
    if act == "create":
        assert mtime > wanted[0] and ctime > wanted[1]
    else:
        assert mtime == (2 * 10**18 if act == "utimens" else wanted[0])
        assert (ctime > wanted[1]) == (act != "nothing")


@pytest.mark.parametrize("kept", [True, False])
def test_times_of_a_directory(quiet, kept):
    """A released name that goes moves its directory's times as any other does, whether the
    cache still has the directory or not."""
    m = quiet
    for name in "abc":
        m.write(f"d/{name}", b"x")
    m.write("e/f", b"x")
    m.archive()
    m.release()
    proc.wait_until(lambda: not os.path.exists(m.local("d")), 60, "directory released")
    if kept:
        m.write("d/local", b"x")
        m.write("e/local", b"x")

    for act, dirs in ((lambda: os.unlink(m.full("d/a")), "d"),
                      (lambda: os.rename(m.full("d/b"), m.full("d/bb")), "d"),
                      (lambda: os.rename(m.full("d/bb"), m.full("e/b")), "de"),
                      (lambda: os.rename(m.full("e/b"), m.full("e/f")), "e")):
        before = [os.stat(m.full(one)) for one in dirs]
        act()
        after = [os.stat(m.full(one)) for one in dirs]
        for one, was in zip(after, before):
            assert one.st_mtime_ns > was.st_mtime_ns and one.st_ctime_ns > was.st_ctime_ns


# --- extended attributes ------------------------------------------------------------

ACL = bytes.fromhex("02000000" "01000600ffffffff" "02000400fdff0000" "04000400ffffffff"
                    "10000600ffffffff" "20000400ffffffff")      # one user more may read


def reach(m, path, state):
    for command in {"local": (), "archived": ("archive",), "released": ("archive", "release"),
                    "restored": ("archive", "release", "restore")}[state]:
        m.ctl(command, m.full(path), check=True)


@pytest.mark.parametrize("state", ["local", "archived", "released", "restored"])
@pytest.mark.parametrize("what", ["user", "acl"])
def test_xattr_keeps_it_local(mount, state, what):
    """An attribute that only the cache can hold, set in any state, is never released with its
    file; without it the file is what it was."""
    m = mount(options={"xattr": True, "archive_after": "1d", "release_after": "30d"})
    data = bytes(range(256)) * 9
    m.write("d/f", data)
    reach(m, "d/f", state)
    if what == "user":
        os.setxattr(m.full("d/f"), "user.note", b"mine")
    else:
        with pytest.raises(OSError, match="not supported"):
            os.setxattr(m.full("d/f"), "system.posix_acl_access", ACL)
        if state == "released":
            return      # nothing is there that could get one
        os.setxattr(m.local("d/f"), "system.posix_acl_access", ACL)
    for command in ("archive", "release"):
        m.ctl(command, m.full("d/f"))
        m.ctl(command, "--all")
    assert m.state("d/f") == "local" and os.path.exists(m.local("d/f"))
    assert m.read("d/f") == data
    status = m.status()
    assert status["other"]["files"] == 1 and status["archived"]["files"] == 0
    assert status["local"]["files"] == 0 and status["released"]["files"] == 0
    if what == "user":
        assert os.getxattr(m.full("d/f"), "user.note") == b"mine"
        m.restart(kill=True)
        assert os.getxattr(m.full("d/f"), "user.note") == b"mine" and m.read("d/f") == data
        os.removexattr(m.full("d/f"), "user.note")
    else:
        os.removexattr(m.local("d/f"), "system.posix_acl_access")
    m.archive("d/f")
    m.release("d/f")
    assert m.state("d/f") == "released" and m.read("d/f") == data
    assert m.status()["released"]["files"] == 1


def test_xattr_of_a_directory(mount):
    """It keeps the directory in the cache, released files or not."""
    m = mount(options={"xattr": True, "archive_after": "1d", "release_after": "30d"})
    for name in ("with", "without"):
        m.write(f"{name}/f", b"x")
    os.setxattr(m.full("with"), "user.note", b"mine")
    m.archive()
    m.release()
    proc.wait_until(lambda: not os.path.exists(m.local("without")), 60, "directory released")
    os.setxattr(m.full("without"), "user.note", b"late")       # makes it again
    m.ctl("release", "--all")
    assert os.getxattr(m.full("with"), "user.note") == b"mine"
    assert os.getxattr(m.full("without"), "user.note") == b"late"


def test_xattr_removed_is_seen(mount):
    """The reaper looks again when an attribute goes."""
    m = mount(options={"xattr": True, "archive_after": "1s", "release_after": "1s"})
    m.write("d/f", b"x")
    os.setxattr(m.full("d/f"), "user.note", b"mine")
    proc.wait_until(lambda: m.status()["other"]["files"] == 1, 30, "counted")
    os.removexattr(m.full("d/f"), "user.note")
    m.wait_state("d/f", "released", 60)
    os.setxattr(m.full("d/f"), "user.note", b"again")
    proc.wait_until(lambda: m.status()["other"]["files"] == 1, 30, "counted")
    assert m.state("d/f") == "local" and os.getxattr(m.full("d/f"), "user.note") == b"again"


# --- programs -----------------------------------------------------------------------

@pytest.mark.parametrize("passthrough", ["auto", "no"])
def test_a_running_program_is_left_alone(mount, passthrough):
    """No open that truncates or writes gets at it; when it has ended they do."""
    m = mount(options={"passthrough": passthrough, "archive_after": "1h"})
    path = m.full("program")
    shutil.copy(shutil.which("sleep"), path)
    size = os.stat(path).st_size
    for state in ("local", "archived", "released"):
        if state != "local":
            proc.wait_until(lambda: m.ctl("archive", path).returncode == 0, 60, "archived")
        if state == "released":
            proc.wait_until(lambda: m.ctl("release", path).returncode == 0, 60, "released")
        running = subprocess.Popen([path, "600"])
        try:
            for flags in (os.O_RDONLY | os.O_TRUNC, os.O_WRONLY, os.O_WRONLY | os.O_TRUNC):
                with pytest.raises(OSError, match="Text file busy"):
                    os.close(os.open(path, flags))
            assert os.stat(path).st_size == size and running.poll() is None
        finally:
            running.kill()
            running.wait()

    def truncated():
        os.close(os.open(path, os.O_RDONLY | os.O_TRUNC))
        return os.stat(path).st_size == 0
    proc.wait_until(truncated, 60, "truncated", ignoring=OSError)


# --- names that are never away --------------------------------------------------------

REPLACED = 6


def replace(m, rng, ended):
    while not ended.wait(0.005):
        path = m.full(f"d/{rng.randrange(REPLACED)}")
        with open(path + ".new", "wb") as file:
            file.write(rng.randbytes(3000))
        os.rename(path + ".new", path)


def read_all(path):
    with open(path, "rb") as file:
        assert len(file.read()) == 3000


LOOKS = {"read": read_all, "stat": os.stat, "chmod": lambda path: os.chmod(path, 0o644),
         "utime": os.utime, "listxattr": os.listxattr,
         "truncate": lambda path: os.truncate(path, 3000)}


@pytest.mark.parametrize("moves", [False, True], ids=["local", "archived"])
@pytest.mark.parametrize("attr_timeout", ["0s", "1s"])
def test_replaced_name_is_always_there(mount, moves, attr_timeout):
    """rename(2) over a name: who uses the name finds the old file or the new one.

    The kernel looks the name up again when it is told that a file is no longer there, once:
    if that was replaced meanwhile, too, ESTALE gets through."""
    m = mount(options={"archive_after": "1d", "release_after": "30d", "xattr": True,
                       "attr_timeout": attr_timeout})
    rng, ended, failed, looks = random.Random(3), threading.Event(), [], collections.Counter()
    for i in range(REPLACED):
        m.write(f"d/{i}", b"x" * 3000)

    def look(what):
        while not ended.is_set():
            for i in range(REPLACED):
                looks[what] += 1
                try:
                    LOOKS[what](m.full(f"d/{i}"))
                except OSError as err:
                    failed.append((what, errno.errorcode[err.errno]))

    def move():
        while not ended.wait(0.05):
            m.ctl("archive", "--all", check=True)
            m.ctl("release", "--all")       # those that were replaced since are not

    threads = [threading.Thread(target=replace, args=(m, rng, ended))]
    threads += [threading.Thread(target=look, args=(what,)) for what in LOOKS]
    threads += [threading.Thread(target=move)] if moves else []
    for thread in threads:
        thread.start()
    ended.wait(4)
    ended.set()
    for thread in threads:
        thread.join(60)
    assert all(code == "ESTALE" for _, code in failed), collections.Counter(failed)
    assert all(n > 100 for n in looks.values()), looks
    assert len(failed) <= sum(looks.values()) / 500, collections.Counter(failed)
