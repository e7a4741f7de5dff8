# SPDX-License-Identifier: MIT
"""Checkpoints: the journal in the store stays short, and what is left of it, with the newest
complete checkpoint, is the catalogue that was lost, whenever the daemon died.
"""

import os
import sqlite3
import subprocess

import pytest

from pylib import proc, promises

FAST = {"archive_after": "1h", "release_after": "1h", "trash_grace": "0s",
        "checkpoint_min": "4K"}
TABLES = {"dir": "id", "path": "id", "file": "dir,name", "trash": "id", "outbox": "id"}
POINTS = ["checkpoint.begin", "checkpoint.put", "checkpoint.all", "checkpoint.end",
          "checkpoint.done", "checkpoint.drop"]


def journal(m):
    return m.status()["journal"]


def churn(m, until, deadline=90):
    """Changes rows that are in the store until it is so."""
    paths = sorted(m.want)
    mode = 0o600

    def step():
        nonlocal mode
        mode ^= 0o044
        for path in paths:
            os.chmod(m.full(path), mode)
        os.rename(m.full(paths[0]), m.full(paths[0] + ".n"))
        os.rename(m.full(paths[0] + ".n"), m.full(paths[0]))
        return until()
    proc.wait_until(step, deadline)


def end_churn(m):
    """Of one that was cut off, maybe between its two renamings."""
    first = m.full(min(m.want))
    name, = (name for name in (first, first + ".n") if os.path.lexists(name))
    os.rename(name, first)


def has_dropped(m, number):
    """A checkpoint behind this part is complete, and everything before it dropped."""
    def look():
        j = journal(m)
        return j["checkpoint"] > number and j["dropped"] == j["checkpoint"] - 1
    return look


@pytest.fixture
def used(mount):
    m = mount(options=FAST)
    m.want = {f"cam/{i % 3}/{i:03}.jpg": bytes([i]) * (i + 1) for i in range(200)}
    for path, data in m.want.items():
        m.write(path, data)
    m.drain()
    return m


def parts(m, kind):
    """{number: [names]} of the store's journal or checkpoints."""
    top = os.path.join(m.store, ".ebb", kind)
    found = {}
    for node in os.listdir(top):
        for name in os.listdir(os.path.join(top, node)):
            found.setdefault(int(name.split(".")[0]), []).append(name)
    return found


def one_moment(m):
    """(journal, its parts in the store, checkpoints there)"""
    def look():
        before, found = journal(m), (parts(m, "journal"), parts(m, "checkpoint"))
        after = journal(m)
        same = all(before[key] == after[key] for key in ("checkpoint", "dropped"))
        return (before, *found) if same else None
    return proc.wait_until(look, 30)


def lose_catalogue(m):
    """The file's rows, and the file is gone."""
    rows = {}
    with sqlite3.connect(m.meta) as db:
        for table, key in TABLES.items():
            rows[table] = db.execute(f"SELECT * FROM {table} ORDER BY {key}").fetchall()
    db.close()
    for suffix in ("", "-wal", "-shm", "-lock"):
        if os.path.exists(m.meta + suffix):
            os.unlink(m.meta + suffix)
    return rows


def rebuild(m, wrapper=""):
    return subprocess.run([m.program("ebbctl"), "rebuild", "-o",
                           f"meta={m.meta},store={wrapper}dir:{m.store}"], text=True,
                          capture_output=True, check=False, timeout=120)


def rebuilt(m, exact=True, killed=False):
    """Loses the catalogue of a mount that is not there, and has it again: the same rows."""
    rows = lose_catalogue(m)
    done = rebuild(m)
    assert done.returncode == 0, done.stderr
    with sqlite3.connect(m.meta) as db:
        for table, key in TABLES.items() if exact else ():
            assert db.execute(f"SELECT * FROM {table} ORDER BY {key}").fetchall() == rows[table]
    db.close()
    m.start()
    if killed:
        end_churn(m)
    promises.check(m, m.want)


def test_journal_stays_short(used):
    first = journal(used)
    assert first["checkpoint"] in range(first["next"])
    churn(used, has_dropped(used, first["next"]))
    number = journal(used)["checkpoint"]
    churn(used, has_dropped(used, number))
    last, left, checkpoints = one_moment(used)
    before = [n for n in left if n <= last["dropped"]]
    assert len(before) <= last["checkpoint"].bit_length(), "parts that are dropped stay"
    assert all(n in left for n in range(last["dropped"] + 1, last["next"]))
    assert min(checkpoints) == last["checkpoint"]
    assert f"checkpoint {last['checkpoint']}, " in used.ctl("status").stdout
    used.stop()
    rebuilt(used)
    # and on with it: another loss, over the record that the rebuild left
    churn(used, has_dropped(used, last["next"] + 1))
    used.stop()
    rebuilt(used)


@pytest.mark.parametrize("again", [False, True], ids=["at-once", "later"])
@pytest.mark.parametrize("point", POINTS)
def test_killed(used, point, again):
    number = journal(used)["next"]
    used.stop()
    used.failpoints = f"{point}=kill"
    used.start()
    try:
        churn(used, lambda: False)
    except (OSError, AssertionError, subprocess.SubprocessError, ValueError):
        pass
    assert used.wait_exit(60) == -9, "the failpoint was not reached"
    used.failpoints = None
    if again:
        used.start()
        end_churn(used)
        churn(used, has_dropped(used, number))
        last, _, checkpoints = one_moment(used)
        assert min(checkpoints) == last["checkpoint"], "leftovers stay"
        used.stop()
    rebuilt(used, exact=again, killed=not again)


def test_old_copy_behind_what_is_dropped(used):
    """Neither its next part nor the one after is there any more: it must not begin there."""
    used.stop()
    with open(used.meta, "rb") as file:
        old = file.read()
    used.start()
    churn(used, has_dropped(used, journal(used)["next"] + 4))
    used.stop()
    lose_catalogue(used)
    with open(used.meta, "wb") as file:
        file.write(old)
    output = used.start_refused()
    assert "old copy" in output and "rebuild" in output
    rebuilt(used, exact=False)


def test_former_owner_finds_its_fence(used):
    """However late: the record at its next number is not dropped with the journal around it."""
    used.stop()
    lose_catalogue(used)
    assert rebuild(used).returncode == 0
    used.start()
    fence = journal(used)["next"] - 1
    churn(used, has_dropped(used, fence + 8))
    assert fence in parts(used, "journal")


def test_turned_bit(used):
    """Still a changeset, and not the one that was written."""
    used.stop()
    number = max(parts(used, "journal"))
    node, = os.listdir(os.path.join(used.store, ".ebb", "journal"))
    key = f".ebb/journal/{node}/{number}"
    with open(os.path.join(used.store, key), "r+b") as file:
        file.seek(-3, os.SEEK_END)
        byte = file.read(1)
        file.seek(-3, os.SEEK_END)
        file.write(bytes([byte[0] ^ 1]))
    lose_catalogue(used)
    done = rebuild(used)
    assert done.returncode == 1 and key in done.stderr and "damaged" in done.stderr
    assert not os.path.exists(used.meta)
    with open(os.path.join(used.store, key), "r+b") as file:
        file.seek(-3, os.SEEK_END)
        file.write(byte)
    assert rebuild(used).returncode == 0
    used.start()
    promises.check(used, used.want)


def test_rebuild_when_the_store_is_full(used):
    """And the node goes on with it: what is removed makes room."""
    used.stop()
    lose_catalogue(used)
    rules = os.path.join(used.dir, "rules")
    with open(rules, "w", encoding="ascii") as file:
        file.write("put full\n")
    done = rebuild(used, f"fault:{rules}:")
    assert done.returncode == 0, done.stderr
    used.start()
    promises.check(used, used.want)


def test_store_refuses_checkpoints(mount):
    """Archiving goes on; the checkpoint follows once it can."""
    m = mount(options=FAST, start=False)
    rules = os.path.join(m.dir, "rules")
    with open(rules, "w", encoding="ascii") as file:
        file.write("put error EIO key .ebb/checkpoint/*\n")
    m.store_url = f"fault:{rules}:{m.store_url}"
    m.expect_log("checkpoint")
    m.start()
    m.want = {f"cam/{i:03}.jpg": bytes([i]) * (i + 1) for i in range(200)}
    for path, data in m.want.items():
        m.write(path, data)
    m.drain()
    churn(m, lambda: "cannot write a checkpoint" in m.log_text())
    m.write("cam/new", b"new")
    m.want["cam/new"] = b"new"
    m.drain()
    assert m.state("cam/new") == "released" and journal(m)["checkpoint"] == 0
    with open(rules, "w", encoding="ascii") as file:
        file.write("# none\n")
    churn(m, has_dropped(m, 1))
    m.stop()
    rebuilt(m)
