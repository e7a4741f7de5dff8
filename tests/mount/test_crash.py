# SPDX-License-Identifier: MIT
"""Every line of the order is a place to die: the daemon is killed there, started
again, and every promise is checked.

A scenario brings a mount into a state, then does one thing with one failpoint
armed.  What was acknowledged must be there; what was in flight may have happened or
not, and nothing in between.
"""

import errno
import os
import subprocess

import pytest

from pylib import proc, promises

BIG = os.urandom(70_000)
FAST = {"archive_after": "1s", "release_after": "1h", "trash_grace": "0s",
        "trash_grace_unseen": "0s"}


def fill(m, n=6, camera="cam"):
    want = {}
    for i in range(n):
        path = f"{camera}/2026/11/22/10/{i}_{'0.json' if i % 3 == 0 else '1.jpg'}"
        want[path] = BIG[i:i + 1500 * (i + 1)]
        m.write(path, want[path])
    return want


def armed(m, point):
    """The same mount again with one failpoint."""
    m.stop()
    m.failpoints = f"{point}=kill"
    m.start()


def killed(m, action):
    """The action runs into the failpoint; the daemon dies; what it said does not count."""
    try:
        action()
    except (OSError, AssertionError, subprocess.SubprocessError):
        pass
    code = m.wait_exit(30)
    assert code == -9, f"the failpoint was not reached: exit status {code}"
    m.failpoints = None
    m.start()


ARCHIVE = ["archive.intent", "archive.put", "archive.put-all", "archive.verify", "archive.sync",
           "archive.claim", "archive.commit", "commit.before", "commit.after",
           "journal.fix", "journal.put", "journal.ack"]


@pytest.mark.parametrize("point", ARCHIVE)
def test_archive(mount, point):
    m = mount(options={**FAST, "archive_after": "1h"})      # drain archives at any age
    want = fill(m)
    armed(m, point)
    killed(m, m.drain)
    promises.check(m, want)


@pytest.mark.parametrize("point", ["release.check", "release.unlink", "release.dir"])
def test_release(mount, point):
    m = mount(options=FAST)     # drain releases at any age, and nothing does before it
    want = fill(m)
    m.archive()
    armed(m, point)
    killed(m, m.drain)
    promises.check(m, want)


@pytest.mark.parametrize("point", ["restore.get", "restore.link", "restore.commit"])
def test_restore(mount, point):
    m = mount(options=FAST)
    want = fill(m)
    m.drain()
    armed(m, point)
    killed(m, lambda: m.restore(sorted(want)[0]))
    promises.check(m, want)


def rewrite(m, path):
    with open(m.full(path), "r+b") as file:
        file.write(b"changed")


def truncate(m, path):
    os.truncate(m.full(path), 10)


def unlink(m, path):
    os.unlink(m.full(path))


def rename(m, path):
    os.rename(m.full(path), m.full(path + ".new"))


def link(m, path):
    os.link(m.full(path), m.full(path + ".link"))


def chmod(m, path):
    os.chmod(m.full(path), 0o600)


def replace(m, path):
    other = sorted(p for p in os.listdir(os.path.dirname(m.full(path))))[-1]
    os.rename(m.full(path), os.path.join(os.path.dirname(m.full(path)), other))


# what the operation makes of the tree: {path: bytes} -> {path: bytes}
def after(action, want, path):
    new = dict(want)
    last = sorted(p for p in want if os.path.dirname(p) == os.path.dirname(path))[-1]
    if action is rewrite:
        new[path] = b"changed" + want[path][7:]
    elif action is truncate:
        new[path] = want[path][:10]
    elif action is unlink:
        del new[path]
    elif action is rename:
        new[path + ".new"] = new.pop(path)
    elif action is link:
        new[path + ".link"] = new[path]
    elif action is replace:
        new[last] = new.pop(path)
    return new


MODIFY = [
    (rewrite, "rewrite.commit"), (rewrite, "restore.link"), (rewrite, "restore.get"),
    (truncate, "rewrite.commit"), (truncate, "restore.link"),
    (unlink, "unlink.commit"), (unlink, "unlink.cache"),
    (rename, "rename.commit"), (rename, "rename.cache"),
    (replace, "rename.commit"), (replace, "rename.cache"),
    (link, "link.commit"), (link, "rewrite.commit"), (chmod, "setattr.commit"),
    (unlink, "commit.before"), (unlink, "commit.after"),
    (rename, "commit.before"), (rename, "commit.after"),
]
ONLY_RELEASED = {"restore.link", "restore.get", "setattr.commit"}
ONLY_ARCHIVED = {"unlink.cache"}


@pytest.mark.parametrize("state", ["archived", "released"])
@pytest.mark.parametrize("action,point", MODIFY, ids=lambda v: getattr(v, "__name__", v))
def test_modify(mount, state, action, point):
    if (state == "archived" and point in ONLY_RELEASED) or \
            (state == "released" and point in ONLY_ARCHIVED):
        return      # this state does not pass there
    m = mount(options=FAST)
    want = fill(m)
    m.drain() if state == "released" else m.archive()
    path = sorted(want)[0]
    armed(m, point)
    killed(m, lambda: action(m, path))
    found = promises.tree_of(m)
    wanted = after(action, want, path)
    assert found in (want, wanted), \
        f"neither before ({promises.differences(want, found)}) " \
        f"nor after ({promises.differences(wanted, found)})"
    promises.check(m, found, orphans=False)


@pytest.mark.parametrize("point", ["rmdir.commit", "rmdir.cache"])
def test_rmdir(mount, point):
    m = mount(options=FAST)
    want = fill(m)
    m.archive()
    top = "cam/2026/11/22/10"
    for path in list(want):
        os.unlink(m.full(path))
    armed(m, point)
    killed(m, lambda: os.rmdir(m.full(top)))
    assert promises.tree_of(m) == {}
    if os.path.exists(m.full(top)):
        os.rmdir(m.full(top))
    assert not os.path.exists(m.full(top))
    m.restart(kill=True)
    assert not os.path.exists(m.full(top))


@pytest.mark.parametrize("point", ["drop.object", "commit.before", "commit.after"])
def test_drop(mount, point):
    m = mount(options={**FAST, "trash_grace": "1h"})
    want = fill(m)
    m.drain()
    gone = sorted(want)[0]
    os.unlink(m.full(gone))
    del want[gone]
    armed(m, point)
    killed(m, lambda: m.ctl("trash", "empty", "--yes", check=True))
    promises.check(m, want)


def test_released_directory_made_again(mount):
    m = mount(options={**FAST, "release_after": "0s"})
    want = fill(m)
    m.drain()
    new = "cam/2026/11/22/10/new.jpg"
    proc.wait_until(lambda: not os.path.isdir(m.local(os.path.dirname(new))), 60)
    armed(m, "mkdir.cache")
    killed(m, lambda: m.write(new, b"x", mkdirs=False))
    promises.check(m, want)


def test_renaming_taken_back(mount):
    """Somebody writes to the target while no daemon is there: he loses nothing by a restart."""
    m = mount(options=FAST)
    want = fill(m)
    m.drain()
    first, *_, last = sorted(want)
    m.restore(last)
    m.stop()
    m.failpoints = "rename.commit=kill"
    m.start()
    with pytest.raises(OSError):
        os.rename(m.full(first), m.full(last))
    assert m.wait_exit(30) == -9
    m.failpoints = None
    want[last] = b"uploaded meanwhile"
    with open(m.local(last), "wb") as file:
        file.write(want[last])
    m.start()
    assert m.state(first) == "released"
    promises.check(m, want)


def refused(m):
    """A directory that cannot be renamed over another: the cache says so, rows do not know."""
    want = fill(m)
    m.archive()
    want["other/file"] = b"in the way"
    m.write("other/file", want["other/file"])
    return want, lambda: os.rename(m.full("cam"), m.full("other"))


def test_refused_renaming(mount):
    m = mount(options={**FAST, "archive_after": "1h"})
    want, rename_over = refused(m)
    armed(m, "rename.refused")
    killed(m, rename_over)
    promises.check(m, want)


def test_refused_renaming_and_a_full_catalogue(mount):
    """It failed, and stays so: nothing is renamed when the next daemon finds the way free."""
    m = mount(options={**FAST, "archive_after": "1h"})
    want, rename_over = refused(m)
    m.stop()
    m.failpoints = "rename.refused=error:ENOSPC"
    m.start()
    with pytest.raises(OSError) as err:
        rename_over()
    assert err.value.errno == errno.ENOTEMPTY
    m.expect_log("cannot take back the renaming", "it is read-only now")
    m.failpoints = None
    m.stop()
    os.unlink(m.local("other/file"))
    del want["other/file"]
    m.start()
    promises.check(m, want)


def test_intents_finish_one_by_one(mount):
    """A kill while start-up finishes the intents of an earlier kill."""
    m = mount(options=FAST)
    want = fill(m)
    m.archive()
    paths = sorted(want)[:2]
    m.stop()
    for path in paths:
        m.failpoints = "unlink.commit=kill"
        m.start()       # finishes the removal before it
        killed_once(m, path)
    m.failpoints = "recover.intent=kill"
    code = start_dies(m)
    assert code == -9
    m.failpoints = None
    m.start()
    for path in paths:
        want.pop(path, None)
    promises.check(m, want)


def killed_once(m, path):
    try:
        os.unlink(m.full(path))
    except OSError:
        pass
    assert m.wait_exit(30) == -9
    m.failpoints = None


def start_dies(m):
    from pylib.ebb import StartError
    try:
        m.start()
    except StartError as err:
        return err.returncode
    raise AssertionError("start-up did not reach the failpoint")


def test_kill_at_any_instant(mount):
    """Writers, the reaper and kill -9 at arbitrary moments: every closed file stays."""
    m = mount(options={**FAST, "release_after": "1s"})
    want = {}
    for n in range(6):
        want.update(fill(m, 12, camera=f"cam{n}"))
        m.kill()
        m.start()
    promises.check(m, want)
