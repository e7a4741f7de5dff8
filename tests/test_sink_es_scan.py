# SPDX-License-Identifier: MIT
"""Going through all documents that do not say synced (sink_scan), through sinkcat.

Each comes exactly once, or the scan says that it is not complete.
"""

import pytest

from pylib import search
from servers.faultsearch import FaultSearch
from test_sink_es import BY, DIALECTS, INDEX, Sink, new_doc, write

HEAD = ("total", "index", "id", "path", "name", "url", "removed")


class Scan:
    """What one scan gave: .docs by id, .errno, .error."""

    def __init__(self, url, **options):
        self.docs = {}
        with Sink(url, **options) as sink:
            sink.popen.stdin.write("scan\n\n")
            sink.popen.stdin.flush()
            for line in sink.popen.stdout:
                parts = line.rstrip("\n").split("\t")
                if parts[0] == "=":
                    break
                doc = dict(zip(HEAD, parts))
                assert doc["id"] not in self.docs, "given twice"
                self.docs[doc["id"]] = doc
            self.errno, self.error = parts[1], parts[5]


@pytest.fixture
def es():
    with FaultSearch() as server:
        for name in "abcdef":
            server.put(INDEX, name, new_doc(name))
        yield server


# pylint: disable=redefined-outer-name

@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("kind,version", DIALECTS)
def test_dialect(kind, version, by):
    with FaultSearch(version=version, distribution=kind) as es:
        es.put(INDEX, "1", new_doc("a"))
        es.put(INDEX, "2", {**new_doc("b"), "synced_to_ceph": True})
        es.put(INDEX, "3", {**new_doc("c"), "ftpurl": None})
        es.put(INDEX, "4", {"filename": "d"})
        scan = Scan(f"{es.url}/{INDEX}", **BY[by])
        assert (scan.errno, scan.error) == ("0", "")
        found = [tuple(scan.docs[i][key] for key in HEAD[3:]) for i in ("1", "3", "4")]
        names = "acd" if by == "term" else "134"
        assert found == [("-", names[0], "ftp://old/a", ""), ("-", names[1], "-", "removed"),
                         ("-", names[2], "-", "")]
        assert len(scan.docs) == 3 and {doc["total"] for doc in scan.docs.values()} == {"3"}
        assert not es.scrolls, "the server was not told that we are done"


def test_pages(es):
    for i in range(2500):
        es.put(INDEX, f"{i:05}", new_doc(f"{i:05}"))
    scan = Scan(f"{es.url}/{INDEX}")
    assert scan.errno == "0" and len(scan.docs) == 2506
    assert es.counts["scroll"] == 4     # 1,000, 506, none, and the end of it


@pytest.mark.parametrize("options,path,name", [
    ({"es_id": "{path}"}, "cam/d/a.jpg", "-"), ({"es_id": "x-{name}-y"}, "-", "cam/d/a.jpg"),
    ({"es_id": "x-{path}"}, "cam/d/a.jpg", "-"), ({"es_id": "{camera}/{stem}"}, "-", "-"),
    ({"es_id": "", "es_find": "ftpurl=ftp://h/{path}"}, "cam/d/a.jpg", "-")])
def test_what_a_key_tells(es, options, path, name):
    key = {"{path}": "cam/d/a.jpg", "x-{path}": "x-cam/d/a.jpg",
           "x-{name}-y": "x-cam/d/a.jpg-y"}.get(options["es_id"], "other")
    es.indices.clear()
    es.put(INDEX, key, {"ftpurl": "ftp://h/cam/d/a.jpg"})
    doc = Scan(f"{es.url}/{INDEX}", **options).docs[key]
    assert (doc["path"], doc["name"]) == (path, name)


@pytest.mark.parametrize("fault,errno,word", [
    ({"kind": "status", "status": 503}, "EAGAIN", "503"),
    ({"kind": "status", "status": 403}, "EACCES", "403"),
    ({"kind": "cut", "apply": False}, "EAGAIN", "cannot reach"),
    ({"kind": "garbage"}, "EPROTO", "not JSON")])
def test_a_page_fails(es, fault, errno, word):
    es.fault(path="scroll$", times=None, **fault)
    for i in range(2500):
        es.put(INDEX, f"{i:05}", new_doc(f"{i:05}"))
    scan = Scan(f"{es.url}/{INDEX}")
    assert scan.errno == errno and word in scan.error
    assert len(scan.docs) == 1000


def test_a_page_is_lost_on_the_way(es):
    """The answer was cut; asked again, the other node gives the page behind it."""
    for i in range(2500):
        es.put(INDEX, f"{i:05}", new_doc(f"{i:05}"))
    with FaultSearch() as other:
        other.indices, other.scrolls = es.indices, es.scrolls
        es.fault("cut", path="scroll$")     # nodes take turns: this one has the second page
        scan = Scan(f"{es.url}/{INDEX} {other.url}/{INDEX}")
    assert scan.errno == "EAGAIN" and "1506 of 2506 documents" in scan.error, scan.error


def test_context_expired(es):
    for i in range(1500):
        es.put(INDEX, f"{i:05}", new_doc(f"{i:05}"))
    es.fault("status", path="scroll$", status=404, type="search_context_missing_exception")
    scan = Scan(f"{es.url}/{INDEX}")
    assert scan.errno == "EPROTO" and "search_context_missing" in scan.error


def test_no_index_no_server(es):
    scan = Scan(f"{es.url}/typo")
    assert scan.errno == "ENOENT" and "typo" in scan.error
    es.stop()
    scan = Scan(f"{es.url}/{INDEX}")
    assert scan.errno == "EAGAIN" and "cannot reach" in scan.error


def test_auth(tmpdir_below):
    with FaultSearch(auth=("ebb", "geheim")) as es:
        es.put(INDEX, "a", new_doc("a"))
        secret = write(f"{tmpdir_below}/password", "wrong\n")
        options = {"es_user": "ebb", "es_password_file": secret}
        scan = Scan(f"{es.url}/{INDEX}", **options)
        assert scan.errno == "EACCES" and "es_password_file" in scan.error
        write(secret, "geheim\n")
        assert list(Scan(f"{es.url}/{INDEX}", **options).docs) == ["a"]


# --- real servers -------------------------------------------------------------

@pytest.fixture(params=search.KINDS)
def real(request):
    return request.getfixturevalue(request.param)


def test_real(real):
    """More than the 10,000 that a search counts, in two indices behind a pattern."""
    one, two = real.create_index(), real.create_index(None, {"properties": {}}, number_of_shards=3)
    docs = {f"{i:05}.jpg": {**new_doc(f"{i:05}.jpg"), "synced_to_ceph": i % 10 == 0}
            for i in range(14000)}
    names = sorted(docs)
    real.index_many(one, {n: docs[n] for n in names[:6000]})
    real.index_many(two, {n: docs[n] for n in names[6000:]})
    scan = Scan(f"{real.url}/{one},{two}", es_id="", es_find="filename")
    assert (scan.errno, scan.error) == ("0", "")
    assert sorted(scan.docs) == [n for n in names if not docs[n]["synced_to_ceph"]]
    assert {doc["name"] for doc in scan.docs.values()} == set(scan.docs)
    assert {doc["total"] for doc in scan.docs.values()} == {"12600"}
    stats = real.request("GET", "/_nodes/stats/indices/search")["nodes"].values()
    assert sum(node["indices"]["search"]["open_contexts"] for node in stats) == 0
    for pattern in (f"{one}-typo", f"{one}-typo*,{two}-typo*"):
        scan = Scan(f"{real.url}/{pattern}", es_id="", es_find="filename")
        assert scan.errno == "ENOENT" and not scan.docs, (scan.errno, scan.error)
    real.delete_index(one)
    real.delete_index(two)
