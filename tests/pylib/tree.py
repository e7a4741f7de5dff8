# SPDX-License-Identifier: MIT
"""Snapshots of directory trees, and how two of them differ.

    before = tree.snapshot(mount.path)
    ...
    assert tree.diff(before, tree.snapshot(mount.path)) == []

Paths are str relative to the root, with surrogateescape for what is not
UTF-8.  The root itself is "".
"""

import hashlib
import os
import stat
from typing import NamedTuple, Optional

TYPES = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link", stat.S_IFIFO: "fifo",
         stat.S_IFSOCK: "socket", stat.S_IFCHR: "char", stat.S_IFBLK: "block"}


class Entry(NamedTuple):
    type: str
    mode: int                   # permission bits
    uid: int
    gid: int
    size: Optional[int]         # None for directories
    mtime: Optional[int]        # ns; None for directories unless asked for
    content: Optional[str]      # SHA-256 of a file, target of a link


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def entry(path, content=True, dir_mtime=False):
    """The Entry of one path; links are not followed."""
    st = os.lstat(path)
    kind = TYPES[stat.S_IFMT(st.st_mode)]
    what = None
    if kind == "file" and content:
        what = sha256(path)
    elif kind == "link":
        what = os.readlink(path)
    return Entry(kind, stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid,
                 None if kind == "dir" else st.st_size,
                 None if kind == "dir" and not dir_mtime else st.st_mtime_ns, what)


def walk(root, subdir=""):
    """Relative paths below root, parents first; a name listed twice is an error."""
    names = os.listdir(os.path.join(root, subdir))
    if len(names) != len(set(names)):
        twice = sorted(n for n in set(names) if names.count(n) > 1)
        raise AssertionError(f"listed more than once in '{subdir}': {twice}")
    for name in sorted(names):
        path = os.path.join(subdir, name)
        yield path
        if stat.S_ISDIR(os.lstat(os.path.join(root, path)).st_mode):
            yield from walk(root, path)


def snapshot(root, content=True, dir_mtime=False, skip=()):
    """{relative path: Entry}; `skip` are relative paths left out with what is below."""
    found = {"": entry(root, content, dir_mtime)}
    for path in walk(root):
        if any(path == s or path.startswith(s + "/") for s in skip):
            continue
        found[path] = entry(os.path.join(root, path), content, dir_mtime)
    return found


def diff(before, after, ignore=()):
    """Lines that say what differs; `ignore` holds field names of Entry."""
    lines = []
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old is None or new is None:
            lines.append(f"{'new' if old is None else 'gone'}: {path!r} ({(old or new).type})")
            continue
        changed = [f"{name} {getattr(old, name)!r} -> {getattr(new, name)!r}"
                   for name in Entry._fields
                   if name not in ignore and getattr(old, name) != getattr(new, name)]
        if changed:
            lines.append(f"differs: {path!r}: {', '.join(changed)}")
    return lines
