# SPDX-License-Identifier: MIT
"""Cache, catalogue, store and mount point: what belongs together starts, what does not says
what to do, and nothing is changed by having tried.
"""

import os
import shutil
import sqlite3
import subprocess

import pytest

from pylib import disk, proc, promises

FAST = {"archive_after": "1h", "release_after": "1h", "trash_grace": "0s"}


@pytest.fixture
def used(mount):
    """A stopped mount with one released and one local file."""
    m = mount(options=FAST)
    m.write("cam/a", b"a" * 3000)
    m.drain()
    m.write("cam/b", b"b")
    m.stop()
    m.want = {"cam/a": b"a" * 3000, "cam/b": b"b"}
    return m


def says(output, *words):
    for word in words:
        assert word in output, f"{word!r} is not in: {output}"


def fine_again(m):
    m.start()
    promises.same(m, m.want, "after the refusal")


def test_store_of_another_volume(used, mount):
    other = mount(options=FAST)
    other.write("x", b"x")
    other.drain()
    other.stop()
    right, used.store_url = used.store_url, other.store_url
    says(used.start_refused(), "volume", "belong")
    used.store_url = right
    fine_again(used)
    other.start()
    assert promises.tree_of(other) == {"x": b"x"}


def test_empty_store_is_not_taken_for_a_new_one(used):
    os.rename(used.store, used.store + ".away")
    os.mkdir(used.store)
    says(used.start_refused(), "no volume", "mounted")
    assert os.listdir(used.store) == [], "something was written to the wrong place"
    os.rmdir(used.store)
    os.rename(used.store + ".away", used.store)
    fine_again(used)


def test_foreign_cache(used, mount):
    other = mount(options=FAST)
    other.stop()
    right, used.cache = used.cache, other.cache
    says(used.start_fails(), "new_cache")
    used.cache = right
    fine_again(used)
    other.start()


def test_unmounted_cache(used):
    """The disk of the cache is not mounted: the directory is empty."""
    os.rename(used.cache, used.cache + ".away")
    os.mkdir(used.cache)
    says(used.start_fails(), "new_cache")
    os.rmdir(used.cache)
    os.rename(used.cache + ".away", used.cache)
    fine_again(used)


def test_lost_cache(used):
    """Everything archived is still served; what was only local is lost."""
    shutil.rmtree(used.cache)
    os.mkdir(used.cache)
    used.start(new_cache=True)
    assert promises.tree_of(used) == {"cam/a": used.want["cam/a"]}
    used.write("cam/c", b"c" * 100)
    promises.check(used, {"cam/a": used.want["cam/a"], "cam/c": b"c" * 100})


def rebuild(m, *more):
    return subprocess.run([m.program("ebbctl"), "rebuild", "-o",
                           f"meta={m.meta},store={m.store_url}", *more], text=True,
                          capture_output=True, check=False, timeout=60)


def test_lost_catalogue(used):
    done = rebuild(used)
    assert done.returncode != 0, "a catalogue was overwritten"
    shutil.rmtree(os.path.dirname(used.meta))
    os.mkdir(os.path.dirname(used.meta))
    says(used.start_fails(), "rebuild")
    shutil.rmtree(os.path.dirname(used.meta))   # the new, empty one that the attempt left
    os.mkdir(os.path.dirname(used.meta))
    done = rebuild(used)
    assert done.returncode == 0, done.stderr
    fine_again(used)
    promises.check(used, used.want)


def test_lost_catalogue_and_cache(used):
    shutil.rmtree(os.path.dirname(used.meta))
    shutil.rmtree(used.cache)
    os.mkdir(os.path.dirname(used.meta))
    os.mkdir(used.cache)
    assert rebuild(used).returncode == 0
    used.start(new_cache=True)
    assert promises.tree_of(used) == {"cam/a": used.want["cam/a"]}


def test_old_copy_of_the_catalogue(used):
    """A restored backup is behind the store's journal: it must not write."""
    old = used.meta + ".backup"
    shutil.copy(used.meta, old)
    used.start()
    used.write("cam/c", b"c" * 100)
    used.drain()
    used.stop()
    for end in ("", "-wal", "-shm"):
        if os.path.exists(used.meta + end):
            os.unlink(used.meta + end)
    shutil.copy(old, used.meta)
    says(used.start_refused(), "rebuild")
    for end in ("", "-wal", "-shm", "-lock"):
        if os.path.exists(used.meta + end):
            os.unlink(used.meta + end)
    assert rebuild(used).returncode == 0
    used.want["cam/c"] = b"c" * 100
    fine_again(used)


def test_two_daemons(used, mount):
    used.start()
    second = mount(start=False, options=FAST)
    second.cache = used.cache
    says(second.start_fails(), "ebbfs")
    second.cache, second.meta = os.path.join(second.dir, "cache"), used.meta
    says(second.start_fails(), "ebbfs")
    promises.same(used, used.want, "after the refusals")


def test_newer_catalogue(used):
    with sqlite3.connect(used.meta) as db:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        db.execute(f"PRAGMA user_version={version + 1}")
    db.close()
    says(used.start_fails(), "newer")


def test_damaged_catalogue(used):
    with open(used.meta, "r+b") as file:
        file.seek(100)
        file.write(os.urandom(4000))
    says(used.start_fails(), "rebuild")


def test_catalogue_that_is_none(used):
    with open(used.meta, "wb") as file:
        file.write(b"not a database" * 1000)
    says(used.start_fails(), "catalogue")


def test_object_missing_short_wrong(mount):
    m = mount(options={**FAST, "pack_below": "0"})
    for name in ("missing", "short", "wrong", "good"):
        m.write(f"cam/{name}", name.encode() * 1000)
    m.drain()
    os.unlink(f"{m.store}/cam/missing")
    os.truncate(f"{m.store}/cam/short", 100)
    with open(f"{m.store}/cam/wrong", "r+b") as file:
        file.write(b"Wrong")
    m.expect_log("cam/(missing|short|wrong)")
    for name in ("missing", "short", "wrong"):
        with pytest.raises(OSError) as err:
            m.read(f"cam/{name}")
        assert err.value.errno == 5
    assert m.read("cam/good") == b"good" * 1000
    done = m.ctl("verify")
    assert done.returncode == 1
    says(done.stdout + done.stderr, "cam/missing", "cam/short", "cam/wrong")
    assert "cam/good" not in done.stdout + done.stderr


def test_strange_names(mount):
    m = mount(options=FAST)
    names = [b"new\nline", b'quo"te\'s', b"\xff\xfe bytes", b"x" * 255, "ä€😀".encode(), b" ",
             b"-rf", b"a\\b", b"%41", b"*?["]
    want = {}
    for d in (b"plain", b".ebb", b".ebb/o", b"d\xff"):
        os.makedirs(os.path.join(m.path.encode(), d))
        for name in names:
            path = os.path.join(d, name)
            want[os.fsdecode(path)] = path * 20
            with open(os.path.join(m.path.encode(), path), "wb") as file:
                file.write(path * 20)
    promises.same(m, want, "local")
    m.drain()
    promises.same(m, want, "released")
    m.restart(kill=True)
    promises.same(m, want, "after kill -9")
    m.ctl("verify", check=True)
    status = m.status()
    assert status["released"]["files"] == len(want)


def test_adopted_in_place(mount):
    """The cache is the mount point: a tree that was there is served and tiered, and is a plain
    tree again after umount."""
    m = mount(start=False, in_place=True, options={**FAST, "archive_after": "1s",
                                                   "release_after": "1s"})
    want = {}
    for i in range(200):
        path = f"cam{i % 5}/2026/11/22/{i % 3}/{i}.jpg"
        os.makedirs(os.path.dirname(m.full(path)), exist_ok=True)
        want[path] = str(i).encode() * 300
        with open(m.full(path), "wb") as file:
            file.write(want[path])
    m.start()
    promises.same(m, want, "at once")
    m.wait_state("cam0/2026/11/22/0/0.jpg", "released", deadline=60)
    m.write("cam0/new", b"new", mkdirs=False)
    want["cam0/new"] = b"new"
    promises.check(m, want)
    m.restart(release_after="1h")
    m.restore()
    m.stop()
    assert promises.tree_of(m) == want, "the cache is no plain tree after umount"
    m.start()
    promises.same(m, want, "mounted again")


def test_pressure_releases_early(mount):
    """Watermarks: a cache that fills is emptied of what is archived, oldest first."""
    m = mount(cache_fs="ext4", disk_mib=64, options={
        "archive_after": "1s", "release_after": "24h", "high": "60", "low": "40", "reserve": "1M"})
    want = {}
    for i in range(24):
        want[f"cam/{i:02}"] = os.urandom(2 << 20)
        m.write(f"cam/{i:02}", want[f"cam/{i:02}"])
    m.wait_state("cam/00", "released", deadline=60)
    promises.same(m, want, "under pressure")


def test_full_disk_of_the_store_is_emptied(tmpdir_below, afterwards, mount):
    """A dir store leaves a little of its disk to what must be written before it can drop."""
    m = mount(start=False, options={**FAST, "archive_after": "1s", "trash_grace": "0s",
                                    "trash_grace_unseen": "0s", "pack_below": "0"})
    m.expect_log(".*")
    small = disk.Disk("tmpfs", tmpdir_below, size_mib=64)
    afterwards.append(small.close)
    m.store_url = f"dir:{small.path}"
    m.start()
    files = [f"cam/{i:04}" for i in range(3800)]
    for path in files:
        m.write(path, os.urandom(16 << 10))     # each part of the journal takes of what is left
    proc.wait_until(lambda: "space" in (m.status()["store"]["error"] or ""), 60, "a full store")
    there = proc.wait_until(lambda: len(t := [path for path, state in m.states(*files).items()
                                              if state != "local"]) > 3000 and t,
                            60, "what had room")
    assert len(there) < 3600
    for path in there[:500]:
        os.unlink(m.full(path))
    proc.wait_until(lambda: "local" not in m.states(*files[500:]).values(), 180, "the others there")
    proc.wait_until(lambda: m.status()["trash"]["files"] == 0, 120, "an empty trash")


def test_full_disk_that_has_room_again(tmpdir_below, afterwards, mount):
    """Also where nothing is left to be archived, which would show it."""
    m = mount(start=False, options={**FAST, "archive_after": "1s", "pack_below": "0"})
    m.expect_log(".*")
    small = disk.Disk("tmpfs", tmpdir_below, size_mib=16)
    afterwards.append(small.close)
    m.store_url = f"dir:{small.path}"
    m.start()
    m.write("cam/large", bytes(17 << 20))
    proc.wait_until(lambda: "space" in (m.status()["store"]["error"] or ""), 60, "a full store")
    os.unlink(m.full("cam/large"))
    proc.wait_until(lambda: not m.status()["store"]["error"], 60, "a store with room again")


def test_store_full(mount):
    """The store refuses: FTP goes on, nothing is lost, archiving goes on when there is room."""
    m = mount(start=False, options={**FAST, "archive_after": "1s"})
    rules = os.path.join(m.dir, "rules")
    with open(rules, "w", encoding="ascii") as file:
        file.write("put full\n")
    m.store_url = f"fault:{rules}:{m.store_url}"
    m.start()
    want = {f"cam/{i}": os.urandom(5000) for i in range(5)}
    for path, data in want.items():
        m.write(path, data)
    m.wait_log("full|No space|ENOSPC|space")
    promises.same(m, want, "store full")
    assert set(m.states(*want).values()) == {"local"}
    with open(rules, "w", encoding="ascii") as file:
        file.write("\n")
    m.wait_state("cam/0", "archived", deadline=90)
    m.expect_log(".*")
    promises.check(m, want, orphans=False)
