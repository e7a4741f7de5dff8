# SPDX-License-Identifier: MIT
"""Long random histories against a plain model in memory.

Clients' operations, commands, the reaper with ages of a second, and kill -9, in an
order made from a seed.  After each kill and at the end the mount must show exactly the
model's files.  What a kill interrupts may have happened or not; here operations run
one after another, so only one at a time can be in doubt.

    EBB_SEED=N EBB_STEPS=N make check-pytest ARGS="-k model"    repeats or prolongs one
"""

import errno
import os
import random

import pytest

from pylib import linux, promises

SEEDS = [int(os.environ["EBB_SEED"])] if "EBB_SEED" in os.environ else [1, 2, 3]
STEPS = int(os.environ.get("EBB_STEPS", "250"))
OPTIONS = {"archive_after": "1s", "release_after": "1s", "trash_grace": "0s",
           "trash_grace_unseen": "0s", "archive_batch": "4"}
MOVED = ["a/x", "b/y"]
POINTS = ["archive.put", "archive.verify", "archive.claim", "archive.commit", "commit.before",
          "commit.after", "journal.put", "journal.ack", "release.check", "release.unlink",
          "restore.get", "restore.link", "rewrite.commit", "unlink.commit", "unlink.cache",
          "rename.commit", "rename.cache", "setattr.commit", "release.dir", "mkdir.cache"]
DIRS = ["a", "b", "a/x", "b/y"]


class History:
    """The mount, the model beside it, and the random choices."""

    def __init__(self, m, seed):
        self.m, self.rng = m, random.Random(seed)
        self.files = {}         # path -> bytes
        self.doubt = None       # path -> bytes after the operation that a kill interrupted
        self.dirs = {}          # where each of DIRS is now: renamed directories move
        self.log = []
        for d in DIRS:
            os.makedirs(m.full(d), exist_ok=True)

    # --- choices

    def path(self):
        return f"{self.rng.choice(DIRS)}/f{self.rng.randrange(8)}"

    def existing(self):
        return self.rng.choice(sorted(self.files)) if self.files else None

    def data(self):
        return self.rng.randbytes(self.rng.choice([0, 1, 100, 5000, 70000]))

    # --- operations: each returns what the model is afterwards

    def write(self):
        path, data = self.path(), self.data()

        def act():
            with open(self.m.full(path), "wb") as file:
                file.write(data)
        return f"write {path} {len(data)}", act, {**self.files, path: data}

    def upload(self):
        """As ProFTPD with HiddenStores: a temporary name, then a rename over the final one."""
        path, data = self.path(), self.data()
        d, name = os.path.split(path)
        temporary = f"{d}/.in.{name}."

        def act():
            with open(self.m.full(temporary), "wb") as file:
                file.write(data)
            os.rename(self.m.full(temporary), self.m.full(path))
        self.temporary = (temporary, data)
        return f"upload {path} {len(data)}", act, {**self.files, path: data}

    def append(self):
        path, data = self.existing(), self.data()

        def act():
            with open(self.m.full(path), "ab") as file:
                file.write(data)
        return f"append {path} {len(data)}", act, {**self.files, path: self.files[path] + data}

    def truncate(self):
        path = self.existing()
        size = self.rng.choice([0, 10, 200_000])
        data = (self.files[path] + bytes(size))[:size]
        return (f"truncate {path} {size}", lambda: os.truncate(self.m.full(path), size),
                {**self.files, path: data})

    def unlink(self):
        path = self.existing()
        return (f"unlink {path}", lambda: os.unlink(self.m.full(path)),
                {p: d for p, d in self.files.items() if p != path})

    def rename(self):
        old, new = self.existing(), self.path()
        after = dict(self.files)
        after[new] = after.pop(old)
        return (f"rename {old} {new}",
                lambda: os.rename(self.m.full(old), self.m.full(new)), after)

    def exchange(self):
        a, b = self.existing(), self.existing()
        after = dict(self.files)
        after[a], after[b] = after[b], after[a]
        return (f"exchange {a} {b}",
                lambda: linux.renameat2(self.m.full(a), self.m.full(b), 2), after)

    def move_directory(self):
        d = self.rng.choice(MOVED)

        def act():
            os.rename(self.m.full(d), self.m.full(d + ".moved"))
            os.rename(self.m.full(d + ".moved"), self.m.full(d))
        return f"move {d} there and back", act, dict(self.files)

    def chmod(self):
        path = self.existing()
        return (f"chmod {path}", lambda: os.chmod(self.m.full(path), self.rng.choice([0o600, 0o644])),
                dict(self.files))

    def read(self):
        path = self.existing()

        def act():
            assert self.m.read(path) == self.files[path], f"read {path}: other bytes"
        return f"read {path}", act, dict(self.files)

    def command(self):
        what = self.rng.choice(["archive", "release", "restore", "drain"])
        target = [] if what == "drain" else [self.m.full(self.existing())]
        return (f"ebbctl {what} {target}", lambda: self.m.ctl(what, *target), dict(self.files))

    def empty_trash(self):
        return "trash empty", lambda: self.m.ctl("trash", "empty", "--yes"), dict(self.files)

    STEPS = [write] * 6 + [upload] * 4 + [append] * 2 + [truncate] * 2 + [unlink] * 2 + \
        [rename] * 3 + [exchange] + [move_directory] + [chmod] * 2 + [read] * 5 + \
        [command] * 6 + [empty_trash]
    NEED_FILE = {append, truncate, unlink, rename, exchange, chmod, read, command}

    # --- running

    def step(self):
        make = self.rng.choice(self.STEPS)
        if make in self.NEED_FILE and not self.files:
            make = History.write
        self.temporary = None
        text, act, after = make(self)
        self.log.append(text)
        try:
            act()
            self.files = after
        except (OSError, AssertionError) as err:
            if not self.died(err):
                raise
            self.killed(after)

    def died(self, err):
        """Is this error the daemon's death?  The connection breaks a moment before it is gone."""
        broken = (errno.ECONNABORTED, errno.ENOTCONN, errno.ECANCELED)  # the last: of a ring
        return getattr(err, "errno", None) in broken or not self.m.running()

    def killed(self, after):
        """The daemon died in the middle: before and after are both right, nothing else is."""
        self.m.wait_exit(30)
        self.m.failpoints = None
        self.m.start()
        self.log.append("(killed there)")
        for d in MOVED:     # maybe between both of its renamings
            here, moved = self.m.full(d), self.m.full(d + ".moved")
            if os.path.lexists(moved):
                assert not os.path.lexists(here), f"{d}: it is there twice"
                os.rename(moved, here)
        found = promises.tree_of(self.m)
        if self.temporary and self.temporary[0] in found:
            name, data = self.temporary
            part = found.pop(name)
            assert data.startswith(part), f"{name}: bytes that nobody wrote"
            os.unlink(self.m.full(name))
        unwritten = {p for p in after if p not in self.files or after[p] != self.files[p]}
        for path in unwritten & found.keys():   # a write in flight may be there in part
            whole = after[path]
            assert whole.startswith(found[path]) or found[path] == self.files.get(path), \
                f"{path}: bytes that nobody wrote"
        rest = {p: d for p, d in found.items() if p not in unwritten}
        before = {p: d for p, d in self.files.items() if p not in unwritten}
        later = {p: d for p, d in after.items() if p not in unwritten}
        assert rest in (before, later), (promises.differences(before, rest),
                                         promises.differences(later, rest))
        self.files = found

    def kill(self):
        self.log.append("kill -9")
        self.m.kill()
        if self.rng.random() < 0.7:
            self.m.failpoints = f"{self.rng.choice(POINTS)}=kill@{self.rng.randrange(1, 4)}"
            self.log.append(f"failpoint {self.m.failpoints}")
        else:
            self.m.failpoints = None
        self.start()
        self.compare()

    def start(self):
        from pylib.ebb import StartError
        try:
            self.m.start()
        except StartError as err:
            if err.returncode != -9:
                raise
            self.m.failpoints = None
            self.m.start()

    def compare(self):
        """The mount is looked at as a whole; a failpoint may fire meanwhile."""
        try:
            found = promises.tree_of(self.m)
        except OSError as err:
            if not self.died(err):
                raise
            self.killed(dict(self.files))
            return
        wrong = promises.differences(self.files, found)
        assert not wrong, "; ".join(wrong)


@pytest.mark.deadline(600)
@pytest.mark.parametrize("seed", SEEDS)
def test_random_history(mount, seed):
    m = mount(options=OPTIONS)
    h = History(m, seed)
    try:
        for step in range(STEPS):
            if not m.running():     # a failpoint fired in the reaper
                h.killed(dict(h.files))
            h.step()
            if h.rng.random() < 0.04:
                h.kill()
        if not m.running():
            h.killed(dict(h.files))
        m.failpoints = None
        m.restart(kill=True)
        promises.check(m, h.files)
    except BaseException as err:
        raise AssertionError(
            f"{err}\nto repeat: EBB_SEED={seed} EBB_STEPS={STEPS} "
            f"make check-pytest ARGS='-k test_random_history'\nlast steps:\n  " +
            "\n  ".join(h.log[-25:])) from err
