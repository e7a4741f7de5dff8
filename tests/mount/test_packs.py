# SPDX-License-Identifier: MIT
"""Packs: small files archived together, read one by one, dropped and rewritten as they leave."""

import json
import os
import sqlite3
import subprocess

import pytest

from pylib import proc

FAST = {"archive_after": "1h", "trash_grace": "0s", "pack_wait": "0s"}
DIR = "cam/2017/12/15/15"


def fill(m, n=60, folder=DIR, size=1500):
    data = {f"{folder}/f{i:03}.json": bytes([i % 251]) * (size + i) for i in range(n)}
    for path, content in data.items():
        m.write(path, content)
    m.rest(*data)
    return data


def packs(m):
    """Path below the store of each pack."""
    found = []
    for base, _, names in os.walk(os.path.join(m.store, ".ebb/pack")):
        found += [os.path.join(base, name) for name in names]
    return sorted(found)


def rows(m, sql):
    with sqlite3.connect(f"file:{m.meta}?mode=ro", uri=True) as db:
        return db.execute(sql).fetchall()


def index_of(pack, data_bytes):
    with open(pack, "rb") as f:
        whole = f.read()
    return [json.loads(line) for line in whole[data_bytes:].splitlines()], whole


def check_all(m, data):
    for path, content in data.items():
        assert m.read(path) == content, path


def archived(mount, n=60, release=True, **options):
    m = mount(options={**FAST, **options})
    data = fill(m, n)
    m.archive()
    if release:
        m.release()
    return m, data


def test_small_files_share_an_object(mount):
    m, data = archived(mount)
    big = f"{DIR}/big_0.jpg"
    m.write(big, os.urandom(100000))
    m.archive()
    (pack,) = packs(m)
    assert sorted(os.listdir(m.full(DIR))) == sorted(map(os.path.basename, [big, *data]))
    assert not any(os.path.exists(os.path.join(m.store, path)) for path in data)
    assert os.path.exists(os.path.join(m.store, big))
    ((size,),) = rows(m, "SELECT data FROM pack")
    lines, whole = index_of(pack, size)
    assert {line["path"] for line in lines} == set(data)
    for line in lines:
        at = line["offset"]
        assert whole[at:at + line["size"]] == data[line["path"]]
    check_all(m, data)


def test_each_has_its_url_and_checksum(mount):
    m, data = archived(mount, 5)
    urls = set()
    for path, content in data.items():
        info = m.info(path)
        assert info["state"] == "released" and info["size"] == len(content)
        urls.add(info["url"])
        ((state, found, url),) = m.locate(os.path.basename(path))
        assert (state, found, url) == ("released", path, info["url"])
    assert len(urls) == len(data)
    assert m.ctl("verify").returncode == 0


def test_one_alone_has_an_object_of_its_own(mount):
    m, data = archived(mount, 1)
    assert packs(m) == []
    assert os.path.exists(os.path.join(m.store, f"{DIR}/f000.json"))
    check_all(m, data)


def test_pack_below_0_makes_none(mount):
    m, data = archived(mount, 10, pack_below="0")
    assert packs(m) == []
    check_all(m, data)


def test_pack_size_bounds_a_pack(mount):
    m, data = archived(mount, 200, pack_size="64K")
    sizes = [size for (size,) in rows(m, "SELECT data FROM pack")]
    assert len(sizes) >= 4 and max(sizes) <= 65536
    assert sum(sizes) == sum(map(len, data.values()))
    check_all(m, data)


def test_odd_names_and_empty_files(mount):
    m = mount(options=FAST)
    names = ["new\nline", "quote\"'", "back\\slash", os.fsdecode(b"bad\xff\xfe"), "ü", "x" * 255, ""]
    data = {f"d/{name}" if name else "d/empty": name.encode(errors="surrogateescape") for name in names}
    data["d/empty2"] = b""
    for path, content in data.items():
        m.write(path, content)
    m.rest(*data)
    m.archive()
    m.release()
    assert len(packs(m)) == 1
    check_all(m, data)
    m.restart(kill=True)
    check_all(m, data)


def test_written_and_restored_from_a_pack(mount):
    m, data = archived(mount, 20)
    paths = sorted(data)
    with open(m.full(paths[0]), "ab") as f:
        f.write(b"more")
    data[paths[0]] += b"more"
    m.restore(paths[1])
    os.truncate(m.full(paths[2]), 10)
    data[paths[2]] = data[paths[2]][:10]
    os.rename(m.full(paths[3]), m.full("moved"))
    data["moved"] = data.pop(paths[3])
    check_all(m, data)
    m.drain()
    check_all(m, data)
    m.restart(kill=True)
    check_all(m, data)


def counts(m):
    return {i: (files, live) for i, files, live in rows(m, "SELECT id,files,live FROM pack")}


def test_an_empty_pack_is_dropped(mount):
    m, data = archived(mount, 10)
    assert len(packs(m)) == 1
    for path in data:
        os.unlink(m.full(path))
    proc.wait_until(lambda: packs(m) == [], 60, "the pack dropped")
    proc.wait_until(lambda: counts(m) == {}, 30, "its row gone")


def test_half_empty_pack_is_rewritten_while_it_is_read(mount):
    m, data = archived(mount, 40)
    (old,) = packs(m)
    ((size,),) = rows(m, "SELECT size FROM pack")
    paths = sorted(data)
    os.rename(m.full(paths[0]), m.full("elsewhere"))
    data["elsewhere"] = data.pop(paths[0])
    reader = os.open(m.full(paths[1]), os.O_RDONLY)
    for path in paths[8:]:
        os.unlink(m.full(path))
        del data[path]
    proc.wait_until(lambda: any(p != old for p in packs(m)), 60, "the pack rewritten")
    check_all(m, data)
    # Whoever had it open reads on: what he reads is in the old one.
    assert os.path.exists(old)
    assert os.pread(reader, 10000, 0) == data[paths[1]]
    os.close(reader)
    # More than once, perhaps, as the others left in more than one round.
    left = [(8, sum(map(len, data.values())))]
    proc.wait_until(lambda: old not in packs(m) and list(counts(m).values()) == left, 120,
                    "the old pack dropped")
    proc.wait_until(lambda: len(packs(m)) == 1, 60, "what was rewritten again dropped, too")
    assert os.path.getsize(packs(m)[0]) < size / 2
    check_all(m, data)
    assert m.ctl("verify").returncode == 0
    m.restart(kill=True)
    check_all(m, data)


def test_reader_between_row_and_pack(mount):
    """Whoever has read a row and holds nothing yet is overtaken by rewriting and dropping."""
    m = mount(start=False, options={**FAST, "io_uring": "no"})
    go = os.path.join(m.dir, "go")
    m.failpoints = f"read.row=wait:{go}"
    m.start()
    data = fill(m, 40)
    m.archive()
    m.release()
    (old,) = packs(m)
    paths = sorted(data)
    reader = subprocess.Popen(["cat", m.full(paths[0])], stdout=subprocess.PIPE)
    assert m.wait_log("failpoint read.row: waiting")
    for path in paths[8:]:
        os.unlink(m.full(path))
        del data[path]
    proc.wait_until(lambda: packs(m) and old not in packs(m), 55, "the old pack dropped")
    with open(go, "w", encoding="ascii"):
        pass
    assert reader.communicate(timeout=proc.scaled(60))[0] == data[paths[0]]
    assert reader.returncode == 0
    check_all(m, data)


def test_trash_counts_as_alive_and_comes_back(mount):
    m, data = archived(mount, 10, trash_grace="1h")
    paths = sorted(data)
    for path in paths:
        os.unlink(m.full(path))
    assert [n for n, _ in counts(m).values()] == [10]
    assert len(packs(m)) == 1
    for path in paths[:5]:
        m.ctl("trash", "restore", m.full(path), check=True)
    check_all(m, {path: data[path] for path in paths[:5]})
    assert [n for n, _ in counts(m).values()] == [10]


@pytest.mark.parametrize("point", ["archive.put", "archive.put-all", "archive.verify",
                                   "archive.commit"])
def test_killed_while_archiving(mount, point):
    m = mount(start=False, options=FAST)
    m.failpoints = f"{point}=kill"
    m.start()
    data = fill(m, 30)
    m.ctl("archive", "--all")
    assert m.wait_exit() == -9
    m.failpoints = ""
    m.start()
    check_all(m, data)
    m.archive()
    m.release()
    check_all(m, data)
    # What the killed one left in the store goes.
    proc.wait_until(lambda: len(packs(m)) == 1, 60, "no pack but the one that is used")
    check_all(m, data)


@pytest.mark.parametrize("point", ["pack.intent", "pack.put", "pack.moved", "pack.drop"])
def test_killed_while_rewriting(mount, point):
    m = mount(start=False, options={**FAST, "trash_grace": "1h"})
    m.start()
    data = fill(m, 30)
    m.archive()
    m.release()
    for path in sorted(data)[5:]:
        os.unlink(m.full(path))
        del data[path]
    m.stop()
    m.failpoints = f"{point}=kill"
    m.start(trash_grace="0s")
    m.ctl("trash", "empty", "--yes")
    assert m.wait_exit(deadline=90) == -9
    m.failpoints = ""
    m.start()
    check_all(m, data)
    proc.wait_until(lambda: [n for n, _ in counts(m).values()] == [5] and len(packs(m)) == 1, 90,
                    "one pack with what is alive")
    check_all(m, data)
    assert m.ctl("verify").returncode == 0


def test_rebuild_knows_packs(mount):
    m, data = archived(mount, 30)
    m.drain()
    m.stop()
    os.rename(m.meta, m.meta + ".lost")
    for suffix in ("-wal", "-shm"):
        if os.path.exists(m.meta + suffix):
            os.unlink(m.meta + suffix)
    proc.run(m.program("ebbctl"), "rebuild", "-o", f"meta={m.meta},store={m.store_url}")
    m.start(new_cache="yes")
    check_all(m, data)
    assert m.ctl("verify").returncode == 0


def test_files_wait_for_company(mount):
    """Files that come one by one are archived together, not one by one."""
    m = mount(options={**FAST, "archive_after": "2s", "pack_wait": "1h"})
    data = {}
    for i in range(40):
        path = f"{DIR}/slow{i:02}.json"
        m.write(path, data.setdefault(path, os.urandom(1000)))
        proc.wait_until(lambda: os.stat(m.full(path)).st_size == 1000, 60, path, every=0.05)
    proc.wait_until(lambda: set(m.states(*data).values()) == {"archived"}, 60, "all archived")
    assert 1 <= len(packs(m)) <= 4
    check_all(m, data)
