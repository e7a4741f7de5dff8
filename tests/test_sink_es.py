# SPDX-License-Identifier: MIT
"""The Elasticsearch sink, through tests/tools/sinkcat.c.

What a real server does not do on demand is asked of faultsearch.py; what only
a real one knows (mappings, aliases, routing, refresh, limits) of Elasticsearch
and OpenSearch.  However a test mistreats the sink, the rule is one: what is
DONE is in the document, and what is not is told so.
"""

import os
import random
import subprocess
import sys
import threading
import time

import pytest

from pylib import proc, search

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "servers"))

from faultsearch import FaultSearch     # noqa: E402  (the path comes first)

INDEX = "captures"


class Answer:
    """What one batch came to."""

    def __init__(self, lines):
        *items, status = [line.rstrip("\n").split("\t") for line in lines]
        self.verdicts = [item[0] for item in items]
        self.errors = [item[2] if len(item) > 2 else "" for item in items]
        assert status[0] == "=", lines
        _, self.errno, up, self.server, backoff, self.error = status
        self.up, self.backoff_ms = up == "up", int(backoff)

    def __repr__(self):
        return f"{self.errno} {self.verdicts} {self.errors} {self.error!r}"


class Sink:
    """A running sinkcat.  An item is (kind, path[, url[, old_url]])."""

    def __init__(self, url, stop_ms=None, **options):
        path = os.path.join(proc.BUILD, "tests", "sinkcat")
        if not os.access(path, os.X_OK):
            raise proc.Missing(path)
        texts = [f"{k}={v}".replace("\\", "\\\\").replace(",", "\\,")
                 for k, v in {"es": url, **options}.items()]
        argv = [path, "-o", ",".join(texts)] + (["-s", str(stop_ms)] if stop_ms else [])
        self.popen = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, text=True,
                                      errors="surrogateescape")
        self.timer = threading.Timer(proc.scaled(120), self.popen.kill)
        self.timer.start()
        self.log = []
        self.reader = threading.Thread(target=lambda: self.log.extend(self.popen.stderr))
        self.reader.start()

    def run(self, items):
        text = "".join("\t".join(item) + "\n" for item in items) + "\n"
        self.popen.stdin.write(text)
        self.popen.stdin.flush()
        lines = []
        for line in self.popen.stdout:
            lines.append(line)
            if line.startswith("="):
                answer = Answer(lines)
                assert len(answer.verdicts) in (0, len(items))
                return answer
        self.close()
        raise AssertionError(f"sinkcat: {proc.status_text(self.popen.wait())}: {self.log}")

    def archived(self, *names, base="http://gw/"):
        return self.run([("archived", f"cam/{name}", f"{base}{name}") for name in names])

    def query(self, *names):
        return [int(v) for v in self.run([("query", f"cam/{name}") for name in names]).verdicts]

    def close(self):
        if self.popen.stdin.closed:
            return
        self.popen.stdin.close()
        self.popen.wait()
        self.timer.cancel()
        self.reader.join()
        self.popen.stdout.close()
        self.popen.stderr.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.close()
        assert kind or self.popen.returncode == 0, (self.popen.returncode, self.log)


def refused(url, **options):
    """What sinkcat says when the options are not accepted."""
    sink = Sink(url, **options)
    sink.popen.wait()
    sink.close()
    assert sink.popen.returncode == 2, sink.log
    return "".join(sink.log)


def new_doc(name):
    return {"filename": name, "ftpurl": f"ftp://old/{name}", "synced_to_ceph": False}


@pytest.fixture
def es():
    with FaultSearch() as server:
        for name in "abcdef":
            server.put(INDEX, name, new_doc(name))
        yield server


@pytest.fixture
def sink(es):       # pylint: disable=redefined-outer-name
    with Sink(f"{es.url}/{INDEX}") as s:
        yield s


def synced(es, name):       # pylint: disable=redefined-outer-name
    doc = es.doc(INDEX, name)
    assert doc["filename"] == name
    assert doc["synced_to_ceph"] is (doc["ftpurl"] == f"http://gw/{name}")
    return doc["synced_to_ceph"]


# --- the dialects -------------------------------------------------------------

DIALECTS = [("elasticsearch", "6.8.23"), ("elasticsearch", "7.17.28"), ("elasticsearch", "8.17.4"),
            ("elasticsearch", "9.0.1"), ("opensearch", "1.3.20"), ("opensearch", "2.19.1")]
BY = {"id": {}, "term": {"es_id": "", "es_find": "filename"}}


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("kind,version", DIALECTS)
def test_dialect(kind, version, by):
    with FaultSearch(version=version, distribution=kind) as es:
        es.type = "photo"
        es.put(INDEX, "a", new_doc("a"))
        with Sink(f"{es.url}/{INDEX}", **BY[by]) as sink:
            answer = sink.archived("a", "nope")
            assert (answer.errno, answer.verdicts) == ("0", ["done", "missing"])
            assert "nope" in answer.errors[1]
            assert answer.server == f"{kind} {version}" and answer.up
            assert sink.query("a", "nope") == [1, -1]
        assert synced(es, "a")
        (meta, doc, *_), = es.bulks()
        assert meta["update"].pop("_type", None) == ("photo" if version[0] == "6" else None)
        assert meta == {"update": {"_index": INDEX, "_id": "a", "retry_on_conflict": 3}}
        assert doc == {"doc": {"ftpurl": "http://gw/a", "synced_to_ceph": True}}


def test_version_not_told():
    """Neither GET / nor _nodes is allowed: what refuses is recognised all the same."""
    with FaultSearch() as es:
        es.put(INDEX, "a", new_doc("a"))
        es.fault("status", status=403, times=None, path=r"^/$|_nodes", type="security_exception")
        with Sink(f"{es.url}/{INDEX}") as sink:
            assert sink.archived("a").verdicts == ["done"]
            assert "version not told" in sink.archived("a").server
        assert synced(es, "a")


def test_not_a_search_server():
    with FaultSearch() as es:
        es.fault("garbage", times=None, path=".")
        with Sink(f"{es.url}/{INDEX}") as sink:
            answer = sink.archived("a")
            assert (answer.errno, answer.verdicts) == ("EPROTO", ["retry"])
            assert "neither Elasticsearch nor OpenSearch" in answer.error


def test_too_old():
    with FaultSearch(version="5.6.16") as es:
        with Sink(f"{es.url}/{INDEX}") as sink:
            answer = sink.archived("a")
            assert answer.errno == "EPROTO" and "too old" in answer.error


# --- what is told -------------------------------------------------------------

def test_kinds(es, sink):
    answer = sink.run([("archived", "cam/a", "http://gw/a"), ("local", "cam/b", "file:///b"),
                       ("removed", "cam/c")])
    assert answer.verdicts == ["done"] * 3
    assert [(es.doc(INDEX, n)["ftpurl"], es.doc(INDEX, n)["synced_to_ceph"]) for n in "abc"] == \
        [("http://gw/a", True), ("file:///b", False), (None, False)]
    assert sink.query("a", "b", "c", "nope") == [1, 0, 0, -1]


def test_fields(es):
    with Sink(f"{es.url}/{INDEX}", es_url_field="place.url", es_synced_field="") as sink:
        assert sink.archived("a").verdicts == ["done"]
    assert es.doc(INDEX, "a") == {**new_doc("a"), "place": {"url": "http://gw/a"}}


def test_match(es):
    with Sink(f"{es.url}/{INDEX}", es_match="*_0.jpg,*.json") as sink:
        assert sink.archived("x_1.jpg", "y.txt").verdicts == ["done", "done"]
        assert not es.requests      # nothing to tell: nobody is asked
        assert sink.archived("x_0.jpg", "z.json", "x_1.jpg").verdicts == \
            ["missing", "missing", "done"]
        assert sink.query("x_1.jpg", "x_0.jpg") == [1, -1]


def test_id_templates(es):
    es.put(INDEX, "cam/x.jpg!x", new_doc("x.jpg"))
    with Sink(f"{es.url}/{INDEX}", es_id="{path}!{stem}") as sink:
        assert sink.archived("x.jpg").verdicts == ["done"]
    assert es.doc(INDEX, "cam/x.jpg!x")["synced_to_ceph"]


def test_names(es, sink):
    """Quotes, controls, not UTF-8, too long for an _id."""
    names = {"q\"uo'te.jpg": "q\"uo'te.jpg", "ä.jpg": "ä.jpg", "new\\x0aline": "new\nline",
             "bad\\xff\\xfe.jpg": "bad%FF%FE.jpg"}
    for doc_id in names.values():
        es.put(INDEX, doc_id, new_doc(doc_id))
    answer = sink.archived(*names, "x" * 513)
    assert answer.verdicts == ["done"] * 4 + ["poisoned"]
    assert "512" in answer.errors[4]
    for doc_id in names.values():
        assert es.doc(INDEX, doc_id)["ftpurl"] == f"http://gw/{doc_id}"
    assert sink.query(*names) == [1] * 4


def test_same_document_twice(es, sink):
    """Of two items of one document the later one is the truth, whatever fails."""
    es.fault("item", status=429, ids=["a"])
    items = [("removed", "one/a"), ("archived", "two/b", "http://gw/b"),
             ("archived", "two/a", "http://gw/a")]
    assert sink.run(items).verdicts == ["retry", "done", "retry"]
    assert sink.run(items).verdicts == ["done"] * 3
    assert synced(es, "a") and synced(es, "b")
    assert [line["update"]["_id"] for line in es.bulks()[0][::2]] == ["a", "b"]


def test_resend_is_noop(es, sink):
    sink.archived("a", "b")
    before = es.indices[INDEX]["a"][1]
    assert sink.archived("a", "b").verdicts == ["done", "done"]
    assert es.indices[INDEX]["a"][1] == before


# --- finding by a term --------------------------------------------------------

def test_find_several(es):
    """All documents of one name, wherever they are; each in its own index."""
    es.put("captures-2", "other-id", new_doc("a"))
    es.put("captures-2", "unrelated", new_doc("z"))
    with Sink(f"{es.url}/{INDEX}*", es_id="", es_find="filename") as sink:
        assert sink.archived("a", "b", "nope").verdicts == ["done", "done", "missing"]
        assert es.doc("captures-2", "other-id")["synced_to_ceph"]
        assert not es.doc("captures-2", "unrelated")["synced_to_ceph"]
        assert sink.query("a", "b", "z", "nope") == [1, 1, 0, -1]
        es.fault("item", status=409, ids=["other-id"])
        assert sink.run([("local", "cam/a", "file:///a")]).verdicts == ["retry"]
        assert sink.query("a") == [0]


def test_find_by_old_url(es):
    """The field that is searched is the one that changes: a resend still finds it."""
    options = {"es_id": "", "es_find": "ftpurl=ftp://old/{name}"}
    with Sink(f"{es.url}/{INDEX}", **options) as sink:
        es.fault("status", status=504, apply=True)      # done, but the answer is lost
        assert sink.archived("a").errno == "EAGAIN"
        assert synced(es, "a")
        assert sink.archived("a").verdicts == ["done"]
        assert sink.run([("local", "cam/a", "file:///a")]).verdicts == ["missing"]
        assert sink.run([("local", "cam/a", "file:///a", "http://gw/a")]).verdicts == ["done"]
        assert es.doc(INDEX, "a")["ftpurl"] == "file:///a"


@pytest.mark.parametrize("failing", [2, 3, 4])
def test_find_half_way(es, failing):
    """Not found by one URL, and the search for the other failed: that is not MISSING."""
    options = {"es_id": "", "es_find": "ftpurl=ftp://old/{name}", "es_bulk": 1}
    with Sink(f"{es.url}/{INDEX}", **options) as sink:
        sink.archived("a", "b")
        es.fault("delay", seconds=0, path="_search", times=failing - 1)
        es.fault("status", status=503, path="_search")
        answer = sink.archived("a", "b")        # ftp://.../a, .../b, http://.../a, .../b
        assert answer.errno == "EAGAIN"
        assert answer.verdicts == ["done" if failing == 4 else "retry", "retry"]
        assert sink.archived("a", "b").verdicts == ["done", "done"]


def test_find_after_refresh():
    with FaultSearch(lag=True) as es:
        es.put(INDEX, "1", new_doc("a"))
        with Sink(f"{es.url}/{INDEX}", es_id="", es_find="filename") as sink:
            assert sink.archived("a").verdicts == ["missing"]
            es.refresh()
            assert sink.archived("a").verdicts == ["done"]
        assert es.doc(INDEX, "1")["synced_to_ceph"]


def test_find_field_appears(es):
    with Sink(f"{es.url}/{INDEX}", es_id="", es_find="picture") as sink:
        answer = sink.archived("a")
        assert answer.verdicts == ["missing"] and "picture" in answer.errors[0]
        assert answer.up and "picture" in answer.error      # for the operator to see
        es.put(INDEX, "a", {"picture": "a"})
        answer = sink.archived("a")
        assert answer.verdicts == ["done"] and answer.error == ""


# --- faults -------------------------------------------------------------------

@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_whole_request_busy(es, sink, status):
    es.fault("status", status=status)
    answer = sink.archived("a", "b")
    assert (answer.errno, answer.verdicts, answer.up) == ("EAGAIN", ["retry", "retry"], False)
    assert str(status) in answer.error and 500 <= answer.backoff_ms <= 1000
    answer = sink.archived("a", "b")
    assert (answer.errno, answer.verdicts, answer.backoff_ms) == ("0", ["done", "done"], 0)
    assert synced(es, "a") and synced(es, "b")


@pytest.mark.parametrize("status,verdict", [(429, "retry"), (503, "retry"), (409, "retry"),
                                            (400, "poisoned"), (404, "missing")])
def test_one_item(es, sink, status, verdict):
    es.fault("item", status=status, ids=["b"])
    answer = sink.archived("a", "b", "c")
    assert (answer.errno, answer.verdicts) == ("0", ["done", verdict, "done"])
    assert "exception" in answer.errors[1] and answer.up
    assert (answer.backoff_ms > 0) == (verdict == "retry")
    assert synced(es, "a") and not synced(es, "b") and synced(es, "c")
    assert sink.archived("b").verdicts == ["done"]


def test_poisoned(es, sink):
    es.poison("b")
    assert sink.archived("a", "b").verdicts == ["done", "poisoned"]
    assert sink.archived("b").verdicts == ["poisoned"]


@pytest.mark.parametrize("status,errno", [(400, "EPROTO"), (401, "EACCES"), (403, "EACCES"),
                                          (405, "EPROTO"), (301, "EPROTO")])
def test_operator_needed(es, sink, status, errno):
    es.fault("status", status=status, type="some_exception")
    answer = sink.archived("a")
    assert (answer.errno, answer.verdicts, answer.up) == (errno, ["retry"], False)
    assert str(status) in answer.error and "some_exception" in answer.error
    assert sink.archived("a").verdicts == ["done"]


def test_item_forbidden(es, sink):
    es.fault("item", status=403, type="security_exception", ids=["a"])
    answer = sink.archived("a", "b")
    assert (answer.errno, answer.verdicts) == ("EACCES", ["retry", "done"])


@pytest.mark.parametrize("fault", [{"kind": "cut"}, {"kind": "cut", "apply": False},
                                   {"kind": "garbage"}])
def test_no_answer(es, sink, fault):
    """A cut is tried again; garbage is for the operator; nothing is ever DONE."""
    es.fault(times=None, **fault)
    answer = sink.archived("a", "b")
    assert answer.errno == ("EPROTO" if fault["kind"] == "garbage" else "EAGAIN")
    assert answer.verdicts == ["retry", "retry"]
    es.heal()
    assert sink.archived("a", "b").verdicts == ["done", "done"]
    assert synced(es, "a") and synced(es, "b")


def test_slow(es):
    with Sink(f"{es.url}/{INDEX}", es_timeout="5s") as sink:
        assert sink.archived("a").verdicts == ["done"]
        es.fault("delay", seconds=60)
        begin = time.monotonic()
        answer = sink.archived("b")
        assert (answer.errno, answer.verdicts) == ("EAGAIN", ["retry"])
        assert time.monotonic() - begin < proc.scaled(30)
        es.heal()
        assert sink.archived("b").verdicts == ["done"]


def test_down_and_up(es, sink):
    assert sink.archived("a").verdicts == ["done"]
    es.stop()
    waits = []
    for _ in range(4):
        answer = sink.archived("b")
        assert (answer.errno, answer.verdicts, answer.up) == ("EAGAIN", ["retry"], False)
        waits.append(answer.backoff_ms)
    assert all(500 <= wait <= 500 << i + 1 for i, wait in enumerate(waits))
    es.start()
    answer = sink.archived("b")
    assert (answer.verdicts, answer.backoff_ms) == (["done"], 0)
    sink.close()
    # one line when it went, one when it came back, not one a try
    assert len([line for line in sink.log if "cannot tell" in line]) == 1, sink.log
    assert len([line for line in sink.log if "answers" in line]) == 2, sink.log


def test_stop(es):
    """sink_stop() ends a request in flight, and all that come after."""
    es.fault("delay", seconds=100, times=None)
    begin = time.monotonic()
    with Sink(f"{es.url}/{INDEX}", stop_ms=500, es_timeout="100s") as sink:
        answer = sink.archived("a")
        assert (answer.errno, answer.verdicts) == ("ECANCELED", ["retry"])
        assert sink.archived("a").errno == "ECANCELED"
    assert time.monotonic() - begin < proc.scaled(20)


def test_missing_index(es):
    """No update is sent, since it would make the index."""
    with Sink(f"{es.url}/typo") as sink:
        answer = sink.archived("a", "b")
        assert (answer.errno, answer.verdicts) == ("0", ["missing", "missing"])
        assert "typo" in answer.errors[0] and "typo" in answer.error
        assert not es.bulks() and sink.query("a") == [-1]
        es.put("typo", "a", new_doc("a"))
        assert sink.archived("a").verdicts == ["done"]


# --- splitting ----------------------------------------------------------------

def many(es, n):        # pylint: disable=redefined-outer-name
    names = [f"{i:05}.jpg" for i in range(n)]
    for name in names:
        es.put(INDEX, name, new_doc(name))
    return names


@pytest.mark.parametrize("by", BY)
def test_split_by_count(es, by):
    names = many(es, 250)
    with Sink(f"{es.url}/{INDEX}", es_bulk=100, **BY[by]) as sink:
        assert sink.archived(*names).verdicts == ["done"] * 250
    assert [len(bulk) // 2 for bulk in es.bulks()] == [100, 100, 50]
    assert all(synced(es, name) for name in names)


@pytest.mark.parametrize("by", BY)
def test_large_bulk(es, by):
    """A search asks for at most 1,000 names; a bulk of documents by _id has as many as es_bulk."""
    names = many(es, 1500)
    with Sink(f"{es.url}/{INDEX}", es_bulk=10000, **BY[by]) as sink:
        assert sink.archived(*names).verdicts == ["done"] * 1500
    assert [len(bulk) // 2 for bulk in es.bulks()] == ([1500] if by == "id" else [1000, 500])


def test_split_by_bytes(es):
    names = many(es, 250)
    with Sink(f"{es.url}/{INDEX}", es_bulk_bytes=4096) as sink:
        assert sink.archived(*names).verdicts == ["done"] * 250
    with es.lock:
        sizes = [len(r.body) for r in es.requests if r.path == "/_bulk"]
    assert max(sizes) <= 4096 and len(sizes) < 20
    assert all(synced(es, name) for name in names)


def test_too_large(es):
    """413 halves until it fits; what does not fit alone is poisoned."""
    names = many(es, 250)
    es.max_body = 3000
    with Sink(f"{es.url}/{INDEX}") as sink:
        items = [("archived", f"cam/{name}", f"http://gw/{name}") for name in names]
        items[100] = ("archived", f"cam/{names[100]}", "http://gw/" + "x" * 4000)
        answer = sink.run(items)
        assert answer.errno == "0" and answer.verdicts.pop(100) == "poisoned"
        assert "413" in answer.errors[100] and answer.verdicts == ["done"] * 249
        count = len(es.bulks())
        assert sink.archived(*names[:20]).verdicts == ["done"] * 20
        assert len(es.bulks()) - count <= 3     # what was learnt is remembered
    assert sum(synced(es, name) for name in names if name != names[100]) == 249


@pytest.mark.parametrize("gzip", [True, False])
def test_gzip(es, gzip):
    names = many(es, 100)
    with Sink(f"{es.url}/{INDEX}", es_gzip="yes" if gzip else "no") as sink:
        assert sink.archived(*names).verdicts == ["done"] * 100
    with es.lock:
        headers = next(r.headers for r in es.requests if r.path == "/_bulk")
        length = len(next(r.body for r in es.requests if r.path == "/_bulk"))
    assert (headers.get("content-encoding") == "gzip") == gzip
    assert (int(headers["content-length"]) < length / 5) == gzip
    assert "expect" not in headers and headers["content-type"] == "application/x-ndjson"


def test_no_waiting_before_large_bodies(es):
    names = many(es, 1000)
    with Sink(f"{es.url}/{INDEX}", es_gzip="no") as sink:
        base = "http://gw/" + "x" * 2000 + "/"
        assert sink.archived(*names, base=base).verdicts == ["done"] * 1000
    with es.lock:
        bulk, = [r for r in es.requests if r.path == "/_bulk"]
    assert len(bulk.body) > 2 << 20 and "expect" not in bulk.headers


def test_one_connection(es, sink):
    for _ in range(20):
        assert sink.archived("a", "b").verdicts == ["done", "done"]
    assert es.counts["connections"] == 1


# --- several nodes, authentication, TLS ---------------------------------------

def test_several_nodes(es):
    with FaultSearch() as other:
        other.indices = es.indices      # two doors of one house
        dead = proc.free_port()
        urls = [f"http://127.0.0.1:{dead}/{INDEX}", f"{es.url}/{INDEX}", f"{other.url}/{INDEX}"]
        with Sink(" ".join(urls)) as sink:
            for name in "abcdef":
                assert sink.archived(name).verdicts == ["done"]
            assert 2 <= len(es.bulks()) <= 4 and 2 <= len(other.bulks()) <= 4
            es.stop()
            for name in "abcdef":
                assert sink.archived(name, base="http://again/").verdicts == ["done"]
            other.stop()
            assert sink.archived("a").errno == "EAGAIN"
            es.start()
            assert sink.archived("a").verdicts == ["done"]


def test_slow_node_is_left_alone(es):
    with FaultSearch() as slow:
        slow.fault("delay", seconds=100, path=".", times=None)
        with Sink(f"{slow.url}/{INDEX} {es.url}/{INDEX}", es_timeout="5s") as sink:
            answers = [sink.archived("a") for _ in range(6)]
        assert [answer.errno for answer in answers] == ["EAGAIN"] + ["0"] * 5


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    return path


def test_basic_auth(tmpdir_below):
    with FaultSearch(auth=("ebb", "geheim")) as es:
        es.put(INDEX, "a", new_doc("a"))
        secret = write(os.path.join(tmpdir_below, "password"), "wrong\n")
        with Sink(f"{es.url}/{INDEX}") as sink:
            answer = sink.archived("a")
            assert (answer.errno, answer.verdicts) == ("EACCES", ["retry"])
            assert "401" in answer.error and "es_user" in answer.error
        with Sink(f"{es.url}/{INDEX}", es_user="ebb", es_password_file=secret) as sink:
            assert sink.archived("a").errno == "EACCES"
            write(secret, "geheim\nsecond line\n")      # corrected: no restart is needed
            assert sink.archived("a").verdicts == ["done"]
            os.unlink(secret)
            assert sink.archived("a").verdicts == ["done"]


def test_api_key(tmpdir_below):
    with FaultSearch(api_key=("id", "key"), version="8.17.4") as es:
        es.put(INDEX, "a", new_doc("a"))
        key = write(os.path.join(tmpdir_below, "key"), "aWQ6a2V5\n")
        with Sink(f"{es.url}/{INDEX}", es_api_key_file=key) as sink:
            assert sink.archived("a").verdicts == ["done"]


def test_tls(tmpdir_below):
    with FaultSearch(tls=tmpdir_below) as es:
        es.put(INDEX, "a", new_doc("a"))
        with Sink(f"{es.url}/{INDEX}", es_ca=es.ca) as sink:
            assert sink.archived("a").verdicts == ["done"]
            assert sink.archived("a").verdicts == ["done"]
        with Sink(f"{es.url}/{INDEX}") as sink:
            answer = sink.archived("a")
            assert (answer.errno, answer.verdicts) == ("EACCES", ["retry"])
            assert "es_ca" in answer.error


def test_no_tls_there(es):
    with Sink(f"{es.url.replace('http:', 'https:')}/{INDEX}") as sink:
        answer = sink.archived("a")
        assert (answer.errno, answer.verdicts) == ("EAGAIN", ["retry"])
        assert "write http:// in es=" in answer.error


def test_bad_options(tmpdir_below):
    assert "index is missing" in refused("http://127.0.0.1:1")
    assert "secret" not in refused("http://u:secret@127.0.0.1:1/x")
    assert "es_find" in refused("http://127.0.0.1:1/x-*")
    assert "es_ca" in refused("http://127.0.0.1:1/x", es_ca=tmpdir_below + "/nothing")


# --- everything at once -------------------------------------------------------

@pytest.mark.parametrize("by", BY)
def test_in_the_end_every_document_says_the_truth(es, by):
    """Random faults; items are sent until they are DONE, as the outbox does."""
    seed = int(os.environ.get("EBB_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"repeat with EBB_SEED={seed}")
    dice = random.Random(seed)
    names = many(es, 300)
    es.poison(*names[10:12])
    missing = ["never-1.jpg", "never-2.jpg"]
    wanted = {name: dice.choice(["archived", "local", "removed"]) for name in names + missing}
    left, ended = dict(wanted), {}

    def item(name, kind):
        url = {"archived": f"http://gw/{name}", "local": f"file:///{name}"}.get(kind)
        return (kind, f"cam/{name}") + ((url,) if url else ())

    def some_fault():
        kind = dice.choice(["status", "item", "item", "item", "cut", "garbage", "none"])
        path = dice.choice([r"/_bulk$", r"/_bulk$", r"_search|_field_caps", "."])
        if kind == "status":
            es.fault(kind, status=dice.choice([429, 500, 503, 504, 401, 400]), path=path,
                     apply=dice.random() < .5)
        elif kind == "item":
            es.fault(kind, status=dice.choice([429, 409, 503]),
                     ids=dice.sample(names, dice.randrange(1, 40)))
        elif kind != "none":
            es.fault(kind, path=path, **({"apply": dice.random() < .5} if kind == "cut" else {}))

    with Sink(f"{es.url}/{INDEX}", es_bulk=50, **BY[by]) as sink:
        for turn in range(400):
            if turn < 40:
                some_fault()
            else:
                es.heal()
                es.poison(*names[10:12])
            batch = dice.sample(sorted(left), min(len(left), 120))
            answer = sink.run([item(name, left[name]) for name in batch])
            for name, verdict in zip(batch, answer.verdicts):
                if verdict != "retry":
                    ended[name] = verdict
                    del left[name]
            if not left:
                break
    assert not left
    assert {n for n, v in ended.items() if v == "missing"} == set(missing)
    assert {n for n, v in ended.items() if v == "poisoned"} == set(names[10:12])
    for name in names[:10] + names[12:]:
        doc, kind = es.doc(INDEX, name), wanted[name]
        assert doc["synced_to_ceph"] is (kind == "archived"), (name, kind, doc)
        assert doc["ftpurl"] == (item(name, kind) + (None,))[2], (name, kind, doc)


# --- real servers -------------------------------------------------------------

@pytest.fixture(params=search.KINDS)
def real(request):
    return request.getfixturevalue(request.param)


TEXT = {"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 256}}}


@pytest.mark.parametrize("by", BY)
def test_real(real, by):
    names = [f"2017_12_15_15_56_49_{i:05}_1.jpg" for i in range(5000)]
    index = real.create_index(None, {"properties": {"filename": TEXT}} if by == "term" else None)
    real.index_many(index, {(n if by == "id" else f"doc-{n}"): new_doc(n) for n in names})
    with Sink(f"{real.url}/{index}", **BY[by]) as sink:
        answer = sink.archived(*names, "nope.jpg")
        assert answer.errno == "0" and answer.server.startswith(real.kind)
        assert answer.verdicts == ["done"] * 5000 + ["missing"]
        found = real.search(index)
        assert all(doc["ftpurl"] == f"http://gw/{doc['filename']}" and doc["synced_to_ceph"]
                   for doc in found.values()) and len(found) == 5000
        assert sink.query(*names[:1500], "nope.jpg") == [1] * 1500 + [-1]
    real.delete_index(index)


def test_real_missing_index(real):
    with Sink(f"{real.url}/no-such-index") as sink:
        assert sink.archived("a").verdicts == ["missing"]
        assert sink.query("a") == [-1]
    with pytest.raises(search.HttpError, match="404"):
        real.request("GET", "/no-such-index")


def test_real_alias(real):
    """Two indices with different mappings, and routing, behind one alias."""
    one = real.create_index()
    two = real.create_index(None, {"_routing": {"required": True},
                                   "properties": {"filename": TEXT}})
    alias = f"{one}-all"
    real.request("POST", "/_aliases", {"actions": [{"add": {"index": i, "alias": alias}}
                                                   for i in (one, two)]})
    real.index(one, new_doc("a.jpg"), id="1")
    real.request("PUT", f"/{two}/_doc/2?routing=cam7", new_doc("b.jpg"))
    real.request("PUT", f"/{two}/_doc/3?routing=cam8", new_doc("a.jpg"))
    real.refresh(alias)
    with Sink(f"{real.url}/{alias}", es_id="", es_find="filename") as sink:
        answer = sink.archived("a.jpg", "b.jpg", "c.jpg")
        assert answer.verdicts == ["done", "done", "missing"], answer
        docs = {**real.search(one), **real.search(two)}
        assert len(docs) == 3 and all(doc["synced_to_ceph"] for doc in docs.values())
        assert sink.query("a.jpg", "b.jpg", "c.jpg") == [1, 1, -1]
    with Sink(f"{real.url}/{alias}") as sink:       # by _id it cannot be done: said, not set aside
        answer = sink.archived("1")
        assert (answer.errno, answer.verdicts) == ("EPROTO", ["retry"])
        assert "es_find" in answer.error
    real.delete_index(one)
    real.delete_index(two)


def test_real_mappings(real):
    """Poisoned by the mapping; words only; a field that is not there yet."""
    index = real.create_index(None, {"dynamic": "strict", "properties": {
        "filename": {"type": "text"}, "ftpurl": {"type": "integer"}}})
    real.index(index, {"filename": "a.jpg"}, id="a.jpg")
    with Sink(f"{real.url}/{index}", es_synced_field="") as sink:
        answer = sink.archived("a.jpg", "nope")
        assert (answer.errno, answer.verdicts) == ("0", ["poisoned", "missing"])
        assert "pars" in answer.errors[0]
    with Sink(f"{real.url}/{index}", es_url_field="") as sink:
        assert sink.archived("a.jpg").verdicts == ["poisoned"]      # strict_dynamic_mapping
    with Sink(f"{real.url}/{index}", es_id="", es_find="filename") as sink:
        answer = sink.archived("a.jpg")
        assert answer.errno == "EPROTO" and "keyword" in answer.error
    with Sink(f"{real.url}/{index}", es_id="", es_find="other") as sink:
        assert sink.archived("a.jpg").verdicts == ["missing"]
    real.delete_index(index)


def test_real_closed_index(real):
    index = real.create_index()
    real.index(index, new_doc("a"), id="a")
    with Sink(f"{real.url}/{index}") as sink:
        assert sink.archived("a").verdicts == ["done"]
        real.request("POST", f"/{index}/_close")
        assert sink.archived("a").verdicts == ["retry"]
        real.request("POST", f"/{index}/_open")
        proc.wait_until(lambda: sink.archived("a").verdicts == ["done"], 60, "open again")
        real.request("PUT", f"/{index}/_settings", {"index.blocks.write": True})
        assert sink.archived("a").verdicts == ["retry"]     # 403 of the item, not of us
    real.delete_index(index)


def test_real_too_many_found(real):
    """More documents than one search gives: asked again for half of the names."""
    index = real.create_index()
    docs = {f"{name}-{i}": {"filename": name} for name in "abc" for i in range(4000)}
    docs.update({f"z-{i}": {"filename": "z"} for i in range(10000)})
    real.index_many(index, docs)
    with Sink(f"{real.url}/{index}", es_id="", es_find="filename") as sink:
        answer = sink.archived("a", "b", "c", "z")
        assert answer.verdicts == ["done"] * 3 + ["poisoned"], answer
    assert real.count(index, {"term": {"synced_to_ceph": True}}) == 12000
    real.delete_index(index)


def test_real_limits():
    """A server that takes no more than 1 MB a request."""
    with search.Search("elasticsearch", settings={"http.max_content_length": "1mb"}) as server:
        index = server.create_index()
        names = [f"{i:05}.jpg" for i in range(4000)]
        for at in range(0, 4000, 500):
            server.index_many(index, {n: new_doc(n) for n in names[at:at + 500]})
        with Sink(f"{server.url}/{index}", es_bulk=10000, es_bulk_bytes="90M") as sink:
            base = "http://gw/" + "x" * 1500 + "/"
            answer = sink.archived(*names, base=base)
            assert answer.errno == "0" and answer.verdicts == ["done"] * 4000, answer.error
        assert server.count(index, {"term": {"synced_to_ceph": True}}) == 4000
