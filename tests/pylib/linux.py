# SPDX-License-Identifier: MIT
"""System calls that Python's standard library does not have."""

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2


def renameat2(old, new, flags):
    """renameat2(2) of two paths; OSError as the other calls of os."""
    if _libc.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags) < 0:
        err = ctypes.get_errno()
        raise OSError(err, os.strerror(err), old, None, new)
