# SPDX-License-Identifier: MIT
"""A mount on a real Ceph: the whole job, and everything that Ceph can refuse or fail to do."""

import os
import secrets

import pytest

from pylib import proc, promises

FAST = {"archive_after": "1s", "release_after": "1h", "trash_grace": "0s", "pack_below": "0"}
AWAY = {**FAST, "store_timeout": "5s"}      # of a Ceph that does not answer


def captures(m, n=10):
    want = {f"cam/2026/11/22/10/{i}_1.jpg": os.urandom(1000 * (i + 1)) for i in range(n)}
    for path, data in want.items():
        m.write(path, data)
    return want


def test_the_whole_job(mount, ceph, pool):
    m = mount(store=ceph.url(pool), options=FAST)
    want = captures(m)
    want["cam/large"] = os.urandom(1 << 20) * 70          # parts of 64 MiB
    m.write("cam/large", want["cam/large"])
    m.drain(deadline=200)
    assert not any(files for _, _, files in os.walk(m.cache)), "the buffer is not empty"
    promises.same(m, want, "released")
    path = "cam/2026/11/22/10/0_1.jpg"
    assert ceph.get(pool, path) == want[path], "rados get needs no ebbfs"
    assert m.info(path)["url"] == f"rados://{pool}/{path}"
    m.restart(kill=True)
    promises.same(m, want, "after kill -9")
    m.ctl("verify", check=True)
    os.unlink(m.full(path))
    del want[path]
    m.write("cam/2026/11/22/10/1_1.jpg", b"another version")
    want["cam/2026/11/22/10/1_1.jpg"] = b"another version"
    m.drain()
    m.ctl("trash", "empty", "--yes")
    proc.wait_until(lambda: path not in ceph.ls(pool), 60, "the removed file's object is dropped")
    promises.same(m, want, "at the end")


def test_packs(mount, ceph, pool):
    """Small files share an object; it is read by range, dropped with the last of them."""
    m = mount(store=ceph.url(pool), options={**FAST, "pack_below": "64K", "archive_after": "1h"})
    want = captures(m, 30)
    m.rest(*want)
    m.drain()
    packs = [key for key in ceph.ls(pool) if key.startswith(".ebb/pack/")]
    assert len(packs) == 1 and not any(path in ceph.ls(pool) for path in want)
    promises.same(m, want, "released")
    m.ctl("verify", check=True)
    m.restart(kill=True)
    promises.same(m, want, "after kill -9")
    for path in sorted(want)[5:]:
        os.unlink(m.full(path))
        del want[path]
    proc.wait_until(lambda: packs[0] not in ceph.ls(pool), 90, "the pack rewritten and dropped")
    promises.same(m, want, "rewritten")
    m.ctl("verify", check=True)
    for path in want:
        os.unlink(m.full(path))
    proc.wait_until(lambda: not any(key.startswith(".ebb/pack/") for key in ceph.ls(pool)), 90,
                    "the last pack dropped")


def test_ceph_down_at_mount_and_up_later(mount, ceph, pool):
    m = mount(store=ceph.url(pool), options=AWAY)
    old = captures(m, 3)
    m.drain()
    m.stop()
    ceph.pause()
    try:
        m.start()
        m.write("cam/new", b"new")
        assert m.read("cam/new") == b"new"
        assert sorted(os.listdir(m.full("cam"))) == ["2026", "new"]
        with pytest.raises(OSError):
            m.read(sorted(old)[0])
        assert m.status()["store"]["up"] is False
    finally:
        ceph.resume()
    m.expect_log("cannot|no monitor answers|no answer")
    m.wait_state("cam/new", "archived", deadline=90)
    promises.same(m, {**old, "cam/new": b"new"}, "Ceph is up")


def test_ceph_dies_while_archiving(mount, ceph, pool):
    m = mount(store=ceph.url(pool), options=AWAY)
    m.expect_log(".*")
    want = captures(m, 40)
    ceph.stop_osd(kill=True)
    more = {f"cam/more/{i}": os.urandom(500) for i in range(20)}
    for path, data in more.items():
        m.write(path, data)
    want.update(more)
    ceph.start_osd()
    m.wait_state("cam/more/19", "archived", deadline=120)
    promises.check(m, want, orphans=False)


def refused(mount, store, *words):
    """Mounts: an unreachable or refusing store is a state, not an end, and status says why."""
    m = mount(store=store, options=FAST)
    m.expect_log(".*")
    m.write("cam/a", b"a")
    def says_why():
        return all(word in (m.status()["store"]["error"] or "") for word in words)
    proc.wait_until(says_why, 60, f"status says what is wrong: {words}")
    assert m.read("cam/a") == b"a"
    assert m.state("cam/a") == "local"
    return m


def test_missing_pool(mount, ceph, afterwards):
    name = "later" + secrets.token_hex(4)
    afterwards.append(lambda: ceph.delete_pool(name))
    m = refused(mount, ceph.url(name), name, "pool")
    ceph.create_pool(name)
    m.wait_state("cam/a", "archived", deadline=120)


def test_refused_key(mount, ceph, pool):
    ceph.add_client("stranger", mon="allow r", osd="allow r pool=nothing")
    refused(mount, ceph.url(pool, client="stranger"), "caps")


def test_full_pool(mount, ceph, pool):
    m = mount(store=ceph.url(pool), options=FAST)
    m.expect_log(".*")
    ceph.set_full(pool)
    try:
        want = captures(m, 5)
        proc.wait_until(lambda: "quota" in (m.status()["store"]["error"] or ""), 90,
                        "status says that the pool is full")
        promises.same(m, want, "pool full")
    finally:
        ceph.unset_full(pool)
    m.wait_state(sorted(want)[0], "archived", deadline=120)
    promises.check(m, want, orphans=False)


@pytest.mark.parametrize("what", ["quota", "osd"])
def test_full_pool_is_emptied(mount, ceph, pool, what):
    """What was removed makes room: the journal, without which nothing is dropped, goes into a full
    pool, too; also after a new start.  What is not there yet follows by itself."""
    which = pool if what == "quota" else None
    m = mount(store=ceph.url(pool), options={**FAST, "trash_grace": "0s", "trash_grace_unseen": "0s"})
    m.expect_log(".*")
    gone, stays = captures(m, 6), {"stays": b"stays"}
    m.write("stays", stays["stays"])
    m.drain()
    ceph.set_full(which)
    try:
        stays["new"] = os.urandom(5000)
        m.write("new", stays["new"])
        proc.wait_until(lambda: m.status()["store"]["error"], 90, "a message that it is full")
        first, *others = sorted(gone)
        os.unlink(m.full(first))
        m.restart()
        for path in others:
            os.unlink(m.full(path))
        proc.wait_until(lambda: not set(gone) & set(ceph.ls(pool)), 90, "removed files dropped")
        proc.wait_until(lambda: m.status()["trash"]["files"] == 0, 60, "an empty trash")
        assert "new" not in ceph.ls(pool), "the pool was not full"
        promises.same(m, stays, "pool full")
    finally:
        ceph.unset_full(which)
    proc.wait_until(lambda: m.state("new") != "local", 120, "archived at last")
    promises.check(m, stays, orphans=False)


def test_new_start_at_the_failsafe_ratio(mount, ceph, pool):
    """Nothing can be written, not even the journal: that is known to be for want of room, and all
    goes on by itself."""
    m = mount(store=ceph.url(pool), options=AWAY)
    m.expect_log(".*")
    data = captures(m, 4)
    m.drain()
    gone, *others = sorted(data)
    ceph.set_full(failsafe=True)
    try:
        m.restart()
        m.write("new", b"new")
        proc.wait_until(lambda: m.status()["store"]["error"], 90, "a message that it is full")
        os.unlink(m.full(gone))
        proc.wait_until(lambda: m.log_text().count("cannot write the journal"), 90, "a try of that")
        proc.wait_until(lambda: "No space" in (m.status()["store"]["error"] or ""), 60,
                        "status says so")
        promises.same(m, {"new": b"new", **{path: data[path] for path in others}}, "pool full")
    finally:
        ceph.unset_full()
    m.wait_state("new", "archived", deadline=120)
    proc.wait_until(lambda: gone not in ceph.ls(pool), 120, "dropped")


def test_pool_of_another_volume(mount, ceph, pool):
    m = mount(store=ceph.url(pool), options=FAST)
    m.write("cam/a", b"a")
    m.drain()
    m.stop()
    other = mount(start=False, store=ceph.url(pool), options=FAST)
    output = other.start_refused()
    assert "volume" in output and "rebuild" in output
    m.start()
    assert m.read("cam/a") == b"a"
