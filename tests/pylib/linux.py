# SPDX-License-Identifier: MIT
"""System calls that Python's standard library does not have; the machine's caches."""

import contextlib
import ctypes
import fcntl
import os

from . import proc

_libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2


def renameat2(old, new, flags):
    """renameat2(2) of two paths; OSError as the other calls of os."""
    if _libc.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags) < 0:
        err = ctypes.get_errno()
        raise OSError(err, os.strerror(err), old, None, new)


def umount_force(path):
    """`umount -f`: what waits for the daemon gets an error; it is not asked."""
    MNT_FORCE, MNT_DETACH = 1, 2
    for flags in (MNT_FORCE, MNT_DETACH):       # the first says EBUSY when it has let all go
        _libc.umount2(os.fsencode(path), flags)


# --- the kernel's caches, which all tests of the machine share ------------------------

def _caches_lock(how):
    file = open(os.path.join(proc.REPO, "build", "caches.lock"), "a", encoding="ascii")
    fcntl.flock(file, how)
    return file


@contextlib.contextmanager
def caches_kept():
    """Meanwhile no other test drops them: who counts what they spare."""
    with _caches_lock(fcntl.LOCK_SH):
        yield


def drop_caches(what="1"):
    """Pages ("1"), names and attributes ("2"), or both ("3")."""
    with _caches_lock(fcntl.LOCK_EX), open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
        f.write(what)
