# SPDX-License-Identifier: MIT
"""Elasticsearch and OpenSearch, real ones, beside a mount: at the end every document says
the truth, whatever was killed or refused meanwhile.
"""

import os
import secrets
import urllib.parse

import pytest

from pylib import proc
from servers.faultsearch import FaultSearch

FAST = {"archive_after": "1s", "release_after": "1h", "trash_grace": "0s", "pack_below": "0"}


@pytest.fixture(params=["elasticsearch", "opensearch"])
def server(request):
    return request.getfixturevalue(request.param)


class Site:
    """A mount whose captures have documents in an index of their own."""

    def __init__(self, mount, server, **options):
        self.server, self.index = server, server.create_index("t" + secrets.token_hex(4))
        self.m = mount(options={**FAST, **options}, es=f"{server.url}/{self.index}")

    def upload(self, path, data, document=True):
        name = os.path.basename(path)
        self.m.write(path, data)
        if document:
            self.server.index(self.index, {"filename": name, "ftpurl": f"ftp://old/{path}",
                                           "synced_to_ceph": False, "speed": 55}, name)

    def doc(self, path):
        found = self.server.get(self.index, os.path.basename(path))
        return found

    def truth(self, path):
        """What the document of a path must say now."""
        if not os.path.exists(self.m.full(path)):
            return None, False
        info = self.m.info(path)
        return info["url"], info["state"] in ("archived", "released")

    def check(self, *paths):
        for path in paths:
            doc = self.doc(path)
            assert (doc["ftpurl"], doc["synced_to_ceph"]) == self.truth(path), path
            assert doc["speed"] == 55, "another field of the document was touched"


def test_documents_follow_their_files(mount, server):
    site = Site(mount, server, archive_after="1h")      # when it is drained
    m, paths = site.m, [f"cam/2026/11/22/10/{i}_1.jpg" for i in range(8)]
    for path in paths:
        site.upload(path, path.encode() * 100)
    m.drain()
    site.check(*paths)
    assert set(m.states(*paths).values()) == {"released"}
    for path in paths:
        assert site.doc(path)["synced_to_ceph"] is True
        url = urllib.parse.unquote(site.doc(path)["ftpurl"])
        assert url == f"file://{m.store}/{path}"
    m.write(paths[0], b"written again")         # told of, and local again
    os.unlink(m.full(paths[1]))                 # told of, and gone
    proc.wait_until(lambda: site.doc(paths[0])["synced_to_ceph"] is False and
                    site.doc(paths[1])["ftpurl"] is None, 30, "documents of changed files")
    site.check(paths[0], paths[1])
    m.drain()
    site.check(*paths)
    assert site.doc(paths[0])["synced_to_ceph"] is True


def test_documents_of_packed_files(mount, elasticsearch):
    """Each has a URL of its own; when a pack is rewritten they are told before it goes."""
    site = Site(mount, elasticsearch, pack_below="64K", archive_after="1h")
    m, paths = site.m, [f"cam/p/{i}_1.jpg" for i in range(12)]
    for path in paths:
        site.upload(path, path.encode() * 100)
    m.rest(*paths)
    m.drain()
    site.check(*paths)
    urls = {path: site.doc(path)["ftpurl"] for path in paths}
    assert len(set(urls.values())) == len(paths) and all("/.ebb/pack/" in u for u in urls.values())
    for path in paths[3:]:
        os.unlink(m.full(path))
    proc.wait_until(lambda: all(site.doc(p)["ftpurl"] not in (urls[p], None) for p in paths[:3]), 90,
                    "documents name the new pack")
    site.check(*paths)


@pytest.mark.parametrize("point", ["sink.send", "sink.ack", "sink.done", "archive.commit",
                                   "journal.put"])
def test_killed_while_telling(mount, elasticsearch, point):
    site = Site(mount, elasticsearch, archive_after="1h")
    m, paths = site.m, [f"cam/d/{i}_1.jpg" for i in range(6)]
    m.stop()
    # the start's own part of the journal is not what it is about
    m.failpoints = f"{point}=kill" + "@2" * (point == "journal.put")
    m.start()
    proc.wait_until(lambda: m.status()["journal"]["backlog_bytes"] == 0, 60, "a journal in the store")
    for path in paths:
        site.upload(path, path.encode() * 100)
    m.ctl("drain")
    assert m.wait_exit(60) == -9
    m.failpoints = None
    m.start()
    m.drain()
    site.check(*paths)


def test_search_is_down_and_comes_up(mount):
    with FaultSearch() as server:
        m = mount(options=FAST, es=f"{server.url}/caps")
        server.put("caps", "a.jpg", {"filename": "a.jpg"})
        server.stop()
        m.write("cam/a.jpg", b"x" * 1000)
        m.wait_state("cam/a.jpg", "archived")
        done = m.ctl("release", m.full("cam/a.jpg"))
        assert done.returncode == 1, "released before the sink was told"
        assert m.state("cam/a.jpg") == "archived"
        sink = m.status()["sinks"][0]
        assert sink["waiting"] == 1 and not sink["up"]
        server.start()
        proc.wait_until(lambda: m.status()["sinks"][0]["waiting"] == 0, 90, "the backlog is told")
        m.release("cam/a.jpg")
        assert server.doc("caps", "a.jpg")["synced_to_ceph"] is True


@pytest.mark.parametrize("fault", [
    {"kind": "status", "status": 429, "times": 3}, {"kind": "status", "status": 503, "times": 2},
    {"kind": "item", "status": 429, "times": 2}, {"kind": "cut", "times": 2},
    {"kind": "garbage", "times": 2}, {"kind": "delay", "seconds": 2, "times": 1}],
    ids=lambda f: f"{f['kind']}-{f.get('status', '')}")
def test_faults_lose_nothing(mount, fault):
    fault = dict(fault)
    with FaultSearch() as server:
        m = mount(options=FAST, es=f"{server.url}/caps")
        m.expect_log("a bulk reply is not JSON")
        paths = [f"cam/{i}.jpg" for i in range(20)]
        for path in paths:
            server.put("caps", os.path.basename(path), {"filename": os.path.basename(path)})
        server.fault(fault.pop("kind"), **fault)
        for path in paths:
            m.write(path, b"x" * 500)
        proc.wait_until(lambda: all(server.doc("caps", os.path.basename(p)).get("synced_to_ceph")
                                    for p in paths), 90, "all documents updated")
        m.drain()
        assert set(m.states(*paths).values()) == {"released"}


def test_missing_document_is_parked_and_counts_as_told(mount):
    with FaultSearch() as server:
        m = mount(options={**FAST, "es_hold": "3s"}, es=f"{server.url}/caps")
        m.write("cam/never.jpg", b"x")
        m.archive("cam/never.jpg")
        m.expect_log("cannot release|no document")
        proc.wait_until(lambda: m.status()["sinks"][0]["missing"] == 1, 300, "parked", every=0.5)
        m.release("cam/never.jpg")


def test_poisoned_document_is_set_aside(mount):
    with FaultSearch() as server:
        m = mount(options=FAST, es=f"{server.url}/caps")
        for name in ("bad.jpg", "good.jpg"):
            server.put("caps", name, {"filename": name})
        server.poison("bad.jpg")
        for name in ("bad.jpg", "good.jpg"):
            m.write(f"cam/{name}", b"x")
        m.archive()
        proc.wait_until(lambda: m.status()["sinks"][0]["poisoned"] == 1 and
                        server.doc("caps", "good.jpg").get("synced_to_ceph"), 60,
                        "one set aside, one told")
        m.expect_log("mapper_parsing")
