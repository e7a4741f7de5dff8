# SPDX-License-Identifier: MIT
"""The fault server does what it says, seen by an independent client."""

import gzip
import http.client
import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

from servers.faultsearch import FaultSearch


def call(es, method, path, body=None, headers=None, ca=None):
    """(status, parsed reply)."""
    if not isinstance(body, (bytes, type(None))):
        body = json.dumps(body).encode()
    request = urllib.request.Request(es.url + path, body, method=method, headers={
        "Content-Type": "application/x-ndjson", **(headers or {})})
    context = ssl.create_default_context(cafile=ca) if ca else None
    try:
        with urllib.request.urlopen(request, timeout=20, context=context) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as err:
        with err:
            text = err.read()
            return err.code, json.loads(text) if text else None


def updates(*names, **meta):
    lines = []
    for name in names:
        lines += [{"update": {"_index": "captures", "_id": name, **meta}},
                  {"doc": {"synced_to_ceph": True}}]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


@pytest.fixture
def es():
    with FaultSearch() as server:
        for name in ("a", "b", "c"):
            server.put("captures", name, {"filename": name})
        yield server


def statuses(reply):
    return [one["update"]["status"] for one in reply["items"]]


def test_updates(es):
    assert call(es, "GET", "/")[1]["version"]["number"] == "7.17.28"
    status, reply = call(es, "POST", "/_bulk", updates("a", "no", "b"))
    assert (status, reply["errors"], statuses(reply)) == (200, True, [200, 404, 200])
    assert reply["items"][1]["update"]["error"]["type"] == "document_missing_exception"
    assert es.doc("captures", "a") == {"filename": "a", "synced_to_ceph": True}
    assert call(es, "POST", "/_bulk", updates("a"))[1]["items"][0]["update"]["result"] == "noop"
    assert call(es, "POST", "/_bulk", updates("a")[:-1])[0] == 400
    assert call(es, "POST", "/_bulk", updates("a"), {"Content-Type": "text/plain"})[0] == 406
    assert es.counts["_bulk"] == 4 and len(es.bulks()) == 4
    status, reply = call(es, "POST", "/_bulk?filter_path=errors,items.*.status", updates("a"))
    assert reply == {"errors": False, "items": [{"update": {"status": 200}}]}
    packed = gzip.compress(updates("c"))
    assert call(es, "POST", "/_bulk", packed, {"Content-Encoding": "gzip"})[0] == 200
    assert es.doc("captures", "c")["synced_to_ceph"]


def test_search(es):
    def found(query, **more):
        status, reply = call(es, "POST", "/captures/_search", {"query": query, **more})
        assert status == 200, reply
        return [hit["_id"] for hit in reply["hits"]["hits"]]
    assert found({"terms": {"filename.keyword": ["a", "c", "x"]}}) == ["a", "c"]
    assert found({"term": {"filename": "b"}}, _source=False) == ["b"]
    assert found({"bool": {"filter": [{"prefix": {"filename": "a"}}]}}) == ["a"]
    assert found({"match_all": {}}, size=2) == ["a", "b"]
    assert call(es, "POST", "/nothing/_search", {})[0] == 404
    assert call(es, "GET", "/captures/_doc/a")[1]["_source"] == {"filename": "a"}
    assert call(es, "GET", "/captures/_doc/x")[0] == 404


def test_search_lags():
    with FaultSearch(lag=True) as es:
        es.put("captures", "a", {"filename": "a"})
        assert call(es, "POST", "/captures/_count", {})[1]["count"] == 0
        call(es, "POST", "/captures/_refresh")
        assert call(es, "POST", "/captures/_count", {})[1]["count"] == 1


def test_faults(es):
    es.fault("status", status=429, times=2)
    es.fault("status", status=503, apply=True)
    es.fault("item", status=429, ids=["b"])
    es.fault("garbage")
    assert [call(es, "POST", "/_bulk", updates("a"))[0] for _ in range(2)] == [429, 429]
    assert es.doc("captures", "a") == {"filename": "a"}
    assert call(es, "POST", "/_bulk", updates("a"))[0] == 503
    assert es.doc("captures", "a")["synced_to_ceph"]
    assert statuses(call(es, "POST", "/_bulk", updates("a", "b", "c"))[1]) == [200, 429, 200]
    with pytest.raises(json.JSONDecodeError):
        call(es, "POST", "/_bulk", updates("a"))
    es.poison("b")
    assert statuses(call(es, "POST", "/_bulk", updates("a", "b"))[1]) == [200, 400]
    es.heal()
    es.max_body = 100
    assert call(es, "POST", "/_bulk", updates("a", "b")) == (413, None)
    assert statuses(call(es, "POST", "/_bulk", updates("a"))[1]) == [200]


def test_cut(es):
    es.fault("cut")
    es.fault("cut", apply=False)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        call(es, "POST", "/_bulk", updates("a"))
    assert es.doc("captures", "a")["synced_to_ceph"]
    with pytest.raises((http.client.HTTPException, OSError)):
        call(es, "POST", "/_bulk", updates("b"))
    assert es.doc("captures", "b") == {"filename": "b"}
    assert [r.status for r in es.requests] == [0, 0]
    assert call(es, "POST", "/_bulk", updates("b"))[0] == 200


def test_delay(es):
    es.fault("delay", seconds=0.3)
    before = time.monotonic()
    assert call(es, "POST", "/_bulk", updates("a"))[0] == 200
    assert time.monotonic() - before >= 0.3
    es.wait("_bulk", 1)


def test_versions():
    with FaultSearch("6.8.23") as es:
        es.put("captures", "a", {})
        assert "type is missing" in call(es, "POST", "/_bulk", updates("a"))[1]["error"]["reason"]
        assert statuses(call(es, "POST", "/_bulk", updates("a", _type="_doc"))[1]) == [200]
        assert call(es, "GET", "/captures/_mapping")[1]["captures"]["mappings"].keys() == {"_doc"}
    with FaultSearch("8.17.4") as es:
        es.put("captures", "a", {})
        assert call(es, "GET", "/")[0] == 405
        assert call(es, "GET", "/_nodes/_local")[1]["nodes"]["n"]["version"] == "8.17.4"
        assert call(es, "POST", "/_bulk", updates("a", _type="_doc"))[0] == 400
        item, = call(es, "POST", "/_bulk", updates("a"))[1]["items"]
        assert "_type" not in item["update"]
    with FaultSearch("2.19.1", "opensearch") as es:
        assert call(es, "GET", "/")[1]["version"]["distribution"] == "opensearch"


def test_auth():
    with FaultSearch(auth=("elastic", "pw"), api_key=("id", "key")) as es:
        es.put("captures", "a", {})
        assert call(es, "GET", "/")[0] == 401
        assert call(es, "GET", "/", headers={"Authorization": "Basic xx"})[0] == 401
        for good in ("Basic ZWxhc3RpYzpwdw==", "ApiKey aWQ6a2V5"):
            assert call(es, "POST", "/_bulk", updates("a"), {"Authorization": good})[0] == 200
        es.fault("status", status=403)
        assert call(es, "POST", "/_bulk", updates("a"), {"Authorization": good})[0] == 403


def test_tls(tmpdir_below):
    with FaultSearch(tls=tmpdir_below) as es:
        assert es.url.startswith("https:")
        assert call(es, "GET", "/", ca=es.ca)[0] == 200
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            call(es, "GET", "/")


def test_keep_alive_stop_start(es):
    conn = http.client.HTTPConnection("127.0.0.1", es.port, timeout=10)
    for _ in range(3):
        conn.request("POST", "/_bulk", updates("a"), {"Content-Type": "application/x-ndjson"})
        assert conn.getresponse().read()
    assert es.counts["connections"] == 1
    port = es.port
    es.stop()
    with pytest.raises((http.client.HTTPException, OSError)):
        conn.request("GET", "/")
        conn.getresponse()
    with pytest.raises(urllib.error.URLError):
        call(es, "GET", "/")
    es.start()
    assert es.port == port and call(es, "GET", "/")[0] == 200


def test_control_by_http(es):
    assert call(es, "POST", "/_fault", {"kind": "status", "status": 429})[0] == 200
    assert call(es, "POST", "/_bulk", updates("a"))[0] == 429
    assert call(es, "GET", "/_fault")[1]["counts"]["_bulk"] == 1


def test_scroll(es):
    status, page = call(es, "POST", "/captures/_search?scroll=1m", {"size": 2})
    assert status == 200 and page["hits"]["total"]["value"] == 3
    ids, cursor = [hit["_id"] for hit in page["hits"]["hits"]], page["_scroll_id"]
    es.put("captures", "later", {})     # is not seen: a scroll is one instant's view
    while hits := call(es, "POST", "/_search/scroll", {"scroll_id": cursor})[1]["hits"]["hits"]:
        ids += [hit["_id"] for hit in hits]
    assert ids == ["a", "b", "c"]
    assert call(es, "DELETE", "/_search/scroll", {"scroll_id": [cursor]})[0] == 200
    status, reply = call(es, "POST", "/_search/scroll", {"scroll_id": cursor})
    assert status == 404 and reply["error"]["type"] == "search_context_missing_exception"


def test_field_caps(es):
    fields = call(es, "GET", "/captures/_field_caps?fields=filename,nothing")[1]["fields"]
    assert fields == {"filename": {"keyword": {"type": "keyword", "searchable": True}}}
    assert call(es, "GET", "/nothing/_field_caps?fields=a")[0] == 404
