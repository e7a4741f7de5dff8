# SPDX-License-Identifier: MIT
"""After a lost cache disk, `ebbctl lost` lists the documents whose file is nowhere: those, and
no others (ebbfs(7), WHAT IS PROMISED).
"""

import json
import os
import secrets
import shutil
import signal
import subprocess
import threading
import time

import pytest

from pylib import proc
from servers.faultsearch import FaultSearch

FAST = {"archive_after": "1h", "release_after": "1h"}
LIMITS = {"by path": {"local_url": "ftp://host/{path}"}, "by name": {}}


def add(server, index, path, **more):
    name = os.path.basename(path)
    server.index(index, {"filename": name, "ftpurl": f"ftp://host/{path}",
                         "synced_to_ceph": False, **more}, name)


def lose_cache(m):
    """The disk is gone; a new one is in its place."""
    m.kill()
    shutil.rmtree(m.cache)
    os.mkdir(m.cache)
    m.start(new_cache=True)
    proc.wait_until(lambda: not m.status()["scanning"], 30, "scan of the new cache")


def lost(m, *args):
    """(exit status, [(name, url)], stderr)."""
    done = m.ctl("lost", *args)
    return done.returncode, [tuple(line.split("\t")) for line in done.stdout.splitlines()], \
        done.stderr


@pytest.mark.parametrize("options", LIMITS.values(), ids=LIMITS)
@pytest.mark.parametrize("kind", ["elasticsearch", "opensearch"])
def test_lost_cache(mount, request, kind, options):
    server = request.getfixturevalue(kind)
    index = server.create_index("t" + secrets.token_hex(4))
    m = mount(options={**FAST, **options}, es=f"{server.url}/{index}")
    paths = {what: [f"cam{i}/2026/11/22/10/{what}_{i}_1.jpg" for i in range(5)]
             for what in ("released", "archived", "local", "removed", "late")}
    for what in ("released", "archived", "local", "removed"):
        for path in paths[what]:
            m.write(path, path.encode() * 50)
            add(server, index, path)
    m.archive(*paths["released"], *paths["archived"], *paths["removed"])
    m.release(*paths["released"])
    for path in paths["removed"]:       # on purpose, and Elasticsearch is told
        os.unlink(m.full(path))
    proc.wait_until(lambda: m.status()["sinks"][0]["waiting"] == 0, 60, "all is told")
    server.refresh(index)
    assert lost(m)[:2] == (0, []), "nothing is lost yet"
    lose_cache(m)
    for path in paths["late"]:          # made since, not archived yet
        m.write(path, b"x")
        add(server, index, path)
    server.refresh(index)
    code, found, said = lost(m)
    assert code == 1
    want = {(os.path.basename(p), f"ftp://host/{p}") for p in paths["local"]}
    assert len(found) == len(want) and set(found) == want
    # released, archived and removed ones say what became of them: 5 local, 5 late, 5 removed
    assert "5 of 15 documents" in said
    done = m.ctl("lost", "--json", "ftp://host/cam1/")
    assert json.loads(done.stdout) == [{
        "name": "local_1_1.jpg", "url": f"ftp://host/{paths['local'][1]}", "index": index,
        "id": "local_1_1.jpg"}]
    assert json.loads(m.ctl("lost", "--json", "ftp://other/", check=True).stdout) == []
    m.write(paths["local"][0], b"the camera sent it again")
    assert lost(m, "ftp://host/cam0/")[:2] == (0, [])
    server.delete_index(index)


def test_document_before_its_file(mount):
    """A document that was just made has some seconds until its file must be there."""
    with FaultSearch() as server:
        m = mount(options=FAST, es=f"{server.url}/caps")
        for name in ("late.jpg", "never.jpg"):
            server.put("caps", name, {"ftpurl": f"ftp://host/cam/{name}"})

        def upload():
            server.wait("_search", 1)
            found = time.monotonic()
            proc.wait_until(lambda: time.monotonic() > found + 3, 60, "3 s")    # of the 10
            m.write("cam/late.jpg", b"x")
        uploader = threading.Thread(target=upload)
        uploader.start()
        assert lost(m)[:2] == (1, [("never.jpg", "ftp://host/cam/never.jpg")])
        uploader.join()


def test_what_cannot_be_told_is_an_error(mount):
    """Neither 0 nor a list that looks whole."""
    m = mount(options=FAST)
    code, found, said = lost(m)
    assert (code, found) == (1, []) and "no es= is set" in said
    m.restart(es=f"http://127.0.0.1:{proc.free_port()}/caps")
    code, found, said = lost(m)
    assert (code, found) == (1, []) and "cannot reach" in said and "127.0.0.1" in said
    assert m.ctl("lost", "--json").stdout.split() == ["[", "]"]
    with FaultSearch() as server:
        m.restart(es=f"{server.url}/caps", es_match="*.jpg")
        code, found, said = lost(m)
        assert (code, found) == (1, []) and "there is no index 'caps'" in said
        for i in range(1500):
            server.put("caps", f"{i}.txt", {})
        server.fault("status", status=503, path="scroll$")
        code, found, said = lost(m)
        assert (code, found) == (1, []) and "503" in said
        server.put("caps", "nothing", {})
        assert lost(m)[:2] == (0, [])
        m.restart(es_id="{stem}")
        code, found, said = lost(m)
        assert (code, found) == (0, []) and "1501 documents say neither a path nor a name" in said
        assert m.ctl("lost", "a", "b").returncode == 2


def test_names_as_they_are(mount):
    with FaultSearch() as server:
        m = mount(options={**FAST, "local_url": "ftp://host/{path}"}, es=f"{server.url}/caps")
        server.put("caps", "1", {"ftpurl": "ftp://host/cam/a%FF%20b.jpg"})
        done = m.ctl("lost", "--json")
        assert json.loads(done.stdout)[0]["name"] == "a%FF b.jpg"


@pytest.mark.parametrize("by", ["client", "daemon"])
def test_stopped_while_the_server_hangs(mount, by):
    """Neither Ctrl-C nor umount waits for a server that does not answer."""
    with FaultSearch() as server:
        server.put("caps", "a.jpg", {})
        server.fault("delay", seconds=1000, path="_search")
        m = mount(options={**FAST, "es_timeout": "10m"}, es=f"{server.url}/caps")
        client = subprocess.Popen([m.program("ebbctl"), "-m", m.path, "lost"],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            proc.wait_until(lambda: server.faults[0]["times"] == 0, 30, "the search")
            m.write("cam/b.jpg", b"others are not held up")
            assert m.read("cam/b.jpg") == b"others are not held up"
            if by == "client":
                client.send_signal(signal.SIGINT)
                assert client.wait(proc.scaled(30)) == -signal.SIGINT
            m.stop()        # has a deadline
            if by == "daemon":
                assert client.wait(proc.scaled(30)) in (1, 3)
        finally:
            client.kill()
            client.communicate()


def test_memory_is_bounded(mount):
    """100,000 lost documents pass through daemon and ebbctl; neither keeps them."""
    with FaultSearch() as server:
        m = mount(options={**FAST, "local_url": "ftp://host/{path}"}, es=f"{server.url}/caps")
        with server.lock:
            server.indices["caps"] = {
                f"{i:06}.jpg": ({"ftpurl": f"ftp://host/cam/{'x' * 200}/{i:06}.jpg"}, 1)
                for i in range(100_000)}
        before = peak_kib(m.pid)
        done = proc.run("/usr/bin/env", "-i", "sh", "-c",
                        f"ulimit -v 200000; exec {m.program('ebbctl')} -m {m.path} lost --json",
                        check=False, deadline=200)
        assert done.returncode == 1, done.stderr
        assert len(json.loads(done.stdout)) == 100_000
        assert peak_kib(m.pid) - before < 20_000


def peak_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return int(next(line for line in file if line.startswith("VmHWM")).split()[1])
