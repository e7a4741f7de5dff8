# SPDX-License-Identifier: MIT
"""Who may do what, and to whom new files belong: as on the native file system.

Each scenario is run as root in a directory of its own and does parts of itself as other
users; in a plain directory and in the mount it must end alike.
"""

import errno
import os
import shutil
import stat

import pytest

from pylib import ebb

ALICE, BOB = (20001, 30001), (20002, 30002)     # uid, gid


@pytest.fixture(scope="module", params=["auto", "no"])
def m(request):
    one = ebb.Mount(options={"passthrough": request.param, "archive_after": "1h"}, name="fsusers")
    one.start()
    yield one
    one.close()


def as_user(who, call, groups=()):
    """call() in a child that is `who`; its result as text, or the errno's name."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(r)
            os.setgroups(groups)
            os.setresgid(who[1], who[1], who[1])
            os.setresuid(who[0], who[0], who[0])
            text = repr(call())
        except OSError as err:
            text = errno.errorcode[err.errno]
        except BaseException as err:    # pylint: disable=broad-except
            text = f"raised {err!r}"
        os.write(w, text.encode())
        os._exit(0)
    os.close(w)
    with open(r, "rb") as pipe:
        text = pipe.read().decode()
    os.waitpid(pid, 0)
    return text


def put(path, data=b"", mode=0o644):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    os.write(fd, data)
    os.close(fd)


def owner(path):
    st = os.lstat(path)
    return oct(st.st_mode), st.st_uid, st.st_gid


def opened(path, flags=os.O_RDONLY):
    return lambda: os.close(os.open(path, flags))


def new_files_are_the_callers(d):
    os.chmod(d, 0o777)
    as_user(ALICE, lambda: put(f"{d}/f"))
    as_user(ALICE, lambda: os.mkdir(f"{d}/d"))
    as_user(BOB, lambda: os.mkfifo(f"{d}/p"))
    as_user(BOB, lambda: os.symlink("x", f"{d}/l"))
    return [owner(f"{d}/{n}") for n in "fdpl"]


def access(d):
    os.chmod(d, 0o755)
    put(f"{d}/f", b"secret", 0o640)
    os.chown(f"{d}/f", *ALICE)
    os.mkdir(f"{d}/closed", 0o700)
    put(f"{d}/closed/f")
    out = []
    for who, groups in ((ALICE, ()), (BOB, ()), (BOB, (ALICE[1],))):
        for flags in (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY | os.O_TRUNC):
            out.append(as_user(who, opened(f"{d}/f", flags), groups))
        out.append(as_user(who, lambda: put(f"{d}/new"), groups))
        out.append(as_user(who, lambda: os.unlink(f"{d}/f"), groups))
        out.append(as_user(who, lambda: os.listdir(f"{d}/closed"), groups))
        out.append(as_user(who, lambda: os.stat(f"{d}/closed/f"), groups))
        out.append(as_user(who, lambda: os.chmod(f"{d}/f", 0o666), groups))
        out.append(as_user(who, lambda: os.chown(f"{d}/f", *BOB), groups))
        out.append(as_user(who, lambda: os.utime(f"{d}/f"), groups))
        os.chmod(f"{d}/f", 0o640)
    return out


def sticky(d):
    os.chmod(d, 0o1777)
    as_user(ALICE, lambda: put(f"{d}/hers"))
    as_user(BOB, lambda: put(f"{d}/his"))
    return [as_user(BOB, lambda: os.unlink(f"{d}/hers")),
            as_user(BOB, lambda: os.rename(f"{d}/hers", f"{d}/x")),
            as_user(BOB, lambda: os.rename(f"{d}/his", f"{d}/hers")),
            as_user(BOB, lambda: os.rename(f"{d}/his", f"{d}/own")), sorted(os.listdir(d))]


def setgid_directory(d):
    os.chown(d, ALICE[0], 555)
    os.chmod(d, 0o2777)
    as_user(ALICE, lambda: put(f"{d}/f"))
    as_user(ALICE, lambda: os.mkdir(f"{d}/d"))
    as_user(ALICE, lambda: put(f"{d}/d/g"))
    as_user(ALICE, lambda: os.symlink("x", f"{d}/l"))
    as_user(BOB, lambda: put(f"{d}/sgid", mode=0o2775))
    return [owner(f"{d}/{n}") for n in ("f", "d", "d/g", "l", "sgid")]


def setgid_chmod(d):
    """Somebody outside the group cannot give sgid."""
    os.chmod(d, 0o777)
    put(f"{d}/f")
    os.chown(f"{d}/f", ALICE[0], 555)
    out = [as_user(ALICE, lambda: os.chmod(f"{d}/f", 0o2755)), owner(f"{d}/f")]
    out += [as_user(ALICE, lambda: os.chmod(f"{d}/f", 0o2755), groups=(555,)), owner(f"{d}/f")]
    return out


def change(path, how):
    def write():
        fd = os.open(path, os.O_WRONLY)
        os.pwrite(fd, b"x", 0)
        os.close(fd)

    def append():
        fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.write(fd, b"x")
        os.close(fd)

    def open_only():
        os.close(os.open(path, os.O_RDWR))

    def ftruncate():
        fd = os.open(path, os.O_WRONLY)
        os.ftruncate(fd, 1)
        os.close(fd)

    return {"write": write, "append": append, "open": open_only, "ftruncate": ftruncate,
            "truncate": lambda: os.truncate(path, 2),
            "o_trunc": lambda: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))}[how]


def suid_goes(d):
    """sgid without group execution is left out: FUSE's protocol keeps it, unlike ext4."""
    out = []
    for how in ("write", "append", "open", "ftruncate", "truncate", "o_trunc"):
        for mode in (0o6777, 0o2777, 0o4766, 0o0777):
            for who in (ALICE, BOB, (0, 0)):
                path = f"{d}/{how}-{mode:o}-{who[0]}"
                put(path, b"suid")
                os.chown(path, *ALICE)
                os.chmod(path, mode)
                out.append((path.rpartition("/")[2], as_user(who, change(path, how)), owner(path)))
    return out


def suid_while_open(d):
    """A descriptor from before the bits were set takes them away as well."""
    path = f"{d}/f"
    put(path, b"x" * 10)
    os.chown(path, *ALICE)
    os.chmod(path, 0o4777)

    def late():
        fd = os.open(path, os.O_WRONLY)
        os.chmod(path, 0o4777) if os.getuid() == ALICE[0] else None
        os.write(fd, b"y")
        os.close(fd)
    return as_user(ALICE, late), owner(path)


def chown_by_owner(d):
    os.chmod(d, 0o777)
    as_user(ALICE, lambda: put(f"{d}/f"))
    return [as_user(ALICE, lambda: os.chown(f"{d}/f", -1, 777), groups=(777,)), owner(f"{d}/f"),
            as_user(ALICE, lambda: os.chown(f"{d}/f", BOB[0], -1)), owner(f"{d}/f"),
            as_user(ALICE, lambda: os.chown(f"{d}/f", -1, 778)), owner(f"{d}/f")]


def unlinked_and_unreadable(d):
    os.chmod(d, 0o777)

    def own():
        fd = os.open(f"{d}/f", os.O_RDWR | os.O_CREAT, 0o000)
        os.write(fd, b"mine")
        os.unlink(f"{d}/f")
        return os.pread(fd, 10, 0), oct(os.fstat(fd).st_mode)
    return as_user(ALICE, own)


SCENARIOS = [new_files_are_the_callers, access, sticky, setgid_directory, setgid_chmod, suid_goes,
             suid_while_open, chown_by_owner, unlinked_and_unreadable]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.__name__)
def test_as_native(m, tmpdir_below, scenario):
    here, native = m.full(scenario.__name__), f"{tmpdir_below}/d"
    os.chmod(m.path, 0o755)
    os.chmod(tmpdir_below, 0o755)
    os.mkdir(here)
    os.mkdir(native)
    want = scenario(native)
    have = scenario(here)
    assert have == want
    shutil.rmtree(here)


def test_device_files_do_nothing(m):
    """The mount is nodev and nosuid unless asked otherwise."""
    os.mknod(m.full("null"), 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    with pytest.raises(PermissionError):
        os.open(m.full("null"), os.O_RDONLY)
    os.unlink(m.full("null"))
