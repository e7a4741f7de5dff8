# SPDX-License-Identifier: MIT
"""What must be true of a mount after anything that happened to it (DESIGN.md's table).

    expected = promises.Expected(m)     # what users have been told, kept beside the mount
    expected.write("cam/a.jpg", data)
    ...
    promises.check(m, expected.files)

`check` compares every name and byte with what is expected, drains, compares again,
lets the store prove its objects, and empties the trash: afterwards the store
holds exactly the objects that rows name.
"""

import os

from . import proc


def tree_of(m):
    """{path: bytes} of all files of a mount; a name listed twice is an error."""
    found = {}

    def fail(err):
        raise err

    for base, dirs, files in os.walk(m.path, onerror=fail):
        names = dirs + files
        assert len(names) == len(set(names)), f"listed twice in {base}: {sorted(names)}"
        for name in files:
            full = os.path.join(base, name)
            with open(full, "rb") as file:
                found[os.path.relpath(full, m.path)] = file.read()
    return found


def differences(want, have):
    """Sentences; empty when both are the same."""
    text = [f"lost: {p}" for p in sorted(want.keys() - have.keys())]
    text += [f"resurrected: {p}" for p in sorted(have.keys() - want.keys())]
    text += [f"other bytes: {p} ({len(want[p])} wanted, {len(have[p])} found)"
             for p in sorted(want.keys() & have.keys()) if want[p] != have[p]]
    return text


def same(m, want, when):
    wrong = differences(want, tree_of(m))
    assert not wrong, f"{when}: " + "; ".join(wrong)


def objects(m):
    """Keys of users' objects in a dir: store."""
    found = set()
    for base, _, files in os.walk(m.store):
        for name in files:
            key = os.path.relpath(os.path.join(base, name), m.store)
            if not key.startswith(".ebb/") or key.startswith((".ebb/o/", ".ebb/pack/")):
                found.add(key)
    return found


def named_objects(m, paths):
    """Keys that the states of these paths name."""
    found = set()
    for path in paths:
        info = m.info(path)
        if info["state"] in ("archived", "released"):
            found.add(info["object"])
    return found


def no_orphans(m, paths):
    """After the trash was emptied the store holds what rows name, nothing else."""
    def clean():
        m.ctl("trash", "empty", "--yes")
        return objects(m) == named_objects(m, paths)
    try:
        proc.wait_until(clean, 60, "a store without orphans", every=0.2)
    except proc.Late:
        have, want = objects(m), named_objects(m, paths)
        raise AssertionError(f"objects without a row: {sorted(have - want)}; rows without "
                             f"an object: {sorted(want - have)}") from None


def check(m, want, drain=True, orphans=True):
    """All of the above.  want: {path: bytes}."""
    same(m, want, "at once")
    if not drain:
        return
    m.drain()
    same(m, want, "after drain")
    m.ctl("verify", check=True)
    if orphans:
        no_orphans(m, want)
